//! What is wrong with a query whatever its rows hold: patterns that are none, numbers that their type cannot hold, texts
//! that are joined with numbers.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, Operator, Union};
use regex::Regex;

use super::rules::schema_of;
use crate::explain::Type;
use crate::functions;
use crate::lower::{physical, place_of};
use crate::problem::{Carried, Place};

/// Functions that read a constant argument as a pattern, a path or a unit, and fail on every row where it is none.
const OF_PATTERNS: &[&str] = &[
    "ceil_time",
    "convert_tz",
    "date_format",
    "decode",
    "encode",
    "floor_time",
    "from_unixtime",
    "geohash",
    "json_exists",
    "json_query",
    "json_value",
    "regexp_count",
    "regexp_extract",
    "regexp_like",
    "regexp_replace",
    "round",
    "time_field",
    "timestampadd_unit",
    "timestampdiff_unit",
    "to_timestamp",
    "truncate",
    "unix_timestamp",
];

/// Tries what is constant in a plan whose types are known.
///
/// # Errors
/// The first that fails.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let schema = schema_of(node);
        node.apply_expressions(|expr| expr.apply(|expr| check_expr(expr, &schema)))
    })?;
    Ok(())
}

fn check_expr(expr: &Expr, schema: &DFSchema) -> Result<TreeNodeRecursion> {
    match expr {
        Expr::ScalarFunction(call) if OF_PATTERNS.contains(&call.name()) => check_call(call, schema)?,
        Expr::BinaryExpr(BinaryExpr { op: Operator::Divide | Operator::Modulo, right, .. })
            if whole(right).is_some_and(|(divisor, _)| divisor == 0) =>
        {
            return plan_err!("`{}` divides by zero", expr.human_display());
        }
        Expr::ScalarFunction(call) if call.name() == "decimal_divide" && call.args.get(1).is_some_and(is_zero) => {
            return plan_err!("`{} / 0` divides by zero", call.args[0].human_display());
        }
        _ => {}
    }
    Ok(TreeNodeRecursion::Continue)
}

fn check_call(call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
    let is_constant = |arg: &Expr| arg.column_refs().is_empty();
    if call.name().starts_with("regexp")
        && let Some(pattern) = call.args.get(1)
    {
        check_regex(call.name(), pattern)?;
    }
    if !call.args.iter().any(is_constant) {
        return Ok(());
    }
    let probe = |arg: &Expr| -> Result<Expr> {
        if is_constant(arg) {
            return Ok(arg.clone());
        }
        Ok(Expr::Literal(ScalarValue::new_default(&arg.get_type(schema)?)?, None))
    };
    // A type that has no value to try with is tried by the rows.
    let Ok(args) = call.args.iter().map(probe).collect::<Result<Vec<_>>>() else { return Ok(()) };
    let probe = Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), args));
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &options)?;
    match physical(&probe, &DFSchema::empty())?.evaluate(&row) {
        Ok(_) => Ok(()),
        Err(error) => plan_err!("{}: {}", functions::written_name(call.name()), crate::problem::plain(&error)),
    }
}

fn check_regex(what: &str, pattern: &Expr) -> Result<()> {
    let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = pattern else { return Ok(()) };
    match Regex::new(pattern) {
        Ok(_) => Ok(()),
        Err(error) => plan_err!("{what}: `{pattern}` is no regular expression: {}", why(&error)),
    }
}

/// What is wrong with a pattern, in one line.
pub(crate) fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Computes arithmetic of whole constants, which the planner would let wrap.
pub(super) fn computed(expr: Expr, _schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (found, kind) = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (Some((left, kind)), Some((right, same))) = (whole(left), whole(right)) else {
                return Ok(Transformed::no(expr));
            };
            let found = match op {
                Operator::Plus => left.checked_add(right),
                Operator::Minus => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                _ => return Ok(Transformed::no(expr)),
            };
            if kind != same {
                return Ok(Transformed::no(expr));
            }
            (found, kind)
        }
        Expr::Negative(inner) => match whole(inner) {
            Some((value, kind)) => (value.checked_neg(), kind),
            None => return Ok(Transformed::no(expr)),
        },
        _ => return Ok(Transformed::no(expr)),
    };
    let value = found.and_then(|found| of_kind(found, &kind));
    match value {
        Some(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
        None => plan_err!("`{}` is beyond {}", expr.human_display(), Type(&kind)),
    }
}

fn is_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(Cast { expr, .. }) => is_zero(expr),
        Expr::Literal(ScalarValue::Decimal128(Some(digits), ..), _) => *digits == 0,
        expr => whole(expr).is_some_and(|(value, _)| value == 0),
    }
}

