//! Row-wise work: filters, projections, static joins. A pure function of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

/// A chain of filters, projections and joins with lookup tables.
#[derive(Clone, Debug)]
pub struct Transform {
    input: SchemaRef,
    output: SchemaRef,
}

/// What [`Transform::apply`] made of a batch.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// The rows that are left, in the order of the input.
    pub batch: RecordBatch,
    /// For each row of `batch`, the row of the input it came from; `None` where they are the same.
    pub rows: Option<UInt32Array>,
    /// Rows of the input on which an expression failed, with the message. They are in no other place.
    pub failed: Vec<(u32, String)>,
}

impl Transform {
    /// Columns that it takes.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// Columns that it gives.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Gives it the lookup tables, whole, by SQL name.
    pub fn bind(&self, _lookups: &HashMap<String, RecordBatch>) -> Result<Arc<Self>, String> {
        todo!("SQL")
    }

    /// Applies it to a batch. An expression that fails on some rows costs those rows only.
    pub fn apply(&self, _batch: &RecordBatch) -> Transformed {
        todo!("SQL")
    }
}
