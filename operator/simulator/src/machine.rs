//! A fluid model of workers: records are a quantity, time goes by the second.

use serde::Serialize;

use crate::rule::{Following, Rule, SplitView, View, WorkerView};
use crate::settings::Settings;
use crate::trace::Trace;

/// Less than this is no record.
const NOTHING: f64 = 1e-6;

/// What became of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Percent of the time in which the oldest record that waits was older than the target.
    pub percent_time_above_target: f64,
    /// Time of all workers, from asking for one until it is let go, in hours.
    pub worker_hours: f64,
    /// Moves of splits.
    pub moves: u64,
    /// Changes of the number of workers.
    pub decisions: Vec<Decision>,
    /// The greatest age of a record that waited, in seconds.
    pub worst_lag_seconds: f64,
    /// Second by second; for charts.
    #[serde(skip)]
    pub seconds: Vec<Second>,
}

/// A change of the number of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When.
    pub second: u32,
    /// How many there were to be.
    pub from: usize,
    /// How many there are to be.
    pub to: usize,
    /// Why.
    pub reason: String,
}

/// A second, for charts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Records that came.
    pub arrivals: f32,
    /// Workers, those that start included.
    pub workers: u16,
    /// Age of the oldest record that waits.
    pub lag_seconds: f32,
}

/// Runs a load against a rule. It begins with the fewest workers, or with one.
pub fn simulate(trace: &Trace, settings: &Settings, rule: &mut dyn Rule) -> Outcome {
    let mut machine = Machine::new(trace, settings, rule.following());
    let mut outcome = Outcome::default();
    let (mut late, mut worker_seconds) = (0u32, 0u64);
    for second in 0..trace.seconds() {
        machine.step(second);
        let lag = machine.oldest_seconds(second);
        late += u32::from(lag > settings.target_lag_seconds());
        worker_seconds += machine.workers.len() as u64;
        outcome.worst_lag_seconds = outcome.worst_lag_seconds.max(lag);
        outcome.seconds.push(Second {
            arrivals: trace.at(second).iter().sum(),
            workers: machine.workers.len() as u16,
            lag_seconds: lag as f32,
        });
        let Some(answer) = rule.look(&machine.view(second)) else { continue };
        let before = machine.workers.len();
        if answer.workers != before {
            let reason = answer.reason.clone();
            outcome.decisions.push(Decision { second, from: before, to: answer.workers, reason });
        }
        machine.scale(answer.workers, answer.places.as_deref(), second);
    }
    outcome.percent_time_above_target = 100.0 * f64::from(late) / f64::from(trace.seconds().max(1));
    outcome.worker_hours = worker_seconds as f64 / 3_600.0;
    outcome.moves = machine.moves;
    outcome
}

struct Machine<'a> {
    trace: &'a Trace,
    settings: &'a Settings,
    following: Following,
    splits: Vec<Split>,
    workers: Vec<Worker>,
    /// The number of the next worker.
    next: usize,
    moves: u64,
    /// The workers that the splits were last shared out to.
    shared: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Split {
    end: f64,
    arrivals: f64,
    lag: f64,
    worker: Option<usize>,
    /// Stands still before this second.
    paused_until: u32,
    /// The second of the oldest record that waits, and how many records came before that second.
    oldest: u32,
    before_oldest: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    number: usize,
    serves_from: u32,
    done: f64,
    blocked: f64,
}

impl<'a> Machine<'a> {
    fn new(trace: &'a Trace, settings: &'a Settings, following: Following) -> Self {
        let first = settings.least().max(1).min(settings.most(trace.splits()));
        let workers = (0..first).map(|number| Worker { number, ..Worker::default() });
        let splits = (0..trace.splits()).map(|split| Split { worker: Some(split % first), ..Split::default() });
        Self {
            trace,
            settings,
            following,
            splits: splits.collect(),
            workers: workers.collect(),
            next: first,
            moves: 0,
            shared: (0..first).collect(),
        }
    }

