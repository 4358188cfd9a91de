//! Objects as files of a folder, where there is no API server: what `thalweg worker --folder` and its coordinator share.
//!
//! An object is one JSON file that is replaced as a whole. Its `resourceVersion` grows with each write, and a write counts
//! only at the version that was read, under a lock that ends with whoever holds it: what an API server's `update` promises.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_crds::assignment::StreamAssignment;

use super::error::ClusterError;

/// How long a write waits for its turn. Whoever holds a lock for longer stands still.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN_EVERY: Duration = Duration::from_millis(2);
/// What the files are for.
const EXPECTED: &str = "expected what `thalweg dev-coordinator` writes there";

/// The folder of one pipeline: `DIR/NAMESPACE/NAME`.
#[derive(Clone, Debug)]
pub struct PipelineFolder(PathBuf);

impl PipelineFolder {
    /// Within the folder that workers and coordinator are given.
    pub fn new(folder: &Path, namespace: &str, pipeline: &str) -> Self {
        Self(folder.join(namespace).join(pipeline))
    }

    /// The plan, as a worker's pod has it mounted: `plan` and `resources.yaml`.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan")
    }

    /// A plan that never changes, by its hash; [`PipelineFolder::plan`] leads to one of these.
    pub fn plan_of(&self, hash: &str) -> PathBuf {
        self.0.join(format!("plan-{hash}"))
    }

    /// The slots.
    pub fn leases(&self) -> Objects<Lease> {
        Objects::within(self.0.join("slots"))
    }

    /// The assignment, of the pipeline's name.
    pub fn assignments(&self) -> Objects<StreamAssignment> {
        Objects::within(self.0.join("assignment"))
    }

    /// There while the pipeline is paused.
    pub fn paused(&self) -> PathBuf {
        self.0.join("paused")
    }
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Objects<K> {
    folder: PathBuf,
    kind: PhantomData<fn() -> K>,
}

/// What became of a write.
#[derive(Debug)]
pub enum Written<K> {
    /// It stands.
    Done(Box<K>),
    /// Somebody else wrote in between.
    Overtaken,
    /// The object is gone.
    Gone,
}

impl<K> Objects<K>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    fn within(folder: PathBuf) -> Self {
        Self { folder, kind: PhantomData }
    }

    /// Where an object is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<K>, ClusterError> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(&path, &error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Makes an object; `Overtaken` where there is one of its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn create(&self, mut object: K) -> Result<Written<K>, ClusterError> {
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let path = self.path(&object.name_any());
        let _turn = turn(&path).await?;
        if self.get(&object.name_any())?.is_some() {
            return Ok(Written::Overtaken);
        }
        let metadata = object.meta_mut();
        metadata.uid = Some(uuid::Uuid::new_v4().to_string());
        (metadata.generation, metadata.resource_version) = (Some(1), Some("1".to_owned()));
        write(&path, &object)?;
        Ok(Written::Done(Box::new(object)))
    }

    /// Replaces an object that nobody changed since it was read.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn replace(&self, mut object: K) -> Result<Written<K>, ClusterError> {
        let path = self.path(&object.name_any());
        let _turn = turn(&path).await?;
        let Some(found) = self.get(&object.name_any())? else { return Ok(Written::Gone) };
        if found.uid() != object.uid() || found.resource_version() != object.resource_version() {
            return Ok(Written::Overtaken);
        }
        let metadata = object.meta_mut();
        let version: u64 = metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        metadata.resource_version = Some((version + 1).to_string());
        metadata.generation = metadata.generation.map(|generation| generation + 1);
        write(&path, &object)?;
        Ok(Written::Done(Box::new(object)))
    }
}

/// Waits for the turn to write a file; it ends when this is dropped, and with the process.
async fn turn(path: &Path) -> Result<File, ClusterError> {
    let path = path.with_extension("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = open.map_err(|error| failed(&path, &error))?;
    let taken = async {
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(TURN_EVERY).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, taken).await {
        Ok(taken) => taken.map_err(|error| failed(&path, &error))?,
        Err(_) => {
            let said = format!("another process has held it for {} s", PATIENCE.as_secs());
            return Err(ClusterError::File { path, said, expected: "it is held for a moment only" });
        }
    }
    Ok(lock)
}

/// Writes a file beside, and puts it in place: whoever reads finds the old one or the new one.
fn write(path: &Path, object: &impl Serialize) -> Result<(), ClusterError> {
    let text = serde_json::to_vec_pretty(object).map_err(|error| failed(path, &error.into()))?;
    replace_file(path, &text)
}

/// Replaces a file as a whole.
///
/// # Errors
/// It cannot be written.
pub fn replace_file(path: &Path, text: &[u8]) -> Result<(), ClusterError> {
    let beside = path.with_extension("new");
    let put = || {
        let mut file = File::create(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    put().map_err(|error| failed(path, &error))
}

/// A file that cannot be used.
pub fn failed(path: &Path, error: &io::Error) -> ClusterError {
    ClusterError::File { path: path.to_owned(), said: error.to_string(), expected: EXPECTED }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn lease(name: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease
    }

    fn held_by(lease: &Lease, holder: &str) -> Lease {
        let mut lease = lease.clone();
        lease.spec.get_or_insert_default().holder_identity = Some(holder.to_owned());
        lease
    }

    #[tokio::test]
    async fn a_write_counts_only_at_the_version_that_was_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let leases = PipelineFolder::new(folder.path(), "a", "p").leases();
        assert_eq!(leases.get("p-0").expect("readable"), None);
        assert!(matches!(leases.replace(lease("p-0")).await, Ok(Written::Gone) | Err(_)));
        let Ok(Written::Done(made)) = leases.create(lease("p-0")).await else { panic!("made") };
        assert!(matches!(leases.create(lease("p-0")).await, Ok(Written::Overtaken)));
        let Ok(Written::Done(first)) = leases.replace(held_by(&made, "one")).await else { panic!("written") };
        assert!(matches!(leases.replace(held_by(&made, "two")).await, Ok(Written::Overtaken)));
        assert_eq!(leases.get("p-0").expect("readable"), Some(*first));
        std::fs::remove_file(leases.path("p-0")).expect("removed");
        let Ok(Written::Done(_)) = leases.create(lease("p-0")).await else { panic!("made") };
        assert!(matches!(leases.replace(held_by(&made, "two")).await, Ok(Written::Overtaken)), "another of its name");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_who_write_at_one_version_one_is_heard() {
        let folder = tempfile::tempdir().expect("a folder");
        let leases = Arc::new(PipelineFolder::new(folder.path(), "a", "p").leases());
        let Ok(Written::Done(made)) = leases.create(lease("p-0")).await else { panic!("made") };
        let writers = (0..16).map(|number| {
            let (leases, mine) = (leases.clone(), held_by(&made, &number.to_string()));
            tokio::spawn(async move { leases.replace(mine).await })
        });
        let mut done = 0;
        for writer in writers.collect::<Vec<_>>() {
            done += usize::from(matches!(writer.await.expect("ended"), Ok(Written::Done(_))));
        }
        assert_eq!(done, 1);
        let found = leases.get("p-0").expect("readable").expect("there");
        assert_eq!((found.resource_version().as_deref(), found.metadata.generation), (Some("2"), Some(2)));
    }
}
