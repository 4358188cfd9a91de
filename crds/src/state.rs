//! Where a pipeline keeps its state, and how often it commits.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::connector::S3;
use crate::duration::Duration;

/// Where state is kept. Absent: direct commits only, or memory in `thalweg run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.keyGroups) == has(oldSelf.keyGroups) && (!has(self.keyGroups) || self.keyGroups == oldSelf.keyGroups)",
    "keyGroups cannot change: state is divided by it; use another pipeline, or delete this one and make it anew"
))]
pub struct StateSpec {
    /// A folder or an `s3://` URL; `--state` of `thalweg run` overrides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// How the bucket of an `s3://` URL is reached; what is absent comes from the environment of the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// How often state, positions and output are committed; at most 5m with an `ExactlyOnce` sink of Kafka. May change while it
    /// runs.
    #[serde(default = "default_commit_every")]
    #[schemars(schema_with = "crate::duration::of_a_millisecond")]
    pub commit_every: Duration,
    /// Into how many units each keyed stage is divided; by default twice the most workers, at least 8. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub key_groups: Option<i32>,
    /// Take over state that another pipeline owns.
    #[serde(default)]
    pub adopt: bool,
}

impl Default for StateSpec {
    fn default() -> Self {
        Self { url: None, s3: None, commit_every: default_commit_every(), key_groups: None, adopt: false }
    }
}

fn default_commit_every() -> Duration {
    Duration::from_secs(5)
}
