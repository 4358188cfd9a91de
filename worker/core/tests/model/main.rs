//! The ownership protocol of `docs/design/0007-ownership-model.md`, explored exhaustively within bounds: every decision that is
//! taken here is a function of `thalweg_core` that workers call.
//!
//! Not covered, because of the bounds: longer histories. What time and a network do is an order of events.

mod action;
mod checks;
mod control;
mod properties;
mod scope;
mod state;
mod symmetry;
mod tenure;
mod work;

use stateright::{Model, Property};
use thalweg_core::ownership::claim::Adopt;

use action::Action;
use scope::{Installations, Mutant, Reads, Scope};
use state::{Hold, Row, State, small_usize};

/// Whether states that differ in the numbers of workers, units and operators count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// They do: a path changes numbers on its way.
    Immaterial,
    /// They do not: a path can be read.
    Kept,
}

/// The protocol within a scope, perhaps with a rule broken.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    pub(crate) scope: Scope,
    pub(crate) mutant: Option<Mutant>,
    /// The one property to check; all if there is none.
    pub(crate) only: Option<&'static str>,
    pub(crate) numbers: Numbers,
}

impl Ownership {
    /// The state after an action; `None` where it changes nothing.
    pub(crate) fn after(&self, before: &State, action: Action) -> Option<State> {
        let mut next = *before;
        let state = &mut next;
        match action {
            Action::OperatorReads { operator } => {
                self.operator_reads(state, operator, before.tables[self.scope.of_operator(operator)])
            }
            Action::WorkerReads { worker } => {
                self.worker_reads(state, worker, before.tables[self.scope.of_worker(worker)])
            }
            Action::OperatorReadsOld { operator } => {
                state.left.faults -= 1;
                self.operator_reads(state, operator, before.table_before)
            }
            Action::WorkerReadsOld { worker } => {
                state.left.faults -= 1;
                self.worker_reads(state, worker, before.table_before)
            }
            Action::Begins { worker } => self.begins(state, worker, Adopt::No),
            Action::Adopts { worker } => self.adopts(state, worker),
            Action::Steps { worker, unit } => self.steps(state, worker, unit),
            Action::TimesOut { worker, unit } => self.times_out(state, worker, unit),
            Action::FindsNobody { worker, unit } => self.finds_nobody(state, worker, unit),
            Action::Answers { worker, unit } => self.answers(state, worker, unit),
            Action::Decides { worker, unit, outcome } => self.decides(state, worker, unit, outcome),
            Action::Commits { worker, unit, log, outcome } => self.commits(state, worker, unit, log, outcome),
            Action::Emits { worker, unit, outcome } => self.emits(state, worker, unit, outcome),
            Action::Notices { worker, unit } => self.notices(state, worker, unit),
            Action::Settles { worker, unit } => self.settles(state, worker, unit),
            Action::Assigns { operator, unit, worker } => self.assigns(state, operator, unit, worker),
            Action::PublishesAbove { operator, unit } => self.publishes_above(state, operator, unit),
            Action::PublishesChild { operator } => self.publishes_child(state, operator),
            Action::HandsOver { operator, unit, worker } => self.hands_over(state, operator, unit, worker),
            Action::TakesOver { operator, unit, worker } => self.takes_over(state, operator, unit, worker),
            Action::Crashes { worker } => self.crashes(state, worker),
            Action::Restarts { worker } => self.restarts(state, worker),
            Action::Recreates => self.recreates(state),
            Action::StartsAnew => self.starts_anew(state),
            Action::LosesState => self.loses_state(state),
            Action::CollectsFences { unit } => self.collects_fences(state, unit),
            Action::EmitsUncommitted { worker, unit, log } => self.emits_uncommitted(state, worker, unit, log),
        }?;
        if state.tables[0] != before.tables[0] && self.scope.reads == Reads::Old {
            state.table_before = before.tables[0];
        }
        self.forget(state);
        Some(next)
    }

    /// Forgets what makes no difference any more: who let go at an epoch that it has read since does as if it had never
    /// had the unit.
    fn forget(&self, state: &mut State) {
        for worker in &mut state.workers[..self.scope.workers] {
            for (hold, row) in worker.units.iter_mut().zip(&worker.seen.rows) {
                if matches!(*hold, Hold::Released(epoch) if epoch <= row.epoch) {
                    *hold = Hold::Free;
                }
            }
        }
    }
}

impl Ownership {
    fn renumbered(&self, state: State) -> State {
        match self.numbers {
            Numbers::Immaterial => symmetry::canonical(&self.scope, &state),
            Numbers::Kept => state,
        }
    }
}

impl Model for Ownership {
    type State = State;
    type Action = Action;

    /// Every unit is assigned, and everybody knows; nobody has opened anything. The state is the first installation's.
    fn init_states(&self) -> Vec<State> {
        let mut state = State { left: self.scope.budget, ..State::default() };
        for unit in 0..self.scope.units {
            let row = |worker: usize| Row { owner: Some(small_usize(worker)), epoch: 1, previous: None };
            state.tables[0].rows[unit] = row(unit % self.scope.workers_of_first());
            if self.scope.installations == Installations::Two {
                state.tables[1].rows[unit] = row(self.scope.workers_of_first());
            }
        }
        if self.scope.reads == Reads::Old {
            state.table_before = state.tables[0];
        }
        for (at, operator) in state.operators.iter_mut().enumerate() {
            *operator = state.tables[self.scope.of_operator(at)];
        }
        for (at, worker) in state.workers[..self.scope.workers].iter_mut().enumerate() {
            let installation = self.scope.of_worker(at);
            (worker.seen, worker.is_to_begin) = (state.tables[installation], installation != 0);
        }
        vec![self.renumbered(state)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.needed(state, actions);
        self.unneeded(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.after(state, action).map(|next| self.renumbered(next))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties(&self.scope, self.only)
    }
}
