//! What a remote log costs: units of one process read a log that another one serves, over mTLS on the loopback device. One
//! line of JSON for each size of a range: rows and bytes a second, CPU-seconds of both sides together, and how much of
//! the bytes is the messages' header.
//!
//! ```console
//! $ cargo run --example throughput -- 4
//! ```
//!
//! The argument is the number of units. Each gets all rows: what a unit gets is made before, and costs nothing here.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::error::Result as CoreResult;
use thalweg_core::log::{LogId, SplitId};
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, Incarnation, RunId, StageId, UnitId};
use thalweg_exchange::frame::{decode, encode};
use thalweg_exchange::hub::{Hub, Request};
use thalweg_exchange::link::PeerAddress;
use thalweg_exchange::message::{Attempt, Message, Range, Rows, Stamp, Subscription};
use thalweg_exchange::serve::{RangeReader, RangeSource, ReadRange};
use thalweg_mtls::identity::Identity;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rows that each unit gets, and ranges at the most.
const ROWS: usize = 4_000_000;
const MOST_RANGES: usize = 20_000;
/// Ranges on their way to a unit.
const WINDOW: u32 = 8;
const ATTEMPT: Attempt = Attempt { epoch: Epoch(1), count: 1 };

/// A log of `ranges` times the same rows.
#[derive(Clone)]
struct Repeated {
    rows: RecordBatch,
    ranges: u64,
    next: u64,
}

#[async_trait]
impl RangeSource for Repeated {
    fn serves(&self, _stamp: &Stamp) -> bool {
        true
    }

    async fn open(&self, from: LogProgress, _cuts: Vec<LogProgress>) -> CoreResult<Box<dyn RangeReader>> {
        Ok(Box::new(Self { next: u64::try_from(from.next.offset).unwrap_or(u64::MAX), ..self.clone() }))
    }
}

#[async_trait]
impl RangeReader for Repeated {
    async fn read(&mut self, _until: Option<Position>) -> CoreResult<Box<dyn ReadRange>> {
        self.next += 1;
        Ok(Box::new(self.clone()))
    }
}

impl ReadRange for Repeated {
    fn after(&self) -> LogProgress {
        let watermark = if self.next >= self.ranges { Watermark::END } else { Watermark(self.next.cast_signed()) };
        LogProgress { next: Position::at(self.next), watermark, ..LogProgress::START }
    }

    fn part(&mut self, _subscription: &Subscription, _stamp: &Stamp) -> (Option<Rows>, Option<RecordBatch>) {
        (Some(Rows::Folded(self.rows.clone())), None)
    }
}

/// Rows of a pane, a key, a count and a sum.
fn rows(count: usize) -> Result<RecordBatch> {
    let numbers = || (0..count).map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let keys: StringArray = numbers().map(|number| Some(format!("key-{number}"))).collect();
    let sums: Float64Array = numbers().map(|number| Some(1.5 * number as f64)).collect();
    let (panes, counts) = (Int64Array::from_iter_values(numbers()), Int64Array::from_iter_values(numbers()));
    let columns = [("pane", Arc::new(panes) as _), ("key", Arc::new(keys) as _), ("count", Arc::new(counts) as _)];
    Ok(RecordBatch::try_from_iter(columns.into_iter().chain([("sum", Arc::new(sums) as _)]))?)
}

fn subscription(index: u32) -> Subscription {
    let log = LogId::Split { source: "trips".into(), split: SplitId::new("7") };
    Subscription { unit: UnitId { stage: StageId(1), index }, input: 0, log }
}

fn stamp() -> Stamp {
    let plan = "0123456789abcdef".repeat(4).into();
    Stamp { plan, layout: 1, incarnation: Incarnation(1), closed: Watermark::UNKNOWN }
}

/// Seconds that the threads of this process have run.
fn cpu_seconds() -> Result<f64> {
    let mut nanos = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanos / 1e9)
}

