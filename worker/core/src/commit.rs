//! The one atomic write of a unit, and the place that holds it.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// Changes that become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// Keys and their new values; the last put of a key counts.
    pub puts: Vec<(Bytes, Bytes)>,
    /// Keys that go.
    pub deletes: Vec<Bytes>,
}

impl WriteSet {
    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.puts.push((key.into(), value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.deletes.push(key.into());
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let puts: usize = self.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        puts + self.deletes.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A unit's durable state: an ordered map of bytes with one writer.
#[async_trait]
pub trait UnitStore: Send + Sync {
    /// Writes all of the set and waits until it is durable.
    ///
    /// # Errors
    /// `Fenced` where a later writer has opened the store; nothing of the set is visible then. After any other error
    /// it is unknown whether the set was written: reopen and read.
    async fn commit(&self, writes: WriteSet) -> Result<()>;

    /// One value.
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Up to `limit` entries whose key starts with `prefix` and is greater than `after`, in key order.
    async fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>>;

    /// Gives the store up without writing anything more.
    async fn close(&self) -> Result<()>;
}
