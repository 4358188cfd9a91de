//! Transfers on their way into Kafka, with a few late and a few broken ones.
//!
//! A row whose delivery failed is not sent again: the log says what is there, and nothing else is expected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use krafka::producer::Producer;
use krafka::{Kafka as Client, Record};
use serde_json::json;

use super::{ACCOUNTS, EVENTS};
use crate::kafka::Kafka;

/// How often rows are sent.
const TICK: Duration = Duration::from_millis(100);
/// How long the broker may take for what was sent in one tick, before another producer is made.
const PATIENCE: Duration = Duration::from_secs(20);
/// One transfer in so many is late.
const LATE: u64 = 211;
/// One in so many comes with a record that is no JSON.
const BROKEN: u64 = 307;
/// How much a late one is behind.
const LATE_BY_MS: u64 = 60_000;
/// How far after all others the rows are that close every window.
const CLOSING_MS: u64 = 3_600_000;

/// Transfers that are sent until this is ended.
#[derive(Debug)]
pub struct Traffic {
    partitions: Arc<AtomicI32>,
    ends: Arc<AtomicBool>,
    sending: tokio::task::JoinHandle<u64>,
}

impl Traffic {
    /// Sends about so many rows a second to the first partitions of the input.
    pub fn start(kafka: &Kafka, partitions: i32, rows_per_second: u64) -> Self {
        let (partitions, ends) = (Arc::new(AtomicI32::new(partitions)), Arc::<AtomicBool>::default());
        let sender = Sender {
            address: kafka.address(),
            partitions: partitions.clone(),
            ends: ends.clone(),
            started: Instant::now(),
            transfers: 0,
            transfers_per_tick: (rows_per_second / 20).max(1),
        };
        Self { partitions, ends, sending: tokio::spawn(sender.run()) }
    }

    /// How many partitions are written to.
    pub fn partitions(&self) -> i32 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Writes to so many partitions from now on.
    pub fn spread(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// Sends what closes every window, and ends; how many transfers there were.
    pub async fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.sending.await.expect("ended")
    }
}

struct Sender {
    address: String,
    partitions: Arc<AtomicI32>,
    ends: Arc<AtomicBool>,
    started: Instant,
    transfers: u64,
    transfers_per_tick: u64,
}

impl Sender {
    async fn run(mut self) -> u64 {
        let mut producer = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.ends.load(Ordering::Relaxed) {
            tick.tick().await;
            let records = self.records();
            self.send(&mut producer, records).await;
        }
        let at = self.now_ms() + CLOSING_MS;
        let partitions = self.partitions.load(Ordering::Relaxed);
        loop {
            let closing = (0..partitions).map(|partition| {
                let row = json!({"id": partition, "account": format!("end-{partition}"), "at": at, "amount": 0});
                Record::new(EVENTS, row.to_string()).partition(partition)
            });
            if self.send(&mut producer, closing.collect()).await {
                return self.transfers;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("not so long")
    }

    /// The rows of one tick.
    fn records(&mut self) -> Vec<Record> {
        let partitions = u64::try_from(self.partitions.load(Ordering::Relaxed)).expect("some");
        let now = self.now_ms();
        let mut records = Vec::new();
        for number in self.transfers..self.transfers + self.transfers_per_tick {
            let partition = number % partitions;
            let to = |text: String| Record::new(EVENTS, text).partition(i32::try_from(partition).expect("few"));
            let at = if number % LATE == 0 { now.saturating_sub(LATE_BY_MS) } else { now };
            let (amount, turn) = (i64::try_from(number % 97 + 1).expect("small"), number / partitions);
            let leg = |leg: u64, amount: i64| {
                let account = format!("p{partition}-{}", (turn + leg) % ACCOUNTS);
                json!({"id": number * 2 + leg, "account": account, "at": at, "amount": amount}).to_string()
            };
            records.extend([to(leg(0, -amount)), to(leg(1, amount))]);
            if number % BROKEN == 0 {
                records.push(to(format!("{{\"id\": {number}, \"account\": ")));
            }
        }
        self.transfers += self.transfers_per_tick;
        records
    }

    /// Whether all of it was acknowledged.
    async fn send(&self, kept: &mut Option<Producer>, records: Vec<Record>) -> bool {
        let producer = match kept.take() {
            Some(producer) => producer,
            None => match self.producer().await {
                Some(producer) => producer,
                None => return false,
            },
        };
        let sending = async {
            let mut handles = Vec::new();
            for record in records {
                handles.push(producer.enqueue(record).await.ok()?);
            }
            producer.flush().await.ok()?;
            for handle in handles {
                let _where = handle.await.ok()?;
            }
            Some(())
        };
        let sent = tokio::time::timeout(PATIENCE, sending).await.ok().flatten().is_some();
        if sent {
            *kept = Some(producer);
        }
        sent
    }

    async fn producer(&self) -> Option<Producer> {
        let connecting = Client::builder(self.address.clone()).client_id("traffic").connect();
        let client = tokio::time::timeout(PATIENCE, connecting).await.ok()?.ok()?;
        client.producer().linger(Duration::from_millis(5)).build().await.ok()
    }
}
