//! Rows a second of CPU time of our JSON decoder and of arrow-json, on one core and in one run.
//!
//! ```console
//! $ CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run --workspace --example decode_bench
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_connectors::formats::{Column, Encoder, JsonDecoder, JsonEncoder, JsonOptions, ParquetEncoder};
use thalweg_core::decode::Decoder;
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Piece, RawChunk};

/// Rows of a chunk: about a mebibyte, as readers cut them.
const ROWS: usize = 4_096;
/// Chunks decoded in one repetition: long enough that the kernel's ticks of some milliseconds do not show.
const CHUNKS: usize = 400;
/// Repetitions, of which the fastest counts.
const REPETITIONS: usize = 5;

fn time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    format!(
        "2018-01-{:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        1 + seconds / 86_400 % 28,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn letters(rng: &mut ChaCha8Rng, length: usize) -> String {
    (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

/// Nexmark bids of 246 bytes on average.
fn bids(rng: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    for row in 0..ROWS {
        let channel = ["Google", "Facebook", "Baidu", "Apple", "channel-4711"][rng.random_range(0..5)];
        let (auction, bidder, price) =
            (rng.random_range(1_000..60_000), rng.random_range(1_000..9_000), rng.random_range(100..10_000_000));
        let url = format!("https://www.nexmark.com/{}/item.htm?query=1", letters(rng, 15));
        let length = rng.random_range(50..80);
        let (at, extra) = (time(row as u64 * 10), letters(rng, length));
        writeln!(text, r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{channel}","url":"{url}","dateTime":"{at}","extra":"{extra}"}}"#).expect("a string");
    }
    text
}

/// Taxi trips of 420 bytes.
fn trips(rng: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    for row in 0..ROWS {
        let (from, to) = (row as u64 * 700, row as u64 * 700 + rng.random_range(60_000..3_600_000));
        let (fare, tip, miles) = (rng.random_range(500..9_000), rng.random_range(0..900), rng.random_range(30..2_000));
        let cents = |value: i32| f64::from(value) / 100.0;
        writeln!(
            text,
            r#"{{"vendor_id":{},"pickup_datetime":"{}","dropoff_datetime":"{}","passenger_count":{},"trip_distance":{},"ratecode_id":1,"store_and_fwd_flag":"N","pickup_location_id":{},"dropoff_location_id":{},"payment_type":1,"fare_amount":{},"extra":0.5,"mta_tax":0.5,"tip_amount":{},"tolls_amount":0,"improvement_surcharge":0.3,"total_amount":{},"trip_id":{},"type":"trip"}}"#,
            rng.random_range(1..3), time(from), time(to), rng.random_range(1..7), cents(miles), rng.random_range(1..266),
            rng.random_range(1..266), cents(fare), cents(tip), cents(fare + tip + 130), 8_589_935_120_u64 + row as u64,
        ).expect("a string");
    }
    text
}

/// Seconds that this thread has run: other load on the machine counts less than by the clock on the wall.
fn cpu_seconds(start: Instant) -> f64 {
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = nanos.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// The best of several repetitions, in rows a second.
fn rate(mut decode: impl FnMut() -> usize) -> f64 {
    let mut best = 0_f64;
    for _ in 0..REPETITIONS {
        let clock = Instant::now();
        let start = cpu_seconds(clock);
        let rows: usize = (0..CHUNKS).map(|_| decode()).sum();
        assert_eq!(rows, ROWS * CHUNKS, "every row is good");
        best = best.max(rows as f64 / (cpu_seconds(clock) - start));
    }
    best / 1e6
}

fn compare(name: &str, text: &str, columns: &[(&str, DataType)]) {
    if std::env::args().nth(1).is_some_and(|only| only != name) {
        return;
    }
    let ours: Vec<_> = columns.iter().map(|(name, data_type)| Column::new(*name, data_type.clone())).collect();
    let decoder = JsonDecoder::new(ours, JsonOptions::default()).expect("a decoder");
    let chunk = RawChunk {
        from: Position::at(1),
        to: Position::at(1 + text.len() as u64),
        piece: Piece { name: Arc::from("bench"), ordinal: 0, watermark_scope: 0, is_last_scope: true },
        payload: Payload::Text(Bytes::copy_from_slice(text.as_bytes())),
        bad: Vec::new(),
    };
    let fields: Vec<_> = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let theirs = || -> RecordBatch {
        let mut decoder =
            ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(ROWS).build_decoder().expect("a decoder");
        decoder.decode(text.as_bytes()).expect("good rows");
        decoder.flush().expect("good rows").expect("rows")
    };
    let batch = decoder.decode(&chunk).batch;
    assert_eq!(batch, theirs(), "both read the same");
    let (our_rate, their_rate) = (rate(|| decoder.decode(&chunk).batch.num_rows()), rate(|| theirs().num_rows()));
    let per_row = text.len() / ROWS;
    let columns = columns.len();
    println!(
        "{name}, {per_row} B, {columns} columns: ours {our_rate:.2} M rows/s, arrow-json {their_rate:.2} M rows/s, {:.1} x",
        our_rate / their_rate
    );
    encoders(&batch);
}

/// How fast the same rows are written.
fn encoders(batch: &RecordBatch) {
    let mut out = Vec::new();
    let json = rate(|| {
        out.clear();
        JsonEncoder::new().write(batch, &mut out).expect("JSON");
        batch.num_rows()
    });
    let mut encoder = ParquetEncoder::new(batch.schema()).expect("Parquet");
    let parquet = rate(|| {
        out.clear();
        encoder.write(batch, &mut out).expect("Parquet");
        batch.num_rows()
    });
    println!("    written: JSON {json:.2} M rows/s, Parquet with zstd {parquet:.2} M rows/s");
}

fn main() {
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
    let (bids, trips) = (bids(&mut rng), trips(&mut rng));
    let all = [
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8),
        ("url", DataType::Utf8),
        ("dateTime", millis.clone()),
        ("extra", DataType::Utf8),
    ];
    let three = [all[0].clone(), all[2].clone(), all[5].clone()];
    compare("bids", &bids, &three);
    compare("bids", &bids, &all);
    let pickups = [("pickup_datetime", millis), ("pickup_location_id", DataType::Int32)];
    compare("trips", &trips, &pickups);
    let fares = [pickups[0].clone(), pickups[1].clone(), ("fare_amount", DataType::Decimal128(10, 2))];
    compare("trips", &trips, &fares);
}
