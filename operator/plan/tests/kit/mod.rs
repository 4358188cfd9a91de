//! A pipeline to try things with.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thalweg_crds::ids::{RunId, Slot, SplitId};
use thalweg_crds::report::{ListedSource, Report, UnitReport, WorkerState};
use thalweg_crds::scaling::ScalingMode;
use thalweg_operator_plan::check::{Checked, Stage, StageKind};
use thalweg_operator_plan::objects::{Owner, Settings};
use thalweg_operator_plan::observed::{Observed, Readiness, SlotLease, WorkerPod};
use thalweg_operator_plan::plan::{Plan, plan};
use thalweg_operator_plan::problem::Problem;
use thalweg_operator_plan::resources::Written;
use thalweg_operator_plan::validate::{ValidatedPipeline, draft, validate};

fn spec<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a spec")
}

/// Kafka to Kafka, by window.
pub fn written() -> Written {
    let columns = json!([{"name": "pickup_at", "type": "TIMESTAMP(3)"}, {"name": "zone", "type": "INT"}]);
    let source = json!({
        "kafka": {
            "brokers": ["kafka:9092"],
            "topic": "trips",
            "tls": {"caFrom": {"configMapKeyRef": {"name": "kafka-ca", "key": "ca.crt"}}},
            "sasl": {
                "mechanism": "ScramSha512", "username": "app",
                "passwordFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}},
            },
        },
        "schema": columns,
        "watermark": {"column": "pickup_at"},
    });
    let pipeline = json!({
        "sources": [{"name": "taxi-trips", "as": "trips"}],
        "sinks": [{"name": "pickups"}],
        "sql": "INSERT INTO pickups\nSELECT 1",
        "state": {"url": "s3://bucket/prefix"},
    });
    Written {
        namespace: "shop".to_owned(),
        name: "pickups-per-zone".to_owned(),
        spec: spec(pipeline),
        sources: [("taxi-trips".to_owned(), spec(source))].into(),
        sinks: [("pickups".to_owned(), spec(json!({"kafka": {"brokers": ["kafka:9092"], "topic": "pickups"}})))].into(),
        ..Written::default()
    }
}

/// What a check says of it.
pub fn stages() -> Checked {
    Checked::Stages(vec![Stage {
        id: 0,
        kind: StageKind::Windowed,
        statement: 0,
        sink: "pickups".to_owned(),
        text: "t".to_owned(),
        sources: vec!["trips".to_owned()],
        fingerprint: "f".to_owned(),
    }])
}

/// Validates what is written, with these stages.
pub fn validated(written: &Written, checked: &Checked) -> Result<ValidatedPipeline, Vec<Problem>> {
    validate(&draft(written, None)?, written, checked)
}

/// The pipeline.
pub fn pipeline() -> ValidatedPipeline {
    validated(&written(), &stages()).expect("it is valid")
}

/// A stage of windows.
pub fn keyed() -> Vec<Stage> {
    let Checked::Stages(stages) = stages() else { unreachable!("they are stages") };
    stages
}

/// A stage that takes rows as they come, from these sources.
pub fn stateless(sources: &[&str]) -> Vec<Stage> {
    let sources = sources.iter().map(|source| (*source).to_owned()).collect();
    let (sink, text, fingerprint) = ("pickups".to_owned(), "t".to_owned(), "f".to_owned());
    vec![Stage { id: 0, kind: StageKind::Stateless, statement: 0, sink, text, sources, fingerprint }]
}

/// The pipeline with other stages, for which so many workers are asked.
pub fn with_workers(stages: &[Stage], workers: i32) -> ValidatedPipeline {
    let mut pipeline = ValidatedPipeline { stages: stages.to_vec(), ..pipeline() };
    pipeline.scaling.mode = ScalingMode::Manual;
    pipeline.scaling.workers = Some(workers);
    pipeline.scaling.max_workers = workers;
    pipeline.key_groups = 8;
    pipeline
}

/// The resource that owns everything.
pub fn owner() -> Owner {
    Owner { name: "pickups-per-zone".to_owned(), uid: "0f3c".to_owned() }
}

