//! A unit's store, durable: one SlateDB without a write-ahead log.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use slatedb::config::{CloseOptions, FlushOptions, FlushType};
use slatedb::{CloseReason, Db, WriteBatch};
use thalweg_core::commit::{Entries, UnitEntries, UnitStore, WriteSet};
use thalweg_core::error::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::clock::{StoreClock, latest};
use crate::error::from_slate;
use crate::housekeeping::Housekeeping;
use crate::read::{entries, scan};
use crate::refusals::{Heard, Refusals};
use crate::root::StateRoot;
use crate::settings::{COMMIT_DEADLINE, block_cache_policy, unit_settings};

/// A unit's SlateDB. A commit is one write batch and one flush, so what is durable is always a whole number of commits.
pub struct SlateStore {
    db: Db,
    path: Path,
    housekeeping: Arc<Housekeeping>,
    /// Why nothing more may be written. After a commit of unknown outcome, memory may hold entries that a later flush
    /// would make durable behind the caller's back.
    failed: Arc<OnceLock<Error>>,
    refusals: Arc<Refusals>,
    /// What says whose the state is. Where it is gone, so is all that was committed before.
    record: Path,
    runtime: Handle,
    /// Holds the folder's lock for as long as anything may be written.
    root: StateRoot,
}

impl SlateStore {
    /// Opens the store at `path` and fences every earlier writer. The state stands as long as its `record` does.
    pub(crate) async fn open(root: &StateRoot, path: Path, record: Path, budget_bytes: usize) -> Result<Self> {
        let what = || format!("opening the store `{path}` in `{}`", root.url());
        let slate = root.slate(&path).ok_or_else(|| Error::internal(what(), "this root keeps state in memory"))?;
        let clock = Arc::new(StoreClock::new(root.clock().clone()));
        let refusals = Refusals::new(root.url(), slate.medium);
        let opening = Db::builder(path.clone(), Heard::over(root.objects().clone(), refusals.clone()))
            .with_settings(unit_settings(budget_bytes))
            .with_db_cache(slate.cache, slate.cache_id)
            .with_block_cache_policy(block_cache_policy())
            .with_system_clock(clock.clone())
            .build();
        let opened = tokio::select! {
            biased;
            opened = timeout(COMMIT_DEADLINE, opening) => opened,
            refused = refusals.for_good() => return Err(Error { what: what(), ..refused }),
        };
        let db = opened
            .map_err(|_| late(what(), &refusals, "no answer within a minute"))?
            .map_err(|error| from_slate(what(), &error))?;
        // From here on no earlier writer adds anything.
        clock.has_seen(latest(&db.manifest()));
        let behind_seconds = clock.lag_millis() / 1_000;
        if behind_seconds > 0 {
            tracing::warn!(%path, behind_seconds, "this machine's clock is behind the last writer's; is NTP running?");
        }
        let failed = Arc::new(OnceLock::new());
        let told = {
            let (db, failed, what) = (db.clone(), failed.clone(), format!("merging tables of the store `{path}`"));
            move |error: &slatedb::Error| drop(failed.set(classed(&db, what, error)))
        };
        let housekeeping = Arc::new(Housekeeping::begin(root, &path, slate.medium, clock, budget_bytes, told));
        let (runtime, root) = (Handle::current(), root.clone());
        Ok(Self { db, path, housekeeping, failed, refusals, record, runtime, root })
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} the store `{}`", self.path)
    }

    fn error(&self, doing: &str, error: &slatedb::Error) -> Error {
        classed(&self.db, self.what(doing), error)
    }

    async fn write(&self, batch: WriteBatch) -> Result<()> {
        self.root.check_stands(&self.record).await?;
        let doing = "committing to";
        let written = async {
            self.db.write(batch).await?;
            self.db.flush_with_options(FlushOptions { flush_type: FlushType::MemTable }).await
        };
        let written = tokio::select! {
            biased;
            written = timeout(COMMIT_DEADLINE, written) => written,
            refused = self.refusals.for_good() => return Err(refused),
        };
        match written {
            Ok(written) => written.map_err(|error| self.error(doing, &error)),
            Err(_) => Err(late(self.what(doing), &self.refusals, "not durable within a minute")),
        }
    }
}

