//! The rebalance rule: who owns which unit.
//!
//! Units stay where they are (a move is a pause), unless their owner is gone or leaving, or loads differ by more than the
//! band. Epochs only grow: each change of owner adds one, and a unit whose state holds a higher epoch is published
//! above it. Whoever may be dead keeps what it has and is given nothing. Laws: `operator/plan/tests/assignment.rs`, and
//! `laws.rs` of whole histories.

use std::collections::BTreeMap;

use thalweg_crds::assignment::UnitAssignment;
use thalweg_crds::ids::{Epoch, Slot, UnitId};

/// Most units of one `StreamAssignment`.
pub const UNITS_PER_OBJECT: usize = 256;

/// Loads within this share of their mean are level. Wider than what an uneven share of whole units makes of itself, and
/// narrow enough that the slowest worker, which is the pipeline's speed, loses no more than a tenth.
const BAND: f64 = 0.1;

/// A worker that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its slot.
    pub slot: Slot,
    /// Its node, where known.
    pub node: Option<String>,
    /// Whether it takes units.
    pub role: Role,
}

/// What a worker may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Units.
    Serving,
    /// Nothing more than it has: it does not answer, and is not known to be dead.
    Silent,
    /// Nothing: it hands over what it has.
    Leaving,
}

/// A unit as it is published and reported.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitState {
    /// What is published.
    pub published: UnitAssignment,
    /// How far the published owner has come.
    pub progress: Progress,
    /// Its share of the work, in any unit that all have in common; above 0.
    pub weight: f64,
}

/// How far the owner of a unit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The published owner is another life of its slot, or has none: nobody will process the unit.
    Orphaned,
    /// The owner has not reported the unit at the published epoch.
    Acquiring,
    /// It has.
    Owned,
    /// It has found this epoch in the unit's state, and left it alone.
    Refused(Epoch),
}

/// How many units may be between two owners at once. Units whose owner is gone wait for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimit(pub usize);

/// What is to be published next, in the order of `units`; equal to what is published where nothing is to be done.
pub fn rebalance(units: &[UnitState], workers: &[Worker], limit: MoveLimit) -> Vec<UnitAssignment> {
    let mut table = Table::new(units, workers);
    table.take_over();
    table.empty_leaving(limit);
    table.level(limit);
    table.occupy(limit);
    table.next
}

/// The same where somebody else weighs the loads: `named` says who is to have each unit, and nothing of one that stays
/// where it is. Who is gone, leaves, or has nothing is looked after all the same.
pub fn place(units: &[UnitState], workers: &[Worker], named: &[Option<Slot>], limit: MoveLimit) -> Vec<UnitAssignment> {
    let mut table = Table { named, ..Table::new(units, workers) };
    table.take_over();
    table.empty_leaving(limit);
    table.obey(limit);
    // Only where it was weighed anew: who has just come is about to be given what is its own.
    if named.iter().any(Option::is_some) {
        table.occupy(limit);
    }
    table.next
}

/// What is to be published next for a unit whose owner is told, by whoever else decides it; `None` where nobody may have
/// it now.
pub fn follow(unit: &UnitState, owner: Option<&Slot>, lives: impl Fn(&Slot) -> bool) -> UnitAssignment {
    let next = settled(unit);
    let Some(owner) = owner else { return next };
    let is_lost = unit.progress == Progress::Orphaned || next.owner.as_ref().is_none_or(|owner| !lives(owner));
    if next.owner.as_ref() == Some(owner) && !is_lost {
        return next;
    }
    // A unit that has not reached its owner yet is still with the one before it, which answers.
    let before = next.previous.clone().filter(&lives);
    let before = before.or_else(|| next.owner.clone().filter(|_| !is_lost));
    given(&next, owner.clone(), before)
}

/// Ends what has ended: a handoff that was answered, and an epoch that was too low.
fn settled(unit: &UnitState) -> UnitAssignment {
    let published = unit.published.clone();
    match unit.progress {
        Progress::Owned => UnitAssignment { previous: None, ..published },
        Progress::Refused(stored) => {
            UnitAssignment { epoch: stored.max(published.epoch).next(), previous: None, ..published }
        }
        Progress::Acquiring | Progress::Orphaned => published,
    }
}

