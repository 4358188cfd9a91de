//! Lists of which only a copy is changed.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_core::append_log::{AppendLog, Appended, MemoryLog};
use thalweg_core::error::Result;
use tokio::sync::OnceCell;

/// A list as it was when it was first read. What is added to it nobody else sees.
pub struct Copied {
    list: Arc<dyn AppendLog>,
    copy: OnceCell<MemoryLog>,
}

impl Copied {
    /// A copy of a list, made when it is used.
    pub fn of(list: Arc<dyn AppendLog>) -> Arc<dyn AppendLog> {
        Arc::new(Self { list, copy: OnceCell::new() })
    }

    async fn copy(&self) -> Result<&MemoryLog> {
        let copy = || async {
            let copy = MemoryLog::new();
            for (index, record) in (0..).zip(self.list.read(0).await?) {
                copy.append(index, record).await?;
            }
            Ok(copy)
        };
        self.copy.get_or_try_init(copy).await
    }
}

#[async_trait]
impl AppendLog for Copied {
    async fn read(&self, from: u64) -> Result<Vec<Bytes>> {
        self.copy().await?.read(from).await
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        self.copy().await?.append(index, record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_added_to_a_copy_stays_there() {
        let list: Arc<dyn AppendLog> = Arc::new(MemoryLog::new());
        list.append(0, Bytes::from_static(b"a")).await.expect("appended");
        let copied = Copied::of(Arc::clone(&list));
        assert_eq!(copied.append(0, Bytes::from_static(b"b")).await.expect("asked"), Appended::Exists);
        assert_eq!(copied.append(1, Bytes::from_static(b"b")).await.expect("added"), Appended::Created);
        assert_eq!(copied.read(0).await.expect("read"), [&b"a"[..], b"b"]);
        assert_eq!(list.read(0).await.expect("read"), [&b"a"[..]]);
    }
}
