//! What a pipeline needs next: how many workers, and who owns what.

use std::collections::BTreeSet;

use thalweg_crds::assignment::{AssignmentSpec, Enumerator, UnitAssignment, WorkerEntry};
use thalweg_crds::ids::{RunId, Slot, UnitId};
use thalweg_crds::report::{Report, WorkerState};
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};

use crate::assignment::{MoveLimit, Progress, Role, UNITS_PER_OBJECT, UnitState, Worker, rebalance, unowned};
use crate::check::StageKind;
use crate::observed::{Observed, SlotLease};
use crate::validate::ValidatedPipeline;

/// Workers that units are spread over. A worker runs all units of its pipeline, until they exchange records.
const FLEET: i32 = 1;

/// Slots beyond the workers that are wanted: a worker of a new plan starts before an old one stops.
const SURGE: i32 = 1;

/// What is to be brought about.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where the pipeline stands.
    pub step: Step,
    /// How many workers it is to have.
    pub replicas: i32,
    /// How many slot Leases there are to be.
    pub slots: u32,
    /// Slots whose holder is gone for good: they are freed at once, where a worker that claims one would wait for the Lease
    /// to expire.
    pub freed: Vec<Slot>,
    /// What is to be published; `None` where nothing ever was and nothing can be.
    pub assignment: Option<AssignmentSpec>,
}

/// Where a pipeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No worker runs its units yet.
    Start,
    /// All units are owned by workers of the plan that is wanted.
    Run,
    /// Workers of another plan run it.
    RollOut,
    /// Units are between two owners.
    Move,
    /// It is stopped by `paused`.
    Pause,
    /// All of its input was read and delivered.
    Complete,
}

/// Plans a pipeline whose spec is right.
pub fn plan(pipeline: &ValidatedPipeline, observed: &Observed) -> Plan {
    let published = observed.assignment.clone().unwrap_or_else(|| first_assignment(pipeline));
    let wanted = &pipeline.plan.hash;
    let is_new = published.plan != *wanted && fleet(observed, wanted).serving.is_some();
    let basis = if is_new { AssignmentSpec { plan: wanted.clone(), completed: false, ..published } } else { published };
    let units = if basis.plan == *wanted { units_of(pipeline, &basis, observed) } else { basis.units.clone() };
    let next = assign(&basis, units, observed, &enumerated(pipeline));
    let replicas = replicas(pipeline, &next);
    let step = match () {
        () if pipeline.paused => Step::Pause,
        () if next.completed && next.plan == *wanted => Step::Complete,
        () if next.plan != *wanted => Step::RollOut,
        () => progress_step(&next, observed),
    };
    // Stopped workers leave their slots: they cost nothing, and nothing has to be made when they come back.
    let slots = u32::try_from(asked_for(&pipeline.scaling).clamp(1, FLEET) + SURGE).unwrap_or_default();
    Plan { step, replicas, slots, freed: freed(observed), assignment: Some(next) }
}

/// Looks after what runs while the spec has problems: workers that die are still replaced.
pub fn keep(observed: &Observed) -> Plan {
    let replicas = observed.deployment.as_ref().map_or(0, |deployment| deployment.replicas);
    let slots = u32::try_from(observed.slots.len()).unwrap_or_default();
    let Some(published) = &observed.assignment else {
        return Plan { step: Step::Start, replicas, slots, freed: freed(observed), assignment: None };
    };
    let sources: Vec<String> = published.enumerators.iter().map(|enumerator| enumerator.source.clone()).collect();
    let next = assign(published, published.units.clone(), observed, &sources);
    let step = if next.completed { Step::Complete } else { progress_step(&next, observed) };
    Plan { step, replicas, slots, freed: freed(observed), assignment: Some(next) }
}

fn first_assignment(pipeline: &ValidatedPipeline) -> AssignmentSpec {
    AssignmentSpec {
        pipeline: pipeline.names.pipeline().to_owned(),
        plan: pipeline.plan.hash.clone(),
        key_groups: i32::try_from(pipeline.key_groups).ok(),
        ..AssignmentSpec::default()
    }
}

/// Slots that are held by a pod that is gone.
fn freed(observed: &Observed) -> Vec<Slot> {
    let is_gone = |slot: &&SlotLease| slot.holder.as_ref().is_some_and(|holder| observed.pod(holder).is_none());
    observed.slots.iter().filter(is_gone).map(|slot| slot.slot.clone()).collect()
}

/// How many workers there are to be.
fn replicas(pipeline: &ValidatedPipeline, next: &AssignmentSpec) -> i32 {
    let completed = next.completed && next.plan == pipeline.plan.hash;
    if pipeline.paused || completed { 0 } else { asked_for(&pipeline.scaling).min(FLEET) }
}

