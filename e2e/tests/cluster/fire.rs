//! A bank on a real cluster, from a real Kafka to a real Kafka, while users and the world do what they do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use thalweg_e2e::bank::commits::{gaps, quantile, times};
use thalweg_e2e::bank::pauses::Silence;
use thalweg_e2e::bank::{COPIES, Ledger, Pipelines, SUMS, State, Traffic, Watch, judge};
use thalweg_e2e::bars::Bars;
use thalweg_e2e::cluster::faults::{Host, Partition, kill_container};
use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::{Namespace, is_ready, name};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::ownership::{
    Owned, ask_for, condition, condition_in, cut_off, owned, owned_anew, owned_by, status, wait_until,
};
use crate::pipelines::say;
use crate::release::{Leads, OPERATOR, image, install, kill_operator_at_its_writes, lead, operators};

const BOTH: [&str; 2] = [COPIES, SUMS];
/// Partitions of the input, and so units that pass rows on.
const PARTITIONS: i32 = 8;
const ROWS_PER_SECOND: u64 = 400;
/// How long units are watched while nothing happens.
const UNDISTURBED: Duration = Duration::from_secs(20);
/// What that is called.
const CALM: &str = "undisturbed";
/// From the manifests to the first committed row.
const FIRST_OUTPUT: Duration = Duration::from_secs(10);
/// How long a unit may be silent since its pod was deleted.
const POD_DELETED: Duration = Duration::from_secs(5);
/// A topic that nobody has made, and how soon it is to be told, since the edit: a pod starts in a second or two, and its worker
/// looks for the topic for three.
const MISTYPED: &str = "copies-mistyped";
const TOLD: Duration = Duration::from_secs(10);
const NODE_AWAY: Duration = Duration::from_secs(30);
/// How long a unit may be silent since its node is.
const SILENT_NODE: Duration = Duration::from_secs(25);
const API_AWAY: Duration = Duration::from_secs(60);
/// How long a unit may be silent meanwhile: workers need nobody then.
const WHILE_API_AWAY: Duration = Duration::from_secs(5);
/// How long a unit may be silent while workers are added, and while they leave.
const SCALED: Duration = Duration::from_secs(5);
/// How long a unit may be silent while all workers are replaced, as after a minute without API server and by an upgrade
/// (docs/design/0006-operator.md, "Whoever is told to end works on until it is asked").
const ALL_REPLACED: Duration = Duration::from_secs(8);
/// How often the operator is killed while workers are added.
const OPERATOR_KILLS: usize = 3;

/// The pipelines, and what is seen of them.
struct Bank {
    namespace: Namespace,
    copies: Watch,
    sums: Watch,
    /// What was seen, by what had happened.
    seen: Vec<(String, Value)>,
    /// What happened beside units that kept their owners.
    beside: Vec<Beside>,
    bars: Bars,
}

/// Units of what passes rows on that kept their owners while something happened to others.
struct Beside {
    what: String,
    units: Vec<u64>,
    /// In milliseconds since 1970.
    from: i64,
    to: i64,
}

fn millis_since_1970(ago: Duration) -> i64 {
    let then = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970") - ago;
    i64::try_from(then.as_millis()).expect("not so late")
}

