//! Random rows through whole runs, against DataFusion's batch engine over the same rows: every window, every aggregate,
//! with disorder, late rows, several files, and any number of threads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::command::Workplace;

const FILES: usize = 3;
const ROWS_A_FILE: usize = 4_000;
const DELAY_MS: i64 = 2_000;
/// 2024-01-01T00:00:00Z
const START_MS: i64 = 1_704_067_200_000;

/// What the statement computes: a name, ours, and DataFusion's. As in Flink, `first_value` and `last_value` pass nulls over.
const AGGREGATES: [(&str, &str, &str); 10] = [
    ("n", "count(*)", "count(*)"),
    ("nv", "count(v)", "count(v)"),
    ("dv", "count(DISTINCT v)", "count(DISTINCT v)"),
    ("sv", "sum(v)", "sum(v)"),
    ("lo", "min(v)", "min(v)"),
    ("hi", "max(v)", "max(v)"),
    ("big", "count(*) FILTER (WHERE v > 50)", "count(*) FILTER (WHERE v > 50)"),
    ("av", "avg(CAST(v AS DOUBLE))", "avg(CAST(v AS DOUBLE))"),
    ("fv", "first_value(v)", "first_value(v ORDER BY t, log, place) IGNORE NULLS"),
    ("lv", "last_value(v)", "last_value(v ORDER BY t, log, place) IGNORE NULLS"),
];

#[derive(Clone)]
struct Row {
    key: Option<String>,
    value: Option<i64>,
    time: i64,
    log: i64,
    place: i64,
}

#[derive(Clone, Copy)]
enum Window {
    Tumble { size: i64 },
    Hop { size: i64, slide: i64 },
    Cumulate { size: i64, step: i64 },
    Session { gap: i64 },
}

impl Window {
    fn table(self) -> String {
        let ms = |millis: i64| format!("INTERVAL '{}' SECOND", millis as f64 / 1e3);
        match self {
            Self::Tumble { size } => format!("TABLE(TUMBLE(TABLE rows_in, DESCRIPTOR(t), {}))", ms(size)),
            Self::Hop { size, slide } => {
                format!("TABLE(HOP(TABLE rows_in, DESCRIPTOR(t), {}, {}))", ms(slide), ms(size))
            }
            Self::Cumulate { size, step } => {
                format!("TABLE(CUMULATE(TABLE rows_in, DESCRIPTOR(t), {}, {}))", ms(step), ms(size))
            }
            Self::Session { gap } => {
                format!("TABLE(SESSION(TABLE rows_in PARTITION BY k, DESCRIPTOR(t), {}))", ms(gap))
            }
        }
    }

    /// Late by the definition, `watermark` being that of the row's own file just before it.
    fn is_late(self, time: i64, watermark: i64) -> bool {
        let pane_end = |size: i64| time.div_euclid(size) * size + size;
        match self {
            Self::Tumble { size } => pane_end(size) <= watermark,
            Self::Hop { slide, .. } => pane_end(slide) <= watermark,
            Self::Cumulate { step, .. } => pane_end(step) <= watermark,
            Self::Session { .. } => time < watermark,
        }
    }

    /// Every window of a row that has windows of its own; sessions depend on the other rows.
    fn of(self, time: i64) -> Vec<(i64, i64)> {
        match self {
            Self::Tumble { size } => {
                let start = time.div_euclid(size) * size;
                vec![(start, start + size)]
            }
            Self::Hop { size, slide } => {
                let last = time.div_euclid(slide) * slide;
                (0..size / slide).map(|back| last - back * slide).map(|start| (start, start + size)).collect()
            }
            Self::Cumulate { size, step } => {
                let start = time.div_euclid(size) * size;
                let ends = (1..=size / step).map(|steps| start + steps * step);
                ends.filter(|end| *end > time).map(|end| (start, end)).collect()
            }
            Self::Session { .. } => Vec::new(),
        }
    }

    /// Rows with their windows, one entry a row and window.
    fn assign(self, rows: &[Row]) -> Vec<(Row, i64, i64)> {
        let Self::Session { gap } = self else {
            return rows
                .iter()
                .flat_map(|row| self.of(row.time).into_iter().map(|(s, e)| (row.clone(), s, e)))
                .collect();
        };
        let mut by_key: BTreeMap<&Option<String>, Vec<&Row>> = BTreeMap::new();
        rows.iter().for_each(|row| by_key.entry(&row.key).or_default().push(row));
        let mut assigned = Vec::new();
        for mut rows in by_key.into_values() {
            rows.sort_by_key(|row| row.time);
            for session in rows.chunk_by(|a, b| b.time <= a.time + gap) {
                let (start, end) = (session[0].time, session[session.len() - 1].time + gap);
                assigned.extend(session.iter().map(|row| ((*row).clone(), start, end)));
            }
        }
        assigned
    }
}

