//! Builds the graph of a job's tasks, from the sinks back to the sources, and runs it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::future::try_join_all;
use thalweg_core::log::{LogId, SplitId};
use thalweg_core::progress::LogProgress;
use thalweg_core::sink::{Capability, Sink, WriterId};
use thalweg_core::source::Split;
use thalweg_core::unit::{StageId, UnitId};
use thalweg_sql::stages::{InputFrom, Stage, StageKind, StageOutput};
use thalweg_sql::window::WindowedAggregate;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::Job;
use super::chunk::{Route, RouteColumn};
use super::emitter::Emitter;
use super::enumerator::Enumerator;
use super::error::{Result, RunError};
use super::message::{LogKey, Message};
use super::outbox::{Acknowledged, OutboxTask};
use super::reader::{Subscriber, Subscription};
use super::unit::{Ledger, UnitContext};
use super::windowed::{Downstream, Upstream, WindowedUnit};

/// Messages that wait for one unit.
const UNIT_QUEUE: usize = 2;
/// Entries that wait for the next stage.
const OUTBOX_QUEUE: usize = 16;
/// Chunks that wait or are in work, for each that is in work.
const CHUNKS_PER_THREAD: usize = 3;

/// A unit that was acquired and does not run yet.
pub struct Acquired {
    /// Where it receives.
    pub sender: mpsc::Sender<Message>,
    /// What it needs from outside.
    pub context: UnitContext,
    /// What an earlier owner committed.
    pub ledger: Ledger,
    /// Its writers.
    pub emitter: Emitter,
}

/// Acquires a unit: its store, what an earlier owner left, and its writers.
pub async fn acquire(job: &Job, stage: &Stage, index: u32) -> Result<Acquired> {
    let id = UnitId { stage: stage.id, index };
    let owner = job.ownership.owner(id, &job.run_id);
    let writer = WriterId { pipeline: job.name.clone(), incarnation: job.incarnation, unit: id, owner };
    let main = match &stage.output {
        StageOutput::Sink(name) => Some(sink(job, name)?),
        StageOutput::Stage(_) => None,
    };
    // Where the transactions of a sink are the commits there is nothing to store.
    let mut sinks = main.into_iter().chain(job.dead_letters.as_deref());
    let is_direct =
        matches!(stage.kind, StageKind::Stateless) && sinks.all(|sink| sink.capability() == Capability::Transactional);
    let store = if is_direct { None } else { job.stores.open(id).await? };
    let (mut ledger, sealed) = Ledger::acquire(id, store, &job.run_id, &job.ownership).await?;
    let mut emitter = Emitter::open(&writer, main, job.dead_letters.as_deref()).await?;
    // Before any row is written: the first seal clears what nobody sealed.
    ledger.publish(&mut emitter, sealed).await?;
    let (sender, messages) = mpsc::channel(UNIT_QUEUE);
    let context = UnitContext {
        id,
        commit_every: job.commit_every,
        clock: job.clock.clone(),
        counters: job.counters.clone(),
        counted: job.counters.acquired(id, ledger.record.epoch),
        messages,
    };
    Ok(Acquired { sender, context, ledger, emitter })
}

/// Makes room for units in every sink.
pub async fn prepare(job: &Job, units: Vec<UnitId>) -> Result<()> {
    for sink in job.sinks.values().chain(&job.dead_letters) {
        sink.prepare(&units).await?;
    }
    Ok(())
}

/// The keyed units of a job, by stage.
type Keyed = HashMap<StageId, Vec<Acquired>>;

/// Lists splits, acquires every unit, and starts all tasks.
pub async fn start(job: &Arc<Job>, stop: &CancellationToken) -> Result<JoinSet<Result<()>>> {
    let mut splits = Vec::new();
    for source in &job.sources {
        splits.push(source.source.splits().await?);
    }
    let keyed = acquire_keyed(job, &splits).await?;
    let mut tasks = JoinSet::new();
    let permits = Arc::new(Semaphore::new(CHUNKS_PER_THREAD * job.parallelism));
    for (index, splits) in splits.into_iter().enumerate() {
        let enumerator = Enumerator::new(job.clone(), index, permits.clone(), stop.clone(), &keyed)?;
        tasks.spawn(enumerator.run(splits, committed(&keyed)).in_current_span());
    }
    let outboxes = start_outboxes(job, &keyed, &mut tasks)?;
    start_keyed(job, keyed, outboxes, &mut tasks);
    Ok(tasks)
}

