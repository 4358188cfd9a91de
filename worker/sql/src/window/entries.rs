//! What a unit stores: deltas of its panes.
//!
//! An entry holds what was merged into some neighbouring panes since the last commit, as a partial. Its name is the end
//! of the last of them ([`super::closing::sortable`] bytes), so it can go when that pane can. A large pane has entries
//! of its own; small ones share an entry, which would otherwise be mostly framing.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::StateEntry;
use super::closing::{CHUNK_GROUPS, sortable};
use super::late::bounds;
use super::layout::Layout;

/// Panes go into one entry until it has this many groups.
const POOLED_GROUPS: usize = 1_024;

/// Names of the entries that a store holds.
#[derive(Default)]
pub(crate) struct Stored {
    panes: BTreeSet<i64>,
}

impl Stored {
    /// Notes an entry that the store holds.
    pub(crate) fn insert(&mut self, pane_end: i64) {
        self.panes.insert(pane_end);
    }

    /// Makes entries of a delta, and notes them.
    pub(crate) fn entries(&mut self, layout: &Layout, delta: &RecordBatch) -> Result<Vec<StateEntry>> {
        let sorted = sorted_by_pane(layout, delta)?;
        let ends = layout.ends(&sorted)?.values();
        let mut entries = Vec::new();
        let mut from = 0;
        for to in 1..=ends.len() {
            let is_full = to - from == CHUNK_GROUPS || to == ends.len();
            if is_full || (to - from >= POOLED_GROUPS && ends[to] != ends[to - 1]) {
                self.insert(ends[to - 1]);
                let batch = sorted.slice(from, to - from);
                entries.push(StateEntry { pane: sortable(ends[to - 1]).to_vec(), batch });
                from = to;
            }
        }
        Ok(entries)
    }

    /// Forgets, and returns, names for which `is_over` holds. It must hold for all below one for which it holds.
    pub(crate) fn take_while(&mut self, is_over: impl Fn(i64) -> bool) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while let Some(pane) = self.panes.first().copied().filter(|pane| is_over(*pane)) {
            self.panes.pop_first();
            gone.push(sortable(pane).to_vec());
        }
        gone
    }
}

fn sorted_by_pane(layout: &Layout, delta: &RecordBatch) -> Result<RecordBatch> {
    let ends = layout.ends(delta)?;
    if ends.is_empty() || bounds(ends.values()).is_some_and(|(min, max)| min == max) {
        return Ok(delta.clone());
    }
    let order = sort_to_indices(&(Arc::new(ends.clone()) as Arc<dyn Array>), None, None)?;
    Ok(take_record_batch(delta, &order)?)
}
