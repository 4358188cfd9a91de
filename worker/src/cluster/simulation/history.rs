//! One history: what comes in, what goes wrong and when, and what must come of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::restart::RESTART;
use thalweg_operator_plan::statements::published;
use thalweg_operator_plan::validate::ValidatedPipeline;

use super::Rules;
use super::broker::{Broker, Shown};
use super::control::{Operator, Server};
use super::network::Cables;
use super::objects::Objects;
use super::process::{GRACE, Process, STATE, Surroundings};
use super::world::{FAIR, System, Weather, World};
use crate::cli::answer;
use crate::cluster::lease::seen;
use crate::coordinator::{Ask, Known, read};

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
/// Where dead letters come out.
const DEAD: &str = "dead";
/// Where rows come out.
const OUTPUTS: [&str; 4] = ["copies", "sums", "totals", DEAD];

/// A statement: the sink that it feeds, and the column that tells its rows from those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement(&'static str, &'static str);

/// One whose commits are transactions of Kafka, one with windows, one that reads what others put out.
const FIRST: [Statement; 3] = [
    Statement("copies", "amount * 2 AS twice"),
    Statement("sums", "count(*) AS n"),
    Statement("totals", "count(*) AS accounts"),
];
/// The same, changed: nothing that is kept fits them.
const CHANGED: [Statement; 3] = [
    Statement("copies", "amount * 3 AS thrice"),
    Statement("sums", "count(*) AS entries"),
    Statement("totals", "count(*) AS holders"),
];
/// Others into the same sinks: they differ from the first in nothing that is kept.
const OTHERS: [Statement; 2] =
    [Statement("copies", "amount * 2 + 1000 AS twice"), Statement("sums", "count(*) + 1000 AS n")];

impl Statement {
    fn sql(self) -> String {
        let Self(sink, column) = self;
        let query = match sink {
            "copies" => format!("SELECT id, part, account, {column} FROM events"),
            "sums" => format!(
                "SELECT account, window_start, {column}, sum(amount) AS amount \
                 FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '2' SECOND)) \
                 GROUP BY window_start, window_end, account"
            ),
            _ => format!(
                "SELECT window_start, max(amount) AS most, {column} FROM ( \
                 SELECT window_start, window_end, account, sum(amount) AS amount \
                 FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(at), INTERVAL '4' SECOND)) \
                 GROUP BY window_start, window_end, account) \
                 GROUP BY window_start, window_end"
            ),
        };
        format!("INSERT INTO {sink} {query}")
    }
}

/// The statements of a history, in their order.
#[derive(Clone, Debug)]
pub struct Plans {
    pub first: Vec<Statement>,
    /// What they become in the middle, where they do.
    pub next: Option<Vec<Statement>>,
}

impl Plans {
    /// In each third history one statement changes; in each sixth one comes, goes, or changes its place with another one.
    pub fn of(seed: u64) -> Self {
        let first = FIRST.to_vec();
        if seed.is_multiple_of(3) {
            let changed = usize::try_from(seed / 3 % 3).unwrap_or_default();
            let mut next = first.clone();
            next[changed] = CHANGED[changed];
            return Self { first, next: Some(next) };
        }
        if seed % 6 != 4 {
            return Self { first, next: None };
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(37).wrapping_add(11));
        let mut more = first.clone();
        more.insert(rng.random_range(0..=first.len()), OTHERS[rng.random_range(0..OTHERS.len())]);
        let (one, apart) = (rng.random_range(0..more.len()), rng.random_range(1..more.len()));
        let mut next = more.clone();
        match seed / 6 % 3 {
            0 => return Self { first, next: Some(more) },
            1 => {
                next.remove(one);
            }
            _ => next.swap(one, (one + apart) % more.len()),
        }
        Self { first: more, next: Some(next) }
    }

    /// Whether a statement that goes on has another place: its late rows then name one or the other.
    fn moves(&self) -> bool {
        let mut next = self.next.iter().flatten().enumerate();
        next.any(|(place, statement)| self.first.contains(statement) && self.first.get(place) != Some(statement))
    }

    /// The first place at which another statement stands: where none moves, that of the one that has changed.
    fn changed(&self) -> Option<usize> {
        self.first.iter().zip(self.next.as_ref()?).position(|(first, next)| first != next)
    }

