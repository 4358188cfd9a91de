//! What the two halves of JSON → Parquet cost, each for itself, through the code that `thalweg run` uses: reading and
//! decoding Nexmark bids, and writing them as files. One JSON object: rows, and CPU-seconds of the whole process.
//!
//! ```console
//! $ cargo run --example parts -- BIDS.json OUT_DIR
//! ```
//!
//! The halves take turns of some ten thousand rows, so that what is written is what was just decoded, as in a pipeline.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use thalweg_connectors::files::{Encoding, FilesSink, FilesSinkConfig};
use thalweg_connectors::files::{FilesSource, FilesSourceConfig, Records};
use thalweg_connectors::formats::{Column, Framing, JsonDecoder, JsonOptions};
use thalweg_core::append_log::MemoryLog;
use thalweg_core::clock::SystemClock;
use thalweg_core::decode::Decoder;
use thalweg_core::ownership::Owner;
use thalweg_core::position::Position;
use thalweg_core::sink::{Label, Sink, SinkWriter, WriterId};
use thalweg_core::source::{Read, Source, SplitReader};
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Chunks of a turn.
const TURN: usize = 16;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Seconds that the threads of this process have run.
fn cpu_seconds() -> Result<f64> {
    let mut nanos = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanos / 1e9)
}

fn columns() -> Vec<Column> {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let whole = ["auction", "bidder", "price"].map(|name| Column::new(name, DataType::Int64));
    let text = ["channel", "url"].map(|name| Column::new(name, DataType::Utf8));
    let rest = [Column::new("dateTime", time), Column::new("extra", DataType::Utf8)];
    whole.into_iter().chain(text).chain(rest).collect()
}

async fn open(file: &str) -> Result<Box<dyn SplitReader>> {
    let records = Records::Text { framing: Framing::Lines, header: None };
    let config = FilesSourceConfig::new(file, Path::new("."));
    let source = FilesSource::new(config, records, Arc::new(MemoryLog::new()), Arc::new(SystemClock::new()))?;
    let split = source.splits().await?.into_iter().next().ok_or("one file is expected")?;
    Ok(source.open(&split.id, Position::START).await?)
}

/// One turn of decoding; empty at the end.
async fn decode(reader: &mut dyn SplitReader, decoder: &JsonDecoder) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while batches.len() < TURN {
        match reader.read(None).await? {
            Read::Chunk(chunk) => {
                let decoded = decoder.decode(&chunk.fetched().await?);
                if let Some(bad) = decoded.bad.first() {
                    return Err(format!("a record cannot be decoded: {}", bad.message).into());
                }
                batches.push(decoded.batch);
            }
            Read::CaughtUp | Read::End => break,
        }
    }
    Ok(batches)
}

async fn seal(writer: &mut dyn SinkWriter, seq: u64) -> Result<()> {
    if let Some(sealed) = writer.seal(&Label { seq, position: None }).await? {
        writer.publish(&sealed).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: parts BIDS.json OUT_DIR".into());
    };
    let sink =
        FilesSink::new(FilesSinkConfig::new(&out, Path::new(".")), Encoding::Parquet, Arc::new(SystemClock::new()))?;
    let unit = UnitId { stage: StageId(0), index: 0 };
    let owner = Owner::own(RunId("run".to_owned()));
    let id = WriterId { pipeline: "bench.parts".to_owned(), incarnation: Incarnation(1), unit, owner };
    let mut writer = sink.writer(&id).await?;
    let decoder = JsonDecoder::new(columns(), JsonOptions::default())?;
    let mut reader = open(&file).await?;

    let (mut rows, mut seq, mut decoding, mut writing, mut at) = (0, 0, 0.0, 0.0, cpu_seconds()?);
    let mut lap = || -> Result<f64> {
        let before = std::mem::replace(&mut at, cpu_seconds()?);
        Ok(at - before)
    };
    loop {
        let batches = decode(&mut *reader, &decoder).await?;
        decoding += lap()?;
        for batch in &batches {
            rows += batch.num_rows();
            writer.write(batch).await?;
            if writer.wants_seal(Duration::ZERO) {
                seal(&mut *writer, seq).await?;
                seq += 1;
            }
        }
        let ended = batches.is_empty();
        drop(batches);
        if ended {
            seal(&mut *writer, seq).await?;
        }
        writing += lap()?;
        if ended {
            break;
        }
    }
    let figures = serde_json::json!({ "rows": rows, "decodeCpuSeconds": decoding, "writeCpuSeconds": writing });
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}
