//! What the SQL may name: the pipeline's sources and sinks, with their columns.

use arrow::datatypes::SchemaRef;

/// The tables of one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// What can be read.
    pub sources: Vec<SourceTable>,
    /// What can be written.
    pub sinks: Vec<SinkTable>,
}

/// A source by the name that the SQL uses.
#[derive(Clone, Debug)]
pub struct SourceTable {
    /// The name in SQL (`sources[].as`).
    pub name: String,
    /// Every declared column. Event-time columns are `Timestamp(Millisecond, None)`, other timestamps as declared.
    pub schema: SchemaRef,
    /// The watermark, if one is declared.
    pub watermark: Option<WatermarkSpec>,
    /// Read whole once a plan version and joined as a static table.
    pub lookup: bool,
}

/// `watermark {column, delay}` of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkSpec {
    /// The column that holds event time.
    pub column: String,
    /// How far behind the greatest event time rows are still expected, in milliseconds.
    pub delay_ms: i64,
}

/// A sink by the name that the SQL uses.
#[derive(Clone, Debug)]
pub struct SinkTable {
    /// The name in SQL (`sinks[].as`).
    pub name: String,
    /// The columns that its format or key settings name, which the query must give (`partitionBy`, `key`).
    pub required_columns: Vec<String>,
}
