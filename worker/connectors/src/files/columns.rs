//! Columns as files hold them, to the columns that the query needs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use thalweg_core::decode::{BadClass, BadRecord, Decoded, Decoder, Rows};
use thalweg_core::source::{Payload, RawChunk};
use thalweg_core::years::rows_outside;

use crate::formats::column::sql_name;
use crate::formats::{Column, Metadata, years};

/// Picks, names and types the columns of chunks that have columns already; judges nulls and times.
#[derive(Clone, Debug)]
pub struct ColumnsDecoder {
    columns: Vec<Column>,
    schema: SchemaRef,
    /// The same, but any column may be null.
    loose: SchemaRef,
}

impl ColumnsDecoder {
    /// A decoder of these columns.
    pub fn new(columns: Vec<Column>) -> Self {
        let may_be_null = |column: &Column| column.nullable && !column.is_watermark;
        let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), may_be_null(column));
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let loose = fields.iter().map(|field| field.clone().with_nullable(true)).collect::<Vec<_>>();
        Self { columns, schema: Arc::new(Schema::new(fields)), loose: Arc::new(Schema::new(loose)) }
    }

    /// What must be read of each file: one column for each field, whatever it is called in the query.
    pub fn fields(&self) -> SchemaRef {
        let mut fields: Vec<Field> = Vec::new();
        for column in self.columns.iter().filter(|column| column.metadata.is_none()) {
            if !fields.iter().any(|field| field.name() == &column.from) {
                fields.push(Field::new(&column.from, column.data_type.clone(), true));
            }
        }
        Arc::new(Schema::new(fields))
    }

    fn rows(&self, chunk: &RawChunk, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let count = rows.num_rows();
        let name = || Arc::new(StringArray::from(vec![chunk.piece.name.as_ref(); count])) as ArrayRef;
        let first = i64::try_from(chunk.from.offset).unwrap_or(i64::MAX);
        let columns = self.columns.iter().map(|column| match column.metadata {
            Some(Metadata::File | Metadata::Split) => cast(&name(), &column.data_type),
            Some(Metadata::Position) => {
                let positions = Int64Array::from_iter_values((0..count as i64).map(|row| first.saturating_add(row)));
                cast(&positions, &column.data_type)
            }
            Some(other) => Err(ArrowError::SchemaError(format!("files have no metadata {other:?}"))),
            None => {
                let found = rows.column_by_name(&column.from);
                let missing = || ArrowError::SchemaError(format!("no column `{}`", column.from));
                cast(found.ok_or_else(missing)?, &column.data_type)
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new_with_options(Arc::clone(&self.loose), columns, &options)
    }

    /// Rows with a value that their column cannot have go to `bad`.
    fn judged(&self, chunk: &RawChunk, read: &RecordBatch, rows: RecordBatch) -> Result<Decoded, ArrowError> {
        let mut bad = chunk.bad.clone();
        let mut good = vec![true; rows.num_rows()];
        for (column, values) in self.columns.iter().zip(rows.columns()) {
            for (row, message) in unfit(column, read.column_by_name(&column.from), values) {
                if std::mem::replace(&mut good[row], false) {
                    bad.push(bad_record(chunk, row, message));
                }
            }
        }
        let good = BooleanBuffer::from(good);
        bad.sort_by_key(|record| record.position);
        let all = good.count_set_bits() == rows.num_rows();
        let places = if all { Rows::All } else { Rows::Records(good.set_indices().map(|row| row as u32).collect()) };
        let kept = if all { rows } else { filter_record_batch(&rows, &BooleanArray::from(good))? };
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), kept.columns().to_vec(), &options)?;
        Ok(Decoded { batch, rows: places, bad })
    }

    fn nothing(&self, bad: Vec<BadRecord>) -> Decoded {
        Decoded { batch: RecordBatch::new_empty(Arc::clone(&self.schema)), rows: Rows::All, bad }
    }
}

/// The rows whose value a column cannot have, and why: a null where none may be, a time that the column's type does not
/// hold, or one outside of the years that times may have. `read` is what the file has.
fn unfit(column: &Column, read: Option<&ArrayRef>, values: &ArrayRef) -> Vec<(usize, String)> {
    let what = format!("column `{}`", column.name);
    let found = |found: &str| format!("{what}: expected {}, found {found}", sql_name(&column.data_type));
    let mut unfit = Vec::new();
    if let Some(nulls) = values.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
        let was = read.filter(|_| column.metadata.is_none());
        let was_null = was.and_then(|read| read.logical_nulls());
        for row in (0..nulls.len()).filter(|row| nulls.is_null(*row)) {
            match was {
                Some(read) if was_null.as_ref().is_none_or(|nulls| nulls.is_valid(row)) => {
                    unfit.push((row, found(&years::shown(read.as_ref(), row))));
                }
                _ if column.may_be_null() => {}
                _ => unfit.push((row, found("null"))),
            }
        }
    }
    let outside = rows_outside(values.as_ref()).into_iter();
    unfit.extend(outside.map(|row| (row, years::problem(&what, values.as_ref(), row))));
    unfit
}

