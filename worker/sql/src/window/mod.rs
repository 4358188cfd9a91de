//! Windows: from rows to partial aggregates in the reader, from those to closed windows in the unit.
//!
//! ```text
//! reader   rows ── Folder::push ──▶ Partial (one row a pane and key) ── split by key group ──▶ units
//! unit     Partial ── WindowState::merge ──▶ panes ── WindowState::close(watermark) ──▶ rows out
//! store    WindowState::take_delta ──▶ (pane, batch) entries ──▶ WindowState::restore
//! ```
//!
//! | module | noun |
//! |---|---|
//! | `spec` | arithmetic of windows and panes |
//! | `late` | rows that come after their pane |
//! | `layout` | columns of a partial |
//! | `accumulators`, `groups` | DataFusion's kernels over numbered groups, and the table that numbers them |
//! | `fold` | rows of a range to a partial |
//! | `key_group`, `key_ids` | which unit a key belongs to; numbers for keys |
//! | `pane`, `shared` | open panes; windows made of several |
//! | `session`, `open_sessions` | sessions, which have no panes: of a range, of a unit |
//! | `closing` | complete windows, in order, in chunks |
//! | `delta`, `entries` | what came since the last commit; what is stored of it |
//! | `state` | all of a unit |

mod accumulators;
mod closing;
mod delta;
mod entries;
mod fold;
mod groups;
mod key_group;
mod key_ids;
mod late;
mod layout;
mod open_sessions;
mod pane;
mod session;
mod shared;
mod spec;
mod state;

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use thalweg_core::time::Watermark;

use self::fold::Fold;
use self::layout::Layout;
use self::state::UnitWindows;
use crate::transform::{FailedRow, Transform};

pub use self::key_group::KEY_HASH_VERSION;
pub use self::layout::LAYOUT_VERSION;

/// Which windows a row belongs to. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the arguments of the SQL function that each variant names")]
pub enum WindowSpec {
    /// `TUMBLE(…, size, offset)`
    Tumble { size: i64, offset: i64 },
    /// `HOP(…, slide, size, offset)`
    Hop { size: i64, slide: i64, offset: i64 },
    /// `CUMULATE(…, step, size, offset)`; size is a multiple of step.
    Cumulate { size: i64, step: i64, offset: i64 },
    /// `SESSION(…, gap)`, by the stage's keys. As in Flink, rows whose distance is the gap are of one session.
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
    /// the aggregates take. Times are `Timestamp(Millisecond, None)` without nulls.
    pub input_schema: SchemaRef,
    /// How many columns at the front of `input_schema` are keys.
    pub key_count: usize,
    /// The aggregates, over columns of `input_schema`; `DISTINCT` and `ORDER BY` are in here.
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// For each aggregate, its `FILTER`: a boolean column of `input_schema`.
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// From the keys, the aggregates' results and `window_start, window_end, window_time` to the stage's columns;
    /// `HAVING` is in here.
    pub finish: Arc<Transform>,
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
        event_times: &dyn arrow::array::Array,
        max_before: Option<i64>,
        delay_ms: i64,
    ) -> (Option<BooleanArray>, Option<i64>) {
        late::late(&self.window, event_times, max_before, delay_ms)
    }

    /// The key group of each row in the layout of `input_schema`.
    ///
    /// # Errors
    /// As [`WindowedAggregate::split`].
    pub fn groups(&self, rows: &RecordBatch, key_groups: u32) -> Result<Vec<u32>, String> {
        let keys = rows.columns().get(..self.key_count).unwrap_or_default();
        key_group::groups(keys, rows.num_rows(), key_groups).map_err(|error| error.to_string())
    }

    /// Which rows, in the layout of `input_schema`, belong to panes that a unit has closed at its watermark; `None` where
    /// none does. For a range of which the unit has refused a partial: these rows are late, the others are folded.
    ///
    /// # Errors
    /// The plan is wrong.
    pub fn closed(&self, rows: &RecordBatch, watermark: Watermark) -> Result<Option<BooleanArray>, String> {
        let column = self.key_count + usize::from(self.window == WindowSpec::Attached);
        let times = layout::times_of(rows, column).map_err(|error| error.to_string())?;
        Ok(late::closed(&self.window, times.values(), watermark.0))
    }

    /// That kernels know its aggregates and the types of its keys.
    ///
    /// # Errors
    /// What they do not know.
    pub(crate) fn check(self: &Arc<Self>) -> datafusion::common::Result<()> {
        let layout = Layout::new(self)?;
        Fold::new(&layout)?;
        let keys = self.input_schema.fields().iter().take(self.key_count);
        key_group::hashes(&keys.map(|key| arrow::array::new_empty_array(key.data_type())).collect::<Vec<_>>())?;
        UnitWindows::new(self).map(drop)
    }

    /// Starts to fold a range.
    pub fn folder(self: &Arc<Self>) -> Folder {
        Folder { fold: Layout::new(self).and_then(|layout| Fold::new(&layout)).map_err(|error| error.to_string()) }
    }

    /// Cuts a partial into one a key group (`None` where it is empty), by a hash that every version computes alike
    /// (the module `key_group` describes it). Without keys all of it is group 0.
    ///
    /// # Errors
    /// A key of a type that has no hash: lists, structs, maps.
    pub fn split(&self, partial: &Partial, key_groups: u32) -> Result<Vec<Option<Partial>>, String> {
        let Some(keys) = partial.batch.columns().get(layout::keys(self)) else {
            return Err("a partial aggregate of another plan".to_owned());
        };
        let parts = key_group::split(&partial.batch, keys, key_groups).map_err(|error| error.to_string())?;
        Ok(parts.into_iter().map(|part| part.map(|batch| Partial { batch })).collect())
    }

    /// An empty state of a unit.
    pub fn state(self: &Arc<Self>) -> WindowState {
        WindowState {
            finish: Arc::clone(&self.finish),
            windows: UnitWindows::new(self).map_err(|error| error.to_string()),
        }
    }
}

