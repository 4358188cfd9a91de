//! Avro: each type, bad records one by one, and bytes that are none.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use proptest::prelude::*;
use thalweg_core::decode::{BadClass, Decoded, Decoder};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Piece, RawChunk, Records};

use crate::formats::{AvroDecoder, Column, Metadata};

/// A number as Avro writes it: zigzag, seven bits a byte.
fn long(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn text(text: &[u8]) -> Vec<u8> {
    [long(text.len() as i64), text.to_vec()].concat()
}

fn chunk(values: Vec<Option<Vec<u8>>>) -> RawChunk {
    let count = values.len() as u64;
    let records = Records {
        partition: 3,
        offsets: (100..100 + count).collect(),
        timestamps: vec![7; values.len()],
        first_timestamp: Some(7),
        keys: vec![Some(Bytes::from_static(b"k")); values.len()],
        headers: vec![Vec::new(); values.len()],
        values: values.into_iter().map(|value| value.map(Bytes::from)).collect(),
    };
    let piece = Piece { name: "t".into(), ordinal: 3, watermark_scope: 0, is_last_scope: true };
    let (from, to) = (Position::within(1, 100), Position::within(1, 100 + count));
    RawChunk { from, to, piece, payload: Payload::Records(Box::new(records)), bad: Vec::new() }
}

fn decode(decoder: &AvroDecoder, values: Vec<Option<Vec<u8>>>) -> Decoded {
    decoder.decode(&chunk(values))
}

fn as_json(decoded: &Decoded) -> Vec<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&decoded.batch).expect("rows");
    writer.finish().expect("rows");
    String::from_utf8(writer.into_inner()).expect("text").lines().map(str::to_owned).collect()
}

/// Where bad records lie, and their classes.
fn bad(decoded: &Decoded) -> Vec<(u128, BadClass)> {
    decoded.bad.iter().map(|bad| (bad.position.offset, bad.class)).collect()
}

const ORDER: &str = r#"{ "type": "record", "name": "Order", "namespace": "shop", "fields": [
    { "name": "id", "type": "long" },
    { "name": "small", "type": "int" },
    { "name": "is_paid", "type": "boolean" },
    { "name": "price", "type": { "type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2 } },
    { "name": "weight", "type": "float" },
    { "name": "share", "type": "double" },
    { "name": "note", "type": ["null", "string"], "default": null },
    { "name": "raw", "type": "bytes" },
    { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
    { "name": "micros", "type": { "type": "long", "logicalType": "timestamp-micros" } },
    { "name": "day", "type": { "type": "int", "logicalType": "date" } },
    { "name": "state", "type": { "type": "enum", "name": "State", "symbols": ["New", "Sent"] } },
    { "name": "tags", "type": { "type": "array", "items": "string" } },
    { "name": "counts", "type": { "type": "map", "values": "long" } },
    { "name": "buyer", "type": { "type": "record", "name": "Buyer", "fields": [
        { "name": "name", "type": "string" }, { "name": "age", "type": ["int", "null"] } ] } }
] }"#;

fn order() -> Vec<u8> {
    let note = [long(1), text(b"soon")].concat();
    let tags = [long(2), text(b"a"), text("ä".as_bytes()), long(0)].concat();
    // A block with its length in bytes, as writers may put it.
    let counts = [long(-1), long(3), text(b"x"), long(5), long(0)].concat();
    let buyer = [text(b"Ann"), long(1)].concat();
    let fields: [Vec<u8>; 15] = [
        long(-7),
        long(42),
        vec![1],
        text(&[0x04, 0xd2]),
        1.5f32.to_le_bytes().to_vec(),
        0.25f64.to_le_bytes().to_vec(),
        note,
        text(b"\x00\xff"),
        long(1_514_764_800_000),
        long(1_514_764_800_000_001),
        long(17_532),
        long(1),
        tags,
        counts,
        buyer,
    ];
    fields.concat()
}

#[test]
fn times_outside_of_the_years_1_to_9999_cost_their_record_only() {
    let schema = r#"{ "type": "record", "name": "R", "fields": [
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "micros", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "day", "type": { "type": "int", "logicalType": "date" } } ] }"#;
    let columns = vec![
        Column::new("at", millis()).watermark(),
        Column::new("micros", millis()),
        Column::new("day", DataType::Date32).from_field("day"),
    ];
    let decoder = AvroDecoder::new(columns, schema).expect("a decoder");
    let record = |at, micros, day| Some([long(at), long(micros), long(day)].concat());
    let values = vec![
        record(253_402_300_799_999, -62_135_596_800_000_000, 2_932_896),
        record(i64::MAX, 0, 0),
        record(0, 253_402_300_800_000_000, 0),
        record(0, 0, 2_932_897),
    ];
    let decoded = decode(&decoder, values);
    assert_eq!(decoded.batch.num_rows(), 1);
    assert_eq!(bad(&decoded), [(101, BadClass::Schema), (102, BadClass::Schema), (103, BadClass::Schema)]);
    let messages: Vec<_> = decoded.bad.iter().map(|bad| bad.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "column `at`: expected TIMESTAMP(3) in the years 1 to 9999, found \"+292278994-08-17T07:12:55.807Z\"",
            "column `micros`: expected TIMESTAMP(3) in the years 1 to 9999, found \"+10000-01-01T00:00:00.000Z\"",
            "column `day`: expected DATE in the years 1 to 9999, found \"+10000-01-01\"",
        ]
    );
}

