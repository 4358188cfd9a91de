//! Where peers come to: each connection carries the subscriptions of one peer's units to logs that are served here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rustls::ServerConfig;
use thalweg_core::unit::{Epoch, RunId, UnitId};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::channel::{Channel, ChannelError, Peer, ServerStream, accept};
use crate::hub::{Hub, Line, Request};
use crate::link::PeerAddress;
use crate::message::{Attempt, Message, Subscription};
use crate::network::Listener;
use crate::routes::Asker;

/// Pause after the machine could not take a connection: most often it has no file descriptor left.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Handshakes at a time: strangers may be many, and each costs memory until it is refused.
const HANDSHAKES: usize = 256;

/// A peer asks this process to let go of a unit that the peer was assigned.
#[derive(Debug)]
pub struct ReleaseRequest {
    /// The unit.
    pub unit: UnitId,
    /// The peer's epoch.
    pub epoch: Epoch,
    /// UID of the assignment that the peer has read.
    pub assignment: String,
    /// Tells the peer that the unit is free. Dropped, nothing is answered.
    pub answer: oneshot::Sender<()>,
}

/// Why a connection of a peer ended.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the assignment does not name run `{0}` with this key")]
    NotNamed(RunId),
    #[error("a unit does not say {0}")]
    Message(String),
}

/// Takes connections until this is dropped, and with it all of them.
pub(crate) async fn take_connections(hub: Hub, mut listener: impl Listener, config: Arc<ServerConfig>) -> Infallible {
    let mut handshakes = JoinSet::new();
    let mut visits = JoinSet::new();
    let mut visitors: BTreeMap<RunId, AbortHandle> = BTreeMap::new();
    loop {
        tokio::select! {
            connection = listener.accept(), if handshakes.len() < HANDSHAKES => match connection {
                Ok((stream, from)) => {
                    let (config, run) = (config.clone(), hub.run().clone());
                    handshakes.spawn(async move { accept(stream, from, config, &run).await });
                }
                Err(error) => {
                    tracing::warn!("cannot take a connection: {error}");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            },
            Some(Ok(done)) = handshakes.join_next() => match done {
                Ok((channel, peer)) => {
                    let run = peer.run.clone();
                    let visit = visits.spawn(visit(hub.clone(), channel, peer));
                    // A peer that comes again has lost its connection before, whether this side has noticed or not.
                    if let Some(before) = visitors.insert(run, visit) {
                        before.abort();
                    }
                }
                Err(error) => tracing::info!("refused a connection: {error}"),
            },
            Some(_) = visits.join_next() => visitors.retain(|_, visit| !visit.is_finished()),
        }
    }
}

async fn visit(hub: Hub, channel: Channel<ServerStream>, peer: Peer) {
    if let Err(error) = serve(hub, channel, &peer).await {
        tracing::info!(peer = %peer.run, "a connection of a peer ended: {error}");
    }
}

/// Serves a peer until its connection ends, or the assignment names it no more.
async fn serve(hub: Hub, channel: Channel<ServerStream>, peer: &Peer) -> Result<(), VisitError> {
    let mut peers = hub.peers();
    let (to, mut messages) = mpsc::unbounded_channel();
    let (mut sender, mut receiver) = channel.split();
    let mut visit = Visit { hub, to, lines: BTreeMap::new(), releases: FuturesUnordered::new() };
    let mut sending = pin!(sender.send_each(&mut messages));
    loop {
        tokio::select! {
            _ = peers.wait_for(|peers| !is_named(peers, peer)) => return Err(VisitError::NotNamed(peer.run.clone())),
            sent = &mut sending => return Ok(sent?),
            message = receiver.receive() => match message? {
                Some(message) => visit.obey(message)?,
                None => return Ok(()),
            },
            Some(released) = visit.releases.next() => visit.answer(released),
        }
    }
}

fn is_named(peers: &BTreeMap<RunId, PeerAddress>, peer: &Peer) -> bool {
    peers.get(&peer.run).is_some_and(|named| Some(named.fingerprint) == peer.fingerprint)
}

/// What a peer has asked for over one connection.
struct Visit {
    hub: Hub,
    to: UnboundedSender<Message>,
    lines: BTreeMap<Subscription, (Attempt, Line)>,
    releases: FuturesUnordered<BoxFuture<'static, Option<Message>>>,
}

impl Visit {
    fn obey(&mut self, message: Message) -> Result<(), VisitError> {
        match message {
            Message::Subscribe { subscription, attempt, stamp, accepted, credit } => {
                let key = subscription.clone();
                let request = Request { subscription, attempt, stamp, accepted, credit };
                let line = self.hub.subscribe_as(Asker::Peer, request, self.to.clone());
                self.lines.insert(key, (attempt, line));
            }
            Message::Grant { subscription, attempt, ranges } => {
                if let Some(line) = self.line(&subscription, attempt) {
                    line.grant(ranges);
                }
            }
            Message::Committed { subscription, attempt, next } => {
                if let Some(line) = self.line(&subscription, attempt) {
                    line.committed(next);
                }
            }
            Message::Unsubscribe { subscription, attempt } => {
                if self.line(&subscription, attempt).is_some() {
                    self.lines.remove(&subscription);
                }
            }
            Message::Release { unit, epoch, assignment } => self.release(unit, epoch, assignment),
            Message::Alive => {}
            other => return Err(VisitError::Message(format!("{other:?}"))),
        }
        Ok(())
    }

    fn release(&mut self, unit: UnitId, epoch: Epoch, assignment: String) {
        let (answer, answered) = oneshot::channel();
        self.hub.release_requested(ReleaseRequest { unit, epoch, assignment, answer });
        let answer = async move { answered.await.ok().map(|()| Message::Released { unit, epoch }) };
        self.releases.push(Box::pin(answer));
    }

    fn answer(&self, released: Option<Message>) {
        if let Some(message) = released {
            // It is sent for as long as the connection stands.
            let _ = self.to.send(message);
        }
    }

    fn line(&self, subscription: &Subscription, attempt: Attempt) -> Option<&Line> {
        self.lines.get(subscription).filter(|(current, _)| *current == attempt).map(|(_, line)| line)
    }
}