/// A process that listens.
async fn process(name: &str) -> Result<(Hub, PeerAddress)> {
    let identity = Identity::generate()?;
    let hub = Hub::new(RunId(name.to_owned()), Arc::new(SystemClock::new()), Duration::MAX);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let peer = PeerAddress { run: hub.run().clone(), address, fingerprint: identity.fingerprint() };
    let listening = hub.clone();
    tokio::spawn(async move { listening.listen(listener, &identity).await.map(|_| ()) });
    Ok((hub, peer))
}

async fn take_all(hub: Hub, index: u32) -> std::result::Result<(), String> {
    let (to, mut messages) = mpsc::unbounded_channel();
    let (subscription, accepted) = (subscription(index), LogProgress::START);
    let request = Request { subscription, attempt: ATTEMPT, stamp: stamp(), accepted, credit: WINDOW };
    let line = hub.subscribe(request, to);
    while let Some(message) = messages.recv().await {
        match message {
            Message::Range(range) if range.after.has_ended() => return Ok(()),
            Message::Range(_) => line.grant(1),
            other => return Err(format!("{other:?}")),
        }
    }
    Err("the hub is gone".to_owned())
}

/// Bytes of a frame, and of the header in it; and microseconds to write and read one.
fn frame(rows: &RecordBatch, clock: &dyn Clock) -> Result<(usize, usize, f64)> {
    const TIMES: u32 = 1_000;
    let from = Position::at(123_456_789);
    let message = |rows| Range {
        subscription: subscription(3),
        attempt: ATTEMPT,
        stamp: stamp(),
        from,
        after: LogProgress {
            next: from.advanced_by(5_000),
            watermark: Watermark(1_700_000_000_000),
            ..LogProgress::START
        },
        rows,
        dead_letters: None,
        awaited: false,
    };
    let with_rows = Message::Range(message(Some(Rows::Folded(rows.clone()))));
    let (frame, without) = (encode(&with_rows)?, encode(&Message::Range(message(None)))?);
    let start = clock.monotonic();
    for _ in 0..TIMES {
        decode(encode(&with_rows)?)?;
    }
    let micros = (clock.monotonic() - start).as_secs_f64() * 1e6 / f64::from(TIMES);
    Ok((frame.len(), without.len(), micros))
}

async fn measure(units: u32, range_rows: usize) -> Result<String> {
    let clock = SystemClock::new();
    let rows = rows(range_rows)?;
    let (frame_bytes, header_bytes, frame_micros) = frame(&rows, &clock)?;
    let ranges = (ROWS / range_rows).min(MOST_RANGES);
    let (reader, at_reader) = process("reader").await?;
    let (other, at_other) = process("units").await?;
    let log = subscription(0).log;
    for hub in [&reader, &other] {
        let logs = BTreeMap::from([(log.clone(), at_reader.run.clone())]);
        hub.place(vec![at_reader.clone(), at_other.clone()], logs);
    }
    let (start, cpu) = (clock.monotonic(), cpu_seconds()?);
    let _served = reader.serve(log, Arc::new(Repeated { rows, ranges: ranges as u64, next: 0 }));
    let taking: Vec<_> = (0..units).map(|index| tokio::spawn(take_all(other.clone(), index))).collect();
    for unit in taking {
        unit.await??;
    }
    let (seconds, cpu) = ((clock.monotonic() - start).as_secs_f64(), cpu_seconds()? - cpu);
    let all = (ranges * units as usize) as f64;
    Ok(format!(
        "{{\"rangeRows\":{range_rows},\"units\":{units},\"ranges\":{all},\"seconds\":{seconds:.2},\"cpuSeconds\":{cpu:.2},\
         \"rowsPerSecond\":{:.0},\"megabytesPerSecond\":{:.1},\"frameBytes\":{frame_bytes},\"headerBytes\":{header_bytes},\
         \"frameMicros\":{frame_micros:.1}}}",
        all * range_rows as f64 / seconds,
        all * frame_bytes as f64 / seconds / 1e6,
    ))
}

#[tokio::main]
async fn main() -> Result<()> {
    let units = std::env::args().nth(1).map_or(Ok(4), |units| units.parse())?;
    for range_rows in [10, 100, 1_000, 8_192] {
        writeln!(std::io::stdout(), "{}", measure(units, range_rows).await?)?;
    }
    Ok(())
}
