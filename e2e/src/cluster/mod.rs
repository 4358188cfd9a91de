//! A real Kubernetes: what tests ask of it, and the faults that they bring about.
//!
//! `e2e/cluster/test` starts it and runs the tests within the network of its nodes, so that the API server, pods and
//! this process reach each other directly.

pub mod faults;
pub mod kubectl;
pub mod prometheus;
pub mod s3;
pub mod web;
