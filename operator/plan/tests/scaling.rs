//! From reports to a number of workers and to who reads what: when it is decided, and what is remembered.

mod kit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kit::{join, obey_with, stateless};
use thalweg_crds::ids::{LogPosition, RunId};
use thalweg_crds::report::SplitReport;
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};
use thalweg_operator_plan::autoscale::{Hold, Reason};
use thalweg_operator_plan::observed::{Observed, Readiness, Rollout};
use thalweg_operator_plan::plan::{Plan, plan_scaled};
use thalweg_operator_plan::scaling::{DECIDE_EACH, Scaler, Scaling};
use thalweg_operator_plan::validate::ValidatedPipeline;

/// Records a second that a worker of these tests does.
const CAPACITY: f64 = 500.0;

/// A pipeline, its workers, and a load.
struct Bed {
    pipeline: ValidatedPipeline,
    observed: Observed,
    scaler: Scaler,
    now: Duration,
    /// Records a second that come into each split.
    arrivals: Vec<f64>,
    /// Of each split: its end, and what waits.
    splits: Vec<(f64, f64)>,
    /// How old reports are.
    age: Duration,
    /// What workers say of the age of what waits, by their clocks.
    lag_seconds: Option<f64>,
    /// Share of its worker's time that a unit takes, by its index.
    cost: fn(i32) -> f64,
    lives: usize,
}

fn number(workers: usize) -> i32 {
    i32::try_from(workers).expect("few")
}

fn spec(least: i32, most: i32) -> ScalingSpec {
    ScalingSpec { min_workers: least, max_workers: most, ..ScalingSpec::default() }
}

impl Bed {
    fn new(scaling: ScalingSpec, arrivals: &[f64]) -> Self {
        let mut pipeline = ValidatedPipeline { stages: stateless(&["trips"]), ..kit::pipeline() };
        pipeline.scaling = scaling;
        let observed = Observed { stages: pipeline.stages.clone(), ..Observed::default() };
        Self {
            scaler: Scaler::new(&pipeline.scaling, &observed, None, None),
            pipeline,
            observed,
            now: Duration::from_secs(1_000),
            splits: vec![(1e6, 0.0); arrivals.len()],
            arrivals: arrivals.to_vec(),
            age: Duration::ZERO,
            lag_seconds: None,
            cost: |_| 0.0,
            lives: 0,
        }
    }

    /// A round later: the operator looks, and pods and workers do what it says.
    fn round(&mut self) -> Scaling {
        self.now += DECIDE_EACH;
        let time = Time(Timestamp::from_second(self.now.as_secs() as i64).expect("a time"));
        let mut scaling = self.scaler.look(&self.pipeline, &self.observed, self.now, &time);
        // Moves take some looks, in which nothing is decided.
        for places in [scaling.places.clone(), scaling.places.as_ref().map(|_| Default::default())] {
            let plan = plan_scaled(&self.pipeline, &self.observed, &Scaling { places, ..scaling.clone() });
            let at = (self.now, &time);
            scaling = self.scaler.note(&self.pipeline, &self.observed, &plan, at, scaling);
            self.obey(&plan);
        }
        self.work();
        scaling
    }

    fn rounds(&mut self, count: usize) -> Scaling {
        (0..count).map(|_| self.round()).last().expect("a round")
    }

