//! How records are written: JSON, CSV, Parquet, Avro.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `format` as written: at most one key; none means JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.json), has(self.csv), has(self.parquet), has(self.avro)].filter(given, given).size() == 1",
    "exactly one format is expected: json, csv, parquet or avro"
))]
pub struct FormatSpec {
    /// JSON, one object a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFormat>,
    /// Comma-separated values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvFormat>,
    /// Apache Parquet; files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetFormat>,
    /// Apache Avro.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avro: Option<AvroFormat>,
}

impl FormatSpec {
    /// Which format was written; JSON if none.
    pub fn resolve(&self) -> Format {
        if let Some(csv) = &self.csv {
            Format::Csv(csv.clone())
        } else if let Some(parquet) = &self.parquet {
            Format::Parquet(parquet.clone())
        } else if let Some(avro) = &self.avro {
            Format::Avro(avro.clone())
        } else {
            Format::Json(self.json.clone().unwrap_or_default())
        }
    }
}

/// The one format of a source or sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, one object a record.
    Json(JsonFormat),
    /// Comma-separated values.
    Csv(CsvFormat),
    /// Apache Parquet.
    Parquet(ParquetFormat),
    /// Apache Avro.
    Avro(AvroFormat),
}

impl Format {
    /// Its key in a manifest.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Csv(_) => "csv",
            Self::Parquet(_) => "parquet",
            Self::Avro(_) => "avro",
        }
    }
}

/// JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonFormat {
    /// Judge every column of a row, also those that no query reads.
    #[serde(default)]
    pub strict: bool,
    /// How timestamps are written: `Iso8601` (T or space, Z or offset), `EpochMillis`, `EpochSeconds`, or a pattern
    /// such as `yyyy-MM-dd HH:mm:ss`.
    #[serde(default = "iso8601")]
    #[schemars(length(min = 1, max = 64))]
    pub timestamp_format: String,
}

impl Default for JsonFormat {
    fn default() -> Self {
        Self { strict: false, timestamp_format: iso8601() }
    }
}

impl JsonFormat {
    /// What `timestampFormat` means.
    pub fn timestamps(&self) -> TimestampFormat {
        match self.timestamp_format.as_str() {
            "Iso8601" => TimestampFormat::Iso8601,
            "EpochMillis" => TimestampFormat::EpochMillis,
            "EpochSeconds" => TimestampFormat::EpochSeconds,
            pattern => TimestampFormat::Pattern(pattern.to_owned()),
        }
    }
}

fn iso8601() -> String {
    "Iso8601".to_owned()
}

/// How a format writes timestamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `2018-01-01T04:17:05.000Z`, with T or a space, Z, an offset, or neither (then UTC).
    Iso8601,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    EpochMillis,
    /// Seconds since 1970-01-01T00:00:00Z.
    EpochSeconds,
    /// A pattern of Java's `DateTimeFormatter`, as Flink takes it.
    Pattern(String),
}

/// Comma-separated values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.delimiter != self.quote", "delimiter and quote must differ"))]
pub struct CsvFormat {
    /// Whether each file starts with the names of its columns. Without them columns are taken in the order of
    /// `schema`.
    #[serde(default = "yes")]
    pub header: bool,
    /// What stands between values: one ASCII character.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1), regex(pattern = crate::pattern::ONE_CHARACTER))]
    pub delimiter: String,
    /// What stands around a value that holds a delimiter: one ASCII character.
    #[serde(default = "double_quote")]
    #[schemars(length(min = 1, max = 1), regex(pattern = crate::pattern::ONE_CHARACTER))]
    pub quote: String,
    /// The text that means null; by default the empty one.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub null: String,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { header: true, delimiter: comma(), quote: double_quote(), null: String::new() }
    }
}

fn yes() -> bool {
    true
}

fn comma() -> String {
    ",".to_owned()
}

fn double_quote() -> String {
    "\"".to_owned()
}

/// Apache Parquet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParquetFormat {}

/// Apache Avro.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvroFormat {
    /// The schema as JSON text; by default the one inside each file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub schema: Option<String>,
}
