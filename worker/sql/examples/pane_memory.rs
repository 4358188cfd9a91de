//! Peak memory of one pane with many keys: merged, stored (the entries are thrown away), closed, given out.
//!
//! ```console
//! $ cargo run --workspace --example pane_memory -- 5000000 [text]
//! ```

#![allow(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{col, lit};
use thalweg_core::time::Watermark;
use thalweg_sql::transform::Transform;
use thalweg_sql::window::{Merge, WindowSpec, WindowedAggregate};

const BATCH: i64 = 10_000;
const BATCHES_A_RANGE: i64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys: i64 = arguments.next().map_or(Ok(5_000_000), |text| text.parse())?;
    let is_text = arguments.next().is_some();
    let plan = aggregate(is_text)?;
    let mut state = plan.state();
    let start = Instant::now();
    report("start", 0, start)?;
    for range in 0..keys / (BATCH * BATCHES_A_RANGE) {
        let mut folder = plan.folder();
        for batch in 0..BATCHES_A_RANGE {
            folder.push(&rows(&plan, (range * BATCHES_A_RANGE + batch) * BATCH)?)?;
        }
        assert_eq!(state.merge(&folder.finish()?)?, Merge::Done);
        state.take_delta()?;
    }
    report("merged", state.bytes(), start)?;
    let (mut count, mut last) = (0, Vec::new());
    while let Some(closed) = state.close_raw(Watermark(10_000))? {
        if count == 0 {
            report("first chunk", state.bytes(), start)?;
        }
        assert!(closed.cursor > last, "output is in order");
        count += closed.batch.num_rows();
        last = closed.cursor;
    }
    assert_eq!(count as i64, keys, "each key once");
    report("closed", state.bytes(), start)
}

fn aggregate(is_text: bool) -> Result<Arc<WindowedAggregate>, Box<dyn Error>> {
    let key = if is_text { DataType::Utf8 } else { DataType::Int64 };
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", key, false),
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("value", DataType::Int64, false),
    ]));
    let count = AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]).schema(Arc::clone(&schema)).alias("count");
    let sum =
        AggregateExprBuilder::new(sum_udaf(), vec![col("value", &schema)?]).schema(Arc::clone(&schema)).alias("sum");
    Ok(Arc::new(WindowedAggregate {
        window: WindowSpec::Tumble { size: 10_000, offset: 0 },
        key_count: 1,
        aggregates: vec![Arc::new(count.build()?), Arc::new(sum.build()?)],
        filters: vec![None, None],
        finish: Arc::new(Transform::identity(Arc::clone(&schema))),
        input_schema: schema,
    }))
}

fn rows(plan: &WindowedAggregate, from: i64) -> Result<RecordBatch, Box<dyn Error>> {
    // An odd factor visits every key once, in no order.
    let keys = (from..from + BATCH).map(|row| row.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64));
    let key: ArrayRef = match plan.input_schema.field(0).data_type() {
        DataType::Utf8 => Arc::new(StringArray::from_iter_values(keys.map(|key| format!("{key:016x}")))),
        _ => Arc::new(Int64Array::from_iter_values(keys)),
    };
    let times = TimestampMillisecondArray::from_iter_values((0..BATCH).map(|row| row % 10_000));
    let values = Int64Array::from_iter_values(0..BATCH);
    Ok(RecordBatch::try_new(Arc::clone(&plan.input_schema), vec![key, Arc::new(times), Arc::new(values)])?)
}

/// Resident now and at its peak, as Linux says.
fn report(step: &str, state_bytes: usize, start: Instant) -> Result<(), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    println!(
        "{step:<12} {:>6.2} s  RSS {:>5} MiB  peak {:>5} MiB  state says {:>5} MiB",
        start.elapsed().as_secs_f64(),
        field("VmRSS:"),
        field("VmHWM:"),
        state_bytes >> 20
    );
    Ok(())
}
