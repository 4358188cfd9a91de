//! What the operator says about a pipeline.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator says about a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStatus {
    /// The generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See [`crate::condition`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// A summary of the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Worker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// Units and their owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<UnitsStatus>,
    /// What is not accepted yet. Absent where unknown, never 0 for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagStatus>,
    /// The last commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// What the autoscaler decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// How many rows went to the dead-letter sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<i64>,
    /// Stages and what connects them, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub topology: Option<String>,
    /// The hash of the plan that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub active_plan: Option<String>,
}

/// A summary of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not started yet.
    Pending,
    /// Workers run.
    Running,
    /// No worker runs, since there is nothing to read.
    Idle,
    /// Stopped by `paused`.
    Paused,
    /// All input was read and delivered.
    Completed,
    /// Stopped by an error.
    Failed,
}

/// Worker pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// How many there should be.
    pub desired: i32,
    /// How many are ready.
    pub ready: i32,
    /// The label selector of the pods, for the scale subresource.
    #[schemars(length(max = 1024))]
    pub selector: String,
    /// `ready/desired`.
    #[schemars(length(max = 32))]
    pub summary: String,
}

/// Units and their owners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitsStatus {
    /// All units.
    pub total: i32,
    /// Those that a worker has acquired.
    pub owned: i32,
    /// Those between two owners.
    pub moving: i32,
    /// `owned/total`.
    #[schemars(length(max = 32))]
    pub summary: String,
}

/// What is not accepted yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LagStatus {
    /// Records, over all splits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// Age of the oldest record not accepted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The same for readers, such as `2.1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub age: Option<String>,
    /// The split with the oldest record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub worst_split: Option<String>,
}

/// The last commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// When the slowest unit last committed.
    pub last_time: Time,
    /// How many bytes it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
}

/// What the autoscaler decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// A change of the number of workers, or the one that it would make; a move of work among them; or what holds a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<ScalingDecision>,
}

/// One decision of the autoscaler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingDecision {
    /// Workers before.
    pub from: i32,
    /// Workers after; as many as before where work moved among them, or a change is held.
    pub to: i32,
    /// Why, in a sentence.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// The figures that it was taken from.
    #[schemars(length(max = 1024))]
    pub inputs: String,
    /// When.
    pub time: Time,
}
