//! Runs one planned pipeline in this process: readers, units and outboxes, joined by bounded queues.
//!
//! ```text
//! split ── reader ──▶ stateless unit ──▶ sink
//!                └──▶ windowed units ──▶ outbox ──▶ windowed units of the next stage ──▶ … ──▶ sink
//! ```

mod backlog;
pub mod chunk;
pub mod counters;
pub mod dead_letter;
pub mod emitter;
mod enumerator;
pub mod error;
mod graph;
pub mod layout;
pub mod lookup;
mod message;
pub mod outbox;
pub mod ownership;
mod quiet;
mod reader;
mod stateless;
mod unit;
mod windowed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::clock::SharedClock;
use thalweg_core::commit::UnitStore;
use thalweg_core::decode::Decoder;
use thalweg_core::sink::Sink;
use thalweg_core::source::Source;
use thalweg_core::unit::{Incarnation, RunId, UnitId};
use thalweg_crds::source::OnError;
use thalweg_sql::catalog::WatermarkSpec;
use thalweg_sql::stages::PlannedPipeline;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use counters::Counters;
pub use error::{Result, RunError};
use ownership::Ownership;

/// A pipeline with everything that it touches.
pub struct Job {
    /// `NAMESPACE.NAME`.
    pub name: String,
    /// What to do.
    pub plan: PlannedPipeline,
    /// The sources that the plan reads, in the order of [`Counters::sources`].
    pub sources: Vec<JobSource>,
    /// The sinks by SQL name.
    pub sinks: HashMap<String, Arc<dyn Sink>>,
    /// Where dead letters go.
    pub dead_letters: Option<Arc<dyn Sink>>,
    /// The start from scratch that this run belongs to.
    pub incarnation: Incarnation,
    /// Whether a restart goes on where this run was: there is a state URL, or sinks keep all that is to be kept.
    pub is_kept: bool,
    /// This process.
    pub run_id: RunId,
    /// At which epochs it acquires units.
    pub ownership: Ownership,
    /// Units of each keyed stage.
    pub key_groups: u32,
    /// How often units commit at the most.
    pub commit_every: Duration,
    /// Where units keep their state.
    pub stores: Arc<dyn Stores>,
    /// Chunks in work at once.
    pub parallelism: usize,
    /// Where time comes from.
    pub clock: SharedClock,
    /// What is counted.
    pub counters: Arc<Counters>,
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

/// Where units keep their state.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Opens a unit's store as its writer; `None` where state lives in memory only.
    async fn open(&self, unit: UnitId) -> thalweg_core::error::Result<Option<Arc<dyn UnitStore>>>;
}

/// A job whose keyed units are acquired and whose tasks run. Dropped, they end where they stand.
pub struct Running {
    job: Arc<Job>,
    tasks: JoinSet<Result<()>>,
}

/// Acquires a job's units and starts it. It ends when its input does, when something fails, or when `stop` is cancelled.
pub async fn start(job: Job, stop: &CancellationToken) -> Result<Running> {
    let job = Arc::new(job);
    let tasks = graph::start(&job, stop).await?;
    Ok(Running { job, tasks })
}

impl Running {
    /// Waits for its end; then everything is committed.
    pub async fn end(mut self) -> Result<()> {
        tokio::select! {
            ended = join_all(&mut self.tasks) => ended?,
            never = quiet::give_back(&self.job.counters) => match never {},
        }
        for sink in self.job.sinks.values().chain(&self.job.dead_letters) {
            sink.finish().await?;
        }
        Ok(())
    }
}

/// Runs a job until its input ends, something fails, or `stop` is cancelled; then everything is committed.
pub async fn run(job: Job, stop: CancellationToken) -> Result<()> {
    start(job, &stop).await?.end().await
}

/// Waits until every task has ended; the first error is the result, and dropping the set ends the others.
async fn join_all(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| RunError::Internal(format!("a task stopped: {error}")))??;
    }
    Ok(())
}
