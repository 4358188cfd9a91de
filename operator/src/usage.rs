//! Which pipelines name which sources, sinks and ConfigMaps with SQL, kept as pipelines come and go: with thousands of them nobody looks through
//! all for each event.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use kube::runtime::watcher::{self, Event};
use thalweg_crds::StreamPipeline;
use thalweg_operator_plan::references::{sink_names, source_names};

use crate::kept::Kept;

/// A kind of resource that pipelines name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Used {
    /// A StreamSource.
    Source,
    /// A StreamSink.
    Sink,
    /// A ConfigMap with SQL.
    ConfigMap,
}

impl Used {
    /// Its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Source => "StreamSource",
            Self::Sink => "StreamSink",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// What is named: what it is, its namespace, its name.
pub type UsedKey = (Used, String, String);
/// A pipeline by namespace and name.
type PipelineKey = (String, String);

/// Which pipelines name which sources, sinks and ConfigMaps with SQL.
#[derive(Default)]
pub struct Usage(Mutex<Index>);

#[derive(Default)]
struct Index {
    names: HashMap<PipelineKey, Vec<UsedKey>>,
    users: HashMap<UsedKey, BTreeSet<String>>,
    /// Pipelines of the list that is being read.
    listed: HashSet<PipelineKey>,
}

impl Usage {
    /// Takes note of an event of the pipelines' watch.
    pub fn note(&self, event: &watcher::Result<Event<Kept<StreamPipeline>>>) {
        let mut index = self.lock();
        match event {
            Ok(Event::Init) => index.listed.clear(),
            Ok(Event::InitApply(pipeline)) => {
                index.listed.insert(key(pipeline));
                index.set(key(pipeline), named(pipeline));
            }
            Ok(Event::Apply(pipeline)) => index.set(key(pipeline), named(pipeline)),
            Ok(Event::Delete(pipeline)) => index.set(key(pipeline), Vec::new()),
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut index.listed);
                let gone: Vec<_> = index.names.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.into_iter().for_each(|key| index.set(key, Vec::new()));
            }
            Err(_) => {}
        }
    }

    /// Names of the pipelines that name it.
    pub fn users(&self, used: &UsedKey) -> BTreeSet<String> {
        self.lock().users.get(used).cloned().unwrap_or_default()
    }

    /// All that pipelines name of a kind.
    pub fn all(&self, kind: Used) -> Vec<UsedKey> {
        self.lock().users.keys().filter(|used| used.0 == kind).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn set(&mut self, pipeline: PipelineKey, names: Vec<UsedKey>) {
        for before in self.names.remove(&pipeline).into_iter().flatten() {
            if let Some(users) = self.users.get_mut(&before) {
                users.remove(&pipeline.1);
                if users.is_empty() {
                    self.users.remove(&before);
                }
            }
        }
        for name in &names {
            self.users.entry(name.clone()).or_default().insert(pipeline.1.clone());
        }
        if !names.is_empty() {
            self.names.insert(pipeline, names);
        }
    }
}

/// The sources and sinks that a pipeline names.
pub fn used(pipeline: &StreamPipeline) -> Vec<UsedKey> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let sources = source_names(&pipeline.spec).into_iter().map(|name| (Used::Source, name));
    let sinks = sink_names(&pipeline.spec).into_iter().map(|name| (Used::Sink, name));
    sources.chain(sinks).map(|(used, name)| (used, namespace.clone(), name.to_owned())).collect()
}

