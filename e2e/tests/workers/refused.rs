//! A row that the sink refuses: it stops its unit, and no other.

use krafka::Record;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::LIMIT;

/// What it is called.
pub const PIPELINE: &str = "refused";

/// A pipeline that copies numbers from one topic to another.
pub fn manifest(kafka: &Kafka) -> String {
    let broker = kafka.address();
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: events }}
spec:
  kafka: {{ brokers: ["{broker}"], topic: events }}
  schema:
    - {{ name: "n", type: BIGINT }}
    - {{ name: key, type: STRING, metadata: key }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: out }}
spec:
  kafka: {{ brokers: ["{broker}"], topic: out }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: {PIPELINE} }}
spec:
  sources: [{{ name: events }}]
  sinks: [{{ name: out }}]
  sql: INSERT INTO out SELECT n, key FROM events
  state: {{ commitEvery: 200ms }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_sink_refuses_stops_its_unit_and_the_others_go_on() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 2, &[]).await;
    kafka.create_topic("out", 1, &[("max.message.bytes", "1000")]).await;
    let mut fleet = Fleet::new(&manifest(&kafka), &["--workers", "1"]);
    let worker = fleet.add_worker(PIPELINE, &[]);
    let event =
        |n: u64, key: String, partition| Record::new("events", format!(r#"{{"n":{n}}}"#)).key(key).partition(partition);
    kafka.send([event(0, "k".repeat(2_000), 0)]).await;
    let report = wait_for("a report of what was refused", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"][0]["reason"] == "RowsRejected")
    });
    let units = report["units"].as_array().expect("units").iter();
    let stopped: Vec<_> = units.filter(|unit| unit["error"].is_string()).map(|unit| &unit["unit"]["index"]).collect();
    assert_eq!(stopped, [0], "{report}");
    let there = || kafka.committed("out").iter().filter_map(|seen| seen.json()["n"].as_u64()).collect::<Vec<_>>();
    for n in 1..=20 {
        kafka.send([event(n, n.to_string(), 1)]).await;
    }
    wait_for("rows of the other partition", LIMIT, || (there() == (1..=20).collect::<Vec<_>>()).then_some(()));
    // It was tried again meanwhile, alone.
    let said = fleet.workers()[worker].said();
    assert!(said.contains("stands still; tried again after") && said.contains("expected at most 904 bytes"), "{said}");
    assert!(!said.contains("standing still"), "the job has not failed: {said}");
    assert_eq!(said.matches("named by the assignment").count(), 1, "{said}");
}
