//! What a worker can do: learnt from what it does while it is busy.

/// How much of what was learnt is kept from one look to the next: half of it goes in some 140 looks.
const KEPT: f64 = 0.995;
/// Capacity falls with the number of workers as its power, and never so fast that one more worker takes away from all.
const STEEPEST: f64 = -0.8;
/// Evidence that the number of workers has no influence, in looks with workers twice as many as in others.
const PRIOR: f64 = 0.5;

/// What a worker can do, by the number of workers: `μ(n) = μ(1) · n^slope`, `-0.8 ≤ slope ≤ 0`, fitted by least squares over
/// logarithms to what was seen, the older counting less. Sublinear: workers share a store, a network, and partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Capacity {
    weight: f64,
    workers: f64,
    rate: f64,
    workers_squared: f64,
    workers_rate: f64,
}

impl Capacity {
    /// So many workers did `rate` records a second each for the time that they were busy.
    pub fn learn(&mut self, workers: usize, rate: f64) {
        if workers == 0 || !rate.is_normal() || rate < 0.0 {
            return;
        }
        let (x, y) = ((workers as f64).ln(), rate.ln());
        let sum = |of: f64, new: f64| of * KEPT + new;
        *self = Self {
            weight: sum(self.weight, 1.0),
            workers: sum(self.workers, x),
            rate: sum(self.rate, y),
            workers_squared: sum(self.workers_squared, x * x),
            workers_rate: sum(self.workers_rate, x * y),
        };
    }

    /// Records a second of each of so many workers; `None` before anything was learnt.
    pub fn of(&self, workers: usize) -> Option<f64> {
        if self.weight <= 0.0 {
            return None;
        }
        let (x, y) = (self.workers / self.weight, self.rate / self.weight);
        let covariance = self.workers_rate - self.weight * x * y;
        let variance = (self.workers_squared - self.weight * x * x).max(0.0);
        let slope = (covariance / (variance + PRIOR)).clamp(STEEPEST, 0.0);
        Some((y + slope * ((workers.max(1) as f64).ln() - x)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(seen: impl IntoIterator<Item = (usize, f64)>) -> Capacity {
        let mut capacity = Capacity::default();
        seen.into_iter().for_each(|(workers, rate)| capacity.learn(workers, rate));
        capacity
    }

    #[test]
    fn nothing_is_known_before_something_was_seen() {
        assert_eq!(Capacity::default().of(3), None);
        assert_eq!(learnt([(0, 5.0), (1, f64::NAN), (1, f64::INFINITY), (1, 0.0), (1, -1.0)]).of(1), None);
    }

    #[test]
    fn without_other_evidence_each_worker_counts_the_same() {
        let capacity = learnt([(2, 900.0); 50]);
        assert!((capacity.of(20).unwrap() - 900.0).abs() < 1e-6);
    }

    #[test]
    fn workers_that_hinder_each_other_are_expected_to_do_so_further_on() {
        let seen = |workers: usize| 1_000.0 / (workers as f64).sqrt();
        let capacity = learnt((0..400).map(|look| 1 + look % 4).map(|workers| (workers, seen(workers))));
        let found = capacity.of(9).unwrap();
        assert!((found - 333.0).abs() < 10.0, "{found}");
    }

    #[test]
    fn more_workers_never_do_less_together_and_never_more_each() {
        let falling = learnt((0..400).map(|look| 1 + look % 4).map(|workers| (workers, (0.1f64).powi(workers as i32))));
        let rising = learnt((0..400).map(|look| 1 + look % 4).map(|workers| (workers, 10f64.powi(workers as i32))));
        for workers in 1..50usize {
            let of = |capacity: &Capacity, n: usize| capacity.of(n).unwrap();
            assert!(of(&falling, workers + 1) * (workers + 1) as f64 >= of(&falling, workers) * workers as f64);
            assert!((of(&rising, workers + 1) / of(&rising, workers) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let capacity = learnt(std::iter::repeat_n((2, 500.0), 500).chain(std::iter::repeat_n((2, 1_000.0), 1_000)));
        assert!((capacity.of(2).unwrap() - 1_000.0).abs() < 10.0);
    }
}
