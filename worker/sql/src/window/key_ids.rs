//! Dense numbers for keys.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

/// Numbers keys from 0 as they come. Without key columns there is one key, and it has number 0.
pub(crate) struct KeyIds {
    values: Option<Box<dyn GroupValues>>,
    ids: Vec<usize>,
}

impl KeyIds {
    pub(crate) fn new(schema: SchemaRef) -> Result<Self> {
        let has_keys = !schema.fields().is_empty();
        let values = has_keys.then(|| new_group_values(schema, &GroupOrdering::None)).transpose()?;
        Ok(Self { values, ids: Vec::new() })
    }

    /// The number of each row's key.
    pub(crate) fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<&[usize]> {
        match &mut self.values {
            Some(values) => values.intern(keys, &mut self.ids)?,
            None => {
                self.ids.clear();
                self.ids.resize(rows, 0);
            }
        }
        Ok(&self.ids)
    }

    /// The numbers that the last [`Self::intern`] gave.
    pub(crate) fn last(&self) -> &[usize] {
        &self.ids
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// The keys in order of their numbers.
    pub(crate) fn into_columns(self) -> Result<Vec<ArrayRef>> {
        self.values.map_or_else(|| Ok(Vec::new()), |mut values| values.emit(EmitTo::All))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size()) + self.ids.capacity() * size_of::<usize>()
    }
}
