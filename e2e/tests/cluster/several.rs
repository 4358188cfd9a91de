//! Several workers of one pipeline: more of them, fewer of them, and some that are lost.

use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg_e2e::cluster::faults::{Host, Partition};
use thalweg_e2e::cluster::kubectl::{Namespace, name};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::wait_for;

use crate::hand::LIMIT;
use crate::operator::{condition, install, worker_elsewhere};
use crate::pipelines::Counts;

/// The owners and epochs of all units, where each has been acquired.
fn owned(namespace: &Namespace, pipeline: &str, workers: usize) -> Option<Vec<(String, i64)>> {
    let status = namespace.get(&["streampipeline", pipeline])?["status"].clone();
    let all = status["units"]["owned"] == status["units"]["total"] && status["units"]["moving"] == 0;
    let assignment = namespace.get(&["streamassignment", pipeline])?["spec"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let units: Vec<_> = assignment["units"]
        .as_array()?
        .iter()
        .map(|unit| (text(&unit["owner"]), unit["epoch"].as_i64().unwrap_or_default()))
        .collect();
    let owners: std::collections::BTreeSet<_> = units.iter().map(|(owner, _)| owner.clone()).collect();
    let entered = assignment["workers"].as_array().map_or(0, Vec::len);
    (all && owners.len() == workers && entered == workers).then_some(units)
}

fn scale(namespace: &Namespace, pipeline: &str, workers: usize) -> Vec<(String, i64)> {
    let asked = Instant::now();
    let patch = format!(r#"{{"spec": {{"scaling": {{"mode": "Manual", "workers": {workers}, "maxWorkers": 4}}}}}}"#);
    namespace.succeed(&["patch", "streampipeline", pipeline, "--type=merge", "-p", &patch]);
    let units = wait_for("units of all workers", LIMIT, || owned(namespace, pipeline, workers));
    println!("{workers} workers: all units owned after {:.1?}: {units:?}", asked.elapsed());
    println!("{}", namespace.succeed(&["get", "streampipelines"]));
    units
}

/// Waits until units were taken over since, and two workers own everything again.
fn taken_over(namespace: &Namespace, pipeline: &str, before: &[(String, i64)], since: Instant, what: &str) {
    let sum = |units: &[(String, i64)]| units.iter().map(|(_, epoch)| epoch).sum::<i64>();
    wait_for("units that were taken over", LIMIT, || {
        let status = namespace.get(&["streampipeline", pipeline])?["status"].clone();
        let all = status["units"]["owned"] == status["units"]["total"];
        let assignment = namespace.get(&["streamassignment", pipeline])?["spec"].clone();
        let epochs: i64 = assignment["units"].as_array()?.iter().filter_map(|unit| unit["epoch"].as_i64()).sum();
        (all && epochs > sum(before)).then_some(())
    });
    println!("{what}: all units owned again after {:.1?}", since.elapsed());
}

#[test]
fn from_one_worker_to_four_and_to_two_and_through_lost_pods_and_a_silent_node_no_row_changes() {
    let namespace = Namespace::fresh("e2e-several");
    let s3 = S3::start(9_103);
    let counts = Counts { name: "spread".to_owned(), rows: 240_000, rate: 1_500 };
    let expected = counts.expected();
    install();
    namespace.apply(S3::secret());
    let applied = Instant::now();
    namespace.apply(&counts.manifests(&s3));
    wait_for("condition Ready", LIMIT, || condition(&namespace, "spread", "Ready").filter(|status| status == "True"));
    println!("applied: Ready after {:.1?}", applied.elapsed());

    scale(&namespace, "spread", 4);
    let before = scale(&namespace, "spread", 2);

    let pod = wait_for("ready worker", LIMIT, || namespace.ready_worker("spread"));
    let deleted = Instant::now();
    namespace.succeed(&["delete", "pod", name(&pod), "--grace-period=0", "--force", "--wait=false"]);
    taken_over(&namespace, "spread", &before, deleted, "pod deleted");

    let before = wait_for("two workers", LIMIT, || owned(&namespace, "spread", 2));
    let pod = wait_for("worker on another node than the operator", LIMIT, || worker_elsewhere(&namespace, "spread"));
    let node = pod["spec"]["nodeName"].as_str().and_then(|node| node.strip_prefix('n')).and_then(|n| n.parse().ok());
    let silent = Instant::now();
    let partition = Partition::of(Host::Node(node.expect("n1 or n2")));
    taken_over(&namespace, "spread", &before, silent, "node silent");
    wait_for("30 s of silence", LIMIT, || (silent.elapsed() > Duration::from_secs(30)).then_some(()));
    drop(partition);

    wait_for("condition Complete", 3 * LIMIT, || {
        condition(&namespace, "spread", "Complete").filter(|status| status == "True")
    });
    println!("{}", namespace.succeed(&["get", "streampipelines"]));
    let found = counts.found(&s3);
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the rows differ from those of an undisturbed run");
    println!("{} rows, each as in an undisturbed run", found.len());
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}
