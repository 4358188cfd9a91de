//! How long one round of decisions takes for 10,000 pipelines of 10 splits, on one core.
//!
//! `cargo test --workspace --test speed -- --nocapture` prints it as JSON.

use std::time::Duration;

use thalweg_crds::ids::{RunId, Slot, SplitId};
use thalweg_crds::scaling::ScalingSpec;
use thalweg_operator_plan::autoscale::{Figures, Memory, SplitFigures, SplitKey, WorkerFigures, recommend};

const PIPELINES: u64 = 10_000;
const SPLITS: u64 = 10;
/// Enough for all windows to be full.
const ROUNDS: u64 = 14;
/// What a round may take of a core.
const LIMIT: Duration = Duration::from_secs(1);

/// A pipeline in a round: loads differ, rise and fall, and some call for a change each round.
fn figures(pipeline: u64, round: u64) -> Figures {
    let workers = 1 + pipeline % 5;
    let slot = |worker: u64| Slot(format!("pipeline-{pipeline}-{worker}"));
    let split = |split: u64| SplitFigures {
        key: SplitKey { source: "orders".to_owned(), split: SplitId(split.to_string()) },
        end: Some(round * 5 * (200 + (pipeline * 7 + split * 13) % 400)),
        lag: Some((pipeline + split + round) % 3 * 400),
        reader: Some(slot(split % workers)),
        age: Duration::from_secs(1),
    };
    let worker = |worker: u64| WorkerFigures {
        slot: slot(worker),
        life: RunId(format!("{pipeline}/{worker}")),
        rate: 700.0 + ((pipeline + round) % 4) as f64 * 90.0,
        busy: 0.7 + ((pipeline + round) % 4) as f64 * 0.09,
        hottest: 0.3,
        blocked: 0.0,
        age: Duration::from_secs(1),
    };
    Figures {
        now: Duration::from_secs(1_000 + round * 5),
        splits: (0..SPLITS).map(split).collect(),
        workers: (0..workers).map(worker).collect(),
        wanted: workers as usize,
        spreadable: SPLITS as usize,
        ..Figures::default()
    }
}

/// The processor time of this thread: others may want the core, too (`man 5 proc_pid_schedstat`).
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

#[test]
fn a_round_of_decisions_for_ten_thousand_pipelines_takes_a_core_no_more_than_a_second() {
    let spec = ScalingSpec { max_workers: 10, ..ScalingSpec::default() };
    let mut memories = vec![Memory::default(); PIPELINES as usize];
    let (mut took, mut changes) = (Duration::ZERO, 0);
    for round in 0..ROUNDS {
        let all: Vec<Figures> = (0..PIPELINES).map(|pipeline| figures(pipeline, round)).collect();
        changes = 0;
        let begun = worked();
        for (figures, memory) in all.iter().zip(&mut memories) {
            let (decided, next) = recommend(&spec, figures, std::mem::take(memory));
            changes += usize::from(decided.workers != figures.wanted);
            *memory = next;
        }
        took = worked() - begun;
    }
    let seconds = took.as_secs_f64();
    println!(
        "{{\"pipelines\": {PIPELINES}, \"splits\": {SPLITS}, \"roundSeconds\": {seconds:.3}, \"changes\": {changes}}}"
    );
    assert!(took <= LIMIT, "{took:?}");
}
