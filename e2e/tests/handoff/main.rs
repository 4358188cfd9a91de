//! `make bench-handoff`: how long a unit with much state pauses while it is handed from one worker to the other, what its
//! neighbour notices of it, and how soon another worker has taken over once its owner was killed. Prints one JSON object with
//! each of these beside its bar, and ends with 1 where one is missed.
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `HANDOFF_MOVES` | 40 | how often the unit is handed over |
//! | `HANDOFF_KILLS` | 10 | how often its owner is killed after that |
//! | `HANDOFF_STATE` | `folder` | `s3`: state in a bucket of `scripts/s3-server` |
//! | `HANDOFF_ROWS` | 2000 | rows a second while it is measured |
//! | `HANDOFF_COMMIT_MS` | 1000 | how often units commit |
//! | `HANDOFF_KEEP` | none | a folder into which logs are copied |

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]
#![expect(clippy::print_stderr, reason = "what happens meanwhile is told beside the one object of JSON")]

mod bed;
mod changes;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use thalweg_e2e::bank::commits::quantile;
use thalweg_e2e::bars::{BESIDE_MOVES, Bars, RECOVERY_MS};

use bed::{Bed, Settings};
use changes::{handoffs, rhythm};

/// How long the undisturbed rhythm of commits is watched.
const UNDISTURBED: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let settings = Settings::from_environment();
    let mut bed = Bed::start(&settings);
    let quiet = SystemTime::now();
    std::thread::sleep(UNDISTURBED);
    let moves = SystemTime::now();
    for number in 0..settings.moves {
        bed.hand_over();
        eprintln!("move {} of {}", number + 1, settings.moves);
    }
    let ended = SystemTime::now();
    bed.coordinate();
    let mut recoveries = Vec::new();
    for number in 0..settings.kills {
        recoveries.push(bed.kill_owner());
        eprintln!("kill {} of {}", number + 1, settings.kills);
    }
    let commits = bed.commits();
    let (moved, neighbour): (Vec<_>, Vec<_>) = commits.iter().partition(|commit| commit.unit == bed::MOVED);
    let changes = handoffs(&moved, moves, ended);
    let every = i64::try_from(settings.commit_every_ms).expect("small");
    let mut gaps: Vec<_> = changes.iter().map(|change| change.gap_ms).collect();
    let mut pauses: Vec<_> = gaps.iter().map(|gap| (gap - every).max(0)).collect();
    let (mut calm, mut beside) = (rhythm(&neighbour, quiet, moves), rhythm(&neighbour, moves, ended));
    let mut bars = Bars::default();
    if settings.moves > 0 {
        bars.at_most("pauseMillis, p99", quantile(&mut pauses, 0.99), settings.most_pause_ms());
        let most = quantile(&mut calm, 0.99).unwrap_or_default() * BESIDE_MOVES;
        bars.at_most("neighbour.gapMillis, p99", quantile(&mut beside, 0.99), most);
    }
    if settings.kills > 0 {
        bars.at_most("assignmentToCommitMillis, p99", quantile(&mut recoveries, 0.99), RECOVERY_MS);
    }
    let state_bytes = changes.iter().map(|change| change.state_bytes).min();
    let report = json!({
        "state": settings.state_name(),
        "stateBytes": state_bytes,
        "commitEveryMillis": every,
        "moves": changes.len(),
        "gapMillis": spread(&mut gaps),
        "pauseMillis": spread(&mut pauses),
        "kills": recoveries.len(),
        "assignmentToCommitMillis": spread(&mut recoveries),
        "storeAloneMillis": state_bytes.and_then(|bytes| bed.store_ms(bytes)),
        "neighbour": {
            "undisturbedGapMillis": spread(&mut calm),
            "gapMillis": spread(&mut beside),
        },
        "bars": bars.asked(),
        "missed": bars.missed(),
    });
    println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
    if let Some(folder) = &settings.keep {
        bed.keep_logs(folder);
    }
    assert!(changes.len() >= settings.moves, "{} of {} moves seen", changes.len(), settings.moves);
    if bars.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn spread(millis: &mut [i64]) -> Value {
    json!({ "p50": quantile(millis, 0.5), "p99": quantile(millis, 0.99), "most": quantile(millis, 1.0) })
}
