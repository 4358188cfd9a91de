//! What is told of a pipeline by an operator that has not heard its workers yet.

mod kit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kit::{join, pipeline, settle};
use thalweg_crds::condition::Reason;
use thalweg_crds::pipeline::{Phase, PipelineStatus};
use thalweg_crds::report::SplitReport;
use thalweg_operator_plan::observed::{HEARING_LIMIT, Observed};
use thalweg_operator_plan::plan::plan;
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::status::{Facts, status};
use thalweg_operator_plan::validate::ValidatedPipeline;
use thalweg_operator_plan::verdict::of_pipeline;

const GENERATION: i64 = 3;

/// What is told, and what of its source, where this was told before.
fn told(
    validated: Result<&ValidatedPipeline, &[Problem]>,
    observed: &Observed,
    previous: &PipelineStatus,
    seconds: i64,
) -> (PipelineStatus, Option<String>) {
    let plan = plan(validated.unwrap_or(&pipeline()), observed);
    let (generation, selector) = (Some(GENERATION), "a=b");
    let facts = Facts { validated, observed, plan: &plan, scaling: None, generation, previous, selector };
    let now = Time(Timestamp::from_second(seconds).expect("a time"));
    (status(&facts, now), of_pipeline(&facts, "StreamSource/taxi-trips").map(|verdict| verdict.message))
}

/// A pipeline that runs, and what was told of it.
fn running() -> (ValidatedPipeline, Observed, PipelineStatus) {
    let (valid, mut observed) = (pipeline(), Observed::default());
    join(&mut observed, 0, "a", &valid.plan.hash);
    settle(&valid, &mut observed);
    let split = SplitReport { lag_records: Some(7), lag_seconds: Some(1.5), ..SplitReport::default() };
    observed.reports.values_mut().for_each(|report| report.splits = vec![split.clone()]);
    let (status, source) = told(Ok(&valid), &observed, &PipelineStatus::default(), 0);
    assert_eq!((status.phase, source.as_deref()), (Some(Phase::Running), Some("it is in use")));
    assert_eq!(status.lag.as_ref().and_then(|lag| lag.records), Some(7));
    (valid, observed, status)
}

/// Another operator, which has known the workers for so long and heard none of them.
fn unheard(observed: &Observed, known_for: Duration) -> Observed {
    let unheard = observed.reports.keys().map(|run_id| (run_id.clone(), known_for)).collect();
    Observed { reports: Default::default(), unheard, ..observed.clone() }
}

fn ready(status: &PipelineStatus) -> (&str, &str) {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("a condition");
    (&ready.status, &ready.reason)
}

#[test]
fn what_was_told_stands_until_the_workers_were_heard() {
    let (valid, observed, before) = running();
    for known_for in [Duration::ZERO, HEARING_LIMIT - Duration::from_millis(1)] {
        let (status, source) = told(Ok(&valid), &unheard(&observed, known_for), &before, 60);
        assert_eq!((status, source), (before.clone(), None));
    }
    let heard = told(Ok(&valid), &observed, &before, 60);
    assert_eq!(heard, (before, Some("it is in use".to_owned())));
}

#[test]
fn a_worker_that_does_not_answer_in_time_is_shown_for_what_it_is() {
    let (valid, observed, before) = running();
    let mute = unheard(&observed, HEARING_LIMIT);
    assert_eq!(mute.awaits_words(), None);
    let (status, source) = told(Ok(&valid), &mute, &before, 60);
    assert_eq!((status.phase, ready(&status)), (Some(Phase::Pending), ("False", "Starting")));
    assert_eq!((status.units.map(|units| units.owned), status.lag), (Some(0), None));
    assert_eq!(source.as_deref(), Some("no worker has tried it yet"));
}

#[test]
fn a_worker_that_does_not_live_is_not_waited_for() {
    let (valid, observed, before) = running();
    let mut gone = unheard(&observed, Duration::ZERO);
    assert_eq!(gone.awaits_words(), Some(HEARING_LIMIT));
    gone.pods.clear();
    assert_eq!(gone.awaits_words(), None);
    assert_eq!(ready(&told(Ok(&valid), &gone, &before, 60).0), ("False", "Starting"));
    let mut silent = unheard(&observed, Duration::ZERO);
    silent.slots[0].silent_for = Duration::from_secs(15);
    assert_eq!(ready(&told(Ok(&valid), &silent, &before, 60).0), ("False", "Starting"));
}

#[test]
fn what_was_told_of_another_spec_does_not_stand() {
    let (valid, observed, before) = running();
    let before = PipelineStatus { observed_generation: Some(GENERATION - 1), ..before };
    let (status, _) = told(Ok(&valid), &unheard(&observed, Duration::ZERO), &before, 60);
    assert_eq!((status.observed_generation, ready(&status)), (Some(GENERATION), ("False", "Starting")));
    let (first, _) = told(Ok(&valid), &unheard(&observed, Duration::ZERO), &PipelineStatus::default(), 60);
    assert_eq!(ready(&first), ("False", "Starting"), "nothing was told before");
}

#[test]
fn what_does_not_rest_on_workers_is_told_at_once() {
    let (valid, observed, before) = running();
    let problems = [Problem {
        reason: Reason::ReferenceNotFound,
        resource: "StreamSource/taxi-trips".to_owned(),
        path: String::new(),
        place: None,
        message: "there is none".to_owned(),
        help: None,
    }];
    let (status, source) = told(Err(&problems), &unheard(&observed, Duration::ZERO), &before, 60);
    let holds = |kind: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind).expect("a condition");
        condition.status.clone()
    };
    assert_eq!(["ConfigValid", "Stalled", "Reconciling", "Ready"].map(holds), ["False", "True", "False", "True"]);
    assert!(source.is_some_and(|source| source.contains("there is none")));
    let paused = ValidatedPipeline { paused: true, ..valid };
    let (status, _) = told(Ok(&paused), &unheard(&observed, Duration::ZERO), &before, 60);
    assert_eq!((status.phase, ready(&status)), (Some(Phase::Paused), ("False", "Paused")));
}
