//! Laws of the autoscaler, and what it makes of bad figures.

use std::time::Duration;

use proptest::prelude::*;
use thalweg_crds::ids::{RunId, Slot, SplitId};
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};
use thalweg_operator_plan::autoscale::{
    Figures, Hold, Memory, Reason, Recommendation, SplitFigures, SplitKey, WorkerFigures, recommend,
};

/// Records a second that a worker of these tests does.
const CAPACITY: f64 = 1_000.0;
/// Seconds between two decisions.
const ROUND: u64 = 5;

fn spec(min: i32, max: i32) -> ScalingSpec {
    ScalingSpec { min_workers: min, max_workers: max, ..ScalingSpec::default() }
}

fn slot(number: usize) -> Slot {
    Slot(format!("p-{number}"))
}

fn key(number: usize) -> SplitKey {
    SplitKey { source: "trips".to_owned(), split: SplitId(number.to_string()) }
}

/// A pipeline whose figures tests make up, and its autoscaler.
#[derive(Clone)]
struct Bench {
    spec: ScalingSpec,
    figures: Figures,
    memory: Memory,
}

impl Bench {
    /// So many splits, read in turn by so many workers, of which each is as busy as is said.
    fn new(spec: ScalingSpec, splits: usize, workers: usize, busy: f64) -> Self {
        let split = |number| SplitFigures {
            key: key(number),
            end: Some(1_000_000),
            lag: Some(0),
            reader: (workers > 0).then(|| slot(number % workers.max(1))),
            age: Duration::ZERO,
        };
        let worker = |number| WorkerFigures {
            slot: slot(number),
            life: RunId(format!("{number}/0")),
            rate: CAPACITY * busy,
            busy,
            hottest: 0.0,
            blocked: 0.0,
            age: Duration::ZERO,
        };
        let figures = Figures {
            now: Duration::from_secs(1_000),
            splits: (0..splits).map(split).collect(),
            workers: (0..workers).map(worker).collect(),
            wanted: workers,
            spreadable: splits,
            ..Figures::default()
        };
        Self { spec, figures, memory: Memory::default() }
    }

    /// One round later: records have come into each split, and `change` happened.
    fn round(&mut self, arrivals: f64, change: impl FnOnce(&mut Figures)) -> Recommendation {
        self.figures.now += Duration::from_secs(ROUND);
        for split in &mut self.figures.splits {
            split.end = split.end.map(|end| end + (arrivals * ROUND as f64) as u64);
        }
        change(&mut self.figures);
        let (decided, memory) = recommend(&self.spec, &self.figures, std::mem::take(&mut self.memory));
        self.memory = memory;
        decided
    }

    /// Rounds with the same arrivals into each split.
    fn rounds(&mut self, count: usize, arrivals: f64) -> Recommendation {
        let all: Vec<_> = (0..count).map(|_| self.round(arrivals, |_| {})).collect();
        all.into_iter().last().expect("a round")
    }

    /// What is decided comes true at once.
    fn obey(&mut self, decided: &Recommendation) {
        let busy = self.figures.workers.first().map_or(0.5, |worker| worker.busy);
        let fresh = Self::new(self.spec.clone(), self.figures.splits.len(), decided.workers, busy);
        self.figures.workers = fresh.figures.workers;
        self.figures.wanted = decided.workers;
        for (split, new) in self.figures.splits.iter_mut().zip(fresh.figures.splits) {
            split.reader = new.reader;
        }
    }
}

fn busy(figures: &mut Figures, busy: f64) {
    figures.workers.iter_mut().for_each(|worker| (worker.busy, worker.rate) = (busy, CAPACITY * busy));
}

fn held(hold: Hold) -> Reason {
    Reason::Held(hold)
}

#[test]
fn the_least_workers_are_asked_for_that_hold_the_load_at_three_quarters() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 0.95);
    bench.rounds(13, 250.0);
    let decided = bench.round(250.0, |_| {});
    assert_eq!((decided.workers, decided.reason), (4, Reason::Busy), "3,000/s on 4 workers of 750");
    assert_eq!(decided.inputs.needed, Some(4));
}

#[test]
fn what_waits_is_to_be_caught_up_with_in_time() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(13, 233.0);
    let decided = bench.round(233.0, |figures| figures.splits.iter_mut().for_each(|split| split.lag = Some(15_000)));
    assert_eq!((decided.workers, decided.reason), (6, Reason::Behind), "12 × (233 + 15,000 / 120 s) = 4,296/s");
}

