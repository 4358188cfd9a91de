//! Bad input and faults: a record, a file, a disk or a manifest that is not as it should be costs what it must, and the
//! user reads where and what to do.

mod changes;
mod disks;
mod evaluation;
mod files;
mod folders;
mod lateness;
mod lookups;
mod manifests;
mod parity;
mod pipes;
mod records;
mod secrets;
mod signals;
mod sizes;
mod sql;
mod strict;
mod ties;

use std::process::Output;

use serde_json::Value;

use crate::command::{Workplace, text};
use crate::output::{count, rows_in};

/// Two good records, between and around which bad ones stand.
pub const FIRST: &str = r#"{"id":1,"zone":7,"at":"2024-01-01T00:00:00Z","note":"a"}"#;
pub const LAST: &str = r#"{"id":2,"zone":8,"at":"2024-01-01T00:00:01Z","note":"b"}"#;
/// What they are in the output.
pub const GOOD: [&str; 2] = [
    r#"{"id":1,"zone":7,"at":"2024-01-01T00:00:00.000Z","note":"a"}"#,
    r#"{"id":2,"zone":8,"at":"2024-01-01T00:00:01.000Z","note":"b"}"#,
];

/// What stands after the message of a bad record.
pub const HELP: &str = "help: mend it, or set `onError: Drop` or `DeadLetter` on StreamSource/taxi-trips";

/// The source, `trips` in SQL; `files.url` and `format` can be told otherwise.
#[derive(Clone)]
pub struct Pipeline {
    pub on_error: &'static str,
    pub files: String,
    pub format: &'static str,
    pub late: &'static str,
    pub more: String,
    pub out: String,
    pub bad: String,
    pub sql: String,
}

impl Pipeline {
    /// Rows of `data/` to `out/` as they are, dead letters to `bad/`.
    pub fn new(on_error: &'static str) -> Self {
        Self {
            on_error,
            files: "url: data/*".to_owned(),
            format: "json: {}",
            late: "Drop",
            more: String::new(),
            out: "files: { url: out }".to_owned(),
            bad: "files: { url: bad }".to_owned(),
            sql: "INSERT INTO out SELECT id, zone, at, note FROM trips".to_owned(),
        }
    }

    /// The same, but with a source whose rows are counted by second.
    pub fn windowed(on_error: &'static str) -> Self {
        let sql = "INSERT INTO out SELECT window_start, count(*) AS n FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), \
                   INTERVAL '1' SECOND)) GROUP BY window_start, window_end";
        Self { sql: sql.to_owned(), ..Self::new(on_error) }
    }

    /// Its manifests.
    pub fn text(&self) -> String {
        let Self { on_error, files, format, late, more, out, bad, sql } = self;
        let sql = serde_json::to_string(sql).expect("a text");
        format!(
            r#"apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: taxi-trips }}
spec:
  files: {{ {files} }}
  format: {{ {format} }}
  schema:
    - {{ name: id, type: BIGINT, nullable: false }}
    - {{ name: zone, type: INT }}
    - {{ name: at, type: TIMESTAMP(3) }}
    - {{ name: note, type: STRING }}
  watermark: {{ column: at, delay: 1s, late: {late} }}
  onError: {on_error}
  {more}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec: {{ {out} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: bad }}
spec: {{ {bad} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: p }}
spec:
  sources: [{{ name: taxi-trips, as: trips }}]
  sinks: [{{ name: out }}]
  deadLetter: {{ sink: bad }}
  state: {{ commitEvery: 100ms }}
  sql: {sql}
"#
        )
    }

    /// Writes its manifests.
    pub fn write(&self, place: &Workplace) {
        place.write("p.yaml", &self.text());
    }

    /// Runs it in an empty state, and reads what it wrote.
    pub fn run(&self, place: &Workplace) -> Ran {
        self.run_with(place, &[])
    }

    /// The same, with more words on the command line.
    pub fn run_with(&self, place: &Workplace, words: &[&str]) -> Ran {
        for folder in ["out", "bad"] {
            let _ = std::fs::remove_dir_all(place.path(folder));
        }
        self.write(place);
        Ran::of(place, &place.run(&[&["run", "p.yaml", "-o", "json"], words].concat()))
    }
}

/// What a run with `-o json` left.
#[derive(Debug)]
pub struct Ran {
    pub exit: Option<i32>,
    pub summary: Value,
    pub stderr: String,
    /// Rows of `out/`, sorted.
    pub rows: Vec<String>,
    /// Rows of `bad/`, by position.
    pub dead: Vec<Value>,
}

