//! Every field of the resources × values that nobody should write: refused by the schema, or told by a condition; and back
//! again everything is as it was.

use std::collections::BTreeMap;
use std::path::Path;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use thalweg_crds::manifest::read_text;

use crate::fake::{FakeApi, Key};
use crate::harness::{Cluster, condition, key, message, pipeline_key, put};
use crate::kubelet;

/// Pipelines at once.
const AT_ONCE: usize = 16;

fn source() -> Value {
    json!({
        "kafka": {
            "brokers": ["kafka:9092"], "topic": "trips", "startAt": {"position": "Earliest"},
            "tls": {"caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}, "serverName": "kafka"},
            "sasl": {
                "mechanism": "ScramSha512", "username": "app",
                "passwordFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}},
            },
            "commitToGroup": "mine",
        },
        "format": {"json": {"strict": false, "timestampFormat": "Iso8601"}},
        "schema": [
            {"name": "at", "type": "TIMESTAMP(3)", "from": "pickup_at"},
            {"name": "fare", "type": "DOUBLE", "nullable": true},
            {"name": "part", "type": "INT", "metadata": "partition"},
        ],
        "watermark": {"column": "at", "delay": "30s", "idleAfter": "1m", "late": "Drop"},
        "onError": "Drop",
        "maxRecordBytes": "1Mi",
    })
}

fn sink() -> Value {
    json!({
        "kafka": {"brokers": ["kafka:9092"], "topic": "out", "key": ["fare"], "compression": "Lz4"},
        "format": {"json": {}},
        "onError": "Fail",
    })
}

fn pipeline() -> Value {
    json!({
        "sources": [{"name": "trips", "as": "trips"}],
        "sinks": [{"name": "out", "as": "out", "delivery": "AtLeastOnce"}],
        "sql": "INSERT INTO out SELECT fare FROM trips",
        "delivery": "ExactlyOnce",
        "state": {"url": "s3://bucket/prefix", "commitEvery": "5s"},
        "scaling": {
            "mode": "Manual", "workers": 2, "minWorkers": 1, "maxWorkers": 3, "targetLag": "30s", "catchUp": "2m",
            "zeroAfter": "10m",
        },
        "worker": {
            "image": "thalweg:one",
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "priorityClassName": "low",
            "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"},
            "imagePullSecrets": [{"name": "pull"}],
            "podLabels": {"team": "a"},
            "podAnnotations": {"note": "b"},
            "logLevel": "Info",
        },
        "onIncompatibleChange": "Refuse",
        "deletionPolicy": "Retain",
        "paused": false,
    })
}

/// The three resources by kind and name.
fn resources() -> [(&'static str, &'static str, Value); 3] {
    [("StreamSource", "trips", source()), ("StreamSink", "out", sink()), ("StreamPipeline", "fares", pipeline())]
}

/// A resource with one thing changed.
struct Mutant {
    kind: &'static str,
    name: &'static str,
    what: String,
    spec: Value,
}

/// Every place of a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| {
            let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            found.push(path.clone());
            places(inner, &path, found);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, inner)| {
            let path = format!("{at}/{index}");
            found.push(path.clone());
            places(inner, &path, found);
        }),
        _ => {}
    }
}

fn bad_values() -> Vec<(&'static str, Value)> {
    vec![
        ("null", Value::Null),
        ("empty", "".into()),
        ("zero", 0.into()),
        ("minus", (-1).into()),
        ("beyond", 1_000_001_i64.into()),
        ("huge", "x".repeat(5_000).into()),
        ("unicode", "Ünï—©ode 🚕\u{202e}".into()),
        ("other", "nope".into()),
        ("true", true.into()),
        ("list", json!([])),
        ("object", json!({})),
        ("long", "1h".into()),
    ]
}

fn absent(spec: &Value, path: &str) -> Option<Value> {
    let (parent, field) = path.rsplit_once('/')?;
    let mut spec = spec.clone();
    let field = field.replace("~1", "/").replace("~0", "~");
    match spec.pointer_mut(parent)? {
        Value::Object(fields) => drop(fields.shift_remove(&field)),
        Value::Array(items) => drop(items.remove(field.parse().ok()?)),
        _ => return None,
    }
    Some(spec)
}

fn mutants() -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (kind, name, spec) in resources() {
        let mut found = Vec::new();
        places(&spec, "", &mut found);
        for path in found {
            let absent = absent(&spec, &path).map(|spec| ("absent", spec));
            let changed = bad_values().into_iter().filter_map(|(what, value)| {
                let mut spec = spec.clone();
                let place = spec.pointer_mut(&path)?;
                let same = *place == value;
                *place = value;
                (!same).then_some((what, spec))
            });
            mutants.extend(absent.into_iter().chain(changed).map(|(what, spec)| Mutant {
                kind,
                name,
                what: format!("{kind}{path} {what}"),
                spec,
            }));
        }
    }
    mutants
}

/// Whether an API server with our definitions takes it.
fn is_taken(mutant: &Mutant) -> bool {
    let document = json!({
        "apiVersion": "thalweg.dev/v1alpha1", "kind": mutant.kind,
        "metadata": {"name": mutant.name, "namespace": "shop"}, "spec": mutant.spec,
    });
    read_text(Path::new("mutant.yaml"), &document.to_string()).1.is_empty()
}