    fn obey(&mut self, plan: &Plan) {
        let wanted = usize::try_from(plan.replicas).expect("a number");
        obey_with(&mut self.observed, plan, self.splits.len());
        self.observed.deployment = Some(Rollout { replicas: plan.replicas, current: true, ..Rollout::default() });
        let hash = self.pipeline.plan.hash.clone();
        while self.observed.pods.len() < wanted {
            let is_free = |number: &usize| self.observed.slots.get(*number).is_none_or(|slot| slot.holder.is_none());
            let number = (0..).find(is_free).expect("a slot");
            self.lives += 1;
            join(&mut self.observed, number, &format!("life-{}", self.lives), &hash);
        }
        // A worker without units is not ready.
        for pod in &mut self.observed.pods {
            let of_pod = |run_id: &RunId| run_id.0.starts_with(&format!("{}/", pod.uid));
            let works = self.observed.reports.iter().any(|(run_id, report)| of_pod(run_id) && !report.units.is_empty());
            pod.ready = if works { Readiness::Ready } else { Readiness::NotReady };
        }
        while self.observed.pods.len() > wanted {
            let units = plan.assignment.iter().flat_map(|assignment| &assignment.units).collect::<Vec<_>>();
            let has_none = |slot: &thalweg_crds::ids::Slot| units.iter().all(|unit| unit.owner.as_ref() != Some(slot));
            let leaves = self.observed.slots.iter_mut().find(|slot| slot.holder.is_some() && has_none(&slot.slot));
            let Some(leaves) = leaves else { break };
            let holder = leaves.holder.take().expect("held");
            self.observed.pods.retain(|pod| !holder.0.starts_with(&format!("{}/", pod.uid)));
            self.observed.reports.remove(&holder);
        }
    }

    /// Workers do what they can in a round, and report it.
    fn work(&mut self) {
        let Some(assignment) = self.observed.assignment.clone() else { return };
        let seconds = DECIDE_EACH.as_secs_f64();
        for ((end, waits), arrivals) in self.splits.iter_mut().zip(&self.arrivals) {
            *end += arrivals * seconds;
            *waits += arrivals * seconds;
        }
        self.observed.report_ages.clear();
        for worker in &assignment.workers {
            let Some(report) = self.observed.reports.get_mut(&worker.run_id) else { continue };
            report.units.iter_mut().for_each(|unit| unit.busy_share = (self.cost)(unit.unit.index));
            let mine: Vec<usize> = (0..self.splits.len())
                .filter(|split| {
                    assignment.splits.get(*split).is_some_and(|it| it.reader.as_ref() == Some(&worker.slot))
                })
                .collect();
            let asked: f64 = mine.iter().map(|split| self.splits[*split].1).sum();
            let done = asked.min(CAPACITY * seconds);
            report.busy_share = done / (CAPACITY * seconds);
            report.splits = mine
                .iter()
                .map(|split| {
                    let (end, waits) = &mut self.splits[*split];
                    let part = if asked > 0.0 { *waits * done / asked } else { 0.0 };
                    *waits -= part;
                    SplitReport {
                        source: "trips".to_owned(),
                        split: assignment.splits[*split].split.clone(),
                        end: Some(LogPosition(format!("0.{}", *end as u64))),
                        rate: part / seconds,
                        lag_records: Some(*waits as u64),
                        lag_seconds: self.lag_seconds,
                        ..SplitReport::default()
                    }
                })
                .collect();
            self.observed.report_ages.insert(worker.run_id.clone(), self.age);
        }
    }

    fn readers(&self) -> Vec<String> {
        let splits = self.observed.assignment.as_ref().map(|assignment| assignment.splits.clone());
        splits.unwrap_or_default().into_iter().map(|split| split.reader.expect("read").0).collect()
    }
}

#[test]
fn a_load_beyond_one_worker_is_followed_up_and_down_and_each_change_says_why() {
    let mut bed = Bed::new(spec(1, 4), &[30.0; 4]);
    let calm = bed.rounds(30);
    assert_eq!((calm.workers, calm.decision, calm.hold), (1, None, None));
    bed.arrivals = vec![150.0; 4];
    let first = (0..10).map(|_| bed.round()).find(|scaling| scaling.decision.is_some()).expect("a decision");
    let decision = first.decision.expect("decided");
    assert!(decision.from == 1 && decision.to >= 2, "{decision:?}");
    assert!(decision.reason.starts_with("Busy: ") || decision.reason.starts_with("Behind: "), "{decision:?}");
    assert!(decision.inputs.contains("workers needed"), "{decision:?}");
    assert!(matches!(first.news[..], [Reason::Busy | Reason::Behind]), "{:?}", first.news);
    let busy = bed.rounds(60);
    assert!((2..=3).contains(&busy.workers), "{busy:?}");
    assert!(bed.splits.iter().all(|(_, waits)| *waits < 100.0), "caught up: {:?}", bed.splits);
    bed.arrivals = vec![10.0; 4];
    let low = bed.rounds(120);
    assert_eq!((low.workers, low.hold, bed.observed.pods.len()), (1, None, 1), "{low:?}");
    assert!(low.decision.expect("decided").reason.starts_with("Idle: "));
}

