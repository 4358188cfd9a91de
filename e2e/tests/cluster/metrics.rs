//! What Prometheus sees of an operator and of workers, and what Grafana and the alerts make of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use thalweg_e2e::bank::{COPIES, Pipelines, SUMS, State, Traffic};
use thalweg_e2e::cluster::faults::{is_elsewhere, leave_out};
use thalweg_e2e::cluster::host;
use thalweg_e2e::cluster::kubectl::Namespace;
use thalweg_e2e::cluster::prometheus::{Prometheus, alerts, promtool};
use thalweg_e2e::cluster::s3::S3;
use thalweg_e2e::cluster::web;
use thalweg_e2e::kafka::Kafka;
use thalweg_e2e::{bound, wait_for};

use crate::LIMIT;
use crate::ownership::wait_until;
use crate::pipelines::say;
use crate::release::{image, install, operators};

const PARTITIONS: i32 = 4;
/// Where the page is forwarded to, on this machine.
const PAGE: u16 = 19_082;
const PROMETHEUS: u16 = 19_090;
/// Events a second.
const RATE: u32 = 200;
/// What has its number of workers decided, and its splits and units shown, so that there is something to be shown of it.
const FOLLOWS: &str = r#"{"spec": {
    "scaling": {"mode": "Auto", "workers": null, "maxWorkers": 2},
    "worker": {"metricsBy": ["Split", "Unit"]}
}}"#;

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The queries of the dashboards with their panels, as Grafana sends them for everything.
fn panels() -> Vec<(String, String)> {
    let names = ["fleet", "pipeline", "worker", "operator"];
    names.into_iter().flat_map(panels_of).collect()
}

fn panels_of(name: &str) -> Vec<(String, String)> {
    let text = repository(&format!("charts/thalweg/dashboards/{name}.json"));
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let queries = panels.iter().flat_map(|panel| {
        let title = format!("{name}: {}", panel["title"].as_str().unwrap_or_default());
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$__rate_interval", "10s").replace("$pipeline", ".+").replace("$pod", ".+");
            (title.clone(), query)
        })
    });
    queries.collect()
}

/// Names of metrics that a text speaks of.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("thalweg_")).map(str::to_owned).collect()
}

/// Whether this machine reaches pods by their addresses, as a Prometheus has to.
fn reaches_pods(namespace: &Namespace) -> bool {
    let operators = operators(namespace);
    let mut addresses = operators.iter().filter_map(|pod| pod["status"]["podIP"].as_str()?.parse::<IpAddr>().ok());
    addresses.any(|ip| web::get(SocketAddr::new(ip, 8080), "/metrics").is_some())
}

/// The alerts of a rule that fire, of pipelines of a namespace or of none: a test that failed leaves its pipelines behind, without
/// their Kafka.
fn fires<'a>(rule: &'a Value, namespace: &str) -> Vec<&'a Value> {
    let is_ours = |alert: &&Value| {
        let pipeline = alert["labels"]["pipeline"].as_str();
        pipeline.is_none_or(|it| it.split_once('.').is_some_and(|(of, _)| of == namespace))
    };
    let alerts = rule["alerts"].as_array().into_iter().flatten();
    alerts.filter(|alert| alert["state"] == "firing").filter(is_ours).collect()
}

#[test]
fn an_alert_counts_where_it_is_of_a_pipeline_of_the_test_or_of_none() {
    let alert = |state: &str, labels: Value| json!({"state": state, "labels": labels});
    let of = |pipeline: &str| json!({"pipeline": pipeline, "namespace": "thalweg"});
    let alerts = [
        alert("firing", of("e2e-metrics.copies")),
        alert("firing", of("e2e-metrics-2.copies")),
        alert("firing", of("e2e-fire.copies")),
        alert("pending", of("e2e-metrics.sums")),
        alert("firing", json!({"namespace": "thalweg"})),
    ];
    let rule = json!({"state": "firing", "alerts": alerts});
    assert_eq!(fires(&rule, "e2e-metrics"), [&alerts[0], &alerts[4]]);
    assert!(fires(&json!({"state": "inactive", "alerts": []}), "e2e-metrics").is_empty());
}

