//! Metrics of single pipelines: how late each is, how often its units moved, and where it follows its load what that was decided
//! from. Kept as figures, and made into metrics when somebody asks: thousands of pipelines have thousands of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts};
use thalweg_crds::condition::{ConditionStatus, ConditionType};
use thalweg_crds::pipeline::PipelineStatus;
use thalweg_operator_plan::autoscale::Inputs;
use thalweg_operator_plan::held::Moves;
use thalweg_operator_plan::scaling::Scaling;

use crate::metrics::{LAG, LIMITED, MOVES, Metric, RATES, SHARES, TARGET, WORKERS};

const TESTED: &str = "a test collects these constants";

/// The figures of all pipelines, by `NAMESPACE.NAME`, as workers name theirs.
#[derive(Clone, Default)]
pub struct Each(Arc<Mutex<BTreeMap<String, Figures>>>);

#[derive(Clone, Debug, Default)]
struct Figures {
    lag_seconds: Option<f64>,
    target_seconds: Option<f64>,
    moves: Moves,
    /// Of one that follows its load: how many workers were decided on, from what, and what stands in the way.
    follows: Option<(usize, Inputs, Option<String>)>,
}

impl Each {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Figures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what is told of a pipeline, whose lag is to be below so many seconds where that is known.
    pub fn note(
        &self,
        namespace: &str,
        name: &str,
        status: &PipelineStatus,
        scaling: Option<&Scaling>,
        target: Option<f64>,
    ) {
        let lag_seconds = status.lag.as_ref().and_then(|lag| lag.seconds);
        let follows = scaling.and_then(|scaling| Some((scaling.workers, scaling.inputs?, limit(status))));
        let target_seconds = target.filter(|_| lag_seconds.is_some());
        let mut all = self.all();
        let figures = all.entry(label(namespace, name)).or_default();
        *figures = Figures { lag_seconds, target_seconds, follows, moves: figures.moves };
    }

    /// Units of a pipeline have changed owners.
    pub fn moved(&self, namespace: &str, name: &str, moves: Moves) {
        let mut all = self.all();
        let so_far = &mut all.entry(label(namespace, name)).or_default().moves;
        so_far.handoffs += moves.handoffs;
        so_far.takeovers += moves.takeovers;
    }

    /// A pipeline is being deleted: nothing is said of it any more but how often its units moved.
    pub fn leaves(&self, namespace: &str, name: &str) {
        if let Some(figures) = self.all().get_mut(&label(namespace, name)) {
            *figures = Figures { moves: figures.moves, ..Figures::default() };
        }
    }

    /// A pipeline that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.all().remove(&label(namespace, name));
    }
}

fn label(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}

/// Why its number of workers does not follow its load.
pub fn limit(status: &PipelineStatus) -> Option<String> {
    let is_limited = |kind: &str, status: &str| {
        kind == ConditionType::ScalingLimited.as_str() && status == ConditionStatus::True.as_str()
    };
    let limited = status.conditions.iter().find(|condition| is_limited(&condition.type_, &condition.status));
    limited.map(|limited| limited.reason.clone())
}

impl Collector for Each {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let [lag, target, workers, rates, shares, limited] = [LAG, TARGET, WORKERS, RATES, SHARES, LIMITED].map(gauges);
        let set = |gauge: &GaugeVec, labels: &[&str], figure: Option<f64>| {
            if let Some(figure) = figure {
                gauge.with_label_values(labels).set(figure);
            }
        };
        let moves = IntCounterVec::new(Opts::new(MOVES.name, MOVES.help), MOVES.labels).expect(TESTED);
        for (pipeline, figures) in &*self.all() {
            let pipeline = pipeline.as_str();
            moves.with_label_values(&[pipeline, "Handoff"]).inc_by(figures.moves.handoffs);
            moves.with_label_values(&[pipeline, "Takeover"]).inc_by(figures.moves.takeovers);
            set(&lag, &[pipeline], figures.lag_seconds);
            set(&target, &[pipeline], figures.target_seconds);
            let Some((wanted, inputs, limit)) = &figures.follows else { continue };
            set(&workers, &[pipeline, "wanted"], Some(*wanted as f64));
            set(&workers, &[pipeline, "needed"], inputs.needed.map(|needed| needed as f64));
            set(&rates, &[pipeline, "arrivals"], inputs.arrivals);
            set(&rates, &[pipeline, "capacity"], inputs.capacity);
            set(&shares, &[pipeline, "busiest"], inputs.busy);
            set(&shares, &[pipeline, "blocked"], inputs.blocked);
            let is_limited = if limit.is_some() { 1.0 } else { 0.0 };
            set(&limited, &[pipeline, limit.as_deref().unwrap_or_default()], Some(is_limited));
        }
        let all = [lag, target, workers, rates, shares, limited];
        let families = all.into_iter().flat_map(|gauge| gauge.collect()).chain(moves.collect());
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn gauges(metric: Metric) -> GaugeVec {
    GaugeVec::new(Opts::new(metric.name, metric.help), metric.labels).expect(TESTED)
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};
    use thalweg_crds::pipeline::LagStatus;

    use super::*;

    fn text(each: &Each) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&each.collect(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_known_is_shown_and_what_is_not_is_absent() {
        let each = Each::default();
        let lag = LagStatus { seconds: Some(4.5), ..LagStatus::default() };
        let status = PipelineStatus { lag: Some(lag), ..PipelineStatus::default() };
        let inputs = Inputs { arrivals: Some(900.0), busy: Some(0.5), needed: Some(3), ..Inputs::default() };
        let scaling = Scaling { workers: 2, inputs: Some(inputs), ..Scaling::default() };
        each.moved("shop", "fares", Moves { handoffs: 2, takeovers: 1 });
        each.note("shop", "fares", &status, Some(&scaling), Some(30.0));
        each.note("shop", "others", &PipelineStatus::default(), Some(&Scaling::default()), Some(30.0));
        each.moved("shop", "fares", Moves { handoffs: 1, takeovers: 0 });
        let shown = text(&each);
        for line in [
            "thalweg_operator_lag_seconds{pipeline=\"shop.fares\"} 4.5",
            "thalweg_operator_target_lag_seconds{pipeline=\"shop.fares\"} 30",
            "thalweg_operator_scaling_workers{pipeline=\"shop.fares\",which=\"needed\"} 3",
            "thalweg_operator_scaling_workers{pipeline=\"shop.fares\",which=\"wanted\"} 2",
            "thalweg_operator_scaling_records_per_second{pipeline=\"shop.fares\",which=\"arrivals\"} 900",
            "thalweg_operator_scaling_ratio{pipeline=\"shop.fares\",which=\"busiest\"} 0.5",
            "thalweg_operator_scaling_limited{pipeline=\"shop.fares\",reason=\"\"} 0",
            "thalweg_operator_unit_moves_total{kind=\"Handoff\",pipeline=\"shop.fares\"} 3",
            "thalweg_operator_unit_moves_total{kind=\"Takeover\",pipeline=\"shop.others\"} 0",
        ] {
            assert!(shown.contains(line), "{line} is not in {shown}");
        }
        let others = shown.lines().filter(|line| line.contains("shop.others")).count();
        assert!(!shown.contains("capacity\"}") && !shown.contains("blocked\"}") && others == 2, "{shown}");
        each.forget("shop", "fares");
        assert!(!text(&each).contains("fares"));
    }
}
