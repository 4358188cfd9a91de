//! What a user reads about a pipeline: conditions that say why and what to do, a phase that sums them up, columns.

mod conditions;
mod figures;
mod standing;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use thalweg_crds::pipeline::{Phase, PipelineStatus};

use crate::held::{Held, held};
use crate::names::Names;
use crate::objects::selector;
use crate::observed::Observed;
use crate::plan::{Plan, Step};
use crate::problem::Problem;
use crate::scaling::Scaling;
use crate::validate::ValidatedPipeline;
use conditions::Conditions;
pub(crate) use conditions::failure_about;

/// What a status is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The pipeline, or what is amiss with it.
    pub validated: Result<&'a ValidatedPipeline, &'a [Problem]>,
    /// What the cluster and the workers said.
    pub observed: &'a Observed,
    /// What was decided.
    pub plan: &'a Plan,
    /// What was decided about the number of workers; absent where the spec is not right.
    pub scaling: Option<&'a Scaling>,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The status as it stands.
    pub previous: &'a PipelineStatus,
    /// Label selector of the workers.
    pub selector: &'a str,
}

/// The status of a pipeline. What rests on the words of workers stands as it was written until they were heard.
pub fn status(facts: &Facts<'_>, now: Time) -> PipelineStatus {
    let seen = seen(facts, now);
    if standing::stands(facts) { standing::over(facts, seen) } else { seen }
}

/// The status of a pipeline, by all that is known.
fn seen(facts: &Facts<'_>, now: Time) -> PipelineStatus {
    let units = facts.plan.assignment.as_ref().map(|assignment| held(assignment, facts.observed)).unwrap_or_default();
    let conditions = Conditions::new(facts, units, now).all();
    PipelineStatus {
        observed_generation: facts.generation,
        phase: Some(phase(facts, units)),
        workers: Some(figures::workers(facts)),
        units: Some(figures::units(units)),
        lag: figures::lag(facts.observed),
        commit: figures::commit(facts.observed),
        scaling: figures::scaling(facts),
        dead_letters: figures::dead_letters(facts.observed),
        topology: facts
            .validated
            .map_or_else(|_| facts.previous.topology.clone(), |valid| Some(figures::topology(valid, facts.plan))),
        active_plan: active_plan(facts, units),
        conditions,
    }
}

/// How many units workers have acquired.
pub(crate) fn owned(facts: &Facts<'_>) -> usize {
    facts.plan.assignment.as_ref().map_or(0, |assignment| held(assignment, facts.observed).owned)
}

/// Whether a status differs from the one that is written in more than its figures.
pub fn differs_in_more_than_figures(old: &PipelineStatus, new: &PipelineStatus) -> bool {
    let without =
        |status: &PipelineStatus| PipelineStatus { lag: None, commit: None, dead_letters: None, ..status.clone() };
    without(old) != without(new)
}

/// The plan that runs: what the assignment names, once a worker has taken a unit of it.
fn active_plan(facts: &Facts<'_>, units: Held) -> Option<String> {
    let assigned = facts.plan.assignment.as_ref().filter(|assignment| units.owned > 0 || assignment.completed);
    assigned.map(|assignment| assignment.plan.clone()).or_else(|| facts.previous.active_plan.clone())
}

fn phase(facts: &Facts<'_>, units: Held) -> Phase {
    let failed = conditions::failure_of_running(facts).is_some();
    match facts.plan.step {
        Step::Pause => Phase::Paused,
        Step::Idle => Phase::Idle,
        Step::Complete => Phase::Completed,
        _ if failed => Phase::Failed,
        _ if units.owned > 0 => Phase::Running,
        _ if facts.validated.is_err() && facts.plan.assignment.is_none() => Phase::Failed,
        _ => Phase::Pending,
    }
}

/// The label selector of a pipeline's workers, as the scale subresource wants it.
pub fn selector_text(names: &Names) -> String {
    selector(names).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
