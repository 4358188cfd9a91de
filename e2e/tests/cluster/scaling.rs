//! A pipeline that follows its load, from a real Kafka to a real Kafka.
//!
//! Two cores cannot add capacity: a worker of this test does 400 rows a second, whatever the machine can do, and counts what
//! it makes wait as work (`THALWEG_TEST_ROWS_PER_SECOND`, in an image of its own).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use krafka::Record;
use serde_json::Value;
use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::{Namespace, is_ready};
use thalweg_e2e::kafka::{Filler, Kafka};
use thalweg_e2e::manifest::Manifest;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::ownership::{assignment, condition, owned, owned_by, status as status_of, wait_until};
use crate::pipelines::say;
use crate::release::{image, install};

const PARTITIONS: usize = 4;
/// Records a second of each partition: all of them are little work for one worker, or work for three.
const LOW: u64 = 50;
const HIGH: u64 = 200;
/// Records a second of each partition where two of them are half a worker's work, and of one that is too much beside another.
const WARM: u64 = 80;
const HOT: u64 = 340;
/// How scaling goes up and down.
const FOLLOWS: &str = "minWorkers: 1, maxWorkers: 4, targetLag: 15s, catchUp: 30s, zeroAfter: 20s";
/// Two workers, whatever happens.
const TWO: &str = "minWorkers: 2, maxWorkers: 2, targetLag: 15s, catchUp: 30s";
/// How long what is decided may take: it is learnt first, and a low is waited through.
const PATIENCE: Duration = Duration::from_secs(240);

fn manifests(kafka: &Kafka, scaling: &str) -> String {
    Manifest::over(kafka)
        .everywhere(&format!(r#"allowPrivateAddresses: ["{}/32"]"#, host()))
        .source("events", &["id BIGINT"])
        .sink("out")
        .kafka("createTopic: { partitions: 4 }")
        .pipeline("follow", &["events"], &["out"], "INSERT INTO out SELECT id FROM events")
        .spec("state: { commitEvery: 1s }")
        .spec(&format!("scaling: {{ {scaling} }}"))
        .spec(&format!(r#"worker: {{ image: "{}" }}"#, image(Some("slow"))))
        .to_string()
}

/// Sends numbered records, so many a second to each partition, until it is ended.
struct Feed {
    rates: Arc<[AtomicU64; PARTITIONS]>,
    sent: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Feed {
    async fn new(kafka: &Kafka, rate: u64) -> Self {
        let rates: Arc<[_; PARTITIONS]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(rate)));
        let (sent, ends) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut filler = Filler::new(kafka).await;
        let (of, count, over) = (rates.clone(), sent.clone(), ends.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            let mut due = [0.0; PARTITIONS];
            while !over.load(Ordering::SeqCst) {
                ticks.tick().await;
                for (partition, (due, rate)) in (0..).zip(due.iter_mut().zip(&*of)) {
                    *due += rate.load(Ordering::SeqCst) as f64 * 0.05;
                    while *due >= 1.0 {
                        *due -= 1.0;
                        filler.send(record(count.fetch_add(1, Ordering::SeqCst), partition)).await;
                    }
                }
            }
            filler.finish().await;
        });
        Self { rates, sent, ends, task: Some(task) }
    }

    fn set_all(&self, rate: u64) {
        self.rates.iter().for_each(|of_one| of_one.store(rate, Ordering::SeqCst));
    }

    fn set(&self, partition: usize, rate: u64) {
        self.rates[partition].store(rate, Ordering::SeqCst);
    }

    async fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::SeqCst);
        self.task.take().expect("it runs").await.expect("it ends");
        self.sent.load(Ordering::SeqCst)
    }
}

