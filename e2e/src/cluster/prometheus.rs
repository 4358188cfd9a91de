//! A real Prometheus. Debian's cannot ask Kubernetes for pods, so that is done here, as the chart's PodMonitor says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::kubectl::Namespace;
use super::web;
use crate::{bound, wait_for};

const START: Duration = Duration::from_secs(60);
const TARGETS: &str = "targets.json";
/// What the PodMonitor selects, by `app.kubernetes.io/name`.
const SELECTED: [&str; 2] = ["thalweg-operator", "thalweg-worker"];

/// A server; it ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    server: Child,
    address: SocketAddr,
    data: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes each second what [`Prometheus::find`] finds, and follows the chart's alerts.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(port: u16) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\nscrape_configs: [{{ job_name: \
             thalweg, file_sd_configs: [{{ files: ['{}'], refresh_interval: 1s }}] }}]\n",
            alerts().display(),
            data.path().join(TARGETS).display(),
        );
        let file = data.path().join("prometheus.yaml");
        std::fs::write(&file, config).expect("written");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = bound("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut prometheus = Self { server: command.spawn().expect("prometheus is on the PATH"), address, data };
        wait_for("Prometheus", START, || {
            let ended = prometheus.server.try_wait().expect("a child");
            assert!(ended.is_none(), "prometheus ended: {ended:?}");
            web::get(address, "/-/ready")
        });
        prometheus
    }

    /// Finds the pods that run now.
    ///
    /// # Panics
    /// The cluster does not answer.
    pub fn find(&self, namespace: &Namespace) {
        let pods: Value = serde_json::from_str(&namespace.succeed(&["get", "pods", "-A", "-o", "json"])).expect("JSON");
        let targets: Vec<_> = pods["items"].as_array().into_iter().flatten().filter_map(target).collect();
        let file = self.data.path().join(TARGETS);
        let half = file.with_extension("part");
        std::fs::write(&half, Value::from(targets).to_string()).expect("written");
        std::fs::rename(half, file).expect("renamed");
    }

    /// What a query gives now: its series with their values.
    ///
    /// # Panics
    /// It is no query.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.api(&format!("query?query={encoded}"));
        assert_eq!(found["status"], "success", "`{query}`: {found}");
        found["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The answer of its API, version 1.
    ///
    /// # Panics
    /// It does not answer.
    pub fn api(&self, path: &str) -> Value {
        let (status, body) = web::request(self.address, "GET", &format!("/api/v1/{path}")).expect("Prometheus answers");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {status}: {error}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The port named `http` of a pod that is selected, with the labels that a PodMonitor gives it.
fn target(pod: &Value) -> Option<Value> {
    let (about, ip) = (&pod["metadata"], pod["status"]["podIP"].as_str()?);
    let name = about["labels"]["app.kubernetes.io/name"].as_str()?;
    let containers = pod["spec"]["containers"].as_array().filter(|_| SELECTED.contains(&name))?;
    let http = |container: &Value| container["ports"].as_array()?.iter().find(|port| port["name"] == "http").cloned();
    let (container, port) = containers.iter().find_map(|container| Some((&container["name"], http(container)?)))?;
    let labels = json!({"namespace": about["namespace"], "pod": about["name"], "container": container});
    Some(json!({"targets": [format!("{ip}:{}", port["containerPort"])], "labels": labels}))
}

/// The chart's alerts.
pub fn alerts() -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/thalweg/alerts.yaml");
    path.canonicalize().expect("the chart")
}

/// Runs `promtool` on an input.
///
/// # Panics
/// It is not on the PATH.
pub fn promtool(words: &[&str], input: &str) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), input).expect("written");
    let input = std::fs::File::open(file.path()).expect("the file");
    Command::new("promtool").args(words).stdin(input).output().expect("promtool is on the PATH")
}
