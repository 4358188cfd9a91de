//! The aggregates of a stage over numbered groups: DataFusion's kernels, one set of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use super::WindowedAggregate;
use super::layout::Layout;

/// One accumulator an aggregate.
pub(crate) struct Accumulators {
    items: Vec<Box<dyn GroupsAccumulator>>,
}

impl Accumulators {
    pub(crate) fn new(aggregate: &WindowedAggregate) -> Result<Self> {
        let items = aggregate.aggregates.iter().map(accumulator).collect::<Result<_>>()?;
        Ok(Self { items })
    }

    /// Adds rows of `input_schema`; row `i` belongs to group `groups[i]` of `total`.
    pub(crate) fn update(
        &mut self,
        aggregate: &WindowedAggregate,
        rows: &RecordBatch,
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        let filters = aggregate.filters.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        for ((item, function), filter) in self.items.iter_mut().zip(&aggregate.aggregates).zip(filters) {
            let arguments = function.expressions().iter().map(|e| evaluate(e, rows)).collect::<Result<Vec<_>>>()?;
            let filter = filter.map(|filter| predicate(filter, rows)).transpose()?;
            // Order-sensitive functions take the columns that they order by after their arguments.
            let order =
                function.order_bys().iter().map(|sort| evaluate(&sort.expr, rows)).collect::<Result<Vec<_>>>()?;
            item.update_batch(&[arguments, order].concat(), groups, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Adds states in the layout of a partial.
    pub(crate) fn merge(
        &mut self,
        layout: &Layout,
        partial: &RecordBatch,
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        for (item, states) in self.items.iter_mut().zip(&layout.states) {
            item.merge_batch(&partial.columns()[states.clone()], groups, total)?;
        }
        Ok(())
    }

    /// The states of all groups, which are gone afterwards. There must be at least one group: the adapter for plain
    /// accumulators knows no types without one.
    pub(crate) fn into_states(self) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::new();
        // One after the other, each freed before the next is asked: states and hash tables never stand side by side.
        for mut item in self.items {
            columns.extend(item.state(EmitTo::All)?);
        }
        Ok(columns)
    }

    /// The results of all groups, at least one.
    pub(crate) fn into_results(self) -> Result<Vec<ArrayRef>> {
        self.items.into_iter().map(|mut item| item.evaluate(EmitTo::All)).collect()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.size()).sum()
    }
}

fn accumulator(function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    // The adapter makes one with the first group only, and an aggregate that is not known is no fault of a row's.
    function.create_accumulator()?;
    let function = Arc::clone(function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

fn evaluate(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expression.evaluate(rows)?.into_array(rows.num_rows())
}

fn predicate(filter: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let array = evaluate(filter, rows)?;
    match array.as_boolean_opt() {
        Some(array) => Ok(array.clone()),
        None => datafusion::common::internal_err!("FILTER gives {}, not BOOLEAN", array.data_type()),
    }
}
