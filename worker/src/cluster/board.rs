//! What the operator, probes and Prometheus are told of a worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use thalweg_core::error::ErrorKind;
use thalweg_core::unit::{Epoch, RunId, UnitId};
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::{self, Slot};
use thalweg_crds::report::{CommitReport, Failure, Report, UnitReport, WorkerState};

use crate::runtime::RunError;
use crate::runtime::counters::{Counters, UnitCounters, Watched};

/// Written by the worker's loop, read by whoever asks.
pub struct Board {
    run_id: ids::RunId,
    plan: String,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    slot: Option<Slot>,
    state: WorkerState,
    failure: Option<Failure>,
    /// The unit that could not be taken, at which epoch it was assigned, and which its state holds.
    refused: Option<(UnitId, Epoch, Epoch)>,
    job: Option<Watched>,
}

impl Board {
    /// A worker that has nothing yet.
    pub fn new(run_id: &RunId, plan: &str) -> Self {
        let run_id = ids::RunId(run_id.0.clone());
        Self { run_id, plan: plan.to_owned(), now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker holds a slot, or has left it.
    pub fn holds(&self, slot: Option<&Slot>) {
        self.now().slot = slot.cloned();
    }

    /// It owns its units and runs.
    pub fn runs(&self, name: String, counters: Arc<Counters>) {
        let mut now = self.now();
        (now.state, now.failure, now.refused) = (WorkerState::Running, None, None);
        now.job = Some(Watched { name, counters });
    }

    /// It has closed its units and waits.
    pub fn waits(&self) {
        let mut now = self.now();
        *now = Now { slot: now.slot.take(), ..Now::default() };
    }

    /// All input of its units was read and delivered.
    pub fn has_completed(&self) {
        self.now().state = WorkerState::Completed;
    }

    /// It stands still.
    pub fn has_failed(&self, error: &RunError) {
        let mut now = self.now();
        (now.state, now.job) = (WorkerState::Failed, None);
        now.failure = Some(failure(error));
        now.refused = match error {
            RunError::Superseded { unit, assigned, stored } => Some((*unit, *assigned, *stored)),
            _ => None,
        };
    }

    /// Whether it does what it was asked to do. A worker that waits is not: whoever replaces a pod waits until the new
    /// one has the units.
    pub fn is_ready(&self) -> bool {
        matches!(self.now().state, WorkerState::Running | WorkerState::Completed)
    }

    /// The pipelines that run, for metrics.
    pub fn watched(&self) -> Vec<Watched> {
        self.now().job.iter().cloned().collect()
    }

    /// What `/report` answers.
    pub fn report(&self) -> Report {
        let now = self.now();
        let owned = now.job.iter().flat_map(|job| job.counters.units()).collect::<Vec<_>>();
        let mut units: Vec<_> = owned.iter().map(|(unit, counters)| owned_unit(*unit, counters)).collect();
        units.extend(now.refused.map(|(unit, assigned, stored)| UnitReport {
            unit: written(unit),
            epoch: written_epoch(assigned),
            stored_epoch: Some(written_epoch(stored)),
            error: now.failure.as_ref().map(|failure| failure.message.clone()),
            ..UnitReport::default()
        }));
        Report {
            run_id: self.run_id.clone(),
            slot: now.slot.clone(),
            plan: self.plan.clone(),
            state: now.state,
            failure: now.failure.clone(),
            units,
            commit: oldest_commit(&owned),
            ..Report::default()
        }
    }
}

fn written(unit: UnitId) -> ids::UnitId {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    ids::UnitId { stage: number(unit.stage.0), index: number(unit.index) }
}

fn written_epoch(epoch: Epoch) -> ids::Epoch {
    ids::Epoch(i64::try_from(epoch.0).unwrap_or(i64::MAX))
}

fn owned_unit(unit: UnitId, counters: &UnitCounters) -> UnitReport {
    UnitReport {
        unit: written(unit),
        epoch: written_epoch(counters.epoch),
        commits: counters.commits.get(),
        dead_letters: counters.dead_letters.get(),
        ..UnitReport::default()
    }
}

/// The last commit of the unit that committed longest ago; none while a unit has not committed.
fn oldest_commit(units: &[(UnitId, Arc<UnitCounters>)]) -> Option<CommitReport> {
    let commits = units.iter().map(|(_, counters)| counters.last_commit()).collect::<Option<Vec<_>>>()?;
    let (millis, took) = commits.into_iter().min_by_key(|(millis, _)| *millis)?;
    let time = Time(Timestamp::from_millisecond(millis).ok()?);
    Some(CommitReport { time, bytes: None, duration_seconds: Some(took.as_secs_f64()) })
}

fn failure(error: &RunError) -> Failure {
    let resource = match error {
        RunError::BadRecord { resource, .. } => Some(resource.clone()),
        _ => None,
    };
    Failure { reason: reason(error).as_str().to_owned(), resource, message: error.to_string() }
}

/// The reason that a condition gives.
fn reason(error: &RunError) -> Reason {
    match (error, error.kind()) {
        (RunError::BadRecord { .. }, _) => Reason::BadRecord,
        (_, ErrorKind::DataLoss) => Reason::DataLoss,
        (_, ErrorKind::Fenced) => Reason::UnitsMoving,
        (_, ErrorKind::User) => Reason::InvalidSpec,
        (_, ErrorKind::External) => Reason::Unreachable,
        (_, ErrorKind::Internal) => Reason::WorkersUnavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thalweg_core::error::Error;
    use thalweg_core::unit::StageId;

    use super::*;

    const UNIT: UnitId = UnitId { stage: StageId(1), index: 2 };

    fn board() -> Board {
        let board = Board::new(&RunId("me/0".to_owned()), "hash");
        board.holds(Some(&Slot("p-0".to_owned())));
        board
    }

    #[test]
    fn a_worker_that_runs_is_ready_and_reports_its_units_and_their_oldest_commit() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        assert!(!board.is_ready());
        let first = counters.acquired(UNIT, Epoch(4));
        let second = counters.acquired(UnitId { index: 3, ..UNIT }, Epoch(4));
        board.runs("a.p".to_owned(), counters);
        assert!(board.is_ready());
        first.committed(2_000, Duration::from_millis(5));
        assert_eq!(board.report().commit, None, "a unit has not committed");
        second.committed(1_000, Duration::from_millis(7));
        let report = board.report();
        assert_eq!(report.commit.expect("all have").duration_seconds, Some(0.007));
        let units: Vec<_> = report.units.iter().map(|unit| (unit.unit.index, unit.epoch.0, unit.commits)).collect();
        assert_eq!(units, [(2, 4, 1), (3, 4, 1)]);
        assert_eq!((report.slot.expect("held").0.as_str(), report.state), ("p-0", WorkerState::Running));
    }

    #[test]
    fn a_worker_whose_unit_was_taken_over_reports_the_epoch_that_its_state_holds() {
        let board = board();
        board.has_failed(&RunError::Superseded { unit: UNIT, assigned: Epoch(3), stored: Epoch(7) });
        let report = board.report();
        assert!(!board.is_ready());
        let unit = report.units.first().expect("refused");
        assert_eq!((unit.epoch.0, unit.stored_epoch), (3, Some(ids::Epoch(7))));
        assert_eq!(report.failure.expect("it says why").reason, "UnitsMoving");
        board.waits();
        assert_eq!(board.report().units, []);
        assert!(board.report().slot.is_some());
    }

    #[test]
    fn what_stops_a_worker_is_named_by_the_reason_of_a_condition() {
        let of = |error: Error| reason(&RunError::Connector(error));
        assert_eq!(of(Error::data_loss("log", "gone")), Reason::DataLoss);
        assert_eq!(of(Error::external("broker", "away")), Reason::Unreachable);
        assert_eq!(of(Error::user("topic", "missing")), Reason::InvalidSpec);
    }
}
