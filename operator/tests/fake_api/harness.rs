//! A cluster with an operator in it: made from resources, looked at until it is as expected.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use thalweg_crds::{SinkSpec, SourceSpec};
use thalweg_mtls::identity::Identity;
use thalweg_operator::checks::Checks;
use thalweg_operator::controller::{Parts, Started};
use thalweg_operator::leader::Leadership;
use thalweg_operator::metrics::Metrics;
use thalweg_operator::page::Shown;
use thalweg_operator::rollouts::Rollouts;
use thalweg_operator::settings::Peers;
use thalweg_operator::tally::Tally;
use thalweg_operator_plan::check::{Checked, Stage, StageKind};
use thalweg_operator_plan::objects::Settings;
use thalweg_operator_plan::resources::{PlanText, Written};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::fake::{FakeApi, Key, Write};
use crate::kubelet;

const GROUP: &str = "thalweg.dev/v1alpha1";
/// Within this time a pipeline says what is amiss, from the moment on at which that could be known.
pub const TOLD: Duration = Duration::from_secs(10);
/// Longer than anything takes on a busy machine. A watch that has ended in errors again and again pauses for up to a minute (kube's
/// `DefaultBackoff`: 30 s, and up to as much once more by chance), as often as twice within one wait.
const PATIENCE: Duration = Duration::from_secs(180);

/// A cluster and its operator.
pub struct Cluster {
    pub api: FakeApi,
    pub metrics: Arc<Metrics>,
    kubelet: JoinHandle<()>,
    operator: JoinHandle<()>,
    others: JoinSet<()>,
    standby: Option<Standby>,
    /// What the page of the operator that was started first shows.
    pub page: Arc<Shown>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kubelet.abort();
        self.operator.abort();
        self.standby.iter().for_each(|standby| standby.task.abort());
    }
}

/// A key of this namespace.
pub fn key(kind: &str, name: &str) -> Key {
    (kind.to_owned(), "shop".to_owned(), name.to_owned())
}

pub fn pipeline_key() -> Key {
    key(&format!("{GROUP}/streampipelines"), "fares")
}

fn source() -> Value {
    json!({"generator": {"taxi": {}}, "schema": [{"name": "fare", "type": "DOUBLE", "from": "fare_amount"}]})
}

pub fn pipeline(sql: &str) -> Value {
    json!({"sources": [{"name": "trips"}], "sinks": [{"name": "out"}], "sql": sql})
}

/// A resource as a user writes it.
pub fn put(api: &FakeApi, kind: &str, name: &str, spec: Value) {
    let plural = format!("{}s", kind.to_lowercase());
    let object = json!({"apiVersion": GROUP, "kind": kind, "metadata": {}, "spec": spec});
    api.store().create(key(&format!("{GROUP}/{plural}"), name), object).expect("a new resource");
    api.changed();
}

/// The source, the sink and the pipeline.
pub fn resources(api: &FakeApi) {
    resources_of(api, pipeline(SQL));
}

/// The same with a pipeline of this spec.
pub fn resources_of(api: &FakeApi, pipeline: Value) {
    put(api, "StreamSource", "trips", source());
    put(api, "StreamSink", "out", json!({"blackhole": {}}));
    put(api, "StreamPipeline", "fares", pipeline);
}

pub const SQL: &str = "INSERT INTO out SELECT fare FROM trips";
pub const OTHER_SQL: &str = "INSERT INTO out SELECT fare + 1 AS fare FROM trips";

/// For [`answering`], SQL whose stage has another fingerprint.
pub const OTHER_SHAPE: &str = "INSERT INTO out SELECT fare FROM trips -- of another shape";

/// For [`answering`], SQL that has no plan.
pub const BAD_SQL: &str = "INSERT INTO out SELECT fair FROM trips";
const PROBLEM: &str = r#"{"problems": [{"resource": "StreamPipeline/fares", "path": "spec.sql", "line": 1, "column": 1, "message": "no column `fair`", "help": "did you mean fare?"}]}"#;

/// The plan of some SQL.
fn plan(sql: &str) -> PlanText {
    let spec = serde_json::from_value(pipeline(sql)).expect("a spec");
    let source: SourceSpec = serde_json::from_value(source()).expect("a spec");
    let sink: SinkSpec = serde_json::from_value(json!({"blackhole": {}})).expect("a spec");
    let written = Written {
        namespace: "shop".to_owned(),
        name: "fares".to_owned(),
        spec,
        sources: [("trips".to_owned(), source)].into(),
        sinks: [("out".to_owned(), sink)].into(),
        ..Written::default()
    };
    PlanText::new(&written, 8)
}

pub fn plan_hash(sql: &str) -> String {
    plan(sql).hash
}

