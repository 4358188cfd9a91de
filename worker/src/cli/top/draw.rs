//! The picture: a head, what is amiss, and for each worker the splits that it reads before it and the sinks that it writes
//! behind it. Pure.

use k8s_openapi::jiff::Timestamp;
use thalweg_operator_plan::view::{Sink, Split, Unit, UnitState, View, Worker};

use crate::cli::cells::{aligned, count, known, percent, rate, seconds};

/// Characters of a share's bar.
const BAR: usize = 10;
/// Units that are named of those that move.
const MOVES: usize = 6;
/// The columns.
const HEAD: [&str; 13] =
    ["SPLIT", "IN/S", "LAG", "LAG-TIME", "", "WORKER", "STATE", "BUSY", "BLOCKED", "UNITS", "", "SINK", "OUT/S"];
/// Between splits and workers, and between workers and sinks.
const ARROW: &str = "──▶";

/// How much there is to draw on, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

impl Size {
    /// No terminal: everything is written.
    pub const BOUNDLESS: Self = Self { columns: usize::MAX, rows: usize::MAX };
}

/// The lines, no more and none longer than there is room for: what says least is left out, and counted.
pub fn draw(view: &View, now: Timestamp, size: Size) -> Vec<String> {
    let mut lines = head(view, now);
    let notes = view.notes.iter().map(|note| format!("note: {note}"));
    let below: Vec<String> = notes.collect();
    let room = size.rows.saturating_sub(lines.len() + below.len() + 1);
    lines.push(String::new());
    lines.extend(flow(view, room));
    lines.extend(below);
    lines.truncate(size.rows);
    lines.iter().map(|line| fitted(line, size.columns)).collect()
}

/// A line of what others said, safe to be drawn: nothing in it moves the cursor.
pub fn fitted(line: &str, columns: usize) -> String {
    let clean = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    if line.chars().count() <= columns {
        return clean.collect();
    }
    clean.take(columns.saturating_sub(1)).chain(['…']).collect()
}

fn head(view: &View, now: Timestamp) -> Vec<String> {
    let phase = view.phase.as_deref().unwrap_or("not looked at yet: does an operator run?");
    let mut lines = vec![format!("StreamPipeline {}/{}: {phase}", view.namespace, view.name)];
    let counts = [("workers", &view.workers_ready), ("units", &view.units_owned)];
    let counts =
        counts.into_iter().filter(|(_, count)| !count.is_empty()).map(|(what, count)| format!("{what} {count}"));
    let figures: Vec<_> = counts.chain(rates(view)).chain(lag(view)).collect();
    if !figures.is_empty() {
        lines.push(figures.join(" · "));
    }
    if let Some(last) = &view.last_decision {
        let age = age(now.duration_since(last.time.0).as_secs());
        let workers = match last.from == last.to {
            true => last.to.to_string(),
            false => format!("{} → {}", last.from, last.to),
        };
        lines.push(format!("autoscaler: {workers} workers, {age} ago. {}", last.reason));
        lines.push(format!("  from {}", last.inputs));
    }
    lines.extend(moves(&view.units));
    let said = view.conditions.iter();
    lines.extend(said.map(|said| format!("{}={} {}: {}", said.kind, said.status, said.reason, said.message)));
    let failures = view.workers.iter().flat_map(|worker| worker.failures.iter().map(move |failure| (worker, failure)));
    lines.extend(failures.map(|(worker, failure)| format!("{}: {failure}", named(worker))));
    let errors = view.units.iter().filter_map(|unit| Some((unit, unit.error.as_ref()?)));
    lines.extend(errors.map(|(unit, error)| format!("unit {}: {error}", unit.unit)));
    lines
}

/// What all splits bring and all sinks are given, where somebody says it.
fn rates(view: &View) -> Vec<String> {
    let sum = |rates: Vec<f64>| (!rates.is_empty()).then(|| rates.iter().sum::<f64>());
    let read = sum(view.splits.iter().filter_map(|split| split.rate_per_second).collect());
    let given = sum(view.sinks.iter().filter_map(|sink| sink.rate_per_second).collect());
    let read = read.map(|read| format!("in {}/s", rate(read)));
    read.into_iter().chain(given.map(|given| format!("out {}/s", rate(given)))).collect()
}

/// What waits, by what workers say now where each of them says it, and else as the operator last wrote it.
fn lag(view: &View) -> Option<String> {
    let written = view.lag.clone().unwrap_or_default();
    let (records, oldest) = match sum_of_lags(&view.splits) {
        Some((records, oldest)) => (Some(records), oldest.map(seconds)),
        None => (written.records.and_then(|records| u64::try_from(records).ok()), written.age),
    };
    let said: Vec<_> = records.map(|records| format!("{} records", count(records))).into_iter().chain(oldest).collect();
    (!said.is_empty()).then(|| format!("lag {}", said.join(", ")))
}

