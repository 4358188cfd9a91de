//! The years that times may have: 1 to 9999, which ISO 8601 writes with four digits. A number could name moments beyond
//! them, and no text; Flink's TIMESTAMP ends there too.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};

/// Their seconds since 1970, UTC.
pub const SECONDS: Range<i64> = -62_135_596_800..253_402_300_800;
/// Their milliseconds since 1970, UTC.
pub const MILLIS: Range<i64> = times(1_000);
/// Their days since 1970.
pub const DAYS: Range<i32> = -719_162..2_932_897;

const fn times(per_second: i64) -> Range<i64> {
    SECONDS.start * per_second..SECONDS.end * per_second
}

/// The rows of a column with a time outside of these years, be it within an array, a map or a row; in their order.
pub fn rows_outside(column: &dyn Array) -> Vec<usize> {
    match column.data_type() {
        DataType::Date32 => outside::<Date32Type>(column, &DAYS),
        DataType::Timestamp(TimeUnit::Second, _) => outside::<TimestampSecondType>(column, &SECONDS),
        DataType::Timestamp(TimeUnit::Millisecond, _) => outside::<TimestampMillisecondType>(column, &MILLIS),
        DataType::Timestamp(TimeUnit::Microsecond, _) => outside::<TimestampMicrosecondType>(column, &times(1_000_000)),
        DataType::Struct(_) => of_fields(column),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            of_items(column, list.value_offsets(), list.values())
        }
        DataType::Map(_, _) => {
            let map = column.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            of_items(column, map.value_offsets(), &entries)
        }
        // All that 64 bits of nanoseconds can name lies within.
        _ => Vec::new(),
    }
}

fn outside<T: ArrowPrimitiveType<Native: PartialOrd>>(column: &dyn Array, years: &Range<T::Native>) -> Vec<usize> {
    let array = column.as_primitive::<T>();
    let is_outside = |value: &T::Native| !years.contains(value);
    // Counted, not searched, so that the compiler looks at several at once: there is hardly ever one.
    if array.values().iter().filter(|value| is_outside(value)).count() == 0 {
        return Vec::new();
    }
    let values = array.values().iter().enumerate();
    values.filter(|(row, value)| is_outside(value) && array.is_valid(*row)).map(|(row, _)| row).collect()
}

fn of_fields(column: &dyn Array) -> Vec<usize> {
    let fields = column.as_struct().columns();
    let mut rows: Vec<usize> = fields.iter().flat_map(|field| rows_outside(field.as_ref())).collect();
    rows.retain(|row| column.is_valid(*row));
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// `offsets` say which of the items are each row's.
fn of_items(column: &dyn Array, offsets: &[i32], items: &ArrayRef) -> Vec<usize> {
    let row_of = |item: usize| offsets.partition_point(|start| *start as usize <= item).checked_sub(1);
    let rows = rows_outside(items.as_ref()).into_iter().filter_map(row_of);
    let mut rows: Vec<usize> = rows.filter(|row| *row < column.len() && column.is_valid(*row)).collect();
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, ListArray, StructArray, TimestampMillisecondArray, TimestampSecondArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::Field;

    use super::*;

    const LAST: i64 = 253_402_300_799_999;
    const FIRST: i64 = -62_135_596_800_000;

    #[test]
    fn the_first_and_the_last_moment_are_within() {
        let times =
            vec![Some(LAST), Some(LAST + 1), None, Some(FIRST), Some(FIRST - 1), Some(i64::MAX), Some(i64::MIN)];
        assert_eq!(rows_outside(&TimestampMillisecondArray::from(times)), [1, 4, 5, 6]);
        assert_eq!(rows_outside(&TimestampSecondArray::from(vec![LAST / 1_000, LAST / 1_000 + 1])), [1]);
        let days = vec![DAYS.start, DAYS.start - 1, DAYS.end - 1, DAYS.end, i32::MAX];
        assert_eq!(rows_outside(&Date32Array::from(days)), [1, 3, 4]);
    }

    #[test]
    fn what_stands_under_a_null_is_no_time() {
        let nulls = Some(NullBuffer::from(vec![true, false]));
        let times = TimestampMillisecondArray::new(vec![0, i64::MAX].into(), nulls);
        assert_eq!(rows_outside(&times), Vec::<usize>::new());
    }

    #[test]
    fn times_within_values_count_for_their_row() {
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX, 0, i64::MAX, LAST + 1, 0]));
        let field = Arc::new(Field::new("t", times.data_type().clone(), true));
        let row = StructArray::new(vec![Arc::clone(&field)].into(), vec![Arc::clone(&times)], None);
        assert_eq!(rows_outside(&row), [0, 2, 3]);
        let list = ListArray::new(field, OffsetBuffer::from_lengths([1, 1, 0, 2, 1]), times, None);
        assert_eq!(rows_outside(&list), [0, 3]);
        assert_eq!(rows_outside(&list.slice(1, 3)), [2]);
    }
}
