//! `StreamPipeline`: SQL between sources and sinks, and how it is run.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connector::StartAt;
use crate::scaling::ScalingSpec;
use crate::secret::KeyRef;
use crate::state::StateSpec;
use crate::worker::WorkerSpec;

mod status;

pub use status::{
    CommitStatus, LagStatus, Phase, PipelineStatus, ScalingDecision, ScalingStatus, UnitsStatus, WorkersStatus,
};

/// SQL between sources and sinks, and how it is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "thalweg.dev",
    version = "v1alpha1",
    kind = "StreamPipeline",
    namespaced,
    status = "PipelineStatus",
    shortname = "sp",
    category = "thalweg",
    derive = "PartialEq",
    doc = "SQL between sources and sinks, and how it is run.",
    scale(
        spec_replicas_path = ".spec.scaling.workers",
        status_replicas_path = ".status.workers.ready",
        label_selector_path = ".status.workers.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.workers.summary"),
    printcolumn(name = "Units", type_ = "string", json_path = ".status.units.summary"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag.records"),
    printcolumn(name = "Lag-Time", type_ = "string", json_path = ".status.lag.age"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.workers.desired", priority = 1),
    printcolumn(name = "Commit", type_ = "date", json_path = ".status.commit.lastTime", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.sql) != has(self.sqlFrom)", "exactly one of sql and sqlFrom is expected"))]
pub struct PipelineSpec {
    /// What it reads.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sources: Vec<PipelineSource>,
    /// What it writes.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<PipelineSink>,
    /// Statements as in Flink SQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub sql: Option<String>,
    /// Where the statements are kept instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_from: Option<SqlFrom>,
    /// What is promised about repeats after a failure.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where rows go that cannot be read, come late or are rejected. May change while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Where state is kept, and how often it is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSpec>,
    /// How many workers. May change while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSpec>,
    /// What worker pods look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,
    /// What happens when the state of the running version does not fit a change.
    #[serde(default)]
    pub on_incompatible_change: OnIncompatibleChange,
    /// A new start from a position, the old state kept. May change while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// What happens to state when the pipeline is deleted. May change while it runs.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Commit, stop, and keep everything. May change while it runs.
    #[serde(default)]
    pub paused: bool,
}

impl PipelineSpec {
    /// `state`, or its defaults.
    pub fn state(&self) -> StateSpec {
        self.state.clone().unwrap_or_default()
    }

    /// `scaling`, or its defaults: one worker.
    pub fn scaling(&self) -> ScalingSpec {
        self.scaling.clone().unwrap_or_default()
    }

    /// Into how many units each keyed stage is divided: `state.keyGroups`, or twice the most workers, at least 8.
    pub fn key_groups(&self) -> u32 {
        let written = self.state.as_ref().and_then(|state| state.key_groups);
        let groups = written.unwrap_or_else(|| self.scaling().max_workers.saturating_mul(2).max(8));
        u32::try_from(groups).unwrap_or(1).max(1)
    }
}

/// A source that the pipeline reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSource {
    /// A `StreamSource` of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its name in SQL; by default the resource's, with `_` for `-` and `.`.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = crate::pattern::SQL_NAME))]
    pub alias: Option<String>,
}

impl PipelineSource {
    /// Its name in SQL.
    pub fn alias(&self) -> String {
        self.alias.clone().unwrap_or_else(|| default_alias(&self.name))
    }
}

/// A sink that the pipeline writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSink {
    /// A `StreamSink` of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its name in SQL; by default the resource's, with `_` for `-` and `.`.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = crate::pattern::SQL_NAME))]
    pub alias: Option<String>,
    /// What is promised for this sink, where it is less than for the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

impl PipelineSink {
    /// Its name in SQL.
    pub fn alias(&self) -> String {
        self.alias.clone().unwrap_or_else(|| default_alias(&self.name))
    }
}

/// The name in SQL of a resource without `as`.
fn default_alias(name: &str) -> String {
    name.replace(['-', '.'], "_")
}

/// Where statements are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqlFrom {
    /// A key of a ConfigMap.
    pub config_map_key_ref: KeyRef,
}

/// What is promised about repeats after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Delivery {
    /// No row is lost, none is written twice.
    #[default]
    ExactlyOnce,
    /// No row is lost; some may be written again.
    AtLeastOnce,
}

/// Where rows go that cannot be read, come late or are rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// A `StreamSink` of the same namespace; it need not stand in `sinks`.
    #[schemars(length(min = 1, max = 253))]
    pub sink: String,
}

/// What happens when the state of the running version does not fit a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnIncompatibleChange {
    /// The running version goes on, and the change is refused.
    #[default]
    Refuse,
    /// The statements that have changed start anew, the others go on; the state before is kept. A source that reads something
    /// else starts all of them anew.
    Restart,
}

/// A new start from a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.from) || self.from.position != 'Offsets'",
    "offsets belong to one source: give them in its startAt, and leave from out"
))]
pub struct Restart {
    /// Each new text is one restart.
    #[schemars(length(min = 1, max = 64))]
    pub nonce: String,
    /// From where; by default each source's `startAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<StartAt>,
}

/// What happens to state when the pipeline is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// A Job removes it before the pipeline is gone.
    Delete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_sql_comes_from_the_resource_unless_as_is_given() {
        let source = PipelineSource { name: "taxi-trips.v2".into(), alias: None };
        assert_eq!(source.alias(), "taxi_trips_v2");
        let source = PipelineSource { alias: Some("trips".into()), ..source };
        assert_eq!(source.alias(), "trips");
    }

    #[test]
    fn key_groups_are_twice_the_most_workers_and_at_least_eight() {
        let mut spec = PipelineSpec::default();
        assert_eq!(spec.key_groups(), 8);
        spec.scaling = Some(ScalingSpec { max_workers: 20, ..ScalingSpec::default() });
        assert_eq!(spec.key_groups(), 40);
        spec.state = Some(StateSpec { key_groups: Some(3), ..StateSpec::default() });
        assert_eq!(spec.key_groups(), 3);
    }
}