/// Records, and the oldest one's age where each split knows it; `None` where a split does not know how many.
fn sum_of_lags(splits: &[Split]) -> Option<(u64, Option<f64>)> {
    let records = splits.iter().map(|split| split.lag_records).sum::<Option<u64>>()?;
    let ages = splits.iter().map(|split| split.lag_seconds).collect::<Option<Vec<_>>>();
    (!splits.is_empty()).then(|| (records, ages.and_then(|ages| ages.into_iter().reduce(f64::max))))
}

/// A time that has passed, such as `45s`, `12m`, `3h` or `9d`.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn moves(units: &[Unit]) -> Option<String> {
    let moving: Vec<&Unit> = units
        .iter()
        .filter(|unit| matches!(unit.state, UnitState::Moving | UnitState::Acquiring | UnitState::Unowned))
        .collect();
    let shown = moving.iter().take(MOVES).map(|unit| {
        let owner = unit.owner.as_deref().unwrap_or("nobody");
        match &unit.previous {
            Some(previous) => format!("{} from {previous} to {owner}", unit.unit),
            None => format!("{} to {owner}", unit.unit),
        }
    });
    let more = moving.len().saturating_sub(MOVES);
    let more = (more > 0).then(|| format!("and {more} more"));
    let shown: Vec<_> = shown.chain(more).collect();
    (!shown.is_empty()).then(|| format!("moving: {}", shown.join(", ")))
}

/// A worker with what comes to it and what it gives.
struct Block<'a> {
    /// None for splits that nobody reads.
    worker: Option<&'a Worker>,
    /// The latest first.
    splits: Vec<&'a Split>,
    sinks: &'a [Sink],
}

fn flow(view: &View, room: usize) -> Vec<String> {
    let blocks = blocks(view);
    if blocks.is_empty() {
        return Vec::new();
    }
    // The line of names; as many splits of each worker as fit.
    let room = room.saturating_sub(1);
    let height = |most: usize| blocks.iter().map(|block| block.height(most)).sum::<usize>();
    let most = blocks.iter().map(|block| block.splits.len()).max().unwrap_or_default().max(1);
    let most = (1..=most).rev().find(|most| height(*most) <= room).unwrap_or(1);
    let (mut rows, mut left_out) = (vec![HEAD.map(str::to_owned).to_vec()], 0);
    for (at, block) in blocks.iter().enumerate() {
        // One line is kept for what is left out.
        let is_last = at + 1 == blocks.len();
        let fits = rows.len() + block.height(most) <= room.saturating_add(usize::from(is_last && left_out == 0));
        match fits && left_out == 0 {
            true => rows.extend(block.rows(most)),
            false => left_out += 1,
        }
    }
    let more = (left_out > 0).then(|| format!("… and {left_out} more workers (-o json has them)"));
    aligned(&rows).into_iter().chain(more).collect()
}

fn blocks(view: &View) -> Vec<Block<'_>> {
    let read_by = |slot: Option<&str>| {
        let mut splits: Vec<&Split> = view.splits.iter().filter(|split| split.reader.as_deref() == slot).collect();
        splits.sort_by_key(|split| std::cmp::Reverse(split.lag_records));
        splits
    };
    let is_known = |slot: &str| view.workers.iter().any(|worker| worker.slot.as_deref() == Some(slot));
    let unread = view.splits.iter().filter(|split| !split.reader.as_deref().is_some_and(is_known)).collect::<Vec<_>>();
    let nobody = (!unread.is_empty()).then_some(Block { worker: None, splits: unread, sinks: &[] });
    let serving = view.workers.iter().map(|worker| Block {
        worker: Some(worker),
        splits: worker.slot.as_deref().map(|slot| read_by(Some(slot))).unwrap_or_default(),
        sinks: &worker.sinks,
    });
    nobody.into_iter().chain(serving).collect()
}

impl Block<'_> {
    fn height(&self, most: usize) -> usize {
        self.splits.len().min(most).max(self.sinks.len()).max(1)
    }

    fn rows(&self, most: usize) -> Vec<Vec<String>> {
        let (splits, sinks) = (splits(&self.splits, most), self.sinks.iter().map(sink).collect::<Vec<_>>());
        let cells =
            |cells: Option<&Vec<String>>, width: usize| cells.cloned().unwrap_or_else(|| vec![String::new(); width]);
        let row = |at: usize| {
            let arrow = |is_shown: bool| if at == 0 && is_shown { ARROW.to_owned() } else { String::new() };
            let mut row = cells(splits.get(at), 4);
            row.push(arrow(!splits.is_empty()));
            row.extend(if at == 0 { worker(self.worker) } else { vec![String::new(); 5] });
            row.push(arrow(!sinks.is_empty()));
            row.extend(cells(sinks.get(at), 2));
            row
        };
        (0..self.height(most)).map(row).collect()
    }
}

