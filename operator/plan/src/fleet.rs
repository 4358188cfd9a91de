//! Workers that live, and those of them that are given work.

use std::cmp::Reverse;

use thalweg_crds::ids::{RunId, Slot};
use thalweg_crds::report::WorkerState;

use crate::assignment::{Role, Worker};
use crate::lost::is_quiet;
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
            role: match serving.contains(&live.lease.slot) {
                true if is_quiet(live.lease, observed) => Role::Silent,
                true => Role::Serving,
                false => Role::Leaving,
            },
            lease: live.lease,
            run_id: live.run_id,
        };
        Self { members: live.into_iter().map(member).collect() }
    }

    /// The slots of those that do the work.
    pub fn serving(&self) -> impl Iterator<Item = &Slot> {
        self.members.iter().filter(|member| member.role != Role::Leaving).map(|member| &member.lease.slot)
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

/// Whether units may go to a worker of a plan: one lives that says that it could run.
pub(crate) fn has_surged(observed: &Observed, plan: &str) -> bool {
    let mut able =
        observed.slots.iter().filter_map(|lease| Candidate::new(observed, plan, lease)).filter(|live| live.able);
    // Where nobody runs another one, there is nothing to disturb, and what is in the way is what the user has to see.
    if observed.slots.iter().all(|lease| lease.plan == plan || observed.live(lease).is_none()) {
        return able.next().is_some();
    }
    let says = |live: Candidate<'_>| observed.reports.get(&live.run_id).map(|report| report.state);
    able.any(|live| says(live).is_some_and(|state| !matches!(state, WorkerState::Waiting | WorkerState::Failed)))
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
