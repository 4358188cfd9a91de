//! Every field of the resources × values at and beyond its limits: refused by the schema or explained by a condition, and
//! undone by the value before.
//!
//! Fields and limits are read from the generated schema, so that a field that comes is met here by itself.
//! `THALWEG_FAULT='StreamSink/kafka/topic huge'` runs one of the mutations again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use thalweg_crds::manifest::read_text;

use crate::fake::{FakeApi, Key};
use crate::harness::{Cluster, condition, key, message, put};
use crate::kubelet;
use crate::plans::{chosen, run_all};
use crate::specs::{SETS, Set, of_kind};

/// Walks at once.
const AT_ONCE: usize = 16;
/// Mutations that one cluster goes through, one after the other.
const WALK: usize = 24;
/// What the check of SQL answers: it is a process of its own, and not what is tested here.
pub const CHECK: &str = r#"{"problems": [], "pipelines": [{"stages": [{"id": 0, "kind": "stateless", "statement": 0, "sink": "out", "text": "t", "sources": ["trips"], "fingerprint": "f"}]}]}"#;

/// A resource with one thing changed.
#[derive(Clone)]
struct Mutant {
    set: &'static Set,
    kind: &'static str,
    what: String,
    spec: Value,
}

/// Every place that a schema knows, as JSON pointers: the first item of lists, one key of maps.
fn places(schema: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    let mut inner: Vec<(String, &Value)> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, inner)| (name.clone(), inner)).collect();
    inner.extend(schema["items"].is_object().then(|| ("0".to_owned(), &schema["items"])));
    let map = &schema["additionalProperties"];
    inner.extend(map.is_object().then(|| ("key".to_owned(), map)));
    for (name, schema) in inner {
        let path = format!("{at}/{name}");
        found.push((path.clone(), schema.clone()));
        places(schema, &path, found);
    }
}

/// Least, most, one beyond, empty, huge, Unicode, another of an enumeration and none of it, and other types.
fn values(schema: &Value) -> Vec<(&'static str, Value)> {
    let whole = |field: &str| schema[field].as_f64().map(|number| number as i64);
    let mut values = vec![("null", Value::Null)];
    match schema["type"].as_str().unwrap_or_default() {
        "string" => {
            let most = whole("maxLength").unwrap_or(1_000) as usize;
            values.extend([
                ("least", "x".into()),
                ("most", "x".repeat(most).into()),
                ("beyond", "x".repeat(most + 1).into()),
                ("empty", "".into()),
                ("huge", "x".repeat(70_000).into()),
                ("unicode", "Ünï—©ode 🚕\u{202e}".into()),
                ("wrong", "nope".into()),
                ("number", 7.into()),
            ]);
            let others = schema["enum"].as_array().into_iter().flatten();
            values.extend(others.map(|other| ("other", other.clone())));
            // Durations and quantities.
            values.extend(["1s", "3h", "1Gi"].map(|text| ("amount", text.into())));
        }
        "integer" | "number" => {
            let (least, most) = (whole("minimum").unwrap_or(0), whole("maximum").unwrap_or(i32::MAX.into()));
            let numbers =
                [("least", least), ("below", least - 1), ("most", most), ("beyond", most + 1), ("huge", i64::MAX)];
            values.extend(numbers.map(|(what, number)| (what, number.into())));
            values.push(("text", "many".into()));
        }
        "boolean" => values.extend([("yes", true.into()), ("no", false.into()), ("text", "yes".into())]),
        "array" => values.extend([("empty", json!([])), ("text", "a".into()), ("wrong", json!([{"nope": 1}]))]),
        "object" => values.extend([("empty", json!({})), ("text", "a".into()), ("wrong", json!({"nope": 1}))]),
        _ => {
            values.extend([("zero", 0.into()), ("minus", (-1).into()), ("text", "many".into()), ("amount", "2".into())])
        }
    }
    values
}

/// A place of a spec, which is made where it is not there.
fn place<'a>(spec: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('/').skip(1).try_fold(spec, |at, step| match (step, at) {
        ("0", Value::Array(items)) => {
            if items.is_empty() {
                items.push(json!({}));
            }
            items.first_mut()
        }
        ("0", at) => {
            *at = json!([{}]);
            at.get_mut(0)
        }
        (field, Value::Object(fields)) => Some(fields.entry(field).or_insert_with(|| json!({}))),
        _ => None,
    })
}

