//! How much of a partition is fetched at a time: readers have equal parts of a share of the memory for what was fetched and is
//! not decoded yet.
//!
//! What brokers send is compressed, and records have their own weight beside their bytes: how much more an answer takes in memory
//! than was asked for is measured, and less is asked for by as much.

use bytes::Bytes;
use thalweg_core::share::{Holder, Share};
use thalweg_core::source::Records;

/// Answers of one reader that may be in memory: of one a chunk is decoded while one of the next waits for its turn.
const ANSWERS: usize = 2;
/// What is asked for at the least, for the sake of speed: a batch that is longer comes whole, however little is asked for (KIP-74),
/// so that no record is too long to be read.
const LEAST_BYTES: usize = 64 << 10;
/// The least part of a reader.
pub(super) const LEAST_PART: usize = ANSWERS * LEAST_BYTES;
/// What a record takes beside its key, value and headers, as the library has it and as one of a chunk.
const RECORD_BYTES: usize = 200;
/// Swelling that was not seen again fades by such a part with each answer that was full.
const FADES: usize = 8;

/// What one reader fetches.
#[derive(Debug)]
pub(super) struct Portion {
    holder: Holder,
    /// Bytes that are asked for at the most.
    most: usize,
    /// How often what was asked for is in memory once it is there.
    swelling: usize,
    /// Bytes that the reader asks for now.
    asked: usize,
}

impl Portion {
    /// One more who reads, and asks for so many bytes at the most.
    pub(super) fn new(share: &Share, most: i32) -> Self {
        let most = usize::try_from(most).unwrap_or_default();
        Self { holder: share.holder(LEAST_PART), most, swelling: 1, asked: most }
    }

    /// Bytes to be asked for by a reader that is opened now.
    pub(super) fn open(&mut self) -> usize {
        self.asked = self.wanted();
        self.asked
    }

    /// Whether the reader asks for more than it should by now, or for far less than it may, and is to be opened anew.
    pub(super) fn is_off(&self) -> bool {
        is_off(self.asked, self.wanted())
    }

    /// Records have come, and the library has so many more of the same answer.
    pub(super) fn took(&mut self, records: &Records, ahead: u64) {
        if !records.offsets.is_empty() {
            let bytes = in_memory(records, usize::try_from(ahead).unwrap_or(usize::MAX));
            self.swelling = swelling(self.swelling, bytes, longest(records), self.asked);
        }
    }

    fn wanted(&self) -> usize {
        asked(self.holder.part(usize::MAX), self.swelling, self.most)
    }
}

/// Bytes to be asked for: a power of two or `most`, so that few changes of the part change it.
fn asked(part: usize, swelling: usize, most: usize) -> usize {
    let bytes = (part / ANSWERS / swelling.max(1)).max(LEAST_BYTES);
    (1_usize << bytes.ilog2()).min(most)
}

/// To open a reader anew takes a connection: at once where it asks for too much, and for the sake of much where it asks for little.
fn is_off(asked: usize, wanted: usize) -> bool {
    wanted < asked || wanted / 4 >= asked.max(1)
}

/// How often what is asked for is in memory, where an answer to so much takes these bytes, and its longest record those. One
/// that is less than what was asked for says nothing of a full one: whoever has caught up gets no others, until much comes at
/// once.
fn swelling(before: usize, bytes: usize, longest: usize, asked: usize) -> usize {
    let now = bytes.div_ceil(asked.max(1)).max(1);
    let is_full = bytes.saturating_add(longest) >= asked;
    match now >= before {
        true => now,
        false if is_full => before - (before - now).div_ceil(FADES),
        false => before,
    }
}

fn length(bytes: &Option<Bytes>) -> usize {
    bytes.as_ref().map_or(0, Bytes::len)
}

/// Bytes of the longest value.
fn longest(records: &Records) -> usize {
    records.values.iter().map(length).max().unwrap_or_default()
}

