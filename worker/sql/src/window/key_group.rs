//! Which unit a key belongs to: a hash that every machine and every version computes alike.
//!
//! Version [`KEY_HASH_VERSION`], written into `pipeline.json`. For each key column in order, and each 64-bit word of its
//! value, `h = mix((h ^ word) + SEED)`, from `h = SEED`; `SEED` is `0x9E3779B97F4A7C15`, and the sum wraps:
//!
//! - NULL: the word `0x6E756C6C` ("null");
//! - whole numbers, booleans, dates, times, timestamps, durations: the value as `i64` (so `INT 1` and `BIGINT 1` meet);
//! - `FLOAT`, `DOUBLE`: the bits as `f64`, −0 as 0, every NaN as the quiet one;
//! - decimals: the unscaled value as `i128`, low word first;
//! - text and bytes: words of 8 bytes, little-endian, the last filled with zeros, then the length.
//!
//! `mix(x)` is the finaliser of SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
//! The group is the upper half of `h × groups`, taken as a 128-bit product. Without keys everything is group 0.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, PrimitiveArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, not_impl_err};

/// Version of the hash described above.
pub const KEY_HASH_VERSION: u32 = 1;

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
const NULL_WORD: u64 = 0x6E75_6C6C;

#[inline]
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[inline]
fn absorb(hash: u64, word: u64) -> u64 {
    // The addition keeps a zero word from leaving a zero hash where it was.
    mix((hash ^ word).wrapping_add(SEED))
}

fn absorb_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        hash = absorb(hash, u64::from_le_bytes(std::array::from_fn(|i| word[i])));
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = absorb(hash, u64::from_le_bytes(std::array::from_fn(|i| rest.get(i).copied().unwrap_or(0))));
    }
    absorb(hash, bytes.len() as u64)
}

/// The bits of a float with one zero and one NaN: values that group together must hash together.
fn float_bits(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits() & !(1 << 63)
    } else {
        value.to_bits()
    }
}

/// Cuts the rows of `batch` into one batch a key group, in order; `None` where a group has no row.
///
/// # Errors
/// A key of a type that has no hash (lists, structs, maps).
pub(crate) fn split(batch: &RecordBatch, keys: &[ArrayRef], key_groups: u32) -> Result<Vec<Option<RecordBatch>>> {
    let count = key_groups.max(1) as usize;
    let mut parts = vec![None; count];
    if batch.num_rows() == 0 {
        return Ok(parts);
    }
    if keys.is_empty() || count == 1 {
        parts[0] = Some(batch.clone());
        return Ok(parts);
    }
    let groups = groups(keys, batch.num_rows(), key_groups)?;
    let (order, bounds) = counting_sort(&groups, count);
    // One gather for all groups; each part is a slice of it.
    let sorted = take_record_batch(batch, &order)?;
    for (group, part) in parts.iter_mut().enumerate() {
        let (from, to) = (bounds[group], bounds[group + 1]);
        *part = (from < to).then(|| sorted.slice(from, to - from));
    }
    Ok(parts)
}

/// The key group of each row.
///
/// # Errors
/// As [`split`].
pub(crate) fn groups(keys: &[ArrayRef], rows: usize, key_groups: u32) -> Result<Vec<u32>> {
    if keys.is_empty() {
        return Ok(vec![0; rows]);
    }
    Ok(hashes(keys)?.into_iter().map(|hash| group_of(hash, key_groups)).collect())
}

/// The key group of a hash.
fn group_of(hash: u64, key_groups: u32) -> u32 {
    ((u128::from(hash) * u128::from(key_groups)) >> 64) as u32
}

/// Rows in order of their group, and where each group starts (one more than there are groups).
fn counting_sort(groups: &[u32], count: usize) -> (UInt32Array, Vec<usize>) {
    let mut bounds = vec![0; count + 1];
    for &group in groups {
        bounds[group as usize + 1] += 1;
    }
    for group in 0..count {
        bounds[group + 1] += bounds[group];
    }
    let mut next = bounds.clone();
    let mut order = vec![0u32; groups.len()];
    for (row, &group) in groups.iter().enumerate() {
        let slot = &mut next[group as usize];
        order[*slot] = row as u32;
        *slot += 1;
    }
    (UInt32Array::from(order), bounds)
}

/// The hash of each row over all columns.
pub(crate) fn hashes(columns: &[ArrayRef]) -> Result<Vec<u64>> {
    let mut hashes = vec![SEED; columns.first().map_or(0, |column| column.len())];
    for column in columns {
        absorb_column(&mut hashes, column)?;
    }
    Ok(hashes)
}

