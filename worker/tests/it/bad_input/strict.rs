//! `format.json.strict`: what no query reads is judged as what one does.

use serde_json::json;

use super::{FIRST, Pipeline};
use crate::command::Workplace;

#[test]
fn a_wrong_type_in_a_column_that_is_not_read_is_a_bad_record_where_it_is_strict_only() {
    let place = Workplace::new();
    let wrong = r#"{"id":2,"zone":"much","at":"2024-01-01T00:00:01Z","note":"b"}"#;
    place.write("data/a.json", &format!("{FIRST}\n{wrong}\n"));
    let sql = "INSERT INTO out SELECT note, id FROM trips".to_owned();
    for (format, rows, bad) in [("json: {}", 2, json!({})), ("json: { strict: true }", 1, json!({ "Schema": 1 }))] {
        let ran = Pipeline { format, sql: sql.clone(), ..Pipeline::new("DeadLetter") }.run(&place);
        ran.completed();
        assert_eq!((ran.rows.len(), ran.bad()), (rows, &bad), "{format}");
        assert_eq!(ran.rows[0], r#"{"note":"a","id":1}"#);
        let told = ran.dead.first().map(|letter| letter["message"].as_str().expect("a message").to_owned());
        assert_eq!(told, (rows == 1).then(|| "column `zone`: expected INT, found \"much\"".to_owned()));
    }
}

#[test]
fn a_run_that_fails_tells_of_no_row_that_cannot_be_seen() {
    let place = Workplace::new();
    place.write("data/a.json", &format!("{FIRST}\n"));
    place.write("data/b.json", "no JSON\n");
    let ran = Pipeline { files: "url: data/*, lanes: 1".to_owned(), ..Pipeline::new("Fail") }.run(&place);
    ran.error();
    assert_eq!((ran.rows.len(), &ran.summary["stages"][0]["rows"]), (0, &json!(0)));
}
