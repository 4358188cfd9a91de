//! One split: reads chunks, has them worked on side by side, and serves the results in order to every subscriber.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::decode::BadRecord;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::source::{RawChunk, Read, Source};
use thalweg_core::time::Watermark;
use thalweg_crds::source::OnError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chunk::{MaxTime, Opened, Processed, ReadPlan, RouteRows};
use super::counters::{Counters, SourceCounters};
use super::dead_letter;
use super::error::{Result, RunError};
use super::message::{LogKey, Message, Range, Rows, deliver};

/// How long a reader that stands at its log's end waits before it asks again, at first and at the most: to ask costs a
/// system call a file, or a request.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Chunks that a reader which takes turns reads in one.
const TURN: usize = 256;

/// A split with everything that its reader needs.
pub struct SplitTask {
    /// The source.
    pub source: Arc<dyn Source>,
    /// The source's resource, as messages name it.
    pub resource: String,
    /// Number of the source in the job.
    pub source_index: usize,
    /// The split.
    pub split: SplitId,
    /// The ordinal of the split in its source's listing.
    pub log: u32,
    /// How chunks are worked on.
    pub plan: Arc<ReadPlan>,
    /// Who subscribes, by route of the plan.
    pub subscriptions: Vec<Subscription>,
    /// What bad records do.
    pub on_error: OnError,
    /// How long the reader stands at its log's end before the log counts as idle.
    pub idle_after: Option<Duration>,
    /// Bounds the chunks in work over all splits.
    pub permits: Arc<Semaphore>,
    /// Where there may be very many splits: bounds those that are being read, as each holds what it has read ahead.
    pub turns: Option<Arc<Semaphore>>,
    /// Bounds the chunks in work of this split.
    pub depth: usize,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Counters of the pipeline.
    pub counters: Arc<Counters>,
    /// Ends the reader at the next chunk.
    pub stop: CancellationToken,
}

/// The units that take one route of a split.
pub struct Subscription {
    /// Index of the stage's input.
    pub input: u16,
    /// One unit for rows as they are, one a key group for windows.
    pub subscribers: Vec<Subscriber>,
}

/// A unit, and how far it is in this log.
pub struct Subscriber {
    /// Where it receives.
    pub sender: mpsc::Sender<Message>,
    /// What it had taken when it subscribed.
    pub accepted: LogProgress,
}

enum Item {
    Chunk(Working),
    CaughtUp,
    End,
}

struct Working {
    from: Position,
    to: Position,
    follows_piece: bool,
    job: JoinHandle<Result<(Processed, MaxTime), String>>,
    read: u64,
    _permit: OwnedSemaphorePermit,
}

impl SplitTask {
    /// Reads until the log ends, or until it is told to stop.
    pub async fn run(self) -> Result<()> {
        let Some(start) = self.start() else { return Ok(()) };
        let (items, received) = mpsc::channel(self.depth);
        tokio::try_join!(self.read(start, items), self.serve(start, received))?;
        Ok(())
    }

    /// The least position that somebody wants; `None` where everybody has the whole log.
    fn start(&self) -> Option<LogProgress> {
        let subscribers = self.subscriptions.iter().flat_map(|subscription| &subscription.subscribers);
        let least = subscribers.map(|subscriber| subscriber.accepted).min_by_key(|accepted| accepted.next)?;
        let all_ended = self.all_accepted().all(|accepted| accepted.has_ended());
        (!all_ended).then_some(least)
    }

    fn all_accepted(&self) -> impl Iterator<Item = LogProgress> {
        let subscribers = self.subscriptions.iter().flat_map(|subscription| &subscription.subscribers);
        subscribers.map(|subscriber| subscriber.accepted)
    }

    /// Where ranges must end so that each subscriber's first range starts where it left off, in order.
    fn cuts(&self, start: Position) -> Vec<LogProgress> {
        let mut cuts: Vec<_> = self.all_accepted().filter(|accepted| accepted.next > start).collect();
        cuts.sort_by_key(|accepted| accepted.next);
        cuts.dedup_by_key(|accepted| accepted.next);
        cuts
    }

