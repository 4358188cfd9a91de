//! What is shown of a pipeline as it is now, in the terminal (`thalweg status`, `thalweg top`) and on the operator's page: put
//! together from its status, its assignment, its pods and what its workers say. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;
use thalweg_crds::StreamPipeline;
use thalweg_crds::assignment::{AssignmentSpec, SplitAssignment, UnitAssignment, WorkerEntry};
use thalweg_crds::condition::{ConditionStatus, ConditionType};
use thalweg_crds::ids::Slot;
use thalweg_crds::pipeline::{CommitStatus, LagStatus, ScalingDecision};
use thalweg_crds::report::{Failure, Report, UnitReport, WorkerState};

use crate::observed::pod_uid;

/// What a worker says, or why nothing was heard of it.
pub type Heard = Result<Report, String>;

/// What was found.
pub struct Found<'a> {
    /// The pipeline.
    pub pipeline: &'a StreamPipeline,
    /// Its assignment; empty where there is none.
    pub assignment: &'a AssignmentSpec,
    /// Its pods.
    pub pods: &'a [Pod],
    /// By UID of the pod.
    pub heard: &'a BTreeMap<String, Heard>,
    /// Why workers, or those who ask them, could not be asked.
    pub unasked: Option<String>,
}

/// A pipeline as it is shown; this is what `-o json` writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Running`, …
    pub phase: Option<String>,
    /// The plan that runs.
    pub plan: Option<String>,
    /// Workers, ready of desired.
    pub workers_ready: String,
    /// Units, owned of all.
    pub units_owned: String,
    /// As the operator last wrote it.
    pub lag: Option<LagStatus>,
    /// As the operator last wrote it.
    pub commit: Option<CommitStatus>,
    /// What the autoscaler decided last.
    pub last_decision: Option<ScalingDecision>,
    /// Conditions that say that something is amiss or changing.
    pub conditions: Vec<Said>,
    /// Who works.
    pub workers: Vec<Worker>,
    /// Splits of sources, and who reads them.
    pub splits: Vec<Split>,
    /// Units, and who owns them.
    pub units: Vec<Unit>,
    /// Sinks, and what all workers together give them.
    pub sinks: Vec<Sink>,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Of what it speaks.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub message: String,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Its slot; none for a pod that has none yet.
    pub slot: Option<String>,
    /// Its pod; none for one that is gone.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// What it is doing, by its own words.
    pub state: Option<String>,
    /// Share of time spent working, 0 to 1.
    pub busy_share: Option<f64>,
    /// Share of time spent waiting for sinks, 0 to 1.
    pub blocked_share: Option<f64>,
    /// How many splits it reads.
    pub splits: usize,
    /// How many units it owns.
    pub units: usize,
    /// What it gives to sinks.
    pub sinks: Vec<Sink>,
    /// Why it, or parts of it, stand still.
    pub failures: Vec<String>,
}

/// A split of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// The source, by its name in SQL.
    pub source: String,
    /// The split.
    pub split: String,
    /// Who is to read it.
    pub reader: Option<String>,
    /// Records that were read a second, lately.
    pub rate_per_second: Option<f64>,
    /// Records that wait.
    pub lag_records: Option<u64>,
    /// Age of the oldest record that waits.
    pub lag_seconds: Option<f64>,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// The sink, by its name in SQL.
    pub sink: String,
    /// Rows that it is given a second, lately.
    pub rate_per_second: Option<f64>,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// `STAGE/INDEX`.
    pub unit: String,
    /// Who is to own it.
    pub owner: Option<String>,
    /// Who owned it before, where it moves.
    pub previous: Option<String>,
    /// The number of its owner.
    pub epoch: i64,
    /// Where it stands.
    pub state: UnitState,
    /// Commits since its worker started.
    pub commits: Option<u64>,
    /// Why it stands still.
    pub error: Option<String>,
}

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UnitState {
    /// Its owner has it.
    Owned,
    /// Its owner does not have it yet.
    Acquiring,
    /// It is between two owners.
    Moving,
    /// Nobody is to own it.
    Unowned,
    /// Its owner was not heard.
    Unknown,
}

