//! What a pipeline needs next, and what is said about it.

mod kit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kit::{join, pipeline, settle, stages, validated, written};
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::{Epoch, RunId};
use thalweg_crds::pipeline::{Phase, PipelineStatus};
use thalweg_crds::report::{Failure, Report, WorkerState};
use thalweg_operator_plan::check::{Checked, parse};
use thalweg_operator_plan::held::{Moves, moves};
use thalweg_operator_plan::observed::{Observed, Rollout, Trouble, WorkerPod};
use thalweg_operator_plan::plan::{Plan, Step, keep, plan};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::status::{Facts, status};
use thalweg_operator_plan::unreadable;
use thalweg_operator_plan::validate::ValidatedPipeline;

fn told(validated: Result<(), &[Problem]>, observed: &Observed, plan: &Plan) -> PipelineStatus {
    let valid = pipeline();
    let previous = PipelineStatus::default();
    let facts = Facts {
        validated: validated.map(|()| &valid),
        observed,
        plan,
        scaling: None,
        generation: Some(3),
        previous: &previous,
        selector: "a=b",
    };
    status(&facts, Time(Timestamp::UNIX_EPOCH))
}

fn condition<'a>(status: &'a PipelineStatus, kind: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).expect("a condition")
}

fn owners(plan: &Plan) -> Vec<(String, i64)> {
    let units = &plan.assignment.as_ref().expect("an assignment").units;
    let mut owners: Vec<_> = units
        .iter()
        .map(|unit| (unit.owner.as_ref().map(ToString::to_string).unwrap_or_default(), unit.epoch.0))
        .collect();
    owners.dedup();
    owners
}

fn running() -> (Observed, Plan) {
    let (valid, mut observed) = (pipeline(), Observed::default());
    join(&mut observed, 0, "a", &valid.plan.hash);
    let settled = settle(&valid, &mut observed);
    (observed, settled)
}

