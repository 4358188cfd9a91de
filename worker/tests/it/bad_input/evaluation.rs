//! Rows on which an expression of the query fails.

use serde_json::json;

use super::{HELP, Pipeline};
use crate::command::Workplace;

const MESSAGE: &str = "Cast error: Cannot cast string 'ab' to value of Int32 type";
const RAW: &str = r#"{"id":2,"at":"2024-01-01T00:00:00Z","note":"ab"}"#;

fn place() -> Workplace {
    let place = Workplace::new();
    let row = |id: u64, note: &str| format!(r#"{{"id":{id},"at":"2024-01-01T00:00:00Z","note":"{note}"}}"#);
    place.write("data/a.json", &format!("{}\n{RAW}\n{}\n", row(1, "12"), row(3, "13")));
    place
}

#[test]
fn a_text_that_cannot_be_cast_costs_its_row_only() {
    let place = place();
    for (sql, rows) in [
        (
            "INSERT INTO out SELECT id, CAST(note AS INT) AS n FROM trips",
            vec![r#"{"id":1,"n":12}"#, r#"{"id":3,"n":13}"#],
        ),
        (
            "INSERT INTO out SELECT sum(CAST(note AS INT)) AS n FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' \
             SECOND)) GROUP BY window_start, window_end",
            vec![r#"{"n":25}"#],
        ),
    ] {
        let pipeline = |on_error| Pipeline { sql: sql.to_owned(), ..Pipeline::new(on_error) };
        let failed = pipeline("Fail").run(&place);
        assert_eq!(failed.error(), format!("data/a.json, line 2: {MESSAGE}\n  found: {RAW}\n  {HELP}"));
        for on_error in ["Drop", "DeadLetter"] {
            let ran = pipeline(on_error).run(&place);
            ran.completed();
            assert_eq!(
                (ran.rows, &ran.summary["sources"][0]["bad"]),
                (rows.iter().map(|row| (*row).to_owned()).collect(), &json!({ "Evaluation": 1 }))
            );
            assert_eq!(ran.dead.len(), usize::from(on_error == "DeadLetter"));
            for letter in ran.dead {
                assert_eq!(
                    (&letter["raw"], &letter["class"], &letter["message"]),
                    (&json!(RAW), &json!("Evaluation"), &json!(MESSAGE))
                );
            }
        }
    }
}

#[test]
fn the_same_row_gives_null_where_the_query_says_try() {
    let sql = "INSERT INTO out SELECT id, TRY_CAST(note AS INT) AS n FROM trips WHERE id = 2";
    let ran = Pipeline { sql: sql.to_owned(), ..Pipeline::new("Fail") }.run(&place());
    ran.completed();
    assert_eq!(ran.rows, [r#"{"id":2,"n":null}"#]);
}

#[test]
fn what_fails_behind_a_window_names_the_window() {
    let sql = "INSERT INTO out SELECT 10 / (count(*) - 3) AS n FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' \
               SECOND)) GROUP BY window_start, window_end";
    let ran = Pipeline { sql: sql.to_owned(), ..Pipeline::new("Drop") }.run(&place());
    let error = ran.error();
    assert!(error.starts_with("stage 0: Divide by zero error, in what follows the window {\"count(*)\":3,"), "{error}");
    assert!(error.ends_with("; guard it, for example with NULLIF or TRY_CAST"), "{error}");
}
