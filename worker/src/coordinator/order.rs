//! What a person asks of a pipeline that runs: to move units or readers, to pause, to go on.

use std::path::Path;
use std::str::FromStr;

use thalweg_core::unit::SPLITS_PER_INPUT;
use thalweg_crds::assignment::{AssignmentSpec, StreamAssignment};
use thalweg_crds::ids::{Slot, SplitId, UnitId};
use thalweg_operator_plan::check::{Stage, StageKind};

use super::error::CoordinatorError;
use super::hand::stages;
use crate::cluster::folder::{PipelineFolder, Written, failed};

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hand units over to a worker.
    Move(Which, Slot),
    /// Have a worker read a split.
    Read(String, SplitId, Slot),
    /// Stop, and keep everything.
    Pause,
    /// Go on.
    Resume,
}

/// Units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// One.
    One(UnitId),
}

impl FromStr for Which {
    type Err = String;

    /// `STAGE/INDEX`, or `all`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no unit: expected STAGE/INDEX such as 1/3, or `all`");
        if text == "all" {
            return Ok(Self::All);
        }
        let (stage, index) = text.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u32>().ok().and_then(|number| i32::try_from(number).ok());
        let unit = number(stage).zip(number(index)).map(|(stage, index)| UnitId { stage, index });
        unit.map(Self::One).ok_or_else(wrong)
    }
}

impl Order {
    /// `UNIT=SLOT`.
    ///
    /// # Errors
    /// It is written otherwise.
    pub fn to_move(text: &str) -> Result<Self, String> {
        let (unit, slot) = text.rsplit_once('=').ok_or_else(|| format!("`{text}`: expected UNIT=SLOT"))?;
        Ok(Self::Move(unit.parse()?, Slot(slot.to_owned())))
    }

    /// `SOURCE/SPLIT=SLOT`.
    ///
    /// # Errors
    /// It is written otherwise.
    pub fn to_read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected SOURCE/SPLIT=SLOT");
        let (what, slot) = text.rsplit_once('=').ok_or_else(wrong)?;
        let (source, split) = what.split_once('/').ok_or_else(wrong)?;
        Ok(Self::Read(source.to_owned(), SplitId(split.to_owned()), Slot(slot.to_owned())))
    }
}

/// Carries an order out: beside the coordinator, which takes what is published as it finds it.
///
/// # Errors
/// There is no such pipeline, unit, split or worker, or a file cannot be written.
pub async fn give(folder: &Path, namespace: &str, pipeline: &str, order: &Order) -> Result<(), CoordinatorError> {
    let folder = PipelineFolder::new(folder, namespace, pipeline);
    let assignments = folder.assignments();
    loop {
        let Some(known) = assignments.get(pipeline)? else {
            let said = format!("`{namespace}/{pipeline}` is not coordinated in this folder");
            return Err(CoordinatorError::Order(said));
        };
        let spec = match order {
            Order::Pause => return Ok(mark(&folder.paused())?),
            Order::Resume => return Ok(unmark(&folder.paused())?),
            Order::Move(which, to) => moved(&known.spec, &stages(&folder, &known.spec.plan), *which, to),
            Order::Read(source, split, to) => read_by(&known.spec, source, split, to),
        };
        let spec = spec.map_err(CoordinatorError::Order)?;
        match assignments.replace(StreamAssignment { spec, ..known }).await? {
            Written::Done(_) => return Ok(()),
            // The coordinator wrote in between: once more, on what it wrote.
            Written::Overtaken | Written::Gone => {}
        }
    }
}

fn mark(path: &Path) -> Result<(), crate::cluster::ClusterError> {
    std::fs::write(path, "").map_err(|error| failed(path, &error))
}

fn unmark(path: &Path) -> Result<(), crate::cluster::ClusterError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    }
}