#[test]
fn what_was_decided_stands_until_something_else_is() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    let settled = bed.rounds(40);
    let assignment = bed.observed.assignment.clone();
    for round in 0..200 {
        let now = bed.round();
        assert_eq!((now.workers, &now.decision), (settled.workers, &settled.decision), "round {round}");
        assert_eq!(now.news, [], "round {round}");
    }
    assert_eq!(bed.observed.assignment, assignment, "nothing moves under a load that stays");
}

#[test]
fn between_two_decisions_nothing_is_said_and_nobody_is_moved() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    bed.rounds(40);
    let time = Time(Timestamp::UNIX_EPOCH);
    let again = bed.scaler.look(&bed.pipeline, &bed.observed, bed.now + Duration::from_secs(1), &time);
    assert_eq!((again.places, again.news), (Some(Default::default()), Vec::new()));
}

#[test]
fn clocks_of_workers_that_are_off_by_an_hour_change_no_decision() {
    let decided = |lag_seconds| {
        let mut bed = Bed::new(spec(1, 4), &[30.0; 4]);
        bed.lag_seconds = lag_seconds;
        let arrivals = [30.0, 150.0, 10.0];
        let rounds = arrivals.map(|arrivals| {
            bed.arrivals = vec![arrivals; 4];
            (0..60).map(|_| bed.round()).collect::<Vec<_>>()
        });
        rounds.concat()
    };
    let right = decided(None);
    assert!(right.iter().filter(|scaling| !scaling.news.is_empty()).count() >= 2, "there is something to decide");
    for off in [-3_600.0, 0.0, 3_600.0, f64::NAN] {
        assert_eq!(decided(Some(off)), right, "{off}");
    }
}

#[test]
fn old_reports_change_nothing_and_are_told_once_they_stay_old() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    let settled = bed.rounds(40);
    bed.age = Duration::from_secs(60);
    bed.arrivals = vec![0.0; 4];
    let told: Vec<_> = (0..200).map(|_| bed.round()).collect();
    assert!(told.iter().all(|scaling| scaling.workers == settled.workers));
    assert_eq!(told.iter().filter(|scaling| scaling.news == [Reason::Held(Hold::MetricsStale)]).count(), 1);
    assert_eq!(told.last().and_then(|scaling| scaling.hold), Some(Hold::MetricsStale));
    let decisions: Vec<_> = told.iter().filter_map(|scaling| scaling.decision.as_ref()).collect();
    assert_eq!(decisions.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1, "it is decided once");
    let held = decisions.last().expect("a decision");
    assert_eq!((held.from, held.to), (number(settled.workers), number(settled.workers)));
    assert!(held.reason.starts_with("MetricsStale: ") && held.inputs.contains("arrivals unknown"), "{held:?}");
    bed.age = Duration::ZERO;
    bed.arrivals = vec![150.0; 4];
    assert_eq!(bed.rounds(4).hold, None, "they are of now again");
}

#[test]
fn a_split_of_which_nobody_knows_anything_holds_all() {
    let mut bed = Bed::new(spec(1, 4), &[20.0; 4]);
    bed.rounds(5);
    for _ in 0..100 {
        bed.observed.reports.values_mut().for_each(|report| report.splits.truncate(3));
        let scaling = bed.round();
        assert_eq!(scaling.workers, 1);
        assert!(scaling.decision.is_none_or(|held| held.to == 1 && held.reason.starts_with("MetricsStale: ")));
    }
}

