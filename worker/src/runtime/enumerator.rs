//! One source: its splits, the tasks that read them, and splits that appear later.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::progress::LogProgress;
use thalweg_core::source::Split;
use thalweg_core::unit::{StageId, UnitId};
use thalweg_sql::stages::InputFrom;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::chunk::ReadPlan;
use super::error::{Result, RunError};
use super::graph::{Acquired, acquire, prepare, route, split_log, unit_span};
use super::message::{LogKey, Message, deliver};
use super::reader::{SplitTask, Subscriber, Subscription};
use super::stateless::{StatelessUnit, taken};
use super::{Job, JobSource, join_all};

/// How often a source that may grow is asked for new splits.
const DISCOVERY: Duration = Duration::from_secs(1);
/// Splits of a growing source that are read at once: there may be thousands of files.
const TURNS: usize = 16;

/// Starts the readers of a source's splits.
pub struct Enumerator {
    job: Arc<Job>,
    source_index: usize,
    plan: Arc<ReadPlan>,
    /// The inputs that read this source, in the order of the statements.
    inputs: Vec<(StageId, u16)>,
    keyed: HashMap<StageId, Vec<mpsc::Sender<Message>>>,
    permits: Arc<Semaphore>,
    turns: Option<Arc<Semaphore>>,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Enumerator {
    /// An enumerator that has started nothing yet.
    pub fn new(
        job: Arc<Job>,
        source_index: usize,
        permits: Arc<Semaphore>,
        stop: CancellationToken,
        keyed: &HashMap<StageId, Vec<Acquired>>,
    ) -> Result<Self> {
        let source = &job.sources[source_index];
        let inputs = inputs_of(&job, &source.name);
        let plan = Arc::new(read_plan(&job, source, &inputs)?);
        let senders = |units: &Vec<Acquired>| units.iter().map(|unit| unit.sender.clone()).collect();
        let mine = keyed.iter().filter(|(stage, _)| inputs.iter().any(|(input, _)| input == *stage));
        let keyed = mine.map(|(stage, units)| (*stage, senders(units))).collect();
        let takes_turns = source.source.grows() && !source.source.waits();
        let turns = takes_turns.then(|| Arc::new(Semaphore::new(TURNS)));
        Ok(Self { job, source_index, plan, inputs, keyed, permits, turns, stop, tasks: JoinSet::new() })
    }

    /// Reads the splits that are known, and those that appear, until all have ended.
    pub async fn run(
        mut self,
        splits: Vec<Split>,
        mut committed: HashMap<(StageId, LogKey), Vec<LogProgress>>,
    ) -> Result<()> {
        let mut known = 0;
        prepare(&self.job, self.stateless(0..u32::try_from(splits.len()).unwrap_or(u32::MAX))).await?;
        for split in splits {
            self.start(known, split, &mut committed).await?;
            known += 1;
        }
        if self.source().source.grows() {
            self.watch(known).await?;
        }
        self.keyed.clear();
        join_all(&mut self.tasks).await
    }

    async fn watch(&mut self, mut known: u32) -> Result<()> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next() => {
                    ended.map_err(|error| RunError::Internal(format!("a task stopped: {error}")))??;
                }
                () = tokio::time::sleep(DISCOVERY) => {
                    let splits = tokio::select! {
                        () = self.stop.cancelled() => return Ok(()),
                        splits = self.source().source.splits() => splits?,
                    };
                    let new = known..u32::try_from(splits.len()).unwrap_or(u32::MAX);
                    prepare(&self.job, self.stateless(new)).await?;
                    for split in splits.into_iter().skip(known as usize) {
                        self.introduce(known, &split).await;
                        self.start(known, split, &mut HashMap::new()).await?;
                        known += 1;
                    }
                }
            }
        }
    }

    /// Tells every keyed unit to wait for a new split, before anything of it is read.
    async fn introduce(&self, log: u32, split: &Split) {
        let name = split_log(&self.source().name, &split.id).to_string();
        for &(stage, input) in &self.inputs {
            for unit in self.keyed.get(&stage).into_iter().flatten() {
                let key = LogKey { input, log };
                deliver(unit, Message::AddLog { key, name: name.clone(), progress: LogProgress::START }).await;
            }
        }
    }

    async fn start(
        &mut self,
        log: u32,
        split: Split,
        committed: &mut HashMap<(StageId, LogKey), Vec<LogProgress>>,
    ) -> Result<()> {
        let mut subscriptions = Vec::new();
        for (stage, input) in self.inputs.clone() {
            let key = LogKey { input, log };
            let subscribers = match self.keyed.get(&stage) {
                Some(units) => keyed_subscribers(units, committed.remove(&(stage, key))),
                None => vec![self.start_stateless(stage, key, &split).await?],
            };
            subscriptions.push(Subscription { input, subscribers });
        }
        let (job, source) = (&self.job, self.source());
        job.counters.sources[self.source_index].size.add(split.size.unwrap_or(0));
        let task = SplitTask {
            source: source.source.clone(),
            resource: source.resource.clone(),
            source_index: self.source_index,
            split: split.id,
            log,
            plan: self.plan.clone(),
            subscriptions,
            on_error: source.on_error,
            idle_after: source.idle_after,
            permits: self.permits.clone(),
            turns: self.turns.clone(),
            depth: job.parallelism + 1,
            clock: job.clock.clone(),
            counters: job.counters.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(task.run().in_current_span());
        Ok(())
    }

    async fn start_stateless(&mut self, stage: StageId, key: LogKey, split: &Split) -> Result<Subscriber> {
        let stage = &self.job.plan.stages[stage.0 as usize];
        let unit = UnitId::of_split(stage.id, key.input, key.log);
        let mut unit = acquire(&self.job, stage, unit.index).await?;
        let name = split_log(&self.source().name, &split.id).to_string();
        let accepted = taken(&mut unit.ledger, &mut unit.emitter, key.input, &name).await?;
        unit.ledger.add_log(key, name, accepted);
        let span = unit_span(&self.job, unit.context.id);
        self.tasks.spawn(StatelessUnit::new(unit.context, unit.ledger, unit.emitter).run().instrument(span));
        Ok(Subscriber { sender: unit.sender, accepted })
    }

    /// The units of the splits of these ordinals.
    fn stateless(&self, logs: Range<u32>) -> Vec<UnitId> {
        let inputs = self.inputs.iter().filter(|(stage, _)| !self.keyed.contains_key(stage));
        inputs.flat_map(|&(stage, input)| logs.clone().map(move |log| UnitId::of_split(stage, input, log))).collect()
    }

    fn source(&self) -> &JobSource {
        &self.job.sources[self.source_index]
    }
}

