//! The lookout: a small pod that watches a pipeline's sources while it has no worker, as the same account.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Build, labels};
use crate::names;

impl Build<'_> {
    pub(super) fn lookout(&self, replicas: i32) -> Deployment {
        let selector =
            labels([(names::APP_NAME, names::LOOKOUT.to_owned()), (names::PIPELINE, self.pipeline.names.label())]);
        Deployment {
            metadata: self.metadata(&self.pipeline.names.lookout()),
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                revision_history_limit: Some(0),
                selector: LabelSelector { match_labels: Some(selector.clone()), ..LabelSelector::default() },
                strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
                template: self.lookout_pod(selector),
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }

    /// A worker's pod that claims no slot.
    fn lookout_pod(&self, selector: BTreeMap<String, String>) -> PodTemplateSpec {
        let mut template = self.pod_template();
        let metadata = template.metadata.get_or_insert_default();
        metadata.labels.get_or_insert_default().extend(selector);
        let pod = template.spec.get_or_insert_default();
        pod.topology_spread_constraints = None;
        pod.termination_grace_period_seconds = Some(1);
        let small = |container: Container| Container {
            command: container.command.map(|command| command.into_iter().chain(["--lookout".to_owned()]).collect()),
            name: "lookout".to_owned(),
            resources: Some(resources(container.resources)),
            // It has no units, so it never is.
            readiness_probe: None,
            ..container
        };
        pod.containers = std::mem::take(&mut pod.containers).into_iter().map(small).collect();
        template
    }
}

/// As little as it takes, with the limits of a worker: what admits that one, such as a quota on limits, admits this one.
fn resources(of_worker: Option<ResourceRequirements>) -> ResourceRequirements {
    let requests = [("cpu", "10m"), ("memory", "64Mi")];
    let requests = requests.map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned())));
    ResourceRequirements {
        requests: Some(requests.into()),
        limits: of_worker.and_then(|worker| worker.limits),
        ..ResourceRequirements::default()
    }
}
