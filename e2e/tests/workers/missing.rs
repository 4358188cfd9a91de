//! A topic that is not there when a worker starts, or is deleted while it is read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

use crate::bed::{LIMIT, Numbers, number};

/// How soon it is told, since the worker's process was started, or since the topic was deleted.
const TOLD: Duration = Duration::from_secs(10);
/// Within this time the worker starts its job several times.
const SEVERAL_STARTS: Duration = Duration::from_secs(10);
/// So often the job has ended once it has begun anew, and has looked for the topic for ten seconds.
const LATER_ENDS: usize = 2;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_is_data_loss_within_seconds_and_at_every_later_start() {
    let Numbers { kafka, mut fleet, worker } = Numbers::start(&[]).await;
    kafka.send([number(1, 0), number(2, 1)]).await;
    wait_for("rows", LIMIT, || (kafka.committed("out").len() == 2).then_some(()));
    let before = ends(&mut fleet, worker);
    kafka.delete_topic("events").await;
    let deleted = Instant::now();
    let report = wait_for("a report of what is lost", LIMIT, || fleet.report_of(worker).filter(is_lost));
    let told = deleted.elapsed();
    let message = report["failures"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("topic `events`: it was deleted while it was read"), "{report}");
    assert!(told <= TOLD, "told after {told:?}");
    wait_for("later starts in vain", LIMIT, || {
        let report = fleet.report_of(worker)?;
        assert!(is_lost(&report), "{report}");
        (ends(&mut fleet, worker) >= before + LATER_ENDS).then_some(())
    });
}

/// Whether a worker reports first of all that the topic is lost.
fn is_lost(report: &Value) -> bool {
    let failure = &report["failures"][0];
    failure["reason"] == "DataLoss" && failure["resource"] == "StreamSource/events"
}

/// How often a worker's job has failed.
fn ends(fleet: &mut Fleet, worker: usize) -> usize {
    fleet.workers()[worker].said().matches("standing still").count()
}
