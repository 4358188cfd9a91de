//! What can be set, as arguments or in the environment: the chart's values come in here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use serde_json::Value;
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
    /// Who may read the metrics of workers: peers of a NetworkPolicy, as JSON. The node of a worker may in any case
    #[arg(long, env = "THALWEG_METRICS_FROM", value_name = "PEERS", default_value = r#"[{"namespaceSelector":{}}]"#)]
    pub metrics_from: Peers,
    /// What to log, as `tracing` filters are written
    #[arg(long, env = "THALWEG_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// The process ends before and after each of its writes, and notes in this file which it has ended at: for tests
    #[arg(long, env = "THALWEG_TEST_KILLS", value_name = "FILE", hide = true)]
    pub test_kills: Option<PathBuf>,
}

/// Some peers of a NetworkPolicy, one at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers(pub Vec<NetworkPolicyPeer>);

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let peers: Vec<NetworkPolicyPeer> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Of a field that nobody knows nothing would be left, and a selector of nothing selects all.
        let (given, kept): (Result<Value, _>, _) = (serde_json::from_str(text), serde_json::to_value(&peers));
        if given.ok() != kept.ok() {
            return Err(
                "it has a field that no peer of a NetworkPolicy has: a selector has matchLabels, matchExpressions"
                    .to_owned(),
            );
        }
        // To Kubernetes no peer is everybody, and one that names nobody is refused there, with each pipeline.
        if peers.is_empty() || peers.contains(&NetworkPolicyPeer::default()) {
            return Err(
                "a peer has a namespaceSelector, a podSelector or an ipBlock, and one is to be there".to_owned()
            );
        }
        Ok(Self(peers))
    }
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
    fn metrics_are_for_the_pods_of_the_cluster_or_for_whom_it_says_and_never_for_everybody_by_mistake() {
        let every_pod = parsed(&[]).metrics_from.0;
        assert_eq!(every_pod.len(), 1);
        assert!(every_pod[0].namespace_selector.is_some() && every_pod[0].pod_selector.is_none());
        let peers = r#"[{"ipBlock":{"cidr":"10.0.0.0/8"}},{"podSelector":{"matchLabels":{"app":"prometheus"}}}]"#;
        let said = parsed(&["--metrics-from", peers]).metrics_from.0;
        assert_eq!(said.len(), 2);
        assert_eq!(said[0].ip_block.as_ref().map(|block| block.cidr.as_str()), Some("10.0.0.0/8"));
        for refused in
            ["[]", "[{}]", r#"[{"podselector":{}}]"#, r#"[{"namespaceSelector":{"team":"a"}}]"#, "prometheus"]
        {
            assert!(refused.parse::<Peers>().is_err(), "{refused}");
        }
    }

    #[test]
    fn the_page_is_off_unless_it_is_asked_for() {
        assert_eq!(parsed(&[]).page_listen, None);
        assert!(parsed(&["--page-listen", "127.0.0.1:8082"]).page_listen.is_some());
    }
}
