//! What is cached of a cluster, or of one namespace of it: one watch a kind, and one of other people's ConfigMaps, of which nothing
//! is cached.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use thalweg_crds::assignment::StreamAssignment;
use thalweg_crds::{StreamPipeline, StreamSink, StreamSource};
use thalweg_operator_plan::names::{MANAGED_BY, MANAGER, PIPELINE};

use crate::kept::Kept;
use crate::overlay::Overlay;
use crate::pods::trim;
use crate::silence::Silence;
use crate::usage::{Usage, Used, UsedKey, named};
use crate::watch::{Change, PipelineRef, Triggers, Watches, owned, owner};

/// Caches of every kind.
pub struct World {
    /// Pipelines.
    pub pipelines: Store<Kept<StreamPipeline>>,
    /// Sources.
    pub sources: Store<Kept<StreamSource>>,
    /// Sinks.
    pub sinks: Store<Kept<StreamSink>>,
    /// Assignments.
    pub assignments: Store<Kept<StreamAssignment>>,
    /// Slot Leases.
    pub leases: Store<Lease>,
    /// Worker pods.
    pub pods: Store<Pod>,
    /// Workers.
    pub deployments: Store<Kept<Deployment>>,
    /// Plans.
    pub plans: Store<Kept<ConfigMap>>,
    /// Accounts of workers.
    pub service_accounts: Store<Kept<ServiceAccount>>,
    /// Roles of workers.
    pub roles: Store<Kept<Role>>,
    /// Their bindings.
    pub role_bindings: Store<Kept<RoleBinding>>,
    /// Services of workers.
    pub services: Store<Kept<Service>>,
    /// Policies for workers.
    pub network_policies: Store<Kept<NetworkPolicy>>,
    /// Budgets of workers.
    pub disruption_budgets: Store<Kept<PodDisruptionBudget>>,
    /// Which pipelines name which sources, sinks and ConfigMaps with SQL.
    pub usage: Arc<Usage>,
    /// How long Leases have been unchanged.
    pub silence: Arc<Silence>,
    _watches: Watches,
}

impl World {
    /// Starts every watch of a namespace, or of all of them.
    pub fn start(client: &Client, namespace: Option<&str>, triggers: Triggers, overlay: &Arc<Overlay>) -> Self {
        let mut watches = Watches::new(triggers, Arc::clone(overlay));
        let silence = Arc::new(Silence::default());
        let scope = Scope { client, namespace };
        let usage = Arc::new(Usage::default());
        let noted = Arc::clone(&usage);
        let pipelines = watches.start(
            scope.api(),
            watcher::Config::default(),
            move |event| noted.note(event),
            itself_and_heirs(&usage),
        );
        watches.pipelines(&pipelines);
        watches.notice(scope.api(), of_others(), of_readers(&usage));
        let noted = Arc::clone(&silence);
        Self {
            sources: watches.start(
                scope.api(),
                watcher::Config::default(),
                |_| {},
                of_users::<Kept<StreamSource>>(Used::Source, &usage),
            ),
            sinks: watches.start(
                scope.api(),
                watcher::Config::default(),
                |_| {},
                of_users::<Kept<StreamSink>>(Used::Sink, &usage),
            ),
            assignments: watches.start(
                scope.api(),
                watcher::Config::default(),
                |_| {},
                owned::<Kept<StreamAssignment>>,
            ),
            leases: watches.start(scope.api(), ours(), move |event| noted.note(event), changed_hands),
            pods: watches.start_trimmed(
                scope.api(),
                watcher::Config::default().labels(PIPELINE),
                |_| {},
                labelled(&pipelines),
                trim,
            ),
            deployments: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<Deployment>>),
            plans: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<ConfigMap>>),
            service_accounts: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<ServiceAccount>>),
            roles: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<Role>>),
            role_bindings: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<RoleBinding>>),
            services: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<Service>>),
            network_policies: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<NetworkPolicy>>),
            disruption_budgets: watches.start(scope.api(), ours(), |_| {}, owned::<Kept<PodDisruptionBudget>>),
            pipelines,
            usage,
            silence,
            _watches: watches,
        }
    }

    /// Waits until every cache is filled: nothing is decided from half of what there is.
    ///
    /// # Errors
    /// A watch has ended.
    pub async fn filled(&self) -> Result<(), WriterDropped> {
        self.pipelines.wait_until_ready().await?;
        self.sources.wait_until_ready().await?;
        self.sinks.wait_until_ready().await?;
        self.assignments.wait_until_ready().await?;
        self.leases.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.deployments.wait_until_ready().await?;
        self.plans.wait_until_ready().await?;
        self.service_accounts.wait_until_ready().await?;
        self.roles.wait_until_ready().await?;
        self.role_bindings.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.network_policies.wait_until_ready().await?;
        self.disruption_budgets.wait_until_ready().await
    }
}

struct Scope<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
}

impl Scope<'_> {
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// A pipeline, and those that write a sink that it writes no longer: they may have waited for that.
fn itself_and_heirs(
    usage: &Arc<Usage>,
) -> impl Fn(Change<'_, Kept<StreamPipeline>>) -> Vec<PipelineRef> + Send + use<> {
    let usage = Arc::clone(usage);
    move |change| {
        let namespace = change.object().namespace().unwrap_or_default();
        let heirs = sinks_left(&change).into_iter().flat_map(|sink| usage.users(&sink));
        let heirs = heirs.map(|heir| ObjectRef::new(&heir).within(&namespace));
        std::iter::once(ObjectRef::from_obj(change.object())).chain(heirs).collect()
    }
}

