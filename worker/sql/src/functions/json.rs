//! JSON in text.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, BooleanBuilder, PrimitiveArray,
    StringBuilder,
};
use arrow::datatypes::{
    ArrowTemporalType, DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::row::{Kind, Last, Returns, pure, variadic};
use crate::explain::Type;

const TEXT: Returns = Returns::Always(|| DataType::Utf8);
const BOOLEAN: Returns = Returns::Always(|| DataType::Boolean);
const ARGUMENTS: &[Kind] = &[Kind::Text, Kind::Text];

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("json_value", ARGUMENTS, 2, TEXT, |args| text_of(args, scalar_text)),
        pure("json_query", ARGUMENTS, 2, TEXT, |args| {
            text_of(args, |found| (found.is_object() || found.is_array()).then(|| found.to_string()))
        }),
        pure("json_exists", ARGUMENTS, 2, BOOLEAN, |args| {
            let mut out = BooleanBuilder::with_capacity(args[0].len());
            each(args, |found| match found {
                Some(found) => out.append_value(found.is_some()),
                None => out.append_null(),
            })?;
            Ok(Arc::new(out.finish()))
        }),
        pure("is_json", ARGUMENTS, 1, BOOLEAN, is_json),
        pure("json_string", &[Kind::Any], 1, Returns::Of(json_type), json_string),
        variadic(super::JSON_TEXT, &[Kind::Text, Kind::Any], Returns::Of(json_type), constructed),
    ]
}

/// Whether a text is JSON, of a kind where one is given: VALUE, SCALAR, ARRAY or OBJECT.
fn is_json(args: &[ArrayRef]) -> Result<ArrayRef> {
    let text = args[0].as_string::<i32>();
    let kinds = args.get(1).map(|kinds| kinds.as_string::<i32>());
    let is_of = |row: usize, text: &str| {
        // The first character tells the kind of what is JSON.
        let start = text.trim_start().bytes().next();
        let is_kind = match kinds.map_or("VALUE", |kinds| kinds.value(row)) {
            "ARRAY" => start == Some(b'['),
            "OBJECT" => start == Some(b'{'),
            "SCALAR" => !matches!(start, Some(b'[' | b'{')),
            _ => true,
        };
        is_kind && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    };
    // Null is none, as in Flink.
    let rows = text.iter().enumerate().map(|(row, text)| text.is_some_and(|text| is_of(row, text)));
    Ok(Arc::new(BooleanArray::from_iter(rows.map(Some))))
}

/// What JSON is made of: members with their keys, or elements. It travels as the first argument, a constant.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Whether it is an object.
    pub(crate) is_object: bool,
    /// Whether what is null is written; else it is left out.
    pub(crate) shows_null: bool,
    /// Of each value the key, empty in an array, and whether it is JSON already.
    pub(crate) members: Vec<(String, bool)>,
}

/// JSON is text, where its values can be written.
fn json_type(args: &[DataType]) -> Result<DataType> {
    args.iter().try_for_each(check_value)?;
    Ok(DataType::Utf8)
}

fn check_value(kind: &DataType) -> Result<()> {
    match kind {
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Ok(()) };
            if !fields.first().is_some_and(|key| key.data_type().is_string()) {
                return plan_err!("JSON holds no {}: its keys are texts", Type(kind));
            }
            fields.iter().try_for_each(|field| check_value(field.data_type()))
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_value(field.data_type())),
        DataType::List(field) => check_value(field.data_type()),
        _ => Ok(()),
    }
}

/// Any value as JSON; null of null.
fn json_string(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (values, field) = (&args[0], field_of(&args[0]));
    let mut encoder = encoder(values, &field)?;
    let (mut out, mut json) = (StringBuilder::with_capacity(values.len(), 0), Vec::new());
    for row in 0..values.len() {
        if values.is_null(row) {
            out.append_null();
            continue;
        }
        json.clear();
        encoder.encode(row, &mut json);
        out.append_value(text(&json)?);
    }
    Ok(Arc::new(out.finish()))
}

/// An object or an array of values.
fn constructed(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (shapes, values) = (args[0].as_string::<i32>(), &args[1..]);
    let fields: Vec<_> = values.iter().map(field_of).collect();
    let encoders = values.iter().zip(&fields).map(|(values, field)| encoder(values, field));
    let mut encoders = encoders.collect::<Result<Vec<_>>>()?;
    let (mut out, mut json, mut last) = (StringBuilder::with_capacity(shapes.len(), 0), Vec::new(), Last::new());
    for row in 0..shapes.len() {
        let shape: &Shape = last.get(shapes.value(row), |shape| {
            serde_json::from_str(shape).map_err(|error| exec_datafusion_err!("no shape of JSON: {error}"))
        })?;
        json.clear();
        json.push(if shape.is_object { b'{' } else { b'[' });
        for ((values, encoder), (key, is_json)) in values.iter().zip(&mut encoders).zip(&shape.members) {
            if values.is_null(row) && !shape.shows_null {
                continue;
            }
            if json.len() > 1 {
                json.push(b',');
            }
            if shape.is_object {
                serde_json::to_writer(&mut json, key).map_err(|error| exec_datafusion_err!("{error}"))?;
                json.push(b':');
            }
            match values {
                values if values.is_null(row) => json.extend(b"null"),
                values if *is_json => json.extend(values.as_string::<i32>().value(row).as_bytes()),
                _ => encoder.encode(row, &mut json),
            }
        }
        json.push(if shape.is_object { b'}' } else { b']' });
        out.append_value(text(&json)?);
    }
    Ok(Arc::new(out.finish()))
}

