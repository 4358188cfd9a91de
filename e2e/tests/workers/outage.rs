//! A broker that goes away while a worker reads it.

use serde_json::json;
use thalweg_e2e::wait_for;

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
