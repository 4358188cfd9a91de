//! The chart is upgraded while pipelines run.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fake::FakeApi;
use crate::harness::{Chart, Cluster, SQL, TOLD, condition, key, message, pipeline, pipeline_key, put, resources};
use crate::kubelet::{DEPLOYMENTS, of_kind};
use crate::mutations::CHECK;

const NEXT: &str = "thalweg:next";

fn image(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["image"]
}

fn is_settled(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let is_current = status["observedGeneration"] == deployment["metadata"]["generation"];
    is_current && status["updatedReplicas"] == status["replicas"] && status["readyReplicas"] == status["replicas"]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_replaces_the_pods_of_so_many_pipelines_at_once_and_of_all_in_the_end() {
    let mut cluster = Cluster::start_with(FakeApi::default(), CHECK);
    resources(&cluster.api);
    for name in ["fares-2", "fares-3", "fares-4"] {
        put(&cluster.api, "StreamPipeline", name, pipeline(SQL));
    }
    let deployments = || of_kind(&cluster.api, DEPLOYMENTS);
    cluster.until("running", |_| deployments().len() == 4 && deployments().iter().all(|d| is_settled(d))).await;
    cluster.until("told", |pipeline| condition(pipeline, "Ready") == "True").await;
    let api = cluster.api.clone();
    let next = Chart { image: NEXT, max_rollouts: 1, ..Chart::USUAL };
    cluster.upgrade(next, CHECK).await;
    let (most, scaled) = (Cell::new(0), Cell::new(false));
    let moving = || {
        let all = of_kind(&api, DEPLOYMENTS);
        let moving = all.iter().filter(|deployment| image(deployment) == NEXT && !is_settled(deployment)).count();
        most.set(most.get().max(moving));
        moving
    };
    cluster.until("begun", |_| moving() > 0).await;
    // In the middle of it another operator takes over, which knows no more than what is there.
    cluster.upgrade(next, CHECK).await;
    let is_done = |_: &Value| {
        moving();
        let all = of_kind(&api, DEPLOYMENTS);
        scaled.set(scaled.get() | all.iter().any(|deployment| image(deployment) != NEXT));
        all.iter().all(|deployment| image(deployment) == NEXT && is_settled(deployment))
    };
    cluster.until("upgraded", is_done).await;
    assert_eq!(most.get(), 1, "one at a time");
    assert!(scaled.get(), "the others waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_operator_goes_on_with_the_plans_of_the_one_before() {
    let mut cluster = Cluster::start_with(FakeApi::default(), CHECK);
    resources(&cluster.api);
    cluster.until("running", |pipeline| condition(pipeline, "Ready") == "True").await;
    let plans = |cluster: &Cluster| of_kind(&cluster.api, "v1/configmaps");
    let before = plans(&cluster);
    cluster.stop_operator().await;
    // As the version before had written it.
    let noted = |version: &str| format!(r#"\"version\":\"{version}\""#);
    let (now, old) = (noted(env!("CARGO_PKG_VERSION")), noted("0.0.1"));
    let written = before[0].to_string();
    assert!(written.contains(&now), "{written}");
    let written = serde_json::from_str(&written.replace(&now, &old)).expect("JSON");
    let name = before[0]["metadata"]["name"].as_str().expect("a name");
    cluster.api.store().objects.insert(key("v1/configmaps", name), Arc::new(written));
    cluster.upgrade(Chart { image: NEXT, ..Chart::USUAL }, CHECK).await;
    let deployments = || of_kind(&cluster.api, DEPLOYMENTS);
    let is_noted = || plans(&cluster).iter().all(|plan| plan.to_string().contains(&now));
    cluster.until("upgraded", |_| is_noted() && deployments().iter().all(|d| image(d) == NEXT && is_settled(d))).await;
    let told = cluster.until("told", |pipeline| condition(pipeline, "Ready") == "True").await;
    assert_eq!(condition(&told, "ConfigValid"), "True", "{}", message(&told, "ConfigValid"));
    let names = |plans: &[Arc<Value>]| plans.iter().map(|plan| plan["metadata"]["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&plans(&cluster)), names(&before), "the plan is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pipelines_that_write_one_sink_by_key_the_second_is_told_and_begins_once_the_first_is_gone() {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    resources(&cluster.api);
    let sink = key("thalweg.dev/v1alpha1/streamsinks", "out");
    let spec = json!({"kafka": {"brokers": ["kafka:9092"], "topic": "out", "key": ["fare"]}});
    cluster.api.store().edit(&sink, |sink| sink["spec"] = spec);
    cluster.api.changed();
    cluster.until("running", |pipeline| condition(pipeline, "Ready") == "True").await;
    put(&cluster.api, "StreamPipeline", "later", pipeline(SQL));
    let later = key("thalweg.dev/v1alpha1/streampipelines", "later");
    let second = || cluster.api.store().objects.get(&later).cloned().unwrap_or_default();
    cluster.within(TOLD, "told", |_| condition(&second(), "ConfigValid") == "False").await;
    let said = second();
    let said = message(&said, "ConfigValid");
    assert!(said.contains("StreamPipeline/fares writes StreamSink/out already"), "{said}");
    assert_eq!(condition(&cluster.pipeline(), "ConfigValid"), "True", "the first one is not disturbed");
    cluster.api.store().delete(&pipeline_key(), &Value::Null).expect("it is there");
    let gone = Instant::now();
    cluster.api.changed();
    cluster.until("taken up", |_| condition(&second(), "ConfigValid") == "True").await;
    // By itself it is looked at each half minute.
    assert!(gone.elapsed() < Duration::from_secs(15), "it was noticed after {:?}", gone.elapsed());
    cluster.until("running", |_| condition(&second(), "Ready") == "True").await;
}
