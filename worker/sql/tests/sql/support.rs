//! A catalog, and batches from and to JSON lines.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use arrow::record_batch::RecordBatch;
use thalweg_sql::catalog::{Catalog, SinkTable, SourceTable, Unknown, WatermarkSpec};

pub fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

pub fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn source(name: &str, schema: SchemaRef, watermark: Option<&str>) -> SourceTable {
    let watermark = watermark.map(|column| WatermarkSpec { column: column.to_owned(), delay_ms: 4_000 });
    SourceTable { name: name.to_owned(), schema, watermark, lookup: false }
}

pub fn bids() -> SchemaRef {
    use DataType::{Int64, Utf8};
    schema(&[
        ("auction", Int64),
        ("bidder", Int64),
        ("price", Int64),
        ("channel", Utf8),
        ("url", Utf8),
        ("dateTime", time()),
        ("extra", Utf8),
    ])
}

fn trips() -> SchemaRef {
    use DataType::{Boolean, Float64, Int32, Int64, Utf8};
    schema(&[
        ("trip_id", Int64),
        ("pickup_at", time()),
        ("dropoff_at", time()),
        ("pickup_location_id", Int32),
        ("pickup_latitude", Float64),
        ("pickup_longitude", Float64),
        ("fare", DataType::Decimal128(10, 2)),
        ("flag", Utf8),
        ("shared", Boolean),
    ])
}

/// Rows within rows, one of which is called like its table.
fn orders() -> SchemaRef {
    let row = |columns: &[(&str, DataType)]| DataType::Struct(schema(columns).fields().clone());
    let items = row(&[("sku", DataType::Utf8), ("x", DataType::Int64)]);
    let entries = row(&[("key", DataType::Utf8), ("value", row(&[("x", DataType::Int64)]))]);
    let DataType::Struct(fields) = &entries else { panic!("a row") };
    let key = fields[0].as_ref().clone().with_nullable(false);
    let entries = DataType::Struct([Arc::new(key), fields[1].clone()].into_iter().collect());
    schema(&[
        ("x", DataType::Int64),
        ("k", DataType::Utf8),
        ("r", row(&[("x", DataType::Int64), ("orders", row(&[("x", DataType::Int64)]))])),
        ("items", DataType::List(Arc::new(Field::new("item", items, true)))),
        ("m", DataType::Map(Arc::new(Field::new("entries", entries, false)), false)),
    ])
}

/// Three streams, a stream without a watermark, a lookup table, and sinks.
pub fn catalog() -> Catalog {
    let zones = schema(&[("LocationID", DataType::Int32), ("Borough", DataType::Utf8), ("Zone", DataType::Utf8)]);
    let sink = |name: &str, columns: &[&str]| SinkTable {
        name: name.to_owned(),
        required_columns: columns.iter().map(|&column| column.to_owned()).collect(),
    };
    Catalog {
        sources: vec![
            source("bid", bids(), Some("dateTime")),
            source("trips", trips(), Some("pickup_at")),
            source("plain", schema(&[("id", DataType::Int64), ("text", DataType::Utf8), ("at", time())]), None),
            SourceTable { lookup: true, ..source("zones", zones, None) },
            source("orders", orders(), None),
        ],
        sinks: vec![sink("out", &[]), sink("other", &[]), sink("keyed", &["zone", "window_start"])],
        unknown: Unknown::default(),
    }
}

/// JSON lines as a batch.
pub fn batch(schema: &SchemaRef, lines: &str) -> RecordBatch {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder().expect("a schema");
    decoder.decode(lines.as_bytes()).expect("JSON lines");
    decoder.flush().expect("JSON lines").unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema)))
}

/// A batch as JSON lines.
pub fn lines(batch: &RecordBatch) -> String {
    let mut writer = LineDelimitedWriter::new(vec![]);
    writer.write(batch).expect("a batch");
    writer.finish().expect("a batch");
    String::from_utf8(writer.into_inner()).expect("UTF-8")
}

/// Some columns of a batch, by name.
pub fn project(batch: &RecordBatch, columns: &[String]) -> RecordBatch {
    let schema = batch.schema();
    let indices: Vec<usize> = columns.iter().map(|column| schema.index_of(column).expect("a column")).collect();
    batch.project(&indices).expect("columns")
}

/// The lookup tables.
pub fn lookups() -> HashMap<String, RecordBatch> {
    let zones = &catalog().sources[3].schema;
    let rows = r#"
        {"LocationID":1,"Borough":"Queens","Zone":"JFK"}
        {"LocationID":2,"Borough":"Bronx","Zone":"North"}
        {"LocationID":2,"Borough":"Bronx","Zone":"South"}
        {"Borough":"Nowhere","Zone":"Null key"}
    "#;
    HashMap::from([("zones".to_owned(), batch(zones, rows))])
}

/// The row numbers that a transform gave, spelled out.
pub fn row_numbers(rows: Option<&UInt32Array>, count: usize) -> Vec<u32> {
    rows.map_or_else(|| (0..count as u32).collect(), |rows| rows.values().to_vec())
}
