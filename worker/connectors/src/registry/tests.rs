//! Manifests in, rows out.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use thalweg_core::append_log::MemoryLog;
use thalweg_core::clock::SystemClock;
use thalweg_core::ownership::Owner;
use thalweg_core::position::Position;
use thalweg_core::share::Share;
use thalweg_core::sink::{Label, WriterId};
use thalweg_core::source::Read;
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};
use thalweg_crds::ColumnType;
use thalweg_crds::manifest::{ColumnInput, Origin, ResolvedColumn};
use thalweg_crds::pipeline::Delivery;

use super::*;
use crate::kafka::Waits;
use crate::kafka::client::Library;

#[derive(Clone)]
struct NoValues;

impl Values for NoValues {
    fn read(&self, from: &ValueFrom) -> Result<Vec<u8>> {
        Err(Error::user(format!("{from:?}"), "there are no values here"))
    }

    fn read_again(&self, from: &ValueFrom) -> ReadAgain {
        again(self, from)
    }
}

fn origin(folder: &Path) -> Origin {
    Origin { file: folder.join("pipeline.yaml"), line: 1, column: 1 }
}

fn resolved_source(folder: &Path, spec: serde_json::Value) -> ResolvedSource {
    let column = |name: &str, data_type, input| ResolvedColumn {
        name: name.to_owned(),
        data_type,
        nullable: true,
        input,
        default: None,
    };
    let field = |name: &str| ColumnInput::Field(name.to_owned());
    ResolvedSource {
        alias: "trips".to_owned(),
        name: "taxi-trips".to_owned(),
        spec: serde_json::from_value(spec).expect("a spec"),
        columns: vec![
            column("zone", ColumnType::String, field("zone")),
            column("at", ColumnType::Timestamp(3), field("picked_up")),
            column("unread", ColumnType::Int, field("unread")),
            column("file", ColumnType::String, ColumnInput::Metadata("file".to_owned())),
            column("place", ColumnType::BigInt, ColumnInput::Metadata("position".to_owned())),
        ],
        origin: origin(folder),
    }
}

async fn read(folder: &Path, spec: serde_json::Value) -> Result<RecordBatch> {
    let resolved = resolved_source(folder, spec);
    let schema = Schema::new(vec![
        Field::new("zone", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("unread", DataType::Int32, true),
        Field::new("file", DataType::Utf8, true),
        Field::new("place", DataType::Int64, true),
    ]);
    let columns = ["place", "zone", "at", "file"].map(str::to_owned).into();
    let opened = source(SourceRequest {
        source: &resolved,
        schema: Arc::new(schema),
        columns: &columns,
        lists: &|_: &str| Arc::new(MemoryLog::new()) as Arc<dyn AppendLog>,
        values: &NoValues,
        clock: Arc::new(SystemClock::new()),
        kafka: Arc::new(Library),
        memory: &Share::default(),
        waits: Waits::default(),
    })?;
    let mut batches = Vec::new();
    for split in opened.source.splits().await? {
        let mut reader = opened.source.open(&split.id, Position::START).await?;
        while let Read::Chunk(chunk) = reader.read(None).await? {
            let decoded = opened.decoder.decode(&chunk.fetched().await?);
            assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
            batches.push(decoded.batch);
        }
    }
    Ok(concat_batches(opened.decoder.schema(), &batches).expect("one schema"))
}

fn shown(rows: &RecordBatch) -> String {
    pretty_format_batches(std::slice::from_ref(rows)).expect("text").to_string()
}

fn resolved_sink(folder: &Path, spec: serde_json::Value) -> ResolvedSink {
    ResolvedSink {
        alias: "out".to_owned(),
        name: "out".to_owned(),
        spec: serde_json::from_value(spec).expect("a spec"),
        delivery: Delivery::ExactlyOnce,
        origin: origin(folder),
    }
}

async fn write(folder: &Path, spec: serde_json::Value, rows: &RecordBatch) {
    let resolved = resolved_sink(folder, spec);
    let opened = sink(SinkRequest {
        sink: &resolved,
        delivery: None,
        memory: &Share::default(),
        values: &NoValues,
        clock: Arc::new(SystemClock::new()),
    });
    let opened = opened.expect("a sink");
    opened.check().await.expect("writable");
    let unit = UnitId { stage: StageId(0), index: 0 };
    let owner = Owner::own(RunId("run".to_owned()));
    let id = WriterId { pipeline: "default.p".to_owned(), incarnation: Incarnation(1), unit, owner };
    let mut writer = opened.writer(&id).await.expect("a writer");
    writer.write(rows).await.expect("written");
    let sealed = writer.seal(&Label { seq: 0, position: None }).await.expect("sealed").expect("something");
    writer.publish(&sealed).await.expect("published");
}

#[tokio::test]
async fn json_lines_become_the_columns_that_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "{\"zone\":\"a\",\"picked_up\":\"2018-01-01T04:15:05Z\",\"unread\":\"x\"}\n{\"zone\":null}\n";
    fs::write(folder.path().join("in.json"), text).expect("a file");
    let rows = read(folder.path(), serde_json::json!({ "files": { "url": "in.json" } })).await.expect("rows");
    assert_eq!(
        shown(&rows),
        "+------+---------------------+---------+-------+\n\
         | zone | at                  | file    | place |\n\
         +------+---------------------+---------+-------+\n\
         | a    | 2018-01-01T04:15:05 | in.json | 0     |\n\
         |      |                     | in.json | 61    |\n\
         +------+---------------------+---------+-------+"
    );
}

