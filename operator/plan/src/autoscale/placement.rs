//! Which worker reads which split: a packing that moves as little as it can.

use super::packing::deal;

/// How far above the evenest packing a worker may be, as a part of the room: finer differences are not worth a move.
const SLACK: f64 = 0.05;
/// A whole new packing has to better the greatest share by this part before everything moves for it.
const WORTH: f64 = 0.1;

/// Moves splits off workers that have more than `room`, and splits without a worker to whoever has least. `held` is the
/// worker of each load, below `workers`, or none; the answer is the same with no load left out.
pub fn place(loads: &[f64], held: &[Option<usize>], workers: usize, room: f64) -> Vec<usize> {
    if workers == 0 {
        return Vec::new();
    }
    let (ideal, evenest) = deal(loads, workers);
    let slack = SLACK * if room > 0.0 { room.min(evenest) } else { evenest };
    let limit = room.max(evenest + slack);
    let mut shares = Shares::new(loads, workers);
    let places = shares.settle(held);
    let places = shares.level(places, limit);
    if shares.greatest() <= limit || evenest > shares.greatest() * (1.0 - WORTH) {
        return places;
    }
    relabelled(&ideal, held, workers)
}

struct Shares<'a> {
    loads: &'a [f64],
    of: Vec<f64>,
    counts: Vec<usize>,
}

impl<'a> Shares<'a> {
    fn new(loads: &'a [f64], workers: usize) -> Self {
        Self { loads, of: vec![0.0; workers], counts: vec![0; workers] }
    }

    fn greatest(&self) -> f64 {
        self.of.iter().copied().fold(0.0, f64::max)
    }

    fn add(&mut self, load: usize, worker: usize) {
        self.of[worker] += self.loads[load];
        self.counts[worker] += 1;
    }

    fn take(&mut self, load: usize, worker: usize) {
        self.of[worker] -= self.loads[load];
        self.counts[worker] -= 1;
    }

    fn lightest(&self) -> usize {
        let order = |a: &usize, b: &usize| {
            self.of[*a].total_cmp(&self.of[*b]).then(self.counts[*a].cmp(&self.counts[*b])).then(a.cmp(b))
        };
        (0..self.of.len()).min_by(order).unwrap_or_default()
    }

    /// Leaves what has a worker, and gives the others to whoever has least, heaviest first.
    fn settle(&mut self, held: &[Option<usize>]) -> Vec<usize> {
        let mut places: Vec<Option<usize>> =
            held.iter().map(|worker| worker.filter(|worker| *worker < self.of.len())).collect();
        for (load, worker) in places.iter().enumerate() {
            worker.iter().for_each(|worker| self.add(load, *worker));
        }
        let mut lost: Vec<usize> = (0..places.len()).filter(|load| places[*load].is_none()).collect();
        lost.sort_by(|a, b| self.loads[*b].total_cmp(&self.loads[*a]).then(a.cmp(b)));
        for load in lost {
            let worker = self.lightest();
            self.add(load, worker);
            places[load] = Some(worker);
        }
        places.into_iter().flatten().collect()
    }

    /// Moves single splits from the heaviest worker to the lightest for as long as one is above the limit and it helps.
    fn level(&mut self, mut places: Vec<usize>, limit: f64) -> Vec<usize> {
        for _ in 0..places.len() {
            let Some(heaviest) = (0..self.of.len()).max_by(|a, b| self.of[*a].total_cmp(&self.of[*b])) else { break };
            let lightest = self.lightest();
            if self.of[heaviest] <= limit {
                break;
            }
            let after =
                |load: &usize| (self.of[heaviest] - self.loads[*load]).max(self.of[lightest] + self.loads[*load]);
            let theirs = (0..places.len()).filter(|load| places[*load] == heaviest);
            let best = theirs.min_by(|a, b| after(a).total_cmp(&after(b)).then(a.cmp(b)));
            let Some(load) = best.filter(|load| after(load) < self.of[heaviest] * (1.0 - 1e-6)) else { break };
            self.take(load, heaviest);
            self.add(load, lightest);
            places[load] = lightest;
        }
        places
    }
}

/// A packing whose workers are named so that most splits stay where they are.
fn relabelled(ideal: &[usize], held: &[Option<usize>], workers: usize) -> Vec<usize> {
    let mut stays = vec![vec![0usize; workers]; workers];
    for (place, held) in ideal.iter().zip(held) {
        held.iter().filter(|held| **held < workers).for_each(|held| stays[*place][*held] += 1);
    }
    let mut pairs: Vec<(usize, usize)> = (0..workers).flat_map(|a| (0..workers).map(move |b| (a, b))).collect();
    pairs.sort_by_key(|(place, worker)| (std::cmp::Reverse(stays[*place][*worker]), *place, *worker));
    let (mut names, mut taken) = (vec![None; workers], vec![false; workers]);
    for (place, worker) in pairs {
        if names[place].is_none() && !taken[worker] {
            (names[place], taken[worker]) = (Some(worker), true);
        }
    }
    ideal.iter().map(|place| names[*place].unwrap_or(*place)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_moves_while_everybody_has_room() {
        let held = [Some(0), Some(0), Some(0), Some(1)];
        assert_eq!(place(&[1.0; 4], &held, 2, 3.0), [0, 0, 0, 1]);
    }

    #[test]
    fn a_hot_split_gets_room_by_few_moves() {
        let loads = [6.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let held = [Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)];
        let places = place(&loads, &held, 2, 6.5);
        let moved = places.iter().zip(&held).filter(|(now, before)| Some(**now) != **before).count();
        assert_eq!(moved, 2, "{places:?}");
        assert!(places[0] == 0 && places[1..].iter().all(|place| *place == 1));
    }

    #[test]
    fn splits_of_a_worker_that_leaves_go_to_those_that_stay() {
        let places = place(&[1.0; 4], &[Some(0), Some(1), Some(2), None], 2, 10.0);
        assert_eq!(&places[..2], [0, 1]);
        assert_ne!(places[2], places[3]);
    }

    proptest! {
        #[test]
        fn every_split_has_a_worker_and_nobody_more_than_the_evenest_packing_or_the_room(
            splits in proptest::collection::vec((0.0..10.0f64, proptest::option::of(0..8usize)), 0..40),
            workers in 1..8usize, room in 0.0..20.0f64,
        ) {
            let (loads, held): (Vec<f64>, Vec<Option<usize>>) = splits.into_iter().unzip();
            let places = place(&loads, &held, workers, room);
            prop_assert_eq!(places.len(), loads.len());
            let mut shares = vec![0.0; workers];
            places.iter().zip(&loads).for_each(|(place, load)| shares[*place] += load);
            let greatest = shares.into_iter().fold(0.0, f64::max);
            let evenest = deal(&loads, workers).1;
            prop_assert!(greatest <= room.max(evenest / (1.0 - WORTH)) + 1e-9, "{} {}", greatest, evenest);
        }
    }
}
