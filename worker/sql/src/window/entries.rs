//! What a unit stores of its panes: a log of deltas.
//!
//! An entry holds what was merged into some neighbouring panes since the last commit, as a partial. Its name is the end
//! of the last of them ([`super::closing::sortable`] bytes), so it can go when that pane can, and a generation. A large
//! pane has entries of its own; small ones share an entry, which would otherwise be mostly framing.
//!
//! A window of a day that is committed each second would pile up 86,400 deltas. So once the log of a span of panes is
//! heavier than twice its groups, all its groups are written under the next generation, and the older entries are
//! dropped with the same commit: store and restart stay proportional to the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};

use super::StateEntry;
use super::closing::{from_sortable, sortable};
use super::late::bounds;
use super::layout::Layout;
use super::spec::Grid;

/// Panes go into one entry until it has this many groups.
const POOLED_GROUPS: usize = 1_024;
/// What the framing of an entry weighs, in groups: about a kilobyte and a half of IPC schema.
pub(crate) const ENTRY_WEIGHT: usize = 64;

/// The entry of a pane end in a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    pane: i64,
    generation: u32,
}

impl Name {
    fn to_bytes(self) -> Vec<u8> {
        [&sortable(self.pane)[..], &self.generation.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let pane = from_sortable(bytes)?;
        match bytes.get(8..).and_then(|rest| <[u8; 4]>::try_from(rest).ok()) {
            Some(generation) => Ok(Self { pane, generation: u32::from_be_bytes(generation) }),
            None => internal_err!("expected 12 bytes of a pane's name, found {}", bytes.len()),
        }
    }
}

/// The log of a span of panes.
#[derive(Default)]
struct Log {
    generation: u32,
    weight: usize,
    names: BTreeSet<Name>,
}

/// Names of the entries that a store holds.
pub(crate) struct Stored {
    spans: Grid,
    /// By the last pane end of the span.
    logs: BTreeMap<i64, Log>,
    superseded: Vec<Vec<u8>>,
    /// How many groups an entry has at most, and how much a log may weigh beyond twice its groups.
    pub(crate) chunk_groups: usize,
}

impl Stored {
    pub(crate) fn new(spans: Grid, chunk_groups: usize) -> Self {
        Self { spans, logs: BTreeMap::new(), superseded: Vec::new(), chunk_groups }
    }

    /// Notes an entry that the store holds.
    pub(crate) fn restore(&mut self, entry: &StateEntry) -> Result<()> {
        let name = Name::from_bytes(&entry.pane)?;
        let log = self.logs.entry(self.spans.ceil(name.pane)).or_default();
        log.generation = log.generation.max(name.generation);
        log.weight += entry.batch.num_rows() + ENTRY_WEIGHT;
        log.names.insert(name);
        Ok(())
    }

    /// Whether an entry begins a generation after one of which this knows entries: those are in the store no more.
    pub(crate) fn supersedes(&self, entry: &StateEntry) -> Result<bool> {
        let name = Name::from_bytes(&entry.pane)?;
        let log = self.logs.get(&self.spans.ceil(name.pane));
        Ok(log.is_some_and(|log| !log.names.is_empty() && name.generation > log.generation))
    }

    /// Makes entries of a delta, and notes them.
    pub(crate) fn entries(&mut self, layout: &Layout, delta: &RecordBatch) -> Result<Vec<StateEntry>> {
        let sorted = sorted_by_pane(layout, delta)?;
        let ends = layout.ends(&sorted)?.values();
        let mut entries = Vec::new();
        let mut from = 0;
        for to in 1..=ends.len() {
            let pane = ends[to - 1];
            let is_cut = to == ends.len()
                || to - from >= self.chunk_groups
                || (ends[to] != pane && to - from >= POOLED_GROUPS)
                || (ends[to] != pane && self.spans.ceil(ends[to]) != self.spans.ceil(pane));
            if is_cut {
                entries.push(StateEntry { pane: self.note(pane, to - from), batch: sorted.slice(from, to - from) });
                from = to;
            }
        }
        Ok(entries)
    }

    fn note(&mut self, pane: i64, groups: usize) -> Vec<u8> {
        let log = self.logs.entry(self.spans.ceil(pane)).or_default();
        let name = Name { pane, generation: log.generation };
        log.names.insert(name);
        log.weight += groups + ENTRY_WEIGHT;
        name.to_bytes()
    }

    /// The spans of these entries whose log is due to be written anew, if they hold `groups`.
    pub(crate) fn due(
        &self,
        entries: &[StateEntry],
        groups: impl Fn(i64) -> Result<Option<usize>>,
    ) -> Result<Vec<i64>> {
        let mut due = BTreeSet::new();
        for entry in entries {
            let span = self.spans.ceil(Name::from_bytes(&entry.pane)?.pane);
            let weight = self.logs.get(&span).map_or(0, |log| log.weight);
            if groups(span)?.is_some_and(|groups| weight > 2 * (groups + ENTRY_WEIGHT) + self.chunk_groups) {
                due.insert(span);
            }
        }
        Ok(due.into_iter().collect())
    }

    /// Begins the next generation of a span's log: all entries so far are superseded, those of this commit too.
    pub(crate) fn begin(&mut self, span: i64, entries: &mut Vec<StateEntry>) {
        let Some(log) = self.logs.get_mut(&span) else { return };
        let names: BTreeSet<Vec<u8>> = std::mem::take(&mut log.names).into_iter().map(Name::to_bytes).collect();
        log.generation += 1;
        log.weight = 0;
        entries.retain(|entry| !names.contains(&entry.pane));
        self.superseded.extend(names);
    }

    /// Names of entries that can go: superseded ones, and those of panes for which `is_over` holds. It must hold for all
    /// panes before one for which it holds.
    pub(crate) fn take_dropped(&mut self, is_over: impl Fn(i64) -> bool) -> Vec<Vec<u8>> {
        let mut gone = std::mem::take(&mut self.superseded);
        while let Some(mut log) = self.logs.first_entry() {
            let names = &mut log.get_mut().names;
            while let Some(name) = names.first().copied().filter(|name| is_over(name.pane)) {
                names.pop_first();
                gone.push(name.to_bytes());
            }
            // The generation of a span that goes on must be remembered.
            let is_span_over = names.is_empty() && is_over(*log.key());
            if !is_span_over {
                break;
            }
            log.remove();
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
