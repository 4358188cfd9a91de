//! What a user may say about worker pods, and nothing else of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user may say about worker pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.serviceAccountName) && has(self.serviceAccountAnnotations))",
    "serviceAccountAnnotations are for the account that the operator makes: leave serviceAccountName out, or annotate that account yourself"
))]
pub struct WorkerSpec {
    /// The image; by default the operator's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// CPU and memory. Where it is absent: requests of `cpu: 100m` and `memory: 256Mi`, and a limit of `memory: 1Gi`. What is
    /// given is taken as it is, and limits that it does not name are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Where pods go; by default spread over nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The priority class of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// An existing service account; by default the operator makes one a pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Annotations of the service account that the operator makes, such as a cloud role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub service_account_annotations: BTreeMap<String, String>,
    /// Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Further labels of pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::texts")]
    pub pod_annotations: BTreeMap<String, String>,
    /// How much workers log. May change while it runs.
    #[serde(default)]
    pub log_level: LogLevel,
    /// What there are metrics by beyond sources and stages: each split, each unit is a series of its own then. May change while it
    /// runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub metrics_by: Vec<MetricsBy>,
}

/// What there can be metrics by beyond sources and stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricsBy {
    /// Each split that a worker reads: its end, its lag.
    Split,
    /// Each unit that a worker runs: its commits, how busy it is.
    Unit,
}

impl MetricsBy {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Split => "Split",
            Self::Unit => "Unit",
        }
    }
}

/// How much workers log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what may become one.
    Warn,
    /// And what a user wants to know.
    #[default]
    Info,
    /// And what a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}