impl View {
    /// Puts together what was found.
    pub fn new(found: &Found<'_>) -> Self {
        let status = found.pipeline.status.clone().unwrap_or_default();
        let conditions =
            status.conditions.iter().filter(|condition| is_worth_a_line(&condition.type_, &condition.status));
        let said = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| Said {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        };
        Self {
            namespace: found.pipeline.namespace().unwrap_or_default(),
            name: found.pipeline.name_any(),
            phase: status.phase.map(|phase| format!("{phase:?}")),
            plan: status.active_plan.clone(),
            workers_ready: status.workers.as_ref().map(|workers| workers.summary.clone()).unwrap_or_default(),
            units_owned: status.units.as_ref().map(|units| units.summary.clone()).unwrap_or_default(),
            lag: status.lag.clone(),
            commit: status.commit.clone(),
            last_decision: status.scaling.as_ref().and_then(|scaling| scaling.last_decision.clone()),
            conditions: conditions.map(said).collect(),
            workers: found.workers(),
            splits: found.assignment.splits.iter().map(|split| found.split(split)).collect(),
            units: found.assignment.units.iter().map(|unit| found.unit(unit)).collect(),
            sinks: found.sinks(),
            notes: found.notes(),
        }
    }
}

/// Whether a condition says more than that all is as it should be.
fn is_worth_a_line(kind: &str, status: &str) -> bool {
    let holds = status == ConditionStatus::True.as_str();
    match ConditionType::parse(kind) {
        Some(
            ConditionType::Ready
            | ConditionType::ConfigValid
            | ConditionType::SourcesReachable
            | ConditionType::SinksReachable
            | ConditionType::CommitHealthy
            | ConditionType::LagWithinTarget,
        ) => status == ConditionStatus::False.as_str(),
        Some(ConditionType::ScalingActive) | None => false,
        Some(_) => holds,
    }
}

