//! What users do: `helm install`, `kubectl apply`, and then the world does its worst.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg_e2e::cluster::faults::{Host, Partition, kill_container};
use thalweg_e2e::cluster::kubectl::{Namespace, is_ready, name};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::wait_for;

use crate::hand::{ByHand, LIMIT, metric};
use crate::pipelines::{Counts, say};

/// The release and its namespace.
const RELEASE: &str = "thalweg";

fn helm(words: &[&str]) {
    let output = Command::new("helm").args(words).output().expect("helm is on the PATH");
    assert!(output.status.success(), "helm {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// Installs the chart with the image of the test bed, and waits until the operator is ready.
pub fn install() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/thalweg");
    let image = std::env::var("E2E_IMAGE").unwrap_or_else(|_| "docker.io/thalweg/thalweg:e2e".to_owned());
    let (repository, tag) = image.rsplit_once(':').expect("NAME:TAG");
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let chart = chart.to_str().expect("UTF-8");
    let place = ["upgrade", "--install", RELEASE, chart, "-n", RELEASE, "--create-namespace", "--wait", "--timeout=2m"];
    // Another test may have applied a definition by hand.
    let values = ["--take-ownership", "--set", &repository, "--set", &tag, "--set", "image.pullPolicy=IfNotPresent"];
    helm(&[&place[..], &values[..]].concat());
}

/// A ready worker on another node than the operator's: what is lost with that node is not the operator too.
pub fn worker_elsewhere(namespace: &Namespace, pipeline: &str) -> Option<Value> {
    let pods: Value = serde_json::from_str(&namespace.succeed(&["get", "pods", "-A", "-o", "json"])).ok()?;
    let is_operator = |pod: &&Value| pod["metadata"]["namespace"] == RELEASE;
    let operator = pods["items"].as_array()?.iter().find(is_operator)?["spec"]["nodeName"].clone();
    namespace.workers(pipeline).into_iter().find(|pod| is_ready(pod) && pod["spec"]["nodeName"] != operator)
}

/// The status of a condition of a pipeline.
pub fn condition(namespace: &Namespace, pipeline: &str, wanted: &str) -> Option<String> {
    let found = namespace.get(&["streampipeline", pipeline])?;
    let conditions = found["status"]["conditions"].as_array()?.clone();
    let mine = conditions.into_iter().find(|condition| condition["type"] == wanted)?;
    mine["status"].as_str().map(str::to_owned)
}

fn pod_uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// How many rows the owner has read, wherever it is now.
fn rows_read(cluster: &ByHand<'_>) -> Option<f64> {
    let owner = cluster
        .holders()
        .into_iter()
        .find(|holder| metric(holder, "thalweg_stage_commits_total").is_some_and(|commits| commits > 0.0))?;
    metric(&owner, "thalweg_source_rows_total")
}

#[test]
fn an_applied_pipeline_runs_and_lost_pods_processes_and_nodes_change_no_row() {
    let namespace = Namespace::fresh("e2e-operator");
    let s3 = S3::start(9_102);
    let counts = Counts { name: "counts".to_owned(), rows: 150_000, rate: 1_500 };
    let expected = counts.expected();
    let installing = Instant::now();
    install();
    println!("chart installed, operator ready after {:.1?}", installing.elapsed());

    namespace.apply(S3::secret());
    let applied = Instant::now();
    namespace.apply(&counts.manifests(&s3));
    wait_for("condition Ready", LIMIT, || condition(&namespace, "counts", "Ready").filter(|status| status == "True"));
    println!("applied: Ready after {:.1?}", applied.elapsed());
    wait_for("first output", LIMIT, || (!counts.found(&s3).is_empty()).then_some(()));
    println!("applied: first committed output after {:.1?}", applied.elapsed());
    println!("{}", namespace.succeed(&["get", "streampipelines"]));

    let status = say(&["status", "counts", "-n", namespace.name()]);
    println!("{status}");
    assert!(status.starts_with("StreamPipeline e2e-operator/counts: Running"), "{status}");
    assert!(status.contains("counts-0"), "the worker and what it reads are named: {status}");

    let cluster = ByHand { namespace: &namespace, pipeline: "counts" };
    wait_for("commits", LIMIT, || rows_read(&cluster));

    // A process that is killed: its container starts again, in the same pod and slot.
    let pod = namespace.ready_worker("counts").expect("a worker is ready");
    let before = cluster.holders();
    let killed = Instant::now();
    kill_container(&pod_uid(&pod));
    cluster.new_holder(&before);
    println!("process killed: a slot held again after {:.1?}", killed.elapsed());
    wait_for("rows after a process was killed", LIMIT, || rows_read(&cluster).filter(|rows| *rows > 0.0));
    println!("process killed: units process again after {:.1?}", killed.elapsed());

    // A pod that is deleted without grace.
    let pod = wait_for("ready worker", LIMIT, || namespace.ready_worker("counts"));
    let before = cluster.holders();
    let deleted = Instant::now();
    namespace.succeed(&["delete", "pod", name(&pod), "--grace-period=0", "--force", "--wait=false"]);
    let next = cluster.new_holder(&before);
    wait_for("rows after a pod was deleted", LIMIT, || {
        metric(&next, "thalweg_source_rows_total").filter(|rows| *rows > 0.0)
    });
    println!("pod deleted: units process again after {:.1?}", deleted.elapsed());

    // A node that falls silent: its worker goes on, as a zombie, until the node is back.
    let pod = wait_for("ready worker", LIMIT, || namespace.ready_worker("counts"));
    let node = pod["spec"]["nodeName"].as_str().and_then(|node| node.strip_prefix('n')).and_then(|n| n.parse().ok());
    let before = cluster.holders();
    let silent = Instant::now();
    let partition = Partition::of(Host::Node(node.expect("n1 or n2")));
    let next = cluster.new_holder(&before);
    wait_for("rows after a node fell silent", LIMIT, || {
        metric(&next, "thalweg_source_rows_total").filter(|rows| *rows > 0.0)
    });
    println!("node silent: units process again after {:.1?}", silent.elapsed());
    wait_for("30 s of silence", LIMIT, || (silent.elapsed() > Duration::from_secs(30)).then_some(()));
    drop(partition);

    wait_for("condition Complete", 2 * LIMIT, || {
        condition(&namespace, "counts", "Complete").filter(|status| status == "True")
    });
    println!("{}", namespace.succeed(&["get", "streampipelines"]));
    let found = counts.found(&s3);
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the rows differ from those of an undisturbed run");
    println!("{} rows, each as in an undisturbed run", found.len());

    namespace.succeed(&["delete", "streampipeline", "counts", "--wait", "--timeout=60s"]);
    wait_for("no pod of a deleted pipeline", LIMIT, || namespace.workers("counts").is_empty().then_some(()));
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
