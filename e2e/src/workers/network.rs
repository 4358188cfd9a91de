//! Addresses that are cut off from the others.
//!
//! Workers of one machine have loopback addresses of their own. Within a network namespace of its own, where nobody else
//! is disturbed, such an address can be taken away: packets of connections that stand are lost, and new ones are refused.

use std::process::{Command, Stdio};

/// Set in a network namespace that belongs to the tests.
const OWN_NETWORK: &str = "E2E_OWN_NETWORK";

/// An address that nobody reaches until this is dropped.
#[derive(Debug)]
pub struct CutOff(String);

impl CutOff {
    /// Whether addresses can be cut off here.
    pub fn is_possible() -> bool {
        std::env::var_os(OWN_NETWORK).is_some()
    }

    /// Cuts an address off.
    ///
    /// # Panics
    /// It is not possible here.
    pub fn of(address: &str) -> Self {
        assert!(Self::is_possible(), "only a network of the test's own is cut: see scripts/soak");
        assert!(route("add", address), "cutting {address} off");
        Self(address.to_owned())
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        route("del", &self.0);
    }
}

fn route(verb: &str, address: &str) -> bool {
    let words = ["route", verb, "blackhole", &format!("{address}/32"), "table", "local", "metric", "0"];
    Command::new("ip").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
