//! `thalweg check`: every problem of some manifests, with its place.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use thalweg_crds::manifest::Problems;
use thalweg_sql::fingerprint;
use thalweg_sql::stages::{InputFrom, PlannedPipeline, Stage, StageKind};

use super::args::{CheckArgs, Output};
use super::{Exit, print, tell};
use crate::job::{Found, Mounted, plan_declared, plan_manifests, plan_text};

/// Checks manifests and their SQL.
pub fn check(args: &CheckArgs) -> Exit {
    if args.lines {
        return lines(&args.paths);
    }
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

/// Answers each line of some files by a line, whatever is wrong in it: one set of manifests says nothing of the next.
fn lines(paths: &[PathBuf]) -> Exit {
    for path in paths {
        match answer_lines(path) {
            Ok(Exit::Done) => {}
            Ok(exit) => return exit,
            Err(error) => {
                tell(&format!("error: {}: {error}", path.display()));
                return Exit::Wrong;
            }
        }
    }
    Exit::Done
}

fn answer_lines(path: &Path) -> io::Result<Exit> {
    for line in BufReader::new(File::open(path)?).lines() {
        let manifests: String = serde_json::from_str(&line?)?;
        let answer = match plan_text(&manifests) {
            Ok(found) => answer(&found),
            Err(problems) => refusal(&problems),
        };
        let printed = print(&format!("{answer}\n"));
        if printed != Exit::Done {
            return Ok(printed);
        }
    }
    Ok(Exit::Done)
}

/// What is said of manifests that are right.
pub fn answer(found: &Found) -> Value {
    let pipelines = found.pipelines.iter().map(|pipeline| {
        let stages = stages(&pipeline.plan);
        json!({"namespace": pipeline.resolved.namespace, "name": pipeline.resolved.name, "stages": stages})
    });
    let pipelines: Vec<_> = pipelines.collect();
    json!({"problems": [], "pipelines": pipelines})
}

/// The stages of a plan, statement by statement.
fn stages(plan: &PlannedPipeline) -> Vec<Value> {
    let statement = |(sink, stages): (&str, &[Stage])| -> Vec<Value> {
        let text = fingerprint::whole(stages);
        stages.iter().map(|one| stage(one, sink, &text)).collect()
    };
    plan.statements().flat_map(statement).collect()
}

/// A stage, as far as others decide from it: what its units are, to which statement it belongs, what it reads, what it gives,
/// and whether its state fits.
/// `sources` has one entry for each input that is a source, in their order: units of stateless stages, which read nothing
/// else, are numbered by input.
fn stage(stage: &Stage, sink: &str, text: &str) -> Value {
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
        "statement": stage.statement,
        "sink": sink,
        "text": text,
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
            print(&format!("{}\n", refusal(problems)));
        }
    }
}

/// What is said of manifests that are wrong.
fn refusal(problems: &Problems) -> Value {
    json!({"problems": problems.as_slice()})
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let stages = stages(&found.pipelines[0].plan);
        assert_eq!((stages.len(), &stages[0]["kind"]), (1, &json!("stateless")));
        assert_eq!(stages[0]["sources"], json!(["b", "a", "b"]));
        assert_eq!((&stages[0]["statement"], &stages[0]["sink"]), (&json!(0), &json!("out")));
    }
}
