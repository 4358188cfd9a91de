//! What is owned, moved, counted and recovered.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stage of the plan, numbered in the order of the data's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageId(pub u32);

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unit: a key group of a keyed stage, or a split of a stateless one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitId {
    /// The stage.
    pub stage: StageId,
    /// The unit within it.
    pub index: u32,
}

/// A stateless stage's units are numbered by input and split: this many splits an input at the most.
pub const SPLITS_PER_INPUT: u32 = 1 << 20;

impl UnitId {
    /// The unit of a stateless stage that takes the split of this ordinal through this input.
    pub fn of_split(stage: StageId, input: u16, log: u32) -> Self {
        Self { stage, index: u32::from(input) * SPLITS_PER_INPUT + log }
    }

    /// Of a stateless stage's unit: the input and the split's ordinal that [`UnitId::of_split`] made it of.
    pub fn split(self) -> (u16, u32) {
        let input = u16::try_from(self.index / SPLITS_PER_INPUT).unwrap_or(u16::MAX);
        (input, self.index % SPLITS_PER_INPUT)
    }
}

/// `STAGE-INDEX`, as store paths and file names carry it.
impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stage, self.index)
    }
}

/// A unit's ownership number: it grows by one at each change of owner and rides on every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The number of the next owner.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number for each start from scratch, part of store paths and file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The first number of runs that keep no state, which take a clock's milliseconds since 1970.
    const UNKEPT: u64 = 1_000_000_000_000;

    /// The number of a start from scratch at a moment, in milliseconds since 1970: its seconds. Those that nobody asked for
    /// are counted from 1, so that it is above all of them, and of every fresh one before.
    pub fn fresh(wall_millis: i64) -> Self {
        Self((wall_millis / 1_000).max(1).unsigned_abs())
    }

    /// Whether its state was kept, and not the memory of one run.
    pub const fn is_kept(self) -> bool {
        self.0 < Self::UNKEPT
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One start of one worker process; two processes never share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
