//! A real Kubernetes: what tests ask of it, and the faults that they bring about.
//!
//! `e2e/cluster/test` starts it and runs the tests within the network of its nodes, so that the API server, pods and
//! this process reach each other directly.

pub mod faults;
pub mod kubectl;
pub mod s3;
pub mod web;

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
