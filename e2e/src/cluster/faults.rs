//! What tests do to the network between the hosts of the test bed's own cluster.

use std::process::Command;

/// A host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The control plane: no API server for anybody.
    ControlPlane,
    /// A node, by number from 1: its containers go on, and hear nothing.
    Node(u8),
}

/// A host that is cut off until this is dropped.
#[derive(Debug)]
pub struct Partition {
    link: String,
}

impl Partition {
    /// Cuts a host off.
    ///
    /// # Panics
    /// The test does not run within the network of the test bed.
    pub fn of(host: Host) -> Self {
        let link = match host {
            Host::ControlPlane => "tw-cp-v".to_owned(),
            Host::Node(number) => format!("tw-n{number}-v"),
        };
        assert!(set(&link, "down"), "no link {link}: faults need the test bed's own cluster");
        Self { link }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        set(&self.link, "up");
    }
}

fn set(link: &str, state: &str) -> bool {
    Command::new("ip").args(["link", "set", link, state]).status().is_ok_and(|status| status.success())
}
