//! The Job that removes the state of a pipeline: a worker's pod with another command, so that it reaches what workers reach.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Owner, labels, metadata};
use crate::names::{self, Names};
use crate::removal::JOB_LIMIT;

/// How often it is tried again within its limit: a store that is away comes back.
const TRIES: i32 = 3;

/// The Job, made from the workers' Deployment; `None` where that has no pod to be made after.
pub fn removal_job(namespace: &str, names: &Names, owner: &Owner, workers: &Deployment) -> Option<Job> {
    let template = workers.spec.as_ref()?.template.clone();
    let pod = template.spec?;
    let containers = pod.containers.into_iter().map(|container| Container {
        command: Some(vec!["thalweg".to_owned(), "remove-state".to_owned()]),
        ports: None,
        liveness_probe: None,
        readiness_probe: None,
        // What stands in the way is told by its last words.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..container
    });
    let pod = PodSpec {
        containers: containers.collect(),
        restart_policy: Some("Never".to_owned()),
        topology_spread_constraints: None,
        ..pod
    };
    let pod = PodTemplateSpec {
        // Not those of a worker: nobody takes it for one.
        metadata: Some(ObjectMeta {
            labels: Some(labels([(names::APP_NAME, "thalweg-removal".to_owned()), (names::INSTANCE, names.label())])),
            ..ObjectMeta::default()
        }),
        spec: Some(pod),
    };
    Some(Job {
        metadata: metadata(namespace, names, owner, &names.removal()),
        spec: Some(JobSpec {
            active_deadline_seconds: i64::try_from(JOB_LIMIT.as_secs()).ok(),
            backoff_limit: Some(TRIES),
            template: pod,
            ..JobSpec::default()
        }),
        status: None,
    })
}
