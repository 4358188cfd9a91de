//! How large a history is explored, and which rule is broken in it on purpose.

/// Most units of a scope.
pub(crate) const UNITS: usize = 2;
/// Most workers of a scope.
pub(crate) const WORKERS: usize = 3;
/// Operators that believe they lead.
pub(crate) const OPERATORS: usize = 2;
/// Logs that every unit reads.
pub(crate) const LOGS: usize = 2;
/// Incarnations: the first, and one after a restart from scratch.
pub(crate) const INCARNATIONS: usize = 2;

/// Installations that may have a pipeline of one name on the same state.
pub(crate) const INSTALLATIONS: usize = 2;

/// Who has a pipeline of this name on the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installations {
    /// One installation, whose state it is.
    One,
    /// Another one as well, with an assignment of its own: the last worker is its, and the last operator.
    Two,
}

/// How two logs are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logs {
    /// Both can be read from the beginning of the history.
    Independent,
    /// The second is a child of the first: a shard that was split.
    ParentAndChild,
}

/// What a read of the assignment gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The newest version, however late it is acted upon.
    Newest,
    /// Also the version before, even to who has read the newest (an API server that lags).
    Old,
}

/// How many events of each kind that nobody needs may happen; everything else happens as often as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Budget {
    /// Changes of owner by an operator's own will: handoffs, and takeovers from workers that live.
    pub(crate) moves: u8,
    /// Crashes, answers that are lost on the way back, reads of an old version.
    pub(crate) faults: u8,
    /// Deletions of the pipeline, which is made again with its state kept.
    pub(crate) recreations: u8,
    /// Restarts of the pipeline from scratch, under a new incarnation.
    pub(crate) restarts: u8,
    /// Deletions of the state by a stranger.
    pub(crate) losses: u8,
    /// Times that state of another installation is taken over: `state.adopt`.
    pub(crate) adoptions: u8,
}

/// The bounds of a history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Workers.
    pub(crate) workers: usize,
    /// Units.
    pub(crate) units: usize,
    /// Operators that believe they lead.
    pub(crate) operators: usize,
    /// Whose they are.
    pub(crate) installations: Installations,
    /// Records in each log.
    pub(crate) records: [u8; LOGS],
    /// How the logs are related.
    pub(crate) logs: Logs,
    /// What reads give.
    pub(crate) reads: Reads,
    /// Events that nobody needs.
    pub(crate) budget: Budget,
    /// Writers of one store, one after another; a history that needs more is stuck.
    pub(crate) writers: u8,
}