/// Folds the rows of a range, in the reader.
pub struct Folder {
    fold: Result<Fold, String>,
}

impl Folder {
    /// Adds rows in the layout of [`WindowedAggregate::input_schema`]. Late rows must be out already.
    ///
    /// # Errors
    /// An aggregate failed (a decimal sum overflowed), or the plan is wrong.
    pub fn push(&mut self, rows: &RecordBatch) -> Result<(), String> {
        match &mut self.fold {
            Ok(fold) => fold.push(rows).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        }
    }

    /// The result: no rows where none were pushed.
    ///
    /// # Errors
    /// As [`Folder::push`].
    pub fn finish(self) -> Result<Partial, String> {
        let batch = self.fold?.finish().map_err(|error| error.to_string())?;
        Ok(Partial { batch })
    }
}

/// The open panes of one unit.
///
/// A commit takes, in this order: [`WindowState::take_delta`], [`WindowState::close`] as often as there is room for
/// output, [`WindowState::take_dropped`]; it writes all of that together, with the watermark, and with what
/// [`WindowState::close_early`] gave since the last one. After a restart:
/// [`WindowState::resume`], then [`WindowState::restore`] for every entry.
pub struct WindowState {
    finish: Arc<Transform>,
    windows: Result<UnitWindows, String>,
}

/// One entry of a unit's state as it is stored. Keep it until [`WindowState::take_dropped`] gives its `pane`.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// Its name: bytes that sort by pane end. Several entries, of one commit or of many, may have the same name: all that
    /// are stored add up.
    pub pane: Vec<u8>,
    /// What was merged into that pane, and maybe some before it, since the last delta. Now and then all of a pane: the
    /// entries that it replaces are in the next [`WindowState::take_dropped`].
    pub batch: RecordBatch,
}

/// What became of a partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused partial has to come again"]
pub enum Merge {
    /// All of it is in the state.
    Done,
    /// It holds rows of closed panes, and none of it is in the state: the range has to be asked for again as rows, so that
    /// [`WindowedAggregate::closed`] can tell which they are.
    TouchesClosed,
}

/// What closing gives.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Finished rows of at most some thousand groups, in order of window end, then key. `HAVING` may leave none.
    pub batch: RecordBatch,
    /// Groups that are not in it, since an expression of `finish` fails on them.
    pub failed: Vec<FailedRow>,
    /// Where to go on after a restart: all output up to here was emitted. Bytes that grow from one to the next.
    pub cursor: Vec<u8>,
}

impl WindowState {
    /// The same with chunks of output, and stored entries, of at most so many groups: 8,192 if this is not called.
    pub fn with_chunks_of(mut self, groups: usize) -> Self {
        if let Ok(windows) = &mut self.windows {
            windows.set_chunk_groups(groups);
        }
        self
    }

    fn windows(&mut self) -> Result<&mut UnitWindows, String> {
        self.windows.as_mut().map_err(|error| error.clone())
    }

    /// Merges a partial of this unit's key group, unless a group's pane is closed already. A group of a session counts as
    /// such if its first row is before the watermark.
    ///
    /// # Errors
    /// An aggregate failed, or the partial is of another plan. The state is undefined afterwards.
    pub fn merge(&mut self, partial: &Partial) -> Result<Merge, String> {
        self.windows()?.merge(partial).map_err(|error| error.to_string())
    }