#[test]
fn ends_that_fall_are_those_of_another_log_and_add_nobody() {
    let mut bed = Bed::new(spec(1, 4), &[30.0; 4]);
    bed.rounds(20);
    bed.splits.iter_mut().for_each(|(end, _)| *end = 0.0);
    for _ in 0..20 {
        assert_eq!(bed.round().decision, None);
    }
}

#[test]
fn new_bounds_hold_at_once() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    bed.rounds(40);
    bed.pipeline.scaling = spec(4, 4);
    assert_eq!(bed.round().workers, 4, "there is nothing to choose");
    bed.pipeline.scaling = spec(1, 6);
    assert_eq!(bed.round().workers, 4, "from where it was");
    bed.pipeline.scaling = spec(1, 3);
    let bounded = bed.round();
    assert_eq!(bounded.workers, 3);
    assert!(bounded.decision.expect("decided").reason.starts_with("Bounds: "));
    bed.pipeline.scaling = spec(5, 6);
    assert_eq!(bed.round().workers, 5);
}

#[test]
fn a_worker_that_cannot_deliver_is_not_stopped_because_nothing_comes() {
    let silent = ScalingSpec { zero_after: thalweg_crds::duration::Duration::from_secs(30), ..spec(0, 4) };
    let mut bed = Bed::new(silent, &[20.0; 2]);
    bed.rounds(10);
    bed.arrivals = vec![0.0; 2];
    let fails = |bed: &mut Bed, error: Option<&str>| {
        let units = bed.observed.reports.values_mut().flat_map(|report| &mut report.units);
        units.for_each(|unit| unit.error = error.map(str::to_owned));
        let time = Time(Timestamp::from_second(bed.now.as_secs() as i64).expect("a time"));
        let decided = bed.scaler.look(&bed.pipeline, &bed.observed, bed.now + DECIDE_EACH, &time);
        bed.now += DECIDE_EACH;
        decided.workers
    };
    for _ in 0..20 {
        assert_eq!(fails(&mut bed, Some("the sink does not answer")), 1);
    }
    assert_eq!(fails(&mut bed, None), 0);
}

#[test]
fn whoever_takes_over_the_number_of_workers_finds_it_as_it_was() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    let before = bed.rounds(40).workers;
    assert!(before > 1);
    bed.pipeline.scaling = ScalingSpec { mode: ScalingMode::Manual, ..spec(1, 4) };
    assert_eq!(bed.rounds(3).workers, before, "scaling.workers is not set yet");
    bed.pipeline.scaling.workers = Some(1);
    assert_eq!(bed.rounds(3).workers, 1);
    bed.pipeline.scaling.workers = None;
    assert_eq!(bed.rounds(3).workers, 1);
}

#[test]
fn fewer_units_than_min_workers_are_no_reason_to_decide_again_and_again() {
    let mut bed = Bed::new(spec(3, 6), &[20.0; 2]);
    // Until it is known what comes.
    bed.rounds(4);
    let all: Vec<_> = (0..40).map(|_| bed.round()).collect();
    let told: Vec<_> = all.iter().filter(|scaling| scaling.decision.is_some() || !scaling.news.is_empty()).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(all.iter().all(|scaling| scaling.workers == 3), "as is asked for");
    assert_eq!(bed.observed.pods.len(), 2, "as there is work for");
}

