//! The windows of a unit from what its store holds: read once, or followed while another owner still writes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use thalweg_core::commit::UnitEntries;
use thalweg_core::unit::StageId;
use thalweg_sql::window::{StateEntry, WindowState, WindowedAggregate};

use super::error::{Result, RunError};
use super::layout::{self, UnitRecord};
use super::outbox::decode_rows;
use super::unit::unreadable;

/// The windows of a unit, and what keeps them in its store.
pub struct Restored {
    stage: StageId,
    windows: Arc<WindowedAggregate>,
    /// The windows.
    pub state: WindowState,
    /// Keys of stored entries by pane, to delete them when the pane goes.
    pub panes: HashMap<Vec<u8>, Vec<Bytes>>,
    /// Entries below this were read.
    next: u64,
}

impl Restored {
    /// A unit that never ran.
    pub fn nothing(stage: StageId, windows: &Arc<WindowedAggregate>) -> Self {
        Self { stage, windows: windows.clone(), state: windows.state(), panes: HashMap::new(), next: 0 }
    }

    /// Comes to what a store holds now, whose record this is: reads what was stored since the last time, or all of it where
    /// that has taken the place of what was read before. Gives how many entries were read.
    ///
    /// # Errors
    /// The store cannot be read, or is of another plan.
    pub async fn catch_up(&mut self, store: &dyn UnitEntries, record: &UnitRecord) -> Result<usize> {
        if let Some(read) = self.follow(store, record).await? {
            return Ok(read);
        }
        *self = Self::nothing(self.stage, &self.windows.clone());
        Ok(self.follow(store, record).await?.unwrap_or_default())
    }

    /// `None` where the state must be read anew; it is of no use then.
    async fn follow(&mut self, store: &dyn UnitEntries, record: &UnitRecord) -> Result<Option<usize>> {
        let is_first = self.next == 0;
        // What is over by now is forgotten with the next commit, which takes it out of the store as well: the owner before may
        // not have come to that.
        let resumed = self.state.resume(record.cursor.as_deref(), record.closing);
        resumed.map_err(|message| self.failed(message))?;
        // A store that somebody writes may have moved on since its record was read: what is younger comes with the next look.
        let end = layout::panes_before(record.pane_next);
        let mut read = 0;
        let mut entries = store.entries(layout::PANES, Some(&layout::panes_before(self.next))).await?;
        while let Some((key, value)) = entries.next().await?
            && key < end
        {
            let pane = layout::parse_pane_key(&key).ok_or_else(|| unreadable("a pane key"))?.to_vec();
            let entry = StateEntry { pane, batch: decode_rows(&value)? };
            if !is_first && self.state.supersedes(&entry).map_err(|message| self.failed(message))? {
                return Ok(None);
            }
            self.state.restore(&entry).map_err(|message| self.failed(message))?;
            self.panes.entry(entry.pane).or_default().push(key);
            read += 1;
            // Others on this thread have rows to take: an entry may take some milliseconds.
            tokio::task::yield_now().await;
        }
        self.next = record.pane_next;
        Ok(Some(read))
    }

    fn failed(&self, message: String) -> RunError {
        RunError::Plan { stage: self.stage.0, message }
    }
}
