//! Several workers and a fault at each write: however it went, all units are owned by workers that live, splits are where
//! they were, and then nothing is written.
//!
//! `THALWEG_FAULT=KillAfter@17` runs one of the plans again.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::fake::{FakeApi, Fault};
use crate::harness::{Cluster, OTHER_SQL, SQL, condition, pipeline_key, resources};
use crate::kubelet::{self, ASSIGNMENTS, LEASES};
use crate::plans::{chosen, run_all};

/// Runs at once: most of each is waiting for reports.
const AT_ONCE: usize = 24;
const SPLITS: usize = 6;

/// What a user does, one after the other.
#[derive(Clone, Copy)]
enum Phase {
    Run(&'static str, usize),
    Pause,
}

const PHASES: [Phase; 6] = [
    Phase::Run(SQL, 1),
    Phase::Run(SQL, 3),
    Phase::Run(OTHER_SQL, 3),
    Phase::Run(OTHER_SQL, 2),
    Phase::Pause,
    Phase::Run(OTHER_SQL, 2),
];

fn edit(cluster: &Cluster, phase: Phase) {
    cluster.api.store().edit(&pipeline_key(), |pipeline: &mut Value| match phase {
        Phase::Pause => pipeline["spec"]["paused"] = true.into(),
        Phase::Run(sql, workers) => {
            pipeline["spec"]["sql"] = sql.into();
            pipeline["spec"]["paused"] = false.into();
            pipeline["spec"]["scaling"] = json!({"mode": "Manual", "workers": workers, "maxWorkers": 4});
        }
    });
    cluster.api.changed();
}

async fn reached(cluster: &Cluster, phase: Phase) {
    match phase {
        Phase::Run(sql, workers) => cluster.until_workers(sql, workers).await,
        Phase::Pause => {
            let is_paused = |p: &Value| {
                condition(p, "Paused") == "True" && kubelet::of_kind(&cluster.api, kubelet::PODS).is_empty()
            };
            cluster.until("paused", is_paused).await;
        }
    }
}

/// Waits until the end is reached, and for a while after it.
async fn at_rest(cluster: &Cluster) {
    reached(cluster, PHASES[PHASES.len() - 1]).await;
    cluster.looks(5).await;
}

/// Runs all phases; how many writes were asked for.
async fn run(api: FakeApi, what: &str) -> usize {
    let mut cluster = Cluster::start(api);
    cluster.api.find_splits(SPLITS);
    resources(&cluster.api);
    for phase in PHASES {
        edit(&cluster, phase);
        while cluster.is_killed_before(reached(&cluster, phase)).await {
            cluster.restart_operator();
        }
    }
    while cluster.is_killed_before(at_rest(&cluster)).await {
        cluster.restart_operator();
    }
    let asked = cluster.api.asked();
    cluster.looks(2).await;
    assert_eq!(cluster.api.asked(), asked, "{what}: {:#?}", cluster.api.writes());
    check_end(&cluster, what);
    asked
}

fn check_end(cluster: &Cluster, what: &str) {
    let assignment = kubelet::of_kind(&cluster.api, ASSIGNMENTS).remove(0);
    let spec = &assignment["spec"];
    let held: BTreeSet<String> = kubelet::of_kind(&cluster.api, LEASES)
        .iter()
        .filter(|lease| lease["spec"]["holderIdentity"].is_string())
        .filter_map(|lease| lease["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
    let splits: Vec<_> = list("splits").iter().map(|split| split["split"].as_str().map(str::to_owned)).collect();
    let expected: Vec<_> = (0..SPLITS).map(|split| Some(split.to_string())).collect();
    assert_eq!(splits, expected, "{what}");
    let is_live = |slot: &Value| slot.as_str().is_some_and(|slot| held.contains(slot));
    assert!(list("splits").iter().all(|split| is_live(&split["reader"])), "{what}: {spec:#}");
    assert_eq!(list("units").len(), SPLITS, "{what}");
    for (unit, split) in list("units").iter().zip(list("splits")) {
        assert_eq!(unit["owner"], split["reader"], "{what}: {spec:#}");
        // A unit moves at the most once a phase, and once more where a fault had it move back.
        assert!(unit["epoch"].as_u64().is_some_and(|epoch| epoch <= 2 * PHASES.len() as u64), "{what}: {spec:#}");
    }
}

/// What happens to the write of a number.
#[derive(Clone, Copy)]
struct FaultPlan(Fault, usize);

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.0, self.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_end_owning_everything_whatever_write_meets_whatever_fault() {
    let asked = run(FakeApi::default(), "undisturbed").await;
    let plans = (0..asked).flat_map(|number| Fault::ALL.into_iter().map(move |fault| FaultPlan(fault, number)));
    let plans: Vec<_> = plans.collect();
    println!("{asked} writes in an undisturbed run");
    assert!(plans.len() >= 340, "{} fault plans are too few to mean anything", plans.len());
    let checked = |plan: FaultPlan| async move {
        run(FakeApi::with_fault(plan.1, plan.0), &plan.to_string()).await;
    };
    run_all("several_workers", chosen(plans), AT_ONCE, checked).await;
}
