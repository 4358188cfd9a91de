//! Headers and tombstones, as another reader sees them.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);

/// A pipeline that writes people by `id`, with more of the sink.
fn manifest(kafka: &Kafka, of_kafka: &str, on_error: &str) -> String {
    let columns = ["id STRING", "name STRING", "age INT", r#"headers "MAP<STRING, BYTES>", metadata: headers"#];
    let sql = "INSERT INTO people SELECT id, name, age, headers['trace'] AS trace FROM events";
    Manifest::over(kafka)
        .source("events", &columns)
        .sink("people")
        .kafka("key: [id]")
        .kafka(of_kafka)
        .spec(on_error)
        .pipeline("people", &["events"], &["people"], sql)
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_headers_and_a_row_of_nulls_deletes_its_key() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    // It takes no record without a key.
    kafka.create_topic("people", 1, &[("cleanup.policy", "compact")]).await;
    let event = |value: &str| Record::new("events", value.to_owned());
    kafka
        .send([
            event(r#"{"id":"a","name":"Ann","age":7}"#).header("trace", "t-1"),
            event(r#"{"id":"b","name":"Bob","age":null}"#),
            event(r#"{"id":"a","name":null,"age":null}"#).header("trace", "t-3"),
            event(r#"{"id":"c","name":null,"age":8}"#).header("trace", ""),
        ])
        .await;
    let place = Place::with(&manifest(&kafka, "headers: [trace, age], tombstones: true", ""));
    let mut run = place.run(&[]);
    run.until("four records", LIMIT, || kafka.committed_at_least("people", 4).then_some(()));
    run.stop();
    let seen = kafka.committed_with_headers("people");
    let seen: Vec<_> = seen
        .iter()
        .map(|(headers, Seen { key, value, .. })| (headers.as_str(), key.as_deref(), value.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("trace:t-1,age:7", Some("a"), Some(r#"{"id":"a","name":"Ann"}"#)),
            ("trace:null,age:null", Some("b"), Some(r#"{"id":"b","name":"Bob"}"#)),
            ("trace:t-3,age:null", Some("a"), None),
            // Its age is a header, which does not keep it.
            ("trace:,age:8", Some("c"), None),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tombstones_a_row_of_nulls_is_a_record_with_a_value() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    kafka.create_topic("people", 1, &[]).await;
    kafka.send([Record::new("events", r#"{"id":"a"}"#)]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    run.until("a record", LIMIT, || kafka.committed_at_least("people", 1).then_some(()));
    run.stop();
    let (headers, seen) = kafka.committed_with_headers("people").remove(0);
    assert_eq!(headers, "NO_HEADERS");
    assert_eq!(seen.value.as_deref(), Some(r#"{"id":"a","name":null,"age":null,"trace":null}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_count_for_what_a_topic_takes() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    kafka.create_topic("people", 1, &[("max.message.bytes", "1000")]).await;
    let event = |id: &str, bytes: usize| {
        Record::new("events", format!(r#"{{"id":"{id}","name":"x","age":1}}"#)).header("trace", "t".repeat(bytes))
    };
    kafka.send([event("a", 700), event("b", 950), event("c", 10)]).await;
    let place = Place::with(&manifest(&kafka, "headers: [trace]", "onError: Drop"));
    let mut run = place.run(&[]);
    run.until("two records", LIMIT, || kafka.committed_at_least("people", 2).then_some(()));
    run.stop();
    let keys: Vec<_> = kafka.committed("people").into_iter().filter_map(|seen| seen.key).collect();
    assert_eq!(keys, ["a", "c"]);
}
