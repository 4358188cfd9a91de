//! Values by the types of declared columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use thalweg_core::error::{Error, Result};

use super::Generate;
use super::random::Random;
use super::text::{write_date, write_hundredths, write_instant, write_signed};

/// 2024-01-01T00:00:00Z.
const START_MILLIS: i64 = 1_704_067_200_000;
const START_DAYS: i32 = 19_723;

/// Streams of random numbers of columns start here.
const COLUMNS: u64 = 1_000;

/// A column and the values that are made for it.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedColumn {
    /// The field's name.
    pub name: String,
    /// The type of the column; the values of the text are the same.
    pub data_type: DataType,
    /// What the values are.
    pub values: Values,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers from 0 up to this, and again.
    Cycle(u32),
    /// Whole numbers at random, from 0 up to, not including, this.
    Whole(u32),
    /// Numbers with two decimals at random, from 0 up to, not including, this.
    Hundredths(u32),
    /// `name-17`: so many different texts, at random.
    Texts(u32),
    /// True or false at random.
    Boolean,
    /// Times that advance by so many rows a second.
    Times {
        /// Rows a second of event time.
        per_second: u32,
    },
    /// Dates that advance by a day each so many rows.
    Dates {
        /// Rows a day.
        per_day: u32,
    },
}

impl GeneratedColumn {
    /// A column with the values that suit its type: whole numbers and texts of a hundred different ones, times that
    /// advance by 1,000 rows a second.
    ///
    /// # Errors
    /// `User` for a type that no value is made for.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Result<Self> {
        let name = name.into();
        let values = match &data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 => Values::Whole(100),
            DataType::Int64 => Values::Cycle(1_000_000),
            DataType::Float32 | DataType::Float64 => Values::Hundredths(1_000),
            DataType::Decimal128(precision, 2..) if *precision >= 5 => Values::Hundredths(100),
            DataType::Decimal128(precision, 0) if *precision >= 2 => Values::Whole(100),
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Values::Texts(100),
            DataType::Boolean => Values::Boolean,
            DataType::Timestamp(_, _) => Values::Times { per_second: 1_000 },
            DataType::Date32 => Values::Dates { per_day: 1_000 },
            _ => return Err(no_values(&name, &data_type)),
        };
        Ok(Self { name, data_type, values })
    }
}

fn no_values(name: &str, data_type: &DataType) -> Error {
    Error::user(format!("generator.schema: column `{name}`"), format!("no values are made for {data_type}"))
        .with_hint("expected a number, text, a boolean, a date or a timestamp")
}

/// One value, as it was made.
enum Value {
    Whole(i64),
    Hundredths(u64),
    Text(u32),
    Boolean(bool),
    Instant(i64),
    Date(i32),
}

/// Rows of declared columns.
#[derive(Clone, Debug)]
pub struct SchemaRows {
    columns: Vec<GeneratedColumn>,
    /// Names as JSON writes them, with quotes and colon.
    names: Vec<String>,
    seed: u64,
    schema: SchemaRef,
}

impl SchemaRows {
    /// Rows of a seed.
    ///
    /// # Errors
    /// `User` where there is no column, or the values of one do not fit its type.
    pub fn new(columns: Vec<GeneratedColumn>, seed: u64) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::user("generator.schema", "the source declares no column").with_hint("fill its `schema`"));
        }
        let fields = columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), false));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let names = columns.iter().map(|column| format!("{}:", serde_json::Value::from(column.name.as_str())));
        let rows = Self { names: names.collect(), columns, seed, schema };
        for column in &rows.columns {
            array_of(column, std::iter::once(column.values.greatest()))?;
        }
        Ok(rows)
    }

    fn value(&self, column: usize, row: u64) -> Value {
        let mut random = Random::of(self.seed, COLUMNS + column as u64, row);
        // Not one multiplication first: it would overflow at large row numbers.
        let millis = |per_second: u64| row / per_second * 1_000 + row % per_second * 1_000 / per_second;
        match self.columns[column].values {
            Values::Cycle(end) => Value::Whole((row % u64::from(end.max(1))).cast_signed()),
            Values::Whole(end) => Value::Whole(random.below(end).into()),
            Values::Hundredths(end) => {
                Value::Hundredths(u64::from(random.below(100)) + 100 * u64::from(random.below(end)))
            }
            Values::Texts(count) => Value::Text(random.below(count)),
            Values::Boolean => Value::Boolean(random.below(2) == 1),
            Values::Times { per_second } => {
                Value::Instant(START_MILLIS + millis(u64::from(per_second.max(1))).cast_signed())
            }
            Values::Dates { per_day } => {
                let days = i32::try_from(row / u64::from(per_day.max(1)) % 1_000_000).unwrap_or(0);
                Value::Date(START_DAYS + days)
            }
        }
    }

    fn array(&self, column: usize, from: u64, count: usize) -> Result<ArrayRef> {
        array_of(&self.columns[column], (from..from + count as u64).map(|row| self.value(column, row)))
    }
}

