//! From the mounted plan to a running job.

use std::path::PathBuf;
use std::sync::Arc;

use thalweg_connectors::kafka::client::{Library, Reach};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::Error;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::unit::RunId;
use thalweg_crds::restart::{RESTART, Restarted};
use thalweg_state::Sharing;
use tokio::sync::Mutex;

use super::error::ClusterError;
use crate::budget::Budget;
use crate::job::{self, Mounted, Planned, Roots, build, plan_manifests};
use crate::runtime::load::Throttle;
use crate::runtime::{Job, RunError};

/// File with the hash of the plan.
const HASH: &str = "plan";
/// File with the pipeline, its sources and its sinks, as manifests.
const RESOURCES: &str = "resources.yaml";

/// Starts the job of a mounted plan, as often as it is assigned.
pub struct Launcher {
    resources: PathBuf,
    hash: String,
    restart: Option<Restart>,
    namespace: String,
    pipeline: String,
    state: Option<String>,
    mounted: Mounted,
    threads: usize,
    budget: Budget,
    throttle: Option<Arc<Throttle>>,
    run_id: RunId,
    clock: SharedClock,
    outside: Outside,
}

/// What a job meets beyond this process.
pub struct Outside {
    /// How clusters of Kafka are reached.
    pub kafka: Arc<dyn Reach>,
    /// Where state is. Kept from job to job, so that state in memory outlives a job that failed.
    pub roots: Mutex<Roots>,
}

impl Default for Outside {
    fn default() -> Self {
        Self { kafka: Arc::new(Library), roots: Mutex::default() }
    }
}

impl Launcher {
    /// A launcher of the plan that is mounted now. A plan never changes: another one is another pod's.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn new(
        settings: &super::Settings,
        run_id: RunId,
        clock: SharedClock,
        outside: Outside,
    ) -> Result<Self, ClusterError> {
        let path = settings.plan.join(HASH);
        let hash = std::fs::read_to_string(&path).map_err(|error| ClusterError::File {
            path,
            said: error.to_string(),
            expected: "expected the hash of the plan, as the operator mounts it",
        })?;
        Ok(Self {
            resources: settings.plan.join(RESOURCES),
            hash: hash.trim().to_owned(),
            restart: restart(settings.plan.join(RESTART))?,
            namespace: settings.namespace.clone(),
            pipeline: settings.pipeline.clone(),
            state: settings.state.clone(),
            mounted: settings.mounted.clone(),
            threads: settings.threads,
            budget: settings.budget,
            throttle: settings.throttle.clone(),
            run_id,
            clock,
            outside,
        })
    }

    /// The hash of the plan.
    pub fn plan_hash(&self) -> &str {
        &self.hash
    }

    /// The pipeline as metrics and logs name it.
    pub fn name(&self) -> String {
        format!("{}.{}", self.namespace, self.pipeline)
    }

    /// Opens state and connectors.
    ///
    /// # Errors
    /// Whatever keeps the job from running.
    pub async fn job(self: &Arc<Self>) -> Result<Job, RunError> {
        let planning = self.clone();
        // Played through, nothing happens side by side: two runs of one history must do the same.
        let planned = match cfg!(test) {
            true => Ok(planning.plan()),
            false => tokio::task::spawn_blocking(move || planning.plan()).await,
        };
        let planned = planned.map_err(|error| RunError::Internal(format!("planning stopped: {error}")))??;
        let settings = job::Settings {
            state: self.state.clone(),
            sharing: Sharing::Assigned,
            fresh: false,
            restart: self.restart.clone(),
            secrets: self.mounted.clone(),
            threads: self.threads,
            budget: self.budget,
            throttle: self.throttle.clone(),
            plan_hash: self.hash.as_str().into(),
            run_id: self.run_id.clone(),
            clock: self.clock.clone(),
            kafka: self.outside.kafka.clone(),
        };
        build(planned, &settings, &mut *self.outside.roots.lock().await).await
    }

    fn plan(&self) -> Result<Planned, RunError> {
        let what = || format!("planning `{}`", self.resources.display());
        let found = plan_manifests(std::slice::from_ref(&self.resources), &self.mounted);
        let found = found.map_err(|problems| {
            let said: Vec<_> = problems.as_slice().iter().map(ToString::to_string).collect();
            Error::user(what(), said.join("\n"))
        })?;
        let (namespace, name) = (&self.namespace, &self.pipeline);
        let mut pipelines = found.pipelines.into_iter();
        let mine = pipelines.find(|found| found.resolved.namespace == *namespace && found.resolved.name == *name);
        mine.ok_or_else(|| Error::user(what(), format!("it holds no StreamPipeline `{namespace}/{name}`")).into())
    }
}

/// The start from scratch that a plan belongs to, where somebody asked for one.
fn restart(path: PathBuf) -> Result<Option<Restart>, ClusterError> {
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string()),
    };
    let parsed = text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let expected = "expected which start from scratch the plan belongs to, as the operator mounts it";
    let Restarted { made, count, nonce, .. } = parsed.map_err(|said| ClusterError::File { path, said, expected })?;
    Ok(Some(Restart { made, count, nonce }))
}
