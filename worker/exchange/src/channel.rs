//! A connection between two workers: frames with their length in front, over TLS pinned to the peers' keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rustls::{ClientConfig, ServerConfig};
use thalweg_core::error::{Error, ErrorKind};
use thalweg_core::unit::RunId;
use thalweg_mtls::identity::{Fingerprint, server_name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::frame::{FrameError, decode, encode};
use crate::message::{Message, PROTOCOL};
use crate::network::{Network, Stream};

/// How long connecting may take, all in all.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// A side that has nothing to say says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A side that was not heard for so long is gone: its machine may have vanished without a word.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// What is tried when a connection is made.
pub(crate) const CONNECTING: &str = "connecting to";
/// Bytes of a message at the most: a range of rows, which readers keep much smaller.
const FRAME_BYTES: usize = 256 << 20;

/// Talking to another worker failed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No connection, or it broke. A peer that is not the one that the assignment names shows like this, too.
    #[error("{what} {peer}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The other worker.
        peer: SocketAddr,
        /// What happened.
        error: std::io::Error,
    },
    /// The other worker did not answer in time.
    #[error("connecting with {peer}: no answer within {} s", HANDSHAKE_LIMIT.as_secs())]
    Slow {
        /// The other worker.
        peer: SocketAddr,
    },
    /// The other worker says nothing any more.
    #[error("talking to {peer}: nothing came for {} s", SILENCE_LIMIT.as_secs())]
    Silent {
        /// The other worker.
        peer: SocketAddr,
    },
    /// The other worker speaks another version, or something else.
    #[error("talking to {peer}: expected a greeting of protocol {PROTOCOL}, found {found}")]
    Protocol {
        /// The other worker.
        peer: SocketAddr,
        /// What it said.
        found: String,
    },
    /// A message that is none.
    #[error("talking to {peer}: {error}")]
    Frame {
        /// The other worker.
        peer: SocketAddr,
        /// What is wrong with it.
        error: FrameError,
    },
}

impl From<ChannelError> for Error {
    fn from(error: ChannelError) -> Self {
        let kind = match &error {
            ChannelError::Frame { .. } => ErrorKind::Internal,
            _ => ErrorKind::External,
        };
        Self::new(kind, "exchanging ranges with another worker", error)
    }
}

/// An open connection. One half may be read while the other is written: see [`Channel::split`].
pub struct Channel<S> {
    sender: Sender<S>,
    receiver: Receiver<S>,
}

/// The half that sends.
pub struct Sender<S> {
    frames: futures::stream::SplitSink<Framed<S, LengthDelimitedCodec>, bytes::Bytes>,
    peer: SocketAddr,
}

/// The half that receives.
pub struct Receiver<S> {
    frames: futures::stream::SplitStream<Framed<S, LengthDelimitedCodec>>,
    peer: SocketAddr,
    /// When the last message came.
    heard: Instant,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which life of a worker.
    pub run: RunId,
    /// Its key, where it came to us.
    pub fingerprint: Option<Fingerprint>,
}

/// A connection that this worker opened.
pub type ClientStream = tokio_rustls::client::TlsStream<Box<dyn Stream>>;
/// A connection that another worker opened.
pub type ServerStream = tokio_rustls::server::TlsStream<Box<dyn Stream>>;

/// Connects over a network to the worker at `address`, which must have the key that `config` is pinned to.
///
/// # Errors
/// Whatever is not that worker, or does not answer in time.
pub async fn connect(
    network: &dyn Network,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    run: &RunId,
) -> Result<(Channel<ClientStream>, Peer), ChannelError> {
    let connecting = async {
        let failed = |error| ChannelError::Io { what: CONNECTING, peer: address, error };
        let stream = network.connect(address).await.map_err(failed)?;
        let stream = TlsConnector::from(config).connect(server_name(), stream).await.map_err(failed)?;
        let mut channel = Channel::new(stream, address);
        let run = channel.greet(run).await?;
        Ok((channel, Peer { run, fingerprint: None }))
    };
    timeout(HANDSHAKE_LIMIT, connecting).await.unwrap_or(Err(ChannelError::Slow { peer: address }))
}

