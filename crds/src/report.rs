//! What a worker answers on `/report`; nothing of it goes through the API server.
//!
//! Every field has a default, so that an operator reads the reports of workers that are older or newer than itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{Epoch, LogPosition, RunId, Slot, SplitId, UnitId};

/// One worker's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// Which life of the worker.
    pub run_id: RunId,
    /// The slot that it holds.
    pub slot: Option<Slot>,
    /// The hash of the plan that it runs.
    pub plan: String,
    /// What it is doing.
    pub state: WorkerState,
    /// Whether it was told to end, and waits for others to ask for its units.
    pub leaving: bool,
    /// Why it, or parts of it, stand still, with `state: Failed` and while that is tried again; of one resource each reason once.
    #[serde(alias = "failure", deserialize_with = "one_or_several")]
    pub failures: Vec<Failure>,
    /// Share of the last seconds that it worked, 0 to 1: of its processor time, or of its busiest unit's time where that
    /// is more.
    pub busy_share: f64,
    /// Share of the last seconds that its units waited for sinks, 0 to 1.
    pub blocked_share: f64,
    /// The splits that it reads.
    pub splits: Vec<SplitReport>,
    /// The units that it owns, or was refused.
    pub units: Vec<UnitReport>,
    /// The sinks that its units write.
    pub sinks: Vec<SinkReport>,
    /// The sources whose splits it lists.
    pub listed: Vec<ListedSource>,
    /// Where all that is kept stands in a sink: the id of its progress topic.
    pub progress: Option<String>,
    /// The last commit of the unit that committed longest ago.
    pub commit: Option<CommitReport>,
}

/// Workers have told one failure at the most, `failure`, which may be null.
fn one_or_several<'de, D: Deserializer<'de>>(said: D) -> Result<Vec<Failure>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Several(Vec<Failure>),
        One(Option<Failure>),
    }
    Ok(match Said::deserialize(said)? {
        Said::Several(failures) => failures,
        Said::One(failure) => failure.into_iter().collect(),
    })
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// It has a slot, and waits for units.
    #[default]
    Waiting,
    /// It has opened all that its plan names, and waits for units: another plan runs.
    Prepared,
    /// It runs its units.
    Running,
    /// All input of its units was read and delivered.
    Completed,
    /// It stands still, or a unit or a split of it does while the others go on, see [`Report::failures`].
    Failed,
}

/// Why a worker stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failure {
    /// The name of a [`crate::condition::Reason`].
    pub reason: String,
    /// The resource that it is about, `Kind/name`, where it is about one.
    pub resource: Option<String>,
    /// What was found, what is expected, and what to do. Holds no secret.
    pub message: String,
}

/// A split that a worker reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SplitReport {
    /// The source, by its name in SQL.
    pub source: String,
    /// The split.
    pub split: SplitId,
    /// The end of the log, where known.
    pub end: Option<LogPosition>,
    /// The least position that all units have accepted, where known.
    pub accepted: Option<LogPosition>,
    /// Records a second that were read in the last seconds: the same ones as for the worker's shares.
    pub rate: f64,
    /// Records between the least accepted position and the end, where known.
    pub lag_records: Option<u64>,
    /// Age of the oldest record not accepted, where known.
    pub lag_seconds: Option<f64>,
}

/// A source whose splits a worker lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedSource {
    /// The source, by its name in SQL.
    pub source: String,
    /// Every split that was found, in an order that each listing of the source agrees on.
    pub splits: Vec<SplitId>,
    /// No further split ever comes.
    pub complete: bool,
}

/// A unit that a worker owns, or was refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnitReport {
    /// The unit.
    pub unit: UnitId,
    /// The epoch at which it was assigned.
    pub epoch: Epoch,
    /// Its state holds this epoch, at or above the assigned one: the unit was not taken, and the operator publishes
    /// above it.
    pub stored_epoch: Option<Epoch>,
    /// Share of the last seconds that it worked, 0 to 1.
    pub busy_share: f64,
    /// Commits since the worker started.
    pub commits: u64,
    /// Rows that went to the dead-letter sink.
    pub dead_letters: u64,
    /// The last error, where the unit stands still.
    pub error: Option<String>,
}

/// A sink that a worker writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SinkReport {
    /// The sink, by its name in SQL.
    pub sink: String,
    /// Rows a second that were given to it in the last seconds: the same ones as for the worker's shares.
    pub rate: f64,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitReport {
    /// When it was durable.
    pub time: Time,
    /// How many bytes it wrote, where known.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// How long it took, where known.
    #[serde(default)]
    pub duration_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_report_and_one_with_unknown_fields_are_read() {
        let report: Report = serde_json::from_str(r#"{"units": [{"later": 1}], "alsoLater": {}}"#).unwrap();
        assert_eq!(report, Report { units: vec![UnitReport::default()], ..Report::default() });
        assert_eq!(report.state, WorkerState::Waiting);
    }

    #[test]
    fn the_one_failure_of_older_workers_is_read() {
        let told = |text: &str| serde_json::from_str::<Report>(text).unwrap().failures;
        let gone = Failure { reason: "DataLoss".to_owned(), resource: None, message: "gone".to_owned() };
        assert_eq!(told(r#"{"failure": {"reason": "DataLoss", "message": "gone"}}"#), std::slice::from_ref(&gone));
        assert_eq!(told(r#"{"failure": null}"#), []);
        let now = Report { failures: vec![gone], ..Report::default() };
        assert_eq!(serde_json::from_str::<Report>(&serde_json::to_string(&now).unwrap()).unwrap(), now);
    }
}
