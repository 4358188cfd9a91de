//! What the chart renders: rights, and the manifest for those who have no Helm. These tests need Helm and no cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What `helm template` prints, as documents.
fn rendered(values: &[&str]) -> Vec<String> {
    let chart = root().join("charts/thalweg");
    let mut helm = Command::new("helm");
    helm.args(["template", "thalweg"]).arg(chart).args(["--namespace", "thalweg"]).args(values);
    let output = helm.output().expect("helm is on the PATH");
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split("---\n").filter(|document| !document.trim().is_empty()).map(str::to_owned).collect()
}

/// Without a cluster each rendering would make another key.
const OWN_KEY: [&str; 2] = ["--set", "operator.reportKeySecret=thalweg-report-key"];

/// The kinds of some documents, and each line that grants something.
fn kinds_and_grants(documents: &[String]) -> (Vec<&str>, Vec<&str>) {
    let lines = || documents.iter().flat_map(|document| document.lines());
    let kinds = lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    let is_grant =
        |line: &&str| ["resources:", "verbs:"].iter().any(|field| line.contains(field) && line.contains('['));
    (kinds, lines().filter(is_grant).collect())
}

#[test]
fn namespaced_mode_has_no_cluster_role_and_no_mode_has_a_right_to_secrets_or_to_more_rights() {
    for values in [&["--set", "watchNamespaces={a,b}"][..], &[]] {
        let documents = rendered(values);
        let (kinds, grants) = kinds_and_grants(&documents);
        let cluster_wide = kinds.iter().filter(|kind| kind.starts_with("ClusterRole")).count();
        assert_eq!(cluster_wide == 0, !values.is_empty(), "{values:?}: {kinds:?}");
        assert!(kinds.contains(&"Role") && !grants.is_empty(), "{kinds:?}");
        for word in ["secrets", "escalate", "bind,", "bind]", "impersonate", "*"] {
            assert!(grants.iter().all(|grant| !grant.contains(word)), "{values:?}: {word} in {grants:#?}");
        }
    }
}

#[test]
fn who_has_rights_in_some_namespaces_only_installs_nothing_of_the_whole_cluster() {
    let values = ["--set", "watchNamespaces={a,b},crds.enabled=false"];
    let documents = rendered(&values);
    let (kinds, _) = kinds_and_grants(&documents);
    let is_cluster_wide = |kind: &str| kind.starts_with("Cluster") || kind == "CustomResourceDefinition";
    assert!(kinds.contains(&"Deployment") && !kinds.iter().any(|kind| is_cluster_wide(kind)), "{kinds:?}");
    let definitions = rendered(&[]).iter().filter(|it| it.contains("kind: CustomResourceDefinition")).count();
    assert_eq!(definitions, 4);
}

#[test]
fn an_operator_that_is_not_ready_holds_up_no_drain() {
    let budgets: Vec<_> = rendered(&[]).into_iter().filter(|it| it.contains("kind: PodDisruptionBudget")).collect();
    assert_eq!(budgets.len(), 1);
    assert!(budgets[0].contains("unhealthyPodEvictionPolicy: AlwaysAllow"), "{}", budgets[0]);
}

/// `THALWEG_WRITE=1` writes it.
#[test]
fn the_manifest_for_kubectl_is_what_the_chart_renders() {
    let begins = "# Rendered from charts/thalweg: change that instead, and see CONTRIBUTING.md for how this is written.\n\
                  # kubectl apply --server-side -f install.yaml\n\
                  # The Secret thalweg-report-key is made as docs/guide/install.md says: one that is written here would be everybody's.\n\
                  apiVersion: v1\nkind: Namespace\nmetadata:\n  name: thalweg\n";
    // Definitions before what is of their kinds, as Helm orders them.
    let text = [begins.to_owned()].into_iter().chain(rendered(&OWN_KEY)).collect::<Vec<_>>().join("---\n");
    let path = root().join("manifests/install.yaml");
    if std::env::var_os("THALWEG_WRITE").is_some() {
        std::fs::write(&path, &text).expect("it is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is old: run this test with THALWEG_WRITE=1", path.display());
}

#[test]
fn a_key_is_made_where_none_is_named_and_the_operator_has_it() {
    let secrets = |documents: &[String]| documents.iter().filter(|it| it.contains("\nkind: Secret\n")).count();
    let mount = "secret: { secretName: thalweg-report-key }";
    for (values, made) in [(&[][..], 1), (&OWN_KEY[..], 0)] {
        let documents = rendered(values);
        assert_eq!(secrets(&documents), made, "{values:?}");
        assert!(documents.iter().any(|it| it.contains("\nkind: Deployment\n") && it.contains(mount)), "{values:?}");
    }
    let next = "0f".repeat(32);
    let documents = rendered(&["--set", &format!("operator.nextReportKey={next}")]);
    assert!(documents.iter().any(|it| it.contains(&format!("THALWEG_NEXT_REPORT_KEY, value: \"{next}\""))));
}