/// A change of owner; `previous` answers when the unit is free.
fn given(unit: &UnitAssignment, target: Slot, previous: Option<Slot>) -> UnitAssignment {
    let previous = previous.filter(|previous| *previous != target);
    UnitAssignment { unit: unit.unit, owner: Some(target), epoch: unit.epoch.next(), previous }
}

struct Table<'a> {
    units: &'a [UnitState],
    workers: &'a [Worker],
    /// Who is to have each unit; empty where nobody is named.
    named: &'a [Option<Slot>],
    next: Vec<UnitAssignment>,
    /// Load of each serving worker.
    loads: BTreeMap<Slot, f64>,
    moving: usize,
}

impl<'a> Table<'a> {
    fn new(units: &'a [UnitState], workers: &'a [Worker]) -> Self {
        let serving = workers.iter().filter(|worker| worker.role == Role::Serving);
        let mut loads: BTreeMap<Slot, f64> = serving.map(|worker| (worker.slot.clone(), 0.0)).collect();
        for unit in units.iter().filter(|unit| unit.progress != Progress::Orphaned) {
            let load = unit.published.owner.as_ref().and_then(|owner| loads.get_mut(owner));
            load.into_iter().for_each(|load| *load += unit.weight);
        }
        let next: Vec<_> = units.iter().map(settled).collect();
        let is_moving = |unit: &&UnitState| unit.progress == Progress::Acquiring && unit.published.previous.is_some();
        let moving = units.iter().filter(is_moving).count();
        Self { units, workers, named: &[], next, loads, moving }
    }

    /// Gives units whose owner is gone to others, heaviest first, so that the rest evens it out.
    fn take_over(&mut self) {
        let is_lost = |index: &usize| {
            let owner = self.next[*index].owner.as_ref();
            self.units[*index].progress == Progress::Orphaned || owner.is_none_or(|owner| !self.lives(owner))
        };
        let mut lost: Vec<usize> = (0..self.units.len()).filter(is_lost).collect();
        lost.sort_by(|a, b| self.units[*b].weight.total_cmp(&self.units[*a].weight).then(a.cmp(b)));
        for index in lost {
            let Some(target) = self.target(index) else { return };
            // A planned handoff whose new owner died: the one before it may still hold the unit, and answers.
            let previous = self.next[index].previous.clone().filter(|previous| self.lives(previous));
            self.give(index, target, previous);
        }
    }

    /// Moves units from workers that leave.
    fn empty_leaving(&mut self, limit: MoveLimit) {
        for index in 0..self.units.len() {
            let Some(owner) = self.next[index].owner.clone().filter(|owner| self.leaves(owner)) else { continue };
            if self.moving >= limit.0 {
                return;
            }
            let Some(target) = self.target(index) else { return };
            self.hand_over(index, owner, target);
        }
    }

    /// Moves units to whoever is named.
    fn obey(&mut self, limit: MoveLimit) {
        for index in 0..self.units.len() {
            let Some(target) = self.named_for(index) else { continue };
            let is_elsewhere = |owner: &Slot| *owner != target && self.loads.contains_key(owner);
            let Some(owner) = self.next[index].owner.clone().filter(is_elsewhere) else { continue };
            if self.moving >= limit.0 {
                return;
            }
            if self.rests(index) {
                self.hand_over(index, owner, target);
            }
        }
    }

    /// Who is named for a unit, if it serves.
    fn named_for(&self, index: usize) -> Option<Slot> {
        self.named.get(index)?.clone().filter(|named| self.loads.contains_key(named))
    }

    /// Where a unit goes that cannot stay.
    fn target(&self, index: usize) -> Option<Slot> {
        self.named_for(index).or_else(|| self.lightest())
    }

    /// Whether a unit is where it is published to be, and stays there so far.
    fn rests(&self, index: usize) -> bool {
        let unit = &self.units[index];
        let untouched = self.next[index] == unit.published && unit.published.previous.is_none();
        untouched && unit.progress == Progress::Owned
    }

    /// Moves units from the most to the least loaded worker while they are not level and a move helps.
    fn level(&mut self, limit: MoveLimit) {
        let mean = self.loads.values().sum::<f64>() / self.loads.len().max(1) as f64;
        while self.moving < limit.0 {
            let (Some(lightest), Some(heaviest)) = (self.lightest(), self.heaviest()) else { return };
            let (low, high) = (self.loads[&lightest], self.loads[&heaviest]);
            if high <= mean * (1.0 + BAND) && low >= mean * (1.0 - BAND) {
                return;
            }
            // Moving w changes the difference d to |d - 2w|: it helps by a margin if w is well below d.
            let Some(index) = self.best_move(&heaviest, (high - low) / 2.0, (high - low) * (1.0 - BAND)) else {
                return;
            };
            self.hand_over(index, heaviest, lightest);
        }
    }

