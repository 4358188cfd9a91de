//! The state of one unit: what was merged since the last commit over what was before, and the way out.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use thalweg_core::time::Watermark;

use super::closing::{CHUNK_GROUPS, Closing, Cursors, evaluate, from_sortable};
use super::delta::Delta;
use super::entries::Stored;
use super::groups::Groups;
use super::late::bounds;
use super::layout::Layout;
use super::open_sessions::OpenSessions;
use super::pane::{Panes, spans};
use super::shared::SharedPanes;
use super::{Closed, Merge, Partial, StateEntry, WindowSpec, WindowedAggregate};

/// What was committed.
enum Main {
    /// A window is a pane.
    Single(Panes),
    /// A window is a run of panes.
    Shared(SharedPanes),
    /// There are no panes.
    Sessions(OpenSessions),
}

impl Main {
    fn new(layout: &Arc<Layout>) -> Result<Self> {
        match (layout.spec(), layout.spec().window_ends()) {
            (WindowSpec::Session { .. }, _) => Ok(Self::Sessions(OpenSessions::new(layout)?)),
            (spec, Some(ends)) if spec.shares_panes() => Ok(Self::Shared(SharedPanes::new(layout, ends))),
            _ => Ok(Self::Single(Panes::new(layout))),
        }
    }

    fn merge(&mut self, delta: &RecordBatch) -> Result<()> {
        match self {
            Self::Single(panes) => panes.merge(delta),
            Self::Shared(shared) => shared.open.merge(delta),
            Self::Sessions(sessions) => sessions.merge(delta),
        }
    }

    /// How many groups a span of panes has, if they can be copied.
    fn groups_in(&self, span: i64) -> Result<Option<usize>> {
        match self {
            Self::Single(panes) => Ok(panes.groups_in(span)),
            Self::Shared(shared) => shared.groups_in(span),
            Self::Sessions(_) => Ok(None),
        }
    }

    fn copy(&mut self, span: i64) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Single(panes) => panes.copy(span),
            Self::Shared(shared) => shared.open.copy(span),
            Self::Sessions(_) => Ok(Vec::new()),
        }
    }

    /// Groups of windows that end at or before `until`, and up to where windows are complete with them.
    fn next(&mut self, until: i64) -> Result<Option<(RecordBatch, i64)>> {
        match self {
            Self::Shared(shared) => shared.next(until),
            Self::Sessions(sessions) => Ok(sessions.take(until)?.map(|groups| (groups, until))),
            Self::Single(panes) => {
                let Some(groups) = panes.take(until)? else { return Ok(None) };
                // Whatever is left starts after all that was taken.
                let complete = panes.first().map_or(until, |first| until.min(first.saturating_sub(1)));
                Ok(Some((groups, complete)))
            }
        }
    }

    /// The least end of a window that may hold something; sessions do not know theirs.
    fn next_end(&self) -> Result<Option<i64>> {
        match self {
            Self::Single(panes) => Ok(panes.first()),
            Self::Shared(shared) => shared.next_end(),
            Self::Sessions(_) => Ok(None),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Single(panes) => panes.bytes(),
            Self::Shared(shared) => shared.bytes(),
            Self::Sessions(sessions) => sessions.bytes(),
        }
    }
}

