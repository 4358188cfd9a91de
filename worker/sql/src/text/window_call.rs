//! Window table functions as they are written: `TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND)`.

use datafusion::sql::sqlparser::ast::{
    DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Interval, Query, Spanned,
    TableFactor, UnaryOperator, Value,
};

use crate::problem::{Place, SqlProblem};
use crate::window::WindowSpec;

/// What names of extracted windows start with; no identifier of a text does.
pub(crate) const WINDOW_PREFIX: &str = "$window_";
/// Into how many windows one row may fall.
const MAX_WINDOWS_PER_ROW: i64 = 10_000;

/// How long a window, a gap or an offset may be, in milliseconds: as long as the years that times may have. So no sum of
/// some of them and a time overflows.
const LONGEST_MS: i64 = 10_000 * 366 * 86_400_000;

/// One call of a window table function.
#[derive(Clone, Debug)]
pub(crate) struct WindowCall {
    /// Where it stands.
    pub(crate) place: Place,
    /// The windows.
    pub(crate) spec: WindowSpec,
    /// The rows that get windows.
    pub(crate) data: WindowData,
    /// `PARTITION BY` of `SESSION`.
    pub(crate) partition: Vec<Expr>,
    /// The column in `DESCRIPTOR`.
    pub(crate) time: Ident,
}

/// The rows that get windows.
#[derive(Clone, Debug)]
pub(crate) enum WindowData {
    /// `TABLE name`
    Table(Ident),
    /// A query in parentheses.
    Query(Box<Query>),
}

/// How the arguments of a window function are called, in their order.
fn parameters(function: &str) -> Option<&'static [&'static str]> {
    match function {
        "TUMBLE" => Some(&["DATA", "TIMECOL", "SIZE", "OFFSET"]),
        "HOP" => Some(&["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"]),
        "CUMULATE" => Some(&["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"]),
        "SESSION" => Some(&["DATA", "TIMECOL", "GAP"]),
        _ => None,
    }
}

/// The window call in a table factor; `None` if it is something else.
pub(crate) fn parse(factor: &TableFactor) -> Option<Result<WindowCall, SqlProblem>> {
    let (name, args, place) = match factor {
        TableFactor::TableFunction { expr: Expr::Function(function), .. } => {
            let FunctionArguments::List(list) = &function.args else { return None };
            (function.name.to_string(), &list.args, Place::from(function.span()))
        }
        TableFactor::Table { name, args: Some(args), .. } => (name.to_string(), &args.args, Place::from(name.span())),
        _ => return None,
    };
    let name = name.to_uppercase();
    parameters(&name).map(|parameters| Arguments::of(&name, parameters, args, place)?.call())
}

struct Arguments<'a> {
    function: &'a str,
    place: Place,
    values: Vec<(&'static str, &'a Expr)>,
}

