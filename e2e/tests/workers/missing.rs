//! A topic that is not there when a worker starts.

use std::time::{Duration, Instant};

use serde_json::json;
use thalweg_e2e::wait_for;

use crate::bed::{LIMIT, Numbers, number};

/// How soon it is told, since the worker's process was started.
const TOLD: Duration = Duration::from_secs(10);
/// Within this time the worker starts its job several times.
const SEVERAL_STARTS: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_told_within_seconds_and_all_the_time_until_it_is_made() {
    let Numbers { kafka, fleet, worker } = Numbers::without_input().await;
    let started = Instant::now();
    let report = wait_for("a report of what is missing", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"][0].is_object())
    });
    let told = started.elapsed();
    let failure = &report["failures"][0];
    assert_eq!(failure["reason"], "ReferenceNotFound", "{report}");
    assert_eq!(failure["resource"], "StreamSource/events", "{report}");
    assert!(failure["message"].as_str().is_some_and(|said| said.contains("there is no topic `events`")), "{report}");
    assert!(told <= TOLD, "told after {told:?}");
    let since = Instant::now();
    wait_for("several starts in vain", LIMIT, || {
        let report = fleet.report_of(worker)?;
        assert_eq!(report["failures"][0]["reason"], "ReferenceNotFound", "{report}");
        (since.elapsed() > SEVERAL_STARTS).then_some(())
    });
    kafka.create_topic("events", 2, &[]).await;
    kafka.send([number(1, 0), number(2, 1)]).await;
    wait_for("rows", LIMIT, || (kafka.committed("out").len() == 2).then_some(()));
    wait_for("a report without it", LIMIT, || {
        fleet.report_of(worker).filter(|report| report["failures"] == json!([]) && report["state"] == "Running")
    });
}
