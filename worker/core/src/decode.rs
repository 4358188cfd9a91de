//! Bytes to columns.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::source::RawChunk;

/// Turns chunks into batches. A pure function of the chunk, so chunks can be decoded side by side.
pub trait Decoder: Send + Sync {
    /// The columns of every batch, in this order: those that the query needs and no others.
    fn schema(&self) -> &SchemaRef;

    /// Decodes every record of a chunk; each is either a row of the batch or in `bad`, in the order of the log.
    fn decode(&self, chunk: &RawChunk) -> Decoded;
}

/// What became of a chunk.
#[derive(Debug)]
pub struct Decoded {
    /// The good rows.
    pub batch: RecordBatch,
    /// Where each good row lies in its chunk.
    pub rows: Rows,
    /// The others, with those that the reader could not delimit.
    pub bad: Vec<BadRecord>,
}

/// Where the rows of a batch lie in their chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Row `i` is record `i` of the chunk.
    All,
    /// Row `i` is record `.0[i]` of the chunk (`Payload::Records` or `Payload::Columns`).
    Records(Vec<u32>),
    /// Row `i` starts at byte `starts[i]` of the chunk's text.
    Starts(Vec<u32>),
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BadClass {
    /// Its bytes cannot be read at all: broken JSON, invalid UTF-8, too long.
    Decode,
    /// It can be read and does not fit the schema: a wrong type, a missing field that must be there.
    Schema,
    /// An expression of the query failed on it.
    Evaluation,
    /// It came after its windows had closed.
    Late,
    /// The sink refused it.
    Rejected,
}

/// A record that cannot become a row. By the source's `onError` it fails the pipeline, is dropped and counted, or goes
/// to the dead-letter sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where it is.
    pub position: Position,
    /// What kind of fault it is.
    pub class: BadClass,
    /// What was found, where, and what was expected: "`fare`: expected a number, found `\"x\"`".
    pub message: String,
    /// The byte within the record where the fault was seen, if there is one such place.
    pub column: Option<usize>,
    /// The record's bytes, cut at [`BadRecord::MAX_RAW`].
    pub raw: Bytes,
    /// Its event time in milliseconds, where it could be read.
    pub record_time: Option<i64>,
}

impl BadRecord {
    /// The most bytes that are kept of a bad record.
    pub const MAX_RAW: usize = 1 << 20;
}
