//! What a windowed unit emitted: entries in sequence, a log for the next stage or the queue of a sink.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::commit::UnitStore;
use thalweg_core::error::{Error, ErrorKind, Result as CoreResult};
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use thalweg_core::unit::UnitId;
use thalweg_exchange::message::{Rows, Stamp, Subscription};
use thalweg_exchange::serve::{RangeReader, RangeSource, ReadRange};
use thalweg_sql::window::Partial;
use tokio::sync::Notify;

use super::chunk::{Route, fold};
use super::emitter::Target;
use super::error::{Result, RunError};
use super::failures::Failures;
use super::layout;

/// Entries kept in memory beside the store, for subscribers that are level.
const TAIL: usize = 16;

/// An entry: rows for one target, then a watermark that closes them.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number; they are consecutive.
    pub seq: u64,
    /// Where the rows go. Only those for the main target are a log for the next stage.
    pub target: Target,
    /// The unit's watermark behind the rows.
    pub watermark: Watermark,
    /// Rows; none where only the watermark moved.
    pub rows: Option<RecordBatch>,
}

impl Entry {
    /// The value that is stored.
    pub fn encode(&self) -> Result<Bytes> {
        let mut bytes = vec![self.target as u8];
        bytes.extend_from_slice(&self.watermark.0.to_le_bytes());
        if let Some(rows) = &self.rows {
            encode_rows(rows, &mut bytes)?;
        }
        Ok(bytes.into())
    }

    /// What [`Entry::encode`] wrote.
    pub fn decode(seq: u64, bytes: &[u8]) -> Result<Self> {
        let broken = || RunError::Internal(format!("outbox entry {seq} cannot be read"));
        let (&target, rest) = bytes.split_first().ok_or_else(broken)?;
        let (watermark, rows) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        Ok(Self {
            seq,
            target: Target::from_number(target).ok_or_else(broken)?,
            watermark: Watermark(i64::from_le_bytes(*watermark)),
            rows: (!rows.is_empty()).then(|| decode_rows(rows)).transpose()?,
        })
    }
}

/// Writes a batch as an Arrow IPC stream.
pub fn encode_rows(rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let mut writer = StreamWriter::try_new(out, rows.schema_ref()).map_err(internal)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(internal)
}

/// Reads the one batch of an Arrow IPC stream.
pub fn decode_rows(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(internal)?;
    let batch = reader.next().ok_or_else(|| RunError::Internal("a stored batch is empty".to_owned()))?;
    batch.map_err(internal)
}

fn internal(error: arrow::error::ArrowError) -> RunError {
    RunError::Internal(error.to_string())
}

/// A unit's outbox as a log that the next stage's units subscribe to. Entries that are no longer in memory are read from the
/// unit's store.
pub struct Outbox {
    /// The unit whose outbox it is.
    pub unit: UnitId,
    /// From its rows to those of the next stage.
    pub route: Route,
    /// What ranges are made by.
    pub stamp: Stamp,
    /// Where its entries are kept; `None` where they are in memory only.
    pub store: Option<Arc<dyn UnitStore>>,
    /// Where it is told that an entry cannot be read.
    pub failures: Failures,
    entries: Mutex<Entries>,
    changed: Notify,
}

struct Entries {
    /// The last ones.
    tail: VecDeque<Entry>,
    /// Number of the next one.
    next: u64,
    /// What each subscriber has committed, by its number.
    committed: Vec<u64>,
    /// Whether what is served should be committed at once.
    is_pressed: bool,
}

