//! The decoder against `serde_json`: arbitrary objects, written in arbitrary ways, say the same to both.

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use proptest::prelude::*;
use serde_json::{Map, Value};
use thalweg_core::decode::BadClass;

use super::{assert_cuts_do_not_matter, decode};
use crate::formats::json::is_valid;
use crate::formats::{Column, JsonDecoder, JsonOptions};

/// Text of JSON values, in more ways than a serializer would write them.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        (-1000_i64..1000).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        (-99_999_i32..99_999, 0_u32..5).prop_map(|(n, e)| format!("{n}e{e}")),
        json_string(),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let members = prop::collection::vec((key(), blanks(), inner.clone(), blanks()), 0..6);
        prop_oneof![
            members.prop_map(|members| object(&members)),
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(" ,"))),
        ]
    })
}

/// A string, some of its characters escaped.
fn json_string() -> impl Strategy<Value = String> {
    let character = (any::<char>(), 0_u8..8).prop_map(|(c, way)| match (c, way) {
        ('"', _) => "\\\"".to_owned(),
        ('\\', _) => "\\\\".to_owned(),
        ('/', 0..4) => "\\/".to_owned(),
        ('\n', 0..4) => "\\n".to_owned(),
        (c, _) if c < ' ' || way < 2 => c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect(),
        (c, _) => c.to_string(),
    });
    prop::collection::vec(character, 0..40).prop_map(|characters| format!("\"{}\"", characters.concat()))
}

fn blanks() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 2 => Just(" "), 1 => Just("\t  ")]
}

/// Keys of columns, escaped or not, and others.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["\"n\"", "\"s\"", "\"d\"", "\"o\"", "\"a long name of a column\""]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\"\\u006e\"", "\"\\u0073\""]).prop_map(str::to_owned),
        2 => json_string(),
    ]
}

type Member = (String, &'static str, String, &'static str);

fn object(members: &[Member]) -> String {
    let members: Vec<_> = members.iter().map(|(key, a, value, b)| format!("{a}{key}{b}:{b}{value}{a}")).collect();
    format!("{{{}}}", members.join(","))
}

fn record() -> impl Strategy<Value = String> {
    prop::collection::vec((key(), blanks(), json_value(), blanks()), 0..10).prop_map(|members| object(&members))
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("n", DataType::Int64),
        Column::new("s", DataType::Utf8),
        Column::new("d", DataType::Float64),
        Column::new("inner", DataType::Int64).from_field("o.n"),
        Column::new("a long name of a column", DataType::Utf8),
    ]
}

fn decoder(strict: bool) -> JsonDecoder {
    JsonDecoder::new(columns(), JsonOptions { strict, ..JsonOptions::default() }).unwrap()
}

/// A whole number, as a column of BIGINT takes it; `Err` where it does not fit.
fn whole(value: Option<&Value>) -> Result<Option<i64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => Ok(Some(float as i64)),
            _ => Err(()),
        },
        // Texts of this test hold no number often enough to matter; those that do are judged by the number's own tests.
        Some(_) => Err(()),
    }
}

fn is_text_of_number(value: Option<&Value>) -> bool {
    let trimmed = |text: &str| text.trim_ascii().to_owned();
    value.and_then(Value::as_str).is_some_and(|text| trimmed(text).parse::<f64>().is_ok())
}

