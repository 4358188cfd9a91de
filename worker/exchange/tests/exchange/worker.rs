//! A worker that reads one log of numbers and serves it, and a unit elsewhere that wants it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::clock::SystemClock;
use thalweg_core::error::{Error, Result};
use thalweg_core::log::{LogId, SplitId};
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, Incarnation, RunId, StageId, UnitId};
use thalweg_exchange::channel::{ClientStream, Receiver, Sender, connect};
use thalweg_exchange::credit::Credits;
use thalweg_exchange::cursors::PATIENCE;
use thalweg_exchange::hub::{Hub, Served};
use thalweg_exchange::link::PeerAddress;
use thalweg_exchange::message::{Attempt, Message, Range, Rows, Stamp, Subscription};
use thalweg_exchange::network::Tcp;
use thalweg_exchange::serve::{RangeReader, RangeSource, ReadRange};
use thalweg_exchange::subscriber::{OnRange, OnRefusal, Subscriber};
use thalweg_mtls::identity::{Fingerprint, Identity};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Longest that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What comes after the last number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Then {
    /// The log has ended.
    #[default]
    Ends,
    /// More may come, and never does.
    Waits,
}

/// Numbers `0..end`, `range` of them in a range; the log before `first` was trimmed.
#[derive(Default)]
pub struct Numbers {
    pub first: u64,
    pub end: u64,
    pub range: u64,
    pub then: Then,
    pub is_awaited: bool,
    /// Readers that are open.
    pub open: Shared<usize>,
    /// What was committed, by the index of the unit.
    pub committed: Shared<Vec<(u32, Position)>>,
}

/// A value that a log changes while a test waits for what it will be.
pub struct Shared<T>(watch::Sender<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self(watch::Sender::default())
    }
}

impl<T: Clone> Shared<T> {
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut T)) {
        self.0.send_modify(change);
    }

    pub async fn until(&self, is_met: impl FnMut(&T) -> bool) {
        let mut receiver = self.0.subscribe();
        tokio::time::timeout(LIMIT, receiver.wait_for(is_met)).await.expect("in time").expect("it is not dropped");
    }
}

#[async_trait]
impl RangeSource for Numbers {
    fn serves(&self, stamp: &Stamp) -> bool {
        &*stamp.plan == "plan"
    }

    async fn open(&self, from: LogProgress, _cuts: Vec<LogProgress>) -> Result<Box<dyn RangeReader>> {
        let at = offset(from.next);
        if at < self.first {
            return Err(Error::data_loss("reading numbers", format!("they start at {}", self.first)));
        }
        self.open.change(|open| *open += 1);
        let (is_awaited, open) = (self.is_awaited, self.open.clone());
        Ok(Box::new(Reader { at, end: self.end, range: self.range, then: self.then, is_awaited, open }))
    }

    fn committed(&self, subscription: &Subscription, next: Position) {
        self.committed.change(|committed| committed.push((subscription.unit.index, next)));
    }
}

struct Reader {
    at: u64,
    end: u64,
    range: u64,
    then: Then,
    is_awaited: bool,
    open: Shared<usize>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.open.change(|open| *open -= 1);
    }
}

#[async_trait]
impl RangeReader for Reader {
    async fn read(&mut self, until: Option<Position>) -> Result<Box<dyn ReadRange>> {
        let from = self.at;
        if from == self.end && self.then == Then::Waits {
            return std::future::pending().await;
        }
        self.at = until.map_or(self.end, offset).min(self.end).min(from + self.range);
        let watermark = if from == self.end { Watermark::END } else { Watermark(self.at.cast_signed()) };
        let after = LogProgress { next: Position::at(self.at), watermark, ..LogProgress::START };
        Ok(Box::new(Read { from, after, is_awaited: self.is_awaited }))
    }
}

struct Read {
    from: u64,
    after: LogProgress,
    is_awaited: bool,
}

impl ReadRange for Read {
    fn after(&self) -> LogProgress {
        self.after
    }

    fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Each unit of two gets the numbers of its own parity.
    fn part(&mut self, subscription: &Subscription, _stamp: &Stamp) -> (Option<Rows>, Option<RecordBatch>) {
        let parity = u64::from(subscription.unit.index % 2);
        let mine = (self.from..offset(self.after.next)).filter(|number| number % 2 == parity);
        let numbers: Int64Array = mine.map(u64::cast_signed).collect::<Vec<_>>().into();
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).expect("valid");
        ((batch.num_rows() > 0).then_some(Rows::Plain(batch)), None)
    }
}

pub fn offset(position: Position) -> u64 {
    u64::try_from(position.offset).expect("logs here are short")
}

pub fn run(name: &str) -> RunId {
    RunId(name.to_owned())
}

pub fn subscription(index: u32) -> Subscription {
    let log = LogId::Split { source: "numbers".into(), split: SplitId::new("0") };
    Subscription { unit: UnitId { stage: StageId(1), index }, input: 0, log }
}

/// The workers that units run in, one each, where nobody connects to them; all have one key.
pub fn named(identity: &Identity) -> Vec<PeerAddress> {
    let (address, fingerprint) = (SocketAddr::from(([127, 0, 0, 1], 1)), identity.fingerprint());
    let runs = [0, 1].into_iter().flat_map(|index| [1, 2].map(|epoch| run_of(index, Epoch(epoch))));
    runs.map(|run| PeerAddress { run, address, fingerprint }).collect()
}

