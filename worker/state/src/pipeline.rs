//! One incarnation of a pipeline's state, opened.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::commit::{UnitEntries, UnitStore};
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::ownership::claim::{Adopt, Claim, Expected as Before, StateOwner, claim};
use thalweg_core::ownership::restart::{self, Begin, Restart};
use thalweg_core::unit::{Incarnation, UnitId};

use crate::error::from_objects;
use crate::layout::{Expected, differences};
use crate::list::ObjectList;
use crate::memory::MemoryStore;
use crate::objects;
use crate::root::StateRoot;
use crate::store::SlateStore;
use crate::view::StoreView;

/// How many objects are removed at once.
const REMOVED_AT_ONCE: usize = 16;
/// Name of the object that says what an incarnation was made for.
const PIPELINE: &str = "pipeline.json";

/// `pipeline.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    owner: StateOwner,
    /// The start from scratch that it was made for, where somebody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<Restart>,
    #[serde(flatten)]
    layout: Expected,
}

/// One incarnation of a pipeline's state.
#[derive(Clone)]
pub struct PipelineState {
    root: StateRoot,
    /// `NAMESPACE/NAME/INCARNATION`
    path: Path,
    incarnation: Incarnation,
}

impl PipelineState {
    /// Opens the newest incarnation, or makes the first one. With `fresh` a new one is made, and the old ones are kept.
    ///
    /// # Errors
    /// `User` where the state belongs to another owner (`StateInUse`) or was made for other stages, each difference
    /// named; `DataLoss` where an incarnation holds data and not what it was made for.
    pub async fn open(root: &StateRoot, namespace: &str, name: &str, expected: &Expected, fresh: bool) -> Result<Self> {
        let begin = if fresh { Begin::Anew } else { Begin::Continue };
        Self::begin(root, namespace, name, expected, None, |_| begin).await
    }

    /// Opens the incarnation of a start from scratch that somebody asked for, or makes it; the old ones are kept. Without
    /// one, the newest.
    ///
    /// # Errors
    /// As [`PipelineState::open`]; `External` where a later start has begun.
    pub async fn open_at(
        root: &StateRoot,
        namespace: &str,
        name: &str,
        expected: &Expected,
        restart: Option<&Restart>,
    ) -> Result<Self> {
        let decide = |found: Option<&Restart>| restart::begin(found, restart);
        Self::begin(root, namespace, name, expected, restart, decide).await
    }