/// An assignment that names no worker: each commits, closes its units, and waits.
pub fn stopped(spec: AssignmentSpec) -> AssignmentSpec {
    AssignmentSpec { workers: Vec::new(), ..spec }
}

/// The assignment with units handed over: one write that names the new owner, and the one that is to let go. A unit of a
/// stateless stage is where its split is read; with all units go all readers.
pub fn moved(spec: &AssignmentSpec, stages: &[Stage], which: Which, to: &Slot) -> Result<AssignmentSpec, String> {
    let lives = |slot: &Slot| spec.workers.iter().any(|worker| worker.slot == *slot);
    must_live(spec, to)?;
    let is_meant = |unit: UnitId| matches!(which, Which::All) || which == Which::One(unit);
    if !spec.units.iter().any(|unit| is_meant(unit.unit)) {
        return Err(format!("there is no such unit; the first of {} is {}", spec.units.len(), first(spec)));
    }
    let mut spec = spec.clone();
    for unit in spec.units.iter_mut().filter(|unit| is_meant(unit.unit) && unit.owner.as_ref() != Some(to)) {
        let before = unit.owner.replace(to.clone());
        unit.previous = before.filter(lives);
        unit.epoch = unit.epoch.next();
    }
    let one = match which {
        Which::All => None,
        Which::One(unit) => Some(split_of(&spec, stages, unit)),
    };
    let is_read_there = |index: &usize| one.is_none_or(|split| split == Some(*index));
    let read = (0..spec.splits.len()).filter(is_read_there).collect::<Vec<_>>();
    read.into_iter().for_each(|index| spec.splits[index].reader = Some(to.clone()));
    Ok(spec)
}

/// Where the split of a stateless unit stands among all splits; `None` for a unit of a keyed stage.
fn split_of(spec: &AssignmentSpec, stages: &[Stage], unit: UnitId) -> Option<usize> {
    let stage = stages.iter().find(|stage| stage.id == unit.stage && stage.kind == StageKind::Stateless)?;
    let index = u32::try_from(unit.index).ok()?;
    let source = stage.sources.get((index / SPLITS_PER_INPUT) as usize)?;
    let of_source = (0..spec.splits.len()).filter(|index| spec.splits[*index].source == *source);
    of_source.into_iter().nth((index % SPLITS_PER_INPUT) as usize)
}

/// The assignment with another reader of a split. A reader has no epoch: whoever is named reads.
fn read_by(spec: &AssignmentSpec, source: &str, split: &SplitId, to: &Slot) -> Result<AssignmentSpec, String> {
    must_live(spec, to)?;
    let mut spec = spec.clone();
    let found = spec.splits.iter_mut().find(|found| found.source == source && found.split == *split);
    let found = found.ok_or_else(|| format!("source `{source}` has no split `{split}`"))?;
    found.reader = Some(to.clone());
    Ok(spec)
}

fn must_live(spec: &AssignmentSpec, slot: &Slot) -> Result<(), String> {
    if spec.workers.iter().any(|worker| worker.slot == *slot) {
        return Ok(());
    }
    let slots: Vec<_> = spec.workers.iter().map(|worker| worker.slot.0.as_str()).collect();
    Err(format!("no worker holds slot `{slot}`; those that live: {}", slots.join(", ")))
}

fn first(spec: &AssignmentSpec) -> String {
    spec.units.first().map_or_else(|| "none".to_owned(), |unit| unit.unit.to_string())
}

#[cfg(test)]
mod tests {
    use thalweg_crds::assignment::{SplitAssignment, UnitAssignment, WorkerEntry};
    use thalweg_crds::ids::Epoch;

    use super::*;

    fn slot(number: u32) -> Slot {
        Slot(format!("p-{number}"))
    }