impl<'a> Arguments<'a> {
    fn of(
        function: &'a str,
        parameters: &'static [&'static str],
        args: &'a [FunctionArg],
        place: Place,
    ) -> Result<Self, SqlProblem> {
        let mut values = Vec::with_capacity(args.len());
        for (position, arg) in args.iter().enumerate() {
            let known = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => parameters.get(position).zip(Some(value)),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    parameters.iter().find(|known| name.value.eq_ignore_ascii_case(known)).zip(Some(value))
                }
                _ => None,
            };
            let Some((parameter, value)) = known else {
                let at = Place::from(arg.span()).or(place);
                return Err(at.refuse(format!("`{arg}` is no argument of {function}"), usage(function)));
            };
            values.push((*parameter, value));
        }
        Ok(Self { function, place, values })
    }

    fn get(&self, parameter: &str) -> Option<&'a Expr> {
        self.values.iter().find(|(name, _)| *name == parameter).map(|(_, value)| *value)
    }

    fn need(&self, parameter: &str) -> Result<&'a Expr, SqlProblem> {
        self.get(parameter).ok_or_else(|| {
            self.place.refuse(format!("{} lacks its argument {parameter}", self.function), usage(self.function))
        })
    }

    fn call(&self) -> Result<WindowCall, SqlProblem> {
        let (data, partition) = self.data()?;
        if !partition.is_empty() && self.function != "SESSION" {
            let at = Place::from(partition[0].span()).or(self.place);
            let found = format!("PARTITION BY has no meaning in {}", self.function);
            return Err(at.refuse(found, "leave it out: the keys are those of GROUP BY"));
        }
        Ok(WindowCall { place: self.place, spec: self.spec()?, data, partition, time: self.time()? })
    }

    fn data(&self) -> Result<(WindowData, Vec<Expr>), SqlProblem> {
        match self.need("DATA")? {
            Expr::Identifier(table) => Ok((WindowData::Table(table.clone()), vec![])),
            Expr::Subquery(query) => Ok((WindowData::Query(query.clone()), vec![])),
            Expr::Tuple(parts) => match parts.split_first() {
                Some((Expr::Identifier(table), keys)) => Ok((WindowData::Table(table.clone()), keys.to_vec())),
                _ => Err(self.place.refuse("the window's table is no name", usage(self.function))),
            },
            other => {
                let at = Place::from(other.span()).or(self.place);
                Err(at.refuse(format!("expected TABLE name, found `{other}`"), usage(self.function)))
            }
        }
    }

    fn time(&self) -> Result<Ident, SqlProblem> {
        let found = self.need("TIMECOL")?;
        if let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = found
            && name.to_string().eq_ignore_ascii_case("DESCRIPTOR")
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(column)))] = list.args.as_slice()
        {
            return Ok(column.clone());
        }
        let at = Place::from(found.span()).or(self.place);
        Err(at.refuse(format!("expected DESCRIPTOR(column), found `{found}`"), usage(self.function)))
    }

    fn spec(&self) -> Result<WindowSpec, SqlProblem> {
        let offset = self.get("OFFSET").map_or(Ok(0), |value| self.millis(value))?;
        match self.function {
            "TUMBLE" => Ok(WindowSpec::Tumble { size: self.positive("SIZE")?, offset }),
            "HOP" => {
                let (size, slide) = self.multiple("SIZE", "SLIDE")?;
                Ok(WindowSpec::Hop { size, slide, offset })
            }
            "CUMULATE" => {
                let (size, step) = self.multiple("SIZE", "STEP")?;
                Ok(WindowSpec::Cumulate { size, step, offset })
            }
            _ => Ok(WindowSpec::Session { gap: self.positive("GAP")? }),
        }
    }

    fn multiple(&self, whole: &str, part: &str) -> Result<(i64, i64), SqlProblem> {
        let (size, step) = (self.positive(whole)?, self.positive(part)?);
        let at = Place::from(self.need(whole)?.span()).or(self.place);
        if size % step != 0 {
            let found = format!("the {whole} of {} is {size} ms, no multiple of its {part}, {step} ms", self.function);
            return Err(at.refuse(found, usage(self.function)));
        }
        if size / step > MAX_WINDOWS_PER_ROW {
            let found = format!("each row would fall into {} windows, the limit is {MAX_WINDOWS_PER_ROW}", size / step);
            return Err(at.refuse(found, format!("use a longer {part}")));
        }
        Ok((size, step))
    }

    fn positive(&self, parameter: &str) -> Result<i64, SqlProblem> {
        let value = self.need(parameter)?;
        let millis = self.millis(value)?;
        if millis > 0 {
            return Ok(millis);
        }
        let at = Place::from(value.span()).or(self.place);
        Err(at.refuse(format!("{parameter} is {millis} ms, expected more than 0"), usage(self.function)))
    }

    fn millis(&self, value: &Expr) -> Result<i64, SqlProblem> {
        let at = || Place::from(value.span()).or(self.place);
        let millis = interval_millis(value).ok_or_else(|| {
            at().refuse(
                format!("expected a fixed interval, found `{value}`"),
                "write INTERVAL '10' SECOND; the units are SECOND, MINUTE, HOUR, DAY and WEEK",
            )
        })?;
        if millis.unsigned_abs() > LONGEST_MS.unsigned_abs() {
            return Err(at().refuse(format!("`{value}` is longer than 10000 years"), usage(self.function)));
        }
        Ok(millis)
    }
}

fn usage(function: &str) -> &'static str {
    match function {
        "TUMBLE" => "write TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
        "HOP" => "write HOP(TABLE t, DESCRIPTOR(ts), slide, size), the size a multiple of the slide",
        "CUMULATE" => "write CUMULATE(TABLE t, DESCRIPTOR(ts), step, size), the size a multiple of the step",
        _ => "write SESSION(TABLE t PARTITION BY key, DESCRIPTOR(ts), gap)",
    }
}

/// The length of an interval literal of a fixed unit, in milliseconds.
fn interval_millis(value: &Expr) -> Option<i64> {
    match value {
        Expr::Nested(inner) => interval_millis(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => interval_millis(expr)?.checked_neg(),
        Expr::Interval(Interval { value, leading_field: Some(unit), last_field: None, .. }) => {
            let unit = match unit {
                DateTimeField::Millisecond | DateTimeField::Milliseconds => 1,
                DateTimeField::Second | DateTimeField::Seconds => 1_000,
                DateTimeField::Minute | DateTimeField::Minutes => 60_000,
                DateTimeField::Hour | DateTimeField::Hours => 3_600_000,
                DateTimeField::Day | DateTimeField::Days => 86_400_000,
                DateTimeField::Week(_) | DateTimeField::Weeks => 604_800_000,
                _ => return None,
            };
            scaled(&literal_text(value)?, unit)
        }
        _ => None,
    }
}

fn literal_text(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.trim().to_owned()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(format!("-{}", literal_text(expr)?)),
        _ => None,
    }
}

/// `text × unit` where that is a whole number of milliseconds.
fn scaled(text: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let whole = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let scale = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<i64>().ok().filter(|part| *part >= 0)?.checked_mul(unit)?;
    if part % scale != 0 {
        return None;
    }
    let part = part / scale;
    whole.checked_add(if negative { -part } else { part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_unit_are_whole_milliseconds_or_nothing() {
        assert_eq!(scaled("0.5", 1_000), Some(500));
        assert_eq!(scaled("-1.25", 60_000), Some(-75_000));
        assert_eq!(scaled("0.0001", 1_000), None);
        assert_eq!(scaled("9223372036854775807", 1_000), None);
    }
}
