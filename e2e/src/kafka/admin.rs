//! Topics made, changed and filled.

use std::collections::VecDeque;
use std::time::Duration;

use krafka::admin::{
    ConfigOp, ConfigResource, CreatePartitionsOptions, CreateTopicsOptions, DeleteRecordsOptions, DeleteTopicsOptions,
    DescribeConfigsOptions, IncrementalAlterConfigsOptions, NewTopic,
};
use krafka::admin::{ListOffsetsOptions, OffsetSpec, TopicPartition};
use krafka::producer::{Producer, TransactionalProducer};
use krafka::{Kafka as Client, Record};

use super::Kafka;

/// How long brokers may take to hear of a topic.
const SEEN_LIMIT: Duration = Duration::from_secs(60);
/// Records on their way that a filler waits for before it sends more.
const ON_THEIR_WAY: usize = 20_000;

impl Kafka {
    /// A client of the plain listener. As every client of Kafka does, it connects anew where a connection is cut.
    pub async fn client(&self) -> Client {
        let addresses = self.addresses().join(",");
        let connected = async {
            loop {
                match Client::builder(addresses.clone()).client_id("bed").connect().await {
                    Ok(client) => return client,
                    Err(error) => assert!(error.is_retriable(), "the broker answers {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SEEN_LIMIT, connected).await.expect("a broker that answers")
    }

    /// Makes a topic, of which each broker has a copy, with settings such as `("cleanup.policy", "compact")`.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, self.count() as i16).expect("a topic's name");
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.with_config(*key, *value));
        let admin = self.client().await.admin();
        let made = admin.create_topics([topic], CreateTopicsOptions::default()).await.expect("an answer");
        made.into_values().for_each(|made| made.expect("made"));
        // Brokers hear of it one after the other.
        let asked = || (0..partitions).map(|partition| (TopicPartition::new(name, partition), OffsetSpec::Latest));
        let there = async {
            loop {
                let ends = admin.list_offsets(asked(), ListOffsetsOptions::default()).await;
                if ends.is_ok_and(|ends| ends.into_values().all(|end| end.is_ok())) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SEEN_LIMIT, there).await.expect("a topic that every broker knows");
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) {
        let admin = self.client().await.admin();
        let gone = admin.delete_topics([name], DeleteTopicsOptions::default()).await.expect("an answer");
        gone.into_values().for_each(|gone| gone.expect("deleted"));
    }

    /// Gives a topic so many partitions in all.
    pub async fn grow_topic(&self, name: &str, partitions: i32) {
        let admin = self.client().await.admin();
        let options = CreatePartitionsOptions::default();
        let grown = admin.create_partitions([(name, partitions)], options).await.expect("an answer");
        grown.into_values().for_each(|grown| grown.expect("grown"));
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub async fn forget(&self, topic: &str, partition: i32, below: i64) {
        let admin = self.client().await.admin();
        let wanted = [(TopicPartition::new(topic, partition), below)];
        let gone = admin.delete_records(wanted, DeleteRecordsOptions::default()).await.expect("an answer");
        assert!(gone.into_values().all(|gone| gone.expect("deleted") == below));
    }

    /// Gives a topic a setting, such as `("cleanup.policy", "compact")`. Brokers tell it when this returns, and heed it some moments
    /// later.
    pub async fn set(&self, topic: &str, name: &str, value: &str) {
        let admin = self.client().await.admin();
        let change = [(ConfigResource::topic(topic), vec![ConfigOp::set(name, value)])];
        let set = admin.incremental_alter_configs(change, IncrementalAlterConfigsOptions::default()).await;
        set.expect("an answer").into_values().for_each(|set| set.expect("set"));
        let told = async {
            loop {
                let options = DescribeConfigsOptions::default().config_names(vec![name.to_owned()]);
                let found = admin.describe_configs([ConfigResource::topic(topic)], options).await.expect("an answer");
                let mut entries = found.into_values().flat_map(|entries| entries.expect("described"));
                if entries.any(|entry| entry.name == name && entry.value.as_deref() == Some(value)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SEEN_LIMIT, told).await.expect("a setting that brokers tell");
    }

    /// [`Kafka::forget`], of a topic that is compacted: of such a one brokers delete nothing for us, so it is none meanwhile.
    pub async fn forget_compacted(&self, topic: &str, partition: i32, below: i64) {
        self.set(topic, "cleanup.policy", "delete").await;
        let admin = self.client().await.admin();
        let forgotten = async {
            loop {
                let wanted = [(TopicPartition::new(topic, partition), below)];
                let gone = admin.delete_records(wanted, DeleteRecordsOptions::default()).await.expect("an answer");
                if gone.into_values().all(|gone| gone.is_ok_and(|start| start == below)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SEEN_LIMIT, forgotten).await.expect("brokers that have heard of the setting");
        self.set(topic, "cleanup.policy", "compact").await;
    }

    /// The offset behind a partition's last record.
    pub async fn end_of(&self, topic: &str, partition: i32) -> i64 {
        let admin = self.client().await.admin();
        let wanted = [(TopicPartition::new(topic, partition), OffsetSpec::Latest)];
        let ends = admin.list_offsets(wanted, ListOffsetsOptions::default()).await.expect("an answer");
        ends.into_values().next().expect("one").expect("an offset").offset
    }

    /// Sends records to where they say, or by their keys, in order; all are acknowledged when it returns.
    pub async fn send(&self, records: impl IntoIterator<Item = Record>) {
        let mut filler = Filler::new(self).await;
        for record in records {
            filler.send(record).await;
        }
        filler.finish().await;
    }

    /// A producer whose transactions are the caller's to begin and end.
    pub async fn transactional(&self, id: &str) -> TransactionalProducer {
        self.client().await.producer().build_transactional(id).await.expect("a producer")
    }
}

/// Fills topics quickly.
pub struct Filler {
    producer: Producer,
    pending: VecDeque<krafka::producer::DeliveryHandle>,
}

impl Filler {
    /// A filler with a producer of its own.
    pub async fn new(kafka: &Kafka) -> Self {
        let builder = kafka.client().await.producer().batch_size(200_000).linger(Duration::from_millis(5));
        Self { producer: builder.build().await.expect("a producer"), pending: VecDeque::new() }
    }

    /// Sends one record, in the order of the calls.
    pub async fn send(&mut self, record: Record) {
        self.pending.push_back(self.producer.enqueue(record).await.expect("queued"));
        if self.pending.len() >= ON_THEIR_WAY {
            let _ = self.pending.pop_front().expect("not empty").await.expect("acknowledged");
        }
    }

    /// Waits until everything is acknowledged.
    pub async fn flush(&mut self) {
        self.producer.flush().await.expect("flushed");
        for handle in self.pending.drain(..) {
            let _ = handle.await.expect("acknowledged");
        }
    }

    /// Waits until everything is acknowledged, and closes.
    pub async fn finish(mut self) {
        self.flush().await;
        self.producer.close().await.expect("closed");
    }
}