/// Answers of the check, which is a process of its own and not what is tested here.
fn checks(metrics: &Arc<Metrics>) -> Checks {
    let checks = Checks::new("/nonexistent/thalweg".into(), Arc::clone(metrics));
    for sql in [SQL, OTHER_SQL] {
        let stage = Stage {
            id: 0,
            kind: StageKind::Stateless,
            statement: 0,
            sink: "out".to_owned(),
            text: "t".to_owned(),
            sources: vec!["trips".to_owned()],
            fingerprint: "f".to_owned(),
        };
        checks.remember(&plan_hash(sql), Checked::Stages(vec![stage]));
    }
    checks
}

/// A program that answers every check alike, but for the fingerprint of [`OTHER_SHAPE`] and the problem of [`BAD_SQL`].
fn answering(answer: &'static str) -> PathBuf {
    static SCRIPT: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let path = std::env::temp_dir().join(format!("thalweg-check-{}", std::process::id()));
        let other = answer.replace(r#""fingerprint": "f""#, r#""fingerprint": "g""#);
        let case = |part: &str, answer: &str| format!("*'{part}'*) printf '%s\\n' '{answer}';;");
        let cases = [("of another shape", other.as_str()), ("fair FROM", PROBLEM), ("", answer)];
        let cases = cases.map(|(part, answer)| case(part, answer)).join("\n");
        let script = format!("while read -r plan; do\ncase \"$plan\" in\n{cases}\nesac\ndone");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
        path
    };
    SCRIPT.get_or_init(write).clone()
}

/// What the chart says.
#[derive(Clone, Copy)]
pub struct Chart {
    pub image: &'static str,
    pub max_rollouts: u16,
    /// The operator's key, and that which is to take its place, among [`KEYS`].
    pub key: usize,
    pub next_key: Option<usize>,
}

/// Keys that an operator may have.
pub static KEYS: LazyLock<[Identity; 2]> = LazyLock::new(|| [(); 2].map(|()| Identity::generate().expect("a key")));

impl Chart {
    pub const USUAL: Self = Self { image: "thalweg:test", max_rollouts: 10, key: 0, next_key: None };
}

fn parts(
    api: &FakeApi,
    checks: Checks,
    metrics: &Arc<Metrics>,
    chart: Chart,
    page: Arc<Shown>,
    leadership: Leadership,
) -> Parts {
    Parts {
        client: api.client(),
        namespace: None,
        settings: Settings {
            worker_image: chart.image.to_owned(),
            image_pull_policy: None,
            installation: "5e1f".to_owned(),
            operator_namespace: "thalweg".to_owned(),
            operator_keys: [chart.key]
                .into_iter()
                .chain(chart.next_key)
                .map(|key| KEYS[key].fingerprint().to_string())
                .collect(),
            metrics_from: r#"[{"namespaceSelector": {}}]"#.parse::<Peers>().expect("peers").0,
        },
        identity: KEYS[chart.key].clone(),
        checks: Arc::new(checks),
        metrics: Arc::clone(metrics),
        tally: Arc::new(Tally::default()),
        page,
        leadership,
        concurrency: 4,
        rollouts: Arc::new(Rollouts::new(chart.max_rollouts)),
        instance: "operator-0".to_owned(),
        seed: 7,
    }
}

async fn operate(api: FakeApi, checks: Checks, metrics: Arc<Metrics>, chart: Chart, page: Arc<Shown>) {
    let parts = parts(&api, checks, &metrics, chart, page, Leadership::uncontested());
    Started::new(parts).await.expect("caches").run().await;
}

/// The operator's parts under a leadership that may be over.
pub fn led(api: &FakeApi, metrics: &Arc<Metrics>, leadership: Leadership) -> Parts {
    parts(api, checks(metrics), metrics, Chart::USUAL, Arc::default(), leadership)
}