    async fn begin(
        root: &StateRoot,
        namespace: &str,
        name: &str,
        expected: &Expected,
        restart: Option<&Restart>,
        decide: impl Fn(Option<&Restart>) -> Begin,
    ) -> Result<Self> {
        let owner = StateOwner {
            installation: root.installation().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let wanted = Record { owner, restart: restart.cloned(), layout: expected.clone() };
        let place = Place::of(root, namespace, name);
        let incarnation = match place.newest().await? {
            None => place.make(root.first_incarnation(), &wanted).await?,
            Some((newest, stored)) => {
                place.check_owner(newest, &stored, &wanted)?;
                match decide(stored.restart.as_ref()) {
                    Begin::Anew => place.make(Incarnation(newest.0 + 1), &wanted).await?,
                    Begin::Continue => {
                        place.check_layout(newest, &stored, &wanted)?;
                        newest
                    }
                    Begin::Overtaken => return Err(place.overtaken(newest)),
                }
            }
        };
        Ok(Self { root: root.clone(), path: place.folder(incarnation), incarnation })
    }

    /// Removes all that a pipeline has kept under a root, every incarnation of it; how many objects there were.
    ///
    /// # Errors
    /// `User` where it belongs to another owner (`StateInUse`). Where the store fails, what is removed by then stays removed,
    /// and another call goes on.
    pub async fn remove(root: &StateRoot, namespace: &str, name: &str) -> Result<u64> {
        let owner = StateOwner {
            installation: root.installation().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let wanted = Record { owner, restart: None, layout: Expected::default() };
        let place = Place::of(root, namespace, name);
        for incarnation in place.numbers().await? {
            if let Some(stored) = place.read(incarnation).await? {
                place.check_owner(incarnation, &stored, &wanted)?;
            }
        }
        let what = || format!("removing `{}` under the state's URL", place.path);
        let listed: Vec<Path> = root
            .objects()
            .list(Some(&place.path))
            .map_ok(|found| found.location)
            .try_collect()
            .await
            .map_err(|error| from_objects(what(), &error))?;
        // What says whose it is goes last: a call that failed in the middle is still followed by one that may go on.
        let (records, others): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|path| path.filename() == Some(PIPELINE));
        let mut count = 0;
        for paths in [others, records] {
            count += paths.len() as u64;
            let removals = paths.iter().map(|path| root.objects().delete(path));
            let mut removed = stream::iter(removals).buffer_unordered(REMOVED_AT_ONCE);
            while let Some(done) = removed.next().await {
                match done {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(from_objects(what(), &error)),
                }
            }
        }
        Ok(count)
    }

    /// Its number, part of the names of what sinks write.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Opens a unit's store as its one writer, which fences every earlier one. It may hold `budget_bytes` of entries
    /// that are not flushed yet.
    pub async fn unit_store(&self, unit: UnitId, budget_bytes: usize) -> Result<Arc<dyn UnitStore>> {
        let path = self.unit(unit);
        if self.root.is_durable() {
            Ok(Arc::new(SlateStore::open(&self.root, path, budget_bytes).await?))
        } else {
            Ok(Arc::new(MemoryStore::open(self.root.memory_map(path))))
        }
    }

    /// A unit's store as it is now, whoever writes it; `None` in memory, which only its writer reads.
    ///
    /// # Errors
    /// There is none yet, or it cannot be read.
    pub async fn unit_view(&self, unit: UnitId) -> Result<Option<Arc<dyn UnitEntries>>> {
        if !self.root.is_durable() {
            return Ok(None);
        }
        Ok(Some(Arc::new(StoreView::open(&self.root, self.unit(unit)).await?)))
    }

    fn unit(&self, unit: UnitId) -> Path {
        self.path.clone().join("units").join(unit.to_string())
    }

    /// The append-only list of this name, which may have several parts: `trips/lane-3`.
    pub fn append_log(&self, name: &str) -> Arc<dyn AppendLog> {
        let path = named(self.path.clone().join("lists"), name);
        Arc::new(ObjectList::new(Arc::clone(self.root.objects()), path))
    }

    /// Stores a lookup table once. `Exists`: another worker, or an earlier run, was first, and its table counts. The
    /// name holds the plan's hash: `4f1c/zones`.
    pub async fn put_lookup(&self, name: &str, table: Bytes) -> Result<Appended> {
        objects::create(self.root.objects().as_ref(), &self.lookup(name), table).await
    }

    /// A lookup table that was stored.
    pub async fn get_lookup(&self, name: &str) -> Result<Option<Bytes>> {
        objects::read(self.root.objects().as_ref(), &self.lookup(name)).await
    }

    fn lookup(&self, name: &str) -> Path {
        named(self.path.clone().join("lookups"), name)
    }
}

/// A name of several parts under a path; each part is escaped, so no name leaves its folder.
fn named(under: Path, name: &str) -> Path {
    name.split('/').fold(under, |path, part| path.join(part))
}

/// Where a pipeline's incarnations lie.
struct Place<'a> {
    root: &'a StateRoot,
    path: Path,
    pipeline: String,
}

impl<'a> Place<'a> {
    fn of(root: &'a StateRoot, namespace: &str, name: &str) -> Self {
        let path = root.prefix().clone().join(namespace).join(name);
        Self { root, path, pipeline: format!("{namespace}/{name}") }
    }

    fn folder(&self, incarnation: Incarnation) -> Path {
        self.path.clone().join(incarnation.to_string())
    }

    fn what(&self, incarnation: Incarnation) -> String {
        format!("state of pipeline `{}` in `{}`, incarnation {incarnation}", self.pipeline, self.root.url())
    }