#[test]
fn an_operator_that_starts_anew_keeps_what_it_finds_and_learns_from_there() {
    let mut bed = Bed::new(spec(1, 4), &[150.0; 4]);
    let before = bed.rounds(40);
    bed.scaler = Scaler::new(&bed.pipeline.scaling, &bed.observed, before.decision.as_ref(), None);
    for _ in 0..10 {
        let after = bed.round();
        assert_eq!((after.workers, &after.decision), (before.workers, &before.decision));
    }
    bed.scaler = Scaler::new(&bed.pipeline.scaling, &bed.observed, before.decision.as_ref(), None);
    bed.arrivals = vec![10.0; 4];
    assert_eq!(bed.rounds(120).workers, 1, "what workers do in little time says that one can do it");
    bed.observed.deployment = None;
    let anew = Scaler::new(&bed.pipeline.scaling, &bed.observed, before.decision.as_ref(), None);
    bed.scaler = anew;
    assert_eq!(bed.round().workers, before.workers, "as was decided last");
}

#[test]
fn an_operator_that_starts_anew_wants_as_many_as_were_wanted_whatever_pods_there_are_beside_lost_ones() {
    for mode in [ScalingMode::Recommend, ScalingMode::Auto] {
        let spec = ScalingSpec { mode, ..spec(1, 4) };
        let begins = |wanted| {
            let deployment = Some(Rollout { replicas: 3, wanted, ..Rollout::default() });
            let observed = Observed { deployment, ..Observed::default() };
            let mut bed = Bed::new(spec.clone(), &[150.0; 4]);
            bed.scaler = Scaler::new(&spec, &observed, None, None);
            bed.round().workers
        };
        assert_eq!([Some(2), Some(0), None].map(begins), [2, 3, 3], "{mode:?}: by its note, else by its pods");
    }
}

#[test]
fn a_recommendation_is_said_once_and_not_followed() {
    let mut bed = Bed::new(ScalingSpec { mode: ScalingMode::Recommend, ..spec(1, 4) }, &[150.0; 4]);
    let all: Vec<_> = (0..60).map(|_| bed.round()).collect();
    assert!(all.iter().all(|scaling| scaling.workers == 1));
    let said = all.last().and_then(|scaling| scaling.decision.clone()).expect("said");
    assert!(said.from == 1 && said.to > 1, "{said:?}");
    let changes = all.windows(2).filter(|pair| pair[0].decision != pair[1].decision).count();
    assert!(changes <= 3, "{changes} times, while lag grew");
}

#[test]
fn where_the_number_is_the_users_a_hot_split_gets_a_worker_of_its_own_and_nothing_else_moves() {
    let manual = ScalingSpec { mode: ScalingMode::Manual, workers: Some(2), ..spec(1, 4) };
    for scaling in [manual, spec(2, 2)] {
        let mut bed = Bed::new(scaling, &[100.0; 4]);
        bed.rounds(20);
        let before = bed.readers();
        assert_eq!(bed.observed.pods.len(), 2);
        bed.arrivals[0] = 425.0;
        let all: Vec<_> = (0..60).map(|_| bed.round()).collect();
        let after = bed.readers();
        assert_eq!(after.iter().filter(|reader| **reader == after[0]).count(), 1, "{before:?} {after:?}");
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(moved, 1, "{before:?} {after:?}");
        assert!(all.iter().all(|scaling| scaling.workers == 2 && scaling.hold.is_none()), "nothing else is decided");
        assert_moved_once(&all, &before[0], 2);
        // A worker that only waits, to take the place of a lost one, changes nothing of that.
        let hash = bed.pipeline.plan.hash.clone();
        join(&mut bed.observed, 2, "waits", &hash);
        for _ in 0..2 {
            bed.now += DECIDE_EACH;
            let time = Time(Timestamp::from_second(bed.now.as_secs() as i64).expect("a time"));
            let waiting = bed.scaler.look(&bed.pipeline, &bed.observed, bed.now, &time);
            let plan = plan_scaled(&bed.pipeline, &bed.observed, &waiting);
            let decided = bed.scaler.note(&bed.pipeline, &bed.observed, &plan, (bed.now, &time), waiting);
            assert!(decided.places.is_some() && decided.news.is_empty(), "{decided:?}");
            bed.observed.assignment = plan.assignment;
        }
        assert_eq!(bed.readers(), after);
    }
}

