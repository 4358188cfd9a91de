//! The answer by other means: windows by their definition, one copy of a row for each, and batch SQL over these.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema, TimestampMillisecondType};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use thalweg_sql::window::WindowSpec;

use crate::table::{Keys, Row, batch, schema};

/// `(start, end)` of every window that holds a row at `t`.
fn windows_of(window: &WindowSpec, row: &Row) -> Vec<(i64, i64)> {
    let t = row.time;
    let start = |period: i64, offset: i64| offset + (t - offset).div_euclid(period) * period;
    match *window {
        WindowSpec::Tumble { size, offset } => vec![(start(size, offset), start(size, offset) + size)],
        WindowSpec::Hop { size, slide, offset } => {
            let last = start(slide, offset);
            (0..).map(|k| last - k * slide).take_while(|s| s + size > t).map(|s| (s, s + size)).collect()
        }
        WindowSpec::Cumulate { size, step, offset } => {
            let start = start(size, offset);
            (1..=size / step).map(|k| (start, start + k * step)).filter(|(_, end)| *end > t).collect()
        }
        WindowSpec::Attached => vec![row.window],
        WindowSpec::Session { .. } => Vec::new(),
    }
}

/// Sessions: rows of a key in order of time, cut where the next is more than the gap away.
fn sessions(gap: i64, keys: Keys, rows: &[Row]) -> Vec<(usize, (i64, i64))> {
    let key_columns = batch(&schema(keys, &WindowSpec::Session { gap }), rows);
    let formats = formatters(&key_columns, keys.names().len());
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for row in 0..rows.len() {
        by_key.entry(text(&formats, row)).or_default().push(row);
    }
    let mut found = Vec::new();
    for mut members in by_key.into_values() {
        members.sort_by_key(|&row| rows[row].time);
        let cuts = members.chunk_by(|&a, &b| rows[b].time - rows[a].time <= gap);
        for session in cuts {
            let (first, last) = (rows[session[0]].time, rows[session[session.len() - 1]].time);
            found.extend(session.iter().map(|&row| (row, (first, last + gap))));
        }
    }
    found
}

/// The rows that a job must give out, as text, sorted.
pub fn expected(window: &WindowSpec, keys: Keys, functions: &[&str], rows: &[Row]) -> Vec<String> {
    let placed: Vec<(usize, (i64, i64))> = match *window {
        WindowSpec::Session { gap } => sessions(gap, keys, rows),
        _ => rows
            .iter()
            .enumerate()
            .flat_map(|(row, values)| windows_of(window, values).into_iter().map(move |window| (row, window)))
            .collect(),
    };
    let plain = schema(keys, &WindowSpec::Tumble { size: 1, offset: 0 });
    let indices = UInt32Array::from_iter_values(placed.iter().map(|(row, _)| *row as u32));
    let rows = take_record_batch(&batch(&plain, rows), &indices).expect("rows");
    let exploded = with_windows(&rows, placed.iter().map(|(_, window)| *window));
    let mut columns: Vec<&str> = keys.names().to_vec();
    columns.extend(functions);
    let by = [keys.names(), &["ws", "we"]].concat().join(", ");
    let sql = format!("SELECT {}, ws, we FROM rows GROUP BY {by}", columns.join(", "));
    let batches = run(exploded, &sql);
    let mut lines: Vec<String> = batches.iter().flat_map(lines).collect();
    lines.sort();
    lines
}

fn with_windows(rows: &RecordBatch, windows: impl Iterator<Item = (i64, i64)> + Clone) -> RecordBatch {
    let time = rows.schema().field_with_name("t").expect("t").data_type().clone();
    let mut fields: Vec<Field> = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = rows.columns().to_vec();
    let times = [windows.clone().map(|(start, _)| start).collect::<Vec<_>>(), windows.map(|(_, end)| end).collect()];
    for (name, times) in ["ws", "we"].into_iter().zip(times) {
        fields.push(Field::new(name, time.clone(), false));
        columns.push(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns")
}

fn run(rows: RecordBatch, sql: &str) -> Vec<RecordBatch> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let context = SessionContext::new();
        context.register_batch("rows", rows).expect("a table");
        context.sql(sql).await.expect("SQL").collect().await.expect("an answer")
    })
}

/// The rows of keys, aggregates, window start and end, as text.
pub fn lines(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<_> = batch.columns().iter().map(rounded).collect();
    let formats: Vec<ArrayFormatter> = columns.iter().map(|column| formatter(column)).collect();
    (0..batch.num_rows()).map(|row| text(&formats, row)).collect()
}

/// Floats to nine digits: the last bits of a standard deviation depend on the order of rows.
fn rounded(column: &Arc<dyn Array>) -> Arc<dyn Array> {
    match column.as_primitive_opt::<arrow::datatypes::Float64Type>() {
        None => Arc::clone(column),
        Some(floats) => Arc::new(
            floats
                .iter()
                .map(|value| value.map(|value| format!("{value:.9e}").parse::<f64>().expect("a float") + 0.0))
                .collect::<Float64Array>(),
        ),
    }
}

fn formatter(column: &Arc<dyn Array>) -> ArrayFormatter<'_> {
    ArrayFormatter::try_new(column.as_ref(), &FormatOptions::new().with_null("NULL")).expect("a format")
}

fn formatters(batch: &RecordBatch, count: usize) -> Vec<ArrayFormatter<'_>> {
    batch.columns().iter().take(count).map(formatter).collect()
}

fn text(formats: &[ArrayFormatter<'_>], row: usize) -> String {
    formats.iter().map(|format| format.value(row).to_string()).collect::<Vec<_>>().join("|")
}

/// Rows that are late by definition, walking one split.
pub fn late_by_definition(window: &WindowSpec, split: &[Row], delay: i64) -> Vec<bool> {
    let mut max: Option<i64> = None;
    let mut late = Vec::new();
    for row in split {
        let watermark = max.map_or(i64::MIN, |max| max - delay);
        late.push(match *window {
            WindowSpec::Attached => false,
            WindowSpec::Session { .. } => row.time < watermark,
            WindowSpec::Tumble { .. } => windows_of(window, row).iter().all(|(_, end)| *end <= watermark),
            WindowSpec::Hop { size, slide, offset } => pane_end(gcd(size, slide), offset, row.time) <= watermark,
            WindowSpec::Cumulate { step, offset, .. } => pane_end(step, offset, row.time) <= watermark,
        });
        max = max.max(Some(row.time));
    }
    late
}

fn pane_end(pane: i64, offset: i64, t: i64) -> i64 {
    offset + ((t - offset).div_euclid(pane) + 1) * pane
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The window ends of a batch that a job gave out.
pub fn window_ends(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("window_end").expect("window_end");
    column.as_primitive::<TimestampMillisecondType>().values().to_vec()
}