    /// The incarnation with the greatest number.
    async fn newest(&self) -> Result<Option<(Incarnation, Record)>> {
        for incarnation in self.numbers().await?.into_iter().rev() {
            match self.read(incarnation).await? {
                Some(record) => return Ok(Some((incarnation, record))),
                None => self.check_empty(incarnation).await?,
            }
        }
        Ok(None)
    }

    /// Every incarnation that has a folder, by number.
    async fn numbers(&self) -> Result<Vec<Incarnation>> {
        let folders = objects::folders(self.root.objects().as_ref(), &self.path).await?;
        let mut numbers: Vec<u64> = folders.iter().filter_map(|folder| folder.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(Incarnation).collect())
    }

    async fn read(&self, incarnation: Incarnation) -> Result<Option<Record>> {
        let path = self.folder(incarnation).join(PIPELINE);
        let Some(text) = objects::read(self.root.objects().as_ref(), &path).await? else { return Ok(None) };
        let parsed = serde_json::from_slice(&text).map(Some);
        parsed.map_err(|error| {
            Error::user(self.what(incarnation), format!("`{path}` cannot be read: {error}"))
                .with_hint("restore the file, or choose a new folder")
        })
    }

    /// A folder without a record is what a kill between `mkdir` and the record leaves, unless it holds anything.
    async fn check_empty(&self, incarnation: Incarnation) -> Result<()> {
        let folder = self.folder(incarnation);
        let mut listing = self.root.objects().list(Some(&folder));
        let first = listing.try_next().await;
        match first.map_err(|error| from_objects(format!("listing `{folder}` under the state's URL"), &error))? {
            None => Ok(()),
            Some(found) => Err(Error::data_loss(
                self.what(incarnation),
                format!("`{}` stands there, `{PIPELINE}` does not", found.location),
            )
            .with_hint("restore it, or choose a new folder")),
        }
    }

    /// Makes an incarnation. Where another process was first, what it made must fit.
    async fn make(&self, incarnation: Incarnation, wanted: &Record) -> Result<Incarnation> {
        let path = self.folder(incarnation).join(PIPELINE);
        let text =
            serde_json::to_vec_pretty(wanted).map_err(|error| Error::internal(format!("writing `{path}`"), error))?;
        if objects::create(self.root.objects().as_ref(), &path, Bytes::from(text)).await? == Appended::Exists {
            let vanished = || Error::data_loss(self.what(incarnation), format!("`{path}` vanished"));
            let stored = self.read(incarnation).await?.ok_or_else(vanished)?;
            self.check_owner(incarnation, &stored, wanted)?;
            if stored.restart != wanted.restart {
                return Err(self.overtaken(incarnation));
            }
            self.check_layout(incarnation, &stored, wanted)?;
        }
        Ok(incarnation)
    }

    fn overtaken(&self, incarnation: Incarnation) -> Error {
        Error::external(self.what(incarnation), "it was begun for another plan than this worker's")
            .with_hint("workers of the newest plan go on with it")
    }

    fn check_owner(&self, incarnation: Incarnation, stored: &Record, wanted: &Record) -> Result<()> {
        let Claim::InUse(owner) = claim(Some(&stored.owner), &wanted.owner, Before::State, Adopt::No) else {
            return Ok(());
        };
        let StateOwner { installation, namespace, name } = owner;
        let detail = format!("StateInUse: it belongs to `{namespace}/{name}` of installation {installation}");
        let hint = format!("this is installation {}; choose another state URL", wanted.owner.installation);
        Err(Error::user(self.what(incarnation), detail).because(Cause::StateInUse).with_hint(hint))
    }

    fn check_layout(&self, incarnation: Incarnation, stored: &Record, wanted: &Record) -> Result<()> {
        let found = differences(&stored.layout, &wanted.layout);
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::user(self.what(incarnation), found.join("; ")).with_hint("start with --fresh or a new folder"))
    }
}
