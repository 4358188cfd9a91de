//! Pipelines on a real Kubernetes. `e2e/cluster/test` runs these.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

mod chart;
mod hand;
mod metrics;
mod operator;
mod pipelines;
mod scaling;
mod several;
mod worker;