/// Rows in order of their files; most within the delay, some far behind it.
fn rows(seed: u64) -> Vec<Vec<Row>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut file = |log: usize| {
        let row = |place: usize| {
            let behind = if random.random_bool(0.02) { 20_000 } else { DELAY_MS - 100 };
            let time = START_MS + place as i64 * 10 - random.random_range(0..behind);
            let key = (!random.random_bool(0.05)).then(|| format!("k{}", random.random_range(0..7)));
            let value = (!random.random_bool(0.1)).then(|| random.random_range(0..100));
            Row { key, value, time, log: log as i64, place: place as i64 }
        };
        (0..ROWS_A_FILE).map(row).collect()
    };
    (0..FILES).map(&mut file).collect()
}

fn write(place: &Workplace, files: &[Vec<Row>]) {
    for (number, rows) in files.iter().enumerate() {
        let mut text = String::new();
        for row in rows {
            let json = serde_json::json!({"k": row.key, "v": row.value, "t": row.time});
            writeln!(text, "{json}").expect("text");
        }
        place.write(&format!("data/{number}.json"), &text);
    }
}

/// The rows that are on time, and how many are late.
fn on_time(window: Window, files: &[Vec<Row>]) -> (Vec<Row>, u64) {
    let (mut kept, mut late) = (Vec::new(), 0);
    for file in files {
        let mut greatest = i64::MIN;
        for row in file {
            if window.is_late(row.time, greatest.saturating_sub(DELAY_MS)) {
                late += 1;
            } else {
                kept.push(row.clone());
            }
            greatest = greatest.max(row.time);
        }
    }
    (kept, late)
}

type Answer = BTreeMap<String, usize>;

fn by_datafusion(window: Window, rows: &[Row]) -> Answer {
    let aggregates: Vec<_> = AGGREGATES.iter().map(|(name, _, theirs)| format!("{theirs} AS {name}")).collect();
    ask(window, rows, &format!("SELECT ws, we, k, {} FROM t GROUP BY ws, we, k", aggregates.join(", ")))
}

/// What a query says of rows with their windows.
fn ask(window: Window, rows: &[Row], sql: &str) -> Answer {
    let assigned = window.assign(rows);
    let number = |of: fn(&(Row, i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(assigned.iter().map(of)));
    let columns: [(&str, ArrayRef); 7] = [
        ("ws", number(|(_, start, _)| *start)),
        ("we", number(|(_, _, end)| *end)),
        ("k", Arc::new(assigned.iter().map(|(row, ..)| row.key.clone()).collect::<StringArray>())),
        ("v", Arc::new(assigned.iter().map(|(row, ..)| row.value).collect::<Int64Array>())),
        ("t", number(|(row, ..)| row.time)),
        ("log", number(|(row, ..)| row.log)),
        ("place", number(|(row, ..)| row.place)),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let batches = runtime.block_on(async {
        let context = SessionContext::new();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
        context.register_table("t", Arc::new(table)).expect("registered");
        context.sql(sql).await.expect("planned").collect().await.expect("ran")
    });
    let mut answer = Answer::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<_> = batch.columns().iter().map(|column| cell(column, row)).collect();
            *answer.entry(cells.join(" ")).or_default() += 1;
        }
    }
    answer
}

fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    if let Some(numbers) = column.as_any().downcast_ref::<Int64Array>() {
        return numbers.value(row).to_string();
    }
    if let Some(numbers) = column.as_any().downcast_ref::<Float64Array>() {
        return rounded(numbers.value(row));
    }
    arrow::util::display::array_value_to_string(column, row).expect("shown")
}

/// The last bits of floating-point sums depend on the order of rows.
fn rounded(number: f64) -> String {
    format!("{number:.9}")
}

fn statement(window: Window) -> String {
    let aggregates: Vec<_> = AGGREGATES.iter().map(|(name, ours, _)| format!("{ours} AS {name}")).collect();
    format!(
        "INSERT INTO out SELECT window_start AS ws, window_end AS we, k, {} FROM {} GROUP BY window_start, window_end, k",
        aggregates.join(", "),
        window.table()
    )
}

