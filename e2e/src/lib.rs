//! The test bed: real brokers and a real cluster.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

pub mod cluster;
pub mod kafka;

use std::time::{Duration, Instant};

/// Waits until something is there.
///
/// # Panics
/// It did not come in time; the message says what was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
