//! Rows with a time outside of the years that times may have: what is said of them, and how they leave a batch that goes to
//! a sink.

use std::collections::BTreeMap;

use arrow::array::{Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use thalweg_core::decode::BadRecord;
use thalweg_core::sink::Rejected;
use thalweg_core::years::rows_outside;

use super::column::sql_name;
use super::encode::{Encoder, JsonEncoder, text_of_value};
use super::fault::shorten;

/// The sentence about a value of a column, which is or holds such a time; `what` names the column.
pub(crate) fn problem(what: &str, column: &dyn Array, row: usize) -> String {
    let expected = sql_name(column.data_type());
    format!("{what}: expected {expected} in the years 1 to 9999, found {}", shown(column, row))
}

/// A value as messages show it.
pub(crate) fn shown(column: &dyn Array, row: usize) -> String {
    shorten(&text_of_value(column, row))
}

/// A batch without the rows that no sink takes.
#[derive(Debug)]
pub struct Within {
    /// The other rows.
    pub rows: RecordBatch,
    /// The number that each of them had.
    pub numbers: Vec<usize>,
    /// The rows that are not among them, by the numbers that they had.
    pub refused: Vec<Rejected>,
}

/// Parts the rows with such a time from the others; `None` where there are none. What a query makes of times may be beyond
/// what a decoder would read back.
///
/// # Errors
/// A bug: rows of a batch are not in it.
pub fn within(rows: &RecordBatch) -> Result<Option<Within>, ArrowError> {
    let mut problems: BTreeMap<usize, String> = BTreeMap::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let what = || format!("column `{}`", field.name());
        for row in rows_outside(column.as_ref()) {
            problems.entry(row).or_insert_with(|| problem(&what(), column.as_ref(), row));
        }
    }
    if problems.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<usize> = (0..rows.num_rows()).filter(|row| !problems.contains_key(row)).collect();
    let kept = UInt32Array::from_iter_values(numbers.iter().map(|row| *row as u32));
    let kept = take_record_batch(rows, &kept)?;
    let refused = problems.into_iter().map(|(row, message)| refused(rows, row, message)).collect();
    Ok(Some(Within { rows: kept, numbers, refused }))
}

fn refused(rows: &RecordBatch, row: usize, message: String) -> Rejected {
    let mut raw = Vec::new();
    // A type that JSON does not have leaves the row to its message.
    if JsonEncoder::new().write(&rows.slice(row, 1), &mut raw).is_err() {
        raw.clear();
    }
    raw.truncate(raw.trim_ascii_end().len().min(BadRecord::MAX_RAW));
    Rejected { row, raw: raw.into(), message }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(times: Vec<i64>) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..times.len() as i64));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(times));
        RecordBatch::try_from_iter([("n", numbers), ("at", times)]).expect("a batch")
    }

    #[test]
    fn rows_beyond_the_years_are_parted_with_column_and_value() {
        let within = within(&rows(vec![0, i64::MAX, 1, 253_402_300_800_000])).expect("rows").expect("some are beyond");
        assert_eq!(within.rows.column(0).as_primitive::<Int64Type>().values(), &[0, 2]);
        assert_eq!(within.numbers, [0, 2]);
        let refused: Vec<_> = within.refused.iter().map(|row| (row.row, row.message.as_str())).collect();
        let expected = "column `at`: expected TIMESTAMP(3) in the years 1 to 9999, found";
        assert_eq!(
            refused,
            [
                (1, format!("{expected} \"+292278994-08-17T07:12:55.807Z\"").as_str()),
                (3, format!("{expected} \"+10000-01-01T00:00:00.000Z\"").as_str()),
            ]
        );
        assert_eq!(within.refused[1].raw, r#"{"n":3,"at":"+10000-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn other_batches_stay_whole() {
        assert!(within(&rows(vec![0, 253_402_300_799_999])).expect("rows").is_none());
    }
}