/// Takes a connection of a worker whose key is known.
///
/// # Errors
/// Whoever is not known, or says nothing in time.
pub async fn accept(
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    run: &RunId,
) -> Result<(Channel<ServerStream>, Peer), ChannelError> {
    let accepting = async {
        let failed = |error| ChannelError::Io { what: "taking a connection of", peer, error };
        let stream = TlsAcceptor::from(config).accept(stream).await.map_err(failed)?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let fingerprint = certificate.and_then(|certificate| Fingerprint::of(certificate).ok());
        let mut channel = Channel::new(stream, peer);
        let run = channel.greet(run).await?;
        Ok((channel, Peer { run, fingerprint }))
    };
    timeout(HANDSHAKE_LIMIT, accepting).await.unwrap_or(Err(ChannelError::Slow { peer }))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    fn new(stream: S, peer: SocketAddr) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES).new_codec();
        let (sink, frames) = Framed::new(stream, codec).split();
        Self { sender: Sender { frames: sink, peer }, receiver: Receiver { frames, peer, heard: Instant::now() } }
    }

    async fn greet(&mut self, run: &RunId) -> Result<RunId, ChannelError> {
        self.sender.send(&Message::Hello { protocol: PROTOCOL, run: run.clone() }).await?;
        let found = match self.receiver.receive().await? {
            Some(Message::Hello { protocol: PROTOCOL, run }) => return Ok(run),
            Some(Message::Hello { protocol, .. }) => format!("protocol {protocol}"),
            Some(_) => "another message".to_owned(),
            None => "the end of the connection".to_owned(),
        };
        Err(ChannelError::Protocol { peer: self.receiver.peer, found })
    }

    /// Both halves.
    pub fn split(self) -> (Sender<S>, Receiver<S>) {
        (self.sender, self.receiver)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Sends a message, and waits until it is on its way.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, message: &Message) -> Result<(), ChannelError> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Sends messages as they come, and a sign of life where none does, until there are no more.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send_each(&mut self, messages: &mut UnboundedReceiver<Message>) -> Result<(), ChannelError> {
        loop {
            match timeout(SIGN_OF_LIFE, messages.recv()).await {
                Ok(Some(message)) => self.feed(&message).await?,
                Ok(None) => return Ok(()),
                Err(_) => self.feed(&Message::Alive).await?,
            }
            while let Ok(message) = messages.try_recv() {
                self.feed(&message).await?;
            }
            self.flush().await?;
        }
    }

    async fn feed(&mut self, message: &Message) -> Result<(), ChannelError> {
        let peer = self.peer;
        let frame = encode(message).map_err(|error| ChannelError::Frame { peer, error })?;
        self.frames.feed(frame).await.map_err(|error| ChannelError::Io { what: "sending to", peer, error })
    }

    async fn flush(&mut self) -> Result<(), ChannelError> {
        let peer = self.peer;
        self.frames.flush().await.map_err(|error| ChannelError::Io { what: "sending to", peer, error })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// The next message; `None` where the other side has closed the connection in order. A call that is dropped loses
    /// nothing.
    ///
    /// # Errors
    /// The connection broke, nothing came for long, or what came is no message.
    pub async fn receive(&mut self) -> Result<Option<Message>, ChannelError> {
        let peer = self.peer;
        let next = timeout_at(self.heard + SILENCE_LIMIT, self.frames.next()).await;
        let Some(frame) = next.map_err(|_| ChannelError::Silent { peer })? else { return Ok(None) };
        self.heard = Instant::now();
        let frame = frame.map_err(|error| ChannelError::Io { what: "receiving from", peer, error })?;
        decode(frame.freeze()).map(Some).map_err(|error| ChannelError::Frame { peer, error })
    }
}
