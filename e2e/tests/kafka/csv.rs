//! Records in CSV.

use std::time::Duration;

use krafka::Record;
use thalweg_e2e::kafka::{Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(90);

/// A pipeline of this name, which is also that of its topic; `dead` says where dead letters go.
fn manifest(kafka: &Kafka, name: &str, on_error: &str, dead: &str) -> String {
    let columns = ["n BIGINT, nullable: false", "place BIGINT, metadata: offset", "who STRING", "amount DOUBLE"];
    Manifest::over(kafka)
        .source("events", &columns)
        .spec(r#"format: { csv: { header: false, delimiter: ";", "null": "-" } }"#)
        .spec(on_error)
        .sink("out")
        .kafka(&format!("topic: {name}, createTopic: {{ partitions: 1 }}"))
        .sink("dead")
        .kafka("createTopic: { partitions: 1 }")
        .pipeline(name, &["events"], &["out"], "INSERT INTO out SELECT amount, who, n, place FROM events")
        .spec(dead)
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_csv_are_rows_by_the_order_of_the_schema_and_others_do_what_on_error_says() {
    let kafka = Kafka::start();
    kafka.create_topic("events", 1, &[]).await;
    let values = [r#"1;"Ann; ""B""";10.5"#, "2;-;2.25", "x;Bob;1.5", "4;Dora", r#"5;"Eve;1.5"#, "6;\"-\";7.75\n"];
    let records = values.map(|value| Record::new("events", value));
    kafka.send(records.into_iter().chain([Record::tombstone("events", "k"), Record::new("events", "8;;0.5")])).await;
    let wanted = [
        r#"{"amount":10.5,"who":"Ann; \"B\"","n":1,"place":0}"#,
        r#"{"amount":2.25,"who":null,"n":2,"place":1}"#,
        r#"{"amount":7.75,"who":"-","n":6,"place":5}"#,
        r#"{"amount":0.5,"who":"","n":8,"place":7}"#,
    ];
    let rows = |seen: &[Seen]| seen.iter().filter_map(|seen| seen.value.clone()).collect::<Vec<_>>();

    let said = Place::with(&manifest(&kafka, "fails", "onError: Fail", "")).run(&[]).fails(LIMIT);
    assert!(said.contains("StreamSource/events") && said.contains("topic events, partition 0, offset 2"), "{said}");

    let place = Place::with(&manifest(&kafka, "drops", "onError: Drop", ""));
    let mut run = place.run(&[]);
    let out = run.until("four rows", LIMIT, || Some(kafka.committed("drops")).filter(|seen| seen.len() >= 4));
    run.stop();
    assert_eq!(rows(&out), wanted);

    let place = Place::with(&manifest(&kafka, "letters", "onError: DeadLetter", "deadLetter: { sink: dead }"));
    let mut run = place.run(&[]);
    let out = run.until("four rows", LIMIT, || Some(kafka.committed("letters")).filter(|seen| seen.len() >= 4));
    let dead = run.until("four letters", LIMIT, || Some(kafka.committed("dead")).filter(|seen| seen.len() >= 4));
    run.stop();
    assert_eq!(rows(&out), wanted);
    let letters: Vec<_> = dead.iter().map(Seen::json).collect();
    let of_letters = |field: &str| letters.iter().map(|letter| letter[field].clone()).collect::<Vec<_>>();
    assert_eq!(of_letters("position"), ["2", "3", "4", "6"]);
    assert_eq!(of_letters("class"), ["Schema", "Schema", "Decode", "Schema"]);
    assert_eq!(letters[1]["message"], "expected 3 fields, found 2");
    assert_eq!(letters[3]["message"], "expected a record of CSV, found a tombstone");
}
