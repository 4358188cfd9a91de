//! What a run did: for people on standard error, for scripts as one JSON object on standard output.

use std::time::Duration;

use chrono::DateTime;
use indicatif::HumanCount;
use serde::Serialize;
use thalweg_core::decode::BadClass;
use thalweg_core::time::Watermark;

use crate::runtime::counters::{BadCounters, Counters};
use crate::runtime::dead_letter::class_name;

/// The summary of one pipeline.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The pipeline.
    pub pipeline: String,
    /// `Completed`, `Stopped` or `Failed`.
    pub outcome: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wall-clock time.
    pub seconds: f64,
    /// By source.
    pub sources: Vec<SourceSummary>,
    /// By stage.
    pub stages: Vec<StageSummary>,
}

/// What was read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSummary {
    /// The name in SQL.
    pub name: String,
    /// Whether it is a table that was read before anything else; left out of sources that are read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lookup: bool,
    /// Rows decoded.
    pub rows: u64,
    /// Rows that came after their windows had closed.
    pub late: u64,
    /// Bad records by class, late rows apart; classes without any are left out.
    pub bad: serde_json::Map<String, serde_json::Value>,
}

/// What was emitted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageSummary {
    /// The sink that it writes; absent where a later stage reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Rows emitted that the sink took; where the pipeline failed, those of them that can be seen in it.
    pub rows: u64,
    /// Rows that the sink would not take.
    pub rejected: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Commits.
    pub commits: u64,
    /// Time in commits, over all units.
    pub commit_seconds: f64,
    /// The most that the windows of all units held, in bytes.
    pub state_bytes: u64,
}

impl Summary {
    /// Reads the counters of a pipeline that has ended.
    pub fn new(
        pipeline: &str,
        outcome: &'static str,
        error: Option<String>,
        took: Duration,
        counters: &Counters,
    ) -> Self {
        let sources = counters.sources.iter().map(|source| SourceSummary {
            name: source.name.clone(),
            lookup: source.is_lookup,
            rows: source.rows.get(),
            late: source.late.get(),
            bad: BadCounters::CLASSES
                .iter()
                .filter(|class| **class != BadClass::Late)
                .map(|class| (class_name(*class).to_owned(), source.bad.of(*class).get()))
                .filter(|(_, count)| *count > 0)
                .map(|(class, count)| (class, count.into()))
                .collect(),
        });
        let stages = counters.stages.iter().map(|stage| StageSummary {
            sink: stage.sink.clone(),
            // What was on its way when it failed is nowhere, nor is what the sink would not take.
            rows: match (&stage.sink, outcome) {
                (Some(_), "Failed") => stage.rows_shown.get(),
                (Some(_), _) => stage.rows_out.get().saturating_sub(stage.rejected.get()),
                (None, _) => stage.rows_out.get(),
            },
            rejected: stage.rejected.get(),
            dead_letters: stage.dead_letters.get(),
            commits: stage.commits.get(),
            commit_seconds: stage.commit_times.total().as_secs_f64(),
            state_bytes: stage.state.peak(),
        });
        Self {
            pipeline: pipeline.to_owned(),
            outcome,
            error,
            seconds: took.as_secs_f64(),
            sources: sources.collect(),
            stages: stages.collect(),
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let rows: u64 = self.sources.iter().filter(|source| !source.lookup).map(|source| source.rows).sum();
        let late: u64 = self.sources.iter().map(|source| source.late).sum();
        // Rows between stages are no output.
        let out: u64 = self.stages.iter().filter(|stage| stage.sink.is_some()).map(|stage| stage.rows).sum();
        let bad: Vec<_> = self.sources.iter().flat_map(|source| &source.bad).map(|(k, v)| format!("{v} {k}")).collect();
        let bad = if bad.is_empty() { "0 bad".to_owned() } else { bad.join(", ") };
        let rejected: u64 = self.stages.iter().map(|stage| stage.rejected).sum();
        let rejected = if rejected > 0 { format!(" · {} rejected", HumanCount(rejected)) } else { String::new() };
        let rate = rows as f64 / self.seconds.max(1e-3);
        format!(
            "{}: {} in {:.1} s · {} rows in ({} rows/s) · {} rows out{rejected} · {bad} · {} late",
            self.pipeline,
            self.outcome.to_lowercase(),
            self.seconds,
            HumanCount(rows),
            HumanCount(rate as u64),
            HumanCount(out),
            HumanCount(late)
        )
    }
}

/// A watermark as people read it.
pub fn event_time(watermark: Watermark) -> String {
    match watermark {
        Watermark::UNKNOWN => "–".to_owned(),
        Watermark::END => "end".to_owned(),
        Watermark(millis) => DateTime::from_timestamp_millis(millis)
            .map_or_else(|| millis.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::unit::StageId;

    use super::*;
    use crate::runtime::counters::{SourceCounters, StageCounters};

    #[test]
    fn rows_out_are_those_of_all_sinks_and_not_those_between_stages() {
        let stages = [None, Some("a"), Some("b")].map(|sink| StageCounters::of(StageId(0), sink.map(str::to_owned)));
        stages.iter().zip([100, 20, 3]).for_each(|(stage, rows)| stage.rows_out.add(rows));
        let counters = Counters::new(vec![], stages.into());
        let summary = Summary::new("p", "Completed", None, Duration::from_secs(1), &counters);
        assert!(summary.to_text().contains("23 rows out"), "{}", summary.to_text());
    }

    #[test]
    fn rows_that_a_sink_would_not_take_are_told_and_are_no_rows_out() {
        let stage = StageCounters::of(StageId(0), Some("a".to_owned()));
        stage.rows_out.add(9);
        stage.rejected.add(2);
        let summary = Summary::new("p", "Completed", None, Duration::from_secs(1), &Counters::new(vec![], vec![stage]));
        assert!(summary.to_text().contains("7 rows out · 2 rejected · 0 bad"), "{}", summary.to_text());
    }

    #[test]
    fn what_failed_tells_of_the_rows_that_can_be_seen() {
        let stage = StageCounters::of(StageId(0), Some("a".to_owned()));
        stage.rows_out.add(9);
        stage.rows_shown.add(4);
        let counters = Counters::new(vec![], vec![stage]);
        let text = |outcome| Summary::new("p", outcome, None, Duration::from_secs(1), &counters).to_text();
        assert!(text("Failed").contains("4 rows out") && text("Stopped").contains("9 rows out"));
    }

    #[test]
    fn late_rows_are_not_counted_as_bad_ones_too() {
        let source = SourceCounters::default();
        source.late.add(4);
        source.bad.of(BadClass::Late).add(4);
        let counters = Counters::new(vec![source], vec![]);
        let summary = Summary::new("p", "Completed", None, Duration::from_secs(1), &counters);
        assert!(summary.to_text().ends_with("0 bad · 4 late"), "{}", summary.to_text());
    }
}
