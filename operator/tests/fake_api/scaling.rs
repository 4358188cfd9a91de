//! Pipelines that follow their load: from reports to pods, and what is told of it.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fake::{FakeApi, Load};
use crate::harness::{Cluster, OTHER_SQL, SQL, condition, key, pipeline_key, plan_hash, reason, resources};
use crate::kubelet::{self, DEPLOYMENTS};

pub const SPLITS: usize = 4;
/// Records a second of each split of which one worker can do all, and of which it cannot.
const LOW: f64 = 40.0;
const HIGH: f64 = 150.0;
/// Records a second that a worker does.
const CAPACITY: f64 = 500.0;
/// Records of each split that wait while a worker has more than it can do.
const WAITING: u64 = 3_000;

pub fn set_scaling(cluster: &Cluster, scaling: Value) {
    cluster.api.store().edit(&pipeline_key(), |pipeline| pipeline["spec"]["scaling"] = scaling);
    cluster.api.changed();
}

/// One worker that does what comes.
async fn started(least: u32, most: u32) -> Cluster {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"minWorkers": least, "maxWorkers": most}));
    cluster.until_workers(SQL, least as usize).await;
    cluster
}

fn replicas(cluster: &Cluster) -> i64 {
    let deployment = cluster.api.store().objects.get(&key(DEPLOYMENTS, "fares")).cloned().unwrap_or_default();
    deployment["spec"]["replicas"].as_i64().unwrap_or_default()
}

fn decision(pipeline: &Value) -> &Value {
    &pipeline["status"]["scaling"]["lastDecision"]
}

/// Waits until an event was told, for which nobody waits otherwise.
async fn until_told(cluster: &Cluster, reason: &str) {
    let told = async {
        while !cluster.api.told().iter().any(|told| told == reason) {
            cluster.looks(1).await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), told).await;
    assert!(told.is_ok(), "{reason} is not among {:?}", cluster.api.told());
}

