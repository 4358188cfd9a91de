//! Numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, PrimitiveArray};
use arrow::compute::kernels::arity;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::row::{Kind, Returns, pure};

const DOUBLE: Returns = Returns::Always(|| DataType::Float64);

macro_rules! of_double {
    ($($name:literal => $run:expr),* $(,)?) => {
        [$(pure($name, &[Kind::Double], 1, DOUBLE, |args| unary(&args[0], $run))),*]
    };
}

pub(super) fn functions() -> Vec<ScalarUDF> {
    let one = of_double! {
        "acos" => f64::acos,
        "asin" => f64::asin,
        "atan" => f64::atan,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "cot" => |x: f64| 1.0 / x.tan(),
        "degrees" => f64::to_degrees,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "radians" => f64::to_radians,
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
    };
    let two: &'static [Kind] = &[Kind::Double, Kind::Double];
    let others = [
        pure("power", two, 2, DOUBLE, |args| binary(args, f64::powf)),
        pure("pow", two, 2, DOUBLE, |args| binary(args, f64::powf)),
        pure("atan2", two, 2, DOUBLE, |args| binary(args, f64::atan2)),
        pure("log", two, 1, DOUBLE, |args| match args {
            [x] => unary(x, f64::ln),
            _ => binary(args, |base, x| x.ln() / base.ln()),
        }),
        pure("pi", &[], 0, DOUBLE, |_| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::PI])))),
        pure("e", &[], 0, DOUBLE, |_| Ok(Arc::new(Float64Array::from(vec![std::f64::consts::E])))),
        pure("abs", &[Kind::Number], 1, Returns::First, abs),
        pure("sign", &[Kind::Number], 1, Returns::First, sign),
        pure("round", &[Kind::Number, Kind::Int], 1, Returns::First, |args| to_digits(args, Mode::HalfUp)),
        pure("truncate", &[Kind::Number, Kind::Int], 1, Returns::First, |args| to_digits(args, Mode::Zero)),
        pure("floor", &[Kind::Number], 1, Returns::First, |args| to_digits(args, Mode::Down)),
        pure("ceil", &[Kind::Number], 1, Returns::First, |args| to_digits(args, Mode::Up)),
        pure("ceiling", &[Kind::Number], 1, Returns::First, |args| to_digits(args, Mode::Up)),
    ];
    one.into_iter().chain(others).collect()
}

fn unary(array: &ArrayRef, run: fn(f64) -> f64) -> Result<ArrayRef> {
    let array = array.as_primitive::<Float64Type>();
    Ok(Arc::new(arity::unary::<_, _, Float64Type>(array, run)))
}

fn binary(args: &[ArrayRef], run: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (left, right) = (args[0].as_primitive::<Float64Type>(), args[1].as_primitive::<Float64Type>());
    Ok(Arc::new(arity::binary::<_, _, _, Float64Type>(left, right, run)?))
}

fn abs(args: &[ArrayRef]) -> Result<ArrayRef> {
    match args[0].data_type() {
        DataType::Int64 => {
            let checked = |value: i64| match value.checked_abs() {
                Some(value) => Ok(value),
                None => Err(arrow::error::ArrowError::ComputeError(format!("ABS({value}) is no BIGINT"))),
            };
            let result: Int64Array = arity::try_unary(args[0].as_primitive::<Int64Type>(), checked)?;
            Ok(Arc::new(result))
        }
        DataType::Decimal128(..) => decimal(&args[0], |value, _| value.wrapping_abs()),
        _ => unary(&args[0], f64::abs),
    }
}

