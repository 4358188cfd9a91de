//! A node that falls silent with the only worker of a pipeline.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg_operator_plan::observed::SILENCE_LIMIT;
use tokio::time::Instant;

use crate::fake::FakeApi;
use crate::harness::{Cluster, SQL, condition, key, resources};
use crate::kubelet::{ASSIGNMENTS, DEPLOYMENTS, LEASES, PODS, of_kind, uid};
use crate::scaling::{SPLITS, set_scaling};

/// Who owns the unit, and its epoch.
pub fn owner(cluster: &Cluster) -> (Option<String>, Option<i64>) {
    let unit = of_kind(&cluster.api, ASSIGNMENTS)[0]["spec"]["units"][0].clone();
    (unit["owner"].as_str().map(str::to_owned), unit["epoch"].as_i64())
}

pub fn owned_by(slot: &str, epoch: i64) -> (Option<String>, Option<i64>) {
    (Some(slot.to_owned()), Some(epoch))
}

fn replicas(cluster: &Cluster) -> Option<i64> {
    of_kind(&cluster.api, DEPLOYMENTS)[0]["spec"]["replicas"].as_i64()
}

/// How many workers are wanted, as the Deployment says it.
fn wanted(cluster: &Cluster) -> Value {
    of_kind(&cluster.api, DEPLOYMENTS)[0]["metadata"]["annotations"]["thalweg.dev/workers"].clone()
}

/// A pipeline that runs, whose only pod is cut off.
async fn cut_off() -> (Cluster, Arc<Value>) {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let pod = cut_off_the_pod(&cluster);
    (cluster, pod)
}

fn cut_off_the_pod(cluster: &Cluster) -> Arc<Value> {
    let pod = of_kind(&cluster.api, PODS).remove(0);
    cluster.api.cut_off(uid(&pod));
    pod
}

/// The node's controller notices that a pod's node is silent.
fn find_not_ready(cluster: &Cluster, pod: &Value) {
    let not_ready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = "False".into();
    cluster.api.store().edit(&key(PODS, pod["metadata"]["name"].as_str().expect("a name")), not_ready);
    cluster.api.changed();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pod_waits_when_the_lease_of_a_silent_node_expires_and_takes_over_at_once() {
    let (cluster, lost) = cut_off().await;
    let since = Instant::now();
    cluster.until("asked for", |_| of_kind(&cluster.api, PODS).len() == 2).await;
    assert!(since.elapsed() < SILENCE_LIMIT, "after {:?}", since.elapsed());
    assert_eq!(owner(&cluster), owned_by("fares-0", 1), "its Lease has not expired");
    let is_owned =
        |pipeline: &Value| owner(&cluster) == owned_by("fares-1", 2) && pipeline["status"]["units"]["summary"] == "1/1";
    cluster.until("taken over", is_owned).await;
    assert!(since.elapsed() < SILENCE_LIMIT + Duration::from_secs(5), "after {:?}", since.elapsed());
    cluster.looks(2).await;
    assert_eq!(replicas(&cluster), Some(2), "a ReplicaSet could stop either");
    find_not_ready(&cluster, &lost);
    let is_given_up = |pipeline: &Value| {
        let (leaving, left): (Vec<_>, Vec<_>) =
            of_kind(&cluster.api, PODS).into_iter().partition(|pod| pod["metadata"]["deletionTimestamp"].is_string());
        let is_lost = leaving.iter().map(|pod| uid(pod)).eq([uid(&lost)]);
        is_lost && left.len() == 1 && condition(pipeline, "Ready") == "True" && replicas(&cluster) == Some(1)
    };
    cluster.until("given up", is_given_up).await;
    cluster.looks(3).await;
    let writes = cluster.writes();
    cluster.looks(3).await;
    assert_eq!((cluster.writes(), owner(&cluster)), (writes, owned_by("fares-1", 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_back_in_time_keeps_its_worker_and_the_other_pod_is_taken_away() {
    let (cluster, pod) = cut_off().await;
    cluster.until("asked for", |_| of_kind(&cluster.api, PODS).len() == 2).await;
    cluster.api.reconnect();
    let renewed = |lease: &mut Value| lease["spec"]["renewTime"] = "2026-01-02T00:00:00.000000Z".into();
    cluster.api.store().edit(&key(LEASES, "fares-0"), renewed);
    cluster.api.changed();
    cluster.until_running(SQL).await;
    let left: Vec<_> = of_kind(&cluster.api, PODS).iter().map(|pod| uid(pod).to_owned()).collect();
    assert_eq!((left, owner(&cluster)), (vec![uid(&pod).to_owned()], owned_by("fares-0", 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_a_lost_worker_is_replaced_wants_as_many_as_the_one_before() {
    let mut cluster = Cluster::start(FakeApi::default());
    // Four units: a second worker would have something to do.
    cluster.api.find_splits(SPLITS);
    resources(&cluster.api);
    set_scaling(&cluster, json!({"mode": "Recommend", "maxWorkers": 4}));
    cluster.until_running(SQL).await;
    let lost = cut_off_the_pod(&cluster);
    cluster.until("asked for", |_| of_kind(&cluster.api, PODS).len() == 2).await;
    assert_eq!((replicas(&cluster), wanted(&cluster)), (Some(2), "1".into()));
    cluster.stop_operator().await;
    cluster.restart_operator();
    cluster.until("taken over", |_| owner(&cluster) == owned_by("fares-1", 2)).await;
    find_not_ready(&cluster, &lost);
    cluster.until("given up", |_| replicas(&cluster) == Some(1)).await;
    cluster.looks(3).await;
    assert_eq!((replicas(&cluster), wanted(&cluster)), (Some(1), "1".into()));
}
