//! Every rule of the contract, each by a manifest that breaks it, with the exact sentence that a user reads.

use std::collections::BTreeSet;

use kube::core::cel::Validator;
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg_crds::definition::{definitions, schema_of};
use thalweg_crds::manifest::load;
use thalweg_crds::pattern;

const COLUMN: &str = "schema: [{ name: a, type: INT }]";

/// Rules that only an update can break; they have tests of their own.
const TRANSITIONS: [&str; 1] =
    ["keyGroups cannot change: state is divided by it; use another pipeline, or delete this one and make it anew"];

/// The spec of a resource, and the rule that it breaks, alone.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let source = |spec: &str, message| ("StreamSource", format!("{spec}\n{COLUMN}"), message);
    let sink = |spec: &str, message| ("StreamSink", spec.to_owned(), message);
    let pipeline = |spec: &str, message| {
        ("StreamPipeline", format!("sources: [{{ name: a }}]\nsinks: [{{ name: b }}]\n{spec}"), message)
    };
    let kafka = "kafka: { brokers: [\"k:9092\"], topic: t";
    vec![
        source("onError: Fail", "exactly one connector is expected: files, kafka or generator"),
        source(
            "files: { url: a }\ngenerator: { taxi: {} }",
            "exactly one connector is expected: files, kafka or generator",
        ),
        (
            "StreamSource",
            "files: { url: a }".into(),
            "schema is required: only parquet and avro describe their own columns",
        ),
        source(
            "generator: { taxi: {} }\nlookup: {}",
            "a lookup is read whole, so it needs the files connector without watch",
        ),
        source(
            "files: { url: a, watch: 5s }\nlookup: {}",
            "a lookup is read whole, so it needs the files connector without watch",
        ),
        source(
            "files: { url: a }\nlookup: {}\nwatermark: { column: a }",
            "a lookup is a static table without time: leave watermark out",
        ),
        source(
            "files: { url: a }\nlookup: {}\nonError: DeadLetter",
            "a lookup is read before any row, when nothing writes dead letters yet: onError is Fail or Drop",
        ),
        source(
            &format!("{kafka} }}\nformat: {{ parquet: {{}} }}"),
            "kafka records are json, csv or avro: parquet is a format of files",
        ),
        source("generator: { taxi: {} }\nformat: { csv: {} }", "generator makes json: leave format out, or say json"),
        source("generator: { seed: 1 }", "exactly one kind of record is expected: taxi, nexmark or schema"),
        source(
            "generator: { taxi: { coordinates: true, hotZone: 7 } }",
            "trips with coordinates have no zone: leave out hotZone or coordinates",
        ),
        source("files: { url: a }\nformat: {}", "exactly one format is expected: json, csv, parquet or avro"),
        source("files: { url: a }\nformat: { csv: { quote: \",\" } }", "delimiter and quote must differ"),
        source("files: { url: a, s3: {} }", "s3 has a meaning only where url starts with s3://"),
        source(
            "files: { url: \"s3://a\", s3: { accessKeyFrom: { secretKeyRef: { name: a, key: b } } } }",
            "accessKeyFrom and secretKeyFrom belong together: give both or neither",
        ),
        source(
            &format!("{kafka}, startAt: {{ position: Timestamp }} }}"),
            "timestamp belongs to position: Timestamp, and to no other",
        ),
        source(
            &format!("{kafka}, startAt: {{ offsets: [{{ partition: 0, offset: 1 }}] }} }}"),
            "offsets belong to position: Offsets, and to no other",
        ),
        source(
            &format!("{kafka}, tls: {{ caFrom: {{}} }} }}"),
            "exactly one of secretKeyRef and configMapKeyRef is expected",
        ),
        source(
            &format!("{kafka}, tls: {{ certFrom: {{ secretKeyRef: {{ name: a, key: b }} }} }} }}"),
            "certFrom and keyFrom belong together: give both or neither",
        ),
        source(
            &format!("{kafka}, sasl: {{ mechanism: Plain, username: a }} }}"),
            "username and passwordFrom belong to the mechanisms Plain, ScramSha256 and ScramSha512: give both with these, \
             and neither with another",
        ),
        source(
            &format!("{kafka}, sasl: {{ mechanism: OAuthBearer }} }}"),
            "tokenFrom belongs to mechanism: OAuthBearer, and to no other",
        ),
        source(
            &format!("{kafka}, sasl: {{ mechanism: AwsMskIam }} }}"),
            "region belongs to mechanism: AwsMskIam, and to no other",
        ),
        (
            "StreamSource",
            "files: { url: a }\nschema: [{ name: a, type: INT, from: b, metadata: file }]".into(),
            "from reads a field of the record and metadata a fact about it: give one of them",
        ),
        (
            "StreamSource",
            "files: { url: a }\nschema: [{ name: a, type: \"DECIMAL(10\" }]".into(),
            "the type ends inside its parentheses: where a comma cut it in two, quote it, such as \"DECIMAL(10, 2)\"",
        ),
        sink("onError: Fail", "exactly one connector is expected: files, kafka, stdout or blackhole"),
        sink(
            "stdout: {}\nformat: { json: {} }",
            "stdout and blackhole take no format: stdout.style says how rows are printed",
        ),
        sink(
            &format!("{kafka} }}\nformat: {{ parquet: {{}} }}"),
            "kafka records are json or avro: csv and parquet are formats of files",
        ),
        sink(
            &format!("{kafka}, key: [a, b], headers: [c, b] }}"),
            "a column of the key is no header as well: leave it out of one of them",
        ),
        sink(&format!("{kafka}, tombstones: true }}"), "tombstones need a key, which says what is deleted"),
        sink(&format!("{kafka}, key: [], tombstones: true }}"), "tombstones need a key, which says what is deleted"),
        sink("files: { url: a }\nformat: { avro: {} }", "files are written as json, csv or parquet: avro is only read"),
        sink("files: { url: a, s3: {} }", "s3 has a meaning only where url starts with s3://"),
        pipeline("paused: true", "exactly one of sql and sqlFrom is expected"),
        pipeline("sql: x\nscaling: { minWorkers: 3 }", "minWorkers must not exceed maxWorkers (each is 1 by default)"),
        pipeline(
            "sql: x\nscaling: { workers: 1 }",
            "workers is set only with mode: Manual; otherwise use minWorkers and maxWorkers",
        ),
        pipeline(
            "sql: x\nscaling: { mode: Manual, workers: 5 }",
            "workers must lie between minWorkers and maxWorkers (each is 1 by default)",
        ),
        pipeline(
            "sql: x\nrestart: { nonce: a, from: { position: Offsets, offsets: [{ partition: 0, offset: 0 }] } }",
            "offsets belong to one source: give them in its startAt, and leave from out",
        ),
        pipeline(
            "sql: x\nworker: { serviceAccountName: a, serviceAccountAnnotations: { b: c } }",
            "serviceAccountAnnotations are for the account that the operator makes: leave serviceAccountName out, or \
             annotate that account yourself",
        ),
    ]
}