#[test]
fn nothing_changes_between_the_reserve_and_nine_tenths() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.88);
    bench.rounds(2, 293.0);
    for _ in 0..400 {
        let decided = bench.round(293.0, |_| {});
        assert_eq!((decided.workers, decided.reason), (4, Reason::Enough));
    }
}

#[test]
fn fewer_workers_are_asked_for_after_a_low_that_lasts_and_not_during_a_dip() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    for round in 0..5 {
        let decided = bench.round(60.0, |figures| busy(figures, 0.2));
        assert_eq!(decided.workers, 4, "round {round} of a dip");
    }
    bench.rounds(20, 233.0);
    let mut workers = Vec::new();
    for _ in 0..60 {
        let decided = bench.round(60.0, |figures| busy(figures, 0.2));
        workers.push(decided.workers);
        if decided.workers < bench.figures.wanted {
            bench.obey(&decided);
        }
    }
    assert_eq!(workers.last(), Some(&1), "720/s fit on one worker: {workers:?}");
    assert!(workers[..12].iter().all(|workers| *workers == 4), "not before a minute has passed: {workers:?}");
}

#[test]
fn silence_of_reports_changes_nothing_and_never_leads_to_zero() {
    let mut bench = Bench::new(spec(0, 20), 12, 4, 0.95);
    bench.rounds(20, 10.0);
    for round in 1..1_000 {
        let age = Duration::from_secs(15 + round * ROUND);
        let decided = bench.round(0.0, |figures| {
            figures.splits.iter_mut().for_each(|split| split.age = age);
            figures.workers.iter_mut().for_each(|worker| worker.age = age);
        });
        assert_eq!((decided.workers, decided.reason), (4, held(Hold::MetricsStale)));
        assert_eq!(decided.placement.len(), 12, "everything stays where it is");
    }
}

#[test]
fn one_split_or_worker_that_is_not_known_is_enough_to_hold() {
    type Change = fn(&mut Figures);
    let unknown: [Change; 7] = [
        |figures| figures.splits[3].lag = None,
        |figures| figures.splits[3].end = None,
        |figures| figures.splits[3].age = Duration::from_secs(16),
        |figures| figures.workers[1].age = Duration::from_secs(16),
        |figures| figures.workers[1].busy = f64::NAN,
        |figures| figures.workers[1].rate = -1.0,
        |figures| (figures.workers[1].busy, figures.workers[1].blocked) = (1.0, 1.0),
    ];
    for (number, change) in unknown.into_iter().enumerate() {
        let mut bench = Bench::new(spec(1, 20), 12, 2, 0.95);
        bench.rounds(13, 250.0);
        let decided = bench.round(250.0, change);
        assert_eq!((decided.workers, decided.reason), (2, held(Hold::MetricsStale)), "change {number}");
    }
}

#[test]
fn a_worker_that_was_replaced_teaches_nothing_wrong() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    let before = bench.round(233.0, |_| {}).inputs.capacity.expect("known");
    for life in 1..20 {
        bench.round(233.0, |figures| {
            let worker = &mut figures.workers[2];
            (worker.life, worker.rate, worker.busy) = (RunId(format!("2/{life}")), 0.0, 0.05);
        });
    }
    let after = bench.round(233.0, |_| {}).inputs.capacity.expect("known");
    assert!((before / after - 1.0).abs() < 0.01, "{before} {after}");
}

#[test]
fn reports_of_one_split_that_contradict_each_other_are_decided_by_the_newer_one() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    let decided = bench.round(233.0, |figures| {
        let old = SplitFigures { lag: Some(900_000_000), age: Duration::from_secs(10), ..figures.splits[0].clone() };
        figures.splits.push(old.clone());
        figures.splits.insert(0, old);
    });
    assert_eq!((decided.workers, decided.inputs.lag_records), (4, Some(0)));
}

#[test]
fn more_than_there_is_never_waits() {
    let mut bench = Bench::new(spec(1, 20), 1, 1, 0.5);
    bench.figures.splits[0].end = Some(0);
    bench.rounds(3, 10.0);
    let decided = bench.round(10.0, |figures| figures.splits[0].lag = Some(u64::MAX));
    assert_eq!(decided.inputs.lag_records, Some(200));
}