/// What the installation says.
pub fn settings() -> Settings {
    Settings {
        worker_image: "ghcr.io/thalweg/thalweg:0.1.0".to_owned(),
        image_pull_policy: None,
        installation: "5e1f".to_owned(),
        operator_namespace: "thalweg".to_owned(),
        operator_keys: vec!["0f".repeat(32)],
        metrics_from: vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }],
    }
}

/// A worker that lives and has claimed a slot.
pub fn join(observed: &mut Observed, number: usize, life: &str, plan: &str) {
    let slot = Slot(format!("pickups-per-zone-{number}"));
    let lease = SlotLease {
        slot,
        holder: Some(RunId(format!("{life}/0"))),
        plan: plan.to_owned(),
        address: format!("10.0.0.{number}:8443"),
        ..SlotLease::default()
    };
    while observed.slots.len() <= number {
        let slot = Slot(format!("pickups-per-zone-{}", observed.slots.len()));
        observed.slots.push(SlotLease { slot, ..SlotLease::default() });
    }
    observed.slots[number] = lease;
    observed.pods.push(WorkerPod {
        name: format!("pod-{life}"),
        uid: life.to_owned(),
        ready: Readiness::Ready,
        age: Duration::from_secs(60),
        ..WorkerPod::default()
    });
    report_prepared(observed);
}

/// Who has the plan that is to run next says that it could.
fn report_prepared(observed: &mut Observed) {
    let Some(running) = observed.assignment.as_ref().map(|assignment| assignment.plan.clone()) else { return };
    for lease in observed.slots.iter().filter(|lease| lease.plan != running) {
        let Some(run_id) = lease.holder.clone() else { continue };
        let (slot, plan, state) = (Some(lease.slot.clone()), lease.plan.clone(), WorkerState::Prepared);
        observed.reports.insert(run_id.clone(), Report { run_id, slot, plan, state, ..Report::default() });
    }
}

/// Workers do and report what a plan publishes, and find six splits in each source.
pub fn obey(observed: &mut Observed, plan: &Plan) {
    obey_with(observed, plan, 6);
}

/// Workers do and report what a plan publishes, and find so many splits in each source.
pub fn obey_with(observed: &mut Observed, plan: &Plan, splits: usize) {
    let assignment = plan.assignment.clone().expect("an assignment");
    observed.reports.clear();
    for worker in &assignment.workers {
        let mounted = observed.slots.iter().find(|slot| slot.slot == worker.slot).expect("a slot").plan.clone();
        let runs = mounted == assignment.plan;
        let owned = assignment.units.iter().filter(|unit| runs && unit.owner.as_ref() == Some(&worker.slot));
        let units: Vec<_> =
            owned.map(|unit| UnitReport { unit: unit.unit, epoch: unit.epoch, ..UnitReport::default() }).collect();
        let named = assignment.enumerators.iter().filter(|enumerator| runs && enumerator.slot == worker.slot);
        let listed = named.map(|enumerator| ListedSource {
            source: enumerator.source.clone(),
            splits: (0..splits).map(|split| SplitId(split.to_string())).collect(),
            complete: false,
        });
        let state = if units.is_empty() { WorkerState::Waiting } else { WorkerState::Running };
        let report = Report {
            run_id: worker.run_id.clone(),
            slot: Some(worker.slot.clone()),
            plan: mounted,
            state,
            units,
            listed: listed.collect(),
            ..Report::default()
        };
        observed.reports.insert(worker.run_id.clone(), report);
    }
    observed.assignment = Some(assignment);
    report_prepared(observed);
}

/// Plans and obeys until nothing is published any more.
pub fn settle(pipeline: &ValidatedPipeline, observed: &mut Observed) -> Plan {
    for _ in 0..200 {
        let next = plan(pipeline, observed);
        let same = observed.assignment == next.assignment;
        obey(observed, &next);
        if same && plan(pipeline, observed) == next {
            return next;
        }
    }
    panic!("it never settles: {observed:#?}");
}