async fn acquire_keyed(job: &Job, splits: &[Vec<Split>]) -> Result<Keyed> {
    let mut keyed = Keyed::new();
    for stage in &job.plan.stages {
        if matches!(stage.kind, StageKind::Stateless) {
            continue;
        }
        prepare(job, (0..job.key_groups).map(|index| UnitId { stage: stage.id, index }).collect()).await?;
        // Side by side: opening a store waits for the disk several times.
        let mut units = try_join_all((0..job.key_groups).map(|index| acquire(job, stage, index))).await?;
        units.iter_mut().for_each(|unit| add_logs(job, stage, splits, &mut unit.ledger));
        keyed.insert(stage.id, units);
    }
    Ok(keyed)
}

fn add_logs(job: &Job, stage: &Stage, splits: &[Vec<Split>], ledger: &mut Ledger) {
    for (input, from) in (0u16..).zip(stage.inputs.iter().map(|input| &input.from)) {
        for (log, name) in (0..).zip(log_names(job, from, splits)) {
            let progress = ledger.committed(input, &name);
            ledger.add_log(LogKey { input, log }, name, progress);
        }
    }
}

fn log_names(job: &Job, from: &InputFrom, splits: &[Vec<Split>]) -> Vec<String> {
    match from {
        InputFrom::Source(name) => {
            let of_source = job.sources.iter().zip(splits).find(|(source, _)| source.name == *name);
            let splits = of_source.map_or(&[][..], |(_, splits)| splits);
            splits.iter().map(|split| split_log(name, &split.id).to_string()).collect()
        }
        InputFrom::Stage(stage) => {
            let unit = |index| LogId::Outbox(UnitId { stage: *stage, index }).to_string();
            (0..job.key_groups).map(unit).collect()
        }
    }
}

/// The name of a split as a log.
pub fn split_log(source: &str, split: &SplitId) -> LogId {
    LogId::Split { source: source.into(), split: split.clone() }
}

/// How far each keyed unit had come in each log, before this run.
fn committed(keyed: &Keyed) -> HashMap<(StageId, LogKey), Vec<LogProgress>> {
    let mut committed: HashMap<_, Vec<_>> = HashMap::new();
    for (stage, units) in keyed {
        for unit in units {
            for (log, progress) in unit.ledger.logs() {
                committed.entry((*stage, log)).or_default().push(*progress);
            }
        }
    }
    committed
}

/// What becomes of a unit's outbox.
struct Outboxes {
    downstream: HashMap<UnitId, Downstream>,
    acknowledged: HashMap<UnitId, Arc<Acknowledged>>,
}

/// One task for each outbox that a stage reads.
fn start_outboxes(job: &Job, keyed: &Keyed, tasks: &mut JoinSet<Result<()>>) -> Result<Outboxes> {
    let mut outboxes = Outboxes { downstream: HashMap::new(), acknowledged: HashMap::new() };
    for stage in &job.plan.stages {
        let StageOutput::Stage(next) = stage.output else { continue };
        let reader = &job.plan.stages[next.0 as usize];
        let input = input_from(reader, stage.id)?;
        let route = Arc::new(route(reader, input, job.key_groups, &stage.schema)?);
        for index in 0..job.key_groups {
            let (sender, entries) = mpsc::channel(OUTBOX_QUEUE);
            let log = LogKey { input, log: index };
            let subscribers = keyed[&next].iter().map(|unit| subscriber(unit, log)).collect();
            let subscription = Subscription { input, subscribers };
            let outbox = OutboxTask { log: index, route: route.clone(), subscription, entries, stage: next.0 };
            tasks.spawn(outbox.run().in_current_span());
            let acknowledged = Arc::new(Acknowledged::new(job.key_groups as usize));
            let unit = UnitId { stage: stage.id, index };
            outboxes.downstream.insert(unit, Downstream::Stage { entries: sender, acknowledged: acknowledged.clone() });
            outboxes.acknowledged.insert(unit, acknowledged);
        }
    }
    Ok(outboxes)
}

