//! The same over objects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStoreExt, PutPayload};
use thalweg_core::append_log::MemoryLog;
use thalweg_core::error::ErrorKind;
use thalweg_core::log::SplitId;
use thalweg_core::ownership::Owner;
use thalweg_core::position::Position;
use thalweg_core::sink::{Capability, Label, Sink, WriterId};
use thalweg_core::source::{Read, Source};
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};

use super::super::listing::Lister;
use super::super::location::Location;
use super::super::store::Store;
use super::super::{Encoding, FilesSink, FilesSinkConfig, FilesSource, FilesSourceConfig, Records};
use super::kit::*;
use crate::paused::Paused;

async fn put(bucket: &InMemory, path: &str, bytes: &[u8]) {
    bucket.put(&path.into(), PutPayload::from(bytes.to_vec())).await.expect("put");
}

fn over(bucket: &Arc<InMemory>, url: &str, chunk_bytes: usize) -> FilesSource {
    holding(lines(), bucket, url, chunk_bytes)
}

fn holding(records: Records, bucket: &Arc<InMemory>, url: &str, chunk_bytes: usize) -> FilesSource {
    let store = Store::Objects { bucket: Arc::clone(bucket) as _, prefix: "in".to_owned() };
    let location = Location::parse(url, Path::new("/")).expect("a location");
    let settings = FilesSourceConfig { lanes: 1, chunk_bytes, ..FilesSourceConfig::new(url, "/") };
    let lister = Lister::new(Arc::new(MemoryLog::new()), TestClock::new());
    FilesSource::over(store, location, settings, records, lister)
}

#[tokio::test]
async fn objects_are_read_as_files_are() {
    let bucket = Arc::new(InMemory::new());
    let (first, second) = (numbered(0..50), numbered(50..80));
    put(&bucket, "in/a.json", &text_of(&first)).await;
    put(&bucket, "in/b.json.gz", &gzip(&text_of(&second))).await;
    put(&bucket, "in/_x/c.json", b"hidden\n").await;
    put(&bucket, "other/d.json", b"elsewhere\n").await;
    for chunk_bytes in [10, 1 << 20] {
        let source = over(&bucket, "s3://bucket/in/*.json*", chunk_bytes);
        let whole = drain_all(&source).await.expect("rows").remove(0);
        assert_eq!(whole.texts(), [first.clone(), second.clone()].concat());
        assert_eq!(whole.chunks[0].piece.name.as_ref(), "s3://bucket/in/a.json");
        for (index, (position, _)) in whole.rows.iter().enumerate().step_by(7) {
            let rest = drain_from(&source, "lane-0", *position).await.expect("rows");
            assert_eq!(rest.rows, whole.rows[index..]);
        }
    }
}

#[tokio::test]
async fn an_object_that_is_replaced_or_goes_is_data_loss() {
    let bucket = Arc::new(InMemory::new());
    put(&bucket, "in/a.json", &text_of(&numbered(0..500))).await;
    let source = over(&bucket, "s3://bucket/in/a.json", 100);
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    assert!(matches!(reader.read(None).await.expect("a read"), Read::Chunk(_)));
    put(&bucket, "in/a.json", &text_of(&numbered(500..1000))).await;
    assert_eq!(drain(reader.as_mut()).await.expect_err("replaced").kind, ErrorKind::DataLoss);
    bucket.delete(&"in/a.json".into()).await.expect("deleted");
    let gone = drain_from(&source, "lane-0", Position::START).await.expect_err("gone");
    assert_eq!(gone.kind, ErrorKind::DataLoss);
}

