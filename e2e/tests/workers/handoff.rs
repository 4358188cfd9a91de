//! Units that are handed from one worker to another, as planned.

use thalweg_e2e::bank::commits::{changes, quantile};
use thalweg_e2e::bank::{COPIES, SUMS, judge};
use thalweg_e2e::bars::MOVE_IN_A_TEST_MS;
use thalweg_e2e::wait_for;

use crate::bed::{Bank, COMMIT_EVERY_MS, LIMIT, PARTITIONS};

/// How often all units are handed over.
const MOVES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn units_that_are_handed_over_again_and_again_lose_nothing_and_pause_for_moments() {
    let mut bank = Bank::start(&[]).await;
    for _ in 0..MOVES {
        for pipeline in [COPIES, SUMS] {
            let owner = bank.owner(pipeline);
            let others = bank.fleet.workers().iter().enumerate().filter(|(_, worker)| worker.pipeline == pipeline);
            let other = others.map(|(number, _)| number).find(|number| *number != owner).expect("two workers");
            let slot = wait_for("a slot", LIMIT, || bank.fleet.slot_of(other));
            assert!(bank.fleet.order(pipeline, &["--move", &format!("all={slot}")]), "{}", bank.fleet.said());
        }
        bank.more(COPIES, 1_500);
    }
    let ledger = bank.ledger().await;
    let verdict = judge(&bank.kafka, &ledger);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", bank.fleet.said());
    let commit_every = i64::try_from(COMMIT_EVERY_MS).expect("small");
    let mut pauses: Vec<_> = changes(&bank.kafka, COPIES).iter().map(|change| change.pause(commit_every)).collect();
    let (p50, p99) = (quantile(&mut pauses, 0.5), quantile(&mut pauses, 0.99));
    println!(
        "handoff: {} records, {} changes of owner, pause p50 {p50:?} ms, p99 {p99:?} ms",
        ledger.records,
        pauses.len()
    );
    assert!(pauses.len() >= MOVES * PARTITIONS as usize / 2, "{pauses:?}");
    // How short a pause is to be `make bench-handoff` judges; here units wait for nobody's silence.
    let pause = p99.expect("some");
    assert!(pause < MOVE_IN_A_TEST_MS, "pause {pause} ms, p99 of {pauses:?}\n{}", bank.fleet.said());
}
