//! What an outbox holds in the store: entries that a sink or the next stage still needs.

use std::collections::VecDeque;
use std::ops::Range;

/// An outbox with so many bytes takes no more: it rolls the file that it waits for, or waits for the next stage. What it
/// holds is written again after a restart, and its unit's share of what the store holds beside state.
const MAX_BYTES: usize = 64 << 20;

/// Numbers and sizes of the entries in the store.
#[derive(Debug)]
pub struct Backlog {
    start: u64,
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Backlog {
    /// Nothing is stored, and the next entry is `start`.
    pub fn new(start: u64) -> Self {
        Self { start, sizes: VecDeque::new(), bytes: 0 }
    }

    /// Entry `seq` was stored; they come in sequence.
    pub fn push(&mut self, seq: u64, bytes: usize) {
        if self.sizes.is_empty() {
            self.start = seq;
        }
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// Entries below `end` are no longer needed; gives those that were there.
    pub fn trim(&mut self, end: u64) -> Range<u64> {
        let count = self.below(end);
        self.bytes -= self.sizes.drain(..count).sum::<usize>();
        let start = self.start;
        self.start += count as u64;
        start..self.start
    }

    /// Whether nothing may be added.
    pub fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES
    }

    /// Whether it would still be full without the entries below `end`.
    pub fn is_full_without(&self, end: u64) -> bool {
        self.is_full() && self.bytes - self.sizes.iter().take(self.below(end)).sum::<usize>() >= MAX_BYTES
    }

    fn below(&self, end: u64) -> usize {
        usize::try_from(end.saturating_sub(self.start)).map_or(self.sizes.len(), |count| count.min(self.sizes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_until_enough_of_it_is_no_longer_needed() {
        let mut backlog = Backlog::new(3);
        backlog.push(5, MAX_BYTES / 2);
        assert!(!backlog.is_full());
        backlog.push(6, 1);
        backlog.push(7, MAX_BYTES / 2);
        assert!(backlog.is_full() && backlog.is_full_without(5) && !backlog.is_full_without(6));
        assert_eq!(backlog.trim(6), 5..6);
        assert!(!backlog.is_full());
        assert_eq!(backlog.trim(4), 6..6, "it never goes back");
        assert_eq!(backlog.trim(99), 6..8);
        assert_eq!(backlog.trim(99), 8..8);
    }
}
