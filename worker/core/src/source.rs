//! What a connector implements to be read.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;

use crate::decode::BadRecord;
use crate::error::{Error, Result};
use crate::log::SplitId;
use crate::position::Position;

/// A split as its source lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its name, the same in every run.
    pub id: SplitId,
    /// How much there is to read, where that is known: what progress bars count in (bytes of files as stored, rows of
    /// a generator).
    pub size: Option<u64>,
}

/// Where a log begins and ends at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The first position that is kept and wanted.
    pub start: Position,
    /// Behind the last record that readers get.
    pub end: Position,
}

/// How soon a source that [is in doubt](Source::is_in_doubt) is listed again.
pub const IN_DOUBT_EVERY: Duration = Duration::from_millis(800);

/// One `StreamSource` of a plan.
#[async_trait]
pub trait Source: Send + Sync {
    /// Every split known now. A split that was listed once is listed again in every run under the same state.
    async fn splits(&self) -> Result<Vec<Split>>;

    /// Whether splits may still appear after [`Source::splits`] was called.
    fn grows(&self) -> bool;

    /// Whether [`SplitReader::read`] waits at a log's end for records to come, as brokers let their readers do. Then nobody
    /// pauses between two calls, and splits are read side by side however many there are.
    fn waits(&self) -> bool {
        false
    }

    /// Whether what was listed last seems to be gone, so that it is to be listed again soon: after
    /// [`IN_DOUBT_EVERY`].
    fn is_in_doubt(&self) -> bool {
        false
    }

    /// A position of a split as dead letters name it.
    fn show(&self, split: &SplitId, position: Position) -> String {
        let _ = split;
        position.to_string()
    }

    /// Where a split begins and ends now; `None` where that is not known.
    ///
    /// # Errors
    /// Nobody answered.
    async fn bounds(&self, split: &SplitId) -> Result<Option<LogBounds>> {
        let _ = split;
        Ok(None)
    }

    /// Why nothing is heard of a split, where that has lasted for some seconds and whoever reads it goes on asking.
    fn outage(&self, split: &SplitId) -> Option<Error> {
        let _ = split;
        None
    }

    /// Shows those outside who look for it how far splits were taken: handed to units, which may not have committed it. It
    /// decides nothing, and where it fails that is told and nothing else follows.
    async fn show_taken(&self, taken: &[(SplitId, Position)]) {
        let _ = taken;
    }

    /// Opens a split so that the first chunk starts at `from`, or at the first record after it.
    ///
    /// # Errors
    /// `DataLoss` where the log no longer holds `from`.
    async fn open(&self, split: &SplitId, from: Position) -> Result<Box<dyn SplitReader>>;

    /// The place for people: "trips.json, line 17, column 3". Called for errors only, so it may read again; `column`
    /// is the byte within the record where the fault is, if known.
    async fn describe(&self, split: &SplitId, position: Position, column: Option<usize>) -> String;
}

/// One split, read in order.
#[async_trait]
pub trait SplitReader: Send {
    /// The next chunk, which ends at `until` at the latest where that is given (a subscriber wants a range to end
    /// there, and it is the boundary of a record).
    ///
    /// # Cancel safety
    /// A call that is dropped loses nothing: the next call gives what this one would have given.
    async fn read(&mut self, until: Option<Position>) -> Result<Read>;

    /// How much of [`Split::size`] was read.
    fn progress(&self) -> u64;
}

/// The answer of [`SplitReader::read`].
#[derive(Debug)]
pub enum Read {
    /// Records.
    Chunk(RawChunk<Given>),
    /// The reader stands at the log's end; more may come, so ask again later.
    CaughtUp,
    /// The log has ended: nothing comes after this.
    End,
}

/// A run of whole records of one split, as they were stored.
#[derive(Clone, Debug)]
pub struct RawChunk<P = Payload> {
    /// Position of the first record; ranges are contiguous, so a chunk starts where the last one ended, except that a
    /// lane goes on to its next piece.
    pub from: Position,
    /// Position after the last record.
    pub to: Position,
    /// The piece of the log that this comes from.
    pub piece: Piece,
    /// The records.
    pub payload: P,
    /// Records that could not even be delimited: too long, cut off.
    pub bad: Vec<BadRecord>,
}

