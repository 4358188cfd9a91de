//! Workers that live, and those of them that are given work.

use std::cmp::Reverse;

use thalweg_crds::ids::{RunId, Slot};
use thalweg_crds::report::WorkerState;

use crate::assignment::{Role, Worker};
use crate::observed::{Observed, SlotLease};

/// Workers that live, in the order of their slots.
pub(crate) struct Fleet<'a> {
    /// All of them.
    pub members: Vec<Member<'a>>,
}

/// A worker that lives.
pub(crate) struct Member<'a> {
    /// Its slot.
    pub lease: &'a SlotLease,
    /// Which life of it.
    pub run_id: RunId,
    /// Whether it is given work.
    pub role: Role,
}

impl<'a> Fleet<'a> {
    /// Who lives, and who of them serves a plan: `most` at the most. Those beyond hand over what they have, which is how
    /// a worker that has surged takes the place of one that is to stop.
    pub fn of(observed: &'a Observed, plan: &str, most: usize) -> Self {
        let live: Vec<_> = observed.slots.iter().filter_map(|lease| Candidate::new(observed, plan, lease)).collect();
        let newest = observed.deployment.as_ref().map(|deployment| deployment.template.as_str());
        let mut able: Vec<&Candidate<'_>> = live.iter().filter(|live| live.able).collect();
        // Stable: among equals the first slots.
        able.sort_by_key(|live| (live.failed, Some(live.template) != newest, Reverse(live.owned)));
        let serving: Vec<Slot> = able.into_iter().take(most).map(|live| live.lease.slot.clone()).collect();
        let member = |live: Candidate<'a>| Member {
            role: if serving.contains(&live.lease.slot) { Role::Serving } else { Role::Leaving },
            lease: live.lease,
            run_id: live.run_id,
        };
        Self { members: live.into_iter().map(member).collect() }
    }

    /// The slots of those that are given work.
    pub fn serving(&self) -> impl Iterator<Item = &Slot> {
        self.members.iter().filter(|member| member.role == Role::Serving).map(|member| &member.lease.slot)
    }

    /// A member by its slot.
    pub fn member(&self, slot: &Slot) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.lease.slot == *slot)
    }

    /// As the rebalance rule sees them.
    pub fn workers(&self, observed: &Observed) -> Vec<Worker> {
        let node = |run_id: &RunId| observed.pod(run_id).and_then(|pod| pod.node.clone());
        let worker = |member: &Member<'_>| Worker {
            slot: member.lease.slot.clone(),
            node: node(&member.run_id),
            role: member.role,
        };
        self.members.iter().map(worker).collect()
    }
}

/// Whether a worker of a plan lives that has found nothing in its way: units may go to it.
pub(crate) fn has_surged(observed: &Observed, plan: &str) -> bool {
    let candidates = observed.slots.iter().filter_map(|lease| Candidate::new(observed, plan, lease));
    let (sound, failed): (Vec<_>, Vec<_>) = candidates.filter(|live| live.able).partition(|live| !live.failed);
    // Where nobody runs the old plan any more, the new one's failure is what the user has to see.
    let runs_another = || observed.slots.iter().any(|lease| lease.plan != plan && observed.live(lease).is_some());
    !sound.is_empty() || (!failed.is_empty() && !runs_another())
}

struct Candidate<'a> {
    lease: &'a SlotLease,
    run_id: RunId,
    /// Whether it may be given work.
    able: bool,
    /// Whether it stands still and owns nothing: whatever it is given would stand still with it.
    failed: bool,
    owned: usize,
    template: &'a str,
}

impl<'a> Candidate<'a> {
    fn new(observed: &'a Observed, plan: &str, lease: &'a SlotLease) -> Option<Self> {
        let run_id = observed.live(lease)?;
        let pod = observed.pod(&run_id)?;
        let owned = owned(observed, &lease.slot, &run_id);
        let fails = observed.reports.get(&run_id).is_some_and(|report| report.state == WorkerState::Failed);
        Some(Self {
            lease,
            able: lease.plan == plan && !pod.terminating,
            failed: fails && owned == 0,
            owned,
            template: &pod.template,
            run_id,
        })
    }
}

/// How many units are published as this life's.
fn owned(observed: &Observed, slot: &Slot, run_id: &RunId) -> usize {
    let Some(published) = &observed.assignment else { return 0 };
    let known = published.workers.iter().any(|worker| worker.slot == *slot && worker.run_id == *run_id);
    published.units.iter().filter(|unit| known && unit.owner.as_ref() == Some(slot)).count()
}
