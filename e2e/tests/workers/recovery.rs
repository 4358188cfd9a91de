//! Workers that are killed, and how soon others have taken over.

use std::time::UNIX_EPOCH;

use thalweg_e2e::bank::commits::{changes, quantile};
use thalweg_e2e::bank::{Amiss, COPIES, Traffic, Watch, judge_copies};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::{Fleet, Unit};

use crate::bed::{self, LIMIT, PARTITIONS, SILENCE};

/// How many workers are killed.
const KILLS: usize = 6;
/// From the moment that the assignment changes to the new owner's first commit of input, in milliseconds; two busy cores.
const RECOVERY_MS: i64 = 5_000;

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
        // Units are shared out anew when the killed worker is back; what is measured here is no handoff.
        wait_for("units that stay", LIMIT, || {
            let units = fleet.units(COPIES);
            (!units.is_empty() && units.iter().all(|unit| !unit.is_moving)).then_some(())
        });
        let victim = bed::owner(&fleet, COPIES);
        let slot = wait_for("a slot", LIMIT, || fleet.slot_of(victim));
        let lost: Vec<_> = fleet.units(COPIES).into_iter().filter(|unit| unit.owner == slot).collect();
        fleet.workers()[victim].kill();
        let is_taken_over = |unit: &Unit| {
            lost.iter().any(|lost| lost.index == unit.index && lost.epoch < unit.epoch) && unit.owner != slot
        };
        let taken_over = wait_for("takeover", LIMIT, || {
            let units: Vec<_> = fleet.units(COPIES).into_iter().filter(is_taken_over).collect();
            (units.len() == lost.len()).then_some(units)
        });
        let at = fleet.assigned_at(COPIES).expect("it is there");
        assigned.extend(taken_over.into_iter().map(|unit| (unit, at)));
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
    let recovered = |(unit, at): &(Unit, std::time::SystemTime)| {
        // A split's unit has the partition of progress after its own number. It may move on before its first commit.
        let commits = changes.iter().filter(|change| change.unit == unit.index + 1 && change.epoch >= unit.epoch);
        let first = commits.map(|change| change.first_after).min()?;
        Some((first - millis(*at)).max(0))
    };
    let mut recoveries: Vec<_> = assigned.iter().filter_map(recovered).collect();
    let (p50, p99) = (quantile(&mut recoveries, 0.5), quantile(&mut recoveries, 0.99));
    println!("recovery: {} units, p50 {p50:?} ms, p99 {p99:?} ms, {copied:?}", recoveries.len());
    assert_eq!(copied.1, Amiss::default(), "{}", fleet.said());
    assert_eq!(recoveries.len(), assigned.len(), "assigned {assigned:?}, changed {changes:?}");
    assert!(p99.is_some_and(|p99| p99 <= RECOVERY_MS), "{recoveries:?}");
}