    async fn read(&self, start: LogProgress, items: mpsc::Sender<Item>) -> Result<()> {
        let mut at = start.next;
        let mut reader = self.source.open(&self.split, at).await?;
        let (mut turn, mut quiet) = (Turn::default(), 0);
        let mut cuts = self.cuts(at).into_iter().peekable();
        let mut before = ready(MaxTime { scope: start.scope, max: start.max_event_time });
        loop {
            if turn.is_over(self.turns.as_deref()) {
                // Opened anew, so that nothing is held while others read.
                reader = self.source.open(&self.split, at).await?;
                turn = Turn::default();
            }
            if !turn.begin(self).await {
                return Ok(());
            }
            let until = cuts.peek().map(|cut| cut.next);
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                read = reader.read(until) => read?,
            };
            let item = match read {
                Read::Chunk(chunk) => {
                    let Some(permit) = self.permit().await else { return Ok(()) };
                    let from = std::mem::replace(&mut at, chunk.to);
                    let (working, after) = self.work_on(chunk, from, before, permit, reader.progress());
                    // What a subscriber knows of the prefix is exact; what this run has seen of it may be less.
                    before = match cuts.next_if(|cut| cut.next <= at) {
                        Some(cut) => known(after, MaxTime { scope: cut.scope, max: cut.max_event_time }),
                        None => after,
                    };
                    Item::Chunk(working)
                }
                Read::CaughtUp => Item::CaughtUp,
                Read::End => Item::End,
            };
            let (caught_up, ended) = (matches!(item, Item::CaughtUp), matches!(item, Item::End));
            if items.send(item).await.is_err() || ended {
                return Ok(());
            }
            if caught_up {
                turn = Turn::default();
                if self.source.waits() {
                    continue;
                }
                tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(self.pause(quiet)) => quiet += 1,
                }
            } else {
                (turn.chunks, quiet) = (turn.chunks + 1, 0);
            }
        }
    }

    /// Longer and longer, but short against the time after which the log counts as idle.
    fn pause(&self, quiet: u32) -> Duration {
        let most = self.idle_after.map_or(POLL.1, |idle_after| POLL.1.min(idle_after / 4));
        POLL.0.saturating_mul(1 << quiet.min(8)).min(most.max(POLL.0))
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.acquire(&self.permits).await
    }

    /// `None` where it is told to stop.
    async fn acquire(&self, semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            permit = semaphore.clone().acquire_owned() => permit.ok(),
        }
    }

    fn work_on(
        &self,
        chunk: RawChunk,
        from: Position,
        before: oneshot::Receiver<MaxTime>,
        permit: OwnedSemaphorePermit,
        read: u64,
    ) -> (Working, oneshot::Receiver<MaxTime>) {
        let (plan, log, to) = (self.plan.clone(), self.log, chunk.to);
        let follows_piece = chunk.piece.is_last_scope;
        let (send_after, after) = oneshot::channel();
        let job = tokio::spawn(async move {
            let opened = Opened::new(&plan, chunk);
            let before = before.await.map_err(|_| "the chunk before was not decoded".to_owned())?;
            let max = opened.max_after(before);
            // The next chunk may be gone already: then nobody waits for this.
            let _ = send_after.send(max);
            Ok((opened.process(&plan, log, before)?, max))
        });
        (Working { from, to, follows_piece, job, read, _permit: permit }, after)
    }

    async fn serve(&self, start: LogProgress, mut items: mpsc::Receiver<Item>) -> Result<()> {
        // The next subscriber may not have heard that the log was idle: it is said again.
        let mut progress = LogProgress { idle: false, ..start };
        let mut caught_up_since = None;
        let mut read = 0;
        while let Some(item) = items.recv().await {
            match item {
                Item::Chunk(working) => {
                    caught_up_since = None;
                    self.source_counters().read.add(working.read.saturating_sub(read));
                    read = read.max(working.read);
                    self.serve_chunk(&mut progress, working).await?;
                }
                Item::CaughtUp => {
                    let since = *caught_up_since.get_or_insert_with(|| self.clock.monotonic());
                    let quiet = self.idle_after.is_some_and(|limit| self.clock.monotonic() - since >= limit);
                    if quiet && !progress.idle {
                        progress.idle = true;
                        self.serve_mark(progress).await?;
                    }
                }
                Item::End => {
                    progress = LogProgress { watermark: Watermark::END, idle: false, ..progress };
                    self.serve_mark(progress).await?;
                    self.source_counters().splits.add(1);
                }
            }
        }
        Ok(())
    }

    async fn serve_chunk(&self, progress: &mut LogProgress, working: Working) -> Result<()> {
        let done = working.job.await.map_err(|error| RunError::Internal(format!("a decoder stopped: {error}")))?;
        let (processed, max) = done.map_err(|message| RunError::Plan { stage: 0, message })?;
        let behind = |(_, delay_ms): (usize, i64)| Watermark::behind(max.max, delay_ms);
        let follows = working.follows_piece.then_some(self.plan.watermark).flatten();
        *progress = LogProgress {
            next: working.to,
            watermark: follows.map_or(Watermark::UNKNOWN, behind),
            max_event_time: max.max,
            scope: max.scope,
            idle: false,
        };
        self.source_counters().rows.add(processed.rows as u64);
        self.serve_rows(working.from, *progress, processed).await
    }

    async fn serve_rows(&self, from: Position, after: LogProgress, processed: Processed) -> Result<()> {
        let mut bad = self.judge(processed.bad).await?;
        for (subscription, mut rows) in self.subscriptions.iter().zip(processed.routes) {
            self.source_counters().late.add(rows.late as u64);
            bad.extend(self.judge(std::mem::take(&mut rows.bad)).await?);
            subscription.serve(self, from, after, rows, &std::mem::take(&mut bad)).await?;
        }
        Ok(())
    }

    /// Counts bad records, and gives back those that become dead letters.
    async fn judge(&self, bad: Vec<BadRecord>) -> Result<Vec<BadRecord>> {
        use thalweg_core::decode::BadClass::Late;
        let counters = self.source_counters();
        bad.iter().for_each(|record| counters.bad.of(record.class).add(1));
        if self.on_error == OnError::Fail
            && let Some(record) = bad.iter().find(|record| record.class != Late)
        {
            return Err(self.failure(record).await);
        }
        let kept = |record: &BadRecord| record.class == Late || self.on_error == OnError::DeadLetter;
        Ok(bad.into_iter().filter(kept).collect())
    }

    async fn failure(&self, record: &BadRecord) -> RunError {
        let place = self.source.describe(&self.split, record.position, record.column).await;
        RunError::bad_record(&self.resource, place, record)
    }

    /// A range without rows: idleness, or the end.
    async fn serve_mark(&self, progress: LogProgress) -> Result<()> {
        for subscription in &self.subscriptions {
            subscription.serve(self, progress.next, progress, RouteRows::default(), &[]).await?;
        }
        Ok(())
    }

    fn source_counters(&self) -> &SourceCounters {
        &self.counters.sources[self.source_index]
    }
}

