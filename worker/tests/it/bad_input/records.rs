//! One record that is no row: by `onError`, with its place.

use super::{Bad, Pipeline, costs_itself_only};
use crate::command::Workplace;

/// A record whose bytes are text.
fn check(raw: &str, class: &str, place: &str, message: &str, record_time: Option<&str>) {
    let bad = Bad { raw: raw.as_bytes(), shown: raw, kept: usize::MAX, class, place, message, record_time };
    costs_itself_only(&Workplace::new(), &bad);
}

const NOON: Option<&str> = Some("2024-01-01T12:00:00.000Z");

#[test]
fn broken_json() {
    let message = "broken JSON: expected `,` or `}`, found the end";
    check(r#"{"id":3,"zone":7"#, "Decode", ", line 2, column 17", message, None);
}

#[test]
fn json_that_is_no_object() {
    check("[1, 2]", "Schema", ", line 2, column 1", "expected an object, found [1, 2]", None);
}

#[test]
fn a_wrong_type() {
    let raw = r#"{"id":3,"zone":"x","at":"2024-01-01T12:00:00Z"}"#;
    check(raw, "Schema", ", line 2, column 16", "column `zone`: expected INT, found \"x\"", NOON);
}

#[test]
fn a_number_out_of_range() {
    let raw = r#"{"id":3,"at":"2024-01-01T12:00:00Z","zone":3000000000}"#;
    check(raw, "Schema", ", line 2, column 44", "column `zone`: expected INT, found 3000000000", NOON);
    let raw = r#"{"id":99999999999999999999,"at":"2024-01-01T12:00:00Z"}"#;
    check(raw, "Schema", ", line 2, column 7", "column `id`: expected BIGINT, found 99999999999999999999", NOON);
}

#[test]
fn a_field_that_must_be_there_and_is_missing_or_null() {
    let raw = r#"{"zone":3,"at":"2024-01-01T12:00:00Z"}"#;
    check(raw, "Schema", ", line 2", "column `id`: expected BIGINT, found no such field", NOON);
    let raw = r#"{"id":null,"at":"2024-01-01T12:00:00Z"}"#;
    check(raw, "Schema", ", line 2, column 7", "column `id`: expected BIGINT, found null", NOON);
}

#[test]
fn event_time_that_is_missing_or_null() {
    let raw = r#"{"id":3,"zone":3}"#;
    check(raw, "Schema", ", line 2", "column `at`: expected TIMESTAMP(3), found no such field", None);
    let raw = r#"{"id":3,"at":null}"#;
    check(raw, "Schema", ", line 2, column 14", "column `at`: expected TIMESTAMP(3), found null", None);
}

#[test]
fn an_impossible_timestamp() {
    for time in ["2024-02-30T00:00:00Z", "2024-13-01T00:00:00Z", "0000-00-00 00:00:00", "9999999-01-01T00:00:00Z"] {
        let raw = format!(r#"{{"id":3,"at":"{time}"}}"#);
        let message = format!("column `at`: expected TIMESTAMP(3), found \"{time}\"");
        check(&raw, "Schema", ", line 2, column 14", &message, None);
    }
}

#[test]
fn a_number_that_names_no_time_of_the_years_1_to_9999() {
    let place = Workplace::new();
    place.write("data/a.json", "{\"id\":1,\"at\":1704067200000}\n{\"id\":2,\"at\":9223372036854775807}\n");
    let format = "json: { timestampFormat: EpochMillis }";
    let message = "column `at`: expected TIMESTAMP(3), found 9223372036854775807";
    let failed = Pipeline { format, ..Pipeline::windowed("Fail") }.run(&place);
    let error = failed.error();
    assert!(error.starts_with(&format!("data/a.json, line 2, column 14: {message}\n")), "{error}");
    let dropped = Pipeline { format, ..Pipeline::windowed("Drop") }.run(&place);
    dropped.completed();
    assert_eq!(dropped.rows, [r#"{"window_start":"2024-01-01T00:00:00.000Z","n":1}"#]);
    assert_eq!(dropped.bad(), &serde_json::json!({ "Schema": 1 }), "no row is lost uncounted");
}

#[test]
fn bytes_that_are_not_utf_8() {
    let bad = Bad {
        raw: b"{\"id\":3,\"at\":\"2024-01-01T12:00:00Z\",\"note\":\"\xff\xfe\"}",
        shown: r#"{"id":3,"at":"2024-01-01T12:00:00Z","note":"\xff\xfe"}"#,
        kept: usize::MAX,
        class: "Decode",
        place: ", line 2, column 44",
        message: "column `note`: expected UTF-8, found \"\u{fffd}\u{fffd}\"",
        record_time: NOON,
    };
    costs_itself_only(&Workplace::new(), &bad);
}

#[test]
fn a_nesting_bomb() {
    for (open, column) in [("[", 65), ("{\"a\":", 321)] {
        let raw = format!("{{\"x\":{}", open.repeat(200_000));
        let bad = Bad {
            raw: raw.as_bytes(),
            shown: &raw,
            kept: usize::MAX,
            class: "Decode",
            place: &format!(", line 2, column {}", column + 5 - open.len()),
            message: "broken JSON: nested deeper than 64 levels",
            record_time: None,
        };
        costs_itself_only(&Workplace::new(), &bad);
    }
}