/// All that a pipeline names, also if this version cannot read it: it may run all the same, and names stand in the same places.
pub fn named(pipeline: &Kept<StreamPipeline>) -> Vec<UsedKey> {
    let (json, namespace) = (pipeline.json(), pipeline.namespace().unwrap_or_default());
    let spec = &json["spec"];
    let each = |field: &str| spec[field].as_array().into_iter().flatten().map(|one| &one["name"]);
    let sources = each("sources").map(|name| (Used::Source, name));
    let sinks = each("sinks").chain([&spec["deadLetter"]["sink"]]).map(|name| (Used::Sink, name));
    let sql_map = (Used::ConfigMap, &spec["sqlFrom"]["configMapKeyRef"]["name"]);
    let all = sources.chain(sinks).chain([sql_map]);
    all.filter_map(|(used, name)| Some((used, namespace.clone(), name.as_str()?.to_owned()))).collect()
}

fn key(pipeline: &Kept<StreamPipeline>) -> PipelineKey {
    (pipeline.namespace().unwrap_or_default(), pipeline.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline(name: &str, source: &str) -> Kept<StreamPipeline> {
        let spec = json!({"sources": [{"name": source}], "sinks": [{"name": "out"}], "sql": "x"});
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_config_map_with_sql_has_users_and_is_no_resource_that_is_told_what_pipelines_say() {
        let from = json!({"configMapKeyRef": {"name": "queries", "key": "fares.sql"}});
        let spec = json!({"sources": [{"name": "x"}], "sinks": [{"name": "out"}], "sqlFrom": from});
        let pipeline: Kept<StreamPipeline> =
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec})).unwrap();
        let usage = Usage::default();
        usage.note(&Ok(Event::Apply(pipeline.clone())));
        let map = (Used::ConfigMap, "n".to_owned(), "queries".to_owned());
        assert_eq!(usage.all(Used::ConfigMap), std::slice::from_ref(&map));
        assert_eq!(usage.users(&map).into_iter().collect::<Vec<_>>(), ["a"]);
        assert!(!used(&pipeline.object().unwrap()).contains(&map));
        usage.note(&Ok(Event::Delete(pipeline)));
        assert!(usage.all(Used::ConfigMap).is_empty());
    }

    #[test]
    fn a_pipeline_names_the_same_whether_or_not_it_can_be_read() {
        let mut spec = json!({
            "sources": [{"name": "x"}], "sinks": [{"name": "out"}], "deadLetter": {"sink": "bad"}, "sql": "x",
        });
        let kept = |spec: &serde_json::Value| -> Kept<StreamPipeline> {
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "n"}, "spec": spec})).unwrap()
        };
        let readable = kept(&spec);
        let names: BTreeSet<_> = named(&readable).into_iter().collect();
        assert_eq!(names, used(&readable.object().unwrap()).into_iter().collect::<BTreeSet<_>>());
        spec["paused"] = "of another version".into();
        let unreadable = kept(&spec);
        assert!(unreadable.object().is_none());
        assert_eq!(named(&unreadable).into_iter().collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn users_follow_edits_deletions_and_lists() {
        let usage = Usage::default();
        let users = |used, name: &str| {
            usage.users(&(used, "n".to_owned(), name.to_owned())).into_iter().collect::<Vec<_>>().join(" ")
        };
        usage.note(&Ok(Event::Apply(pipeline("a", "x"))));
        usage.note(&Ok(Event::Apply(pipeline("b", "x"))));
        assert_eq!((users(Used::Source, "x"), users(Used::Sink, "out")), ("a b".to_owned(), "a b".to_owned()));
        usage.note(&Ok(Event::Apply(pipeline("b", "y"))));
        assert_eq!((users(Used::Source, "x"), users(Used::Source, "y")), ("a".to_owned(), "b".to_owned()));
        usage.note(&Ok(Event::Delete(pipeline("a", "x"))));
        assert_eq!((users(Used::Source, "x"), users(Used::Sink, "out")), (String::new(), "b".to_owned()));
        // What was deleted unseen is not in the list.
        usage.note(&Ok(Event::Init));
        usage.note(&Ok(Event::InitApply(pipeline("c", "y"))));
        usage.note(&Ok(Event::InitDone));
        assert_eq!(users(Used::Sink, "out"), "c");
    }
}
