//! Every function with values at the edges of their types.

use std::iter::once;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
    StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::prelude::{SessionContext, col};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::SCALARS;
use super::row::{Kind, Pure};
use crate::transform::{Step, Transform};

const ROWS: usize = 8;

const WORDS: &[&str] = &[
    "",
    " ",
    "a",
    "ä",
    "aé",
    "日本語",
    "😀é",
    "a,b,,ä",
    "%",
    "%4",
    "%zz%e2",
    "(",
    "(ä)|(b)?",
    ".*",
    "\u{0}",
    "\u{10ffff}",
    "12.5",
    "-9223372036854775808",
    "1e400",
    "NaN",
    "//8=",
    "hex",
    "utf-8",
];

/// What texts are taken from: those of one argument mostly from one.
const POOLS: &[&[&str]] = &[
    WORDS,
    &[
        "2018-01-01 04:17:05",
        "2018-01-01",
        "18-1-1",
        "9999-12-31T23:59:59.999Z",
        "+262142-12-31 23:59:59.999",
        "-262143-01-01 00:00:00",
        "99999-01-01 00:00:00",
        "4294967295-01-01",
        "12 aé",
    ],
    &["UTC", "Europe/Paris", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Monrovia"],
    &[
        "MILLISECOND",
        "SECOND",
        "MINUTE",
        "HOUR",
        "DAY",
        "WEEK",
        "MONTH",
        "QUARTER",
        "YEAR",
        "EPOCH",
        "DOW",
        "ISODOW",
        "DOY",
    ],
    &["yyyy-MM-dd HH:mm:ss.SSS", "yy-M-d", "yyyyyyyyyy-MM-dd", "h a", "SSSSSSSSSSSSSSSSSSS", "E EEEE D MMM MMMM", "''"],
    &["{\"a\":[1,{\"b\":null}]}", "[1,2", "{\"ä\":\"😀\"}", "$.a[1].b", "$['ä']", "$", "$[18446744073709551616]"],
];

const INTEGERS: &[i64] = &[
    i64::MIN,
    i64::MIN + 1,
    i32::MIN as i64,
    -39,
    -38,
    -2,
    -1,
    0,
    1,
    2,
    3,
    9,
    12,
    37,
    38,
    39,
    255,
    65_536,
    i32::MAX as i64,
    1 << 53,
    i64::MAX - 1,
    i64::MAX,
];

/// Milliseconds: the first and last of years that times may have, and of the calendar.
const TIMES: &[i64] = &[
    i64::MIN,
    -8_334_601_228_800_000,
    -62_135_596_800_000,
    -62_135_596_800_001,
    -1,
    0,
    1,
    951_782_400_000,
    253_402_300_799_999,
    253_402_300_800_000,
    8_210_266_876_799_999,
    i64::MAX,
];

const DOUBLES: &[f64] = &[
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    -0.0,
    0.0,
    0.5,
    -2.5,
    0.999_999_999,
    180.0,
    9.2e18,
    1e22,
];

/// One of a list, or null.
fn one<T: Copy>(of: &[T], rng: &mut ChaCha8Rng) -> Option<T> {
    if rng.random_bool(0.1) { None } else { of.choose(rng).copied() }
}

fn column<T: Copy, A: FromIterator<Option<T>>>(of: &[T], rng: &mut ChaCha8Rng) -> A {
    (0..ROWS).map(|_| one(of, rng)).collect()
}

fn texts(rng: &mut ChaCha8Rng) -> ArrayRef {
    let pool = POOLS.choose(rng).copied().unwrap_or(WORDS);
    let text = |rng: &mut ChaCha8Rng| match rng.random_range(0..10) {
        0 => one(WORDS, rng),
        _ => one(pool, rng),
    };
    Arc::new((0..ROWS).map(|_| text(rng)).collect::<StringArray>())
}

/// The same, now and then with a long one.
fn longer_texts(rng: &mut ChaCha8Rng) -> ArrayRef {
    match rng.random_range(0..100) {
        0 => Arc::new(StringArray::from(vec!["ä".repeat(70_000); ROWS])),
        1 => Arc::new(StringArray::from(vec!["y".repeat(70_000); ROWS])),
        _ => texts(rng),
    }
}

fn integers(rng: &mut ChaCha8Rng) -> ArrayRef {
    Arc::new(column::<_, Int64Array>(INTEGERS, rng))
}

fn doubles(rng: &mut ChaCha8Rng) -> ArrayRef {
    Arc::new(column::<_, Float64Array>(DOUBLES, rng))
}

fn floats(rng: &mut ChaCha8Rng) -> ArrayRef {
    let floats = (0..ROWS).map(|_| one(DOUBLES, rng).map(|double| double as f32));
    Arc::new(floats.collect::<Float32Array>())
}

fn booleans(rng: &mut ChaCha8Rng) -> ArrayRef {
    Arc::new(column::<_, BooleanArray>(&[true, false], rng))
}

fn times(rng: &mut ChaCha8Rng) -> ArrayRef {
    Arc::new(column::<_, TimestampMillisecondArray>(TIMES, rng))
}

fn dates(rng: &mut ChaCha8Rng) -> ArrayRef {
    Arc::new(column::<_, Date32Array>(&[i32::MIN, -719_162, -1, 0, 2_932_896, i32::MAX], rng))
}

fn decimals(rng: &mut ChaCha8Rng) -> ArrayRef {
    let (precision, scale): (u8, i8) = one(&[(38, 0), (38, 10), (38, 38), (18, 6), (5, 2)], rng).unwrap_or((1, 0));
    let most = 10_i128.pow(u32::from(precision)) - 1;
    let values = column::<_, Decimal128Array>(&[-most, -most / 2, -5, -1, 0, 1, 5, most / 2, most], rng);
    Arc::new(values.with_precision_and_scale(precision, scale).expect("digits"))
}

fn lists(rng: &mut ChaCha8Rng) -> ArrayRef {
    let list = |rng: &mut ChaCha8Rng| {
        let length = rng.random_range(0..4_usize);
        let items = (0..length).map(|_| one(INTEGERS, rng)).collect::<Vec<_>>();
        if rng.random_bool(0.1) { None } else { Some(items) }
    };
    let lists = (0..ROWS).map(|_| list(rng)).collect::<Vec<_>>();
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))
}

