//! Units of a plan: which there are, how far their owners have come, who is to own them.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_crds::assignment::{AssignmentSpec, SplitAssignment, UnitAssignment};
use thalweg_crds::ids::UnitId;
use thalweg_crds::report::{Report, WorkerState};

use crate::assignment::{MoveLimit, Progress, UnitState, follow, rebalance, unowned};
use crate::check::{Stage, StageKind};
use crate::costs::Weights;
use crate::fleet::Fleet;
use crate::observed::Observed;
use crate::splits;

/// A stateless stage's units are numbered by input and split: this many splits an input at the most, as workers count.
const SPLITS_PER_INPUT: i32 = 1 << 20;

/// A unit of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    unit: UnitId,
    /// The index of the split that it takes, among all of the assignment; `None` for a unit that takes a part of every
    /// split.
    split: Option<usize>,
}

/// Units with the splits that they take, in the order of their numbers.
pub(crate) struct Units {
    units: Vec<(UnitAssignment, Option<usize>)>,
}

impl Units {
    /// The units of some stages.
    pub fn of(stages: &[Stage], key_groups: u32, splits: &[SplitAssignment], published: &[UnitAssignment]) -> Self {
        let highest = published.iter().map(|unit| unit.epoch).max().unwrap_or_default();
        let known: BTreeMap<UnitId, &UnitAssignment> = published.iter().map(|unit| (unit.unit, unit)).collect();
        let places = stages.iter().flat_map(|stage| match stage.kind {
            StageKind::Windowed => keyed(stage, key_groups),
            StageKind::Stateless => stateless(stage, splits),
        });
        let unit = |place: Place| match known.get(&place.unit) {
            Some(published) => ((*published).clone(), place.split),
            None => (unowned(place.unit, highest), place.split),
        };
        Self { units: places.map(unit).collect() }
    }

    /// Units as they are published, where nobody knows of their stages.
    pub fn as_published(published: &[UnitAssignment]) -> Self {
        Self { units: published.iter().map(|unit| (unit.clone(), None)).collect() }
    }

    /// As they stand in an assignment.
    pub fn published(self) -> Vec<UnitAssignment> {
        self.units.into_iter().map(|(unit, _)| unit).collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// How far the owner of each has come.
    pub fn states(self, basis: &AssignmentSpec, fleet: &Fleet<'_>, observed: &Observed, weights: &Weights) -> States {
        let state = |(published, split): (UnitAssignment, Option<usize>)| {
            let progress = progress(&published, basis, fleet, observed);
            let weight = weights.get(&published.unit).copied().unwrap_or(1.0);
            (UnitState { published, progress, weight }, split)
        };
        let mut states = States { keyed: Vec::new(), following: Vec::new() };
        for (state, split) in self.units.into_iter().map(state) {
            match split {
                Some(split) => states.following.push((state, split)),
                None => states.keyed.push(state),
            }
        }
        states
    }
}

fn keyed(stage: &Stage, key_groups: u32) -> Vec<Place> {
    let groups = i32::try_from(key_groups).unwrap_or(i32::MAX);
    (0..groups).map(|index| Place { unit: UnitId { stage: stage.id, index }, split: None }).collect()
}

fn stateless(stage: &Stage, splits: &[SplitAssignment]) -> Vec<Place> {
    let inputs = (0..).zip(&stage.sources);
    let places = inputs.flat_map(|(input, source)| {
        let of_source = splits.iter().enumerate().filter(move |(_, split)| split.source == *source);
        of_source.zip(0..).map(move |((split, _), ordinal)| Place {
            unit: UnitId { stage: stage.id, index: input * SPLITS_PER_INPUT + ordinal },
            split: Some(split),
        })
    });
    places.collect()
}

/// Units and how far their owners have come.
pub(crate) struct States {
    keyed: Vec<UnitState>,
    /// With the splits whose readers they follow.
    pub following: Vec<(UnitState, usize)>,
}

impl States {
    /// Who is to own them: a unit that takes one split goes to its reader, so that its rows stay in one process; the
    /// others are spread.
    pub fn owned(
        self,
        splits: &[SplitAssignment],
        fleet: &Fleet<'_>,
        observed: &Observed,
        limit: MoveLimit,
    ) -> Vec<UnitAssignment> {
        let serving: BTreeSet<_> = fleet.serving().collect();
        let followed = self.following.iter().map(|(unit, split)| {
            let reader = splits[*split].reader.as_ref().filter(|reader| serving.contains(reader));
            follow(unit, reader, |slot| fleet.member(slot).is_some())
        });
        let mut units = rebalance(&self.keyed, &fleet.workers(observed), limit);
        units.extend(followed);
        units.sort_by_key(|unit| unit.unit);
        units
    }
}

/// How far the published owner of a unit has come.
fn progress(unit: &UnitAssignment, basis: &AssignmentSpec, fleet: &Fleet<'_>, observed: &Observed) -> Progress {
    let entry = basis.workers.iter().find(|worker| Some(&worker.slot) == unit.owner.as_ref());
    let lives = |run_id| fleet.members.iter().any(|member| member.run_id == run_id);
    match entry.filter(|worker| lives(worker.run_id.clone())) {
        None => Progress::Orphaned,
        Some(worker) => reported(unit, observed.reports.get(&worker.run_id)),
    }
}

/// How far an owner has come with a unit, by its report.
pub(crate) fn reported(published: &UnitAssignment, report: Option<&Report>) -> Progress {
    let found = report.and_then(|report| report.units.iter().find(|unit| unit.unit == published.unit));
    match found {
        Some(unit) if unit.epoch != published.epoch => Progress::Acquiring,
        Some(unit) => unit.stored_epoch.map_or(Progress::Owned, Progress::Refused),
        None => Progress::Acquiring,
    }
}

/// Whether nothing more will come of some sources, and every owner says that all input of its units was read and
/// delivered.
pub(crate) fn all_completed(
    units: &[UnitAssignment],
    sources: &BTreeSet<&str>,
    basis: &AssignmentSpec,
    observed: &Observed,
) -> bool {
    let completed = |unit: &UnitAssignment| {
        let report = unit.owner.as_ref().and_then(|owner| splits::report(basis, observed, owner));
        let is_done = report.is_some_and(|report| report.state == WorkerState::Completed);
        is_done && reported(unit, report) == Progress::Owned
    };
    sources.iter().all(|source| splits::is_complete(source, basis, observed)) && units.iter().all(completed)
}
