//! The join with a lookup table: a hash of the table's keys, made once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;

use super::Transform;
use super::step::{Rows, mask};
use crate::explain::Sql;

/// `[LEFT] JOIN lookup ON left = right [AND …]`
#[derive(Clone, Debug)]
pub(crate) struct LookupJoin {
    /// The table's SQL name.
    pub(crate) table: String,
    /// Its columns that are used.
    pub(crate) columns: Vec<String>,
    /// What the query does with the table before it joins it.
    pub(crate) right: Arc<Transform>,
    /// Keys of the rows.
    pub(crate) left_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys of the table, of the same types.
    pub(crate) right_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Further conditions, over the columns of both.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether rows without a match stay.
    pub(crate) outer: bool,
    /// Columns of the rows, then those of the table.
    pub(crate) schema: SchemaRef,
    /// The table, once it is known.
    pub(crate) bound: Option<Arc<Table>>,
}

/// A lookup table as it is joined.
#[derive(Debug)]
pub(crate) struct Table {
    batch: RecordBatch,
    converter: RowConverter,
    rows: HashMap<Box<[u8]>, Vec<u32>>,
}

impl LookupJoin {
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    pub(super) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn bind(&self, lookups: &HashMap<String, RecordBatch>) -> Result<Self, String> {
        let whole =
            lookups.get(&self.table).ok_or_else(|| format!("the lookup table `{}` was not read", self.table))?;
        let indices = self.columns.iter().map(|column| {
            whole.schema().index_of(column).map_err(|_| format!("the lookup table `{}` lacks `{column}`", self.table))
        });
        let used = whole.project(&indices.collect::<Result<Vec<_>, String>>()?).map_err(|error| error.to_string())?;
        let done = self.right.apply(&used);
        if let Some((row, message)) = done.failed.first() {
            return Err(format!("row {} of the lookup table `{}`: {message}", row + 1, self.table));
        }
        let table = Table::new(done.batch, &self.right_keys).map_err(|error| error.to_string())?;
        Ok(Self { bound: Some(Arc::new(table)), ..self.clone() })
    }

    pub(super) fn run(&self, rows: Rows) -> Result<Rows> {
        let Some(table) = &self.bound else {
            return exec_err!("the lookup table `{}` is not bound", self.table);
        };
        let (mut left, mut right) = table.matches(&rows.batch, &self.left_keys)?;
        if let Some(condition) = &self.filter {
            let mask = mask(condition, &self.joined(&rows.batch, table, &left, &right)?)?;
            let keep = |indices: &UInt32Array| filter(indices, &mask).map(|kept| UInt32Array::from(kept.to_data()));
            (left, right) = (keep(&left)?, keep(&right)?);
        }
        if self.outer {
            (left, right) = with_unmatched(rows.batch.num_rows(), &left, &right);
        }
        let batch = self.joined(&rows.batch, table, &left, &right)?;
        Ok(Rows { batch, origin: Some(rows.traced(left)) })
    }

    fn joined(
        &self,
        batch: &RecordBatch,
        table: &Table,
        left: &UInt32Array,
        right: &UInt32Array,
    ) -> Result<RecordBatch> {
        let same =
            left.len() == batch.num_rows() && left.values().iter().enumerate().all(|(at, row)| at == *row as usize);
        let lefts =
            batch.columns().iter().map(|column| if same { Ok(Arc::clone(column)) } else { take(column, left, None) });
        let rights = table.batch.columns().iter().map(|column| take(column, right, None));
        let columns = lefts.chain(rights).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Table {
    fn new(batch: RecordBatch, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let columns = evaluate(keys, &batch)?;
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let encoded = converter.convert_columns(&columns)?;
        let mut rows: HashMap<Box<[u8]>, Vec<u32>> = HashMap::with_capacity(batch.num_rows());
        for row in (0..batch.num_rows()).filter(|row| !any_null(&columns, *row)) {
            rows.entry(encoded.row(row).as_ref().into()).or_default().push(row as u32);
        }
        Ok(Self { batch, converter, rows })
    }

    /// Pairs of rows with equal keys, in the order of `batch`.
    fn matches(&self, batch: &RecordBatch, keys: &[Arc<dyn PhysicalExpr>]) -> Result<(UInt32Array, UInt32Array)> {
        let columns = evaluate(keys, batch)?;
        let encoded = self.converter.convert_columns(&columns)?;
        let (mut left, mut right) = (Vec::with_capacity(batch.num_rows()), Vec::with_capacity(batch.num_rows()));
        for row in (0..batch.num_rows()).filter(|row| !any_null(&columns, *row)) {
            for found in self.rows.get(encoded.row(row).as_ref()).into_iter().flatten() {
                left.push(row as u32);
                right.push(*found);
            }
        }
        Ok((left.into(), right.into()))
    }
}

fn evaluate(keys: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    keys.iter().map(|key| key.evaluate(batch)?.into_array(rows)).collect()
}

fn any_null(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().any(|column| column.is_null(row))
}

/// Adds rows of the left side that have no pair, each at its place.
fn with_unmatched(rows: usize, left: &UInt32Array, right: &UInt32Array) -> (UInt32Array, UInt32Array) {
    let mut pairs = left.values().iter().zip(right.values()).peekable();
    let (mut lefts, mut rights) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows as u32 {
        let before = lefts.len();
        while let Some((_, found)) = pairs.next_if(|(at, _)| **at == row) {
            lefts.push(row);
            rights.push(Some(*found));
        }
        if lefts.len() == before {
            lefts.push(row);
            rights.push(None);
        }
    }
    (lefts.into(), rights.into())
}

impl fmt::Display for LookupJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.outer { "left join" } else { "join" };
        write!(f, "{kind} {}({}) on ", self.table, self.columns.join(", "))?;
        for (at, (left, right)) in self.left_keys.iter().zip(&self.right_keys).enumerate() {
            let and = if at == 0 { "" } else { " AND " };
            write!(f, "{and}{} = {}", Sql(left), Sql(right))?;
        }
        self.right.steps().iter().try_for_each(|step| write!(f, ", table: {step}"))?;
        self.filter.iter().try_for_each(|filter| write!(f, " AND {}", Sql(filter)))
    }
}
