//! When the autoscaler decides for a pipeline, from which figures, and what becomes of its recommendation.
//!
//! A decision changes the number of workers, or moves work among them, or holds both. Between two of them nothing changes. What is
//! remembered is lost with the process: then the number of workers stays as it is found, and the rest is learnt anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use thalweg_crds::assignment::{AssignmentSpec, SplitAssignment};
use thalweg_crds::ids::{LogPosition, Slot, UnitId};
use thalweg_crds::pipeline::ScalingDecision;
use thalweg_crds::report::{Report, SplitReport, WorkerState};
use thalweg_crds::scaling::{ScalingMode, ScalingSpec};

use crate::autoscale::{
    Figures, Hold, Inputs, Memory, Reason, Recommendation, SplitFigures, SplitKey, WorkerFigures, recommend,
};
use crate::costs::{Costs, Weights};
use crate::fleet::Fleet;
use crate::held::held;
use crate::observed::Observed;
use crate::plan::{Plan, asked_for};
use crate::settled::Settled;
use crate::validate::ValidatedPipeline;

/// How often it is decided: reports are a second or two old, and a step shows in the arrivals of five.
pub const DECIDE_EACH: Duration = Duration::from_secs(5);
/// A report that was never there is this old.
const NEVER: Duration = Duration::MAX;
/// Longest text of a decision that the schema takes.
const TEXT_LIMIT: usize = 1024;

/// Who is to read which split.
pub type Places = BTreeMap<SplitKey, Slot>;

/// What was decided about the number of workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// How many there are to be.
    pub workers: usize,
    /// Who is to read which split, where the autoscaler says so; those that it does not name stay where they are.
    pub places: Option<Places>,
    /// What units count where they are spread.
    pub weights: Weights,
    /// The last decision: a change of the number, or with `mode: Recommend` the one that would be made; a move of work among the
    /// workers; something that began to stand in the way of a change. `None` before the first.
    pub decision: Option<ScalingDecision>,
    /// From which figures it was last decided how many there are to be; `None` where nobody decides.
    pub inputs: Option<Inputs>,
    /// What keeps the number from following the load.
    pub hold: Option<Hold>,
    /// What is new since the look before, for whoever counts: the reasons of changes, and of a hold that began.
    pub news: Vec<Reason>,
}

/// Whether there is anything to decide.
pub fn is_scaled(spec: &ScalingSpec) -> bool {
    spec.mode != ScalingMode::Manual && spec.min_workers < spec.max_workers
}

/// Whether all workers may be stopped, while somebody watches for what comes.
pub fn may_stop(spec: &ScalingSpec) -> bool {
    spec.mode == ScalingMode::Auto && spec.min_workers == 0
}

/// Whether none that are wanted are those of a pipeline that sleeps, whatever its status says yet: it is published how far they
/// had read, so that it is known what comes.
fn sleeps(spec: &ScalingSpec, observed: &Observed) -> bool {
    may_stop(spec) && observed.assignment.as_ref().is_some_and(|published| !published.positions.is_empty())
}

/// What is remembered of one pipeline.
#[derive(Clone, Debug)]
pub struct Scaler {
    memory: Memory,
    costs: Costs,
    workers: usize,
    /// When it was decided last, by which settings, and of how many workers.
    decided: Option<(Duration, ScalingSpec, usize)>,
    decision: Option<ScalingDecision>,
    /// What was decided from last.
    inputs: Inputs,
    /// Whether the load was ever known.
    is_known: bool,
    settled: Settled,
    /// Since when workers that were asked for are missing.
    missing: Option<Duration>,
    /// What the last decision was held by: told once it has lasted for two.
    last_hold: Option<Hold>,
    hold: Option<Hold>,
    /// Where the number is the user's: the workers among whom the load has placed splits. Others begin evenly.
    placed_among: BTreeSet<Slot>,
}

