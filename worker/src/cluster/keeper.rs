//! One unit, from assignment to assignment: asked for, opened, run, handed over. What is done next is decided by
//! [`thalweg_core::ownership::tenure`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::ErrorKind;
use thalweg_core::ownership::assignment::{Slot, UnitAssignment};
use thalweg_core::ownership::tenure::{
    AfterLoss, Answer, Basis, HANDOFF_LIMIT, Reply, Step, Tenure, after_loss, asked_to_release, replied, step,
};
use thalweg_core::unit::{Epoch, UnitId};
use thalweg_exchange::hub::Hub;
use thalweg_exchange::port::ReleaseRequest;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::backoff::Backoff;
use super::board::Board;
use super::table::Table;
use super::view::View;
use crate::runtime::ownership::Ownership;
use crate::runtime::{Done, Node, Restored, Result, RunError, joined, unit_span, wait};

/// How long a fresh read of the assignment may take, and how soon one that failed is tried again.
const READ: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// How long a unit's state may be read before its owner is asked for it anyway.
const WARMING_LIMIT: Duration = Duration::from_secs(60);

/// What the keepers of one worker share.
#[derive(Clone)]
pub struct Shared {
    /// What units need.
    pub node: Arc<Node>,
    /// How other workers are reached.
    pub hub: Hub,
    /// The slot that the worker holds.
    pub me: Slot,
    /// Where assignments come from, past every watch.
    pub table: Arc<dyn Table>,
    /// What is told of the units.
    pub board: Arc<Board>,
    /// Where time comes from.
    pub clock: SharedClock,
}

/// What a keeper is told.
pub enum Told {
    /// Another worker asks for the unit.
    Release(ReleaseRequest),
    /// The unit cannot go on, though its task has not ended.
    Failed(RunError),
}

/// Keeps one unit. What fails of it is reported and tried again, and stops no other.
pub struct Keeper {
    shared: Shared,
    unit: UnitId,
    view: watch::Receiver<Arc<View>>,
    told: mpsc::UnboundedReceiver<Told>,
    /// Ends it in order: what runs commits and closes.
    stop: CancellationToken,
    tenure: Tenure,
    /// The assignment that the tenure belongs to.
    uid: String,
    running: Option<Running>,
    failures: Backoff,
    /// The answer of the owner before, where it was asked.
    asked: Option<BoxFuture<'static, Reply>>,
    warmth: Warmth,
}

/// What is known of the unit's state before it is owned: the owner before works on while it is read.
enum Warmth {
    /// Nothing.
    Cold,
    /// It is being read for the sake of this epoch.
    Warming(Epoch, AbortOnDropHandle<Option<Restored>>),
    /// It was read, or cannot be.
    Warm(Epoch, Option<Box<Restored>>),
}

struct Running {
    stop: CancellationToken,
    /// All its input was read and delivered.
    completed: Arc<Notify>,
    since: Duration,
    task: AbortOnDropHandle<Result<()>>,
}

impl Keeper {
    /// A unit that this worker has nothing of yet.
    pub fn new(
        shared: Shared,
        unit: UnitId,
        view: watch::Receiver<Arc<View>>,
        told: mpsc::UnboundedReceiver<Told>,
        stop: CancellationToken,
    ) -> Self {
        let uid = view.borrow().uid.clone();
        Self {
            shared,
            unit,
            view,
            told,
            stop,
            tenure: Tenure::Free,
            uid,
            running: None,
            failures: Backoff::default(),
            asked: None,
            warmth: Warmth::Cold,
        }
    }