/// Has the sink of what passes rows on write to a topic.
fn write_to(namespace: &Namespace, topic: &str) {
    let patch = format!(r#"{{"spec": {{"kafka": {{"topic": "{topic}"}}}}}}"#);
    namespace.succeed(&["patch", "streamsink", COPIES, "--type=merge", "-p", &patch]);
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// A moment after everything that was written before can have been read.
fn wait_out(since: Instant, time: Duration) {
    wait_for("the end of that time", time + LIMIT, || (since.elapsed() > time).then_some(()));
}

impl Bank {
    fn tell(&mut self, what: &str, seen: Value) {
        println!("{what}: {seen}");
        self.seen.push((what.to_owned(), seen));
    }

    fn owned(&self, workers: usize) -> [Owned; 2] {
        BOTH.map(|pipeline| {
            let what = format!("{workers} workers that own {pipeline}");
            wait_for(&what, 2 * LIMIT, || owned_by(&self.namespace, pipeline, workers))
        })
    }

    /// Waits until each unit that passes rows on has done so with rows of now.
    fn wait_for_rows(&self) {
        let now = Instant::now();
        let all = PARTITIONS.unsigned_abs() as usize;
        wait_for("rows of every unit", LIMIT, || (self.copies.units_since(now) >= all).then_some(()));
    }

    /// Tells how long units were silent since, those that moved and those that did not; the longest time.
    fn tell_silences(&mut self, what: &str, since: Instant, before: &Owned) -> Duration {
        let (longest, beside) = self.silences(what, since, before);
        self.beside.push(beside);
        longest
    }

    fn silences(&mut self, what: &str, since: Instant, before: &Owned) -> (Duration, Beside) {
        self.wait_for_rows();
        let after = wait_for("owners", LIMIT, || owned(&self.namespace, COPIES));
        let silences = self.copies.silences(since, Instant::now());
        let longest = silences.iter().map(Silence::length).max().unwrap_or_default();
        for silence in silences.iter().filter(|silence| silence.length() > POD_DELETED) {
            let ago = |then: Instant| seconds(then.elapsed());
            println!("{what}: {} was silent from {} s to {} s ago", silence.unit, ago(silence.from), ago(silence.to));
        }
        let stayed = after.iter().filter(|(unit, owner)| before.get(*unit) == Some(*owner));
        let units: Vec<_> = stayed.map(|(unit, _)| *unit).collect();
        self.tell(what, json!({"moved": after.len() - units.len(), "longestSilence": seconds(longest)}));
        let (from, to) = (millis_since_1970(since.elapsed()), millis_since_1970(Duration::ZERO));
        (longest, Beside { what: what.to_owned(), units, from, to })
    }

    /// The times between two commits of units that kept their owners, by what happened, in milliseconds. A reader of what is
    /// committed waits longer where a lost worker has left a transaction open: it hides what others write behind it.
    fn gaps_of_others(&self, kafka: &Kafka) -> Vec<(String, Vec<i64>)> {
        let times = times(kafka, self.namespace.name(), COPIES);
        let of_units = |beside: &Beside| {
            let of = |unit: &u64| Some(gaps(times.get(&u32::try_from(*unit).ok()?)?, beside.from, beside.to));
            (beside.what.clone(), beside.units.iter().filter_map(of).flatten().collect::<Vec<_>>())
        };
        self.beside.iter().filter(|beside| !beside.units.is_empty()).map(of_units).collect()
    }

    /// The longest of them, each no longer than twice what is usual while nothing happens.
    fn judge_others(&mut self, kafka: &Kafka) -> Value {
        let mut all = self.gaps_of_others(kafka);
        let calm = all.iter_mut().find(|(what, _)| what == CALM).and_then(|(_, gaps)| quantile(gaps, 0.99));
        let calm = calm.expect("units commit while nothing happens");
        let mut longest = serde_json::Map::new();
        longest.insert(format!("{CALM}, p99"), calm.into());
        for (what, gaps) in all {
            let most = gaps.into_iter().max();
            if what != CALM {
                self.bars.at_most(
                    &format!("{what}: milliseconds between commits of units that stayed"),
                    most,
                    2 * calm,
                );
            }
            longest.insert(what, most.into());
        }
        longest.into()
    }

    /// An edit that cannot run: it is told, nothing moves, and it may be undone.
    fn mistype_topic(&mut self) {
        let before = self.owned(1);
        let since = Instant::now();
        write_to(&self.namespace, MISTYPED);
        wait_for("a Stalled that names the sink and its topic", LIMIT, || {
            let said = status(&self.namespace, COPIES);
            assert!(condition_in(&said, "Ready").is_none_or(|(ready, _)| ready == "True"), "{said:#}");
            let (stalled, why) = condition_in(&said, "Stalled")?;
            (stalled == "True" && why.contains(&format!("StreamSink/{COPIES}")) && why.contains(MISTYPED)).then_some(())
        });
        let told = since.elapsed();
        self.bars.at_most("topic mistyped, told", Some(told), TOLD);
        self.tell("topic mistyped, told", json!({"after": seconds(told)}));
        self.wait_for_rows();
        write_to(&self.namespace, COPIES);
        wait_for("nothing in the way", LIMIT, || {
            condition(&self.namespace, COPIES, "Stalled").filter(|stalled| stalled == "False")
        });
        assert_eq!(self.owned(1)[0], before[0], "nothing moved");
        // Where nothing moves, what a reader sees is enough.
        let (longest, _) = self.silences("topic mistyped and corrected", since, &before[0]);
        self.bars.at_most("topic mistyped and corrected: silence of a unit", Some(longest), POD_DELETED);
    }

    /// Deletes a pod of each pipeline without grace, and waits until others own what it owned.
    fn lose_pods(&mut self, what: &str, workers: usize) {
        let longest = self.lose_workers(what, workers, |namespace, pod| {
            namespace.succeed(&["delete", "pod", name(pod), "--grace-period=0", "--force", "--wait=false"]);
        });
        self.bars.at_most(&format!("{what}: silence of a unit"), Some(longest), POD_DELETED);
    }

    /// Kills the process of a worker of each pipeline: its container starts again, in the same pod.
    fn lose_processes(&mut self, what: &str, workers: usize) {
        let uid = |pod: &Value| pod["metadata"]["uid"].as_str().expect("a UID").to_owned();
        self.lose_workers(what, workers, |_, pod| kill_container(&uid(pod)));
    }

    /// The longest silence of a unit meanwhile.
    fn lose_workers(&mut self, what: &str, workers: usize, lose: impl Fn(&Namespace, &Value)) -> Duration {
        let before = self.owned(workers);
        let since = Instant::now();
        for pipeline in BOTH {
            let pod = wait_for("ready worker", LIMIT, || self.namespace.ready_worker(pipeline));
            lose(&self.namespace, &pod);
        }
        for (pipeline, before) in BOTH.iter().zip(&before) {
            wait_for("units that were taken over", LIMIT, || owned_anew(&self.namespace, pipeline, before));
        }
        self.tell_silences(what, since, &before[0])
    }

    /// Cuts off a node with a worker of what passes rows on, and with the operator that leads or without it; its workers go on,
    /// as zombies, until it is back.
    fn lose_node(&mut self, what: &str, workers: usize, leads: Leads) {
        let before = self.owned(workers);
        let pod = wait_for("ready worker", LIMIT, || self.namespace.ready_worker(COPIES));
        lead(&self.namespace, leads, &pod["spec"]["nodeName"]);
        let since = Instant::now();
        let away = cut_off(&pod);
        wait_for("units that were taken over", LIMIT, || owned_anew(&self.namespace, COPIES, &before[0]));
        let longest = self.tell_silences(what, since, &before[0]);
        self.bars.at_most(&format!("{what}: silence of a unit"), Some(longest), SILENT_NODE);
        wait_out(since, NODE_AWAY);
        drop(away);
        self.owned(workers);
    }

    fn lose_api_server(&mut self) {
        let before = self.owned(2);
        let since = Instant::now();
        let away = Partition::of(Host::ControlPlane);
        wait_out(since, API_AWAY);
        self.wait_for_rows();
        let longest = self.copies.longest(since, Instant::now());
        drop(away);
        self.tell("API server away for 60 s", json!({"longestSilence": seconds(longest)}));
        self.bars.at_most("API server away: silence of a unit", Some(longest), WHILE_API_AWAY);
        wait_for("API server", LIMIT, || self.namespace.get(&["namespace", self.namespace.name()]));
        let longest = self.tell_silences("and back", since, &before[0]);
        self.bars.at_most("API server back: silence of a unit", Some(longest), ALL_REPLACED);
    }

    /// Upgrades the chart to another image, and waits until nothing of the old one runs.
    fn upgrade(&mut self) {
        // After a minute without API server its controllers replace all workers as well, and this waits for that.
        let since = Instant::now();
        let before = self.owned(2);
        let (began, next) = (Instant::now(), image(Some("next")));
        install(&next, &[]);
        for pipeline in BOTH {
            wait_for("workers of the new image", 2 * LIMIT, || {
                let pods = self.namespace.workers(pipeline);
                let is_new = |pod: &Value| is_ready(pod) && pod["spec"]["containers"][0]["image"] == next.as_str();
                (pods.len() == 2 && pods.iter().all(is_new)).then_some(())
            });
        }
        self.owned(2);
        self.tell("chart upgraded, all workers replaced", json!({"after": seconds(began.elapsed())}));
        let longest = self.tell_silences("while workers were replaced", since, &before[0]);
        self.bars.at_most("while workers were replaced: silence of a unit", Some(longest), ALL_REPLACED);
        if longest > POD_DELETED {
            println!("{}", self.namespace.succeed(&["get", "events", "--sort-by=.lastTimestamp"]));
            println!(
                "{}",
                self.namespace.succeed(&["logs", "-n", "thalweg", "-l", OPERATOR, "--tail=400", "--prefix"])
            );
        }
    }

    /// One worker each, four, two; the operator dies again and again meanwhile.
    fn scale(&mut self) {
        let before = self.owned(1);
        let since = Instant::now();
        std::thread::scope(|meanwhile| {
            meanwhile.spawn(|| kill_operator_at_its_writes(&self.namespace, OPERATOR_KILLS));
            BOTH.iter().for_each(|pipeline| ask_for(&self.namespace, pipeline, 4));
        });
        let four = self.owned(4);
        self.tell("1 → 4 workers, operator killed 3 times", json!({"after": seconds(since.elapsed())}));
        let longest = self.tell_silences("while workers were added", since, &before[0]);
        self.bars.at_most("while workers were added: silence of a unit", Some(longest), SCALED);
        let since = Instant::now();
        BOTH.iter().for_each(|pipeline| ask_for(&self.namespace, pipeline, 2));
        self.owned(2);
        self.tell("4 → 2 workers", json!({"after": seconds(since.elapsed())}));
        let longest = self.tell_silences("while workers left", since, &four[0]);
        self.bars.at_most("while workers left: silence of a unit", Some(longest), SCALED);
    }

    /// What users look at.
    fn look(&self) {
        println!("{}", self.namespace.succeed(&["get", "streampipelines"]));
        for (command, begins) in [("status", "StreamPipeline e2e-fire/copies: Running"), ("top", "e2e-fire/copies")] {
            let said = say(&[command, COPIES, "-n", self.namespace.name()]);
            println!("{said}");
            assert!(said.contains(begins), "thalweg {command}: {said}");
            // Slots are never taken away, so the two may be any of them.
            let is_worker = |word: &&str| word.strip_prefix("copies-").is_some_and(|slot| slot.parse::<u32>().is_ok());
            let words = said.split(|letter: char| !letter.is_alphanumeric() && letter != '-');
            let named: BTreeSet<_> = words.filter(is_worker).collect();
            assert_eq!(named.len(), 2, "thalweg {command}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_stays_balanced_while_it_is_scaled_and_pods_nodes_operators_and_the_api_server_are_lost_and_it_is_upgraded()
 {
    let namespace = Namespace::fresh("e2e-fire");
    let kafka = Kafka::start_at(&host());
    kafka.make_bank(PARTITIONS).await;
    let s3 = S3::start(9_103);
    let state = State::Bucket(s3.settings());
    let pipelines = Pipelines { broker: kafka.address(), state, commit_every_ms: 1_000, key_groups: 8, workers: 1 };
    let (copies, sums) = (Watch::of(&kafka, COPIES), Watch::of(&kafka, SUMS));
    let installing = Instant::now();
    install(&image(None), &[]);
    println!("chart installed, operator ready after {:.1?}", installing.elapsed());
    let traffic = Traffic::start(&kafka, PARTITIONS, ROWS_PER_SECOND);
    namespace.apply(S3::secret());

    let (seen, beside, bars) = (Vec::new(), Vec::new(), Bars::default());
    let mut bank = Bank { namespace: namespace.clone(), copies, sums, seen, beside, bars };
    let applied = Instant::now();
    namespace.apply(&pipelines.manifest());
    wait_for("first output", LIMIT, || (bank.copies.rows() > 0).then_some(()));
    let first = applied.elapsed();
    bank.bars.at_most("applied, first committed output", Some(first), FIRST_OUTPUT);
    bank.tell("applied, first committed output", json!({"after": seconds(first)}));
    wait_until(&namespace, COPIES, "Ready");
    bank.tell("applied, Ready", json!({"after": seconds(applied.elapsed())}));
    wait_until(&namespace, SUMS, "Ready");
    bank.wait_for_rows();

    let since = Instant::now();
    wait_out(since, UNDISTURBED);
    let calm = bank.copies.silences(since, Instant::now());
    let mut lengths: Vec<_> = calm.iter().map(|silence| silence.length().as_millis() as i64).collect();
    let p99 = quantile(&mut lengths, 0.99).map(|millis| millis as f64 / 1_000.0);
    bank.tell("undisturbed, p99 of silences", json!({"seconds": p99}));
    let owners = wait_for("owners", LIMIT, || owned(&namespace, COPIES));
    bank.tell_silences(CALM, since, &owners);

    bank.mistype_topic();
    bank.lose_processes("the only process killed", 1);
    bank.lose_pods("the only pod deleted", 1);
    bank.lose_node("the only worker's node silent", 1, Leads::Elsewhere);
    bank.lose_node("the only worker's and the operator's node silent", 1, Leads::Here);
    bank.scale();
    bank.look();
    bank.lose_pods("one of two pods deleted", 2);
    bank.lose_node("the node of one of two workers and of the operator silent", 2, Leads::Here);
    bank.lose_api_server();
    bank.upgrade();

    let transfers = traffic.end().await;
    let ledger = Ledger::read(&kafka, PARTITIONS);
    let (rows, windows) = (ledger.copied(), ledger.windows.len() as u64);
    let complete = Instant::now();
    while (bank.copies.rows() < rows || bank.sums.rows() < windows) && complete.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(100));
    }
    let verdict = judge(&kafka, &ledger);
    let gaps = bank.judge_others(&kafka);
    let missed = bank.bars.missed().to_vec();
    let seen: serde_json::Map<_, _> = bank.seen.into_iter().collect();
    let report = json!({
        "transfers": transfers, "rows": rows, "windows": windows, "output": verdict.json(), "seen": seen,
        "longestGapOfCommitsOfUnitsThatStayedMillis": gaps, "missed": missed,
    });
    println!("{report:#}");
    assert!(verdict.is_clean() && missed.is_empty(), "{report:#}");
    assert!(operators(&namespace).iter().all(is_ready));
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
