//! The marker in a unit's state: whether it lets an owner take the unit (`docs/design/0007-ownership-model.md`).

use serde::{Deserialize, Serialize};

use crate::unit::{Epoch, RunId};

/// The marker that an owner commits before it emits anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    /// The epoch at which it took over.
    pub epoch: Epoch,
    /// The process that took over.
    pub run_id: RunId,
}

/// What a worker does that was assigned a unit and has opened its state as the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// Commit the marker, durably, before anything is emitted; then process.
    Take,
    /// The marker of this very process stands already: process.
    Resume,
    /// Someone else took over at this epoch, which is not below the one assigned. Close, write nothing, and report it,
    /// so that the next assignment is published above it.
    ReportHigher(Epoch),
}

/// Whether `run` may own a unit at the epoch that it was assigned, by the marker found in the unit's state.
///
/// Equal epochs with another run id mean that two processes were given the same number (a control plane that was
/// restored from a backup): neither may win by opening last, or one unit would have two histories of one epoch.
pub fn acquire(stored: Option<&Stored>, assigned: Epoch, run: &RunId) -> Acquire {
    match stored {
        Some(stored) if stored.epoch > assigned => Acquire::ReportHigher(stored.epoch),
        Some(stored) if stored.epoch == assigned && stored.run_id == *run => Acquire::Resume,
        Some(stored) if stored.epoch == assigned => Acquire::ReportHigher(stored.epoch),
        Some(_) | None => Acquire::Take,
    }
}

/// The epoch of a process that assigns units to itself: above every earlier one.
pub fn self_assigned(stored: Option<&Stored>) -> Epoch {
    stored.map_or(Epoch::default(), |stored| stored.epoch).next()
}

/// A process that acquires a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub run: RunId,
    /// The epoch that it was assigned the unit at; `None` where it assigns units to itself.
    pub assigned: Option<Epoch>,
}

/// A unit was taken over at an epoch that is not below the one assigned: nothing may be written, and the next assignment
/// must be published above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// What was assigned.
    pub assigned: Epoch,
    /// What stands in the unit's state.
    pub stored: Epoch,
}

impl Owner {
    /// A process that assigns units to itself.
    pub fn own(run: RunId) -> Self {
        Self { run, assigned: None }
    }

    /// The epoch at which it may own a unit, by the marker found in the unit's state, or in the sink that is its state.
    ///
    /// # Errors
    /// Somebody else has taken over.
    pub fn epoch(&self, stored: Option<&Stored>) -> Result<Epoch, Superseded> {
        let Some(assigned) = self.assigned else { return Ok(self_assigned(stored)) };
        match acquire(stored, assigned, &self.run) {
            Acquire::Take | Acquire::Resume => Ok(assigned),
            Acquire::ReportHigher(stored) => Err(Superseded { assigned, stored }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(name: u8) -> RunId {
        RunId(format!("run-{name}"))
    }

    fn markers() -> impl Strategy<Value = Option<Stored>> {
        proptest::option::of(
            (0..4u64, 0..3u8).prop_map(|(epoch, name)| Stored { epoch: Epoch(epoch), run_id: run(name) }),
        )
    }

    proptest! {
        #[test]
        fn committed_epochs_never_fall(stored in markers(), assigned in 0..4u64, name in 0..3u8) {
            let epoch_before = stored.as_ref().map_or(0, |stored| stored.epoch.0);
            if acquire(stored.as_ref(), Epoch(assigned), &run(name)) == Acquire::Take {
                prop_assert!(assigned > epoch_before || stored.is_none());
            }
        }

        #[test]
        fn two_processes_never_hold_one_epoch(stored in markers(), assigned in 0..4u64) {
            let mut marker = stored;
            let mut holders = 0;
            for name in 0..3 {
                match acquire(marker.as_ref(), Epoch(assigned), &run(name)) {
                    Acquire::Take => {
                        holders += 1;
                        marker = Some(Stored { epoch: Epoch(assigned), run_id: run(name) });
                    }
                    Acquire::Resume => holders += 1,
                    Acquire::ReportHigher(_) => {}
                }
            }
            prop_assert!(holders <= 1);
        }

        #[test]
        fn whoever_took_a_unit_resumes_it_and_a_report_is_at_or_above_what_was_assigned(
            stored in markers(), assigned in 0..4u64, name in 0..3u8,
        ) {
            match acquire(stored.as_ref(), Epoch(assigned), &run(name)) {
                Acquire::Take => {
                    let marker = Stored { epoch: Epoch(assigned), run_id: run(name) };
                    prop_assert_eq!(acquire(Some(&marker), Epoch(assigned), &run(name)), Acquire::Resume);
                }
                Acquire::Resume => {}
                Acquire::ReportHigher(epoch) => prop_assert!(epoch >= Epoch(assigned)),
            }
        }

        #[test]
        fn an_owner_has_the_epoch_that_it_was_assigned_or_none(stored in markers(), assigned in 0..4u64, name in 0..3u8) {
            let owner = Owner { run: run(name), assigned: Some(Epoch(assigned)) };
            match owner.epoch(stored.as_ref()) {
                Ok(epoch) => prop_assert_eq!(epoch, Epoch(assigned)),
                Err(superseded) => {
                    prop_assert_eq!(superseded.assigned, Epoch(assigned));
                    prop_assert_eq!(Some(superseded.stored), stored.map(|stored| stored.epoch));
                }
            }
            let own = Owner { run: run(name), assigned: None };
            let marker = Stored { epoch: Epoch(assigned), run_id: run(0) };
            prop_assert_eq!(own.epoch(Some(&marker)), Ok(Epoch(assigned).next()));
        }

        #[test]
        fn a_process_that_assigns_to_itself_always_takes(stored in markers(), name in 0..3u8) {
            let epoch = self_assigned(stored.as_ref());
            prop_assert_eq!(acquire(stored.as_ref(), epoch, &run(name)), Acquire::Take);
        }
    }
}
