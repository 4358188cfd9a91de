//! Answers over HTTP those whose keys are known. Others are refused before they can ask.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::identity::{Fingerprint, Identity, IdentityError, Peers};

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Handshakes at a time: strangers may be many, and each costs memory until it is refused.
const HANDSHAKES: usize = 256;

/// Serves for as long as it is awaited. Whoever is known no more is refused at its next request.
///
/// # Errors
/// TLS refuses the key.
pub async fn serve(tcp: TcpListener, identity: &Identity, known: Peers, app: Router) -> Result<(), IdentityError> {
    let acceptor = TlsAcceptor::from(identity.server_config(known.clone())?);
    let app = app.layer(from_fn_with_state(known, only_known));
    let service = app.into_make_service_with_connect_info::<Visitor>();
    // It goes on for ever, whatever is said of it.
    let _ = axum::serve(Port { tcp, acceptor, handshakes: JoinSet::new() }, service).await;
    Ok(())
}

/// Takes connections, and gives on those whose handshake went well.
struct Port {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Listener for Port {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, from) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES => {
                    let acceptor = self.acceptor.clone();
                    self.handshakes.spawn(shake_hands(acceptor, stream, from));
                }
                // One that has failed is passed over here: a pattern that names those that went well would have whoever comes
                // beside it wait for the next one that comes.
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    from: SocketAddr,
) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
    // Without it an answer of several packets may be slower.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some((stream, from)),
        Ok(Err(error)) => tracing::info!(%from, %error, "refused a connection"),
        Err(_) => tracing::info!(%from, "refused a connection: no handshake in time"),
    }
    None
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Visitor(Option<Fingerprint>);

impl Connected<IncomingStream<'_, Port>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        let (_, tls) = stream.io().get_ref();
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        Self(certificate.and_then(|certificate| Fingerprint::of(certificate).ok()))
    }
}

async fn only_known(
    State(known): State<Peers>,
    ConnectInfo(Visitor(key)): ConnectInfo<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    match key.is_some_and(|key| known.knows(key)) {
        true => next.run(request).await,
        false => (StatusCode::FORBIDDEN, "this key is known no more\n").into_response(),
    }
}
