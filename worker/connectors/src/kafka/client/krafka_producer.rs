//! Producers through krafka.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use krafka::producer::{DeliveryHandle, ProducerBuilder, TransactionState, TransactionalProducer};
use krafka::{Compression, Kafka, KrafkaError, Record};
use thalweg_crds::connector::KafkaCompression;

use super::krafka_error::from;
use super::{BUFFERED_BYTES, ClientError, DELIVERY, Outgoing, Producer, Producing, Result, Transactions, number};

/// The first pause before something is tried again: a broker ends the transaction of the owner before within some milliseconds,
/// and refuses the new one meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Acknowledgements that are awaited before more is sent.
const UNACKNOWLEDGED: usize = 100_000;

fn builder(kafka: &Kafka, producing: &Producing) -> ProducerBuilder {
    kafka
        .producer()
        .compression(match producing.compression {
            KafkaCompression::None => Compression::None,
            KafkaCompression::Gzip => Compression::Gzip,
            KafkaCompression::Snappy => Compression::Snappy,
            KafkaCompression::Lz4 => Compression::Lz4,
            KafkaCompression::Zstd => Compression::Zstd,
        })
        .linger(producing.linger)
        .batch_size(producing.batch_bytes)
        .buffer_memory(BUFFERED_BYTES)
        .delivery_timeout(DELIVERY)
        .retry_backoff(FIRST_PAUSE)
        .metrics_push(false)
}

fn record(outgoing: Outgoing) -> Record {
    let mut made = Record::new(&*outgoing.topic, Bytes::new());
    made.partition = outgoing.partition.map(number);
    made.key = outgoing.key;
    made.value = outgoing.value;
    made.headers = outgoing.headers.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    made
}

/// An idempotent producer.
pub(super) struct KrafkaProducer {
    producer: krafka::producer::Producer,
    pending: VecDeque<DeliveryHandle>,
}

impl KrafkaProducer {
    pub(super) async fn build(kafka: &Kafka, producing: &Producing) -> Result<Self> {
        let producer = builder(kafka, producing).build().await.map_err(|error| from(&error))?;
        Ok(Self { producer, pending: VecDeque::new() })
    }
}

#[async_trait]
impl Producer for KrafkaProducer {
    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        self.pending.push_back(self.producer.enqueue(record(outgoing)).await.map_err(|error| from(&error))?);
        if self.pending.len() >= UNACKNOWLEDGED
            && let Some(first) = self.pending.pop_front()
        {
            let _ = first.await.map_err(|error| from(&error))?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self) -> Result<()> {
        self.producer.flush().await.map_err(|error| from(&error))?;
        // The flush says nothing of records that failed: each is asked.
        while let Some(next) = self.pending.pop_front() {
            let _ = next.await.map_err(|error| from(&error))?;
        }
        Ok(())
    }
}

/// A producer of transactions.
pub(super) struct KrafkaTransactions {
    producer: TransactionalProducer,
}

impl KrafkaTransactions {
    pub(super) async fn build(kafka: &Kafka, id: &str, producing: &Producing) -> Result<Self> {
        let builder = builder(kafka, producing).transaction_timeout(producing.transaction_timeout);
        Ok(Self { producer: builder.build_transactional(id).await.map_err(|error| from(&error))? })
    }

    /// What became of the producer decides more than what the error says.
    fn told(&self, error: &KrafkaError) -> ClientError {
        match (from(error), self.producer.state()) {
            (found, _) if found.is_final() => found,
            (found, TransactionState::Fatal) => ClientError::Spent(found.to_string()),
            (found, TransactionState::CommitUnknown) => ClientError::CommitUnknown(found.to_string()),
            (found, TransactionState::Open) => ClientError::Abortable(found.to_string()),
            (found, _) => found,
        }
    }
}

#[async_trait]
impl Transactions for KrafkaTransactions {
    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        // Only with a first record: the broker refuses the end of a transaction that holds none, and the producer with it.
        if self.producer.state() == TransactionState::Ready {
            self.producer.begin().map_err(|error| self.told(&error))?;
        }
        // The commit waits for every record, and fails where one has.
        self.producer.enqueue(record(outgoing)).await.map(drop).map_err(|error| self.told(&error))
    }

    async fn commit(&mut self) -> Result<()> {
        match self.producer.state() {
            TransactionState::Ready => Ok(()),
            _ => self.producer.commit().await.map_err(|error| self.told(&error)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        match self.producer.state() {
            TransactionState::Ready => Ok(()),
            _ => self.producer.abort().await.map_err(|error| self.told(&error)),
        }
    }
}
