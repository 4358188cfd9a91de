//! Steps of a worker that owns a unit, or believes so: commits and emissions.

use thalweg_core::ownership::delivery::{NotAdmitted, SinkProgress, admits, not_admitted};
use thalweg_core::ownership::replay::cursor_start;
use thalweg_core::position::Position;
use thalweg_core::progress::{Offer, offer};
use thalweg_core::unit::{Epoch, Incarnation};

use super::Ownership;
use super::action::Outcome;
use super::scope::{Logs, Mutant};
use super::state::{Content, Handle, Hold, Owes, Progress, Run, State, Store, small_usize};

impl Ownership {
    /// Whether a store takes a commit of this writer.
    pub(crate) fn admits_writer(&self, store: &Store, writer: u8) -> bool {
        store.writer == writer || store.is_unfenced || self.mutant == Some(Mutant::NoFence)
    }

    /// One atomic, fenced write; `None` where the writer is fenced.
    pub(crate) fn write(&self, state: &mut State, unit: usize, handle: &Handle, content: Content) -> Option<()> {
        let store = &mut state.stores[unit][usize::from(handle.incarnation)];
        if !self.admits_writer(store, handle.writer) {
            return None;
        }
        let before = std::mem::replace(&mut store.content, content);
        let broken = &mut state.broken;
        broken.epoch_fell |= content.epoch < before.epoch;
        broken.epoch_shared |= content.epoch == before.epoch && content.run != before.run;
        let goes_back = before.next.iter().zip(content.next).any(|(before, next)| next < *before);
        broken.commit_lost |= goes_back || !content.outbox.starts_with(before.outbox) || store.is_lost;
        Some(())
    }

    pub(crate) fn commits(
        &self,
        state: &mut State,
        worker: usize,
        unit: usize,
        log: usize,
        outcome: Outcome,
    ) -> Option<()> {
        let Hold::Owned(handle) = state.workers[worker].units[unit] else { return None };
        if handle.owes != Owes::Nothing || !self.can_read(state, worker, &handle, log) {
            return None;
        }
        let store = &state.stores[unit][usize::from(handle.incarnation)];
        if outcome != Outcome::Known && !self.admits_writer(store, handle.writer) {
            // A fenced writer learns nothing from a lost answer.
            return None;
        }
        let mut content = self.take(state, &handle, log)?;
        content.epoch = handle.epoch;
        content.run = Run { worker: small_usize(worker), life: state.workers[worker].life };
        let mut owes = Owes::Nothing;
        if self.mutant == Some(Mutant::PositionsApart) {
            content.next[log] = handle.base.next[log];
            owes = Owes::Position(small_usize(log));
        }
        let is_written = outcome != Outcome::NotWritten && self.write(state, unit, &handle, content).is_some();
        state.workers[worker].units[unit] = if is_written && outcome == Outcome::Known {
            Hold::Owned(Handle { base: content, owes, ..handle })
        } else {
            Hold::Lost(handle.epoch)
        };
        if outcome != Outcome::Known {
            state.left.faults -= 1;
        }
        Some(())
    }

    pub(crate) fn notices(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        let Hold::Owned(handle) = state.workers[worker].units[unit] else { return None };
        let store = &state.stores[unit][usize::from(handle.incarnation)];
        if self.admits_writer(store, handle.writer) {
            return None;
        }
        state.workers[worker].units[unit] = Hold::Lost(handle.epoch);
        Some(())
    }

    fn can_read(&self, state: &State, worker: usize, handle: &Handle, log: usize) -> bool {
        let seen = state.workers[worker].seen;
        log == 0
            || self.scope.logs == Logs::Independent
            || (seen.is_child_published && seen.incarnation == handle.incarnation)
    }

    /// Takes the first range that a reader offers and the unit has not; `None` where there is none, or a gap.
    fn take(&self, state: &State, handle: &Handle, log: usize) -> Option<Content> {
        let start = self.cursor_start(state, handle.incarnation, log)?;
        let mut content = handle.base;
        let accepted = Position::at(content.next[log].into());
        for at in start..self.scope.records[log] {
            let range = (Position::at(at.into()), Position::at(u64::from(at) + 1));
            let taken = match offer(accepted, range.0, range.1) {
                Offer::Take => true,
                Offer::Skip | Offer::Straddles => self.mutant == Some(Mutant::RangesNotCompared),
                Offer::Gap => return None,
            };
            if taken {
                content.fold(log, at);
                content.next[log] = content.next[log].max(at + 1);
                content.outbox.push(log);
                return Some(content);
            }
        }
        None
    }