/// Whether a target answers with metrics that promtool finds clean.
///
/// # Panics
/// They are not clean.
fn answers(target: &Value) -> bool {
    let pod = &target["labels"]["pod"];
    let url = target["scrapeUrl"].as_str().expect("an URL");
    let address: SocketAddr =
        url.trim_start_matches("http://").split('/').next().expect("a host").parse().expect("a host");
    let Some(text) = web::get(address, "/metrics") else { return false };
    let checked = promtool(&["check", "metrics"], &text);
    assert!(checked.status.success(), "{pod}: {}", String::from_utf8_lossy(&checked.stderr));
    true
}

/// What workers report is told by the operator to whoever may forward a port to it, and by workers to nobody here.
fn assert_reported_to_the_operator_alone(namespace: &Namespace, pipeline: &str) {
    let shown = wait_for("rates of every split", LIMIT, || {
        let shown: Value =
            serde_json::from_str(&say(&["status", pipeline, "-n", namespace.name(), "-o", "json"])).expect("JSON");
        let splits = shown["splits"].as_array()?;
        let is_heard = |split: &Value| split["ratePerSecond"].is_number();
        (splits.len() == PARTITIONS as usize && splits.iter().all(is_heard)).then_some(shown)
    });
    assert_eq!(shown["notes"], json!([]), "{shown:#}");
    for pod in namespace.workers(pipeline) {
        let ip: IpAddr = pod["status"]["podIP"].as_str().expect("an address").parse().expect("an address");
        assert!(web::get(SocketAddr::new(ip, 8080), "/metrics").is_some(), "the other port is everybody's");
        assert_eq!(web::get(SocketAddr::new(ip, 8081), "/report"), None, "plain HTTP");
        let mut openssl = bound("timeout");
        openssl.args(["10", "openssl", "s_client", "-connect", &format!("{ip}:8081"), "-quiet"]);
        let said = openssl.output().expect("openssl is on the PATH");
        let amiss = String::from_utf8_lossy(&said.stderr);
        assert!(amiss.contains("certificate required"), "who shows no key: {amiss}");
    }
}

/// What the operator's page says of a pipeline, as a user reaches it: by `kubectl port-forward`, as the guide says.
fn page_of(pipeline: &str) -> Value {
    let mut forward = bound("kubectl");
    forward.args(["port-forward", "-n", "thalweg", "deployment/thalweg", &format!("{PAGE}:8082")]);
    let mut forward = forward.stdout(std::process::Stdio::null()).spawn().expect("kubectl is on the PATH");
    let address = SocketAddr::from(([127, 0, 0, 1], PAGE));
    let said = wait_for("the page", LIMIT, || {
        assert!(forward.try_wait().expect("a child").is_none(), "kubectl port-forward ended");
        web::get(address, &format!("/api/pipelines/e2e-metrics/{pipeline}"))
    });
    assert!(web::get(address, "/").is_some_and(|page| page.contains("<script")), "the page itself");
    forward.kill().expect("it runs");
    forward.wait().expect("it ends");
    serde_json::from_str(&said).expect("JSON")
}

