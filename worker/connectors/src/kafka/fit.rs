//! Which rows a topic takes. Judged by the row alone and before compression, so that no row's fate depends on those that
//! are written with it.

use bytes::Bytes;
use thalweg_core::decode::BadRecord;
use thalweg_core::sink::Rejected;
use thalweg_crds::connector::KafkaCompression;

/// What the topic's `max.message.bytes` leaves for a key and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// The setting.
    limit: usize,
    compression: KafkaCompression,
}

/// What a batch of one record has beside key and value, at the most: its header, lengths, differences of offset and time
/// (record batch v2 of Kafka's protocol).
const AROUND: usize = 96;
/// What compression adds where nothing can be compressed: a frame, and a length for each block.
const FRAME: usize = 128;
const OF_BLOCKS: usize = 128;

impl Fit {
    /// For a topic with this `max.message.bytes`.
    pub(super) fn new(limit: usize, compression: KafkaCompression) -> Self {
        Self { limit, compression }
    }

    /// Bytes of a key and a value together that are always taken.
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
    pub(super) fn judge(&self, row: usize, key: Option<&Bytes>, value: &Bytes) -> Option<Rejected> {
        let (bytes, room) = (value.len() + key.map_or(0, Bytes::len), self.room());
        (bytes > room).then(|| Rejected {
            row,
            raw: value.slice(..value.len().min(BadRecord::MAX_RAW)),
            message: format!(
                "expected at most {room} bytes of key and value (the topic's `max.message.bytes` is {}), found {bytes}",
                self.limit
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_measured_with_its_key_and_what_kafka_puts_around_it() {
        let fit = Fit::new(1_000, KafkaCompression::None);
        let (key, value) = (Bytes::from(vec![b'k'; 4]), |bytes| Bytes::from(vec![b'v'; bytes]));
        assert_eq!(fit.judge(0, Some(&key), &value(900)), None);
        let rejected = fit.judge(7, Some(&key), &value(901)).expect("too long");
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