    /// Gives a worker that has nothing a unit of whoever has most: a worker without units is not ready, and a roll-out waits
    /// until it is.
    fn occupy(&mut self, limit: MoveLimit) {
        let mut counts: BTreeMap<Slot, usize> = self.loads.keys().map(|slot| (slot.clone(), 0)).collect();
        for owner in self.next.iter().filter_map(|next| next.owner.as_ref()) {
            counts.entry(owner.clone()).and_modify(|count| *count += 1);
        }
        let idle: Vec<Slot> = counts.iter().filter(|(_, count)| **count == 0).map(|(slot, _)| slot.clone()).collect();
        for target in idle {
            let Some((from, count)) = counts.iter().max_by_key(|(slot, count)| (**count, std::cmp::Reverse(*slot)))
            else {
                return;
            };
            let from = from.clone();
            let Some(index) = self.best_move(&from, 0.0, f64::INFINITY).filter(|_| *count > 1) else { return };
            if self.moving >= limit.0 {
                return;
            }
            counts.entry(from.clone()).and_modify(|count| *count -= 1);
            counts.insert(target.clone(), 1);
            self.hand_over(index, from, target);
        }
    }

    /// The unit of a worker whose weight is below a limit and nearest to what is to be moved.
    fn best_move(&self, from: &Slot, wanted: f64, below: f64) -> Option<usize> {
        let rests = |index: &usize| self.rests(*index) && self.units[*index].published.owner.as_ref() == Some(from);
        let helps = |index: &usize| self.units[*index].weight < below;
        let distance = |index: &usize| (self.units[*index].weight - wanted).abs();
        let candidates = (0..self.units.len()).filter(rests).filter(helps);
        candidates.min_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)))
    }

    fn hand_over(&mut self, index: usize, from: Slot, target: Slot) {
        self.loads.entry(from.clone()).and_modify(|load| *load -= self.units[index].weight);
        self.moving += usize::from(self.next[index].previous.is_none());
        // A unit that has not reached its owner yet is still with the one before it.
        let previous = self.next[index].previous.clone().filter(|previous| self.lives(previous)).unwrap_or(from);
        self.give(index, target, Some(previous));
    }

    fn give(&mut self, index: usize, target: Slot, previous: Option<Slot>) {
        self.loads.entry(target.clone()).and_modify(|load| *load += self.units[index].weight);
        self.next[index] = given(&self.next[index], target, previous);
    }

    fn lives(&self, slot: &Slot) -> bool {
        self.workers.iter().any(|worker| worker.slot == *slot)
    }

    fn leaves(&self, slot: &Slot) -> bool {
        self.workers.iter().any(|worker| worker.slot == *slot && worker.role == Role::Leaving)
    }

    /// The serving worker with the least load; among equals the one whose node has the least, then the first slot.
    fn lightest(&self) -> Option<Slot> {
        let order = |a: &(&Slot, &f64), b: &(&Slot, &f64)| {
            let node = |slot: &Slot| self.node_load(slot);
            a.1.total_cmp(b.1).then(node(a.0).total_cmp(&node(b.0))).then(a.0.cmp(b.0))
        };
        self.loads.iter().min_by(order).map(|(slot, _)| slot.clone())
    }

    fn heaviest(&self) -> Option<Slot> {
        self.loads.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0))).map(|(slot, _)| slot.clone())
    }

    /// The load of all serving workers on the node of one.
    fn node_load(&self, slot: &Slot) -> f64 {
        let node =
            |slot: &Slot| self.workers.iter().find(|worker| worker.slot == *slot).and_then(|w| w.node.as_deref());
        let here = node(slot);
        self.loads.iter().filter(|(other, _)| node(other) == here).map(|(_, load)| load).sum()
    }
}

/// A unit that was never owned: whoever takes it does so at `epoch` + 1.
pub fn unowned(unit: UnitId, epoch: Epoch) -> UnitAssignment {
    UnitAssignment { unit, owner: None, epoch, previous: None }
}