fn millis() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

fn columns() -> Vec<Column> {
    let text_item = Arc::new(Field::new("item", DataType::Utf8, true));
    let entry = [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int64, true)];
    let entries = Field::new("entries", DataType::Struct(Fields::from(entry.to_vec())), false);
    let buyer = [Field::new("name", DataType::Utf8, true), Field::new("age", DataType::Int32, true)];
    let types = [
        ("id", DataType::Int64),
        ("small", DataType::Int32),
        ("is_paid", DataType::Boolean),
        ("price", DataType::Decimal128(12, 3)),
        ("weight", DataType::Float32),
        ("share", DataType::Float64),
        ("note", DataType::Utf8),
        ("raw", DataType::Binary),
        ("at", millis()),
        ("micros", millis()),
        ("day", DataType::Date32),
        ("state", DataType::Utf8),
        ("tags", DataType::List(text_item)),
        ("counts", DataType::Map(Arc::new(entries), false)),
        ("buyer", DataType::Struct(Fields::from(buyer.to_vec()))),
    ];
    types.into_iter().map(|(name, data_type)| Column::new(name, data_type)).collect()
}

#[test]
fn every_type_is_read_and_cast_to_what_is_declared() {
    let decoder = AvroDecoder::new(columns(), ORDER).expect("a schema");
    let decoded = decode(&decoder, vec![Some(order())]);
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    assert_eq!(
        as_json(&decoded),
        [concat!(
            r#"{"id":-7,"small":42,"is_paid":true,"price":12.340,"weight":1.5,"share":0.25,"note":"soon","raw":"00ff","#,
            r#""at":"2018-01-01T00:00:00","micros":"2018-01-01T00:00:00","day":"2018-01-01","state":"Sent","#,
            r#""tags":["a","ä"],"counts":{"x":5},"buyer":{"name":"Ann"}}"#
        )]
    );
}

const PAIR: &str = r#"{ "type": "record", "name": "Pair", "fields": [
    { "name": "n", "type": "long" }, { "name": "text", "type": ["null", "string"] } ] }"#;

fn pair(n: i64, string: Option<&[u8]>) -> Vec<u8> {
    let string = string.map_or_else(|| long(0), |string| [long(1), text(string)].concat());
    [long(n), string].concat()
}

fn pairs() -> AvroDecoder {
    let columns = vec![
        Column::new("number", DataType::Int64).from_field("n"),
        Column::new("text", DataType::Utf8).required(),
        Column::new("place", DataType::Int64).with_metadata(Metadata::Position),
        Column::new("part", DataType::Int32).with_metadata(Metadata::Partition),
        Column::new("key", DataType::Utf8).with_metadata(Metadata::Key),
    ];
    AvroDecoder::new(columns, PAIR).expect("a schema")
}