fn whole(expr: &Expr) -> Option<(i128, DataType)> {
    let Expr::Literal(value, _) = expr else { return None };
    let number = match value {
        ScalarValue::Int8(Some(number)) => i128::from(*number),
        ScalarValue::Int16(Some(number)) => i128::from(*number),
        ScalarValue::Int32(Some(number)) => i128::from(*number),
        ScalarValue::Int64(Some(number)) => i128::from(*number),
        _ => return None,
    };
    Some((number, value.data_type()))
}

fn of_kind(number: i128, kind: &DataType) -> Option<ScalarValue> {
    Some(match kind {
        DataType::Int8 => ScalarValue::Int8(Some(number.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(number.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(number.try_into().ok()?)),
        _ => ScalarValue::Int64(Some(number.try_into().ok()?)),
    })
}

/// Refuses what the planner would cast without a word: joins of texts with other types, where a text of the table that is
/// no such value would end the run, and conditions that are none. Types are those that were written.
pub(super) fn check_types(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let schema = schema_of(node);
        match node {
            LogicalPlan::Join(join) => check_join(join, &schema)?,
            LogicalPlan::Union(union) => check_union(union)?,
            LogicalPlan::Distinct(Distinct::All(input)) => check_distinct(input)?,
            LogicalPlan::Aggregate(aggregate) => {
                aggregate.group_expr.iter().try_for_each(|key| check_key(key, &schema))?;
                aggregate.aggr_expr.iter().try_for_each(|call| check_filter(call, &schema))?;
            }
            _ => {}
        }
        node.apply_expressions(|expr| expr.apply(|expr| check_cast(expr, &schema)))
    })?;
    Ok(())
}

/// Conditions are BOOLEAN, and keys of a map are texts or none, as it is declared: others would be cast, or fail row by row.
fn check_kinds(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let refuse = |at: &Expr, found: String| {
        Err(DataFusionError::from(Carried(place_of(at, Place::default()).refuse(found, "CAST it, or compare it"))))
    };
    match expr {
        Expr::Case(case) if case.expr.is_none() => {
            for (when, _) in &case.when_then_expr {
                let kind = when.get_type(schema)?;
                if !matches!(kind, DataType::Boolean | DataType::Null) {
                    return refuse(
                        when,
                        format!("a condition of CASE, or of IF, is {}, expected BOOLEAN", Type(&kind)),
                    );
                }
            }
        }
        Expr::ScalarFunction(call) if call.name() == "get_field" => {
            let [map, key] = call.args.as_slice() else { return Ok(()) };
            let kind = map.get_type(schema)?;
            let DataType::Map(entries, _) = &kind else { return Ok(()) };
            let DataType::Struct(fields) = entries.data_type() else { return Ok(()) };
            let (Some(own), found) = (fields.first(), key.get_type(schema)?) else { return Ok(()) };
            if !found.is_null() && own.data_type().is_string() != found.is_string() {
                let (own, found) = (Type(own.data_type()).to_string(), Type(&found).to_string());
                return refuse(map, format!("a key of {} is {own}, found {found}", Type(&kind)));
            }
        }
        _ => {}
    }
    Ok(())
}

/// A number is no time, nor a time a number: it would have to be said in which unit.
fn check_cast(expr: &Expr, schema: &DFSchema) -> Result<TreeNodeRecursion> {
    check_kinds(expr, schema)?;
    if let Expr::ScalarFunction(call) = expr
        && call.name() == "make_array"
    {
        check_elements(&call.args, schema)?;
    }
    let (Expr::Cast(Cast { expr: inner, field }) | Expr::TryCast(TryCast { expr: inner, field })) = expr else {
        return Ok(TreeNodeRecursion::Continue);
    };
    let wanted = field.data_type();
    let Ok(found) = inner.get_type(schema) else { return Ok(TreeNodeRecursion::Continue) };
    let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(..) | DataType::Date32);
    let help = match (found.is_numeric(), is_time(&found), is_time(wanted), wanted.is_numeric()) {
        (true, _, true, _) => {
            "write TO_TIMESTAMP_LTZ(number, 3) of milliseconds, TO_TIMESTAMP_LTZ(number, 0) of seconds"
        }
        (_, true, _, true) => "write UNIX_TIMESTAMP(CAST(time AS STRING)) for seconds since 1970",
        _ => return Ok(TreeNodeRecursion::Continue),
    };
    let found = format!("CAST of {} to {}: there is no such cast", Type(&found), Type(wanted));
    Err(DataFusionError::from(Carried(place_of(inner, Place::default()).refuse(found, help))))
}

