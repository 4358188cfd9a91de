//! What the units and the readers of a process use to find each other: a reader serves a log, a unit subscribes to it,
//! and neither knows where the other one is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::log::LogId;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::RunId;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::AbortHandle;

use crate::message::{Attempt, Message, Stamp, Subscription};
use crate::routes::{LineId, Routes, ServerId};
use crate::serve::{Command, LogServer, RangeSource};

/// The logs that a process serves, and those that its units read. One a pipeline and process.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    run: RunId,
    clock: SharedClock,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    routes: Routes,
    servers: BTreeMap<ServerId, UnboundedSender<Command>>,
    parked: BTreeMap<LineId, Parked>,
}

/// What a unit asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who wants which log.
    pub subscription: Subscription,
    /// Which of the unit's subscriptions to this log.
    pub attempt: Attempt,
    /// How the rows must be made.
    pub stamp: Stamp,
    /// `A`, with the watermark there.
    pub accepted: LogProgress,
    /// Ranges that may come.
    pub credit: u32,
}

/// A subscription that waits for a reader.
struct Parked {
    request: Request,
    committed: Option<Position>,
    to: UnboundedSender<Message>,
    reader: Reader,
}

/// Where a subscription's commands go, once a reader is known. It is set under the hub's lock, and once: a subscription
/// never changes its reader.
type Reader = Arc<OnceLock<UnboundedSender<Command>>>;

impl Hub {
    /// A process that knows of no other: everything is served here. A level subscriber without credit is waited for
    /// while `patience` lasts; for ever, where it is [`Duration::MAX`].
    pub fn new(run: RunId, clock: SharedClock, patience: Duration) -> Self {
        Self { shared: Arc::new(Shared { run, clock, patience, state: Mutex::default() }) }
    }

    /// This start of this process.
    pub fn run(&self) -> &RunId {
        &self.shared.run
    }

    /// Serves a log until the guard is dropped; then its subscribers hear that this is no reader of it. Where the log is
    /// served already, new subscribers go to the newer server.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn serve(&self, log: LogId, source: Arc<dyn RangeSource>) -> Served {
        let (commands, received) = mpsc::unbounded_channel();
        let server = LogServer::new(source, self.shared.clock.clone(), self.shared.patience, received);
        let task = tokio::spawn(server.run()).abort_handle();
        let mut state = self.shared.lock();
        let (server, awaited) = state.routes.serve(&log);
        for parked in awaited.into_iter().filter_map(|line| state.parked.remove(&line)).collect::<Vec<_>>() {
            parked.attach(&commands);
        }
        state.servers.insert(server, commands);
        drop(state);
        Served { shared: self.shared.clone(), log, server, task }
    }

    /// Subscribes. A log that nobody is known to serve is waited for: the subscription is attached once it is served.
    /// Ranges and refusals come to `to`; a reader that ends shows as a refusal, [`crate::message::Refusal::NotReader`],
    /// after which nothing comes for this attempt.
    pub fn subscribe(&self, request: Request, to: UnboundedSender<Message>) -> Line {
        let reader = Reader::default();
        let (subscription, attempt) = (request.subscription.clone(), request.attempt);
        let parked = Parked { request, committed: None, to, reader: reader.clone() };
        let mut state = self.shared.lock();
        let (id, server) = state.routes.subscribe(&subscription.log);
        match server.and_then(|server| state.servers.get(&server)) {
            Some(commands) => parked.attach(commands),
            None => {
                state.parked.insert(id, parked);
            }
        }
        drop(state);
        Line { shared: self.shared.clone(), id, subscription, attempt, reader }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Asks a reader. One that has ended meanwhile refuses with its last breath whatever reached it; what does not reach
    /// it is refused here.
    fn attach(self, commands: &UnboundedSender<Command>) {
        let Self { request: Request { subscription, attempt, stamp, accepted, credit }, committed, to, reader } = self;
        let committed = committed.map(|next| Command::Committed { subscription: subscription.clone(), attempt, next });
        let subscribe = Command::Subscribe { subscription, attempt, stamp, accepted, credit, to };
        if let Err(mpsc::error::SendError(command)) = commands.send(subscribe) {
            command.refuse();
        }
        if let Some(committed) = committed {
            // A reader that has ended has no use for it.
            let _ = commands.send(committed);
        }
        // It was not set before: only what is parked is attached.
        let _ = reader.set(commands.clone());
    }
}

/// A log that is served until this is dropped.
pub struct Served {
    shared: Arc<Shared>,
    log: LogId,
    server: ServerId,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.routes.withdraw(&self.log, self.server);
        state.servers.remove(&self.server);
        drop(state);
        self.task.abort();
    }
}

/// A subscription; dropped, it is over. Once it has a reader, calls neither lock nor look anything up.
pub struct Line {
    shared: Arc<Shared>,
    id: LineId,
    subscription: Subscription,
    attempt: Attempt,
    reader: Reader,
}

impl Line {
    /// Lets so many ranges more come.
    pub fn grant(&self, ranges: u32) {
        let is_parked = |parked: &mut Parked| {
            parked.request.credit = parked.request.credit.saturating_add(ranges);
        };
        let (subscription, attempt) = (self.subscription.clone(), self.attempt);
        self.say(Command::Grant { subscription, attempt, ranges }, is_parked);
    }

    /// What was read of the log before `next` is durable.
    pub fn committed(&self, next: Position) {
        let (subscription, attempt) = (self.subscription.clone(), self.attempt);
        let is_parked = |parked: &mut Parked| parked.committed = Some(next);
        self.say(Command::Committed { subscription, attempt, next }, is_parked);
    }

    /// Tells the reader; where there is none yet, `is_parked` keeps it in mind.
    fn say(&self, command: Command, is_parked: impl FnOnce(&mut Parked)) {
        if self.reader.get().is_none()
            && let Some(parked) = self.shared.lock().parked.get_mut(&self.id)
        {
            return is_parked(parked);
        }
        if let Some(commands) = self.reader.get() {
            // A reader that has ended has told the unit.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.reader.get().is_none() {
            let mut state = self.shared.lock();
            state.routes.unsubscribe(self.id);
            state.parked.remove(&self.id);
        }
        // It may have got a reader just before.
        if let Some(commands) = self.reader.get() {
            let (subscription, attempt) = (self.subscription.clone(), self.attempt);
            // A reader that has ended has forgotten it.
            let _ = commands.send(Command::Unsubscribe { subscription, attempt });
        }
    }
}
