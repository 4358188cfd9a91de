//! What may happen next.

use super::Ownership;
use super::scope::{LOGS, Logs, Mutant, Reads};
use super::state::{Hold, State};

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer arrives.
    Known,
    /// It is written, and the answer is lost.
    AnswerLost,
    /// It is not written, and the answer says as little as a lost one.
    NotWritten,
}

/// A step of a history. Numbers: operator, worker, unit, log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    OperatorReads {
        operator: usize,
    },
    WorkerReads {
        worker: usize,
    },
    /// A worker's job begins, where the state is its installation's.
    Begins {
        worker: usize,
    },
    /// A worker does what the ownership rules say next.
    Steps {
        worker: usize,
        unit: usize,
    },
    /// Two seconds have passed since a worker asked.
    TimesOut {
        worker: usize,
        unit: usize,
    },
    /// The owner before answers the worker that asked.
    Answers {
        worker: usize,
        unit: usize,
    },
    /// The address of the owner before refuses the worker that asked, rightly or not.
    FindsNobody {
        worker: usize,
        unit: usize,
    },
    /// A worker that has opened a store decides by its marker.
    Decides {
        worker: usize,
        unit: usize,
        outcome: Outcome,
    },
    /// A unit takes the next record of a log and commits.
    Commits {
        worker: usize,
        unit: usize,
        log: usize,
        outcome: Outcome,
    },
    /// A commit without a record (at least each minute): changes nothing, unless the writer was fenced meanwhile.
    Notices {
        worker: usize,
        unit: usize,
    },
    /// A unit sends the next entry of its outbox.
    Emits {
        worker: usize,
        unit: usize,
        outcome: Outcome,
    },
    /// The second half of a write that should have been one.
    Settles {
        worker: usize,
        unit: usize,
    },
    /// An operator gives a unit without a living owner to a worker.
    Assigns {
        operator: usize,
        unit: usize,
        worker: usize,
    },
    PublishesAbove {
        operator: usize,
        unit: usize,
    },
    PublishesChild {
        operator: usize,
    },

    HandsOver {
        operator: usize,
        unit: usize,
        worker: usize,
    },
    /// A takeover from a worker that lives.
    TakesOver {
        operator: usize,
        unit: usize,
        worker: usize,
    },
    WorkerReadsOld {
        worker: usize,
    },
    OperatorReadsOld {
        operator: usize,
    },
    Crashes {
        worker: usize,
    },
    Restarts {
        worker: usize,
    },
    /// The pipeline is deleted and made again, its state kept.
    Recreates,
    /// A worker's job begins by taking the state over, as its pipeline says.
    Adopts {
        worker: usize,
    },
    /// The pipeline starts from scratch.
    StartsAnew,
    LosesState,
    CollectsFences {
        unit: usize,
    },
    EmitsUncommitted {
        worker: usize,
        unit: usize,
        log: usize,
    },
}

impl Ownership {
    /// What happens without anybody's fault or will, in any order. Some of what changes nothing is listed, too.
    pub(crate) fn needed(&self, state: &State, actions: &mut Vec<Action>) {
        let units = 0..self.scope.units;
        for worker in (0..self.scope.workers).filter(|&worker| !state.workers[worker].is_dead) {
            match state.workers[worker].is_to_begin {
                true => actions.push(Action::Begins { worker }),
                false => units.clone().for_each(|unit| self.unit_actions(state, worker, unit, actions)),
            }
            if state.workers[worker].seen != state.tables[self.scope.of_worker(worker)] {
                actions.push(Action::WorkerReads { worker });
            }
        }
        for operator in 0..self.scope.operators {
            if state.operators[operator] != state.tables[self.scope.of_operator(operator)] {
                actions.push(Action::OperatorReads { operator });
            }
            for unit in units.clone() {
                let is_refused = |worker: usize| matches!(state.workers[worker].units[unit], Hold::Refused { .. });
                if self.scope.workers_of(operator).any(is_refused) {
                    actions.push(Action::PublishesAbove { operator, unit });
                }
                let owner = state.operators[operator].rows[unit].owner;
                if owner.is_none_or(|owner| state.workers[usize::from(owner)].is_dead) {
                    let workers = self.scope.workers_of(operator);
                    actions.extend(workers.map(|worker| Action::Assigns { operator, unit, worker }));
                }
            }
            if self.scope.logs == Logs::ParentAndChild {
                actions.push(Action::PublishesChild { operator });
            }
        }
    }

