//! What an assignment says, as a worker works by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use thalweg_core::log::{LogId, SplitId};
use thalweg_core::ownership::assignment::{Slot, UnitAssignment};
use thalweg_core::unit::{Epoch, RunId, StageId, UnitId};
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids;
use thalweg_exchange::link::PeerAddress;
use thalweg_mtls::identity::Fingerprint;

use super::table::Published;
use crate::runtime::split_log;

/// An assignment, by what it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Differs between two objects of one name.
    pub uid: String,
    /// Who owns which unit.
    pub units: BTreeMap<UnitId, UnitAssignment>,
    /// The splits of each source by ordinal, and who reads them.
    pub splits: BTreeMap<String, Vec<(SplitId, Option<Slot>)>>,
    /// Which life of a worker holds a slot.
    pub runs: BTreeMap<Slot, RunId>,
    /// Workers that can be reached.
    pub peers: Vec<PeerAddress>,
    /// Who lists the splits of which source.
    pub enumerators: Vec<(String, Slot)>,
}

impl View {
    /// What was published. Numbers that no schema lets through and slots without a number are as good as not there.
    pub fn new(published: &Published) -> Self {
        let spec = &published.spec;
        let named = spec.workers.iter().filter_map(|worker| Some((slot(&worker.slot)?, worker)));
        let runs = named.map(|(slot, worker)| (slot, RunId(worker.run_id.0.clone()))).collect();
        let enumerators = spec.enumerators.iter();
        Self {
            uid: published.uid.clone(),
            units: spec.units.iter().filter_map(|row| Some((unit(row.unit)?, row_of(row)?))).collect(),
            splits: splits(spec),
            runs,
            peers: peers(spec),
            enumerators: enumerators
                .filter_map(|enumerator| Some((enumerator.source.clone(), slot(&enumerator.slot)?)))
                .collect(),
        }
    }

    /// The row of a unit.
    pub fn row(&self, unit: UnitId) -> UnitAssignment {
        self.units.get(&unit).copied().unwrap_or(UnitAssignment::UNOWNED)
    }

    /// Units that concern a worker: it owns them, or is to give them away.
    pub fn units_of(&self, me: Slot) -> impl Iterator<Item = UnitId> {
        let concerns = move |row: &UnitAssignment| row.owner == Some(me) || row.previous == Some(me);
        self.units.iter().filter(move |(_, row)| concerns(row)).map(|(unit, _)| *unit)
    }

    /// Units that a worker is to hand over, and works on with until their new owners ask.
    pub fn handed_over_by(&self, me: Slot) -> impl Iterator<Item = UnitId> {
        let leaves = move |row: &UnitAssignment| row.owner != Some(me) && row.previous == Some(me);
        self.units.iter().filter(move |(_, row)| leaves(row)).map(|(unit, _)| *unit)
    }

    /// The splits that a worker is to read.
    pub fn read_by(&self, me: Slot) -> BTreeSet<LogId> {
        let splits = self.splits.iter().flat_map(|(source, splits)| splits.iter().map(move |split| (source, split)));
        let read = splits.filter(|(_, (_, reader))| *reader == Some(me));
        read.map(|(source, (split, _))| split_log(source, split)).collect()
    }

    /// Logs that other workers serve: splits that they read, and outboxes of units that they own, where `feeding` are the
    /// stages with outboxes.
    pub fn elsewhere(&self, me: Slot, feeding: &BTreeSet<StageId>) -> BTreeMap<LogId, RunId> {
        let run = |slot: Slot| self.runs.get(&slot).filter(|_| slot != me).cloned();
        let splits = self.splits.iter().flat_map(|(source, splits)| {
            splits.iter().filter_map(|(split, reader)| Some((split_log(source, split), run((*reader)?)?)))
        });
        let outboxes = self.units.iter().filter(|(unit, _)| feeding.contains(&unit.stage));
        let outboxes = outboxes.filter_map(|(unit, row)| Some((LogId::Outbox(*unit), run(row.owner?)?)));
        splits.chain(outboxes).collect()
    }
}

fn splits(spec: &AssignmentSpec) -> BTreeMap<String, Vec<(SplitId, Option<Slot>)>> {
    let mut splits: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in &spec.splits {
        let reader = row.reader.as_ref().and_then(slot);
        splits.entry(row.source.clone()).or_default().push((SplitId::new(row.split.0.as_str()), reader));
    }
    splits
}

