//! A cluster through krafka.

use std::sync::Arc;

use async_trait::async_trait;
use krafka::admin::{
    AclOperation, AdminClient, AlterConsumerGroupOffsetsOptions, ConfigResource, CreatePartitionsOptions,
    CreateTopicsOptions, DescribeClusterOptions, DescribeConfigsOptions, DescribeTopicsOptions, ListOffsetsOptions,
    OffsetForLeaderEpochOptions, OffsetSpec, TopicPartition,
};
use krafka::error::ErrorCode;
use krafka::{Kafka, KrafkaError};

use super::addresses::{self, Advertised};
use super::krafka_error::from;
use super::krafka_producer::{KrafkaProducer, KrafkaTransactions};
use super::krafka_reader::KrafkaReader;
use super::{
    ANSWER, Bounds, CONNECTED, ClientError, Cluster, EpochEnd, NewTopic, PartitionReader, Producer, Producing, Reach,
    Result, Topic, Transactions, Wanted, number,
};
use crate::kafka::config::Connection;

/// A cluster that was reached.
pub struct KrafkaCluster {
    kafka: Kafka,
    connection: Connection,
    advertised: Advertised,
}

/// Clusters that are reached through krafka.
#[derive(Clone, Copy, Debug, Default)]
pub struct Krafka;

#[async_trait]
impl Reach for Krafka {
    async fn reach(&self, connection: &Connection) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(KrafkaCluster::connect(connection.clone()).await?))
    }
}

impl KrafkaCluster {
    /// Reaches some broker, and logs in.
    ///
    /// # Errors
    /// As [`Reach::reach`].
    pub async fn connect(connection: Connection) -> Result<Self> {
        let kafka = connect(&connection).await?;
        Ok(Self { kafka, connection, advertised: Advertised::default() })
    }

    fn admin(&self) -> AdminClient {
        self.kafka.admin().metrics_push(false).default_api_timeout(ANSWER)
    }

    /// The brokers, as they are told to everybody.
    async fn brokers(&self) -> Result<Vec<String>> {
        let found =
            self.admin().describe_cluster(DescribeClusterOptions::default()).await.map_err(|error| from(&error))?;
        Ok(found.brokers.iter().map(|broker| addresses::address(&broker.host, broker.port)).collect())
    }

    async fn offset(&self, topic: &str, partition: u32, spec: OffsetSpec, stable: bool) -> Result<Option<u64>> {
        let wanted = TopicPartition::new(topic, number(partition));
        let options = ListOffsetsOptions::default().read_committed(stable);
        let mut found = self.admin().list_offsets([(wanted.clone(), spec)], options).await.map_err(|e| from(&e))?;
        match found.remove(&wanted) {
            Some(Ok(found)) => Ok(u64::try_from(found.offset).ok()),
            // What the library makes of "no record is that new".
            Some(Err(KrafkaError::Broker { code: ErrorCode::OffsetNotAvailable, .. })) => Ok(None),
            Some(Err(error)) => Err(from(&error)),
            None => Err(ClientError::Away(format!("no offset was given for {topic}-{partition}"))),
        }
    }
}

async fn connect(connection: &Connection) -> Result<Kafka> {
    addresses::judge(connection, &connection.brokers).await?;
    let builder = Kafka::builder(connection.brokers.join(",")).client_id(&connection.client_id);
    let mut builder = builder.connect_timeout(CONNECTED);
    if let Some(security) = &connection.security {
        builder = builder.security(security.to_krafka());
    }
    builder.connect().await.map_err(|error| from(&error))
}

#[async_trait]
impl Cluster for KrafkaCluster {
    async fn topic(&self, name: &str) -> Result<Option<Topic>> {
        self.advertised.judge(&self.connection, self.brokers()).await?;
        let options = DescribeTopicsOptions::default();
        let mut found = self.admin().describe_topics([name], options).await.map_err(|error| from(&error))?;
        match found.remove(name) {
            Some(Ok(topic)) => {
                let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
                let may = |operation: AclOperation| {
                    // A bit for each operation (KIP-430); brokers that do not tell refuse later.
                    topic.authorized_operations.is_none_or(|allowed| allowed & (1 << operation.to_i8()) != 0)
                };
                Ok(Some(Topic {
                    id: u128::from_be_bytes(topic.topic_id),
                    partitions,
                    may_read: may(AclOperation::Read),
                    may_write: may(AclOperation::Write),
                }))
            }
            Some(Err(error)) => match from(&error) {
                ClientError::NoTopic => Ok(None),
                error => Err(error),
            },
            None => Ok(None),
        }
    }

