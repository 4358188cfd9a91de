//! The connection to one peer, on which units of this process subscribe to what the peer reads. It is made once somebody
//! needs it, and again after it was lost.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use thalweg_core::unit::RunId;
use thalweg_mtls::identity::{Fingerprint, Identity, IdentityError};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::asked::{AskedOfPeer, Release};
use crate::channel::{CONNECTING, Channel, ChannelError, ClientStream, connect};
use crate::network::Network;
use crate::pauses::Pauses;
use crate::serve::Command;

/// Where a peer is, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Which life of a worker.
    pub run: RunId,
    /// Where it listens for its peers.
    pub address: SocketAddr,
    /// Its key.
    pub fingerprint: Fingerprint,
}

/// The connection to one peer, until it is dropped.
pub(crate) struct Link {
    pub commands: UnboundedSender<Command>,
    pub releases: UnboundedSender<Release>,
    task: AbortHandle,
}

impl Link {
    /// Connects once something is asked of the peer, and this process has a key.
    pub fn start(
        network: Arc<dyn Network>,
        run: RunId,
        peer: PeerAddress,
        identity: watch::Receiver<Option<Arc<Identity>>>,
    ) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let (releases, received_releases) = mpsc::unbounded_channel();
        let asked = AskedOfPeer::new(received, received_releases);
        let task = tokio::spawn(Caller { network, run, peer, identity, asked }.run()).abort_handle();
        Self { commands, releases, task }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// No connection to a peer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The key is the peer's, and the process is not: which cannot be, where each start makes a key of its own.
    #[error("expected run `{expected}`, found `{found}`")]
    Another { expected: RunId, found: RunId },
    #[error("the peer has closed it")]
    Closed,
    #[error("a reader does not say {0}")]
    Message(String),
}

impl LinkError {
    /// Whether nobody listens at the peer's address.
    fn is_refused(&self) -> bool {
        let Self::Channel(ChannelError::Io { what: CONNECTING, error, .. }) = self else { return false };
        error.kind() == std::io::ErrorKind::ConnectionRefused
    }
}

struct Caller {
    network: Arc<dyn Network>,
    run: RunId,
    peer: PeerAddress,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    asked: AskedOfPeer,
}

impl Caller {
    async fn run(mut self) {
        let mut pauses = Pauses::default();
        loop {
            while !self.asked.is_waiting() {
                self.asked.next().await;
            }
            let error = match self.connected().await {
                Ok(channel) => {
                    let error = self.talk(channel, &mut pauses).await;
                    self.asked.lost();
                    error
                }
                // Who waits goes on waiting: it may come, and where it does not, the assignment will name another one.
                Err(error) => {
                    if error.is_refused() {
                        self.asked.nobody_there();
                    }
                    error
                }
            };
            let pause = pauses.failed();
            tracing::info!(peer = %self.peer.run, pause_ms = pause.as_millis(), "no connection to a peer: {error}");
            self.asked.during(sleep(pause)).await;
        }
    }

    async fn connected(&mut self) -> Result<Channel<ClientStream>, LinkError> {
        let PeerAddress { run: expected, address, fingerprint } = self.peer.clone();
        let (network, run, mut identity) = (self.network.clone(), self.run.clone(), self.identity.clone());
        let connecting = async {
            let identity = match identity.wait_for(Option::is_some).await.map(|identity| identity.clone()) {
                Ok(Some(identity)) => identity,
                // The hub is gone, and this with it.
                _ => std::future::pending().await,
            };
            let (channel, peer) = connect(&*network, address, identity.client_config(fingerprint)?, &run).await?;
            if peer.run == expected { Ok(channel) } else { Err(LinkError::Another { expected, found: peer.run }) }
        };
        self.asked.during(connecting).await
    }

    /// Talks to the peer until the connection ends.
    async fn talk(&mut self, channel: Channel<ClientStream>, pauses: &mut Pauses) -> LinkError {
        let (mut sender, mut receiver) = channel.split();
        let (say, mut said) = mpsc::unbounded_channel();
        let mut told = self.asked.first();
        let mut sending = pin!(sender.send_each(&mut said));
        loop {
            for message in told.drain(..) {
                // It is read for as long as this goes on.
                let _ = say.send(message);
            }
            tokio::select! {
                sent = &mut sending => return sent.map_or_else(LinkError::from, |()| LinkError::Closed),
                message = receiver.receive() => match message {
                    Ok(Some(message)) => {
                        pauses.succeeded();
                        if let Some(message) = self.asked.heard(message) {
                            return LinkError::Message(format!("{message:?}"));
                        }
                    }
                    Ok(None) => return LinkError::Closed,
                    Err(error) => return error.into(),
                },
                message = self.asked.next() => told.extend(message),
            }
        }
    }
}