/// Waits until two workers read two splits each.
async fn until_level(cluster: &Cluster) {
    let is_level = |_: &Value| {
        let assignments = kubelet::of_kind(&cluster.api, kubelet::ASSIGNMENTS);
        let splits = assignments[0]["spec"]["splits"].as_array().cloned().unwrap_or_default();
        splits.iter().filter(|split| split["reader"] == splits[0]["reader"]).count() == SPLITS / 2
    };
    cluster.until("level", is_level).await;
    cluster.until_workers(SQL, 2).await;
    // What was decided before it was so.
    cluster.looks(70).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_load_gets_more_workers_with_a_reason_and_then_nothing_is_written() {
    let cluster = started(1, 4).await;
    assert_eq!(reason(&cluster.pipeline(), "ScalingActive"), "AsExpected");
    cluster.api.set_load(HIGH, CAPACITY, WAITING);
    cluster.until_workers(SQL, 2).await;
    let pipeline = cluster.pipeline();
    let decided = decision(&pipeline);
    assert_eq!((decided["from"].as_i64(), decided["to"].as_i64()), (Some(1), Some(2)), "{decided:#}");
    let said = decided["reason"].as_str().expect("why");
    assert!(said.starts_with("Busy: ") || said.starts_with("Behind: "), "{said}");
    assert!(decided["inputs"].as_str().is_some_and(|inputs| inputs.contains("workers needed 2")), "{decided:#}");
    until_told(&cluster, "ScalingDecided").await;
    assert!(cluster.metrics.text().contains("thalweg_operator_scaling_decisions_total{reason=\"B"));
    until_level(&cluster).await;
    let before = cluster.api.asked();
    // More than one round of decisions.
    cluster.looks(70).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
    assert_eq!(decision(&cluster.pipeline()), decided);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_that_becomes_hot_is_moved_with_a_reason_though_the_number_of_workers_is_the_users() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"mode": "Manual", "workers": 2, "maxWorkers": 4}));
    cluster.until_workers(SQL, 2).await;
    until_level(&cluster).await;
    assert_eq!(decision(&cluster.pipeline()), &Value::Null, "that they are level follows from the number");
    // Split 0 alone is more than nine tenths of a worker, which is all of it beside another split.
    cluster.api.set_hot(420.0);
    let told = cluster.until("told", |pipeline| !decision(pipeline).is_null()).await;
    let decided = decision(&told);
    assert_eq!((decided["from"].as_i64(), decided["to"].as_i64()), (Some(2), Some(2)), "{decided:#}");
    let why = decided["reason"].as_str().expect("why");
    assert!(why.starts_with("Uneven: ") && why.contains("moves trips/") && why.contains(" to fares-"), "{why}");
    assert!(decided["inputs"].as_str().is_some_and(|inputs| inputs.contains("busiest worker 100 %")), "{decided:#}");
    until_told(&cluster, "ScalingDecided").await;
    let counted = "thalweg_operator_scaling_decisions_total{reason=\"Uneven\"} 1";
    assert!(cluster.metrics.text().contains(counted), "{}", cluster.metrics.text());
    cluster.until_workers(SQL, 2).await;
    cluster.looks(70).await;
    let before = cluster.api.asked();
    cluster.looks(70).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
    assert_eq!(decision(&cluster.pipeline()), decided, "it stands");
    assert!(cluster.metrics.text().contains(counted), "{}", cluster.metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_anew_changes_nothing_about_the_workers_that_it_finds() {
    let mut cluster = started(1, 4).await;
    cluster.api.set_load(HIGH, CAPACITY, WAITING);
    cluster.until_workers(SQL, 2).await;
    until_level(&cluster).await;
    let before = (cluster.api.asked(), decision(&cluster.pipeline()).clone());
    cluster.restart_operator();
    cluster.looks(70).await;
    assert_eq!((cluster.api.asked(), decision(&cluster.pipeline()).clone()), before, "{:#?}", cluster.api.writes());
    assert_eq!(replicas(&cluster), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_that_is_not_known_scales_nothing_and_is_told() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"minWorkers": 2, "maxWorkers": 4}));
    cluster.until_workers(SQL, 2).await;
    let told = cluster.until("told", |pipeline| reason(pipeline, "ScalingLimited") == "MetricsStale").await;
    assert_eq!((condition(&told, "ScalingLimited"), condition(&told, "ScalingActive")), ("True", "False"));
    assert_eq!((decision(&told), replicas(&cluster)), (&Value::Null, 2), "nothing was ever known");
    until_told(&cluster, "MetricsStale").await;
    cluster.looks(70).await;
    let before = cluster.api.asked();
    cluster.looks(70).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    cluster.until("known", |pipeline| condition(pipeline, "ScalingLimited") == "False").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_jump_back_add_nobody() {
    let cluster = started(1, 4).await;
    cluster.looks(60).await;
    cluster.api.put_load(Load {
        end: 10.0,
        since: Instant::now(),
        arrivals: LOW,
        hot: 0.0,
        capacity: CAPACITY,
        waiting: WAITING,
    });
    cluster.looks(120).await;
    assert_eq!((decision(&cluster.pipeline()), replicas(&cluster)), (&Value::Null, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_are_edited_hold_at_once_and_say_so() {
    let cluster = started(1, 4).await;
    set_scaling(&cluster, json!({"minWorkers": 3, "maxWorkers": 4}));
    cluster.until_workers(SQL, 3).await;
    let pipeline = cluster.pipeline();
    assert!(decision(&pipeline)["reason"].as_str().is_some_and(|why| why.starts_with("Bounds: ")), "{pipeline:#}");
    set_scaling(&cluster, json!({"minWorkers": 1, "maxWorkers": 2}));
    cluster.until_workers(SQL, 2).await;
    assert_eq!(decision(&cluster.pipeline())["to"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_somebody_else_writes_are_put_back_and_told() {
    let cluster = started(1, 4).await;
    cluster.looks(2).await;
    cluster.api.store().edit(&key(DEPLOYMENTS, "fares"), |deployment| deployment["spec"]["replicas"] = 3.into());
    cluster.api.changed();
    until_told(&cluster, "ReplicasPutBack").await;
    cluster.until_workers(SQL, 1).await;
    assert_eq!((replicas(&cluster), decision(&cluster.pipeline())), (1, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recommendation_is_told_and_the_workers_stay_as_many() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(HIGH, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"mode": "Recommend", "maxWorkers": 4}));
    cluster.until("told", |pipeline| decision(pipeline)["to"] == 2).await;
    cluster.until("known", |pipeline| reason(pipeline, "ScalingActive") == "ScalingDisabled").await;
    assert_eq!(replicas(&cluster), 1);
}

/// Pods of workers, and of lookouts.
fn pods(cluster: &Cluster) -> (usize, usize) {
    let (lookouts, workers): (Vec<_>, Vec<_>) =
        kubelet::of_kind(&cluster.api, kubelet::PODS).into_iter().partition(|pod| kubelet::is_lookout(pod));
    (workers.len(), lookouts.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_pipeline_has_no_workers_and_is_woken_by_the_first_record() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(HIGH, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"minWorkers": 0, "maxWorkers": 4, "zeroAfter": "10s"}));
    cluster.until_workers(SQL, 2).await;
    cluster.api.set_load(0.0, CAPACITY, WAITING);
    let idle =
        cluster.until("idle", |pipeline| pipeline["status"]["phase"] == "Idle" && pods(&cluster) == (0, 1)).await;
    assert!(decision(&idle)["reason"].as_str().is_some_and(|why| why.starts_with("Silent: ")), "{idle:#}");
    assert_eq!((condition(&idle, "Ready"), replicas(&cluster)), ("True", 0));
    let assignments = kubelet::of_kind(&cluster.api, kubelet::ASSIGNMENTS);
    assert_eq!(assignments[0]["spec"]["positions"].as_array().map(Vec::len), Some(SPLITS));
    cluster.looks(70).await;
    let before = cluster.api.asked();
    cluster.looks(70).await;
    assert_eq!((cluster.api.asked(), pods(&cluster)), (before, (0, 1)), "{:#?}", cluster.api.writes());
    cluster.api.set_load(HIGH, CAPACITY, WAITING);
    let woken = cluster.until("woken", |pipeline| decision(pipeline)["from"] == 0).await;
    assert!(decision(&woken)["reason"].as_str().is_some_and(|why| why.starts_with("Woken: ")), "{woken:#}");
    cluster.until_workers(SQL, 2).await;
    assert_eq!(pods(&cluster), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_anew_at_zero_stays_there_and_wakes_all_the_same() {
    let mut cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(0.0, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"minWorkers": 0, "maxWorkers": 4, "zeroAfter": "10s"}));
    cluster.until("idle", |pipeline| pipeline["status"]["phase"] == "Idle" && pods(&cluster) == (0, 1)).await;
    cluster.restart_operator();
    cluster.looks(70).await;
    assert_eq!(pods(&cluster), (0, 1));
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    cluster.until_workers(SQL, 1).await;
}

/// One that is asleep, with a lookout.
async fn asleep() -> Cluster {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(SPLITS);
    cluster.api.set_load(0.0, CAPACITY, WAITING);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"minWorkers": 0, "maxWorkers": 4, "zeroAfter": "10s"}));
    cluster.until("idle", |pipeline| pipeline["status"]["phase"] == "Idle" && pods(&cluster) == (0, 1)).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_at_zero_is_taken_over_at_once_and_what_comes_then_wakes_it() {
    let cluster = asleep().await;
    let published = || kubelet::of_kind(&cluster.api, kubelet::ASSIGNMENTS)[0]["spec"].clone();
    let before = published()["positions"].clone();
    assert_eq!(before.as_array().map(Vec::len), Some(SPLITS));
    cluster.api.store().edit(&pipeline_key(), |pipeline| pipeline["spec"]["sql"] = OTHER_SQL.into());
    cluster.api.changed();
    cluster.until("under the next plan", |_| published()["plan"] == *plan_hash(OTHER_SQL)).await;
    assert_eq!((published()["positions"].clone(), pods(&cluster).0), (before, 0), "it goes on where it was");
    cluster.looks(70).await;
    assert_eq!(pods(&cluster), (0, 1), "that alone wakes nobody");
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    cluster.until_workers(OTHER_SQL, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_at_zero_keeps_nobody_asleep() {
    let cluster = asleep().await;
    let published = || kubelet::of_kind(&cluster.api, kubelet::ASSIGNMENTS)[0]["spec"].clone();
    cluster.until("nobody is named", |_| published()["workers"].is_null()).await;
    let before = published();
    cluster.api.store().edit(&pipeline_key(), |pipeline| pipeline["spec"]["sinks"][0]["name"] = "nowhere".into());
    cluster.api.changed();
    cluster.until("told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    cluster.looks(2).await;
    assert_eq!((published(), pods(&cluster)), (before, (0, 1)));
    cluster.api.set_load(LOW, CAPACITY, WAITING);
    cluster.until("awake", |pipeline| pipeline["status"]["units"]["owned"] == SPLITS && pods(&cluster).0 == 1).await;
    cluster.api.store().edit(&pipeline_key(), |pipeline| pipeline["spec"]["sinks"][0]["name"] = "out".into());
    cluster.api.changed();
    cluster.until_workers(SQL, 1).await;
}
