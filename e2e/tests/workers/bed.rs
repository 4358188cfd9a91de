//! What these tests have in common.

use std::time::{Duration, Instant};

use thalweg_e2e::bank::{Ledger, Pipelines, State, Traffic, Watch};
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

/// How long something may take on two busy cores.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Partitions of the input.
pub const PARTITIONS: i32 = 4;
/// How often units commit, in milliseconds.
pub const COMMIT_EVERY_MS: u64 = 200;
/// Seconds until a silent worker's units are given to others.
pub const SILENCE: &str = "4";

/// Kafka with the topics of the bank.
pub async fn kafka() -> Kafka {
    let kafka = Kafka::start();
    kafka.make_bank(PARTITIONS).await;
    kafka
}

/// The pipelines of the bank, with state in a folder.
pub fn pipelines(kafka: &Kafka) -> Pipelines {
    let state = State::Folder("./state".to_owned());
    Pipelines { broker: kafka.address(), state, commit_every_ms: COMMIT_EVERY_MS, key_groups: 4, workers: 2 }
}

/// Waits until a pipeline has one owner of units; its number.
pub fn owner(fleet: &Fleet, pipeline: &str) -> usize {
    wait_for("an owner", LIMIT, || fleet.owners(pipeline).first().copied())
}

/// Waits until so many more rows have come.
pub fn more(watch: &Watch, rows: u64) {
    let wanted = watch.rows() + rows;
    wait_for("more output", LIMIT, || (watch.rows() >= wanted).then_some(()));
}

/// Ends the traffic, and waits until all that must come of it has come; what is missing then is lost.
pub async fn ledger(kafka: &Kafka, traffic: Traffic, copies: &Watch, sums: Option<&Watch>) -> Ledger {
    traffic.end().await;
    let ledger = Ledger::read(kafka, PARTITIONS);
    let windows = ledger.windows.len() as u64;
    let is_complete = || copies.rows() >= ledger.copied() && sums.is_none_or(|sums| sums.rows() >= windows);
    let started = Instant::now();
    while !is_complete() && started.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ledger
}
