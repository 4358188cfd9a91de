//! What can be set, as arguments or in the environment: the chart's values come in here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use thalweg_mtls::identity::{Fingerprint, Identity};

/// Turns StreamPipelines into running workers.
#[derive(Clone, Debug, Parser)]
#[command(name = "thalweg-operator", version)]
pub struct Settings {
    /// Namespaces that it looks after, with commas between them; all where none is given
    #[arg(long, env = "THALWEG_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// The image of workers, unless a pipeline names another one
    #[arg(long, env = "THALWEG_WORKER_IMAGE", value_name = "IMAGE")]
    pub worker_image: String,
    /// When the image of workers is pulled; by its tag where absent
    #[arg(long, env = "THALWEG_IMAGE_PULL_POLICY", value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: Option<String>,
    /// The operator's own namespace
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: String,
    /// The operator's own name among its replicas
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: String,
    /// The binary that plans SQL
    #[arg(long, env = "THALWEG_CHECK_BINARY", value_name = "PATH", default_value = "thalweg")]
    pub check_binary: PathBuf,
    /// Where metrics and health are served
    #[arg(long, env = "THALWEG_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Where a page shows pipelines live, without asking who looks: 127.0.0.1:8082 is reached by `kubectl port-forward` only;
    /// none where it is absent
    #[arg(long, env = "THALWEG_PAGE_LISTEN", value_name = "ADDR")]
    pub page_listen: Option<SocketAddr>,
    /// Where it tells what workers reported, without asking who asks: at the loopback address, which `kubectl port-forward` and
    /// `thalweg status` reach by way of the API server
    #[arg(long, env = "THALWEG_REPORTS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8083")]
    pub reports_listen: SocketAddr,
    /// A folder with the key that workers are shown, as Kubernetes mounts a Secret of the type `kubernetes.io/tls`: `tls.crt` and
    /// `tls.key`. It is the same for all replicas
    #[arg(long, env = "THALWEG_REPORT_KEY", value_name = "DIR")]
    pub report_key: PathBuf,
    /// The key that is to take its place: SHA-256 of its public key (SubjectPublicKeyInfo, DER), in hexadecimal. Workers answer
    /// both
    #[arg(long, env = "THALWEG_NEXT_REPORT_KEY", value_name = "SHA256")]
    pub next_report_key: Option<Fingerprint>,
    /// How many pipelines are looked at at once
    #[arg(long, env = "THALWEG_CONCURRENCY", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// How many pipelines replace their pods at once when the installation has changed, as by an upgrade of the chart
    #[arg(long, env = "THALWEG_MAX_CONCURRENT_ROLLOUTS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_concurrent_rollouts: u16,
    /// What to log, as `tracing` filters are written
    #[arg(long, env = "THALWEG_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

impl Settings {
    /// The namespaces that are looked after, each once: `None` is all of them.
    pub fn scopes(&self) -> Vec<Option<String>> {
        let named = self.watch_namespaces.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let named: BTreeSet<_> = named.map(str::to_owned).collect();
        if named.is_empty() { vec![None] } else { named.into_iter().map(Some).collect() }
    }

    /// Whom workers are to answer, in an order of its own: who swaps the two changes no worker.
    pub fn operator_keys(&self, identity: &Identity) -> Vec<String> {
        let keys: BTreeSet<_> = [identity.fingerprint()].into_iter().chain(self.next_report_key).collect();
        keys.iter().map(Fingerprint::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(extra: &[&str]) -> Settings {
        let required = ["thalweg-operator", "--worker-image", "x", "--namespace", "thalweg", "--pod-name", "a"];
        let required = required.iter().chain(&["--report-key", "key"]);
        Settings::parse_from(required.chain(extra))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Settings::command().debug_assert();
    }

    #[test]
    fn no_namespace_means_all_of_them() {
        assert_eq!(parsed(&[]).scopes(), [None]);
        assert_eq!(parsed(&["--watch-namespaces", ""]).scopes(), [None]);
        let two = parsed(&["--watch-namespaces", "a, b,a"]).scopes();
        assert_eq!(two, [Some("a".to_owned()), Some("b".to_owned())]);
    }

    #[test]
    fn while_a_key_is_replaced_workers_are_told_of_both_in_the_same_order_before_and_after() {
        let (old, new) = (Identity::generate().expect("a key"), Identity::generate().expect("a key"));
        assert_eq!(parsed(&[]).operator_keys(&old), [old.fingerprint().to_string()]);
        let next = |next: &Identity| parsed(&["--next-report-key", &next.fingerprint().to_string()]);
        let both = next(&new).operator_keys(&old);
        assert_eq!(both.len(), 2);
        assert_eq!(next(&old).operator_keys(&new), both);
        assert_eq!(next(&old).operator_keys(&old).len(), 1);
    }

    #[test]
    fn the_page_is_off_unless_it_is_asked_for() {
        assert_eq!(parsed(&[]).page_listen, None);
        assert!(parsed(&["--page-listen", "127.0.0.1:8082"]).page_listen.is_some());
    }
}
