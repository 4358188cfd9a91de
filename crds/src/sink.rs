//! `StreamSink`: where rows go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::connector::{BlackholeSink, FilesSink, KafkaSink, SinkConnector, StdoutSink};
use crate::format::{Format, FormatSpec};
use crate::source::OnError;

/// A destination of rows: one connector and a format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "thalweg.dev",
    version = "v1alpha1",
    kind = "StreamSink",
    namespaced,
    status = "SinkStatus",
    shortname = "sk",
    category = "thalweg",
    derive = "PartialEq",
    doc = "Where rows go.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.files), has(self.kafka), has(self.stdout), has(self.blackhole)].filter(given, given).size() == 1",
    "exactly one connector is expected: files, kafka, stdout or blackhole"
))]
#[x_kube(validation = (
    "!has(self.format) || !(has(self.stdout) || has(self.blackhole))",
    "stdout and blackhole take no format: stdout.style says how rows are printed"
))]
#[x_kube(validation = (
    "!has(self.kafka) || !has(self.format) || !(has(self.format.parquet) || has(self.format.csv))",
    "kafka records are json or avro: csv and parquet are formats of files"
))]
#[x_kube(validation = (
    "!has(self.files) || !has(self.format) || !has(self.format.avro)",
    "files are written as json, csv or parquet: avro is only read"
))]
pub struct SinkSpec {
    /// Files on disk or in an object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSink>,
    /// A Kafka topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSink>,
    /// The terminal. Promises nothing about repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<StdoutSink>,
    /// Nowhere: reads every column, counts rows and keeps a checksum that does not depend on their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blackhole: Option<BlackholeSink>,
    /// How rows are written; JSON by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatSpec>,
    /// What happens to a row that the system rejects. May change while it runs.
    #[serde(default)]
    pub on_error: OnError,
}

impl SinkSpec {
    /// The one connector; `None` where not exactly one is written, which the schema refuses.
    pub fn connector(&self) -> Option<SinkConnector<'_>> {
        match (&self.files, &self.kafka, &self.stdout, &self.blackhole) {
            (Some(files), None, None, None) => Some(SinkConnector::Files(files)),
            (None, Some(kafka), None, None) => Some(SinkConnector::Kafka(kafka)),
            (None, None, Some(stdout), None) => Some(SinkConnector::Stdout(stdout)),
            (None, None, None, Some(blackhole)) => Some(SinkConnector::Blackhole(blackhole)),
            _ => None,
        }
    }

    /// The format, JSON by default.
    pub fn format(&self) -> Format {
        self.format.clone().unwrap_or_default().resolve()
    }
}

/// What the operator says about a sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See [`crate::condition`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
