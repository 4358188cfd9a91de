//! A cluster through librdkafka.
//!
//! | module | noun |
//! |---|---|
//! | `settings` | a connection in its words |
//! | `ear` | what it says beside its answers |
//! | `served` | its handles, which want a thread of their own; calls that wait |
//! | `reader`, `producer` | records in and out |
//! | `error` | its errors in our words |
//! | `native` | what the crate has no words for |

mod ear;
mod error;
mod native;
mod producer;
mod reader;
mod served;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic as Made, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Mutex;

use self::ear::Ear;
use self::error::{from, from_code};
use self::producer::{RdkafkaProducer, RdkafkaTransactions};
use self::reader::RdkafkaReader;
use self::served::{Served, apart};
use super::addresses::{self, Advertised};
use super::{
    ANSWER, Bounds, ClientError, Cluster, NewTopic, PartitionReader, Producer, Producing, Reach, Result, Topic,
    Transactions, Wanted, number,
};
use crate::kafka::config::Connection;

/// Between two looks at whether a broker has been reached.
const LOOK: Duration = Duration::from_millis(100);

/// A handle that asks, and is given no records.
type Asking = Served<BaseConsumer<Ear>>;

/// Clusters that are reached through librdkafka.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rdkafka;

#[async_trait]
impl Reach for Rdkafka {
    async fn reach(&self, connection: &Connection) -> Result<Arc<dyn Cluster>> {
        addresses::judge(connection, &connection.brokers).await?;
        let connection = connection.clone();
        apart(move || RdkafkaCluster::connect(connection)).await?.map(|cluster| Arc::new(cluster) as Arc<dyn Cluster>)
    }
}

/// A cluster that was reached.
struct RdkafkaCluster {
    connection: Connection,
    config: ClientConfig,
    /// To whom the last decided record is the end.
    committed: Asking,
    /// To whom the last record is.
    uncommitted: Asking,
    /// Who writes to a consumer group belongs to it.
    groups: Mutex<HashMap<String, Arc<Asking>>>,
    advertised: Advertised,
}

impl RdkafkaCluster {
    fn connect(connection: Connection) -> Result<Self> {
        let config = settings::of(&connection)?;
        let isolated = |level: &str| {
            let mut config = config.clone();
            config.set("isolation.level", level);
            asking(&config, &connection)
        };
        let (committed, uncommitted) = (isolated("read_committed")?, isolated("read_uncommitted")?);
        log_in(&committed)?;
        Ok(Self {
            committed,
            uncommitted,
            groups: Mutex::default(),
            config,
            connection,
            advertised: Advertised::default(),
        })
    }

    /// Asks about the cluster's topics and settings. Who asks so is made for the question: it is seldom asked, and the
    /// crate would not renew its token.
    async fn administer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&AdminClient<Ear>, &AdminOptions) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T> {
        let (config, connection) = (self.config.clone(), self.connection.clone());
        apart(move || {
            let ear = Ear::of(&connection);
            let token = ear.token()?;
            let admin: AdminClient<Ear> = config.create_with_context(ear).map_err(|error| from(&error))?;
            if let Some(token) = token {
                native::set_token(admin.inner(), &token)?;
            }
            let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
            ask(&admin, &options).map_err(|error| from(&error))
        })
        .await?
    }

    /// The brokers, as they are told to everybody who asks about a topic.
    async fn brokers(&self, topic: &str) -> Result<Vec<String>> {
        let (asking, topic) = (self.committed.handle(), topic.to_owned());
        apart(move || {
            let found = asking.fetch_metadata(Some(topic.as_str()), ANSWER).map_err(|error| from(&error))?;
            Ok(found.brokers().iter().map(|broker| addresses::address(broker.host(), broker.port())).collect())
        })
        .await?
    }

    async fn group(&self, group: &str) -> Result<Arc<Asking>> {
        let mut groups = self.groups.lock().await;
        if let Some(known) = groups.get(group) {
            return Ok(Arc::clone(known));
        }
        let (mut config, connection) = (self.config.clone(), self.connection.clone());
        config.set("group.id", group);
        let made = Arc::new(apart(move || asking(&config, &connection)).await??);
        groups.insert(group.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

/// A handle that asks.
fn asking(config: &ClientConfig, connection: &Connection) -> Result<Asking> {
    let made: BaseConsumer<Ear> = config.create_with_context(Ear::of(connection)).map_err(|error| from(&error))?;
    Served::new(made, |asking, wait| {
        // It is told events; what went wrong is what its ear keeps.
        drop(asking.poll(wait));
    })
}

/// Waits until some broker has let us in.
fn log_in(asking: &Asking) -> Result<()> {
    let asking = asking.handle();
    let mut looks = ANSWER.as_millis() / LOOK.as_millis();
    while asking.client().fetch_cluster_id(LOOK).is_none() {
        let ear = asking.context();
        if let Some(refused) = ear.refused() {
            return Err(ClientError::Denied(refused));
        }
        looks = looks.saturating_sub(1);
        if looks == 0 || ear.all_are_away() {
            return Err(ClientError::Away(ear.last_said().unwrap_or_else(|| "no broker answers".to_owned())));
        }
    }
    Ok(())
}

/// What became of the one topic that was asked for.
fn only(answers: Vec<TopicResult>) -> Result<(), RDKafkaErrorCode> {
    match answers.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, code))) => Err(code),
        None => Err(RDKafkaErrorCode::OperationTimedOut),
    }
}

