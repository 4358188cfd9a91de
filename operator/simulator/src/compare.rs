//! One load, and everybody who could decide on it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::clairvoyant::schedules;
use crate::kinds::{Kind, made};
use crate::machine::{Outcome, simulate};
use crate::ours::Ours;
use crate::peers::{Flink, FlinkSettings, Keda, Numaflow};
use crate::rule::Rule;
use crate::settings::Settings;
use crate::trace::Trace;

/// What became of a load, with each rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Thalweg.
    pub ours: Outcome,
    /// The others.
    pub peers: Vec<Row>,
}

/// A rule of another autoscaler.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Whose.
    pub name: &'static str,
    /// What became of the load.
    pub outcome: Outcome,
    /// Whether Thalweg had less lag time and fewer worker-hours.
    pub beaten: bool,
    /// The cheapest schedule, of those that were tried by somebody who knows what comes, that beats it on both.
    pub clairvoyant: Option<Figures>,
}

/// The two figures that count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// See [`Outcome::percent_time_above_target`].
    pub percent_time_above_target: f64,
    /// See [`Outcome::worker_hours`].
    pub worker_hours: f64,
}

impl From<&Outcome> for Figures {
    fn from(outcome: &Outcome) -> Self {
        Self { percent_time_above_target: outcome.percent_time_above_target, worker_hours: outcome.worker_hours }
    }
}

impl Figures {
    /// Less of both. Less than no lag cannot be had: none is as good.
    fn beats(self, other: Self) -> bool {
        let (lag, theirs) = (self.percent_time_above_target, other.percent_time_above_target);
        (lag < theirs || (lag == 0.0 && theirs == 0.0)) && self.worker_hours < other.worker_hours
    }
}

/// Runs a load with each rule.
pub fn compare(trace: &Trace, settings: &Settings) -> Comparison {
    let splits = trace.splits();
    let ours = simulate(trace, settings, &mut Ours::new(&settings.scaling));
    let known: Vec<Figures> = schedules(trace, settings).iter().map(Figures::from).collect();
    let peers: [Box<dyn Rule>; 5] = [
        Box::new(Keda::new("KEDA, threshold 10", 10.0, settings, splits)),
        Box::new(Keda::new("KEDA, threshold 2,000", 2_000.0, settings, splits)),
        Box::new(Numaflow::new(settings, splits)),
        Box::new(Flink::new(FlinkSettings::DEFAULT, settings, splits)),
        Box::new(Flink::new(FlinkSettings::tuned(settings), settings, splits)),
    ];
    let row = |mut rule: Box<dyn Rule>| {
        let outcome = simulate(trace, settings, &mut *rule);
        let figures = Figures::from(&outcome);
        let better = known.iter().copied().filter(|known| known.beats(figures));
        let clairvoyant = better.min_by(|a, b| a.worker_hours.total_cmp(&b.worker_hours));
        Row { name: rule.name(), beaten: Figures::from(&ours).beats(figures), clairvoyant, outcome }
    };
    Comparison { peers: peers.into_iter().map(row).collect(), ours }
}

/// The table of `docs/design/0011-autoscaler.md`: each kind of load at some seeds, in Markdown.
pub fn table(kinds: &[Kind], seeds: &[u64]) -> String {
    let mut text = String::from(
        "| Load | Rule | Time above target | Worker-hours | Moves | Changes | Thalweg has less of both | A clairvoyant has \
         |\n|---|---|---:|---:|---:|---:|---|---|\n",
    );
    for (kind, seed) in kinds.iter().flat_map(|kind| seeds.iter().map(move |seed| (*kind, *seed))) {
        let (trace, settings) = made(kind, seed);
        let comparison = compare(&trace, &settings);
        let load = format!("{} {seed}", kind.name());
        let _ = writeln!(text, "| {load} | **Thalweg** | {} | | |", cells(&comparison.ours));
        for row in &comparison.peers {
            let beaten = if row.beaten { "yes" } else { "**no**" };
            let known = row.clairvoyant.map_or_else(
                || "none that was tried".to_owned(),
                |known| format!("{:.2} %, {:.1} h", known.percent_time_above_target, known.worker_hours),
            );
            let _ = writeln!(text, "| {load} | {} | {} | {beaten} | {known} |", row.name, cells(&row.outcome));
        }
    }
    text
}

fn cells(outcome: &Outcome) -> String {
    format!(
        "{:.2} % | {:.1} | {} | {}",
        outcome.percent_time_above_target,
        outcome.worker_hours,
        outcome.moves,
        outcome.decisions.len()
    )
}
