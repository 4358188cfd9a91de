//! Kafka to keyed windows to Kafka: state in a store, rows in its outbox until the transaction that carries them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::Record;
use serde_json::Value;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::events::{event, fill};
use crate::kills::kill_again_and_again;
use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 4;

fn manifest(kafka: &Kafka) -> String {
    let sql = "INSERT INTO out SELECT key, window_start, count(*) AS events, sum(amount) AS amount \
               FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '5' SECOND)) \
               GROUP BY window_start, window_end, key";
    Manifest::over(kafka)
        .source("events", &["key STRING", "at TIMESTAMP(3)", "amount BIGINT"])
        .spec("format: { json: { timestampFormat: EpochMillis } }")
        .spec("watermark: { column: at, delay: 1s }")
        .sink("out")
        .kafka("key: [key], createTopic: { partitions: 3 }, compression: Lz4")
        .pipeline("windows", &["events"], &["out"], sql)
        .spec("state: { commitEvery: 200ms, keyGroups: 5 }")
        .to_string()
}

/// By key and window of five seconds: events and amount.
fn expected(events: u64) -> BTreeMap<(String, u64), (u64, u64)> {
    let mut windows: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for number in 0..events {
        let (key, value) = event(number);
        let window = windows.entry((key, value["at"].as_u64().expect("a time") / 5_000)).or_default();
        window.0 += 1;
        window.1 += value["amount"].as_u64().expect("a number");
    }
    windows
}

/// Key and window, to count and sum.
type Windows = BTreeMap<(String, u64), (u64, u64)>;

/// What was found, and how many rows came twice or before an earlier window of their key.
fn found(seen: &[Seen]) -> (Windows, u64, u64) {
    let (mut windows, mut duplicated, mut out_of_order) = (BTreeMap::new(), 0, 0);
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for record in seen {
        let value: Value = serde_json::from_str(record.value.as_deref().expect("a value")).expect("json");
        let key = value["key"].as_str().expect("a key").to_owned();
        let seconds = seconds(value["window_start"].as_str().expect("a time"));
        let number = |name: &str| value[name].as_u64().expect("a number");
        let window = seconds / 5;
        out_of_order += u64::from(last.insert(key.clone(), window).is_some_and(|last| window < last));
        let row = (number("events"), number("amount"));
        duplicated += u64::from(windows.insert((key, window), row).is_some());
    }
    (windows, duplicated, out_of_order)
}

/// Seconds since midnight of a time of 1970-01-01, which all are.
fn seconds(time: &str) -> u64 {
    let clock = time.strip_prefix("1970-01-01T").expect("the first day");
    let mut parts = clock.split([':', '.', 'Z']).map(|part| part.parse::<u64>().expect("a number"));
    let mut next = || parts.next().expect("a part");
    next() * 3_600 + next() * 60 + next()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_is_exact_under_kills() {
    const EVENTS: u64 = 150_000;
    const KILLS: usize = 15;
    let kafka = Arc::new(Kafka::start());
    kafka.create_topic("events", PARTITIONS, &[]).await;
    let place = Place::with(&manifest(&kafka));
    let filling = {
        let kafka = Arc::clone(&kafka);
        tokio::spawn(async move {
            fill(&kafka, "events", 0..EVENTS, 6_000).await;
            // One event an hour later in each partition closes every window but its own.
            let late = format!(r#"{{"key":"end","at":{},"amount":0}}"#, EVENTS * 10 + 3_600_000);
            kafka.send((0..PARTITIONS).map(|partition| Record::new("events", late.clone()).partition(partition))).await;
        })
    };
    let started = Instant::now();
    kill_again_and_again(&place, &["--state", "state"], KILLS, 12).await;
    let mut run = place.run(&["--state", "state"]);
    filling.await.expect("filled");
    let wanted = expected(EVENTS);
    let seen = run.until("every window", LIMIT, || {
        let seen = kafka.committed("out");
        (seen.len() >= wanted.len()).then_some(seen)
    });
    run.stop();
    let (windows, duplicated, out_of_order) = found(&seen);
    let lost = wanted.keys().filter(|window| !windows.contains_key(window)).count();
    let wrong = wanted.iter().filter(|(window, row)| windows.get(*window).is_some_and(|found| found != *row)).count();
    println!(
        "windows: {KILLS} kills, {EVENTS} events, {} windows, {:?}: lost {lost}, duplicated {duplicated}, \
         out of order {out_of_order}, wrong {wrong}",
        wanted.len(),
        started.elapsed()
    );
    assert_eq!((lost, duplicated, out_of_order, wrong), (0, 0, 0, 0));
    assert_eq!(windows.len(), wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_is_older_than_what_its_sink_holds_is_refused() {
    const EVENTS: u64 = 3_000;
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    let place = Place::with(&manifest(&kafka));
    // Each life closes windows, and delivers them.
    for life in 0..2 {
        fill(&kafka, "events", life * EVENTS..(life + 1) * EVENTS, 100_000).await;
        let mut run = place.run(&["--state", "state"]);
        // All windows but those within the watermark's delay.
        let wanted = expected((life + 1) * EVENTS - 1_000).len();
        run.until("windows", LIMIT, || Some(()).filter(|()| kafka.committed_at_least("out", wanted)));
        run.stop();
        if life == 0 {
            copy(&place.path("state"), &place.path("older"));
        }
    }
    std::fs::remove_dir_all(place.path("state")).expect("removed");
    std::fs::rename(place.path("older"), place.path("state")).expect("renamed");
    let rows = kafka.committed("out").len();
    let said = place.run(&["--state", "state"]).fails(LIMIT);
    assert!(said.contains("DataLoss") && said.contains("older copy"), "{said}");
    assert_eq!(kafka.committed("out").len(), rows);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-r".as_ref(), from.as_os_str(), to.as_os_str()]).status();
    assert!(copied.expect("cp runs").success());
}
