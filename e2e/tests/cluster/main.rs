//! Pipelines on a real Kubernetes. `e2e/cluster/test` runs these.

#![expect(clippy::disallowed_methods, reason = "real processes take real time")]

mod bounded;
mod chart;
mod fire;
mod health;
mod kills;
mod losses;
mod metrics;
mod mortal;
mod ownership;
mod pipelines;
mod release;
mod scaling;
mod taxi;

use std::time::Duration;

/// How long anything in the cluster may take.
const LIMIT: Duration = Duration::from_secs(90);
