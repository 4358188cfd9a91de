//! Resource definitions of another version.

use serde_json::json;
use thalweg_crds::definition::definitions;
use thalweg_operator::definitions::tell;

use crate::fake::{FakeApi, Key};

fn key(name: &str) -> Key {
    ("apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(), String::new(), name.to_owned())
}

#[tokio::test]
async fn a_definition_that_lacks_a_field_is_told_and_one_that_has_more_is_not() {
    let api = FakeApi::default();
    tell(api.client(), "thalweg", "operator-0").await;
    for definition in definitions() {
        let name = definition.metadata.name.clone().expect("a name");
        let object = serde_json::to_value(&definition).expect("JSON");
        api.store().create(key(&name), object).expect("a new definition");
    }
    tell(api.client(), "thalweg", "operator-0").await;
    let change = |name: &str, field: &str, schema: serde_json::Value| {
        api.store().edit(&key(name), |definition| {
            let version = &mut definition["spec"]["versions"][0];
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][field] = schema;
        });
    };
    change("streamsinks.thalweg.dev", "ofTomorrow", json!({"type": "string"}));
    tell(api.client(), "thalweg", "operator-0").await;
    assert!(api.told().is_empty(), "{:?}", api.told());
    // The store keeps no null.
    change("streampipelines.thalweg.dev", "restart", serde_json::Value::Null);
    tell(api.client(), "thalweg", "operator-0").await;
    assert_eq!(api.told(), ["DefinitionOutdated"]);
}
