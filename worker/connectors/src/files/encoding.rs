//! The format of an output file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_core::error::Result;

use crate::formats::{CsvEncoder, CsvStyle, Encoder, JsonEncoder, ParquetEncoder};

/// A format that files are written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON lines.
    Json,
    /// CSV.
    Csv(CsvStyle),
    /// Apache Parquet.
    Parquet,
}

impl Encoding {
    /// What names end with, after the dot.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv(_) => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// An encoder of one file that keeps back about so many bytes at the most.
    ///
    /// # Errors
    /// A type that the format cannot hold.
    pub fn encoder(&self, schema: &SchemaRef, held_bytes: usize) -> Result<Box<dyn Encoder>> {
        Ok(match self {
            Self::Json => Box::new(JsonEncoder::new()),
            Self::Csv(style) => Box::new(CsvEncoder::new(Arc::clone(schema), style.clone())?),
            Self::Parquet => Box::new(ParquetEncoder::new(Arc::clone(schema))?.with_group_bytes(held_bytes)),
        })
    }
}
