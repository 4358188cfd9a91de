//! What we ask of a Kafka client: little, so that another library can stand behind it, and in words that leave no room
//! for the traps of the one that does (`docs/design/0009-kafka-client.md`). krafka does, or, with the feature `rdkafka`,
//! librdkafka.

mod addresses;
mod krafka;
mod krafka_error;
mod krafka_producer;
mod krafka_reader;
#[cfg(feature = "rdkafka")]
mod rdkafka;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::address::Refused;
use thalweg_core::source::Records;

pub use self::krafka::Krafka;
/// The library that this build speaks through.
#[cfg(not(feature = "rdkafka"))]
pub use self::krafka::Krafka as Library;
/// The library that this build speaks through.
#[cfg(feature = "rdkafka")]
pub use self::rdkafka::Rdkafka as Library;
use super::config::{Connection, Fetching};

/// The setting of a topic that says what brokers delete of it.
pub const CLEANUP_POLICY: &str = "cleanup.policy";
/// The setting of a topic that limits its batches.
const MOST_BYTES: &str = "max.message.bytes";
/// How long a broker may take to accept a connection, and as long again for TLS and the login. Another one may answer instead.
const CONNECTED: Duration = Duration::from_secs(3);
/// How long one question about topics may take, attempts included.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes that wait to be sent, a producer, at the most; no record is longer. A unit's producer has no more than what the unit has
/// sent since its last delivery, which the unit's part of the memory bounds.
const BUFFERED_BYTES: usize = 32 << 20;
/// A record that is not acknowledged within this time fails.
const DELIVERY: Duration = Duration::from_secs(45);
/// What a broker said of a log's end is news for so long.
const NEWS: Duration = Duration::from_secs(2);

/// Numbers of partitions are small.
fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// What went wrong, by what the caller must do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers, or not yet: try again.
    #[error("{0}")]
    Away(String),
    /// The cluster has no such topic, or no such partition of it.
    #[error("the topic does not exist")]
    NoTopic,
    /// The log does not hold the wanted offset.
    #[error("the log does not hold the wanted offset")]
    OutOfRange,
    /// The log was cut back behind what was read of it, to this end where that is told: a leader came that did not have all
    /// of it, and other records may stand in the places of those that were read by now.
    #[error("the log was cut back")]
    Cut(Option<u64>),
    /// A batch whose bytes cannot be read; asking again gives the same bytes.
    #[error("{0}")]
    Corrupt(String),
    /// Another producer has taken over the transactional id.
    #[error("another producer has taken over: {0}")]
    Fenced(String),
    /// The open transaction cannot be committed: abort it; then the producer goes on.
    #[error("{0}")]
    Abortable(String),
    /// Nobody knows whether the commit was done: commit again, nothing else.
    #[error("{0}")]
    CommitUnknown(String),
    /// The producer has come to its end: make another one.
    #[error("{0}")]
    Spent(String),
    /// The broker takes no record of this size.
    #[error("{0}")]
    TooLarge(String),
    /// The log-in is refused, a certificate is not trusted, or this user may not do it.
    #[error("{0}")]
    Denied(String),
    /// The broker, or the client, refuses it as it is: settings that do not fit.
    #[error("{0}")]
    Refused(String),
    /// A broker is at an address that connectors do not reach.
    #[error(transparent)]
    Forbidden(#[from] Refused),
}

impl ClientError {
    /// Whether no other attempt, of this producer or of another one, can end otherwise.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::TooLarge(_) | Self::Denied(_) | Self::Refused(_) | Self::Forbidden(_))
    }
}

/// The result of a client.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// A topic as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id (KIP-516): another one where a topic was deleted and made again.
    pub id: u128,
    /// How many partitions it has; their numbers start at zero.
    pub partitions: u32,
    /// Whether this user may read it: to one who may not, the library says nothing, for ever.
    pub may_read: bool,
    /// Whether this user may write to it.
    pub may_write: bool,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas; by default the cluster's setting.
    pub replication: Option<u16>,
    /// Settings, such as `cleanup.policy`.
    pub settings: Vec<(&'static str, String)>,
}

/// Offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest record kept.
    pub start: u64,
    /// Behind the last record that is decided: no transaction below it is open.
    pub stable_end: u64,
    /// Behind the last record.
    pub end: u64,
}

/// What readers fill in beside values, offsets and the time of the first record, and how much they fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Timestamps.
    pub timestamps: bool,
    /// Keys.
    pub keys: bool,
    /// Headers.
    pub headers: bool,
    /// Bytes that one answer holds at the most, but for a batch that is longer; by default as the connection has it.
    pub fetch_bytes: Option<usize>,
}

impl Wanted {
    /// Bytes that one answer holds at the most, as brokers are asked for them.
    fn fetch_bytes(&self, fetching: &Fetching) -> i32 {
        self.fetch_bytes.map_or(fetching.partition_bytes, |bytes| i32::try_from(bytes).unwrap_or(i32::MAX))
    }
}

/// Epochs of the leaders (KIP-101) under which records were written. In a log they never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// That of the first record.
    pub first: u32,
    /// That of the last one.
    pub last: u32,
}

