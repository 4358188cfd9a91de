//! Laws of the rebalance rule.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use thalweg_crds::assignment::UnitAssignment;
use thalweg_crds::ids::{Epoch, Slot, UnitId};
use thalweg_operator_plan::assignment::{MoveLimit, Progress, Role, UnitState, Worker, rebalance};

const ANY_NUMBER: MoveLimit = MoveLimit(usize::MAX);

fn slot(number: usize) -> Slot {
    Slot(format!("p-{number}"))
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![4 => Just(Role::Serving), 1 => Just(Role::Silent), 1 => Just(Role::Leaving)]
}

fn workers() -> impl Strategy<Value = Vec<Worker>> {
    let worker = (proptest::option::of(0..3u8), roles());
    proptest::collection::vec(proptest::option::of(worker), 1..7).prop_map(|slots| {
        let live = slots.into_iter().enumerate();
        live.filter_map(|(number, worker)| {
            let (node, role) = worker?;
            Some(Worker { slot: slot(number), node: node.map(|node| format!("node-{node}")), role })
        })
        .collect()
    })
}

fn progress() -> impl Strategy<Value = Progress> {
    prop_oneof![
        6 => Just(Progress::Owned),
        2 => Just(Progress::Acquiring),
        1 => Just(Progress::Orphaned),
        1 => (0..40i64).prop_map(|epoch| Progress::Refused(Epoch(epoch))),
    ]
}

fn unit() -> impl Strategy<Value = UnitState> {
    let owners = (proptest::option::of(0..8usize), proptest::option::of(0..8usize));
    (owners, 0..30i64, progress(), 1..50u32).prop_map(|((owner, previous), epoch, progress, weight)| {
        let previous = previous.filter(|previous| Some(*previous) != owner).map(slot);
        let published =
            UnitAssignment { unit: UnitId::default(), owner: owner.map(slot), epoch: Epoch(epoch), previous };
        UnitState { published, progress, weight: f64::from(weight) }
    })
}

fn units() -> impl Strategy<Value = Vec<UnitState>> {
    proptest::collection::vec(unit(), 0..40).prop_map(|mut units| {
        units.iter_mut().zip(0..).for_each(|(unit, index)| unit.published.unit.index = index);
        units
    })
}

fn limits() -> impl Strategy<Value = MoveLimit> {
    prop_oneof![(0..8usize).prop_map(MoveLimit), Just(ANY_NUMBER)]
}

/// What the workers report once they have done what was published.
fn obeyed(units: &[UnitState], next: &[UnitAssignment]) -> Vec<UnitState> {
    let state = |(unit, next): (&UnitState, &UnitAssignment)| UnitState {
        published: next.clone(),
        progress: Progress::Owned,
        weight: unit.weight,
    };
    units.iter().zip(next).map(state).collect()
}

/// Publishes and obeys until nothing is published.
fn converged(mut units: Vec<UnitState>, workers: &[Worker], limit: MoveLimit) -> Option<Vec<UnitState>> {
    for _ in 0..200 {
        let next = rebalance(&units, workers, limit);
        let is_done =
            |(unit, next): (&UnitState, &UnitAssignment)| unit.published == *next && unit.progress == Progress::Owned;
        if units.iter().zip(&next).all(is_done) {
            return Some(units);
        }
        units = obeyed(&units, &next);
    }
    None
}

fn loads(units: &[UnitState]) -> BTreeMap<Slot, f64> {
    let mut loads = BTreeMap::new();
    for unit in units {
        *loads.entry(unit.published.owner.clone().expect("owned")).or_insert(0.0) += unit.weight;
    }
    loads
}

