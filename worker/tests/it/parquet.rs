//! Parquet in, with and without declared columns.

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
