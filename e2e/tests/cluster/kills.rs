//! The operator ends before and after each of its writes, from a pipeline's first object to its last.

use std::time::Instant;

use serde_json::{Value, json};
use thalweg_e2e::bank::{Ledger, Pipelines, SUMS, State, Traffic, Watch, judge_sums};
use thalweg_e2e::cluster::faults::{is_elsewhere, leave_out};
use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::{Namespace, is_ready};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::mortal::{Mortal, both, ends, kind};
use crate::ownership::{ask_for, assignment, condition_in, owned_by, status};
use crate::release::{image, install, operators, without_operator};

const PARTITIONS: i32 = 4;
const ROWS_PER_SECOND: u64 = 200;
/// Each way in which the operator writes each kind of object, but for those that take more than this: it frees a slot
/// (`PUT leases`) where a pod went without a word, it gives back labels (`PATCH leases`) that somebody took away, and it tells an
/// event once more (`PATCH events`) where it remembers the first time.
const WRITES: [&str; 20] = [
    "DELETE configmaps",
    "PATCH configmaps",
    "PATCH deployments",
    "PATCH networkpolicies",
    "PATCH poddisruptionbudgets",
    "PATCH rolebindings",
    "PATCH roles",
    "PATCH serviceaccounts",
    "PATCH services",
    "PATCH streamassignments",
    "PATCH streampipelines",
    "PATCH streampipelines/status",
    "PATCH streamsinks/status",
    "PATCH streamsources/status",
    // The installation's id.
    "POST configmaps",
    "POST events",
    "POST jobs",
    // Slots, and who leads.
    "POST leases",
    "POST streamassignments",
    "PUT streamassignments",
];
/// How many writes it ends before and after at the least: those, of two plans, of two sinks, and of Leases in two namespaces.
const LEAST: usize = 23;
/// What carries the label of the pipeline, beside what is its own alone in the namespace.
const LABELLED: &str = "configmaps,services,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets";

/// Whether so many workers run the pipeline, and nothing is on its way.
fn runs(namespace: &Namespace, workers: usize) -> bool {
    let Some(pipeline) = namespace.get(&["streampipeline", SUMS]) else { return false };
    let said = &pipeline["status"];
    let is = |kind: &str, wanted: &str| condition_in(said, kind).is_some_and(|(status, _)| status == wanted);
    said["observedGeneration"] == pipeline["metadata"]["generation"]
        && is("Ready", "True")
        && is("Reconciling", "False")
        && is("Stalled", "False")
        && owned_by(namespace, SUMS, workers).is_some()
}

/// The plan that is published.
fn plan(namespace: &Namespace) -> Option<Value> {
    Some(assignment(namespace, SUMS)?["plan"].clone())
}

/// Objects of the pipeline, of some kinds; `None` where nobody answers.
fn of_pipeline(namespace: &Namespace, kinds: &str, more: &str) -> Option<usize> {
    let label = format!("thalweg.dev/pipeline={SUMS}{more}");
    Some(namespace.get(&[kinds, "-l", &label])?["items"].as_array()?.len())
}

fn patch(namespace: &Namespace, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    namespace.succeed(&["patch", "streampipeline", SUMS, "--type=merge", "-p", &patch]);
}

/// Writes the SQL otherwise: another plan, which goes on where the one before it was.
fn edit(namespace: &Namespace) {
    let pipeline = namespace.get(&["streampipeline", SUMS]).expect("the pipeline");
    let sql = pipeline["spec"]["sql"].as_str().expect("SQL");
    let edited = sql.replacen(" FROM ", "\nFROM ", 1);
    assert_ne!(edited, sql);
    patch(namespace, &json!({"sql": edited}));
}

fn is_paused(namespace: &Namespace) -> bool {
    let workers = || of_pipeline(namespace, "pods", ",app.kubernetes.io/name=thalweg-worker");
    status(namespace, SUMS)["phase"] == "Paused" && workers() == Some(0)
}

/// Whether nothing is left of the pipeline, nor anything that it owned.
fn is_gone(namespace: &Namespace) -> bool {
    let kinds = "streampipelines,streamassignments,deployments,leases,jobs,pods";
    let left = namespace.run(&["get", kinds, "-o", "name"], "");
    left.status.success() && left.stdout.is_empty() && of_pipeline(namespace, LABELLED, "") == Some(0)
}