/// A spec with something at a place; `None` takes away what is there.
fn changed(spec: &Value, path: &str, value: Option<&Value>) -> Option<Value> {
    let (parent, field) = path.rsplit_once('/')?;
    let mut changed = spec.clone();
    match (place(&mut changed, parent)?, value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(field.to_owned(), value.clone())),
        (Value::Object(fields), None) => drop(fields.shift_remove(field)?),
        (Value::Array(items), Some(value)) => *items.get_mut(field.parse::<usize>().ok()?)? = value.clone(),
        (Value::Array(items), None) => drop((!items.is_empty()).then(|| items.remove(0))?),
        _ => return None,
    }
    (changed != *spec).then_some(changed)
}

/// Every place of a kind, in the first set that has room for it, else in the first of all.
fn mutants_of(kind: &'static str, schema: &Value) -> Vec<Mutant> {
    let mut found = Vec::new();
    places(&schema["properties"]["spec"], "", &mut found);
    let mutants = found.into_iter().flat_map(|(path, schema)| {
        let has_room = |set: &&Set| {
            let spec = of_kind(set, kind);
            path.rsplit_once('/').and_then(|(parent, _)| spec.pointer(parent)).is_some()
        };
        let set = SETS.iter().find(has_room).unwrap_or(&SETS[0]);
        let values = values(&schema).into_iter().map(|(what, value)| (what, Some(value))).chain([("absent", None)]);
        let mutant = move |(what, value): (&str, Option<Value>)| {
            let spec = changed(&of_kind(set, kind), &path, value.as_ref())?;
            Some(Mutant { set, kind, what: format!("{kind}{path} {what}"), spec })
        };
        values.filter_map(mutant).collect::<Vec<_>>()
    });
    mutants.collect()
}

fn mutants() -> Vec<Mutant> {
    let schemas: Value = serde_json::from_str(include_str!("../../../crds/src/definition/schemas.json")).expect("JSON");
    ["StreamSource", "StreamSink", "StreamPipeline"]
        .into_iter()
        .flat_map(|kind| mutants_of(kind, &schemas[kind]))
        .collect()
}

/// Whether an API server with our definitions takes it.
fn is_taken(mutant: &Mutant) -> bool {
    let document = json!({
        "apiVersion": "thalweg.dev/v1alpha1", "kind": mutant.kind,
        "metadata": {"name": name(mutant.kind), "namespace": "shop"}, "spec": mutant.spec,
    });
    read_text(Path::new("mutant.yaml"), &document.to_string()).1.is_empty()
}

fn name(kind: &str) -> &'static str {
    match kind {
        "StreamSource" => "trips",
        "StreamSink" => "out",
        _ => "fares",
    }
}

fn key_of(kind: &str) -> Key {
    key(&format!("thalweg.dev/v1alpha1/{}s", kind.to_lowercase()), name(kind))
}

fn write(cluster: &Cluster, kind: &str, spec: &Value) {
    cluster.api.store().edit(&key_of(kind), |object| object["spec"] = spec.clone());
    cluster.api.changed();
}

