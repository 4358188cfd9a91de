//! JSON lines, as Flink writes them: every field of a row, null ones too; numbers stay numbers (DECIMAL with all digits
//! of its scale), times are ISO 8601 in UTC, BYTES base64. `NaN` and infinities, which JSON has no numbers for, are
//! texts that the decoder reads back.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, MapArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thalweg_core::error::{Error, Result};

use super::{Encoder, value};
use crate::formats::column::sql_name;
use crate::formats::json::{WIDTH, load, string_stops};

/// Writes JSON lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonEncoder;

impl JsonEncoder {
    /// An encoder of JSON lines.
    pub fn new() -> Self {
        Self
    }
}

impl Encoder for JsonEncoder {
    fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let schema = batch.schema();
        let fields = schema.fields().iter().zip(batch.columns());
        let members = fields.enumerate().map(|(i, (field, array))| Member::new(i, field.name(), array));
        let members = members.collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            write_object(&members, row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn suffix(&self) -> &'static str {
        ".json"
    }
}

/// Writes one value of a column.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// One field of an object: what comes before its value, and how that is written.
struct Member<'a> {
    prefix: Vec<u8>,
    value: Value<'a>,
}

impl<'a> Member<'a> {
    fn new(index: usize, name: &str, array: &'a ArrayRef) -> Result<Self> {
        let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
        write_text(name, &mut prefix);
        prefix.push(b':');
        let value = Value::new(array.as_ref()).map_err(|error| Error { what: format!("column `{name}`"), ..error })?;
        Ok(Self { prefix, value })
    }
}

fn write_object(members: &[Member<'_>], row: usize, out: &mut Vec<u8>) {
    for member in members {
        out.extend_from_slice(&member.prefix);
        member.value.write(row, out);
    }
    out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
}

/// The values of one array.
pub(super) struct Value<'a> {
    array: &'a dyn Array,
    has_nulls: bool,
    write: Write<'a>,
}

impl<'a> Value<'a> {
    /// How they are written.
    ///
    /// # Errors
    /// *User*: a type that text does not have.
    pub fn new(array: &'a dyn Array) -> Result<Self> {
        Ok(Self { array, has_nulls: array.is_nullable(), write: writer(array)? })
    }

    /// Appends one.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.has_nulls && self.array.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            (self.write)(row, out);
        }
    }
}

/// One value of an array as JSON; nothing for a type that text does not have.
pub(crate) fn text_of_value(array: &dyn Array, row: usize) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(value) = Value::new(array) {
        value.write(row, &mut text);
    }
    text
}

