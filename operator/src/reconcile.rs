//! One look at a pipeline: read, validate, plan, apply, tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use thalweg_crds::StreamPipeline;
use thalweg_crds::condition::Reason;
use thalweg_crds::pipeline::OnIncompatibleChange;
use thalweg_crds::restart::Restarted;
use thalweg_operator_plan::carried;
use thalweg_operator_plan::check::{Stage, stages_of};
use thalweg_operator_plan::objects;
use thalweg_operator_plan::observed::{Observed, Readiness, WorkerPod};
use thalweg_operator_plan::plan::{self, Plan, Step};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::{PlanText, Written};
use thalweg_operator_plan::restart;
use thalweg_operator_plan::rivals;
use thalweg_operator_plan::scaling::{DECIDE_EACH, Scaling};
use thalweg_operator_plan::statements::numbered;
use thalweg_operator_plan::status::{Facts, selector_text, status};
use thalweg_operator_plan::validate::{ValidatedPipeline, draft, known, replanned, validate};
use tracing::{error, warn};

use crate::apply::Applier;
use crate::context::Context;
use crate::error::{Class, Error, Result};
use crate::finalize;
use crate::kept::Kept;
use crate::observe::{self, Subject};
use crate::reports::Pace;
use crate::status::{self as written_status, FIGURES};
use crate::usage::Used;
use crate::verdicts;

/// What a pipeline is, or what is amiss with it.
type Validated = std::result::Result<ValidatedPipeline, Vec<Problem>>;

/// How long a pod may take to start before its state is told.
const STARTING: Duration = Duration::from_millis(3_500);

/// How soon a pipeline asks again whether it may replace its pods, or for SQL that could not be read.
const TURN: Duration = Duration::from_secs(5);

/// Looks at a pipeline, and brings it a step nearer to where it should be: when it is to be looked at again if nothing happens until
/// then, and how much was written.
///
/// # Errors
/// The API server or the check of SQL failed: the next look begins anew.
pub async fn reconcile(pipeline: &Arc<Kept<StreamPipeline>>, context: &Context) -> Result<(Option<Duration>, u32)> {
    let pipeline = newest(pipeline, context);
    if pipeline.meta().deletion_timestamp.is_some() {
        return leave(&pipeline, context).await;
    }
    let subject = Subject::new(&pipeline)?;
    let marked = finalize::mark(&subject, context).await?;
    let (mut written, read) = observe::written(&subject, context).await;
    let observed = observe::observed(&subject, context).await?;
    let unread = read.is_err();
    let (mut validated, because) = match read {
        Ok(()) => brought_about(&subject, &mut written, &observed, context).await?,
        // What runs goes on, and is looked after.
        Err(error) => {
            warn!(namespace = subject.namespace, pipeline = subject.owner.name, %error, "reading SQL");
            (Err(vec![problem(&subject, &error)]), Vec::new())
        }
    };
    let (plan, scaling) = planned(&subject, &validated, &observed, context);
    context.reports.ask_at(&ObjectRef::new(&subject.owner.name).within(&subject.namespace), pace(plan.step));
    let mut applier = Applier { subject: &subject, context, writes: 0, waits: false };
    let refused = match apply(&mut applier, validated.as_ref().ok(), &plan, &observed).await {
        Err(error) if error.class() == Class::User => {
            validated = Err(vec![problem(&subject, &error)]);
            true
        }
        applied => applied.map(|()| false)?,
    };
    let (writes, waits) = (applier.writes, applier.waits);
    let (before, after) = (observed.assignment.as_ref(), plan.assignment.as_ref());
    if let Some(begun) = restart::begun(before, after, !because.is_empty()).filter(|_| !refused) {
        written_status::tell_start(&subject, context, begun, &because).await;
    }
    if let Some(scaling) = scaling.as_ref().filter(|_| validated.is_ok()) {
        crate::scaling::tell(&subject, context, scaling, &plan, &observed).await;
    }
    let told = tell(&subject, context, &written, &validated, (&plan, scaling.as_ref()), &observed).await?;
    // What stands in the way is nothing of ours: no event tells that it is gone.
    let passes = |problem: &Problem| matches!(problem.reason, Reason::SinkInUse | Reason::CheckFailed);
    let may_pass = validated.as_ref().is_err_and(|problems| problems.iter().any(passes));
    let due = match refused || may_pass {
        _ if unread => Some(TURN),
        true => Some(FIGURES),
        false if waits => Some(TURN),
        false => again(&plan, &observed, &written, scaling.as_ref()),
    };
    Ok((due, marked + writes + told))
}

/// What is to be brought about, and with how many workers where the spec is right.
fn planned(
    subject: &Subject,
    validated: &Validated,
    observed: &Observed,
    context: &Context,
) -> (Plan, Option<Scaling>) {
    let Ok(valid) = validated else { return (plan::keep(observed), None) };
    let decided = context.scalers.look(subject, valid, observed);
    let plan = plan::plan_scaled(valid, observed, &decided);
    let told = context.scalers.note(subject, valid, observed, &plan, decided);
    (plan, Some(told))
}

