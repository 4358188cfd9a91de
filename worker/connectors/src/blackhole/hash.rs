//! A hash of each row that depends on its values alone: not on batches, offsets or encodings. Pure.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Odd multipliers of 64 well-mixed bits (the golden ratio's, and one of wyhash's).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const WYHASH: u64 = 0xa076_1d64_78bd_642f;
/// Stands for a value that is not there.
const NULL: u64 = 0x5bd1_e995_1b87_3593;

/// The wrapping sum of the hashes of all rows.
///
/// # Errors
/// A value that cannot be read.
pub(crate) fn checksum(rows: &RecordBatch) -> Result<u64, ArrowError> {
    let mut hashes = vec![GOLDEN; rows.num_rows()];
    for column in rows.columns() {
        add_column(column, &mut hashes)?;
    }
    Ok(hashes.iter().fold(0, |sum, hash| sum.wrapping_add(mix(*hash, WYHASH))))
}

/// Both halves of the product, as wyhash mixes.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
fn add(hash: &mut u64, value: u64) {
    *hash = mix(hash.rotate_left(23) ^ value, WYHASH ^ GOLDEN);
}

fn add_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<(), ArrowError> {
    match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            add_values(column, hashes, |row| u64::from(values.value(row)));
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            add_values(column, hashes, |row| of_bytes(values.value(row).as_bytes()));
        }
        DataType::LargeUtf8 => {
            let values = column.as_string::<i64>();
            add_values(column, hashes, |row| of_bytes(values.value(row).as_bytes()));
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            add_values(column, hashes, |row| of_bytes(values.value(row).as_bytes()));
        }
        DataType::Dictionary(_, values) => add_column(&cast(column, values)?, hashes)?,
        fixed => match fixed.primitive_width() {
            Some(width) => add_fixed(column, width, hashes),
            None => add_shown(column, hashes)?,
        },
    }
    Ok(())
}

fn add_values(column: &ArrayRef, hashes: &mut [u64], value: impl Fn(usize) -> u64) {
    match column.nulls() {
        None => hashes.iter_mut().enumerate().for_each(|(row, hash)| add(hash, value(row))),
        Some(nulls) => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                add(hash, if nulls.is_null(row) { NULL } else { value(row) });
            }
        }
    }
}

fn add_fixed(column: &ArrayRef, width: usize, hashes: &mut [u64]) {
    let data = column.to_data();
    let bytes = &data.buffers()[0].as_slice()[data.offset() * width..];
    match bytes.as_chunks::<8>() {
        (words, []) if width == 8 => add_values(column, hashes, |row| of_bytes(&words[row])),
        _ => add_values(column, hashes, |row| of_bytes(&bytes[row * width..(row + 1) * width])),
    }
}

/// Nested values, as text.
fn add_shown(column: &ArrayRef, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let shown = ArrayFormatter::try_new(column.as_ref(), &options)?;
    for (row, hash) in hashes.iter_mut().enumerate() {
        add(hash, of_bytes(shown.value(row).try_to_string()?.as_bytes()));
    }
    Ok(())
}

/// Sixteen bytes a multiplication, as wyhash takes them. The last block overlaps the one before: nothing is copied.
#[inline]
fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let Some(last) = bytes.last_chunk::<16>() else { return mix_words(hash, of_short(bytes)) };
    for block in bytes[..bytes.len() - 1].as_chunks::<16>().0 {
        hash = mix_words(hash, words_of(block));
    }
    mix_words(hash, words_of(last))
}

/// All bits of fewer than 16 bytes; which are the same for another length is told apart by the length.
#[inline]
fn of_short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
    } else {
        (bytes.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)), 0)
    }
}

#[inline]
fn words_of(block: &[u8; 16]) -> (u64, u64) {
    let block = u128::from_le_bytes(*block);
    (block as u64, (block >> 64) as u64)
}

#[inline]
fn mix_words(hash: u64, (low, high): (u64, u64)) -> u64 {
    mix(hash ^ GOLDEN ^ low, WYHASH ^ high)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<i32>, Option<String>, f64);

    fn batch(rows: &[Row]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>());
        let floats: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float64Array>());
        let lists = rows.iter().map(|row| Some([row.0, Some(7)]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts), ("f", floats), ("l", lists)]).expect("a batch")
    }

    fn sum(batch: &RecordBatch) -> u64 {
        checksum(batch).expect("readable")
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = (any::<Option<i32>>(), proptest::option::of("[a-c]{0,20}"), any::<f64>());
        proptest::collection::vec(row, 1..20)
    }

    proptest! {
        #[test]
        fn neither_batches_nor_order_matter(rows in rows(), cut in any::<prop::sample::Index>()) {
            let (whole, cut) = (batch(&rows), cut.index(rows.len()));
            let parts = sum(&whole.slice(0, cut)).wrapping_add(sum(&whole.slice(cut, rows.len() - cut)));
            let reversed: Vec<Row> = rows.iter().rev().cloned().collect();
            prop_assert_eq!(sum(&whole), parts);
            prop_assert_eq!(sum(&whole), sum(&batch(&reversed)));
        }

        #[test]
        fn every_value_matters(rows in rows(), which in any::<prop::sample::Index>(), column in 0..3) {
            let mut other = rows.clone();
            let row = &mut other[which.index(rows.len())];
            match column {
                0 => row.0 = row.0.map_or(Some(0), |n| n.checked_add(1)),
                1 => row.1 = row.1.as_ref().map_or(Some(String::new()), |text| Some(format!("{text}x"))),
                _ => row.2 = f64::from_bits(row.2.to_bits() ^ 1),
            }
            prop_assert_ne!(sum(&batch(&rows)), sum(&batch(&other)));
        }
    }

    #[test]
    fn the_encoding_of_a_text_does_not_matter() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let of = |column: ArrayRef| sum(&RecordBatch::try_from_iter([("t", column)]).expect("a batch"));
        assert_eq!(of(plain), of(view));
    }
}
