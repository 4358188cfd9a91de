//! All reads of one look at a pipeline: caches, what was written since, and what caches do not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use thalweg_crds::StreamPipeline;
use thalweg_crds::assignment::StreamAssignment;
use thalweg_crds::ids::RunId;
use thalweg_crds::restart::Restarted;
use thalweg_operator_plan::check::{Stage, noted_changes, noted_stages};
use thalweg_operator_plan::names::{self, Names};
use thalweg_operator_plan::objects::Owner;
use thalweg_operator_plan::observed::{Lookout, Observed, SUSPICION_LIMIT, SlotLease};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::references::{sink_names, source_names, sql_map_name};
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::restart;
use thalweg_operator_plan::unreadable;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::kept::Kept;
use crate::pods::{is_lookout, rollout, worker_pod};
use crate::usage::Used;

/// The pipeline that is looked at.
#[derive(Clone)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// The names of its objects.
    pub names: Names,
    /// It, as the owner of objects.
    pub owner: Owner,
    /// It.
    pub pipeline: StreamPipeline,
}

impl Subject {
    /// Who is looked at.
    ///
    /// # Errors
    /// The API server gave a pipeline without a namespace or a UID, or one of another version.
    pub fn new(pipeline: &Kept<StreamPipeline>) -> Result<Self> {
        let missing = |what: &str| Error::Internal(format!("a StreamPipeline without {what}"));
        let namespace = pipeline.namespace().ok_or_else(|| missing("a namespace"))?;
        let name = pipeline.name_any();
        let uid = pipeline.uid().ok_or_else(|| missing("a UID"))?;
        let pipeline = read(pipeline).map_err(|amiss| Error::unreadable(&amiss))?;
        Ok(Self { namespace, names: Names::new(&name), owner: Owner { name, uid }, pipeline })
    }

    /// The newest of an object of this pipeline that is known; `None` if it belongs to somebody else.
    pub fn known<K>(&self, context: &Context, store: &Store<K>, name: &str) -> Option<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        let cached = store.get(&ObjectRef::new(name).within(&self.namespace));
        let newest = context.overlay.newest(&self.namespace, name, cached)?;
        self.owns(&*newest).then_some(newest)
    }

    /// Whether an object lies in the namespace of this pipeline and belongs to it.
    pub fn has<K: Resource>(&self, object: &K) -> bool {
        object.meta().namespace.as_ref() == Some(&self.namespace) && self.owns(object)
    }

    /// When it was made, in seconds since 1970.
    pub fn made(&self) -> i64 {
        self.pipeline.metadata.creation_timestamp.as_ref().map_or(0, |made| made.0.as_second())
    }

    /// Whether an object belongs to this pipeline, and not to one of its name that is gone.
    pub fn owns<K: Resource>(&self, object: &K) -> bool {
        object.meta().owner_references.iter().flatten().any(|owner| owner.uid == self.owner.uid)
    }
}

/// The resources of a pipeline, as they are stored, and whether its ConfigMap with SQL could be read, where it has one: if not,
/// what runs is looked after all the same.
pub async fn written(subject: &Subject, context: &Context) -> (Written, Result<()>) {
    let spec = &subject.pipeline.spec;
    let namespace = &subject.namespace;
    let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
    let (mut leaving, mut unreadable) = (BTreeSet::new(), BTreeMap::new());
    for name in source_names(spec) {
        let Some(source) = context.world.sources.get(&ObjectRef::new(name).within(namespace)) else { continue };
        let key = (Used::Source.kind(), name.to_owned());
        if is_leaving(&*source) {
            leaving.insert(key);
            continue;
        }
        match read(&source) {
            Ok(source) => drop(sources.insert(name.to_owned(), source.spec)),
            Err(amiss) => drop(unreadable.insert(key, amiss)),
        }
    }
    for name in sink_names(spec) {
        let Some(sink) = context.world.sinks.get(&ObjectRef::new(name).within(namespace)) else { continue };
        let key = (Used::Sink.kind(), name.to_owned());
        if is_leaving(&*sink) {
            leaving.insert(key);
            continue;
        }
        match read(&sink) {
            Ok(sink) => drop(sinks.insert(name.to_owned(), sink.spec)),
            Err(amiss) => drop(unreadable.insert(key, amiss)),
        }
    }
    let (config_maps, result) = match sql_map(subject, context).await {
        Ok(config_maps) => (config_maps, Ok(())),
        Err(error) => (BTreeMap::new(), Err(error)),
    };
    let (namespace, name, spec) = (namespace.clone(), subject.owner.name.clone(), spec.clone());
    (Written { namespace, name, spec, sources, sinks, leaving, unreadable, config_maps, restarted: None }, result)
}

