//! The formats that files are written in.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_core::error::Result;
use thalweg_crds::format::{CsvFormat, Format};

use super::settings::one_byte;
use crate::files::Encoding;
use crate::files::encoder::JsonLines;
use crate::formats::encode::{CsvEncoder, CsvStyle, Encoder, ParquetEncoder};

/// How a sink's files are written.
pub fn encoding(format: &Format) -> Result<Arc<dyn Encoding>> {
    match format {
        Format::Json(_) => Ok(Arc::new(JsonLines)),
        Format::Csv(csv) => Ok(Arc::new(Csv(style(csv)))),
        Format::Parquet(_) => Ok(Arc::new(Parquet)),
        Format::Avro(_) => Err(thalweg_core::error::Error::user("`format`", "files are written as json, csv or parquet")),
    }
}

fn style(csv: &CsvFormat) -> CsvStyle {
    CsvStyle {
        header: csv.header,
        delimiter: one_byte(&csv.delimiter),
        quote: one_byte(&csv.quote),
        null: csv.null.clone(),
    }
}

struct Csv(CsvStyle);

impl Encoding for Csv {
    fn suffix(&self) -> &str {
        "csv"
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(CsvEncoder::new(schema.clone(), self.0.clone())?))
    }
}

struct Parquet;

impl Encoding for Parquet {
    fn suffix(&self) -> &str {
        "parquet"
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(ParquetEncoder::new(schema.clone())?))
    }
}
