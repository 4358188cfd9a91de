//! What a pipeline needs next: how many workers, and who owns and reads what.

use std::collections::BTreeSet;

use thalweg_crds::assignment::{AssignmentSpec, SplitAssignment, SplitPosition, WorkerEntry};
use thalweg_crds::ids::Slot;
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};

use crate::assignment::{MoveLimit, Role, UNITS_PER_OBJECT};
use crate::check::Stage;
use crate::costs::Weights;
use crate::fleet::{Fleet, has_surged};
use crate::held::{Held, held};
use crate::lost;
use crate::observed::{Observed, Readiness, SlotLease};
use crate::restart;
use crate::scaling::{Places, Scaling, is_awaited, may_stop};
use crate::splits;
use crate::statements::{Given, published as numbers};
use crate::units::{States, Units, all_completed};
use crate::validate::ValidatedPipeline;

/// Units that move at once only to level loads: each stands still while it does.
const MOVES_AT_ONCE: usize = 16;

/// What is wanted of a pipeline, by what its spec says.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The hash of the plan that its workers are to run.
    pub plan: &'a str,
    /// The stages of that plan.
    pub stages: &'a [Stage],
    /// What is to be known of their numbers; `None` where what is published stands.
    pub given: Option<&'a Given>,
    /// Into how many units each keyed stage is divided.
    pub key_groups: u32,
    /// How often it was started from scratch until that plan.
    pub restarts: u64,
    /// How many workers there are to be.
    pub workers: usize,
    /// Who is to read which split, where loads are weighed elsewhere; those that are not named stay where they are.
    pub places: Option<&'a Places>,
    /// What units count where they are spread.
    pub weights: &'a Weights,
    /// Whether its sources are watched while it has no worker.
    pub is_watched: bool,
    /// Whether it is to run.
    pub mode: Mode,
}

/// Whether a pipeline is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Run,
    /// It is to stop and keep everything.
    Pause,
}

/// What is to be brought about.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where the pipeline stands.
    pub step: Step,
    /// How many workers are wanted of it.
    pub workers: i32,
    /// How many pods it is to have: others may be in the place of lost ones, or hand over before they leave.
    pub replicas: i32,
    /// How many lookouts it is to have; `None` where it never needs one.
    pub lookouts: Option<i32>,
    /// How many slot Leases there are to be.
    pub slots: u32,
    /// Slots whose holder is gone for good: they are freed at once, where a worker that claims one would wait for the Lease
    /// to expire.
    pub freed: Vec<Slot>,
    /// What is to be published; `None` where nothing ever was and nothing can be.
    pub assignment: Option<AssignmentSpec>,
    /// Units that no assignment has room for.
    pub left_out: usize,
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
    /// No worker is asked for.
    Idle,
    /// All of its input was read and delivered.
    Complete,
}

/// Plans a pipeline whose spec is right, with as many workers as it asks for.
pub fn plan(pipeline: &ValidatedPipeline, observed: &Observed) -> Plan {
    plan_scaled(pipeline, observed, &Scaling { workers: asked_for(&pipeline.scaling), ..Scaling::default() })
}

/// Plans a pipeline whose spec is right, with as many workers as were decided on.
pub fn plan_scaled(pipeline: &ValidatedPipeline, observed: &Observed, scaling: &Scaling) -> Plan {
    next(
        &Wanted {
            pipeline: pipeline.names.pipeline(),
            plan: &pipeline.plan.hash,
            stages: &pipeline.stages,
            given: Some(&pipeline.given),
            key_groups: pipeline.key_groups,
            restarts: pipeline.restarts,
            workers: scaling.workers,
            places: scaling.places.as_ref(),
            weights: &scaling.weights,
            is_watched: may_stop(&pipeline.scaling),
            mode: if pipeline.paused { Mode::Pause } else { Mode::Run },
        },
        observed,
    )
}