    async fn create_topic(&self, topic: &NewTopic) -> Result<bool> {
        let replication = topic.replication.map_or(-1, |count| i16::try_from(count).unwrap_or(i16::MAX));
        let made = krafka::admin::NewTopic::new(&topic.name, number(topic.partitions), replication);
        let wanted = topic
            .settings
            .iter()
            .fold(made.map_err(|error| from(&error))?, |topic, (name, value)| topic.with_config(*name, value));
        let options = CreateTopicsOptions::default();
        let made = self.admin().create_topics([wanted], options).await.map_err(|error| from(&error))?;
        match made.into_values().next() {
            Some(Ok(())) => Ok(true),
            Some(Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. })) => Ok(false),
            Some(Err(error)) => Err(from(&error)),
            None => Err(ClientError::Away("no answer about the new topic".to_owned())),
        }
    }

    async fn grow_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let wanted = [(name, number(partitions))];
        let options = CreatePartitionsOptions::default();
        let grown = self.admin().create_partitions(wanted, options).await.map_err(|error| from(&error))?;
        grown.into_values().try_for_each(|grown| grown.map_err(|error| from(&error)))
    }

    async fn setting(&self, topic: &str, name: &str) -> Result<Option<String>> {
        let resource = ConfigResource::topic(topic);
        let options = DescribeConfigsOptions::default().config_names(vec![name.to_owned()]);
        let found = self.admin().describe_configs([resource], options).await.map_err(|error| from(&error));
        match found.map(|found| found.into_values().next()) {
            Ok(Some(Ok(entries))) => {
                Ok(entries.into_iter().find(|entry| entry.name == name).and_then(|entry| entry.value))
            }
            Ok(Some(Err(error))) => match from(&error) {
                ClientError::Denied(_) | ClientError::Refused(_) => Ok(None),
                error => Err(error),
            },
            Err(ClientError::Denied(_) | ClientError::Refused(_)) | Ok(None) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        let offset = async |spec, stable| {
            let found = self.offset(topic, partition, spec, stable).await?;
            found.ok_or_else(|| ClientError::Away("no offset was given".to_owned()))
        };
        let (start, stable_end, end) = futures::try_join!(
            offset(OffsetSpec::Earliest, true),
            offset(OffsetSpec::Latest, true),
            offset(OffsetSpec::Latest, false)
        )?;
        Ok(Bounds { start, stable_end, end })
    }

    async fn epoch_end(&self, topic: &str, partition: u32, epoch: u32) -> Result<Option<EpochEnd>> {
        let Ok(epoch) = i32::try_from(epoch) else { return Ok(None) };
        let wanted = TopicPartition::new(topic, number(partition));
        let asked = [(wanted.clone(), epoch)];
        let found = self.admin().offset_for_leader_epoch(asked, OffsetForLeaderEpochOptions::default()).await;
        let end = match found.map_err(|error| from(&error))?.remove(&wanted) {
            Some(Ok(end)) => end,
            Some(Err(error)) => {
                return match from(&error) {
                    error @ (ClientError::Away(_) | ClientError::NoTopic) => Err(error),
                    // A broker that does not tell, or not this user.
                    _ => Ok(None),
                };
            }
            None => return Err(ClientError::Away(format!("no end of an epoch was given for {topic}-{partition}"))),
        };
        known(end.leader_epoch, end.end_offset).map(Some)
    }

    async fn offset_at(&self, topic: &str, partition: u32, millis: i64) -> Result<Option<u64>> {
        self.offset(topic, partition, OffsetSpec::Timestamp(millis), true).await
    }

    async fn write_to_group(&self, group: &str, topic: &str, offsets: &[(u32, u64)]) -> Result<()> {
        let offset =
            |(partition, offset): &(u32, u64)| (TopicPartition::new(topic, number(*partition)), offset.cast_signed());
        let options = AlterConsumerGroupOffsetsOptions::default();
        let written = self.admin().alter_consumer_group_offsets(group, offsets.iter().map(offset), options).await;
        let written = written.map_err(|error| from(&error))?;
        written.into_values().try_for_each(|written| written.map_err(|error| from(&error)))
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64, wanted: Wanted) -> Result<Box<dyn PartitionReader>> {
        let kafka = connect(&self.connection).await?;
        let fetching = &self.connection.fetching;
        Ok(Box::new(KrafkaReader::open(&kafka, fetching, topic, partition, from, wanted).await?))
    }

    async fn producer(&self, producing: &Producing) -> Result<Box<dyn Producer>> {
        Ok(Box::new(KrafkaProducer::build(&self.kafka, producing).await?))
    }

    async fn transactions(&self, id: &str, producing: &Producing) -> Result<Box<dyn Transactions>> {
        Ok(Box::new(KrafkaTransactions::build(&self.kafka, id, producing).await?))
    }
}

/// Where an epoch ends. Both are below zero where a leader knows of no epoch that is as late, which Java's consumer takes for a
/// log that was cut.
fn known(epoch: i32, end: i64) -> Result<EpochEnd> {
    let known = u32::try_from(epoch).ok().zip(u64::try_from(end).ok());
    known.map(|(epoch, end)| EpochEnd { epoch, end }).ok_or(ClientError::Cut(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_knows_of_no_epoch_as_late_has_another_log() {
        assert_eq!(known(3, 0), Ok(EpochEnd { epoch: 3, end: 0 }));
        for (epoch, end) in [(-1, -1), (-1, 5), (3, -1)] {
            assert_eq!(known(epoch, end), Err(ClientError::Cut(None)));
        }
    }
}
