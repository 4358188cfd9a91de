//! Append-only lists by conditional create: one object an entry, `00000017.json`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::error::{Error, Result};

use crate::error::from_objects;
use crate::objects;

/// Names sort as indexes do below this.
const MOST_ENTRIES: u64 = 100_000_000;
/// Requests at once while reading.
const READS_AT_ONCE: usize = 16;

/// A list of objects under one path.
pub struct ObjectList {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    /// Entries below this are known to stand.
    known: AtomicU64,
}

impl ObjectList {
    /// The list at `path`, empty where nothing stands.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { objects, path, known: AtomicU64::new(0) }
    }

    fn entry(&self, index: u64) -> Path {
        self.path.clone().join(format!("{index:08}.json"))
    }

    /// Indexes that stand from `from` on, in order.
    async fn indexes(&self, from: u64) -> Result<Vec<u64>> {
        // Listing starts after a name; that of the entry before `from` is the greatest one below.
        let listing = match from.checked_sub(1) {
            Some(before) => self.objects.list_with_offset(Some(&self.path), &self.entry(before)),
            None => self.objects.list(Some(&self.path)),
        };
        let failed = |error| from_objects(format!("listing `{}` under the state's URL", self.path), &error);
        let listed: Vec<_> = listing.try_collect().await.map_err(failed)?;
        let mut indexes: Vec<u64> = listed.iter().filter_map(|entry| index_of(&entry.location)).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    async fn read_entry(&self, index: u64) -> Result<Bytes> {
        let found = objects::read(self.objects.as_ref(), &self.entry(index)).await?;
        found.ok_or_else(|| self.hole(index))
    }

    fn hole(&self, index: u64) -> Error {
        Error::data_loss(format!("list `{}` under the state's URL", self.path), format!("entry {index} is missing"))
    }

    /// Whether entry `index` may be appended: the one before it stands.
    async fn follows(&self, index: u64) -> Result<bool> {
        if index <= self.known.load(Ordering::Relaxed) {
            return Ok(true);
        }
        objects::exists(self.objects.as_ref(), &self.entry(index - 1)).await
    }
}

fn index_of(location: &Path) -> Option<u64> {
    location.filename()?.strip_suffix(".json")?.parse().ok()
}

#[async_trait]
impl AppendLog for ObjectList {
    async fn read(&self, from: u64) -> Result<Vec<Bytes>> {
        let indexes = self.indexes(from).await?;
        if let Some((expected, _)) = (from..).zip(&indexes).find(|&(expected, &index)| expected != index) {
            return Err(self.hole(expected));
        }
        self.known.fetch_max(from + indexes.len() as u64, Ordering::Relaxed);
        stream::iter(indexes).map(|index| self.read_entry(index)).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        if index >= MOST_ENTRIES || !self.follows(index).await? {
            let what = format!("list `{}` under the state's URL", self.path);
            return Err(Error::internal(what, format!("entry {index} does not follow the last one")));
        }
        let appended = objects::create(self.objects.as_ref(), &self.entry(index), record).await?;
        self.known.fetch_max(index + 1, Ordering::Relaxed);
        Ok(appended)
    }
}