/// The sinks that a pipeline writes no longer, or not for long.
fn sinks_left(change: &Change<'_, Kept<StreamPipeline>>) -> Vec<UsedKey> {
    if change.is_the_same(version) {
        return Vec::new();
    }
    match change {
        Change::Was(pipeline) => sinks(pipeline),
        Change::Is(pipeline, Some(before)) => {
            let leaves = pipeline.meta().deletion_timestamp.is_some();
            let kept = if leaves { Vec::new() } else { sinks(pipeline) };
            sinks(before).into_iter().filter(|sink| !kept.contains(sink)).collect()
        }
        Change::Is(_, None) => Vec::new(),
    }
}

fn sinks(pipeline: &Kept<StreamPipeline>) -> Vec<UsedKey> {
    named(pipeline).into_iter().filter(|named| named.0 == Used::Sink).collect()
}

/// What of an object changes with its spec, and not with its status.
fn version(object: &impl Resource) -> (Option<String>, Option<i64>, bool) {
    let meta = object.meta();
    (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some())
}

/// Objects that the operator made.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"))
}

/// Objects that others made.
fn of_others() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}!={MANAGER}"))
}

/// Pipelines whose SQL is in a ConfigMap, where it has changed or may have: of any ConfigMap no more is asked for than who it is,
/// and nothing is kept. They read it when they are looked at.
fn of_readers(usage: &Arc<Usage>) -> impl Fn(&Event<PartialObjectMeta<ConfigMap>>) -> Vec<PipelineRef> + Send + use<> {
    let usage = Arc::clone(usage);
    move |event| {
        let maps = match event {
            Event::Apply(map) | Event::Delete(map) => {
                vec![(Used::ConfigMap, map.namespace().unwrap_or_default(), map.name_any())]
            }
            // What was deleted unseen is in no list, and what is in it may have changed unseen.
            Event::InitDone => usage.all(Used::ConfigMap),
            Event::Init | Event::InitApply(_) => Vec::new(),
        };
        let readers = |map: UsedKey| {
            let users = usage.users(&map);
            users.into_iter().map(move |user| ObjectRef::new(&user).within(&map.1)).collect::<Vec<_>>()
        };
        maps.into_iter().flat_map(readers).collect()
    }
}

/// Pipelines that name a source or a sink, if its spec has changed: what the operator writes into its status is no news.
fn of_users<K: Resource<DynamicType = ()>>(
    used: Used,
    usage: &Arc<Usage>,
) -> impl Fn(Change<'_, K>) -> Vec<PipelineRef> + Send + use<K> {
    let usage = Arc::clone(usage);
    move |change| {
        if change.is_the_same(version) {
            return Vec::new();
        }
        let object = change.object();
        let namespace = object.namespace().unwrap_or_default();
        let users = usage.users(&(used, namespace.clone(), object.name_any()));
        users.iter().map(|user| ObjectRef::new(user).within(&namespace)).collect()
    }
}

/// The owner of a Lease, if it means something else than before: a renewal does not.
fn changed_hands(change: Change<'_, Lease>) -> Option<PipelineRef> {
    let meaning = |lease: &Lease| {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        (lease.uid(), holder, lease.metadata.annotations.clone())
    };
    owner(change.object()).filter(|_| !change.is_the_same(meaning))
}

/// The pipeline of a pod: its ReplicaSet owns it, and its label may be shortened.
fn labelled(pipelines: &Store<Kept<StreamPipeline>>) -> impl Fn(Change<'_, Pod>) -> Vec<PipelineRef> + Send + use<> {
    let pipelines = pipelines.clone();
    move |change| {
        let pod = change.object();
        let Some(label) = pod.labels().get(PIPELINE) else { return Vec::new() };
        if let Some(namespace) = pod.namespace().filter(|_| label.len() < 63) {
            return vec![ObjectRef::new(label).within(&namespace)];
        }
        let has_label = |pipeline: &Kept<StreamPipeline>| {
            thalweg_operator_plan::names::Names::new(&pipeline.name_any()).label() == *label
        };
        let found = pipelines.state_filter(|pipeline| pipeline.namespace() == pod.namespace() && has_label(pipeline));
        found.iter().map(|pipeline| ObjectRef::from_obj(&**pipeline)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pipeline(generation: i64, sinks: &[&str], deletion: Value) -> Kept<StreamPipeline> {
        let sinks: Vec<Value> = sinks.iter().map(|name| json!({"name": name})).collect();
        let meta = json!({"name": "a", "namespace": "n", "generation": generation, "deletionTimestamp": deletion});
        let spec = json!({"sources": [{"name": "trips"}], "sinks": sinks, "sql": "x"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    #[test]
    fn a_sink_is_left_by_an_edit_a_deletion_and_the_wish_for_one_and_by_no_status() {
        let left = |change: Change<'_, Kept<StreamPipeline>>| {
            sinks_left(&change).into_iter().map(|(_, _, name)| name).collect::<Vec<_>>().join(" ")
        };
        let both = pipeline(1, &["b", "c"], Value::Null);
        assert_eq!(left(Change::Is(&both, None)), "");
        assert_eq!(left(Change::Is(&pipeline(1, &["b"], Value::Null), Some(&both))), "", "it is of one spec");
        assert_eq!(left(Change::Is(&pipeline(2, &["b", "d"], Value::Null), Some(&both))), "c");
        let leaves = pipeline(2, &["b", "c"], "2026-01-01T00:00:00Z".into());
        assert_eq!(left(Change::Is(&leaves, Some(&both))), "b c");
        assert_eq!(left(Change::Was(&both)), "b c");
    }
}
