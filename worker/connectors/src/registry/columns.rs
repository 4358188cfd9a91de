//! The columns that a source's decoder gives; and the decoder of sources that give columns already.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::compute::{and, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use thalweg_core::decode::{BadClass, BadRecord, Decoded, Decoder, Rows};
use thalweg_core::source::{Payload, RawChunk};
use thalweg_crds::manifest::{ColumnInput, ResolvedColumn};

use super::SourceRequest;
use crate::formats::{Column, Metadata};

/// The field of a record that a column is read from.
pub fn field(column: &ResolvedColumn) -> String {
    match &column.input {
        ColumnInput::Field(field) | ColumnInput::Metadata(field) => field.clone(),
    }
}

/// The columns that are read, in the order of their declaration.
pub fn read(request: &SourceRequest<'_>) -> Vec<Column> {
    let watermark = request.source.spec.watermark.as_ref().map(|watermark| watermark.column.as_str());
    let declared = request.source.columns.iter().zip(request.schema.fields());
    let read = declared.filter(|(column, _)| request.columns.contains(&column.name));
    read.map(|(column, declared)| Column {
        name: column.name.clone(),
        from: field(column),
        data_type: declared.data_type().clone(),
        nullable: column.nullable,
        default: column.default.as_ref().map(as_text),
        is_watermark: watermark == Some(column.name.as_str()),
        metadata: metadata(column),
    })
    .collect()
}

fn metadata(column: &ResolvedColumn) -> Option<Metadata> {
    match &column.input {
        ColumnInput::Field(_) => None,
        ColumnInput::Metadata(key) => match key.as_str() {
            "file" => Some(Metadata::File),
            "split" => Some(Metadata::Split),
            _ => Some(Metadata::Position),
        },
    }
}

fn as_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Takes columns as the source has them: renames them, adds metadata, and refuses rows with a null that must not be.
pub struct ColumnsDecoder {
    columns: Vec<Column>,
    schema: SchemaRef,
}

impl ColumnsDecoder {
    /// A decoder of these columns.
    pub fn new(columns: &[Column]) -> Self {
        let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), may_be_null(column));
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        Self { columns: columns.to_vec(), schema }
    }

    /// The columns that the source must give, by the names that it has for them.
    pub fn stored(&self) -> SchemaRef {
        let stored = self.columns.iter().filter(|column| column.metadata.is_none());
        let fields = stored.map(|column| Field::new(&column.from, column.data_type.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn column(&self, column: &Column, chunk: &RawChunk, given: &RecordBatch) -> Option<ArrayRef> {
        let rows = given.num_rows();
        match column.metadata {
            None => given.column_by_name(&column.from).cloned(),
            Some(Metadata::File | Metadata::Split) => {
                Some(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&chunk.piece.name, rows))))
            }
            Some(Metadata::Position) => {
                let first = i64::try_from(chunk.from.offset).unwrap_or(i64::MAX);
                Some(Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|row| first.saturating_add(row)))))
            }
        }
    }

    /// Columns that hold a null which must not be, by row.
    fn judge(&self, chunk: &RawChunk, columns: &[ArrayRef]) -> (Option<BooleanArray>, Vec<BadRecord>) {
        let (mut keep, mut bad) = (None, Vec::new());
        for (column, values) in self.columns.iter().zip(columns) {
            if may_be_null(column) || values.null_count() == 0 {
                continue;
            }
            let message = format!("column `{}` (field `{}`): expected a value, found null", column.name, column.from);
            let nulls = (0..values.len()).filter(|&row| values.is_null(row));
            bad.extend(nulls.map(|row| BadRecord {
                position: chunk.from.advanced_by(row as u64),
                class: BadClass::Schema,
                message: message.clone(),
                column: None,
                raw: Bytes::new(),
                record_time: None,
            }));
            let valid = is_not_null(values).ok();
            keep = match (keep, valid) {
                (Some(keep), Some(valid)) => and(&keep, &valid).ok(),
                (keep, valid) => keep.or(valid),
            };
        }
        bad.sort_by_key(|record: &BadRecord| record.position);
        bad.dedup_by_key(|record| record.position);
        (keep, bad)
    }
}

fn may_be_null(column: &Column) -> bool {
    column.nullable && !column.is_watermark
}

impl Decoder for ColumnsDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let nothing = |message: String| Decoded {
            batch: RecordBatch::new_empty(self.schema.clone()),
            rows: Rows::All,
            bad: [chunk.bad.clone(), vec![whole(chunk, message)]].concat(),
        };
        let Payload::Columns(given) = &chunk.payload else {
            return nothing("expected columns, found text".to_owned());
        };
        let columns: Option<Vec<_>> = self.columns.iter().map(|column| self.column(column, chunk, given)).collect();
        let Some(columns) = columns else { return nothing("a column that is read is missing".to_owned()) };
        let (keep, bad) = self.judge(chunk, &columns);
        match self.assemble(&columns, given.num_rows(), keep.as_ref()) {
            Ok((batch, rows)) => Decoded { batch, rows, bad: [chunk.bad.clone(), bad].concat() },
            Err(error) => nothing(error.to_string()),
        }
    }
}

impl ColumnsDecoder {
    fn assemble(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        keep: Option<&BooleanArray>,
    ) -> Result<(RecordBatch, Rows), arrow::error::ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let Some(keep) = keep else {
            return Ok((RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)?, Rows::All));
        };
        let nullable = Arc::new(Schema::new(
            self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        ));
        let all = RecordBatch::try_new_with_options(nullable, columns.to_vec(), &options)?;
        let kept = filter_record_batch(&all, keep)?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), kept.columns().to_vec(), &options)?;
        let rows = (0..keep.len() as u32).filter(|&row| keep.value(row as usize)).collect();
        Ok((batch, Rows::Records(rows)))
    }
}

fn whole(chunk: &RawChunk, message: String) -> BadRecord {
    BadRecord {
        position: chunk.from,
        class: BadClass::Decode,
        message,
        column: None,
        raw: Bytes::new(),
        record_time: None,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::position::Position;
    use thalweg_core::source::Piece;

    use super::*;

    fn chunk(values: Vec<Option<i64>>) -> RawChunk {
        let given = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values)) as ArrayRef)]).expect("valid");
        RawChunk {
            from: Position::within(2, 10),
            to: Position::within(2, 13),
            piece: Piece { name: "a.parquet".into(), watermark_scope: 0, is_last_scope: true },
            payload: Payload::Columns(given),
            bad: Vec::new(),
        }
    }

    #[test]
    fn a_null_that_must_not_be_costs_its_row_only() {
        let decoder = ColumnsDecoder::new(&[Column::new("m", DataType::Int64).from_field("n").required()]);
        let decoded = decoder.decode(&chunk(vec![Some(1), None, Some(3)]));
        assert_eq!(decoded.batch.num_rows(), 2);
        assert_eq!(decoded.rows, Rows::Records(vec![0, 2]));
        assert_eq!(decoded.bad[0].position, Position::within(2, 11));
        assert_eq!(decoded.bad[0].message, "column `m` (field `n`): expected a value, found null");
    }

    #[test]
    fn metadata_says_file_and_row() {
        let column = Column::new("at", DataType::Int64).with_metadata(Metadata::Position);
        let decoded = ColumnsDecoder::new(&[column]).decode(&chunk(vec![None, None]));
        assert_eq!(decoded.batch.column(0).as_ref(), &Int64Array::from(vec![10, 11]) as &dyn Array);
    }
}
