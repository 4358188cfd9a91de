//! Pods and Deployments, as far as anybody asks: do they run, and if not, why.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use thalweg_crds::condition::Reason;
use thalweg_operator_plan::names::{APP_NAME, LOOKOUT, TEMPLATE, WORKERS};
use thalweg_operator_plan::observed::{Readiness, Rollout, Trouble, WorkerPod};

/// Takes away what nobody asks of a pod.
pub fn trim(pod: &mut Pod) {
    let spec = pod.spec.take().unwrap_or_default();
    let with_secret = |volume: &Volume| volume.secret.is_some();
    let volumes = spec.volumes.map(|volumes| volumes.into_iter().filter(with_secret).collect());
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
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let secrets: Vec<_> = volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.clone()).collect();
    if !trouble.starts_with("ContainerCreating") || secrets.is_empty() {
        return Trouble { reason: Reason::WorkersUnavailable, message: trouble };
    }
    let mut conditions = status.conditions.iter().flatten();
    let waits = conditions.any(|c| c.type_ == "PodReadyToStartContainers" && c.status == "False");
    Trouble {
        reason: if waits { Reason::SecretMissing } else { Reason::WorkersUnavailable },
        message: format!(
            "{trouble}; it mounts Secret {}: does each exist, with the keys that are named?",
            secrets.join(", ")
        ),
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

    #[test]
    fn a_pod_that_waits_for_its_volumes_and_mounts_a_secret_misses_it_and_one_that_pulls_its_image_does_not() {
        let pod = |has_sandbox: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p-1"},
                "spec": {"containers": [], "volumes": [{"name": "secret-0", "secret": {"secretName": "kafka"}}]},
                "status": {
                    "conditions": [{"type": "PodReadyToStartContainers", "status": has_sandbox}],
                    "containerStatuses": [{
                        "name": "worker", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                        "state": {"waiting": {"reason": "ContainerCreating"}},
                    }],
                },
            }))
            .unwrap()
        };
        let trouble = worker_pod(&pod("False")).trouble.unwrap();
        let expected = "ContainerCreating; it mounts Secret kafka: does each exist, with the keys that are named?";
        assert_eq!((trouble.reason, trouble.message.as_str()), (Reason::SecretMissing, expected));
        assert_eq!(worker_pod(&pod("True")).trouble.unwrap().reason, Reason::WorkersUnavailable);
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
    fn a_pod_that_no_node_takes_says_so() {
        let pod = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."},
        ]}));
        let trouble = worker_pod(&pod).trouble.unwrap();
        assert_eq!(trouble.message, "no node takes it: 0/2 nodes are available: 2 Insufficient cpu.");
    }
}
