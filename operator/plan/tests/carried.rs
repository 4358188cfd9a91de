//! What a plan has kept, under the next one.

mod kit;

use k8s_openapi::api::core::v1::ConfigMap;
use kit::{join, owner, pipeline, settings, settle, stages, validated, written};
use thalweg_crds::assignment::{AssignmentSpec, UnitAssignment};
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::Epoch;
use thalweg_crds::restart::Restarted;
use thalweg_operator_plan::carried::refusal;
use thalweg_operator_plan::check::{Checked, Stage, StageKind};
use thalweg_operator_plan::objects::build;
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::plan;
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::validate::ValidatedPipeline;

/// The plan that runs, and who owns its units.
fn running() -> (ConfigMap, AssignmentSpec) {
    let valid = pipeline();
    let objects = build(&valid, &plan(&valid, &Observed::default()), &owner(), &settings());
    let unit = UnitAssignment { epoch: Epoch(1), ..UnitAssignment::default() };
    (objects.plan, AssignmentSpec { plan: valid.plan.hash, units: vec![unit], ..AssignmentSpec::default() })
}

fn all_refused(written: &Written, stages: &Checked) -> Option<Vec<Problem>> {
    let (map, assignment) = running();
    let next = validated(written, stages).expect("it is valid");
    refusal(&map, &assignment, &next, written)
}

/// The one problem that there is.
fn refused(written: &Written, stages: &Checked) -> Option<Problem> {
    let found = all_refused(written, stages)?;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.into_iter().next()
}

fn with_sql() -> Written {
    let mut changed = written();
    changed.spec.sql = Some("INSERT INTO pickups SELECT 2".to_owned());
    changed
}

fn stage(fingerprint: &str) -> Stage {
    Stage { id: 0, kind: StageKind::Windowed, sources: vec!["trips".to_owned()], fingerprint: fingerprint.to_owned() }
}

#[test]
fn other_sql_of_the_same_stages_goes_on_where_the_one_before_was() {
    assert_eq!(refused(&with_sql(), &stages()), None);
    assert_eq!(refused(&written(), &stages()), None);
}

#[test]
fn a_stage_whose_state_would_mean_something_else_is_refused_with_what_to_do() {
    let found = refused(&with_sql(), &Checked::Stages(vec![stage("other")])).expect("it is refused");
    assert_eq!(found.reason, Reason::IncompatibleChange);
    assert_eq!(
        found.to_string(),
        "StreamPipeline/pickups-per-zone spec.sql: stage 0 over trips is not what it was: its sources, window, keys, \
         aggregates or columns have changed, which shape its state; the version before goes on; undo the change, or let the \
         pipeline start anew: onIncompatibleChange: Restart, another state.url, or another name"
    );
}

#[test]
fn a_start_from_scratch_takes_nothing_over_so_anything_goes() {
    let mut changed = with_sql();
    changed.restarted = Some(Restarted { made: 1, count: 1, ..Restarted::default() });
    assert_eq!(refused(&changed, &Checked::Stages(vec![stage("other")])), None);
}

#[test]
fn a_start_from_scratch_lists_its_splits_anew_and_another_plan_of_the_same_start_does_not() {
    let valid = pipeline();
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &valid.plan.hash);
    settle(&valid, &mut observed);
    let mut changed = with_sql();
    let other = validated(&changed, &stages()).expect("valid");
    changed.restarted = Some(Restarted { made: 1, count: 1, ..Restarted::default() });
    let anew = validated(&changed, &stages()).expect("valid");
    let published = |next: &ValidatedPipeline| {
        let mut observed = observed.clone();
        join(&mut observed, 1, "b", &next.plan.hash);
        plan(next, &observed).assignment.expect("an assignment")
    };
    let (on, anew_published) = (published(&other), published(&anew));
    assert_eq!((on.splits.len(), on.incarnations.len()), (6, 0));
    assert_eq!((anew_published.plan.as_str(), anew_published.splits.len()), (anew.plan.hash.as_str(), 0));
    assert_eq!(anew_published.incarnations[0].incarnation.0, 1);
    assert!(anew_published.units.iter().all(|unit| unit.epoch > Epoch(1)), "epochs of key groups only grow");
    let mut observed = observed.clone();
    join(&mut observed, 1, "b", &anew.plan.hash);
    let settled = settle(&anew, &mut observed).assignment.expect("an assignment");
    assert_eq!((settled.splits.len(), settled.incarnations[0].incarnation.0), (6, 1));
}

#[test]
fn stages_that_come_or_go_do_not_fit_the_state() {
    let more = Checked::Stages(vec![stage("f"), Stage { id: 1, ..stage("g") }]);
    assert!(refused(&with_sql(), &more).expect("refused").message.starts_with("stage 1 over trips is new"));
    let (mut map, assignment) = running();
    let noted = map.metadata.annotations.as_mut().expect("annotations");
    let text = noted["thalweg.dev/stages"].replace("\"id\":0", "\"id\":7");
    noted.insert("thalweg.dev/stages".to_owned(), text);
    let next = validated(&with_sql(), &stages()).expect("it is valid");
    let found = refusal(&map, &assignment, &next, &with_sql()).expect("refused");
    assert_eq!((found.len(), found[0].message.as_str()), (1, "stage 7 over trips is gone; stage 0 over trips is new"));
}

#[test]
fn another_topic_is_no_place_to_go_on_at_old_positions() {
    let mut changed = written();
    let source = changed.sources.get_mut("taxi-trips").expect("it is there");
    source.kafka.as_mut().expect("kafka").topic = "trips-2".to_owned();
    let found = refused(&changed, &stages()).expect("it is refused");
    assert_eq!((found.path.as_str(), found.reason), ("spec.sources", Reason::IncompatibleChange));
    let mut moved = written();
    let source = moved.sources.get_mut("taxi-trips").expect("it is there");
    source.kafka.as_mut().expect("kafka").brokers = vec!["kafka-2:9092".to_owned()];
    assert_eq!(refused(&moved, &stages()), None, "the same topic is reached another way");
}

#[test]
fn all_that_does_not_fit_is_told_at_once() {
    let mut changed = with_sql();
    let source = changed.sources.get_mut("taxi-trips").expect("it is there");
    source.kafka.as_mut().expect("kafka").topic = "trips-2".to_owned();
    let stages = Checked::Stages(vec![stage("other"), Stage { id: 1, ..stage("g") }]);
    let found = all_refused(&changed, &stages).expect("refused");
    let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["spec.sql", "spec.sources"]);
    let sql = &found[0].message;
    assert!(
        sql.starts_with("stage 0 over trips is not what it was: ") && sql.ends_with("; stage 1 over trips is new"),
        "{sql}"
    );
    assert!(found[1].message.starts_with("source trips reads something else"), "{}", found[1]);
}

#[test]
fn where_nothing_is_kept_anything_goes() {
    let mut elsewhere = with_sql();
    elsewhere.spec.state.as_mut().expect("state").url = Some("s3://bucket/other".to_owned());
    let other = Checked::Stages(vec![stage("other")]);
    assert_eq!(refused(&elsewhere, &other), None);
    let (map, mut assignment) = running();
    assignment.units[0].epoch = Epoch(0);
    let next = validated(&with_sql(), &other).expect("it is valid");
    assert_eq!(refusal(&map, &assignment, &next, &with_sql()), None, "nobody has owned a unit yet");
}