/// Whether a resource was looked at as it is written now.
fn is_seen(cluster: &Cluster, kind: &str) -> bool {
    let object = cluster.api.store().objects.get(&key_of(kind)).cloned().unwrap_or_default();
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// Whether the status speaks of what is written, and either all is well or it says what is not.
fn is_told(cluster: &Cluster, pipeline: &Value) -> bool {
    let is = |kind: &str| condition(pipeline, kind) == "True";
    let says = |kind: &str| !message(pipeline, kind).is_empty();
    let explained =
        condition(pipeline, "ConfigValid") == "False" && is("Stalled") && says("ConfigValid") && says("Stalled");
    explained || is("Paused") || (is("Ready") && !is("Reconciling") && is_calm(cluster))
}

/// Whether there are as many pods as the Deployment is to have.
fn is_calm(cluster: &Cluster) -> bool {
    let deployments = kubelet::of_kind(&cluster.api, kubelet::DEPLOYMENTS);
    let wanted = deployments.first().and_then(|deployment| deployment["spec"]["replicas"].as_u64());
    wanted == Some(kubelet::of_kind(&cluster.api, kubelet::PODS).len() as u64)
}

async fn until_as_at_first(cluster: &Cluster, what: &str) {
    let is_well = |p: &Value| {
        let is = |kind: &str| condition(p, kind) == "True";
        let kinds = ["StreamSource", "StreamSink", "StreamPipeline"];
        let well = is("Ready") && is("ConfigValid") && !is("Reconciling") && !is("Stalled");
        well && p["status"]["workers"]["summary"] == "1/1"
            && is_calm(cluster)
            && kinds.iter().all(|k| is_seen(cluster, k))
    };
    cluster.until(what, is_well).await;
}

/// What there is, without what says how often somebody has moved: which slot a worker has depends on how many came before.
fn settled(cluster: &Cluster) -> BTreeMap<String, String> {
    let moves = ["streamassignments", "leases"];
    let mut state = cluster.end_state();
    state.retain(|name, _| !moves.iter().any(|kind| name.contains(kind)));
    for object in state.values_mut() {
        *object = object.lines().filter(|line| !line.trim_start().starts_with("\"topology\"")).collect();
    }
    state
}

/// Goes through some mutations of one set, each there and back.
async fn walk(set: &'static Set, mutants: Vec<Mutant>) {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    if let Some(map) = set.config_map {
        let object = json!({"metadata": {}, "data": serde_json::from_str::<Value>(map).expect("JSON")});
        cluster.api.store().create(key("v1/configmaps", "queries"), object).expect("a new ConfigMap");
    }
    for kind in ["StreamSource", "StreamSink", "StreamPipeline"] {
        put(&cluster.api, kind, name(kind), of_kind(set, kind));
    }
    until_as_at_first(&cluster, "running at first").await;
    cluster.looks(1).await;
    let mut before = settled(&cluster);
    let maps = kubelet::of_kind(&cluster.api, "v1/configmaps").len();
    for mutant in mutants {
        write(&cluster, mutant.kind, &mutant.spec);
        let is_done =
            |p: &Value| is_seen(&cluster, mutant.kind) && is_seen(&cluster, "StreamPipeline") && is_told(&cluster, p);
        cluster.until(&format!("told of {}", mutant.what), is_done).await;
        write(&cluster, mutant.kind, &of_kind(set, mutant.kind));
        let what = format!("as before {}", mutant.what);
        until_as_at_first(&cluster, &what).await;
        if mutant.what.starts_with("StreamPipeline/restart") {
            // A start from scratch is not undone: what follows it is another plan.
            cluster
                .until("without the plan before", |_| kubelet::of_kind(&cluster.api, "v1/configmaps").len() == maps)
                .await;
            before = settled(&cluster);
        }
        cluster.until(&what, |_| settled(&cluster) == before).await;
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

struct Walk(&'static Set, Vec<Mutant>);

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.as_slice() {
            [only] => f.write_str(&only.what),
            mutants => write!(f, "{} to {}", mutants[0].what, mutants[mutants.len() - 1].what),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_field_is_set_to_is_refused_or_explained_and_undone_by_the_value_before() {
    let all = mutants();
    let fields: BTreeSet<_> = all.iter().map(|m| m.what.split(' ').next().map(str::to_owned)).collect();
    let count = all.len();
    let taken: Vec<Mutant> = all.into_iter().filter(is_taken).collect();
    println!(
        "{} fields, {count} mutations: {} refused by the schema, {} taken",
        fields.len(),
        count - taken.len(),
        taken.len()
    );
    assert!(2 * taken.len() >= 1_000, "{} transitions are too few", 2 * taken.len());
    let of_set = |set| taken.iter().filter(move |mutant| std::ptr::eq(mutant.set, set)).cloned().collect::<Vec<_>>();
    let walks = |length: usize| {
        let of = move |set: &'static Set| {
            of_set(set).chunks(length).map(|share| Walk(set, share.to_vec())).collect::<Vec<_>>()
        };
        SETS.iter().flat_map(of)
    };
    // What failed can be run again: a walk, or one mutation alone.
    let chosen = chosen(walks(WALK).chain(walks(1)).collect());
    let chosen = if std::env::var("THALWEG_FAULT").is_ok() { chosen } else { walks(WALK).collect() };
    run_all("whatever_a_field", chosen, AT_ONCE, |Walk(set, mutants)| walk(set, mutants)).await;
}