    fn step(&mut self, second: u32) {
        for (split, arrivals) in self.splits.iter_mut().zip(self.trace.at(second)) {
            split.arrivals = f64::from(*arrivals);
            split.end += split.arrivals;
            split.lag += split.arrivals;
        }
        self.share_out(second);
        let is_stalled = self.settings.is_stalled(second);
        for worker in self.workers.iter_mut().filter(|worker| worker.serves_from <= second) {
            let number = worker.number;
            let theirs = |split: &&mut Split| {
                split.worker == Some(number) && split.paused_until <= second && split.lag > NOTHING
            };
            let mut theirs: Vec<&mut Split> = self.splits.iter_mut().filter(theirs).collect();
            worker.blocked = f64::from(u8::from(is_stalled && !theirs.is_empty()));
            worker.done = if is_stalled { 0.0 } else { drain(&mut theirs, self.settings.capacity) };
        }
    }

    /// Age of the oldest record that waits.
    fn oldest_seconds(&mut self, second: u32) -> f64 {
        let mut oldest = 0;
        for (at, split) in self.splits.iter_mut().enumerate() {
            if split.lag <= NOTHING {
                (split.oldest, split.before_oldest) = (second + 1, split.end);
                continue;
            }
            let accepted = split.end - split.lag;
            while split.oldest < second {
                let through = split.before_oldest + f64::from(self.trace.at(split.oldest)[at]);
                if through > accepted + NOTHING {
                    break;
                }
                (split.oldest, split.before_oldest) = (split.oldest + 1, through);
            }
            oldest = oldest.max(second + 1 - split.oldest.min(second + 1));
        }
        f64::from(oldest)
    }

    fn view(&self, second: u32) -> View {
        let capacity = self.settings.capacity.max(NOTHING);
        let serves = |worker: &&Worker| worker.serves_from <= second;
        let worker = |worker: &Worker| WorkerView {
            number: worker.number,
            done: worker.done,
            busy: (worker.done / capacity).min(1.0),
            blocked: worker.blocked,
        };
        let split = |split: &Split| SplitView {
            end: split.end,
            arrivals: split.arrivals,
            lag: split.lag,
            worker: split.worker,
        };
        View {
            second,
            wanted: self.workers.len(),
            moving: self.splits.iter().filter(|split| split.paused_until > second + 1).count(),
            splits: self.splits.iter().map(split).collect(),
            workers: self.workers.iter().filter(serves).map(worker).collect(),
        }
    }

    /// Brings a decision about: workers start, or hand over and stop.
    fn scale(&mut self, workers: usize, places: Option<&[usize]>, second: u32) {
        while self.workers.len() < workers {
            let serves_from = second + 1 + self.settings.start_seconds;
            self.workers.push(Worker { number: self.next, serves_from, ..Worker::default() });
            self.next += 1;
        }
        if let Some(places) = places {
            places.iter().enumerate().for_each(|(split, worker)| self.give(split, *worker, second + 1));
        }
        while self.workers.len() > workers {
            // Those that do not serve yet first, then those with the fewest splits, then the newest.
            let count = |number: usize| self.splits.iter().filter(|split| split.worker == Some(number)).count();
            let order = |worker: &Worker| {
                (worker.serves_from <= second, count(worker.number), std::cmp::Reverse(worker.number))
            };
            let Some(at) = (0..self.workers.len()).min_by_key(|at| order(&self.workers[*at])) else { return };
            self.workers.remove(at);
        }
    }

    /// Shares the splits out anew where workers have come or gone.
    fn share_out(&mut self, second: u32) {
        let serving: Vec<usize> =
            self.workers.iter().filter(|worker| worker.serves_from <= second).map(|worker| worker.number).collect();
        if serving == self.shared {
            return;
        }
        match self.following {
            Following::Restarted if serving.is_empty() => {}
            Following::Restarted => (0..self.splits.len()).for_each(|split| {
                self.give(split, serving[split % serving.len()], second);
                self.splits[split].paused_until = second + self.settings.pause_seconds;
            }),
            Following::Counted => self.level_counts(&serving, second),
            Following::Named => self.adopt(&serving, second),
        }
        self.shared = serving;
    }

    /// Gives splits whose worker is gone to whoever has fewest.
    fn adopt(&mut self, serving: &[usize], second: u32) {
        for split in 0..self.splits.len() {
            let is_lost = self.splits[split].worker.is_none_or(|worker| !serving.contains(&worker));
            let fewest = serving.iter().min_by_key(|worker| (self.count(**worker), **worker)).copied();
            if let Some(worker) = fewest.filter(|_| is_lost) {
                self.give(split, worker, second);
            }
        }
    }

