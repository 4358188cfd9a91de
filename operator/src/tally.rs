//! Sums over all pipelines, for gauges.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use thalweg_crds::pipeline::{Phase, PipelineStatus};

use crate::metrics::Metrics;

/// The last status of each pipeline, as figures.
#[derive(Default)]
pub struct Tally {
    pipelines: Mutex<HashMap<(String, String), Figures>>,
}

#[derive(Clone)]
struct Figures {
    phase: String,
    owned: i64,
    moving: i64,
    waiting: i64,
}

impl Tally {
    /// Takes note of a pipeline's status, or of its end.
    pub fn note(&self, namespace: &str, name: &str, status: Option<&PipelineStatus>, metrics: &Metrics) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let now = status.map(figures);
        let before = match &now {
            Some(now) => pipelines.insert(key, now.clone()),
            None => pipelines.remove(&key),
        };
        // Only the difference: thousands of pipelines are looked at in a second.
        before.iter().for_each(|figures| add(figures, -1, metrics));
        now.iter().for_each(|figures| add(figures, 1, metrics));
    }
}

fn add(figures: &Figures, sign: i64, metrics: &Metrics) {
    metrics.pipelines.with_label_values(&[&figures.phase]).add(sign);
    let units = [("owned", figures.owned), ("moving", figures.moving), ("waiting", figures.waiting)];
    units.iter().for_each(|(state, count)| metrics.units.with_label_values(&[state]).add(sign * count));
}

fn figures(status: &PipelineStatus) -> Figures {
    let units = status.units.clone().unwrap_or_default();
    // Nobody waits where none is to have an owner.
    let rests = matches!(status.phase, Some(Phase::Paused | Phase::Idle | Phase::Completed));
    let waiting = if rests { 0 } else { i64::from(units.total - units.owned - units.moving) };
    Figures {
        phase: status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
        owned: units.owned.into(),
        moving: units.moving.into(),
        waiting,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_crds::pipeline::UnitsStatus;

    use super::*;

    #[test]
    fn units_of_a_pipeline_that_rests_wait_for_nobody() {
        let waiting = |phase| {
            let units = UnitsStatus { total: 16, owned: 2, moving: 1, ..UnitsStatus::default() };
            figures(&PipelineStatus { phase: Some(phase), units: Some(units), ..PipelineStatus::default() }).waiting
        };
        let rest = [Phase::Paused, Phase::Idle, Phase::Completed];
        assert_eq!((rest.map(waiting), waiting(Phase::Pending)), ([0, 0, 0], 13));
    }
}