    /// Where the reader of a log stands that serves all who own a unit, or believe so.
    pub(crate) fn cursor_start(&self, state: &State, incarnation: u8, log: usize) -> Option<u8> {
        let accepted = self.accepted(state, incarnation, log);
        let start = match self.mutant {
            Some(Mutant::ReplayPastLeast) => accepted.max(),
            _ => cursor_start(accepted),
        };
        start.and_then(|start| u8::try_from(start.offset).ok())
    }

    /// What each subscriber wants next of a log.
    pub(crate) fn accepted(&self, state: &State, incarnation: u8, log: usize) -> impl Iterator<Item = Position> {
        let holds = state.workers.iter().flat_map(|worker| worker.units);
        holds.filter_map(move |hold| match hold {
            Hold::Owned(handle) if handle.incarnation == incarnation => {
                Some(Position::at(handle.base.next[log].into()))
            }
            _ => None,
        })
    }

    /// The sink's progress of a unit.
    pub(crate) fn progress(&self, state: &State, unit: usize, incarnation: u8) -> Option<SinkProgress> {
        let mut progress = state.sinks[unit].progress.map(SinkProgress::from);
        if self.mutant == Some(Mutant::IncarnationIgnored) {
            progress = progress.map(|found| SinkProgress { incarnation: Incarnation(incarnation.into()), ..found });
        }
        progress
    }

    pub(crate) fn emits(&self, state: &mut State, worker: usize, unit: usize, outcome: Outcome) -> Option<()> {
        let Hold::Owned(handle) = state.workers[worker].units[unit] else { return None };
        if handle.owes != Owes::Nothing || handle.sent >= handle.base.outbox.len() {
            return None;
        }
        let log = usize::from(handle.base.outbox.get(handle.sent));
        let before = state.sinks[unit];
        let hold = self.send(state, unit, handle, log);
        match outcome {
            Outcome::Known => state.workers[worker].units[unit] = hold,
            // The worker may ask again what a sink answered that wrote nothing.
            _ if state.sinks[unit] == before => return None,
            _ => state.left.faults -= 1,
        }
        Some(())
    }

    /// The sink's transaction: rows and progress.
    fn send(&self, state: &mut State, unit: usize, handle: Handle, log: usize) -> Hold {
        let found = self.progress(state, unit, handle.incarnation);
        let (epoch, incarnation) = (Epoch(handle.epoch.into()), Incarnation(handle.incarnation.into()));
        let next = Handle { sent: handle.sent + 1, ..handle };
        if admits(found.as_ref(), handle.sent.into(), epoch, incarnation) {
            self.deliver(state, unit, &handle, log);
            let owes_progress = self.mutant == Some(Mutant::ProgressApart);
            return Hold::Owned(Handle { owes: if owes_progress { Owes::Progress } else { Owes::Nothing }, ..next });
        }
        match not_admitted(found.as_ref(), handle.sent.into(), epoch, incarnation) {
            NotAdmitted::Delivered => Hold::Owned(next),
            NotAdmitted::Fenced => Hold::Lost(handle.epoch),
            NotAdmitted::Gap => Hold::Halted,
        }
    }

    fn deliver(&self, state: &mut State, unit: usize, handle: &Handle, log: usize) {
        let sink = &mut state.sinks[unit];
        state.broken.incarnations_mixed |=
            sink.rows[usize::from(handle.incarnation) + 1..].iter().any(|rows| rows.0 > 0);
        sink.rows[usize::from(handle.incarnation)].push(log);
        if self.mutant != Some(Mutant::ProgressApart) {
            sink.progress = Some(progress_after(handle.sent + 1, handle));
        }
    }

    /// The mutants' second halves.
    pub(crate) fn settles(&self, state: &mut State, worker: usize, unit: usize) -> Option<()> {
        let Hold::Owned(mut handle) = state.workers[worker].units[unit] else { return None };
        match handle.owes {
            Owes::Nothing => return None,
            Owes::Position(log) => {
                handle.base.next[usize::from(log)] += 1;
                self.write(state, unit, &handle, handle.base)?;
            }
            Owes::Progress => state.sinks[unit].progress = Some(progress_after(handle.sent, &handle)),
        }
        state.workers[worker].units[unit] = Hold::Owned(Handle { owes: Owes::Nothing, ..handle });
        Some(())
    }

    pub(crate) fn emits_uncommitted(&self, state: &mut State, worker: usize, unit: usize, log: usize) -> Option<()> {
        let Hold::Owned(handle) = state.workers[worker].units[unit] else { return None };
        if handle.sent != handle.base.outbox.len() {
            return None;
        }
        self.take(state, &handle, log)?;
        state.workers[worker].units[unit] = self.send(state, unit, handle, log);
        Some(())
    }
}

fn progress_after(next: u8, handle: &Handle) -> Progress {
    Progress { next, epoch: handle.epoch, incarnation: handle.incarnation }
}
