//! What the SQL may name: the pipeline's sources and sinks, with their columns.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;

/// The tables of one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// What can be read.
    pub sources: Vec<SourceTable>,
    /// What can be written.
    pub sinks: Vec<SinkTable>,
    /// Names of which it is not known what they are.
    pub unknown: Unknown,
}

/// Names that may be those of tables: what they are could not be read, which is told elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// These.
    pub names: BTreeSet<String>,
    /// And all others that are not known as tables.
    pub others: bool,
}

impl Catalog {
    /// Whether it is known what each name is.
    pub fn is_whole(&self) -> bool {
        self.unknown == Unknown::default()
    }

    /// Whether a name may be that of a table of which nothing is known.
    pub fn is_unknown(&self, name: &str) -> bool {
        let is_table = || {
            let mut sources = self.sources.iter().map(|source| source.name.as_str());
            sources.any(|known| known == name) || self.sinks.iter().any(|sink| sink.name == name)
        };
        self.unknown.names.contains(name) || (self.unknown.others && !is_table())
    }
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
    /// The columns that its format or key settings name, which the query must give (`partitionBy`, `key`, `headers`).
    pub required_columns: Vec<String>,
}
