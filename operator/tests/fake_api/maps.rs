//! SQL in a ConfigMap, which is somebody else's.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::fake::FakeApi;
use crate::harness::{Cluster, TOLD, condition, key, message, put};
use crate::kubelet::{ASSIGNMENTS, PODS, kill, of_kind};
use crate::mutations::CHECK;
use crate::specs::{self, SETS, Set};

const MAPS: &str = "v1/configmaps";
/// Sooner than a pipeline is looked at by itself, which is each half minute.
const SOON: Duration = Duration::from_secs(15);

/// The resources whose SQL is in the ConfigMap `queries`.
fn set() -> &'static Set {
    &SETS[1]
}

fn put_resources(api: &FakeApi) {
    for (kind, name) in [("StreamSource", "trips"), ("StreamSink", "out"), ("StreamPipeline", "fares")] {
        put(api, kind, name, specs::of_kind(set(), kind));
    }
}

fn put_map(api: &FakeApi) {
    let data: Value = serde_json::from_str(set().config_map.expect("it has one")).expect("JSON");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": data});
    api.store().create(key(MAPS, "queries"), map).expect("a new ConfigMap");
    api.changed();
}

/// Waits until a look has found nothing to write: the next one comes by itself.
async fn until_calm(cluster: &Cluster) {
    let calm = timeout(Duration::from_secs(60), async {
        while cluster.metrics.reconciles.with_label_values(&["Unchanged"]).get() == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    });
    calm.await.expect("a look that changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_with_sql_that_comes_or_goes_is_noticed_without_a_touch_of_the_pipeline() {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    put_resources(&cluster.api);
    let told = cluster.within(TOLD, "told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let said = message(&told, "ConfigValid");
    assert!(said.contains("spec.sqlFrom.configMapKeyRef.name: there is no ConfigMap `queries`"), "{said}");
    until_calm(&cluster).await;
    let made = Instant::now();
    put_map(&cluster.api);
    cluster.until("taken up", |pipeline| condition(pipeline, "ConfigValid") == "True").await;
    assert!(made.elapsed() < SOON, "it was noticed after {:?}", made.elapsed());
    cluster.until("running", |pipeline| condition(pipeline, "Ready") == "True").await;
    cluster.api.store().delete(&key(MAPS, "queries"), &Value::Null).expect("it is there");
    cluster.api.changed();
    let told = cluster.within(TOLD, "gone", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    assert_eq!(condition(&told, "Ready"), "True", "what runs goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_sql_cannot_be_read_that_is_told_and_a_worker_that_dies_is_replaced() {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    put_map(&cluster.api);
    put_resources(&cluster.api);
    cluster.until("running", |pipeline| condition(pipeline, "Ready") == "True").await;
    cluster.api.lock_away(Some(key(MAPS, "queries")));
    cluster.looks(1).await;
    let told = cluster.until("told", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    assert!(message(&told, "Stalled").contains("reading ConfigMap queries: "), "{told:#}");
    assert_eq!(condition(&told, "Ready"), "True");
    kill(&cluster.api, &of_kind(&cluster.api, PODS)[0]);
    let epoch = || of_kind(&cluster.api, ASSIGNMENTS)[0]["spec"]["units"][0]["epoch"].clone();
    let is_taken_over = |pipeline: &Value| epoch() == 2 && condition(pipeline, "Ready") == "True";
    let told = cluster.until("taken over", is_taken_over).await;
    assert_eq!(condition(&told, "ConfigValid"), "False", "nobody could read it");
    cluster.api.lock_away(None);
    cluster.until("read again", |pipeline| condition(pipeline, "ConfigValid") == "True").await;
}
