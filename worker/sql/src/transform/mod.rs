//! Row-wise work: filters, projections, window columns, static joins. A pure function of a batch.

mod assign;
mod failure;
mod guard;
mod join;
mod step;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result};

pub use failure::FailedRow;
use guard::{PANIC, guarded, guarded_again};
pub(crate) use join::LookupJoin;
use step::Rows;
pub(crate) use step::Step;

/// A chain of filters, projections and joins with lookup tables.
#[derive(Clone, Debug)]
pub struct Transform {
    input: SchemaRef,
    output: SchemaRef,
    steps: Vec<Step>,
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
    /// The transform that changes nothing.
    pub fn identity(schema: SchemaRef) -> Self {
        Self { input: Arc::clone(&schema), output: schema, steps: vec![] }
    }

    pub(crate) fn new(input: SchemaRef, output: SchemaRef, steps: Vec<Step>) -> Self {
        Self { input, output, steps }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Columns that it takes.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// Columns that it gives.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Whether it gives every batch back as it is.
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// Names of the lookup tables that [`Transform::bind`] must give it.
    pub fn lookups(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Join(join) => Some(join.table()),
            _ => None,
        })
    }

    /// Gives it the lookup tables, whole, by SQL name.
    ///
    /// # Errors
    /// A table or one of its columns is missing, or an expression fails on one of its rows.
    pub fn bind(&self, lookups: &HashMap<String, RecordBatch>) -> Result<Arc<Self>, String> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Join(join) => join.bind(lookups).map(|join| Step::Join(Box::new(join))),
            other => Ok(other.clone()),
        });
        Ok(Arc::new(Self { steps: steps.collect::<Result<_, String>>()?, ..self.clone() }))
    }

    /// Applies it to a batch. An expression that fails on some rows, or panics there, costs those rows only.
    pub fn apply(&self, batch: &RecordBatch) -> Transformed {
        if self.steps.is_empty() {
            return Transformed { batch: batch.clone(), rows: None, failed: vec![] };
        }
        match guarded(|| self.run(batch)) {
            Ok(Rows { batch, origin }) => Transformed { batch, rows: origin, failed: vec![] },
            Err(error) => self.apply_in_pieces(batch, error),
        }
    }

    fn run(&self, batch: &RecordBatch) -> Result<Rows> {
        let start = Rows { batch: batch.clone(), origin: None };
        self.steps
            .iter()
            .try_fold(start, |rows, step| if rows.batch.num_rows() == 0 { Ok(rows) } else { step.run(rows) })
            .map(|rows| {
                if rows.batch.num_rows() > 0 {
                    return rows;
                }
                let origin = (batch.num_rows() > 0).then(|| UInt32Array::from(Vec::<u32>::new()));
                Rows { batch: RecordBatch::new_empty(Arc::clone(&self.output)), origin }
            })
    }

    /// Halves a batch that failed until the rows that fail stand alone.
    fn apply_in_pieces(&self, batch: &RecordBatch, error: DataFusionError) -> Transformed {
        let mut pieces = Pieces::default();
        self.halve(batch, 0, error, &mut pieces);
        let batches: Vec<&RecordBatch> = pieces.good.iter().map(|(batch, _)| batch).collect();
        let rows: UInt32Array =
            pieces.good.iter().flat_map(|(_, rows)| rows.values().iter().copied()).collect::<Vec<u32>>().into();
        match concat_batches(&self.output, batches) {
            Ok(batch) => Transformed { batch, rows: Some(rows), failed: pieces.failed },
            Err(error) => {
                let message = error.to_string();
                let failed = (0..batch.num_rows() as u32).map(|row| (row, message.clone())).collect();
                let none = UInt32Array::from(Vec::<u32>::new());
                Transformed { batch: RecordBatch::new_empty(Arc::clone(&self.output)), rows: Some(none), failed }
            }
        }
    }

    fn halve(&self, batch: &RecordBatch, offset: u32, error: DataFusionError, pieces: &mut Pieces) {
        let rows = batch.num_rows();
        if rows <= 1 {
            pieces.failed.push((offset, self.message(batch, &error)));
            return;
        }
        for (from, length) in [(0, rows / 2), (rows / 2, rows - rows / 2)] {
            let half = batch.slice(from, length);
            let at = offset + from as u32;
            match guarded_again(|| self.run(&half)) {
                Ok(Rows { batch, origin }) => {
                    let count = batch.num_rows() as u32;
                    let origin = origin.unwrap_or_else(|| (0..count).collect::<Vec<_>>().into());
                    pieces.good.push((batch, origin.unary(|row| row + at)));
                }
                Err(error) => self.halve(&half, at, error, pieces),
            }
        }
    }

    /// What an error says of a row; of a panic, also which expression it was in.
    fn message(&self, row: &RecordBatch, error: &DataFusionError) -> String {
        let message = crate::problem::plain(error);
        let expression = if message.starts_with(PANIC) { self.failing(row) } else { None };
        match expression {
            Some(expression) => format!("{message}, in `{expression}`"),
            None => message,
        }
    }
}

#[derive(Default)]
struct Pieces {
    good: Vec<(RecordBatch, UInt32Array)>,
    failed: Vec<(u32, String)>,
}