#[test]
fn a_bad_record_costs_its_row_only_whatever_is_wrong_with_it() {
    let good = |n| Some(pair(n, Some(b"x")));
    let cut = |n: i64| Some(pair(n, Some(b"long enough"))[..5].to_vec());
    let values = vec![
        good(0),
        cut(1),
        Some(pair(2, Some(b"\xff\xfe"))),
        None,
        Some([pair(4, Some(b"y")), vec![9]].concat()),
        // What follows looks like the mark of a record that the decoder is told, and then like a record.
        Some([pair(5, Some(b"y")), vec![0, 0, 0, 0, 1]].concat()),
        Some([pair(6, Some(b"y")), vec![0, 0, 0, 0, 1], pair(6, Some(b"y"))].concat()),
        Some(Vec::new()),
        Some(pair(8, None)),
        Some([long(9), long(2)].concat()),
        Some([vec![0xff; 11], long(0)].concat()),
        good(11),
    ];
    let decoded = decode(&pairs(), values);
    let rows = [0, 11].map(|n| format!(r#"{{"number":{n},"text":"x","place":{},"part":3,"key":"k"}}"#, 100 + n));
    assert_eq!(as_json(&decoded), rows);
    let classes = [1u128, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|n| match n {
        3 | 8 => (100 + n, BadClass::Schema),
        _ => (100 + n, BadClass::Decode),
    });
    assert_eq!(bad(&decoded), classes);
    assert!(decoded.bad[0].message.contains("`format.avro.schema`"), "{}", decoded.bad[0].message);
    assert_eq!(decoded.bad[0].raw, pair(1, Some(b"long enough"))[..5]);
    assert_eq!(decoded.bad[7].message, "column `text`: expected STRING, found null");
}

#[test]
fn a_value_that_its_column_cannot_hold_is_a_bad_record() {
    let columns = vec![Column::new("n", DataType::Int32), Column::new("text", DataType::Int64)];
    let decoder = AvroDecoder::new(columns, PAIR).expect("numbers may be written as text");
    let values = [(1, Some(&b"7"[..])), (1 << 40, None), (2, Some(b"x")), (3, None)];
    let decoded = decode(&decoder, values.map(|(n, text)| Some(pair(n, text))).to_vec());
    assert_eq!(as_json(&decoded), [r#"{"n":1,"text":7}"#, r#"{"n":3}"#]);
    assert_eq!(bad(&decoded), [(101, BadClass::Schema), (102, BadClass::Schema)]);
    assert_eq!(decoded.bad[0].message, "column `n`: expected INT, found a value that is none");
}

#[test]
fn a_schema_that_does_not_fit_is_refused_at_its_field() {
    let refused =
        |columns: Vec<Column>, schema: &str| AvroDecoder::new(columns, schema).expect_err("refused").to_string();
    let number = || vec![Column::new("n", DataType::Int64)];
    for schema in ["{", r#""long""#, r#"{"type":"record","name":"R","fields":[]}"#, r#"{"type":"enum"}"#] {
        let said = refused(number(), schema);
        assert!(said.contains("`format.avro.schema`"), "{said}");
    }
    let missing = refused(vec![Column::new("m", DataType::Int64)], PAIR);
    assert!(missing.contains("column `m`") && missing.contains("`n`, `text`"), "{missing}");
    let other = refused(vec![Column::new("n", DataType::Int64).from_field("buyer")], ORDER);
    assert!(other.contains("column `n` (field `buyer`)") && other.contains("can be BIGINT"), "{other}");
}

#[test]
fn items_without_bytes_and_types_within_themselves_are_refused() {
    let of_field = |kind: &str| {
        let schema = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"n","type":"long"}},{{"name":"x","type":{kind}}}]}}"#
        );
        AvroDecoder::new(vec![Column::new("n", DataType::Int64)], &schema).map(drop)
    };
    of_field(r#"{"type":"array","items":["null","long"]}"#).expect("its items have bytes");
    for kind in [
        r#"{"type":"array","items":"null"}"#,
        r#"{"type":"array","items":{"type":"record","name":"E","fields":[]}}"#,
        r#"{"type":"array","items":{"type":"record","name":"E","fields":[{"name":"z","type":"null"}]}}"#,
        r#"{"type":"array","items":{"type":"fixed","name":"F","size":0}}"#,
        r#"["null","R"]"#,
    ] {
        let said = of_field(kind).expect_err(kind).to_string();
        assert!(said.contains("`format.avro.schema`"), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_whatever_stands_between(
        values in prop::collection::vec((any::<i64>(), "\\PC{0,8}", prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..4))), 0..40),
    ) {
        // Some are cut where their text ends too early.
        let written = |(n, string, other): &(i64, String, Option<Vec<u8>>)| {
            let whole = pair(*n, Some(string.as_bytes()));
            Some(match other { Some(more) => [whole, more.clone()].concat(), None => whole })
        };
        let decoded = decode(&pairs(), values.iter().map(written).collect());
        let is_good = |(_, _, other): &&(i64, String, Option<Vec<u8>>)| other.as_ref().is_none_or(Vec::is_empty);
        let good: Vec<_> = values.iter().filter(is_good).collect();
        let numbers = decoded.batch.column(0).as_primitive::<Int64Type>();
        prop_assert_eq!(numbers.values().to_vec(), good.iter().map(|(n, ..)| *n).collect::<Vec<_>>());
        let texts: Vec<_> = decoded.batch.column(1).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        prop_assert_eq!(texts, good.iter().map(|(_, string, _)| string.clone()).collect::<Vec<_>>());
        prop_assert_eq!(decoded.bad.len(), values.len() - good.len());
    }

    #[test]
    fn any_bytes_are_rows_or_bad_records_each_once(
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        whole in prop::collection::vec((0..20usize, 0..200usize, any::<u8>()), 0..10),
    ) {
        let decoder = AvroDecoder::new(columns(), ORDER).expect("a schema");
        let mut values = values;
        // Records with one byte that is another.
        for (at, byte, now) in whole {
            let mut record = order();
            let byte = byte % record.len();
            record[byte] = now;
            let at = at.min(values.len());
            values.insert(at, Some(record));
        }
        let count = values.len();
        let decoded = decode(&decoder, values);
        let rows = decoded.batch.num_rows();
        let mut places: Vec<_> = decoded.bad.iter().map(|bad| bad.position).collect();
        places.dedup();
        prop_assert_eq!(rows + places.len(), count);
        prop_assert_eq!(places.len(), decoded.bad.len());
    }
}
