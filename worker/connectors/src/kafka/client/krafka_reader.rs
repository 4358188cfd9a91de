//! One partition through krafka.

use std::time::Duration;

use async_trait::async_trait;
use krafka::consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel};
use krafka::{Kafka, Offset};
use thalweg_core::source::Records;

use super::krafka_error::from;
use super::{ClientError, Epochs, NEWS, PartitionReader, Polled, Result, Wanted, number};
use crate::kafka::config::Fetching;

/// With the library's own limit of 500 records a fetch is decoded again and again: a tenth of the speed.
const POLL_RECORDS: i32 = 50_000;
const BUFFERED_RECORDS: i32 = 100_000;

/// Reads one partition, `read_committed`.
pub(super) struct KrafkaReader {
    consumer: Consumer,
    topic: String,
    partition: u32,
    next: u64,
    wanted: Wanted,
}

impl KrafkaReader {
    /// A reader from an offset on. Whether the log holds it must be known: below its start the first poll says so, but
    /// beyond its end the library goes to the end, which a poll tells only where it notices that.
    pub(super) async fn open(
        kafka: &Kafka,
        fetching: &Fetching,
        topic: &str,
        partition: u32,
        next: u64,
        wanted: Wanted,
    ) -> Result<Self> {
        let mut builder = kafka
            .consumer_without_group()
            .isolation_level(IsolationLevel::ReadCommitted)
            .auto_offset_reset(AutoOffsetReset::None)
            .enable_auto_commit(false)
            .metrics_push(false)
            .lag_staleness_threshold(NEWS)
            .max_poll_records(POLL_RECORDS)
            .max_buffered_records(BUFFERED_RECORDS)
            .max_partition_fetch_bytes(wanted.fetch_bytes(fetching))
            .fetch_max_wait(fetching.max_wait);
        if let Some(rack) = &fetching.rack {
            builder = builder.client_rack(rack);
        }
        let consumer = builder.build().await.map_err(|error| from(&error))?;
        // In this order: seeking where nothing is assigned is refused.
        consumer.assign(topic, vec![number(partition)]).await.map_err(|error| from(&error))?;
        let offset = Offset::try_from(next).map_err(|_| ClientError::OutOfRange)?;
        consumer.seek(topic, number(partition), offset).await.map_err(|error| from(&error))?;
        Ok(Self { consumer, topic: topic.to_owned(), partition, next, wanted })
    }

    /// Whether the broker has just said that nothing follows `next`.
    async fn at_end(&self) -> bool {
        let lag = self.consumer.lag().await.into_values().next();
        lag.is_some_and(|lag| !lag.stale && lag.high_watermark.is_some_and(|end| end <= self.next.cast_signed()))
    }

    /// How many records the library holds behind those of a poll: of more than it hands on at once. It never waits.
    async fn ahead(&self, polled: usize) -> u64 {
        if polled < POLL_RECORDS as usize {
            return 0;
        }
        let fetched = self.consumer.fetch_position(&self.topic, number(self.partition)).await;
        fetched.and_then(|fetched| u64::try_from(fetched).ok()).map_or(0, |fetched| fetched.saturating_sub(self.next))
    }

    fn columns(&self, polled: Vec<ConsumerRecord>) -> Records {
        // Records of old producers have none.
        let first_timestamp = polled.first().map(|record| record.timestamp).filter(|millis| *millis >= 0);
        let mut records = Records { partition: self.partition, first_timestamp, ..Records::default() };
        records.values.reserve(polled.len());
        records.offsets.reserve(polled.len());
        for record in polled {
            records.values.push(record.value);
            records.offsets.push(record.offset.cast_unsigned());
            if self.wanted.timestamps {
                records.timestamps.push(record.timestamp);
            }
            if self.wanted.keys {
                records.keys.push(record.key);
            }
            if self.wanted.headers {
                records.headers.push(record.headers);
            }
        }
        records
    }
}

#[async_trait]
impl PartitionReader for KrafkaReader {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let polled = self.consumer.poll(wait).await.map_err(|error| from(&error))?;
        // The records are ours now: nothing waits from here on, so no dropped call loses them.
        if let Some((first, last)) = polled.first().zip(polled.last()) {
            // The library has gone back to where the log was cut, and tells nobody.
            if first.offset < self.next.cast_signed() {
                return Err(ClientError::Cut(u64::try_from(first.offset).ok()));
            }
            let epochs = epochs(first, last);
            self.next = last.offset.cast_unsigned() + 1;
            let ahead = self.ahead(polled.len()).await;
            return Ok(Polled { records: self.columns(polled), next: self.next, at_end: false, epochs, ahead });
        }
        let position = self.consumer.position(&self.topic, number(self.partition)).await;
        match position.and_then(|position| u64::try_from(position).ok()) {
            // The same, and nothing has come there yet.
            Some(position) if position < self.next => Err(ClientError::Cut(Some(position))),
            Some(position) => {
                self.next = position;
                Ok(Polled { next: position, at_end: self.at_end().await, ..Polled::default() })
            }
            None => Ok(Polled { next: self.next, ..Polled::default() }),
        }
    }
}

/// Records of batches that old brokers wrote have none. Those of one poll are of one answer, and so of one log, whatever epochs
/// lie between the first and the last: the library fetches again once it has handed all of an answer on.
fn epochs(first: &ConsumerRecord, last: &ConsumerRecord) -> Option<Epochs> {
    let epoch = |record: &ConsumerRecord| record.leader_epoch.and_then(|epoch| u32::try_from(epoch).ok());
    epoch(first).zip(epoch(last)).map(|(first, last)| Epochs { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_is_not_known_is_none() {
        let record = |epoch| {
            let mut record = ConsumerRecord::new("t", 0, 0, None, None);
            record.leader_epoch = epoch;
            record
        };
        assert_eq!(epochs(&record(Some(3)), &record(Some(4))), Some(Epochs { first: 3, last: 4 }));
        assert_eq!(epochs(&record(Some(-1)), &record(Some(4))), None);
        assert_eq!(epochs(&record(None), &record(None)), None);
    }
}
