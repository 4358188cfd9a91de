//! What else runs in a cluster: makes pods of Deployments, and workers in them that claim slots and obey the assignment.
//!
//! Workers here do no work; what they say about units follows from the assignment. What is tested is the operator.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use thalweg_mtls::identity::{Identity, Peers};
use thalweg_mtls::server::serve;
use thalweg_operator_plan::names::{APP_NAME, KEY_FINGERPRINT, LOOKOUT, PIPELINE, PLAN, hash};
use tokio::task::JoinSet;

use crate::fake::{FakeApi, Key, Load, Obstacle};

const TEMPLATE: &str = "pod-template-hash";
pub const PODS: &str = "v1/pods";
pub const JOBS: &str = "batch/v1/jobs";
pub const LEASES: &str = "coordination.k8s.io/v1/leases";
pub const DEPLOYMENTS: &str = "apps/v1/deployments";
pub const ASSIGNMENTS: &str = "thalweg.dev/v1alpha1/streamassignments";

/// A loopback address for each pod of this process.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let process = std::process::id();
    Ipv4Addr::from(0x7f00_0000 | ((64 + process % 128) << 16) | (number & 0xffff))
}

/// How often workers renew their Leases: an operator gives up a worker that does not for 15 s.
const RENEWAL: Duration = Duration::from_secs(3);

/// Runs the cluster for as long as it is awaited.
pub async fn run(api: FakeApi) {
    tokio::join!(keep_pods(api.clone()), renew_leases(api));
}

async fn renew_leases(api: FakeApi) {
    let mut ticks = tokio::time::interval(RENEWAL);
    for count in 0_u64.. {
        ticks.tick().await;
        let now = format!("2026-01-01T{:02}:{:02}:{:02}.000000Z", count / 3600 % 24, count / 60 % 60, count % 60);
        let is_held = |lease: &&Arc<Value>| {
            let holder = lease["spec"]["holderIdentity"].as_str().filter(|_| lease["metadata"]["namespace"] == "shop");
            holder.is_some_and(|holder| !api.is_cut_off(holder.trim_end_matches("/0")))
        };
        for lease in of_kind(&api, LEASES).iter().filter(is_held) {
            let renewed = |lease: &mut Value| {
                if lease["spec"]["holderIdentity"].is_string() {
                    lease["spec"]["renewTime"] = now.as_str().into();
                }
            };
            api.store().edit(&key(LEASES, lease), renewed);
        }
        api.changed();
    }
}

async fn keep_pods(api: FakeApi) {
    let mut workers = JoinSet::new();
    loop {
        let change = api.change();
        tokio::pin!(change);
        change.as_mut().enable();
        let mut changed = collect(&api);
        for deployment in of_kind(&api, DEPLOYMENTS) {
            changed |= scale(&api, &deployment, &mut workers).await;
        }
        for pod in of_kind(&api, PODS).iter().filter(|pod| !api.is_cut_off(uid(pod))) {
            changed |= match api.obstacle() {
                Some(Obstacle::Waiting(why)) if !is_ready(pod) => wait(&api, pod, &why),
                _ => wait_no_more(&api, pod) | claim(&api, pod) | set_ready(&api, pod),
            };
        }
        for deployment in of_kind(&api, DEPLOYMENTS) {
            changed |= set_status(&api, &deployment);
        }
        match changed {
            true => api.changed(),
            false => change.await,
        }
    }
}

pub fn of_kind(api: &FakeApi, kind: &str) -> Vec<Arc<Value>> {
    let store = api.store();
    store.objects.iter().filter(|(key, _)| key.0 == kind).map(|(_, object)| object.clone()).collect()
}

pub fn key(kind: &str, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (kind.to_owned(), text("namespace"), text("name"))
}

fn template(object: &Value) -> String {
    hash(object["spec"]["template"].to_string().as_bytes())
}

