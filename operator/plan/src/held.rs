//! What an assignment has brought about so far.

use std::collections::BTreeMap;

use thalweg_crds::assignment::{AssignmentSpec, UnitAssignment};
use thalweg_crds::ids::{RunId, Slot, UnitId};

use crate::assignment::Progress;
use crate::observed::Observed;
use crate::splits;
use crate::units::reported;

/// How many units a worker has acquired at their published epochs, and how many are between two owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// All units.
    pub total: usize,
    /// Acquired.
    pub owned: usize,
    /// Between two owners.
    pub moving: usize,
    /// Sources whose splits nobody has listed yet: how many units there are is not known before.
    pub unlisted: usize,
}

impl Held {
    /// Whether all that is to run runs.
    pub fn is_all(self) -> bool {
        self.unlisted == 0 && self.owned == self.total
    }
}

/// Counts units of an assignment.
pub fn held(assignment: &AssignmentSpec, observed: &Observed) -> Held {
    let live: BTreeMap<&Slot, RunId> =
        observed.slots.iter().filter_map(|slot| Some((&slot.slot, observed.live(slot)?))).collect();
    let entry = |slot: &Slot| assignment.workers.iter().find(|worker| worker.slot == *slot);
    let is_owned = |unit: &&UnitAssignment| {
        let entry = unit.owner.as_ref().and_then(entry);
        entry.is_some_and(|worker| {
            let lives = live.get(&worker.slot) == Some(&worker.run_id);
            lives && reported(unit, observed.reports.get(&worker.run_id)) == Progress::Owned
        })
    };
    let is_moving = |unit: &&UnitAssignment| unit.previous.is_some() && !is_owned(unit);
    let sources = assignment.enumerators.iter().map(|enumerator| enumerator.source.as_str());
    let is_unlisted = |source: &&str| !splits::is_listed(source, &assignment.splits, assignment, observed);
    Held {
        total: assignment.units.len(),
        owned: assignment.units.iter().filter(is_owned).count(),
        moving: assignment.units.iter().filter(is_moving).count(),
        // Before there is anybody who could be asked to list, nothing is known.
        unlisted: if assignment.workers.is_empty() { 1 } else { sources.filter(is_unlisted).count() },
    }
}

/// Changes of owner between two assignments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Those that a live owner answers.
    pub handoffs: u64,
    /// Those of which nobody is asked.
    pub takeovers: u64,
}

/// Counts changes of owner. Units that had none do not move.
pub fn moves(before: &AssignmentSpec, after: &AssignmentSpec) -> Moves {
    let old: BTreeMap<UnitId, &UnitAssignment> = before.units.iter().map(|unit| (unit.unit, unit)).collect();
    let moved =
        |unit: &&UnitAssignment| old.get(&unit.unit).is_some_and(|old| old.owner.is_some() && old.epoch < unit.epoch);
    let mut moves = Moves::default();
    after.units.iter().filter(moved).for_each(|unit| match unit.previous {
        Some(_) => moves.handoffs += 1,
        None => moves.takeovers += 1,
    });
    moves
}