fn key_of(kind: &str, name: &str) -> Key {
    key(&format!("thalweg.dev/v1alpha1/{}s", kind.to_lowercase()), name)
}

fn write(cluster: &Cluster, kind: &str, name: &str, spec: &Value) {
    cluster.api.store().edit(&key_of(kind, name), |object| object["spec"] = spec.clone());
    cluster.api.changed();
}

/// Whether the status speaks of what is written, and either all is well or it says what is not.
fn is_told(cluster: &Cluster, pipeline: &Value) -> bool {
    let is = |kind: &str| condition(pipeline, kind) == "True";
    let current = pipeline["status"]["observedGeneration"] == pipeline["metadata"]["generation"];
    let explained = condition(pipeline, "ConfigValid") == "False"
        && is("Stalled")
        && !message(pipeline, "ConfigValid").is_empty()
        && !message(pipeline, "Stalled").is_empty();
    current && (explained || is("Paused") || (is("Ready") && !is("Reconciling") && is_calm(cluster)))
}

fn is_calm(cluster: &Cluster) -> bool {
    let deployments = kubelet::of_kind(&cluster.api, kubelet::DEPLOYMENTS);
    let wanted = deployments.first().and_then(|deployment| deployment["spec"]["replicas"].as_u64());
    wanted == Some(kubelet::of_kind(&cluster.api, kubelet::PODS).len() as u64)
}

/// What was applied, by name; and the state of the pipeline.
fn applied(cluster: &Cluster) -> BTreeMap<String, String> {
    let skipped = ["streamassignments", "leases", "streamsources", "streamsinks", "streampipelines"];
    let state = cluster.end_state().into_iter().map(|(name, mut object)| {
        if name.contains("deployments") {
            // Pods were made and removed meanwhile.
            object = object.split("\"status\"").next().unwrap_or_default().to_owned();
        }
        (name, object)
    });
    state.filter(|(name, _)| !skipped.iter().any(|kind| name.contains(kind))).collect()
}

async fn as_at_first(cluster: &Cluster, what: &str) {
    let is_well = |p: &Value| {
        let is = |kind: &str| condition(p, kind) == "True";
        let current = is_seen(cluster);
        current
            && is("Ready")
            && is("ConfigValid")
            && !is("Reconciling")
            && p["status"]["workers"]["summary"] == "2/2"
            && is_calm(cluster)
    };
    cluster.until(what, is_well).await;
}

/// Takes a share of the mutants, one after the other, on one pipeline; how many told of problems.
async fn walk(mutants: Vec<Mutant>) -> usize {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    cluster.api.find_splits(3);
    for (kind, name, spec) in resources() {
        put(&cluster.api, kind, name, spec);
    }
    as_at_first(&cluster, "running at first").await;
    let before = applied(&cluster);
    let mut told = 0;
    for mutant in mutants {
        write(&cluster, mutant.kind, mutant.name, &mutant.spec);
        let seen = cluster
            .until(&format!("told of {}", mutant.what), |p| {
                is_seen_of(&cluster, mutant.kind, mutant.name) && is_told(&cluster, p)
            })
            .await;
        told += usize::from(condition(&seen, "ConfigValid") == "False");
        let (_, _, spec) = resources().into_iter().find(|(kind, ..)| *kind == mutant.kind).expect("a resource");
        write(&cluster, mutant.kind, mutant.name, &spec);
        as_at_first(&cluster, &format!("as before {}", mutant.what)).await;
        cluster.looks(1).await;
        as_at_first(&cluster, &format!("as before {}", mutant.what)).await;
        let after = applied(&cluster);
        for (name, object) in &before {
            assert_eq!(after.get(name), Some(object), "after {}: {name}", mutant.what);
        }
    }
    assert!(cluster.api.store().objects.contains_key(&pipeline_key()));
    told
}

/// Each resource says itself of which version its status speaks, once a pipeline has looked at it.
fn is_seen(cluster: &Cluster) -> bool {
    resources().iter().all(|(kind, name, _)| is_seen_of(cluster, kind, name))
}

fn is_seen_of(cluster: &Cluster, kind: &str, name: &str) -> bool {
    let object = cluster.api.store().objects.get(&key_of(kind, name)).cloned().unwrap_or(Value::Null);
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// What the check of SQL answers: it is a process of its own, and not what is tested here.
const CHECK: &str = r#"{"problems": [], "pipelines": [{"stages": [{"id": 0, "kind": "stateless", "sources": ["trips"], "fingerprint": "f"}]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_field_is_set_to_is_refused_or_told_and_undone_by_the_value_before() {
    let all = mutants();
    let count = all.len();
    let taken: Vec<Mutant> = all.into_iter().filter(is_taken).collect();
    let (refused, taken_count) = (count - taken.len(), taken.len());
    let mut shares: Vec<Vec<Mutant>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    taken.into_iter().enumerate().for_each(|(number, mutant)| shares[number % AT_ONCE].push(mutant));
    let told: usize = stream::iter(shares.into_iter().map(walk))
        .buffer_unordered(AT_ONCE)
        .fold(0, |sum, told| async move { sum + told })
        .await;
    println!("{refused} refused by the schema, {taken_count} taken, of which {told} told of problems");
    // There and back.
    let transitions = refused + 2 * taken_count;
    assert!(transitions >= 1_000, "{transitions} transitions are too few");
    assert!(told > 20 && taken_count > told, "{told} of {taken_count}: both ends are to be met");
}
