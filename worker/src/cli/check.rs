//! `thalweg check`: every problem of some manifests, with its place.

use std::path::PathBuf;

use serde_json::{Value, json};
use thalweg_crds::manifest::Problems;
use thalweg_sql::stages::{InputFrom, Stage, StageKind};

use super::args::{CheckArgs, Output};
use super::{Exit, print, tell};
use crate::job::{Found, Mounted, plan_declared, plan_manifests};

/// Checks manifests and their SQL.
pub fn check(args: &CheckArgs) -> Exit {
    let found = match args.offline {
        true => plan_declared(&args.paths),
        false => plan_manifests(&args.paths, &Mounted::default()),
    };
    match (found, args.output) {
        (Ok(found), Output::Text) => {
            found.notes.iter().for_each(|note| tell(&format!("note: {note}")));
            let names: Vec<_> = found.pipelines.iter().map(|pipeline| pipeline.resolved.name.as_str()).collect();
            if names.is_empty() {
                return print("no pipeline, so nothing says how the sources and sinks go together\n");
            }
            let found = match names.len() {
                1 => "1 pipeline is right".to_owned(),
                count => format!("{count} pipelines are right"),
            };
            print(&format!("{found}: {}\n", names.join(", ")))
        }
        (Ok(found), Output::Json) => print(&format!("{}\n", answer(&found))),
        (Err(problems), output) => {
            report(&problems, output);
            Exit::Wrong
        }
    }
}

/// What is said of manifests that are right.
pub fn answer(found: &Found) -> Value {
    let pipelines = found.pipelines.iter().map(|pipeline| {
        let stages: Vec<_> = pipeline.plan.stages.iter().map(stage).collect();
        json!({"namespace": pipeline.resolved.namespace, "name": pipeline.resolved.name, "stages": stages})
    });
    let pipelines: Vec<_> = pipelines.collect();
    json!({"problems": [], "pipelines": pipelines})
}

/// A stage, as far as others decide from it: what its units are, what it reads, what it gives, and whether its state fits.
/// `sources` has one entry for each input that is a source, in their order: units of stateless stages, which read nothing
/// else, are numbered by input.
fn stage(stage: &Stage) -> Value {
    let kind = match stage.kind {
        StageKind::Stateless => "stateless",
        StageKind::Windowed(_) => "windowed",
    };
    let sources = stage.inputs.iter().filter_map(|input| match &input.from {
        InputFrom::Source(name) => Some(name.as_str()),
        InputFrom::Stage(_) => None,
    });
    let columns = stage.schema.fields().iter().map(|column| {
        json!({"name": column.name(), "type": column.data_type().to_string(), "nullable": column.is_nullable()})
    });
    json!({
        "id": stage.id,
        "kind": kind,
        "sources": sources.collect::<Vec<_>>(),
        "fingerprint": stage.fingerprint,
        "columns": columns.collect::<Vec<_>>(),
    })
}

/// Says that there is nothing to run.
pub fn nothing(paths: &[PathBuf]) -> Exit {
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    tell(&format!("error: there is no StreamPipeline in {}\n  help: give its manifest too", shown.join(", ")));
    Exit::Wrong
}

/// Prints problems: for people on standard error, for scripts on standard output.
pub fn report(problems: &Problems, output: Output) {
    match output {
        Output::Text => problems.as_slice().iter().for_each(|problem| tell(&problem.to_string())),
        Output::Json => {
            print(&format!("{}\n", json!({"problems": problems.as_slice()})));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::plan_text;

    const MANIFESTS: &str = "
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: b }
spec: { generator: { taxi: {}, rows: 1 }, schema: [{ name: trip_id, type: BIGINT }] }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: a }
spec: { generator: { taxi: {}, rows: 1 }, schema: [{ name: trip_id, type: BIGINT }] }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec: { blackhole: {} }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: p }
spec:
  sources: [{ name: a }, { name: b }]
  sinks: [{ name: out }]
  sql: |
    INSERT INTO out
    SELECT trip_id FROM b UNION ALL SELECT trip_id FROM a UNION ALL SELECT trip_id + 1 AS trip_id FROM b
";

    #[test]
    fn a_stage_names_the_source_of_each_input_in_their_order() {
        let found = plan_text(MANIFESTS).expect("it is right");
        let stages: Vec<_> = found.pipelines[0].plan.stages.iter().map(stage).collect();
        assert_eq!((stages.len(), &stages[0]["kind"]), (1, &json!("stateless")));
        assert_eq!(stages[0]["sources"], json!(["b", "a", "b"]));
    }
}
