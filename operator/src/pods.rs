//! Pods and Deployments, as far as anybody asks: do they run, and if not, why.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, KeyToPath, Pod, PodSpec, PodStatus, SecretVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use thalweg_crds::condition::Reason;
use thalweg_operator_plan::names::{APP_NAME, LOOKOUT, PLAN_VOLUME, TEMPLATE, WORKERS};
use thalweg_operator_plan::observed::{Readiness, Rollout, Trouble, WorkerPod};

/// Takes away what nobody asks of a pod.
pub fn trim(pod: &mut Pod) {
    let spec = pod.spec.take().unwrap_or_default();
    let volumes = spec.volumes.map(|volumes| volumes.into_iter().filter(is_of_a_user).collect());
    pod.spec = Some(PodSpec { node_name: spec.node_name, volumes, ..PodSpec::default() });
    let status = pod.status.take().unwrap_or_default();
    pod.status = Some(PodStatus {
        phase: status.phase,
        conditions: status.conditions,
        container_statuses: status.container_statuses,
        pod_ip: status.pod_ip,
        ..PodStatus::default()
    });
    pod.metadata.annotations = None;
}

/// Whether a volume is a Secret or a ConfigMap that somebody else has to make: the plan is ours.
fn is_of_a_user(volume: &Volume) -> bool {
    volume.secret.is_some() || (volume.config_map.is_some() && volume.name != PLAN_VOLUME)
}

/// Whether a pod watches sources, and works for no slot.
pub fn is_lookout(pod: &Pod) -> bool {
    pod.labels().get(APP_NAME).is_some_and(|name| name == LOOKOUT)
}

/// A pod as a worker.
pub fn worker_pod(pod: &Pod) -> WorkerPod {
    let status = pod.status.clone().unwrap_or_default();
    let is_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    WorkerPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        template: template(&pod.metadata),
        ready: if is_ready { Readiness::Ready } else { Readiness::NotReady },
        terminating: pod.metadata.deletion_timestamp.is_some() || has_ended(&status),
        trouble: if is_ready { None } else { trouble(pod, &status) },
        age: age(pod),
    }
}

/// Whether nobody starts it again: its ReplicaSet has made another one.
fn has_ended(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"))
}

fn template(metadata: &ObjectMeta) -> String {
    metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE)).cloned().unwrap_or_default()
}

fn age(pod: &Pod) -> Duration {
    let created = pod.metadata.creation_timestamp.as_ref();
    let age = created.map(|created| Timestamp::now().duration_since(created.0));
    age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
}

/// Why a pod does not run: of its container, else of its place on a node.
fn trouble(pod: &Pod, status: &PodStatus) -> Option<Trouble> {
    let container = status.container_statuses.iter().flatten().find_map(container_trouble);
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let place = unscheduled
        .map(|condition| format!("no node takes it: {}", condition.message.as_deref().unwrap_or("no reason is given")));
    let unavailable = |message| Trouble { reason: Reason::WorkersUnavailable, message };
    container.map(|trouble| with_hint(pod, status, trouble)).or(place.map(unavailable))
}

fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let code = ended.map(|ended| format!(", it last ended with code {}", ended.exit_code)).unwrap_or_default();
        let message = waiting.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        return Some(format!("{reason}{message}{code}"));
    }
    let ended = state.terminated.as_ref()?;
    Some(format!(
        "it ended with code {} ({})",
        ended.exit_code,
        ended.reason.as_deref().unwrap_or("no reason is given")
    ))
}

/// A container that waits to be created while its pod has no sandbox waits for what it mounts (`PodReadyToStartContainers`:
/// volumes come before the sandbox). The kubelet says which volume in events only, which nobody may have to read.
fn with_hint(pod: &Pod, status: &PodStatus, trouble: String) -> Trouble {
    let volumes: Vec<_> = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
    let secrets = volumes.iter().filter_map(|volume| volume.secret.as_ref());
    let secret_name = |secret: &SecretVolumeSource| secret.secret_name.clone().unwrap_or_default();
    let secrets: Vec<_> =
        secrets.map(|secret| mounted("Secret", &secret_name(secret), secret.items.as_deref())).collect();
    let maps = volumes.iter().filter(|volume| is_of_a_user(volume)).filter_map(|volume| volume.config_map.as_ref());
    let maps: Vec<_> = maps.map(|map| mounted("ConfigMap", &map.name, map.items.as_deref())).collect();
    if !trouble.starts_with("ContainerCreating") || (secrets.is_empty() && maps.is_empty()) {
        return Trouble { reason: Reason::WorkersUnavailable, message: trouble };
    }
    let mut conditions = status.conditions.iter().flatten();
    let waits = conditions.any(|c| c.type_ == "PodReadyToStartContainers" && c.status == "False");
    let reason = match (waits, maps.is_empty()) {
        (true, true) => Reason::SecretMissing,
        // Which of them, the pod does not say.
        (true, false) => Reason::ReferenceNotFound,
        (false, _) => Reason::WorkersUnavailable,
    };
    let all = [secrets, maps].concat().join(", ");
    Trouble { reason, message: format!("{trouble}; it mounts {all}: does each exist, with the keys that are named?") }
}

/// What a volume is made of, with its keys.
fn mounted(kind: &str, name: &str, items: Option<&[KeyToPath]>) -> String {
    let keys: Vec<_> = items.unwrap_or_default().iter().map(|item| item.key.as_str()).collect();
    match keys.is_empty() {
        true => format!("{kind} {name}"),
        false => format!("{kind} {name} ({})", keys.join(", ")),
    }
}