impl Found<'_> {
    fn entry(&self, slot: &Slot) -> Option<&WorkerEntry> {
        self.assignment.workers.iter().find(|worker| worker.slot == *slot)
    }

    /// What the worker of a slot says.
    fn heard(&self, slot: &Slot) -> Option<&Heard> {
        self.heard.get(pod_uid(&self.entry(slot)?.run_id))
    }

    fn report(&self, slot: Option<&Slot>) -> Option<&Report> {
        self.heard(slot?)?.as_ref().ok()
    }

    /// Those that the assignment names, then pods that it does not name yet.
    fn workers(&self) -> Vec<Worker> {
        let uid = |pod: &Pod| pod.uid().unwrap_or_default();
        let named = self.assignment.workers.iter().map(|entry| {
            let pod = self.pods.iter().find(|pod| uid(pod) == pod_uid(&entry.run_id));
            self.worker(Some(&entry.slot), pod)
        });
        let is_named = |pod: &&Pod| {
            let mut workers = self.assignment.workers.iter();
            workers.any(|entry| pod_uid(&entry.run_id) == uid(pod))
        };
        let others = self.pods.iter().filter(|pod| !is_named(pod)).map(|pod| self.worker(None, Some(pod)));
        named.chain(others).collect()
    }

    fn worker(&self, slot: Option<&Slot>, pod: Option<&Pod>) -> Worker {
        let report = pod.and_then(|pod| self.heard.get(&pod.uid()?)?.as_ref().ok());
        let failure = |failure: &Failure| {
            let resource = failure.resource.as_ref().map(|resource| format!("{resource}: ")).unwrap_or_default();
            format!("{} {resource}{}", failure.reason, failure.message)
        };
        let failed = report.filter(|report| report.state == WorkerState::Failed);
        Worker {
            slot: slot.map(ToString::to_string),
            pod: pod.map(ResourceExt::name_any),
            node: pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
            state: report.map(|report| format!("{:?}", report.state)),
            busy_share: report.map(|report| report.busy_share),
            blocked_share: report.map(|report| report.blocked_share),
            splits: self
                .assignment
                .splits
                .iter()
                .filter(|split| split.reader.as_ref() == slot && slot.is_some())
                .count(),
            units: self.assignment.units.iter().filter(|unit| unit.owner.as_ref() == slot && slot.is_some()).count(),
            sinks: report.map(given).unwrap_or_default(),
            failures: failed.into_iter().flat_map(|report| &report.failures).map(failure).collect(),
        }
    }

    /// Those that the pipeline names, and any other that a worker writes: dead letters, or those of the plan before.
    fn sinks(&self) -> Vec<Sink> {
        let mut sinks: BTreeMap<String, Option<f64>> = BTreeMap::new();
        let named = self.pipeline.spec.sinks.iter().map(|sink| (sink.alias(), None));
        let reports = self.assignment.workers.iter().filter_map(|worker| self.report(Some(&worker.slot)));
        let given = reports.flat_map(given).map(|sink| (sink.sink, sink.rate_per_second));
        for (sink, rate) in named.chain(given) {
            let sum = sinks.entry(sink).or_default();
            *sum = [*sum, rate].into_iter().flatten().reduce(|all, one| all + one);
        }
        sinks.into_iter().map(|(sink, rate_per_second)| Sink { sink, rate_per_second }).collect()
    }

    fn split(&self, split: &SplitAssignment) -> Split {
        let report = self.report(split.reader.as_ref());
        let mut splits = report.iter().flat_map(|report| &report.splits);
        let found = splits.find(|found| found.source == split.source && found.split == split.split);
        Split {
            source: split.source.clone(),
            split: split.split.to_string(),
            reader: split.reader.as_ref().map(ToString::to_string),
            rate_per_second: found.map(|found| found.rate),
            lag_records: found.and_then(|found| found.lag_records),
            lag_seconds: found.and_then(|found| found.lag_seconds),
        }
    }

    fn unit(&self, unit: &UnitAssignment) -> Unit {
        let heard = unit.owner.as_ref().and_then(|owner| self.heard(owner));
        let mut units = heard.iter().flat_map(|heard| heard.iter()).flat_map(|report| &report.units);
        let found = units.find(|found| found.unit == unit.unit);
        Unit {
            unit: unit.unit.to_string(),
            owner: unit.owner.as_ref().map(ToString::to_string),
            previous: unit.previous.as_ref().map(ToString::to_string),
            epoch: unit.epoch.0,
            state: state(unit, matches!(heard, Some(Ok(_))), found),
            commits: found.map(|found| found.commits),
            error: found.and_then(|found| found.error.clone()),
        }
    }

    fn notes(&self) -> Vec<String> {
        let unheard = self.pods.iter().filter_map(|pod| {
            let said = self.heard.get(&pod.uid()?)?.as_ref().err()?;
            Some(format!("rates and lag of pod {} are not known: {said}", pod.name_any()))
        });
        self.unasked.iter().map(|said| format!("workers cannot be asked: {said}")).chain(unheard).collect()
    }
}

fn given(report: &Report) -> Vec<Sink> {
    let sinks = report.sinks.iter();
    sinks.map(|sink| Sink { sink: sink.sink.clone(), rate_per_second: Some(sink.rate) }).collect()
}

fn state(unit: &UnitAssignment, is_heard: bool, found: Option<&UnitReport>) -> UnitState {
    let has_it = found.is_some_and(|found| found.epoch == unit.epoch && found.stored_epoch.is_none());
    match (&unit.owner, has_it) {
        (None, _) => UnitState::Unowned,
        (Some(_), true) => UnitState::Owned,
        (Some(_), false) if !is_heard => UnitState::Unknown,
        (Some(_), false) if unit.previous.is_some() => UnitState::Moving,
        (Some(_), false) => UnitState::Acquiring,
    }
}
