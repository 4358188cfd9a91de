//! What becomes of a pipeline's statements when one of them is another one at the next run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::command::{Workplace, text};
use crate::output::rows_in;

/// Whatever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);
const ROWS: usize = 300_000;
const RUN: [&str; 4] = ["run", "pipeline.yaml", "--state", "state"];

const COPIES: &str = "INSERT INTO copies SELECT trip_id, zone FROM trips";
const COUNTS: &str = "INSERT INTO counts SELECT window_start, zone, count(*) AS trips \
                      FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '5' SECOND)) \
                      GROUP BY window_start, window_end, zone";
/// Two windows, one over the other, and so an outbox between them.
const PEAKS: &str = "INSERT INTO peaks SELECT window_start, max(trips) AS peak FROM (\
                     SELECT window_start, window_end, zone, count(*) AS trips \
                     FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '5' SECOND)) \
                     GROUP BY window_start, window_end, zone) GROUP BY window_start, window_end";
/// The same with another result, which its state does not fit.
const OTHER_PEAKS: &str = "INSERT INTO peaks SELECT window_start, max(trips) AS peak, count(*) AS zones FROM (\
                           SELECT window_start, window_end, zone, count(*) AS trips \
                           FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '5' SECOND)) \
                           GROUP BY window_start, window_end, zone) GROUP BY window_start, window_end";
const TOTALS: &str = "INSERT INTO totals SELECT window_start, count(*) AS trips \
                      FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '5' SECOND)) \
                      GROUP BY window_start, window_end";
const SINKS: [&str; 4] = ["copies", "counts", "peaks", "totals"];

fn manifests(statements: &[&str], on_incompatible_change: &str) -> String {
    let sink = |name: &str| {
        format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: {name} }}\nspec:\n  \
             files: {{ url: {name}, roll: {{ every: 50ms }} }}\n---\n"
        )
    };
    let names: Vec<_> = SINKS.iter().map(|name| format!("{{ name: {name} }}")).collect();
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  generator: {{ taxi: {{}}, rows: {ROWS}, splits: 3 }}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: zone, type: INT, from: pickup_location_id }}
    - {{ name: at, type: TIMESTAMP(3), from: pickup_datetime }}
  watermark: {{ column: at, delay: 1s }}
---
{}apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: several }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{}]
  onIncompatibleChange: {on_incompatible_change}
  state: {{ commitEvery: 100ms, keyGroups: 3 }}
  sql: "{}"
"#,
        SINKS.map(sink).concat(),
        names.join(", "),
        statements.join("; ")
    )
}

/// Rows of a sink, with how often each stands.
fn rows(place: &Workplace, sink: &str) -> BTreeMap<String, usize> {
    rows_in(&place.path(sink)).into_values().next().unwrap_or_default()
}

fn is_empty(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count() == 0
}

