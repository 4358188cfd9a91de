//! Whether what a plan has kept so far means the same under the next one: state by stage, positions by source.
//!
//! Workers refuse state that does not fit, but they would only do so once the old ones have handed over.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::Epoch;
use thalweg_crds::restart::RESTART;

use crate::check::{Stage, StageKind, noted_stages};
use crate::objects::RESOURCES;
use crate::problem::Problem;
use crate::resources::Written;
use crate::validate::ValidatedPipeline;

/// All that keeps a pipeline from going on under a new plan; `running` is the ConfigMap of the plan that it runs.
pub fn refusal(
    running: &ConfigMap,
    assignment: &AssignmentSpec,
    next: &ValidatedPipeline,
    written: &Written,
) -> Option<Vec<Problem>> {
    let was_owned = assignment.units.iter().any(|unit| unit.epoch > Epoch::default());
    if assignment.plan == next.plan.hash || !was_owned {
        return None;
    }
    // A start from scratch takes nothing over.
    if running.data.as_ref()?.get(RESTART) != next.plan.restart.as_ref() {
        return None;
    }
    let before = Plan::of(running.data.as_ref()?.get(RESOURCES)?);
    let after = Plan::of(&next.plan.resources);
    // Elsewhere nothing is kept yet.
    if before.state_url != after.state_url {
        return None;
    }
    let stages = noted_stages(running)?;
    let is_kept = |id| next.stages.iter().any(|stage| stage.id == id);
    let has_state = after.state_url.is_some();
    let gone = stages.iter().filter(|stage| has_state && !is_kept(stage.id));
    let gone = gone.map(|stage| format!("{} is gone", name(stage)));
    let changed = next.stages.iter().filter_map(|stage| change(stage, &stages, has_state));
    let moved =
        after.sources.iter().filter(|(name, source)| before.sources.get(*name).is_some_and(|old| old != *source));
    let moved = moved.map(|(name, _)| {
        format!("source {name} reads something else, and positions in the one before mean nothing there")
    });
    let found = [("spec.sql", gone.chain(changed).collect::<Vec<_>>()), ("spec.sources", moved.collect())];
    let found = found.iter().filter(|(_, found)| !found.is_empty());
    let problems: Vec<_> = found.map(|(path, found)| problem(written, path, found.join("; "))).collect();
    (!problems.is_empty()).then_some(problems)
}

/// How a stage differs from the one of its number.
fn change(stage: &Stage, before: &[Stage], has_state: bool) -> Option<String> {
    let Some(old) = before.iter().find(|old| old.id == stage.id) else {
        return has_state.then(|| format!("{} is new", name(stage)));
    };
    // Units of stateless stages are numbered by input.
    let means_the_same = old.kind == stage.kind && old.sources == stage.sources;
    let fits = if has_state { old.fingerprint == stage.fingerprint } else { means_the_same };
    (!(fits && means_the_same)).then(|| format!("{} is not what it was: {}", name(stage), what_shapes(stage.kind)))
}

fn name(stage: &Stage) -> String {
    format!(
        "stage {} over {}",
        stage.id,
        if stage.sources.is_empty() { "other stages".to_owned() } else { stage.sources.join(", ") }
    )
}

fn what_shapes(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Windowed => "its sources, window, keys, aggregates or columns have changed, which shape its state",
        StageKind::Stateless => "its sources, its columns or its sink have changed, which its positions belong to",
    }
}

fn problem(written: &Written, path: &str, message: String) -> Problem {
    Problem {
        reason: Reason::IncompatibleChange,
        resource: format!("StreamPipeline/{}", written.name),
        path: path.to_owned(),
        place: None,
        message,
        help: Some(
            "the version before goes on; undo the change, or let the pipeline start anew: onIncompatibleChange: Restart, \
             another state.url, or another name"
                .to_owned(),
        ),
    }
}

/// As much of a plan's text as says what is kept where.
struct Plan {
    state_url: Option<String>,
    /// What each source reads, by its name in SQL.
    sources: BTreeMap<String, Value>,
}

impl Plan {
    fn of(resources: &str) -> Self {
        let documents: Vec<Value> =
            resources.split("\n---\n").filter_map(|document| serde_json::from_str(document).ok()).collect();
        let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
        let pipeline = of_kind("StreamPipeline").next().unwrap_or(&Value::Null);
        let named = pipeline["spec"]["sources"].as_array().into_iter().flatten().filter_map(|named| {
            let name = named["name"].as_str()?;
            let alias = named["as"].as_str().map_or_else(|| name.replace('-', "_"), str::to_owned);
            let source = of_kind("StreamSource").find(|source| source["metadata"]["name"] == *name)?;
            Some((alias, identity(&source["spec"])))
        });
        let state_url = pipeline["spec"]["state"]["url"].as_str().map(str::to_owned);
        Self { state_url, sources: named.collect() }
    }
}

/// What positions in a source belong to. How it is reached, and how its records are read, may change.
fn identity(spec: &Value) -> Value {
    let fields = [("kafka", "topic"), ("files", "url")];
    let known = fields.iter().find(|(connector, _)| spec[connector].is_object());
    known.map_or_else(|| spec["generator"].clone(), |(connector, field)| spec[connector][field].clone())
}
