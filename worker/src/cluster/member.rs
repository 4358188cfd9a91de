//! A worker's part of a job: the units that it keeps, the splits that it reads, the sources that it lists, as the assignment
//! says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::log::{LogId, SplitId};
use thalweg_core::ownership::assignment::Slot;
use thalweg_core::source::IN_DOUBT_EVERY;
use thalweg_core::unit::{StageId, UnitId};
use thalweg_crds::ids;
use thalweg_crds::report::SplitReport;
use thalweg_exchange::hub::Served;
use thalweg_exchange::port::ReleaseRequest;
use thalweg_sql::stages::StageOutput;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::backoff::Backoff;
use super::board::Board;
use super::keeper::{Keeper, Shared, Told};
use super::leaving::Has;
use super::view::View;
use crate::runtime::counters::Counters;
use crate::runtime::lag::{Rates, SplitFigures};
use crate::runtime::load::{Looks, Sample, processor_time, processors};
use crate::runtime::{Failed, Failures, Node, Result, RunError, joined, split_log, wait};

/// How often it is looked how far behind splits are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a split that others are to read is still read here for units that are handed over.
const HANDS_OVER_EVERY: Duration = Duration::from_millis(100);
/// How often a source that may grow is asked for new splits. One that seems to be gone is asked sooner: it has to be so for some
/// looks in a row until that is told.
const DISCOVERY: Duration = Duration::from_secs(5);

/// A worker's part of a job.
pub struct Member {
    shared: Shared,
    /// Stages whose units have outboxes.
    feeding: BTreeSet<StageId>,
    view: watch::Sender<Arc<View>>,
    keepers: JoinSet<Result<()>>,
    told_of: HashMap<UnitId, mpsc::UnboundedSender<Told>>,
    release_requests: mpsc::UnboundedReceiver<ReleaseRequest>,
    reading: BTreeMap<LogId, Reading>,
    /// When it was last looked which splits are to be read.
    looked: Duration,
    listing: BTreeMap<usize, AbortOnDropHandle<()>>,
    /// What cannot go on.
    failures: mpsc::UnboundedReceiver<Failed>,
    told: Failures,
    /// Ends the keepers in order.
    stop: CancellationToken,
}

/// A split that this worker is to read.
struct Reading {
    failures: Backoff,
    now: Now,
    /// Others are to read it by now; it is read on for units that they have not asked for yet.
    lingers: bool,
}

enum Now {
    /// It is served since then.
    Served { since: Duration, _guard: Served },
    /// It has failed, and is tried again then.
    Rests { until: Duration },
}

impl Member {
    /// A member that has nothing yet. `failures` is where the node tells what ends the job.
    pub fn new(shared: Shared, told: Failures, failures: mpsc::UnboundedReceiver<Failed>) -> Self {
        let stages = shared.node.job.plan.stages.iter();
        let feeding = stages.filter(|stage| matches!(stage.output, StageOutput::Stage(_))).map(|stage| stage.id);
        Self {
            feeding: feeding.collect(),
            release_requests: shared.hub.release_requests(),
            shared,
            view: watch::Sender::default(),
            keepers: JoinSet::new(),
            told_of: HashMap::new(),
            reading: BTreeMap::new(),
            looked: Duration::ZERO,
            listing: BTreeMap::new(),
            failures,
            told,
            stop: CancellationToken::new(),
        }
    }

    /// Does what an assignment says.
    pub fn follow(&mut self, view: &Arc<View>) {
        self.list(view);
        self.read(view);
        self.shared.hub.place(view.peers.clone(), view.elsewhere(self.shared.me, &self.feeding));
        self.view.send_replace(view.clone());
        for unit in view.units_of(self.shared.me) {
            self.keep(unit);
        }
    }

    /// Works until something fails without which nothing goes on. What fails of a unit or a split stops that alone.
    pub async fn failed(&mut self) -> RunError {
        loop {
            let rests = self.rests_for();
            tokio::select! {
                Some(Failed { log, error }) = self.failures.recv() => match log {
                    Some(LogId::Outbox(unit)) => self.tell(unit, Told::Failed(error)),
                    Some(log) if self.bears(&log, &error) => self.cannot_read(log, &error),
                    _ => return error,
                },
                () = wait(rests) => {
                    let view = self.view.borrow().clone();
                    self.read(&view);
                }
                Some(ended) = self.keepers.join_next() => match joined(ended) {
                    // Only when all are told to.
                    Ok(()) => {}
                    Err(error) => return error,
                },
                Some(request) = self.release_requests.recv() => self.pass(request),
            }
        }
    }

