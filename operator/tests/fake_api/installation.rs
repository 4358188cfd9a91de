//! The installation's id: made once, whoever starts, dies or is quicker.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use thalweg_operator::error::Error;
use thalweg_operator::installation::{NAME, id};

use crate::fake::{FakeApi, Fault, Key};

fn config_maps(api: &FakeApi) -> Api<ConfigMap> {
    Api::namespaced(api.client(), "thalweg")
}

fn key() -> Key {
    ("v1/configmaps".to_owned(), "thalweg".to_owned(), NAME.to_owned())
}

/// What stands in the ConfigMap.
fn standing(api: &FakeApi) -> String {
    api.store().objects[&key()]["data"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_id_is_made_once_and_read_from_then_on() {
    let api = FakeApi::default();
    let made = id(&config_maps(&api)).await.expect("made");
    assert_eq!(made, standing(&api));
    assert_eq!(id(&config_maps(&api)).await.expect("read"), made);
    assert_eq!(api.asked(), 1, "{:?}", api.writes());
    assert_ne!(
        id(&config_maps(&FakeApi::default())).await.expect("made"),
        made,
        "another cluster is another installation"
    );
}

#[tokio::test]
async fn of_two_replicas_that_start_together_one_makes_it_and_both_have_it() {
    let api = FakeApi::default();
    let (one, other) = (config_maps(&api), config_maps(&api));
    let (one, other) = tokio::join!(id(&one), id(&other));
    assert_eq!(one.expect("an id"), other.expect("an id"));
    assert_eq!((api.asked(), api.writes().len()), (2, 1), "both have tried: {:?}", api.writes());
}

#[tokio::test]
async fn who_dies_around_the_write_leaves_one_id_or_none() {
    for fault in [Fault::KillBefore, Fault::KillAfter] {
        let api = FakeApi::with_fault(0, fault);
        let dies = tokio::spawn({
            let config_maps = config_maps(&api);
            async move { id(&config_maps).await }
        });
        api.killed().await;
        dies.abort();
        let is_made = api.store().objects.contains_key(&key());
        let stood = is_made.then(|| standing(&api));
        assert_eq!(stood.is_some(), fault.commits(), "{fault:?}");
        let found = id(&config_maps(&api)).await.expect("an id");
        assert_eq!((stood.unwrap_or_else(|| found.clone()), api.writes().len()), (found, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_and_a_refusal_that_passes_are_borne() {
    for fault in [Fault::LoseAnswer, Fault::Refuse(500), Fault::Refuse(429), Fault::Refuse(401)] {
        let api = FakeApi::with_fault(0, fault);
        let found = id(&config_maps(&api)).await.expect("an id");
        assert_eq!((found, api.writes().len()), (standing(&api), 1), "{fault:?}");
    }
}

#[tokio::test]
async fn a_config_map_without_an_id_is_told_and_left_as_it_is() {
    let api = FakeApi::default();
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"ID": "x"}});
    api.store().create(key(), empty).expect("a new object");
    let error = id(&config_maps(&api)).await.expect_err("it says nothing");
    assert!(matches!(error, Error::NoInstallation { .. }), "{error}");
    assert_eq!(api.asked(), 0);
}

#[test]
fn the_chart_lets_the_operator_read_and_make_it_and_no_more() {
    let role = include_str!("../../../charts/thalweg/templates/rbac.yaml");
    let rules: BTreeMap<_, _> = role
        .lines()
        .filter(|line| line.contains("resources: [configmaps]"))
        .filter_map(|line| line.split_once("verbs: "))
        .map(|(rule, verbs)| (rule.contains(&format!("resourceNames: [{NAME}]")), verbs.trim()))
        .collect();
    assert_eq!(rules, BTreeMap::from([(false, "[create] }"), (true, "[get] }")]));
}
