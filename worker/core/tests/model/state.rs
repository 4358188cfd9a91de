//! The state of a history: what the API server, operators, workers, stores and sinks hold.
//!
//! Numbers are bytes, so that a state is small and quickly hashed; they become the types of `thalweg_core` wherever a
//! decision is asked for.

use std::time::Duration;

use thalweg_core::ownership::Stored;
use thalweg_core::ownership::assignment::{Slot, UnitAssignment};
use thalweg_core::ownership::delivery::SinkProgress;
use thalweg_core::ownership::tenure::Tenure;
use thalweg_core::unit::{Epoch, Incarnation, RunId};

use super::scope::{Budget, INCARNATIONS, INSTALLATIONS, LOGS, OPERATORS, UNITS, WORKERS};

/// A unit's row of the assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) owner: Option<u8>,
    pub(crate) epoch: u8,
    pub(crate) previous: Option<u8>,
}

impl From<Row> for UnitAssignment {
    fn from(row: Row) -> Self {
        let slot = |worker: u8| Slot(worker.into());
        Self { owner: row.owner.map(slot), epoch: Epoch(row.epoch.into()), previous: row.previous.map(slot) }
    }
}

impl From<UnitAssignment> for Row {
    fn from(row: UnitAssignment) -> Self {
        let worker = |slot: Slot| small(slot.0.into());
        Self { owner: row.owner.map(worker), epoch: small(row.epoch.0), previous: row.previous.map(worker) }
    }
}

/// A number of the model, which are all small.
pub(crate) fn small(number: u64) -> u8 {
    u8::try_from(number).expect("a history is too short for greater numbers")
}

/// As [`small`].
pub(crate) fn small_usize(number: usize) -> u8 {
    small(number as u64)
}

/// The assignment. Every write changes it to what it never was before, so equality stands for the resourceVersion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Table {
    /// Which object: deleted and made again, it is another one.
    pub(crate) object: u8,
    pub(crate) incarnation: u8,
    pub(crate) is_child_published: bool,
    pub(crate) rows: [Row; UNITS],
}

/// Outputs in sequence: two bits each, the log whose record it was made of plus one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rows(pub u16);

impl Rows {
    pub(crate) fn len(self) -> u8 {
        small(u64::from((u16::BITS - self.0.leading_zeros()).div_ceil(2)))
    }

    pub(crate) fn get(self, at: u8) -> u8 {
        small(u64::from((self.0 >> (2 * at)) & 3)) - 1
    }

    pub(crate) fn push(&mut self, log: usize) {
        let shift = 2 * u32::from(self.len());
        self.0 |= (u16::try_from(log).expect("two logs") + 1) << shift;
    }

    pub(crate) fn starts_with(self, prefix: Self) -> bool {
        let mask = (1 << (2 * u32::from(prefix.len()))) - 1;
        self.0 & mask == prefix.0
    }
}

/// One life of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    pub(crate) worker: u8,
    pub(crate) life: u8,
}

impl Run {
    pub(crate) fn id(self) -> RunId {
        RunId(String::from(char::from(b'a' + self.worker * 16 + self.life)))
    }
}

/// What a unit's store holds: marker, `V`, state and outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Content {
    /// Epoch 0: nobody has taken it.
    pub(crate) epoch: u8,
    pub(crate) run: Run,
    pub(crate) next: [u8; LOGS],
    /// How often each record was folded into the state: two bits a record.
    pub(crate) folded: [u8; LOGS],
    pub(crate) outbox: Rows,
}

impl Content {
    pub(crate) fn marker(&self) -> Option<Stored> {
        (self.epoch > 0).then(|| Stored { epoch: Epoch(self.epoch.into()), run_id: self.run.id() })
    }

    pub(crate) fn fold(&mut self, log: usize, record: u8) {
        let count = (self.folded[log] >> (2 * record)) & 3;
        if count < 3 {
            self.folded[log] += 1 << (2 * record);
        }
    }
}

/// A unit's store under one incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Store {
    /// The number of the last writer that opened it, as in the manifest of SlateDB.
    pub(crate) writer: u8,
    pub(crate) content: Content,
    /// `FencesCollected`: what fences earlier writers is gone.
    pub(crate) is_unfenced: bool,
    /// It held something that is gone.
    pub(crate) is_lost: bool,
}

