//! How many workers a pipeline has, and who decides it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// How many workers a pipeline has; one by default. All of it may change while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.minWorkers <= self.maxWorkers",
    "minWorkers must not exceed maxWorkers (each is 1 by default)"
))]
#[x_kube(validation = (
    "!has(self.workers) || self.mode == 'Manual'",
    "workers is set only with mode: Manual; otherwise use minWorkers and maxWorkers"
))]
#[x_kube(validation = (
    "!has(self.workers) || (self.workers >= self.minWorkers && self.workers <= self.maxWorkers)",
    "workers must lie between minWorkers and maxWorkers (each is 1 by default)"
))]
pub struct ScalingSpec {
    /// Who decides.
    #[serde(default)]
    pub mode: ScalingMode,
    /// With `Manual`: how many; also what the scale subresource sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub workers: Option<i32>,
    /// At least so many; 0 stops them all while there is nothing to read.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_workers: i32,
    /// At most so many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_workers: i32,
    /// The age of the oldest record not accepted that is aimed at.
    #[serde(default = "default_target_lag")]
    pub target_lag: Duration,
    /// How long catching up may take.
    #[serde(default = "default_catch_up")]
    pub catch_up: Duration,
    /// How long nothing must come before the last worker is stopped.
    #[serde(default = "default_zero_after")]
    pub zero_after: Duration,
}

impl Default for ScalingSpec {
    fn default() -> Self {
        Self {
            mode: ScalingMode::default(),
            workers: None,
            min_workers: one(),
            max_workers: one(),
            target_lag: default_target_lag(),
            catch_up: default_catch_up(),
            zero_after: default_zero_after(),
        }
    }
}

fn one() -> i32 {
    1
}

fn default_target_lag() -> Duration {
    Duration::from_secs(30)
}

fn default_catch_up() -> Duration {
    Duration::from_secs(120)
}

fn default_zero_after() -> Duration {
    Duration::from_secs(600)
}

/// Who decides how many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// The operator.
    #[default]
    Auto,
    /// The operator says what it would do, and does not do it.
    Recommend,
    /// The user, by `workers`.
    Manual,
}
