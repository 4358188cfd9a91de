//! A pipeline's end: with `deletionPolicy: Delete` its state is removed first, by a Job with a limit.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde_json::json;
use thalweg_crds::StreamPipeline;
use thalweg_crds::assignment::StreamAssignment;
use thalweg_crds::pipeline::DeletionPolicy;
use thalweg_operator_plan::names::MANAGER;
use thalweg_operator_plan::objects::removal_job;
use thalweg_operator_plan::removal::{self, FINALIZER, Leaving, Next, Outcome, Progress};
use thalweg_operator_plan::status::selector_text;
use tracing::{debug, info, warn};

use crate::context::Context;
use crate::error::{Error, Result, is_status};
use crate::kept::Kept;
use crate::observe::{self, Subject};
use crate::status::publish_about;

/// How often it is looked how far the Job has come.
const AGAIN: Duration = Duration::from_secs(2);
/// How much of a pod's last words is told.
const WORDS: usize = 300;

/// Whether the state of a pipeline is to be removed with it.
fn removes(subject: &Subject) -> bool {
    let spec = &subject.pipeline.spec;
    spec.deletion_policy == DeletionPolicy::Delete && spec.state().url.is_some()
}

fn has_finalizer(pipeline: &impl Resource) -> bool {
    pipeline.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Adds the finalizer where state is to be removed, and takes it away where it is not; how many writes that took.
///
/// # Errors
/// The write failed.
pub async fn mark(subject: &Subject, context: &Context) -> Result<u32> {
    let wanted = removes(subject);
    if has_finalizer(&subject.pipeline) == wanted {
        return Ok(0);
    }
    set_finalizer(&subject.pipeline, context, wanted).await?;
    Ok(1)
}

/// Those of others stay. Ours is ours whoever has written it, as after a restore of a backup: the list is written at the version
/// that was read, where an apply would take away nothing that another manager owns.
async fn set_finalizer(pipeline: &impl Resource<DynamicType = ()>, context: &Context, wanted: bool) -> Result<()> {
    if !context.leadership.holds() {
        return Err(Error::NotLeader);
    }
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    // The answer may be one that this version cannot read, too.
    let api: Api<Kept<StreamPipeline>> = Api::namespaced(context.client.clone(), &namespace);
    let others = pipeline.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).map(String::as_str);
    let finalizers: Vec<&str> = others.chain(wanted.then_some(FINALIZER)).collect();
    let version = pipeline.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&name, &parameters, &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.metrics.wrote("StreamPipeline", "patch");
            // One that is deleted is gone with its last finalizer: the event of that is on its way.
            if written.meta().deletion_timestamp.is_none() {
                context.overlay.wrote(&written);
            }
            Ok(())
        }
        // It is gone.
        Err(error) if is_status(&error, 404) => Ok(()),
        Err(error) => Err(Error::api(format!("writing the finalizers of StreamPipeline {name}"))(error)),
    }
}

/// One look at a pipeline that is being deleted: when the next one is due, and how much was written.
///
/// # Errors
/// A request failed: the next look begins anew.
pub async fn leave(subject: &Subject, context: &Context) -> Result<(Option<Duration>, u32)> {
    if !has_finalizer(&subject.pipeline) {
        return Ok((None, 0));
    }
    let deployment = deployment(subject, context).await?;
    let leaving = leaving(subject, context, deployment.as_ref()).await?;
    let next = removal::next(&leaving);
    debug!(namespace = subject.namespace, pipeline = subject.owner.name, ?leaving, ?next, "leaving");
    match next {
        Next::Wait => Ok((Some(AGAIN), 0)),
        Next::StopWorkers => Ok((Some(AGAIN), stop(subject, context).await?)),
        Next::StartJob => start(subject, context, deployment.as_ref()).await,
        Next::LetGo(outcome) => let_go(subject, context, &outcome).await,
    }
}