    /// What changed since the last call, to be stored with the unit's commit.
    ///
    /// # Errors
    /// An aggregate failed.
    pub fn take_delta(&mut self) -> Result<Vec<StateEntry>, String> {
        self.windows()?.take_delta().map_err(|error| error.to_string())
    }

    /// As [`WindowState::take_delta`] where nothing is stored. Closing does it too, so nobody has to call it.
    ///
    /// # Errors
    /// An aggregate failed.
    pub fn absorb_delta(&mut self) -> Result<(), String> {
        self.windows()?.absorb_delta().map_err(|error| error.to_string())
    }

    /// Continues after a restart: `cursor` of the last committed output, if there was any, and the committed watermark.
    /// Must come before any [`WindowState::restore`].
    ///
    /// # Errors
    /// No cursor of this module's.
    pub fn resume(&mut self, cursor: Option<&[u8]>, watermark: Watermark) -> Result<(), String> {
        self.windows()?.resume(cursor, watermark).map_err(|error| error.to_string())
    }

    /// Puts an entry back that [`WindowState::take_delta`] gave.
    ///
    /// # Errors
    /// The entry is of another plan.
    pub fn restore(&mut self, entry: &StateEntry) -> Result<(), String> {
        self.windows()?.restore(entry).map_err(|error| error.to_string())
    }

    /// Whether an entry that was stored after all that was restored takes the place of some of that. Who follows a store
    /// calls [`WindowState::resume`] with what is committed now, and restores what is new, or begins anew where this holds of
    /// it. Sessions cannot be followed.
    ///
    /// # Errors
    /// No entry of this module's.
    pub fn supersedes(&self, entry: &StateEntry) -> Result<bool, String> {
        let windows = self.windows.as_ref().map_err(|error| error.clone())?;
        windows.supersedes(entry).map_err(|error| error.to_string())
    }

    /// The next rows of windows that end at or before the watermark, and `None` when there are none left.
    ///
    /// # Errors
    /// An aggregate failed.
    pub fn close(&mut self, watermark: Watermark) -> Result<Option<Closed>, String> {
        let closed = self.close_raw(watermark)?;
        Ok(closed.map(|closed| self.finished(closed)))
    }

    /// As [`WindowState::close`], between commits: what was merged is in the next [`WindowState::take_delta`], but for
    /// panes that are over by then. `None` does not say that none are left: sessions wait for the commit.
    ///
    /// # Errors
    /// As [`WindowState::close`].
    pub fn close_early(&mut self, watermark: Watermark) -> Result<Option<Closed>, String> {
        let closed = self.close_early_raw(watermark)?;
        Ok(closed.map(|closed| self.finished(closed)))
    }

    fn finished(&self, closed: Closed) -> Closed {
        let finished = self.finish.apply(&closed.batch);
        let failed = self.finish.failures(&closed.batch, &finished.failed);
        Closed { batch: finished.batch, failed, cursor: closed.cursor }
    }

    /// As [`WindowState::close`], before `finish`: keys, one column an aggregate, `window_start`, `window_end`,
    /// `window_time`.
    ///
    /// # Errors
    /// An aggregate failed.
    pub fn close_raw(&mut self, watermark: Watermark) -> Result<Option<Closed>, String> {
        self.windows()?.close_raw(watermark).map_err(|error| error.to_string())
    }

    /// As [`WindowState::close_early`], before `finish`.
    ///
    /// # Errors
    /// An aggregate failed.
    pub fn close_early_raw(&mut self, watermark: Watermark) -> Result<Option<Closed>, String> {
        self.windows()?.close_early_raw(watermark).map_err(|error| error.to_string())
    }

    /// The watermark of what was given out, once [`WindowState::close`] has given all that `watermark` closes: windows that
    /// come later end behind it. A session closes only when the watermark is past its end, so one may still end at it.
    pub fn output_watermark(&self, watermark: Watermark) -> Watermark {
        self.windows.as_ref().map_or(Watermark::UNKNOWN, |windows| windows.output_watermark(watermark))
    }

    /// Panes that no open window needs any more, since the last call: their entries can go, with the commit that holds
    /// the output which [`WindowState::close`] gave before.
    pub fn take_dropped(&mut self) -> Vec<Vec<u8>> {
        self.windows.as_mut().map_or_else(|_| Vec::new(), UnitWindows::take_dropped)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.windows.as_ref().map_or(0, UnitWindows::bytes)
    }

    /// Bytes of them that [`WindowState::take_delta`] would give.
    pub fn delta_bytes(&self) -> usize {
        self.windows.as_ref().map_or(0, UnitWindows::delta_bytes)
    }
}
