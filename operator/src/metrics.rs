//! Every metric of the operator, in base units.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::each::Each;
use crate::queue::Queue;
use crate::requests::WATCH;

/// From an untouched pipeline (tenths of a millisecond) to one whose objects are all made (half a second).
const RECONCILE_BUCKETS: [f64; 9] = [0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From a first plan in a warm page cache (tens of milliseconds) to the limit.
const CHECK_BUCKETS: [f64; 7] = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// From an object that the API server has at hand to one that it answers no more.
const REQUEST_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

/// A metric's name and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of figure.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const RECONCILES: Metric = Metric {
    name: "thalweg_operator_reconciles_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Looks at a pipeline, by result: Unchanged, Changed, or the name of an error.",
};
const RECONCILE_SECONDS: Metric = Metric {
    name: "thalweg_operator_reconcile_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "How long a look at a pipeline takes.",
};
const QUEUE: Metric = Metric {
    name: "thalweg_operator_queue_length",
    kind: Kind::Gauge,
    labels: &[],
    help: "Pipelines that are due to be looked at, and wait for it.",
};
const CHECK_SECONDS: Metric = Metric {
    name: "thalweg_operator_check_seconds",
    kind: Kind::Histogram,
    labels: &["result"],
    help: "How long a child process plans SQL, by result: Stages, Problems, OverLimit, Failed.",
};
const WRITES: Metric = Metric {
    name: "thalweg_operator_writes_total",
    kind: Kind::Counter,
    labels: &["kind", "verb"],
    help: "Writes to the API server, but events and the leader's Lease.",
};
const REQUESTS: Metric = Metric {
    name: "thalweg_operator_api_requests_total",
    kind: Kind::Counter,
    labels: &["verb", "code"],
    help: "Requests to the API server, by the code of the answer, none where there was none. A watch counts once.",
};
const REQUEST_SECONDS: Metric = Metric {
    name: "thalweg_operator_api_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["verb"],
    help: "How long requests to the API server take until the answer begins; watches are left out.",
};
const REPORTS: Metric = Metric {
    name: "thalweg_operator_reports_total",
    kind: Kind::Counter,
    labels: &["result"],
    help: "Reports asked of workers, by result: Received, Failed.",
};
const LEADER: Metric =
    Metric { name: "thalweg_operator_leader", kind: Kind::Gauge, labels: &[], help: "1 while this replica leads." };
const LEADER_CHANGES: Metric = Metric {
    name: "thalweg_operator_leader_changes",
    kind: Kind::Gauge,
    labels: &[],
    help: "How often the leader's Lease has changed hands, as this replica saw it last, whether it leads or waits.",
};
const PIPELINES: Metric =
    Metric { name: "thalweg_operator_pipelines", kind: Kind::Gauge, labels: &["phase"], help: "Pipelines by phase." };
const UNITS: Metric = Metric {
    name: "thalweg_operator_units",
    kind: Kind::Gauge,
    labels: &["state"],
    help: "Units of all pipelines by state: owned, moving, waiting. Those of a pipeline that rests wait for nobody.",
};
/// Moves of units.
pub const MOVES: Metric = Metric {
    name: "thalweg_operator_unit_moves_total",
    kind: Kind::Counter,
    labels: &["pipeline", "kind"],
    help: "Changes of a unit's owner, by kind: Handoff, Takeover.",
};
const SCALINGS: Metric = Metric {
    name: "thalweg_operator_scaling_decisions_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Changes of a pipeline's number of workers, moves of work among them for the load's sake (Uneven), and limits that \
           began to stand in the way of a change, by reason.",
};
/// Age of the oldest record that waits, by pipeline.
pub const LAG: Metric = Metric {
    name: "thalweg_operator_lag_seconds",
    kind: Kind::Gauge,
    labels: &["pipeline"],
    help: "Age of the oldest record that waits; absent where it is not known.",
};
/// What that is to be below.
pub const TARGET: Metric = Metric {
    name: "thalweg_operator_target_lag_seconds",
    kind: Kind::Gauge,
    labels: &["pipeline"],
    help: "scaling.targetLag of a pipeline whose lag is known.",
};
/// Of pipelines that follow their load: what was decided.
pub const WORKERS: Metric = Metric {
    name: "thalweg_operator_scaling_workers",
    kind: Kind::Gauge,
    labels: &["pipeline", "which"],
    help: "Workers of a pipeline that follows its load: wanted, as was decided; needed by the load, whatever the bounds say.",
};
/// And from which rates.
pub const RATES: Metric = Metric {
    name: "thalweg_operator_scaling_records_per_second",
    kind: Kind::Gauge,
    labels: &["pipeline", "which"],
    help: "Of a pipeline that follows its load: arrivals, and the capacity of one worker, as it was learnt.",
};
/// And from which shares of time.
pub const SHARES: Metric = Metric {
    name: "thalweg_operator_scaling_ratio",
    kind: Kind::Gauge,
    labels: &["pipeline", "which"],
    help: "Of a pipeline that follows its load: how busy the busiest worker is, and the share of all workers' time blocked by \
           sinks, 0 to 1.",
};
/// And what stands in the way.
pub const LIMITED: Metric = Metric {
    name: "thalweg_operator_scaling_limited",
    kind: Kind::Gauge,
    labels: &["pipeline", "reason"],
    help: "Of a pipeline that follows its load: 1 with a reason while ScalingLimited is True, else 0 without one.",
};
const STARTED: Metric = Metric {
    name: "thalweg_operator_started_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When this process started, in seconds since 1970.",
};

