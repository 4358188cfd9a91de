//! The workers.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Build;
use crate::names;

impl Build<'_> {
    pub(super) fn deployment(&self, workers: i32, replicas: i32) -> Deployment {
        // A worker of a new plan starts, takes over, and only then an old one stops.
        let rolling = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        Deployment {
            metadata: ObjectMeta {
                annotations: Some([(names::WORKERS.to_owned(), workers.to_string())].into()),
                ..self.named()
            },
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                revision_history_limit: Some(2),
                selector: LabelSelector { match_labels: Some(self.selector()), ..LabelSelector::default() },
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(rolling),
                }),
                template: self.pod_template(),
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }
}
