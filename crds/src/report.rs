//! What a worker answers on `/report`; nothing of it goes through the API server.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, LogPosition, RunId, SplitId, UnitId};

/// One worker's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which life of the worker.
    pub run_id: RunId,
    /// The hash of the plan that it runs.
    pub plan: String,
    /// Share of time spent working, 0 to 1.
    pub busy_share: f64,
    /// Share of time spent waiting for a sink or an exchange, 0 to 1.
    pub blocked_share: f64,
    /// The splits that it reads.
    #[serde(default)]
    pub splits: Vec<SplitReport>,
    /// The units that it owns.
    #[serde(default)]
    pub units: Vec<UnitReport>,
}

/// A split that a worker reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitReport {
    /// The source, by its name in SQL.
    pub source: String,
    /// The split.
    pub split: SplitId,
    /// The end of the log, where known.
    pub end: Option<LogPosition>,
    /// Records a second that were read lately.
    pub rate: f64,
    /// Records between the least accepted position and the end, where known.
    pub lag_records: Option<u64>,
    /// Age of the oldest record not accepted, where known.
    pub lag_seconds: Option<f64>,
}

/// A unit that a worker owns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitReport {
    /// The unit.
    pub unit: UnitId,
    /// Its ownership number.
    pub epoch: Epoch,
    /// Commits since the worker started.
    pub commits: u64,
    /// Rows that went to the dead-letter sink.
    pub dead_letters: u64,
    /// The last error, where the unit stands still.
    pub error: Option<String>,
}
