//! `kubectl`, as users call it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A namespace, as `kubectl` sees it. `KUBECONFIG` says of which cluster.
#[derive(Clone, Debug)]
pub struct Namespace(String);

impl Namespace {
    /// Makes the namespace anew, with the strictest of Kubernetes' standards for pods; an earlier one is deleted first.
    ///
    /// # Panics
    /// The cluster does not do what it is asked.
    pub fn fresh(name: &str) -> Self {
        Self(name.to_owned()).succeed(&["delete", "namespace", name, "--ignore-not-found", "--wait"]);
        Self::strict(name)
    }

    /// The namespace, made where there is none, with the strictest of Kubernetes' standards for pods.
    ///
    /// # Panics
    /// The cluster does not do what it is asked.
    pub fn strict(name: &str) -> Self {
        let namespace = Self(name.to_owned());
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        namespace.apply(&manifest.to_string());
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Runs `kubectl -n NAME WORDS`.
    ///
    /// # Panics
    /// There is no `kubectl`.
    pub fn run(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new("kubectl");
        command.args(["-n", &self.0]).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl is on the PATH");
        let mut stdin = child.stdin.take().expect("piped");
        // A kubectl that refuses its words does not read.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("kubectl ends")
    }

    /// Runs it; what it printed.
    ///
    /// # Panics
    /// It failed.
    pub fn succeed(&self, words: &[&str]) -> String {
        let output = self.run(words, "");
        assert!(output.status.success(), "kubectl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies manifests, server-side.
    ///
    /// # Panics
    /// One of them is refused.
    pub fn apply(&self, manifests: &str) {
        let output = self.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifests);
        assert!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// An object, or a list; `None` where there is none, or nobody answers.
    pub fn get(&self, words: &[&str]) -> Option<Value> {
        let output = self.run(&[&["get", "-o", "json", "--request-timeout=5s"], words].concat(), "");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
    }

    /// The pods of a pipeline that are not about to end, by age.
    pub fn workers(&self, pipeline: &str) -> Vec<Value> {
        let label = format!("thalweg.dev/pipeline={pipeline}");
        let pods = self.get(&["pods", "-l", &label, "--sort-by=.metadata.creationTimestamp"]);
        let items = pods.and_then(|pods| pods["items"].as_array().cloned()).unwrap_or_default();
        items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
    }

    /// The one pod of a pipeline that is ready.
    pub fn ready_worker(&self, pipeline: &str) -> Option<Value> {
        self.workers(pipeline).into_iter().find(is_ready)
    }
}

/// The pod with a UID, of whatever namespace.
pub fn pod_with(uid: &str) -> Option<Value> {
    let all = Namespace("default".to_owned()).get(&["pods", "-A"])?;
    all["items"].as_array()?.iter().find(|pod| pod["metadata"]["uid"] == uid).cloned()
}

/// Deletes a pod without grace, of whatever namespace.
///
/// # Panics
/// The cluster does not do what it is asked.
pub fn delete_now(pod: &Value) {
    let namespace = Namespace(pod["metadata"]["namespace"].as_str().expect("the namespace of a pod").to_owned());
    namespace.succeed(&["delete", "pod", name(pod), "--grace-period=0", "--force", "--wait=false"]);
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
