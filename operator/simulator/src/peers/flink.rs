//! The autoscaler of Flink's Kubernetes operator.

use std::collections::VecDeque;

use super::Window;
use crate::rule::{Answer, Following, Rule, View};
use crate::settings::Settings;

/// How often the operator looks.
const LOOK_SECONDS: u32 = 60;
/// `job.autoscaler.utilization.target`.
const TARGET: f64 = 0.7;
/// 1 − `job.autoscaler.scale-down.max-factor`.
const MOST_DOWN: f64 = 0.4;

/// What may be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlinkSettings {
    /// What a table calls it.
    pub name: &'static str,
    /// `metrics.window`, in seconds.
    pub window: u32,
    /// `stabilization.interval`, in seconds.
    pub stabilise: u32,
    /// `catch-up.duration`, in seconds.
    pub catch_up: f64,
    /// `restart.time`, in seconds.
    pub restart: f64,
    /// `utilization.min` and `utilization.max`.
    pub band: (f64, f64),
    /// `scale-down.interval`, in seconds.
    pub down_delay: u32,
}

impl FlinkSettings {
    /// As it comes.
    pub const DEFAULT: Self = Self {
        name: "Flink, default",
        window: 900,
        stabilise: 300,
        catch_up: 1_800.0,
        restart: 300.0,
        band: (0.4, 1.0),
        down_delay: 3_600,
    };

    /// As somebody sets it who wants it quick.
    pub fn tuned(settings: &Settings) -> Self {
        Self {
            name: "Flink, tuned",
            window: 180,
            stabilise: 60,
            catch_up: 300.0,
            restart: f64::from(settings.pause_seconds),
            band: (TARGET - 0.2, TARGET + 0.2),
            down_delay: 600,
        }
    }
}

/// Flink's autoscaler: target = LAG / catchUp + IN · restart / catchUp + IN / 0.7 (`AutoScalerUtils.getTargetProcessingCapacity`),
/// P′ = ceil(P · clamp(target / trueRate, 0.4, …)), then up to a divisor of the partitions (`JobVertexScaler.scale`, mode
/// `EVENLY_SPREAD`), if the true rate is outside of the band, over a full window after the last change has settled; down only to
/// the most of `scale-down.interval` (apache/flink-kubernetes-operator, `flink-autoscaler`;
/// <https://nightlies.apache.org/flink/flink-kubernetes-operator-docs-main/docs/custom-resource/autoscaler/>). Each change
/// restarts the job; the restart takes no longer than a move does here, which is far better than it is.
pub struct Flink {
    settings: FlinkSettings,
    least: usize,
    most: usize,
    incoming: Window,
    true_rate: Window,
    serving: usize,
    settled: u32,
    down: VecDeque<(u32, usize)>,
}

impl Flink {
    /// With settings, for so many splits. A job has at least one task.
    pub fn new(flink: FlinkSettings, settings: &Settings, splits: usize) -> Self {
        let window = || Window::new(flink.window);
        Self {
            settings: flink,
            least: settings.least().max(1),
            most: settings.most(splits),
            incoming: window(),
            true_rate: window(),
            serving: 0,
            settled: 0,
            down: VecDeque::new(),
        }
    }

    /// Records a second that are to be done, at a utilisation of what is done.
    fn target(&self, lag: f64, utilisation: f64, restart: f64) -> f64 {
        let Self { settings: FlinkSettings { catch_up, .. }, incoming, .. } = self;
        lag / catch_up + incoming.mean() * restart / catch_up + incoming.mean() / utilisation
    }

    /// The next parallelism by which the partitions can be divided.
    fn aligned(&self, parallelism: usize, current: usize, splits: usize) -> usize {
        let most = if parallelism > current { self.most } else { self.most.min(current) };
        (parallelism..=most).find(|up| splits.is_multiple_of(*up)).unwrap_or(parallelism)
    }

    fn decide(&mut self, view: &View) -> Option<usize> {
        let (rate, lag, current) = (self.true_rate.mean(), view.lag(), view.wanted);
        let (low, high) = self.settings.band;
        let is_inside = rate >= self.target(lag, high, 0.0) && rate <= self.target(lag, low, 0.0);
        if rate == 0.0 {
            return None;
        }
        let factor = (self.target(lag, TARGET, self.settings.restart) / rate).max(MOST_DOWN);
        let wanted = ((current as f64 * factor).ceil() as usize).clamp(self.least, self.most);
        let wanted = self.aligned(wanted, current, view.splits.len());
        if wanted >= current {
            self.down.clear();
            return (wanted > current && !is_inside).then_some(wanted);
        }
        self.down.push_back((view.second, wanted));
        let first = self.down.front().map_or(view.second, |(at, _)| *at);
        if is_inside || view.second < first + self.settings.down_delay {
            return None;
        }
        let recent = self.down.iter().filter(|(at, _)| at + self.settings.down_delay > view.second);
        recent.map(|(_, wanted)| *wanted).max()
    }
}

impl Rule for Flink {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn following(&self) -> Following {
        Following::Restarted
    }

    fn look(&mut self, view: &View) -> Option<Answer> {
        if view.workers.len() != self.serving {
            (self.serving, self.settled) = (view.workers.len(), view.second + self.settings.stabilise);
            self.incoming.clear();
            self.true_rate.clear();
            self.down.clear();
        }
        if view.second < self.settled || view.workers.len() != view.wanted {
            return None;
        }
        let busy: f64 = view.workers.iter().map(|worker| worker.busy).sum();
        self.incoming.push(view.arrivals());
        if busy > 0.0 {
            self.true_rate.push(view.done() / busy * view.workers.len() as f64);
        }
        if !view.second.is_multiple_of(LOOK_SECONDS) || !self.incoming.is_full() {
            return None;
        }
        let reason = format!("{:.0}/s in, {:.0}/s at most", self.incoming.mean(), self.true_rate.mean());
        self.decide(view).map(|workers| Answer { workers, reason, places: None })
    }
}
