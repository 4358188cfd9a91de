//! Runs one planned pipeline: units that subscribe to logs, which are splits and the outboxes of other units.
//!
//! ```text
//! split ── reader ──▶ stateless unit ──▶ sink
//!                └──▶ windowed units ──▶ outbox ──▶ windowed units of the next stage ──▶ … ──▶ sink
//! ```
//!
//! Who serves a log and who reads it find each other through the exchange's hub, within this process or beyond it.
//!
//! | To find | look in |
//! |---|---|
//! | what one process shares; how readers and units start | [`node`], [`graph`], [`enumerator`], [`logs`] |
//! | a split: reading, decoding and folding, what each unit gets of it | [`reader`], [`chunk`], [`split_log`], [`groups`] |
//! | what a unit has subscribed to | [`inbox`], [`message`] |
//! | units: what is common, stateless, keyed; what is restored, and at which epoch | [`unit`], [`stateless`], [`windowed`], [`restored`], [`ownership`] |
//! | output: seal, commit, publish; the next stage; what sinks refuse | [`emitter`], [`outbox`], [`backlog`], [`rejected`], [`dead_letter`] |
//! | keys of a store | [`layout`] |
//! | lookup tables | [`lookup`] |
//! | counters, lag, load; what cannot go on | [`counters`], [`lag`], [`load`], [`failures`], [`error`] |
//! | what happens when nothing comes | [`quiet`] |

mod backlog;
pub mod chunk;
pub mod counters;
pub mod dead_letter;
pub mod emitter;
mod enumerator;
pub mod error;
mod failures;
mod graph;
mod groups;
mod inbox;
pub mod lag;
pub mod layout;
pub mod load;
mod logs;
pub mod lookup;
mod message;
mod node;
pub mod outbox;
pub mod ownership;
mod quiet;
mod reader;
mod rejected;
mod restored;
mod split_log;
mod stateless;
mod unit;
mod windowed;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use thalweg_core::clock::SharedClock;
use thalweg_core::commit::{UnitEntries, UnitStore};
use thalweg_core::decode::Decoder;
use thalweg_core::sink::Sink;
use thalweg_core::source::Source;
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};
use thalweg_crds::source::OnError;
use thalweg_exchange::hub::Hub;
use thalweg_sql::catalog::WatermarkSpec;
use thalweg_sql::stages::{PlannedPipeline, Stage, StageKind};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::budget::Budget;
use counters::Counters;
use enumerator::{Enumerator, Stop};
pub use error::{Result, RunError};
pub use failures::{Failed, Failures};
use load::Throttle;
pub use node::{Node, split_log, unit_span};
use ownership::Ownership;
pub use quiet::unmap_when_quiet;
pub use restored::Restored;
pub use unit::Done;

/// How often a process looks how far behind it is.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A pipeline with everything that it touches.
pub struct Job {
    /// `NAMESPACE.NAME`.
    pub name: String,
    /// What to do.
    pub plan: PlannedPipeline,
    /// The hash of the plan: rows are exchanged only between workers of one.
    pub plan_hash: Arc<str>,
    /// The sources that the plan reads, in the order of [`Counters::sources`].
    pub sources: Vec<JobSource>,
    /// The sinks by SQL name.
    pub sinks: HashMap<String, JobSink>,
    /// Where dead letters go.
    pub dead_letters: Option<JobSink>,
    /// The start from scratch that this run belongs to.
    pub incarnation: Incarnation,
    /// By the number that a stage has in the plan, the one that its units bear where they are kept and in what they write.
    pub kept: BTreeMap<StageId, StageId>,
    /// Whether a restart goes on where this run was: there is a state URL, or sinks keep all that is to be kept.
    pub is_kept: bool,
    /// Where a sink keeps all that is to be kept: the id of its progress topic.
    pub progress: Option<String>,
    /// This process.
    pub run_id: RunId,
    /// Units of each keyed stage.
    pub key_groups: u32,
    /// How often units commit at the most.
    pub commit_every: Duration,
    /// Where units keep their state.
    pub stores: Arc<dyn Stores>,
    /// Chunks in work at once.
    pub parallelism: usize,
    /// Memory that the process may use.
    pub budget: Budget,
    /// Holds the process back, in tests.
    pub throttle: Option<Arc<Throttle>>,
    /// Where time comes from.
    pub clock: SharedClock,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Job {
    /// A stage of the plan.
    ///
    /// # Errors
    /// It has no such stage.
    fn stage(&self, id: StageId) -> Result<&Stage> {
        self.plan.stage(id).ok_or_else(|| RunError::Internal(format!("the plan has no stage {id}")))
    }

    /// How many keyed units there are.
    fn keyed_units(&self) -> usize {
        keyed_units(&self.plan, self.key_groups)
    }

    /// A unit, as it is kept and as the names of what it writes say it.
    fn kept(&self, unit: UnitId) -> UnitId {
        UnitId { stage: self.kept.get(&unit.stage).copied().unwrap_or(unit.stage), ..unit }
    }
}

/// How many units the keyed stages of a plan have.
pub fn keyed_units(plan: &PlannedPipeline, key_groups: u32) -> usize {
    let keyed = plan.stages.iter().filter(|stage| !matches!(stage.kind, StageKind::Stateless)).count();
    keyed.saturating_mul(key_groups as usize)
}

/// A source of a job.
pub struct JobSource {
    /// The name in SQL.
    pub name: String,
    /// The resource, as messages name it: `StreamSource/trips`.
    pub resource: String,
    /// What is read.
    pub source: Arc<dyn Source>,
    /// Decodes the columns that the plan needs.
    pub decoder: Arc<dyn Decoder>,
    /// Its watermark.
    pub watermark: Option<WatermarkSpec>,
    /// How long a reader stands at its log's end before the log counts as idle.
    pub idle_after: Option<Duration>,
    /// Whether late rows become dead letters.
    pub keep_late: bool,
    /// What bad records do.
    pub on_error: OnError,
}

/// A sink of a job.
pub struct JobSink {
    /// The name in SQL.
    pub name: String,
    /// The resource, as messages name it: `StreamSink/out`.
    pub resource: String,
    /// What is written.
    pub sink: Arc<dyn Sink>,
    /// What rows do that the system would not take.
    pub on_error: OnError,
}

/// Where units keep their state.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Opens a unit's store as its writer; `None` where state lives in memory only.
    async fn open(&self, unit: UnitId) -> thalweg_core::error::Result<Option<Arc<dyn UnitStore>>>;