impl RawChunk<Given> {
    /// The chunk with its records, where they were not read yet.
    ///
    /// # Errors
    /// As [`Unread::read`].
    pub async fn fetched(self) -> Result<RawChunk> {
        let Self { from, to, piece, payload, bad } = self;
        let payload = match payload {
            Given::Held(payload) => payload,
            Given::Unread(stretch) => Payload::Text(stretch.read().await?),
        };
        Ok(RawChunk { from, to, piece, payload, bad })
    }
}

/// A part of a log that has a watermark of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What people call it (the file's path); goes into metadata columns and dead letters.
    pub name: Arc<str>,
    /// Its number within the source, the same however pieces are dealt to splits: of rows with one event time those of the
    /// piece with the lesser number come first.
    pub ordinal: u32,
    /// Chunks with the same number share a watermark: the greatest event time starts anew where it changes.
    pub watermark_scope: u64,
    /// Whether the split's watermark may follow this piece's. It may not while other pieces of the split, which may
    /// hold any event time, have not been read.
    pub is_last_scope: bool,
}

/// What a reader gives of records.
#[derive(Clone, Debug)]
pub enum Given {
    /// The records.
    Held(Payload),
    /// Text of records, where it is stored: who decodes a chunk reads it first ([`RawChunk::fetched`]), so that no text crosses
    /// from one core to another.
    Unread(Stretch),
}

impl From<Payload> for Given {
    fn from(payload: Payload) -> Self {
        Self::Held(payload)
    }
}

/// Records in the shape in which the system gave them.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Text of whole records, each ended by a newline but perhaps the last. A row's position is
    /// `from.offset` plus the byte at which it starts.
    Text(Bytes),
    /// One value a record, as brokers give them. Record `i` has the position of `offsets[i]` in the entry of `from`.
    Records(Box<Records>),
    /// Columns already (Parquet, generators), named as in the source's format. Row `i` has position `from + i`.
    Columns(RecordBatch),
}

/// A text from which stretches are read, by several side by side.
#[async_trait]
pub trait Unread: Debug + Send + Sync {
    /// `length` bytes from byte `from` on.
    ///
    /// # Errors
    /// As those of [`SplitReader::read`], and where there are fewer.
    async fn read(self: Arc<Self>, from: u64, length: usize) -> Result<Bytes>;
}

/// A stretch of whole records that nobody has read yet.
#[derive(Clone, Debug)]
pub struct Stretch {
    text: Arc<dyn Unread>,
    from: u64,
    length: usize,
}

impl Stretch {
    /// `length` bytes of a text from byte `from` on.
    pub fn new(text: Arc<dyn Unread>, from: u64, length: usize) -> Self {
        Self { text, from, length }
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Keeps the first `at` bytes and gives the rest, as [`Bytes::split_off`] does.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.length);
        let rest = Self { text: Arc::clone(&self.text), from: self.from + at as u64, length: self.length - at };
        self.length = at;
        rest
    }

    async fn read(self) -> Result<Bytes> {
        self.text.read(self.from, self.length).await
    }
}

/// Records of a partition, by column. What no column of the query reads is left empty.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The number of the partition.
    pub partition: u32,
    /// The values; `None` is a tombstone.
    pub values: Vec<Option<Bytes>>,
    /// Each record's offset; they grow, and may leave out some.
    pub offsets: Vec<u64>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamps: Vec<i64>,
    /// The time of the first record, in the same unit, or an earlier one's: lag is told by it, whether or not a column reads
    /// the others. `None` where it has none.
    pub first_timestamp: Option<i64>,
    /// The keys, where there are any.
    pub keys: Vec<Option<Bytes>>,
    /// Names and values, in their order; names may repeat.
    pub headers: Vec<Vec<(String, Option<Bytes>)>>,
}
