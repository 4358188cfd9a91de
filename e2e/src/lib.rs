//! The test bed: real brokers and a real cluster.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

pub mod bank;
pub mod bars;
pub mod cluster;
pub mod deck;
pub mod kafka;
pub mod manifest;
pub mod workers;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// A command whose process ends with the thread that starts it, however that ends.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// The binary, beside the folder of the tests.
///
/// # Panics
/// It is not built.
pub fn binary() -> PathBuf {
    built("thalweg")
}

/// The binary of the operator.
///
/// # Panics
/// It is not built.
pub fn operator_binary() -> PathBuf {
    built("thalweg-operator")
}

fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a path");
    let folder = tests.parent().and_then(Path::parent).expect("target/PROFILE");
    let binary = folder.join(name);
    assert!(binary.exists(), "{} is not there: build it first (make e2e does)", binary.display());
    binary
}