fn sign(args: &[ArrayRef]) -> Result<ArrayRef> {
    match args[0].data_type() {
        DataType::Int64 => {
            Ok(Arc::new(arity::unary::<_, _, Int64Type>(args[0].as_primitive::<Int64Type>(), i64::signum)))
        }
        DataType::Decimal128(..) => decimal(&args[0], |value, one| value.signum().wrapping_mul(one)),
        _ => unary(&args[0], |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
    }
}

/// Applies `run(value, 10^scale)` to a decimal's digits.
fn decimal(array: &ArrayRef, run: impl Fn(i128, i128) -> i128) -> Result<ArrayRef> {
    let array = array.as_primitive::<Decimal128Type>();
    let one = 10_i128.pow(u32::try_from(array.scale()).unwrap_or(0));
    let result: Decimal128Array = arity::unary(array, |value| run(value, one));
    Ok(Arc::new(result.with_precision_and_scale(array.precision(), array.scale())?))
}

#[derive(Clone, Copy)]
enum Mode {
    HalfUp,
    Zero,
    Down,
    Up,
}

impl Mode {
    /// `value` cut to a multiple of `unit`.
    const fn whole(self, value: i128, unit: i128) -> i128 {
        let rest = value.rem_euclid(unit);
        let down = value - rest;
        let up = if rest == 0 { down } else { down + unit };
        match self {
            Self::Down => down,
            Self::Up => up,
            Self::Zero => {
                if value < 0 {
                    up
                } else {
                    down
                }
            }
            Self::HalfUp => {
                if rest > unit - rest || (rest == unit - rest && value > 0) {
                    up
                } else {
                    down
                }
            }
        }
    }

    /// `value` cut to so many digits after the point, by the digits that it is written with (`BigDecimal.valueOf`).
    fn decimal(self, value: f64, digits: i64) -> f64 {
        let text = format!("{value:e}");
        let Some((mantissa, exponent)) = text.trim_start_matches('-').split_once('e') else { return value };
        let (all, Ok(exponent)) = (mantissa.replace('.', ""), exponent.parse::<i64>()) else { return value };
        // Digits of the value that stay: those before the point, and so many after it.
        let kept = exponent + 1 + digits;
        let Ok(kept) = usize::try_from(kept) else { return 0.0_f64.copysign(value) };
        if kept >= all.len() {
            return value;
        }
        let up = matches!(self, Self::HalfUp) && all.as_bytes()[kept] >= b'5';
        // At most 17 digits.
        let whole = all[..kept].parse::<u64>().unwrap_or(0) + u64::from(up);
        format!("{whole}e{}", -digits).parse::<f64>().map_or(value, |cut| cut.copysign(value))
    }

    fn float(self, value: f64) -> f64 {
        match self {
            Self::HalfUp => value.round(),
            Self::Zero => value.trunc(),
            Self::Down => value.floor(),
            Self::Up => value.ceil(),
        }
    }
}

/// Cuts numbers to so many digits after the point; the type stays.
fn to_digits(args: &[ArrayRef], mode: Mode) -> Result<ArrayRef> {
    let array = &args[0];
    let digits: Vec<Option<i64>> = match args.get(1) {
        Some(digits) => digits.as_primitive::<Int64Type>().iter().collect(),
        None => vec![Some(0); array.len()],
    };
    if let Some(wrong) = digits.iter().flatten().find(|digits| digits.unsigned_abs() > 38) {
        return exec_err!("{wrong} digits after the point are not within -38 to 38");
    }
    match array.data_type() {
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            let rows = array.iter().zip(digits).map(|(value, digits)| {
                let (Some(value), Some(digits)) = (value, digits) else { return Ok(None) };
                if digits >= 0 {
                    return Ok(Some(value));
                }
                let unit = 10_i128.pow(digits.unsigned_abs().min(37) as u32);
                let cut = mode.whole(i128::from(value), unit);
                i64::try_from(cut).map_or_else(|_| exec_err!("{cut} is beyond BIGINT"), |cut| Ok(Some(cut)))
            });
            Ok(Arc::new(rows.collect::<Result<PrimitiveArray<Int64Type>>>()?))
        }
        DataType::Decimal128(precision, scale) => {
            let array = array.as_primitive::<Decimal128Type>();
            let rows = array.iter().zip(digits).map(|(value, digits)| {
                let (value, digits) = (value?, digits?);
                let cut = i64::from(*scale) - digits;
                if cut <= 0 {
                    return Some(value);
                }
                // A decimal has 38 digits at most: cut to more, nothing is left.
                let unit = u32::try_from(cut).ok().filter(|cut| *cut < 38).map(|cut| 10_i128.pow(cut));
                Some(unit.map_or(0, |unit| mode.whole(value, unit)))
            });
            let result: Decimal128Array = rows.collect();
            Ok(Arc::new(result.with_precision_and_scale(*precision, *scale)?))
        }
        _ => {
            let array = array.as_primitive::<Float64Type>();
            let rows = array.iter().zip(digits).map(|(value, digits)| {
                let (value, digits) = (value?, digits?);
                if digits == 0 {
                    return Some(mode.float(value));
                }
                Some(mode.decimal(value, digits))
            });
            Ok(Arc::new(rows.collect::<Float64Array>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_digits_that_no_number_has_is_refused() {
        let value: ArrayRef = Arc::new(Float64Array::from(vec![2.5]));
        for wrong in [i64::MIN, -39, 39, i64::MAX] {
            let digits: ArrayRef = Arc::new(Int64Array::from(vec![wrong]));
            let refused = to_digits(&[Arc::clone(&value), digits], Mode::HalfUp).expect_err("no such digits");
            assert!(refused.to_string().contains(&format!("{wrong} digits after the point")), "{refused}");
        }
    }
}
