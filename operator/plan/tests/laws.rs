//! Laws of what is published, over random histories: workers join, die, fall silent and are told to end, are late to obey,
//! find splits, and find higher epochs in the state of units.

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::{join, keyed, obey_with, stateless, with_workers};
use proptest::prelude::*;
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::{Epoch, RunId, Slot, UnitId};
use thalweg_operator_plan::check::Stage;
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::plan;
use thalweg_operator_plan::validate::ValidatedPipeline;

/// What may happen between two looks.
#[derive(Clone, Debug)]
enum Event {
    Join(usize),
    Die(usize),
    Silent(usize),
    Terminate(usize),
    Find(usize),
    /// A unit's state holds a higher epoch.
    Refuse(usize, i64),
    /// One worker is late to see what was published.
    Late(usize),
    Ask(i32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..5usize).prop_map(Event::Join),
        3 => (0..5usize).prop_map(Event::Die),
        1 => (0..5usize).prop_map(Event::Silent),
        2 => (0..5usize).prop_map(Event::Terminate),
        3 => (1..12usize).prop_map(Event::Find),
        1 => (0..20usize, 0..60i64).prop_map(|(unit, epoch)| Event::Refuse(unit, epoch)),
        3 => (0..5usize).prop_map(Event::Late),
        1 => (1..5i32).prop_map(Event::Ask),
    ]
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    prop_oneof![
        Just(keyed()),
        Just(stateless(&["trips"])),
        Just(stateless(&["trips", "zones", "trips"])),
        Just(
            [stateless(&["trips"]), keyed().into_iter().map(|stage| Stage { id: 1, statement: 1, ..stage }).collect()]
                .concat()
        ),
    ]
}

struct World {
    pipeline: ValidatedPipeline,
    observed: Observed,
    splits: usize,
    lives: usize,
}

impl World {
    fn new(stages: &[Stage]) -> Self {
        Self { pipeline: with_workers(stages, 3), observed: Observed::default(), splits: 0, lives: 0 }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Join(slot) => {
                let is_free = self.observed.slots.get(slot).is_none_or(|slot| slot.holder.is_none());
                if is_free {
                    self.lives += 1;
                    join(&mut self.observed, slot, &format!("life-{}", self.lives), &self.pipeline.plan.hash);
                }
            }
            Event::Die(slot) => {
                let Some(holder) = self.observed.slots.get_mut(slot).and_then(|slot| slot.holder.take()) else {
                    return;
                };
                self.observed.pods.retain(|pod| !holder.0.starts_with(&format!("{}/", pod.uid)));
            }
            Event::Silent(slot) => {
                let slot = self.observed.slots.get_mut(slot);
                slot.into_iter().for_each(|slot| slot.silent_for = Duration::from_secs(20));
            }
            Event::Terminate(slot) => {
                let holder = self.observed.slots.get(slot).and_then(|slot| slot.holder.clone());
                let pods = self.observed.pods.iter_mut();
                pods.filter(|pod| holder.as_ref().is_some_and(|holder| holder.0.starts_with(&format!("{}/", pod.uid))))
                    .for_each(|pod| pod.terminating = true);
            }
            Event::Find(splits) => self.splits = self.splits.max(splits),
            Event::Refuse(unit, epoch) => {
                let units = self.observed.reports.values_mut().flat_map(|report| &mut report.units);
                units.skip(unit).take(1).for_each(|unit| unit.stored_epoch = Some(Epoch(epoch)));
            }
            Event::Late(_) => {}
            Event::Ask(workers) => self.pipeline.scaling.workers = Some(workers),
        }
    }

    /// One look; what it publishes is obeyed by all but one.
    fn look(&mut self, late: Option<usize>) -> AssignmentSpec {
        let next = plan(&self.pipeline, &self.observed);
        let before = self.observed.reports.clone();
        obey_with(&mut self.observed, &next, self.splits);
        let holder = late.and_then(|slot| self.observed.slots.get(slot)?.holder.clone());
        if let Some((run_id, report)) = holder.and_then(|holder| before.get_key_value(&holder)) {
            self.observed.reports.insert(run_id.clone(), report.clone());
        }
        next.assignment.expect("an assignment")
    }

    fn serving(&self) -> BTreeSet<Slot> {
        let stays = |slot: &&thalweg_operator_plan::observed::SlotLease| {
            let live = self.observed.live(slot);
            live.is_some_and(|run_id| self.observed.pod(&run_id).is_some_and(|pod| !pod.terminating))
        };
        self.observed.slots.iter().filter(stays).map(|slot| slot.slot.clone()).collect()
    }
}

/// Which life each unit was given to.
fn owners(spec: &AssignmentSpec) -> BTreeMap<UnitId, (Option<RunId>, Epoch)> {
    let life =
        |slot: &Slot| spec.workers.iter().find(|worker| worker.slot == *slot).map(|worker| worker.run_id.clone());
    let owner = |unit: &thalweg_crds::assignment::UnitAssignment| unit.owner.as_ref().and_then(life);
    spec.units.iter().map(|unit| (unit.unit, (owner(unit), unit.epoch))).collect()
}

fn expected_units(stages: &[Stage], spec: &AssignmentSpec) -> Vec<UnitId> {
    let splits = |source: &String| spec.splits.iter().filter(|split| split.source == *source).count() as i32;
    let mut units = Vec::new();
    for stage in stages {
        match stage.kind {
            thalweg_operator_plan::check::StageKind::Windowed => {
                units.extend((0..8).map(|index| UnitId { stage: stage.id, index }));
            }
            thalweg_operator_plan::check::StageKind::Stateless => {
                for (input, source) in (0..).zip(&stage.sources) {
                    units.extend(
                        (0..splits(source)).map(|split| UnitId { stage: stage.id, index: (input << 20) + split }),
                    );
                }
            }
        }
    }
    units
}

