//! Every kind of bad record: its class, its byte and its sentence; and the good ones beside it.

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use bytes::Bytes;
use proptest::prelude::*;
use thalweg_core::decode::{BadClass, Decoder, Rows};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Records};

use super::{chunk_at, decode};
use crate::formats::time::Pattern;
use crate::formats::{Column, JsonDecoder, JsonOptions, Metadata, TimestampFormat};

fn columns() -> Vec<Column> {
    vec![
        Column::new("id", DataType::Int64).required(),
        Column::new("n", DataType::Int32).with_default("7"),
        Column::new("fare", DataType::Decimal128(10, 2)).from_field("fare_amount"),
        Column::new("at", DataType::Timestamp(TimeUnit::Millisecond, None)).watermark(),
        Column::new("name", DataType::Utf8),
        Column::new("deep", DataType::Float64).from_field("a.b"),
        Column::new("ok", DataType::Boolean),
        Column::new("tags", DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)))),
    ]
}

fn decoder() -> JsonDecoder {
    JsonDecoder::new(columns(), JsonOptions::default()).unwrap()
}

/// A good record with members put before its end.
fn record(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"id":1,"at":"2018-01-01T04:17:05.000Z"{comma}{members}}}"#)
}

/// The class, byte and sentence of the one bad record, which stands between good ones.
fn fault_of(decoder: &JsonDecoder, bad: &[u8]) -> (BadClass, Option<usize>, String) {
    let good = record("");
    let text = [good.as_bytes(), b"\n", bad, b"\n", good.as_bytes(), b"\n"].concat();
    let mut decoded = decode(decoder, &text);
    assert_eq!(decoded.bad.len(), 1, "{:?} in {}", decoded.bad, String::from_utf8_lossy(bad));
    assert_eq!(decoded.batch.num_rows(), 2, "good rows beside {}", String::from_utf8_lossy(bad));
    assert_eq!(decoded.batch.column(0).as_primitive::<Int64Type>().values(), &[1, 1]);
    let found = decoded.bad.remove(0);
    assert_eq!(found.raw, bad, "raw bytes");
    assert_eq!(found.position, Position::at(1_000 + good.len() as u64 + 1), "position");
    (found.class, found.column, found.message)
}

