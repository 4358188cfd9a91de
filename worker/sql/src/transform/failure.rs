//! A row on which an expression of the query fails, told to its author.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;

use super::Transform;
use super::guard::{PANIC, guarded_again};
use super::step::{Rows, Step, mask};
use crate::explain::Sql;

/// A row on which an expression fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRow {
    /// The expression and what it says: "`10 / n`: Divide by zero error".
    pub message: String,
    /// The row as one line of JSON.
    pub row: String,
    /// The last millisecond of its window; `None` where it has none.
    pub window_time: Option<i64>,
}

impl Transform {
    /// The rows of a batch on which [`Transform::apply`] said that an expression fails.
    pub fn failures(&self, batch: &RecordBatch, failed: &[(u32, String)]) -> Vec<FailedRow> {
        failed.iter().map(|(row, message)| self.failure(&batch.slice(*row as usize, 1), message)).collect()
    }

    fn failure(&self, row: &RecordBatch, message: &str) -> FailedRow {
        let expression = if message.starts_with(PANIC) { None } else { self.failing(row) };
        let message = match expression {
            Some(expression) => format!("`{expression}`: {message}"),
            None => message.to_owned(),
        };
        FailedRow { message, row: in_words(row), window_time: window_time(row) }
    }

    /// The expression that fails on a row.
    pub(super) fn failing(&self, row: &RecordBatch) -> Option<String> {
        let mut rows = Rows { batch: row.clone(), origin: None };
        for step in &self.steps {
            let at = rows.batch.clone();
            match guarded_again(|| step.run(rows)) {
                Ok(next) => rows = next,
                Err(_) => return step.failing(&at),
            }
        }
        None
    }
}

impl Step {
    fn failing(&self, rows: &RecordBatch) -> Option<String> {
        match self {
            Self::Filter { predicate, .. } => {
                guarded_again(|| mask(predicate, rows)).is_err().then(|| Sql(predicate).to_string())
            }
            Self::Project { exprs, .. } => {
                let fails = |expr: &&Arc<dyn PhysicalExpr>| guarded_again(|| expr.evaluate(rows)).is_err();
                exprs.iter().find(fails).map(|expr| Sql(expr).to_string())
            }
            Self::Assign(_) | Self::Join(_) => None,
        }
    }
}

/// A row as people read it.
fn in_words(row: &RecordBatch) -> String {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    let written = writer.write(row).and_then(|()| writer.finish());
    let text = String::from_utf8_lossy(&writer.into_inner()).trim_end().to_owned();
    written.map_or_else(|error| format!("a row that cannot be shown: {error}"), |()| text)
}

fn window_time(row: &RecordBatch) -> Option<i64> {
    let times = row.column_by_name("window_time")?.as_primitive_opt::<TimestampMillisecondType>()?;
    times.iter().next().flatten()
}
