//! A worker that stands still, loses its units, and goes on as if nothing had happened.

use std::time::{Duration, Instant};

use thalweg_e2e::bank::{COPIES, SUMS, judge};
use thalweg_e2e::wait_for;

use crate::bed::{Bank, LIMIT, SILENCE};

/// How long the workers stand still.
const HALTED: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_worker_writes_after_its_units_were_taken_over_is_ever_seen() {
    let mut bank = Bank::start(&["--silence", SILENCE]).await;
    bank.more(COPIES, 1_000);
    bank.more(SUMS, 20);
    let zombies = [COPIES, SUMS].map(|pipeline| (pipeline, bank.owner(pipeline)));
    zombies.iter().for_each(|(_, worker)| bank.fleet.workers()[*worker].halt());
    let halted = Instant::now();
    for (pipeline, zombie) in zombies {
        wait_for("takeover", LIMIT, || {
            let owners = bank.fleet.owners(pipeline);
            (!owners.is_empty() && !owners.contains(&zombie)).then_some(())
        });
    }
    // Advanced, not only taken over.
    bank.more(COPIES, 5_000);
    bank.more(SUMS, 40);
    tokio::time::sleep(HALTED.saturating_sub(halted.elapsed())).await;
    zombies.iter().for_each(|(_, worker)| bank.fleet.workers()[*worker].go_on());
    for (_, zombie) in zombies {
        // It finds that its slot is another's, or that its commit is refused.
        wait_for("zombie that notices", LIMIT, || {
            let said = bank.fleet.workers()[zombie].said();
            ["another worker holds the slot", "taken over", "fenced"]
                .iter()
                .any(|word| said.contains(word))
                .then_some(())
        });
    }
    bank.more(COPIES, 3_000);
    let ledger = bank.ledger().await;
    let verdict = judge(&bank.kafka, &ledger);
    println!("zombie: {} records, {verdict:?}", ledger.records);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", bank.fleet.said());
}
