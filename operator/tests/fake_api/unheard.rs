//! An operator that has just started, and its workers that it has not heard.

use std::time::Duration;

use serde_json::Value;
use thalweg_operator_plan::observed::HEARING_LIMIT;
use tokio::time::Instant;

use crate::fake::FakeApi;
use crate::harness::{Cluster, SQL, condition, key, resources};

/// All that is told of the pipeline, its source and its sink.
fn told(cluster: &Cluster) -> [Value; 3] {
    let status = |kind: &str, name: &str| {
        cluster.api.store().objects[&key(&format!("thalweg.dev/v1alpha1/{kind}"), name)]["status"].clone()
    };
    [status("streampipelines", "fares"), status("streamsources", "trips"), status("streamsinks", "out")]
}

async fn running() -> Cluster {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    cluster.looks(2).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_before_has_told_stands_until_another_one_has_heard_the_workers() {
    let mut cluster = running().await;
    let (writes, before) = (cluster.api.asked(), told(&cluster));
    cluster.stop_operator().await;
    cluster.api.mute(true);
    cluster.restart_operator();
    cluster.looks(2).await;
    assert_eq!((cluster.api.asked(), told(&cluster)), (writes, before.clone()), "{:#?}", cluster.api.writes());
    cluster.api.mute(false);
    cluster.heard().await;
    cluster.looks(2).await;
    assert_eq!((cluster.api.asked(), told(&cluster)), (writes, before), "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_beside_another_one_does_not_contradict_it() {
    let mut cluster = running().await;
    let (writes, before) = (cluster.api.asked(), told(&cluster));
    cluster.api.mute(true);
    cluster.add_operator();
    cluster.looks(4).await;
    assert_eq!((cluster.api.asked(), told(&cluster)), (writes, before), "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_answers_is_told_a_few_seconds_later() {
    let mut cluster = running().await;
    cluster.stop_operator().await;
    cluster.api.mute(true);
    cluster.restart_operator();
    let since = Instant::now();
    let told = cluster.until("told", |pipeline| condition(pipeline, "Ready") == "False").await;
    assert!(since.elapsed() < HEARING_LIMIT + Duration::from_secs(5), "after {:?}", since.elapsed());
    assert_eq!((&told["status"]["phase"], &told["status"]["units"]["summary"]), (&"Pending".into(), &"0/1".into()));
    // It answers after all.
    cluster.api.mute(false);
    cluster.until_running(SQL).await;
}
