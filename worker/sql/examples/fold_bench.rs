//! Rows a CPU-second through the window kernels, the reader's and the unit's side apart; and, in the last column, with
//! rows sent to units as they are and aggregated there (what `docs/design/0005` compares).
//!
//! ```console
//! $ CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run --workspace --example fold_bench
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_core::time::Watermark;
use thalweg_sql::transform::Transform;
use thalweg_sql::window::{Merge, WindowSpec, WindowedAggregate};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: usize = 10_000;
const BATCHES_A_RANGE: usize = 20;
const RANGES: usize = 20;
const DELAY_MS: i64 = 4_000;
const KEY_GROUPS: u32 = 8;

#[derive(Clone, Copy, PartialEq)]
enum Keys {
    None,
    Number,
    Text,
    TextAndNumber,
}

struct Case {
    name: &'static str,
    window: WindowSpec,
    keys: Keys,
    distinct: i64,
    /// Rows a millisecond of event time.
    rate: i64,
    /// Greatest disorder.
    jitter_ms: i64,
    with_values: bool,
}

fn main() -> Outcome<()> {
    let tumble = WindowSpec::Tumble { size: 10_000, offset: 0 };
    let hop = WindowSpec::Hop { size: 10_000, slide: 2_000, offset: 0 };
    let case = |name, window: &WindowSpec, keys, distinct| Case {
        name,
        window: window.clone(),
        keys,
        distinct,
        rate: 100,
        jitter_ms: 0,
        with_values: false,
    };
    let cases = [
        case("tumble 10 s, count", &tumble, Keys::None, 1),
        case("tumble 10 s, count by int, 5 keys", &tumble, Keys::Number, 5),
        case("tumble 10 s, count by text, 6 keys", &tumble, Keys::Text, 6),
        case("tumble 10 s, count by (text, int), 6 keys", &tumble, Keys::TextAndNumber, 6),
        case("tumble 10 s, count by int, 10 k keys", &tumble, Keys::Number, 10_000),
        case("tumble 10 s, count by int, 1 M keys", &tumble, Keys::Number, 1_000_000),
        case("hop 10 s/2 s, count by int, 10 k keys (q5)", &hop, Keys::Number, 10_000),
        Case { with_values: true, ..case("tumble 10 s, count sum max, 5 keys", &tumble, Keys::Number, 5) },
        Case { jitter_ms: 3_000, ..case("hop 10 s/2 s, 3 s disorder, 10 k keys", &hop, Keys::Number, 10_000) },
        Case {
            rate: 1,
            jitter_ms: 60_000,
            ..case("tumble 5 s, 60 s disorder, 6 keys", &WindowSpec::Tumble { size: 5_000, offset: 0 }, Keys::Text, 6)
        },
        case("session 1 s, count by int, 10 k keys", &WindowSpec::Session { gap: 1_000 }, Keys::Number, 10_000),
    ];
    println!(
        "{:<46} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}   M rows of input a CPU-second",
        "", "late", "fold", "split", "unit", "all", "as rows"
    );
    for case in &cases {
        run(case)?;
    }
    Ok(())
}

fn run(case: &Case) -> Outcome<()> {
    let plan = aggregate(case)?;
    let ranges = ranges(case, &plan.input_schema)?;
    let [mut late, mut fold, mut split, mut unit] = [Duration::ZERO; 4];
    let mut states: Vec<_> = (0..KEY_GROUPS).map(|_| plan.state()).collect();
    let mut max = None;
    let mut groups_out = 0;
    for range in &ranges {
        let start = cpu_time()?;
        for batch in range {
            (_, max) = plan.late(batch.column(plan.key_count), max, 1 << 40);
        }
        late += cpu_time()? - start;
        let start = cpu_time()?;
        let mut folder = plan.folder();
        for batch in range {
            folder.push(batch)?;
        }
        let partial = folder.finish()?;
        fold += cpu_time()? - start;
        let start = cpu_time()?;
        let parts = plan.split(&partial, KEY_GROUPS)?;
        split += cpu_time()? - start;
        let start = cpu_time()?;
        for (state, part) in states.iter_mut().zip(parts) {
            if let Some(part) = part {
                assert_eq!(state.merge(&part)?, Merge::Done);
            }
            state.take_delta()?;
            while let Some(closed) = state.close_raw(Watermark::behind(max, DELAY_MS + case.jitter_ms))? {
                groups_out += closed.batch.num_rows();
            }
        }
        unit += cpu_time()? - start;
    }
    let rows = (BATCH * BATCHES_A_RANGE * RANGES) as f64;
    let speed = |time: Duration| rows / time.as_secs_f64() / 1e6;
    let all = late + fold + split + unit;
    let after = late + after_exchange(&plan, &ranges)?;
    println!(
        "{:<46} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}   {groups_out} rows out",
        case.name,
        speed(late),
        speed(fold),
        speed(split),
        speed(unit),
        speed(all),
        speed(after)
    );
    Ok(())
}

