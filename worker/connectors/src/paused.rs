//! A clock for tests whose time runs ahead where everybody waits.

use std::time::Duration;

use thalweg_core::clock::Clock;
use tokio::time::Instant;

/// The time of the test's runtime; it began in 1970.
pub(crate) struct Paused(Instant);

impl Paused {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Paused {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).expect("a short test")
    }
}