    /// How often a row has to come at the least, and at the most, that comes so often where nothing happens to the first
    /// statements, and to those that they become. Rows of a statement that goes on come as often of both.
    fn times(&self, topic: &str, row: &Shown, (before, after): (usize, usize)) -> (usize, usize) {
        let plainly = (after, before.max(after));
        if topic != DEAD {
            return plainly;
        }
        let letter: serde_json::Value = serde_json::from_str(&row.value).unwrap_or_default();
        let text = |field: &str| letter[field].as_str().unwrap_or_default();
        let is_of = |place: usize| text("message").starts_with(&format!("INSERT {}:", place + 1));
        match text("class") {
            // The one of before had its own.
            "Late" if self.changed().is_some_and(is_of) => (after, before + after),
            "Late" => plainly,
            // What cannot be decoded belongs to the first statement: without it the next one has it from where that stands.
            _ if self.next.as_ref().is_some_and(|next| !next.contains(&self.first[0])) => (0, 2 * before),
            _ => plainly,
        }
    }

    /// How often each row has come. Where places move, late rows are told without the place of their statement.
    fn counted(&self, partitions: &[Vec<Shown>]) -> BTreeMap<Shown, usize> {
        let (mut counted, moves) = (BTreeMap::new(), self.moves());
        for row in partitions.iter().flatten() {
            let row = if moves { without_place(row) } else { row.clone() };
            *counted.entry(row).or_default() += 1;
        }
        counted
    }
}

/// A late row, whose message begins with `INSERT` and a place, without that place; any other as it is.
fn without_place(row: &Shown) -> Shown {
    let split = row.value.split_once("\"INSERT ").and_then(|(head, tail)| Some((head, tail.split_once(':')?.1)));
    let value = split.map_or_else(|| row.value.clone(), |(head, tail)| format!("{head}\"INSERT:{tail}"));
    Shown { key: row.key.clone(), value }
}

/// A pipeline of these statements.
fn manifest(statements: &[Statement]) -> String {
    let sql: Vec<_> = statements.iter().map(|statement| statement.sql()).collect();
    let sql = sql.join(";\n    ");
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
    {sql}
  state: {{ url: "{STATE}", commitEvery: 500ms, keyGroups: 3 }}
  onIncompatibleChange: Restart
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
    Change,
}

