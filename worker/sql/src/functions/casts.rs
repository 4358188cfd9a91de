//! Casts between texts and other values, as Flink and Java write and read them.

use std::borrow::Cow;
use std::fmt::LowerExp;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::parts::collected;
use super::row::{Kind, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("text_of_double", &[Kind::Double], 1, TEXT, |args| {
            let values = args[0].as_primitive::<Float64Type>();
            collected(values.iter().map(|value| Ok(value.map(|value| Cow::Owned(java_text(value, value))))))
        }),
        pure("text_of_float", &[Kind::Float], 1, TEXT, |args| {
            let values = args[0].as_primitive::<Float32Type>();
            let text = |value: f32| Cow::Owned(java_text(value, f64::from(value)));
            collected(values.iter().map(|value| Ok(value.map(text))))
        }),
        pure("text_of_boolean", &[Kind::Boolean], 1, TEXT, |args| {
            let text = |value: bool| Cow::Borrowed(if value { "TRUE" } else { "FALSE" });
            collected(args[0].as_boolean().iter().map(|value| Ok(value.map(text))))
        }),
        pure("whole_of", &[Kind::Text], 1, TEXT, whole),
    ]
}

/// `Double.toString` and `Float.toString` of Java: the shortest digits that tell the value from its neighbours.
fn java_text(value: impl LowerExp, size: f64) -> String {
    if size.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if size.is_sign_negative() { "-" } else { "" };
    if size.is_infinite() {
        return format!("{sign}Infinity");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.trim_start_matches('-').split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.replace('.', "");
    let is_scientific = size != 0.0 && !(1e-3..1e7).contains(&size.abs());
    let (whole, fraction) = if is_scientific {
        let (whole, fraction) = digits.split_at(1);
        (whole.to_owned(), fraction.to_owned())
    } else if exponent < 0 {
        ("0".to_owned(), format!("{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)))
    } else {
        let point = exponent as usize + 1;
        let digits = format!("{digits:0<point$}");
        (digits[..point].to_owned(), digits[point..].to_owned())
    };
    let fraction = if fraction.is_empty() { "0" } else { &fraction };
    let exponent = if is_scientific { format!("E{exponent}") } else { String::new() };
    format!("{sign}{whole}.{fraction}{exponent}")
}

/// What stands before the point of a number, which is all that a whole number takes of a text
/// (`BinaryStringDataUtil.toInt` of Flink).
fn whole(args: &[ArrayRef]) -> Result<ArrayRef> {
    let texts = args[0].as_string::<i32>();
    if !texts.value_data().contains(&b'.') {
        return Ok(Arc::clone(&args[0]));
    }
    let whole = |text| match str::split_once(text, '.') {
        Some((whole, fraction))
            if !whole.is_empty() && fraction.trim_end().bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Cow::Borrowed(whole)
        }
        _ => Cow::Borrowed(text),
    };
    collected(texts.iter().map(|text| Ok(text.map(whole))))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (0.012_5, "0.0125"),
            (1e-5, "1.0E-5"),
            (1.25e-5, "1.25E-5"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (123_456_789.123, "1.23456789123E8"),
            (1e20, "1.0E20"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(java_text(value, value), expected);
        }
        assert_eq!(java_text(0.1_f32, f64::from(0.1_f32)), "0.1");
    }

    #[test]
    fn a_whole_number_takes_what_stands_before_the_point() {
        let texts: ArrayRef =
            Arc::new(StringArray::from(vec![Some("12.7"), Some("-3."), Some("1.x"), Some(".5"), None]));
        let found = whole(&[texts]).expect("texts");
        let found: Vec<_> = found.as_string::<i32>().iter().collect();
        assert_eq!(found, [Some("12"), Some("-3"), Some("1.x"), Some(".5"), None]);
    }
}
