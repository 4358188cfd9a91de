//! Asks servers that are known by their keys, over HTTP/1.1. Connections are kept: who asks each two seconds pays for a
//! handshake once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::identity::{Fingerprint, Identity, IdentityError, server_name};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that it must have; any, where none is known.
    pub key: Option<Fingerprint>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Our own key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No connection, or one that is refused: the server has another key, or does not know ours.
    #[error("connecting: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection has ended.
    #[error("asking: {0}")]
    Lost(#[from] hyper::Error),
    /// It was heard, and answered that.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// The answer's body.
    #[error("its answer: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Asks, and keeps connections for the next time.
pub struct Client {
    identity: Identity,
    kept: Mutex<HashMap<Server, Kept>>,
}

struct Kept {
    connection: Connection,
    used: Instant,
}

/// A connection on which one asks.
pub struct Connection {
    sender: SendRequest<Body>,
    /// What carries it: it ends with this.
    _carrier: AbortOnDropHandle<()>,
}

impl Connection {
    /// A connection over a stream to a server, which is believed whoever it is.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, AskError> {
        let (sender, carrier) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ends is told to who asks.
        let carrier = AbortOnDropHandle::new(tokio::spawn(async move { drop(carrier.await) }));
        Ok(Self { sender, _carrier: carrier })
    }

    /// What is at a path of a host, of so many bytes at the most, and the status that it came with.
    ///
    /// # Errors
    /// The connection has ended, or the answer is longer.
    pub async fn get(&mut self, host: &str, path: &str, most_bytes: usize) -> Result<(StatusCode, Bytes), AskError> {
        let request = Request::get(path).header(HOST, host).body(Body::empty());
        let request = request.map_err(|error| AskError::Body(error.into()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), most_bytes).collect().await.map_err(AskError::Body)?;
        Ok((status, body.to_bytes()))
    }
}

impl Client {
    /// Shows this key.
    pub fn new(identity: Identity) -> Self {
        Self { identity, kept: Mutex::default() }
    }

    /// What is at a path, of so many bytes at the most. Whoever drops this before it is there closes the connection.
    ///
    /// # Errors
    /// The server is not who was meant, does not know us, or does not answer with 200.
    pub async fn get(&self, server: Server, path: &str, most_bytes: usize) -> Result<Bytes, AskError> {
        // It may have ended since: then the next one tells.
        let kept = self.kept().remove(&server);
        if let Some(kept) = kept {
            match self.ask(server, kept.connection, path, most_bytes).await {
                Err(AskError::Lost(_)) => {}
                answer => return answer,
            }
        }
        let connection = self.connect(server).await?;
        self.ask(server, connection, path, most_bytes).await
    }

    /// Closes connections on which nobody has asked for so long.
    pub fn close_unused(&self, since: Duration) {
        self.kept().retain(|_, kept| kept.used.elapsed() < since);
    }

    async fn connect(&self, server: Server) -> Result<Connection, AskError> {
        let config = self.identity.client_config(server.key)?;
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(server_name(), stream).await?;
        Connection::over(stream).await
    }

    async fn ask(&self, server: Server, mut on: Connection, path: &str, most: usize) -> Result<Bytes, AskError> {
        let (status, body) = on.get(&server.address.to_string(), path, most).await?;
        if status != StatusCode::OK {
            return Err(AskError::Status(status));
        }
        self.kept().insert(server, Kept { connection: on, used: Instant::now() });
        Ok(body)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Server, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
