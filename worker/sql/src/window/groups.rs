//! A table of groups, numbered as they come, with the state of their aggregates.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::accumulators::Accumulators;
use super::layout::Layout;

/// Groups by all group columns of a partial.
pub(crate) struct Groups {
    layout: Arc<Layout>,
    values: Box<dyn GroupValues>,
    accumulators: Accumulators,
    ids: Vec<usize>,
}

impl Groups {
    pub(crate) fn new(layout: &Arc<Layout>) -> Result<Self> {
        let values = new_group_values(layout.group_schema(), &GroupOrdering::None)?;
        let accumulators = Accumulators::new(&layout.aggregate)?;
        Ok(Self { layout: Arc::clone(layout), values, accumulators, ids: Vec::new() })
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds the rows of a partial.
    pub(crate) fn merge(&mut self, partial: &RecordBatch) -> Result<()> {
        if partial.num_rows() == 0 {
            return Ok(());
        }
        self.values.intern(&partial.columns()[self.layout.group()], &mut self.ids)?;
        self.accumulators.merge(&self.layout, partial, &self.ids, self.values.len())
    }

    /// All groups as a partial, `None` where there are none. Buffers are moved where the kernels allow it, and the hash
    /// table goes first, so that a large table is never held twice.
    pub(crate) fn into_partial(mut self) -> Result<Option<RecordBatch>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = self.values.emit(EmitTo::All)?;
        drop(self.values);
        columns.extend(self.accumulators.into_states()?);
        self.layout.batch(columns).map(Some)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.values.size() + self.accumulators.bytes() + self.ids.capacity() * size_of::<usize>()
    }
}
