//! When a look that failed is repeated: later each time, and not all at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// After the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// At the most.
const MOST: Duration = Duration::from_secs(60);

/// Failures in a row, by pipeline.
pub struct Backoff {
    state: Mutex<State>,
}

struct State {
    failures: HashMap<String, u32>,
    random: StdRng,
}

impl Backoff {
    /// No failure yet.
    pub fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { state: Mutex::new(State { failures: HashMap::new(), random }) }
    }

    /// A look failed: how long to wait.
    pub fn failed(&self, pipeline: &str) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = state.failures.entry(pipeline.to_owned()).or_default();
        *failures = failures.saturating_add(1);
        let failures = *failures;
        let share = state.random.random::<f64>();
        delay(failures, share)
    }

    /// A look went well.
    pub fn went_well(&self, pipeline: &str) {
        self.forget(pipeline);
    }

    /// A pipeline is gone.
    pub fn forget(&self, pipeline: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failures.remove(pipeline);
    }
}

/// Doubles with each failure; between half of that and all of it, by a random share.
fn delay(failures: u32, share: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MOST);
    doubled.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_are_spread() {
        assert_eq!(delay(1, 1.0), FIRST);
        assert_eq!(delay(1, 0.0), FIRST / 2);
        assert_eq!(delay(3, 1.0), FIRST * 4);
        assert_eq!(delay(1000, 1.0), MOST);
        let backoff = Backoff::new(7);
        assert!(backoff.failed("a") <= FIRST);
        assert!(backoff.failed("a") >= FIRST / 2 * 2 / 2);
        backoff.went_well("a");
        assert!(backoff.failed("a") <= FIRST);
    }
}