/// A reader's leave to read, where readers take turns.
#[derive(Default)]
struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    chunks: usize,
}

impl Turn {
    /// Waits for the turn; whether it came, or it is told to stop.
    async fn begin(&mut self, task: &SplitTask) -> bool {
        let Some(turns) = task.turns.as_ref().filter(|_| self.permit.is_none()) else { return true };
        self.permit = task.acquire(turns).await;
        self.permit.is_some()
    }

    /// Whether somebody else should read now.
    fn is_over(&self, turns: Option<&Semaphore>) -> bool {
        self.chunks >= TURN && turns.is_some_and(|turns| turns.available_permits() == 0)
    }
}

impl Subscription {
    async fn serve(
        &self,
        task: &SplitTask,
        from: Position,
        after: LogProgress,
        mut rows: RouteRows,
        dead: &[BadRecord],
    ) -> Result<()> {
        let log = LogKey { input: self.input, log: task.log };
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            if from < after.next && after.next <= subscriber.accepted.next {
                continue;
            }
            let part = match rows.partials.get_mut(index).and_then(Option::take) {
                Some(partial) => Rows::Partial(partial),
                None => rows.batch.take().map_or(Rows::None, Rows::Batch),
            };
            let dead_letters = self.dead_letters(task, index, dead)?;
            let range = Range { log, from, after, rows: part, dead_letters };
            deliver(&subscriber.sender, Message::Range(range)).await;
        }
        Ok(())
    }

    fn dead_letters(
        &self,
        task: &SplitTask,
        index: usize,
        dead: &[BadRecord],
    ) -> Result<Option<arrow::record_batch::RecordBatch>> {
        let units = self.subscribers.len() as u64;
        let mine: Vec<_> =
            dead.iter().filter(|record| home(task.log, record.position) % units == index as u64).collect();
        if mine.is_empty() {
            return Ok(None);
        }
        let place = |position| task.source.show(position);
        let batch = dead_letter::to_batch(&task.source_counters().name, task.split.as_str(), &mine, place);
        batch.map(Some).map_err(|error| RunError::Internal(error.to_string()))
    }
}

