//! Steps of a worker towards owning a unit, and away from it.

use std::sync::LazyLock;
use std::time::Duration;

use thalweg_core::ownership::assignment::UnitAssignment;
use thalweg_core::ownership::claim::{Adopt, Claim, Expected, StateOwner, claim, still_ours};
use thalweg_core::ownership::delivery::{Outbox, Resume, resume};
use thalweg_core::ownership::tenure::{
    AfterLoss, Answer, Basis, HANDOFF_LIMIT, Reply, Step, Tenure, after_loss, asked_to_release, replied, step,
};
use thalweg_core::ownership::{Acquire, acquire};
use thalweg_core::unit::{Epoch, Incarnation};

use super::Ownership;
use super::action::Outcome;
use super::control::slot;
use super::scope::{INSTALLATIONS, Installations, Mutant};
use super::state::{ASKED_AT, Handle, Hold, Owes, Run, State, Table, Worker, small, small_usize};

/// The pipeline, as it owns state in each installation.
static OWNERS: LazyLock<[StateOwner; INSTALLATIONS]> = LazyLock::new(|| {
    ["first", "second"].map(|installation| StateOwner {
        installation: installation.to_owned(),
        namespace: "default".to_owned(),
        name: "pipeline".to_owned(),
    })
});

impl Ownership {
    /// A worker asks whose the state is, and begins its job where it is its own, or is taken over.
    pub(crate) fn begins(&self, state: &mut State, worker: usize, adopt: Adopt) -> Option<()> {
        let me = &OWNERS[self.scope.of_worker(worker)];
        match claim(Some(&OWNERS[state.owner()]), me, Expected::State, adopt) {
            Claim::Use => {}
            Claim::Adopt => {
                state.left.adoptions -= 1;
                if self.mutant != Some(Mutant::AdoptionUnwritten) {
                    state.hands += 1;
                }
            }
            Claim::InUse(_) if self.mutant == Some(Mutant::AnotherOwnerIgnored) => {}
            Claim::InUse(_) | Claim::Create | Claim::DataLoss => return None,
        }
        let hands = state.hands;
        let worker = &mut state.workers[worker];
        (worker.is_to_begin, worker.hands) = (false, hands);
        Some(())
    }

    /// Of what is its own nothing is taken over.
    pub(crate) fn adopts(&self, state: &mut State, worker: usize) -> Option<()> {
        let left = state.left.adoptions;
        self.begins(state, worker, Adopt::Yes)?;
        (state.left.adoptions < left).then_some(())
    }

    /// Reads the assignment, and lets go of everything where it is another object.
    pub(crate) fn worker_reads(&self, state: &mut State, worker: usize, table: Table) -> Option<()> {
        let worker = &mut state.workers[worker];
        let before = std::mem::replace(&mut worker.seen, table);
        let basis = match self.mutant {
            Some(Mutant::TenureOutlivesAssignment) => Basis::SameAssignment,
            _ => Basis::of(&before.object, &table.object),
        };
        if basis == Basis::AnotherAssignment {
            worker.units = worker.units.map(|hold| match hold.tenure().under(basis) {
                Tenure::Free => Hold::Free,
                _ => hold,
            });
        }
        (before != table).then_some(())
    }

    pub(crate) fn steps(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        if state.workers[worker].units[unit] == Hold::Halted {
            return None;
        }
        self.step_at(state, worker, unit, ASKED_AT)
    }

    pub(crate) fn times_out(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        if self.mutant == Some(Mutant::HandoffWaitsForEver) {
            return None;
        }
        self.step_at(state, worker, unit, ASKED_AT + HANDOFF_LIMIT)
    }

    fn step_at(&self, state: &mut State, worker: usize, unit: usize, now: Duration) -> Option<()> {
        let row = UnitAssignment::from(state.workers[worker].seen.rows[unit]);
        let epoch = small(row.epoch.0);
        let hold = match step(state.workers[worker].units[unit].tenure(), row, slot(worker), now) {
            Step::Wait => return None,
            Step::Ask(_) => Hold::Asked(epoch),
            Step::Open(epoch) => self.looks_and_opens(state, worker, unit, small(epoch.0))?,
            Step::Release => Hold::Released(epoch),
            Step::ReadAnew => self.read_anew(state, worker, unit, epoch),
        };
        state.workers[worker].units[unit] = hold;
        Some(())
    }

    fn read_anew(&self, state: &mut State, worker: usize, unit: usize, epoch: u8) -> Hold {
        if self.mutant == Some(Mutant::ReopenWithoutFreshRead) {
            return Hold::Cleared(epoch);
        }
        let before = state.workers[worker].seen.object;
        let table = state.tables[self.scope.of_worker(worker)];
        self.worker_reads(state, worker, table);
        if table.object != before {
            return Hold::Free;
        }
        let fresh = UnitAssignment::from(table.rows[unit]);
        match after_loss(fresh, slot(worker), Epoch(epoch.into())) {
            AfterLoss::Reopen => Hold::Cleared(epoch),
            AfterLoss::Release => Hold::Released(small(fresh.epoch.0)),
        }
    }

    /// To look whose the state is, and to open a unit of it, are two steps: much may happen in between.
    fn looks_and_opens(&self, state: &mut State, worker: usize, unit: usize, epoch: u8) -> Option<Hold> {
        match (self.scope.installations, state.workers[worker].units[unit]) {
            (Installations::One, _) => self.open(state, worker, unit, epoch),
            (Installations::Two, Hold::Allowed(at)) if at == epoch => self.open(state, worker, unit, epoch),
            (Installations::Two, _) => Some(self.looks(state, worker, epoch)),
        }
    }

