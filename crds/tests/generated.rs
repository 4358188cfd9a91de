//! What is generated equals the code, and what is shipped as an example loads.

// Helpers here are parts of tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::Value;
use thalweg_crds::definition::{definitions, file_name, schema_of, schemas_json, to_template, to_yaml};
use thalweg_crds::manifest::{load_pipelines, yaml};

#[path = "contract/mod.rs"]
mod contract;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

#[test]
fn the_chart_s_definitions_equal_the_code() {
    let folder = root().join("charts/thalweg/templates/crds");
    let mut expected = Vec::new();
    for definition in definitions() {
        let file = folder.join(file_name(&definition));
        let shipped = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(shipped == to_template(&definition), "{} is out of date: run `make generate`", file.display());
        expected.push(file);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_schemas_of_the_loader_equal_the_code() {
    let shipped = include_str!("../src/definition/schemas.json");
    assert!(shipped == schemas_json(), "schemas.json is out of date: run `make generate`");
}

#[test]
fn the_chart_s_definitions_are_yaml_that_helm_leaves_alone() {
    for definition in definitions() {
        let text = to_yaml(&definition);
        let parsed = yaml::parse(&text);
        assert_eq!(parsed.problems, []);
        assert_eq!(
            without_floats(parsed.documents[0].to_json()),
            without_floats(serde_json::to_value(&definition).unwrap())
        );
        assert!(!text.contains("{{"), "helm would take {{{{ for a template");
        assert!(text.contains("helm.sh/resource-policy: keep"));
    }
}

/// Whole floats as integers, since YAML 1.1 reads `1.0` as kubectl does.
fn without_floats(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|f| f.fract() == 0.0) => {
            Value::from(number.as_f64().unwrap_or_default() as i64)
        }
        Value::Array(items) => items.into_iter().map(without_floats).collect(),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, without_floats(v))).collect()),
        other => other,
    }
}

#[test]
fn every_example_loads_without_a_problem() {
    let mut count = 0;
    for folder in std::fs::read_dir(root().join("manifests/examples")).unwrap().flatten() {
        let (manifests, pipelines) = load_pipelines(&[folder.path()]).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!pipelines.is_empty(), "{} has no pipeline", folder.path().display());
        assert_eq!(manifests.notes, Vec::<String>::new());
        count += 1;
    }
    assert!(count >= 3, "found {count} examples");
}

#[test]
fn all_bad_manifests_show_all_of_their_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let problems =
            load_pipelines(std::slice::from_ref(&file)).expect_err("a bad manifest has problems").to_string();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert_snapshot!(name, problems.replace(&format!("{}/", folder.display()), ""));
    }
}

#[test]
fn every_text_list_and_map_of_a_spec_has_a_limit() {
    for definition in definitions() {
        let schema = schema_of(&definition);
        unlimited(&schema["properties"]["spec"], definition.spec.names.kind.clone());
    }
}

/// Fails on a text, list or map without a limit. What Kubernetes defines itself is Kubernetes' affair.
fn unlimited(schema: &Value, path: String) {
    const NOT_OURS: [&str; 4] = [".resources", ".tolerations", ".affinity", ".imagePullSecrets"];
    if NOT_OURS.iter().any(|part| path.ends_with(part)) {
        return;
    }
    let limited = match schema["type"].as_str() {
        Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_array(),
        Some("array") => schema["maxItems"].is_u64(),
        Some("object") if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
        _ => true,
    };
    assert!(limited, "{path} has no limit");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        unlimited(property, format!("{path}.{name}"));
    }
    for key in ["items", "additionalProperties"].into_iter().filter(|key| schema[key].is_object()) {
        unlimited(&schema[key], format!("{path}[]"));
    }
}