/// How values of an array are written.
fn writer(array: &dyn Array) -> Result<Write<'_>> {
    fn numbers<T: ArrowPrimitiveType<Native: lexical_core::ToLexical>>(array: &dyn Array) -> Write<'_> {
        let values = array.as_primitive::<T>().values();
        Box::new(|row, out| value::number(values[row], out))
    }
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(|row, out| out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }))
        }
        DataType::Int8 => numbers::<Int8Type>(array),
        DataType::Int16 => numbers::<Int16Type>(array),
        DataType::Int32 => numbers::<Int32Type>(array),
        DataType::Int64 => numbers::<Int64Type>(array),
        DataType::UInt8 => numbers::<UInt8Type>(array),
        DataType::UInt16 => numbers::<UInt16Type>(array),
        DataType::UInt32 => numbers::<UInt32Type>(array),
        DataType::UInt64 => numbers::<UInt64Type>(array),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Box::new(|row, out| match values[row] {
                number if number.is_finite() => value::number(number, out),
                other => value::double(other.into(), true, out),
            })
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Box::new(|row, out| value::double(values[row], true, out))
        }
        DataType::Decimal128(_, scale) if *scale >= 0 => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>().values(), *scale);
            Box::new(move |row, out| value::decimal(values[row], scale, out))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(|row, out| write_text(values.value(row), out))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            Box::new(|row, out| write_text(values.value(row), out))
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            Box::new(|row, out| write_text(values.value(row), out))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(|row, out| quoted(out, |out| base64(values.value(row), out)))
        }
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(_, _) => times(array)?,
        DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => nested(array)?,
        other => return Err(Error::user("format json", format!("{} cannot be written as JSON", sql_name(other)))),
    })
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// How times are written: counts of units, as text.
fn times(array: &dyn Array) -> Result<Write<'_>> {
    type Text = fn(i64, TimeUnit, &mut Vec<u8>);
    fn counts<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array, unit: TimeUnit, text: Text) -> Write<'_> {
        let values = array.as_primitive::<T>().values();
        Box::new(move |row, out| quoted(out, |out| text(values[row].into(), unit, out)))
    }
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    Ok(match array.data_type() {
        DataType::Date32 => counts::<Date32Type>(array, Second, |days, _, out| value::date(days, out)),
        DataType::Time32(Second) => counts::<Time32SecondType>(array, Second, value::time),
        DataType::Time32(Millisecond) => counts::<Time32MillisecondType>(array, Millisecond, value::time),
        DataType::Time64(Microsecond) => counts::<Time64MicrosecondType>(array, Microsecond, value::time),
        DataType::Time64(Nanosecond) => counts::<Time64NanosecondType>(array, Nanosecond, value::time),
        DataType::Timestamp(Second, _) => counts::<TimestampSecondType>(array, Second, value::timestamp),
        DataType::Timestamp(Millisecond, _) => counts::<TimestampMillisecondType>(array, Millisecond, value::timestamp),
        DataType::Timestamp(Microsecond, _) => counts::<TimestampMicrosecondType>(array, Microsecond, value::timestamp),
        DataType::Timestamp(Nanosecond, _) => counts::<TimestampNanosecondType>(array, Nanosecond, value::timestamp),
        other => return Err(Error::internal("format json", format!("{} is no time", sql_name(other)))),
    })
}

/// How values that hold values are written.
fn nested(array: &dyn Array) -> Result<Write<'_>> {
    if let Some(rows) = array.as_struct_opt() {
        let fields = rows.fields().iter().zip(rows.columns()).enumerate();
        let members = fields.map(|(i, (field, array))| Member::new(i, field.name(), array));
        let members = members.collect::<Result<Vec<_>>>()?;
        return Ok(Box::new(move |row, out| write_object(&members, row, out)));
    }
    if let Some(list) = array.as_list_opt::<i32>() {
        let items = Value::new(list.values().as_ref())?;
        let offsets = list.value_offsets();
        return Ok(Box::new(move |row, out| {
            out.push(b'[');
            for item in offsets[row]..offsets[row + 1] {
                if item > offsets[row] {
                    out.push(b',');
                }
                items.write(item as usize, out);
            }
            out.push(b']');
        }));
    }
    map(array.as_map())
}

/// How maps are written: as objects, with keys as the texts that they cast to.
fn map(array: &MapArray) -> Result<Write<'_>> {
    let keys = cast(array.keys(), &DataType::Utf8).map_err(|error| Error::user("format json: keys of a MAP", error))?;
    let values = Value::new(array.values().as_ref())?;
    let offsets = array.value_offsets();
    Ok(Box::new(move |row, out| {
        let keys = keys.as_string::<i32>();
        out.push(b'{');
        for entry in offsets[row]..offsets[row + 1] {
            if entry > offsets[row] {
                out.push(b',');
            }
            write_text(keys.value(entry as usize), out);
            out.push(b':');
            values.write(entry as usize, out);
        }
        out.push(b'}');
    }))
}

/// Appends a text in quotes, with the escapes that JSON asks for.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        let stops = string_stops(&load(bytes, at));
        if stops == 0 {
            at += WIDTH;
            continue;
        }
        at += stops.trailing_zeros() as usize;
        out.extend_from_slice(&bytes[done..at]);
        escape(bytes[at], out);
        at += 1;
        done = at;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            return out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    };
    out.extend([b'\\', short]);
}
