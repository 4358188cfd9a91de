//! A pipeline at zero workers: what its lookout sees, and what is said where it sees nothing.

mod kit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kit::{join, owner, settings, settle, stateless};
use serde_json::json;
use thalweg_crds::assignment::SplitPosition;
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::{LogPosition, SplitId};
use thalweg_crds::pipeline::{PipelineStatus, ScalingDecision};
use thalweg_crds::report::{Failure, Report, SplitReport, WorkerState};
use thalweg_crds::scaling::ScalingSpec;
use thalweg_operator_plan::check::Stage;
use thalweg_operator_plan::objects::build;
use thalweg_operator_plan::observed::{Lookout, Observed, REPORT_LIMIT, Rollout, Trouble, WorkerPod};
use thalweg_operator_plan::plan::{Plan, Step, keep, plan_scaled};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::PlanText;
use thalweg_operator_plan::scaling::{DECIDE_EACH, Scaler, Scaling};
use thalweg_operator_plan::status::{Facts, status};
use thalweg_operator_plan::validate::ValidatedPipeline;

const READ_TO: u64 = 1_000;

fn position(piece: u64, record: u64) -> LogPosition {
    LogPosition(format!("{piece}.{record}"))
}

/// A pipeline that sleeps after it has read three splits, and its lookout, which sees as much.
fn asleep() -> (ValidatedPipeline, Observed, Plan) {
    let mut valid = ValidatedPipeline { stages: stateless(&["trips"]), ..kit::pipeline() };
    valid.scaling = ScalingSpec { min_workers: 0, max_workers: 4, ..ScalingSpec::default() };
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &valid.plan.hash);
    settle(&valid, &mut observed);
    observed.assignment.as_mut().expect("published").splits.truncate(3);
    observed.assignment.as_mut().expect("published").units.truncate(3);
    let read = |split: &str| SplitPosition {
        source: "trips".to_owned(),
        split: SplitId(split.to_owned()),
        position: position(7, READ_TO),
    };
    observed.assignment.as_mut().expect("published").positions = ["0", "1", "2"].map(read).into();
    observed.slots.iter_mut().for_each(|slot| slot.holder = None);
    observed.pods.clear();
    observed.reports.clear();
    observed.deployment = Some(Rollout { current: true, ..Rollout::default() });
    let plan = plan_scaled(&valid, &observed, &Scaling::default());
    observed.assignment.clone_from(&plan.assignment);
    observed.lookout = Lookout {
        deployment: Some(Rollout { replicas: 1, total: 1, updated: 1, current: true, ..Rollout::default() }),
        pods: vec![WorkerPod { name: "lookout".to_owned(), age: Duration::from_secs(60), ..WorkerPod::default() }],
        report: None,
    };
    see(&mut observed, 7, &[READ_TO; 3]);
    assert_eq!((plan.step, plan.lookouts), (Step::Idle, Some(1)));
    (valid, observed, plan)
}

/// The lookout finds these ends in a log.
fn see(observed: &mut Observed, piece: u64, ends: &[u64]) {
    let split = |(number, end): (usize, &u64)| SplitReport {
        source: "trips".to_owned(),
        split: SplitId(number.to_string()),
        end: Some(position(piece, *end)),
        accepted: Some(position(piece, 0)),
        ..SplitReport::default()
    };
    let plan = observed.assignment.as_ref().expect("published").plan.clone();
    let splits = ends.iter().enumerate().map(split).collect();
    let report = Report { plan, state: WorkerState::Waiting, splits, ..Report::default() };
    observed.lookout.report = Some((report, Duration::ZERO));
}

/// How many workers there are to be after some looks.
fn decided(valid: &ValidatedPipeline, observed: &Observed) -> usize {
    let time = Time(Timestamp::UNIX_EPOCH);
    let (reason, inputs) = (String::new(), String::new());
    let last = ScalingDecision { from: 1, to: 0, reason, inputs, time: time.clone() };
    let mut scaler = Scaler::new(&valid.scaling, observed, Some(&last), None);
    let look = |number: u32| scaler.look(valid, observed, number * DECIDE_EACH, &time).workers;
    (1..4).map(look).last().expect("a look")
}

