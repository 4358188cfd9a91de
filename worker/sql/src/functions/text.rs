//! Text, where Flink's functions differ from the planner's.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::{NoExpand, Regex};

use super::parts::{collected, count, first, skip, within};
use super::row::{Kind, Last, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("split_index", &[Kind::Text, Kind::Text, Kind::Int], 3, TEXT, |args| {
            let (text, delimiter) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
            let index = args[2].as_primitive::<Int64Type>();
            let mut out = StringBuilder::with_capacity(text.len(), text.value_data().len());
            for row in 0..text.len() {
                if text.is_null(row) || delimiter.is_null(row) || index.is_null(row) {
                    out.append_null();
                    continue;
                }
                let part = usize::try_from(index.value(row))
                    .ok()
                    .filter(|_| !text.value(row).is_empty())
                    .and_then(|index| text.value(row).split(delimiter.value(row)).nth(index));
                out.append_option(part);
            }
            Ok(Arc::new(out.finish()))
        }),
        pure("regexp_extract", &[Kind::Text, Kind::Text, Kind::Int], 2, TEXT, |args| {
            let (text, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
            let group = args.get(2).map(|group| group.as_primitive::<Int64Type>());
            let mut out = StringBuilder::with_capacity(text.len(), 0);
            let mut last = Last::new();
            for row in 0..text.len() {
                if text.is_null(row) || pattern.is_null(row) || group.is_some_and(|group| group.is_null(row)) {
                    out.append_null();
                    continue;
                }
                let regex = last.get(pattern.value(row), compile)?;
                let group = usize::try_from(group.map_or(0, |group| group.value(row))).unwrap_or(usize::MAX);
                let found = regex.captures(text.value(row)).and_then(|found| found.get(group));
                out.append_option(found.map(|found| found.as_str()));
            }
            Ok(Arc::new(out.finish()))
        }),
        // Of Flink's classes `SqlFunctionUtils` and `BinaryStringDataUtil`: the replacement is a text and names no groups.
        pure("regexp_replace", &[Kind::Text, Kind::Text, Kind::Text], 3, TEXT, |args| {
            let (text, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
            let replacement = args[2].as_string::<i32>();
            let mut last = Last::new();
            let rows = text.iter().zip(pattern).zip(replacement).map(|((text, pattern), replacement)| {
                let (Some(text), Some(pattern), Some(replacement)) = (text, pattern, replacement) else {
                    return Ok(None);
                };
                let regex = last.get(pattern, compile)?;
                Ok(Some(regex.replace_all(text, NoExpand(replacement))))
            });
            collected(rows)
        }),
        pure("replace", &[Kind::Text, Kind::Text, Kind::Text], 3, TEXT, |args| {
            let (text, from, to) = (args[0].as_string::<i32>(), args[1].as_string::<i32>(), args[2].as_string::<i32>());
            collected(text.iter().zip(from).zip(to).map(|((text, from), to)| {
                let (Some(text), Some(from), Some(to)) = (text, from, to) else { return Ok(None) };
                if !text.contains(from) {
                    return Ok(Some(Cow::Borrowed(text)));
                }
                let length = text.len().saturating_add(text.matches(from).count().saturating_mul(to.len()));
                within("REPLACE", length, length)?;
                Ok(Some(Cow::Owned(text.replace(from, to))))
            }))
        }),
        pure("overlay", &[Kind::Text, Kind::Text, Kind::Int, Kind::Int], 3, TEXT, overlay),
        // The lowest eight bits are the character.
        pure("chr", &[Kind::Int], 1, TEXT, |args| {
            let of =
                |number: i64| if number < 0 { String::new() } else { char::from((number & 0xff) as u8).to_string() };
            let numbers = args[0].as_primitive::<Int64Type>();
            collected(numbers.iter().map(|number| Ok(number.map(|number| Cow::Owned(of(number))))))
        }),
        // The first byte, with its sign.
        pure("ascii", &[Kind::Text], 1, Returns::Always(|| DataType::Int32), |args| {
            let of = |text: &str| i32::from(text.bytes().next().unwrap_or(0).cast_signed());
            let codes: Int32Array = args[0].as_string::<i32>().iter().map(|text| text.map(of)).collect();
            Ok(Arc::new(codes))
        }),
    ]
}

/// `SqlFunctionUtils.overlay` of Flink, counted in characters.
fn overlay(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (texts, others) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let (starts, lengths) =
        (args[2].as_primitive::<Int64Type>(), args.get(3).map(|lengths| lengths.as_primitive::<Int64Type>()));
    let rows = texts.iter().zip(others).zip(starts).enumerate().map(|(row, ((text, other), start))| {
        let (Some(text), Some(other), Some(start)) = (text, other, start) else { return Ok(None) };
        let length = match lengths {
            Some(lengths) if lengths.is_null(row) => return Ok(None),
            Some(lengths) => lengths.value(row),
            None => i64::try_from(other.chars().count()).unwrap_or(i64::MAX),
        };
        let all = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if start <= 0 || start > all {
            return Ok(Some(Cow::Borrowed(text)));
        }
        let before = first(text, count(start - 1));
        let after = if length > 0 { skip(text, count((start - 1).saturating_add(length))) } else { "" };
        Ok(Some(Cow::Owned(format!("{before}{other}{after}"))))
    });
    collected(rows)
}

fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern)
        .map_err(|error| exec_datafusion_err!("`{pattern}` is no regular expression: {}", crate::planner::why(&error)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_text_is_laid_over_another_up_to_its_end() {
        let of = |from: i64, length: i64| {
            let texts = ["äbcdef", "X"].map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
            let numbers = [from, length].map(|number| Arc::new(Int64Array::from(vec![number])) as ArrayRef);
            let laid = overlay(&[texts, numbers].concat()).expect("a text");
            laid.as_string::<i32>().value(0).to_owned()
        };
        assert_eq!(of(2, 2), "äXdef");
        assert_eq!(of(2, i64::MAX), "äX");
        assert_eq!(of(2, i64::MIN), "äX");
        for outside in [0, 7, i64::MIN, i64::MAX] {
            assert_eq!(of(outside, i64::MAX), "äbcdef", "{outside}");
        }
    }
}
