//! Reads one split from a position on: chunks in order, worked on side by side.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use thalweg_core::error::Error as CoreError;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::source::{Given, Payload, RawChunk, Read, SplitReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::chunk::{MaxTime, Opened, Processed};
use super::error::Result;
use super::split_log::SplitLog;

/// How long a reader that stands at its log's end waits before it asks again, at first and at the most: to ask costs a
/// system call a file, or a request.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Chunks that a reader which takes turns reads in one.
const TURN: usize = 256;

/// What comes of a split.
pub enum Item {
    /// Rows, perhaps not decoded yet.
    Chunk(Working),
    /// Nothing for now.
    CaughtUp,
    /// Nothing any more.
    End,
}

/// A chunk in work.
pub struct Working {
    /// The next position wanted behind it.
    pub to: Position,
    /// Whether the watermark follows its event times already.
    pub follows_piece: bool,
    /// What becomes of it.
    pub job: oneshot::Receiver<Done>,
    /// What was read since the split was opened, in units of its size.
    pub read: u64,
    _permit: OwnedSemaphorePermit,
}

/// What became of a chunk, and the greatest event time behind it.
pub type Done = Result<(Processed, MaxTime), Undone>;

/// Why nothing became of a chunk.
#[derive(Debug)]
pub enum Undone {
    /// The plan is wrong.
    Plan(String),
    /// Its text could not be read.
    Unread(CoreError),
    /// What worked on it panicked, and said this.
    Panicked(String),
}

/// What is to be done for a chunk.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Chunks that nobody works on yet, oldest first. A task takes the oldest, whichever chunk it was spawned for: the runtime begins
/// with the task that was spawned last, and since chunks are handed on in order, all would wait for the first of them.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<VecDeque<Work>>>);

/// Reads a split for as long as somebody takes the items.
pub struct Reader {
    log: Arc<SplitLog>,
    start: LogProgress,
    /// Where ranges must end, so that each subscriber's first range starts where it left off: ascending.
    cuts: Vec<LogProgress>,
    /// Where the next range must end, as is known by now: there another cursor stands, and nothing is read ahead.
    until: watch::Receiver<Option<Position>>,
    items: mpsc::Sender<Item>,
    /// One chunk is never waited for: others may hold all that there are, and wait for a sink that stands still.
    own: Arc<Semaphore>,
    waiting: Waiting,
}

impl Reader {
    /// A reader from `start` on, which knows all of the log before it.
    pub fn new(
        log: Arc<SplitLog>,
        start: LogProgress,
        cuts: Vec<LogProgress>,
        until: watch::Receiver<Option<Position>>,
        items: mpsc::Sender<Item>,
    ) -> Self {
        Self { log, start, cuts, until, items, own: Arc::new(Semaphore::new(1)), waiting: Waiting::default() }
    }

    /// Reads until the log ends or nobody wants more.
    pub async fn run(mut self) -> Result<()> {
        let mut at = self.start.next;
        let mut reader = self.log.source.open(&self.log.split, at).await?;
        let (mut turn, mut quiet) = (Turn::default(), 0);
        let mut cuts = self.cuts.clone().into_iter().peekable();
        let mut before = ready(MaxTime { scope: self.start.scope, max: self.start.max_event_time });
        loop {
            if turn.is_over(self.log.turns.as_deref()) {
                // Opened anew, so that nothing is held while others read.
                reader = self.log.source.open(&self.log.split, at).await?;
                turn = Turn::default();
            }
            turn.begin(self.log.turns.as_ref()).await;
            if self.until.wait_for(|until| until.is_none_or(|until| until > at)).await.is_err() {
                return Ok(());
            }
            let until = *self.until.borrow();
            let end = cuts.peek().map(|cut| cut.next).into_iter().chain(until).chain(self.throttled(at)).min();
            let (read, mut permit) = self.read(reader.as_mut(), end).await?;
            let item = match read {
                Read::Chunk(chunk) => {
                    self.log.gauge.read(chunk.to, oldest(&chunk));
                    if permit.is_none() {
                        permit = self.permit().await;
                    }
                    let Some(permit) = permit.take() else { return Ok(()) };
                    at = chunk.to;
                    let (working, after) = self.work_on(chunk, before, permit, reader.progress());
                    // What a subscriber knows of the prefix is exact; what this run has seen of it may be less.
                    before = match cuts.next_if(|cut| cut.next <= at) {
                        Some(cut) => known(after, MaxTime { scope: cut.scope, max: cut.max_event_time }),
                        None => after,
                    };
                    Item::Chunk(working)
                }
                Read::CaughtUp => {
                    self.log.gauge.caught_up(self.log.clock.wall_millis());
                    Item::CaughtUp
                }
                Read::End => Item::End,
            };
            drop(permit);
            let (caught_up, ended) = (matches!(item, Item::CaughtUp), matches!(item, Item::End));
            if self.items.send(item).await.is_err() || ended {
                return Ok(());
            }
            if caught_up {
                turn = Turn::default();
                if !self.log.source.waits() {
                    tokio::time::sleep(pause(self.log.idle_after, quiet)).await;
                    quiet += 1;
                }
            } else {
                (turn.chunks, quiet) = (turn.chunks + 1, 0);
            }
        }
    }

