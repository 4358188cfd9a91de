//! The text of a plan: the resources that workers read, without what may change while they run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use thalweg_crds::restart::Restarted;
use thalweg_crds::{API_VERSION, PipelineSpec, SinkSpec, SourceSpec};

use crate::names::hash;
use crate::problem::Problem;

/// Fields of a pipeline that say how it is run, not what it computes: no new plan comes of them.
const NOT_OF_THE_PLAN: [&str; 6] = ["scaling", "worker", "onIncompatibleChange", "restart", "deletionPolicy", "paused"];

/// The resources of one pipeline, as they are stored.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Namespace of all of them.
    pub namespace: String,
    /// The pipeline's name.
    pub name: String,
    /// What it says.
    pub spec: PipelineSpec,
    /// Sources that it names and that exist, by name.
    pub sources: BTreeMap<String, SourceSpec>,
    /// Sinks that it names and that exist, by name.
    pub sinks: BTreeMap<String, SinkSpec>,
    /// Sources and sinks that it names and that are being deleted, by kind and name; they are not among those above.
    pub leaving: BTreeSet<(&'static str, String)>,
    /// Sources and sinks that it names and that this version cannot read, by kind and name, with what is amiss; they are not among
    /// those above.
    pub unreadable: BTreeMap<(&'static str, String), Vec<Problem>>,
    /// ConfigMaps that it takes SQL from and that exist, by name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// The start from scratch that it belongs to, where there was one.
    pub restarted: Option<Restarted>,
}

/// The text of a plan and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanText {
    /// The hash of all of it; part of the name of its ConfigMap.
    pub hash: String,
    /// Manifests: JSON documents, of which YAML is a superset.
    pub resources: String,
    /// The start from scratch that it belongs to, as JSON, where there was one.
    pub restart: Option<String>,
}

impl PlanText {
    /// Writes the manifests of a plan; `key_groups` is fixed in them, so that later changes of `scaling` make no new plan.
    pub fn new(written: &Written, key_groups: u32) -> Self {
        let mut documents = vec![document("StreamPipeline", written, &written.name, pipeline(written, key_groups))];
        documents.extend(
            written.sources.iter().map(|(name, spec)| document("StreamSource", written, name, source(written, spec))),
        );
        documents.extend(written.sinks.iter().map(|(name, spec)| document("StreamSink", written, name, value(spec))));
        documents.extend(sql_map(written));
        let texts = documents.iter().map(|document| serde_json::to_string_pretty(document).unwrap_or_default());
        let resources = format!("{}\n", texts.collect::<Vec<_>>().join("\n---\n"));
        let restart = written.restarted.as_ref().and_then(|restarted| serde_json::to_string(restarted).ok());
        let whole = restart.iter().fold(resources.clone(), |whole, restart| whole + restart);
        Self { hash: hash(whole.as_bytes()), resources, restart }
    }

    /// Line and column, both from 1, within a text such as SQL, of a place in `resources`: there a text is one JSON string
    /// on one line.
    pub fn place_in_text(&self, line: usize, column: usize) -> Option<(usize, usize)> {
        let written: Vec<char> = self.resources.lines().nth(line.checked_sub(1)?)?.chars().collect();
        let start = text_start(&written)?;
        let end = column.checked_sub(1)?.min(written.len());
        let (mut at, mut place) = (start, (1, 1));
        while at < end {
            let escape = (written[at] == '\\').then(|| written.get(at + 1)).flatten();
            at += match escape {
                Some('u') => 6,
                Some(_) => 2,
                None => 1,
            };
            place = if escape == Some(&'n') { (place.0 + 1, 1) } else { (place.0, place.1 + 1) };
        }
        Some(place)
    }
}

/// Where the text of a `"key": "text"` begins.
fn text_start(line: &[char]) -> Option<usize> {
    let mut quotes = line.iter().enumerate().filter(|(_, c)| **c == '"').map(|(at, _)| at);
    quotes.nth(2).map(|at| at + 1)
}

fn pipeline(written: &Written, key_groups: u32) -> Value {
    let mut spec = value(&written.spec);
    if let Value::Object(fields) = &mut spec {
        NOT_OF_THE_PLAN.iter().for_each(|field| drop(fields.shift_remove(*field)));
        let state = value(&written.spec.state());
        let mut state = if let Value::Object(state) = state { state } else { Map::new() };
        state.insert("keyGroups".to_owned(), key_groups.into());
        fields.insert("state".to_owned(), Value::Object(state));
    }
    spec
}

