//! How many workers may leave at once when nodes are drained.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Build;

impl Build<'_> {
    /// One: a drain is never blocked, since state outlives every worker. Those that are not ready do no work that a drain could
    /// disturb: however few are, they are evicted.
    pub(super) fn disruption_budget(&self) -> PodDisruptionBudget {
        PodDisruptionBudget {
            metadata: self.named(),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                selector: Some(LabelSelector { match_labels: Some(self.selector()), ..LabelSelector::default() }),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        }
    }
}
