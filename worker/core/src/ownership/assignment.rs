//! What the control plane publishes about a unit: handoff, takeover, above a stored epoch.
//!
//! Each change of owner is one conditional update of the whole table (a resourceVersion, or its like), so that of two
//! live control planes one gets a conflict. Every function here gives the row to write, computed from the row that
//! was read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Epoch;

/// The number of a worker's fixed slot: the worker that holds Lease `NAME-3` is in slot 3. What assignments call an
/// owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unit's row of the assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitAssignment {
    /// Who owns it; `None` while nobody does.
    pub owner: Option<Slot>,
    /// The number of this ownership.
    pub epoch: Epoch,
    /// In a planned handoff: who owned it before, and answers once it is free.
    pub previous: Option<Slot>,
}

/// A worker's report that a unit's state holds an epoch which is not below the one that it was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Who reports.
    pub worker: Slot,
    /// The epoch that it was assigned.
    pub assigned: Epoch,
    /// The epoch that it found.
    pub found: Epoch,
}

impl UnitAssignment {
    /// A unit that nobody has owned.
    pub const UNOWNED: Self = Self { owner: None, epoch: Epoch(0), previous: None };

    /// Step 6, a planned handoff: the new owner asks the one before, which commits and closes first. `None` where the
    /// unit is there already; a unit without an owner is simply taken.
    pub fn handed_over(self, to: Slot) -> Option<Self> {
        (self.owner != Some(to)).then(|| Self { owner: Some(to), epoch: self.epoch.next(), previous: self.owner })
    }

    /// Step 7, a takeover: the new owner acquires at once. Also for the same slot, whose process has changed.
    pub fn taken_over(self, by: Slot) -> Self {
        Self { owner: Some(by), epoch: self.epoch.next(), previous: None }
    }

    /// Step 2, after a worker reported a stored epoch: the same owner above it.
    ///
    /// `None` where this would change nothing: the epoch found is below the one published, or it *is* the published
    /// one and stands there by right (an old owner found the marker of the present one). Only the present owner can be
    /// refused at the published epoch, by the marker of another process.
    pub fn above(self, refusal: &Refusal) -> Option<Self> {
        let refused_now = self.owner == Some(refusal.worker) && self.epoch == refusal.assigned;
        let applies = refusal.found > self.epoch || (refusal.found == self.epoch && refused_now);
        applies.then(|| Self { epoch: refusal.found.next(), previous: None, ..self })
    }

    /// The row under a new incarnation: whoever works on the old one must take the unit again.
    pub fn restarted(self) -> Self {
        Self { epoch: self.epoch.next(), previous: None, ..self }
    }

    /// Whether `worker` owns the unit at `epoch`.
    pub fn names(self, worker: Slot, epoch: Epoch) -> bool {
        self.owner == Some(worker) && self.epoch == epoch
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn slots() -> impl Strategy<Value = Slot> {
        (0..3u32).prop_map(Slot)
    }

    pub(crate) fn assignments() -> impl Strategy<Value = UnitAssignment> {
        (proptest::option::of(slots()), 0..4u64, proptest::option::of(slots()))
            .prop_map(|(owner, epoch, previous)| UnitAssignment { owner, epoch: Epoch(epoch), previous })
    }

    proptest! {
        #[test]
        fn every_change_of_owner_raises_the_epoch(row in assignments(), to in slots()) {
            prop_assert_eq!(row.taken_over(to).epoch, row.epoch.next());
            prop_assert_eq!(row.restarted().epoch, row.epoch.next());
            match row.handed_over(to) {
                Some(next) => {
                    prop_assert_eq!(next.epoch, row.epoch.next());
                    prop_assert_eq!(next.previous, row.owner);
                }
                None => prop_assert_eq!(row.owner, Some(to)),
            }
        }

        #[test]
        fn a_refusal_publishes_above_what_was_found_and_only_once(
            row in assignments(), worker in slots(), assigned in 0..4u64, found in 0..6u64,
        ) {
            let refusal = Refusal { worker, assigned: Epoch(assigned), found: Epoch(found) };
            if let Some(next) = row.above(&refusal) {
                prop_assert!(next.epoch > refusal.found && next.epoch > row.epoch);
                prop_assert_eq!(next.owner, row.owner);
                prop_assert_eq!(next.above(&refusal), None);
            }
        }
    }

    #[test]
    fn an_old_owner_that_finds_the_present_ones_marker_changes_nothing() {
        let row = UnitAssignment { owner: Some(Slot(1)), epoch: Epoch(2), previous: None };
        let old = Refusal { worker: Slot(0), assigned: Epoch(1), found: Epoch(2) };
        assert_eq!(row.above(&old), None);
        let present = Refusal { worker: Slot(1), assigned: Epoch(2), found: Epoch(2) };
        assert_eq!(row.above(&present).map(|next| next.epoch), Some(Epoch(3)));
    }
}
