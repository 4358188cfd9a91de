//! What stands in the way of a pipeline is told within ten seconds, in words that say what to do, and is gone when that is.

use serde_json::{Value, json};

use crate::fake::{FakeApi, Obstacle};
use crate::harness::{BAD_SQL, Cluster, SQL, TOLD, condition, message, pipeline_key, put, reason, resources};
use crate::kubelet::{LEASES, PODS, of_kind};
use crate::mutations::CHECK;
use crate::specs::{self, SETS};

/// A container that is not created yet, for this reason.
fn waiting(state: Value) -> Value {
    json!([{
        "name": "worker", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": state},
    }])
}

/// Sources and sinks of Kafka, whose pods mount Secrets and a ConfigMap; only Secrets where those trust who the system trusts.
fn put_kafka(api: &FakeApi, own_authority: bool) {
    for (kind, name) in [("StreamSource", "trips"), ("StreamSink", "out"), ("StreamPipeline", "fares")] {
        let mut spec = specs::of_kind(&SETS[0], kind);
        let tls = spec.pointer_mut("/kafka/tls").and_then(Value::as_object_mut);
        if let Some(tls) = tls.filter(|_| !own_authority) {
            tls.shift_remove("caFrom");
        }
        put(api, kind, name, spec);
    }
}

/// Waits until workers do not come for this reason, and gives what is said about it.
async fn told(cluster: &Cluster, why: &str, part: &str) -> String {
    let is_told = |pipeline: &Value| {
        condition(pipeline, "Ready") == "False"
            && reason(pipeline, "Ready") == why
            && message(pipeline, "Ready").contains(part)
    };
    let told = cluster.within(TOLD, &format!("told that {part}"), is_told).await;
    message(&told, "Ready").to_owned()
}

async fn until_ready(cluster: &Cluster) {
    cluster.until("ready after all", |pipeline| condition(pipeline, "Ready") == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_told() {
    let cluster = Cluster::start(FakeApi::default());
    let state = json!({"reason": "ErrImagePull", "message": "thalweg:test: not found"});
    cluster.api.obstruct(Some(Obstacle::Waiting(json!({"containerStatuses": waiting(state)}))));
    resources(&cluster.api);
    told(&cluster, "WorkersUnavailable", "ErrImagePull: thalweg:test: not found").await;
    cluster.api.obstruct(None);
    cluster.until_running(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_full_are_told() {
    let cluster = Cluster::start(FakeApi::default());
    let full = "0/2 nodes are available: 2 Insufficient cpu.";
    let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": full});
    cluster.api.obstruct(Some(Obstacle::Waiting(json!({"conditions": [unscheduled]}))));
    resources(&cluster.api);
    told(&cluster, "WorkersUnavailable", &format!("no node takes it: {full}")).await;
    cluster.api.obstruct(None);
    cluster.until_running(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_denies_pods_is_told() {
    let cluster = Cluster::start(FakeApi::default());
    let quota = "pods \"fares-5f9c8d7b6-x\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=8";
    cluster.api.obstruct(Some(Obstacle::Refused(quota)));
    resources(&cluster.api);
    told(&cluster, "WorkersUnavailable", quota).await;
    assert!(of_kind(&cluster.api, PODS).is_empty());
    cluster.api.obstruct(None);
    cluster.until_running(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_or_a_config_map_that_lacks_a_key_is_told_with_the_keys_that_are_named() {
    for own_authority in [false, true] {
        let cluster = Cluster::start_with(FakeApi::default(), CHECK);
        let no_sandbox = json!({"type": "PodReadyToStartContainers", "status": "False"});
        let status =
            json!({"conditions": [no_sandbox], "containerStatuses": waiting(json!({"reason": "ContainerCreating"}))});
        cluster.api.obstruct(Some(Obstacle::Waiting(status)));
        put_kafka(&cluster.api, own_authority);
        let why = if own_authority { "ReferenceNotFound" } else { "SecretMissing" };
        let said = told(&cluster, why, "Secret kafka").await;
        assert!(said.contains("does each exist, with the keys that are named?"), "{said}");
        assert!(said.contains("password"), "{said}");
        assert_eq!(said.contains("ConfigMap ca (ca.crt)"), own_authority, "{said}");
        cluster.api.obstruct(None);
        until_ready(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_being_deleted_is_told() {
    let cluster = Cluster::start(FakeApi::default());
    let terminating = "unable to create new content in namespace shop because it is being terminated";
    cluster.api.deny(LEASES, (403, terminating));
    resources(&cluster.api);
    let is_told =
        |pipeline: &Value| condition(pipeline, "Stalled") == "True" && reason(pipeline, "Stalled") == "Refused";
    let told = cluster.within(TOLD, "told", is_told).await;
    let said = message(&told, "Stalled");
    assert!(said.contains(&format!("the API server refuses Lease fares-0: {terminating}")), "{said}");
    assert_eq!(condition(&told, "Ready"), "False");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_sql_is_told_at_its_place_and_what_runs_goes_on() {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    let write = |sql: &str| {
        cluster.api.store().edit(&pipeline_key(), |pipeline| pipeline["spec"]["sql"] = sql.into());
        cluster.api.changed();
    };
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    write(BAD_SQL);
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let said = message(&told, "ConfigValid");
    assert!(said.contains("StreamPipeline/fares spec.sql") && said.contains("no column `fair`"), "{said}");
    assert_eq!((reason(&told, "ConfigValid"), condition(&told, "Ready")), ("InvalidSql", "True"));
    write(SQL);
    cluster.within(TOLD, "right again", |pipeline| condition(pipeline, "ConfigValid") == "True").await;
    cluster.until_running(SQL).await;
}
