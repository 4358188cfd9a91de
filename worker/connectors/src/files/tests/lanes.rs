//! Bounded sources: exactly the rows, from any position, in any pieces.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use thalweg_core::append_log::{AppendLog, MemoryLog};
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::ErrorKind;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Given, Payload, Read, Source};

use super::super::{FilesSource, FilesSourceConfig, Headers, Order, Records};
use super::kit::*;
use crate::formats::Framing;

#[tokio::test]
async fn any_chunk_size_gives_the_same_rows_at_the_same_positions() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines_ = numbered(0..200);
    write(folder.path(), "a.json", &text_of(&lines_));
    for chunk_bytes in [1, 2, 7, 64, 1000, 1 << 20] {
        let source = source(FilesSourceConfig { chunk_bytes, ..config(folder.path(), "a.json") }, lines());
        let taken = drain_all(&source).await.expect("rows").remove(0);
        assert_eq!(taken.texts(), lines_, "chunks of {chunk_bytes}");
        let mut at = 0;
        for (position, text) in &taken.rows {
            assert_eq!(*position, Position::at(at));
            at += text.len() as u64 + 1;
        }
    }
}

#[tokio::test]
async fn reading_resumes_at_every_record_of_every_compression() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (numbered(0..40), numbered(40..60));
    let text = text_of(&first);
    let members = [gzip(&text[..100]), gzip(&text[100..])].concat();
    for (name, bytes) in [("a.json", text.clone()), ("a.json.gz", members), ("a.json.zst", zstd(&text))] {
        write(folder.path(), &format!("{name}.d/{name}"), &bytes);
        write(folder.path(), &format!("{name}.d/b.json"), &text_of(&second));
        let settings = FilesSourceConfig { lanes: 1, chunk_bytes: 50, ..config(folder.path(), &format!("{name}.d/*")) };
        let source = source(settings, lines());
        let whole = drain_all(&source).await.expect("rows").remove(0);
        assert_eq!(whole.rows.len(), 60, "{name}");
        for (index, (position, _)) in whole.rows.iter().enumerate() {
            let rest = drain_from(&source, "lane-0", *position).await.expect("rows");
            assert_eq!(rest.rows, whole.rows[index..], "{name} from {position}");
        }
    }
}

#[tokio::test]
async fn a_chunk_ends_exactly_where_it_is_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", &text_of(&numbered(0..50)));
    let source = source(config(folder.path(), "a.json"), lines());
    let whole = drain_all(&source).await.expect("rows").remove(0);
    for (index, (until, _)) in whole.rows.iter().enumerate().skip(1) {
        let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
        let Read::Chunk(chunk) = reader.read(Some(*until)).await.expect("a chunk") else { panic!("a chunk expected") };
        let chunk = chunk.fetched().await.expect("a text");
        assert_eq!((chunk.to, rows(&chunk).as_slice()), (*until, &whole.rows[..index]));
        assert_eq!(drain(reader.as_mut()).await.expect("rows").rows, whole.rows[index..]);
    }
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", &text_of(&numbered(0..100)));
    let settings = FilesSourceConfig { chunk_bytes: 64, ..config(folder.path(), "a.json") };
    let source = source(settings, lines());
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    let mut taken = Vec::new();
    loop {
        let dropped = futures::poll!(Box::pin(reader.read(None)));
        let read = match dropped {
            std::task::Poll::Ready(read) => read,
            std::task::Poll::Pending => reader.read(None).await,
        };
        match read.expect("a read") {
            Read::Chunk(chunk) => taken.extend(rows(&chunk.fetched().await.expect("a text"))),
            Read::CaughtUp => panic!("bounded"),
            Read::End => break,
        }
    }
    assert_eq!(taken.len(), 100);
}

#[tokio::test]
async fn files_are_dealt_to_lanes_by_name_and_each_is_a_scope() {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..5 {
        write(folder.path(), &format!("{n}.json"), &text_of(&numbered(n..n + 1)));
    }
    write(folder.path(), "_SUCCESS", b"");
    write(folder.path(), ".hidden.json", b"{}\n");
    for order in [Order::Any, Order::ByName] {
        let settings = FilesSourceConfig { lanes: 2, order, ..config(folder.path(), "*") };
        let lanes = drain_all(&source(settings, lines())).await.expect("rows");
        let names =
            |lane: usize| lanes[lane].chunks.iter().map(|chunk| chunk.piece.name.to_string()).collect::<Vec<_>>();
        assert_eq!(
            (names(0), names(1)),
            (vec!["0.json".into(), "2.json".into(), "4.json".into()], vec!["1.json".into(), "3.json".into()])
        );
        let scopes: Vec<_> = lanes[0].chunks.iter().map(|c| (c.piece.watermark_scope, c.piece.is_last_scope)).collect();
        match order {
            Order::Any => assert_eq!(scopes, [(0, false), (1, false), (2, true)]),
            Order::ByName => assert_eq!(scopes, [(0, true), (0, true), (0, true)]),
        }
    }
}

