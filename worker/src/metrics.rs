//! Prometheus metrics: the one list of them, collected from the counters when they are asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::ValueEnum;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, Bucket, Histogram, LabelPair, MetricFamily, MetricType};
use prometheus::{CounterVec, Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};
use thalweg_core::time::Watermark;

use crate::runtime::counters::{BadCounters, Times, Watched};
use crate::runtime::dead_letter::class_name;

/// A metric: what is served, and what the reference says of it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it counts or shows.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Whether it only grows.
    pub kind: Kind,
}

/// What there are series by beyond sources and stages, where that is asked for: each split, or each unit, is one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum By {
    /// Lag and the end of each split that a process reads.
    Split,
    /// Commits and work of each unit that a process runs.
    Unit,
}

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts in buckets.
    Histogram,
}

const SOURCE: &[&str] = &["pipeline", "source"];
const SPLIT: &[&str] = &["pipeline", "source", "split"];
const STAGE: &[&str] = &["pipeline", "stage"];
const UNIT: &[&str] = &["pipeline", "stage", "unit"];

const ROWS: Metric = counter("thalweg_source_rows_total", "Rows decoded.", SOURCE);
const LATE: Metric = counter(
    "thalweg_source_late_rows_total",
    "Rows that came late: behind the watermark of their log, or behind windows that had closed.",
    SOURCE,
);
const BAD: Metric = counter(
    "thalweg_source_bad_records_total",
    "Records that could not become rows, by class: Decode, Schema, Evaluation, Late, Rejected.",
    &["pipeline", "source", "class"],
);
const LAG: Metric = Metric {
    name: "thalweg_source_lag_records",
    help: "Records between what all units have and the ends of the splits that this process reads; absent where an end is \
           not known.",
    labels: SOURCE,
    kind: Kind::Gauge,
};
const LAG_SECONDS: Metric = Metric {
    name: "thalweg_source_lag_seconds",
    help: "Age of the oldest record that some unit does not have, of the splits that this process reads; absent where it \
           is not known.",
    labels: SOURCE,
    kind: Kind::Gauge,
};
/// What `thalweg record-trace` reads.
pub const ENDS: Metric = Metric {
    name: "thalweg_source_end_records",
    help: "Where the end of each split is that this process reads, in records; absent where it is not known. How fast it \
           moves is how much comes in.",
    labels: SPLIT,
    kind: Kind::Gauge,
};
const SPLIT_LAG: Metric = Metric {
    name: "thalweg_split_lag_records",
    help: "Records between what all units have and the end of each split that this process reads; absent where the end is not \
           known.",
    labels: SPLIT,
    kind: Kind::Gauge,
};
const SPLIT_LAG_SECONDS: Metric = Metric {
    name: "thalweg_split_lag_seconds",
    help: "Age of the oldest record that some unit does not have, of each split that this process reads; absent where it is \
           not known.",
    labels: SPLIT,
    kind: Kind::Gauge,
};
const OUT: Metric = counter("thalweg_stage_rows_total", "Rows emitted.", STAGE);
const REJECTED: Metric =
    counter("thalweg_stage_rejected_rows_total", "Emitted rows that the sink would not take.", STAGE);
const DEAD: Metric = counter("thalweg_stage_dead_letters_total", "Dead letters written.", STAGE);
const COMMITS: Metric = counter("thalweg_stage_commits_total", "Commits of units.", STAGE);
const COMMIT_SECONDS: Metric = Metric {
    name: "thalweg_stage_commit_seconds",
    help: "How long commits of units took, from their beginning until they were accepted.",
    labels: STAGE,
    kind: Kind::Histogram,
};
const SINK_SECONDS: Metric = Metric {
    name: "thalweg_sink_write_seconds",
    help: "How long each step took that makes output of a stage last in its sinks, or shows it: a file that is finished, or \
           published, a transaction that is ended.",
    labels: STAGE,
    kind: Kind::Histogram,
};
const WATERMARK: Metric = Metric {
    name: "thalweg_stage_watermark_seconds",
    help: "Event time up to which rows are complete, in seconds since 1970; absent until it is known, and once all \
           input has ended.",
    labels: STAGE,
    kind: Kind::Gauge,
};
const UNIT_COMMITS: Metric =
    counter("thalweg_unit_commits_total", "Commits of each unit since this process has it.", UNIT);
