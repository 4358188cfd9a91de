//! Parquet, compressed with zstd. Rows are kept back until a row group is full.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use thalweg_core::error::{Error, Result};

use super::Encoder;

/// Rows of a group at most: enough to compress well, few enough that a writer's memory stays small.
const GROUP_ROWS: usize = 1 << 17;
/// Bytes of a group at which it is closed before: it is in memory, and once more for a moment when it is closed.
const GROUP_BYTES: usize = 8 << 20;
/// Bytes of a page, and of a dictionary beyond which a column has none: each column holds one of both.
const PAGE_BYTES: usize = 128 << 10;
/// Level of zstd: each further one costs much time and saves few bytes.
const LEVEL: i32 = 1;

/// Writes one Parquet file.
pub struct ParquetEncoder {
    writer: ArrowWriter<Drain>,
    drain: Drain,
    group_bytes: usize,
}

impl ParquetEncoder {
    /// A file of this schema.
    ///
    /// # Errors
    /// *User*: a type that Parquet does not have.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let level = ZstdLevel::try_new(LEVEL).map_err(|error| failed(&error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .build();
        let drain = Drain::default();
        let writer = ArrowWriter::try_new(drain.clone(), schema, Some(properties)).map_err(|error| failed(&error))?;
        Ok(Self { writer, drain, group_bytes: GROUP_BYTES })
    }

    /// Keeps groups smaller, where many files are written side by side.
    pub fn with_group_bytes(mut self, bytes: usize) -> Self {
        self.group_bytes = bytes.min(GROUP_BYTES);
        self
    }
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.writer.write(batch).map_err(|error| failed(&error))?;
        let held = self.writer.in_progress_size();
        if held >= self.group_bytes {
            self.drain.reserve(held);
            self.writer.flush().map_err(|error| failed(&error))?;
        }
        self.drain.move_to(out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish().map_err(|error| failed(&error))?;
        self.drain.move_to(out);
        Ok(())
    }

    fn suffix(&self) -> &'static str {
        ".parquet"
    }

    fn annotate(&mut self, key: &str, value: &str) -> bool {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
        true
    }

    fn buffered_bytes(&self) -> usize {
        self.writer.in_progress_size()
    }
}

fn failed(error: &ParquetError) -> Error {
    Error::user("format parquet", error)
}

/// Where the writer's bytes go until somebody takes them.
#[derive(Clone, Default)]
struct Drain(Arc<Mutex<Vec<u8>>>);

impl Drain {
    /// Makes room at once: a buffer that grows is there twice while it does.
    fn reserve(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reserve(bytes);
    }

    fn move_to(&self, out: &mut Vec<u8>) {
        let mut bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if out.is_empty() {
            *out = bytes;
        } else {
            out.append(&mut bytes);
        }
    }
}

impl io::Write for Drain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