/// How often workers are asked for what they have done.
fn pace(step: Step) -> Pace {
    match step {
        Step::Start | Step::RollOut | Step::Move => Pace::Hurried,
        Step::Run | Step::Pause | Step::Idle | Step::Complete => Pace::Calm,
    }
}

/// The newest of a pipeline that is known: its status may have been written since.
fn newest(pipeline: &Arc<Kept<StreamPipeline>>, context: &Context) -> Arc<Kept<StreamPipeline>> {
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let newest = context.overlay.newest(&namespace, &name, Some(Arc::clone(pipeline)));
    newest.unwrap_or_else(|| Arc::clone(pipeline))
}

/// One look at a pipeline that is being deleted. One that this version cannot read is no reason to keep it for ever.
async fn leave(pipeline: &Kept<StreamPipeline>, context: &Context) -> Result<(Option<Duration>, u32)> {
    context.metrics.each.leaves(&pipeline.namespace().unwrap_or_default(), &pipeline.name_any());
    verdicts::leaves(pipeline, context);
    match Subject::new(pipeline) {
        Ok(subject) => finalize::leave(&subject, context).await,
        Err(Error::Unreadable(amiss)) => finalize::leave_unread(pipeline, context, &amiss).await,
        Err(error) => Err(error),
    }
}

/// The pipeline that is to run: under the start from scratch that is asked for, or with statements or all of it started anew
/// that a change takes, with what takes it.
async fn brought_about(
    subject: &Subject,
    written: &mut Written,
    observed: &Observed,
    context: &Context,
) -> Result<(Validated, Vec<Problem>)> {
    let running = observe::restarted(subject, context, observed);
    let (asked, made) = (written.spec.restart.clone(), subject.made());
    written.restarted = restart::next(running.as_ref(), asked.as_ref(), made);
    let found = validated(subject, written, observed, context).await?;
    let (assignment, noted) = (observed.assignment.as_ref(), observe::changes(subject, context, observed));
    let found = found.map(|valid| numbered(written, valid, assignment, noted, made));
    let Some(refused) = refused(subject, written, observed, found.as_ref().ok(), context) else {
        return Ok((found, Vec::new()));
    };
    let is_incompatible = refused.iter().all(|problem| problem.reason == Reason::IncompatibleChange);
    match written.spec.on_incompatible_change {
        OnIncompatibleChange::Restart if is_incompatible && carried::concerns_all(&refused) => {
            let numbers = written.restarted.take().and_then(|restarted| restarted.numbers);
            written.restarted = Some(Restarted { numbers, ..restart::anew(running.as_ref(), asked.as_ref(), made) });
            Ok((found.map(|valid| replanned(written, valid)), refused))
        }
        // Those that have changed have numbers of their own.
        OnIncompatibleChange::Restart if is_incompatible => Ok((found, refused)),
        _ => Ok((Err(refused), Vec::new())),
    }
}

async fn validated(subject: &Subject, written: &Written, observed: &Observed, context: &Context) -> Result<Validated> {
    let fixed = observed.assignment.as_ref().and_then(|assignment| assignment.key_groups);
    let key_groups = fixed.and_then(|groups| u32::try_from(groups).ok()).unwrap_or_else(|| written.spec.key_groups());
    let plan = PlanText::new(written, key_groups);
    if let Some(stages) = found_valid(subject, &plan, observed, context) {
        return Ok(Ok(known(written, plan, key_groups, stages)));
    }
    let draft = match draft(written, Some(key_groups)) {
        Ok(draft) => draft,
        Err(problems) => return Ok(Err(problems)),
    };
    let checked = match context.checks.check(&draft.plan).await {
        // What runs goes on, and is looked after.
        Err(error @ Error::Check { .. }) => {
            error!(namespace = subject.namespace, pipeline = subject.owner.name, %error, "checking SQL");
            return Ok(Err(vec![problem(subject, &error)]));
        }
        checked => checked?,
    };
    let validated = validate(&draft, written, &checked);
    if let Ok(valid) = &validated {
        context.checks.found_valid(&plan.hash, valid.stages.clone());
    }
    Ok(validated)
}

/// Why a pipeline that is valid in itself is not brought about.
fn refused(
    subject: &Subject,
    written: &Written,
    observed: &Observed,
    valid: Option<&ValidatedPipeline>,
    context: &Context,
) -> Option<Vec<Problem>> {
    let valid = valid?;
    let shared = rivals::problems(written, &first(subject, written, context));
    if !shared.is_empty() {
        return Some(shared);
    }
    let assignment = observed.assignment.as_ref().filter(|assignment| assignment.plan != valid.plan.hash)?;
    let running = subject.known(context, &context.world.plans, &subject.names.plan(&assignment.plan));
    let running = running.and_then(|running| running.object());
    carried::refusal(running.as_ref(), assignment, valid, written)
}

