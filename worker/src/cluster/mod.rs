//! `thalweg worker`: one process that owns the units which an assignment names, and answers for them.
//!
//! | To find | look in |
//! |---|---|
//! | which slot a worker takes, and when it has lost it (pure) | [`slot`] |
//! | what an assignment asks of a worker (pure) | [`duty`], [`view`] |
//! | what a worker does next, and how long it leaves alone what failed (pure) | [`step`], [`backoff`] |
//! | Leases and the assignment, in the API server or in a folder | [`lease`], [`table`], [`folder`] |
//! | from the mounted plan to a job | [`launch`] |
//! | a worker's part of a job, from its start to its end | [`part`], [`member`] |
//! | how long a worker works on that was told to end (pure) | [`leaving`] |
//! | where splits end while there is no worker | [`lookout`] |
//! | one unit, from assignment to assignment | [`keeper`] |
//! | the loop that ties these together | [`worker`] |
//! | what the operator, probes and Prometheus are told | [`board`], [`server`] |
//!
//! Nothing here is needed for correctness of what is written: ownership is decided by epochs in each unit's state
//! (`docs/design/0007-ownership-model.md`).

mod backoff;
mod board;
mod duty;
mod error;
pub mod folder;
mod keeper;
mod launch;
pub mod lease;
mod leaving;
mod lookout;
mod member;
mod part;
mod server;
#[cfg(test)]
mod simulation;
pub mod slot;
mod starts;
mod step;
mod table;
mod trial;
mod view;
mod worker;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use thalweg_core::clock::SharedClock;
use thalweg_core::unit::RunId;
use thalweg_exchange::hub::Hub;
use thalweg_exchange::link::PeerAddress;
use thalweg_exchange::network::{Listener, Network, Tcp};
use thalweg_mtls::identity::{Fingerprint, Identity, Peers};
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::job::Mounted;
use crate::metrics::By;
use crate::runtime::load::Throttle;
use board::Board;
pub use error::ClusterError;
use folder::PipelineFolder;
use launch::{Launcher, Outside};
use lease::{Card, ClusterStore, FolderStore, Leases, Store};
use table::{ClusterTable, FolderTable, Table, WATCH_SECONDS};
use worker::Worker;

/// Where slots and assignment are.
pub enum Place {
    /// In the API server.
    Cluster,
    /// In a folder.
    Folder(PipelineFolder),
}

/// What a worker is told when it starts.
pub struct Settings {
    /// Where slots and assignment are.
    pub place: Place,
    /// The namespace of the pipeline.
    pub namespace: String,
    /// The pipeline.
    pub pipeline: String,
    /// Slot Leases are called this, a dash, and a number from 0.
    pub slot_prefix: String,
    /// The name of the `StreamAssignment`.
    pub assignment: String,
    /// UID of the pod, or of the process.
    pub pod_uid: String,
    /// Address of the pod.
    pub pod_ip: IpAddr,
    /// Folder with the plan: `plan` (its hash) and `resources.yaml`.
    pub plan: PathBuf,
    /// Overrides `state.url`.
    pub state: Option<String>,
    /// The operator's installation, to which state and progress belong; without, the one that is noted beside the state.
    pub installation: Option<String>,
    /// Secrets and ConfigMaps.
    pub mounted: Mounted,
    /// A file that outlives a restart of the container, and not the pod; none, where each process has a UID of its own.
    pub starts: Option<PathBuf>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_port: u16,
    /// Where `/report` is served: over TLS in a cluster, where only those are answered who show a key that is known.
    pub report_port: u16,
    /// The operator's key; two, while it is replaced.
    pub operator_keys: Vec<Fingerprint>,
    /// Where other workers reach it.
    pub data_port: u16,
    /// Series of metrics beyond those by source and stage.
    pub metrics_by: Vec<By>,
    /// Threads that decode and aggregate.
    pub threads: usize,
    /// Memory that it may use.
    pub budget: Budget,
    /// How long its process may live once it was told to end.
    pub grace: Duration,
    /// Whether it only watches the sources, and claims no slot.
    pub is_lookout: bool,
    /// Holds it back, in tests.
    pub throttle: Option<Arc<Throttle>>,
}

