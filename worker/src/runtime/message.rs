//! What readers send to units.

use arrow::record_batch::RecordBatch;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_sql::window::Partial;
use tokio::sync::mpsc;

/// A log within one stage: its input, and its number among the logs of that input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Index in `Stage::inputs`.
    pub input: u16,
    /// Number of the log: the ordinal of the split, or the index of the upstream unit.
    pub log: u32,
}

/// What a unit receives.
#[derive(Debug)]
pub enum Message {
    /// A log that the unit must wait for from now on.
    AddLog {
        /// Which log.
        key: LogKey,
        /// Its name, which stays the same over restarts.
        name: String,
        /// How far it was taken.
        progress: LogProgress,
    },
    /// Part of a log.
    Range(Range),
}

/// A range `[from, after.next)` of a log, as far as one unit needs it. Ranges without rows count too: they move `V`.
#[derive(Debug)]
pub struct Range {
    /// Which log.
    pub log: LogKey,
    /// Where it starts.
    pub from: Position,
    /// The log after it.
    pub after: LogProgress,
    /// The rows, in the shape that the stage takes.
    pub rows: Rows,
    /// Dead letters that belong to this unit, as [`super::dead_letter::to_batch`] makes them.
    pub dead_letters: Option<RecordBatch>,
}

/// Rows for a unit.
#[derive(Debug)]
pub enum Rows {
    /// None in this range.
    None,
    /// Rows as the stage's transform made them.
    Batch(RecordBatch),
    /// Rows folded by pane and key.
    Partial(Partial),
}

/// Sends to a unit. If the unit is gone it has failed, and its own error ends the run: then this waits for that.
pub async fn deliver(unit: &mpsc::Sender<Message>, message: Message) {
    if unit.send(message).await.is_err() {
        std::future::pending::<()>().await;
    }
}
