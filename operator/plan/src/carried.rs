//! Whether what a plan has kept so far means the same under the next one: state by statement, positions by source. What has
//! come or gone is no conflict: only what stands in the place of another is.
//!
//! Workers refuse state that does not fit, but they would only do so once the old ones have handed over.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use thalweg_crds::assignment::{AssignmentSpec, StageNumbers};
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::Epoch;
use thalweg_crds::statements::{Fate, Numbered, WHICH};

use crate::check::{Stage, StageKind};
use crate::objects::RESOURCES;
use crate::problem::Problem;
use crate::resources::Written;
use crate::restart;
use crate::statements::{Given, published, statements};
use crate::validate::ValidatedPipeline;

/// The field of what is wrong with statements.
const SQL: &str = "spec.sql";
/// The field of what is wrong with sources.
const SOURCES: &str = "spec.sources";

/// All that keeps a pipeline from going on under a new plan; `running` is the ConfigMap of the plan that it runs. Where that is
/// gone nobody knows what its sources were, but the assignment says what its statements are.
pub fn refusal(
    running: Option<&ConfigMap>,
    assignment: &AssignmentSpec,
    next: &ValidatedPipeline,
    written: &Written,
) -> Option<Vec<Problem>> {
    let was_owned = assignment.units.iter().any(|unit| unit.epoch > Epoch::default());
    if assignment.plan == next.plan.hash || !was_owned {
        return None;
    }
    // A start from scratch takes nothing over.
    let is_another_start = match running {
        Some(running) => restart::start(restart::noted(running).as_ref()) != restart::start(written.restarted.as_ref()),
        None => restart::counted(assignment) != next.restarts,
    };
    if is_another_start {
        return None;
    }
    let after = Plan::of(&next.plan.resources);
    let text = running.and_then(|running| running.data.as_ref()?.get(RESOURCES));
    let before =
        text.map_or_else(|| Plan { state_url: after.state_url.clone(), ..Plan::default() }, |text| Plan::of(text));
    // Elsewhere nothing is kept yet.
    if before.state_url != after.state_url {
        return None;
    }
    let changed = assignment.numbers.as_ref().map(|numbers| changed(numbers, &next.stages, after.state_url.is_some()));
    let changed = changed.unwrap_or_default();
    let moved =
        after.sources.iter().filter(|(name, source)| before.sources.get(*name).is_some_and(|old| old != *source));
    let moved = moved.map(|(name, _)| {
        format!("source {name} reads something else, and positions in the one before mean nothing there")
    });
    let found = [(SQL, changed), (SOURCES, moved.collect())];
    let found = found.iter().filter(|(_, found)| !found.is_empty());
    let problems: Vec<_> = found.map(|(path, found)| problem(written, path, found.join("; "))).collect();
    (!problems.is_empty()).then_some(problems)
}

/// What keeps a plan from going on after what is published: statements that are others now.
pub fn changed_statements(running: &StageNumbers, next: &ValidatedPipeline, written: &Written) -> Option<Problem> {
    let changed = changed(running, &next.stages, next.state_url.is_some());
    (!changed.is_empty()).then(|| problem(written, SQL, changed.join("; ")))
}

/// Whether every statement has to start anew, since a source is another one; otherwise those do alone that have changed.
pub fn concerns_all(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.path == SOURCES)
}

/// How statements differ from those in whose place they are.
fn changed(before: &StageNumbers, next: &[Stage], has_state: bool) -> Vec<String> {
    let were = Numbered::of(statements(before, has_state));
    let are = statements(&published(next, &Given::default()), has_state);
    let pairs = were.fates(&are).into_iter().zip(&are).filter_map(|(fate, is)| match fate {
        Fate::Changed(index) => Some((&were.statements[index], is)),
        Fate::GoesOn(_) | Fate::New => None,
    });
    let stage =
        |stages: &[Stage], number: u32| stages.iter().find(|stage| i64::from(stage.id) == i64::from(number)).cloned();
    let told = pairs.map(|(was, is)| {
        let length = was.stages.len().max(is.stages.len());
        let differences = (0..length).filter_map(|index| match (was.stages.get(index), is.stages.get(index)) {
            (Some(was), Some(is)) if was.shape == is.shape => None,
            (Some(was), Some(is)) => {
                let is = stage(next, is.number)?;
                Some(format!("stage {} over {} is not what it was: {}", was.number, inputs(&is), what_shapes(is.kind)))
            }
            (Some(was), None) => Some(format!("stage {} is gone", was.number)),
            (None, Some(is)) => Some(format!("{} is new", name(&stage(next, is.number)?))),
            (None, None) => None,
        });
        let told = if was.fits(is) { WHICH.to_owned() } else { differences.collect::<Vec<_>>().join(", ") };
        format!("INSERT INTO {}: {told}", is.sink)
    });
    told.collect()
}

fn inputs(stage: &Stage) -> String {
    if stage.sources.is_empty() { "other stages".to_owned() } else { stage.sources.join(", ") }
}

fn name(stage: &Stage) -> String {
    format!("stage {} over {}", stage.id, inputs(stage))
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
            "the version before goes on; undo the change, or let what has changed start anew: onIncompatibleChange: Restart, \
             another state.url, or another name of the pipeline"
                .to_owned(),
        ),
    }
}

/// As much of a plan's text as says what is kept where.
#[derive(Default)]
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
