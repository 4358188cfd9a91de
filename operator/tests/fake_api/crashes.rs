//! Each write, met by each fault, alone and together with something else that goes wrong: the end is that of an undisturbed
//! run, and so is what was written on the way.
//!
//! `THALWEG_FAULT=KillAfter@17+LateWatches` runs one of the plans again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{FakeApi, Fault, Key, Weather, Write};
use crate::harness::{Cluster, OTHER_SQL, SQL, condition, key, pipeline, pipeline_key, put, resources};
use crate::kubelet::{self, ASSIGNMENTS, DEPLOYMENTS, LEASES};
use crate::plans::{chosen, run_all};

/// Runs at once: most of each is waiting for reports.
const AT_ONCE: usize = 24;

/// Requests of an operator that starts and whose token is refused: each of its watches asks once, and some of them once more.
const OF_A_START: usize = 20;
/// Requests of one that runs: each look of a pipeline ends with the first of them.
const OF_LOOKS: usize = 3;

/// What else goes wrong where the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardship {
    /// Watches are late.
    LateWatches,
    /// Some events are never told: watches stand still for a while, and then have to begin anew.
    HiddenEvents,
    /// Watches are told that their version is too old.
    ExpiredWatches,
    /// A second operator works at the same time.
    TwoOperators,
    /// The next write meets another fault.
    Then(Fault),
    /// Somebody changes an object of ours before the next operator starts.
    ForeignEdit,
    /// The pipeline is deleted before the next operator starts, and made again later.
    Deletion,
    /// Workers answer nobody until the next operator has looked.
    MuteWorkers,
    /// The token of the next operator is refused for a while, whatever it asks for.
    RefusedToken,
    /// The next operator has waited for its turn since before anything was there.
    Standby,
}

impl Hardship {
    const ALL: [Self; 14] = [
        Self::LateWatches,
        Self::HiddenEvents,
        Self::ExpiredWatches,
        Self::TwoOperators,
        Self::Then(Fault::Refuse(409)),
        Self::Then(Fault::Refuse(429)),
        Self::Then(Fault::Refuse(500)),
        Self::Then(Fault::Refuse(503)),
        Self::Then(Fault::LoseAnswer),
        Self::ForeignEdit,
        Self::Deletion,
        Self::MuteWorkers,
        Self::RefusedToken,
        Self::Standby,
    ];

    /// What is wrong with watches.
    pub fn weather(self) -> Weather {
        let (lag, hidden) = (Duration::from_millis(400), Duration::from_millis(300));
        match self {
            Self::LateWatches => Weather { lag, ..Weather::default() },
            Self::HiddenEvents => Weather { expires_after: Some(3), silent_for: hidden, ..Weather::default() },
            Self::ExpiredWatches => Weather { expires_after: Some(2), ..Weather::default() },
            _ => Weather::default(),
        }
    }
}

/// What goes wrong in one run.
#[derive(Clone, Copy)]
pub struct FaultPlan {
    pub fault: Fault,
    /// Of the write that meets it.
    pub number: usize,
    pub also: Option<Hardship>,
}

impl FaultPlan {
    /// All of a run with so many writes.
    fn all(writes: usize) -> Vec<Self> {
        let alone = Fault::ALL.into_iter().map(|fault| (fault, None));
        let together = Hardship::ALL.into_iter().map(|also| (Fault::KillAfter, Some(also)));
        let plan =
            |(fault, also): (Fault, Option<Hardship>)| (0..writes).map(move |number| Self { fault, number, also });
        alone.chain(together).flat_map(plan).collect()
    }

    fn api(self) -> FakeApi {
        let api = FakeApi::with_weather(self.also.map(Hardship::weather).unwrap_or_default());
        api.add_fault(self.number, self.fault);
        if let Some(Hardship::Then(fault)) = self.also {
            api.add_fault(self.number + 1, fault);
        }
        api
    }

    /// How often the end is waited for: some writes are due only a while after what a user waits for, and a kill may come at any
    /// of them.
    pub fn rounds(self) -> usize {
        if self.fault.kills() { 2 } else { 1 }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.fault, self.number)?;
        self.also.map_or(Ok(()), |also| write!(f, "+{also:?}"))
    }
}

/// How a run ended, and what was written on the way.
pub struct Run {
    pub end: BTreeMap<String, String>,
    pub writes: BTreeMap<Write, usize>,
    /// Writes that were asked for.
    pub asked: usize,
}

/// From nothing to running, on to other SQL, and to the end of all work.
async fn run(api: FakeApi) -> Run {
    run_in(Cluster::start(api), None).await
}

async fn run_in(mut cluster: Cluster, faults: Option<FaultPlan>) -> Run {
    resources(&cluster.api);
    go_on(&mut cluster, faults).await;
    if faults.is_some_and(|plan| plan.also == Some(Hardship::TwoOperators)) {
        // The one of them that knows less may speak last, and hears the workers after that.
        cluster.until_running(OTHER_SQL).await;
    }
    Run { end: cluster.end_state(), writes: cluster.writes(), asked: cluster.api.asked() }
}

