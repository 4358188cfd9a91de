//! The open panes of a unit.
//!
//! Panes come in two sizes: many with a handful of groups (5 s counts over a month of files read in any order), or few
//! with millions. A table a pane would cost the former kilobytes for each row; one table for all would make the latter
//! move whenever a pane closes, since kernels give up their state only as a whole. So neighbouring panes share a
//! *bucket*, one table, until it has more than [`SHARED_GROUPS`] groups; from then on each pane there has its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::groups::Groups;
use super::late::bounds;
use super::layout::Layout;
use super::spec::Grid;

/// How many panes share a bucket at most.
const SHARED_PANES: i64 = 64;
/// How many groups a shared bucket may have. Closing one pane of it moves all others: some hundred microseconds.
const SHARED_GROUPS: usize = 4_096;
/// How many groups of a span are written anew at most: they are here twice while they are.
const REWRITTEN_GROUPS: usize = 1 << 20;
/// Span of a bucket of attached windows, whose size is the earlier stage's: milliseconds.
const ATTACHED_SPAN: i64 = 60_000;

struct Bucket {
    /// The least pane end that is in it.
    first: i64,
    groups: Groups,
}

/// Tables of partial aggregates by pane.
pub(crate) struct Panes {
    layout: Arc<Layout>,
    /// Spans of shared buckets.
    spans: Grid,
    /// By the greatest pane end that belongs to it.
    buckets: BTreeMap<i64, Bucket>,
    /// Last pane ends of the spans whose panes have a bucket each.
    separate: BTreeSet<i64>,
}

/// Spans of panes that may share a bucket, and whose entries have one log.
pub(crate) fn spans(layout: &Layout) -> Grid {
    let grid = layout.spec().panes();
    Grid::new(grid.map_or(ATTACHED_SPAN, |grid| grid.period().saturating_mul(SHARED_PANES)), 0)
}

impl Panes {
    pub(crate) fn new(layout: &Arc<Layout>) -> Self {
        Self { layout: Arc::clone(layout), spans: spans(layout), buckets: BTreeMap::new(), separate: BTreeSet::new() }
    }

    /// Adds the rows of a partial.
    pub(crate) fn merge(&mut self, partial: &RecordBatch) -> Result<()> {
        for (last, rows) in self.by_bucket(partial)? {
            self.merge_into(last, &rows)?;
        }
        Ok(())
    }

    /// The least pane end held.
    pub(crate) fn first(&self) -> Option<i64> {
        self.buckets.values().next().map(|bucket| bucket.first)
    }

    /// Takes panes that end at or before `until` out of the first bucket, in no order; `None` where there are none.
    pub(crate) fn take(&mut self, until: i64) -> Result<Option<RecordBatch>> {
        let Some(entry) = self.buckets.first_entry() else { return Ok(None) };
        if entry.get().first > until {
            return Ok(None);
        }
        let (last, bucket) = entry.remove_entry();
        let Some(all) = bucket.groups.into_partial()? else { return self.take(until) };
        if last <= until {
            return Ok(Some(all));
        }
        let ends = self.layout.ends(&all)?;
        let is_closed: BooleanArray = ends.values().iter().map(|&end| Some(end <= until)).collect();
        let closed = filter_record_batch(&all, &is_closed)?;
        let open = filter_record_batch(&all, &arrow::compute::not(&is_closed)?)?;
        if open.num_rows() > 0 {
            self.merge_into(last, &open)?;
        }
        Ok(Some(closed))
    }

    /// How many groups a span has; `None` if they are too many to be copied.
    pub(crate) fn groups_in(&self, span: i64) -> Option<usize> {
        let groups = self.buckets.range(self.panes_of(span)).map(|(_, bucket)| bucket.groups.len()).sum();
        (groups <= REWRITTEN_GROUPS).then_some(groups)
    }

    /// A copy of all groups of a span: kernels give their state up, so it is merged back.
    pub(crate) fn copy(&mut self, span: i64) -> Result<Vec<RecordBatch>> {
        let buckets: Vec<i64> = self.buckets.range(self.panes_of(span)).map(|(last, _)| *last).collect();
        let mut copies = Vec::new();
        for last in buckets {
            let Some(bucket) = self.buckets.remove(&last) else { continue };
            if let Some(all) = bucket.groups.into_partial()? {
                self.merge_into(last, &all)?;
                copies.push(all);
            }
        }
        Ok(copies)
    }

    fn panes_of(&self, span: i64) -> RangeInclusive<i64> {
        span.saturating_sub(self.spans.period() - 1)..=span
    }

    /// Forgets what it knows of spans that ended at or before `until`.
    pub(crate) fn forget(&mut self, until: i64) {
        while self.separate.first().is_some_and(|last| *last <= until) {
            self.separate.pop_first();
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.groups.bytes()).sum()
    }

    fn merge_into(&mut self, last: i64, rows: &RecordBatch) -> Result<()> {
        let Some((first, _)) = bounds(self.layout.ends(rows)?.values()) else { return Ok(()) };
        let bucket = match self.buckets.entry(last) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Bucket { first, groups: Groups::new(&self.layout)? })
            }
        };
        bucket.first = bucket.first.min(first);
        bucket.groups.merge(rows)?;
        if bucket.groups.len() > SHARED_GROUPS && self.is_shared(last) { self.separate(last) } else { Ok(()) }
    }

    /// Whether the bucket of this name may hold several panes.
    fn is_shared(&self, last: i64) -> bool {
        // Without keys a pane is one group: a table each would only be larger.
        !self.layout.keys().is_empty() && !self.separate.contains(&self.span_end(last))
    }

    /// Gives each pane of a shared bucket its own.
    fn separate(&mut self, last: i64) -> Result<()> {
        self.separate.insert(last);
        let Some(bucket) = self.buckets.remove(&last) else { return Ok(()) };
        match bucket.groups.into_partial()? {
            Some(all) => self.merge(&all),
            None => Ok(()),
        }
    }

    fn span_end(&self, pane_end: i64) -> i64 {
        self.spans.ceil(pane_end)
    }

    fn bucket_of(&self, pane_end: i64) -> i64 {
        let span = self.span_end(pane_end);
        if self.separate.contains(&span) { pane_end } else { span }
    }

    /// The rows of each bucket.
    fn by_bucket(&self, partial: &RecordBatch) -> Result<Vec<(i64, RecordBatch)>> {
        let ends = self.layout.ends(partial)?;
        let Some((min, max)) = bounds(ends.values()) else { return Ok(Vec::new()) };
        let bucket = self.bucket_of(min);
        // A separate bucket ends with its only pane, a shared one with its span.
        if max <= bucket {
            return Ok(vec![(bucket, partial.clone())]);
        }
        gather(partial, ends, |end| self.bucket_of(end))
    }
}

/// The rows of each class, in the order of the classes; rows of one class stay in order.
pub(crate) fn gather(
    batch: &RecordBatch,
    ends: &Int64Array,
    class: impl Fn(i64) -> i64,
) -> Result<Vec<(i64, RecordBatch)>> {
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let mut last: Option<(i64, i64)> = None;
    for (row, &end) in ends.values().iter().enumerate() {
        let class = match last {
            Some((known, class)) if known == end => class,
            _ => class(end),
        };
        last = Some((end, class));
        rows.entry(class).or_default().push(row as u32);
    }
    let parts = rows.into_iter().map(|(class, rows)| {
        let rows = take_record_batch(batch, &UInt32Array::from(rows))?;
        Ok((class, rows))
    });
    parts.collect()
}
