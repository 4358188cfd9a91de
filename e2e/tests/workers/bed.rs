//! What these tests have in common.

use std::time::{Duration, Instant};

use krafka::Record;
use thalweg_e2e::bank::{COPIES, Ledger, Pipelines, SUMS, State, Traffic, Watch};
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::wait_for;
use thalweg_e2e::workers::Fleet;

/// How long something may take on two busy cores.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Partitions of the input.
pub const PARTITIONS: i32 = 4;
/// How often units commit, in milliseconds.
pub const COMMIT_EVERY_MS: u64 = 200;
/// Seconds until a silent worker's units are given to others.
pub const SILENCE: &str = "4";
/// The pipeline of [`Numbers`].
pub const NUMBERS: &str = "numbers";

const ROWS_PER_SECOND: u64 = 800;

/// Pipelines of the bank with two workers each, and transfers on their way.
pub struct Bank {
    /// Coordinator and workers.
    pub fleet: Fleet,
    watches: Vec<(&'static str, Watch)>,
    traffic: Option<Traffic>,
    /// The broker.
    pub kafka: Kafka,
}

impl Bank {
    /// Starts both pipelines, with more words for the coordinator, and waits until there is output of both.
    pub async fn start(words: &[&str]) -> Self {
        let bank = Self::of(&[COPIES, SUMS], words).await;
        bank.more(SUMS, 20);
        bank
    }

    /// [`Bank::start`], of the pipeline that passes rows on alone.
    pub async fn of_copies(words: &[&str]) -> Self {
        Self::of(&[COPIES], words).await
    }

    async fn of(pipelines: &[&'static str], words: &[&str]) -> Self {
        let kafka = Kafka::start();
        kafka.make_bank(PARTITIONS).await;
        let bank = Pipelines {
            broker: kafka.address(),
            state: State::Folder("./state".to_owned()),
            commit_every_ms: COMMIT_EVERY_MS,
            key_groups: 4,
            workers: 2,
        };
        let manifest = if pipelines.contains(&SUMS) { bank.manifest() } else { bank.only_copies() };
        let mut fleet = Fleet::new(&manifest, words);
        for pipeline in pipelines {
            fleet.add_worker(pipeline, &[]);
            fleet.add_worker(pipeline, &[]);
        }
        let traffic = Some(Traffic::start(&kafka, PARTITIONS, ROWS_PER_SECOND));
        let watches = pipelines.iter().map(|pipeline| (*pipeline, Watch::of(&kafka, pipeline))).collect();
        let bank = Self { fleet, watches, traffic, kafka };
        bank.more(COPIES, 1_000);
        bank
    }

    /// Who watches the output of a pipeline.
    pub fn watch(&self, pipeline: &str) -> &Watch {
        let (_, watch) = self.watches.iter().find(|(watched, _)| *watched == pipeline).expect("a pipeline of these");
        watch
    }

    /// Waits until so many more rows of a pipeline have come.
    pub fn more(&self, pipeline: &str, rows: u64) {
        let watch = self.watch(pipeline);
        let wanted = watch.rows() + rows;
        wait_for("more output", LIMIT, || (watch.rows() >= wanted).then_some(()));
    }

    /// Waits until a pipeline has one owner of units; its number.
    pub fn owner(&self, pipeline: &str) -> usize {
        wait_for("an owner", LIMIT, || self.fleet.owners(pipeline).first().copied())
    }

    /// Ends the traffic, and waits until all that must come of it has come; what is missing then is lost.
    pub async fn ledger(&mut self) -> Ledger {
        self.traffic.take().expect("it ends once").end().await;
        let ledger = Ledger::read(&self.kafka, PARTITIONS);
        let wanted = |pipeline: &str| if pipeline == SUMS { ledger.windows.len() as u64 } else { ledger.copied() };
        let is_complete = || self.watches.iter().all(|(pipeline, watch)| watch.rows() >= wanted(pipeline));
        let started = Instant::now();
        while !is_complete() && started.elapsed() < LIMIT {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ledger
    }
}

/// A pipeline that passes numbers on, from the two partitions of `events` to `out`, and its only worker.
pub struct Numbers {
    /// The broker.
    pub kafka: Kafka,
    /// Coordinator and worker.
    pub fleet: Fleet,
    /// The number of the worker.
    pub worker: usize,
}

impl Numbers {
    /// Starts it, with settings of the topic `out`.
    pub async fn start(out: &[(&str, &str)]) -> Self {
        let kafka = Kafka::start();
        kafka.create_topic("events", 2, &[]).await;
        Self::start_on(kafka, out).await
    }

    /// The same without the topic that it reads.
    pub async fn without_input() -> Self {
        Self::start_on(Kafka::start(), &[]).await
    }

    async fn start_on(kafka: Kafka, out: &[(&str, &str)]) -> Self {
        kafka.create_topic("out", 1, out).await;
        let mut fleet = Fleet::new(&numbers(&kafka), &["--workers", "1"]);
        let worker = fleet.add_worker(NUMBERS, &[]);
        Self { kafka, fleet, worker }
    }
}

/// One number, for a partition of the input.
pub fn number(n: u64, partition: i32) -> Record {
    Record::new("events", format!(r#"{{"n":{n}}}"#)).partition(partition)
}

fn numbers(kafka: &Kafka) -> String {
    Manifest::over(kafka)
        .source("events", &["n BIGINT", "key STRING, metadata: key"])
        .sink("out")
        .pipeline(NUMBERS, &["events"], &["out"], "INSERT INTO out SELECT n, key FROM events")
        .to_string()
}