/// To running, and on to other SQL.
async fn go_on(cluster: &mut Cluster, faults: Option<FaultPlan>) {
    for sql in [SQL, OTHER_SQL] {
        edit_sql(cluster, sql);
        for _ in 0..faults.map_or(1, FaultPlan::rounds) {
            while cluster.is_killed_before(settled(cluster, sql)).await {
                let plan = faults.expect("only a fault kills");
                begin_again(cluster, plan).await;
                if plan.also == Some(Hardship::Deletion) {
                    return;
                }
            }
        }
    }
}

/// What happens from the operator's death on until another one works as the one before did.
async fn begin_again(cluster: &mut Cluster, plan: FaultPlan) {
    cluster.stop_operator().await;
    meanwhile(cluster, plan);
    match plan.also {
        Some(Hardship::Standby) => cluster.take_over(),
        _ => cluster.restart_operator(),
    }
    match plan.also {
        Some(Hardship::MuteWorkers) => {
            cluster.looks(1).await;
            cluster.api.mute(false);
        }
        Some(Hardship::RefusedToken) => {
            cluster.turned_away(OF_A_START).await;
            cluster.api.refuse_tokens(false);
        }
        Some(Hardship::Deletion) => {
            until_gone(cluster).await;
            put(&cluster.api, "StreamPipeline", "fares", pipeline(SQL));
            settled(cluster, SQL).await;
            edit_sql(cluster, OTHER_SQL);
            settled(cluster, OTHER_SQL).await;
        }
        _ => {}
    }
}

async fn settled(cluster: &Cluster, sql: &str) {
    cluster.until_running(sql).await;
    // An operator that has just started leaves what was told, though it has not heard the workers.
    cluster.looks(3).await;
}

fn edit_sql(cluster: &Cluster, sql: &str) {
    cluster.api.store().edit(&pipeline_key(), |pipeline: &mut Value| pipeline["spec"]["sql"] = sql.into());
    cluster.api.changed();
}

/// What happens while no operator runs.
fn meanwhile(cluster: &Cluster, plan: FaultPlan) {
    match plan.also {
        Some(Hardship::ForeignEdit) => foreign_edit(&cluster.api, &EDITS, plan.number),
        Some(Hardship::Deletion) => drop(cluster.api.store().delete(&pipeline_key(), &Value::Null)),
        Some(Hardship::MuteWorkers) => cluster.api.mute(true),
        Some(Hardship::RefusedToken) => cluster.api.refuse_tokens(true),
        _ => {}
    }
    cluster.api.changed();
}

/// Waits until nothing is left of the pipeline, and its source says so.
async fn until_gone(cluster: &Cluster) {
    let ours = |(kind, _, _): &Key| !kind.ends_with("/streamsources") && !kind.ends_with("/streamsinks");
    let source = key("thalweg.dev/v1alpha1/streamsources", "trips");
    let is_gone = |_: &Value| {
        let store = cluster.api.store();
        let status = condition(&store.objects[&source], "Ready");
        !store.objects.keys().any(ours) && (status == "Unknown" || status.is_empty())
    };
    cluster.until("gone", is_gone).await;
}

/// What somebody else does to an object.
pub type Edit = fn(&mut Value);

/// Objects of the pipeline by kind and by how their names begin, and another's hand on each: on a field, a label, or its owner.
pub const EDITS: [(&str, &str, Edit); 13] = [
    (DEPLOYMENTS, "fares", |o| o["spec"]["revisionHistoryLimit"] = 9.into()),
    ("rbac.authorization.k8s.io/v1/roles", "fares", |o| o["rules"] = json!([])),
    ("rbac.authorization.k8s.io/v1/rolebindings", "fares", |o| o["subjects"] = json!([])),
    ("networking.k8s.io/v1/networkpolicies", "fares", |o| o["spec"]["ingress"] = json!([{}])),
    ("v1/services", "fares", |o| o["spec"]["selector"] = json!({"app.kubernetes.io/name": "another"})),
    ("policy/v1/poddisruptionbudgets", "fares", |o| o["metadata"]["ownerReferences"] = json!([])),
    ("v1/serviceaccounts", "fares", |o| o["metadata"]["labels"] = json!({})),
    ("v1/configmaps", "fares", |o| o["metadata"]["annotations"] = json!({})),
    (LEASES, "fares", |o| o["metadata"]["labels"] = json!({})),
    (ASSIGNMENTS, "fares", |o| o["metadata"]["labels"] = json!({})),
    (ASSIGNMENTS, "fares", |o| o["spec"]["enumerators"] = json!([])),
    (DEPLOYMENTS, "fares-lookout-", |o| o["spec"]["revisionHistoryLimit"] = 9.into()),
    ("batch/v1/jobs", "fares-remove-state", |o| o["metadata"]["labels"] = json!({})),
];

