//! Which pipelines name which sources and sinks, kept as pipelines come and go: with thousands of them nobody looks through
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
}

impl Used {
    /// Its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Source => "StreamSource",
            Self::Sink => "StreamSink",
        }
    }
}

/// A source or a sink: what it is, its namespace, its name.
pub type UsedKey = (Used, String, String);
/// A pipeline by namespace and name.
type PipelineKey = (String, String);

/// Which pipelines name which sources and sinks.
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

    /// Names of the pipelines that name a source or a sink.
    pub fn users(&self, used: &UsedKey) -> BTreeSet<String> {
        self.lock().users.get(used).cloned().unwrap_or_default()
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

fn named(pipeline: &Kept<StreamPipeline>) -> Vec<UsedKey> {
    pipeline.object().map(|pipeline| used(&pipeline)).unwrap_or_default()
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
