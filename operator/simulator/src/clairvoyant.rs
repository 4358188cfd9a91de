//! Schedules of somebody who knows what will come: what could be had with the same starts, moves and workers.

use thalweg_operator_plan::autoscale::{fewest, place};

use crate::machine::{Outcome, simulate};
use crate::rule::{Answer, Following, Rule, View};
use crate::settings::Settings;
use crate::trace::Trace;

/// How often splits are looked at.
const LOOK_SECONDS: u32 = 5;
/// What has waited through a stall is done within this time after it.
const DRAIN_SECONDS: u32 = 60;

/// How a schedule is made.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// What a worker is given of what it can do.
    utilisation: f64,
    /// Over how long arrivals are evened out: what comes too fast may wait for as long, within the target.
    even_seconds: u32,
    /// Workers that will be needed again within this time are kept.
    keep_seconds: u32,
}

/// What came of each of some schedules. There may be better ones: each is what can be had, not the least.
pub(crate) fn schedules(trace: &Trace, settings: &Settings) -> Vec<Outcome> {
    let ways = [1.0, 0.95, 0.85]
        .into_iter()
        .flat_map(|utilisation| [15, 45].map(move |even_seconds| Way { utilisation, even_seconds, keep_seconds: 60 }));
    let run = |way| Outcome {
        seconds: Vec::new(),
        decisions: Vec::new(),
        ..simulate(trace, settings, &mut Clairvoyant::new(trace, settings, way))
    };
    ways.map(run).collect()
}

struct Clairvoyant<'a> {
    trace: &'a Trace,
    room: f64,
    workers: Vec<usize>,
}

impl<'a> Clairvoyant<'a> {
    fn new(trace: &'a Trace, settings: &Settings, way: Way) -> Self {
        let room = way.utilisation * settings.capacity;
        let needs = needs(trace, settings, way.even_seconds, room);
        let ahead = (settings.start_seconds + settings.pause_seconds).div_ceil(way.even_seconds) as usize + 1;
        let keep = way.keep_seconds.div_ceil(way.even_seconds) as usize;
        let most = |from: usize, count: usize| {
            needs[from..(from + count).min(needs.len())].iter().copied().max().unwrap_or_default()
        };
        let mut workers = Vec::with_capacity(trace.seconds() as usize);
        let mut current = 0;
        for stretch in 0..needs.len() {
            current = most(stretch, ahead).max(current.min(most(stretch, ahead + keep)));
            workers.extend(std::iter::repeat_n(current, way.even_seconds as usize));
        }
        Self { trace, room, workers }
    }
}

/// How many workers each stretch of time needs.
fn needs(trace: &Trace, settings: &Settings, stretch: u32, room: f64) -> Vec<usize> {
    let mut waiting = vec![0.0; trace.splits()];
    let mut drained = 0;
    let starts = (0..trace.seconds()).step_by(stretch as usize);
    let need = |from: u32| {
        let seconds = from..(from + stretch).min(trace.seconds());
        let length = f64::from(seconds.end - seconds.start);
        let mut loads = vec![0.0; trace.splits()];
        for second in seconds {
            let is_stalled = settings.is_stalled(second);
            let into = if is_stalled { &mut waiting } else { &mut loads };
            into.iter_mut().zip(trace.at(second)).for_each(|(sum, arrivals)| *sum += f64::from(*arrivals));
            if is_stalled {
                drained = second + 1 + DRAIN_SECONDS;
            }
        }
        for (load, waiting) in loads.iter_mut().zip(&mut waiting) {
            *load /= length;
            if from < drained && !settings.is_stalled(from) {
                *load += *waiting / f64::from(DRAIN_SECONDS);
            }
            if from >= drained {
                *waiting = 0.0;
            }
        }
        let is_empty = loads.iter().all(|load| *load == 0.0);
        let most = settings.most(trace.splits());
        if is_empty && settings.least() == 0 { 0 } else { fewest(&loads, most, |_| room).max(settings.least()) }
    };
    starts.map(need).collect()
}

impl Rule for Clairvoyant<'_> {
    fn name(&self) -> &'static str {
        "Clairvoyant"
    }

    fn following(&self) -> Following {
        Following::Named
    }

    fn look(&mut self, view: &View) -> Option<Answer> {
        if !view.second.is_multiple_of(LOOK_SECONDS) {
            return None;
        }
        let workers = self.workers.get(view.second as usize).copied().unwrap_or(view.wanted);
        Some(Answer { workers, reason: String::new(), places: self.places(view, workers) })
    }
}

impl Clairvoyant<'_> {
    /// By what will come in the next half a minute, and what waits.
    fn places(&self, view: &View, workers: usize) -> Option<Vec<usize>> {
        let until = (view.second + 31).min(self.trace.seconds());
        let coming = |split: usize| -> f64 {
            (view.second + 1..until).map(|second| f64::from(self.trace.at(second)[split])).sum()
        };
        let load = |split: usize| (coming(split) + view.splits[split].lag) / 30.0;
        let loads: Vec<f64> = (0..view.splits.len()).map(load).collect();
        let held = |number: usize| -> f64 {
            let theirs = view.splits.iter().zip(&loads).filter(|(split, _)| split.worker == Some(number));
            theirs.map(|(_, load)| *load).sum()
        };
        let mut serving: Vec<(usize, f64)> =
            view.workers.iter().map(|worker| (worker.number, held(worker.number))).collect();
        serving.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        serving.truncate(workers);
        if serving.is_empty() {
            return None;
        }
        let at = |number: usize| serving.iter().position(|(serving, _)| *serving == number);
        let readers: Vec<Option<usize>> = view.splits.iter().map(|split| split.worker.and_then(at)).collect();
        let placed = place(&loads, &readers, serving.len(), self.room);
        Some(placed.into_iter().map(|place| serving[place].0).collect())
    }
}
