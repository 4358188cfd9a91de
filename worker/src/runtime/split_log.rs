//! A split as a log that units subscribe to: every range is judged once, and each unit gets what concerns it.

use std::iter::Peekable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::clock::SharedClock;
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::Result as CoreResult;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::source::Source;
use thalweg_core::time::Watermark;
use thalweg_core::unit::StageId;
use thalweg_crds::source::OnError;
use thalweg_exchange::message::{Rows, Stamp, Subscription};
use thalweg_exchange::serve::{RangeReader, RangeSource, ReadRange};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::chunk::{Kept, Processed, ReadPlan, RouteRows};
use super::counters::{Counters, SourceCounters};
use super::dead_letter;
use super::error::{Result, RunError};
use super::failures::Failures;
use super::lag::SplitGauge;
use super::load::Throttle;
use super::reader::{Item, Reader, Undone, Working};

/// An input of a stage that a source is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBy {
    /// The stage.
    pub stage: StageId,
    /// Index of its input.
    pub input: u16,
    /// How many of its units get a part of each range.
    pub units: u32,
}

/// A split with everything that its readers need.
pub struct SplitLog {
    /// The source.
    pub source: Arc<dyn Source>,
    /// The source's resource, as messages name it.
    pub resource: String,
    /// Number of the source in the job.
    pub source_index: usize,
    /// The split.
    pub split: SplitId,
    /// The ordinal of the split in its source's listing.
    pub number: u32,
    /// How chunks are worked on.
    pub plan: Arc<ReadPlan>,
    /// Who reads it, by route of the plan.
    pub readers: Vec<ReadBy>,
    /// What ranges are made by.
    pub stamp: Stamp,
    /// What bad records do.
    pub on_error: OnError,
    /// How long a reader stands at its log's end before the log counts as idle.
    pub idle_after: Option<Duration>,
    /// Bounds the chunks in work over all splits, beside the one that each reader always has.
    pub permits: Arc<Semaphore>,
    /// Holds the process back, in tests.
    pub throttle: Option<Arc<Throttle>>,
    /// Where there may be very many splits: bounds those that are being read, as each holds what it has read ahead.
    pub turns: Option<Arc<Semaphore>>,
    /// Bounds the chunks in work of this split.
    pub depth: usize,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Counters of the pipeline.
    pub counters: Arc<Counters>,
    /// Where it is told that the log cannot be read on.
    pub failures: Failures,
    /// What was counted: up to here, whoever reads it.
    pub counted: Mutex<Option<Position>>,
    /// How far its units are.
    pub gauge: Arc<SplitGauge>,
}

impl SplitLog {
    fn source_counters(&self) -> &SourceCounters {
        &self.counters.sources[self.source_index]
    }

    /// Whether a range `[from, to)` was not counted yet; from now on it is.
    fn is_new(&self, to: Position) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = counted.is_none_or(|counted| to > counted);
        *counted = (*counted).max(Some(to));
        is_new
    }

    /// Gives back the bad records that become dead letters.
    async fn judge(&self, bad: Vec<BadRecord>) -> Result<Vec<BadRecord>> {
        if self.on_error == OnError::Fail
            && let Some(record) = bad.iter().find(|record| record.class != BadClass::Late)
        {
            let place = self.source.describe(&self.split, record.position, record.column).await;
            return Err(RunError::bad_record(&self.resource, place, record));
        }
        let kept = |record: &BadRecord| record.class == BadClass::Late || self.on_error == OnError::DeadLetter;
        Ok(bad.into_iter().filter(kept).collect())
    }

    fn count(&self, processed: &Processed) {
        let counters = self.source_counters();
        counters.rows.add(processed.rows as u64);
        let bad = processed.bad.iter().chain(processed.routes.iter().flat_map(|route| &route.bad));
        bad.for_each(|record| counters.bad.of(record.class).add(1));
        counters.late.add(processed.late as u64);
    }
}

/// A split that is served to units.
pub struct ServedSplit(pub Arc<SplitLog>);

#[async_trait]
impl RangeSource for ServedSplit {
    fn serves(&self, stamp: &Stamp) -> bool {
        stamp.fits(&self.0.stamp)
    }

    fn served(&self, least: Position) {
        self.0.gauge.served(least);
    }