/// Plans what is wanted, by nothing but what was observed.
pub fn next(wanted: &Wanted<'_>, observed: &Observed) -> Plan {
    let published = observed.assignment.clone().unwrap_or_else(|| first_assignment(wanted));
    let may_switch = has_surged(observed, wanted.plan) || is_asleep(wanted, observed);
    let switches = published.plan != wanted.plan && may_switch;
    let basis = match switches {
        true => under_another_plan(published, wanted),
        false => with_numbers(published, wanted),
    };
    let runs_wanted = basis.plan == wanted.plan;
    let stages = if runs_wanted { wanted.stages } else { &observed.stages };
    let stops = wanted.mode == Mode::Pause || (runs_wanted && basis.completed);
    let table = Table {
        basis: &basis,
        stages,
        key_groups: wanted.key_groups,
        places: wanted.places,
        weights: wanted.weights,
        observed,
    };
    let (mut next, useful, left_out) = table.next(if stops { 0 } else { wanted.workers });
    // Before there is any unit: whoever has listed splits has opened what keeps progress, and says both at once.
    next.progress = basis.progress.clone().or_else(|| progress(&basis, observed));
    let watches = wanted.is_watched && wanted.workers == 0 && !stops && !next.completed;
    next.positions = if watches { positions(&basis, observed) } else { Vec::new() };
    let has_lookout = wanted.is_watched || observed.lookout.deployment.is_some();
    let stops = stops || (runs_wanted && next.completed);
    let step = match () {
        () if wanted.mode == Mode::Pause => Step::Pause,
        () if stops => Step::Complete,
        () if wanted.workers == 0 => Step::Idle,
        () if !runs_wanted => Step::RollOut,
        () => progress_step(&next, observed),
    };
    // Whoever watches over what sleeps has to know first how far it was read, and workers are those who say so.
    let is_noted = !wanted.is_watched || !basis.positions.is_empty();
    if step == Step::Pause || (step == Step::Idle && is_noted && observed.deployment.is_some()) {
        // Nobody will ask for what they have: each commits and closes it once it hears that it is named no more.
        next.workers.clear();
    }
    let replaced = lost::replaced(observed, useful);
    let replicas = if stops || wanted.workers == 0 { 0 } else { replicas(useful, replaced, &next, observed) };
    // Slots are never taken away: who is stopped leaves one, and it costs nothing until somebody comes back. All workers may be told
    // to end at once, and hold their slots until whoever replaces them asks: each of those needs one to be told of.
    let slots = (2 * wanted.workers.max(1) + replaced).max(observed.slot_count());
    let lookouts = has_lookout.then_some(i32::from(watches));
    let (workers, slots) = (i32::try_from(wanted.workers).unwrap_or(i32::MAX), narrow(slots));
    Plan { step, workers, replicas, lookouts, slots, freed: freed(observed), assignment: Some(next), left_out }
}

/// The topic that workers of the plan which is published keep all in, if they do and have said so.
fn progress(basis: &AssignmentSpec, observed: &Observed) -> Option<String> {
    let mut reports = basis.workers.iter().filter_map(|worker| splits::report(basis, observed, &worker.slot));
    reports.find_map(|report| report.progress.clone())
}

/// How far each split was read when the workers were stopped, which was once nothing was left to read.
fn positions(basis: &AssignmentSpec, observed: &Observed) -> Vec<SplitPosition> {
    if !basis.positions.is_empty() {
        return basis.positions.clone();
    }
    let position = |split: &SplitAssignment| {
        let report = split.reader.as_ref().and_then(|reader| splits::report(basis, observed, reader))?;
        let found = report.splits.iter().find(|it| it.source == split.source && it.split == split.split)?;
        let all = found.end.clone().filter(|_| found.lag_records == Some(0));
        let position = all.or_else(|| found.accepted.clone())?;
        Some(SplitPosition { source: split.source.clone(), split: split.split.clone(), position })
    };
    basis.splits.iter().filter_map(position).collect()
}

