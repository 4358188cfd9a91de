//! `make bench-cluster`: how long units are silent, as a reader sees it, once the only pod is deleted, once one of two is, and while
//! they move as planned. One time would say little of a p99, so each happens again and again. Prints one JSON object, and fails
//! where a bar is missed.
//!
//! | Variable | Default | |
//! |---|---|---|
//! | `LOSSES_DELETIONS` | 10 | how often a pod is deleted, of one worker and of two |
//! | `LOSSES_MOVES` | 10 | how often units move, to a second worker and back |

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thalweg_e2e::bank::commits::quantile;
use thalweg_e2e::bank::{Amiss, COPIES, Ledger, Pipelines, State, Traffic, Watch, judge_copies};
use thalweg_e2e::bars::Bars;
use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::{Namespace, delete_now};
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::ownership::{Owned, ask_for, owned_anew, owned_by, wait_until};
use crate::release::{image, install};

const PARTITIONS: i32 = 8;
const ROWS_PER_SECOND: u64 = 400;
/// How long a unit may be silent since its pod was deleted, and while it moves, in milliseconds.
const SILENCE_MS: i64 = 5_000;

/// The pipeline, and what a reader sees of it.
struct Bench {
    namespace: Namespace,
    copies: Watch,
}

/// A number of the environment.
fn number(name: &str, default: usize) -> usize {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}: `{value}` is no number")))
}

fn spread(millis: &mut [i64]) -> Value {
    json!({
        "times": millis.len(),
        "p50": quantile(millis, 0.5), "p99": quantile(millis, 0.99), "most": quantile(millis, 1.0),
    })
}

impl Bench {
    /// Owners, once so many workers share the units, and the pipeline is at rest.
    fn owned(&self, workers: usize) -> Owned {
        let what = format!("{workers} workers that own all units");
        let owned = wait_for(&what, 2 * LIMIT, || owned_by(&self.namespace, COPIES, workers));
        wait_until(&self.namespace, COPIES, "Ready");
        self.wait_for_rows();
        owned
    }

    /// Waits until each unit has passed on rows of now.
    fn wait_for_rows(&self) {
        let now = Instant::now();
        let all = PARTITIONS.unsigned_abs() as usize;
        wait_for("rows of every unit", LIMIT, || (self.copies.units_since(now) >= all).then_some(()));
    }

    /// The longest silence of any unit since, in milliseconds.
    fn silence(&self, since: Instant) -> i64 {
        i64::try_from(self.copies.longest(since, Instant::now()).as_millis()).expect("not so long")
    }

    /// Deletes a pod without grace, one of so many workers' pods.
    fn delete_pod(&self, workers: usize) -> i64 {
        let before = self.owned(workers);
        let pod = wait_for("ready worker", LIMIT, || self.namespace.ready_worker(COPIES));
        let since = Instant::now();
        delete_now(&pod);
        wait_for("units that were taken over", 2 * LIMIT, || owned_anew(&self.namespace, COPIES, &before));
        self.wait_for_rows();
        self.silence(since)
    }

    /// Has units move to another worker, or back: so many are asked for.
    fn move_units(&self, from: usize, to: usize) -> i64 {
        self.owned(from);
        let since = Instant::now();
        ask_for(&self.namespace, COPIES, to);
        self.owned(to);
        self.silence(since)
    }

    fn again(&self, what: &str, times: usize, mut happen: impl FnMut(&Self, usize) -> i64) -> Vec<i64> {
        let each = (0..times).map(|number| {
            let millis = happen(self, number);
            println!("{what}, {} of {times}: {millis} ms", number + 1);
            millis
        });
        each.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: make bench-cluster"]
async fn units_whose_pod_is_deleted_and_units_that_move_process_again_within_five_seconds() {
    let (deletions, moves) = (number("LOSSES_DELETIONS", 10), number("LOSSES_MOVES", 10));
    let namespace = Namespace::fresh("e2e-losses");
    let kafka = Kafka::start_at(&host());
    kafka.make_bank(PARTITIONS).await;
    // What passes rows on keeps all of it in Kafka.
    let (broker, state) = (kafka.address(), State::Folder(String::new()));
    let pipelines = Pipelines { broker, state, commit_every_ms: 1_000, key_groups: 8, workers: 1 };
    let bench = Bench { namespace: namespace.clone(), copies: Watch::of(&kafka, COPIES) };
    install(&image(None), &[]);
    let traffic = Traffic::start(&kafka, PARTITIONS, ROWS_PER_SECOND);
    namespace.apply(&pipelines.only_copies());
    bench.owned(1);

    let mut only = bench.again("the only pod deleted", deletions, |bench, _| bench.delete_pod(1));
    let mut moved = bench.again("units moved", moves, |bench, number| match number % 2 {
        0 => bench.move_units(1, 2),
        _ => bench.move_units(2, 1),
    });
    ask_for(&namespace, COPIES, 2);
    let mut of_two = bench.again("one of two pods deleted", deletions, |bench, _| bench.delete_pod(2));

    traffic.end().await;
    let ledger = Ledger::read(&kafka, PARTITIONS);
    let complete = Instant::now();
    while bench.copies.rows() < ledger.copied() && complete.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (rows, amiss) = judge_copies(&kafka, &ledger);
    let mut bars = Bars::default();
    let mut report = serde_json::Map::new();
    for (what, silences) in
        [("only pod deleted", &mut only), ("one of two pods deleted", &mut of_two), ("units moved", &mut moved)]
    {
        // None were asked for.
        if !silences.is_empty() {
            bars.at_most(&format!("{what}: silence, p99, in milliseconds"), quantile(silences, 0.99), SILENCE_MS);
        }
        report.insert(what.to_owned(), spread(silences));
    }
    let report = json!({
        "longestSilenceOfAUnitMillis": report, "rows": rows, "amiss": format!("{amiss:?}"), "missed": bars.missed(),
    });
    println!("{report:#}");
    assert!(amiss == Amiss::default() && bars.missed().is_empty(), "{report:#}");
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
