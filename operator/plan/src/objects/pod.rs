//! The pod of a worker: made from a whitelist, under the restricted Pod Security standard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceFieldSelector, ResourceRequirements, SeccompProfile,
    SecurityContext, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thalweg_crds::worker::LogLevel;

use super::{Build, DATA_PORT, HTTP_PORT, REPORT_PORT, labels};
use crate::names;

/// The user and group of the image.
const USER: i64 = 65_532;
/// A worker works on for two thirds of it while nobody asks for its units, which new pods and a new leader take less than, and
/// has the rest to commit and close.
const GRACE_SECONDS: i64 = 75;
/// How long a pod stays on a node that is gone: by then its units are owned elsewhere.
const LOST_NODE_SECONDS: i64 = 5;

/// A template that its pods can be told by.
fn marked(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let text = serde_json::to_vec(&template).unwrap_or_default();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(names::TEMPLATE.to_owned(), names::hash(&text));
    template
}

impl Build<'_> {
    pub(super) fn pod_template(&self) -> PodTemplateSpec {
        let worker = &self.pipeline.worker;
        let mut own = self.selector();
        own.extend(labels([
            (names::INSTANCE, self.pipeline.names.label()),
            (names::MANAGED_BY, names::MANAGER.to_owned()),
        ]));
        let marks = labels([
            (names::PLAN, self.pipeline.plan.hash.clone()),
            (names::OPERATOR, self.settings.operator_namespace.clone()),
        ]);
        let metadata = ObjectMeta {
            labels: Some(over(&worker.pod_labels, own)),
            annotations: Some(over(&worker.pod_annotations, marks)),
            ..ObjectMeta::default()
        };
        marked(PodTemplateSpec { metadata: Some(metadata), spec: Some(self.pod()) })
    }

    fn pod(&self) -> PodSpec {
        let worker = &self.pipeline.worker;
        let (volumes, mounts) = self.volumes();
        PodSpec {
            containers: vec![Container { volume_mounts: Some(mounts), ..self.container() }],
            volumes: Some(volumes),
            service_account_name: Some(self.account().to_owned()),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            node_selector: filled(&worker.node_selector),
            affinity: worker.affinity.clone(),
            priority_class_name: worker.priority_class_name.clone(),
            image_pull_secrets: Some(worker.image_pull_secrets.clone()).filter(|all| !all.is_empty()),
            tolerations: Some(lost_node().into_iter().chain(worker.tolerations.iter().cloned()).collect()),
            topology_spread_constraints: Some(vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: "kubernetes.io/hostname".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(LabelSelector { match_labels: Some(self.selector()), ..LabelSelector::default() }),
                ..TopologySpreadConstraint::default()
            }]),
            ..PodSpec::default()
        }
    }

    fn container(&self) -> Container {
        let worker = &self.pipeline.worker;
        Container {
            name: "worker".to_owned(),
            image: Some(worker.image.clone().unwrap_or_else(|| self.settings.worker_image.clone())),
            image_pull_policy: self.settings.image_pull_policy.clone(),
            command: Some(vec!["thalweg".to_owned(), "worker".to_owned()]),
            env: Some(self.environment()),
            ports: Some([("http", HTTP_PORT), ("report", REPORT_PORT), ("data", DATA_PORT)].map(port).into()),
            resources: Some(self.resources()),
            liveness_probe: Some(Probe {
                period_seconds: Some(10),
                timeout_seconds: Some(5),
                failure_threshold: Some(6),
                ..probe("/healthz")
            }),
            // Once is enough: who hands over its units is to be the one that a Deployment removes.
            readiness_probe: Some(Probe {
                period_seconds: Some(2),
                timeout_seconds: Some(2),
                failure_threshold: Some(1),
                ..probe("/readyz")
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }

    fn environment(&self) -> Vec<EnvVar> {
        let names = &self.pipeline.names;
        let mut all = vec![
            value("THALWEG_NAMESPACE", &self.pipeline.namespace),
            value("THALWEG_PIPELINE", names.pipeline()),
            value("THALWEG_ASSIGNMENT", names.pipeline()),
            value("THALWEG_SLOT_PREFIX", names.base()),
            value("THALWEG_INSTALLATION", &self.settings.installation),
            value("THALWEG_OPERATOR_KEY", &self.settings.operator_keys.join(",")),
            value("THALWEG_LOG", log_filter(self.pipeline.worker.log_level)),
            value("THALWEG_GRACE_SECONDS", &GRACE_SECONDS.to_string()),
            field("POD_NAME", "metadata.name"),
            field("POD_UID", "metadata.uid"),
            field("POD_IP", "status.podIP"),
        ];
        let by: Vec<_> = self.pipeline.worker.metrics_by.iter().map(|by| by.as_str()).collect();
        all.extend((!by.is_empty()).then(|| value("THALWEG_METRICS_BY", &by.join(","))));
        all.extend(self.pipeline.state_url.as_deref().map(|url| value("THALWEG_STATE_URL", url)));
        let limits = self.resources().limits.unwrap_or_default();
        // Without a limit the field would be the node's memory.
        all.extend(limits.contains_key("memory").then(memory_limit));
        all
    }

    /// What the user says, as it is said, or what suits most.
    fn resources(&self) -> ResourceRequirements {
        self.pipeline.worker.resources.clone().unwrap_or_else(default_resources)
    }
}

/// What the user says, under what must hold.
fn over(users: &BTreeMap<String, String>, own: BTreeMap<String, String>) -> BTreeMap<String, String> {
    users.clone().into_iter().chain(own).collect()
}

fn filled(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(map.clone()).filter(|map| !map.is_empty())
}

fn lost_node() -> [Toleration; 2] {
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(|taint| Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(LOST_NODE_SECONDS),
        value: None,
    })
}

/// A limit bounds the rows on their way, and is what a quota on limits asks for. `WorkerSpec::resources` tells these.
fn default_resources() -> ResourceRequirements {
    let named = |(name, quantity): (&str, &str)| (name.to_owned(), Quantity(quantity.to_owned()));
    ResourceRequirements {
        requests: Some([("cpu", "100m"), ("memory", "256Mi")].map(named).into()),
        limits: Some([("memory", "1Gi")].map(named).into()),
        ..ResourceRequirements::default()
    }
}

fn log_filter(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "info,thalweg=debug",
        LogLevel::Trace => "info,thalweg=trace",
    }
}

fn port((name, port): (&str, i32)) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String("http".to_owned()),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(get), ..Probe::default() }
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
    from(name, EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() })
}

fn memory_limit() -> EnvVar {
    let limit = ResourceFieldSelector { resource: "limits.memory".to_owned(), ..ResourceFieldSelector::default() };
    from("THALWEG_MEMORY_BYTES", EnvVarSource { resource_field_ref: Some(limit), ..EnvVarSource::default() })
}

fn from(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}