fn problems(written: &Written) -> Vec<String> {
    let found = validated(written, &stages()).expect_err("it has problems");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn before_a_worker_comes_units_are_published_without_an_owner() {
    let first = plan(&pipeline(), &Observed::default());
    assert_eq!((first.step, first.replicas, first.slots), (Step::Start, 1, 2));
    assert_eq!(owners(&first), [(String::new(), 0)]);
    assert_eq!(first.assignment.as_ref().map(|assignment| assignment.units.len()), Some(8));
    let status = told(Ok(()), &Observed::default(), &first);
    assert_eq!((status.phase, condition(&status, "Ready").reason.as_str()), (Some(Phase::Pending), "Starting"));
}

#[test]
fn the_first_worker_gets_all_units_and_once_it_has_them_nothing_changes() {
    let (observed, settled) = running();
    assert_eq!(owners(&settled), [("pickups-per-zone-0".to_owned(), 1)]);
    assert_eq!(settled.assignment, observed.assignment);
    assert_eq!(settled.step, Step::Run);
    let status = told(Ok(()), &observed, &settled);
    assert_eq!(condition(&status, "Ready").status, "True");
    assert_eq!(status.units.map(|units| units.summary).as_deref(), Some("8/8"));
    assert_eq!(status.topology.as_deref(), Some("0 windowed × 8 (trips); trips: 6 splits (pickups-per-zone-0 6)"));
}

#[test]
fn a_paused_pipeline_names_no_worker_and_keeps_everything_else() {
    let (mut observed, settled) = running();
    let paused = ValidatedPipeline { paused: true, ..pipeline() };
    let stopped = plan(&paused, &observed);
    assert_eq!((stopped.step, stopped.replicas), (Step::Pause, 0));
    let before = settled.assignment.expect("an assignment");
    assert!(!before.workers.is_empty());
    assert_eq!(stopped.assignment, Some(AssignmentSpec { workers: Vec::new(), ..before }));
    observed.assignment.clone_from(&stopped.assignment);
    assert_eq!(plan(&paused, &observed).assignment, stopped.assignment, "once is enough");
    assert_eq!(owners(&plan(&pipeline(), &observed)), [("pickups-per-zone-0".to_owned(), 2)], "it goes on");
}

#[test]
fn another_life_in_the_same_slot_is_another_owner() {
    let (mut observed, _) = running();
    observed.pods.clear();
    observed.slots.clear();
    join(&mut observed, 0, "b", &pipeline().plan.hash);
    assert_eq!(owners(&plan(&pipeline(), &observed)), [("pickups-per-zone-0".to_owned(), 2)]);
}

#[test]
fn a_silent_lease_is_a_dead_worker_and_one_of_its_own_slot_is_freed_only_if_its_pod_is_gone() {
    let (mut observed, settled) = running();
    observed.slots[0].silent_for = Duration::from_secs(15);
    join(&mut observed, 1, "b", &pipeline().plan.hash);
    let next = plan(&pipeline(), &observed);
    assert_eq!(owners(&next), [("pickups-per-zone-1".to_owned(), 2)]);
    let units = next.assignment.expect("an assignment").units;
    assert!(units.iter().all(|unit| unit.previous.is_none()), "nobody is left to answer");
    assert!(next.freed.is_empty() && settled.freed.is_empty());
    observed.pods.retain(|pod| pod.uid != "a");
    assert_eq!(plan(&pipeline(), &observed).freed, [observed.slots[0].slot.clone()]);
}

#[test]
fn a_lease_that_is_missing_takes_no_slot_from_others() {
    let (valid, mut observed) = (pipeline(), Observed::default());
    join(&mut observed, 3, "a", &valid.plan.hash);
    observed.slots.remove(1);
    assert_eq!((plan(&valid, &observed).slots, keep(&observed).slots), (4, 4));
}

#[test]
fn a_unit_whose_state_holds_a_higher_epoch_is_published_above_it_once() {
    let (mut observed, _) = running();
    let report = observed.reports.values_mut().next().expect("a report");
    report.units.iter_mut().for_each(|unit| unit.stored_epoch = Some(Epoch(7)));
    let raised = plan(&pipeline(), &observed);
    assert_eq!(owners(&raised), [("pickups-per-zone-0".to_owned(), 8)]);
    // The report speaks of the old epoch still.
    observed.assignment = raised.assignment.clone();
    assert_eq!(plan(&pipeline(), &observed).assignment, raised.assignment);
}

#[test]
fn a_new_plan_waits_for_its_worker_and_then_moves_all_units_in_one_write() {
    let (mut observed, _) = running();
    let mut changed = written();
    changed.spec.sql = Some("INSERT INTO pickups\nSELECT 2".to_owned());
    let next = validated(&changed, &stages()).expect("it is valid");
    let waiting = plan(&next, &observed);
    assert_eq!((waiting.step, &waiting.assignment), (Step::RollOut, &observed.assignment));
    join(&mut observed, 1, "b", &next.plan.hash);
    let handed = plan(&next, &observed);
    assert_eq!(owners(&handed), [("pickups-per-zone-1".to_owned(), 2)]);
    let assignment = handed.assignment.expect("an assignment");
    assert_eq!(assignment.plan, next.plan.hash);
    assert!(assignment.units.iter().all(|unit| unit.previous == Some(observed.slots[0].slot.clone())));
    let before = observed.assignment.expect("an assignment");
    assert_eq!(moves(&before, &assignment), Moves { handoffs: 8, takeovers: 0 });
    assert_eq!(moves(&before, &before), Moves::default());
}

#[test]
fn a_bad_edit_stalls_and_leaves_ready_to_what_runs() {
    let (observed, settled) = running();
    let mut bad = written();
    bad.sinks.clear();
    let found = validated(&bad, &stages()).expect_err("a sink is missing");
    let kept = keep(&observed);
    assert_eq!(kept.assignment, settled.assignment);
    let status = told(Err(&found), &observed, &kept);
    assert_eq!(condition(&status, "Ready").status, "True");
    assert_eq!(condition(&status, "Stalled").reason, "ReferenceNotFound");
    assert_eq!(condition(&status, "Stalled").observed_generation, Some(3));
    assert_eq!(status.active_plan, Some(pipeline().plan.hash));
}

#[test]
fn a_worker_that_failed_says_why_and_about_what() {
    let (mut observed, settled) = running();
    let report = observed.reports.values_mut().next().expect("a report");
    report.state = WorkerState::Failed;
    let failure = |resource: &str, message: &str| Failure {
        reason: "Unauthorized".to_owned(),
        resource: Some(resource.to_owned()),
        message: message.to_owned(),
    };
    report.failures = vec![failure("StreamSource/taxi-trips", "the broker refuses the password of user app")];
    let status = told(Ok(()), &observed, &settled);
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(condition(&status, "SourcesReachable").reason, "Unauthorized");
    assert_eq!(condition(&status, "SinksReachable").status, "True");
    let report = observed.reports.values_mut().next().expect("a report");
    report.failures.push(failure("StreamSink/pickups", "topic `out` may not be written"));
    let status = told(Ok(()), &observed, &settled);
    assert_eq!(condition(&status, "SourcesReachable").reason, "Unauthorized");
    assert_eq!(condition(&status, "SinksReachable").message, "topic `out` may not be written");
    let message = &condition(&status, "Ready").message;
    assert_eq!(message, "StreamSource/taxi-trips: the broker refuses the password of user app");
}

#[test]
fn a_sink_is_reachable_unless_it_is_silent_refuses_or_lacks_what_there_has_to_be() {
    for (reason, status) in [
        ("Unreachable", "False"),
        ("Unauthorized", "False"),
        ("ReferenceNotFound", "False"),
        ("DataLoss", "False"),
        ("RowsRejected", "True"),
        ("InvalidSpec", "True"),
    ] {
        let (mut observed, settled) = running();
        let report = observed.reports.values_mut().next().expect("a report");
        report.state = WorkerState::Failed;
        let resource = Some("StreamSink/pickups".to_owned());
        report.failures = vec![Failure { reason: reason.to_owned(), resource, message: "topic `out`".to_owned() }];
        let found = told(Ok(()), &observed, &settled);
        assert_eq!(condition(&found, "SinksReachable").status, status, "{reason}");
        assert_eq!(condition(&found, "SourcesReachable").status, "True", "{reason}");
        let ready = condition(&found, "Ready");
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason));
        // It goes by itself.
        let report = observed.reports.values_mut().next().expect("a report");
        (report.state, report.failures) = (WorkerState::Running, Vec::new());
        let found = told(Ok(()), &observed, &settled);
        assert_eq!(condition(&found, "SinksReachable").status, "True", "{reason}");
        assert_eq!(condition(&found, "Ready").status, "True", "{reason}");
    }
}

