//! What a unit takes of its logs.

use arrow::record_batch::RecordBatch;
use thalweg_core::progress::LogProgress;
use thalweg_exchange::message::Rows;

/// A log within one stage: its input, and its number among the logs of that input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Index in `Stage::inputs`.
    pub input: u16,
    /// Number of the log: the ordinal of the split, or the index of the upstream unit.
    pub log: u32,
}

/// A range of a log that continues what was taken of it, as far as one unit needs it. Ranges without rows count too: they
/// move `V`.
#[derive(Debug)]
pub struct Range {
    /// Which log.
    pub log: LogKey,
    /// The log before it.
    pub before: LogProgress,
    /// The log after it.
    pub after: LogProgress,
    /// The rows, in the shape that the stage takes.
    pub rows: Option<Rows>,
    /// Dead letters that belong to this unit, as [`super::dead_letter::to_batch`] makes them.
    pub dead_letters: Option<RecordBatch>,
    /// Whether whoever serves the log waits for the commit of this range.
    pub is_awaited: bool,
}
