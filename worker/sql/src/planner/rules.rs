//! Types made to fit, and the few rewrites after which a plan is still a tree of rows and groups.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
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
    let plan = plan.transform_up(|node| rewritten(node, doubles))?.data;
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

/// Casts of times to text write them as Flink does.
fn flink_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = &expr else { return Ok(Transformed::no(expr)) };
    let to_text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let of_time = matches!(inner.get_type(schema)?, DataType::Timestamp(..));
    match functions::scalar("timestamp_text") {
        Some(function) if to_text && of_time => {
            let millis = super::window_node::EVENT_TIME;
            let time = if inner.get_type(schema)? == millis {
                *inner.clone()
            } else {
                Expr::Cast(Cast::new(inner.clone(), millis))
            };
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![time]))))
        }
        _ => Ok(Transformed::no(expr)),
    }
}
