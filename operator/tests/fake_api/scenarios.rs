//! What a pipeline comes through beside new SQL, with a fault at its writes: deletion with its state, or where it cannot be read, a
//! start from scratch, a roll-out of another image, sleep and waking up, the end of all input. Each ends as an undisturbed run
//! does.
//!
//! `THALWEG_FAULT='Delete KillAfter@3+LateWatches'` runs one of the plans again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::crashes::{EDITS, FaultPlan, Hardship, Run, assert_same, foreign_edit};
use crate::fake::{FakeApi, Fault, Weather};
use crate::harness::{Chart, Cluster, SQL, condition, key, message, pipeline, pipeline_key, resources_of};
use crate::kubelet::{ASSIGNMENTS, DEPLOYMENTS, JOBS, PODS, is_lookout, of_kind};
use crate::mutations::CHECK;
use crate::plans::{chosen, run_all};

/// Runs at once: those that sleep wait for most of their time.
const AT_ONCE: usize = 40;
/// Plans of a scenario, of all that there would be.
const MOST: usize = 32;
const NEXT: &str = "thalweg:next";
/// Records a second that come, and that a worker does.
const LOAD: (f64, f64) = (40.0, 500.0);
/// Conditions that say where it stands; others follow what the operator happens to have heard.
const STANDING: [&str; 6] = ["Ready", "Reconciling", "Stalled", "ConfigValid", "Paused", "Complete"];

/// What a pipeline comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// It sleeps as nothing comes, and is woken. It takes longest, so it begins first.
    Sleep,
    /// It is deleted, and its state with it.
    Delete,
    /// It is deleted, and of a version that cannot be read: its state stays.
    DeleteUnread,
    /// It is started from scratch.
    Restart,
    /// The installation has another image.
    Image,
    /// Its sources end.
    Complete,
}

impl Scenario {
    const ALL: [Self; 6] = [Self::Sleep, Self::Delete, Self::DeleteUnread, Self::Restart, Self::Image, Self::Complete];

    /// Whether the pipeline is deleted, and was to go with its state.
    fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::DeleteUnread)
    }

    /// What the installation is in the end.
    fn chart(self) -> Chart {
        match self {
            Self::Image => Chart { image: NEXT, ..Chart::USUAL },
            _ => Chart::USUAL,
        }
    }

    /// What goes wrong beside a kill.
    fn hardships(self) -> Vec<Hardship> {
        let mut all = vec![Hardship::LateWatches, Hardship::HiddenEvents, Hardship::ExpiredWatches];
        // Each of two leaders would have its own memory of the load.
        all.extend((self != Self::Sleep).then_some(Hardship::TwoOperators));
        // Where nobody works any more, nobody needs what was edited of the assignment.
        all.extend((self != Self::Complete).then_some(Hardship::ForeignEdit));
        all
    }

    /// Writes that may be more or fewer than in an undisturbed run.
    fn slack(self, also: Option<Hardship>) -> usize {
        let of_scenario = match self {
            // Who is killed while it falls asleep leaves one that is awake, and falls asleep again.
            Self::Sleep => 4,
            _ => 0,
        };
        let of_hardship = match also {
            // Each of them may write what the other has not seen yet.
            Some(Hardship::TwoOperators) => 2,
            // What was changed is written once more.
            Some(Hardship::ForeignEdit) => 1,
            _ => 0,
        };
        of_scenario + of_hardship
    }

    /// A pipeline that runs.
    async fn begin(self, api: FakeApi) -> Cluster {
        let cluster = Cluster::start_with(api, CHECK);
        let mut spec = pipeline(SQL);
        match self {
            Self::Sleep => {
                cluster.api.set_load(LOAD.0, LOAD.1, 0);
                spec["scaling"] = json!({"minWorkers": 0, "maxWorkers": 2, "zeroAfter": "10s"});
            }
            Self::Delete | Self::DeleteUnread | Self::Restart => {
                spec["state"] = json!({"url": "s3://bucket/prefix"});
                spec["deletionPolicy"] = if self.deletes() { "Delete" } else { "Retain" }.into();
            }
            Self::Image | Self::Complete => {}
        }
        resources_of(&cluster.api, spec);
        let is_marked = |pipeline: &Value| pipeline["metadata"]["finalizers"].is_array() == self.deletes();
        cluster.until("running at first", |pipeline| runs(&cluster, pipeline) && is_marked(pipeline)).await;
        cluster.looks(3).await;
        cluster.until("still running", |pipeline| runs(&cluster, pipeline)).await;
        cluster
    }

    /// What somebody does, or what happens.
    async fn act(self, cluster: &mut Cluster) {
        match self {
            Self::Sleep => cluster.api.set_load(0.0, LOAD.1, 0),
            Self::Delete | Self::DeleteUnread => {
                // One that cannot be read waits ten minutes for an operator that can.
                let long =
                    if self == Self::DeleteUnread { SignedDuration::from_mins(11) } else { SignedDuration::ZERO };
                let since = (Timestamp::now() - long).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                edit(cluster, |pipeline| {
                    pipeline["metadata"]["deletionTimestamp"] = since.into();
                    if self == Self::DeleteUnread {
                        pipeline["spec"]["paused"] = "of another version".into();
                    }
                });
            }
            Self::Restart => edit(cluster, |pipeline| pipeline["spec"]["restart"] = json!({"nonce": "again"})),
            Self::Image => cluster.upgrade(self.chart(), CHECK).await,
            Self::Complete => cluster.api.end_sources(),
        }
    }

    /// Waits for the end, and does what is due before it. It may be begun again at any point.
    async fn ends(self, cluster: &Cluster) {
        match self {
            Self::Sleep => {
                if cluster.api.load().is_some_and(|load| load.arrivals == 0.0) {
                    cluster.until("asleep", |pipeline| sleeps(cluster, pipeline)).await;
                    cluster.api.set_load(LOAD.0, LOAD.1, 0);
                }
                cluster.until("awake", |pipeline| runs(cluster, pipeline)).await;
            }
            Self::Delete => {
                let job = key(JOBS, "fares-remove-state");
                let has_come = |pipeline: &Value| pipeline.is_null() || cluster.api.store().objects.contains_key(&job);
                cluster.until("with its Job", has_come).await;
                let done = json!({"conditions": [{"type": "Complete", "status": "True"}]});
                cluster.api.store().edit(&job, |job| job["status"] = done);
                cluster.api.changed();
                cluster.until("gone", |_| is_gone(cluster)).await;
            }
            Self::DeleteUnread => drop(cluster.until("gone", |_| is_gone(cluster)).await),
            Self::Restart => {
                let count = || assignment(cluster)["spec"]["incarnations"][0]["incarnation"].clone();
                cluster.until("started anew", |pipeline| count() == 1 && runs(cluster, pipeline)).await;
            }
            Self::Image => {
                let image = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
                let is_next = || of_kind(&cluster.api, PODS).iter().all(|pod| image(pod) == NEXT);
                cluster.until("of the next image", |pipeline| is_next() && runs(cluster, pipeline)).await;
            }
            Self::Complete => {
                let is_over = |pipeline: &Value| {
                    condition(pipeline, "Complete") == "True"
                        && pipeline["status"]["phase"] == "Completed"
                        && condition(pipeline, "Reconciling") == "False"
                        && of_kind(&cluster.api, PODS).is_empty()
                };
                cluster.until("complete", is_over).await;
            }
        }
    }

    /// The end, and a while after it.
    async fn settled(self, cluster: &Cluster) {
        self.ends(cluster).await;
        if !self.deletes() {
            cluster.looks(3).await;
            self.ends(cluster).await;
        }
    }
}

