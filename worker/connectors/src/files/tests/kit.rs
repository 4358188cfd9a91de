//! What these tests share.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use thalweg_core::append_log::MemoryLog;
use thalweg_core::clock::Clock;
use thalweg_core::decode::BadRecord;
use thalweg_core::error::Result;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, RawChunk, Read, Source, SplitReader};

use super::super::{FilesSource, FilesSourceConfig, Records};
use crate::formats::Framing;

pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).expect("a short time"), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn wall_millis(&self) -> i64 {
        i64::try_from(self.0.load(Ordering::Relaxed)).expect("a short time")
    }
}

pub(crate) fn lines() -> Records {
    Records::Text { framing: Framing::Lines, header: None }
}

pub(crate) fn parquet(columns: SchemaRef) -> Records {
    Records::Parquet { columns }
}

pub(crate) fn config(folder: &Path, pattern: &str) -> FilesSourceConfig {
    FilesSourceConfig::new(pattern, folder)
}

pub(crate) fn source(config: FilesSourceConfig, records: Records) -> FilesSource {
    FilesSource::new(config, records, Arc::new(MemoryLog::new()), TestClock::new()).expect("a source")
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).expect("memory")
}

/// A Parquet file of these numbers, `n`, and a `text` of each, in row groups of 700.
pub(crate) fn parquet_bytes(numbers: impl Iterator<Item = i64> + Clone) -> Vec<u8> {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("t{n}"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let batch = RecordBatch::try_from_iter([("text", texts), ("n", numbers)]).expect("a batch");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(700)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("closed")
}

/// The column `n` of such files.
pub(crate) fn numbers_of_parquet() -> Records {
    parquet(Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])))
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
}

pub(crate) fn append(folder: &Path, name: &str, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().append(true).open(folder.join(name)).expect("a file");
    file.write_all(bytes).expect("a file");
}

/// `{"n":0}` … one a line.
pub(crate) fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(n % 7))).collect()
}

pub(crate) fn text_of(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

pub(crate) fn rows(chunk: &RawChunk) -> Vec<(Position, String)> {
    let Payload::Text(text) = &chunk.payload else { panic!("text expected") };
    let mut at = chunk.from;
    let mut rows = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        rows.push((at, String::from_utf8_lossy(line).trim_end_matches('\n').to_owned()));
        at = at.advanced_by(line.len() as u64);
    }
    rows
}

/// What reading gave, until it ended or caught up.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) rows: Vec<(Position, String)>,
    pub(crate) bad: Vec<BadRecord>,
    pub(crate) chunks: Vec<RawChunk>,
    pub(crate) caught_up: bool,
}

impl Taken {
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.rows.iter().map(|(_, text)| text.as_str()).collect()
    }
}

pub(crate) async fn drain(reader: &mut dyn SplitReader) -> Result<Taken> {
    let mut taken = Taken::default();
    loop {
        match reader.read(None).await? {
            Read::Chunk(chunk) => {
                let chunk = chunk.fetched().await?;
                if let Some(last) = taken.chunks.last() {
                    assert!(chunk.from == last.to || chunk.from == Position::within(last.to.entry + 1, 0));
                }
                taken.rows.extend(rows(&chunk));
                taken.bad.extend(chunk.bad.clone());
                taken.chunks.push(chunk);
            }
            Read::CaughtUp => taken.caught_up = true,
            Read::End => return Ok(taken),
        }
        if taken.caught_up {
            return Ok(taken);
        }
    }
}

pub(crate) async fn drain_from(source: &FilesSource, split: &str, from: Position) -> Result<Taken> {
    let mut reader = source.open(&SplitId::new(split), from).await?;
    drain(reader.as_mut()).await
}

pub(crate) async fn drain_all(source: &FilesSource) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for split in source.splits().await? {
        taken.push(drain_from(source, split.id.as_str(), Position::START).await?);
    }
    Ok(taken)
}
