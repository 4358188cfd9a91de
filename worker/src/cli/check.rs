//! `thalweg check`: every problem of some manifests, with its place.

use serde_json::json;
use thalweg_crds::manifest::Problems;

use super::args::{CheckArgs, Output};
use super::{Exit, print, tell};
use crate::job::{Mounted, plan_manifests};

/// Checks manifests and their SQL.
pub fn check(args: &CheckArgs) -> Exit {
    match (plan_manifests(&args.paths, &Mounted::default()), args.output) {
        (Ok(found), Output::Text) => {
            found.notes.iter().for_each(|note| tell(&format!("note: {note}")));
            let names: Vec<_> = found.pipelines.iter().map(|pipeline| pipeline.resolved.name.as_str()).collect();
            let found = match names.len() {
                1 => "1 pipeline is right".to_owned(),
                count => format!("{count} pipelines are right"),
            };
            print(&format!("{found}: {}\n", names.join(", ")))
        }
        (Ok(found), Output::Json) => {
            let pipelines = found.pipelines.iter().map(|pipeline| {
                let stages = pipeline.plan.stages.iter().map(|stage| {
                    let columns = stage.schema.fields().iter();
                    json!({
                        "id": stage.id,
                        "fingerprint": stage.fingerprint,
                        "columns": columns.map(|column| json!({
                            "name": column.name(), "type": column.data_type().to_string(), "nullable": column.is_nullable(),
                        })).collect::<Vec<_>>(),
                    })
                });
                let stages: Vec<_> = stages.collect();
                json!({"namespace": pipeline.resolved.namespace, "name": pipeline.resolved.name, "stages": stages})
            });
            let pipelines: Vec<_> = pipelines.collect();
            print(&format!("{}\n", json!({"problems": [], "pipelines": pipelines})))
        }
        (Err(problems), output) => {
            report(&problems, output);
            Exit::Wrong
        }
    }
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
