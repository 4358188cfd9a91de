//! Units and splits over several workers: what happens as workers come and go.

mod kit;

use std::collections::BTreeMap;

use kit::{join, keyed, obey, obey_with, settle, stateless, with_workers};
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::{Epoch, Slot, SplitId};
use thalweg_crds::report::{SplitReport, WorkerState};
use thalweg_operator_plan::held::held;
use thalweg_operator_plan::observed::{Observed, Readiness, Rollout};
use thalweg_operator_plan::plan::{Plan, Step, keep, plan};
use thalweg_operator_plan::validate::ValidatedPipeline;

const LIVES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn slot(number: usize) -> Slot {
    Slot(format!("pickups-per-zone-{number}"))
}

fn spec(plan: &Plan) -> &AssignmentSpec {
    plan.assignment.as_ref().expect("an assignment")
}

/// How many units, and how many splits, each slot has.
fn shares(spec: &AssignmentSpec) -> (BTreeMap<Slot, usize>, BTreeMap<Slot, usize>) {
    let mut shares = (BTreeMap::new(), BTreeMap::new());
    spec.units.iter().filter_map(|unit| unit.owner.clone()).for_each(|slot| *shares.0.entry(slot).or_default() += 1);
    spec.splits
        .iter()
        .filter_map(|split| split.reader.clone())
        .for_each(|slot| *shares.1.entry(slot).or_default() += 1);
    shares
}

fn counts(shares: &BTreeMap<Slot, usize>) -> Vec<usize> {
    shares.values().copied().collect()
}

/// So many workers, which own and read everything.
fn running(pipeline: &ValidatedPipeline, workers: usize) -> (Observed, Plan) {
    let mut observed = Observed::default();
    (0..workers).for_each(|number| join(&mut observed, number, LIVES[number], &pipeline.plan.hash));
    observed.deployment = Some(Rollout { replicas: workers as i32, ..Rollout::default() });
    let settled = settle(pipeline, &mut observed);
    (observed, settled)
}

fn die(observed: &mut Observed, number: usize) {
    let holder = observed.slots[number].holder.take().expect("it is held");
    observed.pods.retain(|pod| !holder.0.starts_with(&pod.uid));
}

#[test]
fn units_and_splits_are_spread_over_the_workers_that_are_asked_for() {
    let pipeline = with_workers(&keyed(), 3);
    let first = plan(&pipeline, &Observed::default());
    assert_eq!((first.replicas, first.slots), (3, 6));
    let (observed, settled) = running(&pipeline, 3);
    let (units, splits) = shares(spec(&settled));
    assert_eq!((counts(&units), counts(&splits)), (vec![3, 3, 2], vec![2, 2, 2]));
    assert_eq!(settled.step, Step::Run);
    assert!(held(spec(&settled), &observed).is_all());
    assert_eq!(spec(&settled).enumerators.len(), 1);
}

#[test]
fn a_stateless_stage_has_a_unit_for_each_split_of_each_input_and_the_splits_reader_owns_it() {
    let pipeline = with_workers(&stateless(&["trips", "zones", "trips"]), 2);
    let (_, settled) = running(&pipeline, 2);
    let spec = spec(&settled);
    let indices: Vec<i32> = spec.units.iter().map(|unit| unit.unit.index).collect();
    let expected: Vec<i32> = (0..3).flat_map(|input| (0..6).map(move |split| (input << 20) + split)).collect();
    assert_eq!(indices, expected);
    for unit in &spec.units {
        let source = ["trips", "zones", "trips"][(unit.unit.index >> 20) as usize];
        let of_source: Vec<_> = spec.splits.iter().filter(|split| split.source == source).collect();
        assert_eq!(of_source[(unit.unit.index & 0xf_ffff) as usize].reader, unit.owner, "{:?}", unit.unit);
    }
    assert_eq!(counts(&shares(spec).1), [6, 6]);
    let listers: Vec<_> = spec.enumerators.iter().map(|enumerator| enumerator.slot.clone()).collect();
    assert_eq!(listers, [slot(0), slot(1)], "listing is spread too");
}