#[test]
fn a_topic_that_is_made_again_is_looked_at_anew() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    let fallen = bench.round(0.0, |figures| figures.splits.iter_mut().for_each(|split| split.end = Some(5)));
    assert_eq!((fallen.workers, fallen.reason), (4, held(Hold::MetricsStale)), "one look tells no rate");
    let known = bench.round(233.0, |_| {});
    assert_eq!((known.workers, known.reason), (4, Reason::Enough));
    assert_eq!(known.inputs.arrivals.map(f64::round), Some(12.0 * 233.0));
}

#[test]
fn a_split_without_traffic_counts_nothing() {
    let mut bench = Bench::new(spec(1, 20), 5, 2, 0.95);
    let mut decided = None;
    for _ in 0..20 {
        decided = Some(bench.round(750.0, |figures| figures.splits[4].end = Some(77)));
    }
    assert_eq!(decided.expect("a round").workers, 4, "four splits of 750/s");
}

#[test]
fn a_flood_is_met_with_all_that_there_may_be() {
    let mut bench = Bench::new(spec(1, 20), 100, 2, 1.0);
    bench.rounds(3, 10.0);
    let decided = bench.rounds(2, 1e9);
    assert_eq!(decided.workers, 20);
    assert!(decided.inputs.needed.is_some_and(|needed| needed == 100), "and says how many would be needed");
    bench.obey(&decided);
    assert_eq!(bench.rounds(1, 1e9).reason, held(Hold::Bounds));
}

#[test]
fn a_stalled_sink_adds_no_worker() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    for round in 1..720u64 {
        let decided = bench.round(233.0, |figures| {
            figures.splits.iter_mut().for_each(|split| split.lag = Some(233 * ROUND * round));
            figures.workers.iter_mut().for_each(|worker| {
                (worker.rate, worker.busy, worker.blocked) = (0.0, 0.02, 0.98);
            });
        });
        assert_eq!(decided.workers, 4, "round {round}");
        assert!(round < 4 || decided.reason == held(Hold::SinkBound), "round {round}: {}", decided.reason);
    }
}

#[test]
fn a_split_above_a_worker_is_named_and_asks_for_no_more_than_one() {
    let mut bench = Bench::new(spec(1, 20), 4, 2, 0.95);
    let mut hot = || {
        bench.round(100.0, |figures| {
            let split = &mut figures.splits[0];
            split.end = split.end.map(|end| end + 1_900 * ROUND);
            split.lag = split.lag.map(|lag| lag + 1_000 * ROUND);
        })
    };
    for _ in 0..10 {
        hot();
    }
    let decided = hot();
    assert_eq!((decided.workers, decided.reason), (2, held(Hold::ShardBound)));
    let reads = |split: usize| decided.placement.iter().find(|(at, _)| *at == key(split)).map(|(_, slot)| slot.clone());
    assert!((1..4).all(|other| reads(other) != reads(0)), "it has a worker for itself: {:?}", decided.placement);
}

#[test]
fn a_key_group_above_a_worker_is_named_and_asks_for_none() {
    let decided = |hottest: [f64; 2]| {
        let mut bench = Bench::new(spec(1, 20), 12, 2, 0.95);
        let hot = |figures: &mut Figures| {
            figures.workers.iter_mut().zip(hottest).for_each(|(worker, hottest)| worker.hottest = hottest);
            figures.splits.iter_mut().for_each(|split| split.lag = split.lag.map(|lag| lag + 200 * ROUND));
        };
        let all: Vec<_> = (0..14).map(|_| bench.round(250.0, hot)).collect();
        (all[13].workers, all[13].reason)
    };
    assert_eq!(decided([0.95, 0.95]), (2, held(Hold::ShardBound)));
    assert_eq!(decided([0.95, 0.6]).1, Reason::Behind, "the other worker has units to give away");
    assert_eq!(decided([0.8, 0.8]).1, Reason::Behind, "and so have both");
}

