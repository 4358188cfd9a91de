//! What is carried from one decision to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::capacity::Capacity;
use super::ends::Ends;
use super::figures::{Figures, SplitKey, WorkerFigures};
use super::load::{Load, is_fresh, newest};
use super::rhythm::Rhythm;
use super::swing::Swing;

/// Capacity is learnt from workers that are busy for at least this share: below, overheads are most of what is seen.
const BUSY_ENOUGH: f64 = 0.3;
/// And from those that hardly wait: who waits is slow for another's sake.
const NOT_BLOCKED: f64 = 0.05;
/// How long workers that were added serve before it is asked what they brought.
const TRIAL: Duration = Duration::from_secs(60);
/// A step that brought less than this share of what it should was of no use.
const LEAST_GAIN: f64 = 0.2;
/// How long nothing is added after a step that was of no use; twice as long after each further one, up to the most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(3_600));

/// What is carried from one decision to the next: ends of splits, what workers can do, how the load swings, what the last
/// step up has brought. A decision is a function of it and of the figures, and gives back the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub(super) ends: BTreeMap<SplitKey, Ends>,
    pub(super) capacity: Capacity,
    pub(super) rhythm: Rhythm,
    pub(super) swing: Swing,
    /// When something last came, waited, or was not known.
    stirred: Option<Duration>,
    /// When splits last moved.
    pub(super) moved: Option<Duration>,
    wanted: Option<usize>,
    step: Option<Step>,
    /// Until when nothing is added, and for how long it was.
    back_off: Option<(Duration, Duration)>,
}

/// The last step up.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    from: usize,
    to: usize,
    /// What all workers did before it, in records a second.
    rate: f64,
    /// Since when all of them have served.
    served: Option<Duration>,
}

impl Memory {
    /// Takes in what does not depend on all being known.
    pub(super) fn note(&mut self, figures: &Figures) {
        let splits = newest(figures);
        let listed: BTreeSet<&SplitKey> = splits.iter().map(|split| &split.key).collect();
        self.ends.retain(|key, _| listed.contains(key));
        for split in splits {
            let known = split.end.filter(|_| is_fresh(split.age));
            let moves = known.is_none_or(|end| {
                let at = figures.now.saturating_sub(split.age);
                match self.ends.get_mut(&split.key) {
                    Some(ends) => ends.note(at, end),
                    None => self.ends.entry(split.key.clone()).or_default().note(at, end),
                }
            });
            if moves || split.lag != Some(0) {
                self.stirred = Some(figures.now);
            }
        }
        if figures.moving > 0 {
            self.moved = Some(figures.now);
        }
        self.learn(figures);
    }

    fn learn(&mut self, figures: &Figures) {
        let is_telling = |worker: &&WorkerFigures| {
            let is_at_work = worker.busy >= BUSY_ENOUGH && worker.blocked <= NOT_BLOCKED;
            is_fresh(worker.age) && worker.is_sound() && is_at_work
        };
        let telling = figures.workers.iter().filter(is_telling);
        let (rate, busy) = telling.fold((0.0, 0.0), |(rate, busy), worker| (rate + worker.rate, busy + worker.busy));
        if busy > 0.0 && figures.moving == 0 {
            self.capacity.learn(figures.workers.len(), rate / busy);
        }
    }

    /// Follows what depends on all being known: how the load swings, whether the number of workers was changed, by whomever, and when all that were added serve.
    /// Records may wait for `late_seconds`.
    pub(super) fn follow(&mut self, figures: &Figures, load: Option<&Load<'_>>, late_seconds: f64) {
        let before = self.wanted.replace(figures.wanted);
        let rate = load.map_or(0.0, Load::rate);
        if let Some(load) = load {
            self.swing.note(figures.now, load.arrivals(), late_seconds);
        }
        match before {
            Some(before) if before < figures.wanted => {
                // Steps that follow each other before it is known what the first has brought are one.
                let (from, rate) = self.step.map_or((before, rate), |step| (step.from, step.rate));
                self.step = Some(Step { from, to: figures.wanted, rate, served: None });
            }
            Some(before) if before > figures.wanted => self.step = None,
            _ => {}
        }
        let is_complete = figures.workers.len() >= figures.wanted && figures.moving == 0;
        if let Some(step) = self.step.as_mut().filter(|_| is_complete) {
            step.served = step.served.or(Some(figures.now));
        }
    }

    /// How many workers there were before the last step up, if it was of no use. `is_short` tells whether there are still too
    /// few: where there are not, there was nothing to gain.
    pub(super) fn useless_step(&mut self, now: Duration, load: &Load<'_>, is_short: bool) -> Option<usize> {
        let step = self.step?;
        let served = step.served.filter(|since| now.saturating_sub(*since) >= TRIAL)?;
        self.step = None;
        let promised = step.to as f64 / step.from.max(1) as f64 - 1.0;
        let gained = load.rate() / step.rate.max(1.0) - 1.0;
        if !is_short || step.from == 0 || gained >= LEAST_GAIN * promised {
            self.back_off = None;
            return None;
        }
        let length = self.back_off.map_or(BACK_OFF.0, |(_, length)| (length * 2).min(BACK_OFF.1));
        self.back_off = Some((now.max(served) + length, length));
        Some(step.from)
    }

    /// Whether it is not known yet what the last step up has brought.
    pub(super) fn is_on_trial(&self) -> bool {
        self.step.is_some()
    }

    /// For how long it has been known that nothing comes or waits.
    pub(super) fn quiet_for(&self, now: Duration) -> Duration {
        self.stirred.map_or(Duration::ZERO, |stirred| now.saturating_sub(stirred))
    }

    /// Whether nothing is to be added since a step was of no use.
    pub(super) fn backs_off(&self, now: Duration) -> bool {
        self.back_off.is_some_and(|(until, _)| now < until)
    }
}