fn bad_record(chunk: &RawChunk, row: usize, message: String) -> BadRecord {
    let (position, class) = (chunk.from.advanced_by(row as u64), BadClass::Schema);
    BadRecord { position, class, message, column: None, raw: Bytes::new(), record_time: None }
}

impl Decoder for ColumnsDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let Payload::Columns(rows) = &chunk.payload else { return self.nothing(chunk.bad.clone()) };
        let decoded = self.rows(chunk, rows).and_then(|typed| self.judged(chunk, rows, typed));
        decoded.unwrap_or_else(|error| {
            let (position, class) = (chunk.from, BadClass::Schema);
            let message = format!("{} rows from here on: {error}", rows.num_rows());
            let bad = BadRecord { position, class, message, column: None, raw: Bytes::new(), record_time: None };
            self.nothing(chunk.bad.iter().cloned().chain([bad]).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{DataType, TimeUnit};
    use thalweg_core::position::Position;
    use thalweg_core::source::Piece;

    use super::*;

    fn chunk(values: Vec<Option<i64>>) -> RawChunk {
        let numbers: ArrayRef = Arc::new(Int64Array::from(values));
        let rows = RecordBatch::try_from_iter_with_nullable([("number", numbers, true)]).expect("a batch");
        let piece = Piece { name: "a.parquet".into(), ordinal: 0, watermark_scope: 0, is_last_scope: true };
        let (from, to) = (Position::within(2, 10), Position::within(2, 10 + rows.num_rows() as u64));
        RawChunk { from, to, piece, payload: Payload::Columns(rows), bad: Vec::new() }
    }

    #[test]
    fn columns_take_their_names_and_rows_know_their_place() {
        let decoder = ColumnsDecoder::new(vec![
            Column::new("row", DataType::Int64).with_metadata(Metadata::Position),
            Column::new("n", DataType::Int64).from_field("number"),
            Column::new("file", DataType::Utf8).with_metadata(Metadata::File),
        ]);
        assert_eq!(decoder.fields().fields().len(), 1);
        let decoded = decoder.decode(&chunk(vec![Some(5), None]));
        let rows: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(vec![10, 11])),
            Arc::new(Int64Array::from(vec![Some(5), None])),
            Arc::new(StringArray::from(vec!["a.parquet"; 2])),
        ];
        assert_eq!(decoded.batch.columns(), rows);
        assert_eq!((decoded.rows, decoded.bad.len()), (Rows::All, 0));
    }

    #[test]
    fn a_null_where_none_may_be_costs_its_row_only() {
        let decoder = ColumnsDecoder::new(vec![Column::new("number", DataType::Int64).required()]);
        let decoded = decoder.decode(&chunk(vec![Some(1), None, Some(3)]));
        assert_eq!(decoded.batch.column(0).as_ref(), &Int64Array::from(vec![1, 3]) as &dyn Array);
        assert_eq!(decoded.rows, Rows::Records(vec![0, 2]));
        assert_eq!(decoded.bad[0].position, Position::within(2, 11));
        assert!(decoded.bad[0].message.contains("`number`"), "{}", decoded.bad[0].message);
    }

    /// What remains of times that a file has, in a column of a type, and what is said of the others.
    fn times(found: ArrayRef, declared: TimeUnit) -> (usize, Vec<String>) {
        let rows = RecordBatch::try_from_iter_with_nullable([("at", found, true)]).expect("a batch");
        let chunk = RawChunk { payload: Payload::Columns(rows), ..chunk(Vec::new()) };
        let decoded = ColumnsDecoder::new(vec![Column::new("at", DataType::Timestamp(declared, None))]).decode(&chunk);
        (decoded.batch.num_rows(), decoded.bad.into_iter().map(|bad| bad.message).collect())
    }

    #[test]
    fn times_outside_of_their_years_cost_their_rows_only() {
        let found = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(253_402_300_800_000_000), None]));
        let expected =
            "column `at`: expected TIMESTAMP(3) in the years 1 to 9999, found \"+10000-01-01T00:00:00.000Z\"";
        assert_eq!(times(found, TimeUnit::Millisecond), (2, vec![expected.to_owned()]));
    }

    #[test]
    fn a_time_that_its_type_does_not_hold_is_no_null() {
        let found = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(253_402_300_799_000_000), None]));
        let expected = "column `at`: expected TIMESTAMP(9), found \"9999-12-31T23:59:59.000000Z\"";
        assert_eq!(times(found, TimeUnit::Nanosecond), (2, vec![expected.to_owned()]));
    }
}
