//! Metrics and health over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::metrics::Metrics;

/// What the server shows.
pub struct Shown {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this replica can do its work, or could if it led: its caches are filled.
    pub ready: AtomicBool,
}

/// Serves `/metrics`, `/healthz` and `/readyz` until the process ends.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(listen: SocketAddr, shown: Arc<Shown>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shown);
    axum::serve(tokio::net::TcpListener::bind(listen).await?, router).await
}

async fn metrics(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.text())
}

async fn ready(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    match shown.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "caches are being filled\n"),
    }
}
