//! One history: what comes in, what goes wrong and when, and what must come of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Rules;
use super::broker::{Broker, Shown};
use super::control::{Operator, Server};
use super::network::Cables;
use super::objects::Objects;
use super::process::{Process, STATE, Surroundings};
use super::world::{FAIR, System, Weather, World};
use crate::cli::answer;
use crate::coordinator::{Ask, read};

/// How far time goes at once: what processes do within it they do one after the other.
const TICK: Duration = Duration::from_millis(4);
/// How often the operator looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long input comes, and things go wrong.
const TROUBLE: Duration = Duration::from_secs(40);
/// How long may pass after that until everything has come: a worker may stand still, and slots are given up slowly.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long it is looked on once everything is there, lest more comes than must.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// Partitions of the input, and workers.
const PARTITIONS: usize = 3;
const WORKERS: usize = 3;
const PIPELINE: &str = "p";
/// Where rows come out.
const OUTPUTS: [&str; 4] = ["copies", "sums", "totals", "dead"];

/// A pipeline with each kind of unit: one whose commits are transactions of Kafka, one with windows, one that reads what
/// others put out.
fn manifest() -> String {
    let sink = |name: &str, key: &str| {
        format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: {{ name: {name} }}\n\
             spec: {{ kafka: {{ brokers: [\"played:9092\"], topic: {name}{key} }} }}\n---\n"
        )
    };
    let sinks =
        [sink("copies", ", key: [account]"), sink("sums", ", key: [account]"), sink("totals", ""), sink("dead", "")];
    format!(
        r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: events }}
spec:
  kafka: {{ brokers: ["played:9092"], topic: events }}
  format: {{ json: {{ timestampFormat: EpochMillis }} }}
  schema:
    - {{ name: id, type: BIGINT }}
    - {{ name: part, type: BIGINT }}
    - {{ name: account, type: STRING }}
    - {{ name: at, type: TIMESTAMP(3) }}
    - {{ name: amount, type: BIGINT }}
  watermark: {{ column: at, delay: 500ms, late: DeadLetter }}
  onError: DeadLetter
---
{}apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: {PIPELINE} }}
spec:
  sources: [{{ name: events }}]
  sinks: [{{ name: copies }}, {{ name: sums }}, {{ name: totals }}]
  deadLetter: {{ sink: dead }}
  sql: |
    INSERT INTO copies SELECT id, part, account, amount * 2 AS twice FROM events;
    INSERT INTO sums SELECT account, window_start, count(*) AS n, sum(amount) AS amount
      FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '2' SECOND))
      GROUP BY window_start, window_end, account;
    INSERT INTO totals SELECT window_start, max(amount) AS most, count(*) AS accounts FROM (
      SELECT window_start, window_end, account, sum(amount) AS amount
      FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '4' SECOND))
      GROUP BY window_start, window_end, account)
      GROUP BY window_start, window_end
  state: {{ url: "{STATE}", commitEvery: 500ms, keyGroups: 3 }}
"#,
        sinks.concat()
    )
}

/// A record of the input.
struct Input {
    at: Duration,
    partition: usize,
    key: String,
    value: String,
}

/// The input of a history: some rows are late, some are none.
fn input(seed: u64) -> Vec<Input> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut input = Vec::new();
    let mut at = Duration::ZERO;
    while at < TROUBLE {
        at += Duration::from_millis(rng.random_range(10..150));
        let (id, partition) = (input.len(), rng.random_range(0..PARTITIONS));
        let account = format!("a{}", rng.random_range(0..6));
        let back = if rng.random_bool(0.03) { 4_000 } else { rng.random_range(0..400) };
        let time = 10_000 + i64::try_from(at.as_millis()).expect("short") - back;
        let amount: i64 = rng.random_range(-50..=50);
        let value = match rng.random_bool(0.01) {
            true => format!("no row {id}"),
            false => format!(r#"{{"id":{id},"part":{partition},"account":"{account}","at":{time},"amount":{amount}}}"#),
        };
        input.push(Input { at, partition, key: account, value });
    }
    // Every window of before is closed.
    let last = (0..PARTITIONS).map(|partition| {
        let value =
            format!(r#"{{"id":{},"part":{partition},"account":"end","at":100000,"amount":0}}"#, 1_000_000 + partition);
        Input { at, partition, key: "end".to_owned(), value }
    });
    input.extend(last);
    input
}

/// What goes wrong, or is wanted.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Kill(usize),
    Start(usize),
    Halt(usize, Duration),
    Cut(usize, usize),
    Mend(usize, usize),
    Weather(System, Weather),
    WallClock(usize, i64),
    HandOver,
    OperatorAway(Duration),
}

