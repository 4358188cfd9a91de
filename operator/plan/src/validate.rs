//! From resources as they are stored to a pipeline that can run, or to every problem at once.
//!
//! In two steps, since planning SQL takes a process of its own: [`draft`] gives the text to be checked, [`validate`] takes
//! the answer.

use std::collections::BTreeSet;
use std::path::Path;

use thalweg_crds::SinkSpec;
use thalweg_crds::condition::Reason;
use thalweg_crds::connector::SinkConnector;
use thalweg_crds::manifest::{self, ResolvedPipeline};
use thalweg_crds::pipeline::Delivery;
use thalweg_crds::scaling::ScalingSpec;
use thalweg_crds::worker::WorkerSpec;

use crate::assignment::UNITS_PER_OBJECT;
use crate::check::{Checked, Found, Stage, StageKind, located};
use crate::mounts::Mounts;
use crate::names::Names;
use crate::problem::Problem;
use crate::references::missing;
use crate::resources::{PlanText, Written};
use crate::statements::Given;

/// A plan's text that holds together; its SQL is not planned yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is to be checked.
    pub plan: PlanText,
    resolved: ResolvedPipeline,
    key_groups: u32,
}

/// A pipeline that can run. All later code reads this, never the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedPipeline {
    /// Its namespace.
    pub namespace: String,
    /// The names of its objects.
    pub names: Names,
    /// The text that workers read.
    pub plan: PlanText,
    /// The stages of its SQL.
    pub stages: Vec<Stage>,
    /// What is to be known of their numbers when the next ones are given.
    pub given: Given,
    /// Into how many units each keyed stage is divided.
    pub key_groups: u32,
    /// How often it was started from scratch until this plan.
    pub restarts: u64,
    /// What its pods look like.
    pub worker: WorkerSpec,
    /// How many workers.
    pub scaling: ScalingSpec,
    /// Where its state is kept.
    pub state_url: Option<String>,
    /// Whether it is to stop and keep everything.
    pub paused: bool,
    /// Secrets and ConfigMaps that its workers read.
    pub mounts: Mounts,
}

/// Writes the plan's text, and follows every reference in it. `key_groups` of the first start, where there was one.
///
/// # Errors
/// Every problem of the resources and their references; SQL is not looked at.
pub fn draft(written: &Written, key_groups: Option<u32>) -> Result<Draft, Vec<Problem>> {
    let key_groups = key_groups.unwrap_or_else(|| written.spec.key_groups());
    let plan = PlanText::new(written, key_groups);
    let missing = missing(written);
    let told: BTreeSet<&str> = missing.iter().map(|(path, _)| path.as_str()).collect();
    let found = match manifest::pipelines_of_text(Path::new("resources.yaml"), &plan.resources) {
        Ok(pipelines) => match <[ResolvedPipeline; 1]>::try_from(pipelines) {
            Ok([resolved]) if missing.is_empty() => return Ok(Draft { plan, resolved, key_groups }),
            _ => Vec::new(),
        },
        Err(problems) => problems.as_slice().iter().map(|problem| located(&found(problem), &plan)).collect(),
    };
    // What refers to a missing resource was told in the words of a cluster.
    let others = found.into_iter().filter(|problem| !told.contains(problem.path.as_str()));
    Err(missing.iter().flat_map(|(_, problems)| problems.clone()).chain(others).collect())
}

/// Puts the stages of a checked plan to a draft.
///
/// # Errors
/// The problems of the check, and those of running such stages in a cluster.
pub fn validate(draft: &Draft, written: &Written, checked: &Checked) -> Result<ValidatedPipeline, Vec<Problem>> {
    let stages = checked.stages(&written.name, &draft.plan)?;
    let problems: Vec<Problem> = [needs_state(draft, stages), too_many_units(draft, stages), twice_delivered(draft)]
        .into_iter()
        .flatten()
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(known(written, draft.plan.clone(), draft.key_groups, stages.to_vec()))
}

