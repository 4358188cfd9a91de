//! Rows that are longer than their topic's `max.message.bytes`.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);
/// Row 7 of each hundred has a key that the topic does not take.
const ROWS: u64 = 500;

fn is_long(n: u64) -> bool {
    n % 100 == 7
}

fn manifest(kafka: &Kafka, on_error: &str, query: &str) -> String {
    Manifest::over(kafka)
        .source("events", &["n BIGINT", "key STRING, metadata: key", "at TIMESTAMP(3), metadata: timestamp"])
        .spec("watermark: { column: at, delay: 1s }")
        .sink("out")
        .spec(on_error)
        .sink("dead")
        .pipeline("long", &["events"], &["out"], query)
        .spec("deadLetter: { sink: dead }")
        .spec("state: { commitEvery: 200ms, keyGroups: 2 }")
        .to_string()
}

const ALL: &str = "INSERT INTO out SELECT n, key FROM events";
const WINDOWS: &str = "INSERT INTO out SELECT max(n) AS n, key FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '1' \
                       SECOND)) GROUP BY window_start, window_end, key";

/// A topic that takes a thousand bytes, and input of which a hundredth is longer.
async fn filled() -> Kafka {
    let kafka = Kafka::start();
    // Their times are long ago.
    kafka.create_topic("events", 1, &[("retention.ms", "-1")]).await;
    kafka.create_topic("out", 1, &[("max.message.bytes", "1000")]).await;
    kafka.create_topic("dead", 1, &[]).await;
    let key = |n: u64| if is_long(n) { format!("{n}-{}", "k".repeat(2_000)) } else { n.to_string() };
    let time = |n: u64| 1_514_764_800_000 + n as i64 * 10;
    let record = |n: u64| Record::new("events", format!(r#"{{"n":{n}}}"#)).key(key(n)).timestamp(time(n));
    kafka.send((0..ROWS).map(record)).await;
    kafka
}

fn numbers(kafka: &Kafka, topic: &str) -> Vec<u64> {
    kafka.committed(topic).iter().filter_map(|seen| seen.json()["n"].as_u64()).collect()
}

fn short() -> Vec<u64> {
    (0..ROWS).filter(|n| !is_long(*n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_topic_does_not_take_fails_the_pipeline_with_its_size() {
    let kafka = filled().await;
    let said = Place::with(&manifest(&kafka, "", ALL)).run(&[]).fails(LIMIT);
    assert!(said.contains("StreamSink/out: expected at most 904 bytes of key and value"), "{said}");
    assert!(said.contains("the topic's `max.message.bytes` is 1000") && said.contains("onError: Drop"), "{said}");
    assert!(numbers(&kafka, "out").is_empty(), "nothing of its transaction shows");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_topic_does_not_take_become_dead_letters_once_and_the_others_are_written() {
    let kafka = filled().await;
    let place = Place::with(&manifest(&kafka, "onError: DeadLetter", ALL));
    let mut run = place.run(&[]);
    run.until("short rows", LIMIT, || Some(()).filter(|()| numbers(&kafka, "out") == short()));
    run.kill();
    kafka.send([Record::new("events", r#"{"n":500}"#)]).await;
    let mut run = place.run(&[]);
    let all = short().len() + 1;
    run.until("one more row", LIMIT, || Some(()).filter(|()| numbers(&kafka, "out").len() == all));
    run.stop();
    let letters: Vec<_> = kafka.committed("dead").iter().map(|seen| seen.json()).collect();
    assert_eq!(letters.len(), 5);
    for (letter, n) in letters.iter().zip([7, 107, 207, 307, 407]) {
        assert_eq!((&letter["class"], &letter["source"]), (&"Rejected".into(), &"out".into()));
        let raw = letter["raw"].as_str().expect("text");
        assert!(raw.starts_with(&format!(r#"{{"n":{n},"key":"{n}-kkk"#)), "{raw}");
        assert!(letter["message"].as_str().expect("text").contains("expected at most 904 bytes"), "{letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_the_topic_does_not_take_become_dead_letters_and_dropped_ones_are_gone() {
    let kafka = filled().await;
    // A record a minute later closes every window.
    let end = 1_514_764_800_000 + ROWS as i64 * 10 + 60_000;
    kafka.send([Record::new("events", r#"{"n":999}"#).key("end").timestamp(end)]).await;
    let place = Place::with(&manifest(&kafka, "onError: DeadLetter", WINDOWS));
    let sorted = || {
        let mut numbers = numbers(&kafka, "out");
        numbers.sort_unstable();
        numbers
    };
    let mut run = place.run(&["--state", "state"]);
    run.until("short windows", LIMIT, || Some(()).filter(|()| sorted() == short()));
    run.stop();
    let letters = kafka.committed("dead");
    assert_eq!(letters.len(), 5);
    assert!(letters.iter().all(|letter| letter.json()["class"] == "Rejected"));

    place.write("p.yaml", &manifest(&kafka, "onError: Drop", WINDOWS));
    let mut run = place.run(&["--state", "state", "--fresh"]);
    let twice = 2 * short().len();
    run.until("short windows again", LIMIT, || Some(()).filter(|()| sorted().len() == twice));
    run.stop();
    assert_eq!(kafka.committed("dead").len(), 5, "dropped rows make no letters");
}
