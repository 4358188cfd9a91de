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
    kept: Mutex<HashMap<Server, Connection>>,
}

struct Connection {
    sender: SendRequest<Body>,
    /// What carries it: it ends with this.
    _carrier: AbortOnDropHandle<()>,
    used: Instant,
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
            match self.ask(server, kept, path, most_bytes).await {
                Err(AskError::Lost(_)) => {}
                answer => return answer,
            }
        }
        let connection = self.connect(server).await?;
        self.ask(server, connection, path, most_bytes).await
    }

    /// Closes connections on which nobody has asked for so long.
    pub fn close_unused(&self, since: Duration) {
        self.kept().retain(|_, connection| connection.used.elapsed() < since);
    }

    async fn connect(&self, server: Server) -> Result<Connection, AskError> {
        let config = self.identity.client_config(server.key)?;
        let stream = TcpStream::connect(server.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(server_name(), stream).await?;
        let (sender, carrier) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ends is told to who asks.
        let carrier = AbortOnDropHandle::new(tokio::spawn(async move { drop(carrier.await) }));
        Ok(Connection { sender, _carrier: carrier, used: Instant::now() })
    }

    async fn ask(&self, server: Server, mut on: Connection, path: &str, most: usize) -> Result<Bytes, AskError> {
        let request = Request::get(path).header(HOST, server.address.to_string()).body(Body::empty());
        let request = request.map_err(|error| AskError::Body(error.into()))?;
        on.sender.ready().await?;
        let answer = on.sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(AskError::Body)?;
        self.kept().insert(server, Connection { used: Instant::now(), ..on });
        Ok(body.to_bytes())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Server, Connection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