/// What took too long, with the last thing that the medium said.
fn late(what: String, refusals: &Refusals, detail: &str) -> Error {
    match refusals.last() {
        Some(said) => Error { detail: format!("{detail}: {}: {}", said.what, said.detail), what, ..said },
        None => Error::external(what, detail).with_hint("is the disk full, or the bucket out of reach?"),
    }
}

/// Classes an error; fencing may show first as the failure of whatever ran just then.
fn classed(db: &Db, what: String, error: &slatedb::Error) -> Error {
    let mut classed = from_slate(what, error);
    if db.status().close_reason == Some(CloseReason::Fenced) {
        classed.kind = ErrorKind::Fenced;
    }
    classed
}

/// Refuses all further commits unless it is told that this one is known to be durable.
struct Outcome<'a> {
    store: &'a SlateStore,
    known: Result<(), Error>,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if let Err(error) = &self.known {
            // Only the first failure counts.
            let _ = self.store.failed.set(error.clone());
        }
    }
}

#[async_trait]
impl UnitStore for SlateStore {
    async fn commit(&self, writes: WriteSet) -> Result<()> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        if writes.is_empty() {
            return Ok(());
        }
        let batch = batch_of(writes).map_err(|detail| Error::internal(self.what("committing to"), detail))?;
        let given_up = Error::external(self.what("committing to"), "an earlier commit was given up; reopen and read");
        let mut outcome = Outcome { store: self, known: Err(given_up) };
        outcome.known = self.write(batch).await;
        outcome.known.clone()
    }

    async fn close(&self) -> Result<()> {
        close_unflushed(&self.db, &self.housekeeping).await.map_err(|error| from_slate(self.what("closing"), &error))
    }
}

#[async_trait]
impl UnitEntries for SlateStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.db.get(key).await.map_err(|error| self.error("reading", &error))
    }

    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        scan(&self.db, prefix, after, limit).await.map_err(|error| self.error("scanning", &error))
    }

    async fn entries(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Box<dyn Entries>> {
        let (db, what) = (self.db.clone(), self.what("reading"));
        let failed = move |error: &slatedb::Error| classed(&db, what.clone(), error);
        Ok(entries(Arc::new(self.db.clone()), prefix, after, failed))
    }
}

/// A store that is dropped must stop its compaction, too, which would fence nobody but cost for ever.
impl Drop for SlateStore {
    fn drop(&mut self) {
        if self.db.status().close_reason != Some(CloseReason::Clean) {
            let (db, root, housekeeping) = (self.db.clone(), self.root.clone(), self.housekeeping.clone());
            self.runtime.spawn(async move {
                if let Err(error) = close_unflushed(&db, &housekeeping).await {
                    tracing::warn!(%error, "closing a store that was dropped");
                }
                drop(root);
            });
        }
    }
}

/// Closes without a flush: what was not committed must not become durable. Closing twice changes nothing.
async fn close_unflushed(db: &Db, housekeeping: &Housekeeping) -> Result<(), slatedb::Error> {
    housekeeping.end().await;
    match db.close_with_options(CloseOptions::default().with_flush_type(None)).await {
        Err(error) if error.kind() == slatedb::ErrorKind::Closed(CloseReason::Clean) => Ok(()),
        closed => closed,
    }
}

fn batch_of(writes: WriteSet) -> Result<WriteBatch, &'static str> {
    let too_large = |bytes: &Bytes| u32::try_from(bytes.len()).is_err();
    if writes.changes().any(|(key, value)| key.is_empty() || too_large(key) || value.is_some_and(too_large)) {
        return Err("a key is empty, or an entry has 4 GiB or more");
    }
    let mut batch = WriteBatch::new();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put_bytes(key, value),
            None => batch.delete(key),
        }
    }
    Ok(batch)
}
