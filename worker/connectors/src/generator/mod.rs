//! `generator`: made-up records, the same ones for the same seed.
//!
//! A record is a pure function of the seed and its number, so any position can be resumed, and the numbers are dealt to
//! the splits in turn, so the records are the same for any number of splits. `thalweg generate` writes the same records
//! to files, as text ([`Generate::write_json`]) or as columns ([`Generate::batch`]).
//!
//! | module | noun |
//! |---|---|
//! | [`config`] | what is generated, how much and how fast |
//! | [`source`] | the connector |
//! | [`taxi`] | taxi trips, with late, repeated and broken ones by rate; the zone table |
//! | [`nexmark`] | persons, auctions and bids |
//! | [`by_schema`] | values by the types of declared columns |

pub mod by_schema;
pub mod config;
pub mod nexmark;
mod random;
pub mod source;
pub mod taxi;
#[cfg(test)]
mod testing;
mod text;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use thalweg_core::error::Result;

pub use config::{GeneratorConfig, RowKind};
pub use source::GeneratorSource;

/// Records by number. Implementations are pure: the same seed and number give the same record, whatever came before.
pub trait Generate: Send + Sync {
    /// Columns of [`Generate::batch`], in the order in which the text has them.
    fn schema(&self) -> &SchemaRef;

    /// Appends record `row` as one line of JSON with its newline.
    fn write_json(&self, row: u64, out: &mut Vec<u8>);

    /// Records `from..from + count` as columns: the values of the text. A record that the text breaks on purpose is
    /// whole here, for columns cannot hold a broken one.
    fn batch(&self, from: u64, count: usize) -> RecordBatch;
}

/// The generator of a kind of record.
///
/// # Errors
/// `User` where a setting is out of range, or a declared column has a type that no value is made for.
pub fn generate(kind: &RowKind, seed: u64) -> Result<Arc<dyn Generate>> {
    Ok(match kind {
        RowKind::Taxi(config) => Arc::new(taxi::TaxiTrips::new(config.clone(), seed)?),
        RowKind::Nexmark(kind) => Arc::new(nexmark::Nexmark::new(*kind, seed)),
        RowKind::Schema(columns) => Arc::new(by_schema::SchemaRows::new(columns.clone(), seed)?),
    })
}
