//! The memory that ranges of a worker's logs may take while they wait for their units, dealt out as credit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::credit::Credits;

/// One budget for all logs that the units of a worker read.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<Dealt>>);

struct Dealt {
    credits: Credits<u64>,
    /// Names the next log.
    next: u64,
}

impl Budget {
    /// `bytes` for ranges of `range_bytes` at the most, of which one log holds `window` at the most. Each log has one range
    /// on top of that, however small the budget is, so that every unit goes on.
    pub fn new(bytes: usize, range_bytes: usize, window: u32) -> Self {
        let pool = u32::try_from(bytes / range_bytes.max(1)).unwrap_or(u32::MAX);
        Self(Arc::new(Mutex::new(Dealt { credits: Credits::new(pool, window), next: 0 })))
    }

    /// The share of a log that is subscribed to. What is lent of it is lent to others once it is dropped.
    pub fn share(&self) -> Share {
        let mut dealt = self.lock();
        dealt.next += 1;
        Share { budget: self.clone(), key: dealt.next }
    }

    fn lock(&self) -> MutexGuard<'_, Dealt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one log holds of a budget.
pub struct Share {
    budget: Budget,
    key: u64,
}

impl Share {
    /// The log is subscribed to, or again: what was on its way is gone. Gives the first credit, which is never none.
    pub fn opened(&self) -> u32 {
        self.budget.lock().credits.open(self.key)
    }

    /// The unit has taken a range. Gives the credit to grant now: none, where others need it more; then a later range of
    /// this log, which has at least one on its way, gets it.
    pub fn taken(&self) -> u32 {
        self.budget.lock().credits.taken(&self.key)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().credits.close(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_no_longer_holds_goes_to_those_that_are_read() {
        let budget = Budget::new(40 << 20, 10 << 20, 3);
        let shares = [(); 4].map(|()| budget.share());
        let mut sendable = shares.each_ref().map(Share::opened);
        assert_eq!(sendable, [3, 3, 1, 1], "four ranges are lent on top of everybody's own");
        let [first, second, third, fourth] = shares;
        drop(first);
        sendable[2] = sendable[2] - 1 + third.taken();
        assert_eq!(sendable[2], 3, "its next range brings what is free");
        assert_eq!(fourth.taken(), 1, "nothing is free; its own one is");
        drop((second, third));
        assert_eq!(fourth.opened(), 3);
    }

    #[test]
    fn a_budget_that_holds_no_range_still_lets_every_log_go_on() {
        let budget = Budget::new(1, 10 << 20, 8);
        let shares = [(); 3].map(|()| budget.share());
        assert_eq!(shares.each_ref().map(Share::opened), [1, 1, 1]);
        assert_eq!(shares.each_ref().map(Share::taken), [1, 1, 1]);
    }
}
