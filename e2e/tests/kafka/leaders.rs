//! Brokers that die or stand still in the middle of transactions. Of three, others lead their partitions and coordinate
//! their transactions; one that is alone is waited for.

use std::time::Duration;

use thalweg_e2e::kafka::Kafka;

use crate::etl::{manifest, wait_for};
use crate::events::{Filling, Found, check};
use crate::place::{Place, Run};

const LIMIT: Duration = Duration::from_secs(150);
const PER_SECOND: u64 = 1_000;

/// A pipeline whose transactions are open nearly all the time.
async fn place(kafka: &Kafka) -> Place {
    kafka.create_topic("events", 4, &[]).await;
    Place::with(&manifest(kafka, "Earliest", "").replace("commitEvery: 200ms", "commitEvery: 1s"))
}

/// Waits until so many rows show.
fn shows(run: &mut Run, kafka: &Kafka, rows: u64) {
    run.until("rows", LIMIT, || Some(()).filter(|()| kafka.committed_at_least("out", rows as usize)));
}

/// Whether every partition has all its copies.
fn is_whole(kafka: &Kafka) -> bool {
    let listed = kafka
        .tool("org.apache.kafka.tools.TopicCommand")
        .args(["--bootstrap-server", &kafka.addresses().join(","), "--describe", "--under-replicated-partitions"])
        .output()
        .expect("java starts");
    listed.status.success() && listed.stdout.trim_ascii().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_change_in_mid_transaction_cost_no_record() {
    let mut kafka = Kafka::start_three();
    let place = place(&kafka).await;
    let mut run = place.run(&[]);
    let mut sent = 0;
    for broker in 0..3 {
        let filling = Filling::start(&kafka, "events", sent, PER_SECOND).await;
        shows(&mut run, &kafka, sent + 1);
        kafka.kill_one(broker);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!run.has_ended(), "the death of broker {broker} ended it: {}", run.said());
        kafka.resume_one(broker);
        run.until("every copy", LIMIT, || Some(()).filter(|()| is_whole(&kafka)));
        sent = filling.stop().await;
        shows(&mut run, &kafka, sent);
    }
    let seen = wait_for(&kafka, "out", sent as usize);
    run.stop();
    assert_eq!(check(&seen, sent), Found::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_three_that_stands_still_is_left_and_costs_no_record() {
    let kafka = Kafka::start_three();
    let place = place(&kafka).await;
    let mut run = place.run(&[]);
    let filling = Filling::start(&kafka, "events", 0, PER_SECOND).await;
    shows(&mut run, &kafka, 1);
    // Its connections stay open and say nothing.
    kafka.freeze_one(1);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(!run.has_ended(), "a broker that stood still ended it: {}", run.said());
    kafka.thaw_one(1);
    let sent = filling.stop().await;
    let seen = wait_for(&kafka, "out", sent as usize);
    run.stop();
    // Whoever sends the events may wait for that broker too: how long nothing was written says nothing of the pipeline.
    assert_eq!(check(&seen, sent), Found::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_alone_and_stands_still_is_waited_for() {
    let kafka = Kafka::start();
    let place = place(&kafka).await;
    let mut run = place.run(&[]);
    let filling = Filling::start(&kafka, "events", 0, PER_SECOND).await;
    shows(&mut run, &kafka, 1);
    kafka.freeze_one(0);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!run.has_ended(), "it did not wait: {}", run.said());
    kafka.thaw_one(0);
    let sent = filling.stop().await;
    let seen = wait_for(&kafka, "out", sent as usize);
    run.stop();
    assert_eq!(check(&seen, sent), Found::default());
}