fn edit(cluster: &Cluster, edit: impl FnOnce(&mut Value)) {
    cluster.api.store().edit(&pipeline_key(), edit);
    cluster.api.changed();
}

fn assignment(cluster: &Cluster) -> Arc<Value> {
    cluster.api.store().objects.get(&key(ASSIGNMENTS, "fares")).cloned().unwrap_or_default()
}

/// Whether one worker runs all of it as it is written, and nothing is left of what was before.
fn runs(cluster: &Cluster, pipeline: &Value) -> bool {
    let (assignment, status) = (assignment(cluster), &pipeline["status"]);
    let is = |kind: &str| condition(pipeline, kind) == "True";
    (is("Ready") && is("ConfigValid") && condition(pipeline, "Reconciling") == "False")
        && status["observedGeneration"] == pipeline["metadata"]["generation"]
        && status["activePlan"] == assignment["spec"]["plan"]
        && status["workers"]["summary"] == "1/1"
        && assignment["spec"]["splits"][0]["split"] == "0"
        && of_kind(&cluster.api, PODS).iter().all(|pod| !is_lookout(pod))
        && cluster.is_tidy(1)
}

fn sleeps(cluster: &Cluster, pipeline: &Value) -> bool {
    let pods = of_kind(&cluster.api, PODS);
    pipeline["status"]["phase"] == "Idle" && pods.len() == 1 && is_lookout(&pods[0])
}

/// Whether nothing is left of the pipeline, and its source and its sink say so.
fn is_gone(cluster: &Cluster) -> bool {
    let used = [("streamsources", "trips"), ("streamsinks", "out")];
    let used = used.map(|(kind, name)| key(&format!("thalweg.dev/v1alpha1/{kind}"), name));
    let store = cluster.api.store();
    store
        .objects
        .iter()
        .all(|(key, object)| used.contains(key) && message(object, "Ready") == "no StreamPipeline names it")
}

/// All that there is; of the pipeline's status where it stands.
fn end_state(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut end = cluster.end_state();
    let pipeline = cluster.pipeline();
    let stands = STANDING.map(|kind| condition(&pipeline, kind).to_owned());
    let told = (stands, pipeline["status"]["phase"].clone(), pipeline["status"]["activePlan"].clone());
    if let Some(text) = end.get_mut(&format!("{}/fares", pipeline_key().0)) {
        *text = format!("{}\n{told:?}", pipeline["spec"]);
    }
    end
}