/// How many workers the spec asks for, as long as nothing is measured.
pub fn asked_for(scaling: &ScalingSpec) -> i32 {
    match (scaling.mode, scaling.workers) {
        (ScalingMode::Manual, Some(workers)) => workers.max(0),
        _ => scaling.min_workers.max(1),
    }
}

/// Sources that somebody has to list the splits of.
fn enumerated(pipeline: &ValidatedPipeline) -> Vec<String> {
    let sources: BTreeSet<&String> = pipeline.stages.iter().flat_map(|stage| &stage.sources).collect();
    sources.into_iter().cloned().collect()
}

/// Workers that live, and the one that is given units.
struct Fleet<'a> {
    live: Vec<(&'a SlotLease, RunId)>,
    serving: Option<Slot>,
}

/// Who lives, and who of them serves a plan: the one that has most units already, else the first.
fn fleet<'a>(observed: &'a Observed, plan: &str) -> Fleet<'a> {
    let live: Vec<_> = observed.slots.iter().filter_map(|slot| Some((slot, observed.live(slot)?))).collect();
    let stays = |run_id: &RunId| observed.pod(run_id).is_some_and(|pod| !pod.terminating);
    let owned = |slot: &SlotLease, run_id: &RunId| {
        let Some(published) = &observed.assignment else { return 0 };
        let known = published.workers.iter().any(|worker| worker.slot == slot.slot && worker.run_id == *run_id);
        published.units.iter().filter(|unit| known && unit.owner.as_ref() == Some(&slot.slot)).count()
    };
    let able = live.iter().filter(|(slot, run_id)| slot.plan == plan && stays(run_id));
    let serving = able.rev().max_by_key(|(slot, run_id)| owned(slot, run_id));
    Fleet { serving: serving.map(|(slot, _)| slot.slot.clone()), live }
}

/// The units of a plan: those of its stages, and those that workers found while listing splits.
fn units_of(pipeline: &ValidatedPipeline, basis: &AssignmentSpec, observed: &Observed) -> Vec<UnitAssignment> {
    let highest = basis.units.iter().map(|unit| unit.epoch).max().unwrap_or_default();
    let known = |unit: UnitId| basis.units.iter().find(|published| published.unit == unit).cloned();
    let mut units = Vec::new();
    for stage in &pipeline.stages {
        let count = match stage.kind {
            StageKind::Windowed => i32::try_from(pipeline.key_groups).unwrap_or(i32::MAX),
            StageKind::Stateless => 1,
        };
        let of_stage = (0..count).map(|index| UnitId { stage: stage.id, index });
        units.extend(of_stage.map(|unit| known(unit).unwrap_or_else(|| unowned(unit, highest))));
    }
    let is_split = |unit: &UnitAssignment| {
        let stage = pipeline.stages.iter().find(|stage| stage.id == unit.unit.stage);
        stage.is_some_and(|stage| stage.kind == StageKind::Stateless) && unit.unit.index > 0
    };
    units.extend(basis.units.iter().filter(|unit| is_split(unit)).cloned());
    let found = found_units(basis, observed);
    let mut seen: BTreeSet<UnitId> = units.iter().map(|unit| unit.unit).collect();
    units.extend(found.filter(|unit| is_split(unit) && seen.insert(unit.unit)));
    units.truncate(UNITS_PER_OBJECT);
    units
}

/// Units that the published workers run.
fn found_units<'a>(basis: &'a AssignmentSpec, observed: &'a Observed) -> impl Iterator<Item = UnitAssignment> + 'a {
    let reports = basis.workers.iter().filter_map(|worker| Some((worker, observed.reports.get(&worker.run_id)?)));
    let current = reports.filter(|(_, report)| report.plan == basis.plan);
    current.flat_map(|(worker, report)| {
        let owned = report.units.iter().filter(|unit| unit.stored_epoch.is_none());
        owned.map(|unit| UnitAssignment {
            unit: unit.unit,
            owner: Some(worker.slot.clone()),
            epoch: unit.epoch,
            previous: None,
        })
    })
}

/// What is to be published for some units, by who lives.
fn assign(
    basis: &AssignmentSpec,
    units: Vec<UnitAssignment>,
    observed: &Observed,
    sources: &[String],
) -> AssignmentSpec {
    let fleet = fleet(observed, &basis.plan);
    if fleet.live.is_empty() {
        return AssignmentSpec { units, ..basis.clone() };
    }
    let workers: Vec<Worker> = fleet.live.iter().map(|(slot, run_id)| worker(slot, run_id, &fleet, observed)).collect();
    let states: Vec<UnitState> = units.into_iter().map(|unit| unit_state(unit, basis, &fleet, observed)).collect();
    let units = rebalance(&states, &workers, MoveLimit(usize::MAX));
    let entry = |(slot, run_id): &(&SlotLease, RunId)| WorkerEntry {
        slot: slot.slot.clone(),
        run_id: run_id.clone(),
        address: slot.address.clone(),
        key_fingerprint: slot.key_fingerprint.clone(),
    };
    let enumerators = match &fleet.serving {
        Some(slot) => sources.iter().map(|source| Enumerator { source: source.clone(), slot: slot.clone() }).collect(),
        None => basis.enumerators.clone(),
    };
    let completed = basis.completed || all_completed(&units, basis, observed);
    let workers = fleet.live.iter().map(entry).collect();
    AssignmentSpec { units, workers, enumerators, completed, ..basis.clone() }
}