/// By sink with a key: the pipeline that writes it too and was there before this one.
fn first(subject: &Subject, written: &Written, context: &Context) -> BTreeMap<String, String> {
    let age = |pipeline: &ObjectMeta| (pipeline.creation_timestamp.as_ref().map(|time| time.0), pipeline.name.clone());
    let mine = age(&subject.pipeline.metadata);
    let first = |sink: &String| {
        let users = context.world.usage.users(&(Used::Sink, subject.namespace.clone(), sink.clone()));
        let others = users
            .iter()
            .filter_map(|user| context.world.pipelines.get(&ObjectRef::new(user).within(&subject.namespace)));
        let before = others.filter(|other| other.meta().deletion_timestamp.is_none() && age(other.meta()) < mine);
        Some((sink.clone(), before.min_by_key(|other| age(other.meta()))?.name_any()))
    };
    let keyed = written.sinks.iter().filter(|(_, spec)| !rivals::key(spec).is_empty());
    keyed.filter_map(|(sink, _)| first(sink)).collect()
}

/// The stages of a plan that was found valid: by this process, or by one of this version, which has noted them with the
/// plan, or with the same one under other numbers, which runs. The text of a plan holds all that it refers to, so nothing is
/// looked at twice.
fn found_valid(subject: &Subject, plan: &PlanText, observed: &Observed, context: &Context) -> Option<Vec<Stage>> {
    if let Some(stages) = context.checks.valid(&plan.hash) {
        return Some(stages);
    }
    let running = observed.assignment.as_ref().map(|assignment| &assignment.plan);
    let noted = |hash: &String| {
        let noted = subject.known(context, &context.world.plans, &subject.names.plan(hash))?;
        stages_of(&noted.object()?, plan)
    };
    let stages = [Some(&plan.hash), running].into_iter().flatten().find_map(noted)?;
    context.checks.found_valid(&plan.hash, stages.clone());
    Some(stages)
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
        applier.assignment(observed.assignment.as_ref(), assignment, made).await?;
    }
    // Published first: a slot that was freed and claimed anew is another life of its worker.
    applier.free(&plan.freed).await?;
    // By what was seen before anything is changed: a roll-out that begins now has not ended.
    if observed.deployment.as_ref().is_some_and(|seen| seen.is_settled() && seen.replicas == plan.replicas) {
        applier.context.rollouts.leave(&applier.subject.namespace, &owner.name);
    }
    let Some(valid) = valid else { return applier.keep(plan).await };
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
    written: &Written,
    validated: &Validated,
    (plan, scaling): (&Plan, Option<&Scaling>),
    observed: &Observed,
) -> Result<u32> {
    let previous = subject.pipeline.status.clone().unwrap_or_default();
    let facts = Facts {
        validated: validated.as_ref().map_err(Vec::as_slice),
        observed,
        plan,
        scaling,
        generation: subject.pipeline.metadata.generation,
        previous: &previous,
        selector: &selector_text(&subject.names),
    };
    let next = status(&facts, Time(Timestamp::now()));
    context.tally.note(&subject.namespace, &subject.owner.name, Some(&next), &context.metrics);
    let target = validated.as_ref().ok().map(|valid| valid.scaling.target_lag.as_std().as_secs_f64());
    context.metrics.each.note(&subject.namespace, &subject.owner.name, &next, scaling, target);
    let wrote = written_status::write(subject, context, &next).await?;
    Ok(u32::from(wrote) + verdicts::tell(subject, context, &facts, written).await?)
}

/// When the next look is due, if nothing happens until then.
fn again(plan: &Plan, observed: &Observed, written: &Written, scaling: Option<&Scaling>) -> Option<Duration> {
    let is_starting = |pod: &WorkerPod| pod.ready == Readiness::NotReady && pod.age < STARTING;
    let starting = observed.pods.iter().any(is_starting).then_some(STARTING);
    let decides =
        scaling.is_some_and(|scaling| scaling.places.is_some()) && !matches!(plan.step, Step::Pause | Step::Complete);
    let deciding = decides.then_some(DECIDE_EACH);
    let has_figures = matches!(plan.step, Step::Run | Step::Move | Step::RollOut);
    // Its ConfigMap is watched, and that watch says nothing while it is refused or has broken off.
    let reads_map = written.spec.sql_from.is_some();
    let telling = (has_figures || reads_map).then_some(FIGURES);
    [observed.awaits_words(), starting, deciding, telling].into_iter().flatten().min()
}

/// A failure that stands in the way of a pipeline and of no other, as a problem of it.
fn problem(subject: &Subject, error: &Error) -> Problem {
    let (reason, help) = match error {
        Error::Refused { .. } => {
            (Reason::Refused, Some("change what it names, or have it allowed; it is tried again each half minute"))
        }
        Error::Check { .. } => {
            (Reason::CheckFailed, Some("the version before goes on; it is tried again each half minute"))
        }
        Error::Api { .. } => (Reason::CheckFailed, Some("the version before goes on; it is tried again each 5 s")),
        Error::Unreadable(_) => (Reason::Unreadable, None),
        _ => (Reason::NameTaken, None),
    };
    Problem {
        reason,
        resource: format!("StreamPipeline/{}", subject.owner.name),
        path: String::new(),
        place: None,
        message: error.to_string(),
        help: help.map(str::to_owned),
    }
}
