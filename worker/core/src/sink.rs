//! What a connector implements to be written.

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ownership::Owner;
use crate::position::Position;
use crate::unit::{Incarnation, UnitId};

/// What a sink can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capability {
    /// Shows rows to people or counts them; promises nothing and needs no store.
    Volatile,
    /// Publishes what was sealed before, idempotently: exactly once.
    SealAndPublish {
        /// Whether one seal is one object whose label can hold a position, so that publishing it *is* the commit.
        direct: bool,
    },
    /// Writes rows and a label in one transaction of its own: exactly once. Where the label holds a position, the
    /// transaction is the unit's commit; where it counts the entries of an outbox, entries are needed until it is done.
    Transactional,
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterId {
    /// `NAMESPACE.NAME` of the pipeline.
    pub pipeline: String,
    /// The start from scratch that it belongs to.
    pub incarnation: Incarnation,
    /// The unit.
    pub unit: UnitId,
    /// Who owns the unit.
    pub owner: Owner,
}

/// One `StreamSink` of a plan.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What it can promise.
    fn capability(&self) -> Capability;

    /// Proves that it can be written: the folder exists or can be made, the credentials are right.
    async fn check(&self) -> Result<()>;

    /// Something that a pipeline, `NAMESPACE.NAME`, has written before with state that was kept; `None` where the sink does
    /// not know.
    async fn has_output_of(&self, pipeline: &str) -> Result<Option<String>> {
        let _ = pipeline;
        Ok(None)
    }

    /// Makes room for units of a pipeline, before any of them is acquired.
    async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        let _ = units;
        Ok(())
    }

    /// A writer for one unit. What an earlier writer of this unit left unsealed is gone after the first
    /// [`SinkWriter::seal`] of the new one at the latest.
    ///
    /// # Errors
    /// [`Error::superseded`] where the sink remembers an owner at an epoch that is not below the one assigned.
    async fn writer(&self, id: &WriterId) -> Result<Box<dyn SinkWriter>>;

    /// Why it takes nothing, where that has lasted for some seconds and whoever writes goes on trying.
    fn outage(&self) -> Option<Error> {
        None
    }

    /// Called once, when everything is committed and no input is left.
    async fn finish(&self) -> Result<()>;
}

/// Writes the rows of one unit. Rows show nowhere until [`SinkWriter::publish`], except in a volatile sink.
#[async_trait]
pub trait SinkWriter: Send {
    /// Takes rows. Memory is bounded: large output spills to where it will be published from.
    async fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Rows of the last [`SinkWriter::write`] that the system would not take, in their order. They are not on their way: the
    /// sink's `onError` says what becomes of them. Whether a row is taken depends on the row alone.
    fn rejected(&mut self) -> Vec<Rejected> {
        Vec::new()
    }

    /// Whether what was written since the last seal should be sealed: by its size, or its `age`.
    fn wants_seal(&self, age: Duration) -> bool;

    /// Completes what was written, durably and invisibly; `None` if nothing was. The result goes into the unit's next
    /// commit and is published after it.
    async fn seal(&mut self, label: &Label) -> Result<Option<Sealed>>;

    /// Makes what was sealed visible. Done before already: changes nothing. Another worker may have sealed it.
    async fn publish(&mut self, sealed: &Sealed) -> Result<()>;

    /// Writes all that was taken since the last call, and the label, in one transaction
    /// ([`Capability::Transactional`]).
    ///
    /// # Errors
    /// `Fenced` where another owner has taken over: nothing of this call shows, or ever will.
    async fn deliver(&mut self, label: &Label) -> Result<()> {
        Err(Error::internal("delivering rows", format!("seal {} to a sink without transactions", label.seq)))
    }

    /// The last label that this unit published directly ([`Capability::SealAndPublish`] with `direct`) or delivered
    /// ([`Capability::Transactional`]), from the sink itself.
    async fn last_published(&mut self) -> Result<Option<Label>>;
}

/// A row that the system would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its number among the rows that were written together.
    pub row: usize,
    /// The row as it would have been written, cut at [`BadRecord::MAX_RAW`](crate::decode::BadRecord::MAX_RAW).
    pub raw: Bytes,
    /// What was found and what is expected.
    pub message: String,
}

/// What a sealed piece of output holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Label {
    /// Counts the unit's seals.
    pub seq: u64,
    /// The next position wanted from the unit's one log, where publishing is the commit.
    pub position: Option<Position>,
}

/// A sealed piece of output, in the words of the sink that sealed it; goes into the unit's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub serde_json::Value);
