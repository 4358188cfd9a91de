//! Each rule against its published formula, with numbers that are worked out by hand.

use thalweg_crds::scaling::ScalingSpec;

use super::flink::{Flink, FlinkSettings};
use super::keda::Keda;
use super::numaflow::Numaflow;
use crate::rule::{Rule, SplitView, View, WorkerView};
use crate::settings::Settings;

const SPLITS: usize = 12;

fn settings(least: i32) -> Settings {
    let scaling = ScalingSpec { min_workers: least, max_workers: SPLITS as i32, ..ScalingSpec::default() };
    Settings { capacity: 1_000.0, start_seconds: 20, pause_seconds: 2, stalls: Vec::new(), scaling }
}

/// What all splits and all workers together have in a second.
#[derive(Clone, Copy)]
struct All {
    workers: usize,
    lag: f64,
    arrivals: f64,
    done: f64,
    busy: f64,
}

impl All {
    fn view(self, second: u32) -> View {
        let (splits, workers) = (SPLITS as f64, self.workers.max(1) as f64);
        let split = SplitView { lag: self.lag / splits, arrivals: self.arrivals / splits, ..SplitView::default() };
        let worker = |number| WorkerView { number, done: self.done / workers, busy: self.busy / workers, blocked: 0.0 };
        View {
            second,
            wanted: self.workers,
            splits: vec![split; SPLITS],
            workers: (0..self.workers).map(worker).collect(),
            ..View::default()
        }
    }

    /// What a rule answers last in these seconds.
    fn asked(self, rule: &mut dyn Rule, seconds: std::ops::RangeInclusive<u32>) -> Option<usize> {
        seconds.filter_map(|second| rule.look(&self.view(second))).last().map(|answer| answer.workers)
    }
}

const QUIET: All = All { workers: 1, lag: 0.0, arrivals: 0.0, done: 0.0, busy: 0.0 };

#[test]
fn keda_asks_for_lag_over_threshold_with_the_limits_of_the_autoscaler_behind_it() {
    let keda = || Keda::new("KEDA", 10.0, &settings(0), SPLITS);
    let lag = |workers, lag| All { workers, lag, ..QUIET };
    assert_eq!(lag(3, 57.0).asked(&mut keda(), 1..=15), Some(6), "57 / 10, rounded up");
    assert_eq!(lag(3, 32.0).asked(&mut keda(), 1..=15), Some(3), "within a tenth of 3 × 10");
    assert_eq!(lag(8, 1e9).asked(&mut keda(), 1..=15), Some(12), "no more than the partitions");
    assert_eq!(lag(1, 1e9).asked(&mut keda(), 1..=15), Some(5), "four at once, or twice as many");
    let mut rule = keda();
    assert_eq!(lag(6, 57.0).asked(&mut rule, 1..=15), Some(6));
    assert_eq!(lag(6, 11.0).asked(&mut rule, 16..=300), Some(6), "the most of 300 s");
    assert_eq!(lag(6, 11.0).asked(&mut rule, 301..=330), Some(2));
    assert_eq!(lag(2, 0.0).asked(&mut rule, 331..=629), Some(2), "the most of 300 s");
    assert_eq!(lag(2, 0.0).asked(&mut rule, 630..=630), Some(0), "nothing was seen since 330 s");
    assert_eq!(lag(0, 5.0).asked(&mut rule, 631..=659), None, "it looks each 30 s");
    assert_eq!(lag(0, 5.0).asked(&mut rule, 660..=660), Some(1));
}

#[test]
fn numaflow_asks_for_what_does_the_pending_in_twenty_seconds_two_at_a_time() {
    let numaflow = || Numaflow::new(&settings(1), SPLITS);
    let pending = |workers, lag| All { workers, lag, done: 100.0, busy: 1.0, ..QUIET };
    assert_eq!(pending(2, 3_000.0).asked(&mut numaflow(), 1..=90), Some(3), "3,000 / 100 / 20 × 2");
    assert_eq!(pending(2, 40_000.0).asked(&mut numaflow(), 1..=90), Some(4), "40 would do, and two come at once");
    assert_eq!(pending(8, 1_000.0).asked(&mut numaflow(), 1..=90), Some(6), "4 would do, and two go at once");
    assert_eq!(pending(2, 3_000.0).asked(&mut numaflow(), 1..=89), None, "90 s after a change");
}

#[test]
fn flink_asks_for_arrivals_lag_and_restart_over_the_true_rate() {
    let default = || Flink::new(FlinkSettings::DEFAULT, &settings(1), SPLITS);
    let busy = All { workers: 1, arrivals: 700.0, done: 500.0, busy: 1.0, ..QUIET };
    // 700 × 300 / 1,800 + 700 / 0.7 = 1,116.7; × 1 / 500 = 2.2, rounded up.
    assert_eq!(busy.asked(&mut default(), 1..=1_320), Some(3));
    assert_eq!(busy.asked(&mut default(), 1..=1_199), None, "it settles for 300 s, and looks back for 900");
    // And 1,800,000 / 1,800 for what waits: 2,116.7 / 500 = 4.2; 5 does not divide 12, 6 does.
    assert_eq!(All { lag: 1.8e6, ..busy }.asked(&mut default(), 1..=1_320), Some(6));
    // 700 / 1.0 is done at the most: inside the band nothing changes.
    assert_eq!(All { done: 700.0, busy: 0.95, ..busy }.asked(&mut default(), 1..=1_320), None);
    let idle = All { workers: 12, arrivals: 100.0, done: 100.0, busy: 1.2, ..QUIET };
    // A tenth would do; no less than 0.4 × 12, by which 12 can be divided; an hour later.
    assert_eq!(idle.asked(&mut default(), 1..=4_799), None);
    assert_eq!(idle.asked(&mut default(), 1..=4_860), Some(6));
    // Tuned: a restart of 2 s, a band of 0.5 to 0.9, 60 + 180 s: 700 × 2 / 300 + 1,000 = 1,004.7; / 500 = 2.01.
    let mut tuned = Flink::new(FlinkSettings::tuned(&settings(1)), &settings(1), SPLITS);
    assert_eq!(busy.asked(&mut tuned, 1..=300), Some(3));
}
