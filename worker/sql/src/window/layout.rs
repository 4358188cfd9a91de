//! Where things stand in a [`super::Partial`], and in what a unit stores.
//!
//! Version [`LAYOUT_VERSION`]:
//!
//! | columns | windows on a grid | attached | `SESSION` |
//! |---|---|---|---|
//! | `end: Int64` | end of the pane | end of the window | time of the last row |
//! | `start: Int64` | – | start of the window | time of the first row |
//! | keys | as in `input_schema` | | |
//! | states | of each aggregate, as DataFusion's `state_fields` says | | |
//!
//! All columns before the states together are the *group*; no two rows of a batch share it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};

use super::{WindowSpec, WindowedAggregate};

/// Version of the layout of partials, stored entries and cursors. States are DataFusion's own and may change with its
/// major version: raise this with it.
pub const LAYOUT_VERSION: u32 = 2;

/// Positions and schemas, computed once a folder or state.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The aggregate that it was computed for.
    pub(crate) aggregate: Arc<WindowedAggregate>,
    /// Schema of a partial.
    pub(crate) partial: SchemaRef,
    /// Schema of what a closed window gives before `finish`.
    pub(crate) raw: SchemaRef,
    /// For each aggregate, the columns of its state in a partial.
    pub(crate) states: Vec<Range<usize>>,
}

impl Layout {
    pub(crate) fn new(aggregate: &Arc<WindowedAggregate>) -> Result<Arc<Self>> {
        let mut fields: Vec<FieldRef> = vec![Arc::new(Field::new("end", DataType::Int64, false))];
        if has_start(aggregate) {
            fields.push(Arc::new(Field::new("start", DataType::Int64, false)));
        }
        fields.extend(aggregate.input_schema.fields().iter().take(aggregate.key_count).cloned());
        let mut states = Vec::new();
        for function in &aggregate.aggregates {
            let from = fields.len();
            // Nullable, whatever the function says: an aggregate over no row at all may have no state yet.
            let state = function.state_fields()?;
            fields.extend(state.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))));
            states.push(from..fields.len());
        }
        let raw = raw_schema(aggregate);
        let partial = Arc::new(Schema::new(fields));
        Ok(Arc::new(Self { aggregate: Arc::clone(aggregate), partial, raw, states }))
    }

    /// The windows.
    pub(crate) fn spec(&self) -> &WindowSpec {
        &self.aggregate.window
    }

    /// Columns of the group: ends, starts, keys.
    pub(crate) fn group(&self) -> Range<usize> {
        0..self.keys().end
    }

    /// Columns of the keys.
    pub(crate) fn keys(&self) -> Range<usize> {
        keys(&self.aggregate)
    }

    /// The part of the partial's schema that makes a group.
    pub(crate) fn group_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.partial.fields()[self.group()].to_vec()))
    }

    /// The part of the partial's schema that makes a key.
    pub(crate) fn key_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.partial.fields()[self.keys()].to_vec()))
    }

    /// A partial of group columns and states, in this order.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::clone(&self.partial), columns)?)
    }

    /// The pane ends (`SESSION`: last times) of a partial.
    pub(crate) fn ends<'a>(&self, batch: &'a RecordBatch) -> Result<&'a Int64Array> {
        int64(batch, 0)
    }

    /// The starts of a partial that has them.
    pub(crate) fn starts<'a>(&self, batch: &'a RecordBatch) -> Result<&'a Int64Array> {
        int64(batch, 1)
    }

    /// That a batch which came from a reader or a store is of this layout.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        let given = batch.columns().iter().map(|column| column.data_type());
        if given.eq(self.partial.fields().iter().map(|field| field.data_type())) {
            return Ok(());
        }
        Err(DataFusionError::Internal(format!(
            "a partial aggregate of another plan: expected {:?}, found {:?}",
            self.partial,
            batch.schema()
        )))
    }
}

/// Whether windows are not known by their end alone.
fn has_start(aggregate: &WindowedAggregate) -> bool {
    matches!(aggregate.window, WindowSpec::Session { .. } | WindowSpec::Attached)
}

/// Columns of the keys in a partial.
pub(crate) fn keys(aggregate: &WindowedAggregate) -> Range<usize> {
    let from = 1 + usize::from(has_start(aggregate));
    from..from + aggregate.key_count
}

fn int64(batch: &RecordBatch, column: usize) -> Result<&Int64Array> {
    let array = batch.columns().get(column).and_then(|array| array.as_primitive_opt::<Int64Type>());
    array.ok_or_else(|| DataFusionError::Internal(format!("column {column} of a partial aggregate holds no times")))
}

/// Keys, one column an aggregate, `window_start, window_end, window_time`.
fn raw_schema(aggregate: &WindowedAggregate) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let mut fields: Vec<FieldRef> = aggregate.input_schema.fields().iter().take(aggregate.key_count).cloned().collect();
    fields.extend(aggregate.aggregates.iter().map(|function| function.field()));
    fields.extend(
        ["window_start", "window_end", "window_time"].map(|name| Arc::new(Field::new(name, time.clone(), false))),
    );
    Arc::new(Schema::new(fields))
}

/// A column of event times as whole numbers, without a copy.
///
/// # Errors
/// A null, or another type: the decoder refuses rows without event time, so either is a bug in the plan.
pub(crate) fn times_of(rows: &RecordBatch, column: usize) -> Result<Int64Array> {
    let array = rows.columns().get(column).and_then(|array| array.as_primitive_opt::<TimestampMillisecondType>());
    match array {
        Some(array) if array.null_count() == 0 => Ok(array.reinterpret_cast::<Int64Type>()),
        Some(_) => Err(DataFusionError::Execution(format!("column {column}: a row has no event time"))),
        None => Err(DataFusionError::Internal(format!("column {column} is not a TIMESTAMP(3)"))),
    }
}