#[tokio::test]
async fn the_listing_stays_as_it_was_at_the_first_start() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let log: Arc<dyn AppendLog> = Arc::new(MemoryLog::new());
    let start = |lanes| {
        let settings = FilesSourceConfig { lanes, ..config(folder.path(), "*.json") };
        FilesSource::new(settings, lines(), Arc::clone(&log), TestClock::new()).expect("a source")
    };
    let first = start(3).splits().await.expect("splits");
    write(folder.path(), "b.json", b"{}\n");
    assert_eq!(start(3).splits().await.expect("splits"), first);
    assert_eq!(start(7).splits().await.expect("splits"), first);
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    let error = drain_from(&start(3), "lane-0", Position::START).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::DataLoss);
}

#[tokio::test]
async fn two_processes_agree_on_one_listing() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let log: Arc<dyn AppendLog> = Arc::new(MemoryLog::new());
    let start = || FilesSource::new(config(folder.path(), "*.json"), lines(), Arc::clone(&log), TestClock::new());
    let (one, two) = (start().expect("a source"), start().expect("a source"));
    let (first, second) = tokio::join!(one.splits(), two.splits());
    assert_eq!(first.expect("splits"), second.expect("splits"));
    assert_eq!(log.read(0).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_last_line_counts_without_its_newline_and_an_empty_file_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{\"n\":1}\n{\"n\":2}");
    write(folder.path(), "b.json", b"");
    write(folder.path(), "c.json.gz", b"");
    write(folder.path(), "d.json", b"{\"n\":3}");
    let settings = FilesSourceConfig { lanes: 1, ..config(folder.path(), "*") };
    let taken = drain_all(&source(settings, lines())).await.expect("rows").remove(0);
    assert_eq!(taken.texts(), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
}

#[tokio::test]
async fn no_file_is_an_error_unless_that_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = source(config(folder.path(), "*.json"), lines()).splits().await.expect_err("no file");
    assert!(error.kind == ErrorKind::User && error.to_string().contains("`*.json`"), "{error}");
    let settings = FilesSourceConfig { allow_empty: true, ..config(folder.path(), "no/such/*.json") };
    assert_eq!(source(settings, lines()).splits().await.expect("splits"), []);
}

#[tokio::test]
async fn progress_counts_stored_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text_of(&numbered(0..1000));
    write(folder.path(), "a.json.gz", &gzip(&text));
    write(folder.path(), "b.json", &text);
    let settings = FilesSourceConfig { lanes: 1, ..config(folder.path(), "*") };
    let source = source(settings, lines());
    let size = source.splits().await.expect("splits")[0].size.expect("a size");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    drain(reader.as_mut()).await.expect("rows");
    assert_eq!(reader.progress(), size);
}

#[tokio::test]
async fn places_are_files_lines_and_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "trips.json.gz", &gzip(&text_of(&numbered(0..20))));
    let source = source(config(folder.path(), "trips.json.gz"), lines());
    let whole = drain_all(&source).await.expect("rows").remove(0);
    let place = source.describe(&SplitId::new("lane-0"), whole.rows[16].0, Some(2)).await;
    assert_eq!(place, "trips.json.gz, line 17, column 3");
}

#[derive(Default)]
struct Seen(std::sync::Mutex<Vec<(String, Bytes)>>);

impl Headers for Seen {
    fn set_header(&self, piece: &Arc<str>, header: &[u8]) -> thalweg_core::error::Result<()> {
        self.0.lock().expect("a lock").push((piece.to_string(), Bytes::copy_from_slice(header)));
        Ok(())
    }
}

#[tokio::test]
async fn a_header_is_handed_over_and_counts_in_positions() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.csv", b"n,\"te\nxt\"\n1,\"x\ny\"\n2,z\n");
    let headers = Arc::new(Seen::default());
    let records = Records::Text {
        framing: Framing::Csv { delimiter: b',', quote: b'"' },
        header: Some(Arc::clone(&headers) as Arc<dyn Headers>),
    };
    let settings = FilesSourceConfig { chunk_bytes: 3, ..config(folder.path(), "a.csv") };
    let source = source(settings, records);
    let taken = drain_all(&source).await.expect("rows").remove(0);
    let texts = taken.chunks.iter().filter_map(|chunk| match &chunk.payload {
        Payload::Text(text) if !text.is_empty() => Some((chunk.from, text.clone())),
        _ => None,
    });
    assert_eq!(taken.chunks[0].from, Position::START);
    let all: Vec<_> = texts.collect();
    assert_eq!(all[0], (Position::at(10), Bytes::from("1,\"x\ny\"\n")));
    assert_eq!(all[1], (Position::at(18), Bytes::from("2,z\n")));
    let rest = drain_from(&source, "lane-0", Position::at(18)).await.expect("rows");
    assert_eq!(rest.texts(), ["2,z"]);
    let seen = headers.0.lock().expect("a lock");
    assert!(seen.iter().all(|(piece, line)| piece == "a.csv" && line.as_ref() == b"n,\"te\nxt\"\n") && seen.len() == 2);
}

