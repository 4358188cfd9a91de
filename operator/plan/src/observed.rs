//! What the cluster and the workers said about one pipeline, at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::{RunId, Slot};
use thalweg_crds::report::Report;

use crate::check::Stage;

/// How long a Lease may stand unchanged before its holder counts as gone: 3 renewals of 5 s.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(15);

/// How long a Lease may stand unchanged before another pod is asked for beside its holder's, if the holder does not answer
/// either: two renewals are missing, and a pod that is started now is there when the Lease counts as silent.
pub const SUSPICION_LIMIT: Duration = Duration::from_secs(11);

/// How long what was told of a pipeline stands while a worker of it has not been heard yet. One that answers does so in a
/// fraction of that; one that does not is shown for what it is after it.
pub const HEARING_LIMIT: Duration = Duration::from_secs(5);

/// How old a report may be that is told of: figures are written as often.
pub const REPORT_LIMIT: Duration = Duration::from_secs(30);

/// What is known about one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its assignment, where there is one.
    pub assignment: Option<AssignmentSpec>,
    /// The stages of the plan that the assignment names; empty where they are not known.
    pub stages: Vec<Stage>,
    /// Its slot Leases, in the order of their numbers; one may be missing among them.
    pub slots: Vec<SlotLease>,
    /// Its worker pods.
    pub pods: Vec<WorkerPod>,
    /// Its Deployment, where there is one.
    pub deployment: Option<Rollout>,
    /// The last report of each life of a worker.
    pub reports: BTreeMap<RunId, Report>,
    /// How long ago each of them came.
    pub report_ages: BTreeMap<RunId, Duration>,
    /// Holders of slots of whom this operator has no report yet, and for how long it has known each of them.
    pub unheard: BTreeMap<RunId, Duration>,
    /// What watches sources while there is no worker.
    pub lookout: Lookout,
}

/// What watches sources while there is no worker.
#[derive(Clone, Debug, Default)]
pub struct Lookout {
    /// Its Deployment, where it has one.
    pub deployment: Option<Rollout>,
    /// Its pods.
    pub pods: Vec<WorkerPod>,
    /// Its last report, and how long ago that came.
    pub report: Option<(Report, Duration)>,
}

impl Lookout {
    /// What it says now.
    pub fn said(&self) -> Option<&Report> {
        self.report.as_ref().filter(|(_, age)| *age < REPORT_LIMIT).map(|(report, _)| report)
    }
}

/// A slot Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotLease {
    /// The slot.
    pub slot: Slot,
    /// Who holds it.
    pub holder: Option<RunId>,
    /// How long it has been unchanged, by the operator's monotonic clock and while its own watch was live.
    pub silent_for: Duration,
    /// The hash of the plan that the holder has mounted.
    pub plan: String,
    /// Where other workers reach the holder, `IP:port`.
    pub address: String,
    /// Where the operator gets the holder's report, `IP:port`.
    pub report: String,
    /// SHA-256 of the holder's public key, in hexadecimal.
    pub key_fingerprint: String,
}

/// A worker pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerPod {
    /// Its name.
    pub name: String,
    /// Its UID, the first part of its workers' run ids.
    pub uid: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// The hash of the template that it was made of.
    pub template: String,
    /// Whether it passes its readiness probe.
    pub ready: Readiness,
    /// Whether it is being deleted, or has ended and is started no more, as after an eviction.
    pub terminating: bool,
    /// Why it does not run.
    pub trouble: Option<Trouble>,
    /// How old it is.
    pub age: Duration,
}

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// Whether a pod passes its readiness probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, or not yet.
    #[default]
    NotReady,
}

/// How far a Deployment has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The hash of its template.
    pub template: String,
    /// How many pods it is to have.
    pub replicas: i32,
    /// How many workers were wanted when it was written; absent where that was not noted.
    pub wanted: Option<i32>,
    /// How many of them are of its newest template.
    pub updated: i32,
    /// How many pods are ready.
    pub ready: i32,
    /// How many pods there are, old ones included.
    pub total: i32,
    /// Whether its controller has seen its newest spec.
    pub current: bool,
    /// Why no pod can be made, such as a quota.
    pub trouble: Option<String>,
}

impl Rollout {
    /// Whether all its pods are of its newest template, and ready.
    pub fn is_settled(&self) -> bool {
        self.current && self.total == self.updated && self.total == self.replicas && self.ready == self.replicas
    }

    /// Whether its pods are being replaced or made, and can be: one that never gets ready, or is refused, is not under way.
    pub fn is_under_way(&self) -> bool {
        let moves = !self.current || self.updated < self.replicas || self.total > self.updated;
        moves && self.trouble.is_none()
    }
}

impl Observed {
    /// The pod of a worker.
    pub fn pod(&self, run_id: &RunId) -> Option<&WorkerPod> {
        self.pods.iter().find(|pod| pod.uid == pod_uid(run_id))
    }

    /// The holder of a slot, if it lives: its Lease is renewed, and its pod exists.
    pub fn live(&self, slot: &SlotLease) -> Option<RunId> {
        let holder = slot.holder.clone()?;
        let renewed = slot.silent_for < SILENCE_LIMIT;
        (renewed && self.pod(&holder).is_some()).then_some(holder)
    }

    /// How many slots there are, those counted whose Lease is missing: workers of the others keep their names and rights.
    pub fn slot_count(&self) -> usize {
        let number = |lease: &SlotLease| lease.slot.0.rsplit_once('-')?.1.parse::<usize>().ok();
        self.slots.iter().filter_map(number).max().map_or(0, |last| last + 1)
    }

    /// Whether a report is of now.
    pub fn is_fresh(&self, report: &Report) -> bool {
        self.report_ages.get(&report.run_id).is_none_or(|age| *age < REPORT_LIMIT)
    }

    /// Workers that live, each with what it says: of one that is gone nothing is said, and of one that has not answered for long
    /// nobody knows.
    fn said_by(&self) -> impl Iterator<Item = Option<&Report>> {
        let live = self.slots.iter().filter_map(move |slot| self.live(slot));
        live.map(move |holder| self.reports.get(&holder).filter(|report| self.is_fresh(report)))
    }

    /// What workers say that live.
    pub fn said(&self) -> impl Iterator<Item = &Report> {
        self.said_by().flatten()
    }

    /// Whether each worker that lives says something.
    pub fn all_say(&self) -> bool {
        self.said_by().all(|said| said.is_some())
    }

    /// For how long it is worth waiting until a worker that lives is heard for the first time: an operator that has just
    /// started knows less than the one before it. `None` where all were heard, or had their time.
    pub fn awaits_words(&self) -> Option<Duration> {
        let live = self.slots.iter().filter_map(|slot| self.live(slot));
        let rest = live.filter_map(|holder| HEARING_LIMIT.checked_sub(*self.unheard.get(&holder)?));
        rest.filter(|rest| !rest.is_zero()).max()
    }
}

/// The UID of a worker's pod: run ids are `POD_UID/RESTARTS`.
pub fn pod_uid(run_id: &RunId) -> &str {
    run_id.0.split('/').next().unwrap_or_default()
}
