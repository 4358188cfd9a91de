//! A worker's part of a job, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::error::Error;
use thalweg_core::ownership::assignment::Slot;
use thalweg_core::unit::RunId;
use thalweg_crds::statements::Made;
use thalweg_exchange::cursors::PATIENCE;
use thalweg_exchange::hub::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Data;
use super::board::Board;
use super::keeper::Shared;
use super::launch::{Launcher, Purpose};
use super::leaving::is_over;
use super::member::Member;
use super::table::Table;
use super::view::View;
use crate::runtime::{Failures, Node, Result, unmap_when_quiet};

/// How often a worker that leaves looks whether others have asked for all that it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a part ends.
#[derive(Clone, Default)]
pub struct Ending {
    /// At once: what was taken is committed.
    pub now: CancellationToken,
    /// Once it has handed over what it has, or then, on the worker's monotonic clock; `None` while it is to stay.
    pub leaves: watch::Sender<Option<Duration>>,
}

/// A worker's part of a job.
pub struct Part {
    /// Makes the job.
    pub launcher: Arc<Launcher>,
    /// When its plan was made, by the assignment that names it.
    pub made: Option<Made>,
    /// The id of the topic that keeps all, if the assignment says that there was one.
    pub progress: Option<String>,
    /// Where assignments come from.
    pub table: Arc<dyn Table>,
    /// What is told of it.
    pub board: Arc<Board>,
    /// Where other workers reach it.
    pub data: Arc<Data>,
    /// This process.
    pub run_id: RunId,
    /// Where time comes from.
    pub clock: SharedClock,
    /// The slot that the worker holds.
    pub me: Slot,
    /// How it ends.
    pub end: Ending,
}

impl Part {
    /// Works by the assignment until it is to end.
    ///
    /// # Errors
    /// What keeps the job from going on.
    pub async fn run(self, mut views: watch::Receiver<Arc<View>>) -> Result<()> {
        // Before it runs it has written no row of its own: it need not be waited for.
        let mut leaves = self.end.leaves.subscribe();
        let (member, listening) = tokio::select! {
            () = self.end.now.cancelled() => return Ok(()),
            () = is_to_leave(&mut leaves) => return Ok(()),
            member = self.start() => member?,
        };
        let (counters, looking) = (member.counters(), member.look());
        tokio::select! {
            ended = self.follow(member, &mut views) => ended,
            never = unmap_when_quiet(&counters) => match never {},
            never = looking => match never {},
            error = listening => Err(error),
        }
    }

    async fn start(&self) -> Result<(Member, impl Future<Output = crate::runtime::RunError> + use<>)> {
        let purpose = Purpose::Work(self.made.clone());
        let job = Arc::new(self.launcher.job(purpose, self.progress.clone()).await?);
        let (told, failures) = Failures::new();
        let hub = Hub::over(self.data.network.clone(), self.run_id.clone(), self.clock.clone(), PATIENCE);
        let node = Arc::new(Node::new(job.clone(), hub.clone(), told.clone())?);
        node.prepare(&node.keyed()).await?;
        self.board.runs(self.launcher.name(), job.counters.clone());
        self.board.keeps_in(job.progress.clone());
        let (data, listener) = (self.data.clone(), hub.clone());
        let listening = async move { data.serve(&listener).await };
        let listening = AbortOnDropHandle::new(tokio::spawn(listening.in_current_span()));
        let listening = async move {
            let ended = listening.await.map_or_else(|error| error.to_string(), |Err(error)| error.to_string());
            Error::external("taking connections of other workers", ended).into()
        };
        let shared = Shared {
            node,
            hub,
            me: self.me,
            table: self.table.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
        };
        Ok((Member::new(shared, told, failures), listening))
    }

    async fn follow(&self, mut member: Member, views: &mut watch::Receiver<Arc<View>>) -> Result<()> {
        let mut leaves = self.end.leaves.subscribe();
        member.follow(&views.borrow_and_update().clone());
        loop {
            let until = *leaves.borrow_and_update();
            if until.is_some_and(|until| is_over(until, member.has(), self.clock.monotonic())) {
                return member.stop().await;
            }
            tokio::select! {
                () = self.end.now.cancelled() => return member.stop().await,
                Ok(()) = leaves.changed() => {}
                Ok(()) = views.changed() => member.follow(&views.borrow_and_update().clone()),
                error = member.failed() => return Err(error),
                () = tokio::time::sleep(LOOK_EVERY), if until.is_some() => {}
            }
        }
    }
}

/// Ends once the part is to leave.
async fn is_to_leave(leaves: &mut watch::Receiver<Option<Duration>>) {
    if leaves.wait_for(Option::is_some).await.is_err() {
        // Who could say so is gone.
        std::future::pending::<()>().await;
    }
}
