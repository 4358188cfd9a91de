//! What the operator, probes and Prometheus are told of a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use thalweg_core::error::{Cause, Error, ErrorKind};
use thalweg_core::log::{LogId, SplitId};
use thalweg_core::unit::{Epoch, RunId, UnitId};
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::{self, Slot};
use thalweg_crds::report::{
    CommitReport, Failure, ListedSource, Report, SinkReport, SplitReport, UnitReport, WorkerState,
};

use crate::runtime::RunError;
use crate::runtime::counters::{Counters, UnitCounters, Watched};
use crate::runtime::load::Shares;

/// How many failures a report tells.
const MOST_FAILURES: usize = 8;

/// Written by the worker's loop, read by whoever asks.
pub struct Board {
    run_id: ids::RunId,
    plan: String,
    leaving: AtomicBool,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    slot: Option<Slot>,
    failure: Option<Failure>,
    /// Its plan was tried, and could run.
    prepared: bool,
    job: Option<Watched>,
    /// Units that it holds, and whether all their input was read and delivered.
    held: BTreeMap<UnitId, Held>,
    /// Units that could not be taken.
    refused: BTreeMap<UnitId, Refused>,
    /// Units that were closed because something failed, at which epoch.
    stopped: BTreeMap<UnitId, (Epoch, Failure)>,
    /// Sources whose splits could not be listed, from job to job until they are.
    unlisted: BTreeMap<String, Failure>,
    /// Splits that cannot be read on.
    unread: BTreeMap<LogId, Failure>,
    /// Splits of which nobody has answered for some seconds, while they are read on.
    unheard: BTreeMap<LogId, Failure>,
    /// Sinks that have taken nothing for some seconds, while their units go on trying; by resource.
    unwritten: BTreeMap<Option<String>, Failure>,
    splits: Vec<SplitReport>,
    shares: Shares,
    listed: BTreeMap<String, ListedSource>,
    /// The id of the topic that keeps all, where one does.
    progress: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Running,
    Completed,
}

/// At which epoch a unit was assigned, which its state holds, and what that means.
struct Refused {
    assigned: Epoch,
    stored: Epoch,
    error: String,
}