    /// Keeps the unit until it is told to stop.
    ///
    /// # Errors
    /// What only a new start of the whole job can mend, or a person.
    pub async fn run(mut self) -> Result<()> {
        while !self.stop.is_cancelled() {
            let view = self.view.borrow_and_update().clone();
            let basis = Basis::of(&self.uid, &view.uid);
            if basis == Basis::AnotherAssignment {
                self.close().await;
                self.uid = view.uid.clone();
            }
            self.tenure = self.tenure.under(basis);
            let (row, now) = (view.row(self.unit), self.shared.clock.monotonic());
            if row.owner != Some(self.shared.me) {
                self.warmth = Warmth::Cold;
            }
            match step(self.tenure, row, self.shared.me, now) {
                Step::Ask(previous) if self.is_warm(row.epoch) => self.ask(&view, previous, row.epoch, now).await,
                Step::Wait | Step::Ask(_) => self.wait(now).await?,
                Step::Open(epoch) => self.open(epoch).await?,
                Step::Release => {
                    self.close().await;
                    self.tenure = Tenure::Released { epoch: row.epoch };
                }
                Step::ReadAnew => self.read_anew(row.epoch).await,
            }
        }
        self.finish().await
    }

    async fn wait(&mut self, now: Duration) -> Result<()> {
        let limit = match self.tenure {
            Tenure::Asked { at, .. } => Some((at + HANDOFF_LIMIT).saturating_sub(now)),
            Tenure::Failed { until, .. } => Some(until.saturating_sub(now)),
            _ => None,
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            Ok(()) = self.view.changed() => {}
            Some(told) = self.told.recv() => match told {
                Told::Release(request) => self.answer(request).await,
                Told::Failed(error) => self.ended(Err(error)).await?,
            },
            event = event(&mut self.running) => match event {
                Event::Completed => self.shared.board.has_completed(self.unit),
                Event::Ended(ended) => self.ended(ended).await?,
            },
            reply = answered(&mut self.asked) => self.tenure = replied(self.tenure, reply),
            () = warmed(&mut self.warmth) => {}
            () = wait(limit) => {}
        }
        Ok(())
    }

    /// Whether the unit's state was read as far as it can be before it is owned; begins to read it.
    fn is_warm(&mut self, epoch: Epoch) -> bool {
        match &self.warmth {
            Warmth::Warm(of, _) if *of == epoch => return true,
            Warmth::Warming(of, _) if *of == epoch => return false,
            _ => {}
        }
        let warming = warm(self.shared.node.clone(), self.unit);
        let task = tokio::spawn(warming.instrument(unit_span(&self.shared.node.job, self.unit)));
        self.warmth = Warmth::Warming(epoch, AbortOnDropHandle::new(task));
        false
    }

    async fn ask(&mut self, view: &View, previous: Slot, epoch: Epoch, now: Duration) {
        self.close().await;
        self.tenure = Tenure::Asked { epoch, at: now };
        let Some(run) = view.runs.get(&previous).cloned() else {
            // Its owner is gone from the assignment.
            self.tenure = replied(self.tenure, Reply::NobodyThere);
            return;
        };
        let (hub, unit, uid) = (self.shared.hub.clone(), self.unit, self.uid.clone());
        self.asked = Some(Box::pin(async move { hub.ask_to_release(&run, unit, epoch, &uid).await }));
    }