#[test]
fn a_step_that_brings_nothing_is_undone_and_not_tried_again_at_once() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 1.0);
    let mut seen: Vec<(usize, Reason)> = Vec::new();
    for round in 0..400u64 {
        // Whatever the number of workers, 2,000 records a second are done: they share something.
        let workers = bench.figures.workers.len();
        let decided = bench.round(300.0, |figures| {
            figures.splits.iter_mut().for_each(|split| split.lag = split.lag.map(|lag| lag + 133 * ROUND));
            figures.workers.iter_mut().for_each(|worker| (worker.rate, worker.busy) = (2_000.0 / workers as f64, 1.0));
        });
        if decided.workers != bench.figures.wanted {
            seen.push((decided.workers, decided.reason));
            bench.obey(&decided);
        }
        assert!(round < 100 || !seen.is_empty());
    }
    let undone = seen.iter().filter(|(_, reason)| *reason == held(Hold::Ineffective)).count();
    assert!((1..=3).contains(&undone), "within 33 minutes: {seen:?}");
    assert_eq!(
        seen.iter().find(|(_, reason)| *reason == held(Hold::Ineffective)).map(|(workers, _)| *workers),
        Some(2)
    );
}

#[test]
fn a_step_after_which_nobody_waits_is_kept_though_one_worker_has_no_time_left() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 0.98);
    bench.rounds(13, 163.0);
    let decided = bench.round(163.0, |_| {});
    assert_eq!((decided.workers, decided.reason), (3, Reason::Busy));
    bench.obey(&decided);
    for _ in 0..60 {
        // As much is done as comes, which is no more than before; one worker has most of it.
        let decided = bench.round(163.0, |figures| {
            busy(figures, 0.49);
            (figures.workers[0].busy, figures.workers[0].rate) = (0.99, 0.99 * CAPACITY);
        });
        assert_ne!(decided.reason, held(Hold::Ineffective));
        assert!(decided.workers >= 3, "{decided:?}");
    }
}

#[test]
fn pods_that_do_not_come_are_not_asked_for_again() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 0.95);
    bench.rounds(13, 250.0);
    let decided = bench.round(250.0, |figures| figures.missing_for = Duration::from_secs(300));
    assert_eq!((decided.workers, decided.reason), (2, held(Hold::Quota)));
}

#[test]
fn a_load_beyond_what_units_can_be_spread_over_is_held_by_them_and_not_by_nothing() {
    // Two key groups of sixteen splits.
    let mut bench = Bench::new(spec(1, 20), 16, 2, 0.95);
    let decide = |bench: &mut Bench| {
        bench.round(200.0, |figures| {
            figures.spreadable = 2;
            figures.splits.iter_mut().for_each(|split| split.lag = split.lag.map(|lag| lag + 1_000));
        })
    };
    for _ in 0..13 {
        decide(&mut bench);
    }
    let decided = decide(&mut bench);
    assert_eq!((decided.workers, decided.reason), (2, held(Hold::TooFewUnits)));
    assert!(decided.inputs.needed > Some(2), "{:?}", decided.inputs);
}

#[test]
fn nothing_is_decided_while_splits_move() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 0.95);
    bench.rounds(13, 250.0);
    let late = |figures: &mut Figures| {
        figures.moving = 1;
        figures.splits.iter_mut().for_each(|split| split.lag = Some(20_000));
    };
    let decided = bench.round(250.0, late);
    assert_eq!((decided.workers, decided.reason), (2, held(Hold::Rebalancing)));
}

#[test]
fn bounds_that_were_changed_hold_at_once_whatever_is_known() {
    let mut bench = Bench::new(spec(1, 20), 12, 6, 0.7);
    bench.rounds(20, 300.0);
    bench.spec.max_workers = 3;
    let decided = bench.round(300.0, |figures| {
        figures.moving = 2;
        figures.splits.iter_mut().for_each(|split| split.age = Duration::from_secs(600));
    });
    assert_eq!((decided.workers, decided.reason), (3, held(Hold::Bounds)));
    bench.spec = spec(9, 20);
    assert_eq!(bench.round(300.0, |_| {}).workers, 9);
}

#[test]
fn there_are_no_more_workers_than_splits_unless_the_user_asks_for_more() {
    assert_eq!(Bench::new(spec(1, 40), 12, 12, 1.0).rounds(20, 900.0).workers, 12);
    // As many of them as there is work for are started.
    let asked = Bench::new(spec(30, 40), 12, 30, 0.1).rounds(20, 1.0);
    assert_eq!((asked.workers, asked.reason), (30, Reason::Enough));
}

#[test]
fn with_manual_the_user_decides_within_the_bounds() {
    let mut bench = Bench::new(spec(1, 20), 12, 2, 1.0);
    bench.spec.mode = ScalingMode::Manual;
    bench.spec.workers = Some(5);
    assert_eq!(bench.rounds(20, 900.0).workers, 5);
    assert_eq!(bench.rounds(1, 900.0).reason, Reason::Manual);
    bench.spec.workers = None;
    assert_eq!(bench.rounds(1, 900.0).workers, 2, "as many as there are");
}

