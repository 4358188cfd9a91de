//! A pipeline for people: a head, what is amiss, and a table each of workers, splits and units.

use std::fmt::Write as _;

use thalweg_operator_plan::view::{Split, Unit, UnitState, View, Worker};

use crate::cli::cells::{aligned, count, known, percent, rate, seconds};

/// More rows of a table than this are left out, unless they say that something is amiss.
const ROWS: usize = 40;

/// A table: its rows, and how many were left out.
struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    left_out: usize,
}

/// The text. `clears` begins with the escape that clears a terminal, for one look after another.
pub fn text(view: &View, clears: bool) -> String {
    let mut out = if clears { "\u{1b}[2J\u{1b}[H".to_owned() } else { String::new() };
    head(&mut out, view);
    for said in &view.conditions {
        let _ = writeln!(out, "{}={} {}: {}", said.kind, said.status, said.reason, said.message);
    }
    for worker in &view.workers {
        for failure in &worker.failures {
            let _ = writeln!(out, "{}: {failure}", worker.slot.as_deref().unwrap_or("a worker"));
        }
    }
    for unit in view.units.iter().filter(|unit| unit.error.is_some()) {
        let _ = writeln!(out, "unit {}: {}", unit.unit, unit.error.as_deref().unwrap_or_default());
    }
    for table in [workers(&view.workers), splits(&view.splits), units(&view.units)] {
        table.write(&mut out);
    }
    for note in &view.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    out
}

fn head(out: &mut String, view: &View) {
    let phase = view.phase.as_deref().unwrap_or("not looked at yet: does an operator run?");
    let _ = writeln!(out, "StreamPipeline {}/{}: {phase}", view.namespace, view.name);
    let mut figures = Vec::new();
    for (what, summary) in [("workers", &view.workers_ready), ("units", &view.units_owned)] {
        if !summary.is_empty() {
            figures.push(format!("{what} {summary}"));
        }
    }
    if let Some(lag) = &view.lag {
        let records = lag.records.and_then(|records| u64::try_from(records).ok());
        let records = records.map(|records| format!("{} records", count(records)));
        let said: Vec<_> = records.into_iter().chain(lag.age.clone()).collect();
        figures.push(format!("lag {}", said.join(", ")));
    }
    if let Some(commit) = &view.commit {
        figures.push(format!("all committed since {}", commit.last_time.0));
    }
    figures.extend(view.plan.as_ref().map(|plan| format!("plan {plan}")));
    if !figures.is_empty() {
        let _ = writeln!(out, "{}", figures.join(" · "));
    }
}

fn workers(workers: &[Worker]) -> Table {
    let row = |worker: &Worker| {
        vec![
            known(worker.slot.as_deref()),
            known(worker.pod.as_deref()),
            known(worker.node.as_deref()),
            known(worker.state.as_deref()),
            known(worker.busy_share.map(percent)),
            worker.splits.to_string(),
            worker.units.to_string(),
        ]
    };
    Table::new(vec!["WORKER", "POD", "NODE", "STATE", "BUSY", "SPLITS", "UNITS"], workers, row, |_| true)
}

fn splits(splits: &[Split]) -> Table {
    let row = |split: &Split| {
        vec![
            format!("{}/{}", split.source, split.split),
            known(split.reader.as_deref()),
            known(split.rate_per_second.map(|read| format!("{}/s", rate(read)))),
            known(split.lag_records.map(count)),
            known(split.lag_seconds.map(seconds)),
        ]
    };
    let is_amiss = |split: &Split| split.reader.is_none() || split.lag_records.is_some_and(|records| records > 0);
    Table::new(vec!["SPLIT", "READER", "RATE", "LAG", "LAG-TIME"], splits, row, is_amiss)
}

fn units(units: &[Unit]) -> Table {
    let row = |unit: &Unit| {
        let owner = match (&unit.previous, unit.state) {
            (Some(previous), UnitState::Moving) => format!("{previous} > {}", known(unit.owner.as_deref())),
            _ => known(unit.owner.as_deref()),
        };
        let commits = known(unit.commits.map(count));
        vec![unit.unit.clone(), owner, unit.epoch.to_string(), format!("{:?}", unit.state), commits]
    };
    let is_amiss = |unit: &Unit| unit.state != UnitState::Owned || unit.error.is_some();
    Table::new(vec!["UNIT", "OWNER", "EPOCH", "STATE", "COMMITS"], units, row, is_amiss)
}

impl Table {
    /// All rows, or of too many those that say something, and the first of the others.
    fn new<T>(
        head: Vec<&'static str>,
        items: &[T],
        row: impl Fn(&T) -> Vec<String>,
        is_amiss: impl Fn(&T) -> bool,
    ) -> Self {
        let mut room = ROWS.saturating_sub(items.iter().filter(|item| is_amiss(item)).count());
        let mut has_room = |item: &T| {
            let shows = is_amiss(item) || room > 0;
            room = if is_amiss(item) { room } else { room.saturating_sub(1) };
            shows
        };
        let rows: Vec<_> = items.iter().filter(|item| has_room(item)).map(row).collect();
        Self { head, left_out: items.len() - rows.len(), rows }
    }

