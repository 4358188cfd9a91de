//! An append-only list of small records, which several processes may try to extend.

use std::cmp::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};

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

/// A list in memory: for runs without a state URL, and for tests.
#[derive(Debug, Default)]
pub struct MemoryLog {
    records: Mutex<Vec<Bytes>>,
}

impl MemoryLog {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AppendLog for MemoryLog {
    async fn read(&self, from: u64) -> Result<Vec<Bytes>> {
        let records = self.records();
        Ok(records.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        let mut records = self.records();
        match index.cmp(&(records.len() as u64)) {
            Ordering::Less => Ok(Appended::Exists),
            Ordering::Equal => {
                records.push(record);
                Ok(Appended::Created)
            }
            Ordering::Greater => {
                let what = format!("appending record {index} to a list");
                Err(Error::internal(what, format!("the list has {} records", records.len())))
            }
        }
    }
}