fn check_step(world: &World, before: &AssignmentSpec, after: &AssignmentSpec) -> Result<(), TestCaseError> {
    let units: Vec<UnitId> = after.units.iter().map(|unit| unit.unit).collect();
    prop_assert_eq!(units, expected_units(&world.pipeline.stages, after), "complete, each once, in order");
    prop_assert_eq!(
        &after.splits.iter().map(|s| (&s.source, &s.split)).collect::<Vec<_>>()[..before.splits.len()],
        &before.splits.iter().map(|s| (&s.source, &s.split)).collect::<Vec<_>>()[..],
        "splits keep their places"
    );
    let (old, new) = (owners(before), owners(after));
    for (unit, (owner, epoch)) in &new {
        let Some((old_owner, old_epoch)) = old.get(unit) else { continue };
        prop_assert!(epoch >= old_epoch, "epochs only grow: {unit}");
        prop_assert!(epoch > old_epoch || owner == old_owner || owner.is_none(), "another life at one epoch: {unit}");
    }
    Ok(())
}

/// Readers are alive as soon as anybody is, and one that stays in service keeps its splits unless loads differ.
fn check_readers(world: &World, before: &AssignmentSpec, after: &AssignmentSpec) -> Result<(), TestCaseError> {
    let live: BTreeSet<Slot> = world
        .observed
        .slots
        .iter()
        .filter(|slot| world.observed.live(slot).is_some())
        .map(|slot| slot.slot.clone())
        .collect();
    let serving = world.serving();
    if !serving.is_empty() {
        prop_assert!(
            after.splits.iter().all(|split| split.reader.as_ref().is_some_and(|reader| live.contains(reader)))
        );
    }
    let mut loads: BTreeMap<&Slot, usize> = serving.iter().map(|slot| (slot, 0)).collect();
    before.splits.iter().filter_map(|split| split.reader.as_ref()).for_each(|reader| {
        loads.entry(reader).and_modify(|load| *load += 1);
    });
    let everybody_stays = before.splits.iter().all(|split| split.reader.as_ref().is_some_and(|r| serving.contains(r)));
    let mean = loads.values().sum::<usize>() as f64 / loads.len().max(1) as f64;
    let is_level = loads.values().all(|load| (*load as f64 - mean).abs() <= mean * 0.1);
    let is_surplus = serving.len() > world.pipeline.scaling.workers.unwrap_or(1) as usize;
    if everybody_stays && is_level && !is_surplus && before.splits.len() == after.splits.len() {
        prop_assert_eq!(&before.splits, &after.splits, "nobody left, and loads are level");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_assignments_are_complete_and_epochs_only_grow_and_once_it_ends_all_is_owned_and_read(
        stages in stages(), events in proptest::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(&stages);
        for event in &events {
            world.happen(event);
            let refused: Vec<(UnitId, Epoch)> = world.observed.reports.values().flat_map(|report| &report.units)
                .filter_map(|unit| Some((unit.unit, unit.stored_epoch?))).collect();
            let before = world.observed.assignment.clone().unwrap_or_default();
            let late = match event { Event::Late(slot) => Some(*slot), _ => None };
            let state = World { pipeline: world.pipeline.clone(), observed: world.observed.clone(), ..World::new(&stages) };
            let after = world.look(late);
            check_step(&state, &before, &after)?;
            check_readers(&state, &before, &after)?;
            for (unit, stored) in refused {
                let published = before.units.iter().find(|published| published.unit == unit).expect("it was published");
                let reported = state.observed.reports.values().flat_map(|report| &report.units)
                    .any(|report| report.unit == unit && report.epoch == published.epoch && report.stored_epoch.is_some());
                let owner = owners(&before)[&unit].0.clone();
                let lives = owner.is_some_and(|owner| state.observed.reports.get(&owner).is_some_and(|report|
                    report.units.iter().any(|report| report.unit == unit)) && state.observed.slots.iter().any(|slot|
                    state.observed.live(slot).as_ref() == Some(&owner)));
                if reported && lives {
                    let next = after.units.iter().find(|next| next.unit == unit).expect("it stays");
                    prop_assert!(next.epoch > stored, "above what the state holds");
                }
            }
        }
        world.splits = world.splits.max(1);
        world.lives += 1;
        let free = world.observed.slots.iter().position(|slot| slot.holder.is_none()).unwrap_or(world.observed.slots.len());
        join(&mut world.observed, free, &format!("life-{}", world.lives), &world.pipeline.plan.hash);
        let ends = (0..100).find(|_| world.observed.assignment.clone() == Some(world.look(None)));
        prop_assert!(ends.is_some(), "it never ends");
        let last = world.look(None);
        prop_assert_eq!(Some(&last), world.observed.assignment.as_ref());
        let serving = world.serving();
        for unit in &last.units {
            prop_assert!(unit.owner.as_ref().is_some_and(|owner| serving.contains(owner)), "{:?}", unit);
            prop_assert!(unit.previous.is_none());
        }
        prop_assert!(last.splits.iter().all(|split| split.reader.as_ref().is_some_and(|reader| serving.contains(reader))));
        prop_assert!(!last.splits.is_empty());
        for unit in last.units.iter().filter(|unit| stages[unit.unit.stage as usize].kind == thalweg_operator_plan::check::StageKind::Stateless) {
            let source = &stages[unit.unit.stage as usize].sources[(unit.unit.index >> 20) as usize];
            let mut of_source = last.splits.iter().filter(|split| split.source == *source);
            let split = of_source.nth((unit.unit.index & 0xf_ffff) as usize).expect("its split");
            prop_assert_eq!(&split.reader, &unit.owner, "where its split is read");
        }
    }
}