    /// A unit's store as it is now, whoever writes it; `None` where nobody but the writer can read it.
    async fn view(&self, unit: UnitId) -> thalweg_core::error::Result<Option<Arc<dyn UnitEntries>>>;
}

/// A job whose keyed units are acquired and whose tasks run. Dropped, they end where they stand.
pub struct Running {
    node: Arc<Node>,
    /// Keyed units.
    units: JoinSet<Result<()>>,
    enumerators: JoinSet<Result<()>>,
    failures: mpsc::UnboundedReceiver<Failed>,
    /// No keyed unit needs what enumerators serve.
    done: CancellationToken,
}

/// Acquires a job's units and starts it. It ends when its input does, when something fails, or when `stop` is cancelled.
pub async fn start(job: Job, stop: &CancellationToken) -> Result<Running> {
    let mut splits = Vec::new();
    for source in &job.sources {
        splits.push(source.source.splits().await?);
    }
    let (told, failures) = Failures::new();
    // Nobody else waits while a unit takes its time.
    let hub = Hub::new(job.run_id.clone(), job.clock.clone(), Duration::MAX);
    let node = Arc::new(Node::new(Arc::new(job), hub, told)?);
    let stop = Arc::new(Stop::new(stop.clone(), node.job.sources.len()));
    let units = start_keyed(&node, &stop.units).await?;
    let (mut enumerators, done) = (JoinSet::new(), CancellationToken::new());
    for (source, splits) in splits.into_iter().enumerate() {
        let enumerator = Enumerator::new(node.clone(), source, stop.clone());
        enumerators.spawn(enumerator.run(splits, done.clone()).in_current_span());
    }
    Ok(Running { node, units, enumerators, failures, done })
}

async fn start_keyed(node: &Arc<Node>, stop: &CancellationToken) -> Result<JoinSet<Result<()>>> {
    let keyed = node.keyed();
    node.prepare(&keyed).await?;
    // Side by side: opening a store waits for the disk several times.
    let acquired = keyed.iter().map(|unit| node.acquire(*unit, Ownership::Own, None, (stop.clone(), Done::End)));
    let acquired = try_join_all(acquired).await?;
    let mut units = JoinSet::new();
    for (unit, acquired) in keyed.iter().zip(acquired) {
        units.spawn(acquired.run().instrument(unit_span(&node.job, *unit)));
    }
    Ok(units)
}

impl Running {
    /// Waits for its end; then everything is committed.
    pub async fn end(mut self) -> Result<()> {
        let node = self.node.clone();
        tokio::select! {
            ended = self.join_all() => ended?,
            never = unmap_when_quiet(&node.job.counters) => match never {},
            never = look(&node) => match never {},
        }
        node.finish().await
    }

    /// Waits until every task has ended; the first error is the result, and dropping the sets ends the others.
    async fn join_all(&mut self) -> Result<()> {
        loop {
            if self.units.is_empty() {
                self.done.cancel();
            }
            tokio::select! {
                Some(failed) = self.failures.recv() => return Err(failed.error),
                Some(ended) = self.units.join_next() => joined(ended)?,
                ended = self.enumerators.join_next() => match ended {
                    Some(ended) => joined(ended)?,
                    None => return Ok(()),
                },
            }
        }
    }
}

/// Looks how far behind the ends of splits it is, now and then.
async fn look(node: &Node) -> Infallible {
    let mut rates = lag::Rates::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        node.figures(&mut rates, |_| true).await;
    }
}

/// Waits so long; for ever, where there is no end to it.
pub async fn wait(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// The end of a task.
pub fn joined(ended: Result<Result<()>, JoinError>) -> Result<()> {
    ended.map_err(|error| RunError::Internal(format!("a task stopped: {error}")))?
}

/// Runs a job until its input ends, something fails, or `stop` is cancelled; then everything is committed.
pub async fn run(job: Job, stop: CancellationToken) -> Result<()> {
    start(job, &stop).await?.end().await
}
