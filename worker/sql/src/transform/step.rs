//! One step of a transform.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::assign::Assign;
use super::join::LookupJoin;
use crate::explain::Sql;
use crate::window::WindowSpec;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Keeps the rows for which it is true.
    Filter {
        /// The condition.
        predicate: Arc<dyn PhysicalExpr>,
        /// The columns that are used afterwards, if not all are.
        keep: Option<(Vec<usize>, SchemaRef)>,
    },
    /// Makes new columns of those that there are.
    Project {
        /// One for each column.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// Their names and types.
        schema: SchemaRef,
    },
    /// Gives a row its windows: a copy for each.
    Assign(Assign),
    /// Joins with a lookup table.
    Join(Box<LookupJoin>),
}

/// A batch under way, with the rows that its rows came from (`None`: the same).
pub(crate) struct Rows {
    pub(super) batch: RecordBatch,
    pub(super) origin: Option<UInt32Array>,
}

impl Rows {
    /// Rows of `origin`, taken at `rows`.
    pub(super) fn traced(&self, rows: UInt32Array) -> UInt32Array {
        match &self.origin {
            Some(origin) => rows.unary(|row| origin.value(row as usize)),
            None => rows,
        }
    }
}

impl Step {
    /// The step that keeps the rows for which `predicate` is true, with all their columns.
    pub(crate) const fn filter(predicate: Arc<dyn PhysicalExpr>) -> Self {
        Self::Filter { predicate, keep: None }
    }

    /// The step that gives rows of the event time in column `time` their windows, as further columns of `schema`.
    pub(crate) const fn assign(time: usize, window: WindowSpec, schema: SchemaRef) -> Self {
        Self::Assign(Assign { time, window, schema })
    }

    /// What the columns are after it, given what they were before.
    pub(crate) fn schema(&self, before: &SchemaRef) -> SchemaRef {
        match self {
            Self::Filter { keep, .. } => Arc::clone(keep.as_ref().map_or(before, |(_, schema)| schema)),
            Self::Project { schema, .. } => Arc::clone(schema),
            Self::Assign(assign) => Arc::clone(&assign.schema),
            Self::Join(join) => Arc::clone(join.schema()),
        }
    }

    pub(super) fn run(&self, rows: Rows) -> Result<Rows> {
        match self {
            Self::Filter { predicate, keep } => {
                keep_rows(predicate, keep.as_ref().map(|(columns, _)| columns.as_slice()), rows)
            }
            Self::Project { exprs, schema } => {
                let batch = project(exprs, schema, &rows.batch)?;
                Ok(Rows { batch, origin: rows.origin })
            }
            Self::Assign(assign) => assign.run(rows),
            Self::Join(join) => join.run(rows),
        }
    }
}

fn keep_rows(predicate: &Arc<dyn PhysicalExpr>, columns: Option<&[usize]>, rows: Rows) -> Result<Rows> {
    let mask = mask(predicate, &rows.batch)?;
    let rows = match columns {
        Some(columns) => Rows { batch: rows.batch.project(columns)?, ..rows },
        None => rows,
    };
    let kept = mask.true_count();
    if kept == mask.len() {
        return Ok(rows);
    }
    let batch = filter_record_batch(&rows.batch, &mask)?;
    let origin = match &rows.origin {
        Some(origin) => filter(origin, &mask)?.as_primitive().clone(),
        None => mask.values().set_indices_u32().collect::<Vec<u32>>().into(),
    };
    Ok(Rows { batch, origin: Some(origin) })
}

/// Where a predicate is true; null counts as false.
pub(super) fn mask(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let found = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let found = match found.as_boolean_opt() {
        Some(found) => found.clone(),
        // A bare NULL.
        None => BooleanArray::new_null(batch.num_rows()),
    };
    Ok(if found.null_count() > 0 { prep_null_mask_filter(&found) } else { found })
}

pub(super) fn project(exprs: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The text of `explain`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { predicate, .. } => write!(f, "filter {}", Sql(predicate)),
            Self::Project { exprs, schema } => {
                f.write_str("select ")?;
                for (at, (expr, field)) in exprs.iter().zip(schema.fields()).enumerate() {
                    let separator = if at == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", Named(expr, field.name()))?;
                }
                Ok(())
            }
            Self::Assign(assign) => assign.fmt(f),
            Self::Join(join) => join.fmt(f),
        }
    }
}

/// An expression with its name where that says more than the expression.
struct Named<'a>(&'a Arc<dyn PhysicalExpr>, &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(expr, name) = self;
        let text = Sql(expr).to_string();
        if text == *name { f.write_str(name) } else { write!(f, "{text} AS {name}") }
    }
}
