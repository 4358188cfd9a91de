//! Writes the status of sources and sinks: what the pipelines that name them say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use thalweg_crds::{API_VERSION, StreamPipeline, StreamSink, StreamSource};
use thalweg_operator_plan::names::MANAGER;
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::status::Facts;
use thalweg_operator_plan::verdict::{self, Verdict};
use tokio::sync::Notify;

use crate::context::Context;
use crate::error::{Error, Result, is_status};
use crate::kept::Kept;
use crate::observe::Subject;
use crate::usage::{Usage, Used, UsedKey, named, used};

/// What each pipeline says about each source and sink that it names.
#[derive(Default)]
pub struct Verdicts {
    said: Mutex<Said>,
    /// Some may not know that nobody names them any more.
    untold: Notify,
}

type Said = HashMap<UsedKey, BTreeMap<String, Verdict>>;

impl Verdicts {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, used: &UsedKey, pipeline: &str, verdict: Verdict) {
        self.said().entry(used.clone()).or_default().insert(pipeline.to_owned(), verdict);
    }

    /// Notes what a pipeline says of which nothing is noted.
    fn note_first(&self, used: &UsedKey, pipeline: &str, verdict: Verdict) {
        self.said().entry(used.clone()).or_default().entry(pipeline.to_owned()).or_insert(verdict);
    }

    /// What a pipeline that is gone has said could not be taken back: [`tell_unused`] is to be called again.
    pub fn owe(&self) {
        self.untold.notify_one();
    }

    /// Waits until [`tell_unused`] is to be called again.
    pub async fn owed(&self) {
        self.untold.notified().await;
    }

    /// What all together say; `None` while one of those that name it was not looked at yet, as after a start.
    fn of(&self, used: &UsedKey, users: impl IntoIterator<Item = String>) -> Option<Verdict> {
        let mut all = self.said();
        let known = all.get(used)?;
        let said: Option<BTreeMap<_, _>> =
            users.into_iter().map(|user| known.get(&user).cloned().map(|verdict| (user, verdict))).collect();
        // Who names it no longer is not asked any more.
        all.insert(used.clone(), said.clone()?);
        Some(verdict::of_all(&said?))
    }

    fn said_by(&self, namespace: &str, pipeline: &str) -> Vec<UsedKey> {
        let all = self.said();
        all.iter()
            .filter(|(key, said)| key.1 == namespace && said.contains_key(pipeline))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// Tells what a pipeline says about its sources and sinks, as they were read; how many statuses were written.
///
/// # Errors
/// A write failed.
pub async fn tell(subject: &Subject, context: &Context, facts: &Facts<'_>, written: &Written) -> Result<u32> {
    let mut writes = 0;
    for key in used(&subject.pipeline) {
        let Some(said) = verdict::of_pipeline(facts, &format!("{}/{}", key.0.kind(), key.2)) else { continue };
        context.verdicts.note(&key, &subject.owner.name, said);
        writes += write(&key, context, Some(written)).await?;
    }
    Ok(writes)
}

/// A pipeline cannot be read: it says nothing of its sources and sinks, and what others say of them is told all the same.
///
/// # Errors
/// A write failed.
pub async fn says_nothing(pipeline: &Kept<StreamPipeline>, context: &Context) -> Result<()> {
    for key in named(pipeline) {
        context.verdicts.note_first(&key, &pipeline.name_any(), verdict::untried());
        write(&key, context, None).await?;
    }
    Ok(())
}

/// A pipeline leaves. What it has said stands until it is gone; where this process has heard nothing of it, as after a start, it
/// says nothing, and is remembered as one whose sources and sinks are to be told.
pub fn leaves(pipeline: &Kept<StreamPipeline>, context: &Context) {
    for key in named(pipeline) {
        context.verdicts.note_first(&key, &pipeline.name_any(), verdict::untried());
    }
}

/// A pipeline is gone: what it said is no longer so.
///
/// # Errors
/// A write failed.
pub async fn forget(namespace: &str, pipeline: &str, context: &Context) -> Result<()> {
    for key in context.verdicts.said_by(namespace, pipeline) {
        write(&key, context, None).await?;
    }
    Ok(())
}

/// Tells sources and sinks that are named by nobody and say otherwise: whoever named them was deleted while no operator
/// watched.
///
/// # Errors
/// A write failed.
pub async fn tell_unused(context: &Context) -> Result<()> {
    let world = &context.world;
    let unused =
        unused(&world.sources, Used::Source, &world.usage).chain(unused(&world.sinks, Used::Sink, &world.usage));
    let said = verdict::of_all(&BTreeMap::new());
    for key in unused {
        write_said(&key, context, &said, None).await?;
    }
    Ok(())
}

/// Those with a status that no pipeline names.
fn unused<K>(store: &Store<Kept<K>>, used: Used, usage: &Usage) -> impl Iterator<Item = UsedKey>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + 'static,
{
    store.state().into_iter().filter_map(move |object| {
        let key = (used, object.namespace().unwrap_or_default(), object.name_any());
        (usage.users(&key).is_empty() && object.json()["status"].is_object()).then_some(key)
    })
}

/// `read` is what was looked at. What has changed since is not spoken of: the look that this brings about does.
async fn write(key: &UsedKey, context: &Context, read: Option<&Written>) -> Result<u32> {
    match context.verdicts.of(key, context.world.usage.users(key)) {
        Some(said) => write_said(key, context, &said, read).await,
        None => Ok(0),
    }
}

async fn write_said(key: &UsedKey, context: &Context, said: &Verdict, read: Option<&Written>) -> Result<u32> {
    match key.0 {
        Used::Source => {
            let known = |source: &StreamSource| read.is_none_or(|read| read.sources.get(&key.2) == Some(&source.spec));
            let before = |source: &StreamSource| {
                known(source).then(|| source.status.clone().map(|status| status.conditions).unwrap_or_default())
            };
            write_in(&context.world.sources, key, said, (before, read), context).await
        }
        Used::Sink => {
            let known = |sink: &StreamSink| read.is_none_or(|read| read.sinks.get(&key.2) == Some(&sink.spec));
            let before = |sink: &StreamSink| {
                known(sink).then(|| sink.status.clone().map(|status| status.conditions).unwrap_or_default())
            };
            write_in(&context.world.sinks, key, said, (before, read), context).await
        }
        // It has no status of ours.
        Used::ConfigMap => Ok(0),
    }
}

async fn write_in<K>(
    store: &Store<Kept<K>>,
    (used, namespace, name): &UsedKey,
    said: &Verdict,
    (before, read): (impl Fn(&K) -> Option<Vec<Condition>>, Option<&Written>),
    context: &Context,
) -> Result<u32>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + 'static,
{
    let cached = store.get(&ObjectRef::new(name).within(namespace));
    let Some(object) = context.overlay.newest(namespace, name, cached) else { return Ok(0) };
    let previous = match object.object() {
        Some(object) => before(&object),
        // Its conditions are those of every version.
        None => read.is_none_or(|read| read.unreadable.contains_key(&(used.kind(), name.clone()))).then(|| {
            let conditions = object.json().pointer("/status/conditions").cloned();
            serde_json::from_value(conditions.unwrap_or_default()).unwrap_or_default()
        }),
    };
    let Some(previous) = previous else { return Ok(0) };
    let generation = object.meta().generation;
    let next = verdict::conditions(said, generation, &previous, Time(Timestamp::now()));
    if next == previous {
        return Ok(0);
    }
    if !context.leadership.holds() {
        return Err(Error::NotLeader);
    }
    let api: Api<Kept<K>> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": used.kind(),
        "metadata": {"name": name, "uid": object.uid()},
        "status": {"observedGeneration": generation, "conditions": next},
    });
    match api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(written) => context.overlay.wrote(&written),
        // It was deleted: an event says so. Of one that was made anew the cache will know when this is tried again.
        Err(error) if is_status(&error, 404) => return Ok(0),
        Err(error) => return Err(Error::api(format!("writing the status of {} {name}", used.kind()))(error)),
    }
    context.metrics.wrote(used.kind(), "status");
    Ok(1)
}
