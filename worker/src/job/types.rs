//! Types of declared columns as Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use thalweg_crds::ColumnType;

/// The Arrow type of a column. Timestamps are UTC without a zone; fractions of a second keep their precision.
pub fn arrow_type(column: &ColumnType) -> DataType {
    match column {
        ColumnType::NotNull(inner) => arrow_type(inner),
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::TinyInt => DataType::Int8,
        ColumnType::SmallInt => DataType::Int16,
        ColumnType::Int => DataType::Int32,
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Float => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        ColumnType::String | ColumnType::Varchar(_) | ColumnType::Char(_) => DataType::Utf8,
        ColumnType::Bytes => DataType::Binary,
        ColumnType::Date => DataType::Date32,
        ColumnType::Time(precision) => time(*precision),
        ColumnType::Timestamp(precision) | ColumnType::TimestampLtz(precision) => {
            DataType::Timestamp(unit(*precision), None)
        }
        ColumnType::Row(fields) => {
            DataType::Struct(fields.iter().map(|field| self::field(&field.name, &field.data_type)).collect())
        }
        ColumnType::Array(item) => DataType::List(Arc::new(field("item", item))),
        ColumnType::Map(key, value) => {
            let entries = Fields::from(vec![Field::new("key", arrow_type(key), false), field("value", value)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        }
    }
}

fn field(name: &str, column: &ColumnType) -> Field {
    Field::new(name, arrow_type(column), column.is_nullable())
}

fn unit(precision: u8) -> TimeUnit {
    match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

fn time(precision: u8) -> DataType {
    match precision {
        0..=3 => DataType::Time32(TimeUnit::Millisecond),
        4..=6 => DataType::Time64(TimeUnit::Microsecond),
        _ => DataType::Time64(TimeUnit::Nanosecond),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> DataType {
        arrow_type(&text.parse().expect("a type"))
    }

    #[test]
    fn every_timestamp_keeps_its_fraction() {
        assert_eq!(of("TIMESTAMP(0)"), DataType::Timestamp(TimeUnit::Millisecond, None));
        assert_eq!(of("TIMESTAMP(3)"), DataType::Timestamp(TimeUnit::Millisecond, None));
        assert_eq!(of("TIMESTAMP(6)"), DataType::Timestamp(TimeUnit::Microsecond, None));
        assert_eq!(of("TIMESTAMP_LTZ(9)"), DataType::Timestamp(TimeUnit::Nanosecond, None));
    }

    #[test]
    fn nested_types_keep_their_names_and_nullability() {
        let DataType::Struct(fields) = of("ROW<a INT NOT NULL, b ARRAY<STRING>>") else { panic!("a struct") };
        assert_eq!((fields[0].name().as_str(), fields[0].is_nullable()), ("a", false));
        assert!(matches!(fields[1].data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8));
    }
}
