//! What the tests of all kinds of records share.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use serde_json::Value;

use super::Generate;
use super::text::{write_date, write_instant};

/// Records as lines, without their newlines.
pub(super) fn lines(rows: &dyn Generate, numbers: Range<u64>) -> Vec<String> {
    let mut text = Vec::new();
    let mut lines = Vec::new();
    for row in numbers {
        text.clear();
        rows.write_json(row, &mut text);
        assert_eq!(text.pop(), Some(b'\n'));
        lines.push(String::from_utf8(text.clone()).expect("UTF-8"));
    }
    lines
}

/// FNV-1a of the first records' text. A change of it is a change of every benchmark and demo: say so in the changelog.
pub(super) fn fingerprint(rows: &dyn Generate, count: u64) -> u64 {
    let mut text = Vec::new();
    (0..count).for_each(|row| rows.write_json(row, &mut text));
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Parses the text with a parser that is not ours and compares it, field by field, to the columns, which are also made
/// in other pieces.
pub(super) fn assert_text_equals_columns(rows: &dyn Generate, from: u64, count: usize) {
    let batch = rows.batch(from, count);
    assert_eq!(batch.num_rows(), count);
    assert_eq!(batch.slice(100, 50), rows.batch(from + 100, 50), "a record depends on its number only");
    for (index, line) in lines(rows, from..from + count as u64).into_iter().enumerate() {
        let parsed: serde_json::Map<String, Value> = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed.len(), batch.num_columns());
        for ((name, value), column) in parsed.iter().zip(batch.columns()) {
            assert_eq!(*value, cell(column.as_ref(), index), "`{name}` of record {index}");
        }
        assert!(parsed.keys().eq(rows.schema().fields().iter().map(|field| field.name())));
    }
}

fn cell(column: &dyn Array, index: usize) -> Value {
    match column.data_type() {
        DataType::Int8 => column.as_primitive::<Int8Type>().value(index).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(index).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(index).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(index).into(),
        DataType::Decimal128(_, 0) => (column.as_primitive::<Decimal128Type>().value(index) as i64).into(),
        DataType::Decimal128(..) => (column.as_primitive::<Decimal128Type>().value(index) as f64 / 100.0).into(),
        DataType::Utf8 => column.as_string::<i32>().value(index).into(),
        DataType::Boolean => column.as_boolean().value(index).into(),
        DataType::Timestamp(..) => {
            let millis = column.as_primitive::<TimestampMillisecondType>().value(index);
            text(|out| write_instant(millis, out))
        }
        DataType::Date32 => text(|out| write_date(column.as_primitive::<Date32Type>().value(index).into(), out)),
        other => panic!("no test compares {other}"),
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("ASCII").into()
}