/// What goes wrong in a history, in its order; at its end everything is well.
fn troubles(seed: u64) -> Vec<(Duration, Trouble)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(7));
    let mut troubles = Vec::new();
    let count = rng.random_range(3..=14);
    for _ in 0..count {
        let at = Duration::from_millis(rng.random_range(3_000..38_000));
        let lasts = Duration::from_millis(rng.random_range(500..12_000));
        let (one, other) = (rng.random_range(0..WORKERS), rng.random_range(0..WORKERS));
        let (slow, part) = (Duration::from_millis(rng.random_range(20..1_500)), rng.random_range(0.0..0.3));
        match rng.random_range(0..10) {
            0 | 1 => troubles.extend([(at, Trouble::Kill(one)), (at + lasts, Trouble::Start(one))]),
            2 => troubles.push((at, Trouble::Halt(one, lasts * 2))),
            3 if one != other => {
                troubles.extend([(at, Trouble::Cut(one, other)), (at + lasts, Trouble::Mend(one, other))])
            }
            4 | 5 => {
                let system = [System::Broker, System::Objects, System::Control][rng.random_range(0..3)];
                let weather = Weather { slowest: slow, fails: part, loses: rng.random_range(0.0..0.2) };
                troubles
                    .extend([(at, Trouble::Weather(system, weather)), (at + lasts, Trouble::Weather(system, FAIR))]);
            }
            6 => troubles.push((at, Trouble::WallClock(one, rng.random_range(-3_600_000..3_600_000)))),
            7 => troubles.push((at, Trouble::OperatorAway(lasts))),
            _ => troubles.push((at, Trouble::HandOver)),
        }
    }
    let end = TROUBLE + Duration::from_secs(10);
    troubles.extend((0..WORKERS).map(|worker| (end, Trouble::Start(worker))));
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}

/// What came out, by topic and partition.
pub type Outputs = BTreeMap<&'static str, Vec<Vec<Shown>>>;

/// How a history ended.
pub struct Ended {
    pub outputs: Outputs,
    /// A number for all that happened, and how much that was.
    pub trace: (u64, u64),
    /// How much time passed in it.
    pub lasted: Duration,
}

