//! The one atomic write of a unit, and the place that holds it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// Changes that become durable together or not at all; the last change of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet(BTreeMap<Bytes, Option<Bytes>>);

impl WriteSet {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.insert(key.into(), Some(value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.0.insert(key.into(), None);
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key once, in order, with its new value, or `None` where it goes.
    pub fn changes(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.changes().map(|(key, value)| key.len() + value.map_or(0, Bytes::len)).sum()
    }
}

impl IntoIterator for WriteSet {
    type Item = (Bytes, Option<Bytes>);
    type IntoIter = std::collections::btree_map::IntoIter<Bytes, Option<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What a unit's durable state holds: an ordered map of bytes.
#[async_trait]
pub trait UnitEntries: Send + Sync {
    /// One value.
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Up to `limit` entries whose key starts with `prefix` and is greater than `after`, in key order.
    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>>;

    /// Every entry whose key starts with `prefix` and is greater than `after`, in key order, as they stand now. They are
    /// read ahead of whoever takes them, within some megabytes.
    async fn entries(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Box<dyn Entries>>;
}

/// Entries of a unit's durable state, one after the other.
#[async_trait]
pub trait Entries: Send {
    /// The next one; `None` behind the last.
    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>>;
}

/// A unit's durable state, open for its one writer.
#[async_trait]
pub trait UnitStore: UnitEntries {
    /// Writes all of the set and waits until it is durable.
    ///
    /// # Errors
    /// `Fenced` where a later writer has opened the store; nothing of the set is visible then. After any other error
    /// it is unknown whether the set was written: reopen and read.
    async fn commit(&self, writes: WriteSet) -> Result<()>;

    /// Gives the store up without writing anything more.
    async fn close(&self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut writes = WriteSet::default();
        writes.put("a", "1");
        writes.delete("a");
        writes.delete("b");
        writes.put("b", "2");
        let changes: Vec<_> = writes.into_iter().collect();
        assert_eq!(changes, [(Bytes::from("a"), None), (Bytes::from("b"), Some(Bytes::from("2")))]);
    }
}
