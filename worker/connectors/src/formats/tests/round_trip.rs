//! What an encoder writes, its decoder reads back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, Time32MillisecondArray, Time32SecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::decode;
use crate::formats::{
    Column, CsvDecoder, CsvEncoder, CsvOptions, CsvStyle, Encoder, JsonDecoder, JsonEncoder, JsonOptions,
    ParquetEncoder,
};

/// Seconds from year 1 to year 9999: what ISO 8601 writes with four digits.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
const DAY: i64 = 86_400;

fn column<T, S, A>(rows: usize, values: S) -> BoxedStrategy<ArrayRef>
where
    T: Clone + std::fmt::Debug,
    S: Strategy<Value = T> + 'static,
    A: From<Vec<Option<T>>> + arrow::array::Array + 'static,
{
    vec(option::weighted(0.8, values), rows).prop_map(|values| Arc::new(A::from(values)) as ArrayRef).boxed()
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![8 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)]
        .prop_map(|value| if value.is_nan() { f64::NAN } else { value })
}

fn decimals(rows: usize) -> BoxedStrategy<ArrayRef> {
    let values = vec(option::weighted(0.8, -10_i128.pow(38) + 1..10_i128.pow(38)), rows);
    let array = |values| Decimal128Array::from_iter(Vec::<Option<i128>>::into_iter(values));
    values.prop_map(move |v| Arc::new(array(v).with_precision_and_scale(38, 10).unwrap()) as ArrayRef).boxed()
}

/// One column of every flat type.
fn flat(rows: usize) -> impl Strategy<Value = RecordBatch> {
    let bytes = vec(option::weighted(0.8, vec(any::<u8>(), 0..20)), rows)
        .prop_map(|v| Arc::new(BinaryArray::from_iter(v)) as ArrayRef)
        .boxed();
    let columns = vec![
        column::<_, _, BooleanArray>(rows, any::<bool>()),
        column::<_, _, Int8Array>(rows, any::<i8>()),
        column::<_, _, Int16Array>(rows, any::<i16>()),
        column::<_, _, Int32Array>(rows, any::<i32>()),
        column::<_, _, Int64Array>(rows, any::<i64>()),
        column::<_, _, Float32Array>(rows, float().prop_map(|v| v as f32)),
        column::<_, _, Float64Array>(rows, float()),
        decimals(rows),
        column::<_, _, StringArray>(rows, any::<String>()),
        column::<_, _, StringArray>(rows, "[a,\"\n\r ;x]{0,6}"),
        bytes,
        column::<_, _, Date32Array>(rows, (SECONDS.start / DAY) as i32..(SECONDS.end / DAY) as i32),
        column::<_, _, Time32SecondArray>(rows, 0..DAY as i32),
        column::<_, _, Time32MillisecondArray>(rows, 0..DAY as i32 * 1_000),
        column::<_, _, Time64MicrosecondArray>(rows, 0..DAY * 1_000_000),
        column::<_, _, Time64NanosecondArray>(rows, 0..DAY * 1_000_000_000),
        column::<_, _, TimestampSecondArray>(rows, SECONDS),
        column::<_, _, TimestampMillisecondArray>(rows, SECONDS.start * 1_000..SECONDS.end * 1_000),
        column::<_, _, TimestampMicrosecondArray>(rows, SECONDS.start * 1_000_000..SECONDS.end * 1_000_000),
        column::<_, _, TimestampNanosecondArray>(rows, any::<i64>()),
    ];
    columns.prop_map(|arrays| {
        let named = arrays.into_iter().enumerate().map(|(i, array)| (format!("c \"{i}\""), array, true));
        RecordBatch::try_from_iter_with_nullable(named).unwrap()
    })
}

fn columns_of(schema: &Schema) -> Vec<Column> {
    schema.fields().iter().map(|field| Column::new(field.name(), field.data_type().clone())).collect()
}

fn encode(mut encoder: impl Encoder, batch: &RecordBatch) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.write(batch, &mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    out
}