fn absorb_column(hashes: &mut [u64], column: &ArrayRef) -> Result<()> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Dictionary, Duration,
        FixedSizeBinary, Float16, Float32, Float64, LargeBinary, LargeUtf8, Null, Time32, Time64, Timestamp, Utf8,
        Utf8View,
    };
    match column.data_type() {
        kind if kind.is_integer() => {
            // `UInt64` above the range of `i64` keeps its bits: a checked cast would make it null.
            if let Some(wide) = column.as_primitive_opt::<arrow::datatypes::UInt64Type>() {
                absorb_primitive(hashes, wide, absorb_with(|value| value));
                return Ok(());
            }
            absorb_primitive(hashes, cast(column, &DataType::Int64)?.as_primitive::<Int64Type>(), absorb_int());
        }
        Boolean => {
            absorb_primitive(hashes, cast(column, &DataType::Int64)?.as_primitive::<Int64Type>(), absorb_int());
        }
        Date32 | Time32(_) => {
            let days = cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?;
            absorb_primitive(hashes, days.as_primitive::<Int64Type>(), absorb_int());
        }
        Date64 | Time64(_) | Timestamp(..) | Duration(_) => {
            absorb_primitive(hashes, cast(column, &DataType::Int64)?.as_primitive::<Int64Type>(), absorb_int());
        }
        Float16 | Float32 | Float64 => {
            let wide = cast(column, &Float64)?;
            absorb_primitive(hashes, wide.as_primitive::<Float64Type>(), absorb_with(float_bits));
        }
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) => {
            let wide = cast(column, &Decimal128(38, *scale))?;
            absorb_primitive(hashes, wide.as_primitive::<Decimal128Type>(), |hash, value: i128| {
                absorb(absorb(hash, value as u64), (value >> 64) as u64)
            });
        }
        Utf8 | Utf8View | LargeUtf8 | Binary | BinaryView | LargeBinary | FixedSizeBinary(_) => {
            absorb_binary(hashes, cast(column, &Binary)?.as_binary::<i32>());
        }
        Dictionary(_, value) => return absorb_column(hashes, &cast(column, value)?),
        Null => hashes.iter_mut().for_each(|hash| *hash = absorb(*hash, NULL_WORD)),
        other => return not_impl_err!("grouping by a key of type {other}"),
    }
    Ok(())
}

fn absorb_int() -> impl Fn(u64, i64) -> u64 {
    absorb_with(|value: i64| value as u64)
}

fn absorb_with<T>(word: impl Fn(T) -> u64) -> impl Fn(u64, T) -> u64 {
    move |hash, value| absorb(hash, word(value))
}

fn absorb_primitive<T: ArrowPrimitiveType>(
    hashes: &mut [u64],
    array: &PrimitiveArray<T>,
    absorb_value: impl Fn(u64, T::Native) -> u64,
) {
    let rows = hashes.iter_mut().zip(array.values().iter());
    match array.nulls() {
        None => rows.for_each(|(hash, &value)| *hash = absorb_value(*hash, value)),
        Some(nulls) => rows.zip(nulls.iter()).for_each(|((hash, &value), valid)| {
            *hash = if valid { absorb_value(*hash, value) } else { absorb(*hash, NULL_WORD) };
        }),
    }
}

fn absorb_binary(hashes: &mut [u64], array: &BinaryArray) {
    for (hash, value) in hashes.iter_mut().zip(array) {
        *hash = value.map_or_else(|| absorb(*hash, NULL_WORD), |bytes| absorb_bytes(*hash, bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn hash_of(array: impl Array + 'static) -> Vec<u64> {
        hashes(&[Arc::new(array)]).expect("a hash")
    }

    /// Units of a running pipeline hold the keys that these numbers say: a change is a new version.
    #[test]
    fn the_hash_of_version_1_never_changes() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(0), Some(42), Some(-1), None])),
            Arc::new(StringArray::from(vec![Some(""), Some("Manhattan"), Some("exactly8"), None])),
        ];
        let found: Vec<String> = hashes(&columns).expect("a hash").iter().map(|hash| format!("{hash:016x}")).collect();
        assert_eq!(found, EXPECTED);
    }

    const EXPECTED: [&str; 4] = ["46b73e79f0c37c00", "353810285e904e0a", "318f423022f810ca", "d6d4b229ca8e7c61"];

    #[test]
    fn equal_values_of_other_types_meet() {
        assert_eq!(hash_of(Int32Array::from(vec![7, -3])), hash_of(Int64Array::from(vec![7, -3])));
        assert_eq!(hash_of(StringArray::from(vec!["abc"])), hash_of(StringViewArray::from(vec!["abc"])));
        let zeros = hash_of(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        assert!(zeros[0] == zeros[1] && zeros[2] == zeros[3] && zeros[0] != zeros[2]);
    }

    #[test]
    fn null_is_neither_zero_nor_empty_nor_false() {
        let null = hash_of(Int64Array::from(vec![None]));
        assert_ne!(null, hash_of(Int64Array::from(vec![0])));
        assert_ne!(null, hash_of(StringArray::from(vec![""])));
        assert_ne!(null, hash_of(BooleanArray::from(vec![false])));
    }

    #[test]
    fn decimals_hash_by_all_their_digits() {
        let hashes = hash_of(Decimal128Array::from(vec![1, 1 << 64, -1]));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    }

    #[test]
    fn parts_hold_each_row_once_evenly_and_in_order() {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..80_000));
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, false)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(&keys)]).expect("a batch");
        let parts = split(&batch, &[keys], 8).expect("parts");
        let mut all = Vec::new();
        for part in parts {
            let part = part.expect("rows");
            assert!((9_000..11_000).contains(&part.num_rows()), "{}", part.num_rows());
            let values = part.column(0).as_primitive::<Int64Type>().values().to_vec();
            assert!(values.is_sorted());
            all.extend(values);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..80_000));
    }
}