#[test]
fn what_another_worker_says_of_a_sink_hides_no_source_that_is_away() {
    let (mut observed, settled) = running();
    join(&mut observed, 1, "b", &pipeline().plan.hash);
    let report = observed.reports.values().next().expect("a report").clone();
    for (holder, resource) in [("a/0", "StreamSink/pickups"), ("b/0", "StreamSource/taxi-trips")] {
        let (reason, resource) = ("Unreachable".to_owned(), Some(resource.to_owned()));
        let failures = vec![Failure { reason, resource, message: "away".to_owned() }];
        let run_id = RunId(holder.to_owned());
        let report = Report { run_id: run_id.clone(), state: WorkerState::Failed, failures, ..report.clone() };
        observed.reports.insert(run_id, report);
    }
    let found = told(Ok(()), &observed, &settled);
    assert_eq!(condition(&found, "SourcesReachable").reason, "Unreachable");
    assert_eq!(condition(&found, "SinksReachable").reason, "Unreachable");
}

#[test]
fn pods_that_cannot_be_made_are_told_in_the_words_of_the_cluster() {
    let quota = "pods \"p\" is forbidden: exceeded quota".to_owned();
    let deployment = Some(Rollout { replicas: 1, trouble: Some(quota.clone()), ..Rollout::default() });
    let observed = Observed { deployment, ..Observed::default() };
    let status = told(Ok(()), &observed, &plan(&pipeline(), &observed));
    let ready = condition(&status, "Ready");
    assert_eq!((ready.reason.as_str(), &ready.message), ("WorkersUnavailable", &quota));
}

