//! What a running pipeline counts, for progress, the summary and metrics. One writer a field, many readers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_core::decode::BadClass;
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, StageId, UnitId};

use super::lag::Lag;
use super::load::Waits;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took: how many of them no longer than each bound, and all of it together.
#[derive(Debug, Default)]
pub struct Times {
    /// One for each bound, of what is above the bound before, and one for what took longer than the last.
    counts: [Counter; Times::BOUNDS.len() + 1],
    micros: Counter,
}

impl Times {
    /// From a commit to a disk nearby up to one that is given up.
    pub const BOUNDS: [Duration; 13] = [
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(60),
    ];

    /// Something took so long.
    pub fn note(&self, took: Duration) {
        let bound = Self::BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(Self::BOUNDS.len());
        self.counts[bound].add(1);
        self.micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there were, of each range between bounds.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(Counter::get)
    }

    /// All of it together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.get())
    }
}

/// A sum of what many hold, with the most that it ever was.
#[derive(Debug, Default)]
pub struct Held {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Held {
    /// One holder has `after` now, and had `before`.
    pub fn change(&self, before: u64, after: u64) {
        // Wraps around and back where `after` is less.
        let change = after.wrapping_sub(before);
        let now = self.now.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    /// The most so far.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// One source of one pipeline.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// The name in SQL.
    pub name: String,
    /// Whether it is a table that was read before anything else: its rows are no part of what a pipeline reads.
    pub is_lookup: bool,
    /// Rows decoded.
    pub rows: Counter,
    /// Units of `Split::size` read, over all splits.
    pub read: Counter,
    /// What there is to read in the same units; 0 where it is not known.
    pub size: Counter,
    /// Rows that came after their windows had closed.
    pub late: Counter,
    /// Bad records by class.
    pub bad: BadCounters,
    /// Splits that stand at their log's end or have ended.
    pub splits: Counter,
    /// See [`SourceCounters::lag`].
    pub lag: Mutex<Option<Lag>>,
    /// See [`SourceCounters::lags`].
    pub lags: Mutex<BTreeMap<String, Lag>>,
    /// See [`SourceCounters::ends`].
    pub ends: Mutex<BTreeMap<String, u64>>,
}

impl SourceCounters {
    /// How far units are behind the ends of the splits that are read here: all records, and the oldest one's age; `None`
    /// where a split does not know.
    pub fn lag(&self) -> Option<Lag> {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same of each split; without those that do not know.
    pub fn lags(&self) -> BTreeMap<String, Lag> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the ends of the splits are that are read here, in records; without those that are not known.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the ends of all splits that are read here.
    pub fn set_ends(&self, ends: BTreeMap<String, u64>) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// Notes the lags of all splits that are read here.
    pub fn set_lag(&self, splits: &[(String, Option<Lag>)]) {
        let sum = |all: Option<Lag>, one: Lag| match all {
            None => Some(one),
            Some(all) => {
                let seconds = all.seconds.zip(one.seconds).map(|(all, one)| all.max(one));
                Some(Lag { records: all.records + one.records, seconds })
            }
        };
        let known = splits.iter().map(|(_, lag)| *lag).collect::<Option<Vec<_>>>();
        let lag = known.and_then(|splits| splits.into_iter().fold(None, sum));
        let each = splits.iter().filter_map(|(split, lag)| Some((split.clone(), (*lag)?)));
        *self.lags.lock().unwrap_or_else(PoisonError::into_inner) = each.collect();
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }
}

/// Bad records by class.
#[derive(Debug, Default)]
pub struct BadCounters([Counter; 5]);

impl BadCounters {
    /// Every class, in the order of the counters.
    pub const CLASSES: [BadClass; 5] =
        [BadClass::Decode, BadClass::Schema, BadClass::Evaluation, BadClass::Late, BadClass::Rejected];

    /// The counter of a class.
    pub fn of(&self, class: BadClass) -> &Counter {
        &self.0[match class {
            BadClass::Decode => 0,
            BadClass::Schema => 1,
            BadClass::Evaluation => 2,
            BadClass::Late => 3,
            BadClass::Rejected => 4,
        }]
    }

    /// Bad records of all classes but late ones, which are counted apart.
    pub fn total(&self) -> u64 {
        Self::CLASSES.iter().filter(|class| **class != BadClass::Late).map(|class| self.of(*class).get()).sum()
    }
}

/// One stage of one pipeline.
#[derive(Debug)]
pub struct StageCounters {
    /// Its number.
    pub id: StageId,
    /// The sink that it writes, by its name in SQL; `None` where a later stage reads it.
    pub sink: Option<String>,
    /// Rows emitted.
    pub rows_out: Counter,
    /// Rows that can be seen in the sink.
    pub rows_shown: Counter,
    /// Rows that the sink would not take.
    pub rejected: Counter,
    /// Dead letters written.
    pub dead_letters: Counter,
    /// Commits.
    pub commits: Counter,
    /// Time that commits took.
    pub commit_times: Times,
    /// Time that sinks took to make output last, and to show it.
    pub sink_times: Times,
    /// Bytes that windows hold.
    pub state: Held,
    watermark: AtomicI64,
}

impl Default for StageCounters {
    fn default() -> Self {
        Self {
            id: StageId(0),
            sink: None,
            rows_out: Counter::default(),
            rows_shown: Counter::default(),
            rejected: Counter::default(),
            dead_letters: Counter::default(),
            commits: Counter::default(),
            commit_times: Times::default(),
            sink_times: Times::default(),
            state: Held::default(),
            watermark: AtomicI64::new(Watermark::UNKNOWN.0),
        }
    }
}

impl StageCounters {
    /// Nothing counted yet, of a stage that writes this sink.
    pub fn of(id: StageId, sink: Option<String>) -> Self {
        Self { id, sink, ..Self::default() }
    }