static OPTIONS: LazyLock<EncoderOptions> =
    LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(AsFlink)));

/// What writes values as JSON; `field` is theirs.
fn encoder<'a>(values: &'a ArrayRef, field: &'a FieldRef) -> Result<NullableEncoder<'a>> {
    Ok(make_encoder(field, values.as_ref(), &OPTIONS)?)
}

/// What Flink writes otherwise: bytes are base64, and a time has as many digits behind its seconds as it needs.
///
/// Source: Flink 2.3, `JsonGenerateUtils`.
#[derive(Debug)]
struct AsFlink;

impl EncoderFactory for AsFlink {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Bytes(array.as_binary())),
            DataType::Timestamp(TimeUnit::Second, _) => Box::new(Times(array.as_primitive::<TimestampSecondType>())),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampMillisecondType>()))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampMicrosecondType>()))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Box::new(Times(array.as_primitive::<TimestampNanosecondType>()))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Bytes<'a>(&'a BinaryArray);

impl Encoder for Bytes<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.extend(format!("\"{}\"", STANDARD.encode(self.0.value(row))).into_bytes());
    }
}

struct Times<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowTemporalType> Encoder for Times<'_, T>
where
    i64: From<T::Native>,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let Some(time) = self.0.value_as_datetime(row) else { return out.extend(b"null") };
        let fraction = format!(".{:09}", time.and_utc().timestamp_subsec_nanos());
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        out.extend(format!("\"{}{fraction}\"", time.format("%Y-%m-%dT%H:%M:%S")).into_bytes());
    }
}

fn field_of(values: &ArrayRef) -> FieldRef {
    Arc::new(Field::new("", values.data_type().clone(), true))
}

fn text(json: &[u8]) -> Result<&str> {
    std::str::from_utf8(json).map_err(|error| exec_datafusion_err!("JSON that is no text: {error}"))
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn text_of(args: &[ArrayRef], read: fn(&Value) -> Option<String>) -> Result<ArrayRef> {
    let mut out = StringBuilder::with_capacity(args[0].len(), 0);
    each(args, |found| out.append_option(found.flatten().and_then(read)))?;
    Ok(Arc::new(out.finish()))
}

/// Calls `take` once a row: `None` for a null argument, `Some(None)` where the path leads nowhere or the text is no
/// JSON.
fn each(args: &[ArrayRef], mut take: impl FnMut(Option<Option<&Value>>)) -> Result<()> {
    let (text, path) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
    let mut last = Last::new();
    for row in 0..text.len() {
        if text.is_null(row) || path.is_null(row) {
            take(None);
            continue;
        }
        let steps = last.get(path.value(row), parse_path)?;
        let value: Option<Value> = serde_json::from_str(text.value(row)).ok();
        take(Some(value.as_ref().and_then(|value| follow(value, steps))));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

fn follow<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name.as_str()),
        Step::Index(index) => value.get(*index),
    })
}

/// `$.a.b[0]['c']`, after an optional `lax` or `strict`. Wildcards and filters are refused.
fn parse_path(path: &str) -> Result<Vec<Step>> {
    let trimmed = path.trim();
    let trimmed = trimmed.strip_prefix("lax ").or_else(|| trimmed.strip_prefix("strict ")).unwrap_or(trimmed).trim();
    let steps = trimmed.strip_prefix('$').and_then(|rest| parse_steps(rest, vec![]));
    match steps {
        Some(steps) => Ok(steps),
        None => exec_err!("`{path}` is no JSON path of the form $.field[0]['field']"),
    }
}

fn parse_steps(rest: &str, mut steps: Vec<Step>) -> Option<Vec<Step>> {
    let mut rest = rest;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (inside, after) = inside.split_once(']')?;
            let quoted = |quote: char| inside.strip_prefix(quote).and_then(|inside| inside.strip_suffix(quote));
            steps.push(match quoted('\'').or_else(|| quoted('"')) {
                Some(name) => Step::Field(name.to_owned()),
                None => Step::Index(inside.trim().parse().ok()?),
            });
            rest = after;
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            if name.is_empty() || name.contains(['*', '?', '(']) {
                return None;
            }
            steps.push(Step::Field(name.to_owned()));
            rest = after;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_fields_and_indices_only() {
        let field = |name: &str| Step::Field(name.to_owned());
        assert_eq!(
            parse_path("lax $.a[1]['b c'].d").expect("a path"),
            [field("a"), Step::Index(1), field("b c"), field("d")]
        );
        assert_eq!(parse_path("$").expect("a path"), []);
        for wrong in ["", "a", "$.", "$.*", "$[", "$[x]", "$..a"] {
            assert!(parse_path(wrong).is_err(), "{wrong}");
        }
    }
}
