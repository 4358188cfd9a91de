//! Records in Avro.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::bad_input::topics;
use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);

const FORMAT: &str = r#"
format:
  avro:
    schema: |
      { "type": "record", "name": "Order", "fields": [
        { "name": "id", "type": "long" },
        { "name": "note", "type": ["null", "string"], "default": null },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } } ] }
"#;

fn manifest(kafka: &Kafka) -> String {
    let columns = ["n BIGINT, from: id", "note STRING", "at TIMESTAMP(3)", "place BIGINT, metadata: offset"];
    Manifest::over(kafka)
        .source("events", &columns)
        .spec(FORMAT)
        .spec("onError: DeadLetter")
        .sink("out")
        .sink("dead")
        .pipeline("avro", &["events"], &["out"], "INSERT INTO out SELECT n, note, at, place FROM events")
        .spec("deadLetter: { sink: dead }")
        .to_string()
}

/// 2018-01-01T00:00:00Z, as Avro writes the number of its milliseconds.
const NEW_YEAR: [u8; 6] = [0x80, 0xc0, 0xa4, 0xf0, 0x95, 0x58];

#[tokio::test(flavor = "multi_thread")]
async fn records_in_avro_are_rows_and_others_are_dead_letters_at_their_places() {
    let kafka = Kafka::start();
    topics(&kafka).await;
    let record = |id: u8, note: &[u8]| [&[2 * id], note, &NEW_YEAR].concat();
    kafka
        .send([
            Record::new("events", record(1, b"\x02\x08soon")),
            Record::new("events", record(2, b"\x00")),
            Record::new("events", b"{\"id\":3}".to_vec()),
            Record::new("events", record(4, b"\x00")[..3].to_vec()),
            Record::new("events", record(5, b"\x02\x02\xff")),
            Record::new("events", record(6, b"\x00")),
        ])
        .await;
    let place = Place::with(&manifest(&kafka));
    let mut run = place.run(&[]);
    let out = run.until("three rows", LIMIT, || Some(kafka.committed("out")).filter(|seen| seen.len() >= 3));
    let dead = run.until("three letters", LIMIT, || Some(kafka.committed("dead")).filter(|seen| seen.len() >= 3));
    run.stop();
    let values: Vec<_> = out.iter().filter_map(|seen| seen.value.as_deref()).collect();
    assert_eq!(
        values,
        [
            r#"{"n":1,"note":"soon","at":"2018-01-01T00:00:00.000Z","place":0}"#,
            r#"{"n":2,"note":null,"at":"2018-01-01T00:00:00.000Z","place":1}"#,
            r#"{"n":6,"note":null,"at":"2018-01-01T00:00:00.000Z","place":5}"#,
        ]
    );
    let letters: Vec<_> = dead.iter().map(Seen::json).collect();
    let of_letters = |field: &str| letters.iter().map(|letter| letter[field].clone()).collect::<Vec<_>>();
    assert_eq!(of_letters("position"), ["2", "3", "4"]);
    assert_eq!(of_letters("class"), ["Decode"; 3]);
    assert!(letters[0]["message"].as_str().expect("text").contains("`format.avro.schema`"));
}