#[test]
fn values_that_do_not_fit_are_named_with_field_expectation_and_finding() {
    let table = [
        (r#""fare_amount":"abc""#, r#"column `fare` (field `fare_amount`): expected DECIMAL(10, 2), found "abc""#),
        (
            r#""fare_amount":123456789.5"#,
            "column `fare` (field `fare_amount`): expected DECIMAL(10, 2), found 123456789.5",
        ),
        (r#""n":3000000000"#, "column `n`: expected INT, found 3000000000"),
        (r#""n":1.5"#, "column `n`: expected INT, found 1.5"),
        (r#""n":true"#, "column `n`: expected INT, found true"),
        (r#""n":{"x":1}"#, r#"column `n`: expected INT, found {"x":1}"#),
        (r#""n":"""#, r#"column `n`: expected INT, found """#),
        (r#""ok":1"#, "column `ok`: expected BOOLEAN, found 1"),
        (r#""ok":"yes""#, r#"column `ok`: expected BOOLEAN, found "yes""#),
        (r#""a":5"#, "column `deep` (field `a.b`): expected an object around it, found 5"),
        (r#""a":{"b":[1]}"#, "column `deep` (field `a.b`): expected DOUBLE, found [1]"),
        (r#""a":{"b":1e999}"#, "column `deep` (field `a.b`): expected DOUBLE, found 1e999"),
        (r#""tags":[1,"x"]"#, r#"column `tags`, `[…]`: expected INT, found "x""#),
        (r#""tags":{}"#, "column `tags`: expected ARRAY<INT>, found {}"),
        (r#""at":"2018-02-30T00:00:00Z""#, r#"column `at`: expected TIMESTAMP(3), found "2018-02-30T00:00:00Z""#),
        (r#""at":null"#, "column `at`: expected TIMESTAMP(3), found null"),
        (r#""at":12"#, "column `at`: expected TIMESTAMP(3), found 12"),
        (r#""id":null"#, "column `id`: expected BIGINT, found null"),
    ];
    for (members, message) in table {
        let bad = record(members);
        let (class, column, found) = fault_of(&decoder(), bad.as_bytes());
        assert_eq!((class, found.as_str()), (BadClass::Schema, message), "{bad}");
        let at = column.expect("a place");
        assert!(bad[at..].starts_with(found.rsplit(", found ").next().unwrap()), "{bad} at {at}: {found}");
    }
}

#[test]
fn a_value_within_a_value_is_named_by_its_path() {
    let row = |name: &str, of: Vec<Field>| Field::new(name, DataType::Struct(of.into()), true);
    let x = || Field::new("x", DataType::Int32, true);
    let list = Field::new("list", DataType::List(Arc::new(row("item", vec![x()]))), true);
    let columns =
        [columns(), vec![Column::new("r", row("r", vec![x(), row("in", vec![x()]), list]).data_type().clone())]];
    let decoder = JsonDecoder::new(columns.concat(), JsonOptions::default()).unwrap();
    for (members, message) in [
        (r#""r":{"x":"a"}"#, r#"column `r`, `x`: expected INT, found "a""#),
        (r#""r":{"x":1,"in":{"x":[2]}}"#, "column `r`, `in.x`: expected INT, found [2]"),
        (r#""r":{"in":3}"#, "column `r`, `in`: expected ROW<x INT>, found 3"),
        (r#""r":{"list":[{"x":1},{"x":true}]}"#, "column `r`, `list[…].x`: expected INT, found true"),
        (r#""r":{"x":1,"list":[]},"n":{}"#, "column `n`: expected INT, found {}"),
    ] {
        let (class, _, found) = fault_of(&decoder, record(members).as_bytes());
        assert_eq!((class, found.as_str()), (BadClass::Schema, message), "{members}");
    }
}

#[test]
fn missing_fields_are_bad_where_they_must_be_there() {
    let (class, column, message) = fault_of(&decoder(), br#"{"at":"2018-01-01T04:17:05Z"}"#);
    assert_eq!((class, column), (BadClass::Schema, None));
    assert_eq!(message, "column `id`: expected BIGINT, found no such field");
    let (_, _, message) = fault_of(&decoder(), br#"{"id":3}"#);
    assert_eq!(message, "column `at`: expected TIMESTAMP(3), found no such field");
}

#[test]
fn broken_json_is_named_at_its_byte() {
    let table: &[(&[u8], usize, &str)] = &[
        (b"{\"id\":1,", 8, "broken JSON: expected a key in quotes, found the end"),
        (b"{\"id\":1", 7, "broken JSON: expected `,` or `}`, found the end"),
        (b"{\"id\"1}", 5, "broken JSON: expected `:`, found `1`"),
        (b"{\"id\":}", 6, "broken JSON: expected a value, found `}`"),
        (b"{\"id\":1,}", 8, "broken JSON: expected a key in quotes, found `}`"),
        (b"{\"id\":1 2}", 8, "broken JSON: expected `,` or `}`, found `2`"),
        (b"{\"id\":1}x", 8, "broken JSON: expected the end of the record, found `x`"),
        (b"{\"id\":1}{\"id\":1}", 8, "broken JSON: expected the end of the record, found `{`"),
        (b"{\"x\":\"abc}", 5, "broken JSON: a string is not closed"),
        (b"{\"x\":\"abc\\\"}", 5, "broken JSON: a string is not closed"),
        (b"{\"x\":\"a\tb\"}", 7, "broken JSON: control character `\\t` in a string, expected an escape"),
        (b"{\"x\":\"a\0b\"}", 7, "broken JSON: control character `\\0` in a string, expected an escape"),
        (b"{\"x\":[1}}", 7, "broken JSON: expected `]`, found `}`"),
        (b"{\"x\":{\"y\":[1]}", 14, "broken JSON: expected `,` or `}`, found the end"),
        (b"{\"x\":[[1]", 9, "broken JSON: expected a closing bracket, found the end"),
        (b"{\"x\"", 4, "broken JSON: expected `:`, found the end"),
        (b"{\"i\\x64\":1}", 1, "broken JSON: expected known escapes in a key, found `\"`"),
        (b"{", 1, "broken JSON: expected a key in quotes, found the end"),
        (b"\0{\"id\":1}", 0, "expected an object, found \0{\"id\":1}"),
        (b"id=1", 0, "expected an object, found id=1"),
        (b"{\"id\":01}", 6, "column `id`: expected BIGINT, found 01"),
        (b"{\"id\":nul}", 6, "column `id`: expected BIGINT, found nul"),
        (b"{\"name\":tru}", 8, "column `name`: expected JSON, found tru"),
        (b"{\"name\":\"\\ud800\"}", 8, "column `name`: expected known escapes, found \"\\ud800\""),
        (b"{\"name\":\"\xff\"}", 8, "column `name`: expected UTF-8, found \"\u{fffd}\""),
        (b"{\"tags\":[1,]}", 8, "column `tags`: expected JSON, found [1,]"),
    ];
    for (bad, at, message) in table {
        let (class, column, found) = fault_of(&decoder(), bad);
        let shown = String::from_utf8_lossy(bad);
        assert_eq!(found.replace("\\u{fffd}", "\u{fffd}"), *message, "{shown}");
        assert_eq!((class, column), (BadClass::Decode, Some(*at)), "{shown}");
    }
}

#[test]
fn json_that_is_no_object_does_not_fit_the_schema() {
    for bad in ["[1]", "12", "\"text\"", "null", "true"] {
        let found = fault_of(&decoder(), bad.as_bytes());
        assert_eq!(found, (BadClass::Schema, Some(0), format!("expected an object, found {bad}")));
    }
}

#[test]
fn nesting_is_bounded_by_64_levels_and_a_bomb_costs_one_row() {
    let nested = |depth: usize| record(&format!("\"x\":{}{}", "[".repeat(depth), "]".repeat(depth)));
    let decoded = decode(&decoder(), nested(63).as_bytes());
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (1, 0));
    for bomb in [nested(64), nested(100_000), "{\"x\":[".repeat(100_000), "[".repeat(100_000)] {
        let (class, _, message) = fault_of(&decoder(), bomb.as_bytes());
        assert_eq!(class, BadClass::Decode);
        let is_named = message.contains("nested deeper than 64 levels") || message.starts_with("expected an object");
        assert!(is_named && message.len() < 400, "{message}");
    }
}

#[test]
fn what_is_not_read_is_judged_by_its_structure_and_wholly_when_strict() {
    let strict = JsonDecoder::new(columns(), JsonOptions { strict: true, ..JsonOptions::default() }).unwrap();
    for junk in ["\"x\":01", "\"x\":nul", "\"x\":\"\\q\"", "\"x\":[1,,2]", "\"x\":{1:2}", "\"x\":[\"\\ud800\"]"] {
        let text = record(junk);
        assert_eq!(decode(&decoder(), text.as_bytes()).batch.num_rows(), 1, "{junk}");
        let (class, column, _) = fault_of(&strict, text.as_bytes());
        assert_eq!(class, BadClass::Decode, "{junk}");
        assert!(column.is_some_and(|at| at >= text.find("\"x\"").unwrap()), "{junk}");
    }
    let (class, _, message) = fault_of(&strict, b"{\"id\":1,\"at\":\"2018-01-01 00:00:00\",\"x\":\"\xff\"}");
    assert_eq!((class, message.as_str()), (BadClass::Decode, "broken JSON: expected UTF-8, found `\"`"));
}

#[test]
fn a_bad_record_keeps_its_event_time_wherever_that_stands() {
    for bad in [
        r#"{"id":"x","at":"2018-01-01T04:17:05.000Z"}"#,
        r#"{"at":"2018-01-01T04:17:05.000Z","id":"x"}"#,
        r#"{"at":"2018-01-01T04:17:05.000Z","id":1,"#,
    ] {
        assert_eq!(decode(&decoder(), bad.as_bytes()).bad[0].record_time, Some(1_514_780_225_000), "{bad}");
    }
    for bad in [r#"{"id":1}"#, r#"{"id":1,"at":"soon"}"#, "{"] {
        assert_eq!(decode(&decoder(), bad.as_bytes()).bad[0].record_time, None, "{bad}");
    }
}

#[test]
fn blanks_line_ends_marks_and_a_last_line_without_newline_are_read() {
    let good = record("");
    let text = format!("\u{feff}{good}\r\n\n \t\r\n  {good}  \n{{ \"id\" : 2 ,\t\"at\" : \"2018-01-01 04:17:05\" }}");
    let decoder = JsonDecoder::new(columns(), JsonOptions { row_starts: true, ..JsonOptions::default() }).unwrap();
    let decoded = decoder.decode(&chunk_at(0, text.as_bytes()));
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.batch.column(0).as_primitive::<Int64Type>().values(), &[1, 1, 2]);
    let second = text.find("  {").unwrap() as u32;
    let third = text.find("{ ").unwrap() as u32;
    assert_eq!(decoded.rows, Rows::Starts(vec![3, second, third]));
    assert_eq!(decode(&decoder, text.as_bytes()).bad.len(), 1, "a mark in the middle of a file is no blank");
    assert_eq!(decode(&decoder, b"").batch.num_rows(), 0);
}

#[test]
fn metadata_tells_file_and_position_of_good_rows() {
    let columns = vec![
        Column::new("file", DataType::Utf8).with_metadata(Metadata::File),
        Column::new("at", DataType::Int64).with_metadata(Metadata::Position),
    ];
    let decoder = JsonDecoder::new(columns, JsonOptions::default()).unwrap();
    let decoded = decode(&decoder, b"{}\nx\n{\"a\":1}\n");
    assert_eq!(decoded.batch.column(1).as_primitive::<Int64Type>().values(), &[1_000, 1_005]);
    assert_eq!(decoded.batch.column(0).as_string::<i32>().value(1), "trips.json");
}

#[test]
fn no_columns_are_rows_all_the_same() {
    let decoder = JsonDecoder::new(Vec::new(), JsonOptions::default()).unwrap();
    let decoded = decode(&decoder, b"{}\n{\"a\":[}\n{\"a\":1}\n");
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (2, 1));
}

#[test]
fn values_of_brokers_are_records_with_offsets_and_newlines() {
    let values = [&b"{\n\"id\":5,\n\"at\":\"2018-01-01 00:00:00\"\n}\n"[..], b"{", b""];
    let mut values: Vec<_> = values.iter().map(|value| Some(Bytes::from_static(value))).collect();
    values.push(None);
    let mut chunk = chunk_at(10, b"");
    chunk.payload = Payload::Records(Box::new(Records { values, offsets: vec![10, 12, 13, 15], ..Records::default() }));
    let decoder = JsonDecoder::new(columns(), JsonOptions { row_starts: true, ..JsonOptions::default() }).unwrap();
    let decoded = decoder.decode(&chunk);
    assert_eq!(decoded.rows, Rows::Records(vec![0]));
    let found: Vec<_> = decoded.bad.iter().map(|bad| (bad.position, bad.message.as_str())).collect();
    assert_eq!(found[0].0, Position::at(12));
    assert_eq!(found[1], (Position::at(13), "expected an object, found nothing"));
    assert_eq!(found[2], (Position::at(15), "expected an object, found a tombstone"));
}

#[test]
fn what_cannot_be_decoded_is_refused_when_the_decoder_is_made() {
    let message = |column| JsonDecoder::new(vec![column], JsonOptions::default()).unwrap_err().to_string();
    assert_eq!(
        message(Column::new("n", DataType::Int32).with_default("x")),
        "column `n`: default: expected INT, found \"x\""
    );
    assert!(message(Column::new("d", DataType::Date64)).contains("is not a type of text formats"));
    assert!(message(Column::new("p", DataType::Utf8).with_metadata(Metadata::Position)).contains("BIGINT"));
}

#[test]
fn timestamps_come_in_other_formats_too() {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let pattern = TimestampFormat::Pattern(Pattern::new("dd/MM/yyyy HH:mm:ss").unwrap());
    for (timestamps, value) in [
        (TimestampFormat::EpochMillis, "1514780225000"),
        (TimestampFormat::EpochMillis, "\"1514780225000\""),
        (TimestampFormat::EpochSeconds, "1514780225"),
        (TimestampFormat::EpochSeconds, "1.514780225e9"),
        (pattern, "\"01/01/2018 04:17:05\""),
    ] {
        let options = JsonOptions { timestamps, ..JsonOptions::default() };
        let decoder = JsonDecoder::new(vec![Column::new("t", millis.clone())], options).unwrap();
        let decoded = decode(&decoder, format!("{{\"t\":{value}}}").as_bytes());
        let times = decoded.batch.column(0).as_primitive::<arrow::datatypes::TimestampMillisecondType>();
        assert_eq!(times.values(), &[1_514_780_225_000], "{value}");
    }
}

#[test]
fn no_format_names_a_time_outside_of_the_years_1_to_9999() {
    let pattern = TimestampFormat::Pattern(Pattern::new("yyyy-MM-dd HH:mm:ssX").unwrap());
    for (timestamps, within, beyond) in [
        (TimestampFormat::EpochMillis, "253402300799999", "253402300800000"),
        (TimestampFormat::EpochMillis, "-62135596800000", "-62135596800001"),
        (TimestampFormat::EpochMillis, "\"0\"", "\"9223372036854775807\""),
        (TimestampFormat::EpochMillis, "0", "-9223372036854775808"),
        (TimestampFormat::EpochSeconds, "253402300799.999", "253402300800"),
        (TimestampFormat::EpochSeconds, "-62135596800", "-6.3e10"),
        (TimestampFormat::Iso8601, "\"9999-12-31T23:59:59Z\"", "\"9999-12-31T23:59:59-01:00\""),
        (TimestampFormat::Iso8601, "\"0001-01-01T00:00:00Z\"", "\"0001-01-01T00:00:00+01:00\""),
        (pattern, "\"9999-12-31 23:59:59Z\"", "\"9999-12-31 23:59:59-01\""),
    ] {
        let columns = vec![Column::new("t", DataType::Timestamp(TimeUnit::Millisecond, None))];
        let options = JsonOptions { timestamps: timestamps.clone(), ..JsonOptions::default() };
        let decoder = JsonDecoder::new(columns, options).unwrap();
        let decoded = decode(&decoder, format!("{{\"t\":{within}}}\n{{\"t\":{beyond}}}\n").as_bytes());
        assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (1, 1), "{timestamps:?}: {within}, {beyond}");
        let bad = &decoded.bad[0];
        let message = format!("column `t`: expected TIMESTAMP(3), found {beyond}");
        assert_eq!((bad.class, bad.column, &bad.message), (BadClass::Schema, Some(5), &message), "{timestamps:?}");
    }
}

#[test]
fn a_broker_names_no_time_outside_of_the_years_1_to_9999() {
    let column = Column::new("t", DataType::Timestamp(TimeUnit::Millisecond, None)).with_metadata(Metadata::Timestamp);
    let decoder = JsonDecoder::new(vec![column.watermark()], JsonOptions::default()).unwrap();
    let records = Records {
        partition: 0,
        offsets: vec![1, 2],
        timestamps: vec![0, 253_402_300_800_000],
        first_timestamp: Some(0),
        keys: vec![None; 2],
        headers: vec![Vec::new(); 2],
        values: vec![Some(Bytes::from_static(b"{}")); 2],
    };
    let chunk = thalweg_core::source::RawChunk { payload: Payload::Records(Box::new(records)), ..chunk_at(1, b"") };
    let decoded = decoder.decode(&chunk);
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (1, 1));
    let expected = "column `t`: expected TIMESTAMP(3) in the years 1 to 9999, found 253402300800000";
    assert_eq!((decoded.bad[0].class, decoded.bad[0].message.as_str()), (BadClass::Schema, expected));
}

#[test]
fn a_text_of_ten_megabytes_is_a_value() {
    let long = "é\\n".repeat(3 << 20);
    let decoded = decode(&decoder(), record(&format!("\"name\":\"{long}\"")).as_bytes());
    assert_eq!(decoded.batch.column(4).as_string::<i32>().value(0).len(), 3 * (3 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode(&decoder(), &bytes);
    }

    #[test]
    fn damaged_records_never_panic_and_cost_no_other_row(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\x00-\\x09\\x0b-\\x7f]"), 1..6),
    ) {
        let good = record(r#""n":1,"fare_amount":28.5,"name":"a\u00e9","a":{"b":1.5},"ok":true,"tags":[1,2]"#);
        let mut bad = good.clone().into_bytes();
        for (index, byte) in edits {
            let at = index.index(bad.len());
            bad[at] = byte.as_bytes()[0];
        }
        let text = [good.as_bytes(), b"\n", &bad, b"\n", good.as_bytes(), b"\n"].concat();
        for strict in [false, true] {
            let decoder = JsonDecoder::new(columns(), JsonOptions { strict, ..JsonOptions::default() }).unwrap();
            let decoded = decode(&decoder, &text);
            let blank = usize::from(bad.trim_ascii().is_empty());
            prop_assert_eq!(decoded.batch.num_rows() + decoded.bad.len() + blank, 3);
            prop_assert!(decoded.batch.num_rows() >= 2);
        }
    }
}
