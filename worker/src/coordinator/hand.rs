//! What a coordinator writes into a pipeline's folder: plan, slots, assignment.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use thalweg_crds::assignment::{AssignmentSpec, StreamAssignment};
use thalweg_crds::ids::Slot;
use thalweg_crds::restart::RESTART;
use thalweg_operator_plan::check::Stage;
use thalweg_operator_plan::objects::{Owner, assignment, slot_lease};
use thalweg_operator_plan::validate::ValidatedPipeline;

use super::error::CoordinatorError;
use super::pipeline::Known;
use crate::cluster::ClusterError;
use crate::cluster::folder::{PipelineFolder, Written, failed, replace_file};
use crate::cluster::lease::{FolderStore, Store, released, seen};

/// File with the stages of a plan; not for workers.
const STAGES: &str = "stages.json";

/// The stages of a plan that was prepared in a folder once; none of another.
pub fn stages(folder: &PipelineFolder, plan: &str) -> Vec<Stage> {
    let noted = std::fs::read(folder.plan_of(plan).join(STAGES)).unwrap_or_default();
    serde_json::from_slice(&noted).unwrap_or_default()
}

/// What is known of a pipeline from its folder.
///
/// # Errors
/// The assignment cannot be read.
pub fn known(folder: &Path, namespace: &str, pipeline: &str) -> Result<Known, CoordinatorError> {
    let assignments = PipelineFolder::new(folder, namespace, pipeline).assignments();
    let assignment = assignments.get(pipeline)?.map(|known| known.spec);
    let made = assignment.as_ref().and_then(|assignment| Some(assignment.numbers.as_ref()?.made));
    Ok(Known { made: made.unwrap_or_else(|| Timestamp::now().as_second()), assignment })
}

/// Who looks after one pipeline's folder.
pub struct Hand {
    folder: PipelineFolder,
    pipeline: ValidatedPipeline,
    name: String,
    silence: Duration,
}

impl Hand {
    /// Of a pipeline within the coordinator's folder; `silence` is how long a slot's Lease may stand unchanged.
    pub fn new(folder: &Path, pipeline: ValidatedPipeline, silence: Duration) -> Self {
        let folder = PipelineFolder::new(folder, &pipeline.namespace, pipeline.names.pipeline());
        let name = format!("{}/{}", pipeline.namespace, pipeline.names.pipeline());
        Self { folder, pipeline, name, silence }
    }

    /// What is coordinated.
    pub fn pipeline(&self) -> &ValidatedPipeline {
        &self.pipeline
    }

    /// `NAMESPACE/NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts the plan where workers read it: a folder that never changes, and a link to it that does.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn prepare(&self) -> Result<(), ClusterError> {
        let plan = &self.pipeline.plan;
        let (link, folder) = (self.folder.plan(), self.folder.plan_of(&plan.hash));
        std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        replace_file(&folder.join("resources.yaml"), plan.resources.as_bytes())?;
        replace_file(&folder.join(STAGES), &serde_json::to_vec(&self.pipeline.stages).unwrap_or_default())?;
        if let Some(restart) = &plan.restart {
            replace_file(&folder.join(RESTART), restart.as_bytes())?;
        }
        replace_file(&folder.join("plan"), format!("{}\n", plan.hash).as_bytes())?;
        let beside = link.with_extension("new");
        let put = || {
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => symlink(folder.file_name().unwrap_or_default(), &beside)?,
            }
            std::fs::rename(&beside, &link)
        };
        put().map_err(|error| failed(&link, &error))
    }

    /// The stages of a plan that was prepared here once; none of another.
    pub fn stages(&self, plan: &str) -> Vec<Stage> {
        stages(&self.folder, plan)
    }

    /// Whether a person has paused the pipeline, here or in its manifest.
    pub fn is_paused(&self) -> bool {
        self.pipeline.paused || self.folder.paused().exists()
    }

    /// The assignment, where there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn assignment(&self) -> Result<Option<StreamAssignment>, ClusterError> {
        self.folder.assignments().get(self.pipeline.names.pipeline())
    }

    /// The slots, by number.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>, ClusterError> {
        let leases = self.folder.leases();
        let numbered = (0..).map(|number| leases.get(&self.pipeline.names.slot(number).0).transpose());
        numbered.map_while(|found| found).collect()
    }

    /// Makes the slots that are missing.
    ///
    /// # Errors
    /// A file cannot be written.
    pub async fn make_slots(&self, wanted: u32, there: usize) -> Result<(), CoordinatorError> {
        for number in u32::try_from(there).unwrap_or(wanted)..wanted {
            let mut lease = slot_lease(&self.pipeline, &self.owner(), number);
            let seconds = i32::try_from(self.silence.as_secs()).ok();
            lease.spec.get_or_insert_default().lease_duration_seconds = seconds;
            self.folder.leases().create(lease).await?;
        }
        Ok(())
    }

    /// Publishes an assignment, at the version that was read only; whether it was, and differs.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn publish(
        &self,
        known: Option<StreamAssignment>,
        desired: AssignmentSpec,
    ) -> Result<bool, CoordinatorError> {
        let written = match known {
            Some(known) if known.spec == desired => return Ok(false),
            Some(known) => self.folder.assignments().replace(StreamAssignment { spec: desired, ..known }).await?,
            None => self.folder.assignments().create(assignment(&self.pipeline, &self.owner(), desired)).await?,
        };
        // Otherwise somebody else wrote: the next look begins with what that is.
        Ok(matches!(written, Written::Done(_)))
    }

    /// Frees slots whose holder is gone, unless they were written to since they were read.
    ///
    /// # Errors
    /// A file cannot be written.
    pub async fn free(&self, leases: &[Lease], slots: &[Slot]) -> Result<(), CoordinatorError> {
        let store = FolderStore::new(self.folder.leases(), self.pipeline.names.base());
        for lease in leases.iter().filter(|lease| slots.contains(&seen(lease).slot)) {
            if let Written::Done(freed) = store.replace(released(lease)).await? {
                tracing::info!(pipeline = self.name, slot = seen(&freed).slot.0, "freed a slot whose holder is silent");
            }
        }
        Ok(())
    }

    fn owner(&self) -> Owner {
        Owner { name: self.pipeline.names.pipeline().to_owned(), uid: String::new() }
    }
}
