use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::error::ErrorKind;
use thalweg_core::source::Given;

use super::*;
use crate::generator::RowKind;
use crate::generator::config::TaxiConfig;
use crate::generator::nexmark::NexmarkKind;

/// A clock that moves when it is told to.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn wall_millis(&self) -> i64 {
        0
    }
}

fn config(rows: Option<u64>, splits: u32) -> GeneratorConfig {
    GeneratorConfig { kind: RowKind::Nexmark(NexmarkKind::Bid), seed: 7, rows, rows_per_second: None, splits }
}

fn source(config: GeneratorConfig) -> GeneratorSource {
    GeneratorSource::new(config, Arc::new(SystemClock::new())).expect("a valid configuration")
}

/// All chunks of a split from a position on, each checked against the contract of `RawChunk`.
async fn chunks(source: &GeneratorSource, split: &SplitId, from: Position) -> Vec<(Position, Position, Bytes)> {
    let mut reader = source.open(split, from).await.expect("opens");
    let mut all = Vec::new();
    let mut at = from;
    while let Read::Chunk(chunk) = reader.read(None).await.expect("reads") {
        let Given::Held(Payload::Text(text)) = chunk.payload else { panic!("text") };
        assert_eq!(chunk.from, at, "ranges are contiguous");
        assert!(chunk.to > chunk.from && text.ends_with(b"\n"));
        at = chunk.to;
        all.push((chunk.from, chunk.to, text));
    }
    assert!(matches!(reader.read(None).await.expect("reads"), Read::End));
    all
}

fn joined(chunks: &[(Position, Position, Bytes)]) -> Vec<u8> {
    chunks.iter().flat_map(|(_, _, text)| text.iter().copied()).collect()
}

#[tokio::test]
async fn the_records_are_the_same_for_any_number_of_splits() {
    let mut found = Vec::new();
    for splits in [1, 3, 8] {
        let source = source(config(Some(10_001), splits));
        let mut lines = Vec::new();
        for split in source.splits().await.expect("lists") {
            let text = joined(&chunks(&source, &split.id, Position::START).await);
            let text = String::from_utf8(text).expect("UTF-8");
            assert_eq!(split.size, Some(text.lines().count() as u64));
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.sort_unstable();
        assert_eq!(lines.len(), 10_001);
        found.push(lines);
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn reading_on_from_any_record_gives_what_one_read_would_have_given() {
    let source = source(config(Some(3 * ENTRY_ROWS / 2), 1));
    let split = SplitId::new("0");
    let whole = chunks(&source, &split, Position::START).await;
    let text = joined(&whole);
    assert!(whole.iter().any(|(_, to, _)| *to == Position::within(1, 0)), "an entry ends where the next one starts");

    let mut starts = Vec::new();
    for (from, _, chunk) in &whole {
        let mut byte = 0;
        for line in chunk.split_inclusive(|&byte| byte == b'\n') {
            starts.push(from.advanced_by(byte));
            byte += line.len() as u64;
        }
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(starts.len(), lines.len());
    for index in [0, 1, 4095, 4096, 5000, 65_534, 65_535, 65_536, 65_537, lines.len() - 1] {
        let rest = joined(&chunks(&source, &split, starts[index]).await);
        assert!(rest == lines[index..].concat(), "from record {index}");
    }
    let end = whole.last().expect("a chunk").1;
    assert!(chunks(&source, &split, end).await.is_empty(), "at the end nothing is left");
}

#[tokio::test]
async fn a_position_inside_a_record_is_refused() {
    let source = source(config(Some(1_000), 1));
    for position in [Position::at(1), Position::within(1, 0), Position::at(1 << 40)] {
        let error = source.open(&SplitId::new("0"), position).await.map(|_| ()).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::DataLoss);
    }
    assert!(source.open(&SplitId::new("1"), Position::START).await.is_err(), "no such split");
}

#[tokio::test]
async fn a_chunk_ends_where_it_is_told_to() {
    let source = source(config(Some(5_000), 1));
    let split = SplitId::new("0");
    let whole = joined(&chunks(&source, &split, Position::START).await);
    let boundary = whole.iter().take(5_000).rposition(|&byte| byte == b'\n').expect("a line") as u64 + 1;
    let mut reader = source.open(&split, Position::START).await.expect("opens");
    let Read::Chunk(chunk) = reader.read(Some(Position::at(boundary))).await.expect("reads") else { panic!("a chunk") };
    assert_eq!(chunk.to, Position::at(boundary));
    let Read::Chunk(next) = reader.read(None).await.expect("reads") else { panic!("a chunk") };
    assert_eq!(next.from, Position::at(boundary));
}

#[tokio::test]
async fn a_record_is_described_by_its_number() {
    let source = source(config(None, 2));
    let split = SplitId::new("1");
    let mut reader = source.open(&split, Position::START).await.expect("opens");
    let Read::Chunk(chunk) = reader.read(None).await.expect("reads") else { panic!("a chunk") };
    let text = source.describe(&split, chunk.to, Some(16)).await;
    assert_eq!(text, format!("generator split 1, record {}, column 17", CHUNK_ROWS + 1));
}

#[tokio::test]
async fn the_pace_is_that_of_the_clock_and_changes_no_record() {
    let clock = Arc::new(HandClock::default());
    let paced = GeneratorConfig { rows_per_second: Some(1_000), ..config(Some(5_000), 2) };
    let source = GeneratorSource::new(paced, clock.clone()).expect("valid");
    let split = SplitId::new("0");
    let mut reader = source.open(&split, Position::START).await.expect("opens");
    assert!(matches!(reader.read(None).await.expect("reads"), Read::CaughtUp), "nothing is due yet");
    let mut text = Vec::new();
    for second in 1..=5 {
        clock.0.store(second * 1_000, Ordering::SeqCst);
        let Read::Chunk(chunk) = reader.read(None).await.expect("reads") else { panic!("a chunk") };
        let Given::Held(Payload::Text(chunk)) = chunk.payload else { panic!("text") };
        text.extend_from_slice(&chunk);
        assert_eq!(reader.progress(), second * 500, "a thousand a second over two splits");
    }
    assert!(matches!(reader.read(None).await.expect("reads"), Read::End));
    let unpaced = {
        let whole = config(Some(5_000), 2);
        GeneratorSource::new(whole, clock.clone()).expect("valid")
    };
    assert!(text == joined(&chunks(&unpaced, &split, Position::START).await));
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |config| GeneratorSource::new(config, Arc::new(SystemClock::new())).map(|_| ()).is_err();
    assert!(refused(GeneratorConfig { splits: 0, ..config(None, 1) }));
    assert!(refused(GeneratorConfig { rows_per_second: Some(0), ..config(None, 1) }));
    let taxi = TaxiConfig { broken_rate: -0.1, ..TaxiConfig::default() };
    assert!(refused(GeneratorConfig { kind: RowKind::Taxi(taxi), ..config(None, 1) }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn seeking_finds_each_record_that_a_text_ends_at(splits in 1..5u32, split in 0..5u32, rows in 1..200u64) {
        let source = source(config(None, splits));
        let deal = source.deal(split % splits);
        let (text, end) = deal.text(At { row: 0, byte: 0 }, rows, None);
        prop_assert_eq!(end, At { row: rows, byte: text.len() as u64 });
        prop_assert_eq!(deal.seek(end.position()), Some(end));
        prop_assert_eq!(deal.seek(Position::at(end.byte - 1)), None);
    }
}
