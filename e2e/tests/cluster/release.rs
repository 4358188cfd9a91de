//! The chart, as users install and upgrade it, and the operator that comes of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use thalweg_e2e::cluster::faults::{is_elsewhere, leave_out};
use thalweg_e2e::cluster::kubectl::{Namespace, delete_now, is_ready, name};
use thalweg_e2e::wait_for;

use crate::LIMIT;

/// The release and its namespace, and the operator's Deployment and account.
pub const RELEASE: &str = "thalweg";
pub const OPERATOR: &str = "app.kubernetes.io/name=thalweg-operator";
/// The Lease of who leads.
const LEADER: &str = "lease/thalweg-operator";
/// A definition, the chart's file of it, and a field that no rule in it speaks of: by its name, its path, and its place.
const DEFINITION: &str = "crd/streamsinks.thalweg.dev";
const ITS_FILE: &str = "templates/crds/streamsinks.yaml";
const FIELD: &str = "partitionBy";
const FIELD_PATH: &str = "spec.files.partitionBy";
const FIELD_IN_IT: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/files/properties/partitionBy";

/// Where the replica is to lead that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// On this node.
    Here,
    /// On another one.
    Elsewhere,
}

/// The image of the test bed: `NAME:TAG`, or `NAME:TAG-VARIANT`.
pub fn image(variant: Option<&str>) -> String {
    let image = std::env::var("E2E_IMAGE").unwrap_or_else(|_| "docker.io/thalweg/thalweg:e2e".to_owned());
    variant.map_or(image.clone(), |variant| format!("{image}-{variant}"))
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/thalweg")
}

/// Installs the chart, or upgrades it, with an image, and waits until the operator is ready. Its pods are held to the strictest
/// of Kubernetes' standards, as those of pipelines are.
pub fn install(image: &str, more: &[&str]) {
    install_chart(&chart(), image, more);
}

fn install_chart(chart: &Path, image: &str, more: &[&str]) {
    let home = Namespace::strict(RELEASE);
    let (repository, tag) = image.rsplit_once(':').expect("NAME:TAG");
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let chart = chart.to_str().expect("UTF-8");
    let mut helm = Command::new("helm");
    helm.args(["upgrade", "--install", RELEASE, chart, "-n", RELEASE, "--wait", "--timeout=2m"]);
    helm.args(["--set", &repository, "--set", &tag, "--set", "image.pullPolicy=IfNotPresent"]).args(more);
    let operator = home.get(&["deployment", RELEASE]);
    if operator.is_some_and(|operator| operator["spec"]["replicas"] == 0) {
        // A test that was killed has left it so (`without_operator`), and helm takes that for another's wish.
        helm.arg("--force-conflicts");
    }
    let output = helm.output().expect("helm is on the PATH");
    assert!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `helm test`: a pipeline of its own runs to its end, and nothing of it stays.
pub fn test(any: &Namespace) {
    let output = Command::new("helm").args(["test", RELEASE, "-n", RELEASE, "--logs"]).output();
    let output = output.expect("helm is on the PATH");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "helm test: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Phase:          Succeeded"), "{said}");
    wait_for("nothing that the test made", LIMIT, || {
        let left = any.get(&["streampipelines,streamsources,streamsinks,pods", "-n", RELEASE])?;
        let is_of_test = |it: &Value| name(it).starts_with("thalweg-test");
        (!left["items"].as_array()?.iter().any(is_of_test)).then_some(())
    });
}

