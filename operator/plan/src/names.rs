//! Every name and label of an object that a pipeline has in its cluster.

use thalweg_crds::ids::Slot;
pub use thalweg_crds::names::hash;
use thalweg_crds::names::{SHORT_HASH, cut, fit};

/// Marks pods that are workers.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Its value.
pub const WORKER: &str = "thalweg-worker";
/// The same of pods that watch sources while there is no worker.
pub const LOOKOUT: &str = "thalweg-lookout";
/// The pipeline, as tools show it.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Who looks after an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value, and the field manager of every write.
pub const MANAGER: &str = "thalweg-operator";
/// The pipeline, on every object of it; as the value of a label it may be shortened.
pub const PIPELINE: &str = "thalweg.dev/pipeline";
/// On pods and Leases: the hash of the plan that a worker has mounted.
pub const PLAN: &str = "thalweg.dev/plan";
/// On pods, and on the template of a Deployment: the hash of the template. By the order in which pods came nobody could tell
/// which is the newest, where a change is taken back in the middle of a roll-out.
pub const TEMPLATE: &str = "thalweg.dev/template";
/// On Leases: where other workers reach it.
pub const ADDRESS: &str = "thalweg.dev/address";
/// On Leases: where the operator gets its report.
pub const REPORT: &str = "thalweg.dev/report";
/// On Leases: SHA-256 of its public key.
pub const KEY_FINGERPRINT: &str = "thalweg.dev/key-fingerprint";
/// On pods of workers: the namespace of the operator, to which alone they report.
pub const OPERATOR: &str = "thalweg.dev/operator";
/// On what the operator applies: the hash of what it applied.
pub const APPLIED: &str = "thalweg.dev/applied";
/// Annotation of a Deployment: how many workers are wanted. It may have more pods, in the place of lost ones or of those that
/// leave.
pub const WORKERS: &str = "thalweg.dev/workers";
/// In pods: the volume that holds the plan, which is ours and nobody else's to make.
pub const PLAN_VOLUME: &str = "plan";

/// Longest value of a label, and name of a Service.
const LABEL_LIMIT: usize = 63;
/// Longest name of an object.
const NAME_LIMIT: usize = 253;
/// Longest base of a name: a Deployment's ReplicaSets add a hash, a plan's ConfigMap 22 characters, and 253 are allowed.
const BASE_LIMIT: usize = 200;

/// The names of one pipeline's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pipeline: String,
    base: String,
}

impl Names {
    /// The names of a pipeline's objects.
    pub fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), base: fit(pipeline, BASE_LIMIT) }
    }

    /// The pipeline's own name, which is also that of its assignment.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Name of the Deployment, the ServiceAccount, the Role and its binding, the NetworkPolicy, the PodDisruptionBudget.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Value of the labels that name the pipeline.
    pub fn label(&self) -> String {
        fit(&self.pipeline, LABEL_LIMIT)
    }

    /// Name of the Service: a DNS label, which neither holds a dot nor begins with a digit.
    pub fn service(&self) -> String {
        let label = self.pipeline.replace('.', "-");
        let label = if label.starts_with(|c: char| c.is_ascii_digit()) { format!("p-{label}") } else { label };
        // Two pipelines whose names differ in a dot only are two pipelines.
        if label == self.pipeline { fit(&label, LABEL_LIMIT) } else { cut(&label, &self.pipeline, LABEL_LIMIT) }
    }

    /// Name of the ConfigMap of a plan.
    pub fn plan(&self, hash: &str) -> String {
        format!("{}-plan-{hash}", self.base)
    }

    /// Name of the Deployment of the lookout. With a hash: another pipeline may be called like this one and `-lookout`.
    pub fn lookout(&self) -> String {
        format!("{}-lookout-{}", self.base, &hash(self.pipeline.as_bytes())[..SHORT_HASH])
    }

    /// A slot, which is also the name of its Lease.
    pub fn slot(&self, number: u32) -> Slot {
        Slot(format!("{}-{number}", self.base))
    }

    /// Name of the Job that removes the state.
    pub fn removal(&self) -> String {
        let name = format!("{}-remove-state", self.pipeline);
        // Its pods carry it as a label.
        if name.len() <= LABEL_LIMIT { name } else { cut(&name, &self.pipeline, LABEL_LIMIT) }
    }

    /// The number of a slot of this pipeline.
    pub fn slot_number(&self, lease: &str) -> Option<u32> {
        lease.strip_prefix(&self.base)?.strip_prefix('-')?.parse().ok()
    }
}

