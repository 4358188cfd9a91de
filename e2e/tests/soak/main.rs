//! `make soak MINUTES=10`: two pipelines over real Kafka, three workers each, and a nemesis.
//!
//! Prints one JSON object, and ends with 1 where anything was lost, repeated, out of order or wrong, where nobody can say what
//! became of a record, where a unit or a whole pipeline committed nothing for longer than 30 s, where a new partition did not become
//! known, or where, in half an hour or more, a kind of fault that can be drawn came less than 20 times.
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `SOAK_MINUTES` | 10 | how long faults are drawn |
//! | `SOAK_SEED` | 1 | another one draws other faults |
//! | `SOAK_ROWS` | 1000 | rows a second |
//! | `SOAK_STATE` | `s3` | `folder`: state of windows in a folder, without a server that fails |
//! | `SOAK_SILENCE` | 8 | seconds until a silent worker's units are given to others (twice that and a fault: below 30) |
//! | `SOAK_FAULTS` | all | the kinds that are drawn, with commas between |
//! | `SOAK_KEEP` | none | a folder into which logs are copied |

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]
#![expect(clippy::print_stderr, reason = "what happens meanwhile is told beside the one object of JSON")]

mod bed;
mod nemesis;
mod settings;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thalweg_e2e::bank::commits::{self, quantile};
use thalweg_e2e::bank::{COPIES, Ledger, SUMS, Traffic, Watch, judge};
use thalweg_e2e::bars::{Bars, LONGEST_STOP_MS};
use thalweg_e2e::deck::Pace;
use thalweg_e2e::workers::stops::{Rhythms, Standing};

use bed::Bed;
use nemesis::{Nemesis, now_ms};
use settings::Settings;

/// How long everything may take to begin.
const START: Duration = Duration::from_secs(120);
/// How long output may take to be complete once the nemesis rests.
const QUIET: Duration = Duration::from_secs(240);

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

