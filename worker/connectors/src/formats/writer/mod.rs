//! Values of one type, from located text to an Arrow array.

mod nested;
mod parse;
mod primitive;
mod text;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;

use self::parse::{Date, Decimal, Integer, Time, Timestamp};
use self::primitive::Primitive;
use super::cell::Cells;
use super::fault::Faults;
use super::time::TimestampFormat;

/// Builds one array.
pub(crate) trait Writer: Send {
    /// Appends one value a cell. What does not fit the type is reported to `faults`, and null takes its place: the
    /// caller drops that row.
    fn append(&mut self, cells: Cells<'_>, faults: &mut Faults);

    /// The event time in milliseconds of value `index`, if the type has one.
    fn event_time(&self, index: usize) -> Option<i64> {
        let _ = index;
        None
    }

    /// The array. Nothing is left.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

/// The writer of a field; `None` for a type that no format has.
pub(crate) fn writer_of(field: &Field, times: &TimestampFormat) -> Option<Box<dyn Writer>> {
    fn integer<T>(field: &Field) -> Option<Box<dyn Writer>>
    where
        T: arrow::datatypes::ArrowPrimitiveType<Native: TryFrom<i64>>,
    {
        Some(Box::new(Primitive::<T, _>::new(field, Integer)))
    }
    macro_rules! primitive {
        ($type:ty, $parse:expr) => {
            Some(Box::new(Primitive::<$type, _>::new(field, $parse)))
        };
    }
    match field.data_type() {
        DataType::Int8 => integer::<Int8Type>(field),
        DataType::Int16 => integer::<Int16Type>(field),
        DataType::Int32 => integer::<Int32Type>(field),
        DataType::Int64 => integer::<Int64Type>(field),
        DataType::Float32 => primitive!(Float32Type, parse::Float),
        DataType::Float64 => primitive!(Float64Type, parse::Double),
        DataType::Decimal128(precision, scale) => {
            primitive!(Decimal128Type, Decimal { precision: *precision, scale: *scale })
        }
        DataType::Date32 => primitive!(Date32Type, Date),
        DataType::Time32(TimeUnit::Second) => primitive!(Time32SecondType, Time { nanos: 1_000_000_000 }),
        DataType::Time32(TimeUnit::Millisecond) => primitive!(Time32MillisecondType, Time { nanos: 1_000_000 }),
        DataType::Time64(TimeUnit::Microsecond) => primitive!(Time64MicrosecondType, Time { nanos: 1_000 }),
        DataType::Time64(TimeUnit::Nanosecond) => primitive!(Time64NanosecondType, Time { nanos: 1 }),
        DataType::Timestamp(unit, None) => match unit {
            TimeUnit::Second => primitive!(TimestampSecondType, Timestamp::new(times, 1)),
            TimeUnit::Millisecond => primitive!(TimestampMillisecondType, Timestamp::new(times, 1_000)),
            TimeUnit::Microsecond => primitive!(TimestampMicrosecondType, Timestamp::new(times, 1_000_000)),
            TimeUnit::Nanosecond => primitive!(TimestampNanosecondType, Timestamp::new(times, 1_000_000_000)),
        },
        DataType::Boolean => Some(Box::new(primitive::Boolean::new(field))),
        DataType::Utf8 => Some(Box::new(text::Text::new(field))),
        DataType::Binary => Some(Box::new(text::Bytes::new(field))),
        DataType::Struct(fields) => nested::Row::new(field, fields, times).map(|w| Box::new(w) as _),
        DataType::List(item) => nested::List::new(field, item, times).map(|w| Box::new(w) as _),
        DataType::Map(entries, false) => nested::Map::new(field, entries, times).map(|w| Box::new(w) as _),
        _ => None,
    }
}