/// An object, or what is amiss with it.
fn read<K>(kept: &Kept<K>) -> std::result::Result<K, Vec<Problem>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
{
    kept.read().map_err(|error| unreadable::problems(&K::kind(&()), &kept.name_any(), &kept.json(), &error.to_string()))
}

fn is_leaving(resource: &impl Resource) -> bool {
    resource.meta().deletion_timestamp.is_some()
}

async fn sql_map(subject: &Subject, context: &Context) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let named = sql_map_name(&subject.pipeline.spec).filter(|name| names::is_object_name(name));
    let Some(name) = named else { return Ok(BTreeMap::new()) };
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &subject.namespace);
    let found = api.get_opt(name).await.map_err(Error::api(format!("reading ConfigMap {name}")))?;
    Ok(found.map(|map| (name.to_owned(), map.data.unwrap_or_default())).into_iter().collect())
}

/// What the cluster and the workers said.
///
/// # Errors
/// A Lease that is about to be given up cannot be read, or the assignment is of another version.
pub async fn observed(subject: &Subject, context: &Context) -> Result<Observed> {
    let assignment = assignment(subject, context)?.map(|assignment| assignment.spec);
    let mut slots = Vec::new();
    for lease in leases(subject, context) {
        slots.push(slot(subject, context, &lease).await?);
    }
    let label = subject.names.label();
    let pods = context.world.pods.state_filter(|pod| {
        pod.metadata.namespace.as_deref() == Some(&subject.namespace)
            && pod.labels().get(names::PIPELINE) == Some(&label)
    });
    let (lookouts, pods): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| is_lookout(pod));
    let lookout: Option<Arc<Kept<Deployment>>> =
        subject.known(context, &context.world.deployments, &subject.names.lookout());
    let lookout = Lookout {
        deployment: lookout.and_then(|lookout| lookout.object()).map(|lookout| rollout(&lookout)),
        pods: lookouts.iter().map(|pod| worker_pod(pod)).collect(),
        report: lookouts.iter().find_map(|pod| context.reports.of_lookout(&pod.uid()?)),
    };
    let deployment: Option<Arc<Kept<Deployment>>> =
        subject.known(context, &context.world.deployments, subject.names.base());
    let (mut reports, mut report_ages, mut unheard) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for holder in slots.iter().filter_map(|slot| slot.holder.clone()) {
        let Some((report, age)) = context.reports.of(&holder) else {
            unheard.insert(holder.clone(), context.reports.known_for(&holder));
            continue;
        };
        report_ages.insert(holder.clone(), age);
        reports.insert(holder, report);
    }
    let stages = assignment.as_ref().map(|assignment| stages(subject, context, &assignment.plan));
    Ok(Observed {
        assignment,
        stages: stages.unwrap_or_default(),
        pods: pods.iter().map(|pod| worker_pod(pod)).collect(),
        deployment: deployment.and_then(|deployment| deployment.object()).map(|deployment| rollout(&deployment)),
        slots,
        reports,
        report_ages,
        unheard,
        lookout,
    })
}

