//! A watched folder: files appear and grow while it runs, and while it is dead.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Workplace, text};
use crate::output::rows_in;

/// Whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;

const COUNTS: &str = "INSERT INTO out SELECT window_start, id, count(*) AS clicks \
    FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, id";

fn manifests(watermark: &str, sql: &str) -> String {
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: clicks }}
spec:
  files: {{ url: data/*.json, watch: 100ms }}
  schema:
    - {{ name: id, type: BIGINT }}
    - {{ name: at, type: TIMESTAMP(3) }}
  watermark: {{ {watermark} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  files: {{ url: out, roll: {{ every: 100ms }} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: watched }}
spec:
  sources: [{{ name: clicks }}]
  sinks: [{{ name: out }}]
  sql: "{sql}"
  state: {{ commitEvery: 50ms }}
"#
    )
}

const WORDS: [&str; 4] = ["run", "watched.yaml", "--state", "state"];

/// Clicks with ids that count on, so that each is known.
struct Clicks {
    next: i64,
}

impl Clicks {
    /// Appends clicks to a file, a millisecond of event time each.
    fn append(&mut self, place: &Workplace, file: &str, count: i64) {
        let lines: String = (self.next..self.next + count).map(|id| line(id, id)).collect();
        append(place, file, &lines);
        self.next += count;
    }
}

fn line(id: i64, millis: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(millis).expect("a time");
    format!("{{\"id\":{id},\"at\":\"{}\"}}\n", time.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

fn append(place: &Workplace, file: &str, text: &str) {
    std::fs::create_dir_all(place.path("data")).expect("a folder");
    let mut file = OpenOptions::new().create(true).append(true).open(place.path(file)).expect("opens");
    file.write_all(text.as_bytes()).expect("written");
}

/// How often each id was counted so far.
fn counted(place: &Workplace) -> BTreeMap<i64, u64> {
    let mut counts = BTreeMap::new();
    for (row, times) in rows_in(&place.path("out")).into_values().flatten() {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        let clicks = row["clicks"].as_u64().expect("a count") * times as u64;
        *counts.entry(row["id"].as_i64().expect("an id")).or_default() += clicks;
    }
    counts
}

/// Waits until so many ids from `begin` on were counted, while a file stays busy: where all are idle, time stands still.
fn wait_while_busy(place: &Workplace, child: &mut Child, file: &str, last: &str, begin: i64, count: usize) {
    let ids = || counted(place).range(begin..).count();
    busy_until(place, child, (file, last), count, ids);
}

fn busy_until(
    place: &Workplace,
    child: &mut Child,
    (file, last): (&str, &str),
    count: usize,
    found: impl Fn() -> usize,
) {
    let (started, mut written) = (Instant::now(), Duration::ZERO);
    while found() < count {
        if started.elapsed() >= written {
            append(place, file, last);
            written += Duration::from_millis(50);
        }
        assert!(started.elapsed() < LIMIT, "{} of {count} ids", found());
        assert_eq!(child.try_wait().expect("a child"), None, "it ended by itself");
        std::thread::yield_now();
    }
}

/// Waits until ids below `end` were counted, with the process alive.
fn wait_for(place: &Workplace, child: &mut Child, end: i64) {
    let started = Instant::now();
    while counted(place).keys().filter(|id| **id < end).count() < end as usize {
        assert!(started.elapsed() < LIMIT, "{} of {end} ids", counted(place).len());
        assert_eq!(child.try_wait().expect("a child"), None, "it ended by itself");
        std::thread::yield_now();
    }
}

fn stop(child: Child) {
    let killed = std::process::Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
}

#[test]
fn new_and_growing_files_are_counted_once_across_kills() {
    let place = Workplace::new();
    place.write("watched.yaml", &manifests("column: at, delay: 10m", COUNTS));
    let mut clicks = Clicks { next: 0 };
    clicks.append(&place, "data/a.json", 3_000);
    for round in 0..5 {
        let mut child = place.start(&WORDS);
        let started = Instant::now();
        // Files grow and appear while it runs; a line may be written in two parts.
        while started.elapsed() < Duration::from_millis(150 + 130 * round) {
            clicks.append(&place, "data/a.json", 40);
            clicks.append(&place, &format!("data/b-{round}.json"), 25);
            let (id, half) = (clicks.next, 13);
            append(&place, "data/c.json", &line(id, id)[..half]);
            append(&place, "data/c.json", &line(id, id)[half..]);
            clicks.next += 1;
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        // And while it is dead.
        clicks.append(&place, &format!("data/d-{round}.json"), 100);
        clicks.append(&place, "data/a.json", 100);
    }
    let mut child = place.start(&WORDS);
    let end = clicks.next;
    for entry in std::fs::read_dir(place.path("data")).expect("a folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        append(&place, &format!("data/{name}"), &line(-1, end + HOUR_MS));
    }
    wait_for(&place, &mut child, end);
    stop(child);
    let twice: Vec<_> = counted(&place).into_iter().filter(|(id, count)| *id >= 0 && *count != 1).collect();
    assert_eq!(twice, [], "ids that were not counted once");
}

#[test]
fn files_that_are_quiet_hold_no_window_open() {
    let place = Workplace::new();
    place.write("watched.yaml", &manifests("column: at, delay: 0s, idleAfter: 200ms", COUNTS));
    let mut clicks = Clicks { next: 0 };
    clicks.append(&place, "data/quiet.json", 1_000);
    let mut child = place.start(&WORDS);
    clicks.append(&place, "data/busy.json", 1_000);
    wait_while_busy(&place, &mut child, "data/busy.json", &line(-1, HOUR_MS), 0, 2_000);
    child.kill().expect("killed");
    child.wait().expect("reaped");

    // Quiet and busy change their roles.
    clicks.next = 2 * HOUR_MS;
    let begin = clicks.next;
    clicks.append(&place, "data/quiet.json", 500);
    let mut child = place.start(&WORDS);
    wait_while_busy(&place, &mut child, "data/quiet.json", &line(-2, 3 * HOUR_MS), begin, 500);
    stop(child);
    assert!(counted(&place).range(0..).all(|(_, count)| *count == 1));
}

/// The ids of dead letters, each as often as it is there.
fn late_ids(place: &Workplace) -> Vec<i64> {
    let mut ids = Vec::new();
    for (row, times) in rows_in(&place.path("late")).into_values().flatten() {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        assert_eq!(row["class"], "Late");
        let raw: Value = serde_json::from_str(row["raw"].as_str().expect("text")).expect("the record");
        ids.extend(std::iter::repeat_n(raw["id"].as_i64().expect("an id"), times));
    }
    ids.sort_unstable();
    ids
}

/// Whole windows were closed while a file was quiet, and before another one appeared: what comes of them is late, row by row.
#[test]
fn rows_of_windows_that_closed_without_them_become_dead_letters() {
    let place = Workplace::new();
    let dead = "---\napiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: { name: late }\nspec:\n  \
                files: { url: late, roll: { every: 100ms } }\n";
    let watermark = "column: at, delay: 0s, idleAfter: 200ms, late: DeadLetter";
    // Ids that the statement leaves out are late nowhere.
    let sql = COUNTS.replace(" GROUP", " WHERE MOD(id, 3) <> 0 GROUP");
    let text = manifests(watermark, &sql).replace("  state: {", "  deadLetter: { sink: late }\n  state: {");
    place.write("watched.yaml", &format!("{text}{dead}"));
    let mut clicks = Clicks { next: 0 };
    clicks.append(&place, "data/quiet.json", 1_000);
    let mut child = place.start(&WORDS);
    wait_while_busy(&place, &mut child, "data/busy.json", &line(-1, 9 * HOUR_MS), 0, 666);
    let late: String = (2_000..2_300).map(|id| line(id, 500 + id % 7)).collect();
    append(&place, "data/quiet.json", &late);
    append(&place, "data/new.json", &late.replace("\"id\":2", "\"id\":3"));
    let on_time: String = (5_000..5_300).map(|id| line(id, 20 * HOUR_MS)).collect();
    append(&place, "data/new.json", &on_time);
    append(&place, "data/quiet.json", &line(-1, 21 * HOUR_MS));
    append(&place, "data/new.json", &line(-1, 21 * HOUR_MS));
    let expected = (2_000..2_300).chain(3_000..3_300).filter(|id| id % 3 != 0).collect::<Vec<_>>();
    // Nobody must be ahead of the new file before it is found.
    let busy = line(-1, 9 * HOUR_MS);
    busy_until(&place, &mut child, ("data/busy.json", &busy), expected.len(), || late_ids(&place).len());
    wait_while_busy(&place, &mut child, "data/busy.json", &line(-1, 22 * HOUR_MS), 5_000, 200);
    stop(child);
    assert_eq!(late_ids(&place), expected);
    let counts = counted(&place);
    assert!((0..1_000).chain(5_000..5_300).all(|id| counts.get(&id) == (id % 3 != 0).then_some(&1)));
    assert!(expected.iter().all(|id| !counts.contains_key(id)), "they are in no window");
}

/// Rows of windows that were closed are late, though most of such a window was not given out yet.
#[test]
fn a_file_that_appears_after_a_kill_adds_nothing_to_a_window_that_is_being_given_out() {
    const KEYS: i64 = 200_000;
    let sql = "INSERT INTO out SELECT window_start, id, count(*) AS clicks, repeat('x', 512) AS filling \
        FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(at), INTERVAL '1' HOUR)) GROUP BY window_start, window_end, id";
    let place = Workplace::new();
    place.write("watched.yaml", &manifests("column: at, delay: 0s", sql));
    let mut clicks = Clicks { next: 0 };
    clicks.append(&place, "data/first.json", KEYS);
    append(&place, "data/first.json", &line(-1, 9 * HOUR_MS));
    let mut child = place.start(&WORDS);
    let started = Instant::now();
    while rows_in(&place.path("out")).is_empty() {
        assert!(started.elapsed() < LIMIT, "nothing is given out");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("reaped");
    let before = counted(&place).len();
    assert!(before < KEYS as usize, "killed too late");
    // The same ids and others, of the same hour.
    let late: String = (0..KEYS * 11 / 10).map(|id| line(id, id)).collect();
    append(&place, "data/second.json", &late);
    append(&place, "data/second.json", &line(-2, 10 * HOUR_MS));
    let mut child = place.start(&WORDS);
    wait_for(&place, &mut child, KEYS);
    // A window of the new file's is closed when all of it was read.
    append(&place, "data/first.json", &line(-3, 20 * HOUR_MS));
    append(&place, "data/second.json", &line(-3, 20 * HOUR_MS));
    while !counted(&place).contains_key(&-2) {
        assert!(started.elapsed() < LIMIT, "the new file's window is not closed");
        std::thread::yield_now();
    }
    stop(child);
    let wrong: Vec<_> = counted(&place).into_iter().filter(|(id, n)| *id >= 0 && (*n != 1 || *id >= KEYS)).collect();
    assert_eq!(wrong.len(), 0, "{:?}", &wrong[..wrong.len().min(5)]);
}

#[test]
fn a_file_that_shrinks_ends_the_run_at_once_with_its_name() {
    let place = Workplace::new();
    place.write("watched.yaml", &manifests("column: at, delay: 0s", COUNTS));
    let mut clicks = Clicks { next: 0 };
    clicks.append(&place, "data/whole.json", 5_000);
    clicks.append(&place, "data/shrinks.json", 5_000);
    append(&place, "data/whole.json", &line(-1, HOUR_MS));
    append(&place, "data/shrinks.json", &line(-1, HOUR_MS));
    let mut child = place.start(&WORDS);
    wait_for(&place, &mut child, clicks.next);
    std::fs::write(place.path("data/shrinks.json"), "").expect("written");
    let started = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < LIMIT, "it does not end");
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("shrinks.json") && errors.contains("shrank"), "{errors}");
}

/// A row at a session's end is of it, so at a watermark there the session is still open: the next stage must not close what ends
/// there.
#[test]
fn a_session_that_ends_where_the_watermark_stood_reaches_the_next_stage() {
    let session = "FROM TABLE(SESSION(TABLE clicks PARTITION BY id, DESCRIPTOR(at), INTERVAL '10' SECOND)) \
        GROUP BY window_start, window_end, window_time, id";
    let grouped = format!(
        "INSERT INTO out SELECT window_end, min(id) AS id, sum(n) AS clicks \
         FROM (SELECT window_start, window_end, id, count(*) AS n {}) GROUP BY window_start, window_end",
        session.replace(" window_time,", "")
    );
    let tumbled = format!(
        "CREATE TEMPORARY VIEW sessions AS SELECT id, count(*) AS n, window_time AS ended {session}; \
         INSERT INTO out SELECT window_end, min(id) AS id, sum(n) AS clicks \
         FROM TABLE(TUMBLE(TABLE sessions, DESCRIPTOR(ended), INTERVAL '10' SECOND)) GROUP BY window_start, window_end"
    );
    for sql in [grouped, tumbled] {
        let place = Workplace::new();
        place.write("watched.yaml", &manifests("column: at, delay: 0s", &sql));
        // The second one ends at 110 seconds, where the watermark stops.
        append(&place, "data/a.json", &[line(0, 80_000), line(1, 100_000), line(2, 110_000)].concat());
        let mut child = place.start(&WORDS);
        wait_for(&place, &mut child, 1);
        append(&place, "data/a.json", &line(3, 300_000));
        wait_for(&place, &mut child, 3);
        stop(child);
        assert_eq!(counted(&place), BTreeMap::from([(0, 1), (1, 1), (2, 1)]), "{sql}");
    }
}
