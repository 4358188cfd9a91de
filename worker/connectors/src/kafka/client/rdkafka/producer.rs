//! Producers through librdkafka.

use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use thalweg_crds::connector::KafkaCompression;
use tokio::time::Instant;

use super::super::{
    BUFFERED_BYTES, ClientError, DELIVERY, Headers, Outgoing, Producer, Producing, Result, Transactions, number,
};
use super::ear::Ear;
use super::error::{from, from_code};
use super::served::{Served, apart};
use super::settings;
use crate::kafka::config::Connection;

/// How long one attempt to begin, or to end, a transaction waits.
const ATTEMPT: Duration = Duration::from_secs(30);

type Handle = Served<BaseProducer<Ear>>;

fn config(connection: &Connection, producing: &Producing) -> Result<ClientConfig> {
    let mut config = settings::of(connection)?;
    let codec = match producing.compression {
        KafkaCompression::None => "none",
        KafkaCompression::Gzip => "gzip",
        KafkaCompression::Snappy => "snappy",
        KafkaCompression::Lz4 => "lz4",
        KafkaCompression::Zstd => "zstd",
    };
    config
        .set("enable.idempotence", "true")
        .set("compression.codec", codec)
        // As Java's producer has it.
        .set("partitioner", "murmur2_random")
        .set("linger.ms", producing.linger.as_millis().to_string())
        .set("batch.size", producing.batch_bytes.to_string())
        // Brokers judge how long a record may be.
        .set("message.max.bytes", BUFFERED_BYTES.to_string())
        .set("queue.buffering.max.kbytes", (BUFFERED_BYTES >> 10).to_string());
    Ok(config)
}

fn handle(config: &ClientConfig, connection: &Connection) -> Result<Handle> {
    let made: BaseProducer<Ear> = config.create_with_context(Ear::of(connection)).map_err(|error| from(&error))?;
    Served::new(made, |producer, wait| producer.poll(wait))
}

fn owned(headers: &Headers) -> OwnedHeaders {
    let none = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(none, |made, (name, value)| made.insert(Header { key: &**name, value: value.as_deref() }))
}

/// Puts a record on its way, as soon as there is room for it.
async fn put(producer: &Handle, outgoing: &Outgoing) -> Result<(), KafkaError> {
    loop {
        // From before the attempt on, so that none is missed.
        let room = producer.context().delivered();
        let mut record = BaseRecord::<[u8], [u8]>::to(&outgoing.topic);
        if let Some(value) = &outgoing.value {
            record = record.payload(&value[..]);
        }
        if let Some(key) = &outgoing.key {
            record = record.key(&key[..]);
        }
        if let Some(partition) = outgoing.partition {
            record = record.partition(number(partition));
        }
        if !outgoing.headers.is_empty() {
            record = record.headers(owned(&outgoing.headers));
        }
        match producer.send(record).map_err(|(error, _)| error) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => room.await,
            sent => return sent,
        }
    }
}

/// An idempotent producer.
pub(super) struct RdkafkaProducer {
    producer: Handle,
}

impl RdkafkaProducer {
    /// Waits.
    pub(super) fn build(connection: &Connection, producing: &Producing) -> Result<Self> {
        let mut config = config(connection, producing)?;
        config.set("delivery.timeout.ms", DELIVERY.as_millis().to_string());
        Ok(Self { producer: handle(&config, connection)? })
    }

    /// What the first record failed of that did says more than what came of it for the others.
    fn told(&self, error: &KafkaError) -> ClientError {
        self.producer.context().take_failed().unwrap_or_else(|| from(error))
    }
}

#[async_trait]
impl Producer for RdkafkaProducer {
    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        put(&self.producer, &outgoing).await.map_err(|error| self.told(&error))
    }

    async fn acknowledge(&mut self) -> Result<()> {
        let producer = self.producer.handle();
        // Each record is acknowledged, or has failed, within its time.
        let flushed = apart(move || producer.flush(2 * DELIVERY)).await?;
        flushed.map_err(|error| self.told(&error))?;
        // The flush says nothing of records that failed.
        self.producer.context().take_failed().map_or(Ok(()), Err)
    }
}

