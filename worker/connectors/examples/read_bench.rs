//! How fast files are read and cut into blocks of whole records, nothing decoded: `read_bench FILE…`.

use std::path::Path;
use std::sync::Arc;

use thalweg_connectors::files::{FilesSource, FilesSourceConfig, Records};
use thalweg_connectors::formats::Framing;
use thalweg_core::append_log::MemoryLog;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, Read, Source};

#[tokio::main]
async fn main() {
    let clock = Arc::new(SystemClock::new());
    for url in std::env::args().skip(1) {
        let records = Records::Text { framing: Framing::Lines, header: None };
        let config = FilesSourceConfig::new(&url, Path::new("."));
        let source = FilesSource::new(config, records, Arc::new(MemoryLog::new()), clock.clone()).expect("a source");
        let (start, mut bytes) = (clock.monotonic(), 0);
        for split in source.splits().await.expect("splits") {
            let mut reader = source.open(&split.id, Position::START).await.expect("a reader");
            while let Read::Chunk(chunk) = reader.read(None).await.expect("a chunk") {
                if let Payload::Text(text) = chunk.fetched().await.expect("a text").payload {
                    bytes += text.len();
                }
            }
        }
        let seconds = (clock.monotonic() - start).as_secs_f64();
        println!("{url}: {bytes} bytes of text in {seconds:.3} s, {:.0} MB/s", bytes as f64 / seconds / 1e6);
    }
}
