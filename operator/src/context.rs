//! What all looks at pipelines share.

use std::sync::Arc;

use kube::Client;
use kube::runtime::events::Recorder;
use thalweg_operator_plan::objects::Settings;

use crate::backoff::Backoff;
use crate::checks::Checks;
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::overlay::Overlay;
use crate::reports::Reports;
use crate::rollouts::Rollouts;
use crate::scaling::Scalers;
use crate::status::StatusTimes;
use crate::tally::Tally;
use crate::verdicts::Verdicts;
use crate::world::World;

/// What all looks at pipelines share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is cached of it.
    pub world: Arc<World>,
    /// What was written and is not cached yet.
    pub overlay: Arc<Overlay>,
    /// What workers said.
    pub reports: Arc<Reports>,
    /// Plans of SQL.
    pub checks: Arc<Checks>,
    /// Where events go.
    pub events: Recorder,
    /// What the installation says about workers.
    pub settings: Settings,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Pipelines that replace their pods since the installation has changed.
    pub rollouts: Arc<Rollouts>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Failures in a row, by pipeline.
    pub backoff: Backoff,
    /// When the status of each pipeline was written.
    pub written: StatusTimes,
    /// What pipelines say about their sources and sinks.
    pub verdicts: Verdicts,
    /// What is remembered for the sake of the number of workers.
    pub scalers: Scalers,
    /// Pipelines by phase and units by state.
    pub tally: Arc<Tally>,
}