/// Looks after what runs while the spec has problems: workers that die are still replaced, and new splits are read. What sleeps
/// is still watched for, and one worker is woken by what comes.
pub fn keep(observed: &Observed) -> Plan {
    let deployment = observed.deployment.as_ref();
    let replicas = deployment.map_or(0, |deployment| deployment.replicas);
    let workers = deployment.and_then(|deployment| deployment.wanted).unwrap_or(replicas);
    let Some(published) = &observed.assignment else {
        let slots = narrow(observed.slot_count());
        let (step, freed) = (Step::Start, freed(observed));
        return Plan { step, workers, replicas, lookouts: None, slots, freed, assignment: None, left_out: 0 };
    };
    let is_watched = observed.lookout.deployment.as_ref().is_some_and(|lookout| lookout.replicas > 0);
    let is_woken = is_watched && workers == 0 && is_awaited(published, observed);
    let (workers, replicas) = if is_woken { (1, 1) } else { (workers, replicas) };
    let key_groups = published.key_groups.and_then(|groups| u32::try_from(groups).ok()).unwrap_or(1);
    let wanted = Wanted {
        pipeline: &published.pipeline,
        plan: &published.plan,
        stages: &observed.stages,
        given: None,
        key_groups,
        restarts: restart::counted(published),
        workers: usize::try_from(workers).unwrap_or_default(),
        places: None,
        weights: &Weights::new(),
        is_watched,
        mode: Mode::Run,
    };
    Plan { replicas, slots: narrow(observed.slot_count()), ..next(&wanted, observed) }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether nobody works and nobody is to: no worker will come that could show that it has surged, and the lookout of one plan
/// says nothing about splits under another one.
fn is_asleep(wanted: &Wanted<'_>, observed: &Observed) -> bool {
    wanted.workers == 0 && observed.slots.iter().all(|slot| observed.live(slot).is_none())
}

/// What is published, under the plan that is wanted. A start from scratch knows of no split, since another topic has others, and
/// of no progress topic: where it was deleted, another one is made. What nobody has begun yet has read nothing: positions are those of
/// all statements.
fn under_another_plan(published: AssignmentSpec, wanted: &Wanted<'_>) -> AssignmentSpec {
    let is_begun = |stage: &Stage| published.units.iter().any(|unit| unit.unit.stage == stage.id);
    let positions = if wanted.stages.iter().all(is_begun) { published.positions.clone() } else { Vec::new() };
    let numbers = wanted.given.map(|given| numbers(wanted.stages, given));
    let next = AssignmentSpec { plan: wanted.plan.to_owned(), completed: false, positions, numbers, ..published };
    if restart::counted(&next) == wanted.restarts {
        return next;
    }
    let incarnations = restart::count(wanted.stages, wanted.restarts);
    AssignmentSpec { splits: Vec::new(), positions: Vec::new(), progress: None, incarnations, ..next }
}

/// What is published, with the numbers that its plan has: an earlier version published none.
fn with_numbers(published: AssignmentSpec, wanted: &Wanted<'_>) -> AssignmentSpec {
    let given = wanted.given.filter(|_| published.plan == wanted.plan);
    let numbers = published.numbers.clone().or_else(|| Some(numbers(wanted.stages, given?)));
    AssignmentSpec { numbers, ..published }
}

fn first_assignment(wanted: &Wanted<'_>) -> AssignmentSpec {
    AssignmentSpec {
        pipeline: wanted.pipeline.to_owned(),
        plan: wanted.plan.to_owned(),
        key_groups: i32::try_from(wanted.key_groups).ok(),
        incarnations: restart::count(wanted.stages, wanted.restarts),
        numbers: wanted.given.map(|given| numbers(wanted.stages, given)),
        ..AssignmentSpec::default()
    }
}

/// Slots that are held by a pod that is gone.
fn freed(observed: &Observed) -> Vec<Slot> {
    let is_gone = |slot: &&SlotLease| slot.holder.as_ref().is_some_and(|holder| observed.pod(holder).is_none());
    observed.slots.iter().filter(is_gone).map(|slot| slot.slot.clone()).collect()
}

/// How many workers the spec asks for, as long as nothing is measured.
pub fn asked_for(scaling: &ScalingSpec) -> usize {
    let asked = match (scaling.mode, scaling.workers) {
        (ScalingMode::Manual, Some(workers)) => workers,
        _ => scaling.min_workers.max(1),
    };
    usize::try_from(asked).unwrap_or_default()
}

/// How many workers the Deployment is to have, `replaced` of them beside pods that seem lost. Whoever stops hands over first: a
/// ReplicaSet removes those that are not ready before those that are, and a worker without units is not.
fn replicas(useful: usize, replaced: usize, next: &AssignmentSpec, observed: &Observed) -> i32 {
    let is_named = |slot: &Slot| {
        let mut units = next.units.iter().flat_map(|unit| unit.owner.iter().chain(&unit.previous));
        units.any(|named| named == slot)
    };
    let fleet = Fleet::of(observed, &next.plan, useful);
    let hands_over = fleet.members.iter().filter(|member| {
        let pod = observed.pod(&member.run_id).filter(|pod| !pod.terminating);
        let holds = |ready| ready == Readiness::Ready || is_named(&member.lease.slot);
        member.role == Role::Leaving && pod.is_some_and(|pod| holds(pod.ready))
    });
    let needed = i32::try_from(useful + replaced).unwrap_or(i32::MAX);
    let leaving = i32::try_from(hands_over.count()).unwrap_or(i32::MAX);
    let current = observed.deployment.as_ref().map_or(0, |deployment| deployment.replicas);
    needed.max(current.min(needed.saturating_add(leaving)))
}

/// What is published, and all that the next one depends on.
struct Table<'a> {
    basis: &'a AssignmentSpec,
    /// The stages of its plan; none where they are not known.
    stages: &'a [Stage],
    key_groups: u32,
    places: Option<&'a Places>,
    weights: &'a Weights,
    observed: &'a Observed,
}