fn ready(validated: Result<&ValidatedPipeline, &[Problem]>, observed: &Observed, plan: &Plan) -> Condition {
    let previous = PipelineStatus::default();
    let (generation, selector) = (Some(1), "a=b");
    let facts = Facts { validated, observed, plan, scaling: None, generation, previous: &previous, selector };
    let status = status(&facts, Time(Timestamp::UNIX_EPOCH));
    status.conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("a condition")
}

#[test]
fn workers_of_what_falls_asleep_are_named_until_it_is_noted_how_far_they_have_read() {
    let (valid, mut observed, asleep) = asleep();
    let positions = asleep.assignment.expect("published").positions;
    observed.assignment.as_mut().expect("published").positions.clear();
    join(&mut observed, 0, "a", &valid.plan.hash);
    let entry =
        |observed: &Observed| plan_scaled(&valid, observed, &Scaling::default()).assignment.expect("one").workers;
    let named = entry(&observed);
    assert_eq!(named.len(), 1, "nobody else says how far it was read");
    observed.assignment.as_mut().expect("published").workers = named;
    observed.assignment.as_mut().expect("published").positions = positions;
    assert_eq!(entry(&observed), [], "nobody will ask for what it has");
}

#[test]
fn an_operator_that_starts_before_the_sleep_was_told_wakes_nobody() {
    let (valid, mut observed, _) = asleep();
    observed.deployment.as_mut().expect("it has one").wanted = Some(0);
    let begins = |observed: &Observed| {
        let mut scaler = Scaler::new(&valid.scaling, observed, None, None);
        scaler.look(&valid, observed, DECIDE_EACH, &Time(Timestamp::UNIX_EPOCH)).workers
    };
    assert_eq!(begins(&observed), 0);
    observed.assignment.as_mut().expect("published").positions.clear();
    assert_eq!(begins(&observed), 1, "nobody would know of what has come since");
}

#[test]
fn what_keeps_a_lookout_from_looking_is_told_and_it_is_not_ready() {
    let (valid, observed, plan) = asleep();
    let said = |change: &dyn Fn(&mut Lookout)| {
        let mut observed = observed.clone();
        change(&mut observed.lookout);
        let ready = ready(Ok(&valid), &observed, &plan);
        (ready.status, ready.reason, ready.message)
    };
    let idle = said(&|_| {});
    assert_eq!((idle.0.as_str(), idle.1.as_str()), ("True", "Idle"), "{}", idle.2);
    let quota = |lookout: &mut Lookout| {
        lookout.deployment.as_mut().expect("it is there").trouble = Some("must specify limits.memory".to_owned());
    };
    let image = |lookout: &mut Lookout| {
        let message = "ErrImagePull: no such image".to_owned();
        lookout.pods[0].trouble = Some(Trouble { reason: Reason::WorkersUnavailable, message });
    };
    let password = |lookout: &mut Lookout| {
        let failure = Failure {
            reason: "Unauthorized".to_owned(),
            resource: Some("StreamSource/taxi-trips".to_owned()),
            message: "the broker refuses the password of user app".to_owned(),
        };
        let report = lookout.report.as_mut().expect("it is there");
        report.0.state = WorkerState::Failed;
        report.0.failures = vec![failure];
    };
    let mute = |lookout: &mut Lookout| lookout.report.as_mut().expect("it is there").1 = REPORT_LIMIT;
    type Change<'a> = (&'a dyn Fn(&mut Lookout), &'a str, &'a str);
    let changes: [Change<'_>; 4] = [
        (&quota, "WorkersUnavailable", "must specify limits.memory"),
        (&image, "WorkersUnavailable", "pod lookout: ErrImagePull: no such image"),
        (&password, "Unauthorized", "StreamSource/taxi-trips: the broker refuses the password of user app"),
        (&mute, "MetricsStale", "pod lookout has not reported for 30 s"),
    ];
    for (change, reason, why) in changes {
        let found = said(change);
        assert_eq!((found.0.as_str(), found.1.as_str()), ("False", reason), "{}", found.2);
        assert!(found.2.contains(why), "{}", found.2);
    }
}

