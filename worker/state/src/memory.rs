//! A unit's store for runs that keep nothing, and for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::commit::{Entries, UnitEntries, UnitStore, WriteSet};
use thalweg_core::error::{Error, ErrorKind, Result};

/// Entries that outlive the stores opened on them, and the number of the latest writer.
#[derive(Clone, Debug, Default)]
pub struct SharedMap {
    shared: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<Bytes, Bytes>,
    writer: u64,
}

/// Entries in memory, with the promises of a durable store: commits are whole, and a later opener fences the earlier.
#[derive(Debug)]
pub struct MemoryStore {
    map: SharedMap,
    writer: u64,
}

impl MemoryStore {
    /// An empty store of its own.
    pub fn new() -> Self {
        Self::open(SharedMap::default())
    }

    /// Becomes the one writer of `map`.
    pub fn open(map: SharedMap) -> Self {
        let writer = {
            let mut contents = map.lock();
            contents.writer += 1;
            contents.writer
        };
        Self { map, writer }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedMap {
    /// No code panics while it holds the lock, so what a poisoned one guards is whole.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl UnitStore for MemoryStore {
    async fn commit(&self, writes: WriteSet) -> Result<()> {
        let mut contents = self.map.lock();
        if contents.writer != self.writer {
            return Err(Error::new(ErrorKind::Fenced, "state in memory", "a later writer has opened it"));
        }
        for (key, value) in writes {
            match value {
                Some(value) => contents.entries.insert(key, value),
                None => contents.entries.remove(&key),
            };
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl UnitEntries for MemoryStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.map.lock().entries.get(key).cloned())
    }

    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let contents = self.map.lock();
        let entries = contents.entries.range::<[u8], _>((start, Bound::Unbounded));
        let wanted = entries.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(wanted.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn entries(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Box<dyn Entries>> {
        Ok(Box::new(Held(self.scan(prefix, after, usize::MAX).await?.into_iter())))
    }
}

/// Entries that are in memory anyway.
struct Held(std::vec::IntoIter<(Bytes, Bytes)>);

#[async_trait]
impl Entries for Held {
    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        Ok(self.0.next())
    }
}