/// The same where this version cannot read it, for what is `amiss`: where no operator comes that can, it is let go, and its state
/// stays. How that is to be removed, and whether it still is, nobody knows here.
///
/// # Errors
/// The write failed: the next look begins anew.
pub async fn leave_unread(
    pipeline: &Kept<StreamPipeline>,
    context: &Context,
    amiss: &str,
) -> Result<(Option<Duration>, u32)> {
    if !has_finalizer(pipeline) {
        return Ok((None, 0));
    }
    let json = pipeline.json();
    let Next::LetGo(outcome) = removal::unread(&json["spec"], leaving_since(pipeline)) else {
        return Ok((Some(AGAIN), 0));
    };
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    warn!(namespace, pipeline = name, amiss, "letting go of what cannot be read");
    release(pipeline, context, json["spec"]["state"]["url"].as_str(), &outcome).await
}

/// For how long it has been leaving.
fn leaving_since(pipeline: &impl Resource) -> Duration {
    let since = pipeline.meta().deletion_timestamp.as_ref();
    let since = since.and_then(|since| Duration::try_from(Timestamp::now().duration_since(since.0)).ok());
    since.unwrap_or_default()
}

async fn deployment(subject: &Subject, context: &Context) -> Result<Option<Deployment>> {
    let api: Api<Deployment> = api(subject, context)?;
    let name = subject.names.base();
    let found = api.get_opt(name).await.map_err(Error::api(format!("reading Deployment {name}")))?;
    Ok(found.filter(|found| subject.owns(found)))
}

async fn leaving(subject: &Subject, context: &Context, deployment: Option<&Deployment>) -> Result<Leaving> {
    // Those that write state: a lookout does not, and stays until all is gone.
    let workers = ListParams::default().labels(&selector_text(&subject.names));
    let pods: Api<Pod> = api(subject, context)?;
    let pods = pods.list(&workers).await.map_err(Error::api("listing worker pods"))?;
    Ok(Leaving {
        removes: removes(subject),
        since: leaving_since(&subject.pipeline),
        replicas: deployment.map(|deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)),
        pods: pods.items.len(),
        named: named(subject, context).is_some(),
        job: job(subject, context).await?,
    })
}

/// How far the Job has come. One that somebody else made, or that was made for a pipeline before this one, is none.
async fn job(subject: &Subject, context: &Context) -> Result<Option<Progress>> {
    let jobs: Api<Job> = api(subject, context)?;
    let name = subject.names.removal();
    let found = jobs.get_opt(&name).await.map_err(Error::api(format!("reading Job {name}")))?;
    let Some(found) = found.filter(|found| subject.owns(found)) else { return Ok(None) };
    let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    Ok(Some(match (holds("Complete"), holds("Failed")) {
        (Some(_), _) => Progress::Done,
        (None, Some(failed)) => {
            let reason = failed.reason.clone().unwrap_or_default();
            let words = last_words(subject, context, &name).await?;
            Progress::Failed(format!("the clean-up Job has failed ({reason}): {words}"))
        }
        (None, None) => Progress::Running,
    }))
}

/// What the last pod of the Job said, else why it did not run.
async fn last_words(subject: &Subject, context: &Context, job: &str) -> Result<String> {
    let pods: Api<Pod> = api(subject, context)?;
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let pods = pods.list(&selector).await.map_err(Error::api(format!("listing pods of Job {job}")))?;
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    let said = statuses.filter_map(|container| {
        let state = container.state.as_ref()?;
        let ended = state.terminated.as_ref().and_then(|ended| ended.message.clone());
        let waits = || state.waiting.as_ref().and_then(|waiting| waiting.message.clone().or(waiting.reason.clone()));
        ended.or_else(waits)
    });
    let said: String = said.last().unwrap_or_else(|| "its pod did not run".to_owned());
    let words = said.trim().chars().rev().take(WORDS).collect::<Vec<_>>();
    Ok(words.into_iter().rev().collect())
}

/// Its assignment, where that names workers.
fn named(subject: &Subject, context: &Context) -> Option<StreamAssignment> {
    observe::assignment(subject, context).ok().flatten().filter(|known| !known.spec.workers.is_empty())
}

