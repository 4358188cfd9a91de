//! The load of a pipeline, as it weighs on workers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ends::Ends;
use super::figures::{Figures, SplitFigures, SplitKey, WorkerFigures};

/// Windows over which arrivals are counted: the short one sees a step soon, the long one a lull that is none.
const WINDOWS: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(60)];
/// And over which while more is called for: a step shows in the last look long before it fills a window.
const SURGE: Duration = Duration::from_secs(5);
/// A report older than this says nothing about now: seven are asked for meanwhile.
const STALE: Duration = Duration::from_secs(15);

/// A split's part of the load.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SplitLoad<'a> {
    pub figures: &'a SplitFigures,
    /// Records a second that come in.
    pub arrivals: f64,
    /// Records that wait.
    pub lag: u64,
    /// Age of the oldest of them, where it is known.
    pub lag_seconds: Option<f64>,
    /// Records a second that are to be done: arrivals, and what waits over the time in which to catch up.
    pub weight: f64,
    /// The same, if what came since the last look goes on coming.
    pub surge: f64,
}

/// The load of a pipeline, where all of it is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Load<'a> {
    pub splits: Vec<SplitLoad<'a>>,
    pub workers: &'a [WorkerFigures],
}

/// The newest figures of each split: while one moves, two workers report it.
pub(super) fn newest(figures: &Figures) -> Vec<&SplitFigures> {
    let mut newest: BTreeMap<&SplitKey, &SplitFigures> = BTreeMap::new();
    for split in &figures.splits {
        let known = newest.entry(&split.key).or_insert(split);
        let order = |split: &SplitFigures| (split.end.is_some(), std::cmp::Reverse(split.age), split.end);
        if order(split) > order(known) {
            *known = split;
        }
    }
    newest.into_values().collect()
}

/// Whether a report is of now.
pub(super) fn is_fresh(age: Duration) -> bool {
    age <= STALE
}

impl<'a> Load<'a> {
    /// The load; `None` where any part of it is unknown: a report is old or makes no sense, or an end was seen once only.
    pub fn of(figures: &'a Figures, ends: &BTreeMap<SplitKey, Ends>, catch_up: Duration) -> Option<Self> {
        let splits = newest(figures).into_iter().map(|split| SplitLoad::of(split, ends, figures.now, catch_up));
        let splits: Vec<_> = splits.collect::<Option<_>>()?;
        let is_known = |worker: &WorkerFigures| is_fresh(worker.age) && worker.is_sound();
        let is_served = !figures.workers.is_empty() || figures.wanted == 0;
        let known = !splits.is_empty() && is_served && figures.workers.iter().all(is_known);
        known.then_some(Self { splits, workers: &figures.workers })
    }

    pub fn arrivals(&self) -> f64 {
        self.splits.iter().map(|split| split.arrivals).sum()
    }

    pub fn lag(&self) -> u64 {
        self.splits.iter().fold(0, |sum, split| sum.saturating_add(split.lag))
    }

    /// Age of the oldest record that waits anywhere.
    pub fn lag_seconds(&self) -> f64 {
        self.splits.iter().filter_map(|split| split.lag_seconds).fold(0.0, f64::max)
    }

    pub fn weights(&self) -> Vec<f64> {
        self.splits.iter().map(|split| split.weight).collect()
    }

    pub fn surges(&self) -> Vec<f64> {
        self.splits.iter().map(|split| split.surge).collect()
    }

    /// How busy the busiest worker is.
    pub fn busy(&self) -> f64 {
        self.workers.iter().map(|worker| worker.busy).fold(0.0, f64::max)
    }

    /// For how long what comes would have to come to be what waits.
    pub fn mean_lag_seconds(&self) -> f64 {
        self.lag() as f64 / self.arrivals().max(1.0)
    }

    /// Whether some worker is busy for more than a share of its time, and each that is has one unit that takes more than `alone`
    /// of that: others would find nothing to take from it.
    pub fn is_bound_by_units(&self, busy: f64, alone: f64) -> bool {
        let mut full = self.workers.iter().filter(|worker| worker.busy > busy).peekable();
        full.peek().is_some() && full.all(|worker| worker.hottest > alone * worker.busy)
    }

    /// How busy workers are on average.
    pub fn mean_busy(&self) -> f64 {
        let sum: f64 = self.workers.iter().map(|worker| worker.busy).sum();
        sum / self.workers.len().max(1) as f64
    }

    /// Share of all workers' time that went into waiting for a sink.
    pub fn blocked(&self) -> f64 {
        let sum: f64 = self.workers.iter().map(|worker| worker.blocked).sum();
        sum / self.workers.len().max(1) as f64
    }

    /// Records a second of a worker that it can do at the least, by what workers do in the time that they work; any
    /// number where there is nothing to do. `None` where that is not known.
    pub fn least_capacity(&self) -> Option<f64> {
        let busy: f64 = self.workers.iter().map(|worker| worker.busy).sum();
        let capacity = if self.arrivals() == 0.0 && self.lag() == 0 { 1.0 } else { self.rate() / busy };
        (capacity.is_finite() && capacity > 0.0).then_some(capacity)
    }

    /// Records a second that all workers do.
    pub fn rate(&self) -> f64 {
        self.workers.iter().map(|worker| worker.rate).sum()
    }
}

impl<'a> SplitLoad<'a> {
    fn of(split: &'a SplitFigures, ends: &BTreeMap<SplitKey, Ends>, now: Duration, catch_up: Duration) -> Option<Self> {
        let (end, lag) = (split.end?, split.lag?);
        let ends = ends.get(&split.key).filter(|_| is_fresh(split.age))?;
        let rates = WINDOWS.iter().map(|window| ends.rate(*window));
        let arrivals = rates.collect::<Option<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
        // More cannot wait than there is.
        let lag = lag.min(end);
        let catching_up = lag as f64 / catch_up.as_secs_f64().max(1.0);
        let surge = ends.rate(SURGE)?.max(arrivals) + catching_up;
        let (weight, lag_seconds) = (arrivals + catching_up, ends.age(lag, now));
        Some(Self { figures: split, arrivals, lag, lag_seconds, weight, surge })
    }
}
