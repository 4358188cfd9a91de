//! What reserve a load needs: how much it grows while a worker starts, beyond what may wait meanwhile.

use std::time::Duration;

/// About how long it takes to notice growth and to start a worker for it.
const START: Duration = Duration::from_secs(30);
/// Growth as great as the reserve is to be this rare.
const RARE: f64 = 0.05;
/// How much one look changes what is believed: this over the number of looks, and at the least the other. A load that is
/// steady from the start is known to be so after seven minutes.
const STEP: (f64, f64) = (1.9, 0.05);
/// The growth that is believed in before anything was seen, and the most: with it ρ is 0.75.
const MOST: f64 = 1.0 / 0.75 - 1.0;
/// The least, whatever was seen: with it ρ is 0.97.
const LEAST: f64 = 1.0 / 0.97 - 1.0;

/// The growth within [`START`] that is exceeded once in twenty times, as a part of the load and beyond what may wait: followed step by step, up by
/// much where it is exceeded and down by little where it is not (Robbins and Monro's estimate of a quantile, 1951).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Swing {
    growth: f64,
    looks: u32,
    /// What came in when it was looked at last.
    last: Option<(Duration, f64)>,
}

impl Default for Swing {
    fn default() -> Self {
        Self { growth: MOST, looks: 0, last: None }
    }
}

impl Swing {
    /// So many records a second come in now, and may wait for `late_seconds`: of what comes too fast for as long as a worker
    /// starts, so much is no lag that anybody minds.
    pub fn note(&mut self, now: Duration, arrivals: f64, late_seconds: f64) {
        let Some((at, before)) = self.last else {
            self.last = Some((now, arrivals));
            return;
        };
        let passed = now.saturating_sub(at);
        if passed < START {
            return;
        }
        self.last = Some((now, arrivals));
        // After a pause of reports nobody knows how fast it grew; of nothing there is no growth.
        if passed >= START * 2 || (before == 0.0 && arrivals == 0.0) {
            return;
        }
        let waits = 1.0 + late_seconds / START.as_secs_f64();
        let exceeds = arrivals > before * (1.0 + self.growth) * waits;
        self.looks = self.looks.saturating_add(1);
        let step = (STEP.0 / f64::from(self.looks)).max(STEP.1);
        self.growth += step * if exceeds { 1.0 - RARE } else { -RARE };
        self.growth = self.growth.clamp(LEAST, MOST);
    }

    /// ρ: what a worker is given of what it can do, 0.75 to 0.97.
    pub fn utilisation(&self) -> f64 {
        1.0 / (1.0 + self.growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utilisation(late_seconds: f64, arrivals: impl Fn(u64) -> f64) -> f64 {
        let mut swing = Swing::default();
        (0..720).for_each(|look| swing.note(Duration::from_secs(look * 30), arrivals(look), late_seconds));
        swing.utilisation()
    }

    #[test]
    fn a_load_that_hardly_grows_needs_little_reserve() {
        assert!((Swing::default().utilisation() - 0.75).abs() < 1e-9);
        assert!((utilisation(0.0, |look| 1_000.0 + look as f64) - 0.97).abs() < 1e-9);
    }

    #[test]
    fn a_load_that_often_jumps_needs_all_of_it() {
        assert!(utilisation(0.0, |look| if look % 10 < 5 { 100.0 } else { 900.0 }) < 0.77);
    }

    #[test]
    fn what_may_wait_needs_no_reserve() {
        let saw = |look: u64| if look.is_multiple_of(2) { 1_000.0 } else { 1_250.0 };
        assert!(utilisation(0.0, saw) < 0.81);
        assert!((utilisation(10.0, saw) - 0.97).abs() < 1e-9, "a third more may wait for as long as a worker starts");
    }

    #[test]
    fn looks_that_are_too_near_or_too_far_tell_nothing() {
        let mut swing = Swing::default();
        (0..1_000).for_each(|second| swing.note(Duration::from_millis(second), second as f64, 0.0));
        (1..100).for_each(|hour| swing.note(Duration::from_secs(hour * 3_600), 1.0, 0.0));
        assert_eq!(swing.utilisation(), Swing::default().utilisation());
    }
}