/// The load of a pipeline as a real Prometheus has it, and what the autoscaler would make of it: by the commands of the guide.
fn assert_recorded(prometheus: &Prometheus, namespace: &Namespace, pipeline: &str) {
    let ends = format!("thalweg_source_end_records{{pipeline='{}.{pipeline}'}} offset 21s", namespace.name());
    wait_for("a load of twenty seconds", LIMIT, || (!prometheus.query(&ends).is_empty()).then_some(()));
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.csv").display().to_string();
    let url = format!("http://127.0.0.1:{PROMETHEUS}");
    let about = ["record-trace", pipeline, "-n", namespace.name(), "--prometheus", &url];
    say(&[&about[..], &["--last", "20s", "--step", "5s", "--write", &trace]].concat());
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let mut lines = text.lines();
    assert_eq!(lines.next().map(|head| head.split(',').count()), Some(1 + PARTITIONS as usize), "{text}");
    let rows: Vec<f64> =
        lines.map(|line| line.split(',').skip(1).map(|rate| rate.parse::<f64>().expect("a rate")).sum()).collect();
    let mean = rows.iter().sum::<f64>() / rows.len() as f64;
    assert!((0.5..2.0).contains(&(mean / f64::from(RATE))), "{RATE} records a second were sent: {text}");
    let told = say(&["simulate-scaling", "--trace", &trace, "--capacity", "1000", "-o", "json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["workerHours"].as_f64().is_some_and(|hours| hours > 0.0), "{told:#}");
    assert_eq!((&told["percentTimeAboveTarget"], &told["moves"]), (&0.0.into(), &0.into()), "{told:#}");
    println!("recorded: {mean:.0} records/s; simulated: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_operator_and_workers_and_every_query_of_dashboard_and_alerts_has_data() {
    let namespace = Namespace::fresh("e2e-metrics");
    let kafka = Kafka::start_at(&host());
    kafka.make_bank(PARTITIONS).await;
    let s3 = S3::start(9_104);
    let state = State::Bucket(s3.settings());
    let pipelines = Pipelines { broker: kafka.address(), state, commit_every_ms: 1_000, key_groups: 4, workers: 1 };
    install(&image(None), &["--set", "page.enabled=true"]);
    if is_elsewhere() && !reaches_pods(&namespace) {
        namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
        return leave_out("what Prometheus sees; this machine does not reach pods by their addresses");
    }
    let traffic = Traffic::start(&kafka, PARTITIONS, RATE.into());
    namespace.apply(S3::secret());
    namespace.apply(&pipelines.manifest());
    namespace.succeed(&["patch", "streampipeline", COPIES, "--type=merge", "-p", FOLLOWS]);
    let prometheus = Prometheus::start(PROMETHEUS);
    for pipeline in [COPIES, SUMS] {
        wait_until(&namespace, pipeline, "Ready");
    }

    for container in ["operator", "worker"] {
        wait_for(&format!("target {container}"), LIMIT, || {
            prometheus.find(&namespace);
            let up = prometheus.query(&format!("up{{container='{container}'}} == 1"));
            (!up.is_empty()).then_some(())
        });
    }
    // A pod of a test before that is on its way out is found until it is gone, and answers nobody.
    let targets = wait_for("metrics of every pod", LIMIT, || {
        prometheus.find(&namespace);
        let targets = prometheus.api("targets?state=active")["data"]["activeTargets"].as_array()?.clone();
        targets.iter().all(answers).then_some(targets)
    });

    let panels = panels();
    assert!(panels.len() > 30, "{panels:?}");
    for (panel, query) in &panels {
        wait_for(&format!("data of panel `{panel}`: {query}"), LIMIT, || {
            (!prometheus.query(query).is_empty()).then_some(())
        });
    }

    let names = prometheus.api("label/__name__/values")["data"].clone();
    let known: BTreeSet<String> =
        names.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let missing: Vec<_> = named(&repository("charts/thalweg/alerts.yaml")).difference(&known).cloned().collect();
    assert!(missing.is_empty(), "alerts speak of metrics that nobody has: {missing:?}");
    let groups = prometheus.api("rules")["data"]["groups"].clone();
    let rules: Vec<Value> = groups[0]["rules"].as_array().cloned().unwrap_or_default();
    assert!(!rules.is_empty());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        // Some of the records that come are broken on purpose.
        let is_expected = ["ThalwegBadRecords", "ThalwegDeadLetters"].iter().any(|name| rule["name"] == *name);
        let firing = fires(&rule, namespace.name());
        assert!(firing.is_empty() || is_expected, "nothing is amiss: {}: {firing:?}", rule["name"]);
    }
    let of_others =
        format!("{{pipeline='e2e-metrics.{SUMS}', split!=''}} or {{pipeline='e2e-metrics.{SUMS}', unit!=''}}");
    assert!(prometheus.query(&of_others).is_empty(), "nobody asked for splits or units of {SUMS}");
    println!("{} targets, {} queries of dashboards, {} metrics", targets.len(), panels.len(), known.len());

    assert_recorded(&prometheus, &namespace, COPIES);
    assert_reported_to_the_operator_alone(&namespace, COPIES);
    let page = page_of(COPIES);
    println!("{page:#}");
    let worker = page["workers"][0]["slot"].as_str().unwrap_or_default();
    assert!(worker.starts_with(&format!("{COPIES}-")), "the worker is named: {page:#}");
    traffic.end().await;
    namespace.succeed(&["delete", "namespace", namespace.name(), "--wait=false"]);
}

#[test]
fn alerts_fire_on_what_they_are_for_and_on_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let tests = repository("e2e/cluster/alerts.test.yaml").replace("RULES", &alerts().display().to_string());
    let file = folder.path().join("alerts.test.yaml");
    std::fs::write(&file, tests).expect("written");
    let tested = promtool(&["test", "rules", file.to_str().expect("UTF-8")], "");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
}