impl Board {
    /// A worker that has nothing yet.
    pub fn new(run_id: &RunId, plan: &str) -> Self {
        let run_id = ids::RunId(run_id.0.clone());
        Self { run_id, plan: plan.to_owned(), leaving: AtomicBool::default(), now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker holds a slot, or has left it.
    pub fn holds(&self, slot: Option<&Slot>) {
        self.now().slot = slot.cloned();
    }

    /// It was told to end: others are to ask for its units.
    pub fn leaves(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Its job runs. Sources that could not be listed by the one before are yet to be.
    pub fn runs(&self, name: String, counters: Arc<Counters>) {
        let mut now = self.now();
        let (slot, unlisted) = (now.slot.take(), std::mem::take(&mut now.unlisted));
        *now = Now { slot, unlisted, job: Some(Watched { name, counters }), ..Now::default() };
    }

    /// Its job keeps all in a topic with this id, if it does.
    pub fn keeps_in(&self, progress: Option<String>) {
        self.now().progress = progress;
    }

    /// It has a unit, and runs it.
    pub fn owns(&self, unit: UnitId) {
        let mut now = self.now();
        now.refused.remove(&unit);
        now.stopped.remove(&unit);
        now.held.insert(unit, Held::Running);
    }

    /// All input of a unit was read and delivered.
    pub fn has_completed(&self, unit: UnitId) {
        self.now().held.insert(unit, Held::Completed);
    }

    /// It could not take a unit that was assigned at one epoch, whose state holds another.
    pub fn was_refused(&self, unit: UnitId, assigned: Epoch, stored: Epoch, error: String) {
        let mut now = self.now();
        now.stopped.remove(&unit);
        now.refused.insert(unit, Refused { assigned, stored, error });
    }

    /// Something failed of a unit that was assigned at this epoch: it stands still, and is tried again.
    pub fn has_stopped(&self, unit: UnitId, epoch: Epoch, error: &RunError) {
        self.now().stopped.insert(unit, (epoch, failure(error)));
    }

    /// A split is read, or is no longer to be.
    pub fn reads_on(&self, log: &LogId) {
        self.now().unread.remove(log);
    }

    /// A split cannot be read on: what needs it waits, and it is tried again.
    pub fn cannot_read(&self, log: LogId, error: &RunError) {
        self.now().unread.insert(log, failure(error));
    }

    /// Of these splits nobody has answered for some seconds, and of all others somebody has. Whoever reads them goes on asking.
    pub fn hears_nothing_of(&self, splits: &[(LogId, RunError)]) {
        self.now().unheard = splits.iter().map(|(log, error)| (log.clone(), failure(error))).collect();
    }

    /// These sinks have taken nothing for some seconds, and no other. Whoever writes to them goes on trying.
    pub fn write_nothing_to(&self, sinks: &[RunError]) {
        let failures = sinks.iter().map(failure).map(|failure| (failure.resource.clone(), failure));
        self.now().unwritten = failures.collect();
    }

    /// A unit does not run, and may be opened again. Why it had stopped stands until it [is owned](Self::owns).
    pub fn closes(&self, unit: UnitId) {
        let mut now = self.now();
        now.held.remove(&unit);
        now.refused.remove(&unit);
    }

    /// It has closed a unit and opens it no more, or has none of it.
    pub fn let_go(&self, unit: UnitId) {
        let mut now = self.now();
        now.held.remove(&unit);
        now.refused.remove(&unit);
        now.stopped.remove(&unit);
    }

    /// Whether it has a unit.
    pub fn holds_unit(&self, unit: UnitId) -> bool {
        self.now().held.contains_key(&unit)
    }

    /// Whether it has no unit.
    pub fn holds_none(&self) -> bool {
        self.now().held.is_empty()
    }

    /// It reads these splits.
    pub fn reads(&self, splits: Vec<SplitReport>) {
        self.now().splits = splits;
    }

    /// It was so busy in the last seconds.
    pub fn works(&self, shares: Shares) {
        self.now().shares = shares;
    }

    /// It has listed the splits of a source.
    pub fn lists(&self, source: &str, splits: Vec<SplitId>, complete: bool) {
        let splits = splits.iter().map(|split| ids::SplitId(split.as_str().to_owned())).collect();
        let listed = ListedSource { source: source.to_owned(), splits, complete };
        let mut now = self.now();
        now.unlisted.remove(source);
        now.listed.insert(source.to_owned(), listed);
    }

    /// The splits of a source cannot be listed: it is tried again.
    pub fn cannot_list(&self, source: &str, error: &RunError) {
        self.now().unlisted.insert(source.to_owned(), failure(error));
    }

    /// Another worker lists the splits of a source, or nobody does.
    pub fn lists_no_more(&self, source: &str) {
        self.now().unlisted.remove(source);
    }

    /// It has closed its units and waits.
    pub fn waits(&self) {
        let mut now = self.now();
        *now = Now { slot: now.slot.take(), ..Now::default() };
    }

    /// Its plan was tried, and could run.
    pub fn is_prepared(&self) {
        let mut now = self.now();
        *now = Now { slot: now.slot.take(), prepared: true, ..Now::default() };
    }

    /// It stands still.
    pub fn has_failed(&self, error: &RunError) {
        let failure = failure(error);
        let mut now = self.now();
        let (slot, mut unlisted) = (now.slot.take(), std::mem::take(&mut now.unlisted));
        // Whoever has failed of something else has not come so far as to list anything. Of two sources that cannot be listed a
        // job fails of one, and the other has not been listed.
        if !unlisted.values().any(|told| *told == failure) {
            unlisted.clear();
        }
        *now = Now { slot, unlisted, failure: Some(failure), ..Now::default() };
    }

    /// Whether it does what it was asked to do. A worker that waits is not: whoever replaces a pod waits until the new
    /// one has units.
    pub fn is_ready(&self) -> bool {
        matches!(self.now().state(), WorkerState::Running | WorkerState::Completed)
    }

    /// The pipelines that run, for metrics.
    pub fn watched(&self) -> Vec<Watched> {
        self.now().job.iter().cloned().collect()
    }

    /// What `/report` answers.
    pub fn report(&self) -> Report {
        let now = self.now();
        let counted = now.job.iter().flat_map(|job| job.counters.units());
        let owned: Vec<_> = counted.filter(|(unit, _)| now.held.contains_key(unit)).collect();
        let mut units: Vec<_> = owned.iter().map(|(unit, counters)| owned_unit(*unit, counters, &now.shares)).collect();
        units.extend(now.refused.iter().map(|(unit, refused)| UnitReport {
            unit: written(*unit),
            epoch: written_epoch(refused.assigned),
            stored_epoch: Some(written_epoch(refused.stored)),
            error: Some(refused.error.clone()),
            ..UnitReport::default()
        }));
        units.extend(now.stopped.iter().map(|(unit, (epoch, failure))| UnitReport {
            unit: written(*unit),
            epoch: written_epoch(*epoch),
            error: Some(failure.message.clone()),
            ..UnitReport::default()
        }));
        Report {
            run_id: self.run_id.clone(),
            slot: now.slot.clone(),
            plan: self.plan.clone(),
            state: now.state(),
            failures: now.failures(),
            leaving: self.leaving.load(Ordering::Relaxed),
            busy_share: now.shares.busy,
            blocked_share: now.shares.blocked,
            splits: now.splits.clone(),
            units,
            sinks: now.shares.sinks.iter().map(|(sink, rate)| SinkReport { sink: sink.clone(), rate: *rate }).collect(),
            listed: now.listed.values().cloned().collect(),
            progress: now.progress.clone(),
            commit: oldest_commit(&owned),
        }
    }
}

impl Now {
    /// Why it, or parts of it, stand still: of one resource each reason once.
    fn failures(&self) -> Vec<Failure> {
        let of_units = self.stopped.values().map(|(_, failure)| failure);
        let of_splits = self.unlisted.values().chain(self.unread.values()).chain(self.unheard.values());
        // While a unit is opened again and again its sink is told of now and then: what stopped it stands throughout.
        let all = self.failure.iter().chain(of_splits).chain(of_units).chain(self.unwritten.values());
        let mut known = BTreeSet::new();
        all.filter(|failure| known.insert((&failure.reason, &failure.resource))).take(MOST_FAILURES).cloned().collect()
    }

    fn is_sound(&self) -> bool {
        let is_read = self.unlisted.is_empty() && self.unread.is_empty() && self.unheard.is_empty();
        self.failure.is_none() && is_read && self.unwritten.is_empty() && self.stopped.is_empty()
    }

    fn state(&self) -> WorkerState {
        match () {
            () if !self.is_sound() => WorkerState::Failed,
            () if self.held.is_empty() && self.prepared => WorkerState::Prepared,
            () if self.held.is_empty() => WorkerState::Waiting,
            () if self.held.values().all(|held| *held == Held::Completed) => WorkerState::Completed,
            () => WorkerState::Running,
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

fn owned_unit(unit: UnitId, counters: &UnitCounters, shares: &Shares) -> UnitReport {
    UnitReport {
        unit: written(unit),
        epoch: written_epoch(counters.epoch),
        busy_share: shares.units.get(&unit).copied().unwrap_or_default(),
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
    // Whoever reads it says first which resource it is about.
    let (resource, message) = error.told();
    Failure { reason: reason(error).as_str().to_owned(), resource: resource.map(str::to_owned), message }
}

/// The reason that a condition gives.
fn reason(error: &RunError) -> Reason {
    match (error, error.kind()) {
        (RunError::BadRecord { .. }, _) => Reason::BadRecord,
        (RunError::RejectedRow { .. }, _) => Reason::RowsRejected,
        (RunError::Connector(Error { cause: Some(cause), .. }), _) => match cause {
            Cause::Denied => Reason::Unauthorized,
            Cause::NotFound => Reason::ReferenceNotFound,
            Cause::StateInUse => Reason::StateInUse,
        },
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

    use thalweg_core::unit::StageId;

    use super::*;

    const UNIT: UnitId = UnitId { stage: StageId(1), index: 2 };

    fn board() -> Board {
        let board = Board::new(&RunId("me/0".to_owned()), "hash");
        board.holds(Some(&Slot("p-0".to_owned())));
        board
    }

    #[test]
    fn a_worker_with_units_is_ready_and_reports_them_and_their_oldest_commit() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        let (one, two) = (UNIT, UnitId { index: 3, ..UNIT });
        let first = counters.acquired(one, Epoch(4));
        let second = counters.acquired(two, Epoch(4));
        board.runs("a.p".to_owned(), counters);
        assert!(!board.is_ready(), "without units it has nothing to do");
        [one, two].into_iter().for_each(|unit| board.owns(unit));
        assert!(board.is_ready());
        first.committed(2_000, Duration::from_millis(5));
        assert_eq!(board.report().commit, None, "a unit has not committed");
        second.committed(1_000, Duration::from_millis(7));
        let report = board.report();
        assert_eq!(report.commit.expect("all have").duration_seconds, Some(0.007));
        let units: Vec<_> = report.units.iter().map(|unit| (unit.unit.index, unit.epoch.0, unit.commits)).collect();
        assert_eq!(units, [(2, 4, 1), (3, 4, 1)]);
        assert_eq!((report.slot.expect("held").0.as_str(), report.state), ("p-0", WorkerState::Running));
        board.has_completed(one);
        assert_eq!(board.report().state, WorkerState::Running);
        board.has_completed(two);
        assert_eq!((board.report().state, board.report().units.len()), (WorkerState::Completed, 2));
        board.let_go(two);
        assert_eq!(board.report().units.len(), 1);
        assert!(!board.report().leaving);
        board.leaves();
        assert!(board.report().leaving && board.is_ready(), "it works until others have asked");
        board.waits();
        assert!(board.report().leaving);
    }

    #[test]
    fn a_unit_that_was_taken_over_is_reported_with_the_epoch_that_its_state_holds() {
        let board = board();
        board.was_refused(UNIT, Epoch(3), Epoch(7), "taken over".to_owned());
        let report = board.report();
        let unit = report.units.first().expect("refused");
        assert_eq!((unit.epoch.0, unit.stored_epoch), (3, Some(ids::Epoch(7))));
        assert_eq!((unit.error.as_deref(), report.state), (Some("taken over"), WorkerState::Waiting));
        board.waits();
        assert_eq!(board.report().units, []);
        assert!(board.report().slot.is_some());
    }

    #[test]
    fn a_worker_of_which_a_part_stands_still_says_so_and_reports_the_others() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        let other = UnitId { index: 3, ..UNIT };
        [UNIT, other].into_iter().for_each(|unit| drop(counters.acquired(unit, Epoch(4))));
        board.runs("a.p".to_owned(), counters);
        [UNIT, other].into_iter().for_each(|unit| board.owns(unit));
        board.let_go(UNIT);
        board.has_stopped(UNIT, Epoch(4), &Error::data_loss("its log", "gone").into());
        let report = board.report();
        assert_eq!(report.state, WorkerState::Failed);
        assert_eq!(report.failures.first().expect("told").reason, "DataLoss");
        let units: Vec<_> =
            report.units.iter().map(|unit| (unit.unit.index, unit.epoch.0, unit.error.is_some())).collect();
        assert_eq!(units, [(3, 4, false), (2, 4, true)]);
        board.owns(UNIT);
        assert_eq!((board.report().state, board.report().failures), (WorkerState::Running, vec![]));
        let log = LogId::Split { source: "trips".into(), split: SplitId::new("0") };
        board.cannot_read(log.clone(), &Error::external("broker", "away").into());
        assert_eq!((board.report().state, board.report().units.len()), (WorkerState::Failed, 2));
        board.reads_on(&log);
        assert_eq!(board.report().state, WorkerState::Running);
    }

    #[test]
    fn a_worker_that_waits_for_a_source_says_so_until_somebody_answers() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        drop(counters.acquired(UNIT, Epoch(4)));
        board.runs("a.p".to_owned(), counters);
        board.owns(UNIT);
        let log = |split: &str| LogId::Split { source: "trips".into(), split: SplitId::new(split) };
        let away = || RunError::from(Error::external("reading topic `t`", "away").of("StreamSource/trips"));
        board.hears_nothing_of(&[(log("0"), away()), (log("1"), away())]);
        let report = board.report();
        let [failure] = &report.failures[..] else { panic!("once for both splits: {report:?}") };
        let told = (failure.reason.as_str(), failure.resource.as_deref(), failure.message.as_str());
        assert_eq!(told, ("Unreachable", Some("StreamSource/trips"), "reading topic `t`: away"));
        assert_eq!((report.state, report.units.len()), (WorkerState::Failed, 1), "its units go on");
        // A split that is read anew, or is another worker's, is another matter.
        board.reads_on(&log("0"));
        board.hears_nothing_of(&[(log("1"), away())]);
        assert_eq!(board.report().state, WorkerState::Failed);
        board.hears_nothing_of(&[]);
        assert_eq!((board.report().state, board.report().failures), (WorkerState::Running, vec![]));
    }

    #[test]
    fn a_worker_whose_sink_takes_nothing_says_so_until_it_writes_again() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        drop(counters.acquired(UNIT, Epoch(4)));
        board.runs("a.p".to_owned(), counters);
        board.owns(UNIT);
        let away = |sink: &str| RunError::from(Error::external("writing to topic `t`", "away").of(sink));
        board.write_nothing_to(&[away("StreamSink/out"), away("StreamSink/letters")]);
        let report = board.report();
        let told: Vec<_> = report.failures.iter().map(|failure| failure.resource.as_deref()).collect();
        assert_eq!(told, [Some("StreamSink/letters"), Some("StreamSink/out")], "in an order of their own");
        let failure = report.failures.first().expect("told");
        assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("Unreachable", "writing to topic `t`: away"));
        assert_eq!((report.state, report.units.len()), (WorkerState::Failed, 1), "its units go on");
        // Its unit gives up for a while, and says the same.
        board.closes(UNIT);
        board.has_stopped(UNIT, Epoch(4), &away("StreamSink/out"));
        assert_eq!(board.report().failures.len(), 2, "once of each resource");
        // What is told does not change each time that the unit is opened in vain.
        let stopped = RunError::from(Error::external("acquiring a unit", "away").of("StreamSink/out"));
        board.has_stopped(UNIT, Epoch(4), &stopped);
        for waiting in [vec![], vec![away("StreamSink/out")]] {
            board.write_nothing_to(&waiting);
            let told: Vec<_> = board.report().failures.into_iter().map(|failure| failure.message).collect();
            assert_eq!(told, ["acquiring a unit: away"], "{waiting:?}");
        }
        board.owns(UNIT);
        board.write_nothing_to(&[]);
        assert_eq!((board.report().state, board.report().failures), (WorkerState::Running, vec![]));
    }

    #[test]
    fn what_has_stopped_a_unit_is_told_while_it_is_opened_again_and_until_it_is_open_or_given_up() {
        let (board, counters) = (board(), Arc::new(Counters::default()));
        drop(counters.acquired(UNIT, Epoch(4)));
        board.runs("a.p".to_owned(), counters);
        let reasons = || board.report().failures.into_iter().map(|failure| failure.reason).collect::<Vec<_>>();
        let ways: [fn(&Board, UnitId); 2] = [Board::owns, Board::let_go];
        for ends in ways {
            board.owns(UNIT);
            board.closes(UNIT);
            board.has_stopped(UNIT, Epoch(4), &Error::data_loss("its log", "gone").into());
            // It is opened, which takes a while, and is gone still.
            board.closes(UNIT);
            assert_eq!(reasons(), ["DataLoss"]);
            assert_eq!((board.report().state, board.report().units.len()), (WorkerState::Failed, 1));
            board.has_stopped(UNIT, Epoch(4), &Error::data_loss("its log", "gone").into());
            assert_eq!(reasons(), ["DataLoss"]);
            board.closes(UNIT);
            ends(&board, UNIT);
            assert_eq!(reasons(), [""; 0]);
        }
        board.has_stopped(UNIT, Epoch(4), &Error::data_loss("its log", "gone").into());
        board.was_refused(UNIT, Epoch(4), Epoch(7), "taken over".to_owned());
        assert_eq!((reasons().len(), board.report().units.len()), (0, 1), "it is another worker's by now");
    }

    #[test]
    fn a_worker_tells_all_that_is_amiss_each_once() {
        let board = board();
        let log = |split: u32| LogId::Split { source: "trips".into(), split: SplitId::new(split.to_string()) };
        let of =
            |source: u32| RunError::from(Error::external("topic", "away").of(&format!("StreamSource/{source:02}")));
        (0..2).for_each(|split| board.cannot_read(log(split), &of(0)));
        board.has_stopped(UNIT, Epoch(4), &Error::data_loss("sink", "gone").of("StreamSink/out").into());
        let told: Vec<_> = board.report().failures.into_iter().filter_map(|failure| failure.resource).collect();
        assert_eq!(told, ["StreamSource/00", "StreamSink/out"]);
        (0..20).for_each(|split| board.cannot_read(log(split), &of(split)));
        assert_eq!(board.report().failures.len(), MOST_FAILURES);
    }

    #[test]
    fn a_plan_that_was_tried_is_reported_until_it_runs_or_is_no_longer_to() {
        let board = board();
        board.has_failed(&Error::user("topic", "missing").into());
        board.is_prepared();
        assert_eq!((board.report().state, board.report().failures), (WorkerState::Prepared, vec![]));
        assert!(!board.is_ready(), "it has no units");
        board.runs("a.p".to_owned(), Arc::new(Counters::default()));
        assert_eq!(board.report().state, WorkerState::Waiting);
        board.is_prepared();
        board.waits();
        assert_eq!(board.report().state, WorkerState::Waiting);
    }

    #[test]
    fn what_keeps_a_source_from_being_listed_is_told_from_job_to_job_until_it_is_listed() {
        let board = board();
        let told = || board.report().failures.into_iter().map(|failure| failure.reason).collect::<Vec<_>>();
        let missing =
            || RunError::from(Error::user("topic", "missing").because(Cause::NotFound).of("StreamSource/trips"));
        let ways: [fn(&Board); 3] = [
            |board: &Board| board.lists("trips", Vec::new(), false),
            |board: &Board| board.lists_no_more("trips"),
            Board::waits,
        ];
        for ends in ways {
            board.runs("a.p".to_owned(), Arc::new(Counters::default()));
            assert_eq!(told(), [""; 0]);
            for _ in 0..3 {
                board.cannot_list("trips", &missing());
                assert_eq!(told(), ["ReferenceNotFound"]);
                board.has_failed(&missing());
                assert_eq!(told(), ["ReferenceNotFound"], "once");
                // The job begins again, and looks for it for some seconds.
                board.runs("a.p".to_owned(), Arc::new(Counters::default()));
                assert_eq!((told(), board.report().state), (vec!["ReferenceNotFound".to_owned()], WorkerState::Failed));
            }
            ends(&board);
            assert_eq!((told().len(), board.report().state), (0, WorkerState::Waiting));
        }
        // Nobody knows of the source any more where something else comes first.
        board.cannot_list("trips", &missing());
        board.has_failed(&Error::external("broker", "away").of("StreamSink/out").into());
        assert_eq!(told(), ["Unreachable"]);
    }

    #[test]
    fn two_sources_that_cannot_be_listed_are_told_both_whichever_of_them_the_job_has_failed_of() {
        let board = board();
        let missing = |source: &str| {
            let error = Error::user("topic", "missing").because(Cause::NotFound);
            RunError::from(error.of(&format!("StreamSource/{source}")))
        };
        let told = || {
            let told = board.report().failures.into_iter().filter_map(|failure| failure.resource);
            told.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let both = ["StreamSource/trips", "StreamSource/zones"];
        for source in ["trips", "zones"] {
            board.runs("a.p".to_owned(), Arc::new(Counters::default()));
            board.cannot_list(source, &missing(source));
            board.has_failed(&missing(source));
        }
        for source in ["trips", "zones", "zones", "trips"] {
            assert_eq!(told(), both);
            board.runs("a.p".to_owned(), Arc::new(Counters::default()));
            assert_eq!(told(), both, "the job begins again");
            board.cannot_list(source, &missing(source));
            board.has_failed(&missing(source));
        }
        // One of them is there.
        board.runs("a.p".to_owned(), Arc::new(Counters::default()));
        board.lists("trips", Vec::new(), false);
        board.cannot_list("zones", &missing("zones"));
        board.has_failed(&missing("zones"));
        assert_eq!(told(), ["StreamSource/zones"]);
    }

    #[test]
    fn what_is_listed_and_read_is_reported_by_source() {
        let board = board();
        let split = |name: &str| SplitId::new(name);
        board.lists("trips", vec![split("1"), split("0")], true);
        board.reads(vec![SplitReport { split: ids::SplitId("1".to_owned()), ..SplitReport::default() }]);
        board.keeps_in(Some("07".to_owned()));
        let report = board.report();
        assert_eq!(report.progress.as_deref(), Some("07"));
        let listed = report.listed.first().expect("one source");
        assert!(listed.complete && listed.splits.iter().map(|split| split.0.as_str()).eq(["1", "0"]));
        assert_eq!(report.splits.first().map(|split| split.split.0.as_str()), Some("1"));
    }

    #[test]
    fn what_stops_a_worker_is_named_by_the_reason_of_a_condition() {
        let of = |error: Error| reason(&RunError::Connector(error));
        assert_eq!(of(Error::data_loss("log", "gone")), Reason::DataLoss);
        assert_eq!(of(Error::external("broker", "away")), Reason::Unreachable);
        assert_eq!(of(Error::user("topic", "not allowed as a name")), Reason::InvalidSpec);
        assert_eq!(of(Error::user("topic", "missing").because(Cause::NotFound)), Reason::ReferenceNotFound);
        assert_eq!(of(Error::user("topic", "not allowed").because(Cause::Denied)), Reason::Unauthorized);
        assert_eq!(of(Error::user("state", "another's").because(Cause::StateInUse)), Reason::StateInUse);
    }

    #[test]
    fn what_stops_a_worker_names_its_source_or_sink() {
        let told = failure(&Error::external("broker", "away").of("StreamSink/counts").into());
        assert_eq!(told.resource.as_deref(), Some("StreamSink/counts"));
        assert_eq!((told.reason.as_str(), told.message.as_str()), ("Unreachable", "broker: away"));
        // A text of somebody else may name it, too.
        let told = failure(&Error::external("broker", "StreamSink/counts: away").of("StreamSink/counts").into());
        assert_eq!(told.message, "broker: StreamSink/counts: away");
        let rejected = RunError::RejectedRow {
            resource: "StreamSink/counts".to_owned(),
            message: "too long".to_owned(),
            raw: "{}".to_owned(),
        };
        let told = failure(&rejected);
        assert!(told.message.starts_with("too long\n  found: {}\n  help: "), "{}", told.message);
        assert_eq!(rejected.to_string(), format!("StreamSink/counts: {}", told.message));
    }
}
