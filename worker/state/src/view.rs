//! A unit's store, read while another process writes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use slatedb::{DbReader, DbReaderMode};
use thalweg_core::commit::{Entries, UnitEntries};
use thalweg_core::error::{Error, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::from_slate;
use crate::read::{entries, scan};
use crate::root::StateRoot;
use crate::settings::{COMMIT_DEADLINE, view_options};

/// What a store holds: all that was committed before this was opened, and perhaps some of what was since, for SlateDB looks
/// once more right after. It fences nobody and writes nothing: what it reads stays because garbage must have an age (an hour
/// at least), so it is for a moment.
pub struct StoreView {
    reader: Arc<DbReader>,
    path: Path,
    runtime: Handle,
    /// Holds the folder's lock for as long as anything is read.
    root: StateRoot,
}

impl StoreView {
    /// Opens the store at `path` as it is now.
    pub(crate) async fn open(root: &StateRoot, path: Path) -> Result<Self> {
        let what = || format!("reading the store `{path}` in `{}`", root.url());
        let slate = root.slate(&path).ok_or_else(|| Error::internal(what(), "this root keeps state in memory"))?;
        let opening = DbReader::builder(path.clone(), root.objects().clone())
            .with_reader_mode(DbReaderMode::FollowLatest)
            .with_options(view_options())
            .with_db_cache(slate.cache, slate.cache_id)
            .build();
        let reader = timeout(COMMIT_DEADLINE, opening)
            .await
            .map_err(|_| Error::external(what(), "no answer within a minute"))?
            .map_err(|error| from_slate(what(), &error))?;
        Ok(Self { reader: Arc::new(reader), path, runtime: Handle::current(), root: root.clone() })
    }

    fn error(&self, error: &slatedb::Error) -> Error {
        from_slate(self.what(), error)
    }

    fn what(&self) -> String {
        format!("reading the store `{}`", self.path)
    }
}

#[async_trait]
impl UnitEntries for StoreView {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.reader.get(key).await.map_err(|error| self.error(&error))
    }

    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        scan(&*self.reader, prefix, after, limit).await.map_err(|error| self.error(&error))
    }

    async fn entries(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Box<dyn Entries>> {
        let what = self.what();
        Ok(entries(self.reader.clone(), prefix, after, move |error| from_slate(what.clone(), error)))
    }
}

/// A view that is dropped must end what it has started.
impl Drop for StoreView {
    fn drop(&mut self) {
        let (reader, root) = (self.reader.clone(), self.root.clone());
        self.runtime.spawn(async move {
            if let Err(error) = reader.close().await {
                tracing::warn!(%error, "closing a view of a store");
            }
            drop(root);
        });
    }
}