/// Whether an object can have this name: a DNS subdomain, as ConfigMaps and Secrets have. No other name is put into the
/// path of a request.
pub fn is_object_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(is_inner) && !part.starts_with('-') && !part.ends_with('-');
    name.len() <= NAME_LIMIT && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_no_object_can_have_is_told_from_one_that_it_may() {
        let longest = "x".repeat(253);
        for name in ["a", "queries", "a-1.b", "0", longest.as_str()] {
            assert!(is_object_name(name), "{name}");
        }
        let beyond = "x".repeat(254);
        for name in ["", "Queries", "a_b", "-a", "a-", "a..b", "../secrets/x", "a/b", "a?b", "Ünï", beyond.as_str()] {
            assert!(!is_object_name(name), "{name}");
        }
    }

    fn is_dns_label(text: &str) -> bool {
        let inner = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-')
    }

    fn is_subdomain(text: &str) -> bool {
        let part = |part: &str| {
            let inner = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            !part.is_empty() && inner && !part.starts_with('-') && !part.ends_with('-')
        };
        text.len() <= 253 && text.split('.').all(part)
    }

    /// Names that the API server takes for a resource.
    fn pipelines() -> impl Strategy<Value = String> {
        let part = "[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?";
        proptest::collection::vec(part, 1..6)
            .prop_map(|parts| parts.join("."))
            .prop_map(|name| name.chars().take(253).collect::<String>().trim_end_matches(['-', '.']).to_owned())
            .prop_filter("a name", |name| is_subdomain(name))
    }

    #[test]
    fn short_names_are_taken_as_they_are() {
        let names = Names::new("pickups-per-zone");
        assert_eq!(names.base(), "pickups-per-zone");
        assert_eq!(names.slot(3), Slot("pickups-per-zone-3".to_owned()));
        assert_eq!(names.service(), "pickups-per-zone");
        assert_eq!(names.plan("0a1b"), "pickups-per-zone-plan-0a1b");
        assert_eq!(Names::new("a.b").service().split('-').take(2).collect::<Vec<_>>(), ["a", "b"]);
        assert_ne!(Names::new("a.b").service(), Names::new("a-b").service());
    }

    proptest! {
        #[test]
        fn every_name_is_legal_whatever_the_pipeline_is_called(pipeline in pipelines()) {
            let names = Names::new(&pipeline);
            prop_assert!(is_dns_label(&names.service()), "{}", names.service());
            prop_assert!(names.label().len() <= 63 && names.label().ends_with(|c: char| c.is_ascii_alphanumeric()));
            for name in [names.base().to_owned(), names.plan(&hash(b"x")), names.slot(1000).0, format!("{}-5f9c8d7b6", names.lookout()), format!("{}-5f9c8d7b6", names.base())] {
                prop_assert!(is_subdomain(&name), "{name}");
            }
            prop_assert_eq!(names.slot_number(&names.slot(7).0), Some(7));
        }

        #[test]
        fn two_pipelines_share_no_name(a in pipelines(), b in pipelines()) {
            prop_assume!(a != b);
            let (a, b) = (Names::new(&a), Names::new(&b));
            prop_assert_ne!(a.base(), b.base());
            prop_assert_ne!(a.service(), b.service());
            prop_assert_ne!(a.label(), b.label());
        }
    }
}