#[test]
fn a_split_keeps_its_ordinal_whatever_later_listings_say() {
    let pipeline = with_workers(&stateless(&["trips"]), 1);
    let (mut observed, settled) = running(&pipeline, 1);
    let before = spec(&settled).clone();
    let listed = &mut observed.reports.values_mut().next().expect("a report").listed[0].splits;
    listed.reverse();
    listed.pop();
    listed.insert(0, SplitId("new".to_owned()));
    let after = plan(&pipeline, &observed);
    let names = |spec: &AssignmentSpec| spec.splits.iter().map(|split| split.split.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(spec(&after)), [names(&before), vec!["new".to_owned()]].concat());
    assert_eq!(spec(&after).units.len(), before.units.len() + 1);
    assert_eq!(spec(&after).units[..before.units.len()], before.units);
}

#[test]
fn a_worker_that_comes_gets_its_share_and_nothing_else_moves() {
    let two = with_workers(&stateless(&["trips"]), 2);
    let (mut observed, before) = running(&with_workers(&stateless(&["trips"]), 1), 1);
    join(&mut observed, 1, "b", &two.plan.hash);
    let first = plan(&two, &observed);
    assert_eq!(first.step, Step::Move);
    let moved: Vec<_> = spec(&first).units.iter().zip(&spec(&before).units).filter(|(a, b)| a != b).collect();
    assert_eq!(moved.len(), 3);
    for (unit, before) in moved {
        assert_eq!((&unit.owner, &unit.previous), (&Some(slot(1)), &Some(slot(0))));
        assert_eq!(unit.epoch, before.epoch.next());
    }
    let settled = settle(&two, &mut observed);
    assert_eq!(counts(&shares(spec(&settled)).0), [3, 3]);
    assert_eq!(counts(&shares(spec(&settled)).1), [3, 3]);
}

#[test]
fn when_a_worker_dies_others_read_its_splits_and_take_over_its_units_at_once() {
    let pipeline = with_workers(&stateless(&["trips"]), 3);
    let (mut observed, before) = running(&pipeline, 3);
    die(&mut observed, 1);
    let next = plan(&pipeline, &observed);
    for (unit, before) in spec(&next).units.iter().zip(&spec(&before).units) {
        let was_lost = before.owner == Some(slot(1));
        assert_eq!(unit.owner != before.owner, was_lost);
        assert!(unit.previous.is_none(), "a takeover waits for nobody");
    }
    assert!(spec(&next).splits.iter().all(|split| split.reader.as_ref().is_some_and(|reader| *reader != slot(1))));
    assert_eq!(counts(&shares(spec(&next)).1), [3, 3]);
}

#[test]
fn workers_that_are_too_many_hand_over_before_the_deployment_shrinks() {
    let four = with_workers(&keyed(), 4);
    let (mut observed, _) = running(&four, 4);
    let two = with_workers(&keyed(), 2);
    let first = plan(&two, &observed);
    assert_eq!(first.replicas, 4, "two of them have units still");
    let mut plans = vec![first];
    for _ in 0..20 {
        obey(&mut observed, plans.last().expect("a plan"));
        plans.push(plan(&two, &observed));
    }
    assert_eq!(plans[20].replicas, 4, "who has handed over is ready still, and a ReplicaSet could stop anybody");
    assert_eq!(counts(&shares(spec(&plans[20])).0), [4, 4]);
    observed.pods[2..].iter_mut().for_each(|pod| pod.ready = Readiness::NotReady);
    let shrunk = plan(&two, &observed);
    assert_eq!((shrunk.replicas, shrunk.slots), (2, 4), "slots are left as they are");
}

#[test]
fn a_pod_of_a_new_template_takes_the_units_of_one_that_is_to_stop() {
    let pipeline = with_workers(&keyed(), 3);
    let (mut observed, _) = running(&pipeline, 3);
    join(&mut observed, 3, "d", &pipeline.plan.hash);
    observed.pods.last_mut().expect("a pod").template = "new".to_owned();
    observed.deployment.as_mut().expect("a Deployment").template = "new".to_owned();
    let settled = settle(&pipeline, &mut observed);
    let (units, splits) = shares(spec(&settled));
    assert_eq!((units.len(), splits.len()), (3, 3));
    assert!(units.contains_key(&slot(3)), "{units:?}");
    assert_eq!(settled.replicas, 3);
}

