//! A cluster that answers as a test wants it: one empty topic, of partitions that brokers learn of one after another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::client::{
    Bounds, ClientError, Cluster, NewTopic, Outgoing, PartitionReader, Polled, Producer, Producing, Reach, Result,
    Topic, Transactions, Wanted,
};
use super::config::{Connection, Fetching};

/// What it answers; the last answer about partitions stands, and without others everything is done.
#[derive(Clone, Default)]
pub(super) struct Played(Arc<Answers>);

#[derive(Default)]
struct Answers {
    partitions: Mutex<VecDeque<Result<u32>>>,
    producers: Mutex<VecDeque<Result<()>>>,
    commits: Mutex<VecDeque<Result<()>>>,
}

pub(super) fn connection() -> Connection {
    let (client_id, fetching) = ("test".to_owned(), Fetching::default());
    Connection { brokers: vec!["played:9092".to_owned()], client_id, security: None, fetching }
}

impl Played {
    /// How many partitions the topic has, each time that it is asked.
    pub(super) fn partitions(&self) -> MutexGuard<'_, VecDeque<Result<u32>>> {
        self.0.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes of making a producer of transactions.
    pub(super) fn producers(&self) -> MutexGuard<'_, VecDeque<Result<()>>> {
        self.0.producers.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut answers = self.partitions();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let partitions = answer.unwrap_or(Ok(1))?;
        Ok(Some(Topic { id: 7, partitions, may_read: true, may_write: true }))
    }

    async fn create_topic(&self, _topic: &NewTopic) -> Result<bool> {
        Ok(true)
    }

    async fn grow_topic(&self, _name: &str, _partitions: u32) -> Result<()> {
        Ok(())
    }

    async fn most_bytes(&self, _topic: &str) -> Result<Option<usize>> {
        Ok(None)
    }

    async fn bounds(&self, _topic: &str, _partition: u32) -> Result<Bounds> {
        Ok(Bounds { start: 0, stable_end: 0, end: 0 })
    }

    async fn offset_at(&self, _topic: &str, _partition: u32, _millis: i64) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn write_to_group(&self, _group: &str, _topic: &str, _offsets: &[(u32, u64)]) -> Result<()> {
        Ok(())
    }

    async fn reader(&self, _topic: &str, _partition: u32, from: u64, _: Wanted) -> Result<Box<dyn PartitionReader>> {
        Ok(Box::new(AtEnd(from)))
    }

    async fn producer(&self, _producing: &Producing) -> Result<Box<dyn Producer>> {
        Err(ClientError::Refused("it plays none".to_owned()))
    }

    async fn transactions(&self, _id: &str, _producing: &Producing) -> Result<Box<dyn Transactions>> {
        self.producers().pop_front().unwrap_or(Ok(()))?;
        Ok(Box::new(Writer(self.clone())))
    }
}

struct AtEnd(u64);

#[async_trait]
impl PartitionReader for AtEnd {
    async fn poll(&mut self, _wait: Duration) -> Result<Polled> {
        Ok(Polled { next: self.0, at_end: true, ..Polled::default() })
    }
}

struct Writer(Played);

#[async_trait]
impl Transactions for Writer {
    async fn send(&mut self, _record: Outgoing) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.0.commits().pop_front().unwrap_or(Ok(()))
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
