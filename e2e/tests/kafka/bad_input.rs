//! Bad records, topics that go, and what is said about them.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::wait_for;

use crate::etl::has_begun;
use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);

/// A pipeline from `events` to `out`, with one more field of the source and the pipeline.
pub fn manifest(kafka: &Kafka, source: &str, pipeline: &str) -> String {
    let columns = [
        "n BIGINT, nullable: false",
        "topic STRING, metadata: topic",
        "part INT, metadata: partition",
        "place BIGINT, metadata: offset",
        "at TIMESTAMP(3), metadata: timestamp",
        "key STRING, metadata: key",
        r#"headers "MAP<STRING, STRING>", metadata: headers"#,
    ];
    let sql = "INSERT INTO out SELECT n, topic, part, place, at, key, headers FROM events";
    Manifest::over(kafka)
        .source("events", &columns)
        .spec(source)
        .sink("out")
        .kafka(r#"key: [key, "n"]"#)
        .sink("dead")
        .pipeline("bad", &["events"], &["out"], sql)
        .spec(pipeline)
        .to_string()
}

pub async fn topics(kafka: &Kafka) {
    for topic in ["events", "out", "dead"] {
        kafka.create_topic(topic, 1, &[]).await;
    }
}

fn bad_records() -> Vec<Record> {
    let good = |n: u64| Record::new("events", format!(r#"{{"n":{n}}}"#)).timestamp(1_514_764_800_000 + n as i64);
    vec![
        good(0).key("k").header("a", "1").null_header("b"),
        Record::new("events", "{broken"),
        Record::new("events", r#"{"n":"x"}"#),
        Record::tombstone("events", "k"),
        good(1).key(&b"\xff\xfe"[..]),
        good(2).header("a", &b"\xff"[..]),
        good(3),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_become_dead_letters_in_the_same_transaction_and_metadata_are_columns() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send(bad_records()).await;
    let place = Place::with(&manifest(&kafka, "onError: DeadLetter", "deadLetter: { sink: dead }"));
    let mut run = place.run(&[]);
    let out = run.until("two rows", LIMIT, || Some(kafka.committed("out")).filter(|seen| seen.len() >= 2));
    let dead = kafka.committed("dead");
    run.stop();
    let values: Vec<_> = out.iter().filter_map(|seen| seen.value.as_deref()).collect();
    assert_eq!(
        values,
        [
            r#"{"n":0,"topic":"events","part":0,"place":0,"at":"2018-01-01T00:00:00.000Z","key":"k","headers":{"a":"1","b":null}}"#,
            r#"{"n":3,"topic":"events","part":0,"place":6,"at":"2018-01-01T00:00:00.003Z","key":null,"headers":{}}"#,
        ]
    );
    assert_eq!(out[0].key.as_deref(), Some(r#"{"key":"k","n":0}"#));
    let letters: Vec<_> = dead.iter().map(Seen::json).collect();
    let places: Vec<_> = letters.iter().map(|letter| letter["position"].as_str().expect("a position")).collect();
    assert_eq!(places, ["1", "2", "3", "4", "5"]);
    let classes: Vec<_> = letters.iter().map(|letter| letter["class"].as_str().expect("a class")).collect();
    assert_eq!(classes, ["Decode", "Schema", "Schema", "Decode", "Decode"]);
    assert_eq!(letters[2]["message"], "expected an object, found a tombstone");
    assert!(letters[3]["message"].as_str().expect("text").contains("column `key`: expected UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_fails_the_pipeline_with_its_topic_partition_and_offset() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send(bad_records()).await;
    let said = Place::with(&manifest(&kafka, "", "")).run(&[]).fails(LIMIT);
    assert!(said.contains("topic events, partition 0, offset 1"), "{said}");
    assert!(said.contains("StreamSource/events"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_ten_megabytes_is_read_and_a_longer_one_is_a_bad_record() {
    const TEN: usize = 10 << 20;
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[("max.message.bytes", "20971520")]).await;
    kafka.create_topic("out", 1, &[]).await;
    kafka.create_topic("dead", 1, &[]).await;
    let of_length = |n: u64, bytes: usize| {
        let empty = format!(r#"{{"n":{n},"x":""}}"#);
        let x = "x".repeat(bytes - empty.len());
        Record::new("events", format!(r#"{{"n":{n},"x":"{x}"}}"#))
    };
    kafka.send([of_length(0, TEN), of_length(1, TEN + 1), of_length(2, 100)]).await;
    let place = Place::with(&manifest(&kafka, "onError: DeadLetter", "deadLetter: { sink: dead }"));
    let mut run = place.run(&[]);
    let out = run.until("two rows", LIMIT, || Some(kafka.committed("out")).filter(|seen| seen.len() >= 2));
    let dead = kafka.committed("dead");
    run.stop();
    let places: Vec<_> = out.iter().map(|seen| seen.json()["place"].as_u64().expect("an offset")).collect();
    assert_eq!(places, [0, 2]);
    // Its letter would be longer than its topic takes: the letter holds the record's beginning.
    let letter = dead.first().expect("one letter").json();
    assert_eq!((dead.len(), &letter["class"], &letter["position"]), (1, &"Decode".into(), &"1".into()));
    assert_eq!(letter["message"], "expected at most 10485760 bytes (maxRecordBytes), found 10485761");
    assert_eq!(letter["raw"].as_str().expect("text").len(), 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_waited_for_and_then_named() {
    let kafka = Kafka::start();
    kafka.create_topic("out", 1, &[]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("there is no topic `events`") && said.contains("kafka.topic"), "{said}");
    kafka.delete_topic("out").await;
    kafka.create_topic("events", 1, &[]).await;
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("there is no topic `out`") && said.contains("createTopic"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_was_deleted_stops_the_pipeline() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    run.until("a row", LIMIT, || Some(()).filter(|()| !kafka.committed("out").is_empty()));
    kafka.delete_topic("thalweg-progress.default.bad").await;
    kafka.send([Record::new("events", r#"{"n":2}"#)]).await;
    let said = run.fails(Duration::from_secs(150));
    assert!(
        said.contains("DataLoss: StreamSink/out: progress topic `thalweg-progress.default.bad`: it was deleted"),
        "{said}"
    );
    assert_eq!(kafka.committed("out").len(), 1, "nothing was written without progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_state_store_a_deleted_progress_topic_is_noticed_at_the_next_start() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&["--state", "state"]);
    run.until("a row", LIMIT, || Some(()).filter(|()| !kafka.committed("out").is_empty()));
    run.stop();
    kafka.delete_topic("thalweg-progress.default.bad").await;
    let said = place.run(&["--state", "state"]).fails(LIMIT);
    assert!(said.contains("DataLoss: StreamSink/out: progress topic") && said.contains("--fresh"), "{said}");
}

const PROGRESS: &str = "thalweg-progress.default.bad";

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_topic_that_is_not_compacted_is_refused_and_goes_on_once_it_is() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
    // As somebody makes it by hand.
    kafka.create_topic(PROGRESS, 1, &[]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let said = place.run(&[]).fails(LIMIT);
    let found =
        format!("StreamSink/out: progress topic `{PROGRESS}`: its `cleanup.policy` is `delete`, and must be `compact`");
    let mends = format!(
        "kafka-configs --bootstrap-server {} --alter --entity-type topics --entity-name {PROGRESS} --add-config \
         cleanup.policy=compact",
        kafka.address()
    );
    assert!(said.contains(&found) && said.contains(&mends), "{said}");
    assert!(kafka.committed("out").is_empty() && kafka.committed(PROGRESS).is_empty(), "nothing was written");
    kafka.set(PROGRESS, "cleanup.policy", "compact").await;
    let mut run = place.run(&[]);
    run.until("a row", LIMIT, || Some(()).filter(|()| !kafka.committed("out").is_empty()));
    run.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_that_retention_deleted_is_data_loss_until_somebody_starts_anew() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    run.until("a row", LIMIT, || Some(()).filter(|()| !kafka.committed("out").is_empty()));
    run.stop();
    kafka.set(PROGRESS, "retention.ms", "1").await;
    kafka.set(PROGRESS, "cleanup.policy", "delete").await;
    wait_for("retention", LIMIT, || kafka.committed(PROGRESS).is_empty().then_some(()));
    // As if somebody mended the topic, too late.
    kafka.set(PROGRESS, "cleanup.policy", "compact").await;
    for _ in 0..2 {
        let said = place.run(&[]).fails(LIMIT);
        let expected =
            format!("DataLoss: StreamSink/out: progress topic `{PROGRESS}`, partition 0: the oldest record kept");
        assert!(said.contains(&expected) && said.contains("--fresh"), "{said}");
    }
    assert_eq!(kafka.committed("out").len(), 1, "nothing was written without progress");
    let mut run = place.run(&["--fresh"]);
    run.until("it once more", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 2));
    run.stop();
    kafka.send([Record::new("events", r#"{"n":2}"#)]).await;
    let mut run = place.run(&[]);
    run.until("what came since", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() >= 3));
    run.stop();
    assert_eq!(kafka.committed("out").len(), 3, "it has gone on from where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_deleted_before_it_was_read_is_data_loss() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send((0..10).map(|n| Record::new("events", format!(r#"{{"n":{n}}}"#)))).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    run.until("ten rows", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 10));
    run.stop();
    kafka.send((10..30).map(|n| Record::new("events", format!(r#"{{"n":{n}}}"#)))).await;
    kafka.forget("events", 0, 20).await;
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("DataLoss: StreamSource/events: topic `events`, partition 0: offset 10 is wanted"), "{said}");
    assert!(said.contains("the oldest record kept is 20"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_after_a_partition_was_begun_is_data_loss_though_nothing_was_read() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    // The topic is empty, and its unit has committed that it begins there.
    run.until("a beginning", LIMIT, || has_begun(&kafka, "bad").then_some(()));
    run.kill();
    kafka.send((0..10).map(|n| Record::new("events", format!(r#"{{"n":{n}}}"#)))).await;
    kafka.forget("events", 0, 4).await;
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("DataLoss: StreamSource/events: topic `events`, partition 0: offset 0 is wanted"), "{said}");
    assert!(said.contains("the oldest record kept is 4"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_is_not_taken_for_the_one_that_was_read() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    let records = || (0..10).map(|n| Record::new("events", format!(r#"{{"n":{n}}}"#)));
    kafka.send(records()).await;
    let place = Place::with(&manifest(&kafka, "", ""));
    let mut run = place.run(&[]);
    run.until("ten rows", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 10));
    kafka.delete_topic("events").await;
    let said = run.fails(LIMIT);
    assert!(said.contains("DataLoss: StreamSource/events: topic `events`: it was deleted"), "{said}");
    kafka.create_topic("events", 1, &[]).await;
    kafka.send(records()).await;
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("DataLoss: StreamSource/events: topic `events`: it was deleted and made again"), "{said}");
    assert_eq!(kafka.committed("out").len(), 10);
    let mut run = place.run(&["--fresh"]);
    run.until("ten more", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 20));
    run.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_statements_do_not_go_on_from_the_positions_of_others() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    kafka.send([Record::new("events", r#"{"n":1}"#)]).await;
    let manifest = manifest(&kafka, "", "");
    let place = Place::with(&manifest);
    let mut run = place.run(&[]);
    run.until("a row", LIMIT, || Some(()).filter(|()| !kafka.committed("out").is_empty()));
    run.stop();
    // Filter and columns may change: positions belong to what is read.
    place.write(
        "p.yaml",
        &manifest.replace("topic, part, place, at, key, headers FROM events", "part, key FROM events WHERE n > 1"),
    );
    kafka.send([1, 2].map(|n| Record::new("events", format!(r#"{{"n":{n}}}"#)))).await;
    let mut run = place.run(&[]);
    run.until("a second row", LIMIT, || Some(()).filter(|()| kafka.committed("out").len() == 2));
    run.stop();
    // Of two nobody knows which one goes on.
    let one = "INSERT INTO out SELECT n, topic, part, place, at, key, headers FROM events";
    let two = "INSERT INTO out SELECT n, key FROM events; INSERT INTO out SELECT n + 1 AS n, key FROM events";
    place.write("p.yaml", &manifest.replace(one, two));
    let said = place.run(&[]).fails(LIMIT);
    assert!(said.contains("positions of other statements") && said.contains("--fresh"), "{said}");
}
