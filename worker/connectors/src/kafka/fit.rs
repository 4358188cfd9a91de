//! Which rows a topic takes. Judged by the row alone and before compression, so that no row's fate depends on those that
//! are written with it.

use thalweg_core::decode::BadRecord;
use thalweg_core::sink::Rejected;
use thalweg_crds::connector::KafkaCompression;

use super::client::Outgoing;

/// What the topic's `max.message.bytes` leaves for a key, a value and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// The setting.
    limit: usize,
    compression: KafkaCompression,
}

/// What a batch of one record has beside key, value and headers, at the most: its header, lengths, differences of offset and time
/// (record batch v2 of Kafka's protocol).
const AROUND: usize = 96;
/// What a header has beside its name and value: their lengths.
const OF_HEADER: usize = 10;
/// What compression adds where nothing can be compressed: a frame, and a length for each block.
const FRAME: usize = 128;
const OF_BLOCKS: usize = 128;

impl Fit {
    /// For a topic with this `max.message.bytes`.
    pub(super) fn new(limit: usize, compression: KafkaCompression) -> Self {
        Self { limit, compression }
    }

    /// Bytes of a key, a value and headers together that are always taken.
    fn room(&self) -> usize {
        let room = self.limit.saturating_sub(AROUND);
        match self.compression {
            KafkaCompression::None => room,
            _ => room.saturating_sub(FRAME + room / OF_BLOCKS),
        }
    }

    /// The size of batches that are always taken, for batches that want to be so long.
    pub(super) fn batch(&self, wanted: usize) -> usize {
        wanted.min(self.room()).max(1)
    }

    /// What is wrong with a row that is too long.
    pub(super) fn judge(&self, row: usize, record: &Outgoing) -> Option<Rejected> {
        let (bytes, room) = (record.bytes() + record.headers.len() * OF_HEADER, self.room());
        if bytes <= room {
            return None;
        }
        let what = if record.headers.is_empty() { "key and value" } else { "key, value and headers" };
        let raw = record.value.as_ref().map(|value| value.slice(..value.len().min(BadRecord::MAX_RAW)));
        let message = format!(
            "expected at most {room} bytes of {what} (the topic's `max.message.bytes` is {}), found {bytes}",
            self.limit
        );
        Some(Rejected { row, raw: raw.unwrap_or_default(), message })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kafka::client::Headers;

    /// A record with a key of four bytes.
    fn record(bytes: usize) -> Outgoing {
        Outgoing {
            topic: "t".into(),
            partition: None,
            key: Some(Bytes::from(vec![b'k'; 4])),
            value: Some(Bytes::from(vec![b'v'; bytes])),
            headers: Vec::new(),
        }
    }

    fn headers(bytes: usize) -> Headers {
        vec![("name".into(), Some(Bytes::from(vec![b'h'; bytes]))), ("none".into(), None)]
    }

    #[test]
    fn headers_count_with_their_names_and_lengths_and_a_tombstone_has_them_alone() {
        let fit = Fit::new(1_000, KafkaCompression::None);
        // The names take 8, the lengths 20.
        let with = |value: Option<Bytes>, header| Outgoing { value, headers: headers(header), ..record(0) };
        let value = || Some(Bytes::from_static(b"{}"));
        assert_eq!(fit.judge(0, &with(value(), 870)), None);
        let rejected = fit.judge(0, &with(value(), 871)).expect("too long");
        assert_eq!(
            rejected.message,
            "expected at most 904 bytes of key, value and headers (the topic's `max.message.bytes` is 1000), found 905"
        );
        assert_eq!(fit.judge(0, &with(None, 872)), None);
        assert_eq!(fit.judge(0, &with(None, 873)).expect("too long").raw, "");
    }

    #[test]
    fn a_row_is_measured_with_its_key_and_what_kafka_puts_around_it() {
        let fit = Fit::new(1_000, KafkaCompression::None);
        assert_eq!(fit.judge(0, &record(900)), None);
        let rejected = fit.judge(7, &record(901)).expect("too long");
        assert_eq!((rejected.row, rejected.raw.len()), (7, 901));
        assert_eq!(
            rejected.message,
            "expected at most 904 bytes of key and value (the topic's `max.message.bytes` is 1000), found 905"
        );
    }

    #[test]
    fn compression_may_make_a_row_longer_and_batches_stay_below_the_limit() {
        let fit = Fit::new(1 << 20, KafkaCompression::Zstd);
        assert!(fit.room() + fit.room() / 200 < 1 << 20);
        assert_eq!((fit.batch(512 << 10), Fit::new(1_000, KafkaCompression::None).batch(512 << 10)), (512 << 10, 904));
        assert_eq!(Fit::new(10, KafkaCompression::None).batch(512 << 10), 1);
    }
}