/// What goes wrong in a history whose statements become others, or do not, in its order; at its end everything is well.
fn troubles(seed: u64, changes: bool) -> Vec<(Duration, Trouble)> {
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
    if changes {
        let at = Duration::from_millis(rng.random_range(6_000..25_000));
        troubles.push((at, Trouble::Change));
        // Its workers are replaced one after the other.
        for (worker, turn) in (0..WORKERS).zip(1..) {
            let at = at + turn * Duration::from_millis(rng.random_range(300..3_000));
            troubles.extend([(at, Trouble::Kill(worker)), (at + Duration::from_millis(200), Trouble::Start(worker))]);
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
    /// What had come out once a worker of other statements had units: whoever wrote for those of before is fenced then.
    fenced: Option<Outputs>,
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
    /// The pipeline once it is another one.
    next: Option<ValidatedPipeline>,
    /// The hash of its plan, once it is.
    changed: Option<String>,
}

/// The pipeline of a manifest, after what is known of the one before.
fn pipeline(statements: &[Statement], workers: u16, known: &Known) -> ValidatedPipeline {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, manifest(statements)).expect("written");
    let ask = Ask { workers: Some(workers), state: None };
    read(&[path], &ask, answer, |_, _| Ok(known.clone())).expect("it is right").remove(0)
}

/// A plan, as workers have it mounted.
fn mounted(pipeline: &ValidatedPipeline) -> tempfile::TempDir {
    let (plan, folder) = (&pipeline.plan, tempfile::tempdir().expect("a folder"));
    let files =
        [("plan", Some(&plan.hash)), ("resources.yaml", Some(&plan.resources)), (RESTART, plan.restart.as_ref())];
    for (name, text) in files {
        text.into_iter().for_each(|text| std::fs::write(folder.path().join(name), text).expect("written"));
    }
    folder
}

impl Stage {
    fn new(seed: u64, rules: Rules, workers: u16, is_told: bool, plans: &Plans) -> Self {
        let world = Arc::new(World::new(seed, is_told));
        let broker = Broker::new(world.clone(), rules);
        broker.make("events", PARTITIONS);
        OUTPUTS.iter().for_each(|topic| broker.make(topic, 2));
        let first = pipeline(&plans.first, workers, &Known::default());
        let numbers = Some(published(&first.stages, &first.given));
        let assignment = Some(AssignmentSpec { numbers, ..AssignmentSpec::default() });
        let known = Known { assignment, ..Known::default() };
        let next = plans.next.as_ref().map(|next| pipeline(next, workers, &known));
        let folder = mounted(&first);
        let server = Server::new(world.clone());
        let operator = Operator::new(server.clone(), world.clone(), first);
        let objects = Objects::new(world.clone(), rules);
        let around = Surroundings { cables: Cables::new(world.clone()), world, broker, objects, server };
        let processes = (0..usize::from(workers)).map(|number| Process::new(around.clone(), number)).collect();
        Self { around, operator, operator_away: Duration::ZERO, processes, folder, next, changed: None }
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
            Trouble::Change => {
                if let Some(next) = self.next.take() {
                    self.folder = mounted(&next);
                    self.changed = Some(next.plan.hash.clone());
                    self.operator.change(next);
                }
            }
        }
        if !matches!(trouble, Trouble::Kill(_) | Trouble::Start(_) | Trouble::Halt(..) | Trouble::WallClock(..)) {
            world.note(format!("{trouble:?}"));
        }
    }

    fn outputs(&self) -> Outputs {
        OUTPUTS.iter().map(|topic| (*topic, self.around.broker.committed(topic))).collect()
    }

    /// Whether a worker of the plan that came in the middle has units: by then it has fenced whoever wrote for statements
    /// that have ended.
    fn has_fenced(&self) -> bool {
        let Some(plan) = &self.changed else { return false };
        let mut reports = self.processes.iter().filter_map(Process::report);
        reports.any(|report| report.plan == *plan && !report.units.is_empty())
    }

    /// Plays until everything has come that must and some time has passed, or for too long.
    fn play(mut self, input: Vec<Input>, troubles: Vec<(Duration, Trouble)>, expected: Option<&Expected>) -> Ended {
        (0..self.processes.len()).for_each(|worker| self.start(worker));
        let (mut input, mut troubles) = (input.into_iter().peekable(), troubles.into_iter().peekable());
        let (mut now, mut looked, mut complete) = (Duration::ZERO, Duration::ZERO, None);
        let (mut before, mut fenced) = (0, None);
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
                if fenced.is_none() && self.has_fenced() {
                    fenced = Some(self.outputs());
                }
                if now >= self.operator_away {
                    let reports = self.processes.iter().filter_map(Process::report).collect();
                    self.operator.look(reports);
                }
                if input.peek().is_none() && troubles.peek().is_none() {
                    let outputs = self.outputs();
                    let found: usize = outputs.values().flatten().map(Vec::len).sum();
                    let has_all =
                        expected.map_or(found > 0 && found == before, |expected| expected.is_all_in(&outputs));
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
        Ended { outputs, fenced, trace: self.around.world.trace(), lasted: now }
    }
}

/// One worker of these statements, to which nothing happens.
pub fn undisturbed(seed: u64, statements: &[Statement]) -> Ended {
    let plans = Plans { first: statements.to_vec(), next: None };
    Stage::new(seed, Rules::default(), 1, false, &plans).play(input(seed), Vec::new(), None)
}

/// Several workers, to which this happens, until all has come that is expected.
pub fn disturbed(seed: u64, rules: Rules, expected: &Expected, is_told: bool) -> Ended {
    let (workers, plans) = (u16::try_from(WORKERS).expect("few"), &expected.plans);
    let stage = Stage::new(seed, rules, workers, is_told, plans);
    stage.play(input(seed), troubles(seed, plans.next.is_some()), Some(expected))
}

/// What is seen of a worker that was told to end, some time after that.
#[derive(Debug)]
pub struct Look {
    pub since: Duration,
    /// How many rows have come out of `copies`.
    pub rows: usize,
    /// Changes with each renewal of its Lease.
    pub version: String,
    pub holds_slot: bool,
    pub has_ended: bool,
}

/// The only worker is told to end, and nobody leads from then on: what is seen each second, until it has ended or would be
/// killed.
pub fn left_alone(seed: u64) -> Vec<Look> {
    const TOLD: Duration = Duration::from_secs(15);
    const ROW_EVERY: Duration = Duration::from_millis(100);
    const SECOND: Duration = Duration::from_secs(1);
    let mut stage = Stage::new(seed, Rules::default(), 1, false, &Plans { first: FIRST.to_vec(), next: None });
    let Surroundings { world, broker, server, .. } = stage.around.clone();
    stage.start(0);
    let (mut now, mut rows, mut operator_at, mut told) = (Duration::ZERO, 0_u32, Duration::ZERO, false);
    let mut looks: Vec<Look> = Vec::new();
    while now < TOLD + GRACE && !looks.last().is_some_and(|look| look.has_ended) {
        now += TICK;
        world.set_now(now);
        while ROW_EVERY * rows <= now {
            let at = 10_000 + now.as_millis();
            let value = format!(r#"{{"id":{rows},"part":0,"account":"a{}","at":{at},"amount":1}}"#, rows % 6);
            broker.append("events", 0, "a", &value);
            rows += 1;
        }
        if now < TOLD && now >= operator_at {
            operator_at = now + LOOK_EVERY;
            stage.operator.look(stage.processes.iter().filter_map(Process::report).collect());
        }
        if now >= TOLD && !std::mem::replace(&mut told, true) {
            stage.processes[0].terminate();
        }
        stage.processes[0].work(now);
        let Some(since) = now.checked_sub(TOLD) else { continue };
        if looks.last().is_none_or(|look| since >= look.since + SECOND) {
            let slot = seen(server.leases().first().expect("a slot"));
            looks.push(Look {
                since,
                rows: broker.committed("copies").iter().map(Vec::len).sum(),
                version: slot.version,
                holds_slot: slot.holder.is_some(),
                has_ended: stage.processes[0].has_ended(),
            });
        }
    }
    stage.processes[0].kill();
    looks
}

/// What must come of a history.
pub struct Expected {
    plans: Plans,
    /// By topic, how often a row has to come at the least, and at the most.
    rows: BTreeMap<&'static str, BTreeMap<Shown, (usize, usize)>>,
}

impl Expected {
    /// What `first` says, no less and no more. Where statements have become others in the middle, `next` says what must come
    /// of those: before that something may have come of such as have ended.
    pub fn new(plans: Plans, first: &Outputs, next: Option<&Outputs>) -> Self {
        let next = next.unwrap_or(first);
        let topic = |topic: &&'static str| {
            let (before, after) = (plans.counted(&first[topic]), plans.counted(&next[topic]));
            let both = |row: &Shown| (times(&before, row), times(&after, row));
            let rows = before.keys().chain(after.keys());
            (*topic, rows.map(|row| (row.clone(), plans.times(topic, row, both(row)))).collect())
        };
        let rows = OUTPUTS.iter().map(topic).collect();
        Self { plans, rows }
    }

    /// Rows that come in any case.
    pub fn least(&self) -> usize {
        self.rows.values().flat_map(BTreeMap::values).map(|(least, _)| least).sum()
    }

    fn is_all_in(&self, found: &Outputs) -> bool {
        self.rows.iter().all(|(topic, rows)| {
            let came = self.plans.counted(&found[topic]);
            rows.iter().all(|(row, (least, _))| times(&came, row) >= *least)
        })
    }
}

fn times(counted: &BTreeMap<Shown, usize>, row: &Shown) -> usize {
    counted.get(row).copied().unwrap_or_default()
}

/// What is wrong with what came, against what had to.
pub fn violations(expected: &Expected, ended: &Ended) -> Vec<String> {
    let Ended { outputs: found, fenced, .. } = ended;
    let mut said = Vec::new();
    for (topic, wanted) in &expected.rows {
        let came = expected.plans.counted(&found[topic]);
        for (row, (least, most)) in wanted {
            match times(&came, row) {
                more if more > *most => said.push(format!("{topic}: {more} times, not {most}: {row:?}")),
                less if less < *least => said.push(format!("{topic}: lost: {row:?}")),
                _ => {}
            }
        }
        said.extend(came.keys().filter(|row| !wanted.contains_key(*row)).map(|row| format!("{topic}: wrong: {row:?}")));
        // Dead letters do not tell a statement from the one that has come in its place.
        if let Some(fenced) = fenced.as_ref().filter(|_| *topic != DEAD) {
            let then = expected.plans.counted(&fenced[topic]);
            let has_ended = |row: &&Shown| wanted.get(*row).is_some_and(|(least, _)| *least == 0);
            let more = came.keys().filter(has_ended).filter(|row| times(&came, row) > times(&then, row));
            said.extend(more.map(|row| format!("{topic}: its statement had ended: {row:?}")));
        }
    }
    said.extend(out_of_order(&found["copies"]));
    said
}

/// Rows of one partition of the input and one key keep their order; ids grow along each partition.
fn out_of_order(partitions: &[Vec<Shown>]) -> Vec<String> {
    let mut said = Vec::new();
    for rows in partitions {
        let mut last: BTreeMap<(&str, u64, bool, bool), u64> = BTreeMap::new();
        for row in rows {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&row.value) else { continue };
            let (Some(id), Some(part)) = (value["id"].as_u64(), value["part"].as_u64()) else { continue };
            // Each of the statements that feed it has an order of its own.
            let (has_changed, is_other) = (value.get("thrice").is_some(), value["twice"].as_i64() > Some(500));
            if last.insert((&row.key, part, has_changed, is_other), id).is_some_and(|before| before > id) {
                said.push(format!("copies: out of order: {row:?}"));
            }
        }
    }
    said
}