fn input_from(reader: &Stage, feeding: StageId) -> Result<u16> {
    let inputs = (0u16..).zip(&reader.inputs);
    let mut from_stage = inputs.filter(|(_, input)| input.from == InputFrom::Stage(feeding));
    from_stage
        .next()
        .map(|(index, _)| index)
        .ok_or_else(|| RunError::Internal(format!("stage {} does not read stage {feeding}, which feeds it", reader.id)))
}

fn subscriber(unit: &Acquired, log: LogKey) -> Subscriber {
    let accepted = unit.ledger.progress(log).copied().unwrap_or(LogProgress::START);
    Subscriber { sender: unit.sender.clone(), accepted }
}

fn start_keyed(job: &Job, mut keyed: Keyed, mut outboxes: Outboxes, tasks: &mut JoinSet<Result<()>>) {
    for stage in &job.plan.stages {
        let StageKind::Windowed(windows) = &stage.kind else { continue };
        for unit in keyed.remove(&stage.id).unwrap_or_default() {
            let downstream = outboxes.downstream.remove(&unit.context.id).unwrap_or(Downstream::Sink);
            let upstream = upstream(job, stage, unit.context.id.index, &outboxes);
            let span = unit_span(job, unit.context.id);
            tasks.spawn(run_keyed(windows.clone(), unit, downstream, upstream).instrument(span));
        }
    }
}

/// What a unit logs says which unit it is.
pub fn unit_span(job: &Job, unit: UnitId) -> Span {
    tracing::info_span!("unit", pipeline = job.name, %unit)
}

async fn run_keyed(
    windows: Arc<WindowedAggregate>,
    unit: Acquired,
    downstream: Downstream,
    upstream: Upstream,
) -> Result<()> {
    let Acquired { sender, context, ledger, emitter } = unit;
    // Only readers keep senders, so that a unit ends when they have.
    drop(sender);
    WindowedUnit::open(context, ledger, windows.state(), emitter, downstream, upstream).await?.run().await
}

fn upstream(job: &Job, stage: &Stage, index: u32, outboxes: &Outboxes) -> Upstream {
    let mut upstream = Upstream::new();
    for (input, from) in (0u16..).zip(stage.inputs.iter().map(|input| &input.from)) {
        let InputFrom::Stage(feeding) = from else { continue };
        for log in 0..job.key_groups {
            let unit = UnitId { stage: *feeding, index: log };
            if let Some(acknowledged) = outboxes.acknowledged.get(&unit) {
                upstream.insert(LogKey { input, log }, (acknowledged.clone(), index as usize));
            }
        }
    }
    upstream
}

fn sink<'a>(job: &'a Job, name: &str) -> Result<&'a dyn Sink> {
    let sink = job.sinks.get(name).ok_or_else(|| RunError::Internal(format!("the plan names unknown sink {name}")))?;
    Ok(&**sink)
}

/// What an input of a stage takes of what it reads, whose columns are `schema`.
pub fn route(stage: &Stage, input: u16, key_groups: u32, schema: &Schema) -> Result<Route> {
    let input = &stage.inputs[usize::from(input)];
    let column = |name: &String| match name.as_str() {
        "__log" => Ok(RouteColumn::Log),
        "__position" => Ok(RouteColumn::Place),
        name => schema.index_of(name).map(RouteColumn::Decoded).map_err(|error| RunError::Internal(error.to_string())),
    };
    let windows = match &stage.kind {
        StageKind::Stateless => None,
        StageKind::Windowed(windows) => Some((windows.clone(), key_groups)),
    };
    let columns = input.columns.iter().map(column).collect::<Result<_>>()?;
    Ok(Route { columns, transform: input.transform.clone(), windows })
}
