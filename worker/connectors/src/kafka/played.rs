//! A cluster that answers as a test wants it: one empty topic, of partitions that brokers learn of one after another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::address::Reachable;
use thalweg_core::ownership::claim::Adopt;
use thalweg_core::share::Share;
use thalweg_core::unit::StageId;
use thalweg_crds::connector::KafkaCompression;
use thalweg_crds::pipeline::Delivery as Promise;

use super::client::{
    Bounds, CLEANUP_POLICY, ClientError, Cluster, EpochEnd, NewTopic, Outgoing, PartitionReader, Polled, Producer,
    Producing, Reach, Result, Topic, Transactions, Wanted,
};
use super::config::{Connection, Fetching, SinkConfig};
use super::delivery::About;
use super::patience::Waits;
pub(super) use crate::paused::Paused;

/// What it answers; the last answer about partitions stands, and without others everything is done.
#[derive(Clone, Default)]
pub(super) struct Played(Arc<Answers>);

#[derive(Default)]
struct Answers {
    is_away: AtomicBool,
    polls: Mutex<VecDeque<Polled>>,
    failures: Mutex<VecDeque<ClientError>>,
    partitions: Mutex<VecDeque<Result<u32>>>,
    producers: Mutex<VecDeque<Result<()>>>,
    commits: Mutex<VecDeque<Result<()>>>,
    ids: Mutex<Vec<String>>,
    grown: Mutex<Vec<u32>>,
    bounds: Mutex<Option<Bounds>>,
    /// How often more nobody knows a partition who is asked for its bounds.
    unknown: AtomicU32,
    hangs: AtomicBool,
    policy: Mutex<Option<Result<Option<String>>>>,
    epoch_end: Mutex<Option<Result<EpochEnd>>>,
    asked: Mutex<Vec<usize>>,
    /// Whether the topic was deleted, and how often it was made again.
    is_gone: AtomicBool,
    made_again: AtomicU32,
}

pub(super) fn connection() -> Connection {
    let (client_id, fetching) = ("test".to_owned(), Fetching::default());
    Connection {
        brokers: vec!["played:9092".to_owned()],
        client_id,
        security: None,
        fetching,
        reachable: Reachable::default(),
    }
}

/// A sink of its topic.
pub(super) fn sink_config() -> SinkConfig {
    SinkConfig {
        connection: connection(),
        topic: "out".into(),
        key: Vec::new(),
        headers: Vec::new(),
        tombstones: false,
        compression: KafkaCompression::None,
        create: None,
        linger: Duration::ZERO,
        batch_bytes: 1_000,
        promise: Promise::ExactlyOnce,
    }
}

/// One stage that writes, without state.
pub(super) fn about() -> About {
    About {
        pipeline: "default.p".to_owned(),
        installation: "installation".to_owned(),
        adopt: Adopt::No,
        incarnation: None,
        statements: Vec::new(),
        numbers: None,
        made: None,
        only_looks: false,
        writers: [StageId(0)].into(),
        keyed: 0,
        known: None,
        fresh: false,
        restart: None,
        commit_every: Duration::from_secs(1),
        memory: Share::default(),
        waits: Waits::default(),
    }
}

impl Played {
    /// To how many partitions the topic was made to grow.
    pub(super) fn grown(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each partition holds from now on, by its offsets.
    pub(super) fn holds(&self, bounds: Bounds) {
        *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(bounds);
    }

    /// So often more nobody knows a partition who is asked for its bounds.
    pub(super) fn lags(&self, times: u32) {
        self.0.unknown.store(times, Ordering::Relaxed);
    }

    /// Each partition holds one record from now on, of a transaction that nobody ends.
    pub(super) fn hangs(&self) {
        self.holds(Bounds { start: 0, stable_end: 0, end: 1 });
        self.0.hangs.store(true, Ordering::Relaxed);
    }

    fn is_hanging(&self) -> bool {
        self.0.hangs.load(Ordering::Relaxed)
    }

    /// What is said of the topic's `cleanup.policy`; that it is compacted, where nothing else is given.
    pub(super) fn policy(&self) -> MutexGuard<'_, Option<Result<Option<String>>>> {
        self.0.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the epoch ends from now on that anybody asks about, or what is said instead.
    pub(super) fn ends_epoch(&self, end: Result<EpochEnd>) {
        *self.0.epoch_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// How many bytes each reader asks for that was opened.
    pub(super) fn asked(&self) -> MutexGuard<'_, Vec<usize>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic is deleted.
    pub(super) fn forget_topic(&self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
    }

    /// How often the topic was made again.
    pub(super) fn made_again(&self) -> u32 {
        self.0.made_again.load(Ordering::Relaxed)
    }

    /// Nobody answers any more, or somebody does again.
    pub(super) fn goes_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::Relaxed);
    }

    fn answers(&self) -> Result<()> {
        match self.0.is_away.load(Ordering::Relaxed) {
            true => Err(ClientError::Away("connection refused".to_owned())),
            false => Ok(()),
        }
    }

