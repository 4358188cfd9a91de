//! At which epoch a job acquires its units.

use std::collections::BTreeMap;

use thalweg_core::ownership::{Owner, Stored, Superseded};
use thalweg_core::unit::{Epoch, RunId, StageId, UnitId};

use super::error::{Result, RunError};

/// Who says which epoch a unit is acquired at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The process itself, above every earlier one: `thalweg run`.
    Own,
    /// An assignment that others see too.
    Assigned(Epochs),
}

impl Ownership {
    /// The epoch at which `run` may own a unit whose state holds the marker `stored`.
    ///
    /// # Errors
    /// `Superseded` where the state was taken over at an epoch that is not below the one assigned.
    pub fn epoch(&self, unit: UnitId, stored: Option<&Stored>, run: &RunId) -> Result<Epoch> {
        let superseded = |Superseded { assigned, stored }| RunError::Superseded { unit, assigned, stored };
        self.owner(unit, run).epoch(stored).map_err(superseded)
    }

    /// `run` as the owner of a unit.
    pub fn owner(&self, unit: UnitId, run: &RunId) -> Owner {
        let assigned = match self {
            Self::Own => None,
            Self::Assigned(epochs) => Some(epochs.of(unit)),
        };
        Owner { run: run.clone(), assigned }
    }
}

/// The epochs of an assignment. A unit that it does not name (a split that was found after it was published) belongs
/// to whoever owns the others, at the greatest epoch of its stage, else of all: both grow with every change of owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(BTreeMap<UnitId, Epoch>);

impl Epochs {
    /// The epoch of a unit.
    pub fn of(&self, unit: UnitId) -> Epoch {
        let named = self.0.get(&unit).copied();
        named.or_else(|| self.greatest(Some(unit.stage))).or_else(|| self.greatest(None)).unwrap_or_default()
    }

    /// The units that are named.
    pub fn units(&self) -> impl Iterator<Item = (UnitId, Epoch)> {
        self.0.iter().map(|(unit, epoch)| (*unit, *epoch))
    }

    fn greatest(&self, stage: Option<StageId>) -> Option<Epoch> {
        let of_stage = self.0.iter().filter(|(unit, _)| stage.is_none_or(|stage| unit.stage == stage));
        of_stage.map(|(_, epoch)| *epoch).max()
    }
}

impl FromIterator<(UnitId, Epoch)> for Epochs {
    fn from_iter<T: IntoIterator<Item = (UnitId, Epoch)>>(units: T) -> Self {
        Self(units.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(stage: u32, index: u32) -> UnitId {
        UnitId { stage: StageId(stage), index }
    }

    fn epochs() -> Epochs {
        [(unit(0, 0), Epoch(3)), (unit(1, 0), Epoch(5)), (unit(1, 1), Epoch(4))].into_iter().collect()
    }

    #[test]
    fn a_unit_that_is_not_named_has_the_greatest_epoch_of_its_stage_else_of_all() {
        assert_eq!(epochs().of(unit(1, 1)), Epoch(4));
        assert_eq!(epochs().of(unit(0, 7)), Epoch(3));
        assert_eq!(epochs().of(unit(2, 0)), Epoch(5));
    }

    #[test]
    fn a_unit_that_was_taken_over_at_a_higher_epoch_is_refused_and_says_which() {
        let (run, other) = (RunId("me/1".to_owned()), RunId("other/1".to_owned()));
        let assigned = Ownership::Assigned(epochs());
        let stored = |epoch, run_id: &RunId| Stored { epoch: Epoch(epoch), run_id: run_id.clone() };
        assert_eq!(assigned.epoch(unit(0, 0), Some(&stored(2, &other)), &run).expect("below"), Epoch(3));
        assert_eq!(assigned.epoch(unit(0, 0), Some(&stored(3, &run)), &run).expect("resumed"), Epoch(3));
        for stored in [stored(3, &other), stored(9, &run)] {
            let refused = assigned.epoch(unit(0, 0), Some(&stored), &run).expect_err("refused");
            assert!(matches!(refused, RunError::Superseded { stored: at, .. } if at == stored.epoch));
        }
    }

    #[test]
    fn a_process_that_assigns_to_itself_goes_above_every_earlier_one() {
        let stored = Stored { epoch: Epoch(9), run_id: RunId("earlier".to_owned()) };
        let epoch = Ownership::Own.epoch(unit(0, 0), Some(&stored), &RunId("me".to_owned()));
        assert_eq!(epoch.expect("always"), Epoch(10));
    }
}
