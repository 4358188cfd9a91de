//! Numaflow's autoscaler.

use super::Window;
use crate::rule::{Answer, Following, Rule, View};
use crate::settings::Settings;

/// How often a vertex is looked at: `taskInterval`.
const LOOK_SECONDS: u32 = 30;
/// Pending records and rate are means of this time: `lookbackSeconds`.
const LOOKBACK_SECONDS: u32 = 120;
/// `scaleUpCooldownSeconds` and `scaleDownCooldownSeconds`.
const COOLDOWN_SECONDS: u32 = 90;
/// `zeroReplicaSleepSeconds`.
const SLEEP_SECONDS: u32 = 120;
/// `targetProcessingSeconds`.
const TARGET_SECONDS: f64 = 20.0;
/// `replicasPerScaleUp` and `replicasPerScaleDown`.
const STEP: usize = 2;

/// A source vertex of Numaflow with its defaults: desired = round(pending / rate / 20 s × ready); at most two replicas at
/// once; none where nothing is pending and nothing is done (`scaleOneVertex` and `desiredReplicas` in numaproj/numaflow
/// `pkg/reconciler/vertex/scaling/scaling.go`; <https://numaflow.numaproj.io/user-guide/reference/autoscaling/>).
pub struct Numaflow {
    least: usize,
    most: usize,
    pending: Window,
    rate: Window,
    scaled: u32,
}

impl Numaflow {
    /// For so many splits.
    pub fn new(settings: &Settings, splits: usize) -> Self {
        let window = || Window::new(LOOKBACK_SECONDS);
        let (least, most) = (settings.least(), settings.most(splits));
        Self { least, most, pending: window(), rate: window(), scaled: 0 }
    }

    fn desired(&self, ready: usize) -> usize {
        let (pending, rate) = (self.pending.mean(), self.rate.mean());
        let desired = match () {
            () if pending == 0.0 && rate == 0.0 => 0,
            // It is never known then how many are needed, and one is what it begins with.
            () if pending == 0.0 || rate == 0.0 => 1,
            () => ((pending / rate / TARGET_SECONDS * ready as f64).round() as usize).max(1),
        };
        desired.clamp(self.least, self.most)
    }
}

impl Rule for Numaflow {
    fn name(&self) -> &'static str {
        "Numaflow"
    }

    fn following(&self) -> Following {
        Following::Counted
    }

    fn look(&mut self, view: &View) -> Option<Answer> {
        self.pending.push(view.lag());
        self.rate.push(view.done());
        let (pending, rate) = (self.pending.mean(), self.rate.mean());
        let rests = view.second - self.scaled;
        let workers = match () {
            () if !view.second.is_multiple_of(LOOK_SECONDS) || rests < COOLDOWN_SECONDS => return None,
            () if view.wanted == 0 => usize::from(rests >= SLEEP_SECONDS),
            () if view.workers.len() != view.wanted => return None,
            () => self.desired(view.workers.len()).clamp(view.wanted.saturating_sub(STEP), view.wanted + STEP),
        };
        if workers != view.wanted {
            self.scaled = view.second;
        }
        Some(Answer { workers, reason: format!("{pending:.0} pending, {rate:.0}/s"), places: None })
    }
}