    /// The watermark of the unit that was heard last.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.watermark.load(Ordering::Relaxed))
    }

    /// Notes a unit's watermark.
    pub fn set_watermark(&self, watermark: Watermark) {
        self.watermark.store(watermark.0, Ordering::Relaxed);
    }
}

/// One pipeline.
#[derive(Debug, Default)]
pub struct Counters {
    /// Its sources, as the job lists them.
    pub sources: Vec<SourceCounters>,
    /// Its stages, in the order of the plan.
    pub stages: Vec<StageCounters>,
    units: Mutex<BTreeMap<UnitId, Arc<UnitCounters>>>,
}

/// One unit that this process has acquired.
#[derive(Debug, Default)]
pub struct UnitCounters {
    /// At which epoch.
    pub epoch: Epoch,
    /// Commits.
    pub commits: Counter,
    /// Dead letters written.
    pub dead_letters: Counter,
    /// Nanoseconds that it worked.
    pub worked_nanos: Counter,
    /// How long it waited for its sinks.
    pub waited: Waits,
    last_commit_millis: AtomicI64,
    last_commit_micros: AtomicU64,
}

impl UnitCounters {
    /// Counts a commit that was durable at a time, in milliseconds since 1970, and how long it took.
    pub fn committed(&self, wall_millis: i64, took: Duration) {
        self.commits.add(1);
        self.last_commit_millis.store(wall_millis, Ordering::Relaxed);
        self.last_commit_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the last commit was durable, in milliseconds since 1970, and how long it took; `None` before the first.
    pub fn last_commit(&self) -> Option<(i64, Duration)> {
        let millis = self.last_commit_millis.load(Ordering::Relaxed);
        (millis > 0).then(|| (millis, Duration::from_micros(self.last_commit_micros.load(Ordering::Relaxed))))
    }
}

/// A pipeline, and what it counts.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub counters: Arc<Counters>,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new(sources: Vec<SourceCounters>, stages: Vec<StageCounters>) -> Self {
        Self { sources, stages, units: Mutex::default() }
    }

    /// What is counted of a stage.
    ///
    /// # Panics
    /// Nothing is counted of such a stage: they are those of the plan that runs.
    pub fn stage(&self, id: StageId) -> &StageCounters {
        let found = self.stages.iter().find(|stage| stage.id == id);
        found.expect("every stage of the plan is counted")
    }

    /// A unit that was acquired at an epoch.
    pub fn acquired(&self, unit: UnitId, epoch: Epoch) -> Arc<UnitCounters> {
        let counters = Arc::new(UnitCounters { epoch, ..UnitCounters::default() });
        self.units.lock().unwrap_or_else(PoisonError::into_inner).insert(unit, counters.clone());
        counters
    }

    /// A unit that was closed.
    pub fn released(&self, unit: UnitId) {
        self.units.lock().unwrap_or_else(PoisonError::into_inner).remove(&unit);
    }

    /// The units that were acquired, in the order of their numbers.
    pub fn units(&self) -> Vec<(UnitId, Arc<UnitCounters>)> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        units.iter().map(|(unit, counters)| (*unit, counters.clone())).collect()
    }

    /// Rows of all sources that are read, without lookups.
    pub fn rows_read(&self) -> u64 {
        self.sources.iter().filter(|source| !source.is_lookup).map(|source| source.rows.get()).sum()
    }

    /// Changes as long as rows come.
    pub fn activity(&self) -> u64 {
        let (read, out) = (self.sources.iter().map(|source| source.rows.get()), self.stages.iter());
        read.chain(out.map(|stage| stage.rows_out.get())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_within_it_and_what_takes_longer_than_all_counts_too() {
        let times = Times::default();
        [0, 5, 6, 60_000, 60_001].into_iter().map(Duration::from_millis).for_each(|took| times.note(took));
        assert_eq!(times.counts().collect::<Vec<_>>(), [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(times.total(), Duration::from_millis(120_012));
        assert!(Times::BOUNDS.is_sorted());
    }

    #[test]
    fn what_is_held_together_falls_again_and_its_peak_stays() {
        let held = Held::default();
        held.change(0, 7);
        held.change(0, 5);
        held.change(7, 1);
        held.change(5, 6);
        assert_eq!(held.peak(), 12);
    }
}
