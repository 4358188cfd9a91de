//! How many ranges a receiver lets come. Each (unit, log) has one range of credit that is never lent to another, so no
//! log can keep another from going on; more is lent from a pool while there is some.

use std::collections::BTreeMap;

/// The credit that a worker has given to the logs of its units, which are named by `K`.
#[derive(Clone, Debug)]
pub struct Credits<K> {
    /// Ranges that may be lent on top of everybody's own one.
    pool: u32,
    /// Most ranges of one log on their way or waiting.
    window: u32,
    /// Ranges granted and not yet taken by the unit.
    outstanding: BTreeMap<K, u32>,
    /// Ranges lent on top of everybody's own.
    lent: u32,
}

impl<K: Ord + Clone> Credits<K> {
    /// A pool of so many ranges (the memory budget by the size of a range at the most), of which one log holds
    /// `window` at the most, its own included. A window of zero counts as one.
    pub fn new(pool: u32, window: u32) -> Self {
        Self { pool, window: window.max(1), outstanding: BTreeMap::new(), lent: 0 }
    }

    /// A log that is subscribed to, or again: what was on its way to it is gone. Gives the first credit.
    pub fn open(&mut self, key: K) -> u32 {
        self.set(&key, 0);
        self.grant(&key)
    }

    /// A log that is no longer subscribed to: what it held can be lent.
    pub fn close(&mut self, key: &K) {
        self.set(key, 0);
        self.outstanding.remove(key);
    }

    /// The unit has taken a range of this log. Gives the credit to grant now, which may be none: then the log has others on
    /// their way, and gets more when one of those is taken.
    pub fn taken(&mut self, key: &K) -> u32 {
        let Some(&outstanding) = self.outstanding.get(key) else { return 0 };
        self.set(key, outstanding.saturating_sub(1));
        self.grant(key)
    }

    fn set(&mut self, key: &K, outstanding: u32) {
        let before = self.outstanding.insert(key.clone(), outstanding).unwrap_or_default();
        self.lent = self.lent - before.saturating_sub(1) + outstanding.saturating_sub(1);
    }

    fn grant(&mut self, key: &K) -> u32 {
        let free = self.pool.saturating_sub(self.lent);
        let Some(&outstanding) = self.outstanding.get(key) else { return 0 };
        let own = u32::from(outstanding == 0);
        let granted = own + free.min(self.window.saturating_sub(outstanding + own));
        self.set(key, outstanding + granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Open(u8),
        Close(u8),
        Taken(u8),
    }

    proptest! {
        #[test]
        fn everybody_keeps_a_range_of_its_own_and_the_pool_is_never_overdrawn(
            pool in 0..6u32,
            window in 1..5u32,
            events in prop::collection::vec(
                (0..4u8).prop_flat_map(|key| {
                    prop_oneof![2 => Just(Event::Taken(key)), 1 => Just(Event::Open(key)), 1 => Just(Event::Close(key))]
                }),
                0..60,
            ),
        ) {
            let mut credits = Credits::new(pool, window);
            // What a sender believes it may send.
            let mut sendable: BTreeMap<u8, u32> = BTreeMap::new();
            for event in events {
                match event {
                    Event::Open(key) => {
                        let granted = credits.open(key);
                        sendable.insert(key, granted);
                    }
                    Event::Close(key) => {
                        credits.close(&key);
                        sendable.remove(&key);
                    }
                    // Only what was sent can be taken.
                    Event::Taken(key) => if let Some(ranges) = sendable.get_mut(&key) {
                        *ranges = *ranges - 1 + credits.taken(&key);
                    }
                }
                prop_assert!(sendable.values().all(|ranges| (1..=window).contains(ranges)));
                prop_assert!(sendable.values().map(|ranges| ranges - 1).sum::<u32>() <= pool);
            }
        }
    }

    #[test]
    fn a_log_that_stands_still_holds_no_more_than_its_window() {
        let mut credits = Credits::new(4, 3);
        assert_eq!(credits.open("still"), 3);
        assert_eq!(credits.open("busy"), 3);
        assert_eq!(credits.open("third"), 1, "the pool is lent, its own is not");
        assert_eq!(credits.taken(&"third"), 1);
        credits.close(&"still");
        assert_eq!(credits.taken(&"third"), 3, "what others held is free");
    }
}
