//! Scalars against their schema: type, enumeration, pattern, range, length.

use regex::Regex;
use serde_json::{Number, Value, json};

use super::super::place::Position;
use super::super::yaml::{Node, Tree};
use super::{Finding, advice};
use crate::address::{self, AddressRange};
use crate::duration::{self, Duration};
use crate::quantity::{self, Bytes};

/// What is amiss in one value that is neither the object nor the list that is expected.
pub(super) fn check(schema: &Value, node: &Node, path: &str) -> Vec<Finding> {
    let fits = match &node.tree {
        _ if schema["x-kubernetes-int-or-string"] == Value::Bool(true) => match &node.tree {
            Tree::String(_) => true,
            Tree::Number(number) => is_integer(number),
            _ => false,
        },
        Tree::String(_) => schema["type"] == "string",
        Tree::Bool(_) => schema["type"] == "boolean",
        Tree::Number(number) => schema["type"] == "number" || (schema["type"] == "integer" && is_integer(number)),
        Tree::Null | Tree::List(_) | Tree::Map(_) => false,
    };
    if !fits {
        return vec![wrong_type(schema, node, path)];
    }
    match &node.tree {
        Tree::String(text) => string(schema, text, node.at, path),
        Tree::Number(number) => range(schema, number, node.at, path).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn wrong_type(schema: &Value, node: &Node, path: &str) -> Finding {
    let expected = expected_type(schema);
    let found = match &node.written {
        Some(written) if !written.is_empty() => format!("{} (`{written}`)", node.type_name()),
        _ => node.type_name().to_owned(),
    };
    let finding = Finding::new(path, node.at, format!("expected {expected}, found {found}"));
    match (&node.tree, schema["type"].as_str()) {
        (Tree::Number(number), Some("string"))
            if [duration::PATTERN, duration::MILLISECOND_PATTERN]
                .iter()
                .any(|pattern| schema["pattern"] == *pattern) =>
        {
            finding.help(format!("give a unit, such as {number}s"))
        }
        (Tree::Bool(_) | Tree::Number(_), Some("string")) => {
            finding.help(format!("quote it: \"{}\"", node.written.as_deref().unwrap_or_default()))
        }
        (Tree::Null, _) => finding.help("give a value, or leave it out"),
        (Tree::String(text), Some("boolean" | "integer" | "number")) if looks_like(schema, text) => {
            finding.help("remove the quotes")
        }
        (_, Some("array")) if !matches!(node.tree, Tree::Map(_)) => finding.help("write a list: [value]"),
        _ => finding,
    }
}

fn expected_type(schema: &Value) -> &'static str {
    match schema["type"].as_str() {
        Some("string") => "a text",
        Some("boolean") => "true or false",
        Some("integer") => "an integer",
        Some("number") => "a number",
        Some("array") => "a list",
        Some("object") => "an object",
        _ => "an integer or a text",
    }
}

fn looks_like(schema: &Value, text: &str) -> bool {
    match schema["type"].as_str() {
        Some("boolean") => matches!(text, "true" | "false"),
        Some("integer") => text.parse::<i64>().is_ok(),
        _ => text.parse::<f64>().is_ok(),
    }
}

fn string(schema: &Value, text: &str, at: Position, path: &str) -> Vec<Finding> {
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        return enumeration(&allowed, text, at, path).into_iter().collect();
    }
    if let Some(finding) = length(schema, text, at, path) {
        return vec![finding];
    }
    let Some(expected) = schema["pattern"].as_str() else { return Vec::new() };
    pattern(expected, text).map(|message| Finding::new(path, at, message)).into_iter().collect()
}

fn enumeration(allowed: &[&str], text: &str, at: Position, path: &str) -> Option<Finding> {
    if allowed.contains(&text) {
        return None;
    }
    let finding = Finding::new(path, at, format!("expected {}, found `{text}`", advice::any_of(allowed)));
    let nearest = advice::nearest(text, allowed);
    Some(nearest.map_or_else(|| finding.clone(), |nearest| finding.clone().help(format!("did you mean {nearest}?"))))
}

