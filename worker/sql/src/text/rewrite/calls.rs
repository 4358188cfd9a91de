//! Calls that Flink spells otherwise than the planner, or means otherwise.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, CharacterLength, DataType, DateTimeField, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Spanned, Value,
};

use super::json;
use crate::planner::NAMED_CAST;
use crate::problem::{Place, SqlProblem};

/// An expression in place of another, or why there is none.
pub(super) type Rewritten = Option<Result<Expr, SqlProblem>>;

/// What `expr` is to the planner; `None` if it is that already.
pub(super) fn rewritten(expr: &Expr) -> Rewritten {
    match expr {
        Expr::Function(function) => function_call(function),
        // With an exponent a number is a double, without one it is exact.
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.contains(['e', 'E']) => {
                if digits.parse::<f64>().is_ok_and(f64::is_infinite) {
                    return Some(Err(Place::from(value.span).problem(format!("{digits} is beyond DOUBLE"))));
                }
                Some(Ok(cast(text(digits), DataType::Double(ExactNumberInfo::None))))
            }
            Value::Number(digits, _) => too_long(digits, value.span.into()).map(Err),
            _ => None,
        },
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(unit) } if *unit != DateTimeField::NoDateTime => {
            Some(Ok(call("floor_time", vec![text(&unit.to_string()), *expr.clone()])))
        }
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(unit) } if *unit != DateTimeField::NoDateTime => {
            Some(Ok(call("ceil_time", vec![text(&unit.to_string()), *expr.clone()])))
        }
        Expr::Extract { field, expr, .. } => {
            Some(Ok(call("time_field", vec![text(&field.to_string()), *expr.clone()])))
        }
        Expr::Position { expr, r#in } => Some(Ok(call("locate", vec![*expr.clone(), *r#in.clone()]))),
        Expr::Cast { kind: CastKind::Cast | CastKind::TryCast, data_type, .. } => {
            to_length(expr, data_type).or_else(|| Some(Ok(named(expr.clone(), data_type))))
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let from = substring_from.as_deref().cloned().unwrap_or_else(|| number("1"));
            let args = [Some(*expr.clone()), Some(from), substring_for.as_deref().cloned()];
            Some(Ok(call("substr", args.into_iter().flatten().collect())))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let args = [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()];
            Some(Ok(call("overlay", args.into_iter().flatten().map(|arg| *arg.clone()).collect())))
        }
        _ => None,
    }
}

/// What is wrong with an exact number that no decimal holds.
fn too_long(digits: &str, place: Place) -> Option<SqlProblem> {
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let found = whole.trim_start_matches('0').len() + behind.len();
    let help = "write it with an exponent, for a DOUBLE: 1.5e40";
    (found > 38).then(|| place.refuse(format!("the number has {found} digits, the most are 38"), help))
}

/// A cast under a name that tells its type.
fn named(cast: Expr, data_type: &DataType) -> Expr {
    call(NAMED_CAST, vec![cast, text(&data_type.to_string())])
}

/// `CAST(x AS VARCHAR(n))` cuts, `CAST(x AS CHAR(n))` pads too: the planner's types have no length.
fn to_length(cast: &Expr, data_type: &DataType) -> Rewritten {
    let (function, length) = match data_type {
        DataType::Varchar(length) | DataType::CharVarying(length) | DataType::CharacterVarying(length) => {
            ("varchar_of", length)
        }
        DataType::Char(length) | DataType::Character(length) => ("char_of", length),
        _ => return None,
    };
    let Some(CharacterLength::IntegerLength { length, .. }) = length else { return None };
    if *length == 0 {
        let found = format!("`{data_type}`: a length is at least 1");
        return Some(Err(Place::from(cast.span()).problem(found)));
    }
    let mut plain = cast.clone();
    if let Expr::Cast { data_type, .. } = &mut plain {
        *data_type = DataType::String(None);
    }
    Some(Ok(call(function, vec![plain, number(&length.to_string())])))
}

fn function_call(function: &Function) -> Rewritten {
    let FunctionArguments::List(list) = &function.args else { return None };
    let name = function.name.to_string().trim_matches('`').to_lowercase();
    if matches!(name.as_str(), "json_object" | "json_array") {
        return Some(json::constructed(&name, list, function.name.span().into()));
    }
    let args: Vec<Expr> = list.args.iter().filter_map(argument).collect();
    if args.len() != list.args.len() {
        return None;
    }
    let place = Place::from(function.name.span());
    if let Some(unit) = unit_field(&name) {
        return Some(exactly(&name, args, place).map(|[arg]| call("time_field", vec![text(unit), arg])));
    }
    arithmetic(&name, &args, place)
        .or_else(|| of_time(&name, &args, place))
        .or_else(|| of_text(&name, &args, place))
        .or_else(|| returning(&name, list, &args))
}