/// Texts and other values in one array, or in one map, would be cast, and fail row by row.
fn check_elements(elements: &[Expr], schema: &DFSchema) -> Result<()> {
    let kinds = elements.iter().filter_map(|element| Some((element, element.get_type(schema).ok()?)));
    let kinds: Vec<_> = kinds.filter(|(_, kind)| !kind.is_null()).collect();
    let Some((_, first)) = kinds.first() else { return Ok(()) };
    let Some((other, kind)) = kinds.iter().find(|(_, kind)| kind.is_string() != first.is_string()) else {
        return Ok(());
    };
    let found = format!("an ARRAY, or a MAP, holds {} and {}", Type(first), Type(kind));
    Err(DataFusionError::from(Carried(place_of(other, Place::default()).refuse(found, "CAST one of them"))))
}

/// Texts and other values in one column would all become texts.
fn check_union(union: &Union) -> Result<()> {
    let Some((first, others)) = union.inputs.split_first() else { return Ok(()) };
    for other in others {
        for (at, (left, right)) in first.schema().fields().iter().zip(other.schema().fields()).enumerate() {
            let (left_kind, right_kind) = (left.data_type(), right.data_type());
            if left_kind.is_null() || right_kind.is_null() || left_kind.is_string() == right_kind.is_string() {
                continue;
            }
            let (number, name) = (at + 1, left.name());
            let found = format!(
                "column {number} of UNION ALL, `{name}`, is {} in one query and {} in another",
                Type(left_kind),
                Type(right_kind)
            );
            let place = column_place(other, at);
            return Err(DataFusionError::from(Carried(place.refuse(found, "CAST one of them"))));
        }
    }
    Ok(())
}

/// Where a column of a query is named first.
fn column_place(plan: &LogicalPlan, at: usize) -> Place {
    match plan {
        LogicalPlan::Projection(project) => {
            project.expr.get(at).map_or(Place::default(), |expr| place_of(expr, Place::default()))
        }
        _ => Place::default(),
    }
}

/// Groups are told apart by values that have an order.
fn check_key(key: &Expr, schema: &DFSchema) -> Result<()> {
    comparable("GROUP BY", &key.get_type(schema)?, place_of(key, Place::default()))
}

fn check_distinct(input: &LogicalPlan) -> Result<()> {
    let mut kinds = input.schema().fields().iter().map(|field| field.data_type()).enumerate();
    kinds.try_for_each(|(at, kind)| comparable("SELECT DISTINCT", kind, column_place(input, at)))
}

fn comparable(what: &str, kind: &DataType, place: Place) -> Result<()> {
    if !kind.is_nested() {
        return Ok(());
    }
    let help = match kind {
        DataType::Struct(_) => "name its fields, or write JSON_STRING of it",
        _ => "name its elements, or write JSON_STRING of it",
    };
    Err(DataFusionError::from(Carried(place.refuse(format!("{what} takes no {}", Type(kind)), help))))
}

fn check_join(join: &Join, schema: &DFSchema) -> Result<()> {
    for (left, right) in &join.on {
        check_equality(left, right, schema)?;
    }
    for condition in join.filter.iter().flat_map(split_conjunction) {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition {
            check_equality(left, right, schema)?;
        }
    }
    Ok(())
}

fn check_filter(call: &Expr, schema: &DFSchema) -> Result<()> {
    let Expr::AggregateFunction(call) = call.clone().unalias() else { return Ok(()) };
    let Some(filter) = &call.params.filter else { return Ok(()) };
    let kind = filter.get_type(schema)?;
    if matches!(kind, DataType::Boolean | DataType::Null) {
        return Ok(());
    }
    let found = format!("FILTER (WHERE …) is {}, expected BOOLEAN", Type(&kind));
    Err(DataFusionError::from(Carried(place_of(filter, Place::default()).problem(found))))
}

fn check_equality(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    if left.column_refs().is_empty() || right.column_refs().is_empty() {
        return Ok(());
    }
    let (left_kind, right_kind) = (left.get_type(schema)?, right.get_type(schema)?);
    if left_kind.is_string() == right_kind.is_string() {
        return Ok(());
    }
    let found = format!("ON compares {} with {}", Type(&left_kind), Type(&right_kind));
    let help = "CAST one side, for example CAST(number AS STRING) = text";
    Err(DataFusionError::from(Carried(place_of(left, Place::default()).refuse(found, help))))
}