/// The state behind [`super::WindowState`].
pub(crate) struct UnitWindows {
    layout: Arc<Layout>,
    cursors: Cursors,
    delta: Delta,
    main: Main,
    /// What was merged into `main` since the last commit and is in no entry yet, but for panes that are over.
    unsaved: Vec<RecordBatch>,
    stored: Stored,
    closing: Option<Closing>,
    chunk_groups: usize,
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
            delta: Delta::new(&layout)?,
            main: Main::new(&layout)?,
            unsaved: Vec::new(),
            stored: Stored::new(spans(&layout), CHUNK_GROUPS),
            layout,
            closing: None,
            chunk_groups: CHUNK_GROUPS,
            closed_until: i64::MIN,
            emitted_until: i64::MIN,
            resumed: None,
        })
    }

    /// Chunks of output, and of entries, of at most so many groups.
    pub(crate) fn set_chunk_groups(&mut self, groups: usize) {
        self.chunk_groups = groups.max(1);
        self.stored.chunk_groups = self.chunk_groups;
    }

    pub(crate) fn merge(&mut self, partial: &Partial) -> Result<Merge> {
        self.layout.check(&partial.batch)?;
        if self.touches_closed(&partial.batch)? {
            return Ok(Merge::TouchesClosed);
        }
        if partial.batch.num_rows() > 0 {
            self.delta.merge(&partial.batch)?;
        }
        Ok(Merge::Done)
    }

    /// Whether a group's pane is closed; or a session begins before the watermark, since it holds a row from before it.
    fn touches_closed(&self, partial: &RecordBatch) -> Result<bool> {
        let (times, least) = match self.main {
            Main::Sessions(_) => (self.layout.starts(partial)?, self.closed_until),
            _ => (self.layout.ends(partial)?, self.closed_until.saturating_add(1)),
        };
        Ok(self.closed_until != i64::MIN && times.values().iter().any(|time| *time < least))
    }

    pub(crate) fn take_delta(&mut self) -> Result<Vec<StateEntry>> {
        if let Main::Sessions(sessions) = &mut self.main {
            let Some(delta) = self.delta.take()? else { return Ok(Vec::new()) };
            // A generation begins with what is open: not while sessions on their way out are only in older entries.
            return sessions.merge_and_log(&delta, self.closing.is_none());
        }
        self.merge_unsaved()?;
        let Some(unsaved) = self.take_unsaved()? else { return Ok(Vec::new()) };
        let mut entries = self.stored.entries(&self.layout, &unsaved)?;
        // What is on its way out is only in older entries.
        if self.closing.is_none() {
            self.rewrite_long_logs(&mut entries)?;
        }
        Ok(entries)
    }

    /// Merges the delta, and remembers it for the next entries.
    fn merge_unsaved(&mut self) -> Result<()> {
        if let Some(delta) = self.delta.take()? {
            self.main.merge(&delta)?;
            self.unsaved.push(delta);
        }
        Ok(())
    }

    fn take_unsaved(&mut self) -> Result<Option<RecordBatch>> {
        let parts = std::mem::take(&mut self.unsaved);
        if let [part] = &parts[..] {
            return Ok(Some(self.open_part(part)?).filter(|open| open.num_rows() > 0));
        }
        let mut all = Groups::new(&self.layout)?;
        for part in parts {
            all.merge(&self.open_part(&part)?)?;
        }
        all.into_partial()
    }

    fn rewrite_long_logs(&mut self, entries: &mut Vec<StateEntry>) -> Result<()> {
        let due = self.stored.due(entries, |span| self.main.groups_in(span))?;
        for span in due {
            self.stored.begin(span, entries);
            for copy in self.main.copy(span)? {
                entries.extend(self.stored.entries(&self.layout, &copy)?);
            }
        }
        Ok(())
    }

    pub(crate) fn absorb_delta(&mut self) -> Result<()> {
        match self.delta.take()? {
            Some(delta) => self.main.merge(&delta),
            None => Ok(()),
        }
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
        if let Main::Sessions(sessions) = &mut self.main {
            return sessions.restore(entry);
        }
        self.stored.restore(entry)?;
        // Small panes share an entry with later ones, and may be over while it is not.
        let open = self.open_part(&entry.batch)?;
        self.main.merge(&open)
    }

    pub(crate) fn supersedes(&self, entry: &StateEntry) -> Result<bool> {
        match self.main {
            // What becomes of sessions depends on all that was open: they are not followed.
            Main::Sessions(_) => Ok(true),
            Main::Single(_) | Main::Shared(_) => self.stored.supersedes(entry),
        }
    }

    /// The groups of panes that are not over.
    fn open_part(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let spec = self.layout.spec();
        let ends = self.layout.ends(batch)?.values();
        let is_open: BooleanArray =
            ends.iter().map(|&end| Some(spec.last_window_end(end) > self.emitted_until)).collect();
        if is_open.false_count() == 0 { Ok(batch.clone()) } else { Ok(filter_record_batch(batch, &is_open)?) }
    }

    pub(crate) fn close_early_raw(&mut self, watermark: Watermark) -> Result<Option<Closed>> {
        if !self.can_close_early(watermark.0)? {
            return Ok(None);
        }
        self.merge_unsaved()?;
        let closed = self.close_raw(watermark)?;
        self.forget_over()?;
        Ok(closed)
    }

    /// Forgets unsaved batches of which nothing is open. The others are cut when they are saved.
    fn forget_over(&mut self) -> Result<()> {
        let mut open = Vec::with_capacity(self.unsaved.len());
        for batch in std::mem::take(&mut self.unsaved) {
            let last =
                bounds(self.layout.ends(&batch)?.values()).map(|(_, last)| self.layout.spec().last_window_end(last));
            if last.is_some_and(|last| last > self.emitted_until) {
                open.push(batch);
            }
        }
        self.unsaved = open;
        Ok(())
    }

    /// Whether there may be a window to close. Sessions wait for the commit: what becomes of them in the store depends on
    /// what is open then.
    fn can_close_early(&self, watermark: i64) -> Result<bool> {
        if matches!(self.main, Main::Sessions(_)) {
            return Ok(false);
        }
        let first = self.delta.first().map(|pane| self.layout.spec().first_window_end(pane));
        let next = self.main.next_end()?;
        Ok(self.closing.is_some() || first.into_iter().chain(next).any(|end| end <= watermark))
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

    /// See [`super::WindowState::output_watermark`].
    pub(crate) fn output_watermark(&self, watermark: Watermark) -> Watermark {
        match self.main {
            Main::Sessions(_) if watermark != Watermark::END => Watermark(watermark.0.saturating_sub(1)),
            _ => watermark,
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
        Ok(Some(Closed { batch: evaluate(&self.layout, &chunk)?, failed: vec![], cursor }))
    }

    pub(crate) fn take_dropped(&mut self) -> Vec<Vec<u8>> {
        let until = self.emitted_until;
        match &mut self.main {
            Main::Single(panes) => panes.forget(until),
            Main::Shared(shared) => shared.open.forget(until),
            Main::Sessions(sessions) => {
                // What is on its way out is still needed by whoever restarts.
                let is_idle = self.closing.is_none() && self.delta.is_empty();
                return sessions.take_dropped(is_idle);
            }
        }
        let spec = self.layout.spec();
        self.stored.take_dropped(|pane| spec.last_window_end(pane) <= until)
    }

    pub(crate) fn delta_bytes(&self) -> usize {
        self.delta.bytes() + self.unsaved.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.delta_bytes() + self.main.bytes() + self.closing.as_ref().map_or(0, Closing::bytes)
    }
}