    async fn open(&self, from: LogProgress, cuts: Vec<LogProgress>) -> CoreResult<Box<dyn RangeReader>> {
        let (items, received) = mpsc::channel(self.0.depth);
        let (until, wanted) = watch::channel(None);
        let reader = Reader::new(self.0.clone(), from, cuts.clone(), wanted, items);
        let failures = self.0.failures.clone();
        let task = tokio::spawn(async move {
            match reader.run().await {
                Ok(()) => {}
                Err(error) => failures.end(error).await,
            }
        });
        Ok(Box::new(SplitRanges {
            log: self.0.clone(),
            items: received,
            until,
            _task: AbortOnDropHandle::new(task),
            // The next subscriber may not have heard that the log was idle: it is said again.
            progress: LogProgress { idle: false, ..from },
            cuts: cuts.into_iter().peekable(),
            caught_up_since: None,
            read: 0,
        }))
    }
}

/// The ranges of a split from some position on.
struct SplitRanges {
    log: Arc<SplitLog>,
    items: mpsc::Receiver<Item>,
    /// Where what is read ahead must end.
    until: watch::Sender<Option<Position>>,
    _task: AbortOnDropHandle<()>,
    progress: LogProgress,
    /// What subscribers know of the log further on, ascending.
    cuts: Peekable<std::vec::IntoIter<LogProgress>>,
    caught_up_since: Option<Duration>,
    read: u64,
}

#[async_trait]
impl RangeReader for SplitRanges {
    async fn read(&mut self, until: Option<Position>) -> CoreResult<Box<dyn ReadRange>> {
        self.until.send_if_modified(|known| std::mem::replace(known, until) != until);
        match self.next().await {
            Ok(range) => Ok(Box::new(range)),
            Err(error) => self.log.failures.end(error).await,
        }
    }
}

impl SplitRanges {
    async fn next(&mut self) -> Result<SplitRange> {
        loop {
            // Where it ends without its last item it has failed, and said so.
            let Some(item) = self.items.recv().await else { return std::future::pending().await };
            match item {
                Item::Chunk(working) => {
                    self.caught_up_since = None;
                    return self.chunk(working).await;
                }
                Item::CaughtUp if self.becomes_idle() => {
                    self.progress.idle = true;
                    return Ok(self.mark());
                }
                Item::CaughtUp => {}
                Item::End => {
                    self.progress = LogProgress { watermark: Watermark::END, idle: false, ..self.progress };
                    if self.log.is_new(Position { entry: u64::MAX, offset: u128::MAX }) {
                        self.log.source_counters().splits.add(1);
                    }
                    return Ok(self.mark());
                }
            }
        }
    }

    fn becomes_idle(&mut self) -> bool {
        let now = self.log.clock.monotonic();
        let since = *self.caught_up_since.get_or_insert(now);
        !self.progress.idle && self.log.idle_after.is_some_and(|limit| now - since >= limit)
    }

    /// A range without rows: idleness, or the end.
    fn mark(&self) -> SplitRange {
        SplitRange { log: self.log.clone(), known: self.progress, after: self.progress, routes: Vec::new(), kept: None }
    }

    async fn chunk(&mut self, working: Working) -> Result<SplitRange> {
        let Working { to, follows_piece, job, read, .. } = working;
        let (processed, max) = match job.await {
            Ok(Ok(done)) => done,
            Ok(Err(Undone::Plan(message))) => return Err(RunError::Plan { stage: 0, message }),
            Ok(Err(Undone::Unread(error))) => return Err(error.of(&self.log.resource).into()),
            Ok(Err(Undone::Panicked(said))) => {
                let place = self.log.source.describe(&self.log.split, self.progress.next, None).await;
                return Err(RunError::Internal(format!(
                    "{place}: what decodes the records from here on stopped: {said}"
                )));
            }
            // The runtime ends, and its tasks with it.
            Err(_) => return std::future::pending().await,
        };
        let behind = |(_, delay_ms): (usize, i64)| Watermark::behind(max.max, delay_ms);
        let follows = follows_piece.then_some(self.log.plan.watermark).flatten();
        let known = self.progress;
        self.progress = LogProgress {
            next: to,
            watermark: follows.map_or(Watermark::UNKNOWN, behind),
            max_event_time: max.max,
            scope: max.scope,
            idle: false,
        };
        // As the reader does it for the rows behind.
        while let Some(cut) = self.cuts.next_if(|cut| cut.next <= to) {
            self.progress = self.progress.knowing(&cut);
        }
        if self.log.is_new(to) {
            self.log.source_counters().read.add(read.saturating_sub(self.read));
            self.log.count(&processed);
            self.log.gauge.rows(processed.rows as u64);
        }
        self.read = self.read.max(read);
        self.judged(known, processed).await
    }

