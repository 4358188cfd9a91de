//! KEDA's Kafka scaler and the HorizontalPodAutoscaler behind it.

use std::collections::VecDeque;

use crate::rule::{Answer, Following, Rule, View};
use crate::settings::Settings;

/// How often the HPA looks: `--horizontal-pod-autoscaler-sync-period`.
const SYNC_SECONDS: u32 = 15;
/// How often KEDA looks whether anything is to be activated: `pollingInterval`.
const POLL_SECONDS: u32 = 30;
/// How long nothing must wait before the last pod goes: `cooldownPeriod`.
const COOLDOWN_SECONDS: u32 = 300;
/// The HPA goes down to the most that it recommended in this time: `--horizontal-pod-autoscaler-downscale-stabilization`.
const STABILISATION_SECONDS: u32 = 300;
/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// KEDA with a `lagThreshold`. Metric = min(Σ lag, partitions × threshold) (`getLagForPartition` and `getTotalLag` in
/// kedacore/keda `pkg/scalers/kafka_scaler.go`; <https://keda.sh/docs/latest/scalers/apache-kafka/>); the HPA wants
/// `ceil(metric / threshold)` pods unless it is within the tolerance, and may at most double their number or add four, in 15 s
/// (<https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>). Lag is what waits at the moment of a look;
/// that KEDA sees committed offsets, and so always some more, is left out.
pub struct Keda {
    name: &'static str,
    threshold: f64,
    least: usize,
    most: usize,
    recommended: VecDeque<(u32, usize)>,
    active: u32,
}

impl Keda {
    /// With a threshold, for so many splits.
    pub fn new(name: &'static str, threshold: f64, settings: &Settings, splits: usize) -> Self {
        let (least, most) = (settings.least(), settings.most(splits));
        Self { name, threshold, least, most, recommended: VecDeque::new(), active: 0 }
    }

    fn desired(&mut self, view: &View) -> usize {
        let current = view.wanted.max(1);
        let metric = view.lag().min(view.splits.len() as f64 * self.threshold);
        let ratio = metric / (self.threshold * current as f64);
        let raw = if (ratio - 1.0).abs() <= TOLERANCE { current } else { (metric / self.threshold).ceil() as usize };
        self.recommended.push_back((view.second, raw));
        self.recommended.retain(|(at, _)| at + STABILISATION_SECONDS > view.second);
        let stable = self.recommended.iter().map(|(_, workers)| *workers).max().unwrap_or(raw);
        // Down to the most of the window, up at once.
        let wanted = if raw < current { stable.min(current) } else { raw };
        wanted.min((current * 2).max(current + 4)).clamp(self.least.max(1), self.most)
    }
}

impl Rule for Keda {
    fn name(&self) -> &'static str {
        self.name
    }

    fn following(&self) -> Following {
        Following::Counted
    }

    fn look(&mut self, view: &View) -> Option<Answer> {
        let lag = view.lag();
        let answer = |workers| Some(Answer { workers, reason: format!("lag {lag:.0} records"), places: None });
        if view.second.is_multiple_of(POLL_SECONDS) && lag > 0.0 {
            self.active = view.second;
        }
        if view.wanted == 0 {
            return answer(1).filter(|_| view.second.is_multiple_of(POLL_SECONDS) && lag > 0.0);
        }
        if self.least == 0 && view.second >= self.active + COOLDOWN_SECONDS {
            self.recommended.clear();
            return answer(0);
        }
        if view.second.is_multiple_of(SYNC_SECONDS) { answer(self.desired(view)) } else { None }
    }
}
