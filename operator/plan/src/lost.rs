//! Pods of workers that seem lost while the cluster still counts them, as on a node that has fallen silent. A ReplicaSet makes
//! others only once the node's controller has given the node up and its pods were evicted: a minute, by default. So another
//! pod is asked for beside each of them as soon as its worker is suspected. Nothing is taken from the suspect by that: its
//! units change hands when its Lease counts as silent, and not before.

use std::time::Duration;

use crate::observed::{Observed, Readiness, SILENCE_LIMIT, SUSPICION_LIMIT, SlotLease, WorkerPod, pod_uid};

/// A renewal is missing, and two seconds more.
const QUIET: Duration = Duration::from_secs(7);
/// A report that is older than this was asked for twice in vain.
const UNANSWERED: Duration = Duration::from_secs(5);

/// How many pods there have to be beside the `useful` ones, since so many seem lost: no more than there are useful ones, as what
/// a pod was lost to may await those in its place, too.
///
/// Once others are ready in their place a lost pod is counted no longer than it is ready, which is as long as the cluster has
/// not noticed: a ReplicaSet that is to have fewer stops those first that are not.
pub(crate) fn replaced(observed: &Observed, useful: usize) -> usize {
    let present = observed.pods.iter().filter(|pod| !pod.terminating);
    let (lost, others): (Vec<_>, Vec<_>) = present.partition(|pod| is_lost(pod, observed));
    let is_ready = |pod: &&&WorkerPod| pod.ready == Readiness::Ready;
    let replaced = match others.iter().filter(is_ready).count() >= useful {
        true => lost.iter().filter(is_ready).count(),
        false => lost.len(),
    };
    replaced.min(useful)
}

/// Whether a pod's worker has a slot and is suspected. One of which its node says why it does not run is not lost: it is started
/// again where it is, or was replaced.
fn is_lost(pod: &WorkerPod, observed: &Observed) -> bool {
    if pod.trouble.is_some() {
        return false;
    }
    let is_of_pod = |slot: &&SlotLease| slot.holder.as_ref().is_some_and(|holder| pod_uid(holder) == pod.uid);
    let mut held = observed.slots.iter().filter(is_of_pod).peekable();
    held.peek().is_some() && held.all(|slot| is_suspected(slot, observed))
}

/// Its Lease is not renewed, and it does not answer; after the time that a Lease lasts the latter is asked no more.
fn is_suspected(slot: &SlotLease, observed: &Observed) -> bool {
    slot.silent_for >= SILENCE_LIMIT || (slot.silent_for >= SUSPICION_LIMIT && !answers(slot, observed))
}

/// Whether it is given nothing more for now: what a worker gets that has died waits until that is known. Workers of one node fall
/// silent together, and their Leases run out one after the other.
pub(crate) fn is_quiet(slot: &SlotLease, observed: &Observed) -> bool {
    slot.silent_for >= QUIET && !answers(slot, observed)
}

fn answers(slot: &SlotLease, observed: &Observed) -> bool {
    let answered = slot.holder.as_ref().and_then(|holder| observed.report_ages.get(holder));
    answered.is_some_and(|age| *age < UNANSWERED)
}