    /// Bad records of the source itself belong to the first route.
    async fn judged(&self, known: LogProgress, processed: Processed) -> Result<SplitRange> {
        let mut bad = processed.bad;
        let mut routes = Vec::new();
        for mut rows in processed.routes {
            bad.append(&mut rows.bad);
            rows.bad = self.log.judge(std::mem::take(&mut bad)).await?;
            routes.push(rows);
        }
        let kept = processed.kept;
        Ok(SplitRange { log: self.log.clone(), known, after: self.progress, routes, kept })
    }
}

/// A range of a split, with what each unit gets of it.
struct SplitRange {
    log: Arc<SplitLog>,
    /// The log before it.
    known: LogProgress,
    after: LogProgress,
    routes: Vec<RouteRows>,
    kept: Option<Kept>,
}

impl ReadRange for SplitRange {
    fn after(&self) -> LogProgress {
        self.after
    }

    fn part(&mut self, subscription: &Subscription, stamp: &Stamp) -> (Option<Rows>, Option<RecordBatch>) {
        let is_it = |by: &ReadBy| (by.stage, by.input) == (subscription.unit.stage, subscription.input);
        let Some(route) = self.log.readers.iter().position(is_it).filter(|route| *route < self.routes.len()) else {
            return (None, None);
        };
        if let Some(kept) = self.kept.as_ref().filter(|_| stamp.closed > self.known.watermark) {
            return self.behind(kept, route, subscription.unit.index, stamp.closed);
        }
        let (by, rows) = (self.log.readers[route], &mut self.routes[route]);
        // A stateless stage has one unit a split, whatever its number.
        let index = if rows.partials.is_empty() { 0 } else { subscription.unit.index };
        let part = match rows.partials.get_mut(index as usize).and_then(Option::take) {
            Some(partial) => Some(Rows::Folded(partial.batch)),
            None => rows.batch.take().map(Rows::Plain),
        };
        let dead = self.routes[route].bad.iter().filter(|record| self.log.is_home(record, index, by.units));
        (part, self.log.dead_letters(&dead.collect::<Vec<_>>()))
    }
}

impl SplitRange {
    /// The part of a unit that has closed windows which the log may have rows of.
    fn behind(&self, kept: &Kept, route: usize, unit: u32, closed: Watermark) -> (Option<Rows>, Option<RecordBatch>) {
        let (log, by) = (&self.log, self.log.readers[route]);
        let (mut rows, late) = match kept.behind(&log.plan, &log.plan.routes[route], unit, closed) {
            Ok(rows) => rows,
            Err(message) => {
                log.failures.tell(RunError::Plan { stage: by.stage.0, message });
                return (None, None);
            }
        };
        let counters = log.source_counters();
        counters.late.add(late as u64);
        counters.bad.of(BadClass::Late).add(rows.bad.len() as u64);
        let part = rows.partials.get_mut(unit as usize).and_then(Option::take);
        let mine = self.routes[route].bad.iter().filter(|record| log.is_home(record, unit, by.units));
        // A unit that has closed their windows has its own late rows, wherever others are at home.
        let dead: Vec<_> = mine.chain(&rows.bad).collect();
        (part.map(|part| Rows::Folded(part.batch)), log.dead_letters(&dead))
    }
}

impl SplitLog {
    /// Whether a dead letter belongs to a unit, one of so many.
    fn is_home(&self, record: &BadRecord, unit: u32, units: u32) -> bool {
        home(self.number, record.position) % u64::from(units) == u64::from(unit)
    }

    fn dead_letters(&self, mine: &[&BadRecord]) -> Option<RecordBatch> {
        if mine.is_empty() {
            return None;
        }
        let place = |position| self.source.show(&self.split, position);
        match dead_letter::to_batch(&self.source_counters().name, self.split.as_str(), mine, place) {
            Ok(batch) => Some(batch),
            Err(error) => {
                self.failures.tell(RunError::Internal(error.to_string()));
                None
            }
        }
    }
}

