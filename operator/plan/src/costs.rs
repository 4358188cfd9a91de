//! What units cost, as it is measured: the weight of a key group in the rebalance rule.
//!
//! Damped twice, since a move is a pause: costs are smoothed over about a minute, and a weight changes only once its unit
//! costs half, or more than twice, of what it stands for.

use std::collections::BTreeMap;

use thalweg_crds::ids::UnitId;

/// How much of what is believed one look changes: with looks each five seconds, half of it in a minute.
const NEW: f64 = 0.06;
/// A weight `w` stands for costs from `w` to `2 w` times the mean, and goes on to for this much beyond.
const SLACK: f64 = 1.4;
/// The most and the least that a unit counts.
const BOUNDS: (f64, f64) = (0.5, 16.0);
/// Where units together work for less than this share of one worker's time, nothing is worth a move.
const LITTLE: f64 = 0.1;

/// What units cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs(BTreeMap<UnitId, Cost>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    /// Share of a worker's time.
    share: f64,
    weight: f64,
}

/// Who weighs what; a unit that is not named counts as 1.
pub type Weights = BTreeMap<UnitId, f64>;

impl Costs {
    /// So much of its worker's time each unit took in the last seconds, 0 to 1. Of those that are left out nothing is
    /// known now, and what was known stands; those that are no units any more are told by `is_unit`.
    pub fn note(&mut self, shares: &BTreeMap<UnitId, f64>, is_unit: impl Fn(UnitId) -> bool) {
        self.0.retain(|unit, _| is_unit(*unit));
        let heard: Vec<_> =
            shares.iter().filter(|(unit, share)| is_unit(**unit) && (0.0..=1.01).contains(*share)).collect();
        // Who is seen for the first time counts as all do.
        let usual = heard.iter().map(|(_, share)| **share).sum::<f64>() / heard.len().max(1) as f64;
        for (unit, share) in heard {
            let cost = self.0.entry(*unit).or_insert(Cost { share: usual, weight: 1.0 });
            cost.share += NEW * (share - cost.share);
        }
        let all: f64 = self.0.values().map(|cost| cost.share).sum();
        let mean = all / self.0.len().max(1) as f64;
        for cost in self.0.values_mut() {
            let ratio = if all > LITTLE { cost.share / mean } else { 1.0 };
            cost.weight = weight(ratio, cost.weight);
        }
    }

    /// What each counts.
    pub fn weights(&self) -> Weights {
        self.0.iter().map(|(unit, cost)| (*unit, cost.weight)).collect()
    }
}

/// A power of two for a cost of `ratio` times the mean; the one before, while that is not far off.
fn weight(ratio: f64, before: f64) -> f64 {
    if (before / SLACK..before * 2.0 * SLACK).contains(&ratio) {
        return before;
    }
    ratio.max(f64::MIN_POSITIVE).log2().floor().exp2().clamp(BOUNDS.0, BOUNDS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(index: i32) -> UnitId {
        UnitId { stage: 1, index }
    }

    /// Costs of four units, looked at so often.
    fn looked(costs: &mut Costs, looks: usize, shares: impl Fn(usize) -> [f64; 4]) {
        for look in 0..looks {
            let shares = (0..).map(unit).zip(shares(look)).collect();
            costs.note(&shares, |_| true);
        }
    }

    fn weights(costs: &Costs) -> Vec<f64> {
        costs.weights().into_values().collect()
    }

    #[test]
    fn a_unit_that_costs_much_more_than_others_weighs_more_after_a_while() {
        let mut costs = Costs::default();
        looked(&mut costs, 20, |_| [0.1; 4]);
        assert_eq!(weights(&costs), [1.0; 4]);
        looked(&mut costs, 2, |_| [0.9, 0.1, 0.1, 0.1]);
        assert_eq!(weights(&costs), [1.0; 4], "not at once");
        looked(&mut costs, 100, |_| [0.9, 0.1, 0.1, 0.1]);
        assert!(weights(&costs)[0] >= 2.0 && weights(&costs)[1] <= 0.5, "{:?}", weights(&costs));
    }

    #[test]
    fn costs_that_waver_change_no_weight() {
        let mut costs = Costs::default();
        looked(&mut costs, 500, |look| if look % 2 == 0 { [0.5, 0.25, 0.35, 0.2] } else { [0.25, 0.5, 0.2, 0.35] });
        assert_eq!(weights(&costs), [1.0; 4]);
    }

    #[test]
    fn what_hardly_works_weighs_the_same_and_what_makes_no_sense_is_not_heard() {
        let mut costs = Costs::default();
        looked(&mut costs, 100, |_| [0.02, 0.0, 0.0, 0.0]);
        looked(&mut costs, 100, |_| [f64::NAN, -1.0, 7.0, f64::INFINITY]);
        assert_eq!(weights(&costs), [1.0; 4]);
        costs.note(&BTreeMap::new(), |unit| unit.index < 2);
        assert_eq!(weights(&costs).len(), 2);
    }
}