/// Runs until each of these sinks has rows, then ends it without warning.
fn killed_once_it_has(place: &Workplace, sinks: &[&str]) {
    let mut child: Child = place.start(&RUN);
    let started = Instant::now();
    while sinks.iter().any(|sink| is_empty(&place.path(sink))) {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
        assert!(started.elapsed() < LIMIT, "it does not happen");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

/// What these statements give when nothing happens to them.
fn undisturbed(statements: &[&str]) -> Workplace {
    let place = Workplace::new();
    place.write("pipeline.yaml", &manifests(statements, "Refuse"));
    place.succeed(&RUN);
    place
}

#[test]
fn a_changed_statement_starts_anew_alone_and_the_others_have_neither_gaps_nor_repeats() {
    let expected = undisturbed(&[COPIES, OTHER_PEAKS, COUNTS]);
    let place = Workplace::new();
    place.write("pipeline.yaml", &manifests(&[COPIES, PEAKS, COUNTS], "Refuse"));
    killed_once_it_has(&place, &["copies", "peaks", "counts"]);

    place.write("pipeline.yaml", &manifests(&[COPIES, OTHER_PEAKS, COUNTS], "Refuse"));
    let refused = place.run(&RUN);
    let errors = text(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("onIncompatibleChange: Restart"), "{errors}");
    assert!(errors.contains("stage 2: ") && !errors.contains("stage 0") && !errors.contains("stage 3"), "{errors}");
    let before = rows(&place, "peaks");
    assert!(!before.is_empty());

    place.write("pipeline.yaml", &manifests(&[COPIES, OTHER_PEAKS, COUNTS], "Restart"));
    killed_once_it_has(&place, &[]);
    place.succeed(&RUN);
    for sink in ["copies", "counts"] {
        assert_eq!(rows(&place, sink), rows(&expected, sink), "{sink}");
    }
    let (anew, kept): (BTreeMap<_, _>, _) =
        rows(&place, "peaks").into_iter().partition(|(row, _)| row.contains("zones"));
    assert_eq!(anew, rows(&expected, "peaks"), "all of it, from the beginning");
    assert!(before.iter().all(|row| kept.get(row.0) >= Some(row.1)), "what was there stays there");
    place.succeed(&RUN);
    assert_eq!(rows(&place, "copies"), rows(&expected, "copies"), "once more adds nothing");
}

#[test]
fn statements_that_come_and_go_and_change_places_disturb_none_of_the_others() {
    let expected = undisturbed(&[COPIES, COUNTS, PEAKS, TOTALS]);
    let place = Workplace::new();
    place.write("pipeline.yaml", &manifests(&[COPIES, COUNTS, PEAKS], "Refuse"));
    killed_once_it_has(&place, &["copies", "counts", "peaks"]);
    // One more in front, one is gone, and the others have changed places.
    place.write("pipeline.yaml", &manifests(&[TOTALS, PEAKS, COPIES], "Refuse"));
    killed_once_it_has(&place, &["totals"]);
    place.succeed(&RUN);
    // The one that was gone is back: it begins anew, beside what it wrote before.
    let mut counts = rows(&place, "counts");
    place.write("pipeline.yaml", &manifests(&[COUNTS, TOTALS, PEAKS, COPIES], "Refuse"));
    place.succeed(&RUN);
    for sink in ["copies", "peaks", "totals"] {
        assert_eq!(rows(&place, sink), rows(&expected, sink), "{sink}");
    }
    rows(&expected, "counts").into_iter().for_each(|(row, times)| *counts.entry(row).or_default() += times);
    assert_eq!(rows(&place, "counts"), counts);
}

#[test]
fn statements_that_differ_in_nothing_but_a_filter_are_told_apart_wherever_they_stand() {
    const EVEN: &str = "INSERT INTO copies SELECT trip_id, zone FROM trips WHERE trip_id % 2 = 0";
    const ODD: &str = "INSERT INTO copies SELECT trip_id, zone FROM trips WHERE trip_id % 2 = 1";
    let expected = undisturbed(&[COPIES]);
    let place = Workplace::new();
    let run = |statements: &[&str]| place.write("pipeline.yaml", &manifests(statements, "Refuse"));
    run(&[EVEN, COUNTS]);
    killed_once_it_has(&place, &["copies"]);
    run(&[ODD, EVEN, COUNTS]);
    killed_once_it_has(&place, &["counts"]);
    run(&[COUNTS, EVEN, ODD]);
    killed_once_it_has(&place, &[]);
    place.succeed(&RUN);
    assert_eq!(rows(&place, "copies"), rows(&expected, "copies"));
    run(&[ODD, COUNTS]);
    place.succeed(&RUN);
    assert_eq!(rows(&place, "copies"), rows(&expected, "copies"), "each has what is its own");
    // Which of them became which nobody can tell.
    run(&[EVEN, ODD, COUNTS]);
    place.succeed(&RUN);
    let both = ["% 3 = 0", "% 3 = 1"].map(|other| EVEN.replace("% 2 = 0", other));
    run(&[&both[0], &both[1], COUNTS]);
    let refused = place.run(&RUN);
    let errors = text(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("change them one at a time"), "{errors}");
}

#[test]
fn a_lookup_table_is_kept_for_any_number_of_statements() {
    let place = Workplace::new();
    place.write("zones.json", "{\"id\": 1, \"borough\": \"Queens\"}\n");
    let join = "INSERT INTO out SELECT t.trip_id, z.borough FROM trips AS t LEFT JOIN zones AS z ON t.zone = z.id";
    place.write(
        "pipeline.yaml",
        &format!(
            r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  generator: {{ taxi: {{}}, rows: 10, splits: 1 }}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: zone, type: INT, from: pickup_location_id }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: zones }}
spec:
  files: {{ url: zones.json }}
  schema:
    - {{ name: id, type: INT }}
    - {{ name: borough, type: STRING }}
  lookup: {{}}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec: {{ blackhole: {{}} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: many }}
spec:
  sources: [{{ name: trips }}, {{ name: zones }}]
  sinks: [{{ name: out }}]
  sql: "{}"
"#,
            [join; 40].join("; ")
        ),
    );
    place.succeed(&RUN);
    // What was read first counts, whatever the file holds by now.
    std::fs::remove_file(place.path("zones.json")).expect("removed");
    place.succeed(&RUN);
}
