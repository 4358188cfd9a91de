//! What the units and the readers of a process use to find each other: a reader serves a log, a unit subscribes to it,
//! and neither knows where the other one is.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::log::LogId;
use thalweg_core::ownership::tenure::Reply;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::{Epoch, RunId, UnitId};
use thalweg_mtls::identity::{Identity, IdentityError, Peers};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::asked::{Asked, Release};
use crate::link::{Link, PeerAddress};
use crate::message::{Attempt, Message, Stamp, Subscription};
use crate::network::{Listener, Network, Tcp};
use crate::port::{ReleaseRequest, take_connections};
use crate::routes::{Asker, LineId, Reader, Replaced, Routes, ServerId};
use crate::serve::{Command, LogServer, RangeSource};

/// The logs that a process serves, and those that its units read. One a pipeline and process.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    network: Arc<dyn Network>,
    run: RunId,
    clock: SharedClock,
    patience: Duration,
    /// The key of this process, once it has one.
    identity: watch::Sender<Option<Arc<Identity>>>,
    /// The peers that the assignment names.
    peers: watch::Sender<BTreeMap<RunId, PeerAddress>>,
    /// Their keys.
    pinned: Peers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    routes: Routes,
    servers: BTreeMap<ServerId, UnboundedSender<Command>>,
    links: BTreeMap<RunId, Link>,
    parked: BTreeMap<LineId, Parked>,
    /// Subscriptions that a peer serves.
    away: BTreeMap<LineId, (Subscription, Attempt)>,
    release_requests: Option<UnboundedSender<ReleaseRequest>>,
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
    asked: Asked,
    commands: Commands,
}

/// Where a subscription's commands go, once a reader is known. It is set under the hub's lock, and once: a subscription
/// never changes its reader.
type Commands = Arc<OnceLock<UnboundedSender<Command>>>;

impl Hub {
    /// A process that knows of no other yet: everything is served here. A level subscriber without credit is waited for
    /// while `patience` lasts; for ever, where it is [`Duration::MAX`].
    pub fn new(run: RunId, clock: SharedClock, patience: Duration) -> Self {
        Self::over(Arc::new(Tcp), run, clock, patience)
    }

    /// As [`Hub::new`], where another network than TCP carries what peers say.
    pub fn over(network: Arc<dyn Network>, run: RunId, clock: SharedClock, patience: Duration) -> Self {
        let shared = Shared {
            network,
            run,
            clock,
            patience,
            identity: watch::Sender::default(),
            peers: watch::Sender::default(),
            pinned: Peers::default(),
            state: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
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
        let task = tokio::spawn(server.run());
        let mut state = self.shared.lock();
        let (server, awaited) = state.routes.serve(&log);
        for line in awaited {
            state.attach(line, &commands);
        }
        state.servers.insert(server, commands);
        drop(state);
        Served { shared: self.shared.clone(), log, server, task }
    }

    /// Subscribes. A log that nobody is known to serve is waited for: the subscription is attached once it is served
    /// here, or a peer is named that reads it. Ranges and refusals come to `to`. A reader that ends, a connection that is
    /// lost, and an assignment that names another reader show as a refusal, [`crate::message::Refusal::NotReader`], after
    /// which nothing comes for this attempt.
    pub fn subscribe(&self, request: Request, to: UnboundedSender<Message>) -> Line {
        self.subscribe_as(Asker::Unit, request, to)
    }

    pub(crate) fn subscribe_as(&self, asker: Asker, request: Request, to: UnboundedSender<Message>) -> Line {
        let Request { subscription, attempt, stamp, accepted, credit } = request;
        let asked = Asked { subscription: subscription.clone(), attempt, stamp, accepted, credit, committed: None, to };
        let commands = Commands::default();
        let mut state = self.shared.lock();
        let (id, reader) = state.routes.subscribe(&subscription.log, asker);
        state.parked.insert(id, Parked { asked, commands: commands.clone() });
        match reader {
            Some(Reader::Here(server)) => state.attach_here(id, server),
            Some(Reader::Peer(run)) => state.attach_away(id, &run),
            None => {}
        }
        drop(state);
        Line { shared: self.shared.clone(), id, subscription, attempt, commands }
    }

    /// An assignment came: who the peers are, and which of them reads the logs that are not served here. Connections are
    /// made as they are needed, and closed where a peer is no longer named, or is not where it was. Subscriptions whose
    /// reader is another one now hear it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn place(&self, peers: Vec<PeerAddress>, logs: BTreeMap<LogId, RunId>) {
        let others = peers.into_iter().filter(|peer| peer.run != self.shared.run);
        let peers: BTreeMap<_, _> = others.map(|peer| (peer.run.clone(), peer)).collect();
        let mut state = self.shared.lock();
        let before = self.shared.peers.send_replace(peers.clone());
        self.shared.pinned.replace(peers.values().map(|peer| peer.fingerprint));
        let changed: BTreeSet<_> =
            before.values().filter(|peer| peers.get(&peer.run) != Some(peer)).map(|peer| peer.run.clone()).collect();
        let Replaced { attached, referred } = state.routes.place(&peers.keys().cloned().collect(), &changed, logs);
        state.links.retain(|run, _| !changed.contains(run));
        for (run, peer) in peers {
            let Shared { network, run: me, identity, .. } = &*self.shared;
            let start = || Link::start(network.clone(), me.clone(), peer, identity.subscribe());
            state.links.entry(run).or_insert_with(start);
        }
        for (line, run) in referred {
            state.refer(line, &run);
        }
        for (line, run) in attached {
            state.attach_away(line, &run);
        }
    }