/// The sentences about one resource.
fn messages(kind: &str, spec: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!("apiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: a }}\nspec:\n{indented}");
    std::fs::write(&file, text).unwrap();
    match load(&[file]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.as_slice().iter().map(|problem| problem.message.clone()).collect(),
    }
}

#[test]
fn each_rule_refuses_what_it_is_for_with_its_own_sentence() {
    for (kind, spec, message) in cases() {
        assert_eq!(messages(kind, &spec), [message], "{kind}:\n{spec}");
    }
}

#[test]
fn no_rule_is_without_a_case() {
    let tested: BTreeSet<&str> = cases().into_iter().map(|(_, _, message)| message).chain(TRANSITIONS).collect();
    let mut declared = Vec::new();
    for definition in definitions() {
        collect(&schema_of(&definition), "x-kubernetes-validations", &mut declared);
    }
    let declared: BTreeSet<String> = declared
        .iter()
        .flat_map(|rules| rules.as_array().cloned().unwrap_or_default())
        .map(|rule| rule["message"].as_str().expect("every rule has a message").to_owned())
        .collect();
    assert_eq!(declared.iter().map(String::as_str).collect::<BTreeSet<_>>(), tested);
}

/// The kind, the path below `spec`, a spec with `VALUE` in it, values at the limits, and values beyond them.
type Limits = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// Fields with a least or a most value.
const LIMITS: &[Limits] = &[
    (
        "StreamSource",
        "maxRecordBytes",
        "files: { url: a }\nmaxRecordBytes: VALUE",
        &["1", "1k", "0.001k", "0.001Ki", "999999999999999", "999999Ti"],
        &["0", "0k", "0.000Mi", "-1", "1000000000000000"],
    ),
    (
        "StreamSource",
        "files.watch",
        "files: { url: a, watch: VALUE }",
        &["1ms", "1.5ms", "0.001s", "1ms1us", "500us1ms", "0s1ms", "01ms", "999999999h"],
        &["0s", "0h0m", "0.9ms", "999us", "999999ns", "999µs", "0.0009s", "1000000000h"],
    ),
    ("StreamSource", "files.lanes", "files: { url: a, lanes: VALUE }", &["1", "1024"], &["0", "1025"]),
    ("StreamSource", "generator.splits", "generator: { taxi: {}, splits: VALUE }", &["1", "4096"], &["0", "4097"]),
    ("StreamSource", "generator.rows", "generator: { taxi: {}, rows: VALUE }", &["0"], &["-1"]),
    (
        "StreamSource",
        "generator.rowsPerSecond",
        "generator: { taxi: {}, rowsPerSecond: VALUE }",
        &["1", "100000000"],
        &["0", "100000001"],
    ),
    (
        "StreamSource",
        "generator.taxi.eventsPerSecond",
        "generator: { taxi: { eventsPerSecond: VALUE } }",
        &["1", "1000000"],
        &["0", "1000001"],
    ),
    (
        "StreamSource",
        "generator.taxi.lateRate",
        "generator: { taxi: { lateRate: VALUE } }",
        &["0.0", "1.0"],
        &["-0.1", "1.1"],
    ),
    (
        "StreamSink",
        "files.roll.every",
        "files: { url: a, roll: { every: VALUE } }",
        &["1ms", "0.001s", "1h"],
        &["0s", "999us", "0.9ms"],
    ),
    (
        "StreamSink",
        "files.roll.size",
        "files: { url: a, roll: { size: VALUE } }",
        &["1", "0.001k", "999999999999999"],
        &["0", "0Mi", "1000000000000000"],
    ),
    (
        "StreamSink",
        "kafka.createTopic.partitions",
        "kafka: { brokers: [\"k:9092\"], topic: t, createTopic: { partitions: VALUE } }",
        &["1", "10000"],
        &["0", "10001"],
    ),
    (
        "StreamPipeline",
        "state.commitEvery",
        "sql: x\nstate: { commitEvery: VALUE }",
        &["1ms", "0.001s", "1h"],
        &["0s", "999us"],
    ),
    ("StreamPipeline", "state.keyGroups", "sql: x\nstate: { keyGroups: VALUE }", &["1", "4096"], &["0", "4097"]),
    ("StreamPipeline", "scaling.maxWorkers", "sql: x\nscaling: { maxWorkers: VALUE }", &["1", "1000"], &["0", "1001"]),
];

