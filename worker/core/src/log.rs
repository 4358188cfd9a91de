//! What units read: anything ordered and replayable from a position.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::unit::UnitId;

/// A source's partition, shard or lane, unique within its source: `lane-3`, `7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SplitId(Arc<str>);

impl SplitId {
    /// Names a split.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A log, named so that the name stays the same over restarts and moves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogId {
    /// A split of the source that the pipeline lists under this name.
    Split {
        /// The resource's name.
        source: Arc<str>,
        /// The split within it.
        split: SplitId,
    },
    /// What a unit of an earlier stage emitted.
    Outbox(UnitId),
}

/// `trips/lane-3`, `outbox/0-5`.
impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { source, split } => write!(f, "{source}/{split}"),
            Self::Outbox(unit) => write!(f, "outbox/{unit}"),
        }
    }
}