fn length(schema: &Value, text: &str, at: Position, path: &str) -> Option<Finding> {
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        let help = if path == "spec.sql" { "write INSERT INTO sink SELECT … FROM source" } else { "give a value" };
        return Some(Finding::new(path, at, "the text is empty").help(help));
    }
    let most = schema["maxLength"].as_u64().filter(|most| length > *most)?;
    let message = match most {
        1 => format!("expected one character, found {length}"),
        most => format!("the text has {length} characters; the limit is {most}"),
    };
    Some(Finding::new(path, at, message))
}

/// The sentence about a text that a pattern refuses.
fn pattern(expected: &str, text: &str) -> Option<String> {
    match Regex::new(expected) {
        // The schema knows of IPv6 the shape only.
        Ok(regex) if regex.is_match(text) && expected == address::PATTERN => {
            text.parse::<AddressRange>().err().map(|error| error.to_string())
        }
        Ok(regex) if regex.is_match(text) => None,
        _ if expected == duration::PATTERN => match text.parse::<Duration>() {
            Err(error) => Some(error.to_string()),
            Ok(_) => Some(format!("`{text}` has too many digits or units for a duration")),
        },
        _ if expected == duration::MILLISECOND_PATTERN => match text.parse::<Duration>() {
            Err(error) => Some(error.to_string()),
            Ok(found) if found < Duration::from_millis(1) => Some(format!("expected at least 1ms, found {found}")),
            Ok(_) if Regex::new(duration::PATTERN).is_ok_and(|regex| regex.is_match(text)) => {
                Some(format!("expected at least 1ms, as a number of ms, s, m or h, found `{text}`"))
            }
            Ok(_) => Some(format!("`{text}` has too many digits or units for a duration")),
        },
        _ if expected == quantity::POSITIVE_PATTERN && text.parse::<Bytes>() == Ok(Bytes::new(0)) => {
            Some("expected at least 1, found 0".to_owned())
        }
        _ if expected == quantity::PATTERN || expected == quantity::POSITIVE_PATTERN => match text.parse::<Bytes>() {
            Err(error) => Some(error.to_string()),
            Ok(_) => Some(format!("`{text}` has too many digits for a quantity; use a larger unit")),
        },
        _ => match crate::pattern::expected(expected) {
            Some(sentence) => Some(format!("expected {sentence}, found `{text}`")),
            None => Some(format!("`{text}` does not match {expected}")),
        },
    }
}

fn range(schema: &Value, number: &Number, at: Position, path: &str) -> Option<Finding> {
    let value = number.as_f64()?;
    let least = schema["minimum"].as_f64();
    let most = schema["maximum"].as_f64().or_else(|| (schema["format"] == "int32").then_some(f64::from(i32::MAX)));
    if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
        let expected = match (least, most) {
            (Some(least), Some(most)) => format!("expected {least} to {most}"),
            (Some(least), None) => format!("expected {least} or more"),
            (None, most) => format!("expected at most {}", most.unwrap_or_default()),
        };
        return Some(Finding::new(path, at, format!("{expected}, found {number}")));
    }
    None
}

/// How many items a list or map has.
pub(super) fn size(schema: &Value, size: usize, keys: [&str; 2], at: Position, path: &str) -> Option<Finding> {
    let size = size as u64;
    if let Some(least) = schema[keys[0]].as_u64().filter(|least| size < *least) {
        return Some(Finding::new(path, at, format!("expected at least {least}, found {size}")));
    }
    let most = schema[keys[1]].as_u64().filter(|most| size > *most)?;
    Some(Finding::new(path, at, format!("expected at most {most}, found {size}")))
}

/// The name of a resource or namespace.
pub(super) fn name(node: &Node, path: &str) -> Vec<Finding> {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": 253 });
    let mut findings = check(&schema, node, path);
    let is_name = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if let Some(text) = node.as_str().filter(|text| findings.is_empty() && !text.split('.').all(is_name)) {
        let message = format!("`{text}` is no name; expected lowercase letters, digits, `-` and `.`");
        let better = text.to_lowercase().replace(['_', ' '], "-");
        let finding = Finding::new(path, node.at, message);
        let useful = better.split('.').all(is_name);
        findings.push(if useful { finding.help(format!("write {better}")) } else { finding });
    }
    findings
}

/// The schema of labels and annotations.
pub(super) fn string_map() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}
