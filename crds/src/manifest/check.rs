//! One resource against its definition: structure first, then the CEL rules, as the API server does.

mod advice;
mod structure;
mod values;

use std::sync::Arc;

use kube::core::cel::{ErrorKind, ValidationError, Validator, apply_defaults};
use serde_json::Value;

use super::place::Position;
use super::yaml::{Node, Tree};
use crate::column_type::ColumnType;

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
    /// Of an unknown field: the one that was probably meant.
    pub meant: Option<String>,
}

impl Finding {
    /// Something amiss in a field as a whole.
    pub(super) fn in_field(path: impl Into<String>, message: impl Into<String>, help: Option<String>) -> Self {
        Self { path: path.into(), at: None, message: message.into(), help, meant: None }
    }

    fn new(path: impl Into<String>, at: Position, message: impl Into<String>) -> Self {
        Self { path: path.into(), at: Some(at), message: message.into(), help: None, meant: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Checks a resource; without findings, its JSON with defaults filled in, as the API server would store it.
pub(super) fn check(schema: &Value, root: &Arc<Node>) -> Result<Value, Vec<Finding>> {
    let mut findings = structure::check(schema, root);
    let json = apply_defaults(schema, &without_nulls(root.to_json()));
    findings.extend(rules(schema, root, &json, &findings));
    if !findings.is_empty() {
        findings.extend(column_types(root, &findings));
    }
    if findings.is_empty() { Ok(json) } else { Err(findings) }
}

/// Types of columns that do not parse. Of a resource without other problems, [`super::resolve()`] tells them.
fn column_types(root: &Node, told: &[Finding]) -> Vec<Finding> {
    let columns = root.get("spec").and_then(|spec| spec.get("schema")).map(|columns| &columns.tree);
    let Some(Tree::List(columns)) = columns else { return Vec::new() };
    let finding = |(index, column): (usize, &Arc<Node>)| {
        let path = format!("spec.schema[{index}].type");
        let error = column.get("type")?.as_str()?.parse::<ColumnType>().err()?;
        let repeats = told.iter().any(|finding| finding.path == path);
        (!repeats).then(|| Finding::in_field(path, error.to_string(), None))
    };
    columns.iter().enumerate().filter_map(finding).collect()
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
fn rules(schema: &Value, root: &Node, json: &Value, structural: &[Finding]) -> Vec<Finding> {
    let Err(errors) = Validator::new().validate(schema, json, None) else { return Vec::new() };
    let told = |error: &ValidationError| {
        let direct = structural.iter().any(|finding| explains(finding, error));
        // A rule that could not be evaluated has met a value of a wrong type.
        direct || (error.kind != ErrorKind::ValidationFailure && !structural.is_empty())
    };
    let finding = |error: ValidationError| {
        let help = empty_field(root, &error);
        Finding::in_field(error.field_path, error.message, help)
    };
    errors.into_vec().into_iter().filter(|error| !told(error)).map(finding).collect()
}

/// Advice on a field that a rule reads and that is written without a value, which means that it is absent.
fn empty_field(root: &Node, error: &ValidationError) -> Option<String> {
    let parts = error.field_path.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    let node = parts.filter(|part| !part.is_empty()).try_fold(root, |node, part| match &node.tree {
        Tree::List(items) => items.get(part.parse::<usize>().ok()?).map(Arc::as_ref),
        _ => node.get(part).map(Arc::as_ref),
    })?;
    let Tree::Map(entries) = &node.tree else { return None };
    let empty = entries.iter().find(|entry| entry.value.tree == Tree::Null && reads(&error.rule, &entry.key))?;
    Some(format!("`{0}:` without a value means that it is absent; write {0}: {{}}", empty.key))
}

/// Whether a finding is about the value that a rule judges, or about a direct field of it that the rule reads.
fn explains(finding: &Finding, error: &ValidationError) -> bool {
    let Some(rest) = finding.path.strip_prefix(&error.field_path) else { return false };
    let field = rest.trim_start_matches('.');
    if field.is_empty() {
        return true;
    }
    let names = [Some(field), finding.meant.as_deref()];
    names.into_iter().flatten().any(|name| reads(&error.rule, name))
}

/// Whether a rule reads a field of its value.
fn reads(rule: &str, field: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let name = format!("self.{field}");
    rule.match_indices(&name).any(|(at, _)| ends(&rule[at + name.len()..]))
}

/// A sentence about the name that was probably meant.
pub(super) fn nearest_of(found: &str, known: &[&str]) -> String {
    match advice::nearest(found, known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("expected {}", advice::any_of(known)),
    }
}