#[test]
fn what_comes_wakes_it_and_so_does_a_topic_that_was_made_again() {
    let (valid, mut observed, _) = asleep();
    assert_eq!(decided(&valid, &observed), 0);
    see(&mut observed, 7, &[READ_TO, READ_TO + 5, READ_TO]);
    assert!(decided(&valid, &observed) > 0);
    // Of fewer partitions: whoever reads is to say what became of the records before.
    see(&mut observed, 8, &[0, 0]);
    assert_eq!(decided(&valid, &observed), 0, "nothing is in it yet");
    see(&mut observed, 8, &[0, 3]);
    assert!(decided(&valid, &observed) > 0);
    // A partition that is not there is nothing that could be awaited.
    see(&mut observed, 7, &[READ_TO, READ_TO + 5]);
    assert!(decided(&valid, &observed) > 0);
}

#[test]
fn a_statement_that_has_read_nothing_yet_wakes_it() {
    let (valid, mut observed, _) = asleep();
    let again =
        ValidatedPipeline { plan: PlanText { hash: "again".to_owned(), ..valid.plan.clone() }, ..valid.clone() };
    let anew = Stage { id: 1, ..valid.stages[0].clone() };
    let changed = ValidatedPipeline { stages: vec![anew], ..again.clone() };
    for (next, wakes) in [(again, false), (changed, true)] {
        let mut observed = observed.clone();
        observed.assignment = plan_scaled(&next, &observed, &Scaling::default()).assignment;
        assert_eq!(observed.assignment.as_ref().expect("published").plan, next.plan.hash);
        see(&mut observed, 7, &[READ_TO; 3]);
        assert_eq!(decided(&next, &observed) > 0, wakes);
    }
    see(&mut observed, 7, &[READ_TO; 3]);
    assert_eq!(decided(&valid, &observed), 0);
}

#[test]
fn a_bad_edit_keeps_what_is_known_and_what_comes_wakes_the_version_before() {
    let (valid, mut observed, _) = asleep();
    observed.deployment = Some(Rollout { wanted: Some(0), current: true, ..Rollout::default() });
    let kept = keep(&observed);
    assert_eq!((kept.step, kept.workers, kept.replicas, kept.lookouts), (Step::Idle, 0, 0, Some(1)));
    assert_eq!(kept.assignment, observed.assignment, "positions, too");
    let ready = ready(Err(&[]), &observed, &kept);
    assert!(ready.message.starts_with("nothing has come for scaling.zeroAfter"), "{}", ready.message);
    see(&mut observed, 7, &[READ_TO, READ_TO + 5, READ_TO]);
    let woken = keep(&observed);
    assert_eq!((woken.workers, woken.replicas), (1, 1));
    observed.deployment = Some(Rollout { wanted: Some(1), replicas: 1, current: true, ..Rollout::default() });
    join(&mut observed, 0, "b", &valid.plan.hash);
    let owned = keep(&observed).assignment.expect("published").units;
    assert!(owned.iter().all(|unit| unit.owner.is_some()));
}

#[test]
fn a_lookout_has_the_limits_of_a_worker() {
    let (mut valid, _, plan) = asleep();
    valid.worker.resources = Some(serde_json::from_value(json!({"limits": {"memory": "1Gi"}})).expect("resources"));
    let lookout = build(&valid, &plan, &owner(), &settings()).lookout.expect("a lookout");
    let resources =
        serde_json::to_value(&lookout).expect("JSON")["spec"]["template"]["spec"]["containers"][0]["resources"].clone();
    assert_eq!(resources, json!({"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}));
}
