//! `JSON_OBJECT` and `JSON_ARRAY`, written out as texts that are joined.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause,
    FunctionArgumentList, JsonNullClause, Value, ValueWithSpan,
};

use super::calls::{binary, call, text};
use crate::functions::JSON_TEXT;
use crate::problem::{Place, SqlProblem};

/// `JSON_OBJECT('key' VALUE value, … [NULL | ABSENT ON NULL])` or `JSON_ARRAY(value, … [NULL | ABSENT ON NULL])`.
pub(super) fn constructed(name: &str, list: &FunctionArgumentList, place: Place) -> Result<Expr, SqlProblem> {
    let is_object = name == "json_object";
    let clause = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::JsonNullClause(clause) => Some(clause),
        _ => None,
    });
    // What the standard says: members of objects are null then, elements of arrays are left out.
    let shows_null = clause.map_or(is_object, |clause| *clause == JsonNullClause::NullOnNull);
    let mut members = Vec::with_capacity(list.args.len());
    for argument in &list.args {
        members.push(if is_object { member(argument, place)? } else { (",".to_owned(), element(argument, place)?) });
    }
    if is_object {
        // As Flink writes them.
        members.sort_by(|left, right| left.0.cmp(&right.0));
    }
    let pieces = members.into_iter().map(|(start, value)| {
        let json = if is_json(value) { value.clone() } else { call("json_string", vec![value.clone()]) };
        if shows_null {
            joined(text(&start), call("coalesce", vec![json, text("null")]))
        } else {
            call("coalesce", vec![joined(text(&start), json), text("")])
        }
    });
    let (open, close) = if is_object { ("{", "}") } else { ("[", "]") };
    let inside = pieces.reduce(joined).map_or_else(|| text(""), |pieces| call("substr", vec![pieces, number("2")]));
    Ok(call(JSON_TEXT, vec![joined(joined(text(open), inside), text(close))]))
}

/// `,"key":`, and the value.
fn member(argument: &FunctionArg, place: Place) -> Result<(String, &Expr), SqlProblem> {
    let help = "write JSON_OBJECT('key' VALUE value, …)";
    let refused = |found: &dyn std::fmt::Display| place.refuse(format!("JSON_OBJECT takes no `{found}`"), help);
    let FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(value), operator: FunctionArgOperator::Value } =
        argument
    else {
        return Err(refused(argument));
    };
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(key), .. }) = name else {
        return Err(refused(name));
    };
    Ok((format!(",{}:", serde_json::Value::from(key.as_str())), value))
}

fn element(argument: &FunctionArg, place: Place) -> Result<&Expr, SqlProblem> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Ok(value),
        other => Err(place.refuse(format!("JSON_ARRAY takes no `{other}`"), "write JSON_ARRAY(value, …)")),
    }
}

/// Whether a value is JSON that was constructed, and stands as it is.
fn is_json(value: &Expr) -> bool {
    matches!(value, Expr::Function(function) if function.name.to_string() == JSON_TEXT)
}

fn joined(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::StringConcat, right)
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}
