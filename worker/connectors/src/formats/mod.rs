//! Formats: bytes to columns and back.
//!
//! | module | noun |
//! |---|---|
//! | [`column`] | what a decoder is asked for |
//! | [`json`], [`csv`] | decoders: they find values in text |
//! | [`avro`] | a decoder of records of one schema |
//! | `grid`, `cell` | values that were found |
//! | `writer`, `number`, [`time`] | one type each: found text to Arrow arrays |
//! | `metadata` | what brokers tell of records, as columns |
//! | `assembler`, `fault` | rows to a batch, and what is wrong with the others |
//! | `judged` | a decoder that judges more columns than it gives |
//! | [`framing`] | where records end |
//! | [`encode`] | columns to bytes |

pub mod avro;
pub mod column;
pub mod csv;
pub mod encode;
pub mod framing;
pub mod json;
pub mod time;
pub mod years;

mod assembler;
mod cell;
mod fault;
mod grid;
mod judged;
mod metadata;
mod number;
mod plan;
mod writer;

pub use avro::AvroDecoder;
pub use column::{Column, Metadata};
pub use csv::{CsvDecoder, CsvOptions, Header};
pub use encode::{CsvEncoder, CsvStyle, Encoder, JsonEncoder, ParquetEncoder};
pub use framing::Framing;
pub use json::{JsonDecoder, JsonOptions};
pub use judged::Judged;
pub use time::TimestampFormat;

#[cfg(test)]
mod tests;
