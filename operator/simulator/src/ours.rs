//! Thalweg's own rule: the code that the operator runs.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_crds::ids::{RunId, Slot, SplitId};
use thalweg_crds::scaling::ScalingSpec;
use thalweg_operator_plan::autoscale::{Figures, Memory, SplitFigures, SplitKey, WorkerFigures, recommend};

use crate::rule::{Answer, Following, Rule, SplitView, View};

/// Seconds between two reports, and decisions.
const ROUND: u32 = 5;

/// Thalweg's own rule.
pub struct Ours {
    spec: ScalingSpec,
    memory: Memory,
    /// What workers did since the last round: records, busy and blocked seconds, and for how many seconds.
    since: BTreeMap<usize, [f64; 4]>,
    serving: usize,
}

impl Ours {
    /// With the fields of a pipeline.
    pub fn new(spec: &ScalingSpec) -> Self {
        Self { spec: spec.clone(), memory: Memory::default(), since: BTreeMap::new(), serving: 0 }
    }

    fn figures(&self, view: &View) -> Figures {
        let split = |(number, split): (usize, &SplitView)| SplitFigures {
            key: key(number),
            end: Some(split.end as u64),
            lag: Some(split.lag as u64),
            reader: split.worker.map(slot),
            age: Duration::ZERO,
        };
        let worker = |(number, [done, busy, blocked, seconds]): (&usize, &[f64; 4])| WorkerFigures {
            slot: slot(*number),
            life: RunId(number.to_string()),
            rate: done / seconds,
            busy: busy / seconds,
            hottest: 0.0,
            blocked: blocked / seconds,
            age: Duration::ZERO,
        };
        Figures {
            now: Duration::from_secs(u64::from(view.second)),
            splits: view.splits.iter().enumerate().map(split).collect(),
            workers: self.since.iter().map(worker).collect(),
            wanted: view.wanted,
            moving: view.moving,
            missing_for: Duration::ZERO,
            spreadable: view.splits.len(),
        }
    }
}

impl Rule for Ours {
    fn name(&self) -> &'static str {
        "Thalweg"
    }

    fn following(&self) -> Following {
        Following::Named
    }

    fn look(&mut self, view: &View) -> Option<Answer> {
        self.since.retain(|number, _| view.workers.iter().any(|worker| worker.number == *number));
        for worker in &view.workers {
            let since = self.since.entry(worker.number).or_default();
            let new = [worker.done, worker.busy, worker.blocked, 1.0];
            since.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
        }
        // As in a cluster, a worker that has come is an event of its own.
        let serving = std::mem::replace(&mut self.serving, view.workers.len());
        if view.second % ROUND != ROUND - 1 && view.workers.len() <= serving {
            return None;
        }
        let (decided, memory) = recommend(&self.spec, &self.figures(view), std::mem::take(&mut self.memory));
        self.memory = memory;
        self.since.values_mut().for_each(|since| *since = [0.0; 4]);
        let placed: BTreeMap<SplitKey, Slot> = decided.placement.into_iter().collect();
        let place = |number: usize| placed.get(&key(number)).and_then(number_of);
        let places = (0..view.splits.len()).map(|number| place(number).or(view.splits[number].worker));
        Some(Answer {
            workers: decided.workers,
            reason: format!("{}: {}", decided.reason, decided.inputs),
            places: places.collect(),
        })
    }
}

fn slot(number: usize) -> Slot {
    Slot(format!("worker-{number:06}"))
}

fn number_of(slot: &Slot) -> Option<usize> {
    slot.0.rsplit('-').next()?.parse().ok()
}

fn key(number: usize) -> SplitKey {
    SplitKey { source: String::new(), split: SplitId(number.to_string()) }
}
