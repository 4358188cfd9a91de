//! What a running pipeline counts, for progress, the summary and metrics. One writer a field, many readers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use thalweg_core::decode::BadClass;
use thalweg_core::time::Watermark;

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
    /// The sink that it writes, by its name in SQL; `None` where a later stage reads it.
    pub sink: Option<String>,
    /// Rows emitted.
    pub rows_out: Counter,
    /// Dead letters written.
    pub dead_letters: Counter,
    /// Commits.
    pub commits: Counter,
    /// Time that commits took, in microseconds.
    pub commit_micros: Counter,
    /// Bytes that windows hold.
    pub state: Held,
    /// Groups of rows that a unit found late after their window had closed (possible only after idleness or a new
    /// split).
    pub late: Counter,
    watermark: AtomicI64,
}

impl Default for StageCounters {
    fn default() -> Self {
        Self {
            sink: None,
            rows_out: Counter::default(),
            dead_letters: Counter::default(),
            commits: Counter::default(),
            commit_micros: Counter::default(),
            state: Held::default(),
            late: Counter::default(),
            watermark: AtomicI64::new(Watermark::UNKNOWN.0),
        }
    }
}

impl StageCounters {
    /// Nothing counted yet, of a stage that writes this sink.
    pub fn of(sink: Option<String>) -> Self {
        Self { sink, ..Self::default() }
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
    /// Its stages, by number.
    pub stages: Vec<StageCounters>,
}

impl Counters {
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
    fn what_is_held_together_falls_again_and_its_peak_stays() {
        let held = Held::default();
        held.change(0, 7);
        held.change(0, 5);
        held.change(7, 1);
        held.change(5, 6);
        assert_eq!(held.peak(), 12);
    }
}