/// What an answer takes in memory of which these records were handed on, and `ahead` more wait. The longest of them does not count:
/// it comes however little is asked for. Nor do keys and headers that nobody reads.
fn in_memory(records: &Records, ahead: usize) -> usize {
    let header = |(name, value): &(String, Option<Bytes>)| name.len() + length(value);
    let values: usize = records.values.iter().map(length).sum();
    let keys: usize = records.keys.iter().map(length).sum();
    let headers: usize = records.headers.iter().flatten().map(header).sum();
    let count = records.offsets.len();
    let bytes = values - longest(records) + keys + headers + count * RECORD_BYTES;
    bytes.saturating_add((bytes / count.max(1)).saturating_mul(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn records(lengths: &[usize]) -> Records {
        let values = lengths.iter().map(|length| Some(Bytes::from(vec![b'x'; *length]))).collect();
        Records { values, offsets: (0..lengths.len() as u64).collect(), ..Records::default() }
    }

    #[test]
    fn sixty_four_readers_together_stay_within_the_share() {
        let share = Share::new(Some(64 * MIB));
        let mut readers: Vec<_> = (0..64).map(|_| Portion::new(&share, MIB as i32)).collect();
        let all = |readers: &mut Vec<Portion>| readers.iter_mut().map(|reader| ANSWERS * reader.open()).sum::<usize>();
        assert_eq!(all(&mut readers), 64 * MIB);
        // Of a kilobyte each, and compressed to a tenth.
        for reader in &mut readers {
            reader.took(&records(&[1_000; 4_300]), 0);
            assert!(reader.is_off());
        }
        let asked = all(&mut readers) / ANSWERS / 64;
        assert_eq!(asked, 64 << 10, "a tenth of it would be less than the least");
        readers.truncate(4);
        assert!(readers.iter().all(Portion::is_off), "there is much more for each");
    }

    #[test]
    fn without_a_limit_and_where_there_is_much_all_is_asked_for_that_may_be() {
        for share in [Share::default(), Share::new(Some(1 << 30))] {
            let mut reader = Portion::new(&share, 3 * MIB as i32);
            assert_eq!((reader.open(), reader.is_off()), (3 * MIB, false));
            reader.took(&records(&[100; 10_000]), 0);
            assert!(!reader.is_off());
        }
        // Whatever a property says: a broker sends a batch even so.
        assert_eq!(Portion::new(&Share::default(), -1).open(), 0);
    }

    #[test]
    fn the_least_is_asked_for_however_little_memory_there_is() {
        assert_eq!([asked(1, 1, MIB), asked(MIB, 100, MIB), asked(MIB, 0, MIB)], [64 << 10, 64 << 10, MIB / 2]);
        assert_eq!(asked(LEAST_PART, 1, MIB), LEAST_BYTES);
        assert_eq!(asked(MIB, 1, 1_000), 1_000, "a property may say less");
    }

    #[test]
    fn a_reader_is_opened_anew_for_less_and_for_much_more() {
        assert!(is_off(MIB, MIB / 2) && is_off(MIB / 4, MIB));
        assert!(!is_off(MIB, MIB) && !is_off(MIB / 2, MIB) && !is_off(0, 0));
    }

    #[test]
    fn swelling_is_believed_at_once_and_fades_with_full_answers() {
        assert_eq!(swelling(1, 10 * MIB, 0, MIB), 10);
        assert_eq!([10, 2, 1].map(|before| swelling(before, MIB, 0, MIB)), [8, 1, 1]);
        assert_eq!(swelling(3, 5 * MIB + 1, 0, MIB), 6);
        assert_eq!(swelling(10, MIB - 1, 0, MIB), 10, "a full one may be ten times as much");
        assert_eq!(swelling(10, 200, MIB, MIB), 8, "one long record fills it");
    }

    #[test]
    fn small_answers_change_nothing_of_what_a_swollen_one_has_taught_and_no_reader_is_opened_anew() {
        let mut reader = Portion::new(&Share::new(Some(2 * MIB)), MIB as i32);
        assert_eq!(reader.open(), MIB);
        reader.took(&records(&[1_000; 9_000]), 0);
        assert!(reader.is_off());
        assert_eq!(reader.open(), 64 << 10);
        for _ in 0..1_000 {
            reader.took(&records(&[1_000]), 0);
            assert!(!reader.is_off());
        }
        assert_eq!(reader.open(), 64 << 10, "what comes at once may be as swollen as before");
    }

    #[test]
    fn records_weigh_more_than_their_bytes_and_one_long_one_does_not_count() {
        assert_eq!(in_memory(&records(&[10 * MIB]), 0), RECORD_BYTES);
        assert_eq!(in_memory(&records(&[10, 10, 10 * MIB]), 0), 20 + 3 * RECORD_BYTES);
        assert_eq!(in_memory(&records(&[100; 10]), 10), 2 * (900 + 10 * RECORD_BYTES));
        let keyed = Records {
            keys: vec![Some(Bytes::from_static(b"key"))],
            headers: vec![vec![("name".to_owned(), Some(Bytes::from_static(b"value")))]],
            ..records(&[10])
        };
        assert_eq!(in_memory(&keyed, 0), 12 + RECORD_BYTES);
    }
}