#[tokio::test]
async fn every_format_reads_back_what_it_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "zone,picked_up\n\"a\nb\",2018-01-01 04:15:05\nc,\n";
    fs::write(folder.path().join("in.csv"), text).expect("a file");
    let csv = serde_json::json!({ "csv": {} });
    let first = read(folder.path(), serde_json::json!({ "files": { "url": "in.csv" }, "format": csv })).await;
    let first = first.expect("rows").project(&[0, 1]).expect("two columns");
    assert_eq!(first.num_rows(), 2);
    let renamed = Schema::new(vec![
        Field::new("zone", DataType::Utf8, true),
        Field::new("picked_up", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]);
    let written = RecordBatch::try_new(Arc::new(renamed), first.columns().to_vec()).expect("a batch");
    for (name, format) in
        [("json", serde_json::json!({})), ("csv", serde_json::json!({})), ("parquet", serde_json::json!({}))]
    {
        let format = serde_json::json!({ name: format });
        let files = serde_json::json!({ "url": name });
        write(folder.path(), serde_json::json!({ "files": files, "format": format }), &written).await;
        let back = read(folder.path(), serde_json::json!({ "files": files, "format": format })).await.expect("rows");
        assert_eq!(back.project(&[0, 1]).expect("two columns"), first, "{name}");
    }
}

#[tokio::test]
async fn generated_records_are_decoded_by_what_is_declared() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = serde_json::json!({ "generator": { "schema": {}, "rows": 10, "splits": 2 } });
    let rows = read(folder.path(), spec).await.expect("rows");
    assert_eq!((rows.num_rows(), rows.column(0).null_count(), rows.column(1).null_count()), (10, 0, 0));
    let spec = serde_json::json!({ "generator": { "schema": {}, "rows": 10 }, "format": { "csv": {} } });
    assert!(read(folder.path(), spec).await.expect_err("refused").to_string().contains("generator"));
}

#[tokio::test]
async fn what_is_not_supported_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let avro = serde_json::json!({ "files": { "url": "x" }, "format": { "avro": {} } });
    assert!(read(folder.path(), avro).await.expect_err("refused").to_string().contains("`format.avro of files`"));
    let kafka = serde_json::json!({ "brokers": ["b:9092"], "topic": "t" });
    let avro = serde_json::json!({ "kafka": kafka, "format": { "avro": {} } });
    assert!(read(folder.path(), avro.clone()).await.expect_err("refused").to_string().contains("`format.avro.schema`"));
    let header = serde_json::json!({ "kafka": kafka, "format": { "csv": {} } });
    assert!(read(folder.path(), header).await.expect_err("refused").to_string().contains("say header: false"));
    let millis =
        serde_json::json!({ "files": { "url": "x" }, "format": { "json": { "timestampFormat": "EpochMillis" } } });
    let refused = sink(SinkRequest {
        sink: &resolved_sink(folder.path(), millis),
        delivery: None,
        memory: &Share::default(),
        values: &NoValues,
        clock: Arc::new(SystemClock::new()),
    });
    let refused = refused.err().expect("refused").to_string();
    assert!(refused.contains("`format.json.timestampFormat`") && refused.contains("EpochMillis"), "{refused}");
    let refused = sink(SinkRequest {
        sink: &resolved_sink(folder.path(), avro),
        delivery: None,
        memory: &Share::default(),
        values: &NoValues,
        clock: Arc::new(SystemClock::new()),
    });
    assert!(refused.err().expect("refused").to_string().contains("a kafka sink of anything but json"));
}
