//! Records that could not become rows, as rows `{raw, source, split, position, class, message, record_time}`.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, StringBuilder, TimestampMillisecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::position::Position;
use thalweg_core::years;

/// The column of the record's bytes.
pub const RAW: &str = "raw";

/// `raw` is the record's text; bytes that are not UTF-8 are written as `\xNN`.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text(RAW),
        text("source"),
        text("split"),
        text("position"),
        text("class"),
        text("message"),
        Field::new("record_time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
});

/// The columns of dead letters.
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// One row a record, its raw bytes as [`readable`], its position as `show` gives it. A time that no sink would take is none.
pub fn to_batch(
    source: &str,
    split: &str,
    records: &[&BadRecord],
    show: impl Fn(Position) -> String,
) -> Result<RecordBatch, ArrowError> {
    let mut texts: [StringBuilder; 6] = std::array::from_fn(|_| StringBuilder::new());
    let mut times = TimestampMillisecondBuilder::new();
    for record in records {
        let values =
            [&readable(&record.raw), source, split, &show(record.position), class_name(record.class), &record.message];
        texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        times.append_option(record.record_time.filter(|time| years::MILLIS.contains(time)));
    }
    let mut columns: Vec<ArrayRef> = texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect();
    columns.push(Arc::new(times.finish()));
    RecordBatch::try_new(SCHEMA.clone(), columns)
}

/// The class as dead letters, metrics and messages spell it.
pub fn class_name(class: BadClass) -> &'static str {
    match class {
        BadClass::Decode => "Decode",
        BadClass::Schema => "Schema",
        BadClass::Evaluation => "Evaluation",
        BadClass::Late => "Late",
        BadClass::Rejected => "Rejected",
    }
}

/// A record's text; bytes that are not UTF-8 are written as `\xNN`.
pub fn readable(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_stay_recognisable() {
        assert_eq!(readable(b"a\xff\xc3\xa4b"), "a\\xff\u{e4}b");
    }
}