fn parquet_file(folder: &std::path::Path, name: &str, rows: i64) {
    write(folder, name, &parquet_bytes(0..rows));
}

#[tokio::test]
async fn parquet_gives_the_chosen_columns_from_any_row() {
    let folder = tempfile::tempdir().expect("a folder");
    parquet_file(folder.path(), "a.parquet", 2000);
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let source = source(config(folder.path(), "a.parquet"), parquet(schema));
    source.splits().await.expect("splits");
    for from in [0, 1, 699, 700, 701, 1999, 2000] {
        let mut reader = source.open(&SplitId::new("lane-0"), Position::at(from)).await.expect("a reader");
        let (mut expected, until) = (from, Position::at(from + 100));
        while let Read::Chunk(chunk) = reader.read(Some(until)).await.expect("a read") {
            let Given::Held(Payload::Columns(rows)) = &chunk.payload else { panic!("columns expected") };
            assert_eq!((chunk.from, rows.num_columns()), (Position::at(expected), 1));
            let numbers = rows.column(0).as_any().downcast_ref::<Int64Array>().expect("numbers");
            for row in 0..numbers.len() {
                assert_eq!(numbers.value(row) as u64, expected);
                expected += 1;
            }
            assert_eq!(chunk.to, Position::at(expected));
            assert!(chunk.from >= until || chunk.to <= until);
        }
        assert_eq!(expected, 2000, "from {from}");
    }
}

#[tokio::test]
async fn parquet_of_another_schema_is_one_bad_record_with_file_column_and_types() {
    let folder = tempfile::tempdir().expect("a folder");
    parquet_file(folder.path(), "a.parquet", 3);
    let cast = " (declare the type that the files have, and cast in the query)";
    for (name, expected, says) in [
        ("n", DataType::Int32, format!("expected INT, found BIGINT{cast}")),
        ("absent", DataType::Int64, "expected BIGINT, found no such column".to_owned()),
        ("text", DataType::Boolean, format!("expected BOOLEAN, found STRING{cast}")),
    ] {
        let bad = only_bad(folder.path(), "a.parquet", name, expected).await;
        assert_eq!(bad.message, format!("`a.parquet`, column `{name}`: {says}; the file is not read"));
        assert_eq!((bad.class, bad.position), (BadClass::Schema, Position::START));
    }
    write(folder.path(), "b.parquet", b"PAR1 no PAR1");
    let bad = only_bad(folder.path(), "b.parquet", "n", DataType::Int64).await;
    assert!(bad.message.starts_with("`b.parquet` cannot be read as Parquet: "), "{}", bad.message);
    assert_eq!(bad.class, BadClass::Decode);
}

/// The one bad record of a file of which a column is wanted; no row comes of it, and the file beside it is read.
async fn only_bad(folder: &std::path::Path, name: &str, column: &str, expected: DataType) -> BadRecord {
    let schema = Arc::new(Schema::new(vec![Field::new(column, expected, true)]));
    let mut taken = drain_all(&source(config(folder, name), parquet(schema))).await.expect("rows");
    let taken = taken.remove(0);
    assert!(taken.rows.is_empty() && taken.bad.len() == 1, "{:?}", taken.bad);
    taken.bad[0].clone()
}

#[tokio::test]
async fn a_parquet_file_that_may_still_be_growing_is_not_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.parquet", b"PAR1 to be continued");
    let settings = FilesSourceConfig { watch: Some(Duration::from_secs(1)), ..config(folder.path(), "*.parquet") };
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let source = source(settings, parquet(schema));
    source.splits().await.expect("splits");
    let error = drain_from(&source, "file-0", Position::START).await.expect_err("no footer yet");
    assert!(error.kind == ErrorKind::User && error.to_string().contains("a.parquet"), "{error}");
}

#[tokio::test]
async fn parquet_widens_where_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
    let file = fs::File::create(folder.path().join("a.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let source = source(config(folder.path(), "a.parquet"), parquet(Arc::clone(&schema)));
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    let Read::Chunk(chunk) = reader.read(None).await.expect("a read") else { panic!("a chunk expected") };
    let Given::Held(Payload::Columns(rows)) = chunk.payload else { panic!("columns expected") };
    assert_eq!(rows.schema(), schema);
}
