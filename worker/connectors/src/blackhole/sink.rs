//! The sink that keeps nothing but a count and a checksum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::error::{Error, Result};
use thalweg_core::sink::{Capability, Label, Sealed, Sink, SinkWriter, WriterId};

use super::hash::checksum;

/// What fell in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlackholeStats {
    /// Rows.
    pub rows: u64,
    /// The wrapping sum of a hash of each row: the same whatever the order, the batches and the number of writers.
    pub checksum: u64,
}

/// A `blackhole` sink. Clones share their figures.
#[derive(Clone, Debug, Default)]
pub struct BlackholeSink {
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    rows: AtomicU64,
    checksum: AtomicU64,
}

impl BlackholeSink {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What fell in by now.
    pub fn stats(&self) -> BlackholeStats {
        let (rows, checksum) = (&self.totals.rows, &self.totals.checksum);
        BlackholeStats { rows: rows.load(Ordering::Relaxed), checksum: checksum.load(Ordering::Relaxed) }
    }
}

#[async_trait]
impl Sink for BlackholeSink {
    fn capability(&self) -> Capability {
        Capability::Volatile
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(BlackholeWriter { totals: Arc::clone(&self.totals) }))
    }

    async fn finish(&self) -> Result<()> {
        let BlackholeStats { rows, checksum } = self.stats();
        tracing::info!(rows, checksum = format!("{checksum:016x}"), "blackhole");
        Ok(())
    }
}

struct BlackholeWriter {
    totals: Arc<Totals>,
}

#[async_trait]
impl SinkWriter for BlackholeWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let checksum = checksum(rows).map_err(|error| Error::internal("hashing rows", error))?;
        self.totals.rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
        self.totals.checksum.fetch_add(checksum, Ordering::Relaxed);
        Ok(())
    }

    fn wants_seal(&self, _age: Duration) -> bool {
        false
    }

    async fn seal(&mut self, _label: &Label) -> Result<Option<Sealed>> {
        Ok(None)
    }

    async fn publish(&mut self, _sealed: &Sealed) -> Result<()> {
        Ok(())
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        Ok(None)
    }
}
