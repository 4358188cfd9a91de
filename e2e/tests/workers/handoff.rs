//! Units that are handed from one worker to another, as planned.

use thalweg_e2e::bank::commits::{changes, quantile};
use thalweg_e2e::bank::{COPIES, SUMS, Traffic, Watch, judge};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{self, COMMIT_EVERY_MS, LIMIT, PARTITIONS};

/// How often all units are handed over.
const MOVES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn units_that_are_handed_over_again_and_again_lose_nothing_and_pause_for_moments() {
    let kafka = bed::kafka().await;
    let mut fleet = Fleet::new(&bed::pipelines(&kafka).manifest(), &[]);
    for pipeline in [COPIES, SUMS] {
        fleet.add_worker(pipeline, &[]);
        fleet.add_worker(pipeline, &[]);
    }
    let traffic = Traffic::start(&kafka, PARTITIONS, 800);
    let (copies, sums) = (Watch::of(&kafka, COPIES), Watch::of(&kafka, SUMS));
    bed::more(&sums, 20);
    for _ in 0..MOVES {
        for pipeline in [COPIES, SUMS] {
            let owner = bed::owner(&fleet, pipeline);
            let others = fleet.workers().iter().enumerate().filter(|(_, worker)| worker.pipeline == pipeline);
            let other = others.map(|(number, _)| number).find(|number| *number != owner).expect("two workers");
            let slot = wait_for("a slot", LIMIT, || fleet.slot_of(other));
            assert!(fleet.order(pipeline, &["--move", &format!("all={slot}")]), "{}", fleet.said());
        }
        bed::more(&copies, 1_500);
    }
    let ledger = bed::ledger(&kafka, traffic, &copies, Some(&sums)).await;
    let verdict = judge(&kafka, &ledger);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", fleet.said());
    let commit_every = i64::try_from(COMMIT_EVERY_MS).expect("small");
    let mut pauses: Vec<_> = changes(&kafka, COPIES).iter().map(|change| change.pause(commit_every)).collect();
    let (p50, p99) = (quantile(&mut pauses, 0.5), quantile(&mut pauses, 0.99));
    println!(
        "handoff: {} records, {} changes of owner, pause p50 {p50:?} ms, p99 {p99:?} ms",
        ledger.records,
        pauses.len()
    );
    assert!(pauses.len() >= MOVES * PARTITIONS as usize / 2, "{pauses:?}");
}
