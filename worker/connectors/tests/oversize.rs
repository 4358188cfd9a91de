//! A record of a hundred megabytes, in a process of its own so that memory can be measured.

use std::fs;
use std::sync::Arc;

use thalweg_connectors::files::{FilesSource, FilesSourceConfig, Records};
use thalweg_connectors::formats::Framing;
use thalweg_core::append_log::MemoryLog;
use thalweg_core::clock::SystemClock;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Read, Source};

/// Bytes of this process that are not backed by files.
fn anonymous_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}

#[tokio::test]
async fn a_record_of_a_hundred_megabytes_is_not_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = b"one\n".to_vec();
    text.resize(100 << 20, b'z');
    text.extend_from_slice(b"\ntwo\n");
    fs::write(folder.path().join("a.json"), &text).expect("a file");
    drop(text);

    let records = Records::Text { framing: Framing::Lines, header: None };
    let config = FilesSourceConfig::new("a.json", folder.path());
    let (log, clock) = (Arc::new(MemoryLog::new()), Arc::new(SystemClock::new()));
    let source = FilesSource::new(config, records, log, clock).expect("a source");
    source.splits().await.expect("splits");
    let before = anonymous_bytes();
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    let (mut texts, mut bad, mut most) = (Vec::new(), 0, 0);
    while let Read::Chunk(chunk) = reader.read(None).await.expect("a read") {
        let chunk = chunk.fetched().await.expect("a text");
        let Payload::Text(text) = chunk.payload else { panic!("text expected") };
        texts.extend_from_slice(&text);
        bad += chunk.bad.len();
        most = most.max(anonymous_bytes());
    }
    assert_eq!((texts.as_slice(), bad), (b"one\ntwo\n".as_slice(), 1));
    let more = most.saturating_sub(before);
    assert!(more < 40 << 20, "{} MiB more", more >> 20);
}
