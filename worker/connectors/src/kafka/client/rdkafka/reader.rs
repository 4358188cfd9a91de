//! One partition through librdkafka, read on a thread of its own: a call that is dropped loses nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use thalweg_core::source::Records;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::{ClientError, NEWS, PartitionReader, Polled, Result, Wanted, number};
use super::ear::{Ear, End};
use super::error::from;
use super::{native, settings};
use crate::kafka::config::{Connection, Fetching};

/// Records, and about so many bytes of values, that are handed on at once.
const BATCH_RECORDS: usize = 10_000;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for whoever polls.
const BATCHES: usize = 2;
/// Answers that the library reads ahead, and of a reader that shares memory as many as are counted.
const AHEAD: i32 = 8;
const SHARED_AHEAD: i32 = 2;
/// How long one look for records waits; a reader ends within this time.
const QUIET: Duration = Duration::from_millis(100);
/// At its end a log is looked at so often: the library tells each end once.
const RENEW: Duration = Duration::from_secs(1);
/// It takes no assignment without the name of a group. Nothing is ever committed to it.
const NO_GROUP: &str = "thalweg";

/// Reads one partition, `read_committed`.
pub(super) struct RdkafkaReader {
    steps: mpsc::Receiver<Step>,
    next: u64,
    /// When a broker said that nothing follows.
    news: Option<Instant>,
}

/// What the thread has found.
enum Step {
    /// Records, and the next offset.
    Records(Records, u64),
    End(End),
    /// Nothing comes behind it.
    Failed(ClientError),
}

impl RdkafkaReader {
    /// A reader from an offset on.
    pub(super) fn open(
        connection: Connection,
        asking: Arc<BaseConsumer<Ear>>,
        topic: &str,
        partition: u32,
        next: u64,
        wanted: Wanted,
    ) -> Result<Self> {
        let (found, steps) = mpsc::channel(BATCHES);
        let topic = topic.to_owned();
        super::served::thread("kafka-reader", move || match consumer(&connection, wanted, &topic, partition, next) {
            Ok(consumer) => Thread { consumer, asking, topic, partition, wanted, found }.run(next),
            Err(error) => drop(found.blocking_send(Step::Failed(error))),
        })?;
        Ok(Self { steps, next, news: None })
    }

    fn is_news(&self) -> bool {
        self.news.is_some_and(|since| since.elapsed() < NEWS)
    }
}

#[async_trait]
impl PartitionReader for RdkafkaReader {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        match tokio::time::timeout(wait, self.steps.recv()).await {
            Ok(Some(Step::Records(records, next))) => {
                (self.next, self.news) = (next, None);
                Ok(Polled { records, next, ..Polled::default() })
            }
            Ok(Some(Step::End(end))) if end.at < self.next => Err(ClientError::Cut(Some(end.at))),
            Ok(Some(Step::End(end))) => {
                self.next = end.at;
                self.news = (end.high <= end.at).then(Instant::now);
                Ok(Polled { next: self.next, at_end: self.is_news(), ..Polled::default() })
            }
            Ok(Some(Step::Failed(error))) => Err(error),
            Ok(None) => Err(ClientError::Away("the reader has ended".to_owned())),
            Err(_) => Ok(Polled { next: self.next, at_end: self.is_news(), ..Polled::default() }),
        }
    }
}

/// KiB that the library has queued before it fetches no more.
fn queued_kbytes(wanted: Wanted, fetching: &Fetching) -> i32 {
    let ahead = if wanted.fetch_bytes.is_some() { SHARED_AHEAD } else { AHEAD };
    (ahead.saturating_mul(wanted.fetch_bytes(fetching)) >> 10).max(1)
}

