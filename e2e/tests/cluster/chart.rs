//! What the chart renders: rights, and the manifest for those who have no Helm. These tests need Helm, promtool, and no cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use thalweg_e2e::cluster::prometheus::promtool;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn template(values: &[&str]) -> Output {
    let chart = root().join("charts/thalweg");
    let mut helm = Command::new("helm");
    helm.args(["template", "thalweg"]).arg(chart).args(["--namespace", "thalweg"]).args(values);
    helm.output().expect("helm is on the PATH")
}

/// What `helm template` prints, as documents.
fn rendered(values: &[&str]) -> Vec<String> {
    let output = template(values);
    assert!(output.status.success(), "helm: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split("---\n").filter(|document| !document.trim().is_empty()).map(str::to_owned).collect()
}

/// Without a cluster each rendering would make another key.
const OWN_KEY: [&str; 2] = ["--set", "operator.reportKeySecret=thalweg-report-key"];

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Nobody builds the Dockerfile here: what it says of the image is compared with the image that the tests run.
#[test]
fn the_dockerfile_makes_an_image_like_the_one_that_is_tested() {
    let (dockerfile, load, image) = (text("Dockerfile"), text("e2e/cluster/load"), text("e2e/cluster/image"));
    for (here, file, there) in [
        ("for binary in thalweg thalweg-operator; do", &load, "for binary in thalweg thalweg-operator; do"),
        ("/out/thalweg /out/thalweg-operator /usr/local/bin/\n", &load, "=/usr/local/bin/$binary\""),
        ("\nUSER 65532:65532\n", &image, "\"--user\", type=int, default=65532"),
        ("\nENTRYPOINT [\"/usr/local/bin/thalweg\"]\n", &load, "--entry /usr/local/bin/thalweg "),
    ] {
        assert!(dockerfile.contains(here), "the Dockerfile has no {here:?} any more");
        assert!(file.contains(there), "the image of the test bed has no {there:?} any more");
    }
    let toolchain = text("rust-toolchain.toml");
    let release = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.rsplit_once('.'));
    let (release, _) = release.expect("MAJOR.MINOR.PATCH");
    assert!(dockerfile.contains(&format!("\nFROM rust:{release}-")), "Rust {release}");
}

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
fn what_helm_test_makes_is_where_pipelines_are_looked_after_and_is_selected_by_nobody() {
    for (values, namespace) in [(&[][..], "thalweg"), (&["--set", "watchNamespaces={a,b}"], "a")] {
        let documents = rendered(values);
        let tests: Vec<_> = documents.iter().filter(|it| it.contains("helm.sh/hook: test")).collect();
        assert_eq!(tests.len(), 7);
        for document in tests {
            assert!(document.contains(&format!("  namespace: {namespace}\n")), "{document}");
            assert!(!document.contains("app.kubernetes.io/name: thalweg-operator"), "{document}");
        }
    }
}

#[test]
fn an_operator_that_is_not_ready_holds_up_no_drain() {
    let budgets: Vec<_> = rendered(&[]).into_iter().filter(|it| it.contains("kind: PodDisruptionBudget")).collect();
    assert_eq!(budgets.len(), 1);
    assert!(budgets[0].contains("unhealthyPodEvictionPolicy: AlwaysAllow"), "{}", budgets[0]);
}