/// A replica that waits for its turn.
struct Standby {
    turn: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Cluster {
    /// Starts a cluster.
    pub fn start(api: FakeApi) -> Self {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let checks = checks(&metrics);
        Self::with(api, checks, metrics)
    }

    /// Starts a cluster in which the check of any SQL gives this answer.
    pub fn start_with(api: FakeApi, answer: &'static str) -> Self {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let checks = Checks::new(answering(answer), Arc::clone(&metrics));
        Self::with(api, checks, metrics)
    }

    fn with(api: FakeApi, checks: Checks, metrics: Arc<Metrics>) -> Self {
        let page = Arc::<Shown>::default();
        let operator = operate(api.clone(), checks, Arc::clone(&metrics), Chart::USUAL, Arc::clone(&page));
        Self::operated_by(api, metrics, page, tokio::spawn(operator))
    }

    /// Starts a cluster in which others operate.
    pub fn start_alone(api: FakeApi) -> Self {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        Self::operated_by(api, metrics, Arc::default(), tokio::spawn(std::future::pending()))
    }

    fn operated_by(api: FakeApi, metrics: Arc<Metrics>, page: Arc<Shown>, operator: JoinHandle<()>) -> Self {
        let kubelet = tokio::spawn(kubelet::run(api.clone()));
        Self { kubelet, operator, others: JoinSet::new(), standby: None, metrics, api, page }
    }

    /// The operator dies, with all that it was about to do.
    pub async fn stop_operator(&mut self) {
        let operator = std::mem::replace(&mut self.operator, tokio::spawn(std::future::pending()));
        operator.abort();
        // Cancelled, which is what was asked for.
        let _ = operator.await;
    }

    /// The operator dies and another one starts, which knows nothing.
    pub fn restart_operator(&mut self) {
        self.operator.abort();
        self.operator = tokio::spawn(operate(
            self.api.clone(),
            checks(&self.metrics),
            Arc::clone(&self.metrics),
            Chart::USUAL,
            Arc::default(),
        ));
    }

    /// The chart is upgraded: another operator, for which the check of any SQL gives this answer.
    pub async fn upgrade(&mut self, chart: Chart, answer: &'static str) {
        self.stop_operator().await;
        let checks = Checks::new(answering(answer), Arc::clone(&self.metrics));
        self.operator =
            tokio::spawn(operate(self.api.clone(), checks, Arc::clone(&self.metrics), chart, Arc::default()));
    }

    /// A second operator works at the same time: what an election that went wrong would be.
    pub fn add_operator(&mut self) {
        self.others.spawn(operate(
            self.api.clone(),
            checks(&self.metrics),
            Arc::clone(&self.metrics),
            Chart::USUAL,
            Arc::default(),
        ));
    }

    /// The same of a chart, for which the check of any SQL gives this answer.
    pub fn add_operator_of(&mut self, chart: Chart, answer: &'static str) {
        let checks = Checks::new(answering(answer), Arc::clone(&self.metrics));
        self.others.spawn(operate(self.api.clone(), checks, Arc::clone(&self.metrics), chart, Arc::default()));
    }

    /// Another replica fills its caches and waits for its turn.
    pub fn add_standby(&mut self) {
        let (turn, comes) = oneshot::channel();
        let parts = led(&self.api, &self.metrics, Leadership::uncontested());
        let task = tokio::spawn(async move {
            let mut started = Started::new(parts).await.expect("caches");
            tokio::select! {
                _ = comes => {}
                () = started.stand_by() => panic!("it waits until its turn comes"),
            }
            started.run().await;
        });
        self.standby = Some(Standby { turn, task });
    }

    /// It is the turn of the one that waits.
    pub fn take_over(&mut self) {
        let standby = self.standby.take().expect("somebody waits");
        self.operator.abort();
        standby.turn.send(()).expect("it waits");
        self.operator = standby.task;
    }

    /// Waits until the pipeline is so.
    pub async fn until(&self, what: &str, test: impl Fn(&Value) -> bool) -> Arc<Value> {
        self.within(PATIENCE, what, test).await
    }

    /// The same where it is to be so soon.
    pub async fn within(&self, limit: Duration, what: &str, test: impl Fn(&Value) -> bool) -> Arc<Value> {
        let found = timeout(limit, async {
            loop {
                let change = self.api.change();
                tokio::pin!(change);
                change.as_mut().enable();
                let pipeline = self.pipeline();
                if test(&pipeline) {
                    return pipeline;
                }
                change.await;
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| self.give_up(what, limit))
    }

    fn give_up(&self, what: &str, limit: Duration) -> ! {
        let all: Vec<_> = self.api.store().objects.values().map(|object| format!("{object:#}")).collect();
        panic!(
            "not {what} within {limit:?}, after {} looks: {:#?}\n{}\nlast of all: {:#}",
            self.looked(),
            self.api.writes(),
            all.join("\n"),
            self.pipeline()
        )
    }

    /// Waits for this, or until a fault kills the operator. Whether it was killed.
    pub async fn is_killed_before(&self, waited: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = self.api.killed() => true,
            () = waited => false,
        }
    }

    pub fn pipeline(&self) -> Arc<Value> {
        self.api.store().objects.get(&pipeline_key()).cloned().unwrap_or_default()
    }

    /// Waits until it runs the plan of some SQL, and nothing is left of another one.
    pub async fn until_running(&self, sql: &str) {
        self.until_workers(sql, 1).await;
    }

    /// Waits until so many workers run the plan of some SQL, and nothing is left of others.
    pub async fn until_workers(&self, sql: &str, workers: usize) {
        let hash = plan_hash(sql);
        let summary = format!("{workers}/{workers}");
        self.until("running", |pipeline| {
            let status = &pipeline["status"];
            condition(pipeline, "Ready") == "True"
                && condition(pipeline, "Reconciling") == "False"
                && condition(pipeline, "ConfigValid") == "True"
                && status["activePlan"] == *hash
                && status["workers"]["summary"] == *summary
                && self.is_tidy(workers)
        })
        .await;
    }

    /// Whether there are so many workers, one plan, and no handoff that waits for an answer.
    pub fn is_tidy(&self, expected: usize) -> bool {
        let count = |kind: &str| kubelet::of_kind(&self.api, kind).len();
        let assignments = kubelet::of_kind(&self.api, kubelet::ASSIGNMENTS);
        let mut units = assignments.iter().flat_map(|assignment| assignment["spec"]["units"].as_array()).flatten();
        let workers = |assignment: &Value| assignment["spec"]["workers"].as_array().map_or(0, Vec::len);
        let tells = |kind: &str, name: &str| {
            let key = key(&format!("{GROUP}/{kind}"), name);
            self.api.store().objects.get(&key).is_some_and(|object| condition(object, "Ready") == "True")
        };
        count(kubelet::PODS) == expected
            && tells("streamsources", "trips")
            && tells("streamsinks", "out")
            && count("v1/configmaps") == 1
            && assignments.iter().all(|assignment| workers(assignment) == expected)
            && units.all(|unit| unit["previous"].is_null())
    }

    /// Waits until the operator has looked at the pipeline some times since now.
    pub async fn looks(&self, count: u64) {
        let (before, mut touches) = (self.looked(), 0);
        let waited = timeout(PATIENCE, async {
            while self.looked() < before + count {
                touches += 1;
                // Somebody's note on the pipeline: nothing of ours.
                self.api
                    .store()
                    .edit(&pipeline_key(), |p| p["metadata"]["annotations"]["note"] = touches.to_string().into());
                self.api.changed();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        waited.await.unwrap_or_else(|_| self.give_up(&format!("looked at {count} times more"), PATIENCE));
    }

    /// How often operators have looked at the pipeline to the end.
    fn looked(&self) -> u64 {
        let results = ["Unchanged", "Changed"];
        results.iter().map(|result| self.metrics.reconciles.with_label_values(&[result]).get()).sum()
    }

    /// Waits until an operator has heard a worker since now.
    pub async fn heard(&self) {
        let heard = || self.metrics.reports.with_label_values(&["Received"]).get();
        let before = heard();
        let waited = timeout(PATIENCE, async {
            while heard() == before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("a report");
    }

    /// Waits until so many requests were turned away for their tokens.
    pub async fn turned_away(&self, requests: usize) {
        let waited = timeout(PATIENCE, async {
            while self.api.turned_away() < requests {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.expect("requests that are turned away");
    }

    /// Everything that is there, without what differs from run to run.
    pub fn end_state(&self) -> BTreeMap<String, String> {
        let store = self.api.store();
        let ours = store.objects.iter().filter(|(key, _)| key.0 != kubelet::PODS);
        ours.map(|(key, object)| (format!("{}/{}", key.0, key.2), settled((**object).clone()))).collect()
    }

    /// How often each object was written, its status left out: that follows what the operator happens to see.
    pub fn writes(&self) -> BTreeMap<Write, usize> {
        let mut counts = BTreeMap::new();
        let writes = self.api.writes().into_iter().filter(|write| write.verb != "status");
        writes.for_each(|write| *counts.entry(write).or_insert(0) += 1);
        counts
    }
}

/// The status of a condition.
pub fn condition<'a>(pipeline: &'a Value, kind: &str) -> &'a str {
    let conditions = pipeline["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// The reason of a condition.
pub fn reason<'a>(pipeline: &'a Value, kind: &str) -> &'a str {
    let conditions = pipeline["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
}

/// The message of a condition.
pub fn message<'a>(pipeline: &'a Value, kind: &str) -> &'a str {
    let conditions = pipeline["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.and_then(|condition| condition["message"].as_str()).unwrap_or_default()
}

/// An object without versions, times and names that are made up.
fn settled(mut object: Value) -> String {
    for field in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
        object["metadata"][field] = Value::Null;
    }
    if let Some(numbers) = object["spec"]["numbers"].as_object_mut() {
        // Of the pipeline.
        numbers.insert("made".to_owned(), Value::Null);
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove("note");
        // It covers the owner's UID.
        annotations.shift_remove("thalweg.dev/applied");
    }
    for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
        condition["observedGeneration"] = Value::Null;
    }
    object["status"]["observedGeneration"] = Value::Null;
    object["spec"]["renewTime"] = Value::Null;
    // A field that was gone for a while stands at the end.
    object.sort_all_objects();
    let text = format!("{object:#}");
    let mut parts = text.split("uid-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "uid" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