impl Table<'_> {
    /// What is to be published with so many workers, how many of them have something to do, and how many units there is no
    /// room for.
    fn next(&self, workers: usize) -> (AssignmentSpec, usize, usize) {
        let (basis, observed) = (self.basis, self.observed);
        let sources = self.sources();
        let splits = splits::known(basis, &sources, observed);
        let units = match self.stages {
            [] => Units::as_published(&basis.units),
            stages => Units::of(stages, self.key_groups, &splits, &basis.units),
        };
        let left_out = units.len().saturating_sub(UNITS_PER_OBJECT);
        let is_listed = |source: &&str| splits::is_listed(source, &splits, basis, observed);
        let useful = if sources.iter().all(is_listed) { workers.min(units.len().max(1)) } else { workers };
        let fleet = Fleet::of(observed, &basis.plan, useful);
        let next = match fleet.members.is_empty() {
            true => AssignmentSpec { units: units.published(), splits, ..basis.clone() },
            false => self.assigned(units.states(basis, &fleet, observed, self.weights), splits, &sources, &fleet),
        };
        (next, useful, left_out)
    }

    /// Sources that somebody has to list the splits of.
    fn sources(&self) -> BTreeSet<&str> {
        match self.stages {
            [] => self.basis.enumerators.iter().map(|enumerator| enumerator.source.as_str()).collect(),
            stages => stages.iter().flat_map(|stage| &stage.sources).map(String::as_str).collect(),
        }
    }

    fn assigned(
        &self,
        states: States,
        splits: Vec<SplitAssignment>,
        sources: &BTreeSet<&str>,
        fleet: &Fleet<'_>,
    ) -> AssignmentSpec {
        let (basis, observed) = (self.basis, self.observed);
        let limit = self.limit(fleet);
        let splits = splits::read(splits, &states.following, fleet, observed, limit, self.places);
        let mut units = states.owned(&splits, fleet, observed, limit);
        units.truncate(UNITS_PER_OBJECT);
        let entry = |member: &crate::fleet::Member<'_>| WorkerEntry {
            slot: member.lease.slot.clone(),
            run_id: member.run_id.clone(),
            address: member.lease.address.clone(),
            key_fingerprint: member.lease.key_fingerprint.clone(),
        };
        AssignmentSpec {
            completed: basis.completed || all_completed(&units, sources, basis, observed),
            workers: fleet.members.iter().map(entry).collect(),
            enumerators: splits::enumerators(sources, basis, fleet),
            splits,
            units,
            ..basis.clone()
        }
    }

    /// Whoever ends, or runs another plan, closes its units whether they are moved or not.
    fn limit(&self, fleet: &Fleet<'_>) -> MoveLimit {
        let ends = |member: &crate::fleet::Member<'_>| {
            let terminating = self.observed.pod(&member.run_id).is_none_or(|pod| pod.terminating);
            terminating || member.lease.plan != self.basis.plan
        };
        MoveLimit(if fleet.members.iter().any(ends) { usize::MAX } else { MOVES_AT_ONCE })
    }
}

fn progress_step(next: &AssignmentSpec, observed: &Observed) -> Step {
    match held(next, observed) {
        held if held.is_all() => Step::Run,
        Held { moving, .. } if moving > 0 => Step::Move,
        _ => Step::Start,
    }
}
