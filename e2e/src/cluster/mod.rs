//! A real Kubernetes: what tests ask of it, and the faults that they bring about.
//!
//! `e2e/cluster/test` starts it and runs the tests within the network of its nodes, so that the API server, pods and
//! this process reach each other directly.

pub mod argo;
pub mod faults;
pub mod kubectl;
pub mod prometheus;
pub mod s3;
pub mod web;

/// This machine, as pods reach it: the host between the nodes, or what `E2E_HOST` names where pods are of another cluster.
pub fn host() -> String {
    std::env::var("E2E_HOST").unwrap_or_else(|_| "172.30.77.1".to_owned())
}
