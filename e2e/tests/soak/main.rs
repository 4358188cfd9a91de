//! `make soak MINUTES=10`: two pipelines over real Kafka, three workers each, and a nemesis.
//!
//! Prints one JSON object, and ends with 1 where anything was lost, repeated, out of order or wrong, where commits stopped for longer
//! than 30 s, or where, in half an hour or more, a kind of fault that can be drawn came less than 20 times.
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `SOAK_MINUTES` | 10 | how long faults are drawn |
//! | `SOAK_SEED` | 1 | another one draws other faults |
//! | `SOAK_ROWS` | 1000 | rows a second |
//! | `SOAK_STATE` | `s3` | `folder`: state of windows in a folder, without a server that fails |
//! | `SOAK_FAULTS` | all | the kinds that are drawn, with commas between |
//! | `SOAK_KEEP` | none | a folder into which logs are copied |

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]
#![expect(clippy::print_stderr, reason = "what happens meanwhile is told beside the one object of JSON")]

mod bed;
mod deck;
mod nemesis;
mod settings;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use thalweg_e2e::bank::commits::{self, quantile};
use thalweg_e2e::bank::{COPIES, Ledger, SUMS, Traffic, Watch, judge};
use thalweg_e2e::bars::Bars;

use bed::Bed;
use nemesis::Nemesis;
use settings::Settings;

/// How long everything may take to begin.
const START: Duration = Duration::from_secs(120);
/// How long output may take to be complete once the nemesis rests.
const QUIET: Duration = Duration::from_secs(240);
/// How long a pipeline may commit nothing.
const LONGEST_STOP_MS: u64 = 30_000;
/// How often each kind of fault comes in so long a time.
const FAULTS_IN: (usize, Duration) = (20, Duration::from_secs(1_800));

fn main() -> ExitCode {
    let settings = Settings::from_environment();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(soak(&settings)) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Waits until both pipelines have written something.
///
/// # Panics
/// They do not; says what everybody said.
fn wait_for_output(bed: &Bed, copies: &Watch, sums: &Watch) {
    let started = Instant::now();
    while copies.rows() == 0 || sums.rows() == 0 {
        let rows = (copies.rows(), sums.rows());
        assert!(started.elapsed() < START, "{rows:?} rows of output within {START:?}\n{}", bed.fleet.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether everything was as it should be.
async fn soak(settings: &Settings) -> bool {
    let mut bed = Bed::start(settings).await;
    let traffic = Traffic::start(&bed.kafka, bed::PARTITIONS, settings.rows_per_second);
    let (copies, sums) = (Watch::of(&bed.kafka, COPIES), Watch::of(&bed.kafka, SUMS));
    wait_for_output(&bed, &copies, &sums);
    let started = Instant::now();
    let mut nemesis = Nemesis::new(settings);
    nemesis.rage(&mut bed, &traffic, started + settings.length).await;
    nemesis.rest(&mut bed, &traffic).await;
    let transfers = traffic.end().await;
    let ledger = Ledger::read(&bed.kafka, bed::PARTITIONS);
    let (rows, windows) = (ledger.copied(), ledger.windows.len() as u64);
    let complete = Instant::now();
    while (copies.rows() < rows || sums.rows() < windows) && complete.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let verdict = judge(&bed.kafka, &ledger);
    let pauses = nemesis.pauses(&copies);
    let changes = commits::changes(&bed.kafka, COPIES);
    let stops =
        [(COPIES, &copies), (SUMS, &sums)].map(|(name, watch)| (name, watch.longest_of_all().as_millis() as u64));
    let mut bars = Bars::default();
    for (name, stop) in stops {
        bars.at_most(&format!("longestStopMillis.{name}"), Some(stop), LONGEST_STOP_MS);
    }
    let (least, long) = FAULTS_IN;
    for (kind, count) in nemesis.counts().into_iter().filter(|_| settings.length >= long) {
        if !nemesis.not_drawn().contains_key(kind) {
            bars.at_least(&format!("faults.{kind}"), count, least);
        }
    }
    let clean = verdict.is_clean() && bars.missed().is_empty();
    let mut changed: Vec<_> =
        changes.iter().map(|change| change.pause(i64::try_from(bed::COMMIT_EVERY_MS).expect("small"))).collect();
    let report = json!({
        "minutes": settings.length.as_secs_f64() / 60.0,
        "seed": settings.seed,
        "workers": bed.fleet.workers().len(),
        "input": {
            "transfers": transfers, "records": ledger.records, "rows": rows, "late": ledger.late.len(),
            "broken": ledger.broken.len(), "windows": windows, "openWindows": ledger.open,
        },
        "output": verdict.json(),
        "faults": nemesis.counts(),
        "faultsNotDrawn": nemesis.not_drawn(),
        "ownerChanges": {
            "units": changed.len(),
            "pauseMillis": {
                "p50": quantile(&mut changed, 0.5), "p99": quantile(&mut changed, 0.99),
                "longest": quantile(&mut changed, 1.0),
            },
        },
        "silencesMillis": pauses,
        "longestStopMillis": std::collections::BTreeMap::from(stops),
        "missed": bars.missed(),
        "clean": clean,
    });
    println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
    if let Some(folder) = &settings.keep {
        bed.fleet.keep_logs(folder);
    }
    if !clean {
        eprintln!("{}", bed.fleet.said());
    }
    clean
}
