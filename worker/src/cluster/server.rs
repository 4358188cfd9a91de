//! What a worker answers over HTTP: probes and Prometheus at one port; the operator and peers at another, who show that they
//! are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use thalweg_mtls::identity::{Identity, Peers};
use tokio::net::TcpListener;

use super::board::Board;
use super::error::ClusterError;
use crate::metrics::{self, By};

/// `/metrics`, `/healthz`, and `/readyz`, which means that the worker has its units and runs them.
///
/// # Errors
/// Metrics that do not fit together.
pub fn http(board: Arc<Board>, by: Vec<By>) -> Result<Router, ClusterError> {
    let watched = board.clone();
    let metrics = metrics::router(Box::new(move || watched.watched()), by)
        .map_err(|error| ClusterError::Port { address: "/metrics".to_owned(), said: error.to_string() })?;
    let probes = Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(ready)).with_state(board);
    Ok(metrics.merge(probes))
}

/// `/report`.
pub fn report(board: Arc<Board>) -> Router {
    Router::new().route("/report", get(say)).with_state(board)
}

async fn ready(State(board): State<Arc<Board>>) -> (StatusCode, String) {
    if board.is_ready() {
        return (StatusCode::OK, "ok".to_owned());
    }
    let report = board.report();
    let failure = report.failures.into_iter().next().map(|failure| failure.message);
    (StatusCode::SERVICE_UNAVAILABLE, failure.unwrap_or_else(|| format!("{:?}", report.state)))
}

async fn say(State(board): State<Arc<Board>>) -> Response {
    match serde_json::to_vec(&board.report()) {
        Ok(report) => ([(CONTENT_TYPE, "application/json")], report).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Serves for as long as the process runs, at every address of the pod's family: probes come to the pod's own,
/// `kubectl port-forward` to the loopback one. A worker of this host only is served at its own address. Port 0 is any
/// that is free; says which.
///
/// # Errors
/// The port is taken.
pub async fn serve(pod_ip: &IpAddr, port: u16, app: Router) -> Result<u16, ClusterError> {
    let (listener, port) = listen(pod_ip, port).await?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

/// As [`serve`], over TLS, and for those alone whose keys are known when they come.
///
/// # Errors
/// The port is taken.
pub async fn serve_known(
    pod_ip: &IpAddr,
    port: u16,
    app: Router,
    identity: Identity,
    known: Peers,
) -> Result<u16, ClusterError> {
    let (listener, port) = listen(pod_ip, port).await?;
    tokio::spawn(async move { thalweg_mtls::server::serve(listener, &identity, known, app).await });
    Ok(port)
}

/// Listens at a port, or at any that is free where it is 0; which one it is.
///
/// # Errors
/// The port is taken.
pub async fn listen(pod_ip: &IpAddr, port: u16) -> Result<(TcpListener, u16), ClusterError> {
    let address = SocketAddr::new(any(pod_ip), port);
    let failed = |error: std::io::Error| ClusterError::Port { address: address.to_string(), said: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// Every address of the pod's family; on one machine, only the process's own.
fn any(pod_ip: &IpAddr) -> IpAddr {
    match pod_ip {
        own if own.is_loopback() => *own,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::unit::RunId;
    use thalweg_crds::report::Report;
    use thalweg_exchange::link::PeerAddress;
    use thalweg_mtls::client::{Client, Server};

    use super::super::Answered;
    use super::*;

    fn key() -> Identity {
        Identity::generate().expect("a key")
    }

    /// The run id of the report, where there is one.
    async fn asked(as_whom: &Identity, server: Server) -> Option<String> {
        let report = Client::new(as_whom.clone()).get(server, "/report", 10_000).await.ok()?;
        let report: Report = serde_json::from_slice(&report).expect("a report");
        Some(report.run_id.0)
    }

    #[tokio::test]
    async fn the_operator_and_the_peers_of_the_assignment_get_the_report_and_nobody_else() {
        let (worker, operator, next, peer) = (key(), key(), key(), key());
        let answered = Answered::new(vec![operator.fingerprint(), next.fingerprint()]);
        let app = report(Arc::new(Board::new(&RunId("pod/0".to_owned()), "plan")));
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = serve_known(&ip, 0, app, worker.clone(), answered.known.clone()).await.expect("a port");
        let server = Server { address: SocketAddr::new(ip, port), key: Some(worker.fingerprint()) };
        let expected = Some("pod/0".to_owned());
        assert_eq!(asked(&operator, server).await, expected);
        assert_eq!(asked(&next, server).await, expected, "while the operator's key is replaced");
        assert_eq!(asked(&peer, server).await, None, "it is not named yet");

        let fingerprint = peer.fingerprint();
        answered.name(&[PeerAddress { run: RunId("other/0".to_owned()), address: server.address, fingerprint }]);
        assert_eq!(asked(&peer, server).await, expected);
        answered.name(&[]);
        assert_eq!(asked(&peer, server).await, None, "it is named no more");
        assert_eq!(asked(&operator, server).await, expected);
    }
}
