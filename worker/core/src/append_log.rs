//! An append-only list of small records, which several processes may try to extend.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// Whether an append won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The record stands at that index now.
    Created,
    /// Another record stood there already: read, then decide again.
    Exists,
}

/// A durable list, such as the listing of a lane: entries are only ever added, by conditional create.
#[async_trait]
pub trait AppendLog: Send + Sync {
    /// All records from index `from` on.
    async fn read(&self, from: u64) -> Result<Vec<Bytes>>;

    /// Puts a record at `index`, which must be the list's length, unless one stands there.
    async fn append(&self, index: u64, record: Bytes) -> Result<Appended>;
}
