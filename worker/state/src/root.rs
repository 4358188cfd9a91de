//! The folder or bucket that holds state, opened.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use slatedb::db_cache::DbCache;
use thalweg_core::clock::{SharedClock, SystemClock};
use thalweg_core::endpoint::has_credentials;
use thalweg_core::error::{Error, Result};
use thalweg_core::unit::Incarnation;
use thalweg_objects::BucketAccess;
use uuid::Uuid;

use crate::cache::block_cache;
use crate::error::from_objects;
use crate::lock::FolderLock;
use crate::memory::SharedMap;
use crate::objects;
use crate::settings::Medium;

/// Name of the object that holds the installation id.
const INSTALLATION: &str = "installation.json";

/// How a root is opened.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// Memory for blocks, indexes and filters, shared by all stores.
    pub block_cache_bytes: u64,
    /// Whether a commit on local files waits until the disk has it, so that it also outlives a power cut. A killed
    /// process loses nothing either way.
    pub fsync: bool,
    /// Who else may use a local folder meanwhile.
    pub sharing: Sharing,
    /// The installation id, where an operator made one. Otherwise it is made once, beside the state.
    pub installation: Option<String>,
    /// How a bucket is reached.
    pub bucket: BucketAccess,
}

/// Who may use a local folder at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// This process only: it assigns its units to itself.
    #[default]
    Alone,
    /// Every process whose units are assigned by somebody, at epochs.
    Assigned,
}

impl Default for RootOptions {
    /// 32 MiB of cache, fsync, a folder for this process alone, an installation id of the root's own.
    fn default() -> Self {
        Self {
            block_cache_bytes: 32 << 20,
            fsync: true,
            sharing: Sharing::Alone,
            installation: None,
            bucket: BucketAccess::default(),
        }
    }
}

/// The folder or bucket that holds state. Clones share it; the lock on a local folder goes with the last of them and
/// of the stores opened through them.
#[derive(Clone)]
pub struct StateRoot {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    installation: String,
    clock: SharedClock,
    stores: Stores,
    lock: Option<Arc<FolderLock>>,
}

/// What units' stores are made of.
enum Stores {
    Slate { medium: Medium, cache: Arc<dyn DbCache>, cache_ids: Mutex<HashMap<Path, u64>> },
    Memory { first: Incarnation, maps: Mutex<HashMap<Path, SharedMap>> },
}

/// What a SlateDB is opened with.
pub(crate) struct Slate {
    pub medium: Medium,
    pub cache: Arc<dyn DbCache>,
    /// Under which its blocks are cached. Tables never change, so whoever opens a store again finds what was read of it.
    pub cache_id: u64,
}

#[derive(Serialize, Deserialize)]
struct Installation {
    id: String,
}

/// Where a URL points to.
enum Location {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: Path },
}

