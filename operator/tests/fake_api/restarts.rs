//! Starts from scratch: those that somebody asks for, and those that a changed stage takes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fake::FakeApi;
use crate::harness::{Cluster, OTHER_SHAPE, SQL, condition, key, message, pipeline_key, resources};
use crate::kubelet::{ASSIGNMENTS, of_kind};
use crate::mutations::CHECK;

fn edit(cluster: &Cluster, edit: impl FnOnce(&mut Value)) {
    cluster.api.store().edit(&pipeline_key(), |pipeline| edit(&mut pipeline["spec"]));
    cluster.api.changed();
}

fn assignment(cluster: &Cluster) -> Arc<Value> {
    cluster.api.store().objects.get(&key(ASSIGNMENTS, "fares")).cloned().unwrap_or_default()
}

/// Waits until it runs under a start of this number, and nothing is left of the plan before.
async fn until_started(cluster: &Cluster, count: u64) {
    let incarnation = |spec: &Value| spec["incarnations"][0]["incarnation"].as_u64().unwrap_or_default();
    until_runs(cluster, &format!("started from scratch {count} times"), |spec| incarnation(spec) == count).await;
}

/// Waits until the units of its one stage bear this number, and nothing is left of the plan before.
async fn until_staged(cluster: &Cluster, stage: u64) {
    let is_staged = |spec: &Value| {
        let units = spec["units"].as_array().map(Vec::as_slice).unwrap_or_default();
        !units.is_empty() && units.iter().all(|unit| unit["unit"]["stage"] == stage)
    };
    until_runs(cluster, &format!("stage {stage}"), is_staged).await;
}

async fn until_runs(cluster: &Cluster, what: &str, is_it: impl Fn(&Value) -> bool) {
    let started = |pipeline: &Value| {
        let assignment = assignment(cluster);
        let is = |kind: &str| condition(pipeline, kind) == "True";
        is_it(&assignment["spec"])
            && pipeline["status"]["observedGeneration"] == pipeline["metadata"]["generation"]
            && pipeline["status"]["activePlan"] == assignment["spec"]["plan"]
            && (is("Ready") && is("ConfigValid") && !is("Reconciling"))
            && of_kind(&cluster.api, "v1/configmaps").len() == 1
            && assignment["spec"]["splits"][0]["split"] == "0"
    };
    cluster.until(what, started).await;
}

/// The source as workers read it.
fn start(cluster: &Cluster) -> String {
    of_kind(&cluster.api, "v1/configmaps")[0]["data"]["restart.json"].as_str().unwrap_or_default().to_owned()
}

/// How many starts from scratch were told in events.
fn starts_told(cluster: &Cluster) -> usize {
    cluster.api.told().iter().filter(|told| *told == "StartedFromScratch").count()
}

