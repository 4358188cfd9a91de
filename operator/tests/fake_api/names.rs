//! Pipelines whose names are as long as the API server takes them: all that is made for them has a name and labels that it takes.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use thalweg_operator_plan::names::is_object_name;

use crate::fake::{FakeApi, Key};
use crate::harness::{Cluster, SQL, condition, key, pipeline, put, resources_of};
use crate::kubelet::{DEPLOYMENTS, JOBS, PODS, is_lookout, of_kind};
use crate::mutations::CHECK;

const PIPELINES: &str = "thalweg.dev/v1alpha1/streampipelines";
const SERVICES: &str = "v1/services";
/// What a ReplicaSet adds to the name of its Deployment.
const HASH: usize = "-5f9c8d7b6f".len();

/// As long as a label, as long as a name, one that begins like it, and one of several parts.
fn names() -> [String; 4] {
    let parts = format!("{}.", "0a".repeat(31)).repeat(4);
    ["x".repeat(63), "x".repeat(253), "x".repeat(252), format!("{parts}x")]
}

fn pipelines(cluster: &Cluster) -> Vec<Value> {
    let names = names();
    let store = cluster.api.store();
    names
        .iter()
        .map(|name| store.objects.get(&key(PIPELINES, name)).map(|it| (**it).clone()).unwrap_or_default())
        .collect()
}

fn edit_all(cluster: &Cluster, edit: impl Fn(&mut Value)) {
    names().iter().for_each(|name| cluster.api.store().edit(&key(PIPELINES, name), &edit));
    cluster.api.changed();
}

/// Values of labels and of what selects by them, wherever they stand.
fn labels<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| {
            if ["labels", "matchLabels", "selector"].contains(&field.as_str()) {
                found.extend(value.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()));
            }
            labels(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| labels(item, found)),
        _ => {}
    }
}

fn is_label(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.len() <= 63 && text.chars().all(is_inner) && is_end(text.chars().next()) && is_end(text.chars().next_back())
}

fn may_be_called((kind, _, name): &Key) -> bool {
    let is_dns_label = name.len() <= 63 && !name.contains('.') && !name.starts_with(|c: char| c.is_ascii_digit());
    match kind.as_str() {
        SERVICES => is_object_name(name) && is_dns_label,
        // Its pods carry its name as a label.
        JOBS => is_object_name(name) && is_label(name),
        DEPLOYMENTS => is_object_name(name) && name.len() + HASH <= 253,
        _ => is_object_name(name),
    }
}

/// Asserts that an API server would take everything that there is. Names of pods are given by one.
fn check_names(cluster: &Cluster) {
    for (key, object) in &cluster.api.store().objects {
        assert!(key.0 == PODS || may_be_called(key), "{} {}", key.0, key.2);
        let mut found = Vec::new();
        labels(object, &mut found);
        found.iter().for_each(|value| assert!(is_label(value), "{} {}: {value}", key.0, key.2));
    }
}

/// Waits until each is so, with this many pods that work and that watch.
async fn until_all(cluster: &Cluster, what: &str, pods: (usize, usize), is_so: impl Fn(&Value) -> bool) {
    let count = |watches: bool| of_kind(&cluster.api, PODS).iter().filter(|pod| is_lookout(pod) == watches).count();
    cluster.until(what, |_| (count(false), count(true)) == pods && pipelines(cluster).iter().all(&is_so)).await;
    check_names(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_with_the_longest_names_run_sleep_wake_and_are_deleted_with_their_state() {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    cluster.api.set_load(40.0, 500.0, 0);
    let spec = || {
        let mut spec = pipeline(SQL);
        spec["state"] = json!({"url": "s3://bucket/prefix"});
        spec["scaling"] = json!({"minWorkers": 0, "maxWorkers": 2, "zeroAfter": "10s"});
        spec["deletionPolicy"] = "Delete".into();
        spec
    };
    resources_of(&cluster.api, spec());
    names().iter().for_each(|name| put(&cluster.api, "StreamPipeline", name, spec()));
    // The one with a short name is among them, and nobody takes it for another.
    let all = names().len() + 1;
    let runs = |pipeline: &Value| {
        condition(pipeline, "Ready") == "True"
            && condition(pipeline, "ConfigValid") == "True"
            && pipeline["status"]["workers"]["summary"] == "1/1"
    };
    until_all(&cluster, "running", (all, 0), runs).await;
    cluster.api.set_load(0.0, 500.0, 0);
    until_all(&cluster, "asleep", (0, all), |pipeline| pipeline["status"]["phase"] == "Idle").await;
    cluster.api.set_load(40.0, 500.0, 0);
    until_all(&cluster, "awake", (all, 0), runs).await;
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    edit_all(&cluster, |pipeline| pipeline["metadata"]["deletionTimestamp"] = now.as_str().into());
    let jobs = || of_kind(&cluster.api, JOBS);
    cluster.until("with a Job each", |_| jobs().len() == names().len()).await;
    check_names(&cluster);
}
