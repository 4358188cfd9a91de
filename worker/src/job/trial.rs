//! What a run would refuse at its start, found by the same code, without opening anything that the manifests name.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use thalweg_connectors::registry;
use thalweg_core::error::Error;
use thalweg_crds::manifest::{Problem, ResolvedPipeline, ResolvedSink, ResolvedSource};
use thalweg_sql::stages::StageOutput;

use super::build::columns_read;
use super::outputs::Outputs;
use super::planned::{Planned, schema};
use crate::runtime::dead_letter;

/// Every problem of a pipeline whose SQL is right.
pub fn problems(planned: &Planned) -> Vec<Problem> {
    let resolved = &planned.resolved;
    let mut problems: Vec<_> = resolved.sources.iter().filter_map(|source| of_source(planned, source)).collect();
    for stage in &planned.plan.stages {
        let StageOutput::Sink(name) = &stage.output else { continue };
        let sink = resolved.sinks.iter().find(|sink| sink.alias == *name);
        problems.extend(sink.and_then(|sink| of_sink(resolved, sink, &stage.schema)));
    }
    let dead_letters = resolved.dead_letter.as_ref();
    problems.extend(dead_letters.and_then(|sink| of_sink(resolved, sink, &dead_letter::schema())));
    problems.extend(read_back(planned));
    problems.extend(of_state(resolved));
    let outputs = Outputs { resolved, plan: &planned.plan, key_groups: planned.key_groups() };
    problems.extend(outputs.check().err().map(|error| at_pipeline(resolved, "spec.deadLetter.sink", error)));
    problems
}

fn of_source(planned: &Planned, source: &ResolvedSource) -> Option<Problem> {
    let columns: BTreeSet<String> = columns_read(&planned.plan, source)?;
    let error = registry::try_source(source, schema(source), &columns).err()?;
    let declared = |name: &str| source.spec.schema.iter().position(|column| column.name == name);
    let (path, message) = placed(&error, |name| declared(name).map(|index| format!("spec.schema[{index}]")));
    Some(planned.resolved.source_problem(&source.name, &path, message, error.hint))
}

fn of_sink(resolved: &ResolvedPipeline, sink: &ResolvedSink, rows: &SchemaRef) -> Option<Problem> {
    let error = registry::try_sink(sink, rows).err()?;
    let (path, message) = placed(&error, |_| None);
    Some(resolved.sink_problem(&sink.name, &path, message, error.hint))
}

/// Sinks that write what a source of the pipeline reads: the next run, or a watching one, would take it for input.
fn read_back(planned: &Planned) -> Vec<Problem> {
    let resolved = &planned.resolved;
    let sinks = resolved.sinks.iter().chain(&resolved.dead_letter);
    let is_read = |source: &&ResolvedSource| columns_read(&planned.plan, source).is_some();
    let pairs = sinks.flat_map(|sink| resolved.sources.iter().filter(is_read).map(move |source| (source, sink)));
    let pairs = pairs.filter(|(source, sink)| registry::reads_back(source, sink));
    let problem = |(source, sink): (&ResolvedSource, &ResolvedSink)| {
        let message = format!("StreamSource/{} would read what is written here", source.name);
        let help = Some("write into a folder that its `files.url` does not mean".to_owned());
        resolved.sink_problem(&sink.name, "spec.files.url", message, help)
    };
    pairs.map(problem).collect()
}

/// A place of state that is none.
pub fn of_state(resolved: &ResolvedPipeline) -> Option<Problem> {
    let url = resolved.spec.state.as_ref()?.url.as_ref()?;
    thalweg_state::check_url(url).err().map(|error| at_pipeline(resolved, "spec.state.url", error))
}

fn at_pipeline(resolved: &ResolvedPipeline, path: &str, error: Error) -> Problem {
    resolved.problem(path, format!("{}: {}", error.what, error.detail), error.hint)
}

/// The field that an error speaks of, and what is left to be said.
fn placed(error: &Error, column: impl Fn(&str) -> Option<String>) -> (String, String) {
    let mut quoted = error.what.split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or_default();
    let is_field = ["files.", "format.", "generator.", "kafka."].iter().any(|start| first.starts_with(start));
    let whole = format!("{}: {}", error.what, error.detail);
    if is_field {
        let rest = error.what.trim_start_matches(&format!("`{first}`")).trim_start_matches([':', ' ']);
        let message = if rest.is_empty() { error.detail.clone() } else { format!("{rest}: {}", error.detail) };
        return (format!("spec.{first}"), message);
    }
    (column(first).unwrap_or_else(|| "spec".to_owned()), whole)
}
