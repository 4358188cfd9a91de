//! Workers that are killed, and how soon others have taken over.

use std::time::UNIX_EPOCH;

use thalweg_e2e::bank::commits::{changes, quantile};
use thalweg_e2e::bank::{Amiss, COPIES, Traffic, Watch, judge_copies};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{self, LIMIT, PARTITIONS, SILENCE};

/// How many workers are killed.
const KILLS: usize = 6;
/// From the moment that the assignment changes to the new owner's first commit of input, in milliseconds; two busy cores.
const RECOVERY_MS: i64 = 8_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_replaced_moments_after_the_assignment_changes() {
    let kafka = bed::kafka().await;
    let mut fleet = Fleet::new(&bed::pipelines(&kafka).only_copies(), &["--workers", "2", "--silence", SILENCE]);
    fleet.add_worker(COPIES, &[]);
    fleet.add_worker(COPIES, &[]);
    let traffic = Traffic::start(&kafka, PARTITIONS, 800);
    let copies = Watch::of(&kafka, COPIES);
    bed::more(&copies, 1_000);
    let mut assigned = Vec::new();
    for _ in 0..KILLS {
        let victim = bed::owner(&fleet, COPIES);
        fleet.workers()[victim].kill();
        wait_for("takeover", LIMIT, || {
            let owners = fleet.owners(COPIES);
            (!owners.is_empty() && !owners.contains(&victim)).then_some(())
        });
        assigned.extend(fleet.assigned_at(COPIES));
        bed::more(&copies, 1_000);
        fleet.workers()[victim].start();
        wait_for("a slot", LIMIT, || fleet.slot_of(victim));
    }
    let ledger = bed::ledger(&kafka, traffic, &copies, None).await;
    let copied = judge_copies(&kafka, &ledger);
    let millis = |time: std::time::SystemTime| {
        i64::try_from(time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("not so long")
    };
    let changes = changes(&kafka, COPIES);
    let recovered = |at: i64| {
        let first = changes.iter().map(|change| change.first_after).filter(|first| *first >= at).min();
        first.map(|first| first - at)
    };
    let mut recoveries: Vec<_> = assigned.into_iter().filter_map(|at| recovered(millis(at))).collect();
    let (p50, p99) = (quantile(&mut recoveries, 0.5), quantile(&mut recoveries, 0.99));
    println!("recovery: {} kills, p50 {p50:?} ms, p99 {p99:?} ms, {copied:?}", recoveries.len());
    assert_eq!(copied.1, Amiss::default(), "{}", fleet.said());
    assert_eq!(recoveries.len(), KILLS);
    assert!(p99.is_some_and(|p99| p99 <= RECOVERY_MS), "{recoveries:?}");
}
