//! What is known of one pipeline at one moment, as workers report it.

use std::time::Duration;

use thalweg_crds::ids::{RunId, Slot, SplitId};

/// What is known of one pipeline at one moment. Times are those of whoever asks; no worker's clock comes into it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Now, since any moment that stays the same, by a monotonic clock.
    pub now: Duration,
    /// The splits of all sources.
    pub splits: Vec<SplitFigures>,
    /// The workers that live and serve.
    pub workers: Vec<WorkerFigures>,
    /// How many workers there are to be, as was decided last.
    pub wanted: usize,
    /// Splits and units that are between two owners.
    pub moving: usize,
    /// For how long pods that were asked for have not come; zero where none is missing.
    pub missing_for: Duration,
    /// Over how many workers the work can be spread at the most: splits, or units where those are more. 0 where unknown.
    pub spreadable: usize,
}

/// A split, by its source and its name there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey {
    /// The source, by its name in SQL.
    pub source: String,
    /// The split.
    pub split: SplitId,
}

/// What is known of a split. Unknown is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitFigures {
    /// Which.
    pub key: SplitKey,
    /// The position behind its last record, counted in records.
    pub end: Option<u64>,
    /// Records between the least accepted position and the end. Accepted, not committed: the rhythm of commits is none of
    /// the load's.
    pub lag: Option<u64>,
    /// Who reads it.
    pub reader: Option<Slot>,
    /// How long ago this was reported.
    pub age: Duration,
}

/// What is known of a worker, since its report before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerFigures {
    /// Its slot.
    pub slot: Slot,
    /// Which life of it.
    pub life: RunId,
    /// Records a second that it has done.
    pub rate: f64,
    /// Share of time that it worked, 0 to 1.
    pub busy: f64,
    /// Share of time that its busiest unit worked, 0 to 1: a split or a key group, which no two workers can share.
    pub hottest: f64,
    /// Share of time that it waited for a sink or an exchange, 0 to 1.
    pub blocked: f64,
    /// How long ago this was reported.
    pub age: Duration,
}

impl WorkerFigures {
    /// Whether the figures can be those of a worker.
    pub(super) fn is_sound(&self) -> bool {
        let is_share = |share: f64| (0.0..=1.01).contains(&share);
        is_share(self.busy)
            && is_share(self.blocked)
            && self.busy + self.blocked <= 1.1
            && self.rate >= 0.0
            && self.rate.is_finite()
    }
}
