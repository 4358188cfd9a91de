//! The custom resource definitions, as the chart ships them and as local manifests are checked by.

use std::sync::OnceLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::assignment::StreamAssignment;
use crate::{StreamPipeline, StreamSink, StreamSource};

mod emit;

/// Keeps the definitions, and so every pipeline, when the chart is removed.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

/// Every definition, in the order of the documentation.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [StreamSource::crd(), StreamSink::crd(), StreamPipeline::crd(), StreamAssignment::crd()].map(finish).into()
}

/// The structural schema of one definition, as JSON.
pub fn schema_of(definition: &CustomResourceDefinition) -> Value {
    let version = definition.spec.versions.first();
    let schema = version.and_then(|version| version.schema.as_ref()).and_then(|s| s.open_api_v3_schema.as_ref());
    serde_json::to_value(schema).unwrap_or(Value::Null)
}

/// The schema of every kind without descriptions, as JSON, by kind: what `schemas.json` holds.
///
/// Deriving the schemas takes 35 ms, reading them 0.4 ms, and `thalweg run` is to show its first row within 200 ms. So
/// they are generated, and a test compares.
pub fn schemas_json() -> String {
    let schemas = definitions().into_iter().map(|definition| {
        let mut schema = schema_of(&definition);
        strip_descriptions(&mut schema);
        (definition.spec.names.kind, schema)
    });
    format!("{}\n", Value::Object(schemas.collect()))
}

/// The schema of a kind, as generated; `None` for a kind that is none of ours.
pub(crate) fn schema(kind: &str) -> Option<&'static Value> {
    static SCHEMAS: OnceLock<Value> = OnceLock::new();
    let read = || serde_json::from_str(include_str!("definition/schemas.json")).unwrap_or(Value::Null);
    SCHEMAS.get_or_init(read).get(kind)
}

/// What the schema of a kind, as a cluster has it, lacks of ours: paths of fields, and values that a field may have. One that has more
/// is newer, and lacks nothing.
pub fn lacking(kind: &str, found: &Value) -> Vec<String> {
    // Asked once, and not kept.
    let schemas: Value = serde_json::from_str(include_str!("definition/schemas.json")).unwrap_or(Value::Null);
    let mut lacks = Vec::new();
    compare(&schemas[kind], found, "", &mut lacks);
    lacks
}

fn compare(ours: &Value, found: &Value, at: &str, lacks: &mut Vec<String>) {
    for (name, ours) in ours["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        match found["properties"].get(name) {
            Some(found) => compare(ours, found, &path, lacks),
            None => lacks.push(path),
        }
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if ours[inner].is_object() {
            compare(&ours[inner], &found[inner], &format!("{at}{mark}"), lacks);
        }
    }
    // Without a list any value is taken.
    if let Some(taken) = found["enum"].as_array() {
        let ours = ours["enum"].as_array().into_iter().flatten();
        lacks.extend(ours.filter(|value| !taken.contains(value)).map(|value| format!("{at}={value}")));
    }
}

fn strip_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.shift_remove("description");
            }
            map.values_mut().for_each(strip_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_descriptions),
        _ => {}
    }
}

/// A definition as YAML.
pub fn to_yaml(definition: &CustomResourceDefinition) -> String {
    emit::to_yaml(&serde_json::to_value(definition).unwrap_or(Value::Null))
}

/// A definition as a template of the chart, which leaves it out where its values say so.
pub fn to_template(definition: &CustomResourceDefinition) -> String {
    format!("{{{{- if .Values.crds.enabled -}}}}\n{}{{{{ end -}}}}\n", to_yaml(definition))
}

/// The chart's file of a definition.
pub fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}.yaml", definition.spec.names.plural)
}

fn finish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    definition.metadata.annotations.get_or_insert_default().insert(KEEP.0.to_owned(), KEEP.1.to_owned());
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            let mut json = serde_json::to_value(&*schema).unwrap_or(Value::Null);
            tidy(&mut json);
            if let Ok(tidied) = serde_json::from_value(json) {
                *schema = tidied;
            }
        }
    }
    definition
}

/// Removes what a Rust type brings along and an API server does not want: `nullable` (an optional field is absent, so
/// that `has()` in a rule means *given*) and formats of integers that Kubernetes warns about.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.shift_remove("nullable");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.shift_remove("format");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema of a kind with one place changed.
    fn changed(kind: &str, pointer: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut schema = schema(kind).expect("ours").clone();
        change(schema.pointer_mut(pointer).expect("it is there"));
        schema
    }

    #[test]
    fn a_schema_lacks_fields_and_values_that_are_gone_from_it_and_nothing_for_having_more() {
        for definition in definitions() {
            let lacks = lacking(&definition.spec.names.kind, &schema_of(&definition));
            assert_eq!(lacks, Vec::<String>::new());
        }
        let spec = "/properties/spec/properties";
        let older = changed("StreamPipeline", spec, |fields| drop(fields.as_object_mut().unwrap().remove("restart")));
        assert_eq!(lacking("StreamPipeline", &older), ["spec.restart"]);
        let of_source = format!("{spec}/sources/items/properties");
        let older = changed("StreamPipeline", &of_source, |fields| drop(fields.as_object_mut().unwrap().remove("as")));
        assert_eq!(lacking("StreamPipeline", &older), ["spec.sources[].as"]);
        let policy = format!("{spec}/deletionPolicy/enum");
        let older = changed("StreamPipeline", &policy, |values| {
            values.as_array_mut().unwrap().retain(|value| value != "Delete");
        });
        assert_eq!(lacking("StreamPipeline", &older), ["spec.deletionPolicy=\"Delete\""]);
        let newer = changed("StreamSink", spec, |fields| fields["ofTomorrow"] = serde_json::json!({"type": "string"}));
        assert_eq!(lacking("StreamSink", &newer), Vec::<String>::new());
        assert!(lacking("StreamSink", &Value::Null).contains(&"spec".to_owned()), "there is none of this version");
    }
}