#[test]
fn where_a_template_is_taken_back_in_a_roll_out_the_older_pods_get_their_units_back() {
    let pipeline = with_workers(&keyed(), 1);
    let (mut observed, _) = running(&pipeline, 1);
    join(&mut observed, 1, "b", &pipeline.plan.hash);
    observed.pods[1].template = "new".to_owned();
    observed.deployment.as_mut().expect("a Deployment").template = "new".to_owned();
    assert!(shares(spec(&settle(&pipeline, &mut observed))).0.contains_key(&slot(1)), "the new one has taken over");
    // Its Deployment would stop the new pod once the old one is ready, which it is with units only.
    observed.deployment.as_mut().expect("a Deployment").template.clear();
    assert!(shares(spec(&settle(&pipeline, &mut observed))).0.contains_key(&slot(0)), "and hands back");
}

#[test]
fn a_new_plan_whose_worker_fails_gets_no_unit_and_what_runs_goes_on() {
    let pipeline = with_workers(&keyed(), 1);
    let (mut observed, before) = running(&pipeline, 1);
    let mut next = pipeline.clone();
    next.plan.hash = "next".to_owned();
    observed.stages = pipeline.stages.clone();
    join(&mut observed, 1, "b", "next");
    let run_id = observed.slots[1].holder.clone().expect("held");
    let failed = thalweg_crds::report::Report {
        run_id: run_id.clone(),
        plan: "next".to_owned(),
        state: WorkerState::Failed,
        ..Default::default()
    };
    observed.reports.insert(run_id.clone(), failed);
    let waiting = plan(&next, &observed);
    assert_eq!((waiting.step, &spec(&waiting).plan), (Step::RollOut, &pipeline.plan.hash));
    assert_eq!(spec(&waiting).units, spec(&before).units);
    observed.reports.get_mut(&run_id).expect("a report").state = WorkerState::Waiting;
    assert_eq!(plan(&next, &observed).step, Step::RollOut, "it has not tried yet");
    let unheard = Observed { reports: BTreeMap::new(), ..observed.clone() };
    assert_eq!(plan(&next, &unheard).step, Step::RollOut, "nobody knows");
    observed.reports.get_mut(&run_id).expect("a report").state = WorkerState::Prepared;
    assert_eq!(spec(&plan(&next, &observed)).plan, "next");
}

#[test]
fn more_workers_than_units_are_not_started() {
    let pipeline = with_workers(&stateless(&["trips"]), 4);
    for splits in [1, 2, 6] {
        let mut observed = Observed::default();
        join(&mut observed, 0, "a", &pipeline.plan.hash);
        assert_eq!(plan(&pipeline, &observed).replicas, 4, "nobody knows yet how much there is to do");
        for _ in 0..5 {
            let next = plan(&pipeline, &observed);
            obey_with(&mut observed, &next, splits);
        }
        assert_eq!(plan(&pipeline, &observed).replicas, splits.min(4) as i32);
    }
}

#[test]
fn it_is_complete_when_no_split_comes_any_more_and_every_unit_at_its_epoch_is_done() {
    let pipeline = with_workers(&stateless(&["trips"]), 2);
    let (mut observed, _) = running(&pipeline, 2);
    join(&mut observed, 2, "idle", &pipeline.plan.hash);
    let done = |observed: &mut Observed| {
        let reports = observed.reports.values_mut().filter(|report| !report.units.is_empty());
        reports.for_each(|report| report.state = WorkerState::Completed);
    };
    done(&mut observed);
    assert!(!spec(&plan(&pipeline, &observed)).completed, "a split may come");
    let complete = |observed: &mut Observed| {
        observed.reports.values_mut().flat_map(|report| &mut report.listed).for_each(|listed| listed.complete = true);
    };
    complete(&mut observed);
    let mut slower = observed.clone();
    slower.reports.values_mut().next().expect("a report").units[0].epoch = Epoch(0);
    assert!(!spec(&plan(&pipeline, &slower)).completed, "a unit was given anew");
    let mut unlisted = observed.clone();
    let listing = unlisted.reports.values_mut().flat_map(|report| &mut report.listed).next().expect("a listing");
    listing.splits.push(SplitId("last".to_owned()));
    assert!(!spec(&plan(&pipeline, &unlisted)).completed, "a split was found just now");
    let end = plan(&pipeline, &observed);
    assert_eq!((end.step, end.replicas), (Step::Complete, 0));
}

#[test]
fn a_paused_pipeline_moves_nothing_while_its_workers_leave() {
    let mut pipeline = with_workers(&keyed(), 3);
    let (mut observed, before) = running(&pipeline, 3);
    pipeline.paused = true;
    for number in 0..3 {
        let next = plan(&pipeline, &observed);
        assert_eq!((next.step, next.replicas), (Step::Pause, 0));
        assert_eq!((&spec(&next).units, &spec(&next).splits), (&spec(&before).units, &spec(&before).splits));
        die(&mut observed, number);
    }
}

