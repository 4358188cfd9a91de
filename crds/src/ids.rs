//! Names and numbers that must not be mixed up.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A unit's ownership number: it grows by one at each change of owner and rides on every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Epoch(#[schemars(range(min = 0))] pub i64);

impl Epoch {
    /// The number of the next owner.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A number for each start from scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Incarnation(#[schemars(range(min = 0))] pub i64);

/// A unit: the stage it belongs to and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitId {
    /// The stage, from 0.
    #[schemars(range(min = 0))]
    pub stage: i32,
    /// The unit within the stage, from 0.
    #[schemars(range(min = 0))]
    pub index: i32,
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.index)
    }
}

/// A source's partition, shard or lane, as its connector names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SplitId(#[schemars(length(max = 512))] pub String);

/// One life of a worker process: pod UID and restart count.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(#[schemars(length(max = 128))] pub String);

/// A worker's fixed slot, `NAME-0` and on: what assignments call an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Slot(#[schemars(length(max = 253))] pub String);

/// Who owns state and progress: made once by the operator, or beside the state by `thalweg run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InstallationId(#[schemars(length(max = 64))] pub String);

/// A position in a log, in its connector's own notation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LogPosition(#[schemars(length(max = 256))] pub String);

macro_rules! displays_its_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

displays_its_text!(Epoch, Incarnation, SplitId, RunId, Slot, InstallationId, LogPosition);
