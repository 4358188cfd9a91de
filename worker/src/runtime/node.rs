//! What the units and readers of a job share in one process, and how one of each starts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use futures::try_join;
use thalweg_core::clock::SharedClock;
use thalweg_core::log::{LogId, SplitId};
use thalweg_core::sink::{Capability, WriterId};
use thalweg_core::time::Watermark;
use thalweg_core::unit::UnitId;
use thalweg_exchange::budget::Budget;
use thalweg_exchange::hub::{Hub, Served};
use thalweg_exchange::message::Stamp;
use thalweg_sql::stages::{InputFrom, Stage, StageKind, StageOutput};
use thalweg_sql::window::{LAYOUT_VERSION, WindowSpec};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::chunk::ReadPlan;
use super::counters::UnitCounters;
use super::emitter::Emitter;
use super::error::{Result, RunError};
use super::failures::Failures;
use super::graph::{input_from, read_plan, readers_of, route};
use super::groups::GroupPolicy;
use super::inbox::Inbox;
use super::lag::{Gauges, Rates, SplitFigures};
use super::load;
use super::logs::{Inputs, Listing};
use super::message::LogKey;
use super::outbox::{Judge, Outbox, ServedOutbox};
use super::ownership::Ownership;
use super::restored::Restored;
use super::split_log::{ReadBy, ServedSplit, SplitLog};
use super::stateless::{StatelessUnit, taken};
use super::unit::{Done, Ledger, UnitContext, record};
use super::windowed::{Downstream, WindowedUnit};
use super::{Job, JobSink};
use crate::budget::RANGE_BYTES;

/// Chunks that wait or are in work, for each that is in work.
const CHUNKS_PER_THREAD: usize = 3;
/// Splits of a growing source that are read at once: there may be thousands of files.
const TURNS: usize = 16;

/// Ranges of one log that may be on their way to a unit.
const WINDOW: u32 = 2;
/// Units whose state is read at once before they are owned.
const WARMING: usize = 2;
/// A unit is warm once what was committed meanwhile took no longer to be read than this.
const WARM: Duration = Duration::from_millis(100);
/// How often it is looked what was committed meanwhile: a unit that commits faster than it is followed is taken as it is.
const LOOKS: usize = 10;

/// What the units and readers of a job share.
pub struct Node {
    /// The job.
    pub job: Arc<Job>,
    /// Where they find each other.
    hub: Hub,
    stamp: Stamp,
    permits: Arc<Semaphore>,
    /// Bounds the ranges that wait for units.
    ranges: Budget,
    /// Bounds the units whose state is read before they are owned.
    warming: Semaphore,
    failures: Failures,
    sources: Vec<SourceNode>,
    gauges: Gauges,
}

/// What the readers of one source share.
struct SourceNode {
    listing: watch::Sender<Listing>,
    plan: Arc<ReadPlan>,
    readers: Vec<ReadBy>,
    turns: Option<Arc<Semaphore>>,
}

/// A unit that was acquired and does not run yet.
pub struct Unit {
    kind: Kind,
    clock: SharedClock,
    counted: Arc<UnitCounters>,
}

enum Kind {
    Stateless(Box<StatelessUnit>),
    Windowed(Box<WindowedUnit>),
}

impl Unit {
    /// Runs until all its input was read and delivered, or until it is told to stop; then everything is committed.
    pub async fn run(self) -> Result<()> {
        let Self { kind, clock, counted } = self;
        let runs = async {
            match kind {
                Kind::Stateless(unit) => unit.run().await,
                Kind::Windowed(unit) => unit.run().await,
            }
        };
        load::working(&*clock, &counted.worked_nanos, runs).await
    }
}