/// A consumer of one partition.
fn consumer(
    connection: &Connection,
    wanted: Wanted,
    topic: &str,
    partition: u32,
    next: u64,
) -> Result<BaseConsumer<Ear>> {
    let mut config: ClientConfig = settings::of(connection)?;
    let fetching = &connection.fetching;
    config
        .set("group.id", NO_GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // It may stand still for as long as what is behind it does.
        .set("max.poll.interval.ms", "86400000")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", fetching.max_wait.as_millis().to_string())
        .set("max.partition.fetch.bytes", wanted.fetch_bytes(fetching).to_string())
        .set("queued.max.messages.kbytes", queued_kbytes(wanted, fetching).to_string());
    if let Some(rack) = &fetching.rack {
        config.set("client.rack", rack);
    }
    let consumer: BaseConsumer<Ear> = config.create_with_context(Ear::of(connection)).map_err(|error| from(&error))?;
    let mut assignment = TopicPartitionList::new();
    let offset = i64::try_from(next).map_err(|_| ClientError::OutOfRange)?;
    let added = assignment.add_partition_offset(topic, number(partition), Offset::Offset(offset));
    added.and_then(|()| consumer.assign(&assignment)).map_err(|error| from(&error))?;
    Ok(consumer)
}

/// Reads until nobody polls any more.
struct Thread {
    consumer: BaseConsumer<Ear>,
    /// To whom undecided records are records.
    asking: Arc<BaseConsumer<Ear>>,
    topic: String,
    partition: u32,
    wanted: Wanted,
    found: mpsc::Sender<Step>,
}

impl Thread {
    fn run(self, next: u64) {
        let first = self.look(next);
        let mut end = match &first {
            Some(Step::End(end)) => Some((*end, Instant::now())),
            _ => None,
        };
        if first.is_some_and(|step| !self.hand_on(step)) {
            return;
        }
        while !self.found.is_closed() {
            let steps = match self.consumer.poll(QUIET) {
                Some(Ok(first)) => self.batch(&first),
                Some(Err(error)) => [self.told(&error), None],
                None => [end.and_then(|(end, since)| self.renewed(end, since)), None],
            };
            for step in steps.into_iter().flatten() {
                match &step {
                    Step::Records(..) => end = None,
                    Step::End(told) => end = Some((*told, Instant::now())),
                    Step::Failed(_) => {}
                }
                if !self.hand_on(step) {
                    return;
                }
            }
        }
    }

    /// Whether more may come.
    fn hand_on(&self, step: Step) -> bool {
        let is_last = matches!(step, Step::Failed(_));
        self.found.blocking_send(step).is_ok() && !is_last
    }

    /// Where the log starts and ends, before anything is read: the first fetch of a reader at the end takes its time.
    fn look(&self, next: u64) -> Option<Step> {
        let (low, high) = super::bounds(&self.asking, &self.topic, self.partition).ok()?;
        if !(low..=high).contains(&next) {
            return Some(Step::Failed(ClientError::OutOfRange));
        }
        (next == high).then_some(Step::End(End { at: next, high }))
    }

    /// The end that was told, asked for again after a while.
    fn renewed(&self, end: End, since: Instant) -> Option<Step> {
        if since.elapsed() < RENEW {
            return None;
        }
        let (_, high) = super::bounds(&self.asking, &self.topic, self.partition).ok()?;
        Some(Step::End(End { at: end.at, high }))
    }

    /// Records that are there without waiting, and what ended them.
    fn batch(&self, first: &BorrowedMessage<'_>) -> [Option<Step>; 2] {
        let mut records = Records { partition: self.partition, ..Records::default() };
        let mut next = self.keep(&mut records, first);
        let mut bytes = first.payload_len();
        while records.offsets.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    next = self.keep(&mut records, &message);
                    bytes += message.payload_len();
                }
                Some(Err(error)) => return [Some(Step::Records(records, next)), self.told(&error)],
                None => break,
            }
        }
        [Some(Step::Records(records, next)), None]
    }

    /// Copies a record; the offset behind it.
    fn keep(&self, records: &mut Records, message: &BorrowedMessage<'_>) -> u64 {
        if records.offsets.is_empty() {
            records.first_timestamp = message.timestamp().to_millis();
        }
        records.values.push(message.payload().map(Bytes::copy_from_slice));
        records.offsets.push(message.offset().cast_unsigned());
        if self.wanted.timestamps {
            records.timestamps.push(message.timestamp().to_millis().unwrap_or(-1));
        }
        if self.wanted.keys {
            records.keys.push(message.key().map(Bytes::copy_from_slice));
        }
        if self.wanted.headers {
            records.headers.push(native::headers(message));
        }
        message.offset().cast_unsigned() + 1
    }

    /// What an error means. While brokers are away the library tries again by itself; what lies behind a batch that cannot be
    /// read is never handed on.
    fn told(&self, error: &KafkaError) -> Option<Step> {
        let ear = self.consumer.context();
        if matches!(error, KafkaError::PartitionEOF(_)) {
            let untold = || ClientError::Away("librdkafka tells the end of a log in other words".to_owned());
            return Some(ear.end().map_or_else(|| Step::Failed(untold()), Step::End));
        }
        // That of a group which is none.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            return None;
        }
        match from(error) {
            ClientError::Corrupt(_) => {
                let why = ear.last_said().unwrap_or_default();
                Some(Step::Failed(ClientError::Corrupt(format!("a batch cannot be read: {why}"))))
            }
            ClientError::Away(_) => None,
            error => Some(Step::Failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_shares_memory_queues_no_more_answers_than_are_counted() {
        let queued = |fetch_bytes| queued_kbytes(Wanted { fetch_bytes, ..Wanted::default() }, &Fetching::default());
        assert_eq!([None, Some(64 << 10), Some(0)].map(queued), [8 << 10, 128, 1]);
    }
}
