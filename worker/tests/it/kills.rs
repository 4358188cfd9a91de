//! `SIGKILL` at random points: the output equals that of a run that nothing disturbed.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::command::{Workplace, text};
use crate::output::{Rows, count, rows_in};

const ROWS: usize = 300_000;
/// Kills of each pipeline; fourteen pipelines make the fifty and more that we promise.
const KILLS: usize = 5;
/// A run that ended before it could be killed does not count; so many may.
const MAX_LIVES: usize = 100;
/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// What is done with the trips.
#[derive(Clone, Copy)]
enum Query {
    Stateless,
    OneStage,
    TwoStages,
    Sessions,
}

/// What is read.
#[derive(Clone, Copy)]
enum Input {
    Json,
    Gzip,
    Csv,
}

impl Query {
    fn sql(self) -> &'static str {
        match self {
            Self::Stateless => {
                "INSERT INTO out SELECT trip_id, zone, pickup_at, fare * 2 AS fare FROM trips WHERE zone <> 7"
            }
            Self::OneStage => {
                "INSERT INTO out SELECT window_start AS pickup_at, zone, count(*) AS trips, sum(fare) AS fare \
                 FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '1' SECOND)) \
                 GROUP BY window_start, window_end, zone"
            }
            Self::TwoStages => {
                "INSERT INTO out SELECT window_start AS pickup_at, max(trips) AS trips, zone FROM ( \
                   SELECT window_start, window_end, zone, payment, count(*) AS trips \
                   FROM TABLE(HOP(TABLE trips, DESCRIPTOR(pickup_at), INTERVAL '1' SECOND, INTERVAL '2' SECOND)) \
                   GROUP BY window_start, window_end, zone, payment) \
                 GROUP BY window_start, window_end, zone"
            }
            Self::Sessions => {
                "INSERT INTO out SELECT window_start AS pickup_at, window_end, count(*) AS zones, max(trips) AS trips FROM ( \
                   SELECT window_start, window_end, zone, count(*) AS trips \
                   FROM TABLE(SESSION(TABLE trips PARTITION BY zone, DESCRIPTOR(pickup_at), INTERVAL '1' SECOND)) \
                   GROUP BY window_start, window_end, zone) \
                 GROUP BY window_start, window_end"
            }
        }
    }
}

impl Input {
    /// The ending of its files, and what a source says of them.
    fn shape(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("json", "json: {}"),
            Self::Gzip => ("json.gz", "json: {}"),
            Self::Csv => ("csv", "csv: {}"),
        }
    }

    fn generate(self, place: &Workplace) {
        let (rows, format) = (ROWS.to_string(), if matches!(self, Self::Csv) { "csv" } else { "json" });
        let words = ["generate", "taxi", "--rows", &rows, "--files", "4", "--seed", "3", "--late", "0.01"];
        // Rows of CSV are written from columns, which are whole.
        let broken: &[&str] = if format == "json" { &["--broken", "0.001"] } else { &[] };
        place.succeed(&[&words[..], broken, &["--out", "data", "--format", format]].concat());
        if matches!(self, Self::Gzip) {
            let mut gzip = std::process::Command::new("gzip");
            let packed = gzip.args(["-1", "-r", "data"]).current_dir(place.path(".")).status().expect("gzip");
            assert!(packed.success());
        }
    }
}

fn manifests(query: Query, input: Input, format: &str, partitioned: bool) -> String {
    // A roll by partition is a file a zone, and each is synced.
    let (partition, roll) =
        if partitioned { (", partitionBy: [zone, date(pickup_at)]", "400ms") } else { ("", "150ms") };
    let (sql, (ending, input)) = (query.sql(), input.shape());
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  files: {{ url: 'data/*.{ending}', lanes: 3 }}
  format: {{ {input} }}
  schema:
    - {{ name: trip_id, type: BIGINT }}
    - {{ name: zone, type: INT, from: pickup_location_id }}
    - {{ name: payment, type: INT, from: payment_type }}
    - {{ name: pickup_at, type: TIMESTAMP(3), from: pickup_datetime }}
    - {{ name: fare, type: "DECIMAL(10, 2)", from: fare_amount }}
  watermark: {{ column: pickup_at, delay: 1s }}
  onError: Drop
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  files: {{ url: OUT, roll: {{ every: {roll} }}{partition} }}
  format: {{ {format}: {{}} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: killed }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{{ name: out }}]
  sql: "{sql}"
  state: {{ commitEvery: 100ms }}
"#
    )
}

fn undisturbed(place: &Workplace, manifests: &str) -> Rows {
    place.write("calm.yaml", &manifests.replace("OUT", "calm"));
    place.succeed(&["run", "calm.yaml", "--state", "calm-state"]);
    rows_in(&place.path("calm"))
}

