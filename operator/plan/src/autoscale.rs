//! The autoscaler's formula: how many workers a pipeline needs, who reads what, and why.
//!
//! ```text
//! Figures ──▶ load: w = max(λ 60 s, λ 15 s) + lag / catchUp, per split      ┐
//!         ──▶       while more is called for, λ of the last 5 s counts, too   │
//!         ──▶ capacity: μ(n), learnt from done / busy                        ├─▶ need n*: the least n whose packing keeps
//!         ──▶ memory: ends, rhythm, swing, the last step                     ┘   each worker at or below ρ·μ(n)
//! ρ       0.75, the share that a worker is to be busy; up to 0.97 where the load is not seen to grow: what it would grow by
//!         while a worker starts fits into the rest, or into the lag that is waited for
//! up      if lag time > targetLag / 3 or a worker is busy > 90 %, to n*
//! down    to the most n* of a window learnt from the load's own rhythm
//! ```
//!
//! | | |
//! |---|---|
//! | `figures.rs` | what comes in |
//! | `ends.rs`, `load.rs` | arrivals, lag and weight of each split |
//! | `capacity.rs` | what a worker can do |
//! | `packing.rs`, `placement.rs` | how few workers hold the load; who reads what |
//! | `rhythm.rs`, `swing.rs` | how long a low lasts; how fast the load grows |
//! | `memory.rs` | what is carried from one decision to the next |
//! | `reason.rs` | why |
//!
//! Pure: no clock, no randomness; the same figures and the same memory give the same answer. Laws:
//! `operator/plan/tests/autoscale.rs`. Measured against other autoscalers: `docs/design/0011-autoscaler.md`.

use std::time::Duration;

use thalweg_crds::ids::Slot;
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};

mod capacity;
mod ends;
mod figures;
mod load;
mod memory;
mod packing;
mod placement;
mod reason;
mod rhythm;
mod swing;

pub use figures::{Figures, SplitFigures, SplitKey, WorkerFigures};
pub use memory::Memory;
pub use packing::fewest;
pub use placement::place;
pub use reason::{Hold, Inputs, Reason};

use load::Load;

/// More is asked for once a worker is busy for more than this share, or, where ρ is near it, halfway from ρ to all: between
/// here and ρ nothing changes.
const BUSY: f64 = 0.9;
/// Workers are let go once fewer have room by this part of ρ: otherwise what wavers about ρ would be scaled up and down.
const KEEP: f64 = 0.98;
/// More than this times what was expected is a step, and no noise: of what comes, against what the windows say; of workers,
/// against those that were just asked for.
const STEP_UP: f64 = 1.2;
/// More is asked for once records wait for this part of the target lag: the rest is for the start of a worker.
const LAG_PART: f64 = 3.0;
/// Workers wait for sinks for more than this share: they are not what is scarce.
const SINK_BOUND: f64 = 0.2;
/// A worker that is busy with one unit for more than this part of that has nothing that another one could take.
const ALONE: f64 = 0.95;
/// How long after moves a busy worker tells nothing: it does what waited meanwhile.
const SETTLING_SECONDS: u64 = 15;
/// Splits are not moved again for so long only to make loads level.
const LEVEL_EACH_SECONDS: u64 = 30;
/// What it costs to have a worker back, as a time for which it could have been kept: its start, and the risk of lag.
const RETURN_SECONDS: f64 = 60.0;
/// What it costs to move a split, as worker-seconds; it moves away and back.
const MOVE_SECONDS: f64 = 2.0;
/// A low shorter than this is none.
const SHORTEST_LOW_SECONDS: f64 = 30.0;
/// How long pods that were asked for may be missing before no more are asked for.
const MISSING_SECONDS: u64 = 120;

/// How many workers there are to be, who reads what, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// How many. With `mode: Recommend` what would be done, and is not.
    pub workers: usize,
    /// Who reads each split, among the workers that live; splits of which nothing is known are left out.
    pub placement: Vec<(SplitKey, Slot)>,
    /// Why.
    pub reason: Reason,
    /// From which figures.
    pub inputs: Inputs,
}