/// One scenario, and what goes wrong in it; its writes are counted from the moment at which it begins.
#[derive(Clone, Copy)]
struct Plan(Scenario, FaultPlan);

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0, self.1)
    }
}

impl Plan {
    /// Of all of a scenario with so many writes, some that are spread over its writes and over what may go wrong.
    fn of(scenario: Scenario, writes: usize) -> Vec<Self> {
        let together = scenario.hardships().into_iter().map(|also| (Fault::KillAfter, Some(also)));
        let kinds: Vec<_> = Fault::ALL.into_iter().map(|fault| (fault, None)).chain(together).collect();
        let of_write = |number| kinds.iter().map(move |(fault, also)| (number, *fault, *also)).collect::<Vec<_>>();
        let all: Vec<_> = (0..writes).flat_map(of_write).collect();
        let plan = |(number, fault, also)| Self(scenario, FaultPlan { fault, number, also });
        // All can be run again by their names.
        let most = if std::env::var("THALWEG_FAULT").is_ok() { all.len() } else { MOST };
        spread(&all, most).into_iter().map(plan).collect()
    }
}

/// So many of some, by steps that meet each of them once before they meet one again.
fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let step = (all.len() * 5 / 8..).find(|step| is_coprime(*step, all.len())).unwrap_or(1);
    (0..all.len().min(most)).map(|number| all[number * step % all.len()]).collect()
}

fn is_coprime(mut a: usize, mut b: usize) -> bool {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

async fn run(scenario: Scenario, plan: Option<FaultPlan>) -> Run {
    let also = plan.and_then(|plan| plan.also);
    let mut cluster =
        scenario.begin(FakeApi::with_weather(also.map_or_else(Weather::default, Hardship::weather))).await;
    let (first, before) = (cluster.api.asked(), cluster.writes());
    if let Some(plan) = plan {
        cluster.api.add_fault(first + plan.number, plan.fault);
    }
    scenario.act(&mut cluster).await;
    if also == Some(Hardship::TwoOperators) {
        cluster.add_operator_of(scenario.chart(), CHECK);
    }
    for _ in 0..plan.map_or(1, FaultPlan::rounds) {
        while cluster.is_killed_before(scenario.settled(&cluster)).await {
            cluster.stop_operator().await;
            if let Some(FaultPlan { also: Some(Hardship::ForeignEdit), number, .. }) = plan {
                // Of what is there only meanwhile; all other objects are edited where SQL changes.
                foreign_edit(&cluster.api, &EDITS[10..], number);
                cluster.api.changed();
            }
            cluster.upgrade(scenario.chart(), CHECK).await;
        }
    }
    let mut writes = cluster.writes();
    for (write, count) in before {
        if let Some(now) = writes.get_mut(&write) {
            *now -= count;
        }
    }
    writes.retain(|_, count| *count > 0);
    Run { end: end_state(&cluster), writes, asked: cluster.api.asked() - first }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_pipeline_comes_through_a_fault_at_any_write_changes_neither_the_end_nor_what_is_written() {
    let undisturbed = Scenario::ALL.map(|scenario| run(scenario, None));
    let expected: Arc<Vec<Run>> = Arc::new(join_all(undisturbed).await);
    let mut plans = Vec::new();
    for (scenario, run) in Scenario::ALL.into_iter().zip(expected.iter()) {
        let of = Plan::of(scenario, run.asked);
        println!("{scenario:?}: {} writes in an undisturbed run, {} fault plans", run.asked, of.len());
        assert!(run.asked >= 3, "{scenario:?} writes too little to mean anything: {:#?}", run.writes);
        plans.extend(of);
    }
    let checked = |Plan(scenario, plan)| {
        let expected = Arc::clone(&expected);
        async move {
            let found = run(scenario, Some(plan)).await;
            let expected = &expected[Scenario::ALL.iter().position(|it| *it == scenario).expect("one of them")];
            assert_same(&found, expected, &Plan(scenario, plan).to_string(), scenario.slack(plan.also));
        }
    };
    run_all("whatever_a_pipeline_comes_through", chosen(plans), AT_ONCE, checked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_of_a_lookout_is_restored() {
    let mut cluster = Scenario::Sleep.begin(FakeApi::default()).await;
    Scenario::Sleep.act(&mut cluster).await;
    cluster.until("asleep", |pipeline| sleeps(&cluster, pipeline)).await;
    let lookout = || {
        let all = of_kind(&cluster.api, DEPLOYMENTS);
        all.into_iter().find(|it| it["metadata"]["name"] != "fares").expect("a lookout")
    };
    let (before, name) = (lookout()["spec"].clone(), lookout()["metadata"]["name"].clone());
    let lookout_key = key(DEPLOYMENTS, name.as_str().expect("a name"));
    cluster.api.store().edit(&lookout_key, |lookout| {
        lookout["spec"]["replicas"] = 0.into();
        lookout["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody:else".into();
    });
    cluster.api.changed();
    cluster.until("restored", |pipeline| lookout()["spec"] == before && sleeps(&cluster, pipeline)).await;
}
