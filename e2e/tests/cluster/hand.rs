//! The operator's part by hand: the objects that a worker needs, and the assignment as a test wants it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg_e2e::cluster::kubectl::{Namespace, is_ready, name};
use thalweg_e2e::cluster::web;
use thalweg_e2e::wait_for;

/// How long anything in the cluster may take.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The hash of the plan, which nothing computes here.
const PLAN: &str = "by-hand";
/// The source, by its name in SQL.
const SOURCE: &str = "trips";
/// Units of the keyed stage.
const KEY_GROUPS: usize = 4;

/// A pipeline whose objects a test writes itself.
pub struct ByHand<'a> {
    /// Where.
    pub namespace: &'a Namespace,
    /// The pipeline.
    pub pipeline: &'a str,
}

/// A worker that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its slot.
    pub slot: String,
    /// Its run id.
    pub run_id: String,
    /// Where its report is.
    pub report: SocketAddr,
}

impl ByHand<'_> {
    /// Applies the plan, the slots, an assignment without owners, and one worker.
    pub fn deploy(&self, resources: &str) {
        let namespaced =
            resources.replace("metadata: {", &format!("metadata: {{ namespace: {},", self.namespace.name()));
        let objects = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{}-plan", self.pipeline)},
                   "data": {"plan": PLAN, "resources.yaml": namespaced}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.pipeline}}),
            self.role(),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": self.pipeline},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.pipeline},
                   "subjects": [{"kind": "ServiceAccount", "name": self.pipeline}]}),
            self.slot(0),
            self.slot(1),
            self.deployment(),
        ];
        self.publish(None, 0);
        let manifests: Vec<_> = objects.iter().map(Value::to_string).collect();
        self.namespace.apply(&manifests.join("\n---\n"));
    }

    fn slot(&self, number: u32) -> Value {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": format!("{}-{number}", self.pipeline),
                            "labels": {"thalweg.dev/pipeline": self.pipeline}}})
    }

    fn role(&self) -> Value {
        let slots = [0, 1].map(|number| format!("{}-{number}", self.pipeline));
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": self.pipeline}, "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": slots, "verbs": ["get", "update"]},
            {"apiGroups": ["thalweg.dev"], "resources": ["streamassignments"], "resourceNames": [self.pipeline],
             "verbs": ["get", "list", "watch"]},
        ]})
    }

    fn deployment(&self) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let labels = json!({"app.kubernetes.io/name": "thalweg-worker", "thalweg.dev/pipeline": self.pipeline});
        let container = json!({
            "name": "worker",
            "image": std::env::var("E2E_IMAGE").unwrap_or_else(|_| "docker.io/thalweg/thalweg:e2e".to_owned()),
            "imagePullPolicy": "IfNotPresent",
            "command": ["thalweg", "worker"],
            "env": [
                {"name": "THALWEG_NAMESPACE", "value": self.namespace.name()},
                {"name": "THALWEG_PIPELINE", "value": self.pipeline},
                field("POD_UID", "metadata.uid"),
                field("POD_IP", "status.podIP"),
            ],
            "ports": [{"name": "http", "containerPort": 8080}, {"name": "report", "containerPort": 8081}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                                "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "plan", "mountPath": "/etc/thalweg/plan", "readOnly": true},
                {"name": "s3", "mountPath": "/etc/thalweg/secrets/s3", "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        });
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.pipeline}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": self.pipeline,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [
                    {"name": "plan", "configMap": {"name": format!("{}-plan", self.pipeline)}},
                    {"name": "s3", "secret": {"secretName": "s3"}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            }},
        }})
    }

    /// Publishes an assignment that gives every unit to one worker, or to nobody. The worker lists the splits of the
    /// source, and then reads them.
    pub fn publish(&self, owner: Option<&Holder>, epoch: u64) {
        self.assign(owner, epoch, &[]);
        if let Some(owner) = owner {
            let splits = wait_for("splits that are listed", LIMIT, || {
                let listed = report(owner)?["listed"][0]["splits"].as_array()?.clone();
                (!listed.is_empty()).then_some(listed)
            });
            self.assign(Some(owner), epoch, &splits);
        }
    }

    fn assign(&self, owner: Option<&Holder>, epoch: u64, splits: &[Value]) {
        let slot = owner.map(|owner| owner.slot.as_str());
        let units = (0..KEY_GROUPS).map(|index| {
            let unit = json!({"stage": 0, "index": index});
            match slot {
                Some(slot) => json!({"unit": unit, "epoch": epoch, "owner": slot}),
                None => json!({"unit": unit, "epoch": epoch}),
            }
        });
        let worker =
            |owner: &Holder| json!({"slot": owner.slot, "runId": owner.run_id, "address": "", "keyFingerprint": ""});
        let split = |split: &Value| json!({"source": SOURCE, "split": split, "reader": slot});
        let assignment = json!({
            "apiVersion": "thalweg.dev/v1alpha1", "kind": "StreamAssignment", "metadata": {"name": self.pipeline},
            "spec": {"pipeline": self.pipeline, "plan": PLAN, "units": units.collect::<Vec<_>>(),
                     "splits": splits.iter().map(split).collect::<Vec<_>>(),
                     "enumerators": slot.iter().map(|slot| json!({"source": SOURCE, "slot": slot})).collect::<Vec<_>>(),
                     "workers": owner.iter().map(|owner| worker(owner)).collect::<Vec<_>>()},
        });
        self.namespace.apply(&assignment.to_string());
    }

    /// Who holds a slot now.
    pub fn holders(&self) -> Vec<Holder> {
        let label = format!("thalweg.dev/pipeline={}", self.pipeline);
        let leases = self.namespace.get(&["leases", "-l", &label]).unwrap_or_default();
        let held = leases["items"].as_array().into_iter().flatten().filter_map(|lease| {
            let run_id = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?;
            let report = lease["metadata"]["annotations"]["thalweg.dev/report"].as_str()?.parse().ok()?;
            Some(Holder { slot: name(lease).to_owned(), run_id: run_id.to_owned(), report })
        });
        held.collect()
    }

    /// Waits for a worker that holds a slot and was not among those before.
    pub fn new_holder(&self, before: &[Holder]) -> Holder {
        let known = |holder: &Holder| before.iter().any(|known| known.run_id == holder.run_id);
        wait_for("new worker with a slot", LIMIT, || self.holders().into_iter().find(|holder| !known(holder)))
    }

    /// Waits until the worker is ready, by the eyes of Kubernetes.
    pub fn ready(&self) -> Value {
        wait_for("ready worker", LIMIT, || self.namespace.workers(self.pipeline).into_iter().find(is_ready))
    }
}

/// What a worker reports; `None` where it does not answer.
pub fn report(holder: &Holder) -> Option<Value> {
    serde_json::from_str(&web::get(holder.report, "/report")?).ok()
}

/// What a worker counts: the sum over a metric's series.
pub fn metric(holder: &Holder, metric: &str) -> Option<f64> {
    let text = web::get(SocketAddr::new(holder.report.ip(), 8080), "/metrics")?;
    let series = text.lines().filter(|line| line.starts_with(metric));
    Some(series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