fn worker(slot: &SlotLease, run_id: &RunId, fleet: &Fleet<'_>, observed: &Observed) -> Worker {
    let serves = fleet.serving.as_ref() == Some(&slot.slot);
    Worker {
        slot: slot.slot.clone(),
        node: observed.pod(run_id).and_then(|pod| pod.node.clone()),
        role: if serves { Role::Serving } else { Role::Leaving },
    }
}

fn unit_state(published: UnitAssignment, basis: &AssignmentSpec, fleet: &Fleet<'_>, observed: &Observed) -> UnitState {
    let progress = match living_owner(&published, basis, fleet) {
        None => Progress::Orphaned,
        Some(run_id) => reported(&published, observed.reports.get(&run_id)),
    };
    UnitState { published, progress, weight: 1.0 }
}

/// The life of the slot that a unit was given to, if it still lives.
fn living_owner(unit: &UnitAssignment, basis: &AssignmentSpec, fleet: &Fleet<'_>) -> Option<RunId> {
    let owner = unit.owner.as_ref()?;
    let entry = basis.workers.iter().find(|worker| worker.slot == *owner)?;
    let (_, run_id) = fleet.live.iter().find(|(slot, _)| slot.slot == *owner)?;
    (entry.run_id == *run_id).then(|| run_id.clone())
}

/// How far an owner has come with a unit, by its report.
fn reported(published: &UnitAssignment, report: Option<&Report>) -> Progress {
    let found = report.and_then(|report| report.units.iter().find(|unit| unit.unit == published.unit));
    match found {
        Some(unit) if unit.epoch != published.epoch => Progress::Acquiring,
        Some(unit) => unit.stored_epoch.map_or(Progress::Owned, Progress::Refused),
        None => Progress::Acquiring,
    }
}

/// Whether every owner says that all input of its units was read and delivered.
fn all_completed(units: &[UnitAssignment], basis: &AssignmentSpec, observed: &Observed) -> bool {
    let completed = |unit: &UnitAssignment| {
        let entry = basis.workers.iter().find(|worker| Some(&worker.slot) == unit.owner.as_ref());
        let report = entry.and_then(|worker| observed.reports.get(&worker.run_id));
        report.is_some_and(|report| report.state == WorkerState::Completed && report.plan == basis.plan)
    };
    !units.is_empty() && units.iter().all(completed)
}

/// How many units a worker has acquired at their published epochs, and how many are between two owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// All units.
    pub total: usize,
    /// Acquired.
    pub owned: usize,
    /// Between two owners.
    pub moving: usize,
}

/// Counts units of an assignment.
pub fn held(assignment: &AssignmentSpec, observed: &Observed) -> Held {
    let fleet = fleet(observed, &assignment.plan);
    let is_owned = |unit: &&UnitAssignment| {
        let owner = living_owner(unit, assignment, &fleet);
        owner.is_some_and(|run_id| reported(unit, observed.reports.get(&run_id)) == Progress::Owned)
    };
    let is_moving = |unit: &&UnitAssignment| unit.previous.is_some() && !is_owned(unit);
    Held {
        total: assignment.units.len(),
        owned: assignment.units.iter().filter(is_owned).count(),
        moving: assignment.units.iter().filter(is_moving).count(),
    }
}

/// Changes of owner between two assignments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Those that a live owner answers.
    pub handoffs: u64,
    /// Those of which nobody is asked.
    pub takeovers: u64,
}

/// Counts changes of owner. Units that had none do not move.
pub fn moves(before: &AssignmentSpec, after: &AssignmentSpec) -> Moves {
    let old = |unit: UnitId| before.units.iter().find(|old| old.unit == unit);
    let moved = after
        .units
        .iter()
        .filter(|unit| old(unit.unit).is_some_and(|old| old.owner.is_some() && old.epoch < unit.epoch));
    let mut moves = Moves::default();
    moved.for_each(|unit| match unit.previous {
        Some(_) => moves.handoffs += 1,
        None => moves.takeovers += 1,
    });
    moves
}

fn progress_step(next: &AssignmentSpec, observed: &Observed) -> Step {
    match held(next, observed) {
        Held { total, owned, .. } if total > 0 && owned == total => Step::Run,
        Held { moving, .. } if moving > 0 => Step::Move,
        _ => Step::Start,
    }
}
