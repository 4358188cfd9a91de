//! Windows: from rows to partial aggregates in the reader, from those to closed windows in the unit.
//!
//! ```text
//! reader   rows ── Folder::push ──▶ Partial (one row a pane and key) ── split by key group ──▶ units
//! unit     Partial ── WindowState::merge ──▶ panes ── WindowState::close(watermark) ──▶ rows out
//! store    WindowState::take_delta ──▶ (pane, batch) entries ──▶ WindowState::restore
//! ```

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use thalweg_core::time::Watermark;

use crate::transform::Transform;

/// Which windows a row belongs to. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowSpec {
    /// `TUMBLE(…, size, offset)`
    Tumble { size: i64, offset: i64 },
    /// `HOP(…, slide, size, offset)`
    Hop { size: i64, slide: i64, offset: i64 },
    /// `CUMULATE(…, step, size, offset)`
    Cumulate { size: i64, step: i64, offset: i64 },
    /// `SESSION(…, gap)`, by the stage's keys
    Session { gap: i64 },
    /// The row carries the window that an earlier stage gave it: columns `window_start`, `window_end`.
    Attached,
}

/// `GROUP BY window_start, window_end, keys…` with its aggregates.
#[derive(Clone, Debug)]
pub struct WindowedAggregate {
    /// The windows.
    pub window: WindowSpec,
    /// What rows must look like: the key columns, then event time (for `Attached`: window start and end), then what
    /// the aggregates take.
    pub input_schema: SchemaRef,
    /// How many columns at the front of `input_schema` are keys.
    pub key_count: usize,
    /// From the keys, the aggregates' results and `window_start, window_end, window_time` to the stage's columns;
    /// `HAVING` is in here.
    pub finish: Arc<Transform>,
    /// The aggregates. Their arguments are literals or columns of `input_schema`; `first_value` and `last_value` are
    /// ordered by event time and the hidden columns.
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// For each aggregate the predicate of its `FILTER`, a boolean column of `input_schema`.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
}

/// Partly aggregated rows of one range: one row a pane and key.
#[derive(Clone, Debug)]
pub struct Partial {
    /// Pane, keys and the aggregates' states, in a layout private to this module and equal in all workers of a plan
    /// version.
    pub batch: RecordBatch,
}

impl WindowedAggregate {
    /// Which rows are late: those whose pane ends at or before their split's watermark just before the row.
    ///
    /// `max_before` is the greatest event time of the split before this batch. Returns `None` where none is late, and
    /// the greatest event time after the batch. Null event times are never late (the decoder refuses them before).
    pub fn late(
        &self,
        _event_times: &dyn arrow::array::Array,
        _max_before: Option<i64>,
        _delay_ms: i64,
    ) -> (Option<BooleanArray>, Option<i64>) {
        todo!("SQL")
    }

    /// Starts to fold a range.
    pub fn folder(self: &Arc<Self>) -> Folder {
        todo!("SQL")
    }

    /// Cuts a partial into one a key group (`None` where it is empty), by a hash that every version computes alike.
    pub fn split(&self, _partial: &Partial, _key_groups: u32) -> Vec<Option<Partial>> {
        todo!("SQL")
    }

    /// An empty state of a unit.
    pub fn state(self: &Arc<Self>) -> WindowState {
        todo!("SQL")
    }
}

/// Folds the rows of a range, in the reader.
pub struct Folder {}

impl Folder {
    /// Adds rows in the layout of [`WindowedAggregate::input_schema`].
    pub fn push(&mut self, _rows: &RecordBatch) -> Result<(), String> {
        todo!("SQL")
    }

    /// The result.
    pub fn finish(self) -> Result<Partial, String> {
        todo!("SQL")
    }
}

/// The open panes of one unit.
pub struct WindowState {}

/// One entry of a unit's state as it is stored. `id` says to which pane it belongs: entries of a closed pane go.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// The pane: bytes that sort by pane end.
    pub pane: Vec<u8>,
    /// What was merged into that pane since the last delta.
    pub batch: RecordBatch,
}

/// What closing gives.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Finished rows of at most some thousand groups, in order of window end, then key.
    pub batch: RecordBatch,
    /// Where to go on after a restart: all output up to here was emitted.
    pub cursor: Vec<u8>,
}

impl WindowState {
    /// Merges a partial of this unit's key group; a part for panes that are closed already is refused.
    pub fn merge(&mut self, _partial: &Partial) -> Result<(), String> {
        todo!("SQL")
    }

    /// What changed since the last call, to be stored with the unit's commit.
    pub fn take_delta(&mut self) -> Result<Vec<StateEntry>, String> {
        todo!("SQL")
    }

    /// Puts an entry back that [`WindowState::take_delta`] gave.
    pub fn restore(&mut self, _entry: &StateEntry) -> Result<(), String> {
        todo!("SQL")
    }

    /// The next rows of windows that end at or before the watermark, and `None` when there are none left.
    pub fn close(&mut self, _watermark: Watermark) -> Result<Option<Closed>, String> {
        todo!("SQL")
    }

    /// Panes that no open window needs any more, since the last call.
    pub fn take_dropped(&mut self) -> Vec<Vec<u8>> {
        todo!("SQL")
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        todo!("SQL")
    }
}