    /// What readers get before they stand at the end.
    pub(super) fn polls(&self) -> MutexGuard<'_, VecDeque<Polled>> {
        self.0.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the library tells readers before anything else.
    pub(super) fn failures(&self) -> MutexGuard<'_, VecDeque<ClientError>> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many partitions the topic has, each time that it is asked; where it has none there is no such topic.
    pub(super) fn partitions(&self) -> MutexGuard<'_, VecDeque<Result<u32>>> {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes of making a producer of transactions.
    pub(super) fn producers(&self) -> MutexGuard<'_, VecDeque<Result<()>>> {
        self.0.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of the producers of transactions that were made.
    pub(super) fn ids(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes of a commit.
    pub(super) fn commits(&self) -> MutexGuard<'_, VecDeque<Result<()>>> {
        self.0.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reach for Played {
    async fn reach(&self, _connection: &Connection) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Cluster for Played {
    async fn topic(&self, _name: &str) -> Result<Option<Topic>> {
        self.answers()?;
        if self.0.is_gone.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut answers = self.partitions();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let partitions = answer.unwrap_or(Ok(1))?;
        let id = 7 + u128::from(self.made_again());
        Ok((partitions > 0).then_some(Topic { id, partitions, may_read: true, may_write: true }))
    }

    async fn create_topic(&self, _topic: &NewTopic) -> Result<bool> {
        if self.0.is_gone.swap(false, Ordering::Relaxed) {
            self.0.made_again.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }

    async fn grow_topic(&self, _name: &str, partitions: u32) -> Result<()> {
        self.grown().push(partitions);
        Ok(())
    }

    async fn setting(&self, _topic: &str, name: &str) -> Result<Option<String>> {
        match name {
            CLEANUP_POLICY => self.policy().clone().unwrap_or_else(|| Ok(Some("compact".to_owned()))),
            _ => Ok(None),
        }
    }

    async fn bounds(&self, _topic: &str, _partition: u32) -> Result<Bounds> {
        self.answers()?;
        let left = self.0.unknown.load(Ordering::Relaxed);
        if left > 0 {
            self.lags(left - 1);
            return Err(ClientError::NoTopic);
        }
        let bounds = *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(bounds.unwrap_or(Bounds { start: 0, stable_end: 0, end: 0 }))
    }

    async fn epoch_end(&self, _topic: &str, _partition: u32, _epoch: u32) -> Result<Option<EpochEnd>> {
        self.answers()?;
        self.0.epoch_end.lock().unwrap_or_else(PoisonError::into_inner).clone().transpose()
    }

    async fn offset_at(&self, _topic: &str, _partition: u32, _millis: i64) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn write_to_group(&self, _group: &str, _topic: &str, _offsets: &[(u32, u64)]) -> Result<()> {
        Ok(())
    }

    async fn reader(
        &self,
        _topic: &str,
        _partition: u32,
        from: u64,
        wanted: Wanted,
    ) -> Result<Box<dyn PartitionReader>> {
        self.answers()?;
        self.asked().extend(wanted.fetch_bytes);
        Ok(Box::new(Reader { cluster: self.clone(), next: from }))
    }

    async fn producer(&self, _producing: &Producing) -> Result<Box<dyn Producer>> {
        self.answers()?;
        Ok(Box::new(Writer(self.clone())))
    }

    async fn transactions(&self, id: &str, _producing: &Producing) -> Result<Box<dyn Transactions>> {
        self.answers()?;
        self.producers().pop_front().unwrap_or(Ok(()))?;
        self.ids().push(id.to_owned());
        // Whatever was open is ended.
        if let Some(bounds) = &mut *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner)
            && !self.is_hanging()
        {
            bounds.stable_end = bounds.end;
        }
        Ok(Box::new(Writer(self.clone())))
    }
}

struct Reader {
    cluster: Played,
    next: u64,
}

#[async_trait]
impl PartitionReader for Reader {
    /// Of an outage it says nothing, as libraries do.
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if self.cluster.answers().is_err() || self.cluster.is_hanging() {
            tokio::time::sleep(wait).await;
            return Ok(Polled { next: self.next, ..Polled::default() });
        }
        if let Some(failure) = self.cluster.failures().pop_front() {
            return Err(failure);
        }
        if let Some(polled) = self.cluster.polls().pop_front() {
            self.next = polled.next;
            return Ok(polled);
        }
        Ok(Polled { next: self.next, at_end: true, ..Polled::default() })
    }
}

struct Writer(Played);

#[async_trait]
impl Transactions for Writer {
    async fn send(&mut self, _record: Outgoing) -> Result<()> {
        self.0.answers()
    }

    async fn commit(&mut self) -> Result<()> {
        self.0.answers()?;
        self.0.commits().pop_front().unwrap_or(Ok(()))
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Producer for Writer {
    async fn send(&mut self, _record: Outgoing) -> Result<()> {
        self.0.answers()
    }

    async fn acknowledge(&mut self) -> Result<()> {
        self.0.answers()
    }
}
