//! Windows over whole runs: independent computations give the same rows, whatever the threads and chunks.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::command::Workplace;

const MANIFESTS: &str = r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: trips }
spec:
  files: { url: data/*.json }
  schema:
    - { name: zone, type: INT, from: pickup_location_id }
    - { name: pickup_at, type: TIMESTAMP(3), from: pickup_datetime }
  watermark: { column: pickup_at, delay: 30s }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec:
  stdout: { style: Json }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: counts }
spec:
  sources: [{ name: trips }]
  sinks: [{ name: out }]
  sql: |
    INSERT INTO out
    SELECT window_end, zone, count(*) AS trips
    FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '5' SECOND))
    GROUP BY window_start, window_end, zone
"#;

type Counts = BTreeMap<(i64, i64), u64>;

/// Counts by hand: late rows by the definition, one file after the other.
fn by_hand(place: &Workplace, files: usize) -> (Counts, u64) {
    let (mut counts, mut late) = (Counts::new(), 0);
    for file in 0..files {
        let mut greatest = i64::MIN;
        let text = std::fs::read_to_string(place.path(&format!("data/taxi-{file:05}.json"))).expect("generated");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let time = row["pickup_datetime"].as_str().expect("a time");
            let time = chrono::DateTime::parse_from_rfc3339(time).expect("a time").timestamp_millis();
            let end = time.div_euclid(5_000) * 5_000 + 5_000;
            if end <= greatest.saturating_sub(30_000) {
                late += 1;
            } else {
                *counts.entry((end, row["pickup_location_id"].as_i64().expect("a zone"))).or_default() += 1;
            }
            greatest = greatest.max(time);
        }
    }
    (counts, late)
}

fn by_thalweg(place: &Workplace, threads: &str) -> (Counts, u64) {
    let text = place.succeed(&["run", "counts.yaml", "-o", "json", "--threads", threads]);
    let mut counts = Counts::new();
    let mut late = None;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        if let Some(sources) = row["sources"].as_array() {
            late = sources[0]["late"].as_u64();
            continue;
        }
        let end = row["window_end"].as_str().expect("a time");
        let end = chrono::DateTime::parse_from_rfc3339(end).expect("a time").timestamp_millis();
        let key = (end, row["zone"].as_i64().expect("a zone"));
        let before = counts.insert(key, row["trips"].as_u64().expect("a count"));
        assert_eq!(before, None, "{key:?} came twice");
    }
    (counts, late.expect("a summary"))
}

#[test]
fn counts_and_late_rows_are_those_of_an_independent_count_with_any_number_of_threads() {
    let place = Workplace::new();
    place.write("counts.yaml", MANIFESTS);
    place.succeed(&["generate", "taxi", "--rows", "40000", "--files", "3", "--late", "0.02", "--out", "data"]);
    let expected = by_hand(&place, 3);
    assert!(expected.1 > 100, "{} late rows", expected.1);
    for threads in ["1", "8"] {
        assert_eq!(by_thalweg(&place, threads), expected);
    }
}