/// Works until `terminate` is cancelled; then everything is committed and the slot is free.
///
/// # Errors
/// What keeps the worker from beginning: no API server in sight, no plan, a port that is taken.
pub async fn run(settings: Settings, clock: SharedClock, terminate: CancellationToken) -> Result<(), ClusterError> {
    if !has_plan(&settings, &terminate).await {
        return Ok(());
    }
    let start = settings.starts.as_deref().map_or(Ok(0), starts::count)?;
    let run_id = RunId(format!("{}/{start}", settings.pod_uid));
    let launcher = Launcher::new(&settings, run_id.clone(), clock.clone(), Outside::default())?;
    let (store, table) = shared(&settings).await?;
    let board = Arc::new(Board::new(&run_id, launcher.plan_hash()));
    let pod_ip = &settings.pod_ip;
    server::serve(pod_ip, settings.http_port, server::http(board.clone(), settings.metrics_by.clone())?).await?;
    let identity = Identity::generate()?;
    let answered = Answered::new(settings.operator_keys.clone());
    let report = server::report(board.clone());
    let report_port = match settings.place {
        Place::Cluster => {
            let known = answered.known.clone();
            server::serve_known(pod_ip, settings.report_port, report, identity.clone(), known).await?
        }
        // A folder is shared by who develops on one machine, and its processes are at the loopback address.
        Place::Folder(_) => server::serve(pod_ip, settings.report_port, report).await?,
    };
    if settings.is_lookout {
        let launcher = Arc::new(launcher);
        tracing::info!(run_id = run_id.0, plan = launcher.plan_hash(), "watching the sources");
        tokio::select! {
            () = terminate.cancelled() => {}
            () = lookout::watch(&launcher, &board) => {}
        }
        return Ok(());
    }
    let data = Data::open(&settings, identity, answered).await?;
    let address = |port| SocketAddr::new(settings.pod_ip, port);
    let card = Card {
        run_id: run_id.clone(),
        pod_uid: settings.pod_uid.clone(),
        plan: launcher.plan_hash().to_owned(),
        address: address(data.port),
        key_fingerprint: data.identity.fingerprint(),
        report: address(report_port),
    };
    tracing::info!(run_id = run_id.0, plan = launcher.plan_hash(), report = %card.report, "started");
    let leases = Arc::new(Leases::new(store, card, clock.clone()));
    let (launcher, data, grace) = (Arc::new(launcher), Arc::new(data), settings.grace);
    let worker = Worker { leases, table, launcher, board, data, run_id, clock, grace };
    worker.run(&terminate).await;
    tracing::info!("ended");
    Ok(())
}

/// Where others come to, for as long as a process lives; it is opened for one job after the other.
trait Door: Send + Sync {
    fn open(&self) -> std::io::Result<Box<dyn Listener>>;
}

impl Door for std::net::TcpListener {
    fn open(&self) -> std::io::Result<Box<dyn Listener>> {
        Ok(Box::new(tokio::net::TcpListener::from_std(self.try_clone()?)?))
    }
}

/// Who is answered that asks for the report: the operator, and the peers that the assignment names.
#[derive(Default)]
pub struct Answered {
    operator: Vec<Fingerprint>,
    known: Peers,
}

impl Answered {
    fn new(operator: Vec<Fingerprint>) -> Self {
        let answered = Self { operator, known: Peers::default() };
        answered.name(&[]);
        answered
    }

    /// From now on these are the peers.
    fn name(&self, peers: &[PeerAddress]) {
        let peers = peers.iter().map(|peer| peer.fingerprint);
        self.known.replace(self.operator.iter().copied().chain(peers));
    }
}

/// Where other workers reach this one.
pub struct Data {
    door: Box<dyn Door>,
    network: Arc<dyn Network>,
    port: u16,
    identity: Identity,
    answered: Answered,
}

impl Data {
    /// Listens.
    async fn open(settings: &Settings, identity: Identity, answered: Answered) -> Result<Self, ClusterError> {
        let (listener, port) = server::listen(&settings.pod_ip, settings.data_port).await?;
        let failed = |error: std::io::Error| ClusterError::Port { address: port.to_string(), said: error.to_string() };
        let listener = listener.into_std().map_err(failed)?;
        Ok(Self { door: Box::new(listener), network: Arc::new(Tcp), port, identity, answered })
    }

    /// Takes the connections of peers for a hub, for as long as it is not dropped.
    async fn serve(&self, hub: &Hub) -> Result<Infallible, ClusterError> {
        let failed = |error: &dyn std::fmt::Display| ClusterError::Port {
            address: self.port.to_string(),
            said: error.to_string(),
        };
        let listener = self.door.open().map_err(|error| failed(&error))?;
        hub.listen(listener, &self.identity).await.map_err(|error| failed(&error))
    }
}

/// How often a worker looks whether its coordinator has written the plan.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits for the plan where nobody mounts it before the worker starts; not once `terminate` is cancelled.
async fn has_plan(settings: &Settings, terminate: &CancellationToken) -> bool {
    let mut is_told = false;
    while matches!(settings.place, Place::Folder(_)) && !settings.plan.exists() {
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!(plan = %settings.plan.display(), "waiting for a coordinator to write the plan");
        }
        tokio::select! {
            () = terminate.cancelled() => return false,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    true
}

/// Slots and assignment, where they are.
async fn shared(settings: &Settings) -> Result<(Arc<dyn Store>, Arc<dyn Table>), ClusterError> {
    let (namespace, prefix, name) = (&settings.namespace, &settings.slot_prefix, &settings.assignment);
    Ok(match &settings.place {
        Place::Cluster => {
            let client = client().await?;
            let store = ClusterStore::new(client.clone(), namespace, prefix);
            (Arc::new(store), Arc::new(ClusterTable::new(client, namespace, name)))
        }
        Place::Folder(folder) => {
            let store = FolderStore::new(folder.leases(), prefix);
            (Arc::new(store), Arc::new(FolderTable::new(folder.assignments(), name)))
        }
    })
}

/// A client for the API server that notices a connection which has died: nothing is silent for longer than a watch lasts.
async fn client() -> Result<Client, ClusterError> {
    let mut config = Config::infer().await.map_err(|error| ClusterError::Client(error.to_string()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 5));
    Client::try_from(config).map_err(|error| ClusterError::Client(error.to_string()))
}