/// Values as an array of the column's type.
fn array_of(column: &GeneratedColumn, made: impl Iterator<Item = Value>) -> Result<ArrayRef> {
    let GeneratedColumn { name, data_type, values } = column;
    let plain: ArrayRef = match values {
        Values::Cycle(_) | Values::Whole(_) => Arc::new(Int64Array::from_iter_values(made.filter_map(Value::whole))),
        Values::Hundredths(_) if matches!(data_type, DataType::Decimal128(..)) => {
            let unscaled = made.filter_map(Value::hundredths).map(i128::from);
            let exact = Decimal128Array::from_iter_values(unscaled).with_precision_and_scale(20, 2);
            Arc::new(exact.map_err(|error| Error::internal("making decimals", error))?)
        }
        Values::Hundredths(_) => {
            let numbers = made.filter_map(Value::hundredths).map(|value| value as f64 / 100.0);
            Arc::new(Float64Array::from_iter_values(numbers))
        }
        Values::Texts(_) => {
            let texts = made.filter_map(Value::text).map(|number| format!("{name}-{number}"));
            Arc::new(StringArray::from_iter_values(texts))
        }
        Values::Boolean => Arc::new(BooleanArray::from_iter(made.map(Value::boolean))),
        Values::Times { .. } => Arc::new(TimestampMillisecondArray::from_iter(made.map(Value::instant))),
        Values::Dates { .. } => Arc::new(Date32Array::from_iter(made.map(Value::date))),
    };
    let fitting = cast(&plain, data_type).map_err(|_| no_values(name, data_type))?;
    if fitting.null_count() > 0 { Err(no_values(name, data_type)) } else { Ok(fitting) }
}

impl Values {
    /// The value that a type is least likely to hold.
    fn greatest(self) -> Value {
        match self {
            Self::Cycle(end) | Self::Whole(end) => Value::Whole(i64::from(end) - 1),
            Self::Hundredths(end) => Value::Hundredths(u64::from(end) * 100),
            Self::Texts(count) => Value::Text(count),
            Self::Boolean => Value::Boolean(true),
            Self::Times { .. } => Value::Instant(START_MILLIS),
            Self::Dates { .. } => Value::Date(START_DAYS),
        }
    }
}

impl Value {
    fn whole(self) -> Option<i64> {
        if let Self::Whole(value) = self { Some(value) } else { None }
    }

    fn hundredths(self) -> Option<u64> {
        if let Self::Hundredths(value) = self { Some(value) } else { None }
    }

    fn text(self) -> Option<u32> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    fn boolean(self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(value) } else { None }
    }

    fn instant(self) -> Option<i64> {
        if let Self::Instant(value) = self { Some(value) } else { None }
    }

    fn date(self) -> Option<i32> {
        if let Self::Date(value) = self { Some(value) } else { None }
    }

    fn write_json(&self, name: &str, out: &mut Vec<u8>) {
        match *self {
            Self::Whole(value) => write_signed(value, out),
            Self::Hundredths(value) => write_hundredths(value, out),
            Self::Text(number) => {
                let text = serde_json::Value::from(format!("{name}-{number}"));
                out.extend_from_slice(text.to_string().as_bytes());
            }
            Self::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Self::Instant(millis) => quoted(out, |out| write_instant(millis, out)),
            Self::Date(days) => quoted(out, |out| write_date(days.into(), out)),
        }
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

impl Generate for SchemaRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn write_json(&self, row: u64, out: &mut Vec<u8>) {
        for (index, name) in self.names.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            out.extend_from_slice(name.as_bytes());
            self.value(index, row).write_json(&self.columns[index].name, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn batch(&self, from: u64, count: usize) -> RecordBatch {
        let columns = (0..self.columns.len()).map(|column| self.array(column, from, count));
        let columns = columns.collect::<Result<Vec<_>>>().expect("`new` has tried the greatest value of each column");
        RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("the columns are those of the schema")
    }
}

#[cfg(test)]
mod tests;
