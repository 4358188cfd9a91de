//! What a pipeline has in its cluster: every object, built from a validated pipeline. One file a kind.

mod config_map;
mod deployment;
mod disruption_budget;
mod lease;
mod lookout;
mod network_policy;
mod pod;
mod rbac;
mod removal_job;
mod service;
mod service_account;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use thalweg_crds::API_VERSION;
use thalweg_crds::assignment::{AssignmentSpec, StreamAssignment};

use crate::names;
use crate::plan::Plan;
use crate::validate::ValidatedPipeline;

pub(crate) use config_map::{RESOURCES, STAGES};
pub use removal_job::removal_job;

/// Port of metrics and health.
pub const HTTP_PORT: i32 = 8080;
/// Port of reports, which are answered to those alone who show a key that is known.
pub const REPORT_PORT: i32 = 8081;
/// Port of the operator, at its loopback address, where it tells what workers reported.
pub const OPERATOR_REPORTS_PORT: u16 = 8083;
/// Port of the exchange between workers.
pub const DATA_PORT: i32 = 8443;

/// What an installation says about all workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The image of workers, unless a pipeline names another one.
    pub worker_image: String,
    /// `Always`, `IfNotPresent` or `Never`; by the tag of the image where absent.
    pub image_pull_policy: Option<String>,
    /// Its id: part of who owns state and progress.
    pub installation: String,
    /// The namespace of the operator, from which reports are asked for.
    pub operator_namespace: String,
    /// Fingerprints of the operator's key, and of that which is to take its place: those are answered that show one.
    pub operator_keys: Vec<String>,
    /// Who may read metrics; everybody where it is empty.
    pub metrics_from: Vec<NetworkPolicyPeer>,
}

/// The resource that owns every object, so that all go when it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Everything that a pipeline has, but its assignment and Leases, which others write too.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The account of its workers; absent where the user named one.
    pub service_account: Option<ServiceAccount>,
    /// What workers may do.
    pub role: Role,
    /// Gives it to their account.
    pub role_binding: RoleBinding,
    /// Who may reach workers.
    pub network_policy: NetworkPolicy,
    /// The text of the plan.
    pub plan: ConfigMap,
    /// Names workers for whoever scrapes them.
    pub service: Service,
    /// Workers that leave at once when nodes are drained.
    pub disruption_budget: PodDisruptionBudget,
    /// The workers.
    pub deployment: Deployment,
    /// What watches sources while there are none; absent where there always are some.
    pub lookout: Option<Deployment>,
}

/// Builds what is applied.
pub fn build(pipeline: &ValidatedPipeline, plan: &Plan, owner: &Owner, settings: &Settings) -> Objects {
    let build = Build { pipeline, owner, settings };
    Objects {
        service_account: build.service_account(),
        role: build.role(plan.slots),
        role_binding: build.role_binding(),
        network_policy: build.network_policy(),
        plan: build.plan(),
        service: build.service(),
        disruption_budget: build.disruption_budget(),
        deployment: build.deployment(plan.workers, plan.replicas),
        lookout: plan.lookouts.map(|lookouts| build.lookout(lookouts)),
    }
}

/// A slot Lease, which a worker claims and renews.
pub fn slot_lease(pipeline: &ValidatedPipeline, owner: &Owner, number: u32) -> Lease {
    lease::slot(&pipeline.namespace, &pipeline.names, owner, number)
}

/// The assignment as it is first made.
pub fn assignment(pipeline: &ValidatedPipeline, owner: &Owner, spec: AssignmentSpec) -> StreamAssignment {
    let name = pipeline.names.pipeline();
    StreamAssignment { metadata: metadata(&pipeline.namespace, &pipeline.names, owner, name), spec }
}

/// What the objects of one pipeline are built from.
struct Build<'a> {
    pipeline: &'a ValidatedPipeline,
    owner: &'a Owner,
    settings: &'a Settings,
}

impl Build<'_> {
    fn metadata(&self, name: &str) -> ObjectMeta {
        metadata(&self.pipeline.namespace, &self.pipeline.names, self.owner, name)
    }

    /// Metadata of an object that carries the pipeline's name.
    fn named(&self) -> ObjectMeta {
        self.metadata(self.pipeline.names.base())
    }

    /// Labels by which workers are chosen; they never change.
    fn selector(&self) -> BTreeMap<String, String> {
        selector(&self.pipeline.names)
    }

    /// The account that workers run as.
    fn account(&self) -> &str {
        self.pipeline.worker.service_account_name.as_deref().unwrap_or(self.pipeline.names.base())
    }
}

/// Labels by which the workers of a pipeline are chosen.
pub fn selector(names: &names::Names) -> BTreeMap<String, String> {
    labels([(names::APP_NAME, names::WORKER.to_owned()), (names::PIPELINE, names.label())])
}

fn metadata(namespace: &str, names: &names::Names, owner: &Owner, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels([
            (names::APP_NAME, names::WORKER.to_owned()),
            (names::INSTANCE, names.label()),
            (names::MANAGED_BY, names::MANAGER.to_owned()),
            (names::PIPELINE, names.label()),
        ])),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: "StreamPipeline".to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

fn labels<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