    fn unit_actions(&self, state: &State, worker: usize, unit: usize, actions: &mut Vec<Action>) {
        match state.workers[worker].units[unit] {
            Hold::Halted => {}
            Hold::Asked(_) => {
                actions.push(Action::Answers { worker, unit });
                actions.push(Action::TimesOut { worker, unit });
                actions.push(Action::FindsNobody { worker, unit });
            }
            Hold::Opened(_) => actions.push(Action::Decides { worker, unit, outcome: Outcome::Known }),
            Hold::Owned(_) => {
                for log in 0..LOGS {
                    actions.push(Action::Commits { worker, unit, log, outcome: Outcome::Known });
                }
                actions.push(Action::Emits { worker, unit, outcome: Outcome::Known });
                actions.push(Action::Settles { worker, unit });
                actions.push(Action::Notices { worker, unit });
            }
            _ => {}
        }
        actions.push(Action::Steps { worker, unit });
    }

    /// Whether an update of this operator would not be refused as a conflict.
    pub(crate) fn may_write(&self, state: &State, operator: usize) -> bool {
        let is_newest = state.operators[operator] == state.tables[self.scope.of_operator(operator)];
        is_newest || self.mutant == Some(Mutant::NoConditionalUpdate)
    }

    /// Faults, and what people and operators do of their own will, within what is left of the budget.
    pub(crate) fn unneeded(&self, state: &State, actions: &mut Vec<Action>) {
        for unit in 0..self.scope.units {
            if state.left.moves > 0 {
                for operator in (0..self.scope.operators).filter(|&operator| self.may_write(state, operator)) {
                    for worker in self.scope.workers_of(operator).filter(|&worker| !state.workers[worker].is_dead) {
                        actions.push(Action::HandsOver { operator, unit, worker });
                        actions.push(Action::TakesOver { operator, unit, worker });
                    }
                }
            }
            if self.mutant == Some(Mutant::FencesCollected) {
                actions.push(Action::CollectsFences { unit });
            }
        }
        if state.left.faults > 0 && self.scope.reads == Reads::Old {
            actions.extend((0..self.scope.operators).map(|operator| Action::OperatorReadsOld { operator }));
        }
        for worker in 0..self.scope.workers {
            if state.workers[worker].is_dead {
                actions.push(Action::Restarts { worker });
                continue;
            }
            if state.workers[worker].is_to_begin && state.left.adoptions > 0 {
                actions.push(Action::Adopts { worker });
            }
            if state.left.faults > 0 {
                self.faults(state, worker, actions);
            }
            if self.mutant == Some(Mutant::EmitBeforeCommit) {
                let units = 0..self.scope.units;
                actions.extend(units.map(|unit| Action::EmitsUncommitted { worker, unit, log: 0 }));
            }
        }
        let strangers = [
            (state.left.recreations, Action::Recreates),
            (state.left.restarts, Action::StartsAnew),
            (state.left.losses, Action::LosesState),
        ];
        actions.extend(strangers.into_iter().filter(|(left, _)| *left > 0).map(|(_, action)| action));
    }

    fn faults(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        actions.push(Action::Crashes { worker });
        if self.scope.reads == Reads::Old {
            actions.push(Action::WorkerReadsOld { worker });
        }
        for unit in 0..self.scope.units {
            match state.workers[worker].units[unit] {
                Hold::Opened(_) => actions.push(Action::Decides { worker, unit, outcome: Outcome::AnswerLost }),
                Hold::Owned(_) => {
                    for outcome in [Outcome::AnswerLost, Outcome::NotWritten] {
                        actions.extend((0..LOGS).map(|log| Action::Commits { worker, unit, log, outcome }));
                    }
                    actions.push(Action::Emits { worker, unit, outcome: Outcome::AnswerLost });
                }
                _ => {}
            }
        }
    }
}
