//! The loop of a worker: hold a slot, hear the assignment, run the job that it asks for.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use thalweg_core::clock::SharedClock;
use thalweg_core::unit::RunId;
use thalweg_crds::ids::Slot;
use thalweg_crds::statements::Made;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Data;
use super::backoff::Backoff;
use super::board::Board;
use super::duty::{Duty, Me, Why, duty};
use super::error::ClusterError;
use super::launch::Launcher;
use super::lease::{Leases, Written, seen};
use super::leaving::Leaving;
use super::part::{Ending, Part};
use super::slot::{Choice, Watch, renew_every};
use super::step::{Phase, Step, after, next_step};
use super::table::{Published, Table, newer};
use super::trial;
use super::view::{self, View};
use crate::runtime::{RunError, wait};

/// How often a worker without a slot looks for one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// How long one answer of the API server, or one turn in a folder, may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A worker with everything that it touches.
pub struct Worker {
    /// Its slots.
    pub leases: Arc<Leases>,
    /// Its assignment.
    pub table: Arc<dyn Table>,
    /// Its job.
    pub launcher: Arc<Launcher>,
    /// What it says of itself.
    pub board: Arc<Board>,
    /// Where other workers reach it.
    pub data: Arc<Data>,
    /// This process.
    pub run_id: RunId,
    /// Where time comes from.
    pub clock: SharedClock,
    /// How long the process may live once it was told to end.
    pub grace: Duration,
}

/// A job that runs or is being started.
struct Job {
    views: watch::Sender<Arc<View>>,
    end: Ending,
    task: JoinHandle<Result<(), RunError>>,
}

/// Holding one slot.
struct Tenure<'a> {
    worker: &'a Worker,
    me: Me,
    changes: BoxStream<'static, Result<Option<Published>, ClusterError>>,
    heard: Option<Published>,
    /// What the assignment asks for.
    asked: Duty,
    /// That, or nothing where the slot is to be left.
    duty: Duty,
    phase: Phase,
    job: Option<Job>,
    trial: Option<AbortOnDropHandle<()>>,
    /// Cancelled where the slot is lost.
    lost: CancellationToken,
    /// Cancelled where the process is to end: then others are waited for who take its units.
    terminate: CancellationToken,
    /// How it leaves, once the process is to end and its job goes on.
    leaving: Option<Leaving>,
}

impl Worker {
    /// Works until `terminate` is cancelled. A slot that is lost is left, and another one is looked for.
    pub async fn run(&self, terminate: &CancellationToken) {
        while let Some(lease) = self.find_slot(terminate).await {
            let slot = seen(&lease).slot;
            tracing::info!(slot = slot.0, "holding a slot");
            self.board.holds(Some(&slot));
            let (left, lost) = (CancellationToken::new(), CancellationToken::new());
            let renewing = renew(self.leases.clone(), lease, left.clone(), lost.clone());
            let renewing = tokio::spawn(renewing.in_current_span());
            self.tenure(slot, lost, terminate.clone()).work().await;
            left.cancel();
            self.board.holds(None);
            if let Ok(Some(lease)) = renewing.await {
                self.release(&lease).await;
            }
        }
    }