/// A move among so many workers, away from one of them or to it, was told once, with its reason and figures.
fn assert_moved_once(all: &[Scaling], worker: &str, workers: i32) {
    let told: Vec<_> = all.iter().filter(|scaling| scaling.news.contains(&Reason::Uneven)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let decision = told[0].decision.as_ref().expect("a decision");
    assert_eq!((decision.from, decision.to), (workers, workers), "{decision:?}");
    let is_named = decision.reason.contains("trips/") && decision.reason.contains(worker);
    assert!(decision.reason.starts_with("Uneven: ") && is_named, "{decision:?}");
    assert!(decision.inputs.starts_with("arrivals ") && !decision.inputs.contains("capacity of a worker unknown"));
    let after = all.iter().skip_while(|scaling| scaling.news.is_empty());
    assert!(after.map(|scaling| &scaling.decision).all(|now| now.as_ref() == Some(decision)), "it stands");
}

#[test]
fn key_groups_that_make_room_for_a_hot_one_are_told_as_a_decision_too() {
    let mut bed = Bed::new(spec(2, 2), &[50.0; 4]);
    bed.pipeline.stages = kit::keyed();
    bed.pipeline.key_groups = 8;
    bed.observed.stages = bed.pipeline.stages.clone();
    bed.cost = |_| 0.1;
    assert_eq!(bed.rounds(40).decision, None, "they were spread because workers came");
    let owned = |bed: &Bed| {
        let assignment = bed.observed.assignment.as_ref().expect("published");
        let first = assignment.units[0].owner.clone();
        assignment.units.iter().filter(|unit| unit.owner == first).count()
    };
    assert_eq!(owned(&bed), 4);
    bed.cost = |index| if index == 0 { 0.7 } else { 0.1 };
    let all: Vec<_> = (0..120).map(|_| bed.round()).collect();
    assert!(owned(&bed) < 4, "others went away from the hot one");
    let told: Vec<_> = all.iter().filter(|scaling| !scaling.news.is_empty()).collect();
    assert!((1..=2).contains(&told.len()) && told.iter().all(|told| told.news == [Reason::Uneven]), "{told:?}");
    let decision = told[0].decision.as_ref().expect("a decision");
    assert_eq!((decision.from, decision.to), (2, 2));
    assert!(decision.reason.contains("; moves unit 0/"), "{decision:?}");
}

#[test]
fn a_hot_split_moves_alone_to_where_there_is_room() {
    let mut bed = Bed::new(spec(2, 3), &[50.0; 6]);
    bed.rounds(20);
    let before = bed.readers();
    // Two splits of one worker become more than it can do, and the other one has room for one of them.
    let hot: Vec<usize> = (0..6).filter(|split| before[*split] == before[0]).take(2).collect();
    hot.iter().for_each(|split| bed.arrivals[*split] = 260.0);
    let all: Vec<_> = (0..30).map(|_| bed.round()).collect();
    let after = bed.readers();
    assert_ne!(after[hot[0]], after[hot[1]], "{before:?} {after:?}");
    assert!(all.iter().all(|scaling| scaling.workers <= 3));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(moved <= 3, "{before:?} {after:?}");
    assert_moved_once(&all, &before[hot[0]], 2);
}

#[test]
fn pods_that_do_not_come_hold_further_ones_and_are_told() {
    let mut bed = Bed::new(spec(1, 10), &[20.0; 20]);
    bed.rounds(10);
    bed.arrivals = vec![35.0; 20];
    // The operator decides, and no pod comes of it.
    let mut look = || {
        bed.now += DECIDE_EACH;
        let scaling = bed.scaler.look(&bed.pipeline, &bed.observed, bed.now, &Time(Timestamp::UNIX_EPOCH));
        bed.work();
        scaling
    };
    let held = (0..200).map(|_| look()).find(|scaling| scaling.hold == Some(Hold::Quota)).expect("a hold");
    assert!((2..10).contains(&held.workers), "{held:?}");
}