const UNIT_BUSY: Metric = counter(
    "thalweg_unit_busy_seconds_total",
    "Time that each unit has worked since this process has it: how fast it grows is how busy it is, 0 to 1.",
    UNIT,
);

/// Every metric.
#[cfg(test)]
pub const ALL: [Metric; 17] = [
    ROWS,
    LATE,
    BAD,
    LAG,
    LAG_SECONDS,
    ENDS,
    SPLIT_LAG,
    SPLIT_LAG_SECONDS,
    OUT,
    REJECTED,
    DEAD,
    COMMITS,
    COMMIT_SECONDS,
    SINK_SECONDS,
    WATERMARK,
    UNIT_COMMITS,
    UNIT_BUSY,
];

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, help, labels, kind: Kind::Counter }
}

impl Metric {
    fn counters(&self) -> IntCounterVec {
        debug_assert_eq!(self.kind, Kind::Counter);
        IntCounterVec::new(Opts::new(self.name, self.help), self.labels).expect("a test collects these constants")
    }

    fn float_counters(&self) -> CounterVec {
        debug_assert_eq!(self.kind, Kind::Counter);
        CounterVec::new(Opts::new(self.name, self.help), self.labels).expect("a test collects these constants")
    }

    fn gauges(&self) -> GaugeVec {
        debug_assert_eq!(self.kind, Kind::Gauge);
        GaugeVec::new(Opts::new(self.name, self.help), self.labels).expect("a test collects these constants")
    }

