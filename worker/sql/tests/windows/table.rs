//! Random rows and the aggregates over them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::prelude::SessionContext;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use thalweg_sql::transform::Transform;
use thalweg_sql::window::{WindowSpec, WindowedAggregate};

/// All that is asked of every window; `ts` and `n` order rows totally.
pub const AGGREGATES: [&str; 17] = [
    "count(1)",
    "count(x)",
    "count(DISTINCT x)",
    "count(DISTINCT s)",
    "sum(x)",
    "sum(f)",
    "sum(d)",
    "avg(f)",
    "min(x)",
    "max(x)",
    "min(s)",
    "max(f)",
    "stddev(f)",
    "first_value(x ORDER BY t, n)",
    "last_value(s ORDER BY t, n)",
    "count(1) FILTER (WHERE b)",
    "sum(x) FILTER (WHERE b)",
];

/// Those with vectorised kernels: the others cost a plain accumulator a group, too slow for many keys in a test.
pub const FAST: [&str; 5] = ["count(1)", "sum(x)", "avg(f)", "min(x)", "sum(x) FILTER (WHERE b)"];

/// What rows are grouped by, besides windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    None,
    Number,
    /// With nulls.
    Text,
    /// Both with nulls.
    TextAndNumber,
}

impl Keys {
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Number => &["kn"],
            Self::Text => &["kt"],
            Self::TextAndNumber => &["kt", "km"],
        }
    }
}

/// One row before it is put into columns.
#[derive(Clone, Debug)]
pub struct Row {
    pub time: i64,
    pub key: u32,
    /// For attached windows.
    pub window: (i64, i64),
    pub x: Option<i64>,
    pub f: Option<f64>,
    pub s: Option<String>,
    pub b: Option<bool>,
    pub number: i64,
}

impl Row {
    pub fn random(rng: &mut ChaCha8Rng, time: i64, distinct: u32, number: i64) -> Self {
        let size = if rng.random_bool(0.8) { 500 } else { 1_500 };
        let start = time.div_euclid(size) * size;
        Self {
            time,
            // A few keys have most of the rows.
            key: if rng.random_bool(0.3) {
                rng.random_range(0..distinct.min(3))
            } else {
                rng.random_range(0..distinct)
            },
            window: (start, start + size),
            x: rng.random_bool(0.9).then(|| rng.random_range(-50..50)),
            // Whole numbers: sums do not depend on the order.
            f: rng.random_bool(0.9).then(|| f64::from(rng.random_range(-1_000..1_000))),
            s: rng.random_bool(0.9).then(|| format!("{:x}", rng.random_range(0..200u32).pow(3))),
            b: rng.random_bool(0.9).then(|| rng.random_bool(0.5)),
            number,
        }
    }
}

/// The columns by which SQL knows rows: keys, times, then what the aggregates take.
pub fn schema(keys: Keys, window: &WindowSpec) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let mut fields: Vec<Field> = keys
        .names()
        .iter()
        .map(|name| match *name {
            "kn" => Field::new("kn", DataType::Int64, false),
            "km" => Field::new("km", DataType::Int32, true),
            name => Field::new(name, DataType::Utf8, true),
        })
        .collect();
    if *window == WindowSpec::Attached {
        fields.push(Field::new("ws", time.clone(), false));
        fields.push(Field::new("we", time.clone(), false));
    }
    fields.extend([
        Field::new("t", time, false),
        Field::new("x", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("s", DataType::Utf8, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("n", DataType::Int64, false),
    ]);
    Arc::new(Schema::new(fields))
}

pub fn batch(schema: &SchemaRef, rows: &[Row]) -> RecordBatch {
    let times = |time: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(time)))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "kn" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.key) * 7 - 20))),
            "km" => Arc::new(
                rows.iter()
                    .map(|row| (row.key % 5 != 1).then_some((row.key / 3) as i32))
                    .collect::<arrow::array::Int32Array>(),
            ),
            "kt" => Arc::new(
                rows.iter()
                    .map(|row| (row.key % 7 != 2).then(|| format!("key-{}", row.key % 1_000)))
                    .collect::<StringArray>(),
            ),
            "ws" => times(|row| row.window.0),
            "we" => times(|row| row.window.1),
            "t" => times(|row| row.time),
            "x" => Arc::new(rows.iter().map(|row| row.x).collect::<Int64Array>()),
            "f" => Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
            "d" => Arc::new(
                rows.iter()
                    .map(|row| row.x.map(|x| i128::from(x) * 25))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(10, 2)
                    .expect("a decimal"),
            ),
            "s" => Arc::new(rows.iter().map(|row| row.s.clone()).collect::<StringArray>()),
            "b" => Arc::new(rows.iter().map(|row| row.b).collect::<BooleanArray>()),
            _ => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.number))),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).expect("columns of the schema")
}

/// What a planner would have made of `AGGREGATES`.
pub fn aggregate(window: WindowSpec, keys: Keys, functions: &[&str]) -> Arc<WindowedAggregate> {
    let schema = schema(keys, &window);
    let logical = DFSchema::try_from(Arc::clone(&schema)).expect("a schema");
    let context = SessionContext::new();
    let mut aggregate = WindowedAggregate {
        window,
        input_schema: Arc::clone(&schema),
        key_count: keys.names().len(),
        aggregates: Vec::new(),
        filters: Vec::new(),
        finish: Arc::new(Transform::identity(Arc::clone(&schema))),
    };
    for sql in functions {
        let expression = context.parse_sql_expr(sql, &logical).expect("SQL");
        let (properties, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let lowered = LoweredAggregateBuilder::new(&expression, &logical, &schema, &properties, &planning)
            .build()
            .expect("an aggregate");
        aggregate.aggregates.push(lowered.aggregate);
        aggregate.filters.push(lowered.filter);
    }
    Arc::new(aggregate)
}