    /// Takes connections of the peers that are named, and serves their subscriptions from the logs that are served here,
    /// until it is dropped. From now on this process connects to its peers, too.
    ///
    /// # Errors
    /// TLS refuses the key.
    pub async fn listen(&self, listener: impl Listener, identity: &Identity) -> Result<Infallible, IdentityError> {
        let config = identity.server_config(self.shared.pinned.clone())?;
        self.shared.identity.send_replace(Some(Arc::new(identity.clone())));
        Ok(take_connections(self.clone(), listener, config).await)
    }

    /// Asks a peer to let go of a unit that this process was assigned at `epoch`, and waits for its answer, or until its
    /// address refuses a connection or it is named no longer: for ever, where nothing of this comes. `assignment` is the UID
    /// of the assignment that says so.
    pub async fn ask_to_release(&self, peer: &RunId, unit: UnitId, epoch: Epoch, assignment: &str) -> Reply {
        let (answered, answer) = oneshot::channel();
        self.shared.lock().release(peer, Release { unit, epoch, assignment: assignment.to_owned(), answered });
        answer.await.unwrap_or(Reply::NobodyThere)
    }

    /// Requests of peers to let go of units, from now on.
    pub fn release_requests(&self) -> UnboundedReceiver<ReleaseRequest> {
        let (requests, received) = mpsc::unbounded_channel();
        self.shared.lock().release_requests = Some(requests);
        received
    }

    pub(crate) fn release_requested(&self, request: ReleaseRequest) {
        if let Some(requests) = &self.shared.lock().release_requests {
            // Where nobody answers, the peer stops waiting by itself.
            let _ = requests.send(request);
        }
    }

    pub(crate) fn peers(&self) -> watch::Receiver<BTreeMap<RunId, PeerAddress>> {
        self.shared.peers.subscribe()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn attach_here(&mut self, line: LineId, server: ServerId) {
        if let Some(commands) = self.servers.get(&server).cloned() {
            self.attach(line, &commands);
        }
    }

    fn attach_away(&mut self, line: LineId, run: &RunId) {
        if let Some(commands) = self.links.get(run).map(|link| link.commands.clone())
            && let Some((subscription, attempt)) = self.attach(line, &commands)
        {
            self.away.insert(line, (subscription, attempt));
        }
    }

    /// Asks a reader on behalf of a subscription that waits.
    fn attach(&mut self, line: LineId, to: &UnboundedSender<Command>) -> Option<(Subscription, Attempt)> {
        let Parked { asked, commands } = self.parked.remove(&line)?;
        let attached = (asked.subscription.clone(), asked.attempt);
        asked.ask(to);
        // It was not set before: only what is parked is attached.
        let _ = commands.set(to.clone());
        Some(attached)
    }

    fn release(&self, peer: &RunId, release: Release) {
        if let Some(link) = self.links.get(peer) {
            // A link that has ended drops it, which the asker sees.
            let _ = link.releases.send(release);
        }
    }

    /// Tells a subscription that its log is read elsewhere. Where the peer is gone, its connection has said so.
    fn refer(&mut self, line: LineId, run: &RunId) {
        if let (Some((subscription, attempt)), Some(link)) = (self.away.remove(&line), self.links.get(run)) {
            // A connection that ends says it to everybody.
            let _ = link.commands.send(Command::Refer { subscription, attempt });
        }
    }
}

/// A log that is served until this is dropped.
pub struct Served {
    shared: Arc<Shared>,
    log: LogId,
    server: ServerId,
    task: JoinHandle<()>,
}

impl Served {
    /// Ends the serving, and waits until nothing more comes of it.
    pub async fn end(mut self) {
        self.task.abort();
        // Cancelled, as was asked for.
        let _ = (&mut self.task).await;
    }
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

/// A subscription; dropped, it is over. Once it has a reader, granting and committing neither lock nor look anything up.
pub struct Line {
    shared: Arc<Shared>,
    id: LineId,
    subscription: Subscription,
    attempt: Attempt,
    commands: Commands,
}

impl Line {
    /// Lets so many ranges more come.
    pub fn grant(&self, ranges: u32) {
        let (subscription, attempt) = (self.subscription.clone(), self.attempt);
        self.say(Command::Grant { subscription, attempt, ranges }, |asked| asked.grant(ranges));
    }

    /// What was read of the log before `next` is durable.
    pub fn committed(&self, next: Position) {
        let (subscription, attempt) = (self.subscription.clone(), self.attempt);
        self.say(Command::Committed { subscription, attempt, next }, |asked| asked.committed = Some(next));
    }

    /// Tells the reader; where there is none yet, `remember` keeps it in mind for it.
    fn say(&self, command: Command, remember: impl FnOnce(&mut Asked)) {
        if self.commands.get().is_none()
            && let Some(parked) = self.shared.lock().parked.get_mut(&self.id)
        {
            return remember(&mut parked.asked);
        }
        if let Some(commands) = self.commands.get() {
            // A reader that has ended has told the unit.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.routes.unsubscribe(self.id);
        state.parked.remove(&self.id);
        state.away.remove(&self.id);
        drop(state);
        if let Some(commands) = self.commands.get() {
            let (subscription, attempt) = (self.subscription.clone(), self.attempt);
            // A reader that has ended has forgotten it.
            let _ = commands.send(Command::Unsubscribe { subscription, attempt });
        }
    }
}
