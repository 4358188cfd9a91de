//! Sums over all pipelines, for gauges.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use thalweg_crds::pipeline::PipelineStatus;

use crate::metrics::Metrics;

/// The last status of each pipeline, as figures.
#[derive(Default)]
pub struct Tally {
    pipelines: Mutex<HashMap<(String, String), Figures>>,
}

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
        match status {
            Some(status) => drop(pipelines.insert(key, figures(status))),
            None => drop(pipelines.remove(&key)),
        }
        let mut phases: BTreeMap<&str, i64> = BTreeMap::new();
        pipelines.values().for_each(|figures| *phases.entry(&figures.phase).or_default() += 1);
        metrics.pipelines.reset();
        phases.iter().for_each(|(phase, count)| metrics.pipelines.with_label_values(&[phase]).set(*count));
        let sum = |of: fn(&Figures) -> i64| pipelines.values().map(of).sum();
        metrics.units.with_label_values(&["owned"]).set(sum(|figures| figures.owned));
        metrics.units.with_label_values(&["moving"]).set(sum(|figures| figures.moving));
        metrics.units.with_label_values(&["waiting"]).set(sum(|figures| figures.waiting));
    }
}

fn figures(status: &PipelineStatus) -> Figures {
    let units = status.units.clone().unwrap_or_default();
    Figures {
        phase: status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
        owned: units.owned.into(),
        moving: units.moving.into(),
        waiting: i64::from(units.total - units.owned - units.moving),
    }
}
