//! What a pipeline refers to, in its own namespace.

use std::collections::BTreeSet;

use thalweg_crds::PipelineSpec;
use thalweg_crds::condition::Reason;

use crate::problem::Problem;
use crate::resources::Written;

/// Names of the sources that a pipeline reads.
pub fn source_names(spec: &PipelineSpec) -> BTreeSet<&str> {
    spec.sources.iter().map(|source| source.name.as_str()).collect()
}

/// Names of the sinks that a pipeline writes, that of dead letters included.
pub fn sink_names(spec: &PipelineSpec) -> BTreeSet<&str> {
    let sinks = spec.sinks.iter().map(|sink| sink.name.as_str());
    sinks.chain(spec.dead_letter.as_ref().map(|dead_letter| dead_letter.sink.as_str())).collect()
}

/// Name of the ConfigMap that holds the SQL of a pipeline.
pub fn sql_map_name(spec: &PipelineSpec) -> Option<&str> {
    spec.sql_from.as_ref().map(|from| from.config_map_key_ref.name.as_str())
}

/// Every reference to what does not exist or cannot be read, by its field, with what is amiss.
pub(crate) fn missing(written: &Written) -> Vec<(String, Vec<Problem>)> {
    let spec = &written.spec;
    let mut problems = Vec::new();
    let mut expect = |exists: bool, kind: &'static str, name: &str, path: String| {
        if !exists {
            let unreadable = written.unreadable.get(&(kind, name.to_owned())).cloned();
            let found = unreadable.unwrap_or_else(|| vec![problem(written, kind, name, path.clone())]);
            problems.push((path, found));
        }
    };
    for (index, source) in spec.sources.iter().enumerate() {
        let exists = written.sources.contains_key(&source.name);
        expect(exists, "StreamSource", &source.name, format!("spec.sources[{index}].name"));
    }
    for (index, sink) in spec.sinks.iter().enumerate() {
        let exists = written.sinks.contains_key(&sink.name);
        expect(exists, "StreamSink", &sink.name, format!("spec.sinks[{index}].name"));
    }
    if let Some(dead_letter) = &spec.dead_letter {
        let exists = written.sinks.contains_key(&dead_letter.sink);
        expect(exists, "StreamSink", &dead_letter.sink, "spec.deadLetter.sink".to_owned());
    }
    if let Some(name) = sql_map_name(spec) {
        let exists = written.config_maps.contains_key(name);
        expect(exists, "ConfigMap", name, "spec.sqlFrom.configMapKeyRef.name".to_owned());
    }
    problems
}

fn problem(written: &Written, kind: &'static str, name: &str, path: String) -> Problem {
    let leaves = written.leaving.contains(&(kind, name.to_owned()));
    Problem {
        reason: Reason::ReferenceNotFound,
        resource: format!("StreamPipeline/{}", written.name),
        path,
        place: None,
        message: match leaves {
            true => format!("{kind} `{name}` in namespace {} is being deleted", written.namespace),
            false => format!("there is no {kind} `{name}` in namespace {}", written.namespace),
        },
        help: Some(format!(
            "apply it there, or name another one (kubectl get {} -n {})",
            plural(kind),
            written.namespace
        )),
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}
