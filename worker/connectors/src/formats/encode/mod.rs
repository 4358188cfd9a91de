//! Columns to bytes.
//!
//! What an encoder writes, the decoder of the same format reads back with the same columns.

mod csv;
mod json;
mod parquet;
mod value;

use arrow::record_batch::RecordBatch;
use thalweg_core::error::Result;

pub use self::csv::{CsvEncoder, CsvStyle};
pub use self::json::JsonEncoder;
pub(crate) use self::json::text_of_value;
pub use self::parquet::ParquetEncoder;

/// Writes one file, or one run of records.
pub trait Encoder: Send {
    /// Appends a batch to `out`. Some formats keep rows back until enough are there, or until [`Encoder::finish`].
    ///
    /// # Errors
    /// *User*: a type that the format does not have. `out` is as it was.
    fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;

    /// Appends what ends the file. Nothing may be written after it.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// How names of its files end: `.json`.
    fn suffix(&self) -> &'static str;

    /// Keeps a key and a value within the file, where the format has a place for that; whether it has.
    fn annotate(&mut self, key: &str, value: &str) -> bool {
        let _ = (key, value);
        false
    }

    /// About how many bytes of rows are kept back.
    fn buffered_bytes(&self) -> usize {
        0
    }
}
