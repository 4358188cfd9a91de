//! One partition through krafka.

use std::time::Duration;

use async_trait::async_trait;
use krafka::consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel};
use krafka::{Kafka, Offset};
use thalweg_core::source::Records;

use super::krafka_error::from;
use super::{ClientError, NEWS, PartitionReader, Polled, Result, Wanted, number};
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
    /// beyond its end the library goes on at the end, silently.
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
            .max_partition_fetch_bytes(fetching.partition_bytes)
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
        if let Some(last) = polled.last() {
            self.next = last.offset.cast_unsigned() + 1;
            let records = self.columns(polled);
            return Ok(Polled { records, next: self.next, at_end: false });
        }
        let position = self.consumer.position(&self.topic, number(self.partition)).await;
        match position.and_then(|position| u64::try_from(position).ok()) {
            // A log that was cut back: the library goes there, silently.
            Some(position) if position < self.next => Err(ClientError::OutOfRange),
            Some(position) => {
                self.next = position;
                Ok(Polled { next: position, at_end: self.at_end().await, ..Polled::default() })
            }
            None => Ok(Polled { next: self.next, ..Polled::default() }),
        }
    }
}
