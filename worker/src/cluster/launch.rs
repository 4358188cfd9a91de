//! From the mounted plan to a running job.

use std::path::PathBuf;
use std::sync::Arc;

use thalweg_connectors::kafka::client::{Library, Reach};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::Error;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::unit::{RunId, StageId};
use thalweg_crds::restart::{RESTART, Restarted};
use thalweg_crds::statements::Made;
use thalweg_state::{Notes, Sharing};
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
    restarted: Option<Restarted>,
    namespace: String,
    pipeline: String,
    state: Option<String>,
    installation: Option<String>,
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

/// What a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To work by an assignment, which says when its plan was made.
    Work(Option<Made>),
    /// To look at its sources.
    Look,
    /// To see whether its plan could run while another one does, by the assignment that names that one.
    Try(Option<Made>),
}

impl Purpose {
    fn made(&self) -> Option<Made> {
        match self {
            Self::Work(made) | Self::Try(made) => made.clone(),
            Self::Look => None,
        }
    }

    fn notes(&self) -> Notes {
        match self {
            Self::Work(_) => Notes::All,
            Self::Look => Notes::Lists,
            Self::Try(_) => Notes::Nothing,
        }
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
            restarted: restarted(settings.plan.join(RESTART))?,
            namespace: settings.namespace.clone(),
            pipeline: settings.pipeline.clone(),
            state: settings.state.clone(),
            installation: settings.installation.clone(),
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

    /// Opens state and connectors. `progress` is what the assignment says of where all is kept.
    ///
    /// # Errors
    /// Whatever keeps the job from running.
    pub async fn job(self: &Arc<Self>, purpose: Purpose, progress: Option<String>) -> Result<Job, RunError> {
        let planning = self.clone();
        // Played through, nothing happens side by side: two runs of one history must do the same.
        let planned = match cfg!(test) {
            true => Ok(planning.plan()),
            false => tokio::task::spawn_blocking(move || planning.plan()).await,
        };
        let planned = planned.map_err(|error| RunError::Internal(format!("planning stopped: {error}")))??;
        let settings = job::Settings {
            state: self.state.clone(),
            installation: self.installation.clone(),
            sharing: Sharing::Assigned,
            fresh: false,
            restart: self.restarted.as_ref().and_then(restart),
            numbers: self.restarted.as_ref().and_then(numbers),
            made: purpose.made(),
            progress,
            notes: purpose.notes(),
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

/// What the operator has noted beside the plan, if anything.
fn restarted(path: PathBuf) -> Result<Option<Restarted>, ClusterError> {
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string()),
    };
    let parsed = text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let expected = "expected which start from scratch the plan belongs to, as the operator mounts it";
    parsed.map(Some).map_err(|said| ClusterError::File { path, said, expected })
}

/// The start from scratch that a plan belongs to, where somebody asked for one.
fn restart(noted: &Restarted) -> Option<Restart> {
    let Restarted { made, count, nonce, .. } = noted.clone();
    (count > 0).then_some(Restart { made, count, nonce })
}

/// The numbers of its stages, where they are others than it is planned with.
fn numbers(noted: &Restarted) -> Option<Vec<StageId>> {
    Some(noted.numbers.as_ref()?.stages.iter().copied().map(StageId).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;
    use std::time::Duration;

    use thalweg_core::clock::SystemClock;

    use super::super::folder::PipelineFolder;
    use super::super::{Place, Settings};
    use super::*;

    /// A plan as the operator mounts it, with these fields of `state`.
    fn mount(folder: &Path, state: &str) {
        let resources = format!(
            "
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: {{ name: trips }}
spec:
  generator: {{ taxi: {{}}, rows: 1 }}
  schema: [{{ name: zone, type: INT, from: pickup_location_id }}]
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: {{ name: copies }}
spec: {{ blackhole: {{}} }}
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: {{ name: p }}
spec:
  sources: [{{ name: trips }}]
  sinks: [{{ name: copies }}]
  sql: INSERT INTO copies SELECT zone FROM trips
  state: {{ {state} }}
"
        );
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(folder.join(HASH), "0f").expect("written");
        std::fs::write(folder.join(RESOURCES), resources).expect("written");
    }

    /// What comes of the job of a worker that is told this installation.
    async fn begins(folder: &Path, installation: Option<&str>, purpose: &Purpose) -> Result<(), String> {
        let settings = Settings {
            place: Place::Folder(PipelineFolder::new(folder, "default", "p")),
            namespace: "default".to_owned(),
            pipeline: "p".to_owned(),
            slot_prefix: "p".to_owned(),
            assignment: "p".to_owned(),
            pod_uid: "uid".to_owned(),
            pod_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            plan: folder.join("plan"),
            state: Some(folder.join("state").to_string_lossy().into_owned()),
            installation: installation.map(str::to_owned),
            mounted: Mounted::together(None),
            starts: None,
            http_port: 0,
            report_port: 0,
            operator_keys: Vec::new(),
            data_port: 0,
            metrics_by: Vec::new(),
            threads: 1,
            budget: Budget::default(),
            grace: Duration::ZERO,
            is_lookout: false,
            throttle: None,
        };
        let (run_id, clock) = (RunId("uid/0".to_owned()), Arc::new(SystemClock::new()));
        let launcher = Launcher::new(&settings, run_id, clock, Outside::default()).expect("a plan");
        Arc::new(launcher).job(purpose.clone(), None).await.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_worker_uses_the_state_of_its_own_installation_and_takes_over_that_of_others_only_where_it_is_told_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (folder, plan, work) = (folder.path(), folder.path().join("plan"), Purpose::Work(None));
        mount(&plan, "");
        begins(folder, Some("a"), &work).await.expect("nobody's");
        begins(folder, Some("a"), &work).await.expect("its own");
        for other in [Some("b"), None] {
            let error = begins(folder, other, &work).await.expect_err("another's");
            assert!(error.contains("StateInUse: it belongs to `default/p` of installation a"), "{error}");
        }
        mount(&plan, "adopt: true");
        begins(folder, Some("b"), &Purpose::Try(None)).await.expect("it could");
        mount(&plan, "");
        begins(folder, Some("a"), &work).await.expect("to try is to take nothing");
        mount(&plan, "adopt: true");
        begins(folder, Some("b"), &work).await.expect("it says so");
        mount(&plan, "");
        begins(folder, Some("b"), &work).await.expect("it need not say so again");
        let error = begins(folder, Some("a"), &work).await.expect_err("another's by now");
        assert!(error.contains("StateInUse: it belongs to `default/p` of installation b"), "{error}");
    }
}