/// Whether a value lies within the limits of a schema, as the API server reads them.
fn allows(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            let number = number.as_f64().expect("a finite number");
            least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
        }
        Value::String(text) => {
            let pattern = schema["pattern"].as_str().expect("a text with limits has a pattern");
            Regex::new(pattern).expect("a pattern").is_match(text)
        }
        other => panic!("{other} has no limits"),
    }
}

#[test]
fn what_the_schema_refuses_at_a_limit_check_does_too_and_nothing_else() {
    let schemas: Vec<(String, Value)> =
        definitions().iter().map(|definition| (definition.spec.names.kind.clone(), schema_of(definition))).collect();
    for (kind, path, spec, within, beyond) in LIMITS {
        let (_, schema) = schemas.iter().find(|(found, _)| found == kind).expect("a kind");
        let field = path.split('.').fold(&schema["properties"]["spec"], |around, field| &around["properties"][field]);
        assert!(field.is_object(), "{kind} has no {path}");
        let around = match *kind {
            "StreamSource" => COLUMN,
            "StreamSink" => "",
            _ => "sources: [{ name: a }]\nsinks: [{ name: b }]",
        };
        for (value, is_within) in
            within.iter().map(|value| (value, true)).chain(beyond.iter().map(|value| (value, false)))
        {
            let json = serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value));
            assert_eq!(allows(field, &json), is_within, "the schema of {path}: {value}");
            let told = messages(kind, &format!("{}\n{around}", spec.replace("VALUE", value)));
            assert_eq!(told.is_empty(), is_within, "check of {path}: {value}: {told:?}");
        }
    }
}

