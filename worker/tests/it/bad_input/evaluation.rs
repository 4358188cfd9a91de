//! Rows on which an expression of the query fails.

use serde_json::json;

use super::{HELP, Pipeline};
use crate::command::Workplace;

const MESSAGE: &str = "`ab` is no INT";
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

/// Groups by second: of `from`, a table or a view with `at`.
fn by_second(select: &str, from: &str, groups: &str) -> String {
    format!(
        "INSERT INTO out SELECT {select} FROM TABLE(TUMBLE(TABLE {from}, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY \
         window_start, window_end{groups}"
    )
}

/// Runs a query of which one group fails, with each `onError`.
fn costs_its_group_only(place: &Workplace, sql: &str, message: &str, raw: &str, rows: [&str; 2]) {
    let pipeline = |on_error| Pipeline { sql: sql.to_owned(), ..Pipeline::new(on_error) };
    let failed = pipeline("Fail").run(place);
    let window = "window ending 2024-01-01T00:00:01Z";
    let help = "help: guard it, for example with NULLIF or TRY_CAST, or set `onError: Drop` or `DeadLetter` on \
                StreamSource/taxi-trips";
    assert_eq!(failed.error(), format!("INSERT 1, {window}: {message}\n  found: {raw}\n  {help}"));
    for on_error in ["Drop", "DeadLetter"] {
        let ran = pipeline(on_error).run(place);
        ran.completed();
        assert_eq!((&ran.rows[..], ran.bad()), (&rows.map(str::to_owned)[..], &json!({ "Evaluation": 1 })));
        let stage = ran.dead.first().map(|letter| letter["split"].clone());
        let letter = json!({
            "raw": raw, "source": "trips", "split": stage, "position": window, "class": "Evaluation", "message": message,
            "record_time": "2024-01-01T00:00:00.999Z",
        });
        assert_eq!(ran.dead, if on_error == "DeadLetter" { vec![letter] } else { vec![] });
    }
}

#[test]
fn what_fails_behind_a_window_costs_its_group_only_and_names_it() {
    costs_its_group_only(
        &place(),
        &by_second("note, CAST(note AS INT) + count(*) AS n", "trips", ", note"),
        &format!("`CAST(CAST(whole_of(note) AS Int32) AS Int64) + count(*)`: {MESSAGE}"),
        r#"{"note":"ab","count(*)":1,"window_start":"2024-01-01T00:00:00","window_end":"2024-01-01T00:00:01","window_time":"2024-01-01T00:00:00.999"}"#,
        [r#"{"note":"12","n":13}"#, r#"{"note":"13","n":14}"#],
    );
}

#[test]
fn what_fails_between_two_windows_costs_its_group_only_and_names_it() {
    let view = by_second("note, count(*) AS n, window_time AS at", "trips", ", window_time, note");
    let view = view.replace("INSERT INTO out", "CREATE VIEW v AS");
    costs_its_group_only(
        &place(),
        &format!("{view}; {}", by_second("note, sum(CAST(note AS INT) + n) AS n", "v", ", note")),
        &format!("`CAST(CAST(whole_of(note) AS Int32) AS Int64) + n`: {MESSAGE}"),
        r#"{"note":"ab","n":1,"window_time":"2024-01-01T00:00:00.999"}"#,
        [r#"{"note":"12","n":13}"#, r#"{"note":"13","n":14}"#],
    );
}

#[test]
fn sums_and_averages_beyond_their_type_are_no_rows_and_never_wrap() {
    let place = Workplace::new();
    let most = i64::MAX;
    let row = |note: &str, id: i64| format!(r#"{{"id":{id},"zone":3,"at":"2024-01-01T00:00:00Z","note":"{note}"}}"#);
    let big = [most, most, 1].map(|id| row("big", id));
    let rest = [row("low", -most), row("low", -3), row("up", 5), row("up", 2)];
    place.write("data/a.json", &[big.join("\n"), rest.join("\n")].join("\n"));
    let ran = |on_error, select: &str| {
        let sql = by_second(&format!("note, {select} AS n"), "trips", ", note");
        Pipeline { sql, ..Pipeline::new(on_error) }.run(&place)
    };
    let failed = ran("Fail", "sum(id)");
    let is_told = |value: &str| {
        let start = "INSERT 1, window ending 2024-01-01T00:00:01Z: `sum(trips.id)`";
        failed.error().starts_with(&format!("{start}: {value} is beyond BIGINT\n"))
    };
    assert!(is_told("18446744073709551615") || is_told("-9223372036854775810"), "{}", failed.error());
    for (select, expected) in [
        ("sum(id)", [None, None, Some("7")]),
        ("sum(CAST(id AS DECIMAL(38, 0)))", [Some("18446744073709551615"), Some("-9223372036854775810"), Some("7")]),
        ("sum(DISTINCT id)", [None, None, Some("7")]),
        ("avg(id)", [Some("6148914691236517205"), Some("-4611686018427387905"), Some("3")]),
        ("avg(zone)", [Some("3"); 3]),
        (
            "avg(CAST(id AS DECIMAL(38, 2)))",
            [Some("6148914691236517205.000000"), Some("-4611686018427387905.000000"), Some("3.500000")],
        ),
        ("avg(CAST(1 AS DECIMAL(3, 2)) / 9)", [Some("0.1111111111111"); 3]),
        (
            "sum(CAST(id AS DECIMAL(38, 0)) * 10000000000000000000)",
            [None, Some("-92233720368547758100000000000000000000"), Some("70000000000000000000")],
        ),
    ] {
        let ran = ran("Drop", select);
        ran.completed();
        let rows = ["big", "low", "up"].iter().zip(expected);
        let rows = rows.filter_map(|(note, n)| Some(format!(r#"{{"note":"{note}","n":{}}}"#, n?)));
        assert_eq!(ran.rows, rows.collect::<Vec<_>>(), "{select}");
    }
}

#[test]
fn a_time_that_no_text_names_is_for_the_sink_to_refuse() {
    let place = place();
    let run = |sink: &str, on_error: &str| {
        let sql = "INSERT INTO out SELECT id, CASE WHEN id = 2 THEN TO_TIMESTAMP_LTZ(id * 1000000000000000000, 3) ELSE at END \
                   AS moved FROM trips";
        let out = format!("{sink}, onError: {on_error}");
        Pipeline { out, sql: sql.to_owned(), ..Pipeline::new("Fail") }
    };
    let message =
        "column `moved`: expected TIMESTAMP(3) in the years 1 to 9999, found \"+63379447-01-06T03:33:20.000Z\"";
    let raw = r#"{"id":2,"moved":"+63379447-01-06T03:33:20.000Z"}"#;
    for sink in ["files: { url: out }", "files: { url: out, partitionBy: ['date(moved)'] }"] {
        let failed = run(sink, "Fail").run(&place);
        let error = failed.error();
        assert!(error.starts_with(&format!("StreamSink/out: {message}\n  found: {raw}\n")), "{error}");
        let kept = run(sink, "DeadLetter").run(&place);
        kept.completed();
        assert_eq!((kept.rows.len(), kept.dead.len()), (2, 1));
        let letter = &kept.dead[0];
        assert_eq!(
            (&letter["class"], &letter["message"], &letter["raw"]),
            (&json!("Rejected"), &json!(message), &json!(raw))
        );
    }
    run("stdout: { style: Table }", "Drop").write(&place);
    let shown = place.succeed(&["run", "p.yaml"]);
    assert_eq!(shown.lines().count(), 4, "a heading and two rows: {shown}");
}
