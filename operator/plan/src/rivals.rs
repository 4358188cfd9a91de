//! Two pipelines that write one sink by key: rows of one would take the place of the other's.

use std::collections::BTreeMap;

use thalweg_crds::SinkSpec;
use thalweg_crds::condition::Reason;

use crate::problem::Problem;
use crate::resources::Written;

/// The columns that make the key of what a sink writes; empty where it writes no key.
pub fn key(sink: &SinkSpec) -> &[String] {
    match &sink.kafka {
        Some(kafka) => &kafka.key,
        None => &[],
    }
}

/// A problem for each sink with a key that another pipeline writes and was there first; `first` names it by sink.
pub fn problems(written: &Written, first: &BTreeMap<String, String>) -> Vec<Problem> {
    let shared = |(name, spec): (&String, &SinkSpec)| {
        let (key, other) = (key(spec), first.get(name)?);
        (!key.is_empty()).then(|| problem(written, name, key, other))
    };
    written.sinks.iter().filter_map(shared).collect()
}

fn problem(written: &Written, sink: &str, key: &[String], other: &str) -> Problem {
    let named = written.spec.sinks.iter().position(|named| named.name == *sink);
    Problem {
        reason: Reason::SinkInUse,
        resource: format!("StreamPipeline/{}", written.name),
        path: named.map_or_else(|| "spec.deadLetter.sink".to_owned(), |index| format!("spec.sinks[{index}].name")),
        place: None,
        message: format!(
            "StreamPipeline/{other} writes StreamSink/{sink} already, and rows of both with the same key ({}) would take each \
             other's place",
            key.join(", ")
        ),
        help: Some(
            "give this pipeline a StreamSink of its own, or leave kafka.key out of the one that both write".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_crds::PipelineSpec;

    use super::*;

    fn written(key: &[&str]) -> Written {
        let spec: PipelineSpec =
            serde_json::from_value(serde_json::json!({"sources": [], "sinks": [{"name": "out"}], "sql": "x"})).unwrap();
        let kafka = serde_json::json!({"kafka": {"brokers": ["kafka:9092"], "topic": "out", "key": key}});
        let sinks = [("out".to_owned(), serde_json::from_value(kafka).unwrap())].into();
        Written { name: "mine".to_owned(), spec, sinks, ..Written::default() }
    }

    #[test]
    fn the_one_that_comes_second_is_told_whose_rows_it_would_replace() {
        let first = [("out".to_owned(), "theirs".to_owned())].into();
        let found = problems(&written(&["zone", "hour"]), &first);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "StreamPipeline/mine spec.sinks[0].name: StreamPipeline/theirs writes StreamSink/out already, and rows of both \
             with the same key (zone, hour) would take each other's place; give this pipeline a StreamSink of its own, or \
             leave kafka.key out of the one that both write"
        );
        assert_eq!(problems(&written(&[]), &first), [], "rows without a key stand side by side");
        assert_eq!(problems(&written(&["zone"]), &BTreeMap::new()), [], "nobody was there first");
    }
}
