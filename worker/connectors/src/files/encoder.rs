//! What a file sink asks of a format.

use arrow::datatypes::SchemaRef;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use thalweg_core::error::{Error, Result};

/// A format that files are written in.
pub trait Encoding: Send + Sync {
    /// What names end with: `json`.
    fn suffix(&self) -> &str;

    /// An encoder of one file.
    ///
    /// # Errors
    /// A type that the format cannot hold.
    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>>;
}

/// Encodes the rows of one file.
pub trait Encoder: Send {
    /// Appends rows to `out`, or keeps them back.
    ///
    /// # Errors
    /// A value that the format cannot hold.
    fn write(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;

    /// Appends what was kept back, and the file's end.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Bytes of what is kept back.
    fn buffered_bytes(&self) -> usize {
        0
    }
}

/// JSON lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonLines;

impl Encoding for JsonLines {
    fn suffix(&self) -> &str {
        "json"
    }

    fn encoder(&self, _schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(*self))
    }
}

impl Encoder for JsonLines {
    fn write(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let mut writer = LineDelimitedWriter::new(out);
        let written = writer.write(rows).and_then(|()| writer.finish());
        written.map_err(|error| Error::user("writing rows as JSON", error))
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}
