//! Pods are asked for beside those whose workers seem lost, and nobody loses a unit by that.

mod kit;

use std::time::Duration;

use kit::{join, keyed, settle, with_workers};
use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::condition::Reason;
use thalweg_crds::ids::Slot;
use thalweg_operator_plan::observed::{Observed, Readiness, Rollout, SILENCE_LIMIT, SUSPICION_LIMIT, Trouble};
use thalweg_operator_plan::plan::{Plan, plan};
use thalweg_operator_plan::validate::ValidatedPipeline;

const LIVES: [&str; 4] = ["a", "b", "c", "d"];

fn running(workers: usize) -> (ValidatedPipeline, Observed) {
    let valid = with_workers(&keyed(), i32::try_from(workers).expect("few"));
    let mut observed = Observed::default();
    (0..workers).for_each(|number| join(&mut observed, number, LIVES[number], &valid.plan.hash));
    observed.deployment = Some(Rollout { replicas: i32::try_from(workers).expect("few"), ..Rollout::default() });
    settle(&valid, &mut observed);
    (valid, observed)
}

/// A Lease stands unchanged, and its holder was heard last at that time.
fn fall_silent(observed: &mut Observed, number: usize, since: Duration) {
    observed.slots[number].silent_for = since;
    let holder = observed.slots[number].holder.clone().expect("it is held");
    observed.report_ages.insert(holder, since);
}

fn owners(plan: &Plan) -> Vec<&Slot> {
    plan.assignment.iter().flat_map(|assignment| &assignment.units).filter_map(|unit| unit.owner.as_ref()).collect()
}

#[test]
fn another_pod_is_asked_for_before_a_silent_worker_loses_its_units() {
    let (valid, mut observed) = running(1);
    for (silent_for, replicas, slots) in [(10, 1, 2), (11, 2, 3), (14, 2, 3), (15, 2, 3)] {
        fall_silent(&mut observed, 0, Duration::from_secs(silent_for));
        let next = plan(&valid, &observed);
        // A roll-out may want a slot, too.
        assert_eq!((next.replicas, next.slots), (replicas, slots), "after {silent_for} s");
        assert_eq!(next.assignment, observed.assignment, "there is nobody to take over");
    }
    // The pod that was asked for comes, and claims the other slot.
    fall_silent(&mut observed, 0, SUSPICION_LIMIT);
    observed.deployment = Some(Rollout { replicas: 2, ..Rollout::default() });
    join(&mut observed, 1, "b", &valid.plan.hash);
    observed.pods[1].ready = Readiness::NotReady;
    let waits = plan(&valid, &observed);
    assert_eq!(waits.replicas, 2);
    assert!(owners(&waits).iter().all(|owner| **owner == observed.slots[0].slot), "its Lease has not expired");
    fall_silent(&mut observed, 0, SILENCE_LIMIT);
    let taken = plan(&valid, &observed);
    assert_eq!(taken.replicas, 2);
    assert!(owners(&taken).iter().all(|owner| **owner == observed.slots[1].slot));
}

#[test]
fn of_two_workers_on_a_silent_node_the_second_is_not_given_what_the_first_had() {
    let (valid, mut observed) = running(3);
    fall_silent(&mut observed, 0, SILENCE_LIMIT);
    fall_silent(&mut observed, 1, Duration::from_secs(10));
    let next = plan(&valid, &observed);
    let of = |assignment: &AssignmentSpec, number: usize| {
        let owned = assignment.units.iter().filter(|unit| unit.owner.as_ref() == Some(&observed.slots[number].slot));
        owned.map(|unit| unit.unit).collect::<Vec<_>>()
    };
    let (before, after) =
        (observed.assignment.as_ref().expect("published"), next.assignment.as_ref().expect("planned"));
    assert!(!of(before, 0).is_empty());
    assert_eq!(of(after, 1), of(before, 1), "it may live, and keeps what it has");
    assert_eq!(of(after, 2).len(), of(before, 0).len() + of(before, 2).len());
}

#[test]
fn a_worker_that_answers_or_renews_is_not_suspected() {
    let (valid, mut observed) = running(1);
    let holder = observed.slots[0].holder.clone().expect("it is held");
    observed.slots[0].silent_for = Duration::from_secs(14);
    observed.report_ages.insert(holder, Duration::from_secs(4));
    assert_eq!(plan(&valid, &observed).replicas, 1);
    observed.slots[0].silent_for = SILENCE_LIMIT;
    assert_eq!(plan(&valid, &observed).replicas, 2, "without its Lease it is given up whatever it answers");
    observed.slots[0].silent_for = Duration::ZERO;
    observed.deployment = Some(Rollout { replicas: 2, ..Rollout::default() });
    assert_eq!(plan(&valid, &observed).replicas, 1, "it is back");
}

#[test]
fn a_lost_pod_is_counted_until_the_cluster_has_noticed_and_another_one_is_ready() {
    let (valid, mut observed) = running(1);
    fall_silent(&mut observed, 0, SILENCE_LIMIT);
    observed.deployment = Some(Rollout { replicas: 2, ..Rollout::default() });
    join(&mut observed, 1, "b", &valid.plan.hash);
    assert_eq!(plan(&valid, &observed).replicas, 2, "both are ready: a ReplicaSet could stop either");
    observed.pods.iter_mut().for_each(|pod| pod.ready = Readiness::NotReady);
    assert_eq!(plan(&valid, &observed).replicas, 2, "neither is ready: a ReplicaSet could stop either");
    observed.pods[1].ready = Readiness::Ready;
    assert_eq!(plan(&valid, &observed).replicas, 1);
    observed.pods[1].ready = Readiness::NotReady;
    observed.pods[0].terminating = true;
    assert_eq!(plan(&valid, &observed).replicas, 1, "it was evicted: a ReplicaSet counts it no more");
}

#[test]
fn each_of_several_lost_workers_is_replaced_and_finds_a_slot() {
    let (valid, mut observed) = running(4);
    for number in [1, 2] {
        fall_silent(&mut observed, number, SUSPICION_LIMIT);
    }
    let next = plan(&valid, &observed);
    assert_eq!((next.replicas, next.slots), (6, 10));
    assert_eq!(next.assignment, observed.assignment);
}

#[test]
fn what_kills_workers_one_after_the_other_asks_for_no_more_pods_than_there_are_workers() {
    let (valid, mut observed) = running(1);
    for (number, life) in LIVES.into_iter().enumerate() {
        if number > 0 {
            join(&mut observed, number, life, &valid.plan.hash);
        }
        fall_silent(&mut observed, number, SILENCE_LIMIT);
        observed.pods[number].ready = Readiness::NotReady;
        assert_eq!(plan(&valid, &observed).replicas, 2, "{} are lost", number + 1);
    }
    let message = "back-off 5m0s restarting failed container".to_owned();
    for pod in &mut observed.pods {
        pod.trouble = Some(Trouble { reason: Reason::WorkersUnavailable, message: message.clone() });
    }
    assert_eq!(plan(&valid, &observed).replicas, 1, "each is started again where it is");
}