fn record(id: u64, partition: i32) -> Record {
    Record::new("events", format!(r#"{{"id": {id}}}"#)).partition(partition)
}

fn status(namespace: &Namespace) -> Value {
    status_of(namespace, "follow")
}

/// Records that wait, as workers told the operator last; nothing where a split of one is not known.
fn lag(namespace: &Namespace) -> Option<u64> {
    let shown: Value = serde_json::from_str(&say(&["status", "follow", "-n", namespace.name(), "-o", "json"])).ok()?;
    let waits: Vec<_> = shown["splits"].as_array()?.iter().filter_map(|split| split["lagRecords"].as_u64()).collect();
    (waits.len() == PARTITIONS).then(|| waits.iter().sum())
}

fn ready(namespace: &Namespace) -> usize {
    let workers = namespace.workers("follow");
    workers.iter().filter(|pod| is_ready(pod)).count()
}

fn told(namespace: &Namespace, what: &str, since: Instant) {
    let decision = status(namespace)["scaling"]["lastDecision"].clone();
    println!("{what} after {:.1?}: {decision}", since.elapsed());
}

fn assert_each_once(kafka: &Kafka, sent: u64) {
    let out = kafka.committed("out");
    let ids: BTreeSet<_> = out.iter().filter_map(|seen| seen.json()["id"].as_u64()).collect();
    assert_eq!((out.len() as u64, ids.len() as u64), (sent, sent), "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_times_the_load_is_followed_up_and_down_to_nothing_and_back_and_each_row_counts_once() {
    let namespace = Namespace::fresh("e2e-scaling");
    let kafka = Kafka::start_at(&host());
    kafka.create_topic("events", PARTITIONS as i32, &[]).await;
    install(&image(None), &[]);
    namespace.apply(&manifests(&kafka, FOLLOWS));
    let applied = Instant::now();
    wait_until(&namespace, "follow", "Ready");
    println!("applied: Ready after {:.1?}", applied.elapsed());

    let feed = Feed::new(&kafka, LOW).await;
    let steady = Instant::now();
    wait_for("a minute of little load", PATIENCE, || (steady.elapsed() > Duration::from_secs(60)).then_some(()));
    assert_eq!(status(&namespace)["workers"]["desired"], 1, "one worker is enough: {:#}", status(&namespace));

    let step = Instant::now();
    feed.set_all(HIGH);
    wait_for("a decision", PATIENCE, || (status(&namespace)["workers"]["desired"].as_i64()? > 1).then_some(()));
    told(&namespace, "load × 4: decided", step);
    wait_for("another ready worker", PATIENCE, || (ready(&namespace) > 1).then_some(()));
    let (came, high) = (Instant::now(), lag(&namespace));
    println!("another worker is ready {:.1?} after the step, {high:?} records wait", step.elapsed());
    // Lag falls: less waits than when the worker came, and less a second later.
    let mut before = u64::MAX;
    let fell = wait_for("lag that falls", PATIENCE, || {
        let now = lag(&namespace)?;
        let falls = now < before && high.is_none_or(|high| now < high);
        before = now;
        falls.then_some(came.elapsed())
    });
    println!("lag falls {fell:.1?} after that");
    wait_for("lag that is gone", PATIENCE, || lag(&namespace).filter(|lag| *lag < 4 * PARTITIONS as u64 * HIGH));
    told(&namespace, "caught up", step);
    let settled = Instant::now();
    let workers = status(&namespace)["workers"]["desired"].clone();
    wait_for("a minute of much load", PATIENCE, || (settled.elapsed() > Duration::from_secs(60)).then_some(()));
    let after = status(&namespace);
    println!("{} workers; a minute later {}", workers, after["workers"]["desired"]);

    let off = Instant::now();
    feed.set_all(5);
    wait_for("one worker", PATIENCE, || (status(&namespace)["workers"]["desired"] == 1).then_some(()));
    told(&namespace, "load off: one worker", off);

    let patch = r#"{"spec": {"scaling": {"minWorkers": 0}}}"#;
    namespace.succeed(&["patch", "streampipeline", "follow", "--type=merge", "-p", patch]);
    let mut sent = feed.end().await;
    let silent = Instant::now();
    wait_for("no worker", PATIENCE, || {
        let idle = status(&namespace)["phase"] == "Idle" && condition(&namespace, "follow", "Ready")? == "True";
        let label = "thalweg.dev/pipeline=follow,app.kubernetes.io/name=thalweg-worker";
        let pods = namespace.get(&["pods", "-l", label])?["items"].as_array()?.len();
        (idle && pods == 0).then_some(())
    });
    told(&namespace, "silence: no worker", silent);

    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    let _tail = kafka.tail("out", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    wait_for("what was written before", LIMIT, || (seen.load(Ordering::SeqCst) >= sent).then_some(()));
    let first = Instant::now();
    kafka.send([record(sent, 0)]).await;
    sent += 1;
    wait_for("output of a pipeline that was woken", PATIENCE, || (seen.load(Ordering::SeqCst) >= sent).then_some(()));
    let woken = first.elapsed();
    told(&namespace, "woken: first output", first);

    assert_each_once(&kafka, sent);
    assert_eq!(after["workers"]["desired"], workers, "no second wave");
    assert!(fell <= Duration::from_secs(10), "lag fell only {fell:.1?} after the worker was ready");
    assert!(woken <= Duration::from_secs(15), "the first output came after {woken:.1?}");
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}

/// The reader of each partition, where each has one.
fn readers(namespace: &Namespace) -> Option<Vec<String>> {
    let mut splits = assignment(namespace, "follow")?["splits"].as_array()?.clone();
    splits.sort_by_key(|split| split["split"].to_string());
    let readers: Option<Vec<_>> = splits.iter().map(|split| split["reader"].as_str().map(str::to_owned)).collect();
    readers.filter(|readers| readers.len() == PARTITIONS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_becomes_hot_gets_a_worker_of_its_own_and_nothing_else_moves() {
    let namespace = Namespace::fresh("e2e-hot");
    let kafka = Kafka::start_at(&host());
    kafka.create_topic("events", PARTITIONS as i32, &[]).await;
    install(&image(None), &[]);
    let feed = Feed::new(&kafka, WARM).await;
    namespace.apply(&manifests(&kafka, TWO));
    wait_until(&namespace, "follow", "Ready");
    wait_for("two workers that share all units", PATIENCE, || owned_by(&namespace, "follow", 2));
    let steady = Instant::now();
    wait_for("a minute of even load", PATIENCE, || (steady.elapsed() > Duration::from_secs(60)).then_some(()));
    let before = wait_for("readers", LIMIT, || readers(&namespace));
    let (moves, hot) = (epochs(&namespace), 0);
    println!("readers: {before:?}; {moves:?}");

    let step = Instant::now();
    feed.set(hot, HOT);
    let alone = |readers: &Vec<String>| readers.iter().filter(|reader| **reader == readers[hot]).count() == 1;
    let after = wait_for("a worker of its own", PATIENCE, || readers(&namespace).filter(alone));
    told(&namespace, "one partition hot: alone", step);
    println!("readers: {after:?}");
    wait_for("lag that is gone", PATIENCE, || lag(&namespace).filter(|lag| *lag < 4 * HOT));
    told(&namespace, "caught up", step);
    let decided = status(&namespace)["scaling"]["lastDecision"].clone();
    let why = decided["reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("Uneven: ") && why.contains(" moves events/"), "{decided:#}");
    assert_eq!((&decided["from"], &decided["to"]), (&2.into(), &2.into()), "{decided:#}");
    let settled = Instant::now();
    wait_for("a minute more", PATIENCE, || (settled.elapsed() > Duration::from_secs(60)).then_some(()));
    assert_eq!(readers(&namespace), Some(after.clone()), "nothing moves back");
    let moved: Vec<_> = (0..PARTITIONS).filter(|partition| before[*partition] != after[*partition]).collect();
    assert_eq!(moved.len(), 1, "{before:?} → {after:?}");
    let changed = epochs(&namespace).into_iter().zip(moves).filter(|(now, before)| now != before).count();
    assert_eq!(changed, 1, "one unit has another owner");
    assert_eq!(status(&namespace)["workers"]["desired"], 2);
    assert_eq!(status(&namespace)["scaling"]["lastDecision"], decided, "nothing else is decided");

    let sent = feed.end().await;
    wait_for("no lag", PATIENCE, || lag(&namespace).filter(|lag| *lag == 0));
    assert_each_once(&kafka, sent);
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}

/// The epoch of each unit.
fn epochs(namespace: &Namespace) -> Vec<i64> {
    let owned = wait_for("owners", LIMIT, || owned(namespace, "follow"));
    owned.into_values().map(|(_, epoch)| epoch).collect()
}
