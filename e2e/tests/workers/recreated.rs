//! Pipelines that are deleted and created again.

use std::collections::BTreeMap;

use thalweg_e2e::bank::{COPIES, SUMS, judge};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{Bank, LIMIT};

/// How often they are.
const TIMES: usize = 2;

/// The epoch of each unit of both pipelines.
fn epochs(fleet: &Fleet) -> BTreeMap<(&'static str, u32), u64> {
    let of = |pipeline: &'static str| {
        fleet.units(pipeline).into_iter().map(move |unit| ((pipeline, unit.index), unit.epoch))
    };
    [COPIES, SUMS].into_iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_deleted_and_created_again_with_its_state_kept_goes_on_where_it_was() {
    let mut bank = Bank::start(&[]).await;
    for _ in 0..TIMES {
        let before = epochs(&bank.fleet);
        assert!(!before.is_empty(), "{}", bank.fleet.said());
        bank.fleet.delete_and_create();
        // Nobody has told the new ones how far the old ones were: their state has.
        wait_for("owners at later epochs", LIMIT, || {
            let now = epochs(&bank.fleet);
            before.iter().all(|(unit, epoch)| now.get(unit).is_some_and(|now| now > epoch)).then_some(())
        });
        bank.more(COPIES, 1_500);
        bank.more(SUMS, 20);
    }
    let ledger = bank.ledger().await;
    let verdict = judge(&bank.kafka, &ledger);
    println!("deleted and created {TIMES} times: {} records, {verdict:?}", ledger.records);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", bank.fleet.said());
}
