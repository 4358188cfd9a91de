//! What a request is about, by its path and query.

use std::collections::HashMap;

/// A parsed request path.
#[derive(Clone, Debug)]
pub struct Target {
    /// Group, version and plural, such as `apps/v1/deployments`.
    pub kind: String,
    /// The namespace; all where there is none.
    pub namespace: Option<String>,
    /// One object.
    pub name: Option<String>,
    /// A part of it, such as `status`.
    pub part: Option<String>,
    /// The query.
    pub query: HashMap<String, String>,
}

impl Target {
    /// Parses a request's path and query.
    pub fn parse(path: &str, query: &str) -> Self {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let group: Vec<&str> =
            if parts[0] == "api" { parts.drain(..2).skip(1).collect() } else { parts.drain(..3).skip(1).collect() };
        let namespace = (parts[0] == "namespaces" && parts.len() > 2).then(|| parts.drain(..2).nth(1)).flatten();
        let mut rest = parts.into_iter().map(str::to_owned);
        let plural = rest.next().unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            kind: format!("{}/{plural}", group.join("/")),
            namespace: namespace.map(str::to_owned),
            name: rest.next(),
            part: rest.next(),
            query: pairs.map(|(key, value)| (key.to_owned(), decode(value))).collect(),
        }
    }

    /// Whether an object's labels are selected.
    pub fn selects(&self, object: &serde_json::Value) -> bool {
        let selector = self.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        selector.split(',').filter(|term| !term.is_empty()).all(|term| {
            if let Some((key, value)) = term.split_once("!=") {
                return object["metadata"]["labels"][key] != *value;
            }
            let (key, value) = term.split_once('=').map_or((term, None), |(key, value)| (key, Some(value)));
            let label = object["metadata"]["labels"][key].as_str();
            label.is_some_and(|label| value.is_none_or(|value| value == label))
        })
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal")
        });
        bytes.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8(bytes).expect("UTF-8")
}