    /// Opens the unit's state as its writer. A newer assignment interrupts it, as a crash would.
    async fn open(&mut self, epoch: Epoch) -> Result<()> {
        self.end().await;
        let (stop, node) = (CancellationToken::new(), self.shared.node.clone());
        let completed = Arc::new(Notify::new());
        let warmed = match std::mem::replace(&mut self.warmth, Warmth::Cold) {
            Warmth::Warm(_, restored) => restored.map(|restored| *restored),
            Warmth::Cold | Warmth::Warming(..) => None,
        };
        let end = (stop.clone(), Done::Stay(completed.clone()));
        let acquiring = node.acquire(self.unit, Ownership::Assigned(epoch), warmed, end);
        tokio::pin!(acquiring);
        let acquired = loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                Ok(()) = self.view.changed() => {
                    if !self.view.borrow().row(self.unit).names(self.shared.me, epoch) {
                        return Ok(());
                    }
                }
                acquired = &mut acquiring => break acquired,
            }
        };
        match acquired {
            Ok(unit) => {
                self.tenure = Tenure::Open { epoch };
                self.shared.board.owns(self.unit);
                let span = unit_span(&node.job, self.unit);
                let task = AbortOnDropHandle::new(tokio::spawn(unit.run().instrument(span)));
                let since = self.shared.clock.monotonic();
                self.running = Some(Running { stop, completed, since, task });
                Ok(())
            }
            Err(error) => self.lost(epoch, error).await,
        }
    }

    async fn lost(&mut self, epoch: Epoch, error: RunError) -> Result<()> {
        let now = self.shared.clock.monotonic();
        let ran = self.running.as_ref().map_or(Duration::ZERO, |running| now.saturating_sub(running.since));
        self.end().await;
        match &error {
            RunError::Superseded { stored, .. } => {
                tracing::warn!(unit = %self.unit, %error, "not taken");
                self.shared.board.was_refused(self.unit, epoch, *stored, error.to_string());
                self.tenure = Tenure::Refused { epoch };
            }
            _ if error.kind() == ErrorKind::Fenced => {
                tracing::info!(unit = %self.unit, %error, "another owner came, or seemed to");
                self.shared.board.let_go(self.unit);
                self.tenure = Tenure::Lost { epoch };
            }
            _ if self.failures.bears(&error) => {
                let pause = self.failures.failed(ran);
                tracing::error!(unit = %self.unit, %error, ?pause, "stands still; tried again after");
                self.shared.board.has_stopped(self.unit, epoch, &error);
                self.tenure = Tenure::Failed { epoch, until: now + pause };
            }
            _ => return Err(error),
        }
        Ok(())
    }

    /// What runs has ended by itself, or cannot go on. What is told of a life before means nothing.
    async fn ended(&mut self, ended: Result<()>) -> Result<()> {
        let Tenure::Open { epoch } = self.tenure else { return Ok(()) };
        let untold = || RunError::Internal(format!("unit {} ended untold", self.unit));
        self.lost(epoch, ended.err().unwrap_or_else(untold)).await
    }

    /// Another worker asks for the unit.
    async fn answer(&mut self, request: ReleaseRequest) {
        let basis = Basis::of(&request.assignment, &self.uid);
        match asked_to_release(self.tenure, request.epoch, basis) {
            Answer::Ignore => return,
            Answer::CommitThenRelease => self.hand_over().await,
            Answer::Released => {}
        }
        if self.tenure.epoch().is_none_or(|epoch| epoch < request.epoch) {
            self.close().await;
            self.tenure = Tenure::Released { epoch: request.epoch };
        }
        // Whoever asked may have gone.
        let _ = request.answer.send(());
    }

    /// Commits and closes. If that fails the next owner goes on from the commit before.
    async fn hand_over(&mut self) {
        if let Err(error) = self.commit_and_close().await {
            tracing::warn!(unit = %self.unit, %error, "closing a unit");
        }
    }

    async fn commit_and_close(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.stop.cancel();
        joined(running.task.await)
    }

    /// Ends what runs, and gives the unit up: nothing is told of it any more.
    async fn close(&mut self) {
        self.end().await;
        self.shared.board.let_go(self.unit);
    }

    /// Ends what runs without writing, and waits until it is gone: what is opened next would share its transaction, and with
    /// it rows that were sent and not committed. What had stopped it is told on.
    async fn end(&mut self) {
        self.asked = None;
        if let Some(Running { task, .. }) = self.running.take().filter(|running| !running.task.is_finished()) {
            task.abort();
            // Cancelled, as was asked for.
            let _ = task.await;
        }
        self.shared.board.closes(self.unit);
        self.shared.node.job.counters.released(self.unit);
    }

    async fn read_anew(&mut self, epoch: Epoch) {
        let read = tokio::select! {
            () = self.stop.cancelled() => return,
            read = tokio::time::timeout(READ.0, self.shared.table.read()) => read,
        };
        match read {
            Ok(Ok(published)) => {
                let view = published.as_ref().map(View::new).unwrap_or_default();
                // Of another object the watch will bring it.
                let row = (view.uid == self.uid).then(|| view.row(self.unit));
                self.tenure = after_reading(&self.shared.board, self.unit, row, (self.shared.me, epoch));
            }
            Ok(Err(error)) => {
                tracing::warn!(unit = %self.unit, %error, "the unit was taken over, or was not");
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(READ.1) => {}
                }
            }
            Err(_) => tracing::warn!(unit = %self.unit, "reading the assignment: no answer"),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        let ended = self.commit_and_close().await;
        self.close().await;
        match ended {
            // Its new owner has what was committed.
            Err(error) if error.kind() != ErrorKind::Fenced => Err(error),
            _ => Ok(()),
        }
    }
}