/// Waits for the last window, and judges all of them.
async fn judge(kafka: &Kafka, traffic: Traffic, sums: &Watch) -> Value {
    let transfers = traffic.end().await;
    let ledger = Ledger::read(kafka, PARTITIONS);
    let windows = ledger.windows.len() as u64;
    wait_for("every window", LIMIT, || (sums.rows() >= windows).then_some(()));
    let verdict = judge_sums(kafka, &ledger);
    let report = json!({"transfers": transfers, "windows": windows, "output": verdict.json()});
    assert!(windows > 0 && verdict.is_clean(), "{report:#}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_ends_before_and_after_each_of_its_writes_gets_there_and_each_row_is_counted_once() {
    if is_elsewhere() {
        // Pods of another cluster need not be reached from here, nor answer who is no pod.
        return leave_out("no operator ends before and after its writes");
    }
    let began = Instant::now();
    let ([namespace, home], kafka, s3) = std::thread::scope(|meanwhile| {
        let namespaces = meanwhile.spawn(|| {
            // First: a pipeline that an earlier test has left lets its namespace go where there is an operator.
            install(&image(None), &[]);
            ["e2e-kills", "e2e-kills-operator"].map(Namespace::fresh)
        });
        let (kafka, s3) = (Kafka::start_at(&host()), S3::start(9_106));
        (namespaces.join().expect("namespaces"), kafka, s3)
    });
    kafka.make_bank(PARTITIONS).await;
    namespace.apply(S3::secret());
    let (broker, state) = (kafka.address(), State::Bucket(s3.settings()));
    let pipelines = Pipelines { broker, state, commit_every_ms: 1_000, key_groups: 4, workers: 1 };
    let sums = Watch::of(&kafka, SUMS);
    // Dropped after the operator of the test, whose pipeline is not the chart's to look after.
    let away = without_operator(&namespace);
    let traffic = Traffic::start(&kafka, PARTITIONS, ROWS_PER_SECOND);
    println!("prepared after {:.1?}", began.elapsed());

    let mut operator = Mortal::of(&namespace, &home);
    let apply = || namespace.apply(&pipelines.only_sums());
    operator.phase("a pipeline that runs", apply, || runs(&namespace, 1));
    let first = plan(&namespace).expect("a plan");
    let edit = || edit(&namespace);
    operator.phase("another plan, and nothing of the first", edit, || {
        let is_another = plan(&namespace).is_some_and(|plan| plan != first);
        is_another && runs(&namespace, 1) && of_pipeline(&namespace, "configmaps", "") == Some(1)
    });
    operator.phase("two workers", || ask_for(&namespace, SUMS, 2), || runs(&namespace, 2));
    operator.phase("one worker", || ask_for(&namespace, SUMS, 1), || runs(&namespace, 1));
    let pause = |paused: bool| patch(&namespace, &json!({"paused": paused}));
    operator.phase("a pause", || pause(true), || is_paused(&namespace));
    operator.phase("a pipeline that goes on", || pause(false), || runs(&namespace, 1));
    let output = judge(&kafka, traffic, &sums).await;

    let state = || s3.names("state/").iter().filter(|name| name.contains("/e2e-kills/")).count();
    assert!(state() > 0, "windows keep their state in the bucket");
    let ask = || patch(&namespace, &json!({"deletionPolicy": "Delete"}));
    operator.phase("a finalizer", ask, || {
        let pipeline = namespace.get(&["streampipeline", SUMS]).unwrap_or_default();
        pipeline["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
    });
    let delete = || drop(namespace.succeed(&["delete", "streampipeline", SUMS, "--wait=false"]));
    let deletion = operator.phase("nothing of the pipeline", delete, || is_gone(&namespace));
    assert_eq!(state(), 0, "its state went with it");
    let lets_go = both(&deletion).into_iter().any(|write| kind(write) == "PATCH streampipelines");
    assert!(lets_go, "the operator did not end before and after it took its finalizer away: {deletion:#?}");

    let met = operator.met();
    drop(operator);
    let both = both(&met);
    let report = json!({"ends": ends(&met), "both": both.len(), "writes": met, "output": output});
    println!("{report:#}");
    let is_met = |wanted: &str| both.iter().any(|write| kind(write) == wanted);
    let missed: Vec<_> = WRITES.iter().filter(|write| !is_met(write)).collect();
    assert!(missed.is_empty(), "the operator did not end before and after {missed:?}");
    for of in [&namespace, &home] {
        let write = format!("POST /apis/coordination.k8s.io/v1/namespaces/{}/leases", of.name());
        assert!(both.contains(&write.as_str()), "the operator did not end before and after {write}");
    }
    assert!(both.len() >= LEAST, "the operator ended before and after {} writes, at least {LEAST} wanted", both.len());
    drop(away);
    wait_for("the chart's operator", LIMIT, || operators(&namespace).iter().any(is_ready).then_some(()));
    for namespace in [namespace, home] {
        namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
    }
    println!("all of it took {:.1?}", began.elapsed());
}