    /// Where the state is another's by now, the whole job ends, and is to begin again.
    fn looks(&self, state: &mut State, worker: usize, epoch: u8) -> Hold {
        let (me, owner) = (self.scope.of_worker(worker), state.owner());
        let taken_since = (state.hands > state.workers[worker].hands).then(|| &OWNERS[owner]);
        let found = still_ours(taken_since, &OWNERS[me]);
        if matches!(found, Claim::InUse(_)) && self.mutant != Some(Mutant::OwnerAskedOnlyAtStart) {
            let worker = &mut state.workers[worker];
            *worker = Worker { is_to_begin: true, hands: 0, units: Default::default(), ..*worker };
            return Hold::Free;
        }
        state.broken.trespassed |= me != owner;
        Hold::Allowed(epoch)
    }

    /// Opens the store as its one writer, which fences every earlier one.
    fn open(&self, state: &mut State, worker: usize, unit: usize, epoch: u8) -> Option<Hold> {
        let seen = state.workers[worker].seen;
        let store = &mut state.stores[unit][usize::from(seen.incarnation)];
        if store.writer == self.scope.writers {
            return None;
        }
        let me = &OWNERS[self.scope.of_worker(worker)];
        let found = (!store.is_lost).then_some(me);
        // The history begins with state under the first incarnation, and the first assignment knows it.
        let expected = if seen.object + seen.incarnation == 0 { Expected::State } else { Expected::Nothing };
        match claim(found, me, expected, Adopt::No) {
            Claim::DataLoss if self.mutant != Some(Mutant::LostStateFromZero) => return Some(Hold::Halted),
            _ => {}
        }
        store.writer += 1;
        store.is_unfenced = false;
        let (writer, base) = (store.writer, store.content);
        Some(Hold::Opened(Handle { epoch, incarnation: seen.incarnation, writer, base, sent: 0, owes: Owes::Nothing }))
    }

    pub(crate) fn answers(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        let Hold::Asked(epoch) = state.workers[worker].units[unit] else { return None };
        let previous = usize::from(state.workers[worker].seen.rows[unit].previous?);
        if previous == worker || state.workers[previous].is_dead {
            return None;
        }
        let is_same = state.workers[previous].seen.object == state.workers[worker].seen.object;
        let ignores_object = self.mutant == Some(Mutant::ReleaseByAnotherAssignment);
        let basis = if is_same || ignores_object { Basis::SameAssignment } else { Basis::AnotherAssignment };
        let hold = &mut state.workers[previous].units[unit];
        match asked_to_release(hold.tenure(), Epoch(epoch.into()), basis) {
            // It may commit before it answers: a step of its own.
            Answer::CommitThenRelease => *hold = Hold::Released(epoch),
            Answer::Released => {}
            Answer::Ignore => return None,
        }
        self.hears(state, worker, unit, Reply::Released)
    }

    pub(crate) fn finds_nobody(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        if self.mutant == Some(Mutant::HandoffWaitsForEver) {
            return None;
        }
        self.hears(state, worker, unit, Reply::NobodyThere)
    }

    fn hears(&self, state: &mut State, worker: usize, unit: usize, reply: Reply) -> Option<()> {
        let hold = &mut state.workers[worker].units[unit];
        let Tenure::Cleared { epoch } = replied(hold.tenure(), reply) else { return None };
        *hold = Hold::Cleared(small(epoch.0));
        Some(())
    }

    pub(crate) fn decides(&self, state: &mut State, worker: usize, unit: usize, outcome: Outcome) -> Option<()> {
        let Hold::Opened(handle) = state.workers[worker].units[unit] else { return None };
        let run = Run { worker: small_usize(worker), life: state.workers[worker].life };
        let hold = match self.acquire(&handle, run) {
            Acquire::ReportHigher(found) => Hold::Refused { epoch: handle.epoch, found: small(found.0) },
            Acquire::Resume => self.resume(state, unit, handle),
            Acquire::Take => {
                let mut content = handle.base;
                (content.epoch, content.run) = (handle.epoch, run);
                match self.write(state, unit, &handle, content) {
                    Some(()) if outcome == Outcome::Known => {
                        self.resume(state, unit, Handle { base: content, ..handle })
                    }
                    _ => Hold::Lost(handle.epoch),
                }
            }
        };
        if outcome != Outcome::Known {
            let Hold::Lost(_) = hold else { return None };
            state.left.faults -= 1;
        }
        state.workers[worker].units[unit] = hold;
        Some(())
    }

    fn acquire(&self, handle: &Handle, run: Run) -> Acquire {
        let assigned = Epoch(handle.epoch.into());
        match (acquire(handle.base.marker().as_ref(), assigned, &run.id()), self.mutant) {
            (_, Some(Mutant::NoEpochMarker)) => Acquire::Take,
            (Acquire::ReportHigher(found), Some(Mutant::EqualEpochOfAnotherRun)) if found == assigned => {
                Acquire::Resume
            }
            (decision, _) => decision,
        }
    }

    /// What the sink knows says where the new owner goes on.
    fn resume(&self, state: &State, unit: usize, handle: Handle) -> Hold {
        let found = self.progress(state, unit, handle.incarnation);
        let outbox = Outbox { first: 0, next: handle.base.outbox.len().into() };
        let (epoch, incarnation) = (Epoch(handle.epoch.into()), Incarnation(handle.incarnation.into()));
        match resume(found.as_ref(), outbox, epoch, incarnation) {
            Resume::From(next) => Hold::Owned(Handle { sent: small(next), ..handle }),
            Resume::Fenced => Hold::Lost(handle.epoch),
            Resume::DataLoss => Hold::Halted,
        }
    }
}
