//! The state of one unit: what was merged since the last commit over what was before, and the way out.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use thalweg_core::time::Watermark;

use super::closing::{CHUNK_GROUPS, Closing, Cursors, evaluate, from_sortable};
use super::entries::Stored;
use super::groups::Groups;
use super::layout::Layout;
use super::pane::Panes;
use super::shared::SharedPanes;
use super::{Closed, MergeOutcome, Partial, StateEntry, WindowedAggregate};

/// What was committed.
enum Main {
    /// A window is a pane.
    Single(Panes),
    /// A window is a run of panes.
    Shared(SharedPanes),
}

impl Main {
    fn new(layout: &Arc<Layout>) -> Self {
        match layout.spec().window_ends() {
            Some(ends) if layout.spec().shares_panes() => Self::Shared(SharedPanes::new(layout, ends)),
            _ => Self::Single(Panes::new(layout)),
        }
    }

    fn panes(&mut self) -> &mut Panes {
        match self {
            Self::Single(panes) => panes,
            Self::Shared(shared) => &mut shared.open,
        }
    }

    /// Groups of windows that end at or before `until`, and up to where windows are complete with them.
    fn next(&mut self, until: i64) -> Result<Option<(RecordBatch, i64)>> {
        match self {
            Self::Shared(shared) => shared.next(until),
            Self::Single(panes) => {
                let Some(groups) = panes.take(until)? else { return Ok(None) };
                // Whatever is left starts after all that was taken.
                let complete = panes.first().map_or(until, |first| until.min(first.saturating_sub(1)));
                Ok(Some((groups, complete)))
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Single(panes) => panes.bytes(),
            Self::Shared(shared) => shared.bytes(),
        }
    }
}

/// The state behind [`super::WindowState`].
pub(crate) struct UnitWindows {
    layout: Arc<Layout>,
    cursors: Cursors,
    delta: Groups,
    main: Main,
    stored: Stored,
    closing: Option<Closing>,
    pub(crate) chunk_groups: usize,
    /// Panes that end at or before this take no more rows.
    closed_until: i64,
    /// Windows that end at or before this were given out whole.
    emitted_until: i64,
    /// What was given out before a restart.
    resumed: Option<Vec<u8>>,
}

impl UnitWindows {
    pub(crate) fn new(aggregate: &Arc<WindowedAggregate>) -> Result<Self> {
        let layout = Layout::new(aggregate)?;
        Ok(Self {
            cursors: Cursors::new(&layout)?,
            delta: Groups::new(&layout)?,
            main: Main::new(&layout),
            layout,
            stored: Stored::default(),
            closing: None,
            chunk_groups: CHUNK_GROUPS,
            closed_until: i64::MIN,
            emitted_until: i64::MIN,
            resumed: None,
        })
    }

    pub(crate) fn merge(&mut self, partial: &Partial) -> Result<MergeOutcome> {
        self.layout.check(&partial.batch)?;
        let ends = self.layout.ends(&partial.batch)?;
        if ends.values().iter().all(|&end| end > self.closed_until) {
            self.delta.merge(&partial.batch)?;
            return Ok(MergeOutcome::default());
        }
        let is_late: BooleanArray = ends.values().iter().map(|&end| Some(end <= self.closed_until)).collect();
        let late = filter_record_batch(&partial.batch, &is_late)?;
        self.delta.merge(&filter_record_batch(&partial.batch, &arrow::compute::not(&is_late)?)?)?;
        Ok(MergeOutcome { late_groups: late.num_rows(), late: Some(Partial { batch: late }) })
    }

    pub(crate) fn take_delta(&mut self) -> Result<Vec<StateEntry>> {
        let Some(delta) = self.drain_delta()? else { return Ok(Vec::new()) };
        let entries = self.stored.entries(&self.layout, &delta)?;
        self.main.panes().merge(&delta)?;
        Ok(entries)
    }

    pub(crate) fn absorb_delta(&mut self) -> Result<()> {
        match self.drain_delta()? {
            Some(delta) => self.main.panes().merge(&delta),
            None => Ok(()),
        }
    }

    fn drain_delta(&mut self) -> Result<Option<RecordBatch>> {
        if self.delta.is_empty() {
            return Ok(None);
        }
        std::mem::replace(&mut self.delta, Groups::new(&self.layout)?).into_partial()
    }

    pub(crate) fn resume(&mut self, cursor: Option<&[u8]>, closed_until: Watermark) -> Result<()> {
        self.closed_until = closed_until.0;
        if let Some(cursor) = cursor {
            // The window of the cursor may be given out in part: only those before it are complete.
            self.emitted_until = from_sortable(cursor)?.saturating_sub(1);
            if let Main::Shared(shared) = &mut self.main {
                shared.done = self.emitted_until;
            }
            self.resumed = Some(cursor.to_vec());
        }
        Ok(())
    }

    pub(crate) fn restore(&mut self, entry: &StateEntry) -> Result<()> {
        self.layout.check(&entry.batch)?;
        self.stored.insert(from_sortable(&entry.pane)?);
        // Small panes share an entry with later ones, and may be over while it is not.
        let spec = self.layout.spec();
        let ends = self.layout.ends(&entry.batch)?.values();
        let is_open: BooleanArray =
            ends.iter().map(|&end| Some(spec.last_window_end(end) > self.emitted_until)).collect();
        let open =
            if is_open.false_count() == 0 { entry.batch.clone() } else { filter_record_batch(&entry.batch, &is_open)? };
        self.main.panes().merge(&open)
    }

    pub(crate) fn close_raw(&mut self, watermark: Watermark) -> Result<Option<Closed>> {
        self.closed_until = self.closed_until.max(watermark.0);
        self.absorb_delta()?;
        loop {
            if let Some(closing) = &mut self.closing {
                if let Some(chunk) = closing.next_chunk(self.chunk_groups)? {
                    match self.emit(&chunk)? {
                        Some(closed) => return Ok(Some(closed)),
                        None => continue,
                    }
                }
                self.emitted_until = self.emitted_until.max(closing.until);
                self.closing = None;
            }
            match self.main.next(watermark.0)? {
                Some((groups, until)) => self.closing = Some(Closing::new(&self.layout, groups, until)?),
                None => {
                    self.emitted_until = self.emitted_until.max(watermark.0);
                    return Ok(None);
                }
            }
        }
    }

    /// Evaluates a chunk, but for what was given out before a restart.
    fn emit(&mut self, chunk: &RecordBatch) -> Result<Option<Closed>> {
        let mut chunk = chunk.clone();
        if let Some(resumed) = &self.resumed {
            let cursors = self.cursors.all(&self.layout, &chunk)?;
            let given = cursors.partition_point(|cursor| cursor <= resumed);
            if given == chunk.num_rows() {
                return Ok(None);
            }
            chunk = chunk.slice(given, chunk.num_rows() - given);
            self.resumed = None;
        }
        let cursor = self.cursors.last(&self.layout, &chunk)?;
        Ok(Some(Closed { batch: evaluate(&self.layout, &chunk)?, cursor }))
    }

    pub(crate) fn take_dropped(&mut self) -> Vec<Vec<u8>> {
        let until = self.emitted_until;
        self.main.panes().forget(until);
        let spec = self.layout.spec();
        self.stored.take_while(|pane| spec.last_window_end(pane) <= until)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.delta.bytes() + self.main.bytes() + self.closing.as_ref().map_or(0, Closing::bytes)
    }
}