    fn write(&self, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let head = self.head.iter().map(|&name| name.to_owned()).collect();
        out.push('\n');
        for line in aligned(&std::iter::once(head).chain(self.rows.iter().cloned()).collect::<Vec<_>>()) {
            let _ = writeln!(out, "{line}");
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "… and {} more, all as they should be (-o json has them)", self.left_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_operator_plan::view::Said;

    use super::*;

    fn view() -> View {
        let worker = |slot: &str, state: &str| Worker {
            slot: Some(slot.to_owned()),
            pod: Some(format!("{slot}-x")),
            node: Some("n1".to_owned()),
            state: Some(state.to_owned()),
            busy_share: Some(0.414),
            blocked_share: Some(0.0),
            sinks: Vec::new(),
            splits: 1,
            units: 1,
            failures: Vec::new(),
        };
        let split = |split: &str, reader: Option<&str>| Split {
            source: "trips".to_owned(),
            split: split.to_owned(),
            reader: reader.map(str::to_owned),
            rate_per_second: reader.map(|_| 1_200.4),
            lag_records: reader.map(|_| 1_204),
            lag_seconds: reader.map(|_| 2.13),
        };
        let unit = |unit: &str, previous: Option<&str>, state: UnitState| Unit {
            unit: unit.to_owned(),
            owner: Some("fares-0".to_owned()),
            previous: previous.map(str::to_owned),
            epoch: 2,
            state,
            commits: Some(1_000),
            error: None,
        };
        View {
            namespace: "shop".to_owned(),
            name: "fares".to_owned(),
            phase: Some("Running".to_owned()),
            plan: Some("4f1c".to_owned()),
            workers_ready: "2/2".to_owned(),
            units_owned: "1/2".to_owned(),
            lag: Some(thalweg_crds::pipeline::LagStatus {
                records: Some(1_204),
                seconds: Some(2.13),
                age: Some("2.1s".to_owned()),
                worst_split: None,
            }),
            commit: None,
            last_decision: None,
            conditions: vec![Said {
                kind: "Rebalancing".to_owned(),
                status: "True".to_owned(),
                reason: "UnitsMoving".to_owned(),
                message: "1 of 2 units move".to_owned(),
            }],
            workers: vec![worker("fares-0", "Running"), worker("fares-1", "Waiting")],
            splits: vec![split("0", Some("fares-0")), split("1", None)],
            units: vec![unit("0/0", None, UnitState::Owned), unit("0/1", Some("fares-1"), UnitState::Moving)],
            sinks: Vec::new(),
            notes: vec!["rates and lag of pod fares-9 are not known: no answer within 3 s".to_owned()],
        }
    }

    #[test]
    fn a_pipeline_reads_as_head_what_is_amiss_and_three_tables() {
        let expected = "\
StreamPipeline shop/fares: Running
workers 2/2 · units 1/2 · lag 1,204 records, 2.1s · plan 4f1c
Rebalancing=True UnitsMoving: 1 of 2 units move

WORKER   POD        NODE  STATE    BUSY  SPLITS  UNITS
fares-0  fares-0-x  n1    Running  41%   1       1
fares-1  fares-1-x  n1    Waiting  41%   1       1

SPLIT    READER   RATE     LAG    LAG-TIME
trips/0  fares-0  1,200/s  1,204  2.1s
trips/1  -        -        -      -

UNIT  OWNER              EPOCH  STATE   COMMITS
0/0   fares-0            2      Owned   1,000
0/1   fares-1 > fares-0  2      Moving  1,000

note: rates and lag of pod fares-9 are not known: no answer within 3 s
";
        assert_eq!(text(&view(), false), expected);
    }

    #[test]
    fn of_many_units_those_that_are_as_they_should_be_are_left_out_and_counted() {
        let mut view = view();
        let (owned, moving) = (view.units[0].clone(), view.units[1].clone());
        view.units = vec![owned; 200];
        view.units.push(moving);
        let shown = text(&view, false);
        assert!(shown.contains("0/1   fares-1 > fares-0"), "{shown}");
        assert!(shown.contains("… and 161 more, all as they should be (-o json has them)"), "{shown}");
    }

    #[test]
    fn a_pipeline_that_nobody_has_looked_at_says_so() {
        let nothing = View {
            phase: None,
            plan: None,
            workers_ready: String::new(),
            units_owned: String::new(),
            lag: None,
            conditions: Vec::new(),
            workers: Vec::new(),
            splits: Vec::new(),
            units: Vec::new(),
            notes: Vec::new(),
            ..view()
        };
        assert_eq!(text(&nothing, false), "StreamPipeline shop/fares: not looked at yet: does an operator run?\n");
    }
}
