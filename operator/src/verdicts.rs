//! Writes the status of sources and sinks: what the pipelines that name them say.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thalweg_crds::API_VERSION;
use thalweg_operator_plan::names::MANAGER;
use thalweg_operator_plan::status::Facts;
use thalweg_operator_plan::verdict::{self, Verdict};

use crate::context::Context;
use crate::error::{Error, Result, is_status};
use crate::observe::Subject;
use crate::usage::{Used, UsedKey, used};

/// What each pipeline says about each source and sink that it names.
#[derive(Default)]
pub struct Verdicts(Mutex<HashMap<UsedKey, BTreeMap<String, Verdict>>>);

impl Verdicts {
    fn note(&self, used: &UsedKey, pipeline: &str, verdict: Verdict) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(used.clone()).or_default().insert(pipeline.to_owned(), verdict);
    }

    /// What all together say; `None` while one of those that name it was not looked at yet, as after a start.
    fn of(&self, used: &UsedKey, users: impl IntoIterator<Item = String>) -> Option<Verdict> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(used)?;
        let said: Option<BTreeMap<_, _>> =
            users.into_iter().map(|user| known.get(&user).cloned().map(|verdict| (user, verdict))).collect();
        // Who names it no longer is not asked any more.
        all.insert(used.clone(), said.clone()?);
        Some(verdict::of_all(&said?))
    }

    fn said_by(&self, namespace: &str, pipeline: &str) -> Vec<UsedKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|(key, said)| key.1 == namespace && said.contains_key(pipeline))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// Tells what a pipeline says about its sources and sinks; how many statuses were written.
///
/// # Errors
/// A write failed.
pub async fn tell(subject: &Subject, context: &Context, facts: &Facts<'_>) -> Result<u32> {
    let mut writes = 0;
    for key in used(&subject.pipeline) {
        let said = verdict::of_pipeline(facts, &format!("{}/{}", key.0.kind(), key.2));
        context.verdicts.note(&key, &subject.owner.name, said);
        writes += write(&key, context).await?;
    }
    Ok(writes)
}

/// A pipeline is gone: what it said is no longer so.
///
/// # Errors
/// A write failed.
pub async fn forget(namespace: &str, pipeline: &str, context: &Context) -> Result<()> {
    for key in context.verdicts.said_by(namespace, pipeline) {
        write(&key, context).await?;
    }
    Ok(())
}

async fn write(key: &UsedKey, context: &Context) -> Result<u32> {
    let Some(said) = context.verdicts.of(key, context.world.usage.users(key)) else { return Ok(0) };
    match key.0 {
        Used::Source => {
            let before = |source: &thalweg_crds::StreamSource| source.status.clone().map(|status| status.conditions);
            write_in(&context.world.sources, key, &said, before, context).await
        }
        Used::Sink => {
            let before = |sink: &thalweg_crds::StreamSink| sink.status.clone().map(|status| status.conditions);
            write_in(&context.world.sinks, key, &said, before, context).await
        }
    }
}

async fn write_in<K>(
    store: &Store<K>,
    (used, namespace, name): &UsedKey,
    said: &Verdict,
    before: impl Fn(&K) -> Option<Vec<Condition>>,
    context: &Context,
) -> Result<u32>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let cached = store.get(&ObjectRef::new(name).within(namespace));
    let Some(object) = context.overlay.newest(namespace, name, cached) else { return Ok(0) };
    let previous = before(&object).unwrap_or_default();
    let generation = object.meta().generation;
    let next = verdict::conditions(said, generation, &previous, Time(Timestamp::now()));
    if next == previous {
        return Ok(0);
    }
    if !context.leadership.holds() {
        return Err(Error::NotLeader);
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": used.kind(),
        "metadata": {"name": name, "uid": object.uid()},
        "status": {"observedGeneration": generation, "conditions": next},
    });
    match api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await {
        Ok(written) => context.overlay.wrote(&written),
        // It was deleted, or made anew: an event says so.
        Err(error) if is_status(&error, 404) || is_status(&error, 409) => return Ok(0),
        Err(error) => return Err(Error::api(format!("writing the status of {} {name}", used.kind()))(error)),
    }
    context.metrics.wrote(used.kind(), "status");
    Ok(1)
}
