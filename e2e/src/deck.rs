//! Faults, dealt from a deck: each kind comes as often as the others.

use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A worker gets SIGKILL, and is started again a while later.
    Kill,
    /// A worker gets SIGSTOP for 5 to 40 s.
    Halt,
    /// Units are handed over to another worker.
    Move,
    /// The input gets one more partition.
    Partition,
    /// The broker is killed, or ends, and is started again.
    Broker,
    /// The store of state is slow, refuses, or cuts connections.
    Store,
    /// Other workers do not reach one.
    CutOff,
    /// The coordinator is killed, and started again a while later.
    Coordinator,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Halt,
        Self::Move,
        Self::Partition,
        Self::Broker,
        Self::Store,
        Self::CutOff,
        Self::Coordinator,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Halt => "halt",
            Self::Move => "move",
            Self::Partition => "partition",
            Self::Broker => "broker",
            Self::Store => "store",
            Self::CutOff => "cutOff",
            Self::Coordinator => "coordinator",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Deals kinds, all before any comes again.
#[derive(Debug)]
pub struct Deck {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    /// Kinds that were dealt when they could not be: they come with the next round.
    owed: Vec<Kind>,
}

impl Deck {
    /// A deck of some kinds.
    pub fn of(kinds: &[Kind]) -> Self {
        Self { kinds: kinds.to_vec(), left: Vec::new(), owed: Vec::new() }
    }

    /// The next one, of a deck that is shuffled like this before each round.
    pub fn deal(&mut self, shuffle: impl FnOnce(&mut [Kind])) -> Option<Kind> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
            self.left.append(&mut self.owed);
            shuffle(&mut self.left);
        }
        self.left.pop()
    }

    /// One that was dealt could not be: it comes once more than others in the next round.
    pub fn owe(&mut self, kind: Kind) {
        self.owed.push(kind);
    }
}

/// How often each kind must come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// So many times.
    pub faults: usize,
    /// In so long a time.
    pub within: Duration,
}

impl Pace {
    /// Twenty in half an hour.
    pub const ASKED: Self = Self { faults: 20, within: Duration::from_secs(1_800) };
    /// What the deck is dealt at, so that a broker which is slow to start, and kinds that could not be, leave what is asked for.
    pub const DEALT: Self = Self { faults: 24, within: Self::ASKED.within };

    /// Whether fewer than that were brought about so far, of a deck of so many kinds.
    pub fn is_behind(self, kinds: usize, brought: usize, elapsed: Duration) -> bool {
        let wanted = elapsed.as_secs_f64() / self.within.as_secs_f64() * (self.faults * kinds) as f64;
        (brought as f64) < wanted
    }

    /// Whether each of some counts is as it is asked for, however long it took.
    pub fn is_enough(self, counts: impl IntoIterator<Item = usize>) -> bool {
        counts.into_iter().all(|count| count >= self.faults)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Counts of half an hour in which a broker takes so many seconds to restart, and each kind cannot be so often.
    fn half_an_hour(seed: u64, broker_seconds: f64, cannot_be: f64) -> BTreeMap<Kind, usize> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut deck, mut seconds) = (Deck::of(&Kind::ALL), 0.0);
        let mut counts = BTreeMap::from(Kind::ALL.map(|kind| (kind, 0)));
        while seconds < Pace::ASKED.within.as_secs_f64() {
            let kind = deck.deal(|kinds| kinds.shuffle(&mut random)).expect("there are kinds");
            if random.random_bool(cannot_be) {
                deck.owe(kind);
            } else {
                *counts.entry(kind).or_default() += 1;
                seconds += if kind == Kind::Broker { broker_seconds } else { 0.5 };
            }
            let (brought, elapsed) = (counts.values().sum::<usize>(), Duration::from_secs_f64(seconds));
            let drawn = random.random_range(3.0..12.0);
            seconds += if Pace::DEALT.is_behind(Kind::ALL.len(), brought, elapsed) { 3.0 } else { drawn };
        }
        counts
    }

    #[test]
    fn half_an_hour_has_twenty_of_each_kind_though_brokers_are_slow_and_one_fault_in_ten_cannot_be() {
        for seed in 0..200 {
            let counts = half_an_hour(seed, 40.0, 0.1);
            assert!(Pace::ASKED.is_enough(counts.values().copied()), "seed {seed}: {counts:?}");
        }
    }

    #[test]
    fn a_kind_that_could_not_be_comes_once_more_in_the_next_round() {
        let mut deck = Deck::of(&[Kind::Kill, Kind::Move]);
        let round = |deck: &mut Deck, count: usize| {
            let mut kinds: Vec<_> = (0..count).filter_map(|_| deck.deal(|kinds| kinds.sort_unstable())).collect();
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(round(&mut deck, 2), [Kind::Kill, Kind::Move]);
        deck.owe(Kind::Kill);
        assert_eq!(round(&mut deck, 3), [Kind::Kill, Kind::Kill, Kind::Move]);
        assert_eq!(round(&mut deck, 2), [Kind::Kill, Kind::Move]);
    }

    #[test]
    fn nineteen_of_one_kind_are_not_enough() {
        assert!(Pace::ASKED.is_enough([20, 25, 20]));
        assert!(!Pace::ASKED.is_enough([20, 19, 40]));
    }
}
