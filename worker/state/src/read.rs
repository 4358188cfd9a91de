//! Reading what a SlateDB holds: a few entries at once, or all of them, ahead of whoever takes them.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use slatedb::config::ScanOptions;
use slatedb::{DbMetadataOps, DbReadOps};
use thalweg_core::commit::Entries;
use thalweg_core::error::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes that a scan of a few entries asks for at once.
const SCAN_READ_AHEAD_BYTES: usize = 256 << 10;
/// Bytes that reading all entries may have asked for ahead, of all tables.
const ENTRIES_READ_AHEAD_BYTES: usize = 32 << 20;
/// What is asked of one table at the most: one that compaction has written comes in one request.
const TABLE_BYTES: usize = 4 << 20;
/// Entries that wait for who takes them; one may have some megabytes.
const ENTRIES_AHEAD: usize = 4;

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

/// Every entry whose key starts with `prefix` and is greater than `after`, in key order.
pub(crate) fn entries(
    db: Arc<impl DbReadOps + DbMetadataOps + Send + Sync + 'static>,
    prefix: &[u8],
    after: Option<&[u8]>,
    classed: impl Fn(&slatedb::Error) -> Error + Send + 'static,
) -> Box<dyn Entries> {
    let (sender, read) = mpsc::channel(ENTRIES_AHEAD);
    let range = scan_range(prefix, after);
    let task = tokio::spawn(async move {
        let last = match range {
            Some(range) => read_all(&*db, range, &sender).await.map(|()| None).map_err(|error| classed(&error)),
            None => Ok(None),
        };
        // Whoever read them may have gone.
        let _ = sender.send(last).await;
    });
    Box::new(ReadAhead { read, task })
}

/// An entry, or the end.
type Found = Result<Option<(Bytes, Bytes)>>;

async fn read_all(
    db: &(impl DbReadOps + DbMetadataOps),
    range: (Bound<Bytes>, Bound<Bytes>),
    sender: &mpsc::Sender<Found>,
) -> Result<(), slatedb::Error> {
    let manifest = db.manifest();
    let sources = manifest.l0().len() + manifest.compacted().len();
    let options = ScanOptions::new().with_read_ahead_bytes(read_ahead_bytes(sources));
    let mut entries = db.scan_with_options(range, &options).await?;
    while let Some(entry) = entries.next().await? {
        if sender.send(Ok(Some((entry.key, entry.value)))).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Bytes that are asked for at once of each table or run, where so many of them are read side by side.
fn read_ahead_bytes(sources: usize) -> usize {
    (ENTRIES_READ_AHEAD_BYTES / sources.max(1)).clamp(SCAN_READ_AHEAD_BYTES, TABLE_BYTES)
}

/// Entries that a task reads, which ends with this.
struct ReadAhead {
    read: mpsc::Receiver<Found>,
    task: JoinHandle<()>,
}

#[async_trait]
impl Entries for ReadAhead {
    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        let untold = || Error::internal("reading a store", "it ended before its end");
        self.read.recv().await.unwrap_or_else(|| Err(untold()))
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.task.abort();
    }
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
