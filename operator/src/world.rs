//! What is cached of a cluster, or of one namespace of it: one watch a kind.

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

use crate::kept::Kept;
use crate::overlay::Overlay;
use crate::pods::trim;
use crate::silence::Silence;
use crate::usage::{Usage, Used};
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
    /// Which pipelines name which sources and sinks.
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
            |change: Change<'_, Kept<StreamPipeline>>| Some(ObjectRef::from_obj(change.object())),
        );
        watches.pipelines(&pipelines);
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

/// Objects that the operator made.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"))
}

/// Pipelines that name a source or a sink, if its spec has changed: what the operator writes into its status is no news.
fn of_users<K: Resource<DynamicType = ()>>(
    used: Used,
    usage: &Arc<Usage>,
) -> impl Fn(Change<'_, K>) -> Vec<PipelineRef> + Send + use<K> {
    let usage = Arc::clone(usage);
    let version = |object: &K| {
        let meta = object.meta();
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some())
    };
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
