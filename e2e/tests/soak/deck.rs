//! Faults, dealt from a deck: each kind comes as often as the others.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

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
}

impl Deck {
    /// A deck of some kinds.
    pub fn of(kinds: &[Kind]) -> Self {
        Self { kinds: kinds.to_vec(), left: Vec::new() }
    }

    /// The next one.
    pub fn deal(&mut self, random: &mut ChaCha8Rng) -> Option<Kind> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
            self.left.shuffle(random);
        }
        self.left.pop()
    }
}
