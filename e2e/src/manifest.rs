//! Manifests of sources, sinks and pipelines: a test says what it is about, and the rest is filled in.

use std::fmt;

use serde_json::json;

use crate::kafka::Kafka;

/// Resources, a document each, in the order in which they are added; [`fmt::Display`] writes them as YAML.
///
/// [`Manifest::kafka`], [`Manifest::connector`] and [`Manifest::spec`] are about the resource that was added last. What they get
/// is YAML. A text that begins with the name of an earlier field replaces that one, and an empty text says nothing.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// What `kafka` of every source and sink says.
    cluster: Vec<String>,
    resources: Vec<Resource>,
}

#[derive(Clone, Debug)]
struct Resource {
    kind: &'static str,
    name: String,
    /// Fields of its `spec.kafka`; empty where it has none.
    kafka: Vec<String>,
    /// The other fields of its `spec`.
    spec: Vec<String>,
}

impl Manifest {
    /// Resources over the plain listeners of a Kafka.
    pub fn over(kafka: &Kafka) -> Self {
        Self::default().everywhere(&format!("brokers: {}", json!(kafka.addresses())))
    }

    /// Resources over the broker at this `host:port`.
    pub fn at(broker: &str) -> Self {
        Self::default().everywhere(&format!("brokers: {}", json!([broker])))
    }

    /// Has `kafka` of every source and sink that follows say this, in flow style: `sasl: { … }`.
    pub fn everywhere(mut self, fields: &str) -> Self {
        put(&mut self.cluster, fields);
        self
    }

    /// Adds a source of the topic of its name, with columns such as `n BIGINT, nullable: false`.
    ///
    /// # Panics
    /// A column has no type.
    pub fn source(self, name: &str, columns: &[&str]) -> Self {
        let column = |column: &&str| {
            let (name, rest) = column.split_once(' ').expect("NAME TYPE");
            format!(r#"{{ name: "{name}", type: {rest} }}"#)
        };
        self.of_kafka("StreamSource", name).spec(&format!("schema: {}", list(columns.iter().map(column))))
    }

    /// Adds a sink to the topic of its name.
    pub fn sink(self, name: &str) -> Self {
        self.of_kafka("StreamSink", name)
    }

    /// Adds a pipeline from sources to sinks, each a name or `NAME, as: TABLE`. It commits five times a second.
    pub fn pipeline(self, name: &str, sources: &[&str], sinks: &[&str], sql: &str) -> Self {
        let named = |names: &[&str]| list(names.iter().map(|name| format!("{{ name: {name} }}")));
        self.add("StreamPipeline", name, Vec::new())
            .spec(&format!("sources: {}", named(sources)))
            .spec(&format!("sinks: {}", named(sinks)))
            .spec(&format!("sql: {}", json!(sql)))
            .spec("state: { commitEvery: 200ms }")
    }

    /// More of the `kafka` of a source or sink, in flow style: `key: [id], compression: Lz4`.
    ///
    /// # Panics
    /// There is no resource yet.
    pub fn kafka(mut self, fields: &str) -> Self {
        put(&mut self.last().kafka, fields);
        self
    }

    /// Another connector in place of `kafka`: `blackhole: {}`.
    ///
    /// # Panics
    /// There is no resource yet.
    pub fn connector(mut self, connector: &str) -> Self {
        self.last().kafka.clear();
        self.spec(connector)
    }

    /// One more field of the `spec`: `onError: Drop`.
    ///
    /// # Panics
    /// There is no resource yet.
    pub fn spec(mut self, field: &str) -> Self {
        put(&mut self.last().spec, field);
        self
    }

    fn of_kafka(self, kind: &'static str, name: &str) -> Self {
        let cluster = self.cluster.clone();
        self.add(kind, name, cluster).kafka(&format!("topic: {name}"))
    }

    fn add(mut self, kind: &'static str, name: &str, kafka: Vec<String>) -> Self {
        self.resources.push(Resource { kind, name: name.to_owned(), kafka, spec: Vec::new() });
        self
    }

    fn last(&mut self) -> &mut Resource {
        self.resources.last_mut().expect("a resource is added first")
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Resource { kind, name, kafka, spec } in &self.resources {
            writeln!(to, "---\napiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec:")?;
            if !kafka.is_empty() {
                writeln!(to, "  kafka: {{ {} }}", kafka.join(", "))?;
            }
            for line in spec.iter().flat_map(|field| field.lines()) {
                writeln!(to, "  {line}")?;
            }
        }
        Ok(())
    }
}

fn list(entries: impl Iterator<Item = String>) -> String {
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

/// Adds a text to fields, in place of one that begins with the same name.
fn put(fields: &mut Vec<String>, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        fields.retain(|other| name(other) != name(text));
        fields.push(text.to_owned());
    }
}

fn name(field: &str) -> &str {
    field.split_once(':').map_or(field, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_filled_in_and_what_is_said_replaces_it() {
        let manifest = Manifest::at("host:9092")
            .everywhere("tls: {}")
            .source("events", &["n BIGINT, nullable: false", "at TIMESTAMP(3)"])
            .spec("onError: Drop")
            .sink("out")
            .kafka("topic: other, key: [at]")
            .sink("none")
            .connector("blackhole: {}")
            .spec("")
            .pipeline("copy", &["events, as: e"], &["out", "none"], "INSERT INTO \"out\"\nSELECT n FROM e")
            .spec("state: { commitEvery: 1s }");
        let expected = r#"---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: events }
spec:
  kafka: { brokers: ["host:9092"], tls: {}, topic: events }
  schema: [{ name: "n", type: BIGINT, nullable: false }, { name: "at", type: TIMESTAMP(3) }]
  onError: Drop
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec:
  kafka: { brokers: ["host:9092"], tls: {}, topic: other, key: [at] }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: none }
spec:
  blackhole: {}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: copy }
spec:
  sources: [{ name: events, as: e }]
  sinks: [{ name: out }, { name: none }]
  sql: "INSERT INTO \"out\"\nSELECT n FROM e"
  state: { commitEvery: 1s }
"#;
        assert_eq!(manifest.to_string(), expected);
    }
}
