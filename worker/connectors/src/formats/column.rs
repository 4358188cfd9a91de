//! The columns that a decoder is asked for.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

/// One column that the query needs, and where a record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in SQL.
    pub name: String,
    /// The field that it is read from; `a.b` is field `b` of the object in field `a` (JSON).
    pub from: String,
    /// Its type.
    pub data_type: DataType,
    /// Whether it may be null; a missing field is null.
    pub nullable: bool,
    /// What a *missing* field counts as, written as it would be in a text format. An explicit null stays null.
    pub default: Option<String>,
    /// Whether it is the event time: then it is never null.
    pub is_watermark: bool,
    /// Set where the column comes from the place of a record and not from its fields.
    pub metadata: Option<Metadata>,
}

/// What is known of a record besides its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metadata {
    /// Name of the piece of the log (a file's path), a STRING.
    File,
    /// The record's position within its piece, a BIGINT.
    Position,
    /// What people call the split that the piece belongs to, a STRING; the piece's name where they are the same thing.
    Split,
    /// Number of a broker's partition, an INT.
    Partition,
    /// When a broker's record was made or stored, a TIMESTAMP(3).
    Timestamp,
    /// Key of a broker's record, a STRING or BYTES.
    Key,
    /// Headers of a broker's record, a MAP of STRING to STRING or BYTES.
    Headers,
}

impl Metadata {
    /// The types that its column may have.
    pub(crate) fn types(self) -> Vec<DataType> {
        match self {
            Self::File | Self::Split => vec![DataType::Utf8],
            Self::Position => vec![DataType::Int64],
            Self::Partition => vec![DataType::Int32],
            Self::Timestamp => vec![DataType::Timestamp(TimeUnit::Millisecond, None)],
            Self::Key => vec![DataType::Utf8, DataType::Binary],
            Self::Headers => [DataType::Utf8, DataType::Binary].into_iter().map(headers).collect(),
        }
    }
}

/// A map of names to values of a type.
fn headers(value: DataType) -> DataType {
    let fields = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields), false)), false)
}

impl Column {
    /// A nullable column of the field of the same name.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        let name = name.into();
        let from = name.clone();
        Self { name, from, data_type, nullable: true, default: None, is_watermark: false, metadata: None }
    }

    /// Reads another field.
    #[must_use]
    pub fn from_field(mut self, from: impl Into<String>) -> Self {
        self.from = from.into();
        self
    }

    /// Never null.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// What a missing field counts as.
    #[must_use]
    pub fn with_default(mut self, default: impl Into<String>) -> Self {
        self.default = Some(default.into());
        self
    }

    /// The event time.
    #[must_use]
    pub fn watermark(mut self) -> Self {
        self.is_watermark = true;
        self
    }

    /// Comes from the place of a record.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Whether null may appear in it.
    pub(crate) fn may_be_null(&self) -> bool {
        self.nullable && !self.is_watermark
    }

    /// How messages call it.
    pub(crate) fn describe(&self) -> String {
        if self.name == self.from {
            format!("column `{}`", self.name)
        } else {
            format!("column `{}` (field `{}`)", self.name, self.from)
        }
    }
}

/// The schema of batches of these columns.
pub(crate) fn schema_of(columns: &[Column]) -> Schema {
    let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), c.may_be_null());
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// A type under its name in SQL, as resources write it.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Binary => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, _) => format!("TIMESTAMP({})", digits(unit)),
        DataType::List(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{} {}", f.name(), sql_name(f.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(kv) if kv.len() == 2 => {
                format!("MAP<{}, {}>", sql_name(kv[0].data_type()), sql_name(kv[1].data_type()))
            }
            _ => "MAP".to_owned(),
        },
        other => other.to_string(),
    }
}
