//! What readers and units say to each other. Who owns a unit speaks first: it subscribes, and grants credit.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use thalweg_core::log::LogId;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, Incarnation, RunId, UnitId};

/// Version of the messages. Workers of one pipeline run one image but for a rollout; others are refused.
pub const PROTOCOL: u32 = 1;

/// A log as one unit reads it: an input of its stage, and the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The unit.
    pub unit: UnitId,
    /// Index of its stage's input.
    pub input: u16,
    /// The log.
    pub log: LogId,
}

/// A subscription's number. A reader serves the greatest of a unit and a log: what an owner before, or a connection
/// before, still says counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Counts the owner's subscriptions to this log.
    pub count: u64,
}

/// What rows are made by. A unit takes no range of another plan or layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Hash of the plan.
    pub plan: Arc<str>,
    /// Version of the rows' layout.
    pub layout: u32,
    /// The incarnation of the unit's stage.
    pub incarnation: Incarnation,
    /// The unit has closed its windows up to here: the log's rows of these are late, and become dead letters.
    pub closed: Watermark,
}

impl Stamp {
    /// Whether rows can be made by this where one is made for `other`: only the windows that units have closed differ.
    pub fn fits(&self, other: &Self) -> bool {
        (&self.plan, self.layout, self.incarnation) == (&other.plan, other.layout, other.incarnation)
    }
}

/// A message between workers.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first message in each direction.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Who speaks.
        run: RunId,
    },
    /// Whoever speaks is alive, and has nothing else to say.
    Alive,
    /// A unit wants a log from where it is. Again: what was sent since is not taken.
    Subscribe {
        /// Who wants what.
        subscription: Subscription,
        /// Which of the unit's subscriptions to this log.
        attempt: Attempt,
        /// How the rows must be made.
        stamp: Stamp,
        /// `A`, with the watermark there.
        accepted: LogProgress,
        /// Ranges that may come.
        credit: u32,
    },
    /// More ranges may come.
    Grant {
        /// Of this.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
        /// So many.
        ranges: u32,
    },
    /// What a unit has read of a log is durable: nobody will ask for it again on its behalf.
    Committed {
        /// Of this.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
        /// The first position that is not.
        next: Position,
    },
    /// A unit wants a log no longer.
    Unsubscribe {
        /// Which.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
    },
    /// A range of a log.
    Range(Range),
    /// A subscription cannot be served.
    Refused {
        /// Which.
        subscription: Subscription,
        /// The attempt that is refused.
        attempt: Attempt,
        /// Why.
        reason: Refusal,
    },
    /// Let go of a unit for the sake of its new owner, who was assigned it at `epoch`.
    Release {
        /// The unit.
        unit: UnitId,
        /// The asker's epoch.
        epoch: Epoch,
        /// UID of the assignment that the asker has read; where the one asked has read another, it does not answer.
        assignment: String,
    },
    /// The unit is free for the owner at `epoch`.
    Released {
        /// The unit.
        unit: UnitId,
        /// The asker's epoch.
        epoch: Epoch,
    },
}

/// A range `[from, after.next)` of a log, as far as one unit needs it. Ranges without rows count, too: they move `V`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Who gets it.
    pub subscription: Subscription,
    /// The attempt that it answers.
    pub attempt: Attempt,
    /// What it was made by.
    pub stamp: Stamp,
    /// Where it starts.
    pub from: Position,
    /// The log after it.
    pub after: LogProgress,
    /// The rows, if there are any.
    pub rows: Option<Rows>,
    /// Dead letters that belong to this unit.
    pub dead_letters: Option<RecordBatch>,
    /// The log is nearly full, and is trimmed once the unit has committed this: it should do so soon.
    pub awaited: bool,
}

/// Rows for a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// As the stage's transform made them.
    Plain(RecordBatch),
    /// Folded by pane and key.
    Folded(RecordBatch),
}

/// Why a subscription cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Refusal {
    /// This worker does not read the log: look at a newer assignment.
    NotReader,
    /// A later owner of the unit, or a later connection, has subscribed.
    Superseded,
    /// This worker serves two plans already, and neither is this one.
    OtherPlan,
    /// The log was trimmed beyond what is wanted, or ends before it: stop with `DataLoss`.
    DataLoss {
        /// What the log holds, for people.
        detail: String,
    },
    /// The reader failed; another attempt may succeed.
    Failed {
        /// What happened, for people.
        detail: String,
    },
}
