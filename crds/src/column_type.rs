//! Flink's names of column types, read into [`ColumnType`] and written back.
//!
//! Source of names, defaults and ranges: Flink's documentation, "Data Types" of the Table API.

use std::fmt;
use std::str::FromStr;

mod error;
mod parser;

pub use error::ColumnTypeError;

/// The deepest nesting of `ROW`, `ARRAY` and `MAP`.
pub const MAX_DEPTH: usize = 16;

/// The type of a column. Every type is nullable unless wrapped in [`ColumnType::NotNull`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `BOOLEAN`.
    Boolean,
    /// `TINYINT`: 1 byte, signed.
    TinyInt,
    /// `SMALLINT`: 2 bytes, signed.
    SmallInt,
    /// `INT`, `INTEGER`: 4 bytes, signed.
    Int,
    /// `BIGINT`: 8 bytes, signed.
    BigInt,
    /// `FLOAT`: 4 bytes.
    Float,
    /// `DOUBLE`, `DOUBLE PRECISION`: 8 bytes.
    Double,
    /// `DECIMAL(precision, scale)`, `DEC`, `NUMERIC`: exact; 1 to 38 digits, (10, 0) by default.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `STRING`: text without a limit.
    String,
    /// `VARCHAR(n)`: text of at most n characters, 1 by default.
    Varchar(u32),
    /// `CHAR(n)`: text of exactly n characters, 1 by default.
    Char(u32),
    /// `BYTES`, `VARBINARY`: bytes without a limit.
    Bytes,
    /// `DATE`.
    Date,
    /// `TIME(p)`: time of day with p digits of a second, 0 by default.
    Time(u8),
    /// `TIMESTAMP(p)`: a date and time in UTC with p digits of a second, 6 by default.
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(p)`, `TIMESTAMP(p) WITH LOCAL TIME ZONE`: an instant, 6 digits by default.
    TimestampLtz(u8),
    /// `ROW<name type, …>`.
    Row(Vec<RowField>),
    /// `ARRAY<type>`.
    Array(Box<ColumnType>),
    /// `MAP<key, value>`.
    Map(Box<ColumnType>, Box<ColumnType>),
    /// A type followed by `NOT NULL`; never around another one of itself.
    NotNull(Box<ColumnType>),
}

/// One field of a `ROW`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: ColumnType,
}

impl ColumnType {
    /// Whether null is a value of it.
    pub const fn is_nullable(&self) -> bool {
        !matches!(self, Self::NotNull(_))
    }

    /// The type without its `NOT NULL`.
    pub fn nullable(&self) -> &Self {
        match self {
            Self::NotNull(inner) => inner,
            other => other,
        }
    }

    /// Whether it may be a watermark's column.
    pub fn is_timestamp(&self) -> bool {
        matches!(self.nullable(), Self::Timestamp(_) | Self::TimestampLtz(_))
    }
}

impl FromStr for ColumnType {
    type Err = ColumnTypeError;

    fn from_str(text: &str) -> Result<Self, ColumnTypeError> {
        parser::parse(text)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::TinyInt => f.write_str("TINYINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::String => f.write_str("STRING"),
            Self::Varchar(length) => write!(f, "VARCHAR({length})"),
            Self::Char(length) => write!(f, "CHAR({length})"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Date => f.write_str("DATE"),
            Self::Time(precision) => write!(f, "TIME({precision})"),
            Self::Timestamp(precision) => write!(f, "TIMESTAMP({precision})"),
            Self::TimestampLtz(precision) => write!(f, "TIMESTAMP_LTZ({precision})"),
            Self::Row(fields) => write_row(f, fields),
            Self::Array(element) => write!(f, "ARRAY<{element}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::NotNull(inner) => write!(f, "{inner} NOT NULL"),
        }
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, fields: &[RowField]) -> fmt::Result {
    f.write_str("ROW<")?;
    for (index, field) in fields.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        f.write_str(separator)?;
        if is_plain_name(&field.name) {
            f.write_str(&field.name)?;
        } else {
            write!(f, "`{}`", field.name.replace('`', "``"))?;
        }
        write!(f, " {}", field.data_type)?;
    }
    f.write_str(">")
}

fn is_plain_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
