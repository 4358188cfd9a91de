//! A unit's store, durable: one SlateDB without a write-ahead log.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::try_join;
use object_store::path::Path;
use slatedb::admin::Admin;
use slatedb::config::{CloseOptions, FlushOptions, FlushType, ScanOptions};
use slatedb::{CloseReason, Db, DbReadOps, WriteBatch};
use thalweg_core::commit::{UnitEntries, UnitStore, WriteSet};
use thalweg_core::error::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::clock::{StoreClock, latest};
use crate::error::from_slate;
use crate::root::StateRoot;
use crate::settings::{COMMIT_DEADLINE, block_cache_policy, unit_settings};

/// Bytes that a scan asks for at once.
const SCAN_READ_AHEAD_BYTES: usize = 256 << 10;

/// A unit's SlateDB. A commit is one write batch and one flush, so what is durable is always a whole number of commits.
pub struct SlateStore {
    db: Db,
    path: Path,
    /// Why nothing more may be written. After a commit of unknown outcome, memory may hold entries that a later flush
    /// would make durable behind the caller's back.
    failed: OnceLock<Error>,
    runtime: Handle,
    /// Holds the folder's lock for as long as anything may be written.
    root: StateRoot,
}

impl SlateStore {
    /// Opens the store at `path` and fences every earlier writer.
    pub(crate) async fn open(root: &StateRoot, path: Path, budget_bytes: usize) -> Result<Self> {
        let what = || format!("opening the store `{path}` in `{}`", root.url());
        let slate = root.slate(&path).ok_or_else(|| Error::internal(what(), "this root keeps state in memory"))?;
        let clock = Arc::new(StoreClock::new(root.clock().clone()));
        let opening = Db::builder(path.clone(), root.objects().clone())
            .with_settings(unit_settings(slate.medium, budget_bytes))
            .with_db_cache(slate.cache, slate.cache_id)
            .with_block_cache_policy(block_cache_policy())
            .with_system_clock(clock.clone())
            .build();
        let compactions = compactions_seen(root, &path, &clock);
        let (db, ()) = timeout(COMMIT_DEADLINE, async { try_join!(opening, compactions) })
            .await
            .map_err(|_| Error::external(what(), "no answer within a minute"))?
            .map_err(|error| from_slate(what(), &error))?;
        // From here on no earlier writer adds anything.
        clock.has_seen(latest(&db.manifest()));
        let behind_seconds = clock.lag_millis() / 1_000;
        if behind_seconds > 0 {
            tracing::warn!(%path, behind_seconds, "this machine's clock is behind the last writer's; is NTP running?");
        }
        Ok(Self { db, path, failed: OnceLock::new(), runtime: Handle::current(), root: root.clone() })
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} the store `{}`", self.path)
    }

    /// Classes an error; fencing may show first as the failure of whatever ran just then.
    fn error(&self, doing: &str, error: &slatedb::Error) -> Error {
        let mut classed = from_slate(self.what(doing), error);
        if self.db.status().close_reason == Some(CloseReason::Fenced) {
            classed.kind = ErrorKind::Fenced;
        }
        classed
    }

    async fn write(&self, batch: WriteBatch) -> Result<()> {
        let doing = "committing to";
        self.db.write(batch).await.map_err(|error| self.error(doing, &error))?;
        let flush = self.db.flush_with_options(FlushOptions { flush_type: FlushType::MemTable });
        match timeout(COMMIT_DEADLINE, flush).await {
            Ok(flushed) => flushed.map_err(|error| self.error(doing, &error)),
            Err(_) => Err(Error::external(self.what(doing), "not durable within a minute")
                .with_hint("is the disk full, or the bucket out of reach?")),
        }
    }
}

/// Tells the clock when the last compactions began: a job must not begin before those that are on record.
async fn compactions_seen(root: &StateRoot, path: &Path, clock: &StoreClock) -> Result<(), slatedb::Error> {
    let admin = Admin::builder(path.clone(), root.objects().clone()).build();
    let recorded = admin.read_compactions(None).await?;
    for compaction in recorded.iter().flat_map(|recorded| recorded.recent_compactions()) {
        clock.has_seen(i64::try_from(compaction.id().timestamp_ms()).unwrap_or(i64::MIN));
    }
    Ok(())
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
        close_unflushed(&self.db).await.map_err(|error| from_slate(self.what("closing"), &error))
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
}

/// Up to `limit` entries whose key starts with `prefix` and is greater than `after`, in key order.
pub(crate) async fn scan(
    db: &impl DbReadOps,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, slatedb::Error> {
    let Some(range) = scan_range(prefix, after) else { return Ok(Vec::new()) };
    let options = ScanOptions::new().with_read_ahead_bytes(SCAN_READ_AHEAD_BYTES);
    let mut entries = db.scan_with_options(range, &options).await?;
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(entry) = entries.next().await? else { break };
        found.push((entry.key, entry.value));
    }
    Ok(found)
}

/// A store that is dropped must stop its compaction, too, which would fence nobody but cost for ever.
impl Drop for SlateStore {
    fn drop(&mut self) {
        if self.db.status().close_reason != Some(CloseReason::Clean) {
            let (db, root) = (self.db.clone(), self.root.clone());
            self.runtime.spawn(async move {
                if let Err(error) = close_unflushed(&db).await {
                    tracing::warn!(%error, "closing a store that was dropped");
                }
                drop(root);
            });
        }
    }
}

/// Closes without a flush: what was not committed must not become durable. Closing twice changes nothing.
async fn close_unflushed(db: &Db) -> Result<(), slatedb::Error> {
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

/// Keys with this prefix and greater than `after`; `None` where there can be none.
fn scan_range(prefix: &[u8], after: Option<&[u8]>) -> Option<(Bound<Bytes>, Bound<Bytes>)> {
    let end = successor(prefix);
    let start = match after.filter(|after| *after >= prefix) {
        Some(after) if end.as_deref().is_some_and(|end| after >= end) => return None,
        // The least key greater than `after`. An exclusive bound just below `end` would span no key at all.
        Some(after) => Bytes::from([after, &[0]].concat()),
        None => Bytes::copy_from_slice(prefix),
    };
    if end.as_ref().is_some_and(|end| start >= *end) {
        return None;
    }
    Some((Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// The least key above all keys with this prefix; `None` where there is no such key.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)? + 1;
    let mut end = BytesMut::from(&prefix[..kept]);
    end[kept - 1] += 1;
    Some(end.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_scan_range_holds_exactly_the_keys_with_the_prefix_after_the_last_one(
            prefix in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..3),
            after in proptest::option::of(proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4)),
            key in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4),
        ) {
            let wanted = key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > *after);
            let range = scan_range(&prefix, after.as_deref());
            let held = range.is_some_and(|range| {
                std::ops::RangeBounds::<Bytes>::contains(&range, &Bytes::from(key))
            });
            prop_assert_eq!(held, wanted);
        }
    }
}
