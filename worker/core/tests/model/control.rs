//! Steps of operators and strangers: what is published, what dies, what is deleted. Strangers meddle with the first
//! installation only.

use thalweg_core::ownership::assignment::{Refusal, Slot, UnitAssignment};
use thalweg_core::ownership::replay::{ParentProgress, child_may_start};
use thalweg_core::position::Position;
use thalweg_core::unit::{Epoch, Incarnation};

use super::Ownership;
use super::scope::{Installations, Logs, Mutant};
use super::state::{Content, Hold, Row, State, Table, Worker, small_usize};

impl Ownership {
    /// A conditional update of one row: written only if nothing was written since the operator read.
    pub(crate) fn publish(
        &self,
        state: &mut State,
        operator: usize,
        unit: usize,
        change: impl FnOnce(UnitAssignment) -> Option<UnitAssignment>,
    ) -> Option<()> {
        let read = state.operators[operator];
        if !self.may_write(state, operator) {
            return None;
        }
        let row = Row::from(change(read.rows[unit].into())?);
        let table = &mut state.tables[self.scope.of_operator(operator)];
        let before = std::mem::replace(&mut table.rows[unit], row);
        state.broken.epoch_shared |= row.epoch <= before.epoch && row.owner != before.owner;
        (row != before).then_some(())
    }

    pub(crate) fn operator_reads(&self, state: &mut State, operator: usize, table: Table) -> Option<()> {
        let before = std::mem::replace(&mut state.operators[operator], table);
        (before != table).then_some(())
    }

    /// Where nobody lives who owns the unit.
    pub(crate) fn assigns(&self, state: &mut State, operator: usize, unit: usize, worker: usize) -> Option<()> {
        if state.workers[worker].is_dead {
            return None;
        }
        self.publish(state, operator, unit, |row| Some(row.taken_over(slot(worker))))
    }

    pub(crate) fn hands_over(&self, state: &mut State, operator: usize, unit: usize, worker: usize) -> Option<()> {
        self.publish(state, operator, unit, |row| row.handed_over(slot(worker)))?;
        state.left.moves -= 1;
        Some(())
    }

    pub(crate) fn takes_over(&self, state: &mut State, operator: usize, unit: usize, worker: usize) -> Option<()> {
        self.publish(state, operator, unit, |row| {
            let next = row.taken_over(slot(worker));
            let keeps_epoch = self.mutant == Some(Mutant::TakeoverKeepsEpoch);
            Some(if keeps_epoch { UnitAssignment { epoch: row.epoch, ..next } } else { next })
        })?;
        state.left.moves -= 1;
        Some(())
    }

    pub(crate) fn publishes_above(&self, state: &mut State, operator: usize, unit: usize) -> Option<()> {
        if self.mutant == Some(Mutant::RefusalIgnored) {
            return None;
        }
        let reports = self.scope.workers_of(operator).filter_map(|worker| match state.workers[worker].units[unit] {
            Hold::Refused { epoch, found } => {
                Some(Refusal { worker: slot(worker), assigned: Epoch(epoch.into()), found: Epoch(found.into()) })
            }
            _ => None,
        });
        let row = UnitAssignment::from(state.operators[operator].rows[unit]);
        let above = reports.filter_map(|refusal| row.above(&refusal)).max_by_key(|row| row.epoch)?;
        self.publish(state, operator, unit, |_| Some(above))
    }

    pub(crate) fn publishes_child(&self, state: &mut State, operator: usize) -> Option<()> {
        if self.scope.logs == Logs::Independent || state.operators[operator] != state.tables[0] {
            return None;
        }
        if state.tables[0].is_child_published || !self.child_may_start(state) {
            return None;
        }
        state.tables[0].is_child_published = true;
        Some(())
    }

    fn child_may_start(&self, state: &State) -> bool {
        let end = Position::at(self.scope.records[0].into());
        let mut units = (0..self.scope.units).map(|unit| self.parent_progress(state, unit));
        let present = Incarnation(state.tables[0].incarnation.into());
        match self.mutant {
            Some(Mutant::ChildBeforeParentsEnd) => units.any(|unit| child_may_start(end, present, [unit])),
            _ => child_may_start(end, present, units),
        }
    }

    /// The most that any worker reports of a unit, which may be a worker that owns it no more.
    fn parent_progress(&self, state: &State, unit: usize) -> ParentProgress {
        let owned = (0..self.scope.workers).filter_map(|worker| match state.workers[worker] {
            Worker { is_dead: false, units, .. } => match units[unit] {
                Hold::Owned(handle) => Some(handle),
                _ => None,
            },
            Worker { .. } => None,
        });
        let ignores_incarnation = self.mutant == Some(Mutant::ParentsEndOfEarlierIncarnation);
        let report = owned.max_by_key(|handle| {
            (ignores_incarnation || handle.incarnation == state.tables[0].incarnation, handle.base.next[0])
        });
        let incarnation = report.map_or(0, |handle| handle.incarnation);
        let incarnation = if ignores_incarnation { state.tables[0].incarnation } else { incarnation };
        ParentProgress {
            incarnation: Incarnation(incarnation.into()),
            committed: report.map(|handle| Position::at(handle.base.next[0].into())),
        }
    }

    /// One worker of an installation lives on, for otherwise nobody could be asked for anything.
    pub(crate) fn crashes(&self, state: &mut State, worker: usize) -> Option<()> {
        let installation = self.scope.of_worker(worker);
        let of_installation = (0..self.scope.workers).filter(|&other| self.scope.of_worker(other) == installation);
        if of_installation.filter(|&other| !state.workers[other].is_dead).count() == 1 {
            return None;
        }
        let units = Default::default();
        state.workers[worker] = Worker { is_dead: true, units, ..state.workers[worker] };
        state.left.faults -= 1;
        Some(())
    }

    pub(crate) fn restarts(&self, state: &mut State, worker: usize) -> Option<()> {
        let worker = &mut state.workers[worker];
        let is_to_begin = self.scope.installations == Installations::Two;
        *worker = Worker { is_dead: false, life: worker.life + 1, is_to_begin, hands: 0, ..*worker };
        Some(())
    }

    pub(crate) fn recreates(&self, state: &mut State) -> Option<()> {
        let Table { object, incarnation, .. } = state.tables[0];
        state.tables[0] = Table { object: object + 1, incarnation, ..Table::default() };
        state.left.recreations -= 1;
        Some(())
    }

    pub(crate) fn starts_anew(&self, state: &mut State) -> Option<()> {
        let table = &mut state.tables[0];
        table.incarnation += 1;
        table.is_child_published = false;
        for row in &mut table.rows[..self.scope.units] {
            *row = UnitAssignment::from(*row).restarted().into();
        }
        state.left.restarts -= 1;
        Some(())
    }

    pub(crate) fn loses_state(&self, state: &mut State) -> Option<()> {
        let incarnation = usize::from(state.tables[0].incarnation);
        for stores in &mut state.stores[..self.scope.units] {
            let store = &mut stores[incarnation];
            store.content = Content::default();
            store.writer += 1;
            store.is_lost = true;
        }
        state.left.losses -= 1;
        Some(())
    }

    pub(crate) fn collects_fences(&self, state: &mut State, unit: usize) -> Option<()> {
        let store = &mut state.stores[unit][usize::from(state.tables[0].incarnation)];
        (!std::mem::replace(&mut store.is_unfenced, true)).then_some(())
    }
}

/// The slot of a worker of the model.
pub(crate) fn slot(worker: usize) -> Slot {
    Slot(small_usize(worker).into())
}
