//! What a worker does about one unit, by what it holds and what the assignment says
//! (`docs/design/0007-ownership-model.md`).
//!
//! A worker may read an assignment that is out of date: nothing here is unsafe then, for the store fences and the marker
//! ([`super::acquire`]) decides; it only costs time. A tenure belongs to one assignment object: where that was deleted
//! and made again (another UID, epochs that start anew), nothing is left of it ([`Tenure::under`]).

use std::time::Duration;

use super::assignment::{Slot, UnitAssignment};
use crate::unit::Epoch;

/// How long a new owner waits for the answer of the one before.
pub const HANDOFF_LIMIT: Duration = Duration::from_secs(2);

/// What a worker has to do with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tenure {
    /// Nothing.
    Free,
    /// It is the new owner, and asked the one before to let go.
    Asked {
        /// The epoch that it was assigned.
        epoch: Epoch,
        /// When it asked, on its monotonic clock.
        at: Duration,
    },
    /// Nothing stands in the way: the owner before has let go, or it was fenced and is still the owner.
    Cleared {
        /// The epoch that it was assigned.
        epoch: Epoch,
    },
    /// It has opened the unit's state as the writer.
    Open {
        /// The epoch that it was assigned.
        epoch: Epoch,
    },
    /// Its writer was fenced, or a commit has an unknown outcome; the state is closed.
    Lost {
        /// The epoch that it was assigned.
        epoch: Epoch,
    },
    /// What ran, or the opening, failed for another reason; the state is closed, and left alone for a while.
    Failed {
        /// The epoch that it was assigned.
        epoch: Epoch,
        /// When it is tried again, on its monotonic clock.
        until: Duration,
    },
    /// The state held an epoch that is not below its own; it reports this, the state is closed.
    Refused {
        /// The epoch that it was assigned.
        epoch: Epoch,
    },
    /// It let go, and knows the assignment as of this epoch.
    Released {
        /// The epoch that it knows.
        epoch: Epoch,
    },
}

impl Tenure {
    /// The epoch that it is about.
    pub fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Free => None,
            Self::Asked { epoch, .. }
            | Self::Cleared { epoch }
            | Self::Open { epoch }
            | Self::Lost { epoch }
            | Self::Failed { epoch, .. }
            | Self::Refused { epoch }
            | Self::Released { epoch } => Some(epoch),
        }
    }

    /// What is left of it under the assignment that was read: nothing where that is another object, for epochs start anew there,
    /// and one that is below ours would be waited for in vain. What is open is closed without writing.
    pub fn under(self, basis: Basis) -> Self {
        match basis {
            Basis::SameAssignment => self,
            Basis::AnotherAssignment => Self::Free,
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on as it is.
    Wait,
    /// Close what is open, ask this worker to commit, close and answer; the tenure becomes [`Tenure::Asked`].
    Ask(Slot),
    /// Close what is open without writing, open the unit's state as the writer and decide by
    /// [`super::acquire::acquire`] at this epoch.
    Open(Epoch),
    /// Close what is open without writing: the unit belongs to someone else. The tenure becomes [`Tenure::Released`] at
    /// the epoch that was read.
    Release,
    /// Read the assignment anew, not from a cache, and decide by [`after_loss`].
    ReadAnew,
}

/// The next step of worker `me`, which read `seen` of the assignment.
pub fn step(tenure: Tenure, seen: UnitAssignment, me: Slot, now: Duration) -> Step {
    if tenure.epoch().is_some_and(|epoch| seen.epoch < epoch) {
        // A read from before this tenure.
        return Step::Wait;
    }
    if seen.owner != Some(me) {
        return step_as_another(tenure, seen, me);
    }
    match tenure {
        Tenure::Asked { epoch, at } if epoch == seen.epoch => {
            if now.saturating_sub(at) >= HANDOFF_LIMIT {
                Step::Open(epoch)
            } else {
                Step::Wait
            }
        }
        Tenure::Cleared { epoch } if epoch == seen.epoch => Step::Open(epoch),
        Tenure::Open { epoch } | Tenure::Refused { epoch } if epoch == seen.epoch => Step::Wait,
        Tenure::Failed { epoch, until } if epoch == seen.epoch && now < until => Step::Wait,
        Tenure::Lost { epoch } | Tenure::Failed { epoch, .. } if epoch == seen.epoch => Step::ReadAnew,
        _ => match seen.previous {
            Some(previous) if previous != me => Step::Ask(previous),
            _ => Step::Open(seen.epoch),
        },
    }
}

/// The step of a worker that is not the owner.
fn step_as_another(tenure: Tenure, seen: UnitAssignment, me: Slot) -> Step {
    match tenure {
        Tenure::Free | Tenure::Released { .. } => Step::Wait,
        // A planned handoff: it works on until the new owner asks.
        Tenure::Open { .. } if seen.previous == Some(me) => Step::Wait,
        _ => Step::Release,
    }
}

/// What a worker does whose writer was fenced, or which does not know whether a commit was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLoss {
    /// It is still the owner: open again at the same epoch ([`Tenure::Cleared`]).
    Reopen,
    /// Another owner, or another epoch: [`Tenure::Released`] at the epoch that was read.
    Release,
}

