//! How few workers a load fits on.
//!
//! Loads are dealt out longest first, in patterns that are fixed by rank: back and forth over all workers, with the heaviest
//! few joined by others only after some rounds. Greedy packing (each to whoever has least) has anomalies: a load that
//! grows may need fewer workers (Graham, *Bounds on multiprocessing timing anomalies*, 1969). With patterns by rank
//! each worker's share only grows as loads do, so more load never asks for fewer workers.

/// Most of the heaviest that are set apart, and most rounds that pass them by.
const APART: usize = 4;
const ROUNDS: usize = 12;
/// Sums of the same loads in another order differ in their last bits.
const ALIKE: f64 = 1e-9;

/// The least number of workers, up to `most`, that hold `loads`, each no more than `room(workers)`; `most` where none is
/// enough. A load above the room of a worker cannot be divided, and counts as one that fills a worker.
pub fn fewest(loads: &[f64], most: usize, room: impl Fn(usize) -> f64) -> usize {
    let mut sorted = loads.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let roomiest = room(1);
    if roomiest <= 0.0 {
        return most.max(1);
    }
    let clipped: f64 = sorted.iter().map(|load| load.min(roomiest)).sum();
    let least = (clipped / roomiest * (1.0 - ALIKE)).ceil().max(1.0) as usize;
    (least..most).find(|workers| fits(&sorted, *workers, room(*workers))).unwrap_or(most.max(1))
}

fn fits(sorted: &[f64], workers: usize, room: f64) -> bool {
    patterns(sorted.len(), workers).any(|pattern| {
        let shares = pattern.shares(sorted.len(), workers, |rank| sorted[rank].min(room));
        shares.iter().all(|share| *share <= room * (1.0 + ALIKE))
    })
}

/// Loads dealt out to so many workers as evenly as the patterns can: the worker of each load, and the greatest share.
pub(super) fn deal(loads: &[f64], workers: usize) -> (Vec<usize>, f64) {
    let mut order: Vec<usize> = (0..loads.len()).collect();
    order.sort_by(|a, b| loads[*b].total_cmp(&loads[*a]).then(a.cmp(b)));
    let greatest = |pattern: &Pattern| {
        let shares = pattern.shares(order.len(), workers, |rank| loads[order[rank]]);
        shares.into_iter().fold(0.0, f64::max)
    };
    let best = patterns(loads.len(), workers).map(|pattern| (greatest(&pattern), pattern));
    let Some((share, pattern)) = best.min_by(|a, b| a.0.total_cmp(&b.0)) else { return (Vec::new(), 0.0) };
    let mut places = vec![0; loads.len()];
    pattern.each(loads.len(), workers, |rank, worker| places[order[rank]] = worker);
    (places, share)
}

/// One way to deal: the first `apart` workers get one of the heaviest each, and nothing more for `rounds` rounds.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    apart: usize,
    rounds: usize,
}

fn patterns(loads: usize, workers: usize) -> impl Iterator<Item = Pattern> {
    let even = Pattern { apart: 0, rounds: 0 };
    let rounds: Vec<usize> = (2..=ROUNDS.min(loads)).chain((loads > ROUNDS).then_some(loads)).collect();
    let apart = 1..=APART.min(workers.saturating_sub(1));
    let others = apart.flat_map(move |apart| rounds.clone().into_iter().map(move |rounds| Pattern { apart, rounds }));
    std::iter::once(even).chain(others)
}

impl Pattern {
    /// Calls `to` with each rank, heaviest first, and its worker.
    fn each(self, loads: usize, workers: usize, mut to: impl FnMut(usize, usize)) {
        let mut rank = 0;
        for round in 0.. {
            // In the first round everybody gets one; then those apart are passed by.
            let from = if round > 0 && round < self.rounds { self.apart } else { 0 };
            for at in from..workers {
                if rank == loads {
                    return;
                }
                to(rank, if round % 2 == 0 { at } else { workers - 1 - at + from });
                rank += 1;
            }
        }
    }

    fn shares(self, loads: usize, workers: usize, load: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut shares = vec![0.0; workers];
        self.each(loads, workers, |rank, worker| shares[worker] += load(rank));
        shares
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_loads_need_as_many_workers_as_their_count_says() {
        let loads = [1.0; 24];
        for (room, workers) in [(24.0, 1), (12.0, 2), (8.0, 3), (5.0, 5), (4.0, 6), (3.9, 8), (1.0, 24), (0.5, 24)] {
            assert_eq!(fewest(&loads, 24, |_| room), workers, "{room}");
        }
    }

    #[test]
    fn a_hot_load_is_set_apart() {
        let loads = [8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(fewest(&loads, 13, |_| 10.0), 2);
        let (places, greatest) = deal(&loads, 2);
        assert_eq!(greatest, 10.0);
        assert_eq!(places.iter().filter(|place| **place == places[0]).count(), 3);
    }

    #[test]
    fn what_no_worker_can_hold_fills_one_and_asks_for_no_more() {
        assert_eq!(fewest(&[100.0, 1.0, 1.0], 3, |_| 4.0), 2);
        assert_eq!(fewest(&[1e300, 1e300], 2, |_| 4.0), 2);
    }

    #[test]
    fn nothing_needs_one_worker() {
        assert_eq!(fewest(&[], 5, |_| 1.0), 1);
        assert_eq!(fewest(&[0.0; 9], 5, |_| 1.0), 1);
        assert_eq!(fewest(&[1.0], 5, |_| 0.0), 5, "nobody can do anything");
    }

    fn loads() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(prop_oneof![Just(0.0), 0.0..1.0f64, 0.0..20.0f64], 0..40)
    }

    proptest! {
        #[test]
        fn more_load_never_asks_for_fewer_workers(
            loads in loads(), more in proptest::collection::vec(0.0..3.0f64, 40), room in 0.1..30.0f64,
            falls in 0.0..0.9f64,
        ) {
            let room = |workers: usize| room * (workers as f64).powf(-falls);
            let heavier: Vec<f64> = loads.iter().zip(more).map(|(load, more)| load + more).collect();
            prop_assert!(fewest(&heavier, 40, room) >= fewest(&loads, 40, room));
        }

        #[test]
        fn every_load_is_dealt_and_the_greatest_share_is_told(loads in loads(), workers in 1..12usize) {
            let (places, greatest) = deal(&loads, workers);
            let mut shares = vec![0.0; workers];
            places.iter().zip(&loads).for_each(|(place, load)| shares[*place] += load);
            let found = shares.into_iter().fold(0.0, f64::max);
            prop_assert!((found - greatest).abs() < 1e-9);
        }

        #[test]
        fn a_load_fits_on_what_was_found(loads in loads(), room in 0.1..30.0f64) {
            let workers = fewest(&loads, 40, |_| room);
            let heaviest = loads.iter().copied().fold(0.0, f64::max);
            prop_assert!(workers >= 40 || deal(&loads, workers).1 <= room.max(heaviest) * (1.0 + 1e-6));
        }
    }
}