/// A file of the chart.
fn of_chart(path: &str) -> String {
    let path = root().join("charts/thalweg").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one document of a kind whose name ends so.
fn document<'a>(documents: &'a [String], kind: &str, name: &str) -> &'a str {
    let (kind, name) = (format!("\nkind: {kind}\n"), format!("\n  name: thalweg{name}\n"));
    let mut found = documents.iter().filter(|it| it.contains(&kind) && it.contains(&name));
    found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn what_prometheus_and_grafana_are_told_is_rendered_where_it_is_asked_for() {
    let runbooks = "https://wiki.example.com/thalweg/";
    let on = "podMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true,podMonitor.labels.team=a";
    let set_runbooks = format!("prometheusRule.runbooks={runbooks}");
    let documents = rendered(&["--set", on, "--set", &set_runbooks, "--set", "watchNamespaces={a}"]);

    let monitor = document(&documents, "PodMonitor", "");
    for line in ["    team: a\n", "    - { port: http, path: /metrics }", "      - a\n      - thalweg\n"] {
        assert!(monitor.contains(line), "{line} is not in {monitor}");
    }
    let everywhere = rendered(&["--set", "podMonitor.enabled=true"]);
    assert!(document(&everywhere, "PodMonitor", "").contains("    any: true\n"));

    let (_, rules) = document(&documents, "PrometheusRule", "").split_once("\nspec:\n").expect("a spec");
    let rules: Vec<_> = rules.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    let rules = rules.join("\n");
    let shipped = of_chart("alerts.yaml").replace("runbook_url: docs/", &format!("runbook_url: {runbooks}docs/"));
    assert!(shipped.contains(runbooks));
    assert_eq!(rules.trim(), shipped.trim());
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), rules).expect("written");
    let checked = promtool(&["check", "rules", file.path().to_str().expect("UTF-8")], "");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.contains("rules found") && !said.contains(" 0 rules"), "{said}");

    let (about, data) = document(&documents, "ConfigMap", "-dashboards").split_once("\ndata:\n").expect("data");
    // By it Grafana's sidecar finds the map.
    assert!(about.ends_with("\n    grafana_dashboard: \"1\""), "{about}");
    let boards: Vec<_> = data.split("  thalweg-").filter_map(|board| board.split_once(".json: |-\n")).collect();
    let names: Vec<_> = boards.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["fleet", "operator", "pipeline", "worker"]);
    for (name, text) in boards {
        let board: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(board["panels"].as_array().is_some_and(|panels| !panels.is_empty()), "{name}");
        let shipped = of_chart(&format!("dashboards/{name}.json"));
        assert!(serde_json::from_str::<serde_json::Value>(&shipped).is_ok_and(|shipped| shipped == board), "{name}");
    }
    // One of each, and none unasked.
    let count = |documents: &[String]| {
        let marks = ["\nkind: PodMonitor\n", "\nkind: PrometheusRule\n", "\n    grafana_dashboard: \"1\"\n"];
        marks.map(|mark| documents.iter().filter(|document| document.contains(mark)).count())
    };
    assert_eq!((count(&documents), count(&rendered(&[]))), ([1, 1, 1], [0, 0, 0]));
}

#[test]
fn a_value_that_is_none_is_refused_by_its_name() {
    for (value, told) in [
        ("operator.replicas=0", "/operator/replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("podMonitor.enable=true", "'enable' not allowed"),
        ("networkPolicy.metricsFrom[0].namespaceselector=all", "'namespaceselector' not allowed"),
        ("networkPolicy.metricsFrom[0].namespaceSelector.team=a", "'team' not allowed"),
    ] {
        let output = template(&["--set", value]);
        let amiss = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && amiss.contains(told), "{value}: {amiss}");
    }
}

#[test]
fn the_operator_is_told_who_may_read_metrics_and_a_list_of_nobody_is_refused() {
    let told = |values: &[&str]| {
        let documents = rendered(values);
        let name = "- { name: THALWEG_METRICS_FROM, value: ";
        let operator = document(&documents, "Deployment", "");
        let line = operator.lines().find_map(|line| line.trim().strip_prefix(name)).expect("it is told");
        let text: String = serde_json::from_str(line.trim_end_matches(" }")).expect("a string");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    assert_eq!(told(&[]), serde_json::json!([{"namespaceSelector": {}}]));
    // As with `--reuse-values` of a chart that has not had it: the operator's own default counts.
    let older = rendered(&["--set", "networkPolicy=null"]);
    assert!(!document(&older, "Deployment", "").contains("THALWEG_METRICS_FROM"));
    let only = told(&["--set-json", r#"networkPolicy.metricsFrom=[{"ipBlock":{"cidr":"10.1.0.0/16"}}]"#]);
    assert_eq!(only, serde_json::json!([{"ipBlock": {"cidr": "10.1.0.0/16"}}]));
    let none = template(&["--set-json", "networkPolicy.metricsFrom=[]"]);
    let amiss = String::from_utf8_lossy(&none.stderr);
    assert!(!none.status.success() && amiss.contains("/networkPolicy/metricsFrom"), "{amiss}");
}

/// `THALWEG_WRITE=1` writes it.
#[test]
fn the_manifest_for_kubectl_is_what_the_chart_renders() {
    let begins = "# Rendered from charts/thalweg: change that instead, and see CONTRIBUTING.md for how this is written.\n\
                  # kubectl apply --server-side -f install.yaml\n\
                  # The Secret thalweg-report-key is made as docs/guide/install.md says: one that is written here would be everybody's.\n\
                  apiVersion: v1\nkind: Namespace\nmetadata:\n  name: thalweg\n";
    // Definitions before what is of their kinds, as Helm orders them.
    let text = [begins.to_owned()]
        .into_iter()
        .chain(rendered(&[&OWN_KEY[..], &["--skip-tests"]].concat()))
        .collect::<Vec<_>>()
        .join("---\n");
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