fn peers(spec: &AssignmentSpec) -> Vec<PeerAddress> {
    let peer = |worker: &thalweg_crds::assignment::WorkerEntry| {
        let address: SocketAddr = worker.address.parse().ok()?;
        let fingerprint: Fingerprint = worker.key_fingerprint.parse().ok()?;
        Some(PeerAddress { run: RunId(worker.run_id.0.clone()), address, fingerprint })
    };
    spec.workers.iter().filter_map(peer).collect()
}

fn row_of(row: &thalweg_crds::assignment::UnitAssignment) -> Option<UnitAssignment> {
    let epoch = Epoch(row.epoch.0.try_into().ok()?);
    Some(UnitAssignment {
        owner: row.owner.as_ref().and_then(slot),
        epoch,
        previous: row.previous.as_ref().and_then(slot),
    })
}

/// The number at the end of a slot's name.
pub fn slot(name: &ids::Slot) -> Option<Slot> {
    let (_, number) = name.0.rsplit_once('-')?;
    number.parse().ok().map(Slot)
}

fn unit(written: ids::UnitId) -> Option<UnitId> {
    Some(UnitId { stage: StageId(written.stage.try_into().ok()?), index: written.index.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use thalweg_crds::assignment::{SplitAssignment, UnitAssignment as Row, WorkerEntry};

    use super::*;

    fn named(number: u32) -> ids::Slot {
        ids::Slot(format!("a-b-{number}"))
    }

    fn view() -> View {
        let worker = |number| WorkerEntry {
            slot: named(number),
            run_id: ids::RunId(format!("run-{number}")),
            address: format!("10.0.0.{number}:8443"),
            key_fingerprint: "0f".repeat(32),
        };
        let row = |stage, index, owner| Row {
            unit: ids::UnitId { stage, index },
            owner: Some(named(owner)),
            epoch: ids::Epoch(3),
            previous: (owner == 1).then(|| named(2)),
        };
        let split = |name: &str, reader| SplitAssignment {
            source: "trips".to_owned(),
            split: ids::SplitId(name.to_owned()),
            reader: Some(named(reader)),
            ..SplitAssignment::default()
        };
        let spec = AssignmentSpec {
            units: vec![row(0, 0, 1), row(0, 1, 2), row(1, 0, 2)],
            splits: vec![split("b", 2), split("a", 1)],
            workers: vec![worker(1), worker(2)],
            ..AssignmentSpec::default()
        };
        View::new(&Published { uid: "uid".to_owned(), generation: 1, spec })
    }

    #[test]
    fn a_worker_is_concerned_by_what_it_owns_and_by_what_it_is_to_give_away() {
        let units = |slot| view().units_of(Slot(slot)).map(|unit| unit.to_string()).collect::<Vec<_>>();
        assert_eq!(units(1), ["0-0"]);
        assert_eq!(units(2), ["0-0", "0-1", "1-0"]);
        assert_eq!(units(3), [""; 0]);
    }

    #[test]
    fn a_worker_hands_over_what_it_owned_before_and_nothing_else() {
        let units = |slot| view().handed_over_by(Slot(slot)).map(|unit| unit.to_string()).collect::<Vec<_>>();
        assert_eq!(units(2), ["0-0"]);
        assert_eq!(units(1), [""; 0]);
    }

    #[test]
    fn splits_are_read_by_the_worker_that_the_assignment_names() {
        let read = |slot| view().read_by(Slot(slot)).iter().map(LogId::to_string).collect::<Vec<_>>();
        assert_eq!((read(1), read(2)), (vec!["trips/a".to_owned()], vec!["trips/b".to_owned()]));
        assert_eq!(read(3), [""; 0]);
    }

    #[test]
    fn logs_are_elsewhere_that_others_read_or_own_and_splits_keep_their_order() {
        let view = view();
        let elsewhere = view.elsewhere(Slot(1), &BTreeSet::from([StageId(0)]));
        let logs: Vec<_> = elsewhere.iter().map(|(log, run)| (log.to_string(), run.0.as_str())).collect();
        assert_eq!(logs, [("trips/b".to_owned(), "run-2"), ("outbox/0-1".to_owned(), "run-2")]);
        let order: Vec<_> = view.splits["trips"].iter().map(|(split, _)| split.as_str()).collect();
        assert_eq!(order, ["b", "a"]);
        assert_eq!(view.peers.len(), 2);
    }
}
