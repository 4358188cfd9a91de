//! Types made to fit, and the few rewrites after which a plan is still a tree of rows and groups.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};

use super::{casts, constants};
use crate::functions;

/// Makes types fit.
pub(crate) fn analyze(plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|node| rewritten(node, casts::unnamed))?.data;
    constants::check_types(&plan)?;
    let plan = plan.transform_up(|node| rewritten(node, map_keys))?.data;
    let plan = plan.transform_up(|node| rewritten(node, doubles))?.data;
    let plan = plan.transform_up(|node| rewritten(node, decimals))?.data;
    let plan = plan.transform_up(|node| rewritten(node, dates))?.data;
    let analyzer = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())]);
    let plan = analyzer.execute_and_check(plan, options, |_, _| {})?;
    let plan = plan.transform_up(|node| rewritten(node, flink_cast))?.data;
    let plan = plan.transform_up(|node| rewritten(node, constants::computed))?.data;
    constants::check(&plan)?;
    Ok(plan)
}

/// Simplifies expressions and leaves out columns that nobody needs. No rule moves a filter: it stays where it was
/// written, since below a session it would change the windows.
pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new().without_query_execution_start_time().with_skip_failing_rules(false);
    optimizer.optimize(plan, &context, |_, _| {})
}

/// The columns that the expressions of a node may name.
pub(super) fn schema_of(node: &LogicalPlan) -> DFSchema {
    let mut schema = DFSchema::empty();
    node.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
    schema
}

/// Rewrites the expressions of a node, under the names that they had.
fn rewritten(
    node: LogicalPlan,
    rewrite: fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_of(&node);
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let done = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(done.update_data(|expr| name.restore(expr)))
    })
}

/// A decimal beside a double becomes a double, as in Flink; the planner would make both decimals.
fn doubles(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let operands: Vec<&Expr> = match &expr {
        Expr::BinaryExpr(binary) => vec![&binary.left, &binary.right],
        Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
        Expr::InList(list) => std::iter::once(list.expr.as_ref()).chain(&list.list).collect(),
        Expr::Case(case) => {
            let results = case.when_then_expr.iter().map(|(_, result)| result.as_ref());
            results.chain(case.else_expr.as_deref()).collect()
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "coalesce" | "nullif" | "greatest" | "least") => {
            call.args.iter().collect()
        }
        _ => return Ok(Transformed::no(expr)),
    };
    let is = |expr: &Expr, test: fn(&DataType) -> bool| expr.get_type(schema).is_ok_and(|kind| test(&kind));
    let decimal = |expr: &Expr| is(expr, DataType::is_decimal);
    if !operands.iter().any(|expr| is(expr, DataType::is_floating)) || !operands.iter().any(|expr| decimal(expr)) {
        return Ok(Transformed::no(expr));
    }
    let double = |operand: Expr| {
        if !decimal(&operand) {
            return operand;
        }
        Expr::Cast(Cast::new(Box::new(operand), DataType::Float64))
    };
    Ok(Transformed::yes(with_operands(expr, double)))
}

/// The same expression with its operands changed; the conditions of a `CASE` are no operands.
fn with_operands(expr: Expr, mut change: impl FnMut(Expr) -> Expr) -> Expr {
    let mut boxed = |operand: Box<Expr>| Box::new(change(*operand));
    match expr {
        Expr::BinaryExpr(mut binary) => {
            (binary.left, binary.right) = (boxed(binary.left), boxed(binary.right));
            Expr::BinaryExpr(binary)
        }
        Expr::Between(mut between) => {
            (between.expr, between.low, between.high) = (boxed(between.expr), boxed(between.low), boxed(between.high));
            Expr::Between(between)
        }
        Expr::InList(mut list) => {
            list.expr = boxed(list.expr);
            list.list = list.list.into_iter().map(change).collect();
            Expr::InList(list)
        }
        Expr::Case(mut case) => {
            let results = case.when_then_expr.into_iter();
            case.when_then_expr = results.map(|(when, then)| (when, boxed(then))).collect();
            case.else_expr = case.else_expr.map(boxed);
            Expr::Case(case)
        }
        Expr::ScalarFunction(mut call) => {
            call.args = call.args.into_iter().map(change).collect();
            Expr::ScalarFunction(call)
        }
        other => other,
    }
}

/// Casts to and from texts write and read them as Flink does.
fn flink_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (inner, wanted) = match &expr {
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => (expr, field.data_type()),
        _ => return Ok(Transformed::no(expr)),
    };
    let found = inner.get_type(schema)?;
    if wanted.is_integer() && found.is_string() {
        return expr.map_children(|inner| Ok(Transformed::yes(called("whole_of", vec![inner])?)));
    }
    if !wanted.is_string() {
        return Ok(Transformed::no(expr));
    }
    let millis = super::window_node::EVENT_TIME;
    let text = match found {
        DataType::Timestamp(..) if found == millis => called("timestamp_text", vec![*inner.clone()])?,
        DataType::Timestamp(..) => called("timestamp_text", vec![Expr::Cast(Cast::new(inner.clone(), millis))])?,
        DataType::Float64 => called("text_of_double", vec![*inner.clone()])?,
        DataType::Float32 => called("text_of_float", vec![*inner.clone()])?,
        DataType::Boolean => called("text_of_boolean", vec![*inner.clone()])?,
        _ => return Ok(Transformed::no(expr)),
    };
    Ok(Transformed::yes(text))
}