/// The same work with rows sent to units as they are: cut by key group, then folded and merged by each unit.
fn after_exchange(plan: &Arc<WindowedAggregate>, ranges: &[Vec<RecordBatch>]) -> Outcome<Duration> {
    let mut states: Vec<_> = (0..KEY_GROUPS).map(|_| plan.state()).collect();
    let start = cpu_time()?;
    for range in ranges {
        let mut folders: Vec<_> = states.iter().map(|_| plan.folder()).collect();
        for batch in range {
            for (folder, rows) in folders.iter_mut().zip(by_group(plan, batch)?) {
                folder.push(&rows)?;
            }
        }
        for (state, folder) in states.iter_mut().zip(folders) {
            assert_eq!(state.merge(&folder.finish()?)?, Merge::Done);
            state.take_delta()?;
        }
    }
    Ok(cpu_time()? - start)
}

/// A batch cut into one a key group, by the cheapest hash that there is.
fn by_group(plan: &WindowedAggregate, batch: &RecordBatch) -> Outcome<Vec<RecordBatch>> {
    let mut rows = vec![Vec::new(); KEY_GROUPS as usize];
    let key = plan.key_count.checked_sub(1).map(|last| batch.column(last));
    let numbers = key.and_then(|key| key.as_any().downcast_ref::<Int64Array>());
    let texts = key.and_then(|key| key.as_any().downcast_ref::<StringArray>());
    for row in 0..batch.num_rows() {
        let hash = numbers.map(|numbers| numbers.value(row) as usize);
        let hash = hash.or_else(|| texts.map(|texts| usize::from(*texts.value(row).as_bytes().last().unwrap_or(&0))));
        rows[hash.unwrap_or(0) % KEY_GROUPS as usize].push(row as u32);
    }
    rows.into_iter().map(|rows| Ok(take_record_batch(batch, &UInt32Array::from(rows))?)).collect()
}

/// CPU time of this thread, as Linux says: other work on the machine does not count.
fn cpu_time() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("no CPU time in schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn schema(keys: Keys) -> SchemaRef {
    let number = Field::new("number", DataType::Int64, false);
    let text = Field::new("text", DataType::Utf8, false);
    let mut fields = match keys {
        Keys::None => vec![],
        Keys::Number => vec![number],
        Keys::Text => vec![text],
        Keys::TextAndNumber => vec![text, number],
    };
    fields.push(Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), false));
    fields.push(Field::new("value", DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

fn aggregate(case: &Case) -> Outcome<Arc<WindowedAggregate>> {
    let schema = schema(case.keys);
    let build = |name: &str, function: Arc<AggregateUDF>, argument: Arc<dyn PhysicalExpr>| {
        AggregateExprBuilder::new(function, vec![argument])
            .schema(Arc::clone(&schema))
            .alias(name)
            .build()
            .map(Arc::new)
    };
    let mut aggregates = vec![build("count", count_udaf(), lit(1i64))?];
    if case.with_values {
        aggregates.push(build("sum", sum_udaf(), col("value", &schema)?)?);
        aggregates.push(build("max", max_udaf(), col("value", &schema)?)?);
    }
    Ok(Arc::new(WindowedAggregate {
        window: case.window.clone(),
        key_count: schema.fields().len() - 2,
        filters: vec![None; aggregates.len()],
        aggregates,
        finish: Arc::new(Transform::identity(Arc::clone(&schema))),
        input_schema: schema,
    }))
}

fn ranges(case: &Case, schema: &SchemaRef) -> Outcome<Vec<Vec<RecordBatch>>> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut row = 0;
    let mut batch = || -> Outcome<RecordBatch> {
        let keys: Vec<i64> = (0..BATCH).map(|_| rng.random_range(0..case.distinct)).collect();
        let times: Vec<i64> = (0..BATCH as i64)
            .map(|i| (row + i) / case.rate - if case.jitter_ms > 0 { rng.random_range(0..case.jitter_ms) } else { 0 })
            .collect();
        row += BATCH as i64;
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "text" => Arc::new(StringArray::from_iter_values(keys.iter().map(|key| format!("Borough {key}")))),
                "time" => Arc::new(TimestampMillisecondArray::from_iter_values(times.iter().copied())),
                _ => Arc::new(Int64Array::from(keys.clone())),
            }
        });
        Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
    };
    (0..RANGES).map(|_| (0..BATCHES_A_RANGE).map(|_| batch()).collect()).collect()
}
