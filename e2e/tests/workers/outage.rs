//! A broker that goes away while a worker reads it.

use krafka::Record;
use serde_json::json;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::LIMIT;
use crate::refused::{PIPELINE, manifest};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_reported_and_nothing_ends_until_it_is_back() {
    let mut kafka = Kafka::start();
    kafka.create_topic("events", 2, &[]).await;
    kafka.create_topic("out", 1, &[]).await;
    let mut fleet = Fleet::new(&manifest(&kafka), &["--workers", "1"]);
    let worker = fleet.add_worker(PIPELINE, &[]);
    let event = |n: u64, partition| Record::new("events", format!(r#"{{"n":{n}}}"#)).partition(partition);
    kafka.send([event(1, 0), event(2, 1)]).await;
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
    kafka.send([event(3, 0), event(4, 1)]).await;
    wait_for("more rows", LIMIT, || (kafka.committed("out").len() == 4).then_some(()));
    let said = fleet.workers()[worker].said();
    assert!(!said.contains("standing still"), "the job has not failed: {said}");
    assert_eq!(said.matches("named by the assignment").count(), 1, "{said}");
}