#[test]
fn nothing_for_long_leads_to_zero_and_something_wakes_to_what_it_needs() {
    let mut bench = Bench::new(spec(0, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    let mut silent_after = None;
    for round in 0..200u64 {
        let decided = bench.round(0.0, |figures| busy(figures, 0.0));
        if decided.workers < bench.figures.wanted {
            bench.obey(&decided);
        }
        if decided.workers == 0 {
            silent_after = Some(((round + 1) * ROUND, decided.reason));
            break;
        }
    }
    let (seconds, reason) = silent_after.expect("zero");
    assert_eq!(reason, Reason::Silent);
    assert!((600..=620).contains(&seconds), "zeroAfter is 10m, and it took {seconds} s");
    assert_eq!(bench.rounds(200, 0.0).workers, 0);
    let woken = bench.round(233.0, |figures| figures.splits.iter_mut().for_each(|split| split.lag = Some(1_165)));
    assert_eq!(woken.reason, Reason::Woken);
    assert_eq!(woken.workers, 4, "12 splits of 233/s, as it was in the last five seconds, and 1,165 / 120 s");
}

#[test]
fn at_zero_nothing_is_woken_by_what_is_not_known() {
    let mut bench = Bench::new(spec(0, 20), 12, 0, 0.0);
    bench.rounds(20, 0.0);
    let decided = bench.round(0.0, |figures| figures.splits[0].lag = None);
    assert_eq!((decided.workers, decided.reason), (0, held(Hold::MetricsStale)));
}

#[test]
fn reports_after_a_pause_count_what_came_meanwhile_over_the_pause() {
    let mut bench = Bench::new(spec(1, 20), 12, 4, 0.7);
    bench.rounds(20, 233.0);
    let decided = bench.round(0.0, |figures| {
        figures.now += Duration::from_secs(595);
        figures.splits.iter_mut().for_each(|split| split.end = split.end.map(|end| end + 233 * 600));
    });
    assert_eq!(decided.inputs.arrivals.map(f64::round), Some(2_796.0));
    assert_eq!(decided.workers, 4);
}

fn figures() -> impl Strategy<Value = (ScalingSpec, Figures)> {
    let share = prop_oneof![8 => 0.0..1.0f64, 1 => Just(f64::NAN), 1 => -1.0..50.0f64];
    let age = prop_oneof![6 => 0..10u64, 1 => 0..10_000u64];
    let position =
        prop_oneof![5 => (0..2_000_000u64).prop_map(Some), 1 => Just(None), 1 => any::<u64>().prop_map(Some)];
    let split = (0..8usize, position.clone(), position, proptest::option::of(0..8usize), age.clone());
    let worker = (share.clone(), share, prop_oneof![8 => 0.0..5_000.0f64, 1 => any::<f64>()], age);
    let splits = proptest::collection::vec(split, 0..10);
    let workers = proptest::collection::vec(worker, 0..8);
    let numbers = (0..12usize, 0..3usize, 0..400u64, 0..40usize);
    (splits, workers, numbers, 0..10i32, 1..15i32).prop_map(|(splits, workers, numbers, min, max)| {
        let (wanted, moving, missing, spreadable) = numbers;
        let splits = splits.into_iter().map(|(number, end, lag, reader, age)| SplitFigures {
            key: key(number),
            end,
            lag,
            reader: reader.map(slot),
            age: Duration::from_secs(age),
        });
        let workers = workers.into_iter().enumerate().map(|(number, (busy, blocked, rate, age))| WorkerFigures {
            slot: slot(number),
            life: RunId(number.to_string()),
            rate,
            busy,
            hottest: busy / 2.0,
            blocked,
            age: Duration::from_secs(age),
        });
        let figures = Figures {
            now: Duration::ZERO,
            splits: splits.collect(),
            workers: workers.collect(),
            wanted,
            moving,
            missing_for: Duration::from_secs(missing),
            spreadable,
        };
        (spec(min.min(max), max), figures)
    })
}

/// Figures one after another, some seconds apart.
fn history() -> impl Strategy<Value = (ScalingSpec, Vec<Figures>)> {
    proptest::collection::vec((figures(), 1..100u64), 1..12).prop_map(|rounds| {
        let spec = rounds[0].0.0.clone();
        let mut now = 0;
        let figures = rounds.into_iter().map(|((_, figures), seconds)| {
            now += seconds;
            Figures { now: Duration::from_secs(now), ..figures }
        });
        (spec, figures.collect())
    })
}

proptest! {
    #[test]
    fn bounds_are_always_kept((spec, history) in history()) {
        let mut memory = Memory::default();
        for figures in &history {
            let (decided, next) = recommend(&spec, figures, memory);
            let spreadable = if figures.spreadable == 0 { usize::MAX } else { figures.spreadable };
            let (least, most) = (spec.min_workers as usize, spec.max_workers as usize);
            prop_assert!(decided.workers >= least);
            prop_assert!(decided.workers <= most.min(spreadable).max(least));
            memory = next;
        }
    }

    #[test]
    fn the_same_gives_the_same((spec, history) in history()) {
        let run = || {
            let mut memory = Memory::default();
            let mut all = Vec::new();
            for figures in &history {
                let (decided, next) = recommend(&spec, figures, memory);
                // NaN is not equal to itself.
                all.push(format!("{decided:?}"));
                memory = next;
            }
            (all, format!("{memory:?}"))
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn what_is_stale_never_scales((spec, history) in history(), which in any::<prop::sample::Index>()) {
        let mut memory = Memory::default();
        for figures in &history {
            let mut figures = figures.clone();
            if !figures.splits.is_empty() {
                let at = which.index(figures.splits.len());
                let stale = figures.splits[at].key.clone();
                figures.splits.iter_mut().filter(|split| split.key == stale).for_each(|split| {
                    split.age = Duration::from_secs(16);
                });
            }
            let least = spec.min_workers as usize;
            figures.wanted = figures.wanted.clamp(least, spec.max_workers as usize);
            figures.spreadable = 0;
            let (decided, next) = recommend(&spec, &figures, memory);
            prop_assert_eq!(decided.workers, figures.wanted);
            memory = next;
        }
    }

    #[test]
    fn more_load_never_gives_fewer_workers(
        loads in proptest::collection::vec((0.0..900.0f64, 0..200_000u64), 1..24),
        more in proptest::collection::vec((0.0..300.0f64, 0..100_000u64), 24),
        workers in 1..8usize, busy in 0.3..1.0f64,
    ) {
        let decide = |loads: &[(f64, u64)]| {
            let mut bench = Bench::new(spec(1, 30), loads.len(), workers, busy);
            bench.rounds(13, 0.0);
            let mut decided = None;
            for _ in 0..14 {
                decided = Some(bench.round(0.0, |figures| {
                    for (split, (arrivals, lag)) in figures.splits.iter_mut().zip(loads) {
                        split.end = split.end.map(|end| end + (arrivals * ROUND as f64) as u64);
                        split.lag = Some(*lag);
                    }
                }));
            }
            decided.expect("a round")
        };
        let heavier: Vec<_> =
            loads.iter().zip(&more).map(|((rate, lag), more)| (rate + more.0, lag + more.1)).collect();
        let (light, heavy) = (decide(&loads), decide(&heavier));
        prop_assert!(heavy.inputs.needed >= light.inputs.needed, "{:?} {:?}", light.inputs, heavy.inputs);
        if !matches!(heavy.reason, Reason::Held(_)) {
            prop_assert!(heavy.workers >= light.workers, "{light:?} {heavy:?}");
        }
    }

    #[test]
    fn every_split_that_is_known_is_placed_on_a_worker_that_lives(
        loads in proptest::collection::vec(0.0..900.0f64, 1..24), workers in 1..8usize, busy in 0.3..1.0f64,
    ) {
        let mut bench = Bench::new(spec(1, 30), loads.len(), workers, busy);
        for _ in 0..20 {
            let decided = bench.round(0.0, |figures| {
                for (split, arrivals) in figures.splits.iter_mut().zip(&loads) {
                    split.end = split.end.map(|end| end + (arrivals * ROUND as f64) as u64);
                }
            });
            prop_assert_eq!(decided.placement.len(), loads.len());
            let lives = |at: &Slot| bench.figures.workers.iter().any(|worker| worker.slot == *at);
            prop_assert!(decided.placement.iter().all(|(_, at)| lives(at)));
        }
    }
}