impl Node {
    /// Nothing is read or owned yet.
    pub fn new(job: Arc<Job>, hub: Hub, failures: Failures) -> Result<Self> {
        let sources = job.sources.iter().map(|source| {
            let readers = readers_of(&job, &source.name);
            let plan = Arc::new(read_plan(&job, source, &readers)?);
            let takes_turns = source.source.grows() && !source.source.waits();
            let turns = takes_turns.then(|| Arc::new(Semaphore::new(TURNS)));
            Ok(SourceNode { listing: watch::Sender::default(), plan, readers, turns })
        });
        let sources = sources.collect::<Result<_>>()?;
        let stamp = Stamp {
            plan: job.plan_hash.clone(),
            layout: LAYOUT_VERSION,
            incarnation: job.incarnation,
            closed: Watermark::UNKNOWN,
        };
        let permits = Arc::new(Semaphore::new(job.budget.chunks(CHUNKS_PER_THREAD * job.parallelism)));
        let ranges = Budget::new(job.budget.exchange_bytes(), RANGE_BYTES, WINDOW);
        let warming = Semaphore::new(WARMING);
        Ok(Self { job, hub, stamp, permits, ranges, warming, failures, sources, gauges: Gauges::default() })
    }

    /// The splits of a source that are known.
    pub fn listing(&self, source: usize) -> &watch::Sender<Listing> {
        &self.sources[source].listing
    }

    /// The units of stateless stages that take splits of a source, by the splits' ordinals.
    pub fn stateless(&self, source: usize, splits: std::ops::Range<u32>) -> Vec<UnitId> {
        let is_stateless =
            |stage| self.job.plan.stage(stage).is_some_and(|stage| matches!(stage.kind, StageKind::Stateless));
        let readers = self.sources[source].readers.iter().filter(|reader| is_stateless(reader.stage));
        readers
            .flat_map(|reader| splits.clone().map(|split| UnitId::of_split(reader.stage, reader.input, split)))
            .collect()
    }

    /// The units of keyed stages.
    pub fn keyed(&self) -> Vec<UnitId> {
        let stages = self.job.plan.stages.iter().filter(|stage| !matches!(stage.kind, StageKind::Stateless));
        let units = |stage: &Stage| {
            let stage = stage.id;
            (0..self.job.key_groups).map(move |index| UnitId { stage, index })
        };
        stages.flat_map(units).collect()
    }