/// Decides, and says what to remember.
pub fn recommend(spec: &ScalingSpec, figures: &Figures, memory: Memory) -> (Recommendation, Memory) {
    let mut memory = memory;
    memory.note(figures);
    let ends = std::mem::take(&mut memory.ends);
    let load = Load::of(figures, &ends, spec.catch_up.as_std());
    memory.follow(figures, load.as_ref(), late_seconds(spec));
    let mut round = Round { spec, figures, bounds: Bounds::of(spec, figures.spreadable), memory: &mut memory };
    let (workers, reason, inputs) = round.decide(load.as_ref());
    let placement = round.placement(load.as_ref(), workers);
    memory.ends = ends;
    (Recommendation { workers, placement, reason, inputs }, memory)
}

/// For how long records may wait before more workers are asked for.
fn late_seconds(spec: &ScalingSpec) -> f64 {
    spec.target_lag.as_std().as_secs_f64() / LAG_PART
}

/// The least and the most workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    least: usize,
    most: usize,
    /// What the work can be spread over.
    spreadable: usize,
}

impl Bounds {
    /// By the spec, and no more than there are splits or units beyond the least: a worker without one is of no use. The least is
    /// the user's: how many of those have something to do is seen where work is given to them.
    fn of(spec: &ScalingSpec, spreadable: usize) -> Self {
        let count = |workers: i32| usize::try_from(workers).unwrap_or_default();
        let spreadable = if spreadable == 0 { usize::MAX } else { spreadable };
        let least = count(spec.min_workers);
        Self { least, most: count(spec.max_workers).max(1).min(spreadable).max(least), spreadable }
    }

    fn clamp(self, workers: usize) -> usize {
        workers.clamp(self.least, self.most)
    }

    /// As many as are kept while there is something to do.
    fn serving(self, workers: usize) -> usize {
        self.clamp(workers.max(1))
    }
}

/// One decision.
struct Round<'a> {
    spec: &'a ScalingSpec,
    figures: &'a Figures,
    bounds: Bounds,
    memory: &'a mut Memory,
}

/// What the load asks for.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// Whatever the bounds say.
    workers: usize,
    /// One split is more than a worker can do.
    is_shard_bound: bool,
    /// Lag is too old.
    is_behind: bool,
    /// A worker has no time left.
    is_busy: bool,
}

impl Need {
    fn presses(self) -> bool {
        self.is_behind || self.is_busy
    }
}

