//! The example of taxi trips, as the guide has users apply it, look at it, pause it and have it go on.

use std::path::Path;
use std::time::{Duration, Instant};

use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::Namespace;
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::wait_for;

use crate::LIMIT;
use crate::ownership::status;
use crate::pipelines::say;
use crate::release::{image, install};

/// The pipeline that writes trips into a topic, and the one that counts them.
const WRITES: &str = "trips-into-kafka";
const COUNTS: &str = "pickups-per-zone";
/// The topic between them.
const TRIPS: &str = "trips";
/// Rows of one partition that show that it goes on: what ends a transaction is a record, too.
const MORE: i64 = 100;
/// What `manifests/trial/services.yaml` has beside its services.
const SECRET: &str = "{apiVersion: v1, kind: Secret, metadata: {name: trial-s3}, stringData: {id: trial, key: trial}}";

/// The example, with what runs here in place of `manifests/trial/services.yaml`.
fn manifests(kafka: &Kafka, s3: &S3) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/taxi/taxi.yaml");
    let text = std::fs::read_to_string(path).expect("the example");
    let ours = [
        ("\"kafka:9092\"", format!("\"{}\"", kafka.address())),
        ("http://s3:5000", s3.endpoint()),
        ("s3://trial/", "s3://bucket/".to_owned()),
    ];
    ours.iter().fold(text, |text, (theirs, ours)| {
        assert!(text.contains(*theirs), "the example has no {theirs} any more");
        text.replace(*theirs, ours)
    })
}

/// What `kubectl get streampipelines` shows of a pipeline, as far as no column is empty.
fn row(shown: &str, pipeline: &str) -> Option<Vec<String>> {
    let mut rows = shown.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    rows.find(|row| row.first().is_some_and(|name| name == pipeline))
}

/// Waits for a condition of a pipeline as the guide does.
fn kubectl_wait(namespace: &Namespace, pipeline: &str, condition: &str) {
    let (pipeline, condition) = (format!("streampipeline/{pipeline}"), format!("--for=condition={condition}"));
    namespace.succeed(&["wait", &pipeline, &condition, "--timeout=90s"]);
}

/// Waits until the first partition of the topic between them has so many records.
async fn wait_for_trips(kafka: &Kafka, records: i64) {
    let since = Instant::now();
    while kafka.end_of(TRIPS, 0).await < records {
        assert!(since.elapsed() < LIMIT, "no {records} records of {TRIPS}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_guide_is_applied_looked_at_paused_and_goes_on() {
    let namespace = Namespace::fresh("e2e-taxi");
    let kafka = Kafka::start_at(&host());
    let s3 = S3::start(9_105);
    install(&image(None), &[]);
    namespace.apply(SECRET);
    let applied = Instant::now();
    namespace.apply(&manifests(&kafka, &s3));
    for pipeline in [WRITES, COUNTS] {
        kubectl_wait(&namespace, pipeline, "Ready");
    }
    println!("applied: Ready after {:.1?}", applied.elapsed());

    let shown = wait_for("a row of each pipeline with all of its units", LIMIT, || {
        let shown = namespace.succeed(&["get", "streampipelines"]);
        let runs = |pipeline: &str, units: &str| {
            let row = row(&shown, pipeline).unwrap_or_default();
            let [_, ready, phase, _, owned, ..] = row.as_slice() else { return false };
            ready == "True" && phase == "Running" && owned == units
        };
        (runs(WRITES, "2/2") && runs(COUNTS, "16/16")).then_some(shown)
    });
    println!("{shown}");
    let columns: Vec<_> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "READY", "PHASE", "WORKERS", "UNITS", "LAG", "LAG-TIME", "AGE"]);
    let said = say(&["status", COUNTS, "-n", namespace.name()]);
    println!("{said}");
    assert!(said.contains("StreamPipeline e2e-taxi/pickups-per-zone: Running"), "{said}");
    for shows in ["trips/", "READER", "OWNER"] {
        assert!(said.contains(shows), "no {shows}: {said}");
    }

    wait_for_trips(&kafka, MORE).await;
    let pausing = Instant::now();
    let said = say(&["pause", WRITES, "-n", namespace.name()]);
    assert!(said.contains("is to pause"), "{said}");
    kubectl_wait(&namespace, WRITES, "Paused");
    wait_for("no pod of what is paused", LIMIT, || {
        let label = format!("thalweg.dev/pipeline={WRITES},app.kubernetes.io/name=thalweg-worker");
        namespace.get(&["pods", "-l", &label])?["items"].as_array()?.is_empty().then_some(())
    });
    println!("paused, without a pod, after {:.1?}", pausing.elapsed());
    let paused = kafka.end_of(TRIPS, 0).await;
    wait_for("phase Paused", LIMIT, || (status(&namespace, WRITES)["phase"] == "Paused").then_some(()));
    assert!(say(&["pause", WRITES, "-n", namespace.name()]).contains("is paused already"));
    assert_eq!(kafka.end_of(TRIPS, 0).await, paused, "nothing is written while it is paused");

    let resuming = Instant::now();
    let said = say(&["resume", WRITES, "-n", namespace.name()]);
    assert!(said.contains("is to go on where it stopped"), "{said}");
    kubectl_wait(&namespace, WRITES, "Ready");
    wait_for_trips(&kafka, paused + MORE).await;
    println!("resumed: {MORE} rows more of one partition after {:.1?}", resuming.elapsed());
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