/// One start of the pipeline, which is killed after a random time; whether it ended before.
fn ends_unkilled(place: &Workplace, words: &[&str], random: &mut ChaCha8Rng) -> bool {
    let mut child = place.start(words);
    let after = Duration::from_millis(random.random_range(20..700));
    let started = Instant::now();
    while started.elapsed() < after {
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "it failed by itself: {status}");
            return true;
        }
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("reaped").signal().is_none()
}

/// Starts over, from nothing, until it was killed often enough; each life ends in peace and gives the rows it wrote.
fn lives(place: &Workplace, manifests: &str, seed: u64) -> Vec<Rows> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut lives) = (0, Vec::new());
    while kills < KILLS {
        assert!(lives.len() < MAX_LIVES, "{kills} kills in {MAX_LIVES} runs: the input is too small");
        let (out, state) = (format!("killed-{}", lives.len()), format!("state-{}", lives.len()));
        place.write("killed.yaml", &manifests.replace("OUT", &out));
        let words = ["run", "killed.yaml", "--state", &state];
        while kills < KILLS && !ends_unkilled(place, &words, &mut random) {
            kills += 1;
        }
        finish(place, &words);
        lives.push(rows_in(&place.path(&out)));
    }
    lives
}

fn finish(place: &Workplace, words: &[&str]) {
    let started = Instant::now();
    let output = place.run(words);
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    assert!(started.elapsed() < LIMIT, "it took {:?}", started.elapsed());
}

fn check(query: Query, format: &str, partitioned: bool, seed: u64) {
    check_of(Input::Json, query, format, partitioned, seed);
}

fn check_of(input: Input, query: Query, format: &str, partitioned: bool, seed: u64) {
    let place = Workplace::new();
    input.generate(&place);
    let manifests = manifests(query, input, format, partitioned);
    let expected = undisturbed(&place, &manifests);
    assert!(count(&expected) > 100, "the run without kills wrote {} rows", count(&expected));
    for found in lives(&place, &manifests, seed) {
        assert!(found == expected, "seed {seed}: {}", difference(&expected, &found));
    }
}

fn difference(expected: &Rows, found: &Rows) -> String {
    let missing = minus(expected, found);
    let surplus = minus(found, expected);
    let shown = |rows: &[String]| rows.iter().take(5).cloned().collect::<Vec<_>>().join("\n  ");
    format!("{} rows lost:\n  {}\n{} too many:\n  {}", missing.len(), shown(&missing), surplus.len(), shown(&surplus))
}

fn minus(a: &Rows, b: &Rows) -> Vec<String> {
    let mut rest = Vec::new();
    for (partition, rows) in a {
        for (row, &times) in rows {
            let others = b.get(partition).and_then(|rows| rows.get(row)).copied().unwrap_or(0);
            rest.extend((others..times).map(|_| format!("{partition} {row}")));
        }
    }
    rest
}

#[test]
fn stateless_json_survives_kills() {
    check(Query::Stateless, "json", false, 1);
}

#[test]
fn stateless_json_by_partition_survives_kills() {
    check(Query::Stateless, "json", true, 2);
}

#[test]
fn stateless_parquet_survives_kills() {
    check(Query::Stateless, "parquet", false, 3);
}

#[test]
fn stateless_parquet_by_partition_survives_kills() {
    check(Query::Stateless, "parquet", true, 4);
}

#[test]
fn windows_to_json_survive_kills() {
    check(Query::OneStage, "json", false, 5);
}

#[test]
fn windows_to_json_by_partition_survive_kills() {
    check(Query::OneStage, "json", true, 6);
}

#[test]
fn windows_to_parquet_survive_kills() {
    check(Query::OneStage, "parquet", false, 7);
}

#[test]
fn windows_to_parquet_by_partition_survive_kills() {
    check(Query::OneStage, "parquet", true, 8);
}

#[test]
fn two_stages_to_json_survive_kills() {
    check(Query::TwoStages, "json", false, 9);
}

#[test]
fn two_stages_to_json_by_partition_survive_kills() {
    check(Query::TwoStages, "json", true, 10);
}

#[test]
fn two_stages_to_parquet_survive_kills() {
    check(Query::TwoStages, "parquet", false, 11);
}

#[test]
fn two_stages_to_parquet_by_partition_survive_kills() {
    check(Query::TwoStages, "parquet", true, 12);
}

#[test]
fn sessions_before_another_stage_survive_kills_and_so_does_gzip() {
    check_of(Input::Gzip, Query::Sessions, "json", false, 13);
}

#[test]
fn windows_over_csv_survive_kills() {
    check_of(Input::Csv, Query::OneStage, "parquet", false, 14);
}