impl Round<'_> {
    fn decide(&mut self, load: Option<&Load<'_>>) -> (usize, Reason, Inputs) {
        let current = self.bounds.clamp(self.figures.wanted);
        let need = load.map(|load| self.need(load));
        let inputs = self.inputs(load, need.flatten());
        let (workers, reason) = self.workers(current, load, need);
        (workers, reason, inputs)
    }

    /// `need` is `None` where the load is not known, and holds nothing where capacity is not.
    fn workers(&mut self, current: usize, load: Option<&Load<'_>>, need: Option<Option<Need>>) -> (usize, Reason) {
        if self.spec.mode == ScalingMode::Manual {
            let asked = self.spec.workers.and_then(|workers| usize::try_from(workers).ok());
            return (self.bounds.clamp(asked.unwrap_or(current)), Reason::Manual);
        }
        if current != self.figures.wanted {
            return (current, Reason::Held(Hold::Bounds));
        }
        let (Some(load), Some(need)) = (load, need) else { return (current, Reason::Held(Hold::MetricsStale)) };
        let is_still = load.arrivals() == 0.0 && load.lag() == 0;
        if current == 0 {
            let woken = self.bounds.serving(need.map_or(1, |need| need.workers));
            // Whatever has come since waits; what came before is in the windows of arrivals for a while.
            return if load.lag() == 0 { (0, Reason::Enough) } else { (woken, Reason::Woken) };
        }
        if self.spec.min_workers == 0 && self.memory.quiet_for(self.figures.now) >= self.spec.zero_after.as_std() {
            return (0, Reason::Silent);
        }
        let Some(need) = need else {
            let reason = match () {
                () if is_still || load.lag_seconds() <= late_seconds(self.spec) => Reason::Enough,
                () if load.blocked() > SINK_BOUND => Reason::Held(Hold::SinkBound),
                () => Reason::Held(Hold::MetricsStale),
            };
            return (current, reason);
        };
        let target = self.bounds.serving(need.workers);
        self.memory.rhythm.note(self.figures.now, target);
        if let Some(before) = self.memory.useless_step(self.figures.now, load, self.is_short(load)) {
            return match load.blocked() > SINK_BOUND {
                true => (current, Reason::Held(Hold::SinkBound)),
                false => (self.bounds.serving(before.min(current)), Reason::Held(Hold::Ineffective)),
            };
        }
        match need.presses() {
            true => self.up(current, target, need, load),
            false => self.down(current, target, load),
        }
    }

    /// How many workers the load needs; `None` where nobody knows what a worker can do.
    fn need(&self, load: &Load<'_>) -> Option<Need> {
        let settled = self.since(self.memory.moved) >= SETTLING_SECONDS;
        let (is_behind, is_busy) = (load.lag_seconds() > late_seconds(self.spec), settled && load.busy() > self.busy());
        let is_awaited = is_behind || is_busy || self.figures.wanted == 0;
        let capacity = |workers: usize| self.memory.capacity.of(workers);
        // Where nothing was learnt yet and nobody waits, what workers do with overheads and all: they can do more.
        let alone = capacity(1).or_else(|| load.least_capacity().filter(|_| !is_awaited))?;
        let (weights, surges) = (load.weights(), load.surges());
        let is_step = surges.iter().sum::<f64>() > STEP_UP * weights.iter().sum::<f64>();
        let weights = if is_awaited && is_step { surges } else { weights };
        let most = weights.len().max(1);
        let part = self.memory.swing.utilisation() * if is_awaited { 1.0 } else { KEEP };
        let room = |workers: usize| part * capacity(workers).unwrap_or(alone);
        let of_one = capacity(self.figures.workers.len().max(1)).unwrap_or(alone);
        let is_shard_bound = load.splits.iter().any(|split| split.weight > of_one);
        Some(Need { workers: fewest(&weights, most, room), is_shard_bound, is_behind, is_busy })
    }

    /// From which share of its time on a worker is busy.
    fn busy(&self) -> f64 {
        BUSY.max(f64::midpoint(self.memory.swing.utilisation(), 1.0))
    }

    /// Seconds since a moment; many where there was none.
    fn since(&self, moment: Option<Duration>) -> u64 {
        moment.map_or(u64::MAX, |moment| self.figures.now.saturating_sub(moment).as_secs())
    }

    /// Records wait for too long on average, or nobody has time left. One worker that is behind beside others that are not
    /// is a matter of who reads what, and says nothing of how many there should be.
    fn is_short(&self, load: &Load<'_>) -> bool {
        load.mean_lag_seconds() > late_seconds(self.spec) || load.mean_busy() > self.busy()
    }

    fn up(&self, current: usize, target: usize, need: Need, load: &Load<'_>) -> (usize, Reason) {
        if load.blocked() > SINK_BOUND {
            return (current, Reason::Held(Hold::SinkBound));
        }
        if target <= current {
            let reason = match () {
                () if need.workers > current && current >= self.bounds.spreadable => Reason::Held(Hold::TooFewUnits),
                () if need.workers > current => Reason::Held(Hold::Bounds),
                () if need.is_shard_bound => Reason::Held(Hold::ShardBound),
                () => Reason::Enough,
            };
            return (current, reason);
        }
        // What was just added is first let work: it catches up with what came while it started.
        if self.memory.is_on_trial() && target as f64 <= STEP_UP * current as f64 {
            return (current, Reason::Enough);
        }
        let hold = match () {
            () if load.is_bound_by_units(self.busy(), ALONE) => Some(Hold::ShardBound),
            () if self.memory.backs_off(self.figures.now) => Some(Hold::Ineffective),
            () if self.figures.missing_for.as_secs() >= MISSING_SECONDS => Some(Hold::Quota),
            () if self.figures.moving > 0 => Some(Hold::Rebalancing),
            () => None,
        };
        match hold {
            Some(hold) => (current, Reason::Held(hold)),
            None if need.is_behind => (target, Reason::Behind),
            None => (target, Reason::Busy),
        }
    }

    fn down(&self, current: usize, target: usize, load: &Load<'_>) -> (usize, Reason) {
        let is_low = |workers: &usize| {
            let low = self.memory.rhythm.low_seconds(*workers);
            low >= SHORTEST_LOW_SECONDS && low >= self.patience_seconds(current, *workers, load)
        };
        match (target..current).find(is_low) {
            None => (current, Reason::Enough),
            Some(_) if self.figures.moving > 0 => (current, Reason::Held(Hold::Rebalancing)),
            Some(workers) => (workers, Reason::Idle),
        }
    }

    /// How long a low is waited through before workers are let go.
    fn patience_seconds(&self, current: usize, workers: usize, load: &Load<'_>) -> f64 {
        let leaving = (current - workers) as f64;
        let moves = 2.0 * load.splits.len() as f64 * leaving / current as f64;
        let price = RETURN_SECONDS + MOVE_SECONDS * moves / leaving;
        self.memory.rhythm.patience_seconds(workers, price)
    }

    /// Who reads what, among the workers that live and are to stay: those that have most.
    fn placement(&self, load: Option<&Load<'_>>, workers: usize) -> Vec<(SplitKey, Slot)> {
        let workers = if self.spec.mode == ScalingMode::Recommend { self.figures.wanted } else { workers };
        let Some(load) = load else { return self.as_it_is() };
        let held = |slot: &Slot| -> f64 {
            let theirs = load.splits.iter().filter(|split| split.figures.reader.as_ref() == Some(slot));
            theirs.map(|split| split.weight).sum()
        };
        let mut serving: Vec<(&Slot, f64)> =
            self.figures.workers.iter().map(|worker| (&worker.slot, held(&worker.slot))).collect();
        serving.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        serving.truncate(workers.max(1));
        let at = |slot: &Slot| serving.iter().position(|(serving, _)| *serving == slot);
        let readers: Vec<Option<usize>> =
            load.splits.iter().map(|split| split.figures.reader.as_ref().and_then(at)).collect();
        if serving.is_empty() || !self.moves(&readers, &serving, load) {
            return self.as_it_is();
        }
        let capacity = self.memory.capacity.of(serving.len());
        let room = capacity.map_or(0.0, |capacity| self.memory.swing.utilisation() * capacity);
        let places = place(&load.weights(), &readers, serving.len(), room);
        let placed = load.splits.iter().zip(places);
        placed.map(|(split, place)| (split.figures.key.clone(), serving[place].0.clone())).collect()
    }

    fn as_it_is(&self) -> Vec<(SplitKey, Slot)> {
        let read = load::newest(self.figures).into_iter();
        read.filter_map(|split| Some((split.key.clone(), split.reader.clone()?))).collect()
    }

    /// Whether splits are to move: one has no reader that stays, a worker has none, or one has more than it can do. Damped:
    /// not while others move, and only to make level not soon after.
    fn moves(&self, readers: &[Option<usize>], serving: &[(&Slot, f64)], load: &Load<'_>) -> bool {
        if readers.iter().any(Option::is_none) {
            return true;
        }
        if self.figures.moving > 0 {
            return false;
        }
        let is_empty = |at: usize| !readers.contains(&Some(at));
        if readers.len() >= serving.len() && (0..serving.len()).any(is_empty) {
            return true;
        }
        let most = serving.first().map_or(0.0, |(_, held)| *held);
        let is_hot = self.memory.capacity.of(serving.len()).is_some_and(|capacity| most > self.busy() * capacity);
        is_hot && load.blocked() <= SINK_BOUND && self.since(self.memory.moved) >= LEVEL_EACH_SECONDS
    }

    fn inputs(&self, load: Option<&Load<'_>>, need: Option<Need>) -> Inputs {
        Inputs {
            arrivals: load.map(Load::arrivals),
            lag_records: load.map(Load::lag),
            lag_seconds: load.map(Load::lag_seconds),
            busy: load.map(Load::busy),
            blocked: load.map(Load::blocked),
            capacity: self.memory.capacity.of(self.figures.workers.len().max(1)),
            needed: need.map(|need| need.workers),
        }
    }
}
