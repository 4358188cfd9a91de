//! Workers that are killed, and how soon others have taken over.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use thalweg_e2e::bank::commits::{changes, quantile};
use thalweg_e2e::bank::{Amiss, COPIES, judge_copies};
use thalweg_e2e::bars::RECOVERY_IN_A_TEST_MS;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Unit;

use crate::bed::{Bank, LIMIT, SILENCE};

/// How many workers are killed.
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_is_replaced_moments_after_the_assignment_changes() {
    let mut bank = Bank::of_copies(&["--silence", SILENCE]).await;
    let mut assigned = Vec::new();
    for _ in 0..KILLS {
        // Units are shared out anew when the killed worker is back; what is measured here is no handoff, nor a start.
        wait_for("units that stay", LIMIT, || {
            let (units, commits) = (bank.fleet.units(COPIES), bank.fleet.commits(COPIES));
            let stays = |unit: &Unit| !unit.is_moving && commits.contains_key(&(unit.index, unit.epoch));
            (bank.fleet.owners(COPIES).len() == 2 && units.iter().all(stays)).then_some(())
        });
        let victim = bank.owner(COPIES);
        let slot = wait_for("a slot", LIMIT, || bank.fleet.slot_of(victim));
        let lost: Vec<_> = bank.fleet.units(COPIES).into_iter().filter(|unit| unit.owner == slot).collect();
        assert!(!lost.is_empty(), "worker {victim} has units");
        bank.fleet.workers()[victim].kill();
        let is_taken_over = |unit: &Unit| {
            lost.iter().any(|lost| lost.index == unit.index && lost.epoch < unit.epoch) && unit.owner != slot
        };
        // Each unit when it is first seen to be another's: the assignment changes again once its owner has it.
        let mut taken_over = BTreeMap::new();
        wait_for("takeover", LIMIT, || {
            for unit in bank.fleet.units(COPIES).into_iter().filter(is_taken_over) {
                taken_over.entry(unit.index).or_insert_with(|| (unit.epoch, SystemTime::now()));
            }
            (taken_over.len() == lost.len()).then_some(())
        });
        // All of them work again before more happens; the first commit of a taken unit may be of what was read before.
        let mut first = BTreeMap::new();
        wait_for("commits by new owners", LIMIT, || {
            let commits = bank.fleet.commits(COPIES);
            // An owner that is refused gets the unit at a later epoch.
            let since = |unit: u32, epoch: u64| {
                let of_unit = commits.iter().filter(|((it, at), _)| *it == unit && *at >= epoch);
                of_unit.map(|(_, count)| *count).reduce(|all, count| all + count)
            };
            taken_over
                .iter()
                .all(|(unit, (epoch, _))| {
                    let Some(now) = since(*unit, *epoch) else { return false };
                    now >= *first.entry(*unit).or_insert(now) + 2
                })
                .then_some(())
        });
        assigned.extend(taken_over);
        bank.fleet.workers()[victim].start();
        wait_for("a slot", LIMIT, || bank.fleet.slot_of(victim));
    }
    let ledger = bank.ledger().await;
    let copied = judge_copies(&bank.kafka, &ledger);
    let millis = |time: SystemTime| {
        i64::try_from(time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("not so long")
    };
    let changes = changes(&bank.kafka, COPIES);
    let recovered = |(unit, (epoch, at)): &(u32, (u64, SystemTime))| {
        // A split's unit has the partition of progress after its own number.
        let change = changes.iter().find(|change| change.unit == unit + 1 && change.epoch >= *epoch)?;
        Some(change.first_after - millis(*at))
    };
    let mut recoveries: Vec<_> = assigned.iter().filter_map(recovered).collect();
    let (p50, p99) = (quantile(&mut recoveries, 0.5), quantile(&mut recoveries, 0.99));
    println!("recovery: p50 {p50:?} ms, p99 {p99:?} ms of {recoveries:?}, {copied:?}");
    if let Some(folder) = std::env::var_os("KEEP_LOGS") {
        bank.fleet.keep_logs(folder.as_ref());
    }
    assert_eq!(copied.1, Amiss::default(), "{}", bank.fleet.said());
    // How soon it is to be `make bench-handoff` judges.
    assert!(
        p99.is_some_and(|p99| p99 < RECOVERY_IN_A_TEST_MS),
        "p99 {p99:?} ms of {recoveries:?}\n{}",
        bank.fleet.said()
    );
    assert_eq!(recoveries.len(), assigned.len(), "assigned {assigned:?}, changed {changes:?}");
}
