//! One resource against its definition: structure first, then the CEL rules, as the API server does.

mod advice;
mod structure;
mod values;

use std::sync::Arc;

use kube::core::cel::{ErrorKind, ValidationError, Validator, apply_defaults};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::place::{Position, child};
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

    /// The field that it is about: instead of one that is unknown, the one that was probably meant.
    pub(super) fn subject(&self) -> String {
        match &self.meant {
            Some(meant) => child(self.path.rsplit_once('.').map_or("", |(around, _)| around), meant),
            None => self.path.clone(),
        }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A resource with findings.
pub(super) struct Refused<T> {
    /// All of them.
    pub findings: Vec<Finding>,
    /// What it says beside the fields that they are about, where that is a spec: one problem shall not hide another.
    pub rest: Option<Box<T>>,
    /// Where there is no such rest: what it says beside the whole fields of its spec in which findings are.
    pub core: Option<Box<T>>,
}

/// Checks a resource; without findings, its JSON with defaults filled in, as the API server would store it.
pub(super) fn check<T: DeserializeOwned>(schema: &Value, root: &Arc<Node>) -> Result<Value, Refused<T>> {
    let mut findings = structure::check(schema, root);
    let json = apply_defaults(schema, &without_nulls(root.to_json()));
    findings.extend(rules(schema, root, &json, &findings));
    if findings.is_empty() {
        return Ok(json);
    }
    let rest = without(schema, json.clone(), findings.iter().map(|finding| finding.path.as_str()));
    let mut core = None;
    if rest.is_none() {
        core = without(schema, json, findings.iter().map(|finding| field_of_spec(&finding.path)));
        findings.extend(column_types(root, &findings));
    }
    Err(Refused { findings, rest, core })
}

/// A spec without some fields; `None` where it cannot do without them.
fn without<'f, T: DeserializeOwned>(
    schema: &Value,
    mut json: Value,
    mut fields: impl Iterator<Item = &'f str>,
) -> Option<Box<T>> {
    fields.try_for_each(|field| remove(&mut json, field))?;
    serde_json::from_value(apply_defaults(schema, &json)["spec"].take()).ok().map(Box::new)
}

/// The field of a spec in which another one is: `spec.watermark` of `spec.watermark.column`.
pub(super) fn field_of_spec(path: &str) -> &str {
    const SPEC: &str = "spec.";
    let end = path.strip_prefix(SPEC).and_then(|field| field.find(['.', '[']));
    end.map_or(path, |end| &path[..SPEC.len() + end])
}

/// Takes a field out of an object; `None` for what is none.
fn remove(json: &mut Value, path: &str) -> Option<()> {
    let steps: Vec<&str> = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).collect();
    let (field, around) = steps.split_last()?;
    let holder = around.iter().try_fold(json, |value, step| match value {
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        other => other.get_mut(*step),
    });
    let Some(holder) = holder else { return Some(()) };
    holder.as_object_mut()?.remove(*field);
    Some(())
}

/// Types of columns that do not parse. Of a resource whose other problems leave a spec, `resolve` tells them.
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
        let help = empty_field(schema, root, &error);
        Finding::in_field(error.field_path, error.message, help)
    };
    errors.into_vec().into_iter().filter(|error| !told(error)).map(finding).collect()
}

/// Advice on a field that a rule reads and that is written without a value, which means that it is absent.
fn empty_field(schema: &Value, root: &Node, error: &ValidationError) -> Option<String> {
    let parts = error.field_path.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    let parts = parts.filter(|part| !part.is_empty());
    let schema = parts.clone().fold(schema, |schema, part| match part.parse::<usize>() {
        Ok(_) => &schema["items"],
        Err(_) => &schema["properties"][part],
    });
    let node = parts.clone().try_fold(root, |node, part| match &node.tree {
        Tree::List(items) => items.get(part.parse::<usize>().ok()?).map(Arc::as_ref),
        _ => node.get(part).map(Arc::as_ref),
    })?;
    let Tree::Map(entries) = &node.tree else { return None };
    let empty = entries.iter().find(|entry| entry.value.tree == Tree::Null && reads(&error.rule, &entry.key))?;
    let what = match schema["properties"][&empty.key]["type"].as_str() {
        Some("object") => format!("write {}: {{}}", empty.key),
        _ => "give it one, or leave it out".to_owned(),
    };
    Some(format!("`{}:` without a value means that it is absent; {what}", empty.key))
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
