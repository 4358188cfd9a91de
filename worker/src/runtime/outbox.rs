//! What a windowed unit emitted: entries in sequence, a log for the next stage or the queue of a sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use tokio::sync::mpsc;

use super::chunk::{Route, fold};
use super::emitter::Target;
use super::error::{Result, RunError};
use super::message::{LogKey, Message, Range, Rows, deliver};
use super::reader::Subscription;

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

/// How far each subscriber of an outbox has committed: entries below the least are no longer needed.
#[derive(Debug)]
pub struct Acknowledged {
    next: Vec<AtomicU64>,
    is_awaited: AtomicBool,
}

impl Acknowledged {
    /// Nobody has committed anything.
    pub fn new(subscribers: usize) -> Self {
        let next = (0..subscribers).map(|_| AtomicU64::new(0)).collect();
        Self { next, is_awaited: AtomicBool::new(false) }
    }

    /// Notes that a subscriber has committed everything below `next`.
    pub fn acknowledge(&self, subscriber: usize, next: u64) {
        self.next[subscriber].fetch_max(next, Ordering::Release);
    }

    /// Whether a commit of this subscriber, which has taken everything below `next`, is waited for.
    pub fn awaits(&self, subscriber: usize, next: u64) -> bool {
        self.is_awaited.load(Ordering::Relaxed) && next > self.next[subscriber].load(Ordering::Relaxed)
    }

    /// The outbox is full, or no longer: until subscribers commit, its unit stands.
    pub fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::Relaxed);
    }

    /// Everything below this was committed by all.
    pub fn least(&self) -> u64 {
        self.next.iter().map(|next| next.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }
}

/// Serves one unit's outbox to the units of the next stage.
pub struct OutboxTask {
    /// Index of the unit whose outbox this is: the log's number.
    pub log: u32,
    /// From the outbox's rows to those of the next stage.
    pub route: Arc<Route>,
    /// Who subscribes.
    pub subscription: Subscription,
    /// Where entries come from.
    pub entries: mpsc::Receiver<Entry>,
    /// Number of the next stage, for messages.
    pub stage: u32,
}

impl OutboxTask {
    /// Serves until the unit has sent its last entry.
    pub async fn run(mut self) -> Result<()> {
        while let Some(entry) = self.entries.recv().await {
            self.serve(entry).await?;
        }
        Ok(())
    }

    async fn serve(&self, entry: Entry) -> Result<()> {
        let after = LogProgress { next: Position::at(entry.seq + 1), watermark: entry.watermark, ..LogProgress::START };
        let mut parts = self.parts(&entry)?;
        let log = LogKey { input: self.subscription.input, log: self.log };
        for (index, subscriber) in self.subscription.subscribers.iter().enumerate() {
            if after.next <= subscriber.accepted.next {
                continue;
            }
            let rows = parts.get_mut(index).and_then(Option::take).map_or(Rows::None, Rows::Partial);
            let range = Range { log, from: Position::at(entry.seq), after, rows, dead_letters: None };
            deliver(&subscriber.sender, Message::Range(range)).await;
        }
        Ok(())
    }

    fn parts(&self, entry: &Entry) -> Result<Vec<Option<thalweg_sql::window::Partial>>> {
        let Some(rows) = entry.rows.as_ref().filter(|_| entry.target == Target::Main) else { return Ok(Vec::new()) };
        let failed = |message: String| RunError::Plan { stage: self.stage, message };
        let input = self.route.select_outbox(rows, self.log, entry.seq).map_err(failed)?;
        let transformed = self.route.transform.apply(&input);
        if let Some((_, message)) = transformed.failed.into_iter().next() {
            return Err(failed(message));
        }
        let Some((windows, key_groups)) = &self.route.windows else {
            return Err(RunError::Internal(format!("stage {} reads an outbox and has no windows", self.stage)));
        };
        fold(windows, *key_groups, &transformed.batch).map_err(failed)
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

    #[test]
    fn an_outbox_is_trimmed_only_behind_its_slowest_subscriber() {
        let acknowledged = Acknowledged::new(2);
        acknowledged.acknowledge(0, 7);
        assert_eq!(acknowledged.least(), 0);
        acknowledged.acknowledge(1, 3);
        assert_eq!(acknowledged.least(), 3);
        acknowledged.acknowledge(1, 2);
        assert_eq!(acknowledged.least(), 3, "it never falls");
        assert!(!acknowledged.awaits(1, 9), "nobody waits");
        acknowledged.set_awaited(true);
        assert!(acknowledged.awaits(1, 9) && !acknowledged.awaits(0, 7), "only for those who have something to commit");
    }
}