type Make = fn(&mut ChaCha8Rng) -> ArrayRef;

fn argument(kind: Kind, rng: &mut ChaCha8Rng) -> ArrayRef {
    match kind {
        Kind::Text => longer_texts(rng),
        Kind::Int => integers(rng),
        Kind::Double => doubles(rng),
        Kind::Float => floats(rng),
        Kind::Boolean => booleans(rng),
        Kind::Time => times(rng),
        Kind::TextOrInt => one_of(&[longer_texts, integers], rng),
        Kind::Number => one_of(&[integers, doubles, decimals], rng),
        Kind::Any => one_of(&[longer_texts, integers, doubles, booleans, times, dates, decimals, lists], rng),
    }
}

fn one_of(makes: &[Make], rng: &mut ChaCha8Rng) -> ArrayRef {
    let make = one(makes, rng).unwrap_or(integers);
    make(rng)
}

#[test]
fn no_function_of_ours_panics_whatever_it_is_given() {
    let (mut tried, mut panicked) = (0, Vec::new());
    for (name, function) in SCALARS.iter() {
        let Some(function) = function.inner().downcast_ref::<Pure>() else { continue };
        tried += 1;
        let (kinds, least, most) = function.kinds();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..300 {
            let count = rng.random_range(least..=most);
            let args: Vec<ArrayRef> = (0..count).map(|at| argument(kinds[at.min(kinds.len() - 1)], &mut rng)).collect();
            // A row that is refused hides the others.
            let alone: Vec<Vec<ArrayRef>> =
                (0..ROWS).map(|row| args.iter().map(|arg| arg.slice(row, 1)).collect()).collect();
            for args in once(args).chain(alone) {
                if catch_unwind(AssertUnwindSafe(|| function.of(&args))).is_err() {
                    let args = format!("{args:?}").chars().take(400).collect::<String>();
                    panicked.push(format!("{name}: {args}"));
                }
            }
        }
    }
    assert!(tried > 70, "{tried} functions");
    panicked.truncate(20);
    assert!(panicked.is_empty(), "{panicked:#?}");
}

/// What they are called with: a column of each for each argument.
const MAKES: [(&str, Make); 6] = [
    ("text", texts),
    ("integer", integers),
    ("double", doubles),
    ("boolean", booleans),
    ("time", times),
    ("list", lists),
];
const ARGUMENTS: usize = 3;

fn rows(rng: &mut ChaCha8Rng) -> RecordBatch {
    let columns = (0..ARGUMENTS).flat_map(|at| MAKES.map(|(name, make)| (format!("{name}{at}"), make)));
    let columns: Vec<_> = columns.map(|(name, make)| (name, make(rng))).collect();
    let fields: Vec<_> =
        columns.iter().map(|(name, values)| Field::new(name, values.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, values)| values).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns")
}

/// Columns for up to three arguments, of all types.
fn argument_lists() -> Vec<Vec<String>> {
    let mut lists: Vec<Vec<String>> = vec![vec![]];
    let mut all = Vec::new();
    for at in 0..ARGUMENTS {
        let longer = |list: &Vec<String>| MAKES.map(|(name, _)| [&list[..], &[format!("{name}{at}")]].concat());
        lists = lists.iter().flat_map(longer).collect();
        all.extend(lists.iter().cloned());
    }
    all
}

#[test]
fn functions_of_the_planner_cost_the_rows_that_they_fail_on_only() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let schema = rows(&mut rng).schema();
    let logical = DFSchema::try_from(Arc::clone(&schema)).expect("a schema");
    let context = SessionContext::new();
    let borrowed = SCALARS.values().filter(|function| function.inner().downcast_ref::<Pure>().is_none());
    let mut calls = Vec::new();
    for function in borrowed {
        for list in argument_lists() {
            let call =
                ScalarFunction::new_udf(Arc::clone(function), list.iter().map(|name| col(name.as_str())).collect());
            let planned = || context.create_physical_expr(Expr::ScalarFunction(call), &logical);
            let Ok(Ok(call)) = catch_unwind(AssertUnwindSafe(planned)) else { continue };
            let Ok(kind) = call.data_type(&schema) else { continue };
            let output = Arc::new(Schema::new(vec![Field::new("out", kind, true)]));
            let step = Step::Project { exprs: vec![call], schema: Arc::clone(&output) };
            calls.push((function.name(), list, Transform::new(Arc::clone(&schema), output, vec![step])));
        }
    }
    assert!(calls.len() > 200, "{} calls", calls.len());
    for _ in 0..20 {
        let rows = rows(&mut rng);
        for (name, list, transform) in &calls {
            let done = transform.apply(&rows);
            assert_eq!(done.batch.num_rows() + done.failed.len(), ROWS, "{name}({list:?})");
        }
    }
}