fn run_of(index: u32, epoch: Epoch) -> RunId {
    run(&format!("unit-{index}-{epoch}"))
}

pub fn stamp(plan: &str) -> Stamp {
    Stamp { plan: plan.into(), layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN }
}

/// A worker that serves numbers until it is dropped.
pub struct Worker {
    pub hub: Hub,
    pub address: SocketAddr,
    pub fingerprint: Fingerprint,
    task: AbortHandle,
    _served: Served,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    pub async fn serving(numbers: Numbers, peers: Vec<PeerAddress>) -> Self {
        let identity = Identity::generate().expect("a key");
        let fingerprint = identity.fingerprint();
        let hub = Hub::new(run("reader"), Arc::new(SystemClock::new()), PATIENCE);
        hub.place(peers, BTreeMap::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let served = hub.serve(subscription(0).log, Arc::new(numbers));
        let listening = hub.clone();
        let task = tokio::spawn(async move { listening.listen(listener, &identity).await.map(|_| ()) }).abort_handle();
        Self { hub, address, fingerprint, task, _served: served }
    }
}

/// A unit that takes numbers, by the rules.
pub struct Unit {
    pub index: u32,
    pub numbers: Vec<i64>,
    subscriber: Subscriber,
    credits: Credits<Subscription>,
}

/// A connection of a unit to a reader.
pub struct Connection {
    sender: Sender<ClientStream>,
    receiver: Receiver<ClientStream>,
    /// Ranges that came and were not taken.
    waiting: VecDeque<Range>,
}

impl Unit {
    pub fn new(index: u32, window: u32) -> Self {
        Self::owned_at(index, window, Epoch(1))
    }

    pub fn owned_at(index: u32, window: u32, epoch: Epoch) -> Self {
        Self::standing_at(index, window, epoch, LogProgress::START)
    }

    pub fn standing_at(index: u32, window: u32, epoch: Epoch, accepted: LogProgress) -> Self {
        let subscriber = Subscriber::new(Attempt { epoch, count: 0 }, stamp("plan"), accepted);
        Self { index, numbers: Vec::new(), subscriber, credits: Credits::new(100, window) }
    }

    pub fn accepted(&self) -> LogProgress {
        self.subscriber.accepted()
    }

    /// Connects, and asks for the log from where the unit is.
    pub async fn subscribe(&mut self, identity: &Identity, worker: &Worker, plan: &str) -> Connection {
        let config = identity.client_config(worker.fingerprint).expect("a configuration");
        let (channel, peer) =
            connect(&Tcp, worker.address, config, &run_of(self.index, self.subscriber.attempt().epoch))
                .await
                .expect("it is known");
        assert_eq!(peer.run, run("reader"));
        let (mut sender, receiver) = channel.split();
        let message = Message::Subscribe {
            subscription: subscription(self.index),
            attempt: self.subscriber.subscribe_again(),
            stamp: stamp(plan),
            accepted: self.accepted(),
            credit: self.credits.open(subscription(self.index)),
        };
        sender.send(&message).await.expect("it is connected");
        Connection { sender, receiver, waiting: VecDeque::new() }
    }

    /// Waits for a range without taking it.
    pub async fn await_range(&self, connection: &mut Connection) {
        match connection.receiver.receive().await.expect("it is connected").expect("it is open") {
            Message::Range(range) => connection.waiting.push_back(range),
            other => panic!("expected a range, found {other:?}"),
        }
    }

    /// Takes the next range, and lets more come.
    pub async fn take(&mut self, connection: &mut Connection) -> Result<(), OnRefusal> {
        let range = match connection.waiting.pop_front() {
            Some(range) => range,
            None => match connection.receiver.receive().await {
                Ok(Some(Message::Range(range))) => range,
                Ok(Some(Message::Refused { attempt, reason, .. })) => {
                    return Err(self.subscriber.on_refused(attempt, reason));
                }
                Ok(None) | Err(_) => return Err(self.subscriber.on_disconnected()),
                other => panic!("a reader does not say {other:?}"),
            },
        };
        let came = self.subscriber.on_range(range.attempt, &range.stamp, range.from, range.after);
        assert_eq!(came, OnRange::Take, "unit {}", self.index);
        if let Some(Rows::Plain(batch)) = range.rows {
            self.numbers.extend(batch.column(0).as_primitive::<Int64Type>().values());
        }
        let (subscription, attempt) = (subscription(self.index), self.subscriber.attempt());
        let grant = Message::Grant { ranges: self.credits.taken(&subscription), subscription, attempt };
        // A reader that has gone shows with the next range.
        let _ = connection.sender.send(&grant).await;
        Ok(())
    }

    pub async fn take_all(&mut self, connection: &mut Connection) {
        while !self.accepted().has_ended() {
            self.take(connection).await.expect("the reader lives");
        }
    }

    /// What the unit must have once it has all.
    pub fn expected(&self, end: u64) -> Vec<i64> {
        (0..end.cast_signed()).filter(|number| number % 2 == i64::from(self.index % 2)).collect()
    }
}
