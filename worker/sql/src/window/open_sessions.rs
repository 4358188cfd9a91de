//! The open sessions of a unit.
//!
//! Sessions grow and join, so a table of accumulators does not fit: kernels give up state only for all groups at once.
//! Here state stays in columns (*segments*), and an index says which rows of them are the sessions of a key. A delta
//! touches few: those are gathered with the delta, joined by kernels, and appended as a new segment.
//!
//! **Stored** as a log: the deltas of each commit under the number of a *generation*. Adding up all of a generation's
//! entries gives all sessions that were open when it began or have opened since. When they are more than twice what is
//! open, the next delta is replaced by all that is open, under the next number, and the older generation is dropped with
//! the same commit. So a commit writes at most about three times what changed, and a store holds at most about three
//! times what is open.

use std::sync::Arc;

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::StateEntry;
use super::closing::{CHUNK_GROUPS, from_sortable, sortable};
use super::entries::ENTRY_WEIGHT;
use super::key_ids::KeyIds;
use super::layout::Layout;
use super::session::{coalesce, gap};

/// Rows that may be dead or stored twice beyond what is open: below it, tidying costs more than it gives.
const SLACK: usize = 8_192;

/// A session: its times, and where its state is.
#[derive(Clone, Copy)]
struct Session {
    start: i64,
    last: i64,
    segment: u32,
    row: u32,
}

/// All open sessions.
pub(crate) struct OpenSessions {
    layout: Arc<Layout>,
    gap: i64,
    keys: KeyIds,
    by_key: Vec<Vec<Session>>,
    segments: Vec<RecordBatch>,
    open: usize,
    /// No session ends before this, less the gap.
    earliest_last: i64,
    log: Generations,
}

impl OpenSessions {
    pub(crate) fn new(layout: &Arc<Layout>) -> Result<Self> {
        Ok(Self {
            gap: gap(layout)?,
            keys: KeyIds::new(layout.key_schema())?,
            by_key: Vec::new(),
            segments: Vec::new(),
            open: 0,
            earliest_last: i64::MAX,
            log: Generations::default(),
            layout: Arc::clone(layout),
        })
    }

    /// Adds sessions of which no two meet each other; they may meet those that are open.
    pub(crate) fn merge(&mut self, delta: &RecordBatch) -> Result<()> {
        let (touching, touched) = self.meet(delta)?;
        if touched.is_empty() {
            return self.append(delta.clone());
        }
        let delta_segment = self.segments.len();
        let of_delta = |is_touching: bool| {
            let rows = touching.iter().enumerate().filter(move |(_, is)| **is == is_touching);
            rows.map(move |(row, _)| (delta_segment, row))
        };
        let met = touched.iter().map(|session| (session.segment as usize, session.row as usize));
        let met = self.gather(Some(delta), met.chain(of_delta(true)))?;
        let alone = self.gather(Some(delta), of_delta(false))?;
        self.append(coalesce(&self.layout, &met)?)?;
        self.append(alone)?;
        self.tidy()
    }

    /// Which rows of a delta meet open sessions, and those sessions, which are taken out.
    fn meet(&mut self, delta: &RecordBatch) -> Result<(Vec<bool>, Vec<Session>)> {
        let (starts, lasts) = (self.layout.starts(delta)?.values(), self.layout.ends(delta)?.values());
        self.keys.intern(&delta.columns()[self.layout.keys()], delta.num_rows())?;
        self.by_key.resize_with(self.keys.len(), Vec::new);
        let gap = self.gap;
        let meets = |session: &Session, row: usize| {
            session.start <= lasts[row].saturating_add(gap) && starts[row] <= session.last.saturating_add(gap)
        };
        let keys = self.keys.last();
        let touching: Vec<bool> =
            (0..delta.num_rows()).map(|row| self.by_key[keys[row]].iter().any(|session| meets(session, row))).collect();
        // Only now are they taken out: two rows of the delta may meet the same session.
        let mut touched = Vec::new();
        for (row, _) in touching.iter().enumerate().filter(|(_, is)| **is) {
            self.by_key[keys[row]].retain(|session| {
                let is_met = meets(session, row);
                touched.extend(is_met.then_some(*session));
                !is_met
            });
        }
        self.open -= touched.len();
        Ok((touching, touched))
    }

    /// Adds sessions that meet no other.
    fn append(&mut self, segment: RecordBatch) -> Result<()> {
        if segment.num_rows() == 0 {
            return Ok(());
        }
        let keys = self.keys.intern(&segment.columns()[self.layout.keys()], segment.num_rows())?;
        let (starts, lasts) = (self.layout.starts(&segment)?.values(), self.layout.ends(&segment)?.values());
        let number = self.segments.len() as u32;
        for row in 0..segment.num_rows() {
            let session = Session { start: starts[row], last: lasts[row], segment: number, row: row as u32 };
            self.earliest_last = self.earliest_last.min(session.last);
            self.by_key[keys[row]].push(session);
        }
        self.open += segment.num_rows();
        self.segments.push(segment);
        Ok(())
    }

