//! Kafka to Kafka without windows, and without a state store: the transactions hold rows and positions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::events::{Found, check, fill};
use crate::kills::kill_again_and_again;
use crate::place::Place;

/// How long output may take to be complete.
const LIMIT: Duration = Duration::from_secs(120);

/// A pipeline from `events` to `out` that begins there, with one more field.
pub fn manifest(kafka: &Kafka, start_at: &str, pipeline: &str) -> String {
    Manifest::over(kafka)
        .source("events", &["key STRING", "n BIGINT", "amount BIGINT"])
        .kafka(&format!("startAt: {{ position: {start_at} }}"))
        .sink("out")
        .kafka("key: [key], createTopic: { partitions: 3 }")
        .pipeline("etl", &["events"], &["out"], "INSERT INTO out SELECT key, n, amount * 2 AS twice FROM events")
        .spec(pipeline)
        .to_string()
}

pub fn wait_for(kafka: &Kafka, topic: &str, count: usize) -> Vec<Seen> {
    let mut before = 0;
    thalweg_e2e::wait_for("complete output", LIMIT, || {
        let seen = kafka.committed(topic);
        // Complete, and nothing comes any more.
        let done = seen.len() >= count && seen.len() == before;
        before = seen.len();
        done.then_some(seen)
    })
}

/// Whether a unit of a pipeline has committed where it begins.
pub fn has_begun(kafka: &Kafka, pipeline: &str) -> bool {
    let says_where = |seen: &Seen| seen.value.as_deref().is_some_and(|value| value.contains(r#""label":{"#));
    kafka.committed(&format!("thalweg-progress.default.{pipeline}")).iter().any(says_where)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_repeated_or_out_of_order_under_kills() {
    const EVENTS: u64 = 150_000;
    const KILLS: usize = 15;
    let kafka = Arc::new(Kafka::start());
    kafka.create_topic("events", 4, &[]).await;
    let place = Place::with(&manifest(&kafka, "Earliest", ""));
    let filling = {
        let kafka = Arc::clone(&kafka);
        tokio::spawn(async move { fill(&kafka, "events", 0..EVENTS, 6_000).await })
    };
    let started = Instant::now();
    kill_again_and_again(&place, &[], KILLS, 11).await;
    let run = place.run(&[]);
    filling.await.expect("filled");
    let seen = wait_for(&kafka, "out", EVENTS as usize);
    run.stop();
    let found = check(&seen, EVENTS);
    println!("etl: {KILLS} kills, {EVENTS} events, {:?}: {found:?}", started.elapsed());
    assert_eq!(found, Found::default());
    // Whoever starts again does what is new, and nothing else.
    const MORE: u64 = 100;
    let run = place.run(&[]);
    fill(&kafka, "events", EVENTS..EVENTS + MORE, 100_000).await;
    let seen = wait_for(&kafka, "out", (EVENTS + MORE) as usize);
    run.stop();
    assert_eq!(check(&seen, EVENTS + MORE), Found::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_is_read_from_its_beginning_while_it_runs() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    let value = |n: u64| format!(r#"{{"key":"k0","n":{n},"amount":1}}"#);
    kafka.send((0..10).map(|n| Record::new("events", value(n)).partition(0))).await;
    let place = Place::with(&manifest(&kafka, "Latest", ""));
    let mut run = place.run(&[]);
    run.until("a beginning", LIMIT, || has_begun(&kafka, "etl").then_some(()));
    kafka.send([Record::new("events", value(10)).partition(0)]).await;
    assert_eq!(wait_for(&kafka, "out", 1).len(), 1);
    kafka.grow_topic("events", 3).await;
    let to = |partition: i32| move |n: u64| Record::new("events", value(n)).partition(partition);
    kafka.send((11..20).map(to(1)).chain((20..30).map(to(2)))).await;
    let seen = wait_for(&kafka, "out", 20);
    assert_eq!(seen.len(), 20);
    run.kill();
    // `Latest` was resolved once: another start goes on where the last one was.
    kafka.send((30..33).map(to(0))).await;
    let run = place.run(&[]);
    assert_eq!(wait_for(&kafka, "out", 23).len(), 23);
    run.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_comes_back_costs_nothing() {
    const EVENTS: u64 = 20_000;
    let mut kafka = Kafka::start();
    kafka.create_topic("events", 4, &[]).await;
    let place = Place::with(&manifest(&kafka, "Earliest", ""));
    fill(&kafka, "events", 0..EVENTS / 2, 100_000).await;
    let mut run = place.run(&[]);
    wait_for(&kafka, "out", EVENTS as usize / 2);
    for _ in 0..2 {
        kafka.kill();
        std::thread::sleep(Duration::from_secs(8));
        assert!(!run.has_ended(), "an outage ended it: {}", run.said());
        kafka.resume();
    }
    assert!(run.said().contains("does not answer"), "an outage was told: {}", run.said());
    fill(&kafka, "events", EVENTS / 2..EVENTS, 100_000).await;
    let seen = wait_for(&kafka, "out", EVENTS as usize);
    run.stop();
    assert_eq!(check(&seen, EVENTS), Found::default());
}
