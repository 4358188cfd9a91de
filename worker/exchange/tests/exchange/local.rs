//! Units and readers that find each other within a process.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use thalweg_core::clock::SystemClock;
use thalweg_core::position::Position;
use thalweg_exchange::hub::Hub;
use thalweg_exchange::message::{Message, Refusal};
use tokio::sync::mpsc::error::TryRecvError;

use super::subscribed::Subscribed;
use super::worker::{Numbers, Then, run, subscription};

fn hub() -> Hub {
    Hub::new(run("one"), Arc::new(SystemClock::new()), Duration::MAX)
}

fn numbers(end: u64, range: u64) -> Numbers {
    Numbers { end, range, ..Numbers::default() }
}

#[tokio::test]
async fn who_subscribes_before_the_log_is_served_gets_all_of_it_once_it_is() {
    let hub = hub();
    let mut units = [0, 1].map(|index| Subscribed::new(&hub, index, 4));
    units[0].line().grant(3);
    units[0].line().committed(Position::at(0));
    assert_eq!(units[0].messages.try_recv(), Err(TryRecvError::Empty));

    let numbers = numbers(1_000, 7);
    let committed = numbers.committed.clone();
    let _served = hub.serve(subscription(0).log, Arc::new(numbers));
    join_all(units.iter_mut().map(|unit| unit.take_all(&hub))).await;
    for unit in &units {
        assert_eq!(unit.numbers, unit.expected(1_000));
    }
    units[1].line().committed(Position::at(1_000));
    committed.until(|committed| committed.len() == 2).await;
    assert_eq!(committed.get(), [(0, Position::at(0)), (1, Position::at(1_000))]);
}

#[tokio::test]
async fn a_reader_that_ends_tells_its_units_and_they_go_on_with_the_next_one() {
    let hub = hub();
    let mut served = hub.serve(subscription(0).log, Arc::new(numbers(1_000, 7)));
    let mut units = [0, 1].map(|index| Subscribed::new(&hub, index, 2));
    for range in [11, 5, 13] {
        for _ in 0..20 {
            for unit in &mut units {
                unit.take(&hub).await;
            }
        }
        drop(served);
        for unit in &mut units {
            unit.until_refused(&hub).await;
        }
        served = hub.serve(subscription(0).log, Arc::new(numbers(1_000, range)));
    }
    join_all(units.iter_mut().map(|unit| unit.take_all(&hub))).await;
    for unit in &units {
        assert_eq!(unit.numbers, unit.expected(1_000));
    }
}

#[tokio::test]
async fn a_subscription_that_is_dropped_holds_nobody_back() {
    let hub = hub();
    let never = Subscribed::new(&hub, 2, 1);
    let mut gone = Subscribed::new(&hub, 1, 1);
    drop(never);
    let _served = hub.serve(subscription(0).log, Arc::new(numbers(1_000, 7)));
    let mut unit = Subscribed::new(&hub, 0, 4);
    gone.take(&hub).await;
    drop(gone);
    unit.take_all(&hub).await;
    assert_eq!(unit.numbers, unit.expected(1_000));
}

#[tokio::test]
async fn a_newer_server_of_a_log_outlives_the_older_one() {
    let hub = hub();
    let older = hub.serve(subscription(0).log, Arc::new(Numbers { then: Then::Waits, ..numbers(14, 7) }));
    let mut at_older = Subscribed::new(&hub, 0, 4);
    at_older.take(&hub).await;
    let _newer = hub.serve(subscription(0).log, Arc::new(numbers(100, 7)));
    drop(older);
    at_older.until_refused(&hub).await;
    at_older.take_all(&hub).await;
    assert_eq!(at_older.numbers, at_older.expected(100));
}

#[tokio::test]
async fn a_log_that_ends_or_that_nobody_reads_keeps_no_reader_open() {
    let hub = hub();
    let (ends, waits) = (numbers(21, 7), Numbers { then: Then::Waits, ..numbers(21, 7) });
    let (ends_open, waits_open) = (ends.open.clone(), waits.open.clone());
    let served = hub.serve(subscription(0).log, Arc::new(ends));
    let mut unit = Subscribed::new(&hub, 0, 9);
    unit.take_all(&hub).await;
    ends_open.until(|open| *open == 0).await;
    let mut late = Subscribed::new(&hub, 1, 1);
    late.take_all(&hub).await;
    assert_eq!(late.numbers, late.expected(21));
    ends_open.until(|open| *open == 0).await;
    drop((unit, late, served));

    let _served = hub.serve(subscription(0).log, Arc::new(waits));
    let mut unit = Subscribed::new(&hub, 0, 9);
    unit.take(&hub).await;
    waits_open.until(|open| *open == 1).await;
    drop(unit);
    waits_open.until(|open| *open == 0).await;
}

#[tokio::test]
async fn what_a_reader_has_against_a_subscription_reaches_the_unit() {
    let hub = hub();
    let _served = hub.serve(subscription(0).log, Arc::new(Numbers { first: 5, ..numbers(10, 3) }));
    let mut unit = Subscribed::new(&hub, 0, 1);
    let refused = unit.next().await;
    let detail = "DataLoss: reading numbers: they start at 5".to_owned();
    assert!(
        matches!(&refused, Message::Refused { reason, .. } if *reason == Refusal::DataLoss { detail }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_full_log_says_that_a_commit_is_awaited() {
    let hub = hub();
    let _served = hub.serve(subscription(0).log, Arc::new(Numbers { is_awaited: true, ..numbers(10, 3) }));
    let mut unit = Subscribed::new(&hub, 0, 1);
    let range = unit.next().await;
    assert!(matches!(&range, Message::Range(range) if range.awaited), "{range:?}");
}
