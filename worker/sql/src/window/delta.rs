//! What a unit merged since its last commit.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::WindowSpec;
use super::groups::Groups;
use super::late::bounds;
use super::layout::Layout;
use super::session::coalesce;

/// Partials of sessions wait until there are so many rows; then they are joined.
const WAITING_ROWS: usize = 65_536;

/// Partials since the last commit, merged.
pub(crate) struct Delta {
    layout: Arc<Layout>,
    held: Held,
    /// The least pane end of what is held.
    first: Option<i64>,
}

enum Held {
    Groups(Groups),
    Sessions { parts: Vec<RecordBatch>, rows: usize, limit: usize },
}

impl Held {
    fn new(layout: &Arc<Layout>) -> Result<Self> {
        match layout.spec() {
            WindowSpec::Session { .. } => Ok(Self::Sessions { parts: Vec::new(), rows: 0, limit: WAITING_ROWS }),
            _ => Ok(Self::Groups(Groups::new(layout)?)),
        }
    }
}

impl Delta {
    pub(crate) fn new(layout: &Arc<Layout>) -> Result<Self> {
        Ok(Self { held: Held::new(layout)?, layout: Arc::clone(layout), first: None })
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.held {
            Held::Groups(groups) => groups.is_empty(),
            Held::Sessions { rows, .. } => *rows == 0,
        }
    }

    /// The least pane end held; of sessions, the least last time.
    pub(crate) fn first(&self) -> Option<i64> {
        self.first
    }

    pub(crate) fn merge(&mut self, partial: &RecordBatch) -> Result<()> {
        let Some((first, _)) = bounds(self.layout.ends(partial)?.values()) else { return Ok(()) };
        self.first = Some(self.first.map_or(first, |known| known.min(first)));
        match &mut self.held {
            Held::Groups(groups) => groups.merge(partial),
            Held::Sessions { parts, rows, limit } => {
                parts.push(partial.clone());
                *rows += partial.num_rows();
                if *rows > *limit {
                    let joined = coalesce(&self.layout, &concat_batches(&self.layout.partial, &*parts)?)?;
                    *rows = joined.num_rows();
                    // Twice what is left, so that joining stays linear where nothing joins.
                    *limit = WAITING_ROWS.max(2 * *rows);
                    *parts = vec![joined];
                }
                Ok(())
            }
        }
    }

    /// All of it; `None` where nothing came.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.is_empty() {
            return Ok(None);
        }
        self.first = None;
        match std::mem::replace(&mut self.held, Held::new(&self.layout)?) {
            Held::Groups(groups) => groups.into_partial(),
            Held::Sessions { parts, .. } => {
                coalesce(&self.layout, &concat_batches(&self.layout.partial, &parts)?).map(Some)
            }
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match &self.held {
            Held::Groups(groups) => groups.bytes(),
            Held::Sessions { parts, .. } => parts.iter().map(RecordBatch::get_array_memory_size).sum(),
        }
    }
}
