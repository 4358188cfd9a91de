//! `JSON_OBJECT` and `JSON_ARRAY`: one call, which knows what it makes.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause, FunctionArgumentList,
    JsonNullClause, Value, ValueWithSpan,
};

use super::calls::{call, text};
use crate::functions::{JSON_TEXT, JsonShape};
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
    let mut found = Vec::with_capacity(list.args.len());
    for argument in &list.args {
        found.push(if is_object { member(argument, place)? } else { (String::new(), element(argument, place)?) });
    }
    if is_object {
        // As Flink writes them.
        found.sort_by(|left, right| left.0.cmp(&right.0));
        if let Some([twice, _]) = found.array_windows().find(|[left, right]| left.0 == right.0) {
            return Err(place.refuse(format!("two members of JSON_OBJECT are called '{}'", twice.0), "rename one"));
        }
    }
    let members = found.iter().map(|(key, value)| (key.clone(), is_json(value))).collect();
    let shape = JsonShape { is_object, shows_null, members };
    let shape = serde_json::to_string(&shape).map_err(|error| place.problem(format!("internal error: {error}")))?;
    let values = found.into_iter().map(|(_, value)| value.clone());
    Ok(call(JSON_TEXT, std::iter::once(text(&shape)).chain(values).collect()))
}

/// The key and the value.
fn member(argument: &FunctionArg, place: Place) -> Result<(String, &Expr), SqlProblem> {
    let FunctionArg::ExprNamed {
        name: Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(key), .. }),
        arg: FunctionArgExpr::Expr(value),
        operator: FunctionArgOperator::Value,
    } = argument
    else {
        let help = "write JSON_OBJECT('key' VALUE value, …)";
        return Err(place.refuse(format!("JSON_OBJECT takes no `{argument}`"), help));
    };
    Ok((key.clone(), value))
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