#[test]
fn every_pattern_has_a_sentence() {
    for definition in definitions() {
        let mut patterns = Vec::new();
        collect(&schema_of(&definition)["properties"]["spec"], "pattern", &mut patterns);
        for found in patterns.iter().filter_map(Value::as_str) {
            assert!(pattern::expected(found).is_some(), "{found} has no sentence");
        }
    }
}

/// Every value of a key of a schema, at any depth.
fn collect(schema: &Value, key: &str, into: &mut Vec<Value>) {
    match schema {
        Value::Object(map) => {
            into.extend(map.get(key).filter(|value| !value.is_object()).cloned());
            map.values().for_each(|value| collect(value, key, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, into)),
        _ => {}
    }
}

fn pipeline_with_state(state: Value) -> Value {
    json!({ "spec": { "sources": [{ "name": "a" }], "sinks": [{ "name": "b" }], "sql": "x", "state": state } })
}

#[test]
fn key_groups_cannot_change() {
    let definition = definitions().into_iter().find(|d| d.spec.names.kind == "StreamPipeline").unwrap();
    let schema = schema_of(&definition);
    let update = |old: Value, new: Value| {
        let result = Validator::new().validate(&schema, &pipeline_with_state(new), Some(&pipeline_with_state(old)));
        result.err().map(|errors| errors.as_slice()[0].message.clone())
    };
    let refused = Some(TRANSITIONS[0].to_owned());
    assert_eq!(update(json!({ "keyGroups": 8 }), json!({ "keyGroups": 16 })), refused);
    assert_eq!(update(json!({ "keyGroups": 8 }), json!({})), refused);
    assert_eq!(update(json!({}), json!({ "keyGroups": 8 })), refused);
    assert_eq!(update(json!({ "keyGroups": 8 }), json!({ "keyGroups": 8, "commitEvery": "1s" })), None);
    assert_eq!(update(json!({}), json!({ "url": "s3://a" })), None);
}

#[test]
fn the_resources_of_the_documentation_are_accepted() {
    let source = "kafka:
  brokers: [\"kafka:9092\"]
  topic: trips
  startAt: { position: Earliest }
  tls: { caFrom: { configMapKeyRef: { name: kafka-ca, key: ca.crt } } }
  sasl: { mechanism: ScramSha512, username: app, passwordFrom: { secretKeyRef: { name: kafka, key: password } } }
  properties: { client.rack: a }
format:
  json: {}
schema:
- name: pickup_at
  type: TIMESTAMP(3)
  from: pickup_datetime
- name: fare
  type: \"DECIMAL(10, 2)\"
- name: part
  type: INT
  metadata: partition
watermark: { column: pickup_at, delay: 30s, idleAfter: 1m }
onError: DeadLetter";
    assert_eq!(messages("StreamSource", source), Vec::<String>::new());
    let sink = "kafka: { brokers: [\"kafka:9092\"], topic: pickups, key: [zone, window_start] }\nformat:\n  json: {}";
    assert_eq!(messages("StreamSink", sink), Vec::<String>::new());
    let pipeline = "sources:
- { name: taxi-trips, as: trips }
sinks:
- { name: pickups }
deadLetter: { sink: bad-trips }
sql: x
delivery: ExactlyOnce
state: { url: \"s3://bucket/prefix\", commitEvery: 5s }
scaling: { minWorkers: 0, maxWorkers: 20, targetLag: 30s }
worker:
  resources: { requests: { cpu: \"1\", memory: 1Gi }, limits: { memory: 1Gi } }
  tolerations: [{ key: a, operator: Exists }]";
    assert_eq!(messages("StreamPipeline", pipeline), Vec::<String>::new());
}