/// How far a Deployment has come.
pub fn rollout(deployment: &Deployment) -> Rollout {
    let status = deployment.status.clone().unwrap_or_default();
    let failure = status.conditions.iter().flatten().find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    let made_of = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    Rollout {
        template: made_of.map(template).unwrap_or_default(),
        replicas: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        wanted: deployment.annotations().get(WORKERS).and_then(|wanted| wanted.parse().ok()),
        updated: status.updated_replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
        total: status.replicas.unwrap_or(0),
        current: status.observed_generation == deployment.metadata.generation,
        trouble: failure.map(|condition| condition.message.clone().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p-1"}, "status": status})).unwrap()
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_in_the_kubelets_words() {
        let pod = pod(json!({"containerStatuses": [{
            "name": "worker", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}},
        }]}));
        let trouble = worker_pod(&pod).trouble.unwrap();
        assert_eq!(
            (trouble.reason, trouble.message.as_str()),
            (Reason::WorkersUnavailable, "ErrImagePull: no such host")
        );
    }

    /// A pod whose container is not made yet, as the cache holds it.
    fn waiting(has_sandbox: &str, volumes: serde_json::Value) -> Pod {
        let mut pod = serde_json::from_value(json!({
            "metadata": {"name": "p-1"},
            "spec": {"containers": [], "volumes": volumes},
            "status": {
                "conditions": [{"type": "PodReadyToStartContainers", "status": has_sandbox}],
                "containerStatuses": [{
                    "name": "worker", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ContainerCreating"}},
                }],
            },
        }))
        .unwrap();
        trim(&mut pod);
        pod
    }

    #[test]
    fn a_pod_that_waits_for_its_volumes_and_mounts_a_secret_misses_it_and_one_that_pulls_its_image_does_not() {
        let volumes = json!([
            {"name": PLAN_VOLUME, "configMap": {"name": "p-abc"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "secret-0", "secret": {"secretName": "kafka", "items": [{"key": "password", "path": "password"}]}},
        ]);
        let trouble = worker_pod(&waiting("False", volumes.clone())).trouble.unwrap();
        let expected =
            "ContainerCreating; it mounts Secret kafka (password): does each exist, with the keys that are named?";
        assert_eq!((trouble.reason, trouble.message.as_str()), (Reason::SecretMissing, expected));
        assert_eq!(worker_pod(&waiting("True", volumes)).trouble.unwrap().reason, Reason::WorkersUnavailable);
    }

    #[test]
    fn a_pod_that_waits_for_a_config_map_names_it_with_its_keys_and_the_plan_is_none_of_them() {
        let plan = json!({"name": PLAN_VOLUME, "configMap": {"name": "p-abc"}});
        let keys = json!([{"key": "ca.crt", "path": "ca.crt"}, {"key": "old.crt", "path": "old.crt"}]);
        let map = json!({"name": "config-0", "configMap": {"name": "ca", "items": keys}});
        let secret = json!({"name": "secret-0", "secret": {"secretName": "kafka"}});
        let told = |volumes| worker_pod(&waiting("False", volumes)).trouble.unwrap();
        let trouble = told(json!([plan, map]));
        let expected = "ContainerCreating; it mounts ConfigMap ca (ca.crt, old.crt): does each exist, with the keys that are named?";
        assert_eq!((trouble.reason, trouble.message.as_str()), (Reason::ReferenceNotFound, expected));
        let trouble = told(json!([plan, map, secret]));
        assert!(trouble.message.contains("it mounts Secret kafka, ConfigMap ca (ca.crt, old.crt): "), "{trouble:?}");
        assert_eq!(trouble.reason, Reason::ReferenceNotFound, "either of them");
        let ours = told(json!([plan]));
        assert_eq!((ours.reason, ours.message.as_str()), (Reason::WorkersUnavailable, "ContainerCreating"));
    }

    #[test]
    fn a_pod_that_was_evicted_is_awaited_by_nobody() {
        for (phase, has_ended) in [("Failed", true), ("Succeeded", true), ("Running", false), ("Pending", false)] {
            let mut pod = pod(json!({"phase": phase}));
            trim(&mut pod);
            assert_eq!(worker_pod(&pod).terminating, has_ended, "{phase}");
        }
    }

    #[test]
    fn a_deployment_is_under_way_until_its_pods_are_of_its_newest_template_or_none_can_be_made() {
        let is_under_way = |generation: i64, updated: i32, total: i32, refused: &str| {
            let deployment: Deployment = serde_json::from_value(json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {
                    "observedGeneration": 1, "updatedReplicas": updated, "replicas": total, "readyReplicas": 0,
                    "conditions": [{"type": "ReplicaFailure", "status": refused, "message": "exceeded quota"}],
                },
            }))
            .unwrap();
            rollout(&deployment).is_under_way()
        };
        assert!(!is_under_way(1, 2, 2, "False"), "one that never gets ready holds up nobody");
        assert!(is_under_way(2, 2, 2, "False"), "its newest spec was not seen yet");
        assert!(is_under_way(1, 1, 2, "False"));
        assert!(is_under_way(1, 2, 3, "False"), "an old one is left");
        assert!(!is_under_way(1, 1, 2, "True"));
    }

    #[test]
    fn a_pod_that_no_node_takes_says_so() {
        let pod = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."},
        ]}));
        let trouble = worker_pod(&pod).trouble.unwrap();
        assert_eq!(trouble.message, "no node takes it: 0/2 nodes are available: 2 Insufficient cpu.");
    }
}