proptest! {
    #[test]
    fn every_unit_is_published_once_and_has_a_live_owner_if_anybody_serves(
        units in units(), workers in workers(), limit in limits(),
    ) {
        let next = rebalance(&units, &workers, limit);
        let before: Vec<_> = units.iter().map(|unit| unit.published.unit).collect();
        let after: Vec<_> = next.iter().map(|unit| unit.unit).collect();
        prop_assert_eq!(before, after);
        let live: BTreeSet<_> = workers.iter().map(|worker| &worker.slot).collect();
        if workers.iter().any(|worker| worker.role == Role::Serving) {
            prop_assert!(next.iter().all(|unit| unit.owner.as_ref().is_some_and(|owner| live.contains(owner))));
        }
        prop_assert!(next.iter().all(|unit| unit.previous.is_none() || unit.previous != unit.owner));
    }

    #[test]
    fn epochs_only_grow_by_one_a_change_of_owner_and_above_what_a_state_holds(
        units in units(), workers in workers(), limit in limits(),
    ) {
        for (unit, next) in units.iter().zip(rebalance(&units, &workers, limit)) {
            let before = &unit.published;
            prop_assert!(next.epoch >= before.epoch);
            if next.owner != before.owner {
                prop_assert!(next.epoch > before.epoch);
            }
            if unit.progress == Progress::Orphaned && next.owner.is_some() && next != *before {
                prop_assert!(next.epoch > before.epoch);
            }
            match unit.progress {
                Progress::Refused(stored) => prop_assert!(next.epoch > stored),
                _ => prop_assert!(next.epoch.0 <= before.epoch.0 + 1),
            }
        }
    }

    #[test]
    fn a_unit_moves_only_if_its_owner_is_gone_or_leaves_or_loads_differ(
        units in units(), workers in workers(), limit in limits(),
    ) {
        let next = rebalance(&units, &workers, limit);
        let serving: BTreeSet<_> =
            workers.iter().filter(|worker| worker.role == Role::Serving).map(|worker| &worker.slot).collect();
        let stays = |unit: &UnitState| {
            unit.progress != Progress::Orphaned && unit.published.owner.as_ref().is_some_and(|o| serving.contains(o))
        };
        let is_silent = |owner: &Slot| workers.iter().any(|w| w.slot == *owner && w.role == Role::Silent);
        for (unit, next) in units.iter().zip(&next) {
            let owner = unit.published.owner.as_ref().filter(|owner| is_silent(owner));
            let keeps = owner.is_some() && unit.progress != Progress::Orphaned;
            prop_assert!(!keeps || next.owner.as_ref() == owner, "nothing is taken from whoever may still live");
            let gains = next.owner.as_ref().is_some_and(is_silent) && next.owner != unit.published.owner;
            prop_assert!(!gains, "nothing is given to whoever may be dead");
        }
        let moved = units.iter().zip(&next).filter(|(unit, next)| stays(unit) && unit.published.owner != next.owner);
        if moved.clone().count() == 0 {
            return Ok(());
        }
        // Somebody had to be given something, or the loads were out of the band before.
        let mut before: BTreeMap<_, f64> = serving.iter().map(|slot| (*slot, 0.0)).collect();
        units.iter().filter(|unit| stays(unit)).for_each(|unit| {
            *before.get_mut(unit.published.owner.as_ref().expect("it stays")).expect("it serves") += unit.weight;
        });
        let mean = before.values().sum::<f64>() / before.len() as f64;
        let level = before.values().all(|load| (load - mean).abs() <= mean * 0.1);
        prop_assert!(!level || units.iter().any(|unit| !stays(unit)));
        for (unit, _) in moved {
            prop_assert_eq!(unit.progress, Progress::Owned, "a unit in transit is not moved to level loads");
        }
    }

    #[test]
    fn no_more_units_move_at_once_than_the_limit_allows(units in units(), workers in workers(), limit in 0..6usize) {
        let next = rebalance(&units, &workers, MoveLimit(limit));
        let live: BTreeSet<_> = workers.iter().map(|worker| worker.slot.clone()).collect();
        let planned = units.iter().zip(&next).filter(|(unit, next)| {
            let had_owner = unit.published.owner.as_ref().is_some_and(|owner| live.contains(owner));
            had_owner && unit.progress != Progress::Orphaned && unit.published.owner != next.owner
        });
        prop_assert!(planned.count() <= limit);
    }

    #[test]
    fn it_converges_and_then_publishes_nothing(units in units(), workers in workers(), limit in 1..8usize) {
        prop_assume!(workers.iter().any(|worker| worker.role == Role::Serving));
        let end = converged(units, &workers, MoveLimit(limit));
        let end = end.expect("nothing is published any more");
        let serving: BTreeSet<_> =
            workers.iter().filter(|worker| worker.role != Role::Leaving).map(|worker| worker.slot.clone()).collect();
        prop_assert!(end.iter().all(|unit| unit.published.owner.as_ref().is_some_and(|owner| serving.contains(owner))));
        prop_assert!(end.iter().all(|unit| unit.published.previous.is_none()));
    }

    #[test]
    fn equal_units_are_spread_so_that_no_two_workers_differ_by_two(count in 1..64usize, serving in 1..9usize) {
        let workers: Vec<_> =
            (0..serving).map(|number| Worker { slot: slot(number), node: None, role: Role::Serving }).collect();
        let fresh = (0..count).map(|index| UnitState {
            published: UnitAssignment { unit: UnitId { stage: 0, index: index as i32 }, ..UnitAssignment::default() },
            progress: Progress::Orphaned,
            weight: 1.0,
        });
        let end = converged(fresh.collect(), &workers, ANY_NUMBER).expect("it converges");
        let loads = loads(&end);
        let most = loads.values().copied().fold(0.0, f64::max);
        let least = if loads.len() < serving { 0.0 } else { loads.values().copied().fold(f64::MAX, f64::min) };
        prop_assert!(most - least <= 1.0, "{loads:?}");
    }

    #[test]
    fn when_a_worker_dies_nothing_but_its_units_moves(count in 1..64usize, serving in 2..9usize) {
        let workers: Vec<_> =
            (0..serving).map(|number| Worker { slot: slot(number), node: None, role: Role::Serving }).collect();
        let fresh = (0..count).map(|index| UnitState {
            published: UnitAssignment { unit: UnitId { stage: 0, index: index as i32 }, ..UnitAssignment::default() },
            progress: Progress::Orphaned,
            weight: 1.0,
        });
        let end = converged(fresh.collect(), &workers, ANY_NUMBER).expect("it converges");
        let next = rebalance(&end, &workers[1..], ANY_NUMBER);
        for (unit, next) in end.iter().zip(&next) {
            let dead = unit.published.owner == Some(slot(0));
            prop_assert_eq!(unit.published.owner != next.owner, dead);
            prop_assert!(!dead || next.previous.is_none(), "a takeover waits for nobody");
        }
    }

    #[test]
    fn a_planned_handoff_names_the_owner_that_answers(count in 1..30usize) {
        let workers = [
            Worker { slot: slot(0), node: None, role: Role::Leaving },
            Worker { slot: slot(1), node: None, role: Role::Serving },
        ];
        let owned = (0..count).map(|index| UnitState {
            published: UnitAssignment {
                unit: UnitId { stage: 0, index: index as i32 }, owner: Some(slot(0)), epoch: Epoch(4), previous: None,
            },
            progress: Progress::Owned,
            weight: 1.0,
        });
        for next in rebalance(&owned.collect::<Vec<_>>(), &workers, ANY_NUMBER) {
            prop_assert_eq!((next.owner, next.epoch, next.previous), (Some(slot(1)), Epoch(5), Some(slot(0))));
        }
    }
}