impl Scaler {
    /// Begins with as many workers as were wanted when the Deployment was written, or were decided on, or are asked for. Where
    /// it is not noted there, as many as there are: some may be in the place of lost ones, so not more than were decided on.
    pub fn new(spec: &ScalingSpec, observed: &Observed, last: Option<&ScalingDecision>, held: Option<Hold>) -> Self {
        let found = observed.deployment.as_ref().map(|deployment| deployment.replicas).filter(|found| *found > 0);
        let decided = last.filter(|_| spec.mode == ScalingMode::Auto).map(|last| last.to);
        let most = decided.filter(|decided| *decided > 0).unwrap_or(i32::MAX);
        let noted = observed.deployment.as_ref().and_then(|deployment| deployment.wanted);
        let noted = noted.filter(|noted| *noted > 0 || sleeps(spec, observed));
        let known = noted.or(found.map(|found| found.min(most))).or(decided);
        let workers = known.and_then(|known| usize::try_from(known).ok()).unwrap_or_else(|| asked_for(spec));
        Self {
            memory: Memory::default(),
            costs: Costs::default(),
            workers,
            decided: None,
            decision: last.cloned(),
            inputs: Inputs::default(),
            is_known: false,
            settled: Settled::default(),
            missing: None,
            last_hold: held,
            hold: held,
            placed_among: BTreeSet::new(),
        }
    }

    /// Decides, if it is time to. `now` is since any moment that stays the same; `time` is what a decision is dated by.
    ///
    /// Where the number of workers is the user's, the load still decides who reads what once it is too much for one of them;
    /// until then splits are spread evenly.
    pub fn look(&mut self, pipeline: &ValidatedPipeline, observed: &Observed, now: Duration, time: &Time) -> Scaling {
        let spec = &pipeline.scaling;
        if is_scaled(spec) {
            return self.decide(pipeline, spec.clone(), observed, now, time);
        }
        let workers = match (spec.mode, spec.workers) {
            // Nobody says how many yet: as many as there are.
            (ScalingMode::Manual, None) => within(spec, self.workers).max(1),
            _ => asked_for(spec),
        };
        if workers < 2 {
            *self = Self { decision: self.decision.take(), ..Self::new(spec, &Observed::default(), None, None) };
            self.workers = workers;
            return Scaling { workers, ..Scaling::default() };
        }
        self.workers = workers;
        let bound = number(workers);
        let fixed = ScalingSpec { mode: ScalingMode::Auto, min_workers: bound, max_workers: bound, ..spec.clone() };
        let placed = self.decide(pipeline, fixed, observed, now, time);
        let serving =
            observed.assignment.as_ref().map(|running| serving(running, observed, workers)).unwrap_or_default();
        if placed.places.as_ref().is_some_and(|places| is_moved(observed, &serving, places)) {
            self.placed_among = serving.clone();
        }
        let places = placed.places.filter(|_| !serving.is_empty() && self.placed_among == serving);
        Scaling { places, hold: None, ..placed }
    }

    /// Takes in what is to be published of what was decided: where the load alone moves work, that is a decision, too.
    pub fn note(
        &mut self,
        pipeline: &ValidatedPipeline,
        observed: &Observed,
        plan: &Plan,
        (now, time): (Duration, &Time),
        decided: Scaling,
    ) -> Scaling {
        let Some(moves) = self.settled.note(observed, plan, decided.workers, now) else { return decided };
        let mut decided = decided;
        decided.news.push(Reason::Uneven);
        let workers = number(decided.workers);
        // What is recommended stands until it is done.
        let is_awaited = |last: &ScalingDecision| last.to != workers && pipeline.scaling.mode == ScalingMode::Recommend;
        if !self.decision.as_ref().is_some_and(is_awaited) {
            self.decision = Some(ScalingDecision {
                from: workers,
                to: workers,
                reason: cut(format!("{}: {}; moves {moves}", Reason::Uneven, Reason::Uneven.sentence())),
                inputs: cut(self.inputs.to_string()),
                time: time.clone(),
            });
            decided.decision.clone_from(&self.decision);
        }
        decided
    }