    fn spec() -> AssignmentSpec {
        let unit = |index, owner| UnitAssignment {
            unit: UnitId { stage: 1, index },
            owner: Some(owner),
            epoch: Epoch(7),
            previous: None,
        };
        let worker = |number| WorkerEntry { slot: slot(number), ..WorkerEntry::default() };
        let split =
            SplitAssignment { source: "events".to_owned(), split: SplitId("3".to_owned()), ..Default::default() };
        AssignmentSpec {
            units: vec![unit(0, slot(0)), unit(1, slot(1)), unit(2, slot(9))],
            workers: vec![worker(0), worker(1)],
            splits: vec![split],
            ..AssignmentSpec::default()
        }
    }

    #[test]
    fn a_moved_unit_has_the_next_epoch_and_names_who_is_to_let_go() {
        let order = Order::to_move("1/0=p-1").expect("right");
        assert_eq!(order, Order::Move(Which::One(UnitId { stage: 1, index: 0 }), slot(1)));
        let next = moved(&spec(), &[], Which::All, &slot(1)).expect("they live");
        let units: Vec<_> =
            next.units.iter().map(|unit| (unit.owner.clone(), unit.epoch.0, unit.previous.clone())).collect();
        let expected = [(Some(slot(1)), 8, Some(slot(0))), (Some(slot(1)), 7, None), (Some(slot(1)), 8, None)];
        assert_eq!(units, expected);
    }

    #[test]
    fn a_stateless_unit_moves_with_the_reader_of_its_split() {
        let stage = |id, kind| Stage {
            id,
            kind,
            statement: 0,
            sink: "out".to_owned(),
            text: String::new(),
            sources: vec!["events".to_owned()],
            fingerprint: String::new(),
        };
        let stages = [stage(0, StageKind::Stateless), stage(1, StageKind::Windowed)];
        let mut before = spec();
        before.units.push(UnitAssignment { unit: UnitId { stage: 0, index: 1 }, ..before.units[0].clone() });
        before.splits.push(SplitAssignment { split: SplitId("4".to_owned()), ..before.splits[0].clone() });
        let readers = |unit| {
            let next = moved(&before, &stages, Which::One(unit), &slot(1)).expect("they live");
            next.splits.into_iter().map(|split| split.reader).collect::<Vec<_>>()
        };
        assert_eq!(readers(UnitId { stage: 0, index: 1 }), [None, Some(slot(1))]);
        assert_eq!(readers(UnitId { stage: 1, index: 0 }), [None, None]);
        let all = moved(&before, &stages, Which::All, &slot(1)).expect("they live");
        assert!(all.splits.iter().all(|split| split.reader == Some(slot(1))));
    }

    #[test]
    fn a_split_gets_another_reader() {
        let order = Order::to_read("events/3=p-1").expect("right");
        assert_eq!(order, Order::Read("events".to_owned(), SplitId("3".to_owned()), slot(1)));
        let next = read_by(&spec(), "events", &SplitId("3".to_owned()), &slot(1)).expect("it is there");
        assert_eq!(next.splits[0].reader, Some(slot(1)));
        assert!(read_by(&spec(), "events", &SplitId("4".to_owned()), &slot(1)).is_err());
    }

    #[test]
    fn orders_that_name_nothing_are_refused_with_what_there_is() {
        let nobody = moved(&spec(), &[], Which::All, &slot(9)).expect_err("it is dead");
        assert_eq!(nobody, "no worker holds slot `p-9`; those that live: p-0, p-1");
        let nothing = moved(&spec(), &[], Which::One(UnitId { stage: 5, index: 0 }), &slot(1)).expect_err("no unit");
        assert_eq!(nothing, "there is no such unit; the first of 3 is 1/0");
        assert!(Order::to_move("1-0=p-1").expect_err("wrong").contains("STAGE/INDEX"));
    }

    #[tokio::test]
    async fn a_pipeline_that_is_not_coordinated_takes_no_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = give(folder.path(), "a", "p", &Order::Pause).await.expect_err("nothing there");
        assert_eq!(error.to_string(), "`a/p` is not coordinated in this folder");
    }
}