/// A line for each split, or for those that are latest and one for all the others.
fn splits(splits: &[&Split], most: usize) -> Vec<Vec<String>> {
    let line = |split: &&Split| {
        vec![
            format!("{}/{}", split.source, split.split),
            known(split.rate_per_second.map(rate)),
            known(split.lag_records.map(count)),
            known(split.lag_seconds.map(seconds)),
        ]
    };
    if splits.len() <= most {
        return splits.iter().map(line).collect();
    }
    let (alone, others) = splits.split_at(most.saturating_sub(1));
    let name = if alone.is_empty() { format!("{} splits", others.len()) } else { format!("… {} more", others.len()) };
    let read = others.iter().map(|split| split.rate_per_second).sum::<Option<f64>>();
    let owned: Vec<Split> = others.iter().map(|split| (*split).clone()).collect();
    let lag = sum_of_lags(&owned);
    let rest = vec![
        name,
        known(read.map(rate)),
        known(lag.map(|(records, _)| count(records))),
        known(lag.and_then(|(_, oldest)| oldest).map(seconds)),
    ];
    alone.iter().map(line).chain([rest]).collect()
}

fn worker(worker: Option<&Worker>) -> Vec<String> {
    let Some(worker) = worker else {
        return vec!["nobody".to_owned(), String::new(), String::new(), String::new(), String::new()];
    };
    vec![
        named(worker),
        known(worker.state.as_deref()),
        known(worker.busy_share.map(bar)),
        known(worker.blocked_share.map(percent)),
        worker.units.to_string(),
    ]
}

/// Its slot; a pod that has none yet by its own name.
fn named(worker: &Worker) -> String {
    known(worker.slot.as_deref().or(worker.pod.as_deref()))
}

fn bar(share: f64) -> String {
    let full = ((share.clamp(0.0, 1.0) * BAR as f64).round()) as usize;
    format!("{}{} {}", "█".repeat(full), "░".repeat(BAR - full), percent(share))
}

