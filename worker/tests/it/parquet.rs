//! Parquet in, with and without declared columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::command::{Workplace, text};

const MANIFESTS: &str = r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: bids }
spec:
  files: { url: data/*.parquet }
  format: { parquet: {} }
  watermark: { column: dateTime, delay: 4s }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out }
spec: { stdout: { style: Json } }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: bids }
spec:
  sources: [{ name: bids }]
  sinks: [{ name: out }]
  sql: |
    INSERT INTO out SELECT count(*) AS n, sum(price) AS price
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(dateTime), INTERVAL '1' DAY)) GROUP BY window_start, window_end
"#;

#[test]
fn columns_that_are_not_declared_are_taken_from_the_files() {
    let place = Workplace::new();
    place.write("p.yaml", MANIFESTS);
    let generate =
        |format| ["generate", "nexmark", "--rows", "20000", "--files", "2", "--out", "data", "--format", format];
    place.succeed(&generate("parquet"));
    place.succeed(&generate("json"));
    let (mut rows, mut price) = (0, 0);
    for file in ["data/nexmark-00000.json", "data/nexmark-00001.json"] {
        for line in std::fs::read_to_string(place.path(file)).expect("generated").lines() {
            let bid: Value = serde_json::from_str(line).expect("JSON");
            rows += 1;
            price += bid["price"].as_i64().expect("a price");
        }
    }
    let found: Value = serde_json::from_str(&place.succeed(&["run", "p.yaml"])).expect("one row");
    assert_eq!(found, serde_json::json!({"n": rows, "price": price}));
}

#[test]
fn a_source_without_columns_and_without_files_is_told_what_to_do() {
    let place = Workplace::new();
    place.write("p.yaml", MANIFESTS);
    let failed = place.run(&["check", "p.yaml"]);
    assert_eq!(failed.status.code(), Some(2));
    let said = text(&failed.stderr);
    assert!(said.contains("StreamSource/bids spec.schema: `files.url` `data/*.parquet`: no file matches"), "{said}");
    assert!(said.contains("declare the columns that the query reads"), "{said}");
}

#[test]
fn a_time_beyond_the_declared_precision_costs_its_row_and_not_the_rest_of_the_file() {
    let place = Workplace::new();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    // The last second of the year 9999, which 64 bits of nanoseconds do not reach.
    let times = vec![1_704_067_200_000_000, 253_402_300_799_000_000, 1_704_067_201_000_000];
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
    let batch = RecordBatch::try_from_iter([("id", ids), ("at", times)]).expect("a batch");
    std::fs::create_dir(place.path("data")).expect("a folder");
    let file = std::fs::File::create(place.path("data/a.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    let of = |on_error: &str| {
        let schema = "schema: [{ name: id, type: BIGINT }, { name: at, type: TIMESTAMP(9) }]";
        let declared = MANIFESTS.replace("watermark: { column: dateTime, delay: 4s }", schema);
        let (source, _) = declared.split_once("sql: |").expect("a query");
        let source = source.replacen("---", &format!("  onError: {on_error}\n---"), 1);
        format!("{source}sql: INSERT INTO out SELECT id, at FROM bids\n")
    };
    place.write("p.yaml", &of("Drop"));
    let rows = [(1, "2024-01-01T00:00:00"), (3, "2024-01-01T00:00:01")];
    let rows = rows.map(|(id, time)| format!("{{\"id\":{id},\"at\":\"{time}.000000000Z\"}}\n"));
    assert_eq!(place.succeed(&["run", "p.yaml"]), rows.concat());
    place.write("p.yaml", &of("Fail"));
    let failed = place.run(&["run", "p.yaml"]);
    let message = "data/a.parquet, row 2: column `at`: expected TIMESTAMP(9), found \"9999-12-31T23:59:59.000000Z\"";
    assert!(text(&failed.stderr).contains(message), "{}", text(&failed.stderr));
}

#[test]
fn times_as_spark_writes_them_are_read_to_the_year_9999() {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).expect("a folder");
    let file = std::fs::File::create(place.path("data/a.parquet")).expect("a file");
    let schema = Arc::new(parse_message_type("message of_spark { required int96 at; }").expect("a schema"));
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).expect("a writer");
    let mut rows = writer.next_row_group().expect("a row group");
    let mut column = rows.next_column().expect("a column").expect("one");
    // Days since 1970, and nanoseconds of the day.
    let time = |day: u32, nanos: u64| {
        let mut time = Int96::new();
        time.set_data(nanos as u32, (nanos >> 32) as u32, 2_440_588 + day);
        time
    };
    let times = [time(0, 1_000), time(2_932_896, 86_399_000_000_000)];
    column.typed::<Int96Type>().write_batch(&times, None, None).expect("written");
    column.close().expect("closed");
    rows.close().expect("closed");
    writer.close().expect("closed");

    let inferred = MANIFESTS.replace("  watermark: { column: dateTime, delay: 4s }\n", "");
    let (source, _) = inferred.split_once("sql: |").expect("a query");
    let of = |schema: &str| format!("{source}sql: INSERT INTO out SELECT at FROM bids\n").replacen("---", schema, 1);
    place.write("p.yaml", &of("---"));
    let rows = ["1970-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.000000Z"];
    let rows = rows.map(|time| format!("{{\"at\":\"{time}\"}}\n"));
    assert_eq!(place.succeed(&["run", "p.yaml"]), rows.concat());

    place.write("p.yaml", &of("  schema: [{ name: at, type: TIMESTAMP(9) }]\n  onError: Fail\n---"));
    let failed = place.run(&["run", "p.yaml"]);
    let message =
        "column `at`: expected TIMESTAMP(9), found INT96, of which microseconds are read (declare TIMESTAMP(6))";
    assert!(text(&failed.stderr).contains(message), "{}", text(&failed.stderr));
}
