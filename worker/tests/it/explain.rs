//! `thalweg explain`, and what a changed plan is told.

use crate::command::{Workplace, text};

fn boroughs() -> Workplace {
    let place = Workplace::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples/boroughs/boroughs.yaml");
    place.write("boroughs.yaml", &std::fs::read_to_string(example).expect("the example"));
    place
}

fn assert_golden(name: &str, words: &[&str]) {
    let shown = boroughs().succeed(words);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn a_pipeline_in_memory_is_explained() {
    assert_golden("boroughs_in_memory", &["explain", "boroughs.yaml"]);
}

#[test]
fn a_pipeline_with_state_in_a_bucket_is_explained_with_its_price() {
    assert_golden("boroughs_in_a_bucket", &["explain", "boroughs.yaml", "--state", "s3://bucket/thalweg"]);
}

const COUNTS: &str = r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: trips }
spec:
  generator: { taxi: {}, rows: 1000 }
  schema:
    - { name: zone, type: INT, from: pickup_location_id }
    - { name: vendor, type: INT, from: vendor_id }
    - { name: pickup_at, type: TIMESTAMP(3), from: pickup_datetime }
  watermark: { column: pickup_at, delay: 30s }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec:
  files: { url: out }
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

/// What a run says after the plan of its state has changed, which must be refused.
fn refusal(changes: &[(&str, &str)]) -> String {
    let place = Workplace::new();
    place.write("counts.yaml", COUNTS);
    place.succeed(&["run", "counts.yaml", "--state", "state"]);
    let changed = changes.iter().fold(COUNTS.to_owned(), |manifest, (from, to)| manifest.replace(from, to));
    place.write("counts.yaml", &changed);
    let output = place.run(&["run", "counts.yaml", "--state", "state"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn a_plan_that_does_not_fit_its_state_names_the_difference_in_words() {
    let said = refusal(&[("'5' SECOND", "'10' SECOND")]);
    assert!(said.contains("stage 0: its window was TUMBLE(5 s), now TUMBLE(10 s)"), "{said}");
    assert!(said.contains("onIncompatibleChange: Restart; or start all of it anew: --fresh, in a cluster another restart.nonce, which leaves"), "{said}");

    let said = refusal(&[("zone, count", "vendor, count"), ("window_end, zone", "window_end, vendor")]);
    assert!(said.contains("stage 0: its keys were zone, now vendor"), "{said}");

    let said = refusal(&[("count(*)", "max(vendor)")]);
    assert!(said.contains("stage 0: its aggregates were count(*), now max(vendor)"), "{said}");
}
