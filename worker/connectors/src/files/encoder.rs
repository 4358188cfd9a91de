//! What a file sink asks of a format.

use arrow::datatypes::SchemaRef;
use thalweg_core::error::Result;

pub use crate::formats::encode::Encoder;
use crate::formats::encode::JsonEncoder;

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

/// JSON lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonLines;

impl Encoding for JsonLines {
    fn suffix(&self) -> &str {
        "json"
    }

    fn encoder(&self, _schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(JsonEncoder::new()))
    }
}
