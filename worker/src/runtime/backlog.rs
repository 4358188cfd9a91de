//! What an outbox holds in the store: entries that a sink or the next stage still needs.

use std::collections::VecDeque;

/// An outbox with so many bytes takes no more: it rolls the file that it waits for, or waits for the next stage. What it
/// holds is written again after a restart, and its unit's share of what the store holds beside state.
pub const STORED_BYTES: usize = 64 << 20;

/// Numbers and sizes of the entries in the store.
#[derive(Debug)]
pub struct Backlog {
    limit: usize,
    start: u64,
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Backlog {
    /// Nothing is stored, and the next entry is `start`; `limit` bytes are too many.
    pub fn new(start: u64, limit: usize) -> Self {
        Self { limit, start, sizes: VecDeque::new(), bytes: 0 }
    }

    /// Entry `seq` was stored, or, with no bytes, needs no store; they come in sequence.
    pub fn push(&mut self, seq: u64, bytes: usize) {
        if self.sizes.is_empty() {
            self.start = seq;
        }
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// Entries below `end` are no longer needed; gives those that are in the store.
    pub fn trim(&mut self, end: u64) -> Vec<u64> {
        let count = self.below(end);
        let numbered = (self.start..).zip(self.sizes.drain(..count));
        let stored: Vec<_> = numbered.filter(|&(_, bytes)| bytes > 0).collect();
        self.start += count as u64;
        self.bytes -= stored.iter().map(|&(_, bytes)| bytes).sum::<usize>();
        stored.into_iter().map(|(seq, _)| seq).collect()
    }

    /// Whether nothing may be added.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    /// Whether it is half full.
    pub fn is_filling(&self) -> bool {
        self.bytes >= self.limit / 2
    }

    /// Whether it would still be full without the entries below `end`.
    pub fn is_full_without(&self, end: u64) -> bool {
        self.is_full() && self.bytes - self.sizes.iter().take(self.below(end)).sum::<usize>() >= self.limit
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
        let mut backlog = Backlog::new(3, 100);
        backlog.push(5, 50);
        assert!(!backlog.is_full());
        backlog.push(6, 1);
        backlog.push(7, 50);
        assert!(backlog.is_full() && backlog.is_full_without(5) && !backlog.is_full_without(6));
        assert_eq!(backlog.trim(6), [5]);
        assert!(!backlog.is_full());
        assert!(backlog.trim(4).is_empty(), "it never goes back");
        backlog.push(8, 0);
        backlog.push(9, 1);
        assert_eq!(backlog.trim(99), [6, 7, 9], "what is not in the store need not be taken out");
        assert!(backlog.trim(99).is_empty());
    }
}
