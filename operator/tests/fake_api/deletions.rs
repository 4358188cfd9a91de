//! A pipeline is deleted: its state stays, or is removed first, and nothing keeps the pipeline for ever.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fake::{FakeApi, Key};
use crate::harness::{Cluster, condition, key, message, pipeline_key, resources};
use crate::kubelet::{ASSIGNMENTS, DEPLOYMENTS, JOBS, PODS, is_lookout, of_kind};
use crate::mutations::CHECK;

/// More than a pipeline waits for an operator that can read it.
const LONG: SignedDuration = SignedDuration::from_mins(11);

fn edit(cluster: &Cluster, key: &Key, edit: impl FnOnce(&mut Value)) {
    cluster.api.store().edit(key, edit);
    cluster.api.changed();
}

fn finalizers(pipeline: &Value) -> Vec<&str> {
    pipeline["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_marked(pipeline: &Value) -> bool {
    finalizers(pipeline) == ["thalweg.dev/state"]
}

fn job(cluster: &Cluster) -> Arc<Value> {
    cluster.api.store().objects.get(&key(JOBS, "fares-remove-state")).cloned().unwrap_or_default()
}

/// A pipeline that runs and whose state is to be removed with it.
async fn running(api: FakeApi) -> Cluster {
    let cluster = Cluster::start_with(api, CHECK);
    resources(&cluster.api);
    edit(&cluster, &pipeline_key(), |pipeline| {
        pipeline["spec"]["state"] = json!({"url": "s3://bucket/prefix"});
        pipeline["spec"]["deletionPolicy"] = "Delete".into();
    });
    cluster.until("marked", |pipeline| is_marked(pipeline) && condition(pipeline, "Ready") == "True").await;
    cluster
}

fn delete(cluster: &Cluster) {
    deleted_for(cluster, SignedDuration::ZERO);
}

/// It was deleted so long ago.
fn deleted_for(cluster: &Cluster, long: SignedDuration) {
    let since = (Timestamp::now() - long).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    edit(cluster, &pipeline_key(), |pipeline| pipeline["metadata"]["deletionTimestamp"] = since.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pipeline_whose_state_is_to_be_removed_has_a_finalizer() {
    let cluster = running(FakeApi::default()).await;
    edit(&cluster, &pipeline_key(), |pipeline| pipeline["spec"]["deletionPolicy"] = "Retain".into());
    cluster.until("not marked", |pipeline| finalizers(pipeline).is_empty()).await;
    cluster.looks(1).await;
    let before = cluster.api.asked();
    cluster.looks(2).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_somebody_else_has_written_is_taken_away_and_theirs_stay() {
    let cluster = running(FakeApi::default()).await;
    edit(&cluster, &pipeline_key(), |pipeline| pipeline["spec"]["deletionPolicy"] = "Retain".into());
    cluster.until("not marked", |pipeline| finalizers(pipeline).is_empty()).await;
    // As a backup is restored.
    let restored = json!(["example.com/theirs", "thalweg.dev/state"]);
    edit(&cluster, &pipeline_key(), |pipeline| pipeline["metadata"]["finalizers"] = restored);
    cluster.until("without ours", |pipeline| finalizers(pipeline) == ["example.com/theirs"]).await;
    cluster.looks(1).await;
    let before = cluster.api.asked();
    cluster.looks(2).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_end_then_a_job_removes_the_state_then_the_pipeline_goes() {
    let cluster = running(FakeApi::default()).await;
    let assignment = || Value::clone(&cluster.api.store().objects[&key(ASSIGNMENTS, "fares")]);
    let mut before = assignment();
    assert_ne!(before["spec"]["workers"], json!([]));
    delete(&cluster);
    cluster.until("a Job", |_| !job(&cluster).is_null()).await;
    assert!(of_kind(&cluster.api, PODS).is_empty(), "nobody writes any more");
    let assignment = assignment();
    before["spec"]["workers"] = json!([]);
    assert_eq!(assignment["spec"], before["spec"], "who is not named closes at once, and epochs stay");
    let pod = &job(&cluster)["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(pod["command"], json!(["thalweg", "remove-state"]));
    let environment = pod["env"].as_array().expect("an environment");
    assert!(environment.contains(&json!({"name": "THALWEG_STATE_URL", "value": "s3://bucket/prefix"})), "{pod:#}");
    assert!(environment.contains(&json!({"name": "THALWEG_INSTALLATION", "value": "5e1f"})), "{pod:#}");
    assert!(is_marked(&cluster.pipeline()), "it is not done yet");
    edit(&cluster, &key(JOBS, "fares-remove-state"), |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    cluster.until("let go", |pipeline| finalizers(pipeline).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookout_keeps_no_pipeline_that_sleeps() {
    let cluster = running(FakeApi::default()).await;
    cluster.api.set_load(0.0, 500.0, 0);
    edit(&cluster, &pipeline_key(), |pipeline| {
        pipeline["spec"]["scaling"] = json!({"minWorkers": 0, "maxWorkers": 2, "zeroAfter": "10s"});
    });
    let pods = || of_kind(&cluster.api, PODS);
    cluster.until("asleep", |_| pods().len() == 1 && is_lookout(&pods()[0])).await;
    delete(&cluster);
    cluster.until("a Job", |_| !job(&cluster).is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_or_may_not_be_made_keeps_no_pipeline_for_ever() {
    let cluster = running(FakeApi::default()).await;
    delete(&cluster);
    cluster.until("a Job", |_| !job(&cluster).is_null()).await;
    edit(&cluster, &key(JOBS, "fares-remove-state"), |job| {
        job["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
    });
    cluster.until("let go", |pipeline| finalizers(pipeline).is_empty()).await;
    let cluster = running(FakeApi::default()).await;
    cluster.api.deny(JOBS, (403, "unable to create new content in namespace shop because it is being terminated"));
    delete(&cluster);
    cluster.until("let go", |pipeline| finalizers(pipeline).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_their_mind_keeps_the_state() {
    let cluster = running(FakeApi::default()).await;
    delete(&cluster);
    cluster.until("a Job", |_| !job(&cluster).is_null()).await;
    edit(&cluster, &pipeline_key(), |pipeline| pipeline["spec"]["deletionPolicy"] = "Retain".into());
    cluster.until("let go", |pipeline| finalizers(pipeline).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_another_version_goes_and_what_is_left_of_it_is_told() {
    let url = || json!("s3://bucket/prefix");
    for (policy, url, told) in [
        ("Delete", url(), Some("what is left lies under s3://bucket/prefix/shop/fares: remove it yourself")),
        ("Archive", json!({"of": "another version"}), Some("left lies under shop/fares of the folder or bucket")),
        ("Retain", url(), None),
    ] {
        let mut cluster = running(FakeApi::default()).await;
        // It becomes so between two operators, and the second one has never read it.
        cluster.stop_operator().await;
        edit(&cluster, &pipeline_key(), |pipeline| {
            pipeline["spec"]["paused"] = "of another version".into();
            pipeline["spec"]["deletionPolicy"] = policy.into();
            pipeline["spec"]["state"]["url"] = url;
        });
        delete(&cluster);
        cluster.restart_operator();
        if told.is_some() {
            cluster.looks(2).await;
            assert!(is_marked(&cluster.pipeline()), "one that can read it may come");
            deleted_for(&cluster, LONG);
        }
        cluster.until("gone", Value::is_null).await;
        let left = cluster.api.notes().into_iter().find(|note| note.contains("what is left"));
        match told {
            Some(told) => assert!(left.as_ref().is_some_and(|left| left.contains(told)), "{policy}: {left:?}"),
            None => assert_eq!(left, None, "{policy}: that is as it is wanted"),
        }
        assert_eq!(cluster.api.told().iter().any(|told| told == "StateLeft"), told.is_some(), "{policy}");
        assert!(job(&cluster).is_null(), "{policy}: nobody knows what it would have to remove");
        let source = || cluster.api.store().objects[&key("thalweg.dev/v1alpha1/streamsources", "trips")].clone();
        let is_told = |_: &Value| message(&source(), "Ready") == "no StreamPipeline names it";
        cluster.until("told by its source", is_told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pipeline_of_another_version_the_finalizers_of_others_stay_and_nothing_more_is_written() {
    let cluster = running(FakeApi::default()).await;
    edit(&cluster, &pipeline_key(), |pipeline| {
        pipeline["spec"]["paused"] = "of another version".into();
        pipeline["metadata"]["finalizers"] = json!(["example.com/theirs", "thalweg.dev/state"]);
    });
    deleted_for(&cluster, LONG);
    cluster.until("without ours", |pipeline| finalizers(pipeline) == ["example.com/theirs"]).await;
    assert!(cluster.api.told().iter().any(|told| told == "StateLeft"), "{:?}", cluster.api.told());
    cluster.looks(1).await;
    let before = cluster.api.asked();
    cluster.looks(2).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_gone_keeps_no_pipeline_for_ever() {
    let cluster = running(FakeApi::default()).await;
    // What a deletion in the foreground does first.
    delete(&cluster);
    let _ = cluster.api.store().delete(&key(DEPLOYMENTS, "fares"), &Value::Null);
    cluster.api.changed();
    cluster.until("let go", |pipeline| finalizers(pipeline).is_empty()).await;
}