    /// Takes out the sessions whose end the watermark has passed.
    pub(crate) fn take(&mut self, watermark: i64) -> Result<Option<RecordBatch>> {
        let is_over = |last: i64| last.saturating_add(self.gap) < watermark;
        if !is_over(self.earliest_last) {
            return Ok(None);
        }
        let mut over = Vec::new();
        let mut earliest = i64::MAX;
        for sessions in &mut self.by_key {
            sessions.retain(|session| {
                let is_over = is_over(session.last);
                if is_over {
                    over.push((session.segment as usize, session.row as usize));
                } else {
                    earliest = earliest.min(session.last);
                }
                !is_over
            });
        }
        self.earliest_last = earliest;
        self.open -= over.len();
        if over.is_empty() {
            return Ok(None);
        }
        let batch = self.gather(None, over.into_iter())?;
        self.tidy()?;
        Ok(Some(batch))
    }

    /// Copies what is open into one segment once most rows and keys are dead.
    fn tidy(&mut self) -> Result<()> {
        let rows: usize = self.segments.iter().map(RecordBatch::num_rows).sum();
        let is_tidy = self.open > 0 && rows.max(self.keys.len()) <= 2 * self.open + SLACK;
        if is_tidy || rows == 0 {
            return Ok(());
        }
        let all = self.all()?;
        self.keys = KeyIds::new(self.layout.key_schema())?;
        self.by_key = Vec::new();
        self.segments = Vec::new();
        self.open = 0;
        match all {
            None => Ok(()),
            Some(all) => self.merge(&all),
        }
    }

    fn all(&self) -> Result<Option<RecordBatch>> {
        if self.open == 0 {
            return Ok(None);
        }
        self.gather(None, self.by_key.iter().flatten().map(|s| (s.segment as usize, s.row as usize))).map(Some)
    }

    /// Rows of segments; a delta that is given along stands behind the last of them.
    fn gather(&self, delta: Option<&RecordBatch>, rows: impl Iterator<Item = (usize, usize)>) -> Result<RecordBatch> {
        let batches: Vec<&RecordBatch> = self.segments.iter().chain(delta).collect();
        Ok(interleave_record_batch(&batches, &rows.collect::<Vec<_>>())?)
    }

    /// Merges a delta, and makes the entries that keep it: in a new generation if that is due and allowed.
    pub(crate) fn merge_and_log(&mut self, delta: &RecordBatch, may_begin: bool) -> Result<Vec<StateEntry>> {
        self.merge(delta)?;
        if !may_begin || self.log.weight + delta.num_rows() <= 2 * self.open + SLACK {
            return Ok(self.log.entries(delta));
        }
        self.log.next();
        Ok(self.all()?.map_or_else(Vec::new, |all| self.log.entries(&all)))
    }

    /// Puts an entry back.
    pub(crate) fn restore(&mut self, entry: &StateEntry) -> Result<()> {
        self.log.restore(entry)?;
        self.merge(&entry.batch)
    }

    /// Generations that are superseded: they must go with the commit that holds the entries of the last
    /// [`Self::merge_and_log`]. All, if nothing is open and nothing on its way out.
    pub(crate) fn take_dropped(&mut self, is_idle: bool) -> Vec<Vec<u8>> {
        if is_idle && self.open == 0 && self.log.weight > 0 {
            self.log.next();
        }
        std::mem::take(&mut self.log.superseded)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let index: usize = self.by_key.capacity() * size_of::<Vec<Session>>() + self.open * 2 * size_of::<Session>();
        index + self.keys.bytes() + self.segments.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }
}

/// The log of deltas.
#[derive(Default)]
struct Generations {
    current: i64,
    /// What the entries of `current` weigh (after a restart: all that the store holds).
    weight: usize,
    /// Generations before the current one that the store still holds.
    before: Vec<i64>,
    superseded: Vec<Vec<u8>>,
}

impl Generations {
    fn entries(&mut self, batch: &RecordBatch) -> Vec<StateEntry> {
        let starts = (0..batch.num_rows()).step_by(CHUNK_GROUPS);
        let chunks = starts.map(|from| batch.slice(from, CHUNK_GROUPS.min(batch.num_rows() - from)));
        let name = sortable(self.current).to_vec();
        let entries: Vec<_> = chunks.map(|batch| StateEntry { pane: name.clone(), batch }).collect();
        self.weight += batch.num_rows() + entries.len() * ENTRY_WEIGHT;
        entries
    }

    fn next(&mut self) {
        self.before.push(self.current);
        self.superseded.extend(self.before.drain(..).map(|generation| sortable(generation).to_vec()));
        self.current += 1;
        self.weight = 0;
    }

    fn restore(&mut self, entry: &StateEntry) -> Result<()> {
        let generation = from_sortable(&entry.pane)?;
        if generation > self.current && self.weight > 0 {
            self.before.push(self.current);
        }
        if generation < self.current && !self.before.contains(&generation) {
            self.before.push(generation);
        }
        self.current = self.current.max(generation);
        self.weight += entry.batch.num_rows() + ENTRY_WEIGHT;
        Ok(())
    }
}
