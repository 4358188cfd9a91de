//! What an assignment asks of a worker.

use std::fmt;

use thalweg_core::unit::{Epoch, RunId, StageId, UnitId};
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::{Slot, UnitId as WrittenUnit};

use crate::runtime::ownership::Epochs;

/// Who a worker is, as an assignment names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The slot that it holds.
    pub slot: Slot,
    /// This life of it.
    pub run_id: RunId,
    /// The hash of the plan that it has mounted.
    pub plan: String,
}

/// What is asked of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Rest(Why),
    /// To own all units, at these epochs.
    Own(Epochs, Handover),
}

/// How a worker comes to its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// Nobody has them, or who had them is gone.
    Takeover,
    /// Somebody has them still, and was told in the same write to commit and close.
    Planned,
}

/// Why nothing is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The assignment does not stand, or was not heard of yet.
    NoAssignment,
    /// It is for workers with another plan.
    OtherPlan(String),
    /// All input was read.
    Completed,
    /// This worker is not entered, or an earlier life of it is.
    NotEntered,
    /// All units have other owners, or none.
    OthersOwn,
    /// Some units are this worker's and some are not, which this version cannot run.
    Divided,
    /// The worker is about to leave its slot.
    Leaving,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAssignment => f.write_str("there is no assignment"),
            Self::OtherPlan(plan) => write!(f, "the assignment is for plan {plan}"),
            Self::Completed => f.write_str("all input was read"),
            Self::NotEntered => f.write_str("the assignment does not name this run of the worker"),
            Self::OthersOwn => f.write_str("no unit is assigned to this worker"),
            Self::Divided => f.write_str("units are assigned to several workers, which this version cannot run"),
            Self::Leaving => f.write_str("the worker leaves its slot"),
        }
    }
}

/// What an assignment asks of a worker. In this version one worker owns all units of a pipeline: it works where the
/// assignment names its slot for every one of them.
pub fn duty(assignment: Option<&AssignmentSpec>, me: &Me) -> Duty {
    let Some(assignment) = assignment else { return Duty::Rest(Why::NoAssignment) };
    if assignment.plan != me.plan {
        return Duty::Rest(Why::OtherPlan(assignment.plan.clone()));
    }
    if assignment.completed {
        return Duty::Rest(Why::Completed);
    }
    let entered = assignment.workers.iter().find(|worker| worker.slot == me.slot);
    if entered.is_none_or(|worker| worker.run_id.0 != me.run_id.0) {
        return Duty::Rest(Why::NotEntered);
    }
    let mine = assignment.units.iter().filter(|unit| unit.owner.as_ref() == Some(&me.slot));
    let owned: Epochs = mine.clone().filter_map(|unit| Some((unit_id(unit.unit)?, epoch(unit.epoch)?))).collect();
    match owned.units().count() {
        0 => Duty::Rest(Why::OthersOwn),
        all if all == assignment.units.len() => {
            let from_somebody = |slot: &Slot| *slot != me.slot;
            let planned = mine.clone().any(|unit| unit.previous.as_ref().is_some_and(from_somebody));
            Duty::Own(owned, if planned { Handover::Planned } else { Handover::Takeover })
        }
        _ => Duty::Rest(Why::Divided),
    }
}

/// `None` for numbers below zero, which no schema lets through.
fn unit_id(written: WrittenUnit) -> Option<UnitId> {
    Some(UnitId { stage: StageId(written.stage.try_into().ok()?), index: written.index.try_into().ok()? })
}

fn epoch(written: thalweg_crds::ids::Epoch) -> Option<Epoch> {
    written.0.try_into().ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use thalweg_crds::assignment::{UnitAssignment, WorkerEntry};
    use thalweg_crds::ids;

    use super::*;

    fn me() -> Me {
        Me { slot: Slot("p-0".to_owned()), run_id: RunId("me/0".to_owned()), plan: "hash".to_owned() }
    }

    fn owned(index: i32, owner: &str, epoch: i64) -> UnitAssignment {
        let unit = WrittenUnit { stage: 0, index };
        UnitAssignment { unit, owner: Some(Slot(owner.to_owned())), epoch: ids::Epoch(epoch), previous: None }
    }

    fn assignment() -> AssignmentSpec {
        let worker = WorkerEntry { slot: me().slot, run_id: ids::RunId(me().run_id.0), ..WorkerEntry::default() };
        AssignmentSpec {
            pipeline: "p".to_owned(),
            plan: "hash".to_owned(),
            units: vec![owned(0, "p-0", 3), owned(1, "p-0", 4)],
            workers: vec![worker],
            ..AssignmentSpec::default()
        }
    }

    fn why(assignment: &AssignmentSpec) -> Why {
        match duty(Some(assignment), &me()) {
            Duty::Rest(why) => why,
            Duty::Own(..) => panic!("units are owned"),
        }
    }

    #[test]
    fn a_worker_that_every_unit_names_owns_them_at_their_epochs() {
        let Duty::Own(epochs, handover) = duty(Some(&assignment()), &me()) else { panic!("nothing is asked") };
        let expected = [(0, 3), (1, 4)].map(|(index, epoch)| (UnitId { stage: StageId(0), index }, Epoch(epoch)));
        assert_eq!(epochs.units().collect::<Vec<_>>(), expected);
        assert_eq!(handover, Handover::Takeover);
    }

    #[test]
    fn units_that_somebody_is_to_give_away_are_handed_over() {
        let mut assignment = assignment();
        assignment.units[0].previous = Some(Slot("p-0".to_owned()));
        assert!(matches!(duty(Some(&assignment), &me()), Duty::Own(_, Handover::Takeover)));
        assignment.units[1].previous = Some(Slot("p-1".to_owned()));
        assert!(matches!(duty(Some(&assignment), &me()), Duty::Own(_, Handover::Planned)));
    }

    #[test]
    fn nothing_is_asked_where_the_assignment_means_somebody_else() {
        assert_eq!(duty(None, &me()), Duty::Rest(Why::NoAssignment));
        assert_eq!(why(&AssignmentSpec { plan: "new".to_owned(), ..assignment() }), Why::OtherPlan("new".to_owned()));
        assert_eq!(why(&AssignmentSpec { completed: true, ..assignment() }), Why::Completed);
        assert_eq!(why(&AssignmentSpec { workers: vec![], ..assignment() }), Why::NotEntered);
        assert_eq!(why(&AssignmentSpec { units: vec![], ..assignment() }), Why::OthersOwn);
        assert_eq!(why(&AssignmentSpec { units: vec![owned(0, "p-1", 3)], ..assignment() }), Why::OthersOwn);
        let divided = vec![owned(0, "p-0", 3), owned(1, "p-1", 4)];
        assert_eq!(why(&AssignmentSpec { units: divided, ..assignment() }), Why::Divided);
        let mut earlier_life = assignment();
        earlier_life.workers[0].run_id = ids::RunId("me/7".to_owned());
        assert_eq!(why(&earlier_life), Why::NotEntered);
    }
}
