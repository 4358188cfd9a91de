//! `delivery: AtLeastOnce` under kills: nothing is lost, and what comes twice is whole ranges from a position that was
//! committed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thalweg_e2e::kafka::{Filler, Kafka, Seen};
use thalweg_e2e::manifest::Manifest;

use crate::events::fill_with;
use crate::place::Place;

const LIMIT: Duration = Duration::from_secs(120);
/// Events that come in each life of the pipeline.
const EVENTS: u64 = 10_000;
const KILLS: u64 = 15;
const PARTITIONS: i32 = 4;

fn manifest(kafka: &Kafka) -> String {
    Manifest::over(kafka)
        .source("events", &["part INT, metadata: partition", "place BIGINT, metadata: offset"])
        .sink("out")
        .pipeline("least", &["events"], &["out"], "INSERT INTO out SELECT part, place FROM events")
        .spec("delivery: AtLeastOnce")
        .to_string()
}

/// What an independent reader found.
#[derive(Debug, Default)]
struct Found {
    lost: u64,
    duplicated: u64,
    /// Rows that follow neither the row before nor the beginning of a repeat.
    torn: u64,
    /// How often the output of a partition went back.
    repeats: u64,
}

/// The output of each partition must count up, and may go back and count up again from there. `ends` are the lengths of the
/// partitions.
fn check(seen: &[Seen], ends: &[u64]) -> Found {
    let mut found = Found::default();
    let mut partitions: BTreeMap<u64, (u64, Vec<bool>)> = BTreeMap::new();
    for record in seen {
        let row = record.json();
        let number = |name: &str| row[name].as_u64().expect("a number");
        let (part, place) = (number("part"), number("place"));
        let (next, there) = partitions.entry(part).or_default();
        there.resize(there.len().max(place as usize + 1), false);
        found.duplicated += u64::from(std::mem::replace(&mut there[place as usize], true));
        found.torn += u64::from(place > *next);
        found.repeats += u64::from(place < *next);
        *next = place + 1;
    }
    for (part, end) in (0..).zip(ends) {
        let there = partitions.get(&part).map_or(0, |(_, there)| there.iter().filter(|there| **there).count() as u64);
        found.lost += end - there;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_loses_nothing_under_kills_and_repeats_whole_ranges() {
    let kafka = Kafka::start();
    kafka.create_topic("events", PARTITIONS, &[]).await;
    kafka.create_topic("out", 1, &[]).await;
    let place = Place::with(&manifest(&kafka));
    let mut random = ChaCha8Rng::seed_from_u64(13);
    let started = Instant::now();
    for life in 0..KILLS {
        let (filler, before) = (Filler::new(&kafka).await, kafka.end_of("out", 0).await);
        let filling = tokio::spawn(fill_with(filler, "events", life * EVENTS..(life + 1) * EVENTS, 6_000));
        let run = place.run(&[]);
        // Once it writes, some of what it has written is nearly always ahead of what it has committed.
        while kafka.end_of("out", 0).await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        run.kill();
        filling.await.expect("filled");
    }
    let run = place.run(&[]);
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push(kafka.end_of("events", partition).await as u64);
    }
    assert_eq!(ends.iter().sum::<u64>(), KILLS * EVENTS);
    let (mut before, mut found) = (0, Found::default());
    // Complete, and nothing comes any more.
    thalweg_e2e::wait_for("complete output", LIMIT, || {
        let seen = kafka.committed("out");
        found = check(&seen, &ends);
        let done = found.lost == 0 && seen.len() == before;
        before = seen.len();
        done.then_some(())
    });
    run.stop();
    println!("at least once: {KILLS} kills, {} events, {:?}: {found:?}", KILLS * EVENTS, started.elapsed());
    assert_eq!((found.lost, found.torn), (0, 0));
    // A unit goes back once a life at the most; and some must have, or nothing is shown.
    assert!((1..=KILLS * PARTITIONS as u64).contains(&found.repeats), "{found:?}");
}