/// A source, which starts where the last restart says if it can.
fn source(written: &Written, spec: &SourceSpec) -> Value {
    let mut spec = value(spec);
    let from = written.restarted.as_ref().and_then(|restarted| restarted.from.as_ref());
    if let (Some(kafka), Some(from)) = (spec.get_mut("kafka").and_then(Value::as_object_mut), from) {
        kafka.insert("startAt".to_owned(), value(from));
    }
    spec
}

/// The ConfigMap that holds the SQL, with that key only.
fn sql_map(written: &Written) -> Option<Value> {
    let reference = &written.spec.sql_from.as_ref()?.config_map_key_ref;
    let data = written.config_maps.get(&reference.name)?;
    let kept: BTreeMap<_, _> = data.iter().filter(|(key, _)| **key == reference.key).collect();
    let metadata = json!({"namespace": written.namespace, "name": reference.name});
    Some(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": kept}))
}

fn document(kind: &str, written: &Written, name: &str, spec: Value) -> Value {
    let metadata = json!({"namespace": written.namespace, "name": name});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn value(spec: &impl Serialize) -> Value {
    serde_json::to_value(spec).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use thalweg_crds::manifest;
    use thalweg_crds::scaling::ScalingSpec;

    use super::*;

    fn with_sql(sql: &str) -> Written {
        let spec = PipelineSpec { sql: Some(sql.to_owned()), ..PipelineSpec::default() };
        Written { namespace: "a".to_owned(), name: "p".to_owned(), spec, ..Written::default() }
    }

    #[test]
    fn what_may_change_while_it_runs_makes_no_new_plan() {
        let plan = PlanText::new(&with_sql("x"), 8);
        let mut changed = with_sql("x");
        changed.spec.paused = true;
        changed.spec.scaling = Some(ScalingSpec { max_workers: 50, ..ScalingSpec::default() });
        assert_eq!(PlanText::new(&changed, 8), plan);
        assert_ne!(PlanText::new(&with_sql("y"), 8).hash, plan.hash);
        assert_ne!(PlanText::new(&with_sql("x"), 9).hash, plan.hash);
    }

    #[test]
    fn a_restart_makes_a_new_plan_that_starts_where_it_says() {
        let mut changed = with_sql("x");
        let kafka =
            json!({"kafka": {"brokers": ["kafka:9092"], "topic": "t"}, "schema": [{"name": "a", "type": "STRING"}]});
        changed.sources = [("t".to_owned(), serde_json::from_value(kafka).unwrap())].into();
        let plan = PlanText::new(&changed, 8);
        changed.restarted = Some(Restarted { made: 7, count: 1, ..Restarted::default() });
        let restarted = PlanText::new(&changed, 8);
        assert_eq!(restarted.resources, plan.resources);
        assert_ne!(restarted.hash, plan.hash);
        let from =
            serde_json::from_value(json!({"position": "Timestamp", "timestamp": "2018-01-01T00:00:00Z"})).unwrap();
        changed.restarted = Some(Restarted { made: 7, count: 2, from: Some(from), ..Restarted::default() });
        let (manifests, _) = manifest::read_text(Path::new("plan"), &PlanText::new(&changed, 8).resources);
        let start = &manifests.sources[0].spec.kafka.as_ref().unwrap().start_at;
        assert_eq!(start.timestamp.as_deref(), Some("2018-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn any_sql_comes_back_as_it_was_and_every_character_is_found(sql in "(\\PC|[\n\t\r\"\\\\ \u{85}\u{2028}\u{0}\u{1f600}]){1,40}") {
            let plan = PlanText::new(&with_sql(&sql), 8);
            let (manifests, _) = manifest::read_text(Path::new("plan"), &plan.resources);
            if let Some(item) = manifests.pipelines.first() {
                prop_assert_eq!(item.spec.sql.as_ref(), Some(&sql));
                let mut at = (1, 1);
                for c in sql.chars().filter(|c| !c.is_whitespace()).map(Some).chain([None]) {
                    let Some(_) = c else { break };
                    at = next_inked(&sql, at);
                    let place = item.position_in_text("spec.sql", at.0, at.1).unwrap();
                    prop_assert_eq!(plan.place_in_text(place.line, place.column), Some(at));
                    at.1 += 1;
                }
            }
        }
    }

    /// The next character at or after a place that is no white space.
    fn next_inked(text: &str, at: (usize, usize)) -> (usize, usize) {
        let lines: Vec<&str> = text.split('\n').collect();
        for (index, line) in lines.iter().enumerate().skip(at.0 - 1) {
            let from = if index + 1 == at.0 { at.1 - 1 } else { 0 };
            if let Some(found) = line.chars().enumerate().skip(from).find(|(_, c)| !c.is_whitespace()) {
                return (index + 1, found.0 + 1);
            }
        }
        at
    }
}
