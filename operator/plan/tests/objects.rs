//! What is created in a cluster: the snapshots show it.

mod kit;

use kit::{owner, pipeline, settings, stages, validated, written};
use serde::Serialize;
use serde_json::{Value, json};
use thalweg_crds::scaling::ScalingSpec;
use thalweg_operator_plan::objects::{self, Objects, Settings, build};
use thalweg_operator_plan::observed::Observed;
use thalweg_operator_plan::plan::{plan, plan_scaled};
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::scaling::Scaling;

fn objects_of(written: &Written) -> Objects {
    let pipeline = validated(written, &stages()).expect("it is valid");
    build(&pipeline, &plan(&pipeline, &Observed::default()), &owner(), &settings())
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("an object")
}

#[test]
fn every_object_of_a_pipeline_is_as_it_is_shown() {
    let objects = objects_of(&written());
    insta::assert_json_snapshot!("deployment", json(&objects.deployment));
    insta::assert_json_snapshot!("plan", json(&objects.plan));
    insta::assert_json_snapshot!("service_account", json(&objects.service_account));
    insta::assert_json_snapshot!("role", json(&objects.role));
    insta::assert_json_snapshot!("role_binding", json(&objects.role_binding));
    insta::assert_json_snapshot!("service", json(&objects.service));
    insta::assert_json_snapshot!("network_policy", json(&objects.network_policy));
    insta::assert_json_snapshot!("disruption_budget", json(&objects.disruption_budget));
    insta::assert_json_snapshot!("lease", json(&objects::slot_lease(&pipeline(), &owner(), 1)));
    let spec = plan(&pipeline(), &Observed::default()).assignment.expect("an assignment");
    insta::assert_json_snapshot!("assignment", json(&objects::assignment(&pipeline(), &owner(), spec)));
}

#[test]
fn what_watches_while_there_is_no_worker_and_what_removes_state_are_as_they_are_shown() {
    let mut valid = pipeline();
    valid.scaling = ScalingSpec { min_workers: 0, max_workers: 4, ..ScalingSpec::default() };
    let asleep = plan_scaled(&valid, &Observed::default(), &Scaling::default());
    let objects = build(&valid, &asleep, &owner(), &settings());
    insta::assert_json_snapshot!("lookout", json(objects.lookout.as_ref().expect("a lookout")));
    let job = objects::removal_job(&valid.namespace, &valid.names, &owner(), &objects.deployment);
    insta::assert_json_snapshot!("removal_job", json(job.as_ref().expect("a Job")));
}

#[test]
fn a_worker_gets_what_its_user_says_and_no_label_or_security_of_ours_is_lost() {
    let mut written = written();
    written.spec.worker = serde_json::from_value(json!({
        "image": "mine:1",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "priorityClassName": "high",
        "serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "rides", "thalweg.dev/pipeline": "another"},
        "podAnnotations": {"thalweg.dev/plan": "another"},
        "logLevel": "Debug",
        "metricsBy": ["Split", "Unit"],
    }))
    .expect("a worker");
    let objects = objects_of(&written);
    insta::assert_json_snapshot!("deployment_of_a_user", json(&objects.deployment));
    insta::assert_json_snapshot!("service_account_with_a_cloud_role", json(&objects.service_account));
}

#[test]
fn a_worker_has_a_limit_of_memory_and_knows_it_unless_its_user_gives_it_resources_without_one() {
    let container = |worker: Value| {
        let mut written = written();
        written.spec.worker = serde_json::from_value(worker).expect("a worker");
        json(&objects_of(&written).deployment)["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let knows = |container: &Value| container["env"].to_string().contains("THALWEG_MEMORY_BYTES");
    let default = container(json!({}));
    assert_eq!(default["resources"]["limits"], json!({"memory": "1Gi"}));
    assert!(knows(&default));
    for own in [json!({"requests": {"memory": "2Gi"}}), json!({"limits": {"cpu": "2"}})] {
        let unlimited = container(json!({"resources": own}));
        // The field would be the node's memory.
        assert!(unlimited["resources"] == own && !knows(&unlimited), "{unlimited}");
    }
}

#[test]
fn a_worker_knows_how_long_it_may_live_once_it_is_told_to_end() {
    let pod = json(&objects_of(&written()).deployment)["spec"]["template"]["spec"].clone();
    let grace = pod["terminationGracePeriodSeconds"].to_string();
    let told = json!({"name": "THALWEG_GRACE_SECONDS", "value": grace});
    let environment = pod["containers"][0]["env"].as_array().expect("a list");
    assert!(environment.contains(&told), "{environment:?}");
}

#[test]
fn a_user_who_names_an_account_keeps_it_and_the_role_goes_to_it() {
    let mut written = written();
    written.spec.worker = serde_json::from_value(json!({"serviceAccountName": "pod-identity"})).expect("a worker");
    let objects = objects_of(&written);
    assert_eq!(objects.service_account, None);
    assert_eq!(json(&objects.role_binding)["subjects"][0]["name"], "pod-identity");
    assert_eq!(json(&objects.deployment)["spec"]["template"]["spec"]["serviceAccountName"], "pod-identity");
}

/// What decides whether a worker on EKS gets its role: its account, what binds rights to it, and what its pod says.
fn identity(worker: Value) -> Value {
    let mut written = written();
    written.spec.worker = serde_json::from_value(worker).expect("a worker");
    let objects = objects_of(&written);
    let pod = json(&objects.deployment)["spec"]["template"]["spec"].clone();
    json!({
        "serviceAccount": json(&objects.service_account),
        "roleBinding": json(&objects.role_binding),
        "pod": {
            "serviceAccountName": pod["serviceAccountName"],
            "automountServiceAccountToken": pod["automountServiceAccountToken"],
            "securityContext": pod["securityContext"],
            "env": pod["containers"][0]["env"],
        },
    })
}

#[test]
fn on_eks_a_worker_gets_its_role_by_an_annotation_or_by_an_account_that_is_associated_with_one() {
    let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/rides"});
    insta::assert_json_snapshot!("eks_irsa", identity(json!({"serviceAccountAnnotations": role})));
    insta::assert_json_snapshot!("eks_pod_identity", identity(json!({"serviceAccountName": "rides"})));
}

#[test]
fn metrics_are_for_whom_the_installation_names_and_nothing_else_of_a_worker_is() {
    let prometheus = json!([
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
        {"ipBlock": {"cidr": "10.1.0.0/16"}},
    ]);
    let settings = Settings { metrics_from: serde_json::from_value(prometheus.clone()).expect("peers"), ..settings() };
    let pipeline = validated(&written(), &stages()).expect("it is valid");
    let objects = build(&pipeline, &plan(&pipeline, &Observed::default()), &owner(), &settings);
    let ingress = json(&objects.network_policy)["spec"]["ingress"].clone();
    let is_for_it = |rule: &Value| (rule["ports"][0]["port"].as_i64(), rule["from"] == prometheus);
    let rules: Vec<_> = ingress.as_array().expect("rules").iter().map(is_for_it).collect();
    assert_eq!(rules, [(Some(8443), false), (Some(8081), false), (Some(8080), true)]);
}

#[test]
fn every_object_belongs_to_the_pipeline_and_no_rule_names_secrets() {
    let objects = objects_of(&written());
    let all = [
        json(&objects.service_account),
        json(&objects.role),
        json(&objects.role_binding),
        json(&objects.network_policy),
        json(&objects.plan),
        json(&objects.service),
        json(&objects.disruption_budget),
        json(&objects.deployment),
    ];
    for object in all {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "0f3c", "{object}");
    }
    assert!(!json(&objects.role).to_string().contains("secrets"));
}
