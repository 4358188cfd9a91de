//! A worker that stands still, loses its units, and goes on as if nothing had happened.

use std::time::{Duration, Instant};

use thalweg_e2e::bank::{COPIES, SUMS, Traffic, Watch, judge};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{self, LIMIT, PARTITIONS, SILENCE};

/// How long the workers stand still.
const HALTED: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_worker_writes_after_its_units_were_taken_over_is_ever_seen() {
    let kafka = bed::kafka().await;
    let mut fleet = Fleet::new(&bed::pipelines(&kafka).manifest(), &["--silence", SILENCE]);
    for pipeline in [COPIES, SUMS] {
        fleet.add_worker(pipeline, &[]);
        fleet.add_worker(pipeline, &[]);
    }
    let traffic = Traffic::start(&kafka, PARTITIONS, 800);
    let (copies, sums) = (Watch::of(&kafka, COPIES), Watch::of(&kafka, SUMS));
    bed::more(&copies, 2_000);
    bed::more(&sums, 40);
    let zombies = [COPIES, SUMS].map(|pipeline| (pipeline, bed::owner(&fleet, pipeline)));
    zombies.iter().for_each(|(_, worker)| fleet.workers()[*worker].halt());
    let halted = Instant::now();
    for (pipeline, zombie) in zombies {
        wait_for("takeover", LIMIT, || {
            let owners = fleet.owners(pipeline);
            (!owners.is_empty() && !owners.contains(&zombie)).then_some(())
        });
    }
    // Advanced, not only taken over.
    bed::more(&copies, 5_000);
    bed::more(&sums, 40);
    tokio::time::sleep(HALTED.saturating_sub(halted.elapsed())).await;
    zombies.iter().for_each(|(_, worker)| fleet.workers()[*worker].go_on());
    for (_, zombie) in zombies {
        // It finds that its slot is another's, or that its commit is refused.
        wait_for("zombie that notices", LIMIT, || {
            let said = fleet.workers()[zombie].said();
            ["another worker holds the slot", "taken over", "fenced"]
                .iter()
                .any(|word| said.contains(word))
                .then_some(())
        });
    }
    bed::more(&copies, 3_000);
    let ledger = bed::ledger(&kafka, traffic, &copies, Some(&sums)).await;
    let verdict = judge(&kafka, &ledger);
    println!("zombie: {} records, {verdict:?}", ledger.records);
    assert!(verdict.is_clean(), "{verdict:?}\n{}", fleet.said());
}