/// What follows for a unit that was lost at an epoch, by a row that was read since, where there is one. Of a unit that this worker
/// opens no more nothing is told: the watch may bring its next owner only later, and then there is nothing to be closed.
fn after_reading(board: &Board, unit: UnitId, row: Option<UnitAssignment>, (me, epoch): (Slot, Epoch)) -> Tenure {
    let known = match row.map(|row| (row.epoch, after_loss(row, me, epoch))) {
        Some((_, AfterLoss::Reopen)) => return Tenure::Cleared { epoch },
        Some((known, AfterLoss::Release)) => known,
        None => epoch,
    };
    board.let_go(unit);
    Tenure::Released { epoch: known }
}

enum Event {
    Completed,
    Ended(Result<()>),
}

/// What happens to what runs; nothing, where nothing does.
async fn event(running: &mut Option<Running>) -> Event {
    let Some(running) = running else { return std::future::pending().await };
    tokio::select! {
        () = running.completed.notified() => Event::Completed,
        ended = &mut running.task => Event::Ended(joined(ended)),
    }
}

/// Reads a unit's state ahead. What keeps it from being read shows again, and counts, once the unit is opened.
async fn warm(node: Arc<Node>, unit: UnitId) -> Option<Restored> {
    match tokio::time::timeout(WARMING_LIMIT, node.warm(unit)).await {
        Ok(Ok(restored)) => restored,
        Ok(Err(error)) => {
            tracing::info!(%unit, %error, "not read ahead");
            None
        }
        Err(_) => {
            tracing::info!(%unit, seconds = WARMING_LIMIT.as_secs(), "not read ahead within");
            None
        }
    }
}

/// The end of reading ahead; never, where nothing is read.
async fn warmed(warmth: &mut Warmth) {
    let Warmth::Warming(epoch, task) = warmth else { return std::future::pending().await };
    // A task that has stopped has said why.
    *warmth = Warmth::Warm(*epoch, task.await.ok().flatten().map(Box::new));
}

async fn answered(asked: &mut Option<BoxFuture<'static, Reply>>) -> Reply {
    let Some(answer) = asked else { return std::future::pending().await };
    let reply = answer.await;
    *asked = None;
    reply
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::Error;
    use thalweg_core::unit::{RunId, StageId};

    use super::*;

    const UNIT: UnitId = UnitId { stage: StageId(1), index: 2 };

    #[test]
    fn what_had_stopped_a_unit_is_told_no_more_once_a_fresh_read_says_that_it_is_anothers() {
        let (me, other, epoch) = (Slot(1), Slot(2), Epoch(4));
        let row = |owner, epoch| Some(UnitAssignment { owner: Some(owner), epoch, previous: None });
        for (row, tenure) in [
            (row(me, epoch), Tenure::Cleared { epoch }),
            (row(other, Epoch(5)), Tenure::Released { epoch: Epoch(5) }),
            (None, Tenure::Released { epoch }),
        ] {
            let board = Board::new(&RunId("me/0".to_owned()), "hash");
            board.has_stopped(UNIT, epoch, &Error::external("broker", "away").into());
            assert_eq!(after_reading(&board, UNIT, row, (me, epoch)), tenure);
            let is_told = !board.report().failures.is_empty();
            assert_eq!(is_told, matches!(tenure, Tenure::Cleared { .. }), "{tenure:?}");
        }
    }
}
