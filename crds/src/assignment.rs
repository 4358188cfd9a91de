//! `StreamAssignment`, internal: the one durable table that operator and workers share.
//!
//! At most 256 units an object. A change of owner is one `update` that carries a resourceVersion
//! (`docs/design/0007-ownership-model.md`).

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Incarnation, LogPosition, RunId, Slot, SplitId, UnitId};

/// Who owns which unit, who reads which split, and how workers are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "thalweg.dev",
    version = "v1alpha1",
    kind = "StreamAssignment",
    namespaced,
    shortname = "sas",
    category = "thalweg",
    derive = "PartialEq",
    doc = "Internal: who owns which unit, who reads which split, and how workers are reached.",
    printcolumn(name = "Pipeline", type_ = "string", json_path = ".spec.pipeline"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".spec.plan"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentSpec {
    /// The pipeline that it belongs to.
    #[schemars(length(min = 1, max = 253))]
    pub pipeline: String,
    /// The hash of the plan that workers run.
    #[schemars(length(max = 128))]
    pub plan: String,
    /// Into how many units each keyed stage is divided; fixed when the pipeline first started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub key_groups: Option<i32>,
    /// Whether all input was read and delivered under this plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub completed: bool,
    /// Units and their owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub units: Vec<UnitAssignment>,
    /// Splits and their readers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub splits: Vec<SplitAssignment>,
    /// Workers and how they are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["slot".into()]))]
    pub workers: Vec<WorkerEntry>,
    /// Which worker lists the splits of each source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["source".into()]))]
    pub enumerators: Vec<Enumerator>,
    /// The incarnation of each stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["stage".into()]))]
    pub incarnations: Vec<StageIncarnation>,
    /// The numbers of the plan's stages, and what they stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<StageNumbers>,
    /// Where all that is kept stands in a sink: the id of its progress topic, since workers have first said it. Without that topic
    /// nothing goes on until somebody starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub progress: Option<String>,
    /// At zero workers: the least committed position of each split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub positions: Vec<SplitPosition>,
}

/// A unit and its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitAssignment {
    /// The unit.
    pub unit: UnitId,
    /// Its owner; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Slot>,
    /// Its ownership number.
    pub epoch: Epoch,
    /// In a planned handoff: who owned it before, and answers when it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Slot>,
}

/// A split and its reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitAssignment {
    /// The source, by its name in SQL.
    #[schemars(length(min = 1, max = 128))]
    pub source: String,
    /// The split.
    pub split: SplitId,
    /// Who reads it; absent while nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<Slot>,
    /// Splits that must end before it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parents: Vec<SplitId>,
    /// Where it starts, once that is resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<LogPosition>,
}

/// A worker and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerEntry {
    /// Its slot.
    pub slot: Slot,
    /// Which life of it.
    pub run_id: RunId,
    /// `IP:port`.
    #[schemars(length(max = 64))]
    pub address: String,
    /// SHA-256 of its public key, in hexadecimal: what others pin.
    #[schemars(length(max = 128))]
    pub key_fingerprint: String,
}

/// Which worker lists the splits of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enumerator {
    /// The source, by its name in SQL.
    #[schemars(length(min = 1, max = 128))]
    pub source: String,
    /// The worker.
    pub slot: Slot,
}

/// The incarnation of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageIncarnation {
    /// The stage, from 0.
    #[schemars(range(min = 0))]
    pub stage: i32,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

/// The numbers of a plan's stages, and what they stand for: by this the next plan's are given (`crate::statements`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageNumbers {
    /// When the pipeline was made, in seconds since 1970: one that is deleted and made again counts anew.
    pub made: i64,
    /// How often its statements have become others since then. It never falls.
    #[schemars(range(min = 0))]
    pub changes: i64,
    /// No number from here on was ever given.
    #[schemars(range(min = 0))]
    pub next: i32,
    /// The statements of the plan, in their order.
    #[schemars(length(max = 256))]
    pub statements: Vec<NumberedStatement>,
}

/// A statement of a plan, by what it is told again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberedStatement {
    /// The sink that it feeds, by its name in SQL.
    #[schemars(length(max = 253))]
    pub sink: String,
    /// A hash of all that it does.
    #[schemars(length(max = 128))]
    pub text: String,
    /// Its stages.
    #[schemars(length(max = 256))]
    pub stages: Vec<NumberedStage>,
}

/// A stage of a statement, by what is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberedStage {
    /// Its number.
    #[schemars(range(min = 0))]
    pub stage: i32,
    /// A hash of what it is and which sources it reads: what positions belong to.
    #[schemars(length(max = 128))]
    pub reads: String,
    /// What shapes its state.
    #[schemars(length(max = 128))]
    pub fingerprint: String,
}

/// A committed position of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitPosition {
    /// The source, by its name in SQL.
    #[schemars(length(min = 1, max = 128))]
    pub source: String,
    /// The split.
    pub split: SplitId,
    /// The next position wanted.
    pub position: LogPosition,
}
