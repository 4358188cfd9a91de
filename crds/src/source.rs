//! `StreamSource`: where records come from, what columns they have, and how time is read off them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connector::{FilesSource, GeneratorSource, KafkaSource, SourceConnector};
use crate::duration::Duration;
use crate::format::{Format, FormatSpec};
use crate::quantity::Bytes;
use crate::schema::Column;

/// A source of records: one connector, a format, the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "thalweg.dev",
    version = "v1alpha1",
    kind = "StreamSource",
    namespaced,
    status = "SourceStatus",
    shortname = "ss",
    category = "thalweg",
    derive = "PartialEq",
    doc = "Where records come from, what columns they have, and how time is read off them.",
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
    "[has(self.files), has(self.kafka), has(self.generator)].filter(given, given).size() == 1",
    "exactly one connector is expected: files, kafka or generator"
))]
#[x_kube(validation = (
    "has(self.schema) || (has(self.format) && (has(self.format.parquet) || has(self.format.avro)))",
    "schema is required: only parquet and avro describe their own columns"
))]
#[x_kube(validation = (
    "!has(self.lookup) || (has(self.files) && !has(self.files.watch))",
    "a lookup is read whole, so it needs the files connector without watch"
))]
#[x_kube(validation = (
    "!(has(self.lookup) && has(self.watermark))",
    "a lookup is a static table without time: leave watermark out"
))]
#[x_kube(validation = (
    "!has(self.lookup) || !has(self.onError) || self.onError != 'DeadLetter'",
    "a lookup is read before any row, when nothing writes dead letters yet: onError is Fail or Drop"
))]
#[x_kube(validation = (
    "!has(self.kafka) || !has(self.format) || !has(self.format.parquet)",
    "kafka records are json, csv or avro: parquet is a format of files"
))]
#[x_kube(validation = (
    "!has(self.generator) || !has(self.format) || has(self.format.json)",
    "generator makes json: leave format out, or say json"
))]
pub struct SourceSpec {
    /// Files on disk or in an object store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
    /// A Kafka topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// Made-up records, the same ones for the same seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorSource>,
    /// How records are written; JSON by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatSpec>,
    /// The columns. Parquet and Avro bring their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub schema: Vec<Column>,
    /// How event time is read off the records; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Watermark>,
    /// Read whole once a plan version and joined as a static table, instead of as a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// What happens to a record that cannot be read. May change while it runs.
    #[serde(default)]
    pub on_error: OnError,
    /// The longest record that is read; a longer one is a bad record. May change while it runs.
    #[serde(default = "default_max_record_bytes")]
    #[schemars(schema_with = "crate::quantity::positive")]
    pub max_record_bytes: Bytes,
}

impl SourceSpec {
    /// The one connector; `None` where not exactly one is written, which the schema refuses.
    pub fn connector(&self) -> Option<SourceConnector<'_>> {
        match (&self.files, &self.kafka, &self.generator) {
            (Some(files), None, None) => Some(SourceConnector::Files(files)),
            (None, Some(kafka), None) => Some(SourceConnector::Kafka(kafka)),
            (None, None, Some(generator)) => Some(SourceConnector::Generator(generator)),
            _ => None,
        }
    }

    /// The format, JSON by default.
    pub fn format(&self) -> Format {
        self.format.clone().unwrap_or_default().resolve()
    }

    /// Whether any of its rows may become a dead letter.
    pub fn makes_dead_letters(&self) -> bool {
        self.on_error == OnError::DeadLetter || self.watermark.as_ref().is_some_and(|w| w.late == Late::DeadLetter)
    }
}

fn default_max_record_bytes() -> Bytes {
    Bytes::from_mebi(10)
}

/// How event time is read off records: a split's watermark is the greatest time seen before a position, less `delay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watermark {
    /// A declared column of a TIMESTAMP type.
    #[schemars(length(min = 1, max = 128))]
    pub column: String,
    /// How far out of order records may be and still be exact.
    #[serde(default)]
    pub delay: Duration,
    /// How long a split must stand at its end before it no longer holds back the others; never by default. May change
    /// while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_after: Option<Duration>,
    /// What happens to a row that comes after its window was closed. May change while it runs.
    #[serde(default)]
    pub late: Late,
}

/// What happens to late rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Late {
    /// Dropped and counted.
    #[default]
    Drop,
    /// Sent to the pipeline's `deadLetter.sink`.
    DeadLetter,
}

/// Settings of a lookup: none so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {}

/// What happens to a record that cannot be read, or a row that a sink rejects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    /// The pipeline stops and names it.
    #[default]
    Fail,
    /// Dropped and counted.
    Drop,
    /// Sent to the pipeline's `deadLetter.sink`.
    DeadLetter,
}

/// What the operator says about a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See [`crate::condition`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
