//! A broker that stands still while many units write to it as fast as they read.

use std::path::Path;
use std::time::Duration;

use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::LIMIT;

const PIPELINE: &str = "stalled";
/// Units that write to the broker.
const UNITS: usize = 20;
/// What the worker may use, and what it takes for its code, stacks, and what the allocator keeps.
const BUDGET_MIB: u64 = 320;
/// Rows of the other sink while the broker stands still: those of fifteen seconds.
const BESIDE: usize = 15_000;
/// Rows that must show once it goes on.
const MORE: i64 = 100_000;

/// Transactions that end by their size long before they end by their age.
fn manifest(kafka: &Kafka, side: &Path) -> String {
    let sql = "INSERT INTO out SELECT trip_id, fare_amount FROM fast; INSERT INTO side SELECT trip_id FROM beside";
    Manifest::over(kafka)
        .source("fast", &["trip_id BIGINT", "fare_amount DOUBLE"])
        .connector(&format!("generator: {{ taxi: {{}}, splits: {UNITS} }}"))
        .source("beside", &["trip_id BIGINT"])
        .connector("generator: { taxi: {}, splits: 1, rowsPerSecond: 1000 }")
        .sink("out")
        .sink("side")
        .connector(&format!(r#"files: {{ url: "{}", roll: {{ every: 200ms }} }}"#, side.display()))
        .pipeline(PIPELINE, &["fast", "beside"], &["out", "side"], sql)
        .spec("state: { url: ./state, commitEvery: 1m }")
        .to_string()
}

/// Lines of whole files.
fn lines(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let whole = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    whole.map(|path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count())).sum()
}

/// Waits until the topic is longer than that.
async fn longer(kafka: &Kafka, than: i64) -> i64 {
    let grows = async {
        loop {
            let end = kafka.end_of("out", 0).await;
            if end > than {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, grows).await.expect("more rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_units_wait_for_a_broker_within_the_budget_and_go_on_with_it() {
    let kafka = Kafka::start();
    kafka.create_topic("out", 1, &[]).await;
    let side = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Fleet::new(&manifest(&kafka, side.path()), &["--workers", "1"]);
    let memory = (BUDGET_MIB << 20).to_string();
    let worker = fleet.add_worker(PIPELINE, &["--memory-bytes", &memory]);
    // Every unit has its transactions by then.
    let owned = || fleet.report_of(worker)?["units"].as_array().map(Vec::len);
    wait_for("all units", LIMIT, || (owned()? > UNITS).then_some(()));
    longer(&kafka, 0).await;
    // Its connections stay open and say nothing.
    kafka.freeze_one(0);
    let before = lines(side.path());
    wait_for("output beside it", LIMIT, || (lines(side.path()) >= before + BESIDE).then_some(()));
    let peak = fleet.workers()[worker].peak_mib().expect("it runs");
    kafka.thaw_one(0);
    println!("{peak} MiB of {BUDGET_MIB} at the most, {UNITS} units before a broker that stood still");
    assert!(peak < BUDGET_MIB, "{peak} MiB of {BUDGET_MIB}");
    let stood = longer(&kafka, 0).await;
    longer(&kafka, stood + MORE).await;
    assert!(fleet.workers()[worker].terminate(), "{}", fleet.said());
}
