//! Brokers that die or stand still in the middle of transactions. Of three, others lead their partitions and coordinate
//! their transactions; one that is alone is waited for.

use std::time::Duration;

use thalweg_e2e::kafka::Kafka;

use crate::etl::{manifest, wait_for};
use crate::events::{Filling, Found, check, fill};
use crate::place::{Place, Run};

const LIMIT: Duration = Duration::from_secs(150);
const PER_SECOND: u64 = 1_000;

/// A pipeline whose transactions are open nearly all the time.
async fn place(kafka: &Kafka) -> Place {
    kafka.create_topic("events", 4, &[]).await;
    Place::with(&manifest(kafka, "Earliest", "state: { commitEvery: 1s }"))
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

/// Two copies, of which one suffices for an acknowledgement, and either may lead whatever it lacks.
fn create_carelessly(kafka: &Kafka) {
    let made = kafka
        .tool("org.apache.kafka.tools.TopicCommand")
        .args(["--bootstrap-server", &kafka.addresses().join(","), "--create", "--topic", "events"])
        .args(["--replica-assignment", "1:2", "--config", "min.insync.replicas=1"])
        .args(["--config", "unclean.leader.election.enable=true"])
        .output()
        .expect("java starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_new_leader_does_not_have_are_data_loss() {
    let mut kafka = Kafka::start_three();
    create_carelessly(&kafka);
    let place = Place::with(&manifest(&kafka, "Earliest", ""));
    let mut run = place.run(&[]);
    fill(&kafka, "events", 0..10, PER_SECOND).await;
    shows(&mut run, &kafka, 10);
    // The other one goes on without it.
    kafka.kill_one(2);
    fill(&kafka, "events", 10..20, PER_SECOND).await;
    shows(&mut run, &kafka, 20);
    kafka.kill_one(1);
    kafka.resume_one(2);
    // It leads with half of them, and others take the places of the rest.
    fill(&kafka, "events", 20..50, PER_SECOND).await;
    let said = run.fails(LIMIT);
    let told =
        "DataLoss: StreamSource/events: topic `events`, partition 0: offset 20 is wanted, and the log was cut back";
    assert!(said.contains(told), "{said}");
    assert_eq!(kafka.committed("out").len(), 20, "nothing of the other log was read");
}