    /// `None` where the process is to end.
    async fn find_slot(&self, terminate: &CancellationToken) -> Option<Lease> {
        let mut watch = Watch::default();
        let mut said = Said::default();
        loop {
            let found = tokio::select! {
                () = terminate.cancelled() => return None,
                found = tokio::time::timeout(ANSWER, self.claim(&mut watch)) => found,
            };
            match found.unwrap_or_else(|_| Err(silent("looking for a slot"))) {
                Ok(Some(lease)) => return Some(lease),
                Ok(None) => said.once("every slot is held; waiting for one"),
                Err(error) => said.once(&error.to_string()),
            }
            tokio::select! {
                () = terminate.cancelled() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn claim(&self, watch: &mut Watch) -> Result<Option<Lease>, ClusterError> {
        let leases = self.leases.all().await?;
        let all: Vec<_> = leases.iter().map(seen).collect();
        let card = self.leases.card();
        let Choice::Claim(slot) = watch.choose(&all, &card.run_id, &card.pod_uid, self.clock.monotonic()) else {
            return Ok(None);
        };
        let Some(lease) = leases.iter().find(|lease| seen(lease).slot == slot) else { return Ok(None) };
        match self.leases.claim(lease).await? {
            Written::Done(lease) => Ok(Some(*lease)),
            // Another worker was quicker: there may be one more.
            Written::Overtaken | Written::Gone => Ok(None),
        }
    }

    async fn release(&self, lease: &Lease) {
        match tokio::time::timeout(ANSWER, self.leases.release(lease)).await {
            Ok(Ok(_)) => tracing::info!(slot = seen(lease).slot.0, "left the slot"),
            Ok(Err(error)) => tracing::warn!(%error, "leaving the slot; it is free once its Lease has run out"),
            Err(_) => tracing::warn!("leaving the slot: no answer; it is free once its Lease has run out"),
        }
    }

    fn tenure(&self, slot: Slot, lost: CancellationToken, terminate: CancellationToken) -> Tenure<'_> {
        let me = Me { slot, run_id: self.run_id.clone(), plan: self.launcher.plan_hash().to_owned() };
        Tenure {
            worker: self,
            me,
            changes: self.table.changes(),
            heard: None,
            asked: Duty::Rest(Why::NoAssignment),
            duty: Duty::Rest(Why::NoAssignment),
            phase: Phase::Idle,
            job: None,
            trial: None,
            lost,
            terminate,
            leaving: None,
        }
    }
}

impl Tenure<'_> {
    /// Does what the assignment asks for, until the slot is to be left; then everything is committed and closed.
    async fn work(mut self) {
        let mut said = Said::default();
        loop {
            let (is_lost, is_told) = (self.lost.is_cancelled(), self.terminate.is_cancelled());
            self.see_duty(is_lost || is_told);
            self.see_trial();
            let now = self.worker.clock.monotonic();
            let mut until = None;
            match next_step(self.phase, &self.duty, now) {
                Step::Wait => {}
                Step::WaitUntil(time) => until = Some(time - now),
                Step::Start => self.start(),
                Step::Stop => self.stop(is_told && !is_lost),
            }
            if let Some(job) = self.job.as_ref().filter(|_| is_lost) {
                // Its units are about to be others': nobody will ask.
                job.end.now.cancel();
            }
            if (is_lost || is_told) && self.job.is_none() {
                return;
            }
            tokio::select! {
                () = self.lost.cancelled(), if !is_lost => {}
                () = self.terminate.cancelled(), if !is_told => {}
                Some(heard) = self.changes.next() => match heard {
                    Ok(heard) => self.heard = newer(self.heard.take(), heard),
                    // What is known goes on.
                    Err(error) => said.once(&error.to_string()),
                },
                end = ended(&mut self.job) => self.end(end),
                () = wait(until) => {}
            }
        }
    }

    /// What was published. The peers that it names may ask for the report from now on.
    fn view(&self, heard: &Published) -> Arc<View> {
        let view = View::new(heard);
        self.worker.data.answered.name(&view.peers);
        Arc::new(view)
    }

    fn see_duty(&mut self, leaves: bool) {
        let asked = duty(self.heard.as_ref().map(|heard| &heard.spec), &self.me);
        if let (Duty::Serve, Some(job), Some(heard)) = (&asked, &self.job, &self.heard) {
            let view = self.view(heard);
            job.views.send_if_modified(|known| {
                let is_news = *known != view;
                if is_news {
                    *known = view;
                }
                is_news
            });
        }
        self.asked = asked;
        self.see_leaving();
        let duty = if leaves { Duty::Rest(Why::Leaving) } else { self.asked.clone() };
        if duty == self.duty {
            return;
        }
        match &duty {
            Duty::Rest(why) => tracing::info!(%why, "nothing to do"),
            Duty::Serve => tracing::info!("named by the assignment"),
        }
        self.duty = duty;
        self.trial = None;
        if self.job.is_none() {
            self.worker.board.waits();
        }
    }

    /// A job that leaves is told for how long it works on: what was heard since may change that.
    fn see_leaving(&self) {
        let (Some(leaving), Some(job)) = (self.leaving, &self.job) else { return };
        let until = Some(leaving.works_until(&self.asked));
        job.end.leaves.send_if_modified(|known| std::mem::replace(known, until) != until);
    }

    /// A plan is tried while another one runs.
    fn see_trial(&mut self) {
        match (self.job.is_none() && matches!(self.duty, Duty::Rest(Why::OtherPlan(_))), &self.trial) {
            (true, None) => {
                let made = self.heard.as_ref().and_then(made);
                self.trial = Some(trial::begin(&self.worker.launcher, &self.worker.board, made));
            }
            (false, Some(_)) => self.trial = None,
            _ => {}
        }
    }

    fn start(&mut self) {
        let failures = match self.phase {
            Phase::Failed { failures, .. } => failures,
            _ => Backoff::default(),
        };
        self.phase = Phase::Running { failures, since: self.worker.clock.monotonic() };
        let (Some(heard), Some(slot)) = (&self.heard, view::slot(&self.me.slot)) else { return };
        let (views, seen) = watch::channel(self.view(heard));
        let end = Ending::default();
        let span = tracing::info_span!("pipeline", pipeline = self.worker.launcher.name());
        let part = Part {
            launcher: self.worker.launcher.clone(),
            made: made(heard),
            progress: heard.spec.progress.clone(),
            table: self.worker.table.clone(),
            board: self.worker.board.clone(),
            data: self.worker.data.clone(),
            run_id: self.worker.run_id.clone(),
            clock: self.worker.clock.clone(),
            me: slot,
            end: end.clone(),
        };
        self.job = Some(Job { views, end, task: tokio::spawn(part.run(seen).instrument(span)) });
    }

    /// Has the job end: once others have asked for its units, where it `hands_over`, or at once.
    fn stop(&mut self, hands_over: bool) {
        self.phase = Phase::Stopping;
        let Some(job) = &self.job else { return };
        if !hands_over {
            tracing::info!("committing and closing the units");
            return job.end.now.cancel();
        }
        let leaving = Leaving { since: self.worker.clock.monotonic(), grace: self.worker.grace };
        let most = leaving.works_until(&self.asked).saturating_sub(leaving.since);
        tracing::info!(most_seconds = most.as_secs(), "working on until other workers ask for the units");
        self.worker.board.leaves();
        self.leaving = Some(leaving);
        self.see_leaving();
    }

    fn end(&mut self, end: Result<(), RunError>) {
        self.job = None;
        self.phase = after(self.phase, &end, self.worker.clock.monotonic());
        match (self.phase, &end) {
            (Phase::Idle, Err(error)) => {
                tracing::warn!(%error, "the units were closed");
                self.worker.board.waits();
            }
            (_, Err(error)) => {
                tracing::error!(%error, "standing still");
                self.worker.board.has_failed(error);
            }
            (_, Ok(())) => {
                tracing::info!("the units were closed");
                self.worker.board.waits();
            }
        }
    }
}

/// When the plan of an assignment was made.
fn made(heard: &Published) -> Option<Made> {
    heard.spec.numbers.as_ref().map(|numbers| Made::by(numbers, &heard.uid))
}

/// Renews a Lease until the slot is `left`, also while the worker hands over what it has; the Lease as it was written last,
/// or `None` where it is `lost`, which is a reason to leave. An API server that is away is none: epochs decide who may write.
async fn renew(leases: Arc<Leases>, lease: Lease, left: CancellationToken, lost: CancellationToken) -> Option<Lease> {
    let every = renew_every(seen(&lease).lasts);
    let (mut lease, mut pause) = (lease, every);
    let mut said = Said::default();
    loop {
        tokio::select! {
            () = left.cancelled() => return Some(lease),
            () = tokio::time::sleep(pause) => {}
        }
        let written = tokio::time::timeout(ANSWER, leases.renew(&lease)).await;
        match written.unwrap_or_else(|_| Err(silent("renewing the slot's Lease"))) {
            Ok(Written::Done(renewed)) => (lease, pause, said) = (*renewed, every, Said::default()),
            Ok(Written::Overtaken | Written::Gone) => {
                tracing::warn!(slot = seen(&lease).slot.0, "another worker holds the slot, or it is gone");
                lost.cancel();
                return None;
            }
            Err(error) => {
                said.once(&error.to_string());
                pause = RENEW_AGAIN.min(every);
            }
        }
    }
}

fn silent(what: &str) -> ClusterError {
    ClusterError::Api { what: what.to_owned(), said: format!("no answer within {} s", ANSWER.as_secs()), hint: None }
}

/// The end of a job; never, where there is none.
async fn ended(job: &mut Option<Job>) -> Result<(), RunError> {
    let Some(job) = job else { return std::future::pending().await };
    let end = (&mut job.task).await;
    end.unwrap_or_else(|error| Err(RunError::Internal(format!("the job stopped: {error}"))))
}

/// Says a thing once, not at each try.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    fn once(&mut self, text: &str) {
        if self.0.as_deref() != Some(text) {
            tracing::warn!("{text}");
            self.0 = Some(text.to_owned());
        }
    }
}
