//! YAML as kubectl reads it, in a tree whose every node knows its place.
//!
//! kubectl reads through `sigs.k8s.io/yaml`, so YAML 1.1: `yes`, `on` and `y` are booleans, `0777` is octal, keys may
//! be merged with `<<`. Limits keep hostile texts cheap: 4 MiB, 64 levels, 100,000 nodes with aliases written out.

mod build;
mod scalar;

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::place::{Position, TextPlace};

pub use build::parse;

/// The longest file that is read.
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// The most nodes of a file, with aliases written out.
pub const MAX_NODES: usize = 100_000;

/// One value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub tree: Tree,
    /// Where it begins.
    pub at: Position,
    /// Of a string: where its characters stand.
    pub text: Option<TextPlace>,
    /// Of a scalar that is no string: how it was written.
    pub written: Option<String>,
    /// How many nodes it holds, itself included, with aliases written out.
    pub(crate) size: usize,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Nothing, `null` or `~`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Arc<Node>>),
    /// A map; keys are unique.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key, as JSON would have it.
    pub key: String,
    /// Where the key begins.
    pub key_at: Position,
    /// Its value.
    pub value: Arc<Node>,
}

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// As it is.
    Plain,
    /// Within `'`.
    Single,
    /// Within `"`.
    Double,
    /// A block: `|` or `>`.
    Block,
}

/// What was read of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The documents before the first error of syntax.
    pub documents: Vec<Arc<Node>>,
    /// What is amiss.
    pub problems: Vec<YamlProblem>,
}

/// Something amiss in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlProblem {
    /// Where.
    pub at: Position,
    /// What.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Node {
    /// The value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(*value),
            Tree::Number(number) => Value::Number(number.clone()),
            Tree::String(text) => Value::String(text.clone()),
            Tree::List(items) => Value::Array(items.iter().map(|item| item.to_json()).collect()),
            Tree::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The entry of a map.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Arc<Node>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.tree {
            Tree::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its type, with an article.
    pub fn type_name(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "nothing",
            Tree::Bool(_) => "a boolean",
            Tree::Number(number) if number.is_f64() => "a number",
            Tree::Number(_) => "an integer",
            Tree::String(_) => "a text",
            Tree::List(_) => "a list",
            Tree::Map(_) => "an object",
        }
    }
}

#[cfg(test)]
mod tests;
