//! From nothing to running, and on from there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::fake::FakeApi;
use crate::harness::{
    Cluster, OTHER_SQL, SQL, TOLD, condition, key, message, pipeline, pipeline_key, plan_hash, put, resources,
};
use crate::kubelet::{self, ASSIGNMENTS, DEPLOYMENTS, LEASES, PODS, kill};

fn assignment(cluster: &Cluster) -> Arc<Value> {
    cluster.api.store().objects.get(&key(ASSIGNMENTS, "fares")).cloned().unwrap_or_default()
}

fn edit_spec(cluster: &Cluster, edit: impl FnOnce(&mut Value)) {
    cluster.api.store().edit(&pipeline_key(), |pipeline| edit(&mut pipeline["spec"]));
    cluster.api.changed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_applied_and_runs_and_then_nothing_is_written() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let unit = &assignment(&cluster)["spec"]["units"][0];
    assert_eq!((unit["owner"].as_str(), unit["epoch"].as_i64()), (Some("fares-0"), Some(1)));
    let before = cluster.api.asked();
    cluster.looks(5).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

/// Waits until an event of this reason is told.
async fn until_told(api: &FakeApi, reason: &str) {
    let waited = timeout(Duration::from_secs(60), async {
        while !api.told().iter().any(|told| told == reason) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{reason} is not among {:?}", api.told()));
}

/// Waits until so many pipelines are to be looked at within so much time.
async fn until_due(cluster: &Cluster, count: usize, within: Duration) {
    let due = || cluster.metrics.queue.length(Instant::now() + within);
    let waited = timeout(Duration::from_secs(60), async {
        while due() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{} are due within {within:?}, not {count}", due()));
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_that_are_due_later_or_wait_are_known() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    until_due(&cluster, 0, Duration::ZERO).await;
    until_due(&cluster, 1, Duration::from_secs(3_600)).await;
    cluster.api.store().delete(&pipeline_key(), &Value::Null).expect("it is there");
    cluster.api.changed();
    until_due(&cluster, 0, Duration::from_secs(3_600)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_where_all_is_well_writes_nothing() {
    let mut cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    cluster.looks(2).await;
    let before = cluster.api.asked();
    cluster.restart_operator();
    cluster.looks(5).await;
    cluster.until_running(SQL).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sql_is_rolled_out_by_a_worker_that_takes_over_before_the_old_one_stops() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    edit_spec(&cluster, |spec| spec["sql"] = OTHER_SQL.into());
    cluster.until_running(OTHER_SQL).await;
    cluster.looks(2).await;
    let assignment = assignment(&cluster);
    assert_eq!(assignment["spec"]["plan"], *plan_hash(OTHER_SQL));
    assert_eq!(assignment["spec"]["units"][0]["owner"], "fares-1");
    assert_eq!(assignment["spec"]["units"][0]["epoch"], 2);
    let plans: Vec<_> = kubelet::of_kind(&cluster.api, "v1/configmaps");
    assert_eq!(plans.len(), 1, "the old plan is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_changes_nothing_that_runs_and_is_told_at_its_field() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let (before, running) = (cluster.writes(), assignment(&cluster));
    edit_spec(&cluster, |spec| spec["sinks"] = json!([{"name": "out"}, {"name": "missing"}]));
    let bad = cluster.within(TOLD, "invalid", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    assert_eq!(condition(&bad, "Stalled"), "True");
    assert_eq!(condition(&bad, "Ready"), "True");
    let message = message(&bad, "ConfigValid");
    assert!(message.contains("StreamPipeline/fares spec.sinks[1].name: there is no StreamSink `missing`"), "{message}");
    assert_eq!(cluster.writes(), before);
    assert_eq!(assignment(&cluster)["spec"], running["spec"]);
    // What was missing comes: nobody has to touch the pipeline.
    put(&cluster.api, "StreamSink", "missing", json!({"blackhole": {}}));
    edit_spec(&cluster, |spec| *spec = pipeline(SQL));
    cluster.until_running(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_while_the_spec_is_bad_is_replaced_all_the_same() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    edit_spec(&cluster, |spec| spec["sources"] = json!([{"name": "nowhere"}]));
    cluster.until("invalid", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let pod = kubelet::of_kind(&cluster.api, PODS).remove(0);
    kill(&cluster.api, &pod);
    cluster
        .until("taken over", |pipeline| {
            assignment(&cluster)["spec"]["units"][0]["epoch"] == 2 && condition(pipeline, "Ready") == "True"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_units_are_taken_over_without_waiting_for_an_answer_and_its_slot_is_free() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    for kills in 1..4 {
        let pod = kubelet::of_kind(&cluster.api, PODS).remove(0);
        kill(&cluster.api, &pod);
        cluster
            .until("taken over", |pipeline| {
                let unit = &assignment(&cluster)["spec"]["units"][0];
                unit["epoch"] == kills + 1 && unit["previous"].is_null() && condition(pipeline, "Ready") == "True"
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_pipeline_has_no_workers_and_goes_on_where_it_was() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    edit_spec(&cluster, |spec| spec["paused"] = true.into());
    let paused = cluster
        .until("paused", |pipeline| {
            condition(pipeline, "Paused") == "True" && pipeline["status"]["workers"]["ready"] == 0
        })
        .await;
    assert_eq!(paused["status"]["phase"], "Paused");
    assert!(kubelet::of_kind(&cluster.api, PODS).is_empty());
    edit_spec(&cluster, |spec| spec["paused"] = false.into());
    cluster.until_running(SQL).await;
    assert_eq!(assignment(&cluster)["spec"]["units"][0]["epoch"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_was_written_since_it_was_read_is_read_again_and_not_overwritten() {
    let cluster = Cluster::start(FakeApi::default());
    // Another operator publishes one while this one makes what comes before that.
    cluster.api.overtake(key(LEASES, "fares-1"), ASSIGNMENTS, |store| {
        let lease = &store.objects[&key(LEASES, "fares-0")]["metadata"];
        let metadata = json!({"labels": lease["labels"], "ownerReferences": lease["ownerReferences"]});
        let spec = json!({
            "pipeline": "fares", "plan": plan_hash(SQL), "keyGroups": 8,
            "splits": [{"source": "trips", "split": "0"}],
            "units": [{"unit": {"stage": 0, "index": 0}, "epoch": 7}],
        });
        let object = json!({
            "apiVersion": "thalweg.dev/v1alpha1", "kind": "StreamAssignment", "metadata": metadata, "spec": spec,
        });
        store.create(key(ASSIGNMENTS, "fares"), object).expect("there is none yet");
    });
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let published = assignment(&cluster);
    assert_eq!(published["spec"]["units"][0]["epoch"], 8, "epochs only grow: {published:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_or_removes_of_ours_is_restored() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    cluster.looks(2).await;
    let before = cluster.end_state();
    cluster.api.store().edit(&key(DEPLOYMENTS, "fares"), |deployment| {
        deployment["spec"]["replicas"] = 3.into();
        deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "somebody".into();
    });
    cluster.api.store().edit(&key("v1/services", "fares"), |service| {
        service["spec"]["selector"]["canary"] = "true".into();
    });
    cluster.api.changed();
    let is_restored = |_: &Value| {
        let service = cluster.api.store().objects[&key("v1/services", "fares")].clone();
        service["spec"]["selector"]["canary"].is_null()
    };
    cluster.until("without the key that was added to the selector", is_restored).await;
    let labels = || assignment(&cluster)["metadata"]["labels"].clone();
    let before_labels = labels();
    cluster.api.store().edit(&key(ASSIGNMENTS, "fares"), |assignment| assignment["metadata"]["labels"] = json!({}));
    cluster.api.changed();
    cluster.until("with the labels of its assignment", |_| labels() == before_labels).await;
    for kind in ["v1/services", "networking.k8s.io/v1/networkpolicies", "rbac.authorization.k8s.io/v1/roles"] {
        cluster.api.store().delete(&key(kind, "fares"), &Value::Null).expect("it is there");
    }
    cluster.api.changed();
    cluster.until("restored", |_| cluster.end_state().keys().eq(before.keys())).await;
    cluster.until_running(SQL).await;
    cluster.looks(2).await;
    for (name, object) in
        cluster.end_state().iter().filter(|(name, _)| !name.contains("stream") && !name.contains("leases"))
    {
        assert_eq!(Some(object), before.get(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_told_and_what_runs_is_looked_after() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    // The binary that would plan it is not there.
    edit_spec(&cluster, |spec| spec["sql"] = "INSERT INTO out SELECT fare + 2 AS fare FROM trips".into());
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    assert!(message(&told, "Stalled").contains("checking SQL with /nonexistent/thalweg: "), "{told:#}");
    assert_eq!(condition(&told, "Ready"), "True");
    kill(&cluster.api, &kubelet::of_kind(&cluster.api, PODS)[0]);
    let is_taken_over = |pipeline: &Value| {
        pipeline["status"]["units"]["summary"] == "1/1" && assignment(&cluster)["spec"]["units"][0]["epoch"] == 2
    };
    cluster.until("taken over", is_taken_over).await;
    edit_spec(&cluster, |spec| spec["sql"] = OTHER_SQL.into());
    cluster.until_running(OTHER_SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_with_our_name_is_left_alone_and_told() {
    let cluster = Cluster::start(FakeApi::default());
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"replicas": 2}});
    cluster.api.store().create(key(DEPLOYMENTS, "fares"), theirs).expect("a new Deployment");
    resources(&cluster.api);
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "Stalled") == "True").await;
    assert!(message(&told, "Stalled").contains("Deployment fares exists and does not belong"), "{told:#}");
    let left = cluster.api.store().objects[&key(DEPLOYMENTS, "fares")]["spec"].clone();
    assert_eq!(left["replicas"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_deleted_and_made_again_starts_anew() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    cluster.api.store().delete(&pipeline_key(), &Value::Null).expect("it is there");
    // Its pods belong to a Deployment that is gone with it.
    kubelet::of_kind(&cluster.api, PODS).iter().for_each(|pod| kill(&cluster.api, pod));
    put(&cluster.api, "StreamPipeline", "fares", pipeline(SQL));
    cluster.until_running(SQL).await;
    assert_eq!(assignment(&cluster)["spec"]["units"][0]["epoch"], 1);
}

/// Who owns each unit, and how often it changed hands.
fn owners(cluster: &Cluster) -> Vec<(String, i64)> {
    let units = assignment(cluster)["spec"]["units"].as_array().cloned().unwrap_or_default();
    let owner = |unit: &Value| (unit["owner"].as_str().unwrap_or_default().to_owned(), unit["epoch"].as_i64());
    units.iter().map(owner).map(|(owner, epoch)| (owner, epoch.unwrap_or_default())).collect()
}

fn scale(cluster: &Cluster, workers: u32) {
    edit_spec(cluster, |spec| spec["scaling"] = json!({"mode": "Manual", "workers": workers, "maxWorkers": 4}));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_one_worker_to_four_and_to_two_units_move_no_oftener_than_they_must() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(8);
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    assert_eq!(owners(&cluster), vec![("fares-0".to_owned(), 1); 8]);
    scale(&cluster, 4);
    cluster.until_workers(SQL, 4).await;
    let moved = owners(&cluster).iter().filter(|(_, epoch)| *epoch == 2).count();
    assert_eq!((owners(&cluster).len(), moved), (8, 6), "{:?}", owners(&cluster));
    scale(&cluster, 2);
    cluster.until_workers(SQL, 2).await;
    assert!(owners(&cluster).iter().all(|(_, epoch)| *epoch <= 3), "{:?}", owners(&cluster));
    assert_eq!(owners(&cluster).iter().filter(|(_, epoch)| *epoch == 3).count(), 4, "{:?}", owners(&cluster));
    let before = cluster.api.asked();
    cluster.looks(5).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_somebody_takes_the_labels_from_takes_no_units_from_other_workers() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(6);
    resources(&cluster.api);
    scale(&cluster, 3);
    cluster.until_workers(SQL, 3).await;
    let (before, version) = (owners(&cluster), assignment(&cluster)["metadata"]["resourceVersion"].clone());
    let kept = |now: &[(String, i64)]| {
        now.iter().zip(&before).filter(|(now, before)| now == before && now.0 == "fares-2").count()
    };
    cluster.api.store().edit(&key(LEASES, "fares-1"), |lease| lease["metadata"]["labels"] = json!({}));
    cluster.api.changed();
    let is_noticed = |_: &Value| assignment(&cluster)["metadata"]["resourceVersion"] != version;
    cluster.until("noticed", is_noticed).await;
    cluster.until_workers(SQL, 3).await;
    assert!(kept(&before) == 2 && kept(&owners(&cluster)) > 0, "{before:?} {:?}", owners(&cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_image_replaces_workers_one_by_one_and_each_hands_over_before_it_stops() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.find_splits(6);
    resources(&cluster.api);
    scale(&cluster, 3);
    cluster.until_workers(SQL, 3).await;
    edit_spec(&cluster, |spec| spec["worker"] = json!({"image": "thalweg:next"}));
    cluster
        .until("replaced", |_| {
            let pods = kubelet::of_kind(&cluster.api, PODS);
            pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "thalweg:next")
        })
        .await;
    cluster.until_workers(SQL, 3).await;
    assert!(owners(&cluster).iter().all(|(_, epoch)| *epoch <= 3), "{:?}", owners(&cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_that_appear_later_become_units_that_somebody_owns() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    cluster.api.find_splits(5);
    cluster.until("found", |pipeline| pipeline["status"]["units"]["summary"] == "5/5").await;
    assert!(owners(&cluster).iter().all(|(owner, _)| owner == "fares-0"), "{:?}", owners(&cluster));
    assert_eq!(owners(&cluster)[0].1, 1, "the first one stayed where it was");
}

fn resource(cluster: &Cluster, kind: &str, name: &str) -> Arc<Value> {
    let key = key(&format!("thalweg.dev/v1alpha1/{kind}"), name);
    cluster.api.store().objects.get(&key).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_and_sinks_say_who_uses_them_and_what_is_amiss() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    for (kind, name) in [("streamsources", "trips"), ("streamsinks", "out")] {
        cluster.until("told", |_| condition(&resource(&cluster, kind, name), "Ready") == "True").await;
        assert_eq!(message(&resource(&cluster, kind, name), "Ready"), "in use by StreamPipeline fares");
    }
    let source = key("thalweg.dev/v1alpha1/streamsources", "trips");
    cluster.api.store().edit(&source, |source| source["spec"]["schema"][0]["type"] = "DUBBLE".into());
    cluster.api.changed();
    cluster.until("amiss", |_| condition(&resource(&cluster, "streamsources", "trips"), "Ready") == "False").await;
    let told = resource(&cluster, "streamsources", "trips");
    let said = message(&told, "Ready");
    assert!(said.starts_with("StreamPipeline/fares: StreamSource/trips spec.schema[0].type: "), "{said}");
    assert_eq!(told["status"]["observedGeneration"], 2);
    // What was said by a pipeline that is gone is not so any more.
    cluster.api.store().delete(&pipeline_key(), &Value::Null).expect("it is there");
    cluster.api.changed();
    cluster.until("unused", |_| condition(&resource(&cluster, "streamsources", "trips"), "Ready") == "Unknown").await;
    assert_eq!(message(&resource(&cluster, "streamsources", "trips"), "Ready"), "no StreamPipeline names it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_being_deleted_is_told_and_what_runs_goes_on() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let running = assignment(&cluster);
    let source = key("thalweg.dev/v1alpha1/streamsources", "trips");
    cluster.api.store().edit(&source, |o| o["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into());
    cluster.api.changed();
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let said = message(&told, "ConfigValid");
    assert!(said.contains("spec.sources[0].name: StreamSource `trips` in namespace shop is being deleted"), "{said}");
    assert_eq!((condition(&told, "Ready"), condition(&told, "Stalled")), ("True", "True"));
    assert_eq!(assignment(&cluster)["spec"], running["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_or_sink_of_another_version_is_told_with_its_field_and_what_runs_goes_on() {
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    cluster.until_running(SQL).await;
    let running = assignment(&cluster);
    for (kind, plural, name) in [("StreamSource", "streamsources", "trips"), ("StreamSink", "streamsinks", "out")] {
        let object = key(&format!("thalweg.dev/v1alpha1/{plural}"), name);
        cluster.api.store().edit(&object, |object| object["spec"]["onError"] = "Explode".into());
        cluster.api.changed();
        let told = cluster.until("told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
        let said = message(&told, "ConfigValid");
        assert!(said.contains(&format!("{kind}/{name} spec.onError: this version cannot read it: ")), "{said}");
        assert!(said.contains("found `Explode`") && said.contains("helm upgrade"), "{said}");
        assert!(!said.contains("there is no"), "{said}");
        assert_eq!((condition(&told, "Ready"), condition(&told, "Stalled")), ("True", "True"));
        let is_told = |_: &Value| message(&resource(&cluster, plural, name), "Ready").contains("cannot read it");
        cluster.until("told of itself", is_told).await;
        assert_eq!(assignment(&cluster)["spec"], running["spec"]);
        let mend = |object: &mut Value| drop(object["spec"].as_object_mut().expect("a spec").shift_remove("onError"));
        cluster.api.store().edit(&object, mend);
        cluster.api.changed();
        cluster.until_running(SQL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_or_an_assignment_of_another_version_is_told_by_an_event_and_left_as_it_is() {
    for (kind, field) in [("thalweg.dev/v1alpha1/streampipelines", "paused"), (ASSIGNMENTS, "keyGroups")] {
        let cluster = Cluster::start(FakeApi::default());
        resources(&cluster.api);
        cluster.until_running(SQL).await;
        cluster.api.store().edit(&key(kind, "fares"), |object| object["spec"][field] = "of another version".into());
        cluster.api.changed();
        let before = assignment(&cluster);
        until_told(&cluster.api, "Unreadable").await;
        let failed = cluster.metrics.reconciles.with_label_values(&["Unreadable"]).get();
        assert!(failed > 0, "{kind}");
        assert_eq!(assignment(&cluster), before, "{kind}: its epochs would begin anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_api_server_refuses_is_told_in_its_words() {
    let cluster = Cluster::start(FakeApi::default());
    cluster.api.deny(DEPLOYMENTS, (403, "exceeded quota: count/deployments.apps"));
    resources(&cluster.api);
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "Stalled") == "True").await;
    let said = message(&told, "Stalled");
    assert!(said.contains("the API server refuses Deployment fares: exceeded quota: count/deployments.apps"), "{said}");
    assert_eq!(told["status"]["conditions"][2]["reason"], "Refused");
    cluster.api.allow();
    cluster.looks(1).await;
    cluster.until_running(SQL).await;
}