/// The newest of its assignment that is known.
///
/// # Errors
/// It is of another version. That is no reason to take it for absent: the epochs in it have to grow on.
pub fn assignment(subject: &Subject, context: &Context) -> Result<Option<StreamAssignment>> {
    let known: Option<Arc<Kept<StreamAssignment>>> =
        subject.known(context, &context.world.assignments, subject.names.pipeline());
    known.map(|known| read(&known).map_err(|amiss| Error::unreadable(&amiss))).transpose()
}

/// The stages of a plan that may not be the one that is wanted; none where its ConfigMap is gone.
fn stages(subject: &Subject, context: &Context, plan: &str) -> Vec<Stage> {
    let noted = || subject.known(context, &context.world.plans, &subject.names.plan(plan));
    context.checks.valid(plan).or_else(|| noted_stages(&noted()?.object()?)).unwrap_or_default()
}

/// The start from scratch that runs.
pub fn restarted(subject: &Subject, context: &Context, observed: &Observed) -> Option<Restarted> {
    let plans = &context.world.plans;
    let assignment = observed.assignment.as_ref();
    let plan = assignment.and_then(|assignment| subject.known(context, plans, &subject.names.plan(&assignment.plan)));
    let noted = |map: &Kept<ConfigMap>| restart::noted(&map.object()?);
    let others = match &plan {
        Some(_) => Vec::new(),
        None => plans.state_filter(|map| subject.has(map)),
    };
    let others = others.iter().filter_map(|map| noted(map));
    let asked = subject.pipeline.spec.restart.as_ref();
    restart::running(plan.as_deref().and_then(noted), others, assignment, asked, subject.made())
}

/// How often the statements of a pipeline had become others, by what was noted with its plans. Where the assignment says it,
/// nobody asks.
pub fn changes(subject: &Subject, context: &Context, observed: &Observed) -> u64 {
    if observed.assignment.as_ref().is_some_and(|assignment| assignment.numbers.is_some()) {
        return 0;
    }
    let plans = context.world.plans.state_filter(|map| subject.has(map));
    plans.iter().filter_map(|map| Some(noted_changes(&map.object()?))).max().unwrap_or_default()
}

/// The slot Leases of a pipeline, in the order of their numbers. One that somebody has deleted, or taken the labels from, hides
/// none of those after it.
pub fn leases(subject: &Subject, context: &Context) -> Vec<Arc<Lease>> {
    let leases = &context.world.leases;
    let cached = leases.state_filter(|lease| subject.has(lease));
    let next =
        cached.iter().filter_map(|lease| subject.names.slot_number(&lease.name_any())).max().map_or(0, |last| last + 1);
    let known = |number| subject.known(context, leases, &subject.names.slot(number).0);
    // Those that were just made are in no cache yet.
    (0..next).filter_map(known).chain((next..).map_while(known)).collect()
}

/// A slot. Before its holder is suspected or given up, the Lease is read once more: the cache itself may be what stands still.
async fn slot(subject: &Subject, context: &Context, lease: &Lease) -> Result<SlotLease> {
    let silence = &context.world.silence;
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty()).map(RunId);
    let mut silent_for = silence.of(lease);
    if holder.is_some() && silent_for >= SUSPICION_LIMIT {
        let api: Api<Lease> = Api::namespaced(context.client.clone(), &subject.namespace);
        let name = lease.name_any();
        let fresh = api.get_opt(&name).await.map_err(Error::api(format!("reading Lease {name}")))?;
        if fresh.is_some_and(|fresh| fresh.resource_version() != lease.resource_version()) {
            silence.doubt(lease);
            silent_for = silence.of(lease);
        }
    }
    let annotation = |key: &str| lease.annotations().get(key).cloned().unwrap_or_default();
    Ok(SlotLease {
        slot: thalweg_crds::ids::Slot(lease.name_any()),
        holder,
        silent_for,
        plan: annotation(names::PLAN),
        address: annotation(names::ADDRESS),
        report: annotation(names::REPORT),
        key_fingerprint: annotation(names::KEY_FINGERPRINT),
    })
}