/// Decides by an assignment that was read after the loss. An older one will not do: two workers that each believe
/// their old read would fence each other for ever.
pub fn after_loss(fresh: UnitAssignment, me: Slot, epoch: Epoch) -> AfterLoss {
    if fresh.names(me, epoch) { AfterLoss::Reopen } else { AfterLoss::Release }
}

/// What a new owner that has asked hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The owner before has let go.
    Released,
    /// Its address refuses connections, or the assignment names it no longer: no process listens there any more.
    NobodyThere,
}

/// The tenure of a worker that hears this. Where nobody listens the process has ended, and nothing is gained by waiting
/// for [`HANDOFF_LIMIT`]; if it lives after all it is fenced, as it is after that time.
pub fn replied(tenure: Tenure, reply: Reply) -> Tenure {
    match (tenure, reply) {
        (Tenure::Asked { epoch, .. }, Reply::Released | Reply::NobodyThere) => Tenure::Cleared { epoch },
        (other, _) => other,
    }
}

/// What an owner does that a new owner asks to let go. Afterwards its tenure is [`Tenure::Released`] at the epoch of the
/// new owner, so that an assignment read before does not make it open the unit again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Commit what was taken, close, then answer. A commit that fails changes nothing about the answer.
    CommitThenRelease,
    /// Answer at once: nothing is held here.
    Released,
    /// Do not answer: it was asked for an epoch that is over, or by an assignment that is not the one it knows. The new
    /// owner waits for [`HANDOFF_LIMIT`] at the most.
    Ignore,
}

/// Whether two rest on one assignment: who asks and who is asked, or what a worker has and what it has read since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The same object (the same UID).
    SameAssignment,
    /// Another: it was deleted and made again, and one of both does not know yet. Their epochs cannot be compared.
    AnotherAssignment,
}

impl Basis {
    /// By what tells two objects of one name apart: their UIDs.
    pub fn of<T: PartialEq + ?Sized>(one: &T, other: &T) -> Self {
        if one == other { Self::SameAssignment } else { Self::AnotherAssignment }
    }
}

