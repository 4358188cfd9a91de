//! What continues after a kill, a stop or a failure in the middle of something large.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Workplace, eventually, text};
use crate::output::{count, rows_in};

/// Whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

fn manifests(source: &str, sink: &str, sql: &str) -> String {
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  {source}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: zone, type: INT, from: pickup_location_id }}
    - {{ name: at, type: TIMESTAMP(3), from: pickup_datetime }}
  watermark: {{ column: at, delay: 1s }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  {sink}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: resumed }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{{ name: out }}]
  sql: "{sql}"
  state: {{ commitEvery: 100ms }}
"#
    )
}

fn wait_until(child: &mut Child, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() && child.try_wait().expect("a child").is_none() {
        assert!(started.elapsed() < LIMIT, "it does not happen");
        std::thread::yield_now();
    }
}

fn ended(mut child: Child) -> std::process::Output {
    wait_until(&mut child, || false);
    child.wait_with_output().expect("ended")
}

fn visible_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count()
}

/// How often each trip stands in the output.
fn trips(place: &Workplace) -> BTreeMap<i64, usize> {
    let mut trips = BTreeMap::new();
    for (row, times) in rows_in(&place.path("out")).into_values().flatten() {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        *trips.entry(row["trip_id"].as_i64().expect("an id")).or_default() += times;
    }
    trips
}

#[test]
fn a_large_pane_that_is_killed_while_it_is_given_out_has_neither_gaps_nor_repeats() {
    const KEYS: usize = 200_000;
    // Half a kilobyte a row makes several commits of each unit's part.
    let sql = "INSERT INTO out SELECT trip_id, count(*) AS trips, repeat('x', 512) AS filling \
               FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '365' DAY)) \
               GROUP BY window_start, window_end, trip_id";
    let place = Workplace::new();
    place.succeed(&["generate", "taxi", "--rows", &KEYS.to_string(), "--format", "parquet", "--out", "data"]);
    let source = "files: { url: data/*.parquet }\n  format: { parquet: {} }";
    let sink = "files: { url: out, roll: { every: 50ms } }\n  format: { parquet: {} }";
    place.write("resumed.yaml", &manifests(source, sink, sql));
    let words = ["run", "resumed.yaml", "--state", "state"];
    let mut killed = 0;
    for _ in 0..4 {
        let shown = visible_files(&place.path("out"));
        let mut child = place.start(&words);
        wait_until(&mut child, || visible_files(&place.path("out")) > shown);
        killed += usize::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    assert!(killed > 0 && count(&rows_in(&place.path("out"))) < KEYS, "killed {killed} times, and never in the middle");
    place.succeed(&words);
    let trips = trips(&place);
    assert_eq!(trips.len(), KEYS);
    assert!(trips.values().all(|times| *times == 1), "some came twice");
}

#[test]
fn a_run_that_is_stopped_while_its_queues_are_full_commits_and_continues() {
    let place = Workplace::new();
    let source = "generator: { taxi: {}, rows: 400000, splits: 4 }";
    let sink = "files: { url: out, roll: { every: 50ms } }";
    let sql = "INSERT INTO out SELECT trip_id, zone FROM trips";
    place.write("resumed.yaml", &manifests(source, sink, sql));
    let words = ["run", "resumed.yaml", "--state", "state"];
    let mut child = place.start(&words);
    wait_until(&mut child, || visible_files(&place.path("out")) > 0);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
    let output = ended(child);
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    let stopped = count(&rows_in(&place.path("out")));
    place.succeed(&words);
    let trips = trips(&place);
    assert!(0 < stopped && stopped <= trips.len(), "{stopped} of {}", trips.len());
    assert_eq!(trips.values().sum::<usize>(), 400_000);
    assert!(trips.values().all(|times| *times == 1));
}

#[test]
fn a_sink_that_fails_in_the_middle_ends_the_run_with_its_own_error() {
    let place = Workplace::new();
    let source = "generator: { taxi: {}, splits: 4 }";
    let sink = "files: { url: out, roll: { every: 50ms } }";
    for sql in [
        "INSERT INTO out SELECT trip_id, zone FROM trips",
        "INSERT INTO out SELECT window_start, zone, max(n) AS n FROM (SELECT window_start, window_end, zone, trip_id, \
         count(*) AS n FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' SECOND)) \
         GROUP BY window_start, window_end, zone, trip_id) GROUP BY window_start, window_end, zone",
    ] {
        place.write("resumed.yaml", &manifests(source, sink, sql));
        let mut child = place.start(&["run", "resumed.yaml", "--state", "state", "--fresh"]);
        wait_until(&mut child, || visible_files(&place.path("out")) > 0);
        // A writer that begins just then makes the folder anew.
        eventually("something in the way", LIMIT, || {
            let _ = std::fs::remove_dir_all(place.path("gone"));
            let _ = std::fs::rename(place.path("out"), place.path("gone"));
            std::fs::write(place.path("out"), "in the way").is_ok()
        });
        let output = ended(child);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("error:") && errors.contains("out"), "{errors}");
        std::fs::remove_file(place.path("out")).expect("removed");
        let _ = std::fs::remove_dir_all(place.path("gone"));
    }
}

#[test]
fn files_to_files_without_state_give_each_row_once() {
    let place = Workplace::new();
    place.succeed(&["generate", "taxi", "--rows", "200000", "--files", "3", "--out", "data"]);
    let sink = "files: { url: out, roll: { size: 256Ki } }";
    let sql = "INSERT INTO out SELECT trip_id, zone FROM trips";
    place.write("resumed.yaml", &manifests("files: { url: data/*.json, lanes: 2 }", sink, sql));
    place.succeed(&["run", "resumed.yaml"]);
    assert!(visible_files(&place.path("out")) >= 4, "files roll");
    let once = trips(&place);
    assert_eq!((once.len(), once.values().sum::<usize>()), (200_000, 200_000));
}

#[test]
fn names_that_follow_event_time_close_windows_across_files_and_kills() {
    let place = Workplace::new();
    place.succeed(&["generate", "taxi", "--rows", "150000", "--files", "6", "--late", "0.01", "--out", "data"]);
    let sql = "INSERT INTO out SELECT window_start, zone, count(*) AS trips \
               FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, zone";
    let manifests = |out: &str| {
        let source = "files: { url: data/*.json, lanes: 1, order: ByName }";
        manifests(source, &format!("files: {{ url: {out}, roll: {{ every: 50ms }} }}"), sql)
    };
    place.write("calm.yaml", &manifests("calm"));
    place.succeed(&["run", "calm.yaml", "--threads", "1"]);
    place.write("resumed.yaml", &manifests("out"));
    let words = ["run", "resumed.yaml", "--state", "state"];
    for _ in 0..4 {
        let shown = visible_files(&place.path("out"));
        let mut child = place.start(&words);
        wait_until(&mut child, || visible_files(&place.path("out")) > shown + 8);
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    place.succeed(&words);
    assert!(rows_in(&place.path("out")) == rows_in(&place.path("calm")), "the rows differ");
}