/// A producer of transactions.
pub(super) struct RdkafkaTransactions {
    producer: Handle,
    timeout: Duration,
    /// Since when a transaction is open.
    open: Option<Instant>,
}

impl RdkafkaTransactions {
    /// Waits.
    pub(super) fn build(connection: &Connection, id: &str, producing: &Producing) -> Result<Self> {
        let timeout = producing.transaction_timeout;
        let mut config = config(connection, producing)?;
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            // It refuses a record that may outlive its transaction.
            .set("delivery.timeout.ms", DELIVERY.min(timeout).as_millis().to_string());
        let made = Self { producer: handle(&config, connection)?, timeout, open: None };
        match made.producer.init_transactions(ATTEMPT) {
            Ok(()) => Ok(made),
            Err(error) => Err(match (made.told(&error), made.producer.context().refused()) {
                (ClientError::Away(_), Some(refused)) => ClientError::Denied(refused),
                (error, _) => error,
            }),
        }
    }

    /// What became of the producer, and of the records before, decides more than what the error says.
    fn told(&self, error: &KafkaError) -> ClientError {
        let failed = self.producer.context().take_failed();
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return self.ended(from_code(code, format!("{code:?}: {reason}")));
        }
        let asks_for_abort = match error {
            KafkaError::Transaction(error) => error.txn_requires_abort(),
            // Of a transaction in which a record has failed it takes no more, and has not waited for all of them.
            KafkaError::MessageProduction(RDKafkaErrorCode::State) | KafkaError::Flush(_) => true,
            _ => false,
        };
        match (failed, from(error)) {
            (Some(found @ (ClientError::TooLarge(_) | ClientError::Denied(_) | ClientError::Refused(_))), _) => found,
            (_, found) if found.is_final() => found,
            (Some(found), _) | (None, found) if asks_for_abort => ClientError::Abortable(found.to_string()),
            (_, found) => found,
        }
    }

    /// The producer has come to its end. A broker that gives a transaction up after its time fences its producer as another
    /// producer would (KIP-588 never came to clients): only who looks who has taken over knows.
    fn ended(&self, found: ClientError) -> ClientError {
        let outlived = self.open.is_some_and(|since| since.elapsed() >= self.timeout);
        match found {
            ClientError::Fenced(text) if outlived => ClientError::Spent(text),
            found @ ClientError::Fenced(_) => found,
            found => ClientError::Spent(found.to_string()),
        }
    }
}

#[async_trait]
impl Transactions for RdkafkaTransactions {
    async fn send(&mut self, outgoing: Outgoing) -> Result<()> {
        if self.open.is_none() {
            let producer = self.producer.handle();
            apart(move || producer.begin_transaction()).await?.map_err(|error| self.told(&error))?;
            self.open = Some(Instant::now());
        }
        put(&self.producer, &outgoing).await.map_err(|error| self.told(&error))
    }

    async fn commit(&mut self) -> Result<()> {
        if self.open.is_none() {
            return Ok(());
        }
        let producer = self.producer.handle();
        match apart(move || producer.commit_transaction(ATTEMPT)).await? {
            Ok(()) => {
                self.open = None;
                Ok(())
            }
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                Err(ClientError::CommitUnknown(format!("{:?}: {error}", error.code())))
            }
            Err(error) => Err(self.told(&error)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        if self.open.is_none() {
            return Ok(());
        }
        let producer = self.producer.handle();
        apart(move || producer.abort_transaction(ATTEMPT)).await?.map_err(|error| self.told(&error))?;
        self.open = None;
        // Those of the transaction that is gone.
        drop(self.producer.context().take_failed());
        Ok(())
    }
}
