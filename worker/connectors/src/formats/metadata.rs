//! What a broker tells of a record beside its value, as columns.

use std::sync::Arc;

use arrow::array::builder::{BinaryBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow::array::{ArrayBuilder, ArrayRef, BinaryArray, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use bytes::Bytes;
use thalweg_core::decode::BadClass;
use thalweg_core::source::Records;
use thalweg_core::years;

use super::assembler::Place;
use super::column::Metadata;
use super::fault::{Fault, Faults, shorten};

type Headers = [(String, Option<Bytes>)];

/// Reports the rows whose key or headers are no text where the column is one, or whose time is outside of the years that
/// times may have.
pub(super) fn judge(
    metadata: Metadata,
    data_type: &DataType,
    records: &Records,
    places: &[Place],
    faults: &mut Faults,
) {
    if metadata == Metadata::Timestamp {
        return judge_times(&records.timestamps, places, faults);
    }
    let broken = |record: usize| match metadata {
        Metadata::Key if *data_type == DataType::Utf8 => {
            records.keys.get(record).and_then(Option::as_ref).filter(|key| !is_text(key))
        }
        Metadata::Headers if values_are_text(data_type) => {
            let headers = records.headers.get(record).into_iter().flatten();
            headers.filter_map(|(_, value)| value.as_ref()).find(|value| !is_text(value))
        }
        _ => None,
    };
    for (row, place) in places.iter().enumerate() {
        if let Some(bytes) = broken(place.number) {
            let message = format!("{}: expected UTF-8, found {:?}", faults.context(), shorten(bytes));
            faults.report(row, Fault { class: BadClass::Decode, column: None, message });
        }
    }
}

fn judge_times(times: &[i64], places: &[Place], faults: &mut Faults) {
    for (row, place) in places.iter().enumerate() {
        if let Some(time) = times.get(place.number).filter(|time| !years::MILLIS.contains(time)) {
            let message = format!("{}: expected TIMESTAMP(3) in the years 1 to 9999, found {time}", faults.context());
            faults.report(row, Fault { class: BadClass::Schema, column: None, message });
        }
    }
}

/// The column of some records, by their numbers.
pub(super) fn array(
    metadata: Metadata,
    data_type: &DataType,
    records: &Records,
    numbers: &[u32],
) -> Result<ArrayRef, ArrowError> {
    let of_records = numbers.iter().map(|&number| number as usize);
    let keys = of_records.clone().map(|record| records.keys.get(record).and_then(Option::as_deref));
    Ok(match metadata {
        Metadata::Partition => {
            let partition = i32::try_from(records.partition).unwrap_or(i32::MAX);
            Arc::new(Int32Array::from_value(partition, numbers.len()))
        }
        Metadata::Timestamp => {
            let times = of_records.map(|record| records.timestamps.get(record).copied());
            Arc::new(times.collect::<TimestampMillisecondArray>())
        }
        Metadata::Key if *data_type == DataType::Utf8 => Arc::new(keys.map(text).collect::<StringArray>()),
        Metadata::Key => Arc::new(keys.collect::<BinaryArray>()),
        Metadata::Headers => {
            let headers = of_records.map(|record| records.headers.get(record).map_or(&[][..], Vec::as_slice));
            if values_are_text(data_type) {
                maps(headers, StringBuilder::new(), |values, value| values.append_option(text(value)))?
            } else {
                maps(headers, BinaryBuilder::new(), |values, value| values.append_option(value))?
            }
        }
        Metadata::File | Metadata::Split | Metadata::Position => {
            return Err(ArrowError::SchemaError(format!("{metadata:?} is known of every record")));
        }
    })
}

fn maps<'a, B: ArrayBuilder>(
    rows: impl Iterator<Item = &'a Headers>,
    values: B,
    mut append: impl FnMut(&mut B, Option<&[u8]>),
) -> Result<ArrayRef, ArrowError> {
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), values);
    for headers in rows {
        for (name, value) in headers {
            builder.keys().append_value(name);
            append(builder.values(), value.as_deref());
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn values_are_text(data_type: &DataType) -> bool {
    Metadata::Headers.types().first() == Some(data_type)
}

fn is_text(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Text; rows with other bytes are bad, and what stands here for them is not read.
fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| simdutf8::basic::from_utf8(bytes).ok())
}