fn row_of(row: usize, batch: &RecordBatch) -> (Option<i64>, Option<String>, Option<f64>, Option<i64>) {
    let number = |at: usize| {
        let array = batch.column(at).as_primitive::<Int64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    let (text, double) = (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
    (
        number(0),
        text.is_valid(row).then(|| text.value(row).to_owned()),
        double.is_valid(row).then(|| double.value(row)),
        number(3),
    )
}

/// Compares one record with what `serde_json` reads; whether it is a row.
fn compare(text: &str) -> Result<bool, TestCaseError> {
    let decoded = decode(&decoder(false), text.as_bytes());
    let parsed = serde_json::from_str::<Map<String, Value>>(text);
    let Ok(object) = parsed else {
        // Numbers too large for a double are none to serde_json.
        return Ok(decoded.bad.is_empty());
    };
    let inner = match object.get("o") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => whole(inner.get("n")),
        Some(_) => Err(()),
    };
    let double = match object.get("d") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(()),
    };
    let expected = whole(object.get("n")).and_then(|n| Ok((n, double?, inner?)));
    let ambiguous = [object.get("n"), object.get("d"), object.get("o").and_then(|o| o.get("n"))];
    if ambiguous.into_iter().any(is_text_of_number) {
        return Ok(decoded.bad.is_empty());
    }
    let large = |value: Option<&Value>| value.and_then(Value::as_f64).is_some_and(|n| n.abs() >= 9e15);
    match expected {
        Ok((n, double, inner)) => {
            prop_assert_eq!(&decoded.bad, &[], "{}", text);
            let found = row_of(0, &decoded.batch);
            prop_assert_eq!((found.0, found.2.map(|d| d as f32), found.3), (n, double.map(|d| d as f32), inner));
            if let Some(Value::String(string)) = object.get("s") {
                prop_assert_eq!(found.1.as_deref(), Some(string.as_str()));
            }
        }
        Err(()) if large(object.get("n")) || large(ambiguous[2]) => {}
        Err(()) => {
            prop_assert_eq!(decoded.bad.len(), 1, "{}", text);
            prop_assert_eq!(decoded.bad[0].class, BadClass::Schema, "{}", text);
        }
    }
    Ok(decoded.bad.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn objects_say_what_serde_json_reads(text in record()) {
        compare(&text)?;
    }

    #[test]
    fn rows_do_not_depend_on_the_rows_before(records in prop::collection::vec(record(), 1..40), cuts in any::<[prop::sample::Index; 3]>()) {
        let text = records.join("\n");
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).chain([text.len()]).collect();
        let cuts = cuts.map(|cut| ends[cut.index(ends.len())]);
        assert_cuts_do_not_matter(&decoder(false), text.as_bytes(), &cuts);
        let alone: usize = records.iter().map(|record| decode(&decoder(false), record.as_bytes()).batch.num_rows()).sum();
        prop_assert_eq!(decode(&decoder(false), text.as_bytes()).batch.num_rows(), alone);
    }

    #[test]
    fn damage_is_found_where_serde_json_finds_it_when_strict(text in record(), at in any::<prop::sample::Index>(), byte in "[ -~]") {
        let mut damaged = text.into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte.as_bytes()[0];
        let decoded = decode(&decoder(true), &damaged);
        let parsed = serde_json::from_slice::<Value>(&damaged);
        let is_range = parsed.as_ref().err().is_some_and(|error| error.to_string().contains("number out of range"));
        let is_broken = decoded.bad.iter().any(|bad| bad.class == BadClass::Decode);
        // After a number out of range serde_json does not look at the rest.
        if !is_range {
            prop_assert_eq!(is_broken, parsed.is_err(), "{}", String::from_utf8_lossy(&damaged));
            prop_assert_eq!(is_valid(&damaged), parsed.is_ok());
        }
    }
}

#[test]
fn the_last_of_equal_keys_counts_with_all_that_it_holds() {
    for (text, n, inner) in [
        (r#"{"n":1,"n":2}"#, Some(2), None),
        (r#"{"n":1,"n":null}"#, None, None),
        (r#"{"n":"x","n":2}"#, Some(2), None),
        (r#"{"o":{"n":1},"o":{}}"#, None, None),
        (r#"{"o":5,"o":{"n":3}}"#, None, Some(3)),
        (r#"{"o":{"n":1},"o":null}"#, None, None),
    ] {
        let decoded = decode(&decoder(false), text.as_bytes());
        assert_eq!(decoded.bad, [], "{text}");
        let (found, _, _, found_inner) = row_of(0, &decoded.batch);
        assert_eq!((found, found_inner), (n, inner), "{text}");
    }
}

#[test]
fn keys_in_any_order_and_absent_ones_are_found_in_long_runs() {
    let row = |i: usize| {
        let mut members =
            [format!("\"n\":{i}"), format!("\"s\": \"{i}\""), format!("\"d\":{i}.5"), format!("\"x{}\":[{i}]", i % 7)];
        let length = members.len();
        members.rotate_left(i % length);
        format!("{{{}}}\n", members[..1 + i % length].join(","))
    };
    let text: String = (0..1_000).map(row).collect();
    let decoded = decode(&decoder(false), text.as_bytes());
    assert_eq!((decoded.batch.num_rows(), decoded.bad.len()), (1_000, 0));
    for i in 0..1_000 {
        let object: Value = serde_json::from_str(&row(i)).unwrap();
        let (n, s, d, _) = row_of(i, &decoded.batch);
        assert_eq!(n, object.get("n").and_then(Value::as_i64));
        assert_eq!(s.as_deref(), object.get("s").and_then(Value::as_str));
        assert_eq!(d, object.get("d").and_then(Value::as_f64));
    }
}

#[test]
fn two_columns_may_read_one_field_and_a_field_of_it() {
    let columns = vec![
        Column::new("whole", DataType::Utf8).from_field("o"),
        Column::new("again", DataType::Utf8).from_field("o"),
        Column::new("n", DataType::Int64).from_field("o.n"),
    ];
    let decoder = JsonDecoder::new(columns, JsonOptions::default()).unwrap();
    let decoded = decode(&decoder, br#"{"o":{"n": 5}}"#);
    let texts: Vec<_> = (0..2).map(|i| decoded.batch.column(i).as_string::<i32>().value(0)).collect();
    assert_eq!(texts, [r#"{"n": 5}"#; 2]);
    assert_eq!(decoded.batch.column(2).as_primitive::<Int64Type>().value(0), 5);
}
