//! A share of a process's memory, and those who hold of it.
//!
//! Whoever holds rows that cannot be let go at once, such as those of an open transaction, has an equal part of the share with
//! all others who do so now: who comes later makes the parts smaller, who goes makes them larger. Nobody waits for anybody. Whoever
//! knows beforehand how much comes at a time, as readers do, asks for no more than its part, and need not tell what it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What one of so many has of a share: never more than `most`, and never less than `least`, with which it still goes on.
/// Without a limit it is `most`.
pub fn part(share: Option<usize>, among: usize, least: usize, most: usize) -> usize {
    share.map_or(most, |share| share / among.max(1)).max(least).min(most)
}

/// Whether so many can have their least of a share.
pub fn suffices(share: Option<usize>, among: usize, least: usize) -> bool {
    share.is_none_or(|share| among.saturating_mul(least) <= share)
}

/// What is held of a share, as one holder sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// By this one.
    pub own: usize,
    /// What it took last: the next time it may take as much.
    pub last: usize,
    /// By all.
    pub all: usize,
    /// How many they are.
    pub holders: usize,
}

/// Whether a holder must let go before it takes more: beyond its least it would leave its part, or the share would be overdrawn,
/// as by one who came first and has more than its part by now.
pub fn is_full(share: usize, least: usize, held: Held) -> bool {
    let next = held.own.saturating_add(held.last);
    let leaves_part = next > share / held.holders.max(1);
    held.own > 0 && next > least && (leaves_part || held.all.saturating_add(held.last) > share)
}

/// A share of memory. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Share(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Nothing: without a limit.
    bytes: Option<usize>,
    holders: AtomicUsize,
    held: AtomicUsize,
    is_known_short: AtomicBool,
}

impl Share {
    /// So many bytes; by default without a limit.
    pub fn new(bytes: Option<usize>) -> Self {
        Self(Arc::new(Inner { bytes, ..Inner::default() }))
    }

    /// One more who holds of it, until it is dropped, and goes on with the `least`.
    pub fn holder(&self, least: usize) -> Holder {
        self.0.holders.fetch_add(1, Ordering::Relaxed);
        Holder { share: self.clone(), least, own: AtomicUsize::new(0), last: AtomicUsize::new(0) }
    }

    /// How many hold of it.
    pub fn holders(&self) -> usize {
        self.0.holders.load(Ordering::Relaxed)
    }

    /// Whether it is found, for the first time, that not all who hold of it can have this least.
    pub fn falls_short(&self, least: usize) -> bool {
        !suffices(self.0.bytes, self.holders(), least) && !self.0.is_known_short.swap(true, Ordering::Relaxed)
    }
}

/// One who holds of a share.
#[derive(Debug)]
pub struct Holder {
    share: Share,
    least: usize,
    own: AtomicUsize,
    last: AtomicUsize,
}

impl Holder {
    /// Takes so much more.
    pub fn take(&self, bytes: usize) {
        self.last.store(bytes, Ordering::Relaxed);
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.share.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lets go of all that it has.
    pub fn let_go(&self) {
        let own = self.own.swap(0, Ordering::Relaxed);
        self.share.0.held.fetch_sub(own, Ordering::Relaxed);
    }

    /// Whether it must let go before it takes more.
    pub fn is_full(&self) -> bool {
        let Some(bytes) = self.share.0.bytes else { return false };
        let held = Held {
            own: self.own.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            all: self.share.0.held.load(Ordering::Relaxed),
            holders: self.share.holders(),
        };
        is_full(bytes, self.least, held)
    }

    /// Its part now, and never more than `most`.
    pub fn part(&self, most: usize) -> usize {
        part(self.share.0.bytes, self.share.holders(), self.least, most)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.let_go();
        self.share.0.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_part_is_equal_and_lies_between_the_least_and_the_most() {
        let of = |share, among| part(share, among, MIB, 64 * MIB);
        assert_eq!([of(Some(128 * MIB), 1), of(Some(128 * MIB), 20)], [64 * MIB, 128 * MIB / 20]);
        assert_eq!([of(Some(4 * MIB), 20), of(Some(4 * MIB), 0)], [MIB, 4 * MIB]);
        assert_eq!(of(None, 1_000), 64 * MIB);
        assert!(suffices(Some(4 * MIB), 4, MIB) && !suffices(Some(4 * MIB), 5, MIB) && suffices(None, 5, MIB));
    }

    /// Has each of some holders take what it can, in pieces of one size.
    fn fill(holders: &[Holder], piece: usize) {
        for holder in holders {
            while !holder.is_full() {
                holder.take(piece);
            }
        }
    }

    #[test]
    fn who_comes_later_makes_the_parts_smaller_and_all_together_stay_within_the_share() {
        let (share, piece) = (Share::new(Some(64 * MIB)), MIB / 2);
        let first = [share.holder(2 * MIB)];
        fill(&first, piece);
        assert_eq!(first[0].own.load(Ordering::Relaxed), 64 * MIB, "it is alone");
        let others: Vec<_> = (0..19).map(|_| share.holder(2 * MIB)).collect();
        assert!(first[0].is_full());
        fill(&others, piece);
        let least = others.iter().map(|other| other.own.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(least, [2 * MIB; 19], "they go on meanwhile, with the least");
        first[0].let_go();
        others.iter().for_each(Holder::let_go);
        fill(&first, piece);
        fill(&others, piece);
        assert_eq!(share.0.held.load(Ordering::Relaxed), 60 * MIB, "twenty parts of six pieces");
        drop(others);
        assert_eq!((share.0.held.load(Ordering::Relaxed), share.holders()), (3 * MIB, 1));
        assert!(!first[0].is_full(), "it is alone again");
    }

    #[test]
    fn a_share_without_a_limit_is_never_full_and_one_that_falls_short_is_told_once() {
        let (endless, small) = (Share::default(), Share::new(Some(MIB)));
        let holders = [endless.holder(1), small.holder(MIB), small.holder(MIB)];
        holders[0].take(usize::MAX / 2);
        assert!(!holders[0].is_full() && !endless.falls_short(MIB));
        assert!(small.falls_short(MIB) && !small.falls_short(MIB));
        holders[1].take(3 * MIB);
        assert!(holders[1].is_full(), "one piece is taken, however large, and no other");
        assert!(!holders[2].is_full(), "and that keeps nobody from taking one");
    }

    proptest! {
        #[test]
        fn all_who_hold_stay_within_the_share_or_their_least_but_for_one_piece_that_is_larger(
            share in 1..100usize,
            least in 1..10usize,
            takes in prop::collection::vec((0..8usize, 1..12usize, any::<bool>()), 0..200),
        ) {
            let whole = Share::new(Some(share));
            let holders: Vec<_> = (0..8).map(|_| whole.holder(least)).collect();
            let mut largest = 1;
            for (number, piece, lets_go) in takes {
                let holder = &holders[number];
                if lets_go {
                    holder.let_go();
                } else if !holder.is_full() {
                    holder.take(piece);
                    largest = largest.max(piece);
                }
                let own = |holder: &Holder| holder.own.load(Ordering::Relaxed);
                let all: usize = holders.iter().map(own).sum();
                prop_assert_eq!(all, whole.0.held.load(Ordering::Relaxed));
                // The next piece may be larger than the last one.
                prop_assert!(holders.iter().all(|holder| own(holder) <= least.max(share / 8) + largest));
                prop_assert!(all <= share.max(8 * least) + 8 * largest);
            }
        }
    }
}
