//! Writes the rows of one unit.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::error::Result;
use thalweg_core::sink::{Label, Rejected, Sealed, SinkWriter};

use super::client::Outgoing;
use super::config::SinkConfig;
use super::delivery::SharedTransaction;
use super::encode;
use super::fit::Fit;

/// A transaction of this size ends early: its rows are kept until then, to be sent again.
const MOST_BYTES: usize = 16 << 20;

/// The writer of one unit.
pub(super) struct KafkaWriter {
    config: Arc<SinkConfig>,
    transaction: Arc<SharedTransaction>,
    commit_every: Duration,
    /// Where the topic's limit is known.
    fit: Option<Fit>,
    rejected: Vec<Rejected>,
    bytes: usize,
}

impl KafkaWriter {
    /// A writer into a unit's transaction.
    pub(super) fn new(
        config: Arc<SinkConfig>,
        transaction: Arc<SharedTransaction>,
        commit_every: Duration,
        fit: Option<Fit>,
    ) -> Self {
        Self { config, transaction, commit_every, fit, rejected: Vec::new(), bytes: 0 }
    }
}

#[async_trait]
impl SinkWriter for KafkaWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = encode::keys(rows, &self.config.key)?;
        let values = encode::values(rows)?;
        let mut transaction = self.transaction.lock().await?;
        self.rejected.clear();
        for (row, (key, value)) in keys.into_iter().zip(values).enumerate() {
            if let Some(rejected) = self.fit.and_then(|fit| fit.judge(row, key.as_ref(), &value)) {
                self.rejected.push(rejected);
                continue;
            }
            self.bytes += value.len() + key.as_ref().map_or(0, bytes::Bytes::len);
            transaction.send(Outgoing { topic: Arc::clone(&self.config.topic), partition: None, key, value }).await;
        }
        Ok(())
    }

    fn rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    fn wants_seal(&self, age: Duration) -> bool {
        age >= self.commit_every || self.bytes >= MOST_BYTES
    }

    async fn seal(&mut self, _label: &Label) -> Result<Option<Sealed>> {
        Ok(None)
    }

    async fn publish(&mut self, _sealed: &Sealed) -> Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, label: &Label) -> Result<()> {
        self.bytes = 0;
        self.transaction.lock().await?.deliver(label).await
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        Ok(self.transaction.lock().await?.last())
    }
}