    fn decide(
        &mut self,
        pipeline: &ValidatedPipeline,
        spec: ScalingSpec,
        observed: &Observed,
        now: Duration,
        time: &Time,
    ) -> Scaling {
        let running = observed.assignment.as_ref().filter(|running| running.plan == pipeline.plan.hash);
        let running = running.filter(|running| !running.completed && !pipeline.paused);
        let mut places = Places::new();
        let mut news = Vec::new();
        match running {
            Some(running) => {
                let figures = self.figures(running, observed, now);
                if self.is_due(&spec, &figures) {
                    self.decided = Some((now, spec.clone(), figures.workers.len()));
                    let (recommended, memory) = recommend(&spec, &figures, std::mem::take(&mut self.memory));
                    (self.memory, self.inputs) = (memory, recommended.inputs);
                    self.costs.note(&shares(observed), |unit| running.units.iter().any(|it| it.unit == unit));
                    let must_deliver = recommended.reason == Reason::Silent && is_stuck(observed);
                    if is_scaled(&spec) && !must_deliver {
                        news = self.take(&spec, &recommended, time);
                    }
                    places = recommended.placement.into_iter().collect();
                }
            }
            None => (self.last_hold, self.hold, self.missing) = (None, None, None),
        }
        // Bounds hold whether somebody decides or not.
        self.workers = within(&spec, self.workers);
        Scaling {
            workers: self.workers,
            places: Some(places),
            weights: self.costs.weights(),
            decision: self.decision.clone(),
            inputs: running.filter(|_| is_scaled(&spec)).map(|_| self.inputs),
            hold: self.hold,
            news,
        }
    }

    /// Now and then; at once when the user has changed his mind, or a worker has come.
    fn is_due(&self, spec: &ScalingSpec, figures: &Figures) -> bool {
        let is_awaited = self.workers == 0 && figures.splits.iter().any(|split| split.lag.is_some_and(|lag| lag > 0));
        // Before somebody works, or watches, there is nothing to know.
        let Some((at, by, workers)) = &self.decided else {
            return !figures.workers.is_empty() || figures.wanted == 0;
        };
        is_awaited || figures.now.saturating_sub(*at) >= DECIDE_EACH || by != spec || figures.workers.len() > *workers
    }

    /// Makes a recommendation the number of workers; gives the reasons of what is new about it.
    fn take(&mut self, spec: &ScalingSpec, recommended: &Recommendation, time: &Time) -> Vec<Reason> {
        let hold = match recommended.reason {
            Reason::Held(hold) => Some(hold),
            _ => None,
        };
        let told = self.hold;
        if std::mem::replace(&mut self.last_hold, hold) == hold {
            self.hold = hold;
        }
        let began = self.hold.filter(|hold| told != Some(*hold)).map(Reason::Held);
        let before = match (spec.mode, &self.decision) {
            // What would be done is new where it is not what was said.
            (ScalingMode::Recommend, Some(said)) => usize::try_from(said.to).unwrap_or_default(),
            _ => self.workers,
        };
        let changes = recommended.workers != before;
        let changed = changes.then_some(recommended.reason);
        // What is held is decided, too, once the load was known; but what is recommended stands until it is done.
        self.is_known |= recommended.inputs.arrivals.is_some();
        let stands = spec.mode == ScalingMode::Recommend && before != self.workers;
        // A move is told when it is decided, not again while it goes on.
        let is_told = |reason: &Reason| self.is_known && !stands && *reason != Reason::Held(Hold::Rebalancing);
        if let Some(reason) = changed.or(began.filter(is_told)) {
            self.decision = Some(ScalingDecision {
                from: number(self.workers),
                to: number(recommended.workers),
                reason: cut(format!("{reason}: {}", reason.sentence())),
                inputs: cut(recommended.inputs.to_string()),
                time: time.clone(),
            });
        }
        if spec.mode == ScalingMode::Auto {
            self.workers = recommended.workers;
        }
        began.into_iter().filter(|began| changed != Some(*began)).chain(changed).collect()
    }