/// Does one of these edits, of those whose object is there.
pub fn foreign_edit(api: &FakeApi, edits: &[(&str, &str, Edit)], number: usize) {
    let present = edits.iter().filter_map(|(kind, name, edit)| {
        let is_it = |object: &Arc<Value>| object["metadata"]["name"].as_str().is_some_and(|it| it.starts_with(name));
        let object = kubelet::of_kind(api, kind).into_iter().find(is_it)?;
        Some((kubelet::key(kind, &object), edit))
    });
    let present: Vec<_> = present.collect();
    if let Some((key, edit)) = present.get(number % present.len().max(1)) {
        api.store().edit(key, edit);
    }
}

/// Bookkeeping of the assignment that may come in one write or in two: that a handoff was answered, and that a worker left.
const BOOKKEEPING: usize = 2;

/// Asserts that two runs have ended alike with as many writes, but for `slack` of them.
pub fn assert_same(found: &Run, expected: &Run, what: &str, slack: usize) {
    let writes: BTreeSet<_> = found.writes.keys().chain(expected.writes.keys()).collect();
    let mut more = 0;
    for write in writes {
        let counts = [found, expected].map(|run| run.writes.get(write).copied().unwrap_or_default());
        // How often units changed hands is in their epochs, which the end state holds.
        let bookkeeping = if write.kind == ASSIGNMENTS && write.verb == "update" { BOOKKEEPING } else { 0 };
        let differ = counts[0].abs_diff(counts[1]);
        if differ > bookkeeping {
            more += differ;
            assert!(more <= slack, "{what}: {write:?} {} times, not {}", counts[0], counts[1]);
        }
    }
    assert_same_end(found, expected, what);
}

fn assert_same_end(found: &Run, expected: &Run, what: &str) {
    for (name, object) in &expected.end {
        assert_eq!(found.end.get(name), Some(object), "{what}: {name}");
    }
    assert_eq!(found.end.len(), expected.end.len(), "{what}: objects");
}

async fn check(plan: FaultPlan, expected: &Run) {
    let mut cluster = Cluster::start(plan.api());
    if plan.also == Some(Hardship::TwoOperators) {
        cluster.add_operator();
    }
    if plan.also == Some(Hardship::Standby) {
        cluster.add_standby();
    }
    let found = run_in(cluster, Some(plan)).await;
    match plan.also {
        // All is made twice.
        Some(Hardship::Deletion) => assert_same_end(&found, expected, &plan.to_string()),
        // What was changed is written once more.
        Some(Hardship::ForeignEdit) => assert_same(&found, expected, &plan.to_string(), 1),
        _ => assert_same(&found, expected, &plan.to_string(), 0),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_write_changes_neither_the_end_nor_what_is_written() {
    let expected = Arc::new(run(FakeApi::default()).await);
    let plans = FaultPlan::all(expected.asked);
    println!("{} writes in an undisturbed run", expected.asked);
    assert!(plans.len() >= 500, "{} fault plans are too few to mean anything", plans.len());
    let checked = |plan| {
        let expected = Arc::clone(&expected);
        async move { check(plan, &expected).await }
    };
    run_all("a_fault_at_any_write", chosen(plans), AT_ONCE, checked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_that_are_late_lead_to_no_second_write_and_no_second_epoch() {
    let expected = run(FakeApi::default()).await;
    for milliseconds in [100, 400, 1_500] {
        let weather = Weather { lag: Duration::from_millis(milliseconds), ..Weather::default() };
        let found = run(FakeApi::with_weather(weather)).await;
        assert_same(&found, &expected, &format!("watches {milliseconds} ms late"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_expire_again_and_again_change_nothing() {
    let expected = run(FakeApi::default()).await;
    for events in [1, 2, 5] {
        let weather = Weather { expires_after: Some(events), ..Weather::default() };
        let found = run(FakeApi::with_weather(weather)).await;
        assert_same(&found, &expected, &format!("watches that expire after {events} events"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_token_is_refused_for_a_while_goes_on_where_it_was() {
    let expected = run(FakeApi::default()).await;
    let cluster = Cluster::start(FakeApi::default());
    resources(&cluster.api);
    settled(&cluster, SQL).await;
    cluster.api.refuse_tokens(true);
    edit_sql(&cluster, OTHER_SQL);
    cluster.turned_away(OF_LOOKS).await;
    let failed = cluster.metrics.reconciles.with_label_values(&["ApiRequestFailed"]).get();
    assert!(failed > 0, "it was told of the edit, and could write nothing");
    cluster.api.refuse_tokens(false);
    settled(&cluster, OTHER_SQL).await;
    let found = Run { end: cluster.end_state(), writes: cluster.writes(), asked: cluster.api.asked() };
    assert_same(&found, &expected, "a token that is refused", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_end_where_one_does_with_the_same_epochs() {
    let expected = run(FakeApi::default()).await;
    let mut cluster = Cluster::start(FakeApi::default());
    cluster.add_operator();
    let found = run_in(cluster, None).await;
    assert_same_end(&found, &expected, "two operators");
}