/// A unit's part of the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sink {
    pub(crate) progress: Option<Progress>,
    pub(crate) rows: [Rows; INCARNATIONS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Progress {
    pub(crate) next: u8,
    pub(crate) epoch: u8,
    pub(crate) incarnation: u8,
}

impl From<Progress> for SinkProgress {
    fn from(progress: Progress) -> Self {
        Self {
            next: progress.next.into(),
            epoch: Epoch(progress.epoch.into()),
            incarnation: Incarnation(progress.incarnation.into()),
        }
    }
}

/// The second half of a write that should have been one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owes {
    #[default]
    Nothing,
    /// `PositionsApart`: `V` of this log.
    Position(u8),
    /// `ProgressApart`: progress of what was sent.
    Progress,
}

/// A store that a worker has opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle {
    pub(crate) epoch: u8,
    pub(crate) incarnation: u8,
    pub(crate) writer: u8,
    /// What it read, and committed since.
    pub(crate) base: Content,
    /// Entries of the outbox that the sink has, as far as it knows.
    pub(crate) sent: u8,
    pub(crate) owes: Owes,
}

/// What a worker has to do with a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hold {
    #[default]
    Free,
    Asked(u8),
    Cleared(u8),
    /// It has found the state to be its installation's still, and is about to open it.
    Allowed(u8),
    /// Opened, and not decided yet whether it may be taken.
    Opened(Handle),
    Owned(Handle),
    Lost(u8),
    Refused {
        epoch: u8,
        found: u8,
    },
    Released(u8),
    /// Stopped with `DataLoss`.
    Halted,
}

/// When every worker asked.
pub(crate) const ASKED_AT: Duration = Duration::ZERO;

impl Hold {
    pub(crate) fn tenure(self) -> Tenure {
        let epoch = |epoch: u8| Epoch(epoch.into());
        match self {
            Self::Free | Self::Halted => Tenure::Free,
            Self::Asked(at) => Tenure::Asked { epoch: epoch(at), at: ASKED_AT },
            Self::Cleared(at) | Self::Allowed(at) => Tenure::Cleared { epoch: epoch(at) },
            Self::Opened(handle) | Self::Owned(handle) => Tenure::Open { epoch: epoch(handle.epoch) },
            Self::Lost(at) => Tenure::Lost { epoch: epoch(at) },
            Self::Refused { epoch: at, .. } => Tenure::Refused { epoch: epoch(at) },
            Self::Released(at) => Tenure::Released { epoch: epoch(at) },
        }
    }

    pub(crate) fn handle(self) -> Option<Handle> {
        match self {
            Self::Opened(handle) | Self::Owned(handle) => Some(handle),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Worker {
    pub(crate) is_dead: bool,
    pub(crate) life: u8,
    /// Its job is yet to begin, by asking whose the state is.
    pub(crate) is_to_begin: bool,
    /// How often the state had been taken over when its job began.
    pub(crate) hands: u8,
    /// The assignment, as it last read it.
    pub(crate) seen: Table,
    pub(crate) units: [Hold; UNITS],
}

/// Rules that a step has broken; states alone do not show it afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Broken {
    /// A commit under a lower epoch than the one before.
    pub(crate) epoch_fell: bool,
    /// A commit took something back that was committed.
    pub(crate) commit_lost: bool,
    /// A row of an earlier incarnation came after one of a later.
    pub(crate) incarnations_mixed: bool,
    /// Two owners under one number.
    pub(crate) epoch_shared: bool,
    /// A worker found the state to be another installation's, and went on to open a unit of it.
    pub(crate) trespassed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    /// The assignment of each installation.
    pub(crate) tables: [Table; INSTALLATIONS],
    /// The version of the first one before, where it may be read.
    pub(crate) table_before: Table,
    /// How often the state was taken over. By turns, for nobody takes over what is its own.
    pub(crate) hands: u8,
    /// The assignment, as each operator last read it.
    pub(crate) operators: [Table; OPERATORS],
    pub(crate) workers: [Worker; WORKERS],
    pub(crate) stores: [[Store; INCARNATIONS]; UNITS],
    pub(crate) sinks: [Sink; UNITS],
    pub(crate) left: Budget,
    pub(crate) broken: Broken,
}

impl State {
    /// The installation that has the state: who took it over last, or else who made it.
    pub(crate) fn owner(&self) -> usize {
        usize::from(self.hands) % INSTALLATIONS
    }
}
