//! A broker that goes away while a worker reads it, or writes to it.

use std::collections::BTreeSet;

use krafka::Record;
use serde_json::json;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{LIMIT, Numbers, number};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_reported_and_nothing_ends_until_it_is_back() {
    let Numbers { mut kafka, mut fleet, worker } = Numbers::start(&[]).await;
    kafka.send([number(1, 0), number(2, 1)]).await;
    wait_for("rows", LIMIT, || (kafka.committed("out").len() == 2).then_some(()));
    let before = fleet.report_of(worker).expect("a report");
    assert_eq!(before["failures"], json!([]), "{before}");
    // There is nothing left to write: nobody but whoever reads can say it.
    kafka.kill();
    let report = wait_for("a report of the outage", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"][0].is_object())
    });
    let failure = &report["failures"][0];
    assert_eq!(failure["reason"], "Unreachable", "{report}");
    assert_eq!(failure["resource"], "StreamSource/events", "{report}");
    assert!(failure["message"].as_str().is_some_and(|said| said.contains("does not answer")), "{report}");
    let units = report["units"].as_array().expect("units");
    assert_eq!((units.len(), units.iter().filter(|unit| unit["error"].is_string()).count()), (2, 0), "{report}");
    kafka.resume();
    wait_for("a report without it", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"] == json!([]) && report["state"] == "Running")
    });
    kafka.send([number(3, 0), number(4, 1)]).await;
    wait_for("more rows", LIMIT, || (kafka.committed("out").len() == 4).then_some(()));
    let said = fleet.workers()[worker].said();
    assert!(!said.contains("standing still"), "the job has not failed: {said}");
    assert_eq!(said.matches("named by the assignment").count(), 1, "{said}");
}

/// A pipeline that writes numbers to the topic of its name, in another cluster than it reads them from, with one more field.
fn writing(input: &Kafka, output: &Kafka, name: &str, sql: &str, field: &str) -> String {
    let source = format!("{name}-events");
    Manifest::over(input)
        .source(&source, &["n BIGINT", "at TIMESTAMP(3)"])
        .kafka("topic: events")
        .spec("format: { json: { timestampFormat: EpochMillis } }")
        .spec("watermark: { column: at, delay: 1s }")
        .sink(name)
        .kafka(&format!(r#"brokers: ["{}"]"#, output.address()))
        .pipeline(name, &[&format!("{source}, as: events")], &[&format!("{name}, as: out")], sql)
        .spec(field)
        .to_string()
}

/// Numbers that are written in every shape: in the transactions of units without state, from outboxes, and as they come.
const SHAPES: [(&str, &str, &str); 3] = [
    ("direct", "INSERT INTO out SELECT n FROM events", ""),
    (
        "stored",
        "INSERT INTO out SELECT n, window_start, count(*) AS events \
         FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, n",
        "state: { commitEvery: 200ms, keyGroups: 1, url: ./state }",
    ),
    ("acknowledged", "INSERT INTO out SELECT n FROM events", "delivery: AtLeastOnce"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_a_sink_that_goes_away_is_reported_until_it_is_back_and_costs_no_row() {
    /// A number that closes the windows of all others.
    const END: u64 = 1_000;
    let (input, mut output) = (Kafka::start(), Kafka::start());
    input.create_topic("events", 1, &[]).await;
    for (name, ..) in SHAPES {
        output.create_topic(name, 1, &[]).await;
    }
    let manifest = SHAPES.map(|(name, sql, field)| writing(&input, &output, name, sql, field)).concat();
    let mut fleet = Fleet::new(&manifest, &["--workers", "1"]);
    let workers = SHAPES.map(|(name, ..)| fleet.add_worker(name, &[]));
    let event = |n: u64| Record::new("events", format!(r#"{{"n":{n},"at":{}}}"#, n * 1_000)).partition(0);
    let numbers = |output: &Kafka, topic: &str| {
        let mut numbers: Vec<_> = output.committed(topic).iter().filter_map(|seen| seen.json()["n"].as_u64()).collect();
        numbers.retain(|n| *n != END);
        numbers.sort_unstable();
        numbers
    };
    input.send((1..=10).map(event)).await;
    for (name, ..) in SHAPES {
        wait_for("rows", LIMIT, || (!numbers(&output, name).is_empty()).then_some(()));
    }
    output.kill();
    input.send((11..=20).map(event)).await;
    for ((name, ..), worker) in SHAPES.into_iter().zip(workers) {
        let report = wait_for("a report of the outage", LIMIT, || {
            fleet.report_of(worker).filter(|report| report["failures"][0].is_object())
        });
        assert_eq!(report["failures"].as_array().map(Vec::len), Some(1), "{report}");
        let failure = &report["failures"][0];
        assert_eq!(failure["reason"], "Unreachable", "{report}");
        assert_eq!(failure["resource"], format!("StreamSink/{name}"), "{report}");
        let message = failure["message"].as_str().unwrap_or_default();
        assert!(message.contains(&output.address()) && message.contains("has taken nothing since"), "{report}");
        let units = report["units"].as_array().expect("units");
        assert_eq!((units.len(), units.iter().filter(|unit| unit["error"].is_string()).count()), (1, 0), "{report}");
    }
    output.resume();
    for worker in workers {
        wait_for("a report without it", LIMIT, || {
            fleet.report_of(worker).filter(|report| report["failures"] == json!([]) && report["state"] == "Running")
        });
    }
    input.send((21..=30).chain([END]).map(event)).await;
    let all: Vec<_> = (1..=30).collect();
    for (name, ..) in SHAPES {
        let found = wait_for("all rows", LIMIT, || {
            let found = numbers(&output, name);
            all.iter().all(|n| found.contains(n)).then_some(found)
        });
        match name {
            // What was not acknowledged may have been written all the same.
            "acknowledged" => assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), (1..=30).collect::<BTreeSet<_>>()),
            _ => assert_eq!(found, all, "{name}: each once"),
        }
    }
    for worker in workers {
        let said = fleet.workers()[worker].said();
        assert!(!said.contains("standing still"), "the job has not failed: {said}");
    }
}
