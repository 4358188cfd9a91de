//! What is cached of a cluster, or of one namespace of it: one watch a kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::Api;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use thalweg_crds::assignment::StreamAssignment;
use thalweg_crds::{StreamPipeline, StreamSink, StreamSource};
use thalweg_operator_plan::names::{MANAGED_BY, MANAGER, PIPELINE};
use thalweg_operator_plan::references::{sink_names, source_names};

use crate::overlay::Overlay;
use crate::silence::Silence;
use crate::watch::{Change, Triggers, Watches, owned, owner};

/// Caches of every kind.
pub struct World {
    /// Pipelines.
    pub pipelines: Store<StreamPipeline>,
    /// Sources.
    pub sources: Store<StreamSource>,
    /// Sinks.
    pub sinks: Store<StreamSink>,
    /// Assignments.
    pub assignments: Store<StreamAssignment>,
    /// Slot Leases.
    pub leases: Store<Lease>,
    /// Worker pods.
    pub pods: Store<Pod>,
    /// Workers.
    pub deployments: Store<Deployment>,
    /// Plans.
    pub plans: Store<ConfigMap>,
    /// Accounts of workers.
    pub service_accounts: Store<ServiceAccount>,
    /// Roles of workers.
    pub roles: Store<Role>,
    /// Their bindings.
    pub role_bindings: Store<RoleBinding>,
    /// Services of workers.
    pub services: Store<Service>,
    /// Policies for workers.
    pub network_policies: Store<NetworkPolicy>,
    /// Budgets of workers.
    pub disruption_budgets: Store<PodDisruptionBudget>,
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
        let pipelines = watches.start(
            scope.api(),
            watcher::Config::default(),
            |_| {},
            |change: Change<'_, StreamPipeline>| Some(ObjectRef::from_obj(change.object())),
        );
        watches.pipelines(&pipelines);
        let readers = pipelines.clone();
        let of_source = move |change: Change<'_, StreamSource>| {
            referring(&readers, change.object(), |p, name| source_names(&p.spec).contains(name))
        };
        let readers = pipelines.clone();
        let of_sink = move |change: Change<'_, StreamSink>| {
            referring(&readers, change.object(), |p, name| sink_names(&p.spec).contains(name))
        };
        let noted = Arc::clone(&silence);
        Self {
            sources: watches.start(scope.api(), watcher::Config::default(), |_| {}, of_source),
            sinks: watches.start(scope.api(), watcher::Config::default(), |_| {}, of_sink),
            assignments: watches.start(scope.api(), watcher::Config::default(), |_| {}, owned::<StreamAssignment>),
            leases: watches.start(scope.api(), ours(), move |event| noted.note(event), changed_hands()),
            pods: watches.start(scope.api(), watcher::Config::default().labels(PIPELINE), |_| {}, labelled(&pipelines)),
            deployments: watches.start(scope.api(), ours(), |_| {}, owned::<Deployment>),
            plans: watches.start(scope.api(), ours(), |_| {}, owned::<ConfigMap>),
            service_accounts: watches.start(scope.api(), ours(), |_| {}, owned::<ServiceAccount>),
            roles: watches.start(scope.api(), ours(), |_| {}, owned::<Role>),
            role_bindings: watches.start(scope.api(), ours(), |_| {}, owned::<RoleBinding>),
            services: watches.start(scope.api(), ours(), |_| {}, owned::<Service>),
            network_policies: watches.start(scope.api(), ours(), |_| {}, owned::<NetworkPolicy>),
            disruption_budgets: watches.start(scope.api(), ours(), |_| {}, owned::<PodDisruptionBudget>),
            pipelines,
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

/// Objects that the operator made.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"))
}

/// Pipelines of an object's namespace that refer to it.
fn referring<K: Resource<DynamicType = ()>>(
    pipelines: &Store<StreamPipeline>,
    object: &K,
    refers: impl Fn(&StreamPipeline, &str) -> bool,
) -> Vec<ObjectRef<StreamPipeline>> {
    let (namespace, name) = (object.namespace(), object.name_any());
    let found = pipelines.state_filter(|pipeline| pipeline.namespace() == namespace && refers(pipeline, &name));
    found.iter().map(|pipeline| ObjectRef::from_obj(&**pipeline)).collect()
}

/// The owner of a Lease, if it means something else than before: a renewal does not.
fn changed_hands() -> impl Fn(Change<'_, Lease>) -> Option<ObjectRef<StreamPipeline>> + Send {
    let known = std::sync::Mutex::new(BTreeMap::new());
    move |change| {
        let lease = change.object();
        let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let meaning = (lease.uid(), holder, lease.metadata.annotations.clone());
        let key = (lease.namespace(), lease.name_any());
        let before = match change {
            Change::Is(_) => known.insert(key, meaning.clone()),
            Change::Was(_) => known.remove(&key).and(None),
        };
        owner(lease).filter(|_| before != Some(meaning))
    }
}

/// The pipeline of a pod: its ReplicaSet owns it, and its label may be shortened.
fn labelled(
    pipelines: &Store<StreamPipeline>,
) -> impl Fn(Change<'_, Pod>) -> Vec<ObjectRef<StreamPipeline>> + Send + use<> {
    let pipelines = pipelines.clone();
    move |change| {
        let pod = change.object();
        let Some(label) = pod.labels().get(PIPELINE) else { return Vec::new() };
        if let Some(namespace) = pod.namespace().filter(|_| label.len() < 63) {
            return vec![ObjectRef::new(label).within(&namespace)];
        }
        let has_label = |pipeline: &StreamPipeline| {
            thalweg_operator_plan::names::Names::new(&pipeline.name_any()).label() == *label
        };
        let found = pipelines.state_filter(|pipeline| pipeline.namespace() == pod.namespace() && has_label(pipeline));
        found.iter().map(|pipeline| ObjectRef::from_obj(&**pipeline)).collect()
    }
}
