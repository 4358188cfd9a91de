//! What tests do to the hosts of the test bed's own cluster, and to the network between them. Of another cluster
//! (`E2E_KUBECONFIG`) neither is ours: what they would do is left out there, and that is said.

use std::process::Command;

use super::kubectl::{delete_now, name, pod_with};

/// Whether the tests run on another cluster than the test bed's own.
pub fn is_elsewhere() -> bool {
    std::env::var_os("E2E_KUBECONFIG").is_some_and(|file| !file.is_empty())
}

/// Says what is left out on another cluster.
pub fn leave_out(what: &str) {
    println!("LEFT OUT, for the cluster is not the test bed's own: {what}");
}

/// A host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The control plane: no API server for anybody.
    ControlPlane,
    /// A node, by number from 1: its containers go on, and hear nothing.
    Node(u8),
}

/// A host that is cut off until this is dropped; none is where that was left out.
#[derive(Debug, Default)]
pub struct Partition {
    link: Option<String>,
}

impl Partition {
    /// Cuts a host off, if the cluster is the test bed's own.
    ///
    /// # Panics
    /// It is, and the test does not run within its network.
    pub fn of(host: Host) -> Self {
        if is_elsewhere() {
            leave_out(&format!("{host:?} is not cut off"));
            return Self::default();
        }
        let link = match host {
            Host::ControlPlane => "tw-cp-v".to_owned(),
            Host::Node(number) => format!("tw-n{number}-v"),
        };
        assert!(set(&link, "down"), "no link {link}: faults need the test bed's own cluster");
        Self { link: Some(link) }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            set(link, "up");
        }
    }
}

fn set(link: &str, state: &str) -> bool {
    Command::new("ip").args(["link", "set", link, state]).status().is_ok_and(|status| status.success())
}

/// Kills the container of a pod as the kernel would, from outside: no signal that it could hear, no word to Kubernetes. On another
/// cluster the pod is deleted in place of that.
///
/// # Panics
/// No process of this machine belongs to the pod.
pub fn kill_container(pod_uid: &str) {
    if is_elsewhere() {
        let pod = pod_with(pod_uid).expect("the pod");
        leave_out(&format!("no process is killed; pod {} is deleted in place of that", name(&pod)));
        return delete_now(&pod);
    }
    let belongs = format!("POD_UID={pod_uid}");
    let mut killed = 0;
    for process in std::fs::read_dir("/proc").expect("processes").flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == belongs.as_bytes()) {
            let id = process.file_name();
            killed += usize::from(Command::new("kill").arg("-9").arg(id).status().is_ok_and(|status| status.success()));
        }
    }
    assert!(killed > 0, "no process of pod {pod_uid}: faults need the test bed's own cluster");
}
