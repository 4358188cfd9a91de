//! All writes of one look at a pipeline, but its status: nothing is written that is as it should be.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thalweg_crds::assignment::{AssignmentSpec, StreamAssignment};
use thalweg_crds::ids::{RunId, Slot};
use thalweg_operator_plan::applied::{differs, stamp};
use thalweg_operator_plan::held::moves;
use thalweg_operator_plan::names::{APPLIED, MANAGED_BY, MANAGER, PIPELINE, WORKERS};
use thalweg_operator_plan::objects::{self, Objects};
use thalweg_operator_plan::observed::pod_uid;
use thalweg_operator_plan::plan::Plan;
use thalweg_operator_plan::rollout::is_upgrade;
use thalweg_operator_plan::validate::ValidatedPipeline;

use crate::context::Context;
use crate::error::{Error, Result, is_status};
use crate::kept::{Kept, drop_kind};
use crate::observe::{self, Subject};

/// What is noted of an assignment whose labels are ours.
const MARKED: &str = "marked";

/// An object of ours: in a namespace, readable and writable.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// One look's writes.
pub struct Applier<'a> {
    /// The pipeline.
    pub subject: &'a Subject,
    /// What all looks share.
    pub context: &'a Context,
    /// How many writes there were.
    pub writes: u32,
    /// Whether its pods are to be replaced once others have done so.
    pub waits: bool,
}

