//! Who may reach workers: each other, the operator, and whoever scrapes metrics.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Build, DATA_PORT, HTTP_PORT, REPORT_PORT, labels};
use crate::names::{APP_NAME, MANAGER, PIPELINE};

/// The label that Kubernetes puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl Build<'_> {
    /// Outgoing traffic is not limited: sources and sinks are wherever the user says.
    pub(super) fn network_policy(&self) -> NetworkPolicy {
        let workers =
            NetworkPolicyPeer { pod_selector: Some(matching(self.selector())), ..NetworkPolicyPeer::default() };
        let operator = NetworkPolicyPeer {
            namespace_selector: Some(matching(labels([(NAMESPACE_NAME, self.settings.operator_namespace.clone())]))),
            pod_selector: Some(matching(labels([(APP_NAME, MANAGER.to_owned())]))),
            ..NetworkPolicyPeer::default()
        };
        let ingress = vec![
            rule(Some(vec![workers]), DATA_PORT),
            rule(Some(vec![operator]), REPORT_PORT),
            // The node of a pod reaches it in any case, as probes do.
            rule(Some(self.settings.metrics_from.clone()), HTTP_PORT),
        ];
        NetworkPolicy {
            metadata: self.named(),
            spec: Some(NetworkPolicySpec {
                // The lookout, too.
                pod_selector: Some(matching(labels([(PIPELINE, self.pipeline.names.label())]))),
                policy_types: Some(vec!["Ingress".to_owned()]),
                ingress: Some(ingress),
                egress: None,
            }),
        }
    }
}

fn rule(from: Option<Vec<NetworkPolicyPeer>>, port: i32) -> NetworkPolicyIngressRule {
    let port = NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule { from, ports: Some(vec![port]) }
}

fn matching(labels: std::collections::BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
