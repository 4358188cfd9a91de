//! A real Prometheus that finds pods as a PodMonitor tells it to.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::web;
use crate::wait_for;

const START: Duration = Duration::from_secs(60);

/// A server; it ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    server: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes each second the pods that the chart's PodMonitor selects, in the cluster of `KUBECONFIG`, and
    /// follows the chart's alerts.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(port: u16) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let kubeconfig = std::env::var("KUBECONFIG").expect("KUBECONFIG");
        let config = format!(
            r#"
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ['{rules}']
scrape_configs:
  - job_name: thalweg
    kubernetes_sd_configs: [{{ role: pod, kubeconfig_file: '{kubeconfig}' }}]
    relabel_configs:
      - {{ source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_name], regex: thalweg-(operator|worker), action: keep }}
      - {{ source_labels: [__meta_kubernetes_pod_container_port_name], regex: http, action: keep }}
      - {{ source_labels: [__meta_kubernetes_namespace], target_label: namespace }}
      - {{ source_labels: [__meta_kubernetes_pod_name], target_label: pod }}
      - {{ source_labels: [__meta_kubernetes_pod_container_name], target_label: container }}
"#,
            rules = alerts().display(),
        );
        let file = data.path().join("prometheus.yaml");
        std::fs::write(&file, config).expect("written");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // It ends with this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "prometheus"]);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut prometheus = Self { server: command.spawn().expect("prometheus is on the PATH"), address, _data: data };
        wait_for("Prometheus", START, || {
            let ended = prometheus.server.try_wait().expect("a child");
            assert!(ended.is_none(), "prometheus ended: {ended:?}");
            web::get(address, "/-/ready")
        });
        prometheus
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