    /// One series of a histogram. Its buckets hold what those before them hold, too.
    fn series(&self, labels: &[&str], times: &Times) -> proto::Metric {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        // Read once: what is counted meanwhile is in every bucket, or in none.
        let counts: Vec<_> = times.counts().collect();
        let mut within = 0;
        let bucket = |(bound, count): (&Duration, &u64)| {
            within += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(within);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(Times::BOUNDS.iter().zip(&counts).map(bucket).collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(times.total().as_secs_f64());
        let mut metric = proto::Metric::from_label(self.labels.iter().zip(labels).map(pair).collect());
        metric.set_histogram(histogram);
        metric
    }

    /// All series of a histogram.
    fn histogram(&self, series: Vec<proto::Metric>) -> MetricFamily {
        debug_assert_eq!(self.kind, Kind::Histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(series);
        family
    }
}

/// Says which pipelines there are, whenever it is asked.
pub type Pipelines = Box<dyn Fn() -> Vec<Watched> + Send + Sync>;

/// Reads the counters of all pipelines at each scrape.
struct Counted {
    pipelines: Pipelines,
    by: Vec<By>,
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (rows, late, bad) = (ROWS.counters(), LATE.counters(), BAD.counters());
        let (out, rejected, dead, commits) = (OUT.counters(), REJECTED.counters(), DEAD.counters(), COMMITS.counters());
        let (watermark, lag, lag_seconds) = (WATERMARK.gauges(), LAG.gauges(), LAG_SECONDS.gauges());
        let (mut commit_seconds, mut sink_seconds) = (Vec::new(), Vec::new());
        let pipelines = (self.pipelines)();
        for pipeline in &pipelines {
            for source in &pipeline.counters.sources {
                let labels = [pipeline.name.as_str(), source.name.as_str()];
                rows.with_label_values(&labels).inc_by(source.rows.get());
                late.with_label_values(&labels).inc_by(source.late.get());
                if let Some(found) = source.lag() {
                    lag.with_label_values(&labels).set(found.records as f64);
                    if let Some(seconds) = found.seconds {
                        lag_seconds.with_label_values(&labels).set(seconds);
                    }
                }
                for class in BadCounters::CLASSES {
                    let labels = [labels[0], labels[1], class_name(class)];
                    bad.with_label_values(&labels).inc_by(source.bad.of(class).get());
                }
            }
            for stage in &pipeline.counters.stages {
                let number = stage.id.to_string();
                let labels = [pipeline.name.as_str(), number.as_str()];
                out.with_label_values(&labels).inc_by(stage.rows_out.get());
                rejected.with_label_values(&labels).inc_by(stage.rejected.get());
                dead.with_label_values(&labels).inc_by(stage.dead_letters.get());
                commits.with_label_values(&labels).inc_by(stage.commits.get());
                commit_seconds.push(COMMIT_SECONDS.series(&labels, &stage.commit_times));
                sink_seconds.push(SINK_SECONDS.series(&labels, &stage.sink_times));
                if !matches!(stage.watermark(), Watermark::UNKNOWN | Watermark::END) {
                    watermark.with_label_values(&labels).set(stage.watermark().0 as f64 / 1e3);
                }
            }
        }
        let counters =
            [rows, late, bad, out, rejected, dead, commits].into_iter().flat_map(|counter| counter.collect());
        let gauges = [watermark, lag, lag_seconds].into_iter().flat_map(|gauge| gauge.collect());
        let times = [COMMIT_SECONDS.histogram(commit_seconds), SINK_SECONDS.histogram(sink_seconds)];
        let each = self.by.iter().flat_map(|by| match by {
            By::Split => of_splits(&pipelines),
            By::Unit => of_units(&pipelines),
        });
        counters.chain(gauges).chain(times).chain(each).filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn of_splits(pipelines: &[Watched]) -> Vec<MetricFamily> {
    let (ends, lag, lag_seconds) = (ENDS.gauges(), SPLIT_LAG.gauges(), SPLIT_LAG_SECONDS.gauges());
    for pipeline in pipelines {
        for source in &pipeline.counters.sources {
            for (split, found) in source.lags() {
                let labels = [&pipeline.name, &source.name, &split];
                lag.with_label_values(&labels).set(found.records as f64);
                if let Some(seconds) = found.seconds {
                    lag_seconds.with_label_values(&labels).set(seconds);
                }
            }
            for (split, end) in source.ends() {
                ends.with_label_values(&[&pipeline.name, &source.name, &split]).set(end as f64);
            }
        }
    }
    [ends, lag, lag_seconds].into_iter().flat_map(|gauge| gauge.collect()).collect()
}

fn of_units(pipelines: &[Watched]) -> Vec<MetricFamily> {
    let (commits, busy) = (UNIT_COMMITS.counters(), UNIT_BUSY.float_counters());
    for pipeline in pipelines {
        for (unit, counters) in pipeline.counters.units() {
            let labels = [pipeline.name.clone(), unit.stage.0.to_string(), unit.index.to_string()];
            commits.with_label_values(&labels).inc_by(counters.commits.get());
            busy.with_label_values(&labels).inc_by(counters.worked_nanos.get() as f64 / 1e9);
        }
    }
    commits.collect().into_iter().chain(busy.collect()).collect()
}

/// Serves `/metrics` for as long as the process runs.
pub async fn serve(address: SocketAddr, pipelines: Vec<Watched>, by: Vec<By>) -> std::io::Result<()> {
    let app = router(Box::new(move || pipelines.clone()), by)?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

/// Answers `/metrics`, with further series by what is asked for.
pub fn router(pipelines: Pipelines, mut by: Vec<By>) -> std::io::Result<Router> {
    // A metric that is shown twice is none.
    by.sort();
    by.dedup();
    let registry = Registry::new();
    registry.register(Box::new(Counted { pipelines, by })).map_err(std::io::Error::other)?;
    Ok(Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry)))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::unit::{Epoch, StageId, UnitId};

    use crate::runtime::counters::{Counters, SourceCounters, StageCounters};
    use crate::runtime::lag::Lag;

    use super::*;

    /// What is shown of a pipeline with a source of two splits, and a unit.
    fn shown(by: Vec<By>) -> String {
        let source = SourceCounters { name: "trips".to_owned(), ..SourceCounters::default() };
        source.rows.add(7);
        source.set_ends([("3".to_owned(), 40)].into());
        let lag = Lag { records: 12, seconds: Some(1.5) };
        source.set_lag(&[("3".to_owned(), Some(lag)), ("4".to_owned(), None)]);
        let stage = StageCounters::default();
        [3, 40, 90_000].into_iter().map(Duration::from_millis).for_each(|took| stage.commit_times.note(took));
        let counters = Counters::new(vec![source], vec![stage]);
        let unit = counters.acquired(UnitId { stage: StageId(0), index: 5 }, Epoch(1));
        unit.commits.add(2);
        unit.worked_nanos.add(1_500_000_000);
        let watched = vec![Watched { name: "p".to_owned(), counters: Arc::new(counters) }];
        let counted = Counted { pipelines: Box::new(move || watched.clone()), by };
        let mut text = Vec::new();
        TextEncoder::new().encode(&counted.collect(), &mut text).expect("encodes");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn every_metric_shows_what_was_counted() {
        let text = shown(vec![By::Split, By::Unit]);
        assert!(text.contains(r#"thalweg_source_rows_total{pipeline="p",source="trips"} 7"#), "{text}");
        assert!(text.contains(r#"thalweg_source_end_records{pipeline="p",source="trips",split="3"} 40"#), "{text}");
        assert!(text.contains(r#"thalweg_split_lag_records{pipeline="p",source="trips",split="3"} 12"#), "{text}");
        assert!(text.contains(r#"thalweg_split_lag_seconds{pipeline="p",source="trips",split="3"} 1.5"#), "{text}");
        assert!(text.contains(r#"thalweg_unit_commits_total{pipeline="p",stage="0",unit="5"} 2"#), "{text}");
        assert!(text.contains(r#"thalweg_unit_busy_seconds_total{pipeline="p",stage="0",unit="5"} 1.5"#), "{text}");
        assert!(!text.contains(r#"split="4""#) && !text.contains("thalweg_source_lag_records"), "{text}");
        assert!(text.contains("thalweg_stage_commits_total"), "{text}");
        assert!(!text.contains("thalweg_stage_watermark_seconds"), "unknown is absent, never 0");
    }

    #[test]
    fn times_are_shown_as_histograms_whose_buckets_add_up() {
        let text = shown(Vec::new());
        let of = |suffix: &str, le: &str| {
            let labels = if le.is_empty() { String::new() } else { format!(r#",le="{le}""#) };
            let series = format!(r#"thalweg_stage_commit_seconds{suffix}{{pipeline="p",stage="0"{labels}}} "#);
            text.lines()
                .find_map(|line| line.strip_prefix(series.as_str()))
                .unwrap_or_else(|| panic!("{series}: {text}"))
        };
        let within = ["0.005", "0.025", "0.05", "60", "+Inf"].map(|le| of("_bucket", le));
        assert_eq!(within, ["1", "1", "2", "2", "3"]);
        assert_eq!((of("_count", ""), of("_sum", "")), ("3", "90.043"));
        assert!(text.contains("# TYPE thalweg_stage_commit_seconds histogram\n"), "{text}");
        assert!(text.contains("thalweg_sink_write_seconds_count{pipeline=\"p\",stage=\"0\"} 0\n"), "{text}");
    }

    #[test]
    fn series_by_split_and_by_unit_are_there_only_where_they_are_asked_for() {
        let has = |by: &[By]| ["split=", "unit="].map(|label| shown(by.to_vec()).contains(label));
        assert_eq!(has(&[]), [false, false]);
        assert_eq!(has(&[By::Split]), [true, false]);
        assert_eq!(has(&[By::Unit]), [false, true]);
    }
}
