//! A tree against a structural schema: fields, types, required ones, lists as maps.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::place::{Position, child};
use super::super::yaml::{Entry, Node, Tree};
use super::{Finding, advice, values};

/// The fields of a resource's metadata (`ObjectMeta` of Kubernetes).
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Checks a whole resource.
pub(super) fn check(schema: &Value, root: &Arc<Node>) -> Vec<Finding> {
    let mut walk = Walk { findings: Vec::new() };
    let Tree::Map(entries) = &root.tree else { return walk.findings };
    let known = properties(schema);
    for entry in entries {
        match (entry.key.as_str(), known.iter().find(|(name, _)| *name == entry.key)) {
            ("apiVersion" | "kind", _) => {}
            ("metadata", _) => walk.metadata(&entry.value),
            (_, Some(_)) if entry.value.tree == Tree::Null => {}
            // Written by the operator alone; the API server drops it from what a user applies.
            ("status", _) => {}
            (key, Some((_, schema))) => walk.value(schema, &entry.value, key),
            (_, None) => walk.unknown("", entry, entries, &[("spec", schema), ("metadata", schema)]),
        }
    }
    walk.required(schema, entries, root.at, "");
    if !entries.iter().any(|entry| entry.key == "metadata") {
        walk.findings.push(Finding::new("metadata.name", root.at, "this field is required"));
    }
    walk.findings
}

struct Walk {
    findings: Vec<Finding>,
}

impl Walk {
    fn value(&mut self, schema: &Value, node: &Node, path: &str) {
        if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true) {
            return;
        }
        match (&node.tree, schema["type"].as_str()) {
            (Tree::Map(entries), Some("object")) => self.object(schema, entries, node.at, path),
            (Tree::List(items), Some("array")) => self.list(schema, items, node.at, path),
            _ => self.findings.extend(values::check(schema, node, path)),
        }
    }

    fn object(&mut self, schema: &Value, entries: &[Entry], at: Position, path: &str) {
        let known = properties(schema);
        let additional = schema.get("additionalProperties").filter(|value| value.is_object());
        for entry in entries {
            let field = child(path, &entry.key);
            let is_known = additional.is_some() || known.iter().any(|(name, _)| *name == entry.key);
            // The API server takes a null for absence.
            if is_known && entry.value.tree == Tree::Null {
                continue;
            }
            match (known.iter().find(|(name, _)| *name == entry.key), additional) {
                (Some((_, schema)), _) => self.value(schema, &entry.value, &field),
                (None, Some(schema)) => self.value(schema, &entry.value, &field),
                (None, None) => self.unknown(path, entry, entries, &known),
            }
        }
        self.required(schema, entries, at, path);
        self.findings.extend(values::size(schema, entries.len(), ["minProperties", "maxProperties"], at, path));
    }

    fn list(&mut self, schema: &Value, items: &[Arc<Node>], at: Position, path: &str) {
        for (index, item) in items.iter().enumerate() {
            self.value(&schema["items"], item, &format!("{path}[{index}]"));
        }
        self.findings.extend(values::size(schema, items.len(), ["minItems", "maxItems"], at, path));
        if schema["x-kubernetes-list-type"] == "map" {
            self.unique(schema, items, path);
        }
    }

    /// No two items of a list that is merged by keys may have the same ones.
    fn unique(&mut self, schema: &Value, items: &[Arc<Node>], path: &str) {
        let keys: Vec<&str> = strings(&schema["x-kubernetes-list-map-keys"]);
        let mut seen: HashMap<Vec<String>, usize> = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let values: Option<Vec<String>> =
                keys.iter().map(|key| item.get(key).map(|value| value.to_json().to_string())).collect();
            let Some(values) = values else { continue };
            if let Some(first) = seen.get(&values) {
                let key = keys.join(", ");
                let message = format!("{key} {} is given twice; the first one is {path}[{first}]", values.join(", "));
                let place = item.get(keys.first().copied().unwrap_or_default()).map_or(item.at, |value| value.at);
                let finding = Finding::new(child(&format!("{path}[{index}]"), &key), place, message);
                self.findings.push(finding.help("rename or remove one of them"));
            } else {
                seen.insert(values, index);
            }
        }
    }

    fn required(&mut self, schema: &Value, entries: &[Entry], at: Position, path: &str) {
        for name in strings(&schema["required"]) {
            let entry = entries.iter().find(|entry| entry.key == name);
            if entry.is_none_or(|entry| entry.value.tree == Tree::Null) {
                let place = entry.map_or(at, |entry| entry.key_at);
                self.findings.push(Finding::new(child(path, name), place, "this field is required"));
            }
        }
    }

    fn unknown(&mut self, path: &str, entry: &Entry, siblings: &[Entry], known: &[(&str, &Value)]) {
        let finding = advice::cut_by_comma(path, entry, siblings).unwrap_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let finding = Finding::new(child(path, &entry.key), entry.key_at, "unknown field");
            let meant = advice::nearest(&entry.key, &names).map(str::to_owned);
            Finding { meant, ..finding.help(advice::nearest_field(&entry.key, &names)) }
        });
        self.findings.push(finding);
    }

    /// What the API server asks of `metadata`, as far as a user writes it.
    fn metadata(&mut self, metadata: &Node) {
        let Tree::Map(entries) = &metadata.tree else {
            let message = format!("expected an object, found {}", metadata.type_name());
            return self.findings.push(Finding::new("metadata", metadata.at, message));
        };
        for entry in entries {
            let path = child("metadata", &entry.key);
            match entry.key.as_str() {
                "name" | "namespace" => self.findings.extend(values::name(&entry.value, &path)),
                "labels" | "annotations" => self.value(&values::string_map(), &entry.value, &path),
                key if METADATA.contains(&key) => {}
                _ => {
                    let known = METADATA.map(|name| (name, &Value::Null));
                    self.unknown("metadata", entry, entries, &known);
                }
            }
        }
        if metadata.get("name").is_none() {
            self.findings.push(Finding::new("metadata.name", metadata.at, "this field is required"));
        }
    }
}

fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let properties = schema["properties"].as_object();
    properties.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
