//! `thalweg worker`: one process that owns the units which an assignment names, and answers for them.
//!
//! | To find | look in |
//! |---|---|
//! | which slot a worker takes, and when it has lost it (pure) | [`slot`] |
//! | what an assignment asks of a worker (pure) | [`duty`] |
//! | what a worker does next (pure) | [`step`] |
//! | Leases and the assignment in the API server | [`lease`], [`table`] |
//! | from the mounted plan to a running job | [`launch`] |
//! | the loop that ties these together | [`worker`] |
//! | what the operator, probes and Prometheus are told | [`board`], [`server`] |
//!
//! In this version one worker owns all units of its pipeline. Nothing here is needed for correctness of what is
//! written: ownership is decided by epochs in each unit's state (`docs/architecture.md`, ownership protocol).

mod board;
mod duty;
mod error;
mod launch;
mod lease;
mod server;
mod slot;
mod starts;
mod step;
mod table;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use thalweg_core::clock::SharedClock;
use thalweg_core::unit::RunId;
use tokio_util::sync::CancellationToken;

use crate::job::Mounted;
use board::Board;
pub use error::ClusterError;
use launch::Launcher;
use lease::{Card, Leases};
use table::{ClusterTable, WATCH_SECONDS};
use worker::Worker;

/// Port of the exchange between workers.
const DATA_PORT: u16 = 8443;

/// What a worker's pod tells it.
pub struct Settings {
    /// The namespace of the pipeline.
    pub namespace: String,
    /// The pipeline.
    pub pipeline: String,
    /// Slot Leases are called this, a dash, and a number from 0.
    pub slot_prefix: String,
    /// The name of the `StreamAssignment`.
    pub assignment: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Address of the pod.
    pub pod_ip: IpAddr,
    /// Folder with the plan: `plan` (its hash) and `resources.yaml`.
    pub plan: PathBuf,
    /// Overrides `state.url`.
    pub state: Option<String>,
    /// Secrets and ConfigMaps.
    pub mounted: Mounted,
    /// A file that outlives a restart of the container, and not the pod.
    pub starts: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_port: u16,
    /// Where `/report` is served.
    pub report_port: u16,
    /// Threads that decode and aggregate.
    pub threads: usize,
}

/// Works until `terminate` is cancelled; then everything is committed and the slot is free.
///
/// # Errors
/// What keeps the worker from beginning: no API server in sight, no plan, a port that is taken.
pub async fn run(settings: Settings, clock: SharedClock, terminate: CancellationToken) -> Result<(), ClusterError> {
    let run_id = RunId(format!("{}/{}", settings.pod_uid, starts::count(&settings.starts)?));
    let launcher = Launcher::new(&settings, run_id.clone(), clock.clone())?;
    let client = client().await?;
    let board = Arc::new(Board::new(&run_id, launcher.plan_hash()));
    let address = |port| SocketAddr::new(settings.pod_ip, port);
    server::serve(&settings.pod_ip, settings.http_port, server::http(board.clone())?).await?;
    server::serve(&settings.pod_ip, settings.report_port, server::report(board.clone())).await?;
    let card = Card {
        run_id: run_id.clone(),
        pod_uid: settings.pod_uid.clone(),
        plan: launcher.plan_hash().to_owned(),
        address: address(DATA_PORT),
        report: address(settings.report_port),
    };
    tracing::info!(run_id = run_id.0, plan = launcher.plan_hash(), "started");
    let worker = Worker {
        leases: Arc::new(Leases::new(client.clone(), &settings, card, clock.clone())),
        table: Arc::new(ClusterTable::new(client, &settings.namespace, &settings.assignment)),
        launcher: Arc::new(launcher),
        board,
        run_id,
        clock,
    };
    worker.run(&terminate).await;
    tracing::info!("ended");
    Ok(())
}

/// A client for the API server that notices a connection which has died: nothing is silent for longer than a watch lasts.
async fn client() -> Result<Client, ClusterError> {
    let mut config = Config::infer().await.map_err(|error| ClusterError::Client(error.to_string()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 5));
    Client::try_from(config).map_err(|error| ClusterError::Client(error.to_string()))
}
