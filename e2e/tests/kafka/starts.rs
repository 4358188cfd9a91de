//! Where partitions start at the first start, and what a consumer group is shown of how far they were read.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);
const FIRST: i64 = 1_514_764_800_000;

fn manifest(kafka: &Kafka, name: &str, source: &str) -> String {
    Manifest::over(kafka)
        .source("events", &["n BIGINT"])
        .kafka(source)
        .sink("out")
        .kafka(&format!("topic: {name}, createTopic: {{ partitions: 1 }}"))
        .pipeline(name, &["events"], &["out"], "INSERT INTO out SELECT n FROM events")
        .to_string()
}

/// Two partitions of ten records, a second apart: 0 to 9, and 10 to 19.
async fn filled() -> Kafka {
    let kafka = Kafka::start();
    // Their times are long ago.
    kafka.create_topic("events", 2, &[("retention.ms", "-1")]).await;
    let record = |n: i64| {
        let record = Record::new("events", format!(r#"{{"n":{n}}}"#)).partition((n / 10) as i32);
        record.timestamp(FIRST + n % 10 * 1_000)
    };
    kafka.send((0..20).map(record)).await;
    kafka
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_start_where_the_source_says_and_later_starts_go_on() {
    let kafka = filled().await;
    let all: Vec<u64> = (0..20).collect();
    for (name, start_at, wanted) in [
        ("earliest", "startAt: { position: Earliest }", all),
        // Between two records: the first one after it.
        ("timestamp", r#"startAt: { position: Timestamp, timestamp: "2018-01-01T00:00:07.5Z" }"#, vec![8, 9, 18, 19]),
        // The other partition starts at its beginning.
        (
            "offsets",
            "startAt: { position: Offsets, offsets: [{ partition: 0, offset: 9 }] }",
            std::iter::once(9).chain(10..20).collect(),
        ),
    ] {
        let numbers = || {
            let seen = kafka.committed(name);
            let mut numbers: Vec<_> = seen.iter().map(|seen| seen.json()["n"].as_u64().expect("a number")).collect();
            numbers.sort_unstable();
            numbers
        };
        let place = Place::with(&manifest(&kafka, name, start_at));
        let mut run = place.run(&[]);
        run.until("rows", LIMIT, || Some(()).filter(|()| numbers().len() >= wanted.len()));
        run.stop();
        assert_eq!(numbers(), wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_a_partition_does_not_hold_is_refused_with_those_that_it_holds() {
    let kafka = filled().await;
    let start_at = "startAt: { position: Offsets, offsets: [{ partition: 1, offset: 11 }] }";
    let said = Place::with(&manifest(&kafka, "beyond", start_at)).run(&[]).fails(LIMIT);
    let wanted = "`kafka.startAt.offsets` of partition 1: found 11, the partition holds 0 to 10";
    assert!(said.contains(wanted), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_named_shows_tools_how_far_partitions_were_read() {
    let kafka = filled().await;
    let place = Place::with(&manifest(&kafka, "shown", "commitToGroup: shown-to-tools"));
    let mut run = place.run(&[]);
    let described = || {
        let output = kafka
            .tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand")
            .args(["--bootstrap-server", &kafka.address(), "--describe", "--group", "shown-to-tools"])
            .output()
            .expect("java starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
    let is_read = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(1) == Some(&"events") && words.get(3..6) == Some(&["10", "10", "0"])
    };
    run.until("positions of both partitions", LIMIT, || {
        Some(()).filter(|()| described().lines().filter(|line| is_read(line)).count() == 2)
    });
    run.stop();
}
