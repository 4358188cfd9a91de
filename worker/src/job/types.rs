//! Types of declared columns as Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use thalweg_crds::ColumnType;
use thalweg_crds::column_type::RowField;

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

/// The column type that is read as an Arrow type; `None` where SQL has none.
pub fn column_type(data_type: &DataType) -> Option<ColumnType> {
    Some(match data_type {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int8 => ColumnType::TinyInt,
        DataType::Int16 | DataType::UInt8 => ColumnType::SmallInt,
        DataType::Int32 | DataType::UInt16 => ColumnType::Int,
        DataType::Int64 | DataType::UInt32 => ColumnType::BigInt,
        DataType::Float32 => ColumnType::Float,
        DataType::Float64 => ColumnType::Double,
        DataType::Decimal128(precision, scale) => {
            ColumnType::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ColumnType::Bytes,
        DataType::Date32 => ColumnType::Date,
        DataType::Time32(unit) | DataType::Time64(unit) => ColumnType::Time(digits(*unit)),
        DataType::Timestamp(unit, None) => ColumnType::Timestamp(digits(*unit)),
        DataType::Timestamp(unit, Some(_)) => ColumnType::TimestampLtz(digits(*unit)),
        DataType::Dictionary(_, values) => column_type(values)?,
        DataType::Struct(fields) => {
            let field = |field: &Arc<Field>| Some((field.name().clone(), nested(field)?));
            let fields = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
            ColumnType::Row(fields.into_iter().map(|(name, data_type)| RowField { name, data_type }).collect())
        }
        DataType::List(item) => ColumnType::Array(Box::new(nested(item)?)),
        DataType::Map(entries, _) => {
            let DataType::Struct(entries) = entries.data_type() else { return None };
            let [key, value] = &entries[..] else { return None };
            ColumnType::Map(Box::new(column_type(key.data_type())?), Box::new(nested(value)?))
        }
        _ => return None,
    })
}

fn nested(field: &Field) -> Option<ColumnType> {
    let inner = column_type(field.data_type())?;
    Some(if field.is_nullable() { inner } else { ColumnType::NotNull(Box::new(inner)) })
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
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
    fn a_type_that_is_read_as_an_arrow_type_is_found_again() {
        let types = ["BOOLEAN", "INT", "DECIMAL(10, 2)", "STRING", "TIMESTAMP(3)", "TIMESTAMP(6)", "DATE", "TIME(3)"];
        for text in types.into_iter().chain(["ROW<a INT NOT NULL, b ARRAY<STRING>>", "MAP<STRING, DOUBLE>"]) {
            assert_eq!(column_type(&of(text)).map(|found| found.to_string()).as_deref(), Some(text));
        }
        assert_eq!(column_type(&DataType::UInt64), None);
    }

    #[test]
    fn nested_types_keep_their_names_and_nullability() {
        let DataType::Struct(fields) = of("ROW<a INT NOT NULL, b ARRAY<STRING>>") else { panic!("a struct") };
        assert_eq!((fields[0].name().as_str(), fields[0].is_nullable()), ("a", false));
        assert!(matches!(fields[1].data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8));
    }
}