impl Outbox {
    /// An outbox that goes on at entry `next`, and is read by so many units.
    pub fn new(
        unit: UnitId,
        (route, stamp): (Route, Stamp),
        store: Option<Arc<dyn UnitStore>>,
        failures: Failures,
        (next, subscribers): (u64, u32),
    ) -> Self {
        let committed = vec![0; subscribers as usize];
        let entries = Mutex::new(Entries { tail: VecDeque::new(), next, committed, is_pressed: false });
        Self { unit, route, stamp, store, failures, entries, changed: Notify::new() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry that was committed, the next one. Those of an earlier owner are in the store.
    pub fn push(&self, entry: Entry) {
        let mut entries = self.entries();
        if entry.seq < entries.next {
            return;
        }
        entries.next = entry.seq + 1;
        entries.tail.push_back(entry);
        if self.store.is_some() && entries.tail.len() > TAIL {
            entries.tail.pop_front();
        }
        drop(entries);
        self.changed.notify_waiters();
    }

    /// Everything below this was committed by all subscribers.
    pub fn committed(&self) -> u64 {
        self.entries().committed.iter().copied().min().unwrap_or(u64::MAX)
    }

    /// Whether subscribers are asked to commit what they take at once, so that entries can go.
    pub fn press(&self, is_pressed: bool) {
        self.entries().is_pressed = is_pressed;
    }

    /// Waits until subscribers have committed so much that `is_enough` says so of what [`Outbox::committed`] gives.
    pub async fn wait_for_commits(&self, is_enough: impl Fn(u64) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_enough(self.committed()) {
                return;
            }
            changed.await;
        }
    }

    /// The entry of a number, once it is committed.
    async fn entry(&self, seq: u64) -> Result<Entry> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = self.find(seq) {
                return match found {
                    Some(entry) => Ok(entry),
                    None => self.read(seq).await,
                };
            }
            changed.await;
        }
    }

    /// `None` where it is not there yet, `Some(None)` where it is not in memory.
    fn find(&self, seq: u64) -> Option<Option<Entry>> {
        let entries = self.entries();
        if seq >= entries.next {
            return None;
        }
        let first = entries.next - entries.tail.len() as u64;
        let index = seq.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        Some(index.and_then(|index| entries.tail.get(index).cloned()))
    }

    async fn read(&self, seq: u64) -> Result<Entry> {
        let trimmed = || {
            let what = format!("reading outbox {}", self.unit);
            RunError::Connector(Error::data_loss(what, format!("entry {seq} is wanted, and is no longer there")))
        };
        let store = self.store.as_ref().ok_or_else(trimmed)?;
        let value = store.get(&layout::outbox_key(seq)).await?.ok_or_else(trimmed)?;
        Entry::decode(seq, &value)
    }

    /// The rows of an entry as those of the next stage, folded by unit.
    fn parts(&self, entry: &Entry) -> Result<Vec<Option<Partial>>> {
        let Some(rows) = entry.rows.as_ref().filter(|_| entry.target == Target::Main) else { return Ok(Vec::new()) };
        let failed = |message: String| RunError::Plan { stage: self.unit.stage.0, message };
        let input = self.route.select_outbox(rows, self.unit.index, entry.seq).map_err(failed)?;
        let transformed = self.route.transform.apply(&input);
        if let Some((_, message)) = transformed.failed.into_iter().next() {
            return Err(failed(message));
        }
        let Some((windows, key_groups)) = &self.route.windows else {
            return Err(RunError::Internal(format!("outbox {} is read by a stage without windows", self.unit)));
        };
        fold(windows, *key_groups, &transformed.batch).map_err(failed)
    }
}

/// An outbox that is served to units.
pub struct ServedOutbox(pub Arc<Outbox>);

#[async_trait]
impl RangeSource for ServedOutbox {
    fn serves(&self, stamp: &Stamp) -> bool {
        stamp.fits(&self.0.stamp)
    }

    async fn open(&self, from: LogProgress, _cuts: Vec<LogProgress>) -> CoreResult<Box<dyn RangeReader>> {
        Ok(Box::new(OutboxRanges { outbox: self.0.clone(), next: from.next.offset as u64 }))
    }

    fn committed(&self, subscription: &Subscription, next: Position) {
        let mut entries = self.0.entries();
        if let Some(committed) = entries.committed.get_mut(subscription.unit.index as usize) {
            *committed = (*committed).max(next.offset as u64);
        }
        // In memory nothing need be kept that all have.
        let least = entries.committed.iter().copied().min().unwrap_or_default();
        if self.0.store.is_none() {
            while entries.tail.front().is_some_and(|entry| entry.seq < least) {
                entries.tail.pop_front();
            }
        }
        drop(entries);
        self.0.changed.notify_waiters();
    }
}

struct OutboxRanges {
    outbox: Arc<Outbox>,
    next: u64,
}

#[async_trait]
impl RangeReader for OutboxRanges {
    async fn read(&mut self, _until: Option<Position>) -> CoreResult<Box<dyn ReadRange>> {
        match self.range().await {
            Ok(range) => Ok(Box::new(range)),
            Err(RunError::Connector(error)) if error.kind == ErrorKind::DataLoss => Err(error),
            Err(error) => self.outbox.failures.end(error).await,
        }
    }
}

impl OutboxRanges {
    async fn range(&mut self) -> Result<OutboxRange> {
        let entry = self.outbox.entry(self.next).await?;
        let parts = self.outbox.parts(&entry)?;
        self.next = entry.seq + 1;
        let after = LogProgress { next: Position::at(self.next), watermark: entry.watermark, ..LogProgress::START };
        Ok(OutboxRange { after, parts, is_awaited: self.outbox.entries().is_pressed })
    }
}

struct OutboxRange {
    after: LogProgress,
    parts: Vec<Option<Partial>>,
    is_awaited: bool,
}

impl ReadRange for OutboxRange {
    fn after(&self) -> LogProgress {
        self.after
    }

    fn part(&mut self, subscription: &Subscription, _stamp: &Stamp) -> (Option<Rows>, Option<RecordBatch>) {
        let part = self.parts.get_mut(subscription.unit.index as usize).and_then(Option::take);
        (part.map(|part| Rows::Folded(part.batch)), None)
    }

    fn is_awaited(&self) -> bool {
        self.is_awaited
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn an_entry_comes_back_from_the_store_as_it_was() {
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)]).expect("valid");
        for rows in [Some(rows), None] {
            let entry = Entry { seq: 4, target: Target::DeadLetters, watermark: Watermark(-5), rows };
            let back = Entry::decode(4, &entry.encode().expect("encodes")).expect("decodes");
            assert_eq!((back.target, back.watermark, back.rows), (entry.target, entry.watermark, entry.rows));
        }
    }
}
