//! Writes the rows of one unit.

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::error::Result;
use thalweg_core::sink::{Label, Rejected, Sealed, SinkWriter};

use super::client::Outgoing;
use super::config::SinkConfig;
use super::delivery::{Delivery, SharedTransaction};
use super::encode;
use super::fit::Fit;

/// A transaction of this size ends early: its rows are kept until then, to be sent again. Where memory has a limit, it ends with
/// the unit's part of it.
const MOST_BYTES: usize = 16 << 20;
/// How often a row is in memory: it is kept, and the client has it in a batch until it is acknowledged.
const COPIES: usize = 2;

/// The writer of one unit.
pub(super) struct KafkaWriter {
    config: Arc<SinkConfig>,
    delivery: Arc<Delivery>,
    transaction: Arc<SharedTransaction>,
    /// Where the topic's limit is known.
    fit: Option<Fit>,
    rejected: Vec<Rejected>,
    bytes: usize,
}

impl KafkaWriter {
    /// A writer into a unit's transaction.
    pub(super) fn new(
        config: Arc<SinkConfig>,
        delivery: Arc<Delivery>,
        transaction: Arc<SharedTransaction>,
        fit: Option<Fit>,
    ) -> Self {
        Self { config, delivery, transaction, fit, rejected: Vec::new(), bytes: 0 }
    }

    /// Puts rows on their way.
    async fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = encode::keys(rows, &self.config.key)?;
        let values = encode::values(encode::without(rows, &self.config.headers)?.as_ref())?;
        let mut headers = encode::headers(rows, &self.config.headers)?.into_iter();
        let deletes = self.config.tombstones.then(|| encode::deletes(rows, &self.config.key, &self.config.headers));
        let mut transaction = self.transaction.lock().await?;
        self.rejected.clear();
        let mut taken = 0;
        for (row, (key, value)) in keys.into_iter().zip(values).enumerate() {
            // Without a key there is nothing to delete.
            let is_tombstone = key.is_some() && deletes.as_ref().is_some_and(|deletes| deletes.value(row));
            let record = Outgoing {
                topic: Arc::clone(&self.config.topic),
                partition: None,
                key,
                value: (!is_tombstone).then_some(value),
                headers: headers.next().unwrap_or_default(),
            };
            if let Some(rejected) = self.fit.and_then(|fit| fit.judge(row, &record)) {
                self.rejected.push(rejected);
                continue;
            }
            let bytes = record.bytes();
            self.bytes += bytes;
            taken += COPIES * (bytes + size_of::<Outgoing>());
            transaction.send(record).await;
        }
        self.transaction.memory.take(taken);
        Ok(())
    }
}

#[async_trait]
impl SinkWriter for KafkaWriter {
    async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let delivery = Arc::clone(&self.delivery);
        delivery.watched(self.put(rows)).await
    }

    fn rejected(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.rejected)
    }

    fn wants_seal(&self, age: Duration) -> bool {
        age >= self.delivery.about.commit_every || self.bytes >= MOST_BYTES || self.transaction.memory.is_full()
    }

    async fn seal(&mut self, _label: &Label) -> Result<Option<Sealed>> {
        Ok(None)
    }

    async fn publish(&mut self, _sealed: &Sealed) -> Result<()> {
        Ok(())
    }

    async fn deliver(&mut self, label: &Label) -> Result<()> {
        self.bytes = 0;
        let deliver = async { self.transaction.lock().await?.deliver(label).await };
        self.delivery.watched(deliver).await?;
        // The rows of all of the unit's writers.
        self.transaction.memory.let_go();
        Ok(())
    }

    async fn last_published(&mut self) -> Result<Option<Label>> {
        Ok(self.transaction.lock().await?.last())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use thalweg_core::ownership::Owner;
    use thalweg_core::share::Share;
    use thalweg_core::sink::{Sink, WriterId};
    use thalweg_core::unit::{RunId, StageId, UnitId};

    use super::super::delivery::{About, Delivery};
    use super::super::sink::KafkaSink;
    use super::*;
    use crate::kafka::played::{Paused, Played, about, connection, sink_config};

    /// Some 0.75 MiB, as their memory is counted.
    fn rows() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=3_200));
        RecordBatch::try_from_iter([("n", numbers)]).expect("a batch")
    }

    async fn sink(memory: Option<usize>) -> (Arc<Delivery>, KafkaSink) {
        let about = About { memory: Share::new(memory), ..about() };
        let opened = Delivery::open(connection(), about, None, Arc::new(Paused::new()), &Played::default()).await;
        let delivery = opened.expect("opened");
        let sink = KafkaSink::new(sink_config(), Arc::clone(&delivery));
        (delivery, sink)
    }

    async fn writer(delivery: &Delivery, sink: &KafkaSink, index: u32) -> Box<dyn SinkWriter> {
        let (unit, owner) = (UnitId { stage: StageId(0), index }, Owner::own(RunId("run".to_owned())));
        let id = WriterId { pipeline: "default.p".to_owned(), incarnation: delivery.incarnation(), unit, owner };
        sink.writer(&id).await.expect("a writer")
    }

    /// How often rows are written until the transaction should end; not oftener than `most`.
    async fn writes(writer: &mut dyn SinkWriter, most: usize) -> usize {
        let mut count = 0;
        while count < most && !writer.wants_seal(Duration::ZERO) {
            writer.write(&rows()).await.expect("written");
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_ends_with_the_units_part_of_the_memory_and_without_a_limit_by_its_own() {
        let (delivery, kafka) = sink(Some(4 << 20)).await;
        let mut first = writer(&delivery, &kafka, 0).await;
        let second = writer(&delivery, &kafka, 1).await;
        assert_eq!(writes(&mut *first, 100).await, 2, "of half the share");
        let label = Label { seq: 0, position: None };
        first.deliver(&label).await.expect("delivered");
        assert!(!first.wants_seal(Duration::ZERO), "what was delivered is not held");
        drop(second);
        assert_eq!(writes(&mut *first, 100).await, 5, "of all of it");
        let (delivery, kafka) = sink(None).await;
        let mut alone = writer(&delivery, &kafka, 0).await;
        assert_eq!(writes(&mut *alone, 50).await, 50);
    }
}