    fn figures(&mut self, running: &AssignmentSpec, observed: &Observed, now: Duration) -> Figures {
        let workers = workers(running, observed, self.workers);
        let is_missing = workers.len() < self.workers;
        self.missing = self.missing.filter(|_| is_missing).or_else(|| is_missing.then_some(now));
        let held = held(running, observed);
        let splits = match self.workers {
            0 => watched(running, observed),
            _ => running.splits.iter().map(|split| split_figures(split, running, observed)).collect(),
        };
        Figures {
            now,
            splits,
            workers,
            wanted: self.workers,
            // Without workers none is to have an owner.
            moving: if self.workers == 0 { 0 } else { held.total.saturating_sub(held.owned) },
            missing_for: self.missing.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            spreadable: if held.unlisted > 0 { 0 } else { held.total },
        }
    }
}

/// Whether a worker says that it, or a unit of it, stands still: what it has read is perhaps not delivered, and would not be
/// before something else comes.
fn is_stuck(observed: &Observed) -> bool {
    let is_stuck =
        |report: &Report| !report.failures.is_empty() || report.units.iter().any(|unit| unit.error.is_some());
    observed.said().any(is_stuck)
}

/// What units cost, as their owners say it now.
fn shares(observed: &Observed) -> BTreeMap<UnitId, f64> {
    let fresh = observed.reports.values().filter(|report| age(report, observed) <= 3 * DECIDE_EACH);
    let units = fresh.flat_map(|report| &report.units).filter(|unit| unit.stored_epoch.is_none());
    units.map(|unit| (unit.unit, unit.busy_share)).collect()
}

/// The workers that are given work: not those that wait to take the place of another one, or leave.
fn serving(running: &AssignmentSpec, observed: &Observed, wanted: usize) -> BTreeSet<Slot> {
    Fleet::of(observed, &running.plan, wanted).serving().cloned().collect()
}

/// Whether splits go from a worker to another one though all of them read some, and so because of what they cost.
fn is_moved(observed: &Observed, serving: &BTreeSet<Slot>, places: &Places) -> bool {
    let Some(running) = &observed.assignment else { return false };
    let readers: BTreeSet<_> = running.splits.iter().filter_map(|split| split.reader.clone()).collect();
    let goes = |split: &SplitAssignment| {
        let key = SplitKey { source: split.source.clone(), split: split.split.clone() };
        places.get(&key).is_some_and(|place| split.reader.as_ref() != Some(place))
    };
    running.splits.iter().all(|split| split.reader.is_some()) && readers == *serving && running.splits.iter().any(goes)
}

fn within(spec: &ScalingSpec, workers: usize) -> usize {
    let bound = |workers: i32| usize::try_from(workers).unwrap_or_default();
    workers.clamp(bound(spec.min_workers), bound(spec.max_workers).max(bound(spec.min_workers)))
}

fn number(workers: usize) -> i32 {
    i32::try_from(workers).unwrap_or(i32::MAX)
}

fn cut(text: String) -> String {
    text.chars().take(TEXT_LIMIT / 2).collect()
}

/// The workers that serve and have reported once: of one that has just come nothing is known yet.
fn workers(running: &AssignmentSpec, observed: &Observed, most: usize) -> Vec<WorkerFigures> {
    let fleet = Fleet::of(observed, &running.plan, most);
    let serving: Vec<&Slot> = fleet.serving().collect();
    let members = fleet.members.iter().filter(|member| serving.contains(&&member.lease.slot));
    let figures = members.filter_map(|member| {
        let report = observed.reports.get(&member.run_id)?;
        let rates = report.splits.iter().map(|split| split.rate);
        Some(WorkerFigures {
            slot: member.lease.slot.clone(),
            life: member.run_id.clone(),
            rate: rates.sum(),
            busy: report.busy_share,
            hottest: report.units.iter().map(|unit| unit.busy_share).fold(0.0, f64::max),
            blocked: report.blocked_share,
            age: age(report, observed),
        })
    });
    figures.collect()
}