fn arithmetic(name: &str, args: &[Expr], place: Place) -> Rewritten {
    let args = args.to_vec();
    match name {
        "mod" => Some(exactly(name, args, place).map(|[left, right]| binary(left, BinaryOperator::Modulo, right))),
        "if" => Some(exactly(name, args, place).map(|[condition, then, or_else]| case(condition, then, or_else))),
        "ifnull" => Some(Ok(call("coalesce", args))),
        "greatest" | "least" if args.is_empty() => {
            Some(Err(place.problem(format!("{} takes 1 or more arguments, found 0", name.to_uppercase()))))
        }
        "greatest" | "least" => {
            let any_null = args.iter().cloned().map(|arg| Expr::IsNull(Box::new(nested(arg))));
            let any_null = any_null.reduce(|left, right| binary(left, BinaryOperator::Or, right))?;
            let chosen = call(if name == "greatest" { "greatest_of" } else { "least_of" }, args);
            Some(Ok(case(any_null, null(), chosen)))
        }
        _ => None,
    }
}

fn of_time(name: &str, args: &[Expr], place: Place) -> Rewritten {
    let args = args.to_vec();
    match name {
        "timestampdiff" | "timestampadd" => Some(exactly(name, args, place).and_then(|[unit, first, second]| {
            let Expr::Identifier(unit) = &unit else {
                let found = format!("expected a unit such as SECOND, found `{unit}`");
                return Err(place.refuse(found, format!("write {}(SECOND, …)", name.to_uppercase())));
            };
            Ok(call(&format!("{name}_unit"), vec![text(&unit.value), first, second]))
        })),
        _ => None,
    }
}

fn of_text(name: &str, args: &[Expr], place: Place) -> Rewritten {
    let args = args.to_vec();
    match name {
        // Null if one of them is, unlike the planner's own.
        "concat" if args.is_empty() => Some(Err(place.problem("CONCAT takes 1 or more arguments, found 0"))),
        "concat" => {
            args.into_iter().map(nested).reduce(|left, right| binary(left, BinaryOperator::StringConcat, right)).map(Ok)
        }
        "instr" => Some(exactly(name, args, place).map(|[text, part]| call("locate", vec![part, text]))),
        "regexp" => Some(Ok(call("regexp_like", args))),
        "sha224" | "sha256" | "sha384" | "sha512" => Some(
            exactly(name, args, place)
                .map(|[arg]| call("encode", vec![call(&format!("{name}_bytes"), vec![arg]), text("hex")])),
        ),
        "sha2" => Some(exactly(name, args, place).and_then(|[arg, length]| {
            let bits = length.to_string();
            if !matches!(bits.as_str(), "224" | "256" | "384" | "512") {
                return Err(place.problem(format!("SHA2 takes 224, 256, 384 or 512 as its length, found {bits}")));
            }
            Ok(call("encode", vec![call(&format!("sha{bits}_bytes"), vec![arg]), text("hex")]))
        })),
        "startswith" => Some(Ok(call("starts_with", args))),
        "endswith" => Some(Ok(call("ends_with", args))),
        _ => None,
    }
}

/// `JSON_VALUE(… RETURNING type)`
fn returning(name: &str, list: &FunctionArgumentList, args: &[Expr]) -> Rewritten {
    let returning = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::JsonReturningClause(returning) => Some(returning.data_type.clone()),
        _ => None,
    })?;
    Some(Ok(cast(call(name, args.to_vec()), returning)))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `YEAR(ts)` and its like.
fn unit_field(name: &str) -> Option<&'static str> {
    match name {
        "year" => Some("YEAR"),
        "quarter" => Some("QUARTER"),
        "month" => Some("MONTH"),
        "week" => Some("WEEK"),
        "dayofyear" => Some("DOY"),
        "dayofmonth" => Some("DAY"),
        "dayofweek" => Some("DOW"),
        "hour" => Some("HOUR"),
        "minute" => Some("MINUTE"),
        "second" => Some("SECOND"),
        _ => None,
    }
}

fn argument(arg: &FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

fn exactly<const N: usize>(name: &str, args: Vec<Expr>, place: Place) -> Result<[Expr; N], SqlProblem> {
    let found = args.len();
    args.try_into().map_err(|_| place.problem(format!("{} takes {N} arguments, found {found}", name.to_uppercase())))
}

pub(in crate::text) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    nested(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) })
}

pub(super) fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn case(condition: Expr, result: Expr, or_else: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: Some(Box::new(or_else)),
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

pub(in crate::text) fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

fn number(value: &str) -> Expr {
    Expr::Value(Value::Number(value.to_owned(), false).into())
}
