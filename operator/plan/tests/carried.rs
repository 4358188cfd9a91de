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
use thalweg_operator_plan::statements::numbered;
use thalweg_operator_plan::validate::ValidatedPipeline;

/// The plan that runs, and who owns its units.
fn running() -> (ConfigMap, AssignmentSpec) {
    let valid = pipeline();
    let first = plan(&valid, &Observed::default());
    let objects = build(&valid, &first, &owner(), &settings());
    let unit = UnitAssignment { epoch: Epoch(1), ..UnitAssignment::default() };
    (objects.plan, AssignmentSpec { units: vec![unit], ..first.assignment.expect("an assignment") })
}

fn all_refused(written: &Written, stages: &Checked) -> Option<Vec<Problem>> {
    let (map, assignment) = running();
    let next = validated(written, stages).expect("it is valid");
    refusal(Some(&map), &assignment, &next, written)
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
    Stage {
        id: 0,
        kind: StageKind::Windowed,
        statement: 0,
        sink: "pickups".to_owned(),
        text: format!("text of {fingerprint}"),
        sources: vec!["trips".to_owned()],
        fingerprint: fingerprint.to_owned(),
    }
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
        "StreamPipeline/pickups-per-zone spec.sql: INSERT INTO pickups: stage 0 over trips is not what it was: its sources, \
         window, keys, aggregates or columns have changed, which shape its state; the version before goes on; undo the \
         change, or let what has changed start anew: onIncompatibleChange: Restart, another state.url, or another name of \
         the pipeline"
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
fn a_statement_that_comes_or_goes_is_no_conflict_and_one_of_more_or_fewer_stages_is() {
    let other = |sink: &str, id| Stage { id, statement: 1, sink: sink.to_owned(), ..stage("g") };
    assert_eq!(refused(&with_sql(), &Checked::Stages(vec![stage("f"), other("totals", 1)])), None);
    assert_eq!(refused(&with_sql(), &Checked::Stages(vec![stage("f"), other("pickups", 1)])), None, "to the same sink");
    assert_eq!(refused(&with_sql(), &Checked::Stages(vec![other("totals", 0)])), None, "the other one is gone");
    let more = Checked::Stages(vec![stage("f"), Stage { id: 1, ..stage("g") }]);
    let found = refused(&with_sql(), &more).expect("refused");
    assert!(found.message.starts_with("INSERT INTO pickups: stage 1 over trips is new"), "{found}");
}

#[test]
fn a_statement_that_has_changed_gets_other_units_and_those_of_the_others_stay_with_their_splits() {
    let two = |fingerprint: &str| {
        let totals = Stage { id: 1, statement: 1, sink: "totals".to_owned(), ..stage("g") };
        Checked::Stages(vec![stage(fingerprint), totals])
    };
    let valid = validated(&written(), &two("f")).expect("valid");
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &valid.plan.hash);
    let before = settle(&valid, &mut observed).assignment.expect("an assignment");
    let mut changed = with_sql();
    let planned = validated(&changed, &two("other")).expect("valid");
    let next = numbered(&mut changed, planned, Some(&before), 0, 7);
    assert_eq!(next.stages.iter().map(|stage| stage.id).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(next.restarts, 0, "the pipeline as a whole goes on");
    observed.stages.clone_from(&valid.stages);
    join(&mut observed, 1, "b", &next.plan.hash);
    let after = plan(&next, &observed).assignment.expect("an assignment");
    assert_eq!((&after.plan, &after.splits.len()), (&next.plan.hash, &before.splits.len()));
    assert_eq!(after.incarnations, before.incarnations);
    let of = |spec: &AssignmentSpec, stage: i32| {
        let units = spec.units.iter().filter(move |unit| unit.unit.stage == stage);
        units.map(|unit| (unit.unit, unit.epoch)).collect::<Vec<_>>()
    };
    assert!(of(&after, 0).is_empty(), "nobody works on what has changed");
    let kept: Vec<_> = of(&before, 1).into_iter().map(|(unit, epoch)| (unit, Epoch(epoch.0 + 1))).collect();
    assert_eq!(of(&after, 1), kept, "handed over");
    assert_eq!(of(&after, 2).len(), kept.len());
    let numbers = after.numbers.expect("numbers");
    assert_eq!((numbers.made, numbers.changes, numbers.next), (7, 1, 3));
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
        sql.starts_with("INSERT INTO pickups: stage 0 over trips is not what it was: ")
            && sql.ends_with(", stage 1 over trips is new"),
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
    assert_eq!(refusal(Some(&map), &assignment, &next, &with_sql()), None, "nobody has owned a unit yet");
}

#[test]
fn what_runs_is_known_from_the_assignment_where_somebody_has_removed_its_plan() {
    let (_, assignment) = running();
    let next = validated(&with_sql(), &Checked::Stages(vec![stage("other")])).expect("it is valid");
    let found = refusal(None, &assignment, &next, &with_sql()).expect("refused");
    assert!(found[0].message.starts_with("INSERT INTO pickups: stage 0 over trips is not what it was"), "{}", found[0]);
    let fits = validated(&with_sql(), &stages()).expect("it is valid");
    assert_eq!(refusal(None, &assignment, &fits, &with_sql()), None);
}

#[test]
fn a_plan_whose_numbers_are_the_planners_again_is_the_one_that_it_was() {
    let (_, assignment) = running();
    let mut written = with_sql();
    written.restarted = Some(Restarted { made: 7, ..Restarted::default() });
    let planned = validated(&written, &stages()).expect("it is valid");
    let next = numbered(&mut written, planned, Some(&assignment), 0, 7);
    assert_eq!(next.plan, validated(&with_sql(), &stages()).expect("it is valid").plan);
}

#[test]
fn which_of_several_statements_of_one_sink_has_changed_is_not_guessed() {
    let filter = |id: usize, text: &str| Stage {
        id: i32::try_from(id).expect("few"),
        statement: id,
        text: text.to_owned(),
        ..stage("f")
    };
    let filters =
        |texts: &[&str]| Checked::Stages(texts.iter().enumerate().map(|(id, text)| filter(id, text)).collect());
    let valid = validated(&written(), &filters(&["z = 1", "z = 2"])).expect("valid");
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &valid.plan.hash);
    let before = settle(&valid, &mut observed).assignment.expect("an assignment");
    let refused = |texts: &[&str]| {
        let next = validated(&with_sql(), &filters(texts)).expect("valid");
        refusal(None, &before, &next, &with_sql()).map(|found| found[0].message.clone())
    };
    assert_eq!(refused(&["z = 3", "z = 2", "z = 1"]), None);
    assert_eq!(refused(&["z = 2", "z = 3"]), None, "one is edited");
    let said = refused(&["z = 3", "z = 4"]).expect("both are");
    assert!(said.contains("change them one at a time"), "{said}");
}
