//! The workers.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Build;

impl Build<'_> {
    pub(super) fn deployment(&self, replicas: i32) -> Deployment {
        // A worker of a new plan starts, takes over, and only then an old one stops.
        let rolling = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        Deployment {
            metadata: self.named(),
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