#[test]
fn a_split_of_twice_the_others_rate_counts_twice_and_small_differences_count_nothing() {
    let pipeline = with_workers(&stateless(&["trips"]), 2);
    let (mut observed, before) = running(&pipeline, 2);
    let rates = |observed: &mut Observed, rates: [f64; 6]| {
        let split = |(number, rate): (usize, f64)| SplitReport {
            source: "trips".to_owned(),
            split: SplitId(number.to_string()),
            rate,
            ..SplitReport::default()
        };
        let report = observed.reports.values_mut().next().expect("a report");
        report.splits = rates.into_iter().enumerate().map(split).collect();
    };
    rates(&mut observed, [100.0, 140.0, 90.0, 110.0, 60.0, 100.0]);
    assert_eq!(spec(&plan(&pipeline, &observed)), spec(&before));
    rates(&mut observed, [4000.0, 100.0, 100.0, 100.0, 100.0, 100.0]);
    let next = plan(&pipeline, &observed);
    let heavy = spec(&next).splits[0].reader.clone().expect("a reader");
    assert_eq!(shares(spec(&next)).1[&heavy], 1, "it has the heavy one alone");
}

#[test]
fn while_the_spec_is_bad_new_splits_are_read_all_the_same() {
    let pipeline = with_workers(&stateless(&["trips"]), 2);
    let (mut observed, before) = running(&pipeline, 2);
    observed.stages = pipeline.stages.clone();
    obey_with(&mut observed, &before, 9);
    let next = keep(&observed);
    assert_eq!((spec(&next).units.len(), next.replicas), (9, 2));
    assert!(spec(&next).splits.iter().all(|split| split.reader.is_some()));
}

#[test]
fn units_beyond_what_an_assignment_holds_are_told_and_not_passed_over() {
    let pipeline = with_workers(&stateless(&["trips"]), 1);
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &pipeline.plan.hash);
    for _ in 0..5 {
        let next = plan(&pipeline, &observed);
        obey_with(&mut observed, &next, 300);
    }
    let next = plan(&pipeline, &observed);
    assert_eq!((spec(&next).units.len(), next.left_out), (256, 44));
}

#[test]
fn a_pipeline_for_which_no_worker_is_asked_is_idle() {
    let (observed, before) = running(&with_workers(&keyed(), 2), 2);
    let next = plan(&with_workers(&keyed(), 0), &observed);
    assert_eq!((next.step, next.replicas), (Step::Idle, 0));
    assert_eq!(spec(&next).units, spec(&before).units, "nobody is there to hand over to");
}

#[test]
fn the_topic_that_keeps_all_is_published_before_any_unit_and_stands_until_all_starts_anew() {
    let pipeline = with_workers(&stateless(&["trips"]), 1);
    let says = |observed: &mut Observed, topic: &str| {
        observed.reports.values_mut().for_each(|report| report.progress = Some(topic.to_owned()));
    };
    let mut observed = Observed::default();
    join(&mut observed, 0, "a", &pipeline.plan.hash);
    let mut now = plan(&pipeline, &observed);
    assert_eq!(spec(&now).progress, None);
    for _ in 0..5 {
        obey(&mut observed, &now);
        says(&mut observed, "one");
        now = plan(&pipeline, &observed);
        assert!(spec(&now).units.is_empty() || spec(&now).progress.as_deref() == Some("one"));
    }
    assert_eq!(spec(&now).units.len(), 6);
    obey(&mut observed, &now);
    says(&mut observed, "two");
    assert_eq!(spec(&plan(&pipeline, &observed)).progress.as_deref(), Some("one"), "what was said first stands");
    observed.reports.clear();
    assert_eq!(spec(&plan(&pipeline, &observed)).progress.as_deref(), Some("one"), "nobody says anything");
    observed.stages = pipeline.stages.clone();
    join(&mut observed, 1, "b", "next");
    let mut next = pipeline.clone();
    next.plan.hash = "next".to_owned();
    let changed = plan(&next, &observed);
    assert_eq!((spec(&changed).plan.as_str(), spec(&changed).progress.as_deref()), ("next", Some("one")));
    next.restarts = 1;
    let anew = plan(&next, &observed);
    assert_eq!((spec(&anew).plan.as_str(), spec(&anew).progress.as_deref()), ("next", None));
}
