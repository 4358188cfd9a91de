//! The memory that a process may use, and how much of it rows on their way get.
//!
//! What is shared out here is what grows with the speed of input: chunks that are read and decoded, and ranges that wait for
//! their units. Windows are as large as the data makes them; outboxes and what sinks gather have limits of their own.

use std::fs::read_to_string;

/// Rows of one chunk as they are read, decoded and folded, at the most: a chunk is about a megabyte of text.
const CHUNK_BYTES: u64 = 8 << 20;
/// A range of one log for one unit, at the most: what comes of a chunk.
pub const RANGE_BYTES: usize = 4 << 20;
/// Where a group has no limit of memory, version 1 says so with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// What a process may use, in bytes; nothing where it has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget(Option<u64>);

impl Budget {
    /// So many bytes, or what the control group of this process allows.
    pub fn new(given: Option<u64>) -> Self {
        let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        Self(given.or_else(|| files.iter().find_map(|file| limit(&read_to_string(file).ok()?))))
    }

    /// The share of one of so many pipelines.
    pub fn among(self, pipelines: usize) -> Self {
        Self(self.0.map(|bytes| bytes / pipelines.max(1) as u64))
    }

    /// Chunks in work, of so many that threads would keep busy: a quarter of the memory, and never less than two, so that one
    /// is read while another one is decoded.
    pub fn chunks(self, wanted: usize) -> usize {
        let allowed = self.0.map_or(u64::MAX, |bytes| bytes / 4 / CHUNK_BYTES);
        wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX)).max(2)
    }

    /// Bytes of ranges that wait for their units, beside the one that each log of each unit has: an eighth of the memory.
    pub fn exchange_bytes(self) -> usize {
        self.0.map_or(usize::MAX, |bytes| usize::try_from(bytes / 8).unwrap_or(usize::MAX))
    }
}

/// What the file of a control group says.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_without_a_limit_is_no_budget() {
        assert_eq!(
            [limit("max\n"), limit("9223372036854771712\n"), limit("536870912\n")],
            [None, None, Some(512 << 20)]
        );
    }

    #[test]
    fn little_memory_has_few_chunks_in_work_and_some_go_on() {
        let of = |bytes| Budget(Some(bytes));
        assert_eq!([of(1 << 30).chunks(12), of(256 << 20).chunks(12), of(1).chunks(12)], [12, 8, 2]);
        assert_eq!((Budget(None).chunks(12), of(1 << 29).among(2).chunks(12)), (12, 8));
        assert_eq!([of(256 << 20).exchange_bytes(), Budget(None).exchange_bytes()], [32 << 20, usize::MAX]);
    }
}