async fn running() -> Cluster {
    let cluster = Cluster::start_with(FakeApi::default(), CHECK);
    resources(&cluster.api);
    edit(&cluster, |spec| spec["state"] = json!({"url": "s3://bucket/prefix"}));
    until_started(&cluster, 0).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn each_new_nonce_is_one_start_from_scratch_and_what_is_taken_away_changes_nothing() {
    let mut cluster = running().await;
    let first = assignment(&cluster)["spec"]["plan"].clone();
    edit(&cluster, |spec| spec["restart"] = json!({"nonce": "after the repair", "from": {"position": "Earliest"}}));
    until_started(&cluster, 1).await;
    let second = assignment(&cluster)["spec"]["plan"].clone();
    assert_ne!(first, second);
    assert!(start(&cluster).contains("after the repair"), "{}", start(&cluster));
    cluster.looks(2).await;
    assert_eq!(starts_told(&cluster), 1);
    let before = cluster.writes();
    edit(&cluster, |spec| spec["restart"]["from"] = json!({"position": "Latest"}));
    until_started(&cluster, 1).await;
    edit(&cluster, |spec| drop(spec.as_object_mut().map(|spec| spec.shift_remove("restart"))));
    until_started(&cluster, 1).await;
    // Another operator knows of it from what is there.
    cluster.upgrade(crate::harness::Chart::USUAL, CHECK).await;
    cluster.looks(2).await;
    assert_eq!((assignment(&cluster)["spec"]["plan"].clone(), cluster.writes()), (second, before));
    assert_eq!(starts_told(&cluster), 1, "once is enough");
    edit(&cluster, |spec| spec["restart"] = json!({"nonce": "once more"}));
    until_started(&cluster, 2).await;
    assert_eq!(starts_told(&cluster), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_no_state_fits_starts_anew_where_that_is_asked_for_and_else_is_refused() {
    let mut cluster = running().await;
    let before = assignment(&cluster)["spec"].clone();
    edit(&cluster, |spec| spec["sql"] = OTHER_SHAPE.into());
    let refused = cluster.until("refused", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let said = message(&refused, "ConfigValid");
    assert!(said.contains("stage 0 over trips is not what it was"), "{said}");
    assert!(said.contains("onIncompatibleChange: Restart"), "{said}");
    assert_eq!((&assignment(&cluster)["spec"], starts_told(&cluster)), (&before, 0), "what runs is not disturbed");
    edit(&cluster, |spec| spec["onIncompatibleChange"] = "Restart".into());
    until_staged(&cluster, 1).await;
    assert_eq!(starts_told(&cluster), 1);
    assert!(start(&cluster).contains(r#""count":0"#), "the pipeline as a whole goes on: {}", start(&cluster));
    assert_eq!(assignment(&cluster)["spec"]["incarnations"], Value::Null);
    // Another operator goes on with the same numbers.
    cluster.upgrade(crate::harness::Chart::USUAL, CHECK).await;
    edit(&cluster, |spec| spec["sql"] = SQL.into());
    until_staged(&cluster, 2).await;
    cluster.looks(2).await;
    let before = cluster.api.asked();
    cluster.looks(3).await;
    assert_eq!(cluster.api.asked(), before, "{:#?}", cluster.api.writes());
}

/// Somebody removes the plan that runs, and says something else at the same time.
fn without_its_plan(cluster: &Cluster, sql: Option<&str>) {
    let plan = of_kind(&cluster.api, "v1/configmaps")[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    {
        let mut store = cluster.api.store();
        let _ = store.delete(&key("v1/configmaps", &plan), &Value::Null);
        if let Some(sql) = sql {
            store.edit(&pipeline_key(), |pipeline| pipeline["spec"]["sql"] = sql.into());
        }
    }
    cluster.api.changed();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_outlive_the_plan_that_they_stand_beside() {
    let cluster = running().await;
    edit(&cluster, |spec| spec["onIncompatibleChange"] = "Restart".into());
    edit(&cluster, |spec| spec["sql"] = OTHER_SHAPE.into());
    until_staged(&cluster, 1).await;
    let (plan, noted) = (assignment(&cluster)["spec"]["plan"].clone(), start(&cluster));
    assert!(noted.contains(r#""stages":[1]"#), "{noted}");
    without_its_plan(&cluster, None);
    cluster.until("made again", |_| of_kind(&cluster.api, "v1/configmaps").len() == 1).await;
    until_staged(&cluster, 1).await;
    assert_eq!((&assignment(&cluster)["spec"]["plan"], start(&cluster)), (&plan, noted), "it is the same");
    without_its_plan(&cluster, Some(SQL));
    until_staged(&cluster, 2).await;
    assert_eq!(assignment(&cluster)["spec"]["numbers"]["changes"], 2, "workers of the plans before are told apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_refused_where_the_plan_that_runs_is_gone() {
    let cluster = running().await;
    let before = assignment(&cluster)["spec"].clone();
    without_its_plan(&cluster, Some(OTHER_SHAPE));
    let refused = cluster.until("refused", |pipeline| condition(pipeline, "ConfigValid") == "False").await;
    let said = message(&refused, "ConfigValid");
    assert!(said.contains("stage 0 over trips is not what it was"), "{said}");
    assert_eq!(assignment(&cluster)["spec"]["plan"], before["plan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_dies_in_the_middle_of_a_restart_leaves_one_start_and_not_two() {
    let mut cluster = running().await;
    edit(&cluster, |spec| spec["restart"] = json!({"nonce": "1"}));
    cluster.until("begun", |_| of_kind(&cluster.api, "v1/configmaps").len() == 2).await;
    cluster.upgrade(crate::harness::Chart::USUAL, CHECK).await;
    until_started(&cluster, 1).await;
    assert_eq!(assignment(&cluster)["spec"]["incarnations"][0]["incarnation"], 1);
}
