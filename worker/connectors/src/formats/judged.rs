//! A decoder that judges more columns than it gives.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use thalweg_core::decode::{Decoded, Decoder};
use thalweg_core::error::{Error, Result};
use thalweg_core::source::RawChunk;

/// Decodes by `inner`, and gives some of its columns.
pub struct Judged {
    inner: Arc<dyn Decoder>,
    given: Vec<usize>,
    schema: SchemaRef,
}

impl Judged {
    /// A decoder of the columns `given` of another, which judges all.
    ///
    /// # Errors
    /// *Internal*: there is no such column.
    pub fn new(inner: Arc<dyn Decoder>, given: Vec<usize>) -> Result<Self> {
        let schema = inner.schema().project(&given).map_err(|error| Error::internal("columns of a decoder", error))?;
        Ok(Self { inner, given, schema: Arc::new(schema) })
    }
}

impl Decoder for Judged {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let decoded = self.inner.decode(chunk);
        let columns = self.given.iter().map(|&index| Arc::clone(decoded.batch.column(index))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(decoded.batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        Decoded { batch: batch.unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(&self.schema))), ..decoded }
    }
}