    fn level_counts(&mut self, serving: &[usize], second: u32) {
        self.adopt(serving, second);
        for _ in 0..self.splits.len() {
            let fewest = serving.iter().min_by_key(|worker| (self.count(**worker), **worker)).copied();
            let most = serving.iter().max_by_key(|worker| (self.count(**worker), **worker)).copied();
            let (Some(fewest), Some(most)) = (fewest, most) else { return };
            let Some(split) = self.splits.iter().position(|split| split.worker == Some(most)) else { return };
            if self.count(most) <= self.count(fewest) + 1 {
                return;
            }
            self.give(split, fewest, second);
        }
    }

    fn count(&self, worker: usize) -> usize {
        self.splits.iter().filter(|split| split.worker == Some(worker)).count()
    }

    fn give(&mut self, split: usize, worker: usize, second: u32) {
        let split = &mut self.splits[split];
        if split.worker != Some(worker) {
            split.worker = Some(worker);
            split.paused_until = second + self.settings.pause_seconds;
            self.moves += 1;
        }
    }
}

/// Takes from what waits, from each split as much as from the others as long as it has some; how much it was.
fn drain(splits: &mut [&mut Split], capacity: f64) -> f64 {
    splits.sort_by(|a, b| a.lag.total_cmp(&b.lag));
    let (mut left, count) = (capacity, splits.len());
    for (at, split) in splits.iter_mut().enumerate() {
        let taken = split.lag.min(left / (count - at) as f64);
        split.lag -= taken;
        left -= taken;
    }
    capacity - left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Answer;
    use thalweg_crds::scaling::ScalingSpec;

    /// So many workers at each second.
    struct Schedule(fn(u32) -> usize);

    impl Rule for Schedule {
        fn name(&self) -> &'static str {
            "schedule"
        }

        fn following(&self) -> Following {
            Following::Counted
        }

        fn look(&mut self, view: &View) -> Option<Answer> {
            Some(Answer { workers: (self.0)(view.second), reason: String::new(), places: None })
        }
    }

    fn settings() -> Settings {
        let scaling = ScalingSpec { max_workers: 4, ..ScalingSpec::default() };
        Settings { capacity: 100.0, start_seconds: 10, pause_seconds: 2, stalls: Vec::new(), scaling }
    }

    fn run(arrivals: f32, settings: &Settings, schedule: fn(u32) -> usize) -> Outcome {
        simulate(&Trace::new(2, vec![arrivals; 200]), settings, &mut Schedule(schedule))
    }

    #[test]
    fn a_load_within_capacity_never_waits() {
        let outcome = run(50.0, &settings(), |_| 1);
        assert_eq!((outcome.worst_lag_seconds, outcome.moves), (0.0, 0));
        assert_eq!(outcome.worker_hours, 100.0 / 3_600.0);
    }

    #[test]
    fn a_load_twice_the_capacity_is_half_as_old_as_time_goes() {
        let outcome = run(100.0, &settings(), |_| 1);
        assert_eq!(outcome.worst_lag_seconds, 50.0);
        assert_eq!(outcome.percent_time_above_target, 40.0, "older than 30 s from the 61st second on");
    }

    #[test]
    fn a_worker_serves_after_its_start_and_its_split_pauses() {
        let outcome = run(75.0, &settings(), |_| 2);
        let at = |second: usize| outcome.seconds[second].lag_seconds;
        assert_eq!((outcome.moves, outcome.seconds[0].workers, outcome.seconds[1].workers), (1, 1, 2));
        assert!(at(10) <= at(12), "it pauses");
        assert!(at(20) < at(13), "then there are two: {:?}", &outcome.seconds[..25]);
        assert_eq!(outcome.worker_hours, (1.0 + 99.0 * 2.0) / 3_600.0, "a start costs, too");
    }

    #[test]
    fn nothing_is_done_while_the_sink_stalls() {
        let stalled = Settings { stalls: vec!["10-50".parse().unwrap()], ..settings() };
        let outcome = run(10.0, &stalled, |_| 1);
        assert_eq!(outcome.seconds[49].lag_seconds, 40.0);
        assert_eq!(outcome.seconds[99].lag_seconds, 0.0);
    }
}
