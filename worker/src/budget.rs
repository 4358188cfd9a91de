//! The memory that a process may use, and how much of it rows on their way get.
//!
//! What is shared out here is what grows with the speed of input: chunks that are read and decoded, and ranges that wait for
//! their units; in `shares`, what readers have fetched, and what units hold until it is stored or delivered. Windows are as large as
//! the data makes them.

mod shares;

use std::fs::read_to_string;

pub use shares::OfUnit;

/// Rows of one chunk as they are read, decoded and folded, at the most: a chunk is about a megabyte of text.
const CHUNK_BYTES: u64 = 8 << 20;
/// A range of one log for one unit, at the most: what comes of a chunk.
pub const RANGE_BYTES: usize = 4 << 20;
/// Where a group has no limit of memory, version 1 says so with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;
/// The part of a machine's memory that is taken for granted where nobody set a limit: others run there, too.
const MACHINE_SHARE: u64 = 4;
/// Where not even that is told.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// What a process may use, in bytes; nothing where nobody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget(Option<u64>);

impl Budget {
    /// The least that can be kept to: two chunks in work.
    pub const LEAST_BYTES: u64 = 2 * CHUNK_BYTES;

    /// So many bytes, or what the control group of this process allows, or a quarter of the machine's memory.
    pub fn new(given: Option<u64>) -> Self {
        let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let group = || files.iter().find_map(|file| limit(&read_to_string(file).ok()?));
        Self::bounded(given.or_else(group), &read_to_string("/proc/meminfo").unwrap_or_default())
    }

    /// A limit, or a share of what the machine says that it has.
    fn bounded(limit: Option<u64>, machine: &str) -> Self {
        let share = || machine_bytes(machine).map_or(UNKNOWN_BYTES, |bytes| bytes / MACHINE_SHARE);
        Self(Some(limit.unwrap_or_else(share)))
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

/// The memory of a machine, by its `/proc/meminfo`.
fn machine_bytes(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
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
    fn without_any_limit_a_quarter_of_the_machine_is_the_budget() {
        let machine = "MemTotal:        8388608 kB\nMemFree:          123456 kB\n";
        let of = |limit, machine| Budget::bounded(limit, machine).0;
        assert_eq!([of(None, machine), of(Some(512 << 20), machine)], [Some(2 << 30), Some(512 << 20)]);
        assert_eq!(["", "MemTotal: much\n"].map(|unknown| of(None, unknown)), [Some(1 << 30); 2]);
        assert!(Budget::new(None).exchange_bytes() < usize::MAX);
    }

    #[test]
    fn little_memory_has_few_chunks_in_work_and_some_go_on() {
        let of = |bytes| Budget(Some(bytes));
        assert_eq!([of(1 << 30).chunks(12), of(256 << 20).chunks(12), of(1).chunks(12)], [12, 8, 2]);
        assert_eq!((Budget(None).chunks(12), of(1 << 29).among(2).chunks(12)), (12, 8));
        assert_eq!([of(256 << 20).exchange_bytes(), Budget(None).exchange_bytes()], [32 << 20, usize::MAX]);
    }
}
