//! Figures of a status: workers, units, lag, commits.

use std::collections::BTreeMap;

use thalweg_crds::pipeline::{CommitStatus, LagStatus, ScalingStatus, UnitsStatus, WorkersStatus};

use super::Facts;
use crate::check::{Stage, StageKind};
use crate::held::Held;
use crate::observed::Observed;
use crate::plan::Plan;
use crate::validate::ValidatedPipeline;

/// Longest line of a topology that the schema takes.
const TOPOLOGY_LIMIT: usize = 4096;

pub(super) fn workers(facts: &Facts<'_>) -> WorkersStatus {
    let desired = facts.plan.replicas;
    let ready = facts.observed.deployment.as_ref().map_or(0, |deployment| deployment.ready);
    WorkersStatus { desired, ready, selector: facts.selector.to_owned(), summary: format!("{ready}/{desired}") }
}

/// The last decision; what was told before stands until there is another one.
pub(super) fn scaling(facts: &Facts<'_>) -> Option<ScalingStatus> {
    let decided = facts.scaling.and_then(|scaling| scaling.decision.clone());
    decided.map(|decision| ScalingStatus { last_decision: Some(decision) }).or_else(|| facts.previous.scaling.clone())
}

pub(super) fn units(units: Held) -> UnitsStatus {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    UnitsStatus {
        total: number(units.total),
        owned: number(units.owned),
        moving: number(units.moving),
        summary: format!("{}/{}", units.owned, units.total),
    }
}

/// The sum of records and the oldest age over all splits; each is absent unless every split knows it, and every worker that
/// lives says so.
pub(super) fn lag(observed: &Observed) -> Option<LagStatus> {
    let splits: Vec<_> = observed.said().flat_map(|report| &report.splits).collect();
    if splits.is_empty() || !observed.all_say() {
        return None;
    }
    let records: Option<u64> = splits.iter().map(|split| split.lag_records).sum();
    let worst = splits.iter().filter_map(|split| Some((split.lag_seconds?, *split))).max_by(|a, b| a.0.total_cmp(&b.0));
    let seconds =
        worst.as_ref().map(|(seconds, _)| *seconds).filter(|_| splits.iter().all(|s| s.lag_seconds.is_some()));
    if records.is_none() && seconds.is_none() {
        return None;
    }
    Some(LagStatus {
        records: records.and_then(|records| i64::try_from(records).ok()),
        seconds,
        age: seconds.map(age),
        worst_split: worst.filter(|(seconds, _)| *seconds > 0.0).map(|(_, s)| format!("{}/{}", s.source, s.split)),
    })
}

/// An age for readers: `2.1s`, `4m`, `3h`.
fn age(seconds: f64) -> String {
    match seconds {
        under_minute if under_minute < 60.0 => format!("{under_minute:.1}s"),
        under_hour if under_hour < 3600.0 => format!("{:.0}m", under_hour / 60.0),
        hours => format!("{:.0}h", hours / 3600.0),
    }
}

/// The commit of the unit that committed longest ago.
pub(super) fn commit(observed: &Observed) -> Option<CommitStatus> {
    let commits = observed.said().filter_map(|report| report.commit.as_ref());
    commits.min_by_key(|commit| commit.time.0).map(|commit| CommitStatus {
        last_time: commit.time.clone(),
        bytes: commit.bytes.and_then(|bytes| i64::try_from(bytes).ok()),
        duration_seconds: commit.duration_seconds,
    })
}

pub(super) fn dead_letters(observed: &Observed) -> Option<i64> {
    let units = observed.said().flat_map(|report| &report.units);
    let rows: u64 = units.map(|unit| unit.dead_letters).sum();
    i64::try_from(rows).ok().filter(|rows| *rows > 0)
}

/// The stages in one line and who reads how many splits of which source, such as
/// `0 stateless (trips) · 1 windowed × 16 (trips); trips: 6 splits (p-0 3, p-1 3)`.
pub(super) fn topology(pipeline: &ValidatedPipeline, plan: &Plan) -> String {
    let stage = |stage: &Stage| {
        let kind = match stage.kind {
            StageKind::Stateless => "stateless".to_owned(),
            StageKind::Windowed => format!("windowed × {}", pipeline.key_groups),
        };
        let sources = if stage.sources.is_empty() { String::new() } else { format!(" ({})", stage.sources.join(", ")) };
        format!("{} {kind}{sources}", stage.id)
    };
    let stages = pipeline.stages.iter().map(stage).collect::<Vec<_>>().join(" · ");
    let line = [stages].into_iter().chain(readers(plan)).collect::<Vec<_>>().join("; ");
    line.chars().take(TOPOLOGY_LIMIT / 2).collect()
}

fn readers(plan: &Plan) -> Vec<String> {
    let mut sources: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for split in plan.assignment.iter().flat_map(|assignment| &assignment.splits) {
        let reader = split.reader.as_ref().map_or("nobody", |reader| reader.0.as_str());
        *sources.entry(&split.source).or_default().entry(reader).or_default() += 1;
    }
    let source = |(source, readers): (&str, BTreeMap<&str, usize>)| {
        let count: usize = readers.values().sum();
        let readers: Vec<_> = readers.iter().map(|(reader, count)| format!("{reader} {count}")).collect();
        let splits = if count == 1 { "split" } else { "splits" };
        format!("{source}: {count} {splits} ({})", readers.join(", "))
    };
    sources.into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use thalweg_crds::ids::RunId;
    use thalweg_crds::report::{Report, SplitReport};

    use super::*;
    use crate::observed::{SlotLease, WorkerPod};

    fn with(splits: Vec<SplitReport>) -> Observed {
        let holder = RunId("a/0".to_owned());
        let report = Report { run_id: holder.clone(), splits, ..Report::default() };
        Observed {
            slots: vec![SlotLease { holder: Some(holder.clone()), ..SlotLease::default() }],
            pods: vec![WorkerPod { uid: "a".to_owned(), ..WorkerPod::default() }],
            reports: [(holder, report)].into(),
            ..Observed::default()
        }
    }

    #[test]
    fn lag_that_one_split_does_not_know_is_absent_and_not_too_small() {
        let known = SplitReport { lag_records: Some(3), lag_seconds: Some(2.14), ..SplitReport::default() };
        let both = lag(&with(vec![known.clone(), known.clone()])).unwrap();
        assert_eq!((both.records, both.age.as_deref()), (Some(6), Some("2.1s")));
        assert_eq!(lag(&with(vec![known, SplitReport::default()])), None);
        assert_eq!(lag(&with(vec![])), None);
    }

    #[test]
    fn ages_are_short() {
        assert_eq!([age(0.04), age(75.0), age(7300.0)], ["0.0s", "1m", "2h"]);
    }
}