    /// What comes next, perhaps with the leave to work on it: that is asked for before, so that no chunk is held for which there is
    /// none. But nobody who has to wait for records holds it meanwhile, for others could use it.
    async fn read(
        &self,
        reader: &mut dyn SplitReader,
        end: Option<Position>,
    ) -> Result<(Read, Option<OwnedSemaphorePermit>)> {
        if self.log.source.grows() {
            return Ok((reader.read(end).await?, None));
        }
        let permit = self.permit().await;
        let mut reading = reader.read(end);
        match futures::poll!(reading.as_mut()) {
            Poll::Ready(read) => Ok((read?, permit)),
            Poll::Pending => {
                drop(permit);
                Ok((reading.await?, None))
            }
        }
    }

    /// Where a chunk ends that a throttle lets through in a moment. Offsets of brokers count records; the first position of
    /// all is of no log.
    fn throttled(&self, at: Position) -> Option<Position> {
        let throttle = self.log.throttle.as_ref()?;
        let counts = self.log.source.waits() && at != Position::START;
        counts.then(|| at.advanced_by(throttle.rows_at_once()))
    }

    /// Waits until one more chunk may be in work; never does `None` come.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            own = self.own.clone().acquire_owned() => own.ok(),
            shared = self.log.permits.clone().acquire_owned() => shared.ok(),
        }
    }

    fn work_on(
        &self,
        chunk: RawChunk<Given>,
        before: oneshot::Receiver<MaxTime>,
        permit: OwnedSemaphorePermit,
        read: u64,
    ) -> (Working, oneshot::Receiver<MaxTime>) {
        let (plan, to) = (self.log.plan.clone(), chunk.to);
        let throttle = self.log.throttle.clone().map(|throttle| (throttle, self.log.clock.clone()));
        let follows_piece = chunk.piece.is_last_scope;
        let (send_after, after) = oneshot::channel();
        let work = async move {
            let opened = Opened::new(&plan, chunk.fetched().await.map_err(Undone::Unread)?);
            let before = before.await.map_err(|_| Undone::Plan("the chunk before was not decoded".to_owned()))?;
            let max = opened.max_after(before);
            if let Some((throttle, clock)) = throttle {
                throttle.take(&*clock, opened.rows()).await;
            }
            // The next chunk may be gone already: then nobody waits for this.
            let _ = send_after.send(max);
            Ok((opened.process(&plan, before).map_err(Undone::Plan)?, max))
        };
        let (send_done, job) = oneshot::channel();
        self.waiting.push(Box::pin(async move {
            let done = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(done) => done,
                Err(panic) => Err(Undone::Panicked(said(panic.as_ref()))),
            };
            // Nobody waits for it where the reading was given up.
            let _ = send_done.send(done);
        }));
        (Working { to, follows_piece, job, read, _permit: permit }, after)
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One chunk more, and one task more that takes one.
    fn push(&self, work: Work) {
        self.lock().push_back(work);
        let waiting = self.clone();
        tokio::spawn(async move {
            let oldest = waiting.lock().pop_front();
            if let Some(work) = oldest {
                work.await;
            }
        });
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}

/// The time of a chunk's first record, where its log has one.
fn oldest(chunk: &RawChunk<Given>) -> Option<i64> {
    match &chunk.payload {
        Given::Held(Payload::Records(records)) => records.first_timestamp,
        Given::Held(Payload::Text(_) | Payload::Columns(_)) | Given::Unread(_) => None,
    }
}

/// Longer and longer, but short against the time after which the log counts as idle.
fn pause(idle_after: Option<Duration>, quiet: u32) -> Duration {
    let most = idle_after.map_or(POLL.1, |idle_after| POLL.1.min(idle_after / 4));
    POLL.0.saturating_mul(1 << quiet.min(8)).min(most.max(POLL.0))
}

/// A reader's leave to read, where readers take turns.
#[derive(Default)]
struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    chunks: usize,
}

impl Turn {
    /// Waits for the turn.
    async fn begin(&mut self, turns: Option<&Arc<Semaphore>>) {
        if let Some(turns) = turns.filter(|_| self.permit.is_none()) {
            self.permit = turns.clone().acquire_owned().await.ok();
        }
    }

    /// Whether somebody else should read now.
    fn is_over(&self, turns: Option<&Semaphore>) -> bool {
        self.chunks >= TURN && turns.is_some_and(|turns| turns.available_permits() == 0)
    }
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
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_oldest_chunk_is_begun_first_however_the_runtime_orders_its_tasks() {
        let (begun, mut order) = mpsc::unbounded_channel();
        // Within a task of the runtime: what such a task spawns last is begun first.
        let pushing = tokio::spawn(async move {
            let waiting = Waiting::default();
            for number in 0..5 {
                let begun = begun.clone();
                waiting.push(Box::pin(async move { begun.send(number).expect("it is heard") }));
            }
        });
        pushing.await.expect("no panic");
        let mut found = Vec::new();
        while let Some(number) = order.recv().await {
            found.push(number);
        }
        assert_eq!(found, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let (text, formatted): (Box<dyn Any + Send>, Box<dyn Any + Send>) = (Box::new("odd"), Box::new("7".to_owned()));
        assert_eq!([said(text.as_ref()), said(formatted.as_ref()), said(&7)], ["odd", "7", "it panicked"]);
    }

    #[test]
    fn pauses_grow_and_stay_short_against_idleness() {
        let idle_after = Some(Duration::from_secs(2));
        let pauses: Vec<_> = [0, 1, 2, 3, 40].map(|quiet| pause(idle_after, quiet).as_millis()).into();
        assert_eq!(pauses, [100, 200, 400, 500, 500]);
    }
}