#[tokio::test]
async fn storage_that_fails_in_the_middle_of_a_table_costs_no_row() {
    let bucket = Arc::new(InMemory::new());
    put(&bucket, "in/a.parquet", &parquet_bytes(0..200_000)).await;
    let source = holding(numbers_of_parquet(), &bucket, "s3://bucket/in/a.parquet", 100);
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    assert!(matches!(reader.read(None).await.expect("a read"), Read::Chunk(_)));
    bucket.delete(&"in/a.parquet".into()).await.expect("deleted");
    let error = loop {
        match reader.read(None).await {
            Ok(Read::Chunk(chunk)) => assert_eq!(chunk.bad, []),
            Ok(read) => panic!("{read:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
    let gone = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader").read(None).await;
    assert_eq!(gone.expect_err("gone").kind, ErrorKind::DataLoss);
}

fn rows(zones: &[&str]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new((0..zones.len() as i64).collect::<Int64Array>());
    let zones: ArrayRef = Arc::new(StringArray::from_iter_values(zones));
    RecordBatch::try_from_iter([("zone", zones), ("n", numbers)]).expect("a batch")
}

#[tokio::test]
async fn a_seal_is_due_before_it_would_name_files_without_end() {
    let store = Store::Objects { bucket: Arc::new(InMemory::new()), prefix: "out".to_owned() };
    let partition_by = vec!["zone".to_owned()];
    let settings = FilesSinkConfig { partition_by, ..FilesSinkConfig::new("s3://bucket/out", "/") };
    let sink = FilesSink::into(store, settings, Encoding::Json, TestClock::new()).expect("a sink");
    let unit = UnitId { stage: StageId(0), index: 0 };
    let owner = Owner::own(RunId("run".to_owned()));
    let id = WriterId { pipeline: "default.trips".to_owned(), incarnation: Incarnation(0), unit, owner };
    let mut writer = sink.writer(&id).await.expect("a writer");
    for first in (0..6_000).step_by(1_000) {
        let zones: Vec<_> = (first..first + 1_000).map(|zone| zone.to_string()).collect();
        writer.write(&rows(&zones.iter().map(String::as_str).collect::<Vec<_>>())).await.expect("written");
        assert_eq!(writer.wants_seal(Duration::ZERO), first >= 4_000, "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_does_not_answer_is_told_while_it_is_waited_for_and_one_that_is_slow_is_not() {
    let bucket = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let store = Store::Objects { bucket: Arc::clone(&bucket) as _, prefix: "out".to_owned() };
    let settings = FilesSinkConfig::new("s3://bucket/out", "/");
    let sink = FilesSink::into(store, settings, Encoding::Json, Arc::new(Paused::new())).expect("a sink");
    let (unit, owner) = (UnitId { stage: StageId(0), index: 0 }, Owner::own(RunId("run".to_owned())));
    let id = WriterId { pipeline: "default.trips".to_owned(), incarnation: Incarnation(1), unit, owner };
    let mut writer = sink.writer(&id).await.expect("a writer");
    let slow = Duration::from_secs(30);
    for (seq, answers_after) in [(0, Duration::ZERO), (1, slow)] {
        bucket.config_mut(|config| {
            (config.wait_put_per_call, config.wait_get_per_call) = (slow, answers_after);
        });
        writer.write(&rows(&["a"])).await.expect("written");
        let label = Label { seq, position: None };
        let mut sealing = writer.seal(&label);
        tokio::select! {
            sealed = &mut sealing => panic!("it takes no time: {sealed:?}"),
            () = tokio::time::sleep(Duration::from_secs(20)) => {}
        }
        let told = sink.outage();
        assert_eq!(told.is_some(), answers_after == slow, "{told:?}");
        if let Some(error) = told {
            assert_eq!((error.kind, error.what.as_str()), (ErrorKind::External, "writing to `s3://bucket/out`"));
            assert_eq!(error.detail, "the store has taken nothing since 1970-01-01T00:00:30Z (no answer within 10 s)");
        }
        let sealed = sealing.await.expect("sealed").expect("something");
        assert!(sink.outage().is_none(), "it has taken what it was given");
        writer.publish(&sealed).await.expect("published");
    }
}

async fn objects(bucket: &InMemory) -> Vec<(String, String)> {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let listed: Vec<_> = bucket.list(None).try_collect().await.expect("a listing");
    let mut objects = Vec::new();
    for meta in listed {
        let bytes = bucket.get(&meta.location).await.expect("an object").bytes().await.expect("bytes");
        objects.push((meta.location.to_string(), String::from_utf8(bytes.to_vec()).expect("text")));
    }
    objects
}

#[tokio::test]
async fn output_of_a_state_that_was_kept_is_known_again_and_that_of_others_is_not() {
    for (prefix, partition_by) in [("out", None), ("out", Some("zone")), ("", None)] {
        let bucket = Arc::new(InMemory::new());
        let store = Store::Objects { bucket: Arc::clone(&bucket) as _, prefix: prefix.to_owned() };
        let partition_by = partition_by.into_iter().map(str::to_owned).collect();
        let settings = FilesSinkConfig { partition_by, ..FilesSinkConfig::new("s3://bucket/out", "/") };
        let sink = FilesSink::into(store, settings, Encoding::Json, TestClock::new()).expect("a sink");
        let has_output = async |pipeline: &str| sink.has_output_of(pipeline).await.expect("looks");
        put(&bucket, "output/default.trips-7-0-0-000000000001x1x1-000000.json", b"beside it").await;
        put(&bucket, "out/default.trips-7-0-0-000000000001x1x1-000000.csv", b"of another format").await;
        put(&bucket, "out/trips.json", b"of somebody else").await;
        let expected = prefix.is_empty().then(|| "output/default.trips-7-0-0-000000000001x1x1-000000.json".to_owned());
        assert_eq!(has_output("default.trips").await, expected);
        bucket.delete(&"output/default.trips-7-0-0-000000000001x1x1-000000.json".into()).await.expect("deleted");
        let unit = UnitId { stage: StageId(0), index: 0 };
        // Runs that keep nothing begin anew each time.
        for (incarnation, is_known) in [(1_700_000_000_000, false), (7, true)] {
            let owner = Owner::own(RunId("run".to_owned()));
            let incarnation = Incarnation(incarnation);
            let id = WriterId { pipeline: "default.trips".to_owned(), incarnation, unit, owner };
            let mut writer = sink.writer(&id).await.expect("a writer");
            writer.write(&rows(&["a"])).await.expect("written");
            let sealed = writer.seal(&Label { seq: 0, position: None }).await.expect("sealed").expect("something");
            assert_eq!(has_output("default.trips").await, None, "it was not published yet");
            writer.publish(&sealed).await.expect("published");
            let found = has_output("default.trips").await;
            assert_eq!(found.is_some(), is_known, "{incarnation:?}: {found:?}");
            assert_eq!(has_output("default.trip").await, None);
        }
    }
}

#[tokio::test]
async fn uploads_are_seen_once_published_and_any_worker_can_do_that() {
    let bucket = Arc::new(InMemory::new());
    let store = Store::Objects { bucket: Arc::clone(&bucket) as _, prefix: "out".to_owned() };
    let partition_by = vec!["zone".to_owned()];
    let settings = FilesSinkConfig { partition_by, ..FilesSinkConfig::new("s3://bucket/out", "/") };
    let sink = FilesSink::into(store, settings, Encoding::Json, TestClock::new()).expect("a sink");
    sink.check().await.expect("writable");
    assert_eq!(sink.capability(), Capability::SealAndPublish { direct: false });
    let unit = UnitId { stage: StageId(1), index: 2 };
    let owner = Owner::own(RunId("run".to_owned()));
    let id = WriterId { pipeline: "default.trips".to_owned(), incarnation: Incarnation(3), unit, owner };
    let mut dead = sink.writer(&id).await.expect("a writer");
    dead.write(&rows(&["lost"])).await.expect("written");
    drop(dead);
    let mut writer = sink.writer(&id).await.expect("a writer");
    writer.write(&rows(&["a", "b/c", "a"])).await.expect("written");
    let sealed = writer.seal(&Label { seq: 0, position: None }).await.expect("sealed").expect("something");
    assert!(objects(&bucket).await.is_empty());
    drop(writer);
    for _ in 0..2 {
        let mut next = sink.writer(&id).await.expect("a writer");
        next.publish(&sealed).await.expect("published");
        let objects = objects(&bucket).await;
        let texts: Vec<_> = objects.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["{\"n\":0}\n{\"n\":2}\n", "{\"n\":1}\n"]);
        assert!(objects[0].0.starts_with("out/zone=a/default.trips-3-1-2-"), "{}", objects[0].0);
        assert!(objects[1].0.starts_with("out/zone=b%2Fc/"), "{}", objects[1].0);
    }
}