/// Every metric, in the order of the reference.
pub const ALL: [Metric; 21] = [
    RECONCILES,
    RECONCILE_SECONDS,
    QUEUE,
    CHECK_SECONDS,
    WRITES,
    REQUESTS,
    REQUEST_SECONDS,
    REPORTS,
    LEADER,
    LEADER_CHANGES,
    PIPELINES,
    UNITS,
    MOVES,
    SCALINGS,
    LAG,
    TARGET,
    WORKERS,
    RATES,
    SHARES,
    LIMITED,
    STARTED,
];

/// What is counted.
pub struct Metrics {
    registry: Registry,
    /// Looks at pipelines, by result.
    pub reconciles: IntCounterVec,
    /// How long they take.
    pub reconcile_seconds: Histogram,
    /// Looks that wait.
    pub queue: Queue,
    /// How long checks take.
    pub check_seconds: HistogramVec,
    /// Writes, by kind and verb.
    pub writes: IntCounterVec,
    /// Requests to the API server, by verb and code.
    pub requests: IntCounterVec,
    /// How long they take, by verb.
    pub request_seconds: HistogramVec,
    /// Reports, by result.
    pub reports: IntCounterVec,
    /// Whether this replica leads.
    pub leader: IntGauge,
    /// How often the leader's Lease has changed hands.
    pub leader_changes: IntGauge,
    /// Pipelines by phase.
    pub pipelines: IntGaugeVec,
    /// Units by state.
    pub units: IntGaugeVec,
    /// Changes of the number of workers, and limits, by reason.
    pub scalings: IntCounterVec,
    /// What there is to say of single pipelines.
    pub each: Each,
    /// When this process started.
    pub started: Gauge,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// A name is registered twice or is no name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let latency = HistogramOpts::from(opts(RECONCILE_SECONDS)).buckets(RECONCILE_BUCKETS.to_vec());
        let checks = HistogramOpts::from(opts(CHECK_SECONDS)).buckets(CHECK_BUCKETS.to_vec());
        let requests = HistogramOpts::from(opts(REQUEST_SECONDS)).buckets(REQUEST_BUCKETS.to_vec());
        Ok(Self {
            reconciles: registered(&registry, IntCounterVec::new(opts(RECONCILES), RECONCILES.labels)?)?,
            reconcile_seconds: registered(&registry, Histogram::with_opts(latency)?)?,
            queue: registered(&registry, Queue::new(IntGauge::with_opts(opts(QUEUE))?))?,
            check_seconds: registered(&registry, HistogramVec::new(checks, CHECK_SECONDS.labels)?)?,
            writes: registered(&registry, IntCounterVec::new(opts(WRITES), WRITES.labels)?)?,
            requests: registered(&registry, IntCounterVec::new(opts(REQUESTS), REQUESTS.labels)?)?,
            request_seconds: registered(&registry, HistogramVec::new(requests, REQUEST_SECONDS.labels)?)?,
            reports: registered(&registry, IntCounterVec::new(opts(REPORTS), REPORTS.labels)?)?,
            leader: registered(&registry, IntGauge::with_opts(opts(LEADER))?)?,
            leader_changes: registered(&registry, IntGauge::with_opts(opts(LEADER_CHANGES))?)?,
            pipelines: registered(&registry, IntGaugeVec::new(opts(PIPELINES), PIPELINES.labels)?)?,
            units: registered(&registry, IntGaugeVec::new(opts(UNITS), UNITS.labels)?)?,
            scalings: registered(&registry, IntCounterVec::new(opts(SCALINGS), SCALINGS.labels)?)?,
            each: registered(&registry, Each::default())?,
            started: registered(&registry, Gauge::with_opts(opts(STARTED))?)?,
            registry,
        })
    }

    /// One write.
    pub fn wrote(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// One request to the API server, answered with this code after so much time.
    pub fn requested(&self, verb: &str, code: &str, took: Duration) {
        self.requests.with_label_values(&[verb, code]).inc();
        if verb != WATCH {
            self.request_seconds.with_label_values(&[verb]).observe(took.as_secs_f64());
        }
    }

    /// One look at a pipeline.
    pub fn reconciled(&self, result: &str, took: Duration) {
        self.reconciles.with_label_values(&[result]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory does not fail, and a metric that cannot be shown is left out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn opts(metric: Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_is_shown_with_its_help() {
        let metrics = Metrics::new().unwrap();
        metrics.wrote("Deployment", "apply");
        metrics.reconciled("Changed", Duration::from_millis(3));
        let text = metrics.text();
        assert!(text.contains("thalweg_operator_writes_total{kind=\"Deployment\",verb=\"apply\"} 1"), "{text}");
        assert!(text.contains("# HELP thalweg_operator_leader 1 while this replica leads."), "{text}");
        for metric in ALL {
            let unit = metric.name.ends_with("_total") == (metric.kind == Kind::Counter);
            assert!(unit && metric.name.starts_with("thalweg_operator_"), "{}", metric.name);
        }
    }
}