/// When the units of both pipelines committed: each from the beginning on, or since its partition is written to.
fn rhythms(bed: &Bed, nemesis: &Nemesis, from_ms: i64, until_ms: i64) -> [(&'static str, Rhythms); 2] {
    let name = |index: usize| format!("0-{index}");
    let splits = std::iter::repeat_n(from_ms, bed::PARTITIONS.unsigned_abs() as usize).chain(nemesis.written_ms());
    let splits = splits.enumerate().map(|(index, since_ms)| (name(index), since_ms));
    let groups = (0..bed::KEY_GROUPS as usize).map(|index| (name(index), from_ms));
    [
        (COPIES, Rhythms::of(splits, &bed.fleet.commits_told(COPIES), until_ms)),
        (SUMS, Rhythms::of(groups, &bed.fleet.commits_told(SUMS), until_ms)),
    ]
}

/// No unit may stand still; each that does is named.
fn ask_for_commits(bars: &mut Bars, rhythms: &[(&'static str, Rhythms)]) {
    for (pipeline, rhythms) in rhythms {
        let standing = rhythms.standing(LONGEST_STOP_MS);
        if standing.is_empty() {
            bars.at_most(&format!("unitGapsMillis.{pipeline}, longest"), rhythms.longest_ms(), LONGEST_STOP_MS);
        }
        for Standing { unit, stop, .. } in standing {
            let what = format!("unitGapsMillis.{pipeline}.{unit}.longest");
            bars.at_most(&what, Some(stop.length_ms()), LONGEST_STOP_MS);
        }
    }
}

/// Each new partition must have become known, and been written to then.
fn ask_for_partitions(bars: &mut Bars, nemesis: &Nemesis, ledger: &Ledger) {
    bars.at_least("newPartitions.known", nemesis.written_ms().len(), nemesis.partitions_added());
    bars.at_least("newPartitions.written", written(ledger), nemesis.partitions_added());
}

/// New partitions in which there are records beside the row that closes each in the end.
fn written(ledger: &Ledger) -> usize {
    let new = ledger.by_partition.iter().filter(|(partition, _)| **partition >= bed::PARTITIONS.unsigned_abs());
    new.filter(|(_, records)| **records > 1).count()
}

/// In half an hour each kind that can be drawn must have come often enough.
fn ask_for_faults(bars: &mut Bars, nemesis: &Nemesis, length: Duration) {
    for (kind, count) in nemesis.counts().into_iter().filter(|_| length >= Pace::ASKED.within) {
        if !nemesis.not_drawn().contains_key(kind) {
            bars.at_least(&format!("faults.{kind}"), count, Pace::ASKED.faults);
        }
    }
}

/// The units that stood still: when, since the first fault, for how long, beside how many that went on, and what went wrong then.
fn stood_still(rhythms: &[(&'static str, Rhythms)], nemesis: &Nemesis, from_ms: i64) -> Vec<Value> {
    let since = |at_ms: i64| Duration::from_millis(u64::try_from(at_ms - from_ms).unwrap_or_default());
    let of = |(pipeline, rhythms): &(&'static str, Rhythms)| {
        let told = |Standing { unit, stop, others }: Standing| {
            let (from, to) = (since(stop.from_ms), since(stop.to_ms));
            json!({
                "pipeline": pipeline, "unit": unit, "fromSeconds": from.as_secs_f64(), "millis": stop.length_ms(),
                "othersThatWentOn": others, "faults": nemesis.faults_within(from, to),
            })
        };
        rhythms.standing(LONGEST_STOP_MS).into_iter().map(told).collect::<Vec<_>>()
    };
    rhythms.iter().flat_map(of).collect()
}

/// Whether everything was as it should be.
async fn soak(settings: &Settings) -> bool {
    let mut bed = Bed::start(settings).await;
    let traffic = Traffic::start(&bed.kafka, bed::PARTITIONS, settings.rows_per_second);
    let (copies, sums) = (Watch::of(&bed.kafka, COPIES), Watch::of(&bed.kafka, SUMS));
    wait_for_output(&bed, &copies, &sums);
    let (started, from_ms) = (Instant::now(), now_ms());
    let mut nemesis = Nemesis::new(settings);
    nemesis.rage(&mut bed, &traffic, started + settings.length).await;
    nemesis.rest(&mut bed, &traffic).await;
    let until_ms = now_ms();
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
    let rhythms = rhythms(&bed, &nemesis, from_ms, until_ms);
    let stops = [(COPIES, &copies), (SUMS, &sums)]
        .map(|(name, watch)| (name, i64::try_from(watch.longest_of_all().as_millis()).expect("not so long")));
    let mut bars = Bars::default();
    for (name, stop) in stops {
        bars.at_most(&format!("longestStopMillis.{name}"), Some(stop), LONGEST_STOP_MS);
    }
    ask_for_commits(&mut bars, &rhythms);
    ask_for_partitions(&mut bars, &nemesis, &ledger);
    ask_for_faults(&mut bars, &nemesis, settings.length);
    let clean = verdict.is_clean() && bars.missed().is_empty();
    let mut changed: Vec<_> =
        changes.iter().map(|change| change.pause(i64::try_from(bed::COMMIT_EVERY_MS).expect("small"))).collect();
    let gaps: serde_json::Map<_, _> =
        rhythms.iter().map(|(pipeline, rhythms)| ((*pipeline).to_owned(), rhythms.json())).collect();
    let report = json!({
        "minutes": settings.length.as_secs_f64() / 60.0,
        "seed": settings.seed,
        "workers": bed.fleet.workers().len(),
        "silenceSeconds": settings.silence_seconds,
        "input": {
            "transfers": transfers, "records": ledger.records, "rows": rows, "late": ledger.late.len(),
            "broken": ledger.broken.len(), "windows": windows, "openWindows": ledger.open,
        },
        "newPartitions": {
            "added": nemesis.partitions_added(), "known": nemesis.written_ms().len(), "written": written(&ledger),
            "knownAfterMillis": nemesis.known_after(),
        },
        "output": verdict.json(),
        "faults": nemesis.counts(),
        "faultsNotDrawn": nemesis.not_drawn(),
        "enough": Pace::ASKED.is_enough(nemesis.counts().into_values()),
        "ownerChanges": {
            "units": changed.len(),
            "pauseMillis": {
                "p50": quantile(&mut changed, 0.5), "p99": quantile(&mut changed, 0.99),
                "longest": quantile(&mut changed, 1.0),
            },
        },
        "silencesMillis": pauses,
        "longestStopMillis": std::collections::BTreeMap::from(stops),
        "unitGapsMillis": gaps,
        "stoodStill": stood_still(&rhythms, &nemesis, from_ms),
        "bars": bars.asked(),
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
