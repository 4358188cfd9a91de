//! Rows of one event time: their order is that of the files, then of the places in them.

use super::Pipeline;
use crate::command::Workplace;

#[test]
fn the_first_and_the_last_of_equal_times_do_not_depend_on_lanes_or_threads() {
    let place = Workplace::new();
    let row = |file: usize, line: usize| format!(r#"{{"id":1,"at":"2024-01-01T00:00:00Z","note":"{file}-{line}"}}"#);
    for file in 0..7 {
        let rows: Vec<_> = (0..3).map(|line| row(file, line)).collect();
        place.write(&format!("data/{file}.json"), &rows.join("\n"));
    }
    let sql = "INSERT INTO out SELECT first_value(note) AS a, last_value(note) AS b FROM TABLE(TUMBLE(TABLE trips, \
               DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end";
    for lanes in [1, 2, 3, 8] {
        for threads in ["1", "4"] {
            let files = format!("url: data/*, lanes: {lanes}");
            let ran = Pipeline { sql: sql.to_owned(), files, ..Pipeline::new("Fail") };
            let ran = ran.run_with(&place, &["--threads", threads]);
            ran.completed();
            assert_eq!(ran.rows, [r#"{"a":"0-0","b":"6-2"}"#], "{lanes} lanes, {threads} threads");
        }
    }
}
