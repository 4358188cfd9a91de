//! `kafka`: topics, in and out.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::{Sasl, Tls};

/// Settings of the `kafka` source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSource {
    /// `host:port` of some brokers.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256), regex(pattern = crate::pattern::HOST_PORT))
    )]
    pub brokers: Vec<String>,
    /// The topic.
    #[schemars(length(min = 1, max = 249), regex(pattern = crate::pattern::TOPIC))]
    pub topic: String,
    /// Where to start a partition without a position.
    #[serde(default)]
    pub start_at: StartAt,
    /// Transport security.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// A consumer group to which is written, every few seconds, how far partitions were handed to the pipeline's units, for
    /// tools that look there. It does not wait for commits, so it may be ahead of them; a write that fails is logged, and
    /// nothing else; it is never read back. May change while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub commit_to_group: Option<String>,
    /// Settings of the client, from an allow-list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub properties: BTreeMap<String, String>,
    /// Addresses that brokers may have although they are refused, each as CIDR: those of a machine's own network
    /// (link-local), of a cloud's metadata service, of the API server, and, in a pod, of the pod itself. Others, such as
    /// 10.0.0.0/8, need none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64), regex(pattern = crate::address::PATTERN)))]
    pub allow_private_addresses: Vec<String>,
}

/// Where to start a log without a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.timestamp) == (self.position == 'Timestamp')",
    "timestamp belongs to position: Timestamp, and to no other"
))]
#[x_kube(validation = (
    "has(self.offsets) == (self.position == 'Offsets')",
    "offsets belong to position: Offsets, and to no other"
))]
pub struct StartAt {
    /// Which position.
    #[serde(default)]
    pub position: StartPosition,
    /// With `Timestamp`: the first record at or after this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        regex(pattern = crate::pattern::RFC3339)
    )]
    pub timestamp: Option<String>,
    /// With `Offsets`: one for each partition that does not start at its beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["partition".into()]))]
    pub offsets: Vec<PartitionOffset>,
}

/// A named position in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartPosition {
    /// The oldest record kept.
    #[default]
    Earliest,
    /// Behind the newest record; resolved once.
    Latest,
    /// The first record at or after `timestamp`.
    Timestamp,
    /// The given offsets.
    Offsets,
}

/// An offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionOffset {
    /// The partition.
    #[schemars(range(min = 0))]
    pub partition: i32,
    /// The next offset wanted.
    #[schemars(range(min = 0))]
    pub offset: i64,
}

/// Settings of the `kafka` sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.headers) || !has(self.key) || !self.headers.exists(name, name in self.key)",
    "a column of the key is no header as well: leave it out of one of them"
))]
#[x_kube(validation = (
    "!has(self.tombstones) || !self.tombstones || (has(self.key) && self.key.size() > 0)",
    "tombstones need a key, which says what is deleted"
))]
pub struct KafkaSink {
    /// `host:port` of some brokers.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 256), regex(pattern = crate::pattern::HOST_PORT))
    )]
    pub brokers: Vec<String>,
    /// The topic.
    #[schemars(length(min = 1, max = 249), regex(pattern = crate::pattern::TOPIC))]
    pub topic: String,
    /// Columns that make the record's key; none by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub key: Vec<String>,
    /// Columns that are written as headers of the record, and left out of its value: their names, and their values as text
    /// (BYTES as they are). A null is a header without a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    pub headers: Vec<String>,
    /// Whether a row is written without a value (a tombstone, which deletes its key where the topic is compacted) if every
    /// column is null that is neither of the key nor a header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tombstones: bool,
    /// How batches are compressed.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// Create the topic if it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_topic: Option<CreateTopic>,
    /// Transport security.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Settings of the client, from an allow-list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub properties: BTreeMap<String, String>,
    /// Addresses that brokers may have although they are refused, each as CIDR: those of a machine's own network
    /// (link-local), of a cloud's metadata service, of the API server, and, in a pod, of the pod itself. Others, such as
    /// 10.0.0.0/8, need none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64), regex(pattern = crate::address::PATTERN)))]
    pub allow_private_addresses: Vec<String>,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KafkaCompression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// A topic to create if it does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateTopic {
    /// How many partitions.
    #[schemars(range(min = 1, max = 10000))]
    pub partitions: i32,
    /// How many replicas; by default the cluster's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub replication_factor: Option<i32>,
}