/// Plays.
pub struct Stage {
    around: Surroundings,
    operator: Operator,
    operator_away: Duration,
    processes: Vec<Process>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(seed: u64, rules: Rules, workers: u16, is_told: bool) -> Self {
        let world = Arc::new(World::new(seed, is_told));
        let broker = Broker::new(world.clone(), rules);
        broker.make("events", PARTITIONS);
        OUTPUTS.iter().for_each(|topic| broker.make(topic, 2));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, manifest()).expect("written");
        let ask = Ask { workers: Some(workers), state: None };
        let pipeline = read(&[path], &ask, answer, |_, _| Ok(None)).expect("it is right").remove(0);
        let plan = &pipeline.plan;
        std::fs::write(folder.path().join("plan"), &plan.hash).expect("written");
        std::fs::write(folder.path().join("resources.yaml"), &plan.resources).expect("written");
        let server = Server::new(world.clone());
        let operator = Operator::new(server.clone(), world.clone(), pipeline);
        let objects = Objects::new(world.clone(), rules);
        let around = Surroundings { cables: Cables::new(world.clone()), world, broker, objects, server };
        let processes = (0..usize::from(workers)).map(|number| Process::new(around.clone(), number)).collect();
        Self { around, operator, operator_away: Duration::ZERO, processes, folder }
    }

    fn plan(&self) -> &Path {
        self.folder.path()
    }

    fn start(&mut self, worker: usize) {
        let plan = self.plan().to_owned();
        self.processes[worker].start(&plan, PIPELINE);
    }

    fn happens(&mut self, trouble: Trouble) {
        let world = self.around.world.clone();
        match trouble {
            Trouble::Kill(worker) => self.processes[worker].kill(),
            Trouble::Start(worker) => self.start(worker),
            Trouble::Halt(worker, lasts) => self.processes[worker].halt(world.now() + lasts),
            Trouble::Cut(one, other) => world.set_cut((one, other), true),
            Trouble::Mend(one, other) => world.set_cut((one, other), false),
            Trouble::Weather(system, weather) => world.set_weather(system, weather),
            Trouble::WallClock(worker, off) => self.processes[worker].set_wall_clock(off),
            Trouble::HandOver => self.operator.hand_over(),
            Trouble::OperatorAway(lasts) => {
                self.operator_away = world.now() + lasts;
                self.operator.restart();
            }
        }
        if !matches!(trouble, Trouble::Kill(_) | Trouble::Start(_) | Trouble::Halt(..) | Trouble::WallClock(..)) {
            world.note(format!("{trouble:?}"));
        }
    }

    fn outputs(&self) -> Outputs {
        OUTPUTS.iter().map(|topic| (*topic, self.around.broker.committed(topic))).collect()
    }

    fn rows(&self) -> usize {
        self.outputs().values().flatten().map(Vec::len).sum()
    }

    /// Plays until so many rows have come and some time has passed, or for too long.
    fn play(mut self, input: Vec<Input>, troubles: Vec<(Duration, Trouble)>, rows: Option<usize>) -> Ended {
        (0..self.processes.len()).for_each(|worker| self.start(worker));
        let (mut input, mut troubles) = (input.into_iter().peekable(), troubles.into_iter().peekable());
        let (mut now, mut looked, mut complete) = (Duration::ZERO, Duration::ZERO, None);
        let mut before = 0;
        while now < TROUBLE + PATIENCE {
            now += TICK;
            self.around.world.set_now(now);
            while let Some(Input { partition, key, value, .. }) = input.next_if(|input| input.at <= now) {
                self.around.broker.append("events", partition, &key, &value);
            }
            while let Some((_, trouble)) = troubles.next_if(|(at, _)| *at <= now) {
                self.happens(trouble);
            }
            if now >= looked + LOOK_EVERY {
                looked = now;
                self.around.broker.look();
                if now >= self.operator_away {
                    let reports = self.processes.iter().filter_map(Process::report).collect();
                    self.operator.look(reports);
                }
                if input.peek().is_none() && troubles.peek().is_none() {
                    let found = self.rows();
                    let has_all = rows.map_or(found > 0 && found == before, |rows| found >= rows);
                    (complete, before) = (complete.filter(|_| has_all).or(has_all.then_some(now)), found);
                    if complete.is_some_and(|complete| now >= complete + AFTERWARDS) {
                        break;
                    }
                }
            }
            self.processes.iter_mut().for_each(|process| process.work(now));
        }
        let outputs = self.outputs();
        for (topic, partitions) in &outputs {
            self.around.world.note(format!("{topic}: {:?}", partitions.iter().map(Vec::len).collect::<Vec<_>>()));
        }
        self.processes.iter_mut().for_each(Process::kill);
        Ended { outputs, trace: self.around.world.trace(), lasted: now }
    }
}

/// One worker, to which nothing happens.
pub fn undisturbed(seed: u64) -> Ended {
    Stage::new(seed, Rules::default(), 1, false).play(input(seed), Vec::new(), None)
}

/// Several workers, to which this happens, until as many rows have come as are expected.
pub fn disturbed(seed: u64, rules: Rules, expected: &Outputs, is_told: bool) -> Ended {
    let rows = expected.values().flatten().map(Vec::len).sum();
    Stage::new(seed, rules, u16::try_from(WORKERS).expect("few"), is_told).play(input(seed), troubles(seed), Some(rows))
}

/// What is wrong with what came, against what had to.
pub fn violations(expected: &Outputs, found: &Outputs) -> Vec<String> {
    let mut said = Vec::new();
    for topic in OUTPUTS {
        let (wanted, came) = (counted(&expected[topic]), counted(&found[topic]));
        for (row, times) in &wanted {
            match came.get(row).copied().unwrap_or_default() {
                more if more > *times => said.push(format!("{topic}: {more} times, not {times}: {row:?}")),
                less if less < *times => said.push(format!("{topic}: lost: {row:?}")),
                _ => {}
            }
        }
        said.extend(came.keys().filter(|row| !wanted.contains_key(*row)).map(|row| format!("{topic}: wrong: {row:?}")));
    }
    said.extend(out_of_order(&found["copies"]));
    said
}

fn counted(partitions: &[Vec<Shown>]) -> BTreeMap<&Shown, usize> {
    let mut counted = BTreeMap::new();
    partitions.iter().flatten().for_each(|row| *counted.entry(row).or_default() += 1);
    counted
}

/// Rows of one partition of the input and one key keep their order; ids grow along each partition.
fn out_of_order(partitions: &[Vec<Shown>]) -> Vec<String> {
    let mut said = Vec::new();
    for rows in partitions {
        let mut last: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for row in rows {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&row.value) else { continue };
            let (Some(id), Some(part)) = (value["id"].as_u64(), value["part"].as_u64()) else { continue };
            if last.insert((&row.key, part), id).is_some_and(|before| before > id) {
                said.push(format!("copies: out of order: {row:?}"));
            }
        }
    }
    said
}