    /// What its job counts.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.node.job.counters.clone()
    }

    /// Looks how far behind the splits are that it reads, and whether sources and sinks answer, now and then.
    pub fn look(&self) -> impl Future<Output = Infallible> + use<> {
        let Shared { node, board, me, .. } = self.shared.clone();
        let view = self.view.subscribe();
        async move {
            tokio::select! {
                biased;
                never = watch_outages(&node, &board) => never,
                never = watch_figures(&node, &board, &view, me) => never,
            }
        }
    }

    /// What it has: units, or splits that it reads.
    pub fn has(&self) -> Has {
        match self.shared.board.holds_none() && self.reading.values().all(|reading| reading.lingers) {
            true => Has::Nothing,
            false => Has::Work,
        }
    }

    /// Has every unit commit and close.
    ///
    /// # Errors
    /// The first that could not.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let mut first = Ok(());
        while let Some(ended) = self.keepers.join_next().await {
            first = first.and(joined(ended));
        }
        self.shared.node.finish().await?;
        first
    }

    /// The units' logs, and who lists the splits of a source.
    fn list(&mut self, view: &View) {
        let me = self.shared.me;
        for (index, source) in self.shared.node.job.sources.iter().enumerate() {
            let splits = view.splits.get(&source.name).map_or(&[][..], Vec::as_slice);
            let logs: Vec<_> = splits.iter().map(|(split, _)| split_log(&source.name, split)).collect();
            // A source that does not grow is listed whole, at once.
            let is_complete = !source.source.grows() && !logs.is_empty();
            self.shared.node.listing(index).send_if_modified(|listing| {
                let is_news = listing.logs.len() < logs.len();
                if is_news {
                    (listing.logs, listing.is_complete) = (logs, is_complete);
                }
                is_news
            });
            let is_mine = view.enumerators.iter().any(|(name, slot)| *name == source.name && *slot == me);
            if !is_mine {
                self.listing.remove(&index);
                self.shared.board.lists_no_more(&source.name);
            } else if !self.listing.contains_key(&index) {
                let lister = Lister { shared: self.shared.clone(), told: self.told.clone(), source: index };
                let task = tokio::spawn(lister.run().in_current_span());
                self.listing.insert(index, AbortOnDropHandle::new(task));
            }
        }
    }

    /// Whether a split that fails like this is tried again by itself.
    fn bears(&self, log: &LogId, error: &RunError) -> bool {
        self.reading.get(log).map_or_else(|| error.is_local(), |reading| reading.failures.bears(error))
    }

    /// A split cannot be read on. Its units wait for it where they are.
    fn cannot_read(&mut self, log: LogId, error: &RunError) {
        let now = self.shared.clock.monotonic();
        // What was told of a reader before, or twice, means nothing.
        let Some(Reading { failures, now: state, .. }) = self.reading.get_mut(&log) else { return };
        let Now::Served { since, .. } = state else { return };
        let pause = failures.failed(now.saturating_sub(*since));
        tracing::error!(%log, %error, ?pause, "cannot be read on; tried again after");
        *state = Now::Rests { until: now + pause };
        self.shared.board.cannot_read(log, error);
    }

    /// How long until a split is tried again, or may be let go.
    fn rests_for(&self) -> Option<Duration> {
        let until = |reading: &Reading| match reading.now {
            Now::Rests { until } => Some(until),
            Now::Served { .. } => reading.lingers.then_some(self.looked + HANDS_OVER_EVERY),
        };
        let now = self.shared.clock.monotonic();
        self.reading.values().filter_map(until).min().map(|until| until.saturating_sub(now))
    }

    /// Whether it works on with a unit that it is to hand over.
    fn hands_over(&self, view: &View) -> bool {
        view.handed_over_by(self.shared.me).any(|unit| self.shared.board.holds_unit(unit))
    }

    /// The splits that this worker reads. What others are to read is read on for units that it still hands over: their new
    /// owner may only be starting. Two readers do no harm, since each unit takes a record once.
    fn read(&mut self, view: &View) {
        let hands_over = self.hands_over(view);
        let mut mine = BTreeMap::new();
        for (index, source) in self.shared.node.job.sources.iter().enumerate() {
            let splits = view.splits.get(&source.name).map_or(&[][..], Vec::as_slice);
            let read = (0u32..).zip(splits).filter(|(_, (_, reader))| *reader == Some(self.shared.me));
            mine.extend(
                read.map(|(number, (split, _))| (split_log(&source.name, split), (index, number, split.clone()))),
            );
        }
        let Shared { node, board, clock, .. } = &self.shared;
        for (log, reading) in &mut self.reading {
            reading.lingers = !mine.contains_key(log);
        }
        let is_over = |reading: &Reading| reading.lingers && !(hands_over && matches!(reading.now, Now::Served { .. }));
        for (log, _) in self.reading.extract_if(.., |_, reading| is_over(reading)) {
            board.reads_on(&log);
        }
        let now = clock.monotonic();
        self.looked = now;
        for (log, (source, number, split)) in mine {
            let first = || Reading { failures: Backoff::default(), now: Now::Rests { until: now }, lingers: false };
            let reading = self.reading.entry(log.clone()).or_insert_with(first);
            if matches!(reading.now, Now::Rests { until } if until <= now) {
                reading.now = Now::Served { since: now, _guard: node.read(source, number, &split) };
                board.reads_on(&log);
            }
        }
    }

    fn keep(&mut self, unit: UnitId) {
        if self.told_of.contains_key(&unit) {
            return;
        }
        let (sender, told) = mpsc::unbounded_channel();
        let keeper = Keeper::new(self.shared.clone(), unit, self.view.subscribe(), told, self.stop.clone());
        self.keepers.spawn(keeper.run().in_current_span());
        self.told_of.insert(unit, sender);
    }

    /// Passes a request on. Of a unit that was never here nothing is held.
    fn pass(&mut self, request: ReleaseRequest) {
        if self.told_of.contains_key(&request.unit) {
            self.tell(request.unit, Told::Release(request));
        } else {
            let _ = request.answer.send(());
        }
    }

    fn tell(&self, unit: UnitId, told: Told) {
        if let Some(keeper) = self.told_of.get(&unit) {
            // A keeper that has ended was told to.
            let _ = keeper.send(told);
        }
    }
}

