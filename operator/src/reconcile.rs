//! One look at a pipeline: read, validate, plan, apply, tell.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use thalweg_crds::StreamPipeline;
use thalweg_crds::condition::Reason;
use thalweg_operator_plan::check::{Checked, stages_of};
use thalweg_operator_plan::objects;
use thalweg_operator_plan::observed::{Observed, Readiness};
use thalweg_operator_plan::plan::{self, Plan, Step};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::{PlanText, Written};
use thalweg_operator_plan::status::{Facts, selector_text, status};
use thalweg_operator_plan::validate::{ValidatedPipeline, draft, validate};

use crate::apply::Applier;
use crate::context::Context;
use crate::error::{Class, Error, Result};
use crate::observe::{self, Subject};
use crate::status::{self as written_status, FIGURES};

/// What a pipeline is, or what is amiss with it.
type Validated = std::result::Result<ValidatedPipeline, Vec<Problem>>;

/// How long a pod may take to start before its state is told.
const STARTING: Duration = Duration::from_millis(3_500);

/// Looks at a pipeline, and brings it a step nearer to where it should be.
///
/// # Errors
/// The API server or the check of SQL failed: the next look begins anew.
pub async fn reconcile(pipeline: &Arc<StreamPipeline>, context: &Context) -> Result<(Action, u32)> {
    let subject = newest(pipeline, context)?;
    if subject.pipeline.metadata.deletion_timestamp.is_some() {
        return Ok((Action::await_change(), 0));
    }
    let written = observe::written(&subject, context).await?;
    let observed = observe::observed(&subject, context).await?;
    let mut validated = validated(&subject, &written, &observed, context).await?;
    let plan = match &validated {
        Ok(valid) => plan::plan(valid, &observed),
        Err(_) => plan::keep(&observed),
    };
    let mut applier = Applier { subject: &subject, context, writes: 0 };
    match apply(&mut applier, validated.as_ref().ok(), &plan, &observed).await {
        Err(error) if error.class() == Class::User => validated = Err(vec![problem(&subject, &error)]),
        applied => applied?,
    }
    let writes = applier.writes;
    let told = tell(&subject, context, &validated, &plan, &observed).await?;
    Ok((again(&plan, &validated, &observed, &written), writes + u32::from(told)))
}

/// The newest of a pipeline that is known: its status may have been written since.
fn newest(pipeline: &Arc<StreamPipeline>, context: &Context) -> Result<Subject> {
    let subject = Subject::new(Arc::clone(pipeline))?;
    let cached = Some(Arc::clone(pipeline));
    let newest = context.overlay.newest(&subject.namespace, &subject.owner.name, cached);
    newest.map_or(Ok(subject), Subject::new)
}

async fn validated(subject: &Subject, written: &Written, observed: &Observed, context: &Context) -> Result<Validated> {
    let key_groups = observed.assignment.as_ref().and_then(|assignment| assignment.key_groups);
    let draft = match draft(written, key_groups.and_then(|groups| u32::try_from(groups).ok())) {
        Ok(draft) => draft,
        Err(problems) => return Ok(Err(problems)),
    };
    let checked = checked(subject, &draft.plan, context).await?;
    Ok(validate(&draft, written, &checked))
}

/// The stages of a plan: remembered, noted with the plan by an operator of this version, or found by a check.
async fn checked(subject: &Subject, plan: &PlanText, context: &Context) -> Result<Arc<Checked>> {
    if let Some(known) = context.checks.known(&plan.hash) {
        return Ok(known);
    }
    let noted = subject.known(context, &context.world.plans, &subject.names.plan(&plan.hash));
    match noted.and_then(|noted| stages_of(&noted, plan)) {
        Some(stages) => Ok(context.checks.remember(&plan.hash, Checked::Stages(stages))),
        None => context.checks.check(plan).await,
    }
}

/// Writes what is to be written. Workers find what they need when they start, so the Deployment comes last but for the
/// plans that nobody reads any more.
async fn apply(
    applier: &mut Applier<'_>,
    valid: Option<&ValidatedPipeline>,
    plan: &Plan,
    observed: &Observed,
) -> Result<()> {
    let owner = applier.subject.owner.clone();
    if let Some(valid) = valid {
        applier.slots(valid, plan).await?;
    }
    if let Some(assignment) = &plan.assignment {
        let made = || valid.map(|valid| objects::assignment(valid, &owner, assignment.clone()));
        applier.assignment(assignment, made).await?;
    }
    // Published first: a slot that was freed and claimed anew is another life of its worker.
    applier.free(&plan.freed).await?;
    let Some(valid) = valid else { return Ok(()) };
    applier.objects(&objects::build(valid, plan, &owner, &applier.context.settings)).await?;
    let settled = observed.deployment.as_ref().is_some_and(|d| d.current && d.total == d.updated);
    if settled && plan.step == Step::Run {
        applier.remove_plans(&[valid.names.plan(&valid.plan.hash)].into()).await?;
    }
    Ok(())
}

async fn tell(
    subject: &Subject,
    context: &Context,
    validated: &Validated,
    plan: &Plan,
    observed: &Observed,
) -> Result<bool> {
    let previous = subject.pipeline.status.clone().unwrap_or_default();
    let facts = Facts {
        validated: validated.as_ref().map_err(Vec::as_slice),
        observed,
        plan,
        generation: subject.pipeline.metadata.generation,
        previous: &previous,
        selector: &selector_text(&subject.names),
    };
    let next = status(&facts, Time(Timestamp::now()));
    context.tally.note(&subject.namespace, &subject.owner.name, Some(&next), &context.metrics);
    written_status::write(subject, context, &next).await
}

/// When the next look is due, if nothing happens until then.
fn again(plan: &Plan, validated: &Validated, observed: &Observed, written: &Written) -> Action {
    let is_starting =
        |pod: &thalweg_operator_plan::observed::WorkerPod| pod.ready == Readiness::NotReady && pod.age < STARTING;
    if observed.pods.iter().any(is_starting) {
        return Action::requeue(STARTING);
    }
    let runs = observed.assignment.is_some() && !matches!(plan.step, Step::Pause | Step::Complete);
    // A ConfigMap with SQL is not watched: it may be anybody's.
    let reads_map = written.spec.sql_from.is_some();
    match runs || reads_map || validated.is_ok() && plan.step == Step::Start {
        true => Action::requeue(FIGURES),
        false => Action::await_change(),
    }
}

/// A failure that only the user can end, as a problem of the pipeline.
fn problem(subject: &Subject, error: &Error) -> Problem {
    Problem {
        reason: Reason::NameTaken,
        resource: format!("StreamPipeline/{}", subject.owner.name),
        path: String::new(),
        place: None,
        message: error.to_string(),
        help: None,
    }
}
