//! Rows that come after their windows have closed.

use serde_json::json;

use super::Pipeline;
use crate::command::Workplace;

#[test]
fn late_rows_are_counted_and_become_dead_letters_one_by_one_whatever_on_error_says() {
    let place = Workplace::new();
    let row = |id: u64, time: &str| format!("{{\"id\":{id},\"at\":\"2024-01-01T00:{time}Z\"}}");
    let rows =
        [row(1, "00:00"), row(2, "00:10"), row(3, "00:00"), row(4, "00:08.999"), row(5, "00:09"), row(6, "00:07")];
    place.write("data/a.json", &rows.join("\n"));
    let late = [2, 3, 5];
    for on_error in ["Fail", "Drop", "DeadLetter"] {
        for threads in ["1", "8"] {
            let ran = Pipeline { late: "DeadLetter", ..Pipeline::windowed(on_error) };
            let ran = ran.run_with(&place, &["--threads", threads]);
            ran.completed();
            assert_eq!(ran.summary["sources"][0]["late"], 3, "{threads} threads");
            assert_eq!((ran.bad(), ran.rows.len()), (&json!({}), 3), "late rows are counted apart");
            assert_eq!(ran.summary["stages"][0]["deadLetters"], 3);
            let mut letters: Vec<_> = ran.dead.iter().map(|letter| letter["raw"].as_str().expect("text")).collect();
            letters.sort_unstable();
            assert_eq!(letters, late.map(|index: usize| rows[index].as_str()));
            assert!(ran.dead.iter().all(|letter| letter["class"] == "Late" && letter["record_time"].is_string()));
            assert_eq!(ran.dead[0]["message"], "INSERT 1: its windows had closed when it was read");
        }
        // Another INSERT over longer windows, for which fewer are late: each row is late once.
        let one = Pipeline::windowed(on_error);
        let longer = one.sql.replace("'1' SECOND", "'2' SECOND");
        let both = Pipeline { sql: format!("{}; {longer}", one.sql), ..one }.run(&place);
        both.completed();
        assert_eq!(both.summary["sources"][0]["late"], 3, "late rows are a property of the log");
        let ran = Pipeline::windowed(on_error).run(&place);
        ran.completed();
        assert_eq!((&ran.summary["sources"][0]["late"], ran.dead.len(), ran.bad()), (&json!(3), 0, &json!({})));
    }
}

#[test]
fn where_lanes_follow_event_time_what_is_late_depends_on_lanes_and_not_on_threads() {
    let place = Workplace::new();
    let row = |id: u64, time: &str| format!("{{\"id\":{id},\"at\":\"2024-01-01T00:{time}Z\"}}\n");
    place.write("data/0.json", &[row(1, "00:00"), row(2, "00:10")].concat());
    place.write("data/1.json", &[row(3, "00:00"), row(4, "00:20")].concat());
    place.write("data/2.json", &row(5, "00:08"));
    place.write("data/3.json", &[row(6, "00:18"), row(7, "00:19")].concat());
    // With one lane also the first row of the second file.
    for (lanes, late) in
        [(1, vec![row(3, "00:00"), row(5, "00:08"), row(6, "00:18")]), (2, vec![row(5, "00:08"), row(6, "00:18")])]
    {
        for threads in ["1", "8", "8", "8"] {
            let files = format!("url: data/*, order: ByName, lanes: {lanes}");
            let ran = Pipeline { late: "DeadLetter", files, ..Pipeline::windowed("Fail") };
            let ran = ran.run_with(&place, &["--threads", threads]);
            ran.completed();
            let mut letters: Vec<_> = ran.dead.iter().map(|letter| letter["raw"].as_str().expect("text")).collect();
            letters.sort_unstable();
            let expected: Vec<_> = late.iter().map(|row| row.trim_end()).collect();
            assert_eq!(letters, expected, "{lanes} lanes, {threads} threads");
        }
    }
}
