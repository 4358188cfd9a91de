//! Windows that share panes: `HOP` and `CUMULATE`.
//!
//! Kernels give up their state only as a whole, so a pane that has ended is turned into columns once, and these are
//! merged into each window that holds the pane. Nothing is ever retracted. Small windows are built many at a time, large
//! ones alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::WindowSpec;
use super::groups::Groups;
use super::late::bounds;
use super::layout::Layout;
use super::pane::{Panes, spans};
use super::spec::Grid;

/// Windows that are built together, as long as what they are built of is small.
const WINDOWS_AT_ONCE: i64 = 64;
/// Up to how many groups of ended panes that is.
const SMALL_GROUPS: usize = 4_096;

/// Panes of windows that share them.
pub(crate) struct SharedPanes {
    layout: Arc<Layout>,
    ends: Grid,
    pub(crate) open: Panes,
    /// Panes that have ended, and that a window needs which has not.
    ended: Vec<RecordBatch>,
    /// Windows up to here are built.
    pub(crate) done: i64,
}

impl SharedPanes {
    pub(crate) fn new(layout: &Arc<Layout>, ends: Grid) -> Self {
        Self { layout: Arc::clone(layout), ends, open: Panes::new(layout), ended: Vec::new(), done: i64::MIN }
    }

    /// The groups of the next windows that end at or before `until`, named by window end, and up to where windows are
    /// complete with them. `None` where no window is left.
    pub(crate) fn next(&mut self, until: i64) -> Result<Option<(RecordBatch, i64)>> {
        while let Some(end) = self.next_end()?.filter(|end| *end <= until) {
            let last = self.end_panes(end, until)?;
            let groups = self.build(last)?;
            self.done = last;
            self.prune()?;
            if let Some(groups) = groups {
                return Ok(Some((groups, last)));
            }
        }
        Ok(None)
    }

    /// How many groups a span has; `None` if it cannot be copied: some of its panes have ended, and their columns may
    /// have other names by now. A span where that is so takes few more deltas anyway.
    pub(crate) fn groups_in(&self, span: i64) -> Result<Option<usize>> {
        let first_pane = span.saturating_sub(spans(&self.layout).period() - 1);
        for batch in &self.ended {
            if self.layout.ends(batch)?.values().iter().any(|pane| (first_pane..=span).contains(pane)) {
                return Ok(None);
            }
        }
        Ok(if first_pane > self.done { self.open.groups_in(span) } else { None })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.open.bytes() + self.ended.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }

    /// The least window end above `done` whose panes may hold something.
    pub(crate) fn next_end(&self) -> Result<Option<i64>> {
        let spec = self.layout.spec();
        let mut least = self.open.first().map(|pane| self.first_open_end(pane));
        for batch in &self.ended {
            let Some((min, max)) = bounds(self.layout.ends(batch)?.values()) else { continue };
            let end = self.first_open_end(min);
            if end <= spec.last_window_end(max) {
                least = Some(least.map_or(end, |least| least.min(end)));
            }
        }
        Ok(least)
    }

    /// The first window of a pane that is not built.
    fn first_open_end(&self, pane_end: i64) -> i64 {
        let first = self.layout.spec().first_window_end(pane_end);
        if first > self.done { first } else { self.ends.after(self.done) }
    }

    /// Ends the panes that the windows from `first` on need; up to which window that is.
    fn end_panes(&mut self, first: i64, until: i64) -> Result<i64> {
        let together = first.saturating_add(self.ends.period().saturating_mul(WINDOWS_AT_ONCE - 1)).min(until);
        while let Some(pane) = self.open.first() {
            let is_needed = pane <= first;
            if !is_needed && (pane > together || self.ended_groups() > SMALL_GROUPS) {
                break;
            }
            match self.open.take(if is_needed { first } else { together })? {
                Some(batch) => self.ended.push(batch),
                None => break,
            }
        }
        Ok(if self.ended_groups() > SMALL_GROUPS { first } else { self.ends.floor(together).max(first) })
    }

    fn ended_groups(&self) -> usize {
        self.ended.iter().map(RecordBatch::num_rows).sum()
    }

    /// Merges ended panes into the windows after `done` and up to `last`.
    fn build(&self, last: i64) -> Result<Option<RecordBatch>> {
        let mut windows = Groups::new(&self.layout)?;
        for batch in &self.ended {
            self.merge_into_windows(batch, last, &mut windows)?;
        }
        windows.into_partial()
    }

    fn merge_into_windows(&self, batch: &RecordBatch, last: i64, windows: &mut Groups) -> Result<()> {
        let panes = self.layout.ends(batch)?.values();
        let limits: Vec<i64> = panes.iter().map(|&pane| self.layout.spec().last_window_end(pane).min(last)).collect();
        let mut ends: Vec<i64> = panes.iter().map(|&pane| self.first_open_end(pane)).collect();
        loop {
            let rows = ends.iter().zip(&limits);
            let count = rows.clone().filter(|(end, limit)| end <= limit).count();
            if count == 0 {
                return Ok(());
            }
            let named = self.renamed(batch, &ends)?;
            if count == ends.len() {
                windows.merge(&named)?;
            } else {
                let is_in: BooleanArray = rows.map(|(end, limit)| Some(end <= limit)).collect();
                windows.merge(&filter_record_batch(&named, &is_in)?)?;
            }
            ends.iter_mut().for_each(|end| *end = end.saturating_add(self.ends.period()));
            if ends.first().is_some_and(|end| *end == i64::MAX) {
                return Ok(());
            }
        }
    }

    /// The batch with other ends.
    fn renamed(&self, batch: &RecordBatch, ends: &[i64]) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        let ends: ArrayRef = Arc::new(Int64Array::from(ends.to_vec()));
        columns[0] = ends;
        self.layout.batch(columns)
    }

    /// Drops panes that no window after `done` holds.
    fn prune(&mut self) -> Result<()> {
        let mut kept = Vec::with_capacity(self.ended.len());
        for batch in std::mem::take(&mut self.ended) {
            let last =
                bounds(self.layout.ends(&batch)?.values()).map(|(_, max)| self.layout.spec().last_window_end(max));
            if last.is_some_and(|last| last > self.done) {
                kept.push(batch);
            }
        }
        self.ended = kept;
        if matches!(self.layout.spec(), WindowSpec::Cumulate { .. }) && self.ended.len() > 1 {
            self.ended = self.accumulated()?.into_iter().collect();
        }
        Ok(())
    }

    /// `CUMULATE`: a window holds all earlier panes of the full window, so they can be one: a day of minutes costs two
    /// merges a window, in place of 1,440.
    fn accumulated(&self) -> Result<Option<RecordBatch>> {
        let newest = self.ends.floor(self.done);
        let mut groups = Groups::new(&self.layout)?;
        for batch in &self.ended {
            let panes = self.layout.ends(batch)?.values();
            let is_kept: BooleanArray =
                panes.iter().map(|&pane| Some(self.layout.spec().last_window_end(pane) > self.done)).collect();
            let ends: Vec<i64> = panes.iter().map(|&pane| pane.max(newest)).collect();
            groups.merge(&filter_record_batch(&self.renamed(batch, &ends)?, &is_kept)?)?;
        }
        groups.into_partial()
    }
}
