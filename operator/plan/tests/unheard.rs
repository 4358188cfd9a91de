//! What is told of a pipeline by an operator that has not heard its workers yet, or while its units move.

mod kit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kit::{join, keyed, pipeline, settle, with_workers};
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::RunId;
use thalweg_crds::pipeline::{Phase, PipelineStatus};
use thalweg_crds::report::{CommitReport, Failure, SplitReport, UnitReport, WorkerState};
use thalweg_operator_plan::observed::{HEARING_LIMIT, Observed, REPORT_LIMIT, SILENCE_LIMIT};
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
    assert_eq!((status.phase, ready(&status)), (Some(Phase::Pending), ("False", "WorkersUnavailable")));
    let why = status.conditions.iter().find(|condition| condition.type_ == "Ready").map(|it| it.message.clone());
    assert!(why.is_some_and(|why| {
        why.starts_with("pod pod-a runs, and the operator gets no report of it: it asks port 8081")
    }));
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

#[test]
fn what_was_ready_is_so_while_units_move_unless_that_takes_long_or_a_worker_was_lost() {
    let (valid, mut observed) = (with_workers(&keyed(), 2), Observed::default());
    join(&mut observed, 0, "a", &valid.plan.hash);
    settle(&valid, &mut observed);
    let (alone, _) = told(Ok(&valid), &observed, &PipelineStatus::default(), 0);
    assert_eq!(ready(&alone), ("True", "AsExpected"));
    join(&mut observed, 1, "b", &valid.plan.hash);
    observed.assignment = plan(&valid, &observed).assignment;
    let at = |before: &PipelineStatus, seconds| told(Ok(&valid), &observed, before, seconds).0;
    let moving = at(&alone, 10);
    assert!(moving.units.as_ref().is_some_and(|units| units.moving > 0));
    assert_eq!(ready(&moving), ("True", "AsExpected"));
    assert_eq!(ready(&at(&moving, 69)), ("True", "AsExpected"));
    assert_eq!(ready(&at(&moving, 70)), ("False", "UnitsMoving"), "they move for a minute");
    assert_eq!(ready(&at(&PipelineStatus::default(), 10)), ("False", "UnitsMoving"), "it was not ready before");
    observed.slots[0].silent_for = SILENCE_LIMIT;
    assert_eq!(ready(&told(Ok(&valid), &observed, &alone, 10).0).0, "False", "nobody has them");
}

/// A second worker, which has failed, committed long ago and fallen behind.
fn with_another(observed: &Observed, plan: &str) -> Observed {
    let mut observed = observed.clone();
    join(&mut observed, 1, "b", plan);
    let holder = RunId("b/0".to_owned());
    let failure = Failure { reason: "Unreachable".to_owned(), resource: None, message: "no route".to_owned() };
    let mut report = observed.reports.values().next().expect("a report").clone();
    report.run_id = holder.clone();
    report.state = WorkerState::Failed;
    report.failures = vec![failure];
    report.splits[0].lag_records = Some(1_000);
    report.units = vec![UnitReport { error: Some("refused".to_owned()), dead_letters: 9, ..UnitReport::default() }];
    report.commit = Some(CommitReport { time: Time(Timestamp::UNIX_EPOCH), bytes: None, duration_seconds: None });
    observed.reports.insert(holder, report);
    observed
}

#[test]
fn what_a_worker_has_said_that_is_gone_is_told_no_more() {
    let (valid, observed, before) = running();
    let tells = |observed: &Observed| told(Ok(&valid), observed, &before, 60).0;
    let both = with_another(&observed, &valid.plan.hash);
    let status = tells(&both);
    let told = (status.phase, status.lag.and_then(|lag| lag.records), status.dead_letters, status.commit.is_some());
    assert_eq!(told, (Some(Phase::Failed), Some(1_007), Some(9), true));
    let mut silent = both.clone();
    silent.slots[1].silent_for = SILENCE_LIMIT;
    let mut gone = both.clone();
    gone.pods.retain(|pod| pod.uid == "a");
    for observed in [silent, gone] {
        let status = tells(&observed);
        let told = (status.phase, status.lag.and_then(|lag| lag.records), status.dead_letters, status.commit.is_some());
        assert_eq!(told, (Some(Phase::Running), Some(7), None, false));
        let commits =
            status.conditions.iter().find(|condition| condition.type_ == "CommitHealthy").expect("a condition");
        assert_eq!(commits.status, "Unknown", "{commits:?}");
    }
    let mut mute = both;
    mute.report_ages = [(RunId("b/0".to_owned()), REPORT_LIMIT)].into();
    let status = tells(&mute);
    assert_eq!((status.phase, status.lag), (Some(Phase::Running), None), "nobody knows how far it is behind");
}