/// The operator's pods that are not about to end.
pub fn operators(any: &Namespace) -> Vec<Value> {
    let pods: Option<Value> = any.get(&["pods", "-l", OPERATOR, "-A"]);
    let items = pods.and_then(|pods| pods["items"].as_array().cloned()).unwrap_or_default();
    items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

/// Waits until two replicas are ready on two nodes and the one that leads does so where it is wanted, and sees to it: one that
/// leads elsewhere ends in an orderly way, and so does one of two that share a node since the other one was away. Where no node is
/// cut off that is nobody's concern.
pub fn lead(any: &Namespace, leads: Leads, node: &Value) {
    if is_elsewhere() {
        return leave_out(&format!("any replica of the operator may lead, {leads:?} from {node} or not"));
    }
    wait_for(&format!("a leader, {leads:?} from {node}"), 2 * LIMIT, || {
        let replicas = operators(any);
        if replicas.len() != 2 || !replicas.iter().all(is_ready) {
            return None;
        }
        let lease: Value = any.get(&[LEADER, "-n", RELEASE])?;
        let is_leader = |pod: &&Value| lease["spec"]["holderIdentity"] == name(pod);
        let (leader, other) = (replicas.iter().find(is_leader)?, replicas.iter().find(|pod| !is_leader(pod))?);
        let nodes: BTreeSet<_> = replicas.iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
        let is_here = leader["spec"]["nodeName"] == *node;
        let misplaced = match (nodes.len(), is_here == (leads == Leads::Here)) {
            (1, _) => other,
            (_, false) => leader,
            (_, true) => return Some(()),
        };
        any.succeed(&["delete", "pod", name(misplaced), "-n", RELEASE, "--wait=false"]);
        None
    });
}

/// The chart's operator has no pod until this is dropped.
pub struct Away {
    /// Where another installation has pipelines meanwhile.
    namespace: Namespace,
    replicas: String,
}

/// Ends all replicas of the chart's operator, in an orderly way, so that another installation can look after a namespace.
pub fn without_operator(namespace: &Namespace) -> Away {
    let deployment = namespace.get(&["deployment", RELEASE, "-n", RELEASE]).expect("the operator's Deployment");
    let away = Away { namespace: namespace.clone(), replicas: deployment["spec"]["replicas"].to_string() };
    assert!(away.scale("0"), "the operator's Deployment is not scaled");
    wait_for("no operator", LIMIT, || {
        let pods = namespace.get(&["pods", "-l", OPERATOR, "-n", RELEASE])?;
        let has_ended = |pod: &Value| ["Failed", "Succeeded"].iter().any(|phase| pod["status"]["phase"] == *phase);
        pods["items"].as_array()?.iter().all(has_ended).then_some(())
    });
    away
}

impl Away {
    fn scale(&self, replicas: &str) -> bool {
        let replicas = format!("--replicas={replicas}");
        self.namespace.run(&["scale", "deployment", RELEASE, "-n", RELEASE, &replicas], "").status.success()
    }

    /// Takes away the pipelines that a test that fails has left. What they own stays, and with it what explains the failure.
    fn orphan(&self) {
        let left = self.namespace.run(&["get", "streampipelines", "-o", "name"], "");
        for pipeline in String::from_utf8_lossy(&left.stdout).lines() {
            let patch = r#"{"metadata": {"finalizers": null}}"#;
            self.namespace.run(&["patch", pipeline, "--type=merge", "-p", patch], "");
            self.namespace.run(&["delete", pipeline, "--cascade=orphan", "--wait=false"], "");
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // The test may be failing already.
        self.orphan();
        self.scale(&self.replicas);
    }
}

/// Kills the operator as a lost machine would: it hears nothing, and its Lease is nobody's until it runs out.
pub fn kill_operator(any: &Namespace) {
    operators(any).iter().for_each(delete_now);
}

/// Kills the operator each time that it has written an assignment, so many times.
///
/// # Panics
/// It did not write so often.
pub fn kill_operator_at_its_writes(namespace: &Namespace, kills: usize) {
    let versions = || -> Option<Vec<String>> {
        let assignments = namespace.get(&["streamassignments"])?;
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        assignments["items"].as_array()?.iter().map(version).collect()
    };
    let mut before = wait_for("assignments", LIMIT, versions);
    for _ in 0..kills {
        before = wait_for("an assignment that was written", LIMIT, || versions().filter(|now| *now != before));
        kill_operator(namespace);
        wait_for("another operator", LIMIT, || operators(namespace).iter().any(is_ready).then_some(()));
    }
}

/// The chart as it was before a definition had [`FIELD`], in a folder.
fn older_chart(folder: &Path) -> PathBuf {
    let older = folder.join("thalweg");
    let copied = Command::new("cp").arg("-r").arg(chart()).arg(&older).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is not copied", chart().display());
    let file = older.join(ITS_FILE);
    let text = std::fs::read_to_string(&file).expect("a definition");
    let without = without(&text, FIELD);
    assert!(without.len() < text.len(), "{ITS_FILE} has no {FIELD} any more");
    std::fs::write(&file, without).expect("written");
    older
}

/// YAML without a field, and without all that is in it.
fn without(text: &str, field: &str) -> String {
    let head = format!("{field}:");
    let mut within = None;
    let kept = text.lines().filter(|line| {
        let depth = line.len() - line.trim_start().len();
        if line.trim() == head {
            within = Some(depth);
        } else if within.is_some_and(|of| depth <= of) {
            within = None;
        }
        within.is_none()
    });
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_older_definition_is_told_by_an_operator_that_starts_and_is_upgraded_with_the_chart() {
    let any = Namespace::strict(RELEASE);
    let definition = || wait_for("the definition", LIMIT, || any.get(&[DEFINITION]));
    let (began, folder) = (Instant::now(), tempfile::tempdir().expect("a folder"));
    install_chart(&older_chart(folder.path()), &image(None), &[]);
    let older = definition();
    assert!(older.pointer(FIELD_IN_IT).is_none(), "{older:#}");

    // It looks once, when it starts.
    let replica = wait_for("an operator", LIMIT, || operators(&any).into_iter().next());
    any.succeed(&["delete", "pod", name(&replica), "--wait=false"]);
    wait_for("an operator that tells which field is dropped", LIMIT, || {
        let replicas = operators(&any);
        let events = any.get(&["events", "--field-selector=reason=DefinitionOutdated"])?;
        let is_told = |event: &Value| {
            let is_of_one = replicas.iter().any(|replica| event["involvedObject"]["name"] == name(replica));
            is_of_one && event["message"].as_str().is_some_and(|message| message.contains(FIELD_PATH))
        };
        events["items"].as_array()?.iter().any(is_told).then_some(())
    });

    install(&image(None), &[]);
    let upgraded = definition();
    assert!(upgraded.pointer(FIELD_IN_IT).is_some(), "{upgraded:#}");
    // One that is made anew takes all of its kind along.
    assert_eq!(upgraded["metadata"]["uid"], older["metadata"]["uid"]);
    assert_eq!(upgraded["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    println!("a definition that lacked {FIELD_PATH} was told and upgraded within {:.1?}", began.elapsed());
}