fn called(function: &str, arguments: Vec<Expr>) -> Result<Expr> {
    let Some(found) = functions::scalar(function) else { return internal_err!("no function {function}") };
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(found, arguments)))
}

/// Digits of a decimal before its point.
fn whole_digits(precision: u8, scale: i8) -> i16 {
    i16::from(precision) - i16::from(scale)
}

/// Quotients of exact numbers, one of them a decimal, have Flink's type, and so have sums and products of more than 38
/// digits, which keep those before the point; the planner keeps those behind it, and more digits than a decimal holds.
fn decimals(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Ok(Transformed::no(expr)) };
    let exact = |operand: &Expr| {
        let kind = operand.get_type(schema).ok()?;
        Some((exact_type(operand, &kind)?, kind.is_decimal()))
    };
    let (Some((of_left, left_is_decimal)), Some((of_right, right_is_decimal))) = (exact(left), exact(right)) else {
        return Ok(Transformed::no(expr));
    };
    let name = match (op, &of_left, &of_right) {
        _ if !left_is_decimal && !right_is_decimal => return Ok(Transformed::no(expr)),
        (Operator::Divide, ..) => "decimal_divide",
        (Operator::Plus | Operator::Minus, DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2))
            if whole_digits(*p1, *s1).max(whole_digits(*p2, *s2)) + i16::from(*s1.max(s2)) >= 38 =>
        {
            if *op == Operator::Plus { "decimal_add" } else { "decimal_subtract" }
        }
        (Operator::Multiply, DataType::Decimal128(p1, _), DataType::Decimal128(p2, _)) if p1 + p2 >= 38 => {
            "decimal_multiply"
        }
        _ => return Ok(Transformed::no(expr)),
    };
    let operand = |operand: &Expr, kind| Expr::Cast(Cast::new(Box::new(operand.clone()), kind));
    Ok(Transformed::yes(called(name, vec![operand(left, of_left), operand(right, of_right)])?))
}

/// `map[key]` of a key that is no constant of the map's own type.
fn map_keys(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let ("get_field", [map, key]) = (call.name(), call.args.as_slice()) else { return Ok(Transformed::no(expr)) };
    let DataType::Map(entries, _) = map.get_type(schema)? else { return Ok(Transformed::no(expr)) };
    let DataType::Struct(fields) = entries.data_type() else { return Ok(Transformed::no(expr)) };
    let is_its_own =
        |key: &DataType| matches!(key, DataType::Null) || fields.first().is_none_or(|own| own.data_type() == key);
    if matches!(key, Expr::Literal(value, _) if is_its_own(&value.data_type())) || fields.is_empty() {
        return Ok(Transformed::no(expr));
    }
    let key = Expr::Cast(Cast::new(Box::new(key.clone()), fields[0].data_type().clone()));
    let found = called("map_extract", vec![map.clone(), key])?;
    Ok(Transformed::yes(called("array_element", vec![found, Expr::Literal(ScalarValue::Int64(Some(1)), None)])?))
}

/// A date that is cut or moved by whole days stays a date.
fn dates(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let is_of_time = matches!(call.name(), "floor_time" | "ceil_time" | "timestampadd_unit");
    let (Some(unit), Some(time)) = (call.args.first(), call.args.last()) else { return Ok(Transformed::no(expr)) };
    let is_long = matches!(
        unit,
        Expr::Literal(ScalarValue::Utf8(Some(unit)), _) if matches!(
            unit.to_uppercase().trim_end_matches('S'), "DAY" | "WEEK" | "MONTH" | "QUARTER" | "YEAR"
        )
    );
    if !is_of_time || !is_long || time.get_type(schema)? != DataType::Date32 {
        return Ok(Transformed::no(expr));
    }
    Ok(Transformed::yes(Expr::Cast(Cast::new(Box::new(expr), DataType::Date32))))
}

/// The decimal that holds every value of an exact number; whole constants are INT where they can be.
fn exact_type(operand: &Expr, kind: &DataType) -> Option<DataType> {
    Some(match (operand, kind) {
        (_, DataType::Decimal128(..)) => kind.clone(),
        (_, DataType::Int8) => DataType::Decimal128(3, 0),
        (_, DataType::Int16) => DataType::Decimal128(5, 0),
        (_, DataType::Int32) => DataType::Decimal128(10, 0),
        (Expr::Literal(ScalarValue::Int64(Some(value)), _), _) if i32::try_from(*value).is_ok() => {
            DataType::Decimal128(10, 0)
        }
        (_, DataType::Int64) => DataType::Decimal128(19, 0),
        _ => return None,
    })
}