/// Ends its workers; how many writes that took. Nobody will ask for what they have: once the assignment names none of them each
/// closes at once, and does not work on for its time.
async fn stop(subject: &Subject, context: &Context) -> Result<u32> {
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let named = named(subject, context);
    if let Some(known) = &named {
        let name = subject.names.pipeline();
        // At the version that was read: of two operators one is told to look again.
        let version = known.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"workers": []}});
        let api: Api<StreamAssignment> = api(subject, context)?;
        match api.patch(name, &parameters, &Patch::Merge(patch)).await {
            Ok(_) => context.metrics.wrote("StreamAssignment", "patch"),
            Err(error) if is_status(&error, 404) => {}
            Err(error) => return Err(Error::write("StreamAssignment", name, error)),
        }
    }
    let name = subject.names.base();
    let api: Api<Deployment> = api(subject, context)?;
    let written = api.patch(name, &parameters, &Patch::Merge(json!({"spec": {"replicas": 0}}))).await;
    written.map_err(|error| Error::write("Deployment", name, error))?;
    context.metrics.wrote("Deployment", "patch");
    Ok(1 + u32::from(named.is_some()))
}

/// Makes the Job. A namespace that is being deleted takes none, nor does one with a policy against it: then the state is kept.
async fn start(subject: &Subject, context: &Context, workers: Option<&Deployment>) -> Result<(Option<Duration>, u32)> {
    let job = workers.and_then(|workers| removal_job(&subject.namespace, &subject.names, &subject.owner, workers));
    let Some(job) = job else {
        let why = "its Deployment has no pod, and nothing says how the state is reached".to_owned();
        return let_go(subject, context, &Outcome::Left(why)).await;
    };
    let name = job.name_any();
    let jobs: Api<Job> = api(subject, context)?;
    let posted = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match jobs.create(&posted, &job).await {
        Ok(_) => context.metrics.wrote("Job", "create"),
        Err(error) if is_status(&error, 409) => {
            let found = jobs.get_opt(&name).await.map_err(Error::api(format!("reading Job {name}")))?;
            // A quota that was counted at the same time is a conflict, too, and passes.
            let Some(found) = found else { return Err(Error::write("Job", &name, error)) };
            if !subject.owns(&found) {
                let why = format!("a Job {name} of somebody else stands there");
                return let_go(subject, context, &Outcome::Left(why)).await;
            }
        }
        Err(error) => match Error::write("Job", &name, error) {
            refused @ Error::Refused { .. } => {
                return let_go(subject, context, &Outcome::Left(refused.to_string())).await;
            }
            error => return Err(error),
        },
    }
    Ok((Some(AGAIN), 1))
}

async fn let_go(subject: &Subject, context: &Context, outcome: &Outcome) -> Result<(Option<Duration>, u32)> {
    let url = subject.pipeline.spec.state().url;
    release(&subject.pipeline, context, url.as_deref(), outcome).await
}

/// Tells what has become of the state, and lets the pipeline go; `url` is where it keeps state, where that is known.
async fn release(
    pipeline: &impl Resource<DynamicType = ()>,
    context: &Context,
    url: Option<&str>,
    outcome: &Outcome,
) -> Result<(Option<Duration>, u32)> {
    let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
    let event = match outcome {
        Outcome::Kept => None,
        Outcome::Removed => {
            Some((EventType::Normal, "StateRemoved", format!("its state under {} is removed", url.unwrap_or_default())))
        }
        Outcome::Left(why) => Some((EventType::Warning, "StateLeft", removal::left(why, url, &namespace, &name))),
    };
    if let Some((type_, reason, note)) = event {
        info!(namespace, pipeline = name, reason, note, "letting go");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1_000).collect()),
            action: "Delete".to_owned(),
            secondary: None,
        };
        publish_about(pipeline, context, &event).await;
    }
    set_finalizer(pipeline, context, false).await?;
    Ok((None, 1))
}

/// Where a kind is, for a leader only.
fn api<K>(subject: &Subject, context: &Context) -> Result<Api<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match context.leadership.holds() {
        true => Ok(Api::namespaced(context.client.clone(), &subject.namespace)),
        false => Err(Error::NotLeader),
    }
}