fn manifests(statement: &str) -> String {
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: rows-in }}
spec:
  files: {{ url: data/*.json }}
  format: {{ json: {{ timestampFormat: EpochMillis }} }}
  schema:
    - {{ name: k, type: STRING }}
    - {{ name: v, type: BIGINT }}
    - {{ name: t, type: TIMESTAMP(3) }}
  watermark: {{ column: t, delay: {DELAY_MS}ms }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec: {{ stdout: {{ style: Json }} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: oracle }}
spec:
  sources: [{{ name: rows-in }}]
  sinks: [{{ name: out }}]
  sql: |
    {statement}
"#
    )
}

/// A row of `statement`.
fn line(row: &Value) -> String {
    let key = row["k"].as_str().unwrap_or("null").to_owned();
    let cells = AGGREGATES.iter().map(|(name, ..)| match (&row[name], *name) {
        (Value::Null, _) => "null".to_owned(),
        (number, "av") => rounded(number.as_f64().expect("a number")),
        (number, _) => number.to_string(),
    });
    [millis(row, "ws"), millis(row, "we"), key].into_iter().chain(cells).collect::<Vec<_>>().join(" ")
}

fn millis(row: &Value, name: &str) -> String {
    let text = row[name].as_str().expect("a time");
    chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis().to_string()
}

fn by_thalweg(place: &Workplace, threads: &str, line: fn(&Value) -> String) -> (Answer, u64) {
    let text = place.succeed(&["run", "p.yaml", "-o", "json", "--threads", threads]);
    let (mut answer, mut late) = (Answer::new(), None);
    for printed in text.lines() {
        let row: Value = serde_json::from_str(printed).expect("JSON");
        if let Some(sources) = row["sources"].as_array() {
            late = sources[0]["late"].as_u64();
            continue;
        }
        *answer.entry(line(&row)).or_default() += 1;
    }
    (answer, late.expect("a summary"))
}

fn check(window: Window, seed: u64) {
    check_statement(window, &statement(window), line, by_datafusion, seed);
}

/// Runs a statement whose rows are printed by `line`, against what the other engine says of the rows that are on time.
fn check_statement(
    window: Window,
    statement: &str,
    line: fn(&Value) -> String,
    expected: fn(Window, &[Row]) -> Answer,
    seed: u64,
) {
    let (place, files) = (Workplace::new(), rows(seed));
    write(&place, &files);
    place.write("p.yaml", &manifests(statement));
    let (kept, late) = on_time(window, &files);
    assert!(late > 20, "{late} late rows prove nothing");
    let expected = expected(window, &kept);
    for threads in ["1", "8"] {
        let (found, found_late) = by_thalweg(&place, threads, line);
        assert_eq!(found_late, late, "late rows with {threads} threads");
        let missing: Vec<_> = expected.iter().filter(|(row, times)| found.get(*row) != Some(times)).take(3).collect();
        let surplus: Vec<_> = found.iter().filter(|(row, times)| expected.get(*row) != Some(times)).take(3).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:#?}\nsurplus {surplus:#?}");
    }
}

#[test]
fn tumbling_windows_equal_the_batch_answer() {
    check(Window::Tumble { size: 5_000 }, 1);
}

#[test]
fn hopping_windows_equal_the_batch_answer() {
    check(Window::Hop { size: 10_000, slide: 2_000 }, 2);
}

#[test]
fn cumulating_windows_equal_the_batch_answer() {
    check(Window::Cumulate { size: 12_000, step: 3_000 }, 3);
}

#[test]
fn session_windows_equal_the_batch_answer() {
    check(Window::Session { gap: 1_000 }, 4);
}

#[test]
fn sessions_that_another_stage_puts_into_windows_equal_the_batch_answer() {
    let window = Window::Session { gap: 100 };
    let sessions = format!(
        "CREATE TEMPORARY VIEW sessions AS SELECT k, count(*) AS n, max(v) AS hi, window_time AS ended FROM {} \
         GROUP BY window_start, window_end, window_time, k;",
        window.table()
    );
    let tumbled = "INSERT INTO out SELECT window_start AS ws, window_end AS we, count(*) AS s, sum(n) AS n, max(hi) AS hi \
         FROM TABLE(TUMBLE(TABLE sessions, DESCRIPTOR(ended), INTERVAL '5' SECOND)) GROUP BY window_start, window_end";
    let line = |row: &Value| {
        let cells = ["s", "n", "hi"].map(|name| row[name].to_string());
        [millis(row, "ws"), millis(row, "we")].into_iter().chain(cells).collect::<Vec<_>>().join(" ")
    };
    let expected = |window: Window, rows: &[Row]| {
        let sessions = "SELECT we AS ended, count(*) AS n, max(v) AS hi FROM t GROUP BY ws, we, k";
        let start = "(ended - 1) / 5000 * 5000";
        let sql = format!(
            "SELECT {start} AS ws, {start} + 5000 AS we, count(*) AS s, sum(n) AS n, max(hi) AS hi FROM ({sessions}) \
             GROUP BY {start}"
        );
        ask(window, rows, &sql)
    };
    check_statement(window, &format!("{sessions} {tumbled}"), line, expected, 5);
}