impl Applier<'_> {
    /// Applies every object of a pipeline, those first that others need.
    ///
    /// # Errors
    /// A write failed: the rest is left to the next look.
    pub async fn objects(&mut self, objects: &Objects) -> Result<()> {
        let world = &self.context.world;
        if let Some(account) = &objects.service_account {
            self.apply(&world.service_accounts, account).await?;
        }
        self.apply(&world.roles, &objects.role).await?;
        self.apply(&world.role_bindings, &objects.role_binding).await?;
        self.apply(&world.network_policies, &objects.network_policy).await?;
        self.apply(&world.plans, &objects.plan).await?;
        self.apply(&world.services, &objects.service).await?;
        self.apply(&world.disruption_budgets, &objects.disruption_budget).await?;
        self.deployment(&objects.deployment).await?;
        match &objects.lookout {
            Some(lookout) => self.apply(&world.deployments, lookout).await,
            None => Ok(()),
        }
    }

    /// Applies the Deployment. Where that replaces its pods though nobody has changed the pipeline, it waits for its turn;
    /// only the number of its pods follows meanwhile.
    async fn deployment(&mut self, desired: &Deployment) -> Result<()> {
        let store = &self.context.world.deployments;
        let found = self.cached(store, &desired.name_any()).filter(|found| self.subject.owns(&**found));
        let waiting = found.filter(|found| !self.may_replace_pods(found, desired));
        self.waits = waiting.is_some();
        match waiting {
            Some(found) => {
                let replicas = desired.spec.as_ref().and_then(|spec| spec.replicas);
                self.scale(&found.json(), desired.annotations().get(WORKERS).map(String::as_str), replicas).await
            }
            None => self.apply(store, desired).await,
        }
    }

    /// Gives the Deployment as many pods as are wanted of the version that it has, while the spec has problems.
    ///
    /// # Errors
    /// The write failed.
    pub async fn keep(&mut self, plan: &Plan) -> Result<()> {
        let found = self.cached(&self.context.world.deployments, self.subject.names.base());
        let Some(found) = found.filter(|found| self.subject.owns(&**found)).map(|found| found.json()) else {
            return Ok(());
        };
        if found["spec"]["replicas"].as_i64() == Some(plan.replicas.into()) {
            return Ok(());
        }
        self.scale(&found, Some(&plan.workers.to_string()), Some(plan.replicas)).await
    }

    fn may_replace_pods(&self, found: &Kept<Deployment>, desired: &Deployment) -> bool {
        let (name, namespace) = (&self.subject.owner.name, &self.subject.namespace);
        let wanted = stamp(serde_json::to_value(desired).unwrap_or_default());
        if self.is_as_wanted(found, &wanted) {
            return true;
        }
        let seen = self.subject.pipeline.status.as_ref().and_then(|status| status.observed_generation);
        let is_edited = seen != self.subject.pipeline.metadata.generation;
        !is_upgrade(&found.json(), &wanted, is_edited) || self.context.rollouts.take(namespace, name)
    }

    async fn scale(&mut self, found: &Value, workers: Option<&str>, replicas: Option<i32>) -> Result<()> {
        let is_noted = found["metadata"]["annotations"][WORKERS].as_str() == workers;
        if is_noted && found["spec"]["replicas"].as_i64() == replicas.map(i64::from) {
            return Ok(());
        }
        let name = self.subject.names.base();
        let api: Api<Kept<Deployment>> = self.api()?;
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = json!({"metadata": {"annotations": {WORKERS: workers}}, "spec": {"replicas": replicas}});
        let answer = api.patch(name, &parameters, &Patch::Merge(patch)).await;
        self.wrote("patch", name, answer)
    }

    /// Makes the slot Leases that are missing.
    ///
    /// # Errors
    /// A write failed.
    pub async fn slots(&mut self, pipeline: &ValidatedPipeline, plan: &Plan) -> Result<()> {
        for number in 0..plan.slots {
            let lease = objects::slot_lease(pipeline, &self.subject.owner, number);
            let known: Option<_> =
                self.subject.known::<Lease>(self.context, &self.context.world.leases, &lease.name_any());
            if known.is_none() {
                self.create(lease).await?;
            }
        }
        Ok(())
    }

    /// Frees slots whose holder is gone, after asking once more: a pod that the cache does not know yet is not gone.
    ///
    /// # Errors
    /// A request failed, or somebody else wrote first.
    pub async fn free(&mut self, slots: &[Slot]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let pods: Api<Pod> = self.api()?;
        let label = format!("{PIPELINE}={}", self.subject.names.label());
        let alive =
            pods.list(&ListParams::default().labels(&label)).await.map_err(Error::api("listing worker pods"))?;
        for slot in slots {
            let known = self.subject.known::<Lease>(self.context, &self.context.world.leases, &slot.0);
            let Some(mut lease) = known.map(|lease| (*lease).clone()) else { continue };
            let Some(holder) = lease.spec.as_mut().and_then(|spec| spec.holder_identity.take()) else { continue };
            let holder = RunId(holder);
            if alive.iter().any(|pod| pod.uid().as_deref() == Some(pod_uid(&holder))) {
                continue;
            }
            lease.metadata.managed_fields = None;
            let api: Api<Lease> = self.api()?;
            let answer = api.replace(&slot.0, &posted(), &lease).await;
            self.wrote("update", &slot.0, answer)?;
        }
        Ok(())
    }

    /// Publishes an assignment: created once, then changed only at the version that was read, so that of two operators
    /// one gets a conflict. `published` is what was read when it was decided.
    ///
    /// # Errors
    /// A write failed, or somebody else wrote first.
    pub async fn assignment(
        &mut self,
        published: Option<&AssignmentSpec>,
        desired: &AssignmentSpec,
        made: impl FnOnce() -> Option<StreamAssignment>,
    ) -> Result<()> {
        if published == Some(desired) {
            return self.mark_assignment(made).await;
        }
        let name = self.subject.names.pipeline();
        let Some(known) = observe::assignment(self.subject, self.context)? else {
            return match made() {
                Some(made) => self.create(made).await,
                None => Ok(()),
            };
        };
        if known.spec == *desired {
            return Ok(());
        }
        // The version that is written at is that of what was decided from, and of nothing that has come since.
        if published != Some(&known.spec) {
            return Err(Error::Overtaken { kind: StreamAssignment::kind(&()).into_owned(), name: name.to_owned() });
        }
        let mut next = StreamAssignment { spec: desired.clone(), ..known.clone() };
        next.metadata.managed_fields = None;
        let api: Api<StreamAssignment> = self.api()?;
        let answer = api.replace(name, &posted(), &next).await;
        self.wrote("update", name, answer)?;
        let (namespace, name) = (&self.subject.namespace, &self.subject.owner.name);
        self.context.metrics.each.moved(namespace, name, moves(&known.spec, desired));
        Ok(())
    }

    /// Gives an assignment that is as it should be the labels back that somebody took away.
    async fn mark_assignment(&mut self, made: impl FnOnce() -> Option<StreamAssignment>) -> Result<()> {
        let (subject, world) = (self.subject, &self.context.world);
        let known: Option<Arc<Kept<StreamAssignment>>> =
            subject.known(self.context, &world.assignments, subject.names.pipeline());
        // Each version is looked into once.
        let Some(known) = known.filter(|known| !known.is_verified(MARKED)) else { return Ok(()) };
        let labels = &known.json()["metadata"]["labels"];
        if labels[MANAGED_BY] == MANAGER && labels[PIPELINE] == subject.names.label() {
            known.verify(MARKED);
            return Ok(());
        }
        match (made(), observe::assignment(subject, self.context)?) {
            (Some(made), Some(found)) => self.mark(&made, &found).await,
            _ => Ok(()),
        }
    }

    /// Removes ConfigMaps of plans that nobody runs.
    ///
    /// # Errors
    /// A write failed.
    pub async fn remove_plans(&mut self, kept: &BTreeSet<String>) -> Result<()> {
        let stale =
            self.context.world.plans.state_filter(|map| self.subject.has(map) && !kept.contains(&map.name_any()));
        for map in stale {
            let name = map.name_any();
            // The one that was read, and no other of its name.
            let same = Preconditions { uid: map.uid(), resource_version: map.resource_version() };
            let parameters = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
            let api: Api<ConfigMap> = self.api()?;
            match api.delete(&name, &parameters).await {
                Err(error) if !is_status(&error, 404) && !is_status(&error, 409) => {
                    return Err(Error::api(format!("removing ConfigMap {name}"))(error));
                }
                _ => self.count::<ConfigMap>("delete"),
            }
        }
        Ok(())
    }

    /// Applies an object unless it is as it should be.
    async fn apply<K: Object>(&mut self, store: &Store<Kept<K>>, desired: &K) -> Result<()> {
        let name = desired.name_any();
        let wanted = stamp(serde_json::to_value(desired).map_err(|error| Error::Internal(error.to_string()))?);
        let api: Api<Kept<K>> = self.api()?;
        let found = match self.cached(store, &name) {
            Some(cached) => Some(cached),
            // It may exist without our labels, or belong to somebody else.
            None => {
                api.get_opt(&name).await.map_err(Error::api(format!("reading {} {name}", K::kind(&()))))?.map(Arc::new)
            }
        };
        if let Some(found) = &found {
            self.must_own(&**found)?;
            if self.is_as_wanted(found, &wanted) {
                return Ok(());
            }
        }
        let answer = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&wanted)).await;
        self.wrote("apply", &name, answer)
    }

    fn cached<K: Object>(&self, store: &Store<Kept<K>>, name: &str) -> Option<Arc<Kept<K>>> {
        let key = kube::runtime::reflector::ObjectRef::new(name).within(&self.subject.namespace);
        let cached = store.get(&key);
        self.context.overlay.newest(&self.subject.namespace, name, cached)
    }

    fn is_as_wanted<K: Object>(&self, found: &Kept<K>, wanted: &Value) -> bool {
        let hash = wanted["metadata"]["annotations"][APPLIED].as_str().unwrap_or_default();
        if found.is_verified(hash) {
            return true;
        }
        let mut wanted = wanted.clone();
        drop_kind(&mut wanted);
        let same = !differs(&wanted, &found.json());
        if same {
            found.verify(hash);
        }
        same
    }

    /// Makes an object that is not there. One that is there after all is ours already, perhaps unseen because somebody took
    /// away its labels or its owner, or it is somebody else's.
    async fn create<K: Object>(&mut self, object: K) -> Result<()> {
        let name = object.name_any();
        let api: Api<K> = self.api()?;
        match api.create(&posted(), &object).await {
            Err(error) if is_status(&error, 409) => {
                let found = api.get_opt(&name).await.map_err(Error::api(format!("reading {} {name}", K::kind(&()))))?;
                // Gone again already: the next look makes it.
                let Some(found) = found else {
                    return Err(Error::write(K::kind(&()), &name, error));
                };
                self.must_own(&found)?;
                self.context.overlay.wrote(&found);
                self.mark(&object, &found).await
            }
            answer => self.wrote("create", &name, answer),
        }
    }

    /// Gives an object of ours back the labels and the owner that it was made with.
    async fn mark<K: Object>(&mut self, made: &K, found: &K) -> Result<()> {
        let has_labels = made.labels().iter().all(|(key, value)| found.labels().get(key) == Some(value));
        if has_labels && self.subject.owns(found) {
            return Ok(());
        }
        let name = made.name_any();
        let marks = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "labels": made.labels(), "ownerReferences": made.owner_references()},
        });
        let api: Api<K> = self.api()?;
        let answer = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&marks)).await;
        self.wrote("apply", &name, answer)
    }

    /// Whether an object is ours to write: the pipeline owns it, or nobody does and it bears our labels, as after somebody
    /// took its owner away.
    fn must_own<K: Object>(&self, found: &K) -> Result<()> {
        let is_disowned = || {
            let json = serde_json::to_value(found).unwrap_or_default();
            let labels = &json["metadata"]["labels"];
            let has_owner = found.owner_references().iter().any(|owner| owner.controller == Some(true));
            !has_owner && labels[MANAGED_BY] == MANAGER && labels[PIPELINE] == self.subject.names.label()
        };
        match self.subject.owns(found) || is_disowned() {
            true => Ok(()),
            false => Err(Error::NameTaken { kind: K::kind(&()).into_owned(), name: found.name_any() }),
        }
    }

    /// Where a kind is written, by a leader only.
    fn api<K: Object>(&self) -> Result<Api<K>> {
        match self.context.leadership.holds() {
            true => Ok(Api::namespaced(self.context.client.clone(), &self.subject.namespace)),
            false => Err(Error::NotLeader),
        }
    }

    fn wrote<K: Object>(&mut self, verb: &str, name: &str, answer: kube::Result<K>) -> Result<()> {
        let written = answer.map_err(|error| Error::write(K::kind(&()), name, error))?;
        self.count::<K>(verb);
        self.context.overlay.wrote(&written);
        Ok(())
    }

    fn count<K: Object>(&mut self, verb: &str) {
        self.writes += 1;
        self.context.metrics.wrote(&K::kind(&()), verb);
    }
}

fn posted() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}
