//! `files`: local paths, globs and S3, in and out.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::S3;
use crate::duration::Duration;
use crate::quantity::Bytes;

/// Settings of the `files` source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.s3) || self.url.startsWith('s3://')",
    "s3 has a meaning only where url starts with s3://"
))]
pub struct FilesSource {
    /// A path (relative to the manifest), a glob, or an `s3://` URL.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// How files are compressed; by default their suffix says it (`.gz`, `.zst`).
    #[serde(default)]
    pub compression: Compression,
    /// How often to look for new files and growing ones; absent, the files found at the first start are all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::duration::of_a_millisecond")]
    pub watch: Option<Duration>,
    /// Whether it is fine if no file matches.
    #[serde(default)]
    pub allow_empty: bool,
    /// Whether the names of files follow event time.
    #[serde(default)]
    pub order: Order,
    /// How many files are read side by side.
    #[serde(default = "default_lanes")]
    #[schemars(range(min = 1, max = 1024))]
    pub lanes: i32,
    /// How the object store is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

fn default_lanes() -> i32 {
    8
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    /// By suffix: `.gz`, `.zst`, else none.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Whether the names of files follow event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// They need not: each file has a watermark of its own, and a file not read yet holds windows open.
    #[default]
    Any,
    /// They do: a lane's watermark goes on from file to file.
    ByName,
}

/// Settings of the `files` sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.s3) || self.url.startsWith('s3://')",
    "s3 has a meaning only where url starts with s3://"
))]
pub struct FilesSink {
    /// A folder (relative to the manifest) or an `s3://` URL.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Folders in Hive's layout: columns, or `date(column)` and `hour(column)` of a timestamp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(
            length(min = 1, max = 160),
            regex(pattern = crate::pattern::PARTITION)
        )
    )]
    pub partition_by: Vec<String>,
    /// When a file is closed and the next one begun.
    #[serde(default)]
    pub roll: Roll,
    /// How the object store is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
}

/// When a file is closed and the next one begun: whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Roll {
    /// After this time.
    #[serde(default = "default_roll_every")]
    #[schemars(schema_with = "crate::duration::of_a_millisecond")]
    pub every: Duration,
    /// At this size.
    #[serde(default = "default_roll_size")]
    #[schemars(schema_with = "crate::quantity::positive")]
    pub size: Bytes,
}

impl Default for Roll {
    fn default() -> Self {
        Self { every: default_roll_every(), size: default_roll_size() }
    }
}

fn default_roll_every() -> Duration {
    Duration::from_secs(60)
}

fn default_roll_size() -> Bytes {
    Bytes::from_mebi(128)
}
