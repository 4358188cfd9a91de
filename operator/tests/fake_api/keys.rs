//! Keys: who is believed to be a worker, and whom workers believe to be the operator.

use std::time::Duration;

use serde_json::Value;
use thalweg_operator_plan::names::KEY_FINGERPRINT;

use crate::fake::FakeApi;
use crate::harness::{Chart, Cluster, KEYS, condition, resources};
use crate::kubelet::{LEASES, PODS, key, of_kind, told};
use crate::mutations::CHECK;

async fn started() -> Cluster {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    resources(&cluster.api);
    cluster.until("running", |pipeline| condition(pipeline, "Ready") == "True").await;
    cluster.heard().await;
    cluster
}

fn reports(cluster: &Cluster, result: &str) -> u64 {
    cluster.metrics.reports.with_label_values(&[result]).get()
}

/// Waits until some askings have failed since now; whether none went well meanwhile.
async fn hears_nobody(cluster: &Cluster) -> bool {
    let (received, failed) = (reports(cluster, "Received"), reports(cluster, "Failed"));
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while reports(cluster, "Failed") < failed + 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("workers are asked");
    reports(cluster, "Received") == received
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_not_the_key_of_its_lease_is_not_believed() {
    let cluster = started().await;
    let lease = of_kind(&cluster.api, LEASES).into_iter().find(|lease| lease["spec"]["holderIdentity"].is_string());
    let lease = key(LEASES, &lease.expect("a worker holds it"));
    let say = |fingerprint: &str| {
        cluster
            .api
            .store()
            .edit(&lease, |lease| lease["metadata"]["annotations"][KEY_FINGERPRINT] = fingerprint.into());
        cluster.api.changed();
    };
    let own = cluster.api.store().objects[&lease]["metadata"]["annotations"][KEY_FINGERPRINT].clone();
    for other in [&KEYS[1].fingerprint().to_string(), ""] {
        say(other);
        // What was asked already may still be answered.
        hears_nobody(&cluster).await;
        assert!(hears_nobody(&cluster).await, "`{other}`");
    }
    say(own.as_str().expect("a fingerprint"));
    cluster.heard().await;
}

/// Whether pods are told of these keys and of no other, and run.
fn all_are_told(cluster: &Cluster, keys: &[usize]) -> bool {
    let expected: Vec<_> = keys.iter().map(|key| KEYS[*key].fingerprint().to_string()).collect();
    let is_told = |pod: &Value| told(pod).split(',').eq(expected.iter().map(String::as_str));
    let pods = of_kind(&cluster.api, PODS);
    pods.len() == 1 && pods.iter().all(|pod| is_told(pod) && pod["status"]["conditions"][0]["status"] == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_key_is_replaced_while_workers_know_both() {
    // Nothing is rolled out.
    let held = Chart { max_rollouts: 0, ..Chart::USUAL };
    let mut cluster = started().await;
    assert!(all_are_told(&cluster, &[0]));
    cluster.upgrade(Chart { key: 1, ..held }, CHECK).await;
    assert!(hears_nobody(&cluster).await, "workers know the other key alone");

    cluster.upgrade(Chart { next_key: Some(1), ..Chart::USUAL }, CHECK).await;
    cluster.until("told of both", |_| all_are_told(&cluster, &[0, 1])).await;
    cluster.heard().await;
    cluster.upgrade(Chart { key: 1, ..held }, CHECK).await;
    cluster.heard().await;
    assert!(all_are_told(&cluster, &[0, 1]), "it is heard by those that were there before");

    cluster.upgrade(Chart { key: 1, ..Chart::USUAL }, CHECK).await;
    cluster.until("told of the new one", |_| all_are_told(&cluster, &[1])).await;
    cluster.heard().await;
}