impl StateRoot {
    /// Opens a root: a folder's path, which is made if it is missing, or `s3://bucket/prefix`. Stores opened through it run on the current runtime.
    ///
    /// # Errors
    /// `User` for another URL, a folder that cannot be made or written, or one that another process holds.
    pub async fn open(url: &str, options: &RootOptions) -> Result<Self> {
        let (objects, prefix, medium, lock) = match locate(url)? {
            Location::Folder(folder) => {
                let (objects, lock) = open_folder(&folder, options)?;
                let medium = match options.sharing {
                    Sharing::Alone => Medium::LockedFolder,
                    Sharing::Assigned => Medium::SharedFolder,
                };
                (objects, Path::default(), medium, Some(Arc::new(lock)))
            }
            Location::Bucket { bucket, prefix } => {
                let objects = options.bucket.open(&format!("state under `s3://{bucket}`"), &bucket)?;
                (Arc::new(objects) as Arc<dyn ObjectStore>, prefix, Medium::Bucket, None)
            }
        };
        let installation = match &options.installation {
            Some(id) => id.clone(),
            None => {
                let found = installation_beside(objects.as_ref(), &prefix).await;
                found.map_err(|error| error.of(&format!("state `{url}`")))?
            }
        };
        let cache = block_cache(options.block_cache_bytes);
        let stores = Stores::Slate { medium, cache, cache_ids: Mutex::default() };
        let clock = Arc::new(SystemClock::new());
        let shared = Shared { url: url.to_owned(), objects, prefix, installation, clock, stores, lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A root in a bucket that is reached already, or played, with the id of the installation and the machine's clock.
    pub fn over(url: &str, objects: Arc<dyn ObjectStore>, installation: &str, clock: SharedClock) -> Self {
        let stores = Stores::Slate {
            medium: Medium::Bucket,
            cache: block_cache(RootOptions::default().block_cache_bytes),
            cache_ids: Mutex::default(),
        };
        let (url, prefix, installation) = (url.to_owned(), Path::default(), installation.to_owned());
        Self { shared: Arc::new(Shared { url, objects, prefix, installation, clock, stores, lock: None }) }
    }

    /// A root that keeps nothing once it is dropped. `first` must differ from run to run (a clock's milliseconds), for
    /// incarnations are part of the names of what sinks write.
    pub fn in_memory(first: Incarnation) -> Self {
        let shared = Shared {
            url: "memory".to_owned(),
            objects: Arc::new(InMemory::new()),
            prefix: Path::default(),
            installation: "local".to_owned(),
            clock: Arc::new(SystemClock::new()),
            stores: Stores::Memory { first, maps: Mutex::default() },
            lock: None,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What was opened, as it was given.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Who made the state: part of the owner of each pipeline.
    pub fn installation(&self) -> &str {
        &self.shared.installation
    }

    /// Whether state outlives the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.shared.stores, Stores::Slate { .. })
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.shared.objects
    }

    /// The clock of the machine.
    pub(crate) fn clock(&self) -> &SharedClock {
        &self.shared.clock
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.shared.prefix
    }

    /// The number of a pipeline's first incarnation.
    pub(crate) fn first_incarnation(&self) -> Incarnation {
        match self.shared.stores {
            Stores::Slate { .. } => Incarnation(1),
            Stores::Memory { first, .. } => first,
        }
    }

    /// The least number of an incarnation that somebody wants fresh: whatever was kept here before may be gone, and what it
    /// has written may not.
    pub(crate) fn fresh_incarnation(&self) -> Incarnation {
        match self.shared.stores {
            Stores::Slate { .. } => Incarnation::fresh(self.shared.clock.wall_millis()),
            Stores::Memory { first, .. } => first,
        }
    }

    /// That a local folder was not taken away, or another put in its place, since it was opened, and that `record` is in it:
    /// else nobody would find again what is committed.
    ///
    /// # Errors
    /// `DataLoss` where it was.
    pub(crate) async fn check_stands(&self, record: &Path) -> Result<()> {
        let Some(lock) = self.shared.lock.clone() else { return Ok(()) };
        let what = || format!("state folder `{}`", self.shared.url);
        let stands = tokio::task::spawn_blocking(move || lock.stands()).await;
        let stands = stands.map_err(|error| Error::internal(what(), error))?;
        let stands = stands.map_err(|error| Error::external(what(), error))?;
        if stands && objects::exists(self.shared.objects.as_ref(), record).await? {
            return Ok(());
        }
        let gone =
            if stands { format!("`{record}` in it was removed") } else { "it was removed or replaced".to_owned() };
        Err(Error::data_loss(what(), format!("{gone} while this process used it"))
            .with_hint("put it back and run it again, or start anew with `--fresh`"))
    }

    /// What the SlateDB at a path is opened with; `None` in memory.
    pub(crate) fn slate(&self, path: &Path) -> Option<Slate> {
        let Stores::Slate { medium, cache, cache_ids } = &self.shared.stores else { return None };
        let mut ids = cache_ids.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ids.len() as u64;
        let cache_id = *ids.entry(path.clone()).or_insert(next);
        Some(Slate { medium: *medium, cache: Arc::clone(cache), cache_id })
    }

    /// The map of a unit's store in memory.
    pub(crate) fn memory_map(&self, path: Path) -> SharedMap {
        match &self.shared.stores {
            Stores::Slate { .. } => SharedMap::default(),
            Stores::Memory { maps, .. } => {
                maps.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default().clone()
            }
        }
    }
}

/// That a URL names a place where state can be kept; whether it is there is not looked at.
///
/// # Errors
/// *User*: it names none.
pub fn check_url(url: &str) -> Result<()> {
    locate(url).map(drop)
}

fn locate(url: &str) -> Result<Location> {
    let expected = "a folder, or s3://bucket/prefix";
    if has_credentials(url) {
        let hint = "name Secrets by `state.s3`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        return Err(Error::user("state URL", format!("it holds credentials; expected {expected}")).with_hint(hint));
    }
    match url.split_once("://") {
        None if url.is_empty() => Err(Error::user("state URL", format!("it is empty; expected {expected}"))),
        None => Ok(Location::Folder(PathBuf::from(url))),
        Some(("file", path)) => Ok(Location::Folder(PathBuf::from(path))),
        Some(("s3", rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let what = || format!("state URL `{url}`");
            let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| Error::user(what(), error))?;
            if bucket.is_empty() {
                return Err(Error::user(what(), format!("it names no bucket; expected {expected}")));
            }
            Ok(Location::Bucket { bucket: bucket.to_owned(), prefix })
        }
        Some((scheme, _)) => {
            Err(Error::user(format!("state URL `{url}`"), format!("found `{scheme}://`, expected {expected}")))
        }
    }
}

fn open_folder(folder: &std::path::Path, options: &RootOptions) -> Result<(Arc<dyn ObjectStore>, FolderLock)> {
    let what = || format!("state folder `{}`", folder.display());
    std::fs::create_dir_all(folder)
        .map_err(|error| Error::user(what(), error).with_hint("choose a folder that can be written"))?;
    let lock = FolderLock::take(folder, options.sharing)?;
    let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| from_objects(what(), &error))?;
    Ok((Arc::new(objects.with_fsync(options.fsync)), lock))
}

/// The id beside the state; whoever comes first makes it.
async fn installation_beside(objects: &dyn ObjectStore, prefix: &Path) -> Result<String> {
    let path = prefix.clone().join(INSTALLATION);
    if let Some(found) = objects::read(objects, &path).await? {
        return parse_installation(&path, &found);
    }
    let made = Installation { id: Uuid::new_v4().to_string() };
    let text = serde_json::to_vec(&made).map_err(|error| Error::internal(format!("writing `{path}`"), error))?;
    objects::create(objects, &path, Bytes::from(text)).await?;
    let stands = objects::read(objects, &path).await?;
    let gone = || Error::data_loss(format!("reading `{path}`"), "it vanished right after it was made");
    parse_installation(&path, &stands.ok_or_else(gone)?)
}

fn parse_installation(path: &Path, text: &[u8]) -> Result<String> {
    let parsed: Result<Installation, _> = serde_json::from_slice(text);
    let refused = |error| {
        Error::user(format!("reading `{path}` under the state's URL"), error)
            .with_hint("restore the file, or choose another state folder")
    };
    parsed.map(|installation| installation.id).map_err(refused)
}