impl Scope {
    /// One unit and two logs; two workers that hand it over, take it over, crash and lose answers.
    pub(crate) const MOVED: Self = Self {
        workers: 2,
        units: 1,
        operators: 2,
        installations: Installations::One,
        records: [1, 1],
        logs: Logs::Independent,
        reads: Reads::Newest,
        budget: Budget { moves: 1, faults: 1, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        writers: 9,
    };
    /// The same with one log, and two changes of owner.
    pub(crate) const MOVED_TWICE: Self =
        Self { records: [1, 0], budget: Budget { moves: 2, ..Self::MOVED.budget }, ..Self::MOVED };
    /// Reads that go back in time.
    pub(crate) const OLD_READS: Self = Self {
        records: [1, 0],
        reads: Reads::Old,
        budget: Budget { moves: 1, faults: 2, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// One handover without any fault, and few writers to come to an end.
    pub(crate) const FENCED: Self = Self {
        operators: 1,
        records: [1, 0],
        budget: Budget { moves: 1, faults: 0, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        writers: 5,
        ..Self::MOVED
    };
    /// The pipeline is deleted and made again.
    pub(crate) const RECREATED: Self = Self {
        budget: Budget { moves: 1, faults: 0, recreations: 1, restarts: 0, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// The same without any other change of owner: nobody meets a marker but the pipeline that is made again.
    pub(crate) const MADE_AGAIN: Self = Self {
        records: [1, 0],
        budget: Budget { moves: 0, faults: 0, recreations: 1, restarts: 0, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// Two workers hand a unit over; another installation's pipeline of the same name finds their state, and is refused.
    pub(crate) const REFUSED: Self = Self {
        workers: 3,
        installations: Installations::Two,
        records: [1, 0],
        budget: Budget { moves: 1, faults: 0, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        writers: 20,
        ..Self::MOVED
    };
    /// The same, until it takes the state over from those who still work.
    pub(crate) const ADOPTED: Self = Self { budget: Budget { adoptions: 1, ..Self::REFUSED.budget }, ..Self::REFUSED };
    /// Both say that they take it over.
    pub(crate) const TAKEN_BACK: Self =
        Self { budget: Budget { adoptions: 2, ..Self::REFUSED.budget }, ..Self::REFUSED };
    /// One worker each, no change of owner, and few writers to come to an end.
    pub(crate) const ADOPTED_AND_FENCED: Self =
        Self { workers: 2, budget: Budget { moves: 0, ..Self::ADOPTED.budget }, writers: 6, ..Self::ADOPTED };
    /// The pipeline starts from scratch, while its source is split.
    pub(crate) const RESTARTED: Self = Self {
        logs: Logs::ParentAndChild,
        budget: Budget { moves: 1, faults: 0, recreations: 0, restarts: 1, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// Two units read a source that is split.
    pub(crate) const SPLIT: Self = Self {
        units: 2,
        operators: 1,
        logs: Logs::ParentAndChild,
        budget: Budget { moves: 1, faults: 0, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// Somebody deletes the state.
    pub(crate) const LOST: Self = Self {
        budget: Budget { moves: 1, faults: 0, recreations: 0, restarts: 0, losses: 1, adoptions: 0 },
        ..Self::MOVED
    };

    /// Two workers, two units, two operators, two changes of owner.
    pub(crate) const TWO_UNITS: Self = Self {
        units: 2,
        records: [1, 0],
        budget: Budget { moves: 2, faults: 0, recreations: 0, restarts: 0, losses: 0, adoptions: 0 },
        ..Self::MOVED
    };
    /// Three workers, one unit, two operators, a change of owner and a fault.
    pub(crate) const THREE_WORKERS: Self = Self { workers: 3, records: [1, 0], ..Self::MOVED };

    /// Two units, a change of owner and a fault.
    pub(crate) const TWO_UNITS_AND_A_FAULT: Self = Self { budget: Self::MOVED.budget, ..Self::TWO_UNITS };
    /// State is taken over, with a change of owner and a fault.
    pub(crate) const ADOPTED_AND_A_FAULT: Self =
        Self { budget: Budget { faults: 1, ..Self::ADOPTED.budget }, ..Self::ADOPTED };
    /// Three workers, two changes of owner and a fault.
    pub(crate) const THREE_WORKERS_MOVED_TWICE: Self = Self { workers: 3, ..Self::MOVED_TWICE };
    /// Two logs, two changes of owner and a fault.
    pub(crate) const TWO_LOGS: Self = Self { records: [1, 1], ..Self::MOVED_TWICE };

    /// Three workers, two units, two operators, and something of everything that may happen: too large to be explored whole.
    pub(crate) const LARGE: Self = Self {
        workers: 3,
        units: 2,
        reads: Reads::Old,
        budget: Budget { moves: 2, faults: 2, recreations: 1, restarts: 1, losses: 0, adoptions: 0 },
        writers: 15,
        ..Self::MOVED
    };

    /// Workers of the first installation, which are alike.
    pub(crate) fn workers_of_first(&self) -> usize {
        match self.installations {
            Installations::One => self.workers,
            Installations::Two => self.workers - 1,
        }
    }

    /// The installation of a worker.
    pub(crate) fn of_worker(&self, worker: usize) -> usize {
        usize::from(worker >= self.workers_of_first())
    }

    /// The installation of an operator.
    pub(crate) fn of_operator(&self, operator: usize) -> usize {
        usize::from(self.installations == Installations::Two && operator + 1 == self.operators)
    }

    /// The workers that an operator gives units to.
    pub(crate) fn workers_of(&self, operator: usize) -> impl Iterator<Item = usize> {
        let (scope, installation) = (*self, self.of_operator(operator));
        (0..self.workers).filter(move |&worker| scope.of_worker(worker) == installation)
    }
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// An owner takes whatever it opens, whichever epoch stands there.
    NoEpochMarker,
    /// An equal epoch of another process is taken for its own.
    EqualEpochOfAnotherRun,
    /// The store takes commits of every writer that ever opened it.
    NoFence,
    /// Garbage collection removes what fences earlier writers.
    FencesCollected,
    /// An operator writes without regard to what changed since it read.
    NoConditionalUpdate,
    /// A takeover names a new owner under the old epoch.
    TakeoverKeepsEpoch,
    /// A worker's report of a higher stored epoch is ignored.
    RefusalIgnored,
    /// Who was fenced opens again without a fresh read of the assignment.
    ReopenWithoutFreshRead,
    /// A new owner waits for the answer of the one before for as long as it takes.
    HandoffWaitsForEver,
    /// An owner lets go for one that was named by an assignment which is deleted.
    ReleaseByAnotherAssignment,
    /// An output is sent before it is committed.
    EmitBeforeCommit,
    /// `V` is written after the state that it belongs to.
    PositionsApart,
    /// The sink's progress is written after the rows.
    ProgressApart,
    /// The sink does not ask for the incarnation of who writes.
    IncarnationIgnored,
    /// A range is folded whether or not it was taken before.
    RangesNotCompared,
    /// A cursor starts at the greatest position that a subscriber wants.
    ReplayPastLeast,
    /// A child is published once *one* unit has committed the parent's end.
    ChildBeforeParentsEnd,
    /// A report of the incarnation before counts for the parent's end.
    ParentsEndOfEarlierIncarnation,
    /// State that is gone is started from zero.
    LostStateFromZero,
    /// State of another owner is used.
    AnotherOwnerIgnored,
    /// Who takes state over does not write it down.
    AdoptionUnwritten,
    /// Whose the state is, is asked when a job begins, and not before each unit.
    OwnerAskedOnlyAtStart,
    /// What a worker has of a deleted assignment counts under the one that was made since.
    TenureOutlivesAssignment,
}
