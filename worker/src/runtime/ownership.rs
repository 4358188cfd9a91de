//! At which epoch a unit is acquired.

use thalweg_core::ownership::{Acquire, Stored, acquire, self_assigned};
use thalweg_core::unit::{Epoch, RunId, UnitId};

use super::error::{Result, RunError};

/// Who says which epoch a unit is acquired at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The process itself, above every earlier one: `thalweg run`.
    Own,
    /// An assignment that others see too.
    Assigned(Epoch),
}

impl Ownership {
    /// The epoch at which `run` may own a unit whose state holds the marker `stored`.
    ///
    /// # Errors
    /// `Superseded` where the state was taken over at an epoch that is not below the one assigned.
    pub fn epoch(self, unit: UnitId, stored: Option<&Stored>, run: &RunId) -> Result<Epoch> {
        let assigned = match self {
            Self::Own => return Ok(self_assigned(stored)),
            Self::Assigned(epoch) => epoch,
        };
        match acquire(stored, assigned, run) {
            Acquire::Take | Acquire::Resume => Ok(assigned),
            Acquire::ReportHigher(stored) => Err(RunError::Superseded { unit, assigned, stored }),
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::unit::StageId;

    use super::*;

    const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };

    #[test]
    fn a_unit_that_was_taken_over_at_a_higher_epoch_is_refused_and_says_which() {
        let (run, other) = (RunId("me/1".to_owned()), RunId("other/1".to_owned()));
        let assigned = Ownership::Assigned(Epoch(3));
        let stored = |epoch, run_id: &RunId| Stored { epoch: Epoch(epoch), run_id: run_id.clone() };
        assert_eq!(assigned.epoch(UNIT, Some(&stored(2, &other)), &run).expect("below"), Epoch(3));
        assert_eq!(assigned.epoch(UNIT, Some(&stored(3, &run)), &run).expect("resumed"), Epoch(3));
        for stored in [stored(3, &other), stored(9, &run)] {
            let refused = assigned.epoch(UNIT, Some(&stored), &run).expect_err("refused");
            assert!(matches!(refused, RunError::Superseded { stored: at, .. } if at == stored.epoch));
        }
    }

    #[test]
    fn a_process_that_assigns_to_itself_goes_above_every_earlier_one() {
        let stored = Stored { epoch: Epoch(9), run_id: RunId("earlier".to_owned()) };
        let epoch = Ownership::Own.epoch(UNIT, Some(&stored), &RunId("me".to_owned()));
        assert_eq!(epoch.expect("always"), Epoch(10));
    }
}