impl Ran {
    /// Reads it.
    pub fn of(place: &Workplace, output: &Output) -> Self {
        let stdout = text(&output.stdout);
        let summary = serde_json::from_str(&stdout);
        let dead = rows_of(place, "bad").iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
        Self {
            exit: output.status.code(),
            summary: summary.unwrap_or_else(|error| panic!("{error}: {stdout}{}", text(&output.stderr))),
            stderr: text(&output.stderr),
            rows: rows_of(place, "out"),
            dead,
        }
    }

    /// Bad records, by class.
    pub fn bad(&self) -> &Value {
        &self.summary["sources"][0]["bad"]
    }

    /// The message with which it failed.
    pub fn error(&self) -> &str {
        assert_eq!((self.exit, &self.summary["outcome"]), (Some(1), &Value::from("Failed")), "{self:?}");
        self.summary["error"].as_str().expect("a message")
    }

    /// It ended well.
    pub fn completed(&self) {
        assert_eq!((self.exit, &self.summary["outcome"]), (Some(0), &Value::from("Completed")), "{self:?}");
    }
}

/// The rows of a folder, sorted.
pub fn rows_of(place: &Workplace, folder: &str) -> Vec<String> {
    let rows = rows_in(&place.path(folder));
    let all: usize = count(&rows);
    let rows: Vec<String> =
        rows.into_values().flatten().flat_map(|(row, times)| std::iter::repeat_n(row, times)).collect();
    assert_eq!(rows.len(), all);
    rows
}

/// Whether a file is shown in a folder: looks, and reads nothing.
pub fn has_output(place: &Workplace, folder: &str) -> bool {
    let entries = std::fs::read_dir(place.path(folder)).into_iter().flatten();
    entries.flatten().any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
}

/// What one bad record between [`FIRST`] and [`LAST`] is to be.
pub struct Bad<'a> {
    pub raw: &'a [u8],
    /// The record as dead letters and messages show it.
    pub shown: &'a str,
    /// How much of it a dead letter keeps.
    pub kept: usize,
    pub class: &'a str,
    /// What follows the file: `, line 2, column 17`.
    pub place: &'a str,
    pub message: &'a str,
    pub record_time: Option<&'a str>,
}

/// Reads it with each `onError`: it costs itself only.
pub fn costs_itself_only(place: &Workplace, bad: &Bad<'_>) {
    let data = [FIRST.as_bytes(), b"\n", bad.raw, b"\n", LAST.as_bytes(), b"\n"].concat();
    write_bytes(place, "data/a.json", &data);
    let Bad { shown, class, message, .. } = bad;

    let failed = Pipeline::new("Fail").run(place);
    let expected = format!("data/a.json{}: {message}\n  found: {}\n  {HELP}", bad.place, first(shown, 200));
    assert_eq!(failed.error(), expected);
    assert!(failed.stderr.ends_with(&format!("error: default.p: {expected}\n")), "{}", failed.stderr);
    assert!(failed.rows.is_empty() && failed.dead.is_empty(), "{failed:?}");

    let dropped = Pipeline::new("Drop").run(place);
    dropped.completed();
    assert_eq!(
        (dropped.bad(), dropped.rows.as_slice()),
        (&serde_json::json!({ *class: 1 }), &GOOD.map(str::to_owned)[..])
    );
    assert!(dropped.dead.is_empty());

    let kept = Pipeline::new("DeadLetter").run(place);
    kept.completed();
    assert_eq!((kept.bad(), kept.rows.as_slice()), (&serde_json::json!({ *class: 1 }), &GOOD.map(str::to_owned)[..]));
    assert_eq!(kept.summary["stages"][0]["deadLetters"], 1);
    let letter = serde_json::json!({
        "raw": first(shown, bad.kept), "source": "trips", "split": "lane-0", "position": format!("data/a.json:{}", FIRST.len() + 1),
        "class": class, "message": message, "record_time": bad.record_time,
    });
    assert!(kept.dead == [letter], "{:.2000}", format!("{:?}", kept.dead));
}

/// The first characters of a text.
fn first(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Writes bytes into the workplace.
pub fn write_bytes(place: &Workplace, name: &str, bytes: &[u8]) {
    let path = place.path(name);
    std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
    std::fs::write(path, bytes).expect("written");
}

/// Many good records, `from` on, a second of event time for each hundred.
pub fn many(range: std::ops::Range<u64>) -> String {
    let line = |id: u64| {
        let (minute, second) = (id / 6000 % 60, id / 100 % 60);
        let hour = id / 360_000;
        format!("{{\"id\":{id},\"zone\":{},\"at\":\"2024-01-01T{hour:02}:{minute:02}:{second:02}Z\"}}\n", id % 9)
    };
    range.map(line).collect()
}
