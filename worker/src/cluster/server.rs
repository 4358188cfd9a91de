//! What a worker answers over HTTP: probes and Prometheus at one port, the operator at another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

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
    let failure = report.failure.map(|failure| failure.message);
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
    let address = SocketAddr::new(any(pod_ip), port);
    let failed = |error: std::io::Error| ClusterError::Port { address: address.to_string(), said: error.to_string() };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

/// Every address of the pod's family; on one machine, only the process's own.
pub fn any(pod_ip: &IpAddr) -> IpAddr {
    match pod_ip {
        own if own.is_loopback() => *own,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
