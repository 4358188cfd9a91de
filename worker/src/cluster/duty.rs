//! What an assignment asks of a worker.

use std::fmt;

use thalweg_core::unit::RunId;
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::Slot;

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
    /// To own, read and list what the assignment says, as it changes.
    Serve,
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
            Self::Leaving => f.write_str("the worker leaves its slot"),
        }
    }
}

/// What an assignment asks of a worker.
pub fn duty(assignment: Option<&AssignmentSpec>, me: &Me) -> Duty {
    let Some(assignment) = assignment else { return Duty::Rest(Why::NoAssignment) };
    if assignment.plan != me.plan {
        return Duty::Rest(Why::OtherPlan(assignment.plan.clone()));
    }
    if assignment.completed {
        return Duty::Rest(Why::Completed);
    }
    let entered = assignment.workers.iter().find(|worker| worker.slot == me.slot);
    match entered {
        Some(worker) if worker.run_id.0 == me.run_id.0 => Duty::Serve,
        _ => Duty::Rest(Why::NotEntered),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_crds::assignment::WorkerEntry;
    use thalweg_crds::ids;

    use super::*;

    fn me() -> Me {
        Me { slot: Slot("p-0".to_owned()), run_id: RunId("me/0".to_owned()), plan: "hash".to_owned() }
    }

    fn assignment() -> AssignmentSpec {
        let worker = WorkerEntry { slot: me().slot, run_id: ids::RunId(me().run_id.0), ..WorkerEntry::default() };
        AssignmentSpec { plan: "hash".to_owned(), workers: vec![worker], ..AssignmentSpec::default() }
    }

    #[test]
    fn a_worker_serves_where_the_assignment_names_its_plan_and_this_run_of_it() {
        let asked = |assignment: &AssignmentSpec| duty(Some(assignment), &me());
        assert_eq!(asked(&assignment()), Duty::Serve);
        assert_eq!(duty(None, &me()), Duty::Rest(Why::NoAssignment));
        let other = AssignmentSpec { plan: "new".to_owned(), ..assignment() };
        assert_eq!(asked(&other), Duty::Rest(Why::OtherPlan("new".to_owned())));
        assert_eq!(asked(&AssignmentSpec { completed: true, ..assignment() }), Duty::Rest(Why::Completed));
        assert_eq!(asked(&AssignmentSpec { workers: vec![], ..assignment() }), Duty::Rest(Why::NotEntered));
        let mut earlier_life = assignment();
        earlier_life.workers[0].run_id = ids::RunId("me/7".to_owned());
        assert_eq!(asked(&earlier_life), Duty::Rest(Why::NotEntered));
    }
}