/// A pipeline whose plan was found valid before, by this version, with these stages.
pub fn known(written: &Written, plan: PlanText, key_groups: u32, stages: Vec<Stage>) -> ValidatedPipeline {
    ValidatedPipeline {
        namespace: written.namespace.clone(),
        names: Names::new(&written.name),
        plan,
        stages: with_numbers(stages, written),
        given: Given::default(),
        key_groups,
        restarts: written.restarted.as_ref().map_or(0, |restarted| restarted.count),
        worker: written.spec.worker.clone().unwrap_or_default(),
        scaling: written.spec.scaling(),
        state_url: written.spec.state().url,
        paused: written.spec.paused,
        mounts: Mounts::of(written),
    }
}

/// A pipeline that is valid, as part of another start from scratch or with other numbers of its stages.
pub fn replanned(written: &Written, valid: ValidatedPipeline) -> ValidatedPipeline {
    let plan = PlanText::new(written, valid.key_groups);
    ValidatedPipeline { given: valid.given, ..known(written, plan, valid.key_groups, valid.stages) }
}

/// The stages with the numbers that stand beside the plan.
fn with_numbers(stages: Vec<Stage>, written: &Written) -> Vec<Stage> {
    let numbers = written.restarted.as_ref().and_then(|restarted| restarted.numbers.as_ref());
    let Some(numbers) = numbers.filter(|numbers| numbers.stages.len() == stages.len()) else { return stages };
    let ids = numbers.stages.iter().map(|number| i32::try_from(*number).unwrap_or(i32::MAX));
    stages.into_iter().zip(ids).map(|(stage, id)| Stage { id, ..stage }).collect()
}

/// What outlives a worker has to lie outside of it.
fn needs_state(draft: &Draft, stages: &[Stage]) -> Option<Problem> {
    if draft.resolved.spec.state().url.is_some() {
        return None;
    }
    let windowed = stages.iter().any(|stage| stage.kind == StageKind::Windowed);
    let lookup = draft.resolved.sources.iter().find(|source| source.spec.lookup.is_some());
    let what = match (windowed, lookup) {
        (true, _) => "windows keep state".to_owned(),
        (false, Some(source)) => {
            format!("StreamSource/{} is a lookup, of which all workers read one copy", source.name)
        }
        (false, None) => return None,
    };
    Some(Problem {
        reason: Reason::InvalidSpec,
        resource: draft.resolved.resource(),
        path: "spec.state.url".to_owned(),
        place: None,
        message: format!("{what}, and no place is given that outlives a worker"),
        help: Some("set state.url to s3://BUCKET/PREFIX".to_owned()),
    })
}

fn too_many_units(draft: &Draft, stages: &[Stage]) -> Option<Problem> {
    let keyed = stages.iter().filter(|stage| stage.kind == StageKind::Windowed).count();
    let units = keyed * draft.key_groups as usize + (stages.len() - keyed);
    (units > UNITS_PER_OBJECT).then(|| Problem {
        reason: Reason::InvalidSpec,
        resource: draft.resolved.resource(),
        path: "spec.state.keyGroups".to_owned(),
        place: None,
        message: format!(
            "{keyed} keyed stages of {} key groups make {units} units, and a pipeline has {UNITS_PER_OBJECT} at the most",
            draft.key_groups
        ),
        help: Some(
            "give a pipeline that is made anew fewer state.keyGroups (by default 2 × scaling.maxWorkers), or split it".to_owned(),
        ),
    })
}

/// A file sink without state cannot tell after a restart what was delivered.
fn twice_delivered(draft: &Draft) -> Option<Problem> {
    let resolved = &draft.resolved;
    let stateless = resolved.spec.state().url.is_none();
    let is_files = |spec: &SinkSpec| matches!(spec.connector(), Some(SinkConnector::Files(_)));
    let exact = |sink: &&manifest::ResolvedSink| sink.delivery == Delivery::ExactlyOnce && is_files(&sink.spec);
    let sink = resolved.sinks.iter().chain(&resolved.dead_letter).find(exact).filter(|_| stateless)?;
    Some(Problem {
        reason: Reason::InvalidSpec,
        resource: resolved.resource(),
        path: "spec.state.url".to_owned(),
        place: None,
        message: format!(
            "StreamSink/{} writes files exactly once, and positions have no place that outlives a worker",
            sink.name
        ),
        help: Some("set state.url to s3://BUCKET/PREFIX, or delivery: AtLeastOnce for this sink".to_owned()),
    })
}

fn found(problem: &manifest::Problem) -> Found {
    Found {
        resource: problem.resource.clone(),
        line: problem.line,
        column: problem.column,
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}