/// Hash of (log, position) that decides which unit owns a dead letter: FNV-1a, as it must never change.
fn home(log: u32, position: Position) -> u64 {
    let bytes = log.to_be_bytes().into_iter().chain(position.to_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use arrow::array::TimestampMillisecondArray;
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
    use thalweg_core::clock::SystemClock;
    use thalweg_core::decode::{Decoded, Decoder, Rows as RowPlaces};
    use thalweg_core::log::LogId;
    use thalweg_core::source::{LogBounds, Payload, Piece, RawChunk, Read, Records, Split, SplitReader};
    use thalweg_core::unit::{Epoch, Incarnation, RunId, UnitId};
    use thalweg_exchange::hub::{Hub, Request};
    use thalweg_exchange::message::{Attempt, Message};

    use super::*;

    static EMPTY: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::empty()));

    /// A log at whose end everybody stands.
    struct Quiet;

    #[async_trait]
    impl Source for Quiet {
        async fn splits(&self) -> CoreResult<Vec<Split>> {
            Ok(Vec::new())
        }

        fn grows(&self) -> bool {
            true
        }

        async fn open(&self, _split: &SplitId, _from: Position) -> CoreResult<Box<dyn SplitReader>> {
            Ok(Box::new(Self))
        }

        async fn describe(&self, split: &SplitId, _position: Position, _column: Option<usize>) -> String {
            split.to_string()
        }
    }

    #[async_trait]
    impl SplitReader for Quiet {
        async fn read(&mut self, _until: Option<Position>) -> CoreResult<Read> {
            Ok(Read::CaughtUp)
        }

        fn progress(&self) -> u64 {
            0
        }
    }

    impl Decoder for Quiet {
        fn schema(&self) -> &SchemaRef {
            &EMPTY
        }

        fn decode(&self, _chunk: &RawChunk) -> Decoded {
            Decoded { batch: RecordBatch::new_empty(EMPTY.clone()), rows: RowPlaces::All, bad: Vec::new() }
        }
    }

    fn log(stamp: &Stamp) -> SplitLog {
        SplitLog {
            source: Arc::new(Quiet),
            resource: "quiet".into(),
            source_index: 0,
            split: SplitId::new("quiet"),
            number: 0,
            plan: Arc::new(ReadPlan {
                decoder: Arc::new(Quiet),
                watermark: None,
                keep_late: false,
                routes: Vec::new(),
                may_be_closed: false,
            }),
            readers: vec![ReadBy { stage: StageId(0), input: 0, units: 2 }],
            stamp: stamp.clone(),
            on_error: OnError::Fail,
            idle_after: Some(Duration::ZERO),
            permits: Arc::new(Semaphore::new(1)),
            throttle: None,
            turns: Some(Arc::new(Semaphore::new(1))),
            depth: 1,
            clock: Arc::new(SystemClock::new()),
            counters: Arc::new(Counters::new(vec![SourceCounters::default()], Vec::new())),
            failures: Failures::new().0,
            counted: Mutex::default(),
            gauge: Arc::default(),
        }
    }

    /// A log of one row, which comes once it is let through.
    struct One {
        opened: mpsc::UnboundedSender<()>,
        comes: watch::Receiver<bool>,
    }

    /// Its row, five seconds behind what came before it.
    const ROW_MILLIS: i64 = 4_000;

    #[async_trait]
    impl Source for One {
        async fn splits(&self) -> CoreResult<Vec<Split>> {
            Ok(Vec::new())
        }

        fn grows(&self) -> bool {
            true
        }

        async fn open(&self, _split: &SplitId, _from: Position) -> CoreResult<Box<dyn SplitReader>> {
            let _ = self.opened.send(());
            Ok(Box::new(OneReader(self.comes.clone(), false)))
        }

        async fn describe(&self, split: &SplitId, _position: Position, _column: Option<usize>) -> String {
            split.to_string()
        }
    }

    struct OneReader(watch::Receiver<bool>, bool);

    #[async_trait]
    impl SplitReader for OneReader {
        async fn read(&mut self, _until: Option<Position>) -> CoreResult<Read> {
            if std::mem::replace(&mut self.1, true) || self.0.wait_for(|comes| *comes).await.is_err() {
                return Ok(Read::CaughtUp);
            }
            let piece = Piece { name: "one".into(), ordinal: 0, watermark_scope: 0, is_last_scope: true };
            let payload = Payload::Records(Box::default()).into();
            Ok(Read::Chunk(RawChunk { from: Position::at(5), to: Position::at(6), piece, payload, bad: Vec::new() }))
        }

        fn progress(&self) -> u64 {
            0
        }
    }

    impl Decoder for One {
        fn schema(&self) -> &SchemaRef {
            &TIMES
        }

        fn decode(&self, _chunk: &RawChunk) -> Decoded {
            let times = Arc::new(TimestampMillisecondArray::from(vec![ROW_MILLIS]));
            let batch = RecordBatch::try_new(TIMES.clone(), vec![times]).expect("one column");
            Decoded { batch, rows: RowPlaces::All, bad: Vec::new() }
        }
    }

    static TIMES: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true)]))
    });

    /// What a Kafka sink holds of a unit is its place in the log, and not the greatest event time before it; units that
    /// know that are served by the same reader.
    #[tokio::test]
    async fn a_unit_that_knows_the_place_alone_takes_the_watermark_from_nobody() {
        let stamp = Stamp { plan: "plan".into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN };
        let (opened, mut was_opened) = mpsc::unbounded_channel();
        let (let_through, comes) = watch::channel(false);
        let plan = |one: &Arc<One>| ReadPlan {
            decoder: one.clone(),
            watermark: Some((0, 500)),
            keep_late: false,
            routes: Vec::new(),
            may_be_closed: false,
        };
        let one = Arc::new(One { opened, comes });
        let log = SplitLog { source: one.clone(), plan: Arc::new(plan(&one)), idle_after: None, ..log(&stamp) };
        let hub = Hub::new(RunId("run".to_owned()), Arc::new(SystemClock::new()), Duration::MAX);
        let id = LogId::Split { source: "quiet".into(), split: SplitId::new("quiet") };
        let _served = hub.serve(id.clone(), Arc::new(ServedSplit(Arc::new(log))));
        let alone = LogProgress { next: Position::at(5), ..LogProgress::START };
        let knowing = LogProgress { watermark: Watermark(8_500), max_event_time: Some(9_000), ..alone };
        let limit = Duration::from_secs(5);
        let mut heard = Vec::new();
        for (index, accepted) in [(0, alone), (1, knowing)] {
            let unit = UnitId { stage: StageId(0), index };
            let request = Request {
                subscription: Subscription { unit, input: 0, log: id.clone() },
                attempt: Attempt { epoch: Epoch(1), count: 0 },
                stamp: stamp.clone(),
                accepted,
                credit: 2,
            };
            let (sender, messages) = mpsc::unbounded_channel();
            heard.push((hub.subscribe(request, sender), messages));
            // Whoever comes first has begun to read when the next one comes.
            tokio::time::timeout(limit, was_opened.recv()).await.expect("in time").expect("opened");
        }
        let_through.send_replace(true);
        for (_line, messages) in &mut heard {
            let row = async {
                loop {
                    let Some(Message::Range(range)) = messages.recv().await else { panic!("a range") };
                    if range.after.next == Position::at(6) {
                        return range.after;
                    }
                }
            };
            let after = tokio::time::timeout(limit, row).await.expect("in time");
            assert_eq!((after.max_event_time, after.watermark), (Some(9_000), Watermark(8_500)));
        }
    }

    /// A log that flows, a record each second, and at whose end nobody ever stands.
    struct Steady(u32);

    #[async_trait]
    impl Source for Steady {
        async fn splits(&self) -> CoreResult<Vec<Split>> {
            Ok(Vec::new())
        }

        fn grows(&self) -> bool {
            true
        }

        async fn open(&self, _split: &SplitId, _from: Position) -> CoreResult<Box<dyn SplitReader>> {
            Ok(Box::new(Self(0)))
        }

        async fn describe(&self, split: &SplitId, _position: Position, _column: Option<usize>) -> String {
            split.to_string()
        }
    }

    #[async_trait]
    impl SplitReader for Steady {
        async fn read(&mut self, _until: Option<Position>) -> CoreResult<Read> {
            let at = Position::at(self.0.into());
            let records = Records { first_timestamp: Some(i64::from(self.0) * 1_000), ..Records::default() };
            self.0 += 1;
            let piece = Piece { name: "steady".into(), ordinal: 0, watermark_scope: 0, is_last_scope: true };
            let payload = Payload::Records(Box::new(records)).into();
            Ok(Read::Chunk(RawChunk { from: at, to: Position::at(self.0.into()), piece, payload, bad: Vec::new() }))
        }

        fn progress(&self) -> u64 {
            0
        }
    }

    #[tokio::test]
    async fn lag_in_seconds_is_known_of_a_log_that_flows_and_does_not_grow_with_it() {
        let stamp = Stamp { plan: "plan".into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN };
        let (source, turns, idle_after) = (Arc::new(Steady(0)), None, None);
        let log = Arc::new(SplitLog { source, turns, idle_after, ..log(&stamp) });
        let (items, mut received) = mpsc::channel(1);
        let (_until, wanted) = watch::channel(None);
        let reader = Reader::new(log.clone(), LogProgress::START, Vec::new(), wanted, items);
        let _task = AbortOnDropHandle::new(tokio::spawn(reader.run()));
        let bounds = |next: u32| LogBounds { start: Position::at(0), end: Position::at(u64::from(next) + 10) };
        for next in 0..100u32 {
            let received = tokio::time::timeout(Duration::from_secs(5), received.recv());
            let Some(Item::Chunk(working)) = received.await.expect("in time") else { panic!("a chunk") };
            // A second and a half after it was written, with nine more behind it.
            let lag = |next: u32| log.gauge.lag(bounds(next), i64::from(next) * 1_000 + 1_500).seconds;
            assert_eq!(lag(next), Some(1.5), "behind from the start, and later on");
            log.gauge.served(working.to);
            let left = lag(next).expect("it is known");
            assert!(left <= 1.5, "what was handed on counts no more: {left}");
        }
    }

    /// At the end of a silent log no range comes, and what was read before must not count as waiting.
    #[tokio::test]
    async fn what_units_have_is_known_before_anything_is_read() {
        let stamp = Stamp { plan: "plan".into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN };
        let hub = Hub::new(RunId("run".to_owned()), Arc::new(SystemClock::new()), Duration::MAX);
        let id = LogId::Split { source: "quiet".into(), split: SplitId::new("quiet") };
        let log = Arc::new(SplitLog { idle_after: None, ..log(&stamp) });
        let _served = hub.serve(id.clone(), Arc::new(ServedSplit(log.clone())));
        let request = Request {
            subscription: Subscription { unit: UnitId { stage: StageId(0), index: 0 }, input: 0, log: id },
            attempt: Attempt { epoch: Epoch(1), count: 0 },
            stamp,
            accepted: LogProgress { next: Position::at(5), ..LogProgress::START },
            credit: 2,
        };
        let (sender, _messages) = mpsc::unbounded_channel();
        let _line = hub.subscribe(request, sender);
        let known = async {
            while log.gauge.accepted().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), known).await.expect("in time");
        let bounds = LogBounds { start: Position::at(0), end: Position::at(5) };
        assert_eq!(log.gauge.lag(bounds, 9_000).records, 0);
    }

    /// One unit may have committed that a log is idle when all are killed, and another not yet.
    #[tokio::test]
    async fn a_log_that_is_idle_for_one_subscriber_becomes_idle_for_the_others_too() {
        let stamp = Stamp { plan: "plan".into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN };
        let hub = Hub::new(RunId("run".to_owned()), Arc::new(SystemClock::new()), Duration::MAX);
        let id = LogId::Split { source: "quiet".into(), split: SplitId::new("quiet") };
        let _served = hub.serve(id.clone(), Arc::new(ServedSplit(Arc::new(log(&stamp)))));
        let accepted = LogProgress { next: Position::at(5), ..LogProgress::START };
        let mut heard = Vec::new();
        for (index, idle) in [(0, true), (1, false)] {
            let unit = UnitId { stage: StageId(0), index };
            let request = Request {
                subscription: Subscription { unit, input: 0, log: id.clone() },
                attempt: Attempt { epoch: Epoch(1), count: 0 },
                stamp: stamp.clone(),
                accepted: LogProgress { idle, ..accepted },
                credit: 2,
            };
            let (sender, messages) = mpsc::unbounded_channel();
            heard.push((hub.subscribe(request, sender), messages));
        }
        // Whoever knows it already need not hear it.
        let (_line, messages) = &mut heard[1];
        let message = tokio::time::timeout(Duration::from_secs(5), messages.recv()).await.expect("in time");
        let Some(Message::Range(range)) = message else { panic!("a range") };
        assert!(range.after.idle && range.from == accepted.next && range.after.next == accepted.next);
    }
}