#[test]
fn pods_that_cannot_be_made_beside_those_that_run_are_told_too() {
    let (mut observed, settled) = running();
    let deployment = Rollout { replicas: 1, updated: 1, ready: 1, total: 1, current: true, ..Rollout::default() };
    observed.deployment = Some(deployment.clone());
    assert_eq!(condition(&told(Ok(()), &observed, &settled), "Reconciling").status, "False");
    // More of them than a quota allows, as it is edited or as the load asks for it.
    let quota = Some("exceeded quota".to_owned());
    let refused = Some(Rollout { replicas: 4, trouble: quota, ..deployment.clone() });
    let status = told(Ok(()), &Observed { deployment: refused, ..observed.clone() }, &settled);
    let said = condition(&status, "Reconciling");
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "WorkersUnavailable"));
    assert_eq!(said.message, "workers are being started or replaced: exceeded quota");
    assert_eq!(condition(&status, "Ready").status, "True", "what runs is not disturbed");
    // Another image, under the same plan and under the next one.
    let pulls = WorkerPod {
        name: "pod-new".to_owned(),
        uid: "new".to_owned(),
        trouble: Some(Trouble {
            reason: Reason::WorkersUnavailable,
            message: "ErrImagePull: no such image".to_owned(),
        }),
        age: Duration::from_secs(4),
        ..WorkerPod::default()
    };
    observed.pods.push(pulls);
    for step in [Step::Run, Step::RollOut] {
        let status = told(Ok(()), &observed, &Plan { step, ..settled.clone() });
        let said = condition(&status, "Reconciling");
        assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "WorkersUnavailable"), "{step:?}");
        assert!(said.message.ends_with(": pod pod-new: ErrImagePull: no such image"), "{}", said.message);
    }
    observed.pods.retain(|pod| pod.uid != "new");
    observed.deployment = Some(Rollout { updated: 0, ..deployment });
    let status = told(Ok(()), &observed, &settled);
    assert_eq!(condition(&status, "Reconciling").reason, "RollingOut");
}

#[test]
fn every_problem_of_the_resources_is_told_at_once() {
    let mut written = written();
    written.sinks.clear();
    written.spec.sources.push(serde_json::from_value(serde_json::json!({"name": "other"})).expect("a source"));
    written.sources.get_mut("taxi-trips").expect("it is there").schema[1].data_type = "INTT".to_owned();
    let found = problems(&written);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].starts_with("StreamPipeline/pickups-per-zone spec.sources[1].name: there is no StreamSource `other`")
    );
    assert!(
        found[1].starts_with("StreamPipeline/pickups-per-zone spec.sinks[0].name: there is no StreamSink `pickups`")
    );
    assert!(found[2].starts_with("StreamSource/taxi-trips spec.schema[1].type:"), "{found:#?}");
}

#[test]
fn a_source_that_cannot_be_read_is_told_with_its_field_and_not_as_if_there_were_none() {
    let mut written = written();
    written.sources.clear();
    let source =
        serde_json::json!({"spec": {"kafka": {"brokers": ["kafka:9092"], "topic": "t"}, "onError": "Explode"}});
    let amiss = unreadable::problems("StreamSource", "taxi-trips", &source, "unknown variant");
    written.unreadable.insert(("StreamSource", "taxi-trips".to_owned()), amiss);
    let found = problems(&written);
    assert!(found.iter().any(|told| told.starts_with("StreamSource/taxi-trips spec.onError: ")), "{found:#?}");
    assert!(!found.iter().any(|told| told.contains("there is no")), "{found:#?}");
}

#[test]
fn windows_without_a_place_for_their_state_are_refused_with_what_to_write() {
    let mut written = written();
    written.spec.state = None;
    let found = problems(&written);
    assert_eq!(
        found,
        [
            "StreamPipeline/pickups-per-zone spec.state.url: windows keep state, and no place is given that outlives a worker; \
          set state.url to s3://BUCKET/PREFIX"
        ]
    );
}

#[test]
fn a_problem_of_the_sql_is_told_at_its_line_and_column_of_the_sql() {
    let draft = thalweg_operator_plan::validate::draft(&written(), None).expect("it holds together");
    let line = draft.plan.resources.lines().position(|line| line.contains("\"sql\"")).expect("it is there") + 1;
    let text = draft.plan.resources.lines().nth(line - 1).expect("it is there");
    let column = text.find("SELECT").expect("it is there") + 1;
    let answer = serde_json::json!({"problems": [{
        "resource": "StreamPipeline/pickups-per-zone", "file": "/dev/stdin", "line": line, "column": column,
        "path": "spec.sql", "message": "no",
    }]});
    let Ok(Checked::Problems(found)) = parse(answer.to_string().as_bytes()) else { panic!("problems") };
    let found = validated(&written(), &Checked::Problems(found)).expect_err("a problem");
    assert_eq!((found[0].place, found[0].reason), (Some((2, 1)), Reason::InvalidSql));
}

#[test]
fn a_check_that_was_ended_by_its_limits_is_a_problem_of_the_sql() {
    let found = validated(&written(), &Checked::OverLimit("it took more than 5 s".to_owned())).expect_err("a problem");
    assert_eq!(
        found[0].to_string(),
        "StreamPipeline/pickups-per-zone spec.sql: planning was ended: it took more than 5 s; simplify the statement: \
         split it into several pipelines"
    );
}