/// Asks again where the library rests on what it knew before there was such a partition.
fn bounds(asking: &BaseConsumer<Ear>, topic: &str, partition: u32) -> Result<(u64, u64)> {
    let ask = || asking.fetch_watermarks(topic, number(partition), ANSWER).map_err(|error| from(&error));
    let (low, high) = match ask() {
        Err(ClientError::NoTopic) => {
            asking.fetch_metadata(Some(topic), ANSWER).map_err(|error| from(&error))?;
            ask()?
        }
        answer => answer?,
    };
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        _ => Err(ClientError::Away(format!("no offset was given for {topic}-{partition}"))),
    }
}

#[async_trait]
impl Cluster for RdkafkaCluster {
    async fn topic(&self, name: &str) -> Result<Option<Topic>> {
        self.advertised.judge(&self.connection, self.brokers(name)).await?;
        let (asking, name) = (self.committed.handle(), name.to_owned());
        apart(move || native::describe(asking.client(), &name, ANSWER)).await?
    }

    async fn create_topic(&self, topic: &NewTopic) -> Result<bool> {
        let topic = topic.clone();
        let made = self.administer(move |admin, options| {
            let replication = TopicReplication::Fixed(topic.replication.map_or(-1, i32::from));
            let wanted = Made::new(&topic.name, number(topic.partitions), replication);
            let wanted = topic.settings.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
            block_on(admin.create_topics([&wanted], options))
        });
        match only(made.await?) {
            Ok(()) => Ok(true),
            Err(RDKafkaErrorCode::TopicAlreadyExists) => Ok(false),
            Err(code) => Err(from_code(code, code.to_string())),
        }
    }

    async fn grow_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let name = name.to_owned();
        let grown = self.administer(move |admin, options| {
            block_on(admin.create_partitions([&NewPartitions::new(&name, partitions as usize)], options))
        });
        only(grown.await?).map_err(|code| from_code(code, code.to_string()))
    }

    async fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let topic = topic.to_owned();
        let found = self.administer(move |admin, options| {
            block_on(admin.describe_configs([&ResourceSpecifier::Topic(&topic)], options))
        });
        let found = match found.await {
            Ok(found) => found.into_iter().next(),
            Err(ClientError::Denied(_) | ClientError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(Ok(settings)) => Ok(settings.get(name).and_then(|entry| entry.value.clone())),
            Some(Err(code)) => match from_code(code, code.to_string()) {
                ClientError::Denied(_) | ClientError::Refused(_) => Ok(None),
                error => Err(error),
            },
            None => Ok(None),
        }
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        let (committed, uncommitted) = (self.committed.handle(), self.uncommitted.handle());
        let topic = topic.to_owned();
        apart(move || {
            let (start, stable_end) = bounds(&committed, &topic, partition)?;
            let (_, end) = bounds(&uncommitted, &topic, partition)?;
            Ok(Bounds { start, stable_end, end })
        })
        .await?
    }

    async fn offset_at(&self, topic: &str, partition: u32, millis: i64) -> Result<Option<u64>> {
        let asking = self.committed.handle();
        let mut times = TopicPartitionList::new();
        // It takes no times before 1970; nor does Kafka have records of then.
        let time = Offset::Offset(millis.max(0));
        times.add_partition_offset(topic, number(partition), time).map_err(|error| from(&error))?;
        let found = apart(move || asking.offsets_for_times(times, ANSWER)).await?.map_err(|error| from(&error))?;
        match found.elements().first().map(|found| (found.error(), found.offset())) {
            Some((Ok(()), Offset::Offset(offset))) => Ok(u64::try_from(offset).ok()),
            Some((Err(error), _)) => Err(from(&error)),
            Some((Ok(()), _)) | None => Ok(None),
        }
    }

    async fn write_to_group(&self, group: &str, topic: &str, offsets: &[(u32, u64)]) -> Result<()> {
        let writing = self.group(group).await?.handle();
        let mut positions = TopicPartitionList::new();
        for &(partition, offset) in offsets {
            let offset = Offset::Offset(offset.cast_signed());
            positions.add_partition_offset(topic, number(partition), offset).map_err(|error| from(&error))?;
        }
        let written = apart(move || writing.commit(&positions, CommitMode::Sync)).await?;
        written.map_err(|error: KafkaError| from(&error))
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64, wanted: Wanted) -> Result<Box<dyn PartitionReader>> {
        let (connection, asking) = (self.connection.clone(), self.uncommitted.handle());
        Ok(Box::new(RdkafkaReader::open(connection, asking, topic, partition, from, wanted)?))
    }

    async fn producer(&self, producing: &Producing) -> Result<Box<dyn Producer>> {
        let (connection, producing) = (self.connection.clone(), producing.clone());
        let made = apart(move || RdkafkaProducer::build(&connection, &producing)).await??;
        Ok(Box::new(made))
    }

    async fn transactions(&self, id: &str, producing: &Producing) -> Result<Box<dyn Transactions>> {
        let (connection, producing, id) = (self.connection.clone(), producing.clone(), id.to_owned());
        let made = apart(move || RdkafkaTransactions::build(&connection, &id, &producing)).await??;
        Ok(Box::new(made))
    }
}
