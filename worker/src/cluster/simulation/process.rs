//! One worker: its real code on a runtime of its own, which stands still, goes on and is killed as a process is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use thalweg_core::clock::{Clock, SharedClock};
use thalweg_core::unit::RunId;
use thalweg_crds::report::Report;
use thalweg_mtls::identity::Identity;
use thalweg_state::StateRoot;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::broker::{self, Broker};
use super::control::{self, Server};
use super::network::{Cables, Plug, address};
use super::objects::Objects;
use super::world::{BEGINNING, World};
use crate::budget::Budget;
use crate::cluster::board::Board;
use crate::cluster::folder::PipelineFolder;
use crate::cluster::launch::{Launcher, Outside};
use crate::cluster::lease::{Card, Leases};
use crate::cluster::worker::Worker;
use crate::cluster::{Answered, Data, Place, Settings};
use crate::job::{Mounted, Roots};

/// Where the manifest says that state is.
pub const STATE: &str = "s3://played";

/// How long a worker may live that is told to end: as the operator gives its pods.
pub const GRACE: Duration = Duration::from_secs(75);

/// What the processes of a history share.
#[derive(Clone)]
pub struct Surroundings {
    pub world: Arc<World>,
    pub broker: Arc<Broker>,
    pub objects: Objects,
    pub cables: Arc<Cables>,
    pub server: Arc<Server>,
}

/// A worker, from life to life.
pub struct Process {
    around: Surroundings,
    number: usize,
    life: u16,
    /// How far its wall clock is off, in milliseconds.
    off: Arc<AtomicI64>,
    alive: Option<Alive>,
}

struct Alive {
    runtime: Runtime,
    terminate: CancellationToken,
    task: JoinHandle<()>,
    board: Arc<Board>,
    born: Instant,
    born_at: Duration,
    /// Until when it stands still.
    halted: Option<Duration>,
}

struct PlayedClock {
    born: Instant,
    born_at: Duration,
    off: Arc<AtomicI64>,
}

impl Clock for PlayedClock {
    fn monotonic(&self) -> Duration {
        Instant::now() - self.born
    }

    fn wall_millis(&self) -> i64 {
        let since = self.born_at + self.monotonic();
        BEGINNING + i64::try_from(since.as_millis()).unwrap_or(i64::MAX) + self.off.load(Ordering::Relaxed)
    }
}

impl Process {
    pub fn new(around: Surroundings, number: usize) -> Self {
        Self { around, number, life: 0, off: Arc::default(), alive: None }
    }

    /// Starts it, where it does not run.
    pub fn start(&mut self, plan: &Path, pipeline: &str) {
        if self.alive.is_some() {
            return;
        }
        self.life += 1;
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let inside = runtime.enter();
        let (born, born_at) = (Instant::now(), self.around.world.now());
        let clock: SharedClock = Arc::new(PlayedClock { born, born_at, off: self.off.clone() });
        let worker = self.worker(plan, pipeline, clock);
        let board = worker.board.clone();
        let span = tracing::info_span!("worker", number = self.number);
        let terminate = CancellationToken::new();
        let told = terminate.clone();
        let task = runtime.spawn(async move { worker.run(&told).await }.instrument(span));
        drop(inside);
        self.around.world.note(format!("worker {}: starts", self.number));
        self.alive = Some(Alive { runtime, terminate, task, board, born, born_at, halted: None });
    }

    /// What [`crate::cluster::run`] makes, but for the ports that nobody asks here.
    fn worker(&self, plan: &Path, pipeline: &str, clock: SharedClock) -> Worker {
        let Surroundings { broker, objects, cables, server, .. } = self.around.clone();
        let uid = format!("worker-{}-{}", self.number, self.life);
        let at = address(self.number, self.life);
        let settings = Settings {
            place: Place::Folder(PipelineFolder::new(plan, "default", pipeline)),
            namespace: "default".to_owned(),
            pipeline: pipeline.to_owned(),
            slot_prefix: pipeline.to_owned(),
            assignment: pipeline.to_owned(),
            pod_uid: uid.clone(),
            pod_ip: at.ip(),
            plan: plan.to_owned(),
            state: None,
            installation: None,
            mounted: Mounted::together(None),
            starts: None,
            http_port: 0,
            report_port: 0,
            operator_keys: Vec::new(),
            data_port: at.port(),
            metrics_by: Vec::new(),
            threads: 1,
            budget: Budget::default(),
            grace: GRACE,
            is_lookout: false,
            throttle: None,
        };
        let run_id = RunId(format!("{uid}/0"));
        let root = StateRoot::over(STATE, Arc::new(objects), "installation", clock.clone());
        let roots = Roots::of(STATE, root);
        let outside = Outside { kafka: Arc::new(broker::Way(broker)), roots: Mutex::new(roots) };
        let launcher = Launcher::new(&settings, run_id.clone(), clock.clone(), outside).expect("a plan");
        let identity = Identity::generate().expect("a key");
        let card = Card {
            run_id: run_id.clone(),
            pod_uid: uid,
            plan: launcher.plan_hash().to_owned(),
            address: at,
            key_fingerprint: identity.fingerprint(),
            report: at,
        };
        cables.open(at);
        let plug = || Plug { cables: cables.clone(), at };
        let data = Data {
            door: Box::new(plug()),
            network: Arc::new(plug()),
            port: at.port(),
            identity,
            answered: Answered::default(),
        };
        let way = control::Way(server);
        Worker {
            leases: Arc::new(Leases::new(Arc::new(way.clone()), card, clock.clone())),
            table: Arc::new(way),
            board: Arc::new(Board::new(&run_id, launcher.plan_hash())),
            launcher: Arc::new(launcher),
            data: Arc::new(data),
            run_id,
            clock,
            grace: GRACE,
        }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        if let Some(alive) = &self.alive {
            self.around.world.note(format!("worker {}: is told to end", self.number));
            alive.terminate.cancel();
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.alive.as_ref().is_some_and(|alive| alive.task.is_finished())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(alive) = self.alive.take() {
            self.around.world.note(format!("worker {}: is killed", self.number));
            drop(alive);
            self.around.cables.close(address(self.number, self.life));
        }
    }

    /// SIGSTOP until then: it does nothing, and knows nothing of it.
    pub fn halt(&mut self, until: Duration) {
        if let Some(alive) = &mut self.alive {
            self.around.world.note(format!("worker {}: stands still", self.number));
            alive.halted = Some(until);
        }
    }

    /// Its wall clock is off by so many milliseconds from now on.
    pub fn set_wall_clock(&self, off: i64) {
        self.around.world.note(format!("worker {}: its clock is off by {off} ms", self.number));
        self.off.store(off, Ordering::Relaxed);
    }

    /// What it reports; nothing where it does not answer.
    pub fn report(&self) -> Option<Report> {
        self.alive.as_ref().filter(|alive| alive.halted.is_none()).map(|alive| alive.board.report())
    }

    /// Lets it work until then.
    pub fn work(&mut self, until: Duration) {
        let Some(alive) = &mut self.alive else { return };
        if alive.halted.is_some_and(|halted| until < halted) {
            return;
        }
        let wanted = alive.born + (until - alive.born_at);
        if alive.halted.take().is_some() {
            self.around.world.note(format!("worker {}: goes on", self.number));
            alive.runtime.block_on(async {
                tokio::time::advance(wanted.saturating_duration_since(Instant::now())).await;
            });
        }
        alive.runtime.block_on(async { tokio::time::sleep_until(wanted).await });
    }
}