fn read_json(text: &[u8], schema: &Schema) -> RecordBatch {
    let decoder = JsonDecoder::new(columns_of(schema), JsonOptions { strict: true, ..JsonOptions::default() }).unwrap();
    let decoded = decode(&decoder, text);
    assert_eq!(decoded.bad, [], "{}", String::from_utf8_lossy(text));
    decoded.batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn json_gives_every_flat_type_back(batch in (0_usize..40).prop_flat_map(flat)) {
        let text = encode(JsonEncoder::new(), &batch);
        prop_assert_eq!(read_json(&text, &batch.schema()), batch.clone());
        for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn csv_gives_every_flat_type_back(batch in (0_usize..40).prop_flat_map(flat), null in "|NULL|a") {
        let style = CsvStyle { null: null.clone(), ..CsvStyle::default() };
        let text = encode(CsvEncoder::new(batch.schema(), style).unwrap(), &batch);
        let decoder = CsvDecoder::new(columns_of(&batch.schema()), CsvOptions { null, ..CsvOptions::default() }).unwrap();
        let header = text.iter().position(|&b| b == b'\n').unwrap() + 1;
        decoder.set_header(&Arc::from("trips.json"), &text[..header]).unwrap();
        let decoded = decode(&decoder, &text[header..]);
        prop_assert_eq!(&decoded.bad, &[]);
        prop_assert_eq!(decoded.batch, batch);
    }

    #[test]
    fn parquet_gives_every_flat_type_back(batch in (0_usize..40).prop_flat_map(flat)) {
        let file = encode(ParquetEncoder::new(batch.schema()).unwrap(), &batch);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap().build().unwrap();
        let read: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(arrow::compute::concat_batches(&batch.schema(), &read).unwrap(), batch);
    }
}

#[test]
fn nested_types_are_given_back() {
    let row = Fields::from(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("tags", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true),
    ]);
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Struct(row.clone()), true),
    ]);
    let schema = Schema::new(vec![
        Field::new("row", DataType::Struct(row), true),
        Field::new(
            "map",
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false),
            true,
        ),
    ]);
    let text = concat!(
        r#"{"row":{"n":1,"tags":["a\n","b",null]},"map":{"k":{"n":2,"tags":[]},"l":null}}"#,
        "\n",
        r#"{"row":null,"map":{}}"#,
        "\n",
        r#"{"row":{"n":null,"tags":null},"map":null}"#,
        "\n",
    );
    let batch = read_json(text.as_bytes(), &schema);
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(String::from_utf8(encode(JsonEncoder::new(), &batch)).unwrap(), text);
    assert_eq!(read_json(&encode(JsonEncoder::new(), &batch), &schema), batch);
}

#[test]
fn json_lines_look_like_flinks() {
    let text = concat!(
        r#"{"at":"2018-01-01T04:17:05.000Z","fare":28.50,"name":"a\"b\u0001\n/é","ok":true,"d":1.0,"none":null}"#,
        "\n",
    );
    let schema = Schema::new(vec![
        Field::new("at", DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None), true),
        Field::new("fare", DataType::Decimal128(10, 2), true),
        Field::new("name", DataType::Utf8, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("d", DataType::Float64, true),
        Field::new("none", DataType::Int32, true),
    ]);
    let batch = read_json(text.as_bytes(), &schema);
    assert_eq!(String::from_utf8(encode(JsonEncoder::new(), &batch)).unwrap(), text);
}

#[test]
fn parquet_keeps_annotations_in_its_footer() {
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let mut encoder = ParquetEncoder::new(batch.schema()).unwrap();
    let mut out = Vec::new();
    encoder.write(&batch, &mut out).unwrap();
    assert!(encoder.buffered_bytes() > 0);
    assert!(encoder.annotate("thalweg.position", "0.17"));
    encoder.finish(&mut out).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(out)).unwrap();
    let pairs = builder.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(pairs.iter().any(|pair| pair.key == "thalweg.position" && pair.value.as_deref() == Some("0.17")));
}
