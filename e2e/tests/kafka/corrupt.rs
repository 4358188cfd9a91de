//! Batches whose bytes went bad on the broker's disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use krafka::{Compression, Record};
use thalweg_e2e::kafka::Kafka;

use crate::bad_input::{manifest, topics};
use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);
/// Where the checksum of a batch stands, where what it covers begins, and where the records do (record batch v2).
const CHECKSUM: usize = 17;
const COVERED: usize = 21;
const RECORDS: usize = 61;

/// Two batches of ten records each, both compressed.
async fn two_batches(kafka: &Kafka) {
    for first in [0, 10] {
        let builder = kafka.client().await.producer().compression(Compression::Gzip);
        let producer = builder.linger(Duration::from_secs(1)).build().await.expect("a producer");
        let mut pending = Vec::new();
        for n in first..first + 10 {
            pending.push(producer.enqueue(Record::new("events", format!(r#"{{"n":{n}}}"#))).await.expect("queued"));
        }
        producer.flush().await.expect("flushed");
        for one in pending {
            let _ = one.await.expect("acknowledged");
        }
        producer.close().await.expect("closed");
    }
}

/// The segment of the topic's one partition, on the disk of the broker.
struct Segment {
    file: std::fs::File,
    bytes: Vec<u8>,
    second: usize,
}

impl Segment {
    fn of(kafka: &Kafka) -> Self {
        let path = kafka.folder().join("data/events-0/00000000000000000000.log");
        let bytes = std::fs::read(&path).expect("a segment");
        let length = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
        let file = OpenOptions::new().write(true).open(path).expect("a segment");
        Self { file, bytes, second: 12 + length }
    }

    /// Spoils the records of the second batch; with a checksum that fits them, or the old one.
    fn spoil(&self, fits: bool) {
        let mut batch = self.bytes[self.second..].to_vec();
        let end = batch.len() - 1;
        batch[RECORDS + 12..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        if fits {
            let checksum = crc32c(&batch[COVERED..]);
            batch[CHECKSUM..COVERED].copy_from_slice(&checksum.to_be_bytes());
        }
        self.file.write_all_at(&batch, self.second as u64).expect("written");
    }

    fn mend(&self) {
        self.file.write_all_at(&self.bytes, 0).expect("written");
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    };
    !bytes.iter().fold(!0, byte)
}

/// A pipeline that comes upon a spoilt batch: it stops there, says so, and goes on when the batch is whole again.
async fn stops_and_goes_on(fits: bool, cause: &str) {
    let kafka = Kafka::start();
    topics(&kafka).await;
    two_batches(&kafka).await;
    let segment = Segment::of(&kafka);
    segment.spoil(fits);
    let place = Place::with(&manifest(&kafka, "onError: DeadLetter", "deadLetter: { sink: dead }"));
    let said = place.run(&[]).fails(LIMIT);
    assert!(
        said.contains("DataLoss: StreamSource/events: topic `events`, partition 0: offset 10 is wanted, and a batch"),
        "{said}"
    );
    assert!(said.contains(cause) && said.contains("another replica"), "{said}");
    assert!(!said.contains("seek("), "advice for programmers: {said}");
    segment.mend();
    let mut run = place.run(&[]);
    let out = run.until("all rows", LIMIT, || Some(kafka.committed("out")).filter(|seen| seen.len() >= 20));
    run.stop();
    let numbers: Vec<_> = out.iter().map(|seen| seen.json()["n"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(kafka.committed("dead").is_empty(), "it is no bad record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_checksum_is_wrong_stops_the_pipeline_and_nothing_is_skipped() {
    stops_and_goes_on(false, "CRC").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_decompressed_stops_the_pipeline_and_nothing_is_skipped() {
    stops_and_goes_on(true, "compress").await;
}