/// The answer of a worker that is asked to let go for the sake of ownership `epoch`.
pub fn asked_to_release(tenure: Tenure, epoch: Epoch, basis: Basis) -> Answer {
    match (tenure, basis) {
        (_, Basis::AnotherAssignment) => Answer::Ignore,
        (Tenure::Open { epoch: held }, _) if held < epoch => Answer::CommitThenRelease,
        (Tenure::Open { .. }, _) => Answer::Ignore,
        _ => Answer::Released,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::assignment::tests::{assignments, slots};
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn tenures() -> impl Strategy<Value = Tenure> {
        (0..8u8, 0..4u64, 95..106u64).prop_map(|(kind, epoch, at)| {
            let epoch = Epoch(epoch);
            match kind {
                0 => Tenure::Free,
                1 => Tenure::Asked { epoch, at: Duration::from_secs(at) },
                2 => Tenure::Cleared { epoch },
                3 => Tenure::Open { epoch },
                4 => Tenure::Lost { epoch },
                5 => Tenure::Released { epoch },
                6 => Tenure::Failed { epoch, until: Duration::from_secs(at) },
                _ => Tenure::Refused { epoch },
            }
        })
    }

    proptest! {
        #[test]
        fn only_the_worker_that_the_assignment_names_opens_and_only_at_its_epoch(
            tenure in tenures(), seen in assignments(), me in slots(),
        ) {
            match step(tenure, seen, me, NOW) {
                Step::Open(epoch) => prop_assert!(seen.names(me, epoch)),
                Step::Ask(previous) => prop_assert!(seen.owner == Some(me) && previous != me),
                Step::Wait | Step::Release | Step::ReadAnew => {}
            }
        }

        #[test]
        fn an_owner_is_never_disturbed_by_a_read_that_is_older_than_its_tenure(
            ahead in 1..4u64, seen in assignments(), me in slots(),
        ) {
            let epoch = seen.epoch.0 + ahead;
            prop_assert_eq!(step(Tenure::Open { epoch: Epoch(epoch) }, seen, me, NOW), Step::Wait);
        }

        #[test]
        fn whoever_is_named_above_its_tenure_comes_to_open_the_unit(
            tenure in tenures(), row in assignments(), me in slots(),
        ) {
            let seen = UnitAssignment { owner: Some(me), epoch: Epoch(row.epoch.0 + 4), ..row };
            let opened = match step(tenure, seen, me, NOW) {
                Step::Ask(_) => {
                    let asked = Tenure::Asked { epoch: seen.epoch, at: NOW };
                    prop_assert_eq!(step(asked, seen, me, NOW), Step::Wait);
                    step(asked, seen, me, NOW + HANDOFF_LIMIT)
                }
                step => step,
            };
            prop_assert_eq!(opened, Step::Open(seen.epoch));
        }

        #[test]
        fn no_owner_lets_go_for_an_epoch_that_is_not_above_its_own(held in 0..4u64, asked in 0..4u64) {
            let held_at = Tenure::Open { epoch: Epoch(held) };
            let answer = asked_to_release(held_at, Epoch(asked), Basis::SameAssignment);
            prop_assert_eq!(answer == Answer::CommitThenRelease, asked > held);
            prop_assert_eq!(asked_to_release(held_at, Epoch(asked), Basis::AnotherAssignment), Answer::Ignore);
        }
    }

    #[test]
    fn an_owner_works_on_until_the_new_one_asks() {
        let seen = UnitAssignment { owner: Some(Slot(1)), epoch: Epoch(2), previous: Some(Slot(0)) };
        let held = Tenure::Open { epoch: Epoch(1) };
        assert_eq!(step(held, seen, Slot(0), NOW), Step::Wait);
        assert_eq!(step(held, UnitAssignment { previous: None, ..seen }, Slot(0), NOW), Step::Release);
        assert_eq!(asked_to_release(held, Epoch(2), Basis::SameAssignment), Answer::CommitThenRelease);
    }

    #[test]
    fn of_a_deleted_assignment_nothing_is_left_and_an_epoch_that_starts_anew_is_opened() {
        let held = Tenure::Open { epoch: Epoch(7) };
        let anew = UnitAssignment { owner: Some(Slot(0)), epoch: Epoch(1), previous: None };
        let under = |uid: &str| held.under(Basis::of("first", uid));
        assert_eq!(under("first"), held);
        assert_eq!(step(under("first"), anew, Slot(0), NOW), Step::Wait, "an older read of its own");
        assert_eq!(step(under("second"), anew, Slot(0), NOW), Step::Open(Epoch(1)));
    }

    #[test]
    fn what_failed_is_left_alone_for_a_while_and_then_opened_only_after_a_fresh_read() {
        let seen = UnitAssignment { owner: Some(Slot(0)), epoch: Epoch(1), previous: None };
        let failed = Tenure::Failed { epoch: Epoch(1), until: NOW };
        assert_eq!(step(failed, seen, Slot(0), NOW - Duration::from_millis(1)), Step::Wait);
        assert_eq!(step(failed, seen, Slot(0), NOW), Step::ReadAnew);
        assert_eq!(step(failed, UnitAssignment { owner: Some(Slot(1)), ..seen }, Slot(0), NOW), Step::Release);
        assert_eq!(asked_to_release(failed, Epoch(2), Basis::SameAssignment), Answer::Released);
    }

    #[test]
    fn who_asked_opens_once_the_owner_before_has_let_go_or_is_no_more() {
        let seen = UnitAssignment { owner: Some(Slot(1)), epoch: Epoch(2), previous: Some(Slot(0)) };
        let asked = Tenure::Asked { epoch: Epoch(2), at: NOW };
        for reply in [Reply::Released, Reply::NobodyThere] {
            assert_eq!(step(replied(asked, reply), seen, Slot(1), NOW), Step::Open(Epoch(2)));
            let later = UnitAssignment { owner: Some(Slot(2)), epoch: Epoch(3), ..seen };
            assert_eq!(step(replied(asked, reply), later, Slot(1), NOW), Step::Release, "what is over stays over");
            let open = Tenure::Open { epoch: Epoch(2) };
            assert_eq!(replied(open, reply), open);
        }
    }

    #[test]
    fn after_a_loss_a_worker_reopens_only_what_is_still_its_own() {
        let row = UnitAssignment { owner: Some(Slot(0)), epoch: Epoch(2), previous: None };
        assert_eq!(after_loss(row, Slot(0), Epoch(2)), AfterLoss::Reopen);
        assert_eq!(after_loss(row, Slot(0), Epoch(1)), AfterLoss::Release, "it starts anew at the higher epoch");
        assert_eq!(after_loss(row, Slot(1), Epoch(2)), AfterLoss::Release);
    }
}