    /// Makes room for units in every sink.
    pub async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        let units: Vec<_> = units.iter().map(|unit| self.job.kept(*unit)).collect();
        for JobSink { sink, .. } in self.job.sinks.values().chain(&self.job.dead_letters) {
            sink.prepare(&units).await?;
        }
        Ok(())
    }

    /// Nothing more is written to any sink.
    pub async fn finish(&self) -> Result<()> {
        for JobSink { sink, .. } in self.job.sinks.values().chain(&self.job.dead_letters) {
            sink.finish().await?;
        }
        Ok(())
    }

    /// Reads a split for whoever subscribes, until the guard is dropped.
    pub fn read(&self, source: usize, number: u32, split: &SplitId) -> Served {
        let (node, source) = (&self.sources[source], (source, &self.job.sources[source]));
        let id = split_log(&source.1.name, split);
        let log = SplitLog {
            source: source.1.source.clone(),
            resource: source.1.resource.clone(),
            source_index: source.0,
            split: split.clone(),
            number,
            plan: node.plan.clone(),
            readers: node.readers.clone(),
            stamp: self.stamp.clone(),
            on_error: source.1.on_error,
            idle_after: source.1.idle_after,
            permits: self.permits.clone(),
            throttle: self.job.throttle.clone(),
            turns: node.turns.clone(),
            depth: depth(self.job.parallelism),
            clock: self.job.clock.clone(),
            counters: self.job.counters.clone(),
            failures: self.failures.about(id.clone()),
            counted: Mutex::default(),
            gauge: Arc::default(),
        };
        self.gauges.add(source.0, split.clone(), &log.gauge);
        self.hub.serve(id, Arc::new(ServedSplit(Arc::new(log))))
    }

    /// What is known now of the splits that are read here. The pipeline's counters are told, and whom sources show it, of those that
    /// `is_shown`.
    pub async fn figures(&self, rates: &mut Rates, is_shown: impl Fn(&LogId) -> bool) -> Vec<SplitFigures> {
        let read = self.gauges.all();
        let figures = read.iter().map(|(gauged, gauge)| {
            let rate = rates.of(gauged, gauge, self.job.clock.monotonic());
            async move {
                let source = &self.job.sources[gauged.source].source;
                // Where nobody answers nothing is known; reading says so.
                let bounds = source.bounds(&gauged.split).await.ok().flatten();
                let lag = bounds.map(|bounds| gauge.lag(bounds, self.job.clock.wall_millis()));
                let (source, split) = (gauged.source, gauged.split.clone());
                SplitFigures {
                    source,
                    split,
                    end: bounds.map(|bounds| bounds.end),
                    accepted: gauge.accepted(),
                    lag,
                    rate,
                }
            }
        });
        let figures = join_all(figures.collect::<Vec<_>>()).await;
        for (source, counters) in self.job.counters.sources.iter().enumerate() {
            let of_source = || figures.iter().filter(|figures| figures.source == source);
            let lags = of_source().map(|figures| (figures.split.as_str().to_owned(), figures.lag));
            counters.set_lag(&lags.collect::<Vec<_>>());
            let ends = of_source().filter_map(|figures| {
                Some((figures.split.as_str().to_owned(), u64::try_from(figures.end?.offset).ok()?))
            });
            counters.set_ends(ends.collect());
        }
        for (index, source) in self.job.sources.iter().enumerate() {
            let of_source = read.iter().filter(|(gauged, _)| gauged.source == index);
            let of_source = of_source.filter(|(gauged, _)| is_shown(&split_log(&source.name, &gauged.split)));
            let taken = of_source.filter_map(|(gauged, gauge)| Some((gauged.split.clone(), gauge.accepted()?)));
            source.source.show_taken(&taken.collect::<Vec<_>>()).await;
        }
        figures
    }

    /// The splits that are read here and of which nobody has answered for some seconds, with what is known of that.
    pub fn outages(&self) -> Vec<(LogId, RunError)> {
        let outage = |source: usize, split: &SplitId| {
            let source = &self.job.sources[source];
            let error = source.source.outage(split)?;
            Some((split_log(&source.name, split), RunError::from(error)))
        };
        self.gauges.all().iter().filter_map(|(gauged, _)| outage(gauged.source, &gauged.split)).collect()
    }

    /// What is known of the sinks that have taken nothing for some seconds.
    pub fn sink_outages(&self) -> Vec<RunError> {
        let sinks = self.job.sinks.values().chain(&self.job.dead_letters);
        sinks.filter_map(|sink| sink.sink.outage()).map(RunError::from).collect()
    }

    /// Reads the windows of a unit that another worker owns, which works on meanwhile; `None` where there are none to read.
    ///
    /// # Errors
    /// They cannot be read, or not yet.
    pub async fn warm(&self, id: UnitId) -> Result<Option<Restored>> {
        let StageKind::Windowed(windows) = &self.stage(id)?.kind else { return Ok(None) };
        if matches!(windows.window, WindowSpec::Session { .. }) {
            // They cannot be followed.
            return Ok(None);
        }
        let Ok(_permit) = self.warming.acquire().await else { return Ok(None) };
        let mut restored = Restored::nothing(id.stage, windows);
        for _ in 0..LOOKS {
            let started = self.job.clock.monotonic();
            let Some(view) = self.job.stores.view(id).await? else { return Ok(None) };
            let Some(record) = record(&*view).await? else { return Ok(None) };
            restored.catch_up(&*view, &record).await?;
            if self.job.clock.monotonic() - started <= WARM {
                break;
            }
        }
        Ok(Some(restored))
    }

    /// Acquires a unit: its store, what an earlier owner left, and its writers. It reads from where that owner was.
    /// `warmed` is what [`Node::warm`] gave.
    pub async fn acquire(
        &self,
        id: UnitId,
        ownership: Ownership,
        warmed: Option<Restored>,
        (stop, done): (CancellationToken, Done),
    ) -> Result<Unit> {
        let stage = self.stage(id)?;
        let mut windows = match &stage.kind {
            StageKind::Stateless => None,
            StageKind::Windowed(windows) => Some(warmed.unwrap_or_else(|| Restored::nothing(id.stage, windows))),
        };
        let (ledger, mut emitter) = self.open(stage, id, ownership, windows.as_mut()).await?;
        let counted = self.job.counters.acquired(id, ledger.record.epoch);
        emitter.count_waits(self.job.clock.clone(), counted.clone());
        let inbox = Inbox::new(
            id,
            ledger.record.epoch,
            self.stamp.clone(),
            self.hub.clone(),
            self.job.clock.clone(),
            self.ranges.clone(),
        );
        let context = UnitContext {
            id,
            commit_every: self.job.commit_every,
            clock: self.job.clock.clone(),
            counters: self.job.counters.clone(),
            counted,
            groups: GroupPolicy::of(&self.job, stage),
            inputs: Inputs::new(),
            inbox,
            stop,
            done,
        };
        let (clock, counted) = (self.job.clock.clone(), context.counted.clone());
        let kind = match windows {
            None => self.stateless_unit(stage, context, ledger, emitter).await?,
            Some(windows) => {
                let context = UnitContext { inputs: self.inputs(stage)?, ..context };
                let downstream = self.downstream(stage, id, &ledger)?;
                let memory = self.job.budget.of_unit(self.job.keyed_units());
                let unit = WindowedUnit::open(context, ledger, windows, emitter, downstream, memory).await?;
                Kind::Windowed(Box::new(unit))
            }
        };
        Ok(Unit { kind, clock, counted })
    }

    /// Opens what a unit has, and restores what is not restored yet of its windows.
    async fn open(
        &self,
        stage: &Stage,
        id: UnitId,
        ownership: Ownership,
        windows: Option<&mut Restored>,
    ) -> Result<(Ledger, Emitter)> {
        let job = &self.job;
        let owner = ownership.owner(&job.run_id);
        let writer = WriterId { pipeline: job.name.clone(), incarnation: job.incarnation, unit: job.kept(id), owner };
        let main = match &stage.output {
            StageOutput::Sink(name) => Some(self.sink(name)?),
            StageOutput::Stage(_) => None,
        };
        // Where the transactions of a sink are the commits there is nothing to store.
        let mut sinks = main.into_iter().chain(&job.dead_letters).map(|sink| &sink.sink);
        let is_direct = matches!(stage.kind, StageKind::Stateless)
            && sinks.all(|sink| sink.capability() == Capability::Transactional);
        let store = if is_direct { None } else { job.stores.open(id).await? };
        let mut ledger = Ledger::open(id, store, &job.run_id, ownership).await?;
        let (store, record) = (ledger.store.clone(), ledger.record.clone());
        // What takes longest goes on meanwhile; it writes nothing.
        let restoring = async {
            match (windows, store) {
                (Some(windows), Some(store)) => windows.catch_up(&*store, &record).await.map(drop),
                _ => Ok(()),
            }
        };
        let opening = async {
            let sealed = ledger.mark().await?;
            Ok((sealed, Emitter::open(&writer, main, job.dead_letters.as_ref()).await?))
        };
        let ((), (sealed, emitter)) = try_join!(restoring, opening)?;
        let mut emitter = emitter.counting(job.counters.clone(), id);
        // Before any row is written: the first seal clears what nobody sealed.
        ledger.publish(&mut emitter, sealed).await?;
        Ok((ledger, emitter))
    }

    async fn stateless_unit(
        &self,
        stage: &Stage,
        mut context: UnitContext,
        mut ledger: Ledger,
        mut emitter: Emitter,
    ) -> Result<Kind> {
        let (input, number) = context.id.split();
        let id = self.split_of(stage, input, number)?;
        let (key, name) = (LogKey { input, log: number }, id.to_string());
        let accepted = taken(&mut ledger, &mut emitter, input, &name).await?;
        ledger.add_log(key, name, accepted);
        context.inbox.add(key, id, accepted);
        Ok(Kind::Stateless(Box::new(StatelessUnit::new(context, ledger, emitter))))
    }

    fn split_of(&self, stage: &Stage, input: u16, number: u32) -> Result<LogId> {
        let unlisted =
            || RunError::Internal(format!("stage {}, input {input}: split {number} is not listed", stage.id));
        let from = stage.inputs.get(usize::from(input)).map(|input| &input.from);
        let Some(InputFrom::Source(name)) = from else { return Err(unlisted()) };
        let source = self.source(name).ok_or_else(unlisted)?;
        let listing = self.sources[source].listing.borrow();
        listing.logs.get(number as usize).cloned().ok_or_else(unlisted)
    }

    fn inputs(&self, stage: &Stage) -> Result<Inputs> {
        let of_input = |from: &InputFrom| match from {
            InputFrom::Source(name) => {
                let source = self.source(name);
                let source =
                    source.ok_or_else(|| RunError::Internal(format!("the plan reads unknown source {name}")))?;
                Ok(self.sources[source].listing.subscribe())
            }
            InputFrom::Stage(feeding) => {
                let unit = |index| LogId::Outbox(UnitId { stage: *feeding, index });
                let logs = (0..self.job.key_groups).map(unit).collect();
                Ok(watch::channel(Listing { logs, is_complete: true }).1)
            }
        };
        stage.inputs.iter().map(|input| of_input(&input.from)).collect()
    }

    fn downstream(&self, stage: &Stage, id: UnitId, ledger: &Ledger) -> Result<Downstream> {
        let StageOutput::Stage(next) = stage.output else { return Ok(Downstream::Sink) };
        let reader = self.job.stage(next)?;
        let route = route(reader, input_from(reader, stage.id)?, self.job.key_groups, &stage.schema)?;
        let size = (ledger.record.outbox_next, self.job.key_groups);
        let made_by = (route, self.stamp.clone());
        let judge = Judge { groups: GroupPolicy::of(&self.job, reader), counters: self.job.counters.clone() };
        let told = (self.failures.about(LogId::Outbox(id)), judge);
        let outbox = Arc::new(Outbox::new(id, made_by, ledger.store.clone(), told, size));
        let served = self.hub.serve(LogId::Outbox(id), Arc::new(ServedOutbox(outbox.clone())));
        Ok(Downstream::Stage(outbox, served))
    }

    fn stage(&self, unit: UnitId) -> Result<&Stage> {
        self.job.stage(unit.stage)
    }

    fn source(&self, name: &str) -> Option<usize> {
        self.job.sources.iter().position(|source| source.name == name)
    }

    fn sink(&self, name: &str) -> Result<&JobSink> {
        let sink = self.job.sinks.get(name);
        sink.ok_or_else(|| RunError::Internal(format!("the plan names unknown sink {name}")))
    }
}

/// Chunks of one split that wait between its reader and whoever serves it. With the one that is being handed in and the one that
/// is waited for they are as many as may be in work, so that a split that is read alone keeps all threads busy.
fn depth(parallelism: usize) -> usize {
    (CHUNKS_PER_THREAD * parallelism).saturating_sub(1).max(1)
}

/// The name of a split as a log.
pub fn split_log(source: &str, split: &SplitId) -> LogId {
    LogId::Split { source: source.into(), split: split.clone() }
}

/// What a unit logs says which unit it is.
pub fn unit_span(job: &Job, unit: UnitId) -> tracing::Span {
    tracing::info_span!("unit", pipeline = job.name, %unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_split_alone_has_as_many_chunks_in_work_as_there_may_be() {
        for parallelism in [1, 2, 8, 64] {
            // The shared ones, and the reader's own.
            let allowed = CHUNKS_PER_THREAD * parallelism + 1;
            assert_eq!(depth(parallelism) + 2, allowed, "{parallelism} threads");
        }
        assert_eq!(depth(0), 1, "a queue has room for one");
    }
}