/// Tells how far behind splits are, and how busy everybody is. Of a split that others are to read by now those outside are told by
/// them.
async fn watch_figures(node: &Node, board: &Board, view: &watch::Receiver<Arc<View>>, me: Slot) -> Infallible {
    let (mut rates, mut looks) = (Rates::default(), Looks::new(processors()));
    loop {
        let mine = view.borrow().read_by(me);
        let figures = node.figures(&mut rates, |log| mine.contains(log)).await;
        let now = node.job.clock.monotonic();
        let sample = Sample::take(now, processor_time(), &node.job.counters, node.job.throttle.as_deref());
        board.works(looks.shares(now, sample));
        board.reads(figures.into_iter().map(|figures| report(node, figures)).collect());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells of which splits and sinks nobody answers. It asks nobody: figures are late where somebody is asked who does not answer.
async fn watch_outages(node: &Node, board: &Board) -> Infallible {
    loop {
        board.hears_nothing_of(&node.outages());
        board.write_nothing_to(&node.sink_outages());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn report(node: &Node, figures: SplitFigures) -> SplitReport {
    SplitReport {
        source: node.job.sources[figures.source].name.clone(),
        split: ids::SplitId(figures.split.as_str().to_owned()),
        end: figures.end.map(|end| ids::LogPosition(end.to_string())),
        accepted: figures.accepted.map(|accepted| ids::LogPosition(accepted.to_string())),
        rate: figures.rate,
        lag_records: figures.lag.map(|lag| lag.records),
        lag_seconds: figures.lag.and_then(|lag| lag.seconds),
    }
}

/// Lists the splits of one source, and makes room for their units in the sinks.
struct Lister {
    shared: Shared,
    told: Failures,
    source: usize,
}

impl Lister {
    async fn run(self) {
        if let Err(error) = self.list().await {
            self.shared.board.cannot_list(&self.shared.node.job.sources[self.source].name, &error);
            self.told.tell(error);
        }
    }

    async fn list(&self) -> Result<()> {
        let node: &Node = &self.shared.node;
        let source = &node.job.sources[self.source];
        let (mut known, grows) = (0, source.source.grows());
        loop {
            let splits: Vec<SplitId> = source.source.splits().await?.into_iter().map(|split| split.id).collect();
            let count = u32::try_from(splits.len()).unwrap_or(u32::MAX);
            node.prepare(&node.stateless(self.source, known..count)).await?;
            known = count;
            self.shared.board.lists(&source.name, splits, !grows);
            if !grows {
                return Ok(());
            }
            tokio::time::sleep(if source.source.is_in_doubt() { IN_DOUBT_EVERY } else { DISCOVERY }).await;
        }
    }
}