fn pods_of(api: &FakeApi, deployment: &Value) -> Vec<Arc<Value>> {
    let uid = &deployment["metadata"]["uid"];
    let counts = |pod: &Arc<Value>| {
        pod["metadata"]["ownerReferences"][0]["uid"] == *uid && pod["metadata"]["deletionTimestamp"].is_null()
    };
    of_kind(api, PODS).into_iter().filter(counts).collect()
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

/// Removes pods and Jobs whose owner was deleted while they were made, as the garbage collector does.
fn collect(api: &FakeApi) -> bool {
    let uids: BTreeSet<String> = api.store().objects.values().map(|object| uid(object).to_owned()).collect();
    let is_orphan = |object: &Arc<Value>| {
        let owner = object["metadata"]["ownerReferences"][0]["uid"].as_str();
        owner.is_some_and(|owner| !uids.contains(owner))
    };
    let keyed = |kind| of_kind(api, kind).into_iter().filter(is_orphan).map(move |object| key(kind, &object));
    let orphans: Vec<_> = [PODS, JOBS].into_iter().flat_map(keyed).collect();
    orphans.iter().for_each(|key| drop(api.store().delete(key, &Value::Null)));
    !orphans.is_empty()
}

/// Makes missing pods of the newest template; once they are ready, removes the others.
async fn scale(api: &FakeApi, deployment: &Value, workers: &mut JoinSet<()>) -> bool {
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
    let template = template(deployment);
    let pods = pods_of(api, deployment);
    let total = pods.len();
    let (mut new, mut old): (Vec<_>, Vec<_>) =
        pods.into_iter().partition(|pod| pod["metadata"]["labels"][TEMPLATE] == *template);
    // Those that are not ready are stopped first.
    new.sort_by_key(|pod| !is_ready(pod));
    old.sort_by_key(|pod| is_ready(pod));
    if new.len() < wanted && total <= wanted {
        if matches!(api.obstacle(), Some(Obstacle::Refused(_))) {
            return false;
        }
        make(api, deployment, &template, workers).await;
        return true;
    }
    let ready = new.iter().chain(&old).filter(|pod| is_ready(pod)).count();
    let spare = |pod: &&Arc<Value>| wanted == 0 || !is_ready(pod) || ready > wanted;
    let surplus = match new.get(wanted) {
        Some(_) => new.last(),
        None => old.first().filter(spare),
    };
    surplus.into_iter().for_each(|pod| remove(api, pod));
    surplus.is_some()
}

async fn make(api: &FakeApi, deployment: &Value, template: &str, workers: &mut JoinSet<()>) {
    let ip = address();
    let name =
        format!("{}-{}", deployment["metadata"]["name"].as_str().unwrap_or_default(), ip.to_string().replace('.', "-"));
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": deployment["metadata"]["uid"]}]);
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["ownerReferences"] = owner;
    pod["metadata"]["labels"][TEMPLATE] = template.into();
    pod["spec"]["nodeName"] = "node-1".into();
    pod["status"] = json!({"podIP": ip.to_string(), "conditions": [{"type": "Ready", "status": "False"}]});
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    let made = api.store().create((PODS.to_owned(), namespace.to_owned(), name), pod).expect("a new pod");
    let listener =
        tokio::net::TcpListener::bind(SocketAddr::new(IpAddr::V4(ip), 8081)).await.expect("a loopback address");
    let known = Peers::default();
    known.replace(told(deployment).split(',').map(|key| key.parse().expect("a fingerprint")));
    let router = axum::Router::new().route("/report", get(report)).with_state((api.clone(), made));
    workers.spawn(async move { serve(listener, &KEY, known, router).await.expect("served") });
}

/// The key of workers here.
static KEY: LazyLock<Identity> = LazyLock::new(|| Identity::generate().expect("a key"));

/// Whom workers are to answer, as they are told.
pub fn told(object: &Value) -> &str {
    let container = &object.pointer("/spec/template/spec").unwrap_or(&object["spec"])["containers"][0];
    let variables = container["env"].as_array().expect("it has an environment");
    let variable = variables.iter().find(|variable| variable["name"] == "THALWEG_OPERATOR_KEY");
    variable.and_then(|variable| variable["value"].as_str()).expect("it is told")
}

/// A pod ends in an orderly way: its slot is free at once. Of one whose node is silent nobody knows when it has ended.
fn remove(api: &FakeApi, pod: &Value) {
    if api.is_cut_off(uid(pod)) {
        let since = "2026-01-01T00:00:00Z";
        return api.store().edit(&key(PODS, pod), |pod| pod["metadata"]["deletionTimestamp"] = since.into());
    }
    if let Some(lease) = lease_of(api, pod) {
        api.store().edit(&key(LEASES, &lease), |lease| drop(lease["spec"].take()));
    }
    api.store().delete(&key(PODS, pod), &Value::Null).expect("it is there");
}

/// A pod is gone from one moment to the next.
pub fn kill(api: &FakeApi, pod: &Value) {
    api.store().delete(&key(PODS, pod), &Value::Null).expect("it is there");
    api.changed();
}

pub fn is_lookout(pod: &Value) -> bool {
    pod["metadata"]["labels"][APP_NAME] == LOOKOUT
}

pub fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// A pod does not start, and says why.
fn wait(api: &FakeApi, pod: &Value, why: &Value) -> bool {
    let mut status = why.clone();
    let others = why["conditions"].as_array().cloned().unwrap_or_default();
    status["podIP"] = pod["status"]["podIP"].clone();
    status["conditions"] = [json!({"type": "Ready", "status": "False"})].into_iter().chain(others).collect();
    if pod["status"] == status {
        return false;
    }
    api.store().edit(&key(PODS, pod), |pod| pod["status"] = status);
    true
}

/// A pod that did not start does.
fn wait_no_more(api: &FakeApi, pod: &Value) -> bool {
    let status = &pod["status"];
    if status["containerStatuses"].is_null() && status["conditions"][1].is_null() {
        return false;
    }
    let status = json!({"podIP": status["podIP"], "conditions": [status["conditions"][0]]});
    api.store().edit(&key(PODS, pod), |pod| pod["status"] = status);
    true
}

fn run_id(pod: &Value) -> String {
    format!("{}/0", uid(pod))
}

fn lease_of(api: &FakeApi, pod: &Value) -> Option<Arc<Value>> {
    of_kind(api, LEASES).into_iter().find(|lease| lease["spec"]["holderIdentity"] == run_id(pod))
}

/// A worker without a slot claims a free one.
fn claim(api: &FakeApi, pod: &Value) -> bool {
    if lease_of(api, pod).is_some() || is_lookout(pod) {
        return false;
    }
    let label = &pod["metadata"]["labels"][PIPELINE];
    let is_free = |lease: &&Arc<Value>| {
        lease["metadata"]["labels"][PIPELINE] == *label && lease["spec"]["holderIdentity"].is_null()
    };
    let leases = of_kind(api, LEASES);
    let Some(lease) = leases.iter().find(is_free) else { return false };
    api.store().edit(&key(LEASES, lease), |lease| {
        lease["spec"] = json!({"holderIdentity": run_id(pod), "leaseDurationSeconds": 15});
        lease["metadata"]["annotations"][PLAN] = pod["metadata"]["annotations"][PLAN].clone();
        lease["metadata"]["annotations"][KEY_FINGERPRINT] = KEY.fingerprint().to_string().into();
    });
    true
}

/// The units that a worker runs: all that the assignment gives to it and to no other life of its slot.
fn units(api: &FakeApi, pod: &Value) -> (Value, Vec<Value>) {
    let Some(lease) = lease_of(api, pod) else { return (Value::Null, Vec::new()) };
    let slot = lease["metadata"]["name"].clone();
    let plan = &pod["metadata"]["annotations"][PLAN];
    let mine = |assignment: &Arc<Value>| {
        let workers = assignment["spec"]["workers"].as_array();
        let is_me = |worker: &Value| worker["slot"] == slot && worker["runId"] == run_id(pod);
        assignment["spec"]["plan"] == *plan && workers.is_some_and(|workers| workers.iter().any(is_me))
    };
    let assignments = of_kind(api, ASSIGNMENTS).into_iter().filter(mine);
    let units = assignments.flat_map(|assignment| assignment["spec"]["units"].as_array().cloned().unwrap_or_default());
    let owned = units.filter(|unit| unit["owner"] == slot);
    (slot.clone(), owned.map(|unit| json!({"unit": unit["unit"], "epoch": unit["epoch"]})).collect())
}

/// Whether the pipeline's assignment is for another plan than a worker has.
fn runs_another(api: &FakeApi, pod: &Value, plan: &Value) -> bool {
    let label = &pod["metadata"]["labels"][PIPELINE];
    let mut assignments = of_kind(api, ASSIGNMENTS).into_iter();
    assignments.any(|it| it["metadata"]["labels"][PIPELINE] == *label && it["spec"]["plan"] != *plan)
}

async fn report(State((api, pod)): State<(FakeApi, Arc<Value>)>) -> Result<String, StatusCode> {
    if api.is_mute() || api.is_cut_off(uid(&pod)) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let (slot, units) = units(&api, &pod);
    let plan = &pod["metadata"]["annotations"][PLAN];
    let state = match units.is_empty() {
        true if runs_another(&api, &pod, plan) => "Prepared",
        true => "Waiting",
        false if api.has_ended() => "Completed",
        false => "Running",
    };
    let listed = listed(&api, &pod, &slot);
    let mut report =
        json!({"runId": run_id(&pod), "slot": slot, "plan": plan, "state": state, "units": units, "listed": listed});
    match api.load() {
        Some(load) if is_lookout(&pod) => add_ends(&mut report, &load, api.splits()),
        Some(load) => add_figures(&mut report, &load, &read(&api, &slot)),
        None => {}
    }
    Ok(report.to_string())
}

/// The splits that a worker reads.
fn read(api: &FakeApi, slot: &Value) -> Vec<Value> {
    let assignments = of_kind(api, ASSIGNMENTS).into_iter();
    let splits = assignments.flat_map(|it| it["spec"]["splits"].as_array().cloned().unwrap_or_default());
    splits.filter(|split| split["reader"] == *slot && !slot.is_null()).collect()
}

/// What a lookout says of sources.
fn add_ends(report: &mut Value, load: &Load, splits: usize) {
    let end = |split| format!("0.{}", load.end(split) as u64);
    let split =
        |split: usize| json!({"source": "trips", "split": split.to_string(), "end": end(split), "accepted": "0.0"});
    report["splits"] = (0..splits).map(split).collect();
}

/// What a worker says of what it does under a load.
fn add_figures(report: &mut Value, load: &Load, splits: &[Value]) {
    let number = |split: &Value| split["split"].as_str().and_then(|name| name.parse().ok()).unwrap_or_default();
    let asked: f64 = splits.iter().map(|split| load.arrivals_of(number(split))).sum();
    let has_more = asked > load.capacity;
    let done = asked.min(load.capacity);
    report["busyShare"] = (done / load.capacity).into();
    report["sinks"] = json!([{"sink": "out", "rate": done}]);
    let split = |split: &Value| {
        json!({
            "source": split["source"],
            "split": split["split"],
            "end": format!("0.{}", load.end(number(split)) as u64),
            "rate": done * load.arrivals_of(number(split)) / asked.max(1.0),
            "lagRecords": if has_more { load.waiting } else { 0 },
        })
    };
    report["splits"] = splits.iter().map(split).collect();
}

/// The sources that a worker was asked to list.
fn listed(api: &FakeApi, pod: &Value, slot: &Value) -> Vec<Value> {
    let splits: Vec<_> = (0..api.splits()).map(|split| split.to_string()).collect();
    let plan = &pod["metadata"]["annotations"][PLAN];
    let assignments = of_kind(api, ASSIGNMENTS).into_iter().filter(|assignment| assignment["spec"]["plan"] == *plan);
    let named = assignments.flat_map(|assignment| {
        let enumerators = assignment["spec"]["enumerators"].as_array().cloned().unwrap_or_default();
        enumerators.into_iter().filter(|enumerator| enumerator["slot"] == *slot && !slot.is_null())
    });
    let complete = api.has_ended();
    named.map(|enumerator| json!({"source": enumerator["source"], "splits": splits, "complete": complete})).collect()
}

/// A worker is ready once it runs units.
fn set_ready(api: &FakeApi, pod: &Value) -> bool {
    let ready = if units(api, pod).1.is_empty() { "False" } else { "True" };
    if pod["status"]["conditions"][0]["status"] == ready {
        return false;
    }
    api.store().edit(&key(PODS, pod), |pod| pod["status"]["conditions"][0]["status"] = ready.into());
    true
}

fn set_status(api: &FakeApi, deployment: &Value) -> bool {
    let (pods, template) = (pods_of(api, deployment), template(deployment));
    let count = |test: &dyn Fn(&Value) -> bool| pods.iter().filter(|pod| test(pod)).count();
    let mut status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": pods.len(),
        "updatedReplicas": count(&|pod| pod["metadata"]["labels"][TEMPLATE] == *template),
        "readyReplicas": count(&is_ready),
    });
    if let Some(Obstacle::Refused(why)) = api.obstacle() {
        status["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "message": why}]);
    }
    if deployment["status"] == status {
        return false;
    }
    api.store().edit(&key(DEPLOYMENTS, deployment), |deployment| deployment["status"] = status);
    true
}