fn keyed_subscribers(units: &[mpsc::Sender<Message>], committed: Option<Vec<LogProgress>>) -> Vec<Subscriber> {
    let committed = committed.unwrap_or_else(|| vec![LogProgress::START; units.len()]);
    let pairs = units.iter().zip(committed);
    pairs.map(|(sender, accepted)| Subscriber { sender: sender.clone(), accepted }).collect()
}

fn inputs_of(job: &Job, source: &str) -> Vec<(StageId, u16)> {
    let stages = job.plan.stages.iter();
    let inputs =
        stages.flat_map(|stage| (0u16..).zip(&stage.inputs).map(move |(index, input)| (stage.id, index, input)));
    let of_source = inputs.filter(|(_, _, input)| matches!(&input.from, InputFrom::Source(name) if name == source));
    of_source.map(|(stage, index, _)| (stage, index)).collect()
}

fn read_plan(job: &Job, source: &JobSource, inputs: &[(StageId, u16)]) -> Result<ReadPlan> {
    let schema = source.decoder.schema();
    let routes =
        inputs.iter().map(|&(stage, input)| route(&job.plan.stages[stage.0 as usize], input, job.key_groups, schema));
    let watermark = source
        .watermark
        .as_ref()
        .and_then(|watermark| schema.index_of(&watermark.column).ok().map(|column| (column, watermark.delay_ms)));
    Ok(ReadPlan {
        decoder: source.decoder.clone(),
        watermark,
        keep_late: source.keep_late,
        routes: routes.collect::<Result<_>>()?,
    })
}