/// Hash of (log, position) that decides which unit owns a dead letter: FNV-1a, as it must never change.
fn home(log: u32, position: Position) -> u64 {
    let bytes = log.to_be_bytes().into_iter().chain(position.to_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn ready(value: MaxTime) -> oneshot::Receiver<MaxTime> {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(value);
    receiver
}

/// The greater of what was seen and what is known, once the former arrives.
fn known(seen: oneshot::Receiver<MaxTime>, known: MaxTime) -> oneshot::Receiver<MaxTime> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Ok(seen) = seen.await {
            let max = if seen.scope == known.scope { seen.max.max(known.max) } else { seen.max };
            let _ = sender.send(MaxTime { scope: seen.scope, max });
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{Schema, SchemaRef};
    use async_trait::async_trait;
    use thalweg_core::clock::SystemClock;
    use thalweg_core::decode::{Decoded, Decoder, Rows as RowPlaces};
    use thalweg_core::error::Result as CoreResult;
    use thalweg_core::source::{Split, SplitReader};

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

    fn task(subscribers: Vec<Subscriber>) -> SplitTask {
        let sources = vec![SourceCounters::default()];
        SplitTask {
            source: Arc::new(Quiet),
            resource: "quiet".into(),
            source_index: 0,
            split: SplitId::new("quiet"),
            log: 0,
            plan: Arc::new(ReadPlan {
                decoder: Arc::new(Quiet),
                watermark: None,
                keep_late: false,
                routes: Vec::new(),
            }),
            subscriptions: vec![Subscription { input: 0, subscribers }],
            on_error: OnError::Fail,
            idle_after: Some(Duration::ZERO),
            permits: Arc::new(Semaphore::new(1)),
            turns: Some(Arc::new(Semaphore::new(1))),
            depth: 1,
            clock: Arc::new(SystemClock::new()),
            counters: Arc::new(Counters::new(sources, Vec::new())),
            stop: CancellationToken::new(),
        }
    }

    /// One unit may have committed that a log is idle when all are killed, and another not yet.
    #[tokio::test]
    async fn a_log_that_is_idle_for_one_subscriber_becomes_idle_for_the_others_too() {
        let (sender, mut messages) = mpsc::channel(4);
        let accepted = LogProgress { next: Position::at(5), ..LogProgress::START };
        let knows = Subscriber { sender: mpsc::channel(4).0, accepted: LogProgress { idle: true, ..accepted } };
        let (known, mut heard) = mpsc::channel(4);
        let task = task(vec![Subscriber { sender: known, ..knows }, Subscriber { sender, accepted }]);
        let stop = task.stop.clone();
        let running = tokio::spawn(task.run());
        for messages in [&mut heard, &mut messages] {
            let message = tokio::time::timeout(Duration::from_secs(5), messages.recv()).await.expect("in time");
            let Some(Message::Range(range)) = message else { panic!("a range") };
            assert!(range.after.idle && range.from == accepted.next && range.after.next == accepted.next);
        }
        stop.cancel();
        running.await.expect("no panic").expect("stops");
    }

    #[test]
    fn pauses_grow_and_stay_short_against_idleness() {
        let task = SplitTask { idle_after: Some(Duration::from_secs(2)), ..task(Vec::new()) };
        let pauses: Vec<_> = [0, 1, 2, 3, 40].map(|quiet| task.pause(quiet).as_millis()).into();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
    }
}