fn age(report: &Report, observed: &Observed) -> Duration {
    observed.report_ages.get(&report.run_id).copied().unwrap_or(NEVER)
}

/// What the reader of a split says of it; while it has just changed, whoever did before.
fn split_figures(split: &SplitAssignment, running: &AssignmentSpec, observed: &Observed) -> SplitFigures {
    let key = SplitKey { source: split.source.clone(), split: split.split.clone() };
    let entry = split.reader.as_ref().and_then(|reader| running.workers.iter().find(|worker| worker.slot == *reader));
    let is_it = |report: &&SplitReport| report.source == split.source && report.split == split.split;
    let of_report = |report: &'_ Report| report.splits.iter().find(is_it).map(|it| (it.clone(), age(report, observed)));
    let of_reader = entry.and_then(|worker| observed.reports.get(&worker.run_id)).and_then(of_report);
    let reported = of_reader.or_else(|| observed.reports.values().find_map(of_report));
    let reader = split.reader.clone();
    match reported {
        Some((report, age)) => {
            SplitFigures { key, end: report.end.as_ref().and_then(records), lag: report.lag_records, reader, age }
        }
        None => SplitFigures { key, reader, age: NEVER, ..SplitFigures::default() },
    }
}

/// Whether the lookout sees something that waits.
pub(crate) fn is_awaited(running: &AssignmentSpec, observed: &Observed) -> bool {
    watched(running, observed).iter().any(|split| split.lag.is_some_and(|lag| lag > 0))
}

/// What the lookout says of all splits: those that were read, and others that have appeared since.
fn watched(running: &AssignmentSpec, observed: &Observed) -> Vec<SplitFigures> {
    let sees = |report: &Report| report.plan == running.plan && report.state != WorkerState::Failed;
    let (report, age) = match &observed.lookout.report {
        Some((report, age)) if sees(report) => (report.clone(), *age),
        _ => (Report::default(), NEVER),
    };
    let figures = |it: &SplitReport| {
        let was_read = running.positions.iter().find(|at| at.source == it.source && at.split == it.split);
        let from = was_read.map(|at| &at.position).or(it.accepted.as_ref());
        SplitFigures {
            key: SplitKey { source: it.source.clone(), split: it.split.clone() },
            end: it.end.as_ref().and_then(records),
            lag: it.end.as_ref().zip(from).and_then(|(end, from)| waiting(from, end)),
            reader: None,
            age,
        }
    };
    // Of a source that it sees it has seen all splits: others are gone, and nothing will come of them.
    let is_seen = |split: &&SplitAssignment| report.splits.iter().any(|it| it.source == split.source);
    let unseen = running.splits.iter().filter(|split| !is_seen(split)).map(|split| SplitFigures {
        key: SplitKey { source: split.source.clone(), split: split.split.clone() },
        age: NEVER,
        ..SplitFigures::default()
    });
    report.splits.iter().map(figures).chain(unseen).collect()
}

/// How many records lie between a position and an end: all, where it is the end of another log than the one that was read, as of
/// a topic that was made again. Workers say what that means.
fn waiting(from: &LogPosition, end: &LogPosition) -> Option<u64> {
    let piece = |position: &LogPosition| position.0.rsplit_once('.').map(|(piece, _)| piece.to_owned());
    let (from_records, end_records) = (records(from)?, records(end)?);
    Some(if piece(from) == piece(end) { end_records.saturating_sub(from_records) } else { end_records })
}

/// How many records lie before a position, where lag is counted in them: positions are `PIECE.OFFSET`.
fn records(position: &LogPosition) -> Option<u64> {
    position.0.rsplit_once('.')?.1.parse().ok()
}
