//! Parts of texts, and texts brought to a length, counted in characters as Flink does.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::row::{Kind, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);
/// What one text may be padded or repeated to, in bytes.
const MOST_BYTES: usize = 16 << 20;

pub(super) fn functions() -> Vec<ScalarUDF> {
    let (two, three): (&[Kind], &[Kind]) = (&[Kind::Text, Kind::Int], &[Kind::Text, Kind::Int, Kind::Int]);
    let padded: &[Kind] = &[Kind::Text, Kind::Int, Kind::Text];
    vec![
        pure("substr", three, 2, TEXT, substring),
        pure("substring", three, 2, TEXT, substring),
        pure("left", two, 2, TEXT, |args| each(args, |text, numbers| Ok(Some(first(text, count(numbers[0])).into())))),
        pure("right", two, 2, TEXT, |args| {
            each(args, |text, numbers| {
                let all = text.chars().count();
                Ok(Some(skip(text, all - count(numbers[0]).min(all)).into()))
            })
        }),
        pure("varchar_of", two, 2, TEXT, |args| {
            each(args, |text, numbers| Ok(Some(first(text, count(numbers[0])).into())))
        }),
        pure("char_of", two, 2, TEXT, |args| {
            each(args, |text, numbers| {
                let length = count(numbers[0]);
                let missing = length.saturating_sub(text.chars().count());
                let padding = " ".repeat(within("CHAR", missing, missing)?);
                Ok(Some(format!("{}{padding}", first(text, length)).into()))
            })
        }),
        pure("repeat", two, 2, TEXT, |args| {
            each(args, |text, numbers| {
                let times = count(numbers[0]);
                within("REPEAT", times, times.saturating_mul(text.len()))?;
                Ok(Some(text.repeat(if text.is_empty() { 0 } else { times }).into()))
            })
        }),
        pure("lpad", padded, 2, TEXT, |args| pad(args, "LPAD", |text, padding| format!("{padding}{text}"))),
        pure("rpad", padded, 2, TEXT, |args| pad(args, "RPAD", |text, padding| format!("{text}{padding}"))),
        pure("locate", &[Kind::Text, Kind::Text, Kind::Int], 2, Returns::Always(|| DataType::Int32), locate),
    ]
}

/// `BinaryStringDataUtil.substringSQL` of Flink: from the end where the start is negative, and 0 counts as 1.
fn substring(args: &[ArrayRef]) -> Result<ArrayRef> {
    each(args, |text, numbers| {
        let length = numbers.get(1).copied().unwrap_or(i64::MAX);
        if length < 0 {
            return Ok(None);
        }
        let all = text.chars().count();
        let start = match numbers[0] {
            0 => Some(0),
            start if start > 0 => Some(count(start - 1)),
            start => all.checked_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        Ok(Some(start.map_or("", |start| first(skip(text, start), count(length))).into()))
    })
}

/// `SqlFunctionUtils.lpad` of Flink: null where the length is negative or the padding is empty.
fn pad(args: &[ArrayRef], name: &str, join: fn(&str, &str) -> String) -> Result<ArrayRef> {
    let blank: ArrayRef = Arc::new(StringArray::from(vec![" "; args[0].len()]));
    let paddings = args.get(2).unwrap_or(&blank).as_string::<i32>();
    let (texts, lengths) = (args[0].as_string::<i32>(), args[1].as_primitive::<Int64Type>());
    let rows = texts.iter().zip(lengths).zip(paddings).map(|((text, length), padding)| {
        let (Some(text), Some(length), Some(padding)) = (text, length, padding) else { return Ok(None) };
        if length < 0 || padding.is_empty() {
            return Ok(None);
        }
        let missing = within(name, count(length), count(length))?.saturating_sub(text.chars().count());
        let padding: String = padding.chars().cycle().take(missing).collect();
        Ok(Some(Cow::Owned(join(first(text, count(length)), &padding))))
    });
    collected(rows)
}

/// The place of a text in another, from 1; 0 where it is not.
fn locate(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (parts, texts) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1; parts.len()]));
    let from = args.get(2).unwrap_or(&one).as_primitive::<Int64Type>();
    let rows = parts.iter().zip(texts).zip(from).map(|((part, text), from)| {
        let (part, text, from) = (part?, text?, count(from?.saturating_sub(1)));
        let rest = skip(text, from);
        let found = rest.find(part).map(|at| from + rest[..at].chars().count() + 1);
        Some(found.map_or(0, |found| i32::try_from(found).unwrap_or(i32::MAX)))
    });
    Ok(Arc::new(rows.collect::<arrow::array::Int32Array>()))
}

/// Applies `run` to the text of each row and its numbers; null where one of them is.
fn each(args: &[ArrayRef], run: impl for<'a> Fn(&'a str, &[i64]) -> Result<Option<Cow<'a, str>>>) -> Result<ArrayRef> {
    let texts = args[0].as_string::<i32>();
    let numbers: Vec<_> = args[1..].iter().map(|numbers| numbers.as_primitive::<Int64Type>()).collect();
    let mut of_row = Vec::with_capacity(numbers.len());
    let mut out = Texts::new(texts.len());
    for (row, text) in texts.iter().enumerate() {
        of_row.clear();
        of_row.extend(numbers.iter().filter(|numbers| numbers.is_valid(row)).map(|numbers| numbers.value(row)));
        let text = text.filter(|_| of_row.len() == numbers.len());
        out.push(text.map(|text| run(text, &of_row)).transpose()?.flatten())?;
    }
    Ok(out.finish())
}

pub(super) fn collected<'a>(rows: impl Iterator<Item = Result<Option<Cow<'a, str>>>>) -> Result<ArrayRef> {
    let mut out = Texts::new(0);
    for row in rows {
        out.push(row?)?;
    }
    Ok(out.finish())
}

/// A column of texts, which may have 2 GiB together.
struct Texts {
    builder: StringBuilder,
    bytes: usize,
}

impl Texts {
    fn new(rows: usize) -> Self {
        Self { builder: StringBuilder::with_capacity(rows, 0), bytes: 0 }
    }

    fn push(&mut self, text: Option<Cow<'_, str>>) -> Result<()> {
        self.bytes += text.as_ref().map_or(0, |text| text.len());
        // Rows that are too many together are tried again in parts.
        if self.bytes > i32::MAX as usize {
            return exec_err!("texts of more than 2 GiB");
        }
        self.builder.append_option(text);
        Ok(())
    }

    fn finish(mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

pub(super) fn within(name: &str, asked: usize, bytes: usize) -> Result<usize> {
    if bytes > MOST_BYTES {
        return exec_err!("{name} to {asked} makes a text of more than {MOST_BYTES} bytes");
    }
    Ok(asked)
}

pub(super) fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// A text without its first characters.
pub(super) fn skip(text: &str, characters: usize) -> &str {
    &text[byte_of(text, characters)..]
}

/// The first characters of a text.
pub(super) fn first(text: &str, characters: usize) -> &str {
    &text[..byte_of(text, characters)]
}

fn byte_of(text: &str, character: usize) -> usize {
    if text.is_ascii() {
        return character.min(text.len());
    }
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}
