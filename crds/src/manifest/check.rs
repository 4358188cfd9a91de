//! One resource against its definition: structure first, then the CEL rules, as the API server does.

mod advice;
mod structure;
mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kube::core::cel::{ErrorKind, ValidationError, Validator, apply_defaults};
use serde_json::Value;

use super::place::Position;
use super::yaml::Node;
use crate::definition::{definitions, schema_of};

/// Something amiss in one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// The field.
    pub path: String,
    /// Where to look; absent, where the field stands.
    pub at: Option<Position>,
    /// What was found, and what is expected.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    fn new(path: impl Into<String>, at: Position, message: impl Into<String>) -> Self {
        Self { path: path.into(), at: Some(at), message: message.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// The schema of each kind, built once.
pub(super) fn schema(kind: &str) -> Option<&'static Value> {
    static SCHEMAS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    let build = || definitions().iter().map(|crd| (crd.spec.names.kind.clone(), schema_of(crd))).collect();
    SCHEMAS.get_or_init(build).get(kind)
}

/// Checks a resource; without findings, its JSON with defaults filled in, as the API server would store it.
pub(super) fn check(schema: &Value, root: &Arc<Node>) -> Result<Value, Vec<Finding>> {
    let mut findings = structure::check(schema, root);
    let json = apply_defaults(schema, &without_nulls(root.to_json()));
    findings.extend(rules(schema, &json, &findings));
    if findings.is_empty() { Ok(json) } else { Err(findings) }
}

/// The API server drops a null before it fills in a default.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

/// The CEL rules that fail, less those that only repeat what the structure has shown.
fn rules(schema: &Value, json: &Value, structural: &[Finding]) -> Vec<Finding> {
    let Err(errors) = Validator::new().validate(schema, json, None) else { return Vec::new() };
    let told = |error: &ValidationError| {
        let direct = structural.iter().any(|finding| concerns(&finding.path, &error.field_path));
        // A rule that could not be evaluated has met a value of a wrong type.
        direct || (error.kind != ErrorKind::ValidationFailure && !structural.is_empty())
    };
    let finding =
        |error: ValidationError| Finding { path: error.field_path, at: None, message: error.message, help: None };
    errors.into_vec().into_iter().filter(|error| !told(error)).map(finding).collect()
}

/// Whether a finding is about a value itself or one of its direct fields.
fn concerns(found: &str, value: &str) -> bool {
    let Some(rest) = found.strip_prefix(value) else { return false };
    let field = rest.trim_start_matches(['.', '[']);
    !field.trim_end_matches(']').contains(['.', '['])
}

/// A sentence about the name that was probably meant.
pub(super) fn nearest_of(found: &str, known: &[&str]) -> String {
    match advice::nearest(found, known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("expected {}", advice::any_of(known)),
    }
}
