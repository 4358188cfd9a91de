//! Windows that are complete: their groups in order, given out some thousand at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, PrimitiveArray, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result};

use super::WindowSpec;
use super::accumulators::Accumulators;
use super::late::bounds;
use super::layout::Layout;

/// Groups in one chunk of output, and in one stored entry.
pub(crate) const CHUNK_GROUPS: usize = 8_192;

/// Groups of complete windows; the first column of a group is its window's end.
///
/// Memory: the state is here once, as columns (the hash table that it came from is gone), with four bytes a group for
/// the order. Each chunk gathers its groups and evaluates them alone, so results never exist for all groups at once.
/// Sorting needs 16 bytes a group for a moment where there is a single key, 8 otherwise.
pub(crate) struct Closing {
    groups: RecordBatch,
    order: UInt32Array,
    next: usize,
    /// All windows that end at or before this are emitted when this is.
    pub(crate) until: i64,
}

impl Closing {
    /// Sorts groups by (window end, start, keys): the order of the row format, nulls first.
    pub(crate) fn new(layout: &Layout, groups: RecordBatch, until: i64) -> Result<Self> {
        let mut columns = &groups.columns()[layout.group()];
        let one_window = bounds(layout.ends(&groups)?.values()).is_some_and(|(min, max)| min == max);
        if one_window && columns.len() > 1 {
            columns = &columns[1..];
        }
        let columns: Vec<SortColumn> =
            columns.iter().map(|values| SortColumn { values: Arc::clone(values), options: None }).collect();
        let order = lexsort_to_indices(&columns, None)?;
        Ok(Self { groups, order, next: 0, until })
    }

    /// The next groups in order, so many at most; `None` at the end.
    pub(crate) fn next_chunk(&mut self, groups: usize) -> Result<Option<RecordBatch>> {
        let left = self.order.len() - self.next;
        if left == 0 {
            return Ok(None);
        }
        let rows = self.order.slice(self.next, left.min(groups));
        self.next += rows.len();
        Ok(Some(take_record_batch(&self.groups, &rows)?))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.get_array_memory_size() + self.order.get_array_memory_size()
    }
}

/// Evaluates groups of complete windows: keys, results, `window_start, window_end, window_time`.
pub(crate) fn evaluate(layout: &Layout, chunk: &RecordBatch) -> Result<RecordBatch> {
    // The groups are distinct, so each is its own number and no table is needed.
    let ids: Vec<usize> = (0..chunk.num_rows()).collect();
    let mut accumulators = Accumulators::new(&layout.aggregate)?;
    accumulators.merge(layout, chunk, &ids, ids.len())?;
    let mut columns: Vec<ArrayRef> = chunk.columns()[layout.keys()].to_vec();
    columns.extend(accumulators.into_results()?);
    let (starts, ends) = windows(layout, chunk)?;
    let times = Int64Array::from_iter_values(ends.values().iter().map(|end| end.saturating_sub(1)));
    for times in [starts, ends, times] {
        let times: PrimitiveArray<TimestampMillisecondType> = times.reinterpret_cast();
        columns.push(Arc::new(times));
    }
    Ok(RecordBatch::try_new(Arc::clone(&layout.raw), columns)?)
}

/// Starts and ends of the windows of a chunk.
fn windows(layout: &Layout, chunk: &RecordBatch) -> Result<(Int64Array, Int64Array)> {
    let ends = layout.ends(chunk)?;
    match layout.spec() {
        WindowSpec::Attached => Ok((layout.starts(chunk)?.clone(), ends.clone())),
        WindowSpec::Session { gap } => {
            let ends = Int64Array::from_iter_values(ends.values().iter().map(|last| last.saturating_add(*gap)));
            Ok((layout.starts(chunk)?.clone(), ends))
        }
        spec => {
            let starts = ends.values().iter().map(|&end| spec.window_start(end).unwrap_or(end));
            Ok((Int64Array::from_iter_values(starts), ends.clone()))
        }
    }
}

/// Place in the order of all output: bytes that sort as (window end, start, keys) do.
///
/// Eight bytes of the end (a session's: of its last time), big-endian with the sign flipped, then the group in the row
/// format of arrow.
pub(crate) struct Cursors {
    converter: RowConverter,
}

impl Cursors {
    pub(crate) fn new(layout: &Layout) -> Result<Self> {
        let fields = layout.group_schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)? })
    }

    /// The cursor of each row of a chunk.
    pub(crate) fn all(&self, layout: &Layout, chunk: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let rows = self.converter.convert_columns(&chunk.columns()[layout.group()])?;
        let ends = layout.ends(chunk)?.values();
        Ok(ends.iter().zip(rows.iter()).map(|(&end, row)| [&sortable(end)[..], row.as_ref()].concat()).collect())
    }

    /// The cursor of the last row of a chunk.
    pub(crate) fn last(&self, layout: &Layout, chunk: &RecordBatch) -> Result<Vec<u8>> {
        let last = chunk.slice(chunk.num_rows().saturating_sub(1), chunk.num_rows().min(1));
        Ok(self.all(layout, &last)?.pop().unwrap_or_default())
    }
}

/// Bytes that sort as the numbers do.
pub(crate) fn sortable(number: i64) -> [u8; 8] {
    ((number as u64) ^ (1 << 63)).to_be_bytes()
}

/// What [`sortable`] wrote, at the front of `bytes`.
pub(crate) fn from_sortable(bytes: &[u8]) -> Result<i64> {
    let Some((number, _)) = bytes.split_first_chunk::<8>() else {
        return Err(DataFusionError::Internal(format!("expected at least 8 bytes, found {}", bytes.len())));
    };
    Ok((u64::from_be_bytes(*number) ^ (1 << 63)) as i64)
}