/// Where an epoch ends in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch, or the greatest one below it, where the log holds nothing of it.
    pub epoch: u32,
    /// The offset behind its last record.
    pub end: u64,
}

/// What a reader got.
#[derive(Debug, Default)]
pub struct Polled {
    /// Committed records, in order.
    pub records: Records,
    /// The next offset wanted. It runs over what readers of committed records are not shown.
    pub next: u64,
    /// Whether the broker has just said that nothing follows, not even of an open transaction.
    pub at_end: bool,
    /// The epochs of the records, where the library tells them.
    pub epochs: Option<Epochs>,
    /// How many records behind these the library has in memory already.
    pub ahead: u64,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; by default murmur2 of the key as Java's producer has it, or any where there is no key.
    pub partition: Option<u32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in their order.
    pub headers: Headers,
}

/// Headers of a record that is written.
pub type Headers = Vec<(Arc<str>, Option<Bytes>)>;

impl Outgoing {
    /// Bytes of the key, the value and the headers.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producing {
    /// How batches are compressed.
    pub compression: thalweg_crds::connector::KafkaCompression,
    /// How long a batch waits for more.
    pub linger: Duration,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// After this time without an end, the broker aborts a transaction.
    pub transaction_timeout: Duration,
}

/// Reaches clusters: through a library, or, in tests and simulations, ones that are played.
#[async_trait]
pub trait Reach: Send + Sync {
    /// Reaches some broker, and logs in.
    ///
    /// # Errors
    /// `Away` where nobody answers, `Denied` where the log-in or a certificate is refused, `Forbidden` where a broker is at an
    /// address that is not reached.
    async fn reach(&self, connection: &Connection) -> Result<Arc<dyn Cluster>>;
}

/// One cluster.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// What the cluster says of a topic, now; `None` where it has none of this name.
    async fn topic(&self, name: &str) -> Result<Option<Topic>>;

    /// Makes a topic; whether it was made, and not there before.
    async fn create_topic(&self, topic: &NewTopic) -> Result<bool>;

    /// Gives a topic so many partitions in all.
    async fn grow_topic(&self, name: &str, partitions: u32) -> Result<()>;

    /// A setting of a topic, such as `cleanup.policy`; `None` where the brokers do not tell this user.
    async fn setting(&self, topic: &str, name: &str) -> Result<Option<String>>;

    /// Bytes of a batch that the brokers take for a topic at the most; `None` where they do not tell this user.
    async fn most_bytes(&self, topic: &str) -> Result<Option<usize>> {
        let most = self.setting(topic, MOST_BYTES).await?;
        Ok(most.and_then(|most| most.parse::<usize>().ok()).map(|most| most.min(BUFFERED_BYTES)))
    }

    /// Where a partition starts and ends, now.
    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds>;

    /// Where an epoch ends in a partition by now (KIP-320); `None` where nobody tells.
    ///
    /// # Errors
    /// `Cut` where whoever leads knows of no epoch that is as late: its log is another one.
    async fn epoch_end(&self, topic: &str, partition: u32, epoch: u32) -> Result<Option<EpochEnd>> {
        let _ = (topic, partition, epoch);
        Ok(None)
    }

    /// The first offset whose timestamp is at or after `millis`; `None` where no record is that new.
    async fn offset_at(&self, topic: &str, partition: u32, millis: i64) -> Result<Option<u64>>;

    /// Writes offsets of a topic's partitions to a consumer group that has no members.
    async fn write_to_group(&self, group: &str, topic: &str, offsets: &[(u32, u64)]) -> Result<()>;

    /// A reader of one partition's committed records from an offset on, with a connection of its own: brokers answer
    /// one request a connection at a time, and a reader's may wait.
    async fn reader(&self, topic: &str, partition: u32, from: u64, wanted: Wanted) -> Result<Box<dyn PartitionReader>>;

    /// A producer whose records are acknowledged, in order and each once.
    async fn producer(&self, producing: &Producing) -> Result<Box<dyn Producer>>;

    /// A producer of transactions. Making it ends the transactions of every earlier one with this id.
    async fn transactions(&self, id: &str, producing: &Producing) -> Result<Box<dyn Transactions>>;
}

/// Reads one partition.
#[async_trait]
pub trait PartitionReader: Send + Sync {
    /// Waits so long for records.
    ///
    /// # Cancel safety
    /// A call that is dropped loses nothing.
    async fn poll(&mut self, wait: Duration) -> Result<Polled>;
}

/// Writes records.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Puts a record on its way.
    async fn send(&mut self, record: Outgoing) -> Result<()>;

    /// Waits until everything that was sent is acknowledged.
    async fn acknowledge(&mut self) -> Result<()>;
}

/// Writes records in transactions.
#[async_trait]
pub trait Transactions: Send + Sync {
    /// Puts a record on its way, in the open transaction or a new one.
    async fn send(&mut self, record: Outgoing) -> Result<()>;

    /// Ends the open transaction: everything that was sent in it shows, at once. Without one it does nothing.
    async fn commit(&mut self) -> Result<()>;

    /// Ends the open transaction: nothing of it ever shows.
    async fn abort(&mut self) -> Result<()>;
}