fn sink(sink: &Sink) -> Vec<String> {
    vec![sink.sink.clone(), known(sink.rate_per_second.map(rate))]
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use thalweg_crds::pipeline::ScalingDecision;
    use thalweg_operator_plan::view::Said;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:50Z".parse().expect("a time")
    }

    fn split(split: u32, reader: Option<&str>, lag: u64) -> Split {
        Split {
            source: "trips".to_owned(),
            split: split.to_string(),
            reader: reader.map(str::to_owned),
            rate_per_second: reader.map(|_| 1_200.4),
            lag_records: reader.map(|_| lag),
            lag_seconds: reader.map(|_| lag as f64 / 1_000.0),
        }
    }

    fn serving(slot: &str, busy: f64) -> Worker {
        Worker {
            slot: Some(slot.to_owned()),
            pod: Some(format!("{slot}-x")),
            node: None,
            state: Some("Running".to_owned()),
            busy_share: Some(busy),
            blocked_share: Some(0.02),
            splits: 2,
            units: 1,
            sinks: vec![Sink { sink: "out".to_owned(), rate_per_second: Some(2_380.0) }],
            failures: Vec::new(),
        }
    }

    fn view() -> View {
        let coming = Worker {
            slot: None,
            state: None,
            busy_share: None,
            blocked_share: None,
            units: 0,
            ..serving("fares-1", 0.0)
        };
        let unit = |unit: &str, previous: Option<&str>, state: UnitState| Unit {
            unit: unit.to_owned(),
            owner: Some("fares-0".to_owned()),
            previous: previous.map(str::to_owned),
            epoch: 2,
            state,
            commits: None,
            error: None,
        };
        View {
            namespace: "shop".to_owned(),
            name: "fares".to_owned(),
            phase: Some("Running".to_owned()),
            plan: None,
            workers_ready: "1/2".to_owned(),
            units_owned: "1/2".to_owned(),
            lag: None,
            commit: None,
            last_decision: Some(ScalingDecision {
                from: 1,
                to: 2,
                reason: "Busy: a worker is busy for more than 90 % of its time".to_owned(),
                inputs: "arrivals 2400/s, lag 1300 records".to_owned(),
                time: Time("2026-01-02T03:04:05Z".parse().expect("a time")),
            }),
            conditions: vec![Said {
                kind: "ScalingLimited".to_owned(),
                status: "True".to_owned(),
                reason: "SinkBound".to_owned(),
                message: "workers wait for sinks".to_owned(),
            }],
            workers: vec![serving("fares-0", 0.914), Worker { sinks: Vec::new(), ..coming }],
            splits: vec![split(0, Some("fares-0"), 100), split(1, Some("fares-0"), 1_204), split(2, None, 0)],
            units: vec![unit("0/0", None, UnitState::Owned), unit("0/1", Some("fares-1"), UnitState::Moving)],
            sinks: vec![Sink { sink: "out".to_owned(), rate_per_second: Some(2_380.0) }],
            notes: Vec::new(),
        }
    }

    fn text(view: &View, size: Size) -> String {
        draw(view, now(), size).join("\n")
    }

    #[test]
    fn a_pipeline_is_drawn_from_splits_by_workers_to_sinks() {
        let expected = "\
StreamPipeline shop/fares: Running
workers 1/2 · units 1/2 · in 2,401/s · out 2,380/s
autoscaler: 1 → 2 workers, 45s ago. Busy: a worker is busy for more than 90 % of its time
  from arrivals 2400/s, lag 1300 records
moving: 0/1 from fares-1 to fares-0
ScalingLimited=True SinkBound: workers wait for sinks

SPLIT    IN/S   LAG    LAG-TIME       WORKER     STATE    BUSY            BLOCKED  UNITS       SINK  OUT/S
trips/2  -      -      -         ──▶  nobody
trips/1  1,200  1,204  1.2s      ──▶  fares-0    Running  █████████░ 91%  2%       1      ──▶  out   2,380
trips/0  1,200  100    0.1s
                                      fares-1-x  -        -               -        0";
        assert_eq!(text(&view(), Size::BOUNDLESS), expected);
    }

    #[test]
    fn a_decision_for_as_many_workers_is_told_by_their_number() {
        let mut view = view();
        view.last_decision.iter_mut().for_each(|last| last.from = 2);
        assert!(text(&view, Size::BOUNDLESS).contains("\nautoscaler: 2 workers, 45s ago. Busy: "));
    }

    #[test]
    fn where_there_is_little_room_what_waits_least_is_summed_up_and_no_line_is_too_long() {
        let mut view = View { last_decision: None, conditions: Vec::new(), units: Vec::new(), ..view() };
        view.splits = (0..40).map(|number| split(number, Some("fares-0"), u64::from(number))).collect();
        view.workers.truncate(1);
        let drawn = draw(&view, now(), Size { columns: 60, rows: 8 });
        let expected = "\
StreamPipeline shop/fares: Running
workers 1/2 · units 1/2 · in 48,016/s · out 2,380/s · lag 7…

SPLIT      IN/S    LAG  LAG-TIME       WORKER   STATE    BU…
trips/39   1,200   39   0.0s      ──▶  fares-0  Running  ██…
trips/38   1,200   38   0.0s
trips/37   1,200   37   0.0s
… 37 more  44,415  666  0.0s";
        assert_eq!(drawn.join("\n"), expected);
    }

    #[test]
    fn more_workers_than_lines_are_counted() {
        let mut view = View { last_decision: None, conditions: Vec::new(), units: Vec::new(), ..view() };
        view.splits = Vec::new();
        view.workers = (0..20).map(|number| serving(&format!("fares-{number}"), 0.5)).collect();
        for rows in 1..30 {
            let drawn = draw(&view, now(), Size { columns: 120, rows });
            assert!(drawn.len() <= rows, "{rows}: {drawn:#?}");
            let shown = drawn.iter().filter(|line| line.contains("fares-")).count();
            let told = drawn.iter().find_map(|line| line.strip_prefix("… and ")?.split(' ').next()?.parse().ok());
            assert!(rows < 5 || shown + told.unwrap_or(0) == 20, "{rows}: {drawn:#?}");
        }
    }

    #[test]
    fn what_others_said_does_not_reach_the_terminal_as_a_command() {
        let mut view = view();
        view.workers[0].failures = vec!["BadRecord \u{1b}[2J\nx".to_owned()];
        assert!(text(&view, Size::BOUNDLESS).lines().any(|line| line == "fares-0: BadRecord  [2J x"));
    }

    #[test]
    fn a_pipeline_that_nobody_has_looked_at_says_so() {
        let nothing = View {
            phase: None,
            workers_ready: String::new(),
            units_owned: String::new(),
            last_decision: None,
            conditions: Vec::new(),
            workers: Vec::new(),
            splits: Vec::new(),
            units: Vec::new(),
            sinks: Vec::new(),
            ..view()
        };
        let expected = "StreamPipeline shop/fares: not looked at yet: does an operator run?\n";
        assert_eq!(text(&nothing, Size::BOUNDLESS), expected);
    }
}
