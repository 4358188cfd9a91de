//! What a reader serves over the wire.

use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::Epoch;
use thalweg_exchange::subscriber::OnRefusal;
use thalweg_mtls::identity::Identity;
use tokio::time::timeout;

use super::worker::{LIMIT, Numbers, Then, Unit, Worker, named};

async fn pair(numbers: Numbers) -> (Identity, Worker) {
    let identity = Identity::generate().expect("a key");
    let worker = Worker::serving(numbers, named(&identity)).await;
    (identity, worker)
}

#[tokio::test]
async fn two_units_get_their_parts_of_one_log_whole_and_in_order() {
    let (identity, worker) = pair(Numbers { end: 1_000, range: 7, ..Numbers::default() }).await;
    let (mut even, mut odd) = (Unit::new(0, 4), Unit::new(1, 4));
    let mut to_even = even.subscribe(&identity, &worker, "plan").await;
    let mut to_odd = odd.subscribe(&identity, &worker, "plan").await;
    let both = async { tokio::join!(even.take_all(&mut to_even), odd.take_all(&mut to_odd)) };
    timeout(LIMIT, both).await.expect("in time");
    assert_eq!(even.numbers, even.expected(1_000));
    assert_eq!(odd.numbers, odd.expected(1_000));
}

#[tokio::test]
async fn a_unit_that_stands_still_stops_no_other_and_gets_all_once_it_goes_on() {
    let (identity, worker) = pair(Numbers { end: 1_000, range: 7, ..Numbers::default() }).await;
    let (mut quick, mut slow) = (Unit::new(0, 4), Unit::new(1, 1));
    let mut to_slow = slow.subscribe(&identity, &worker, "plan").await;
    slow.await_range(&mut to_slow).await;
    let mut to_quick = quick.subscribe(&identity, &worker, "plan").await;
    timeout(LIMIT, quick.take_all(&mut to_quick)).await.expect("the other one stands still");
    assert_eq!(quick.numbers, quick.expected(1_000));
    assert_eq!(slow.accepted(), LogProgress::START);
    timeout(LIMIT, slow.take_all(&mut to_slow)).await.expect("in time");
    assert_eq!(slow.numbers, slow.expected(1_000));
}

#[tokio::test]
async fn a_unit_goes_on_with_another_reader_where_it_was() {
    let (identity, worker) = pair(Numbers { end: 500, range: 7, ..Numbers::default() }).await;
    let mut unit = Unit::new(0, 4);
    let mut connection = unit.subscribe(&identity, &worker, "plan").await;
    for _ in 0..20 {
        unit.take(&mut connection).await.expect("the reader lives");
    }
    drop(worker);
    // What was on its way may still come.
    let gone = async { while unit.take(&mut connection).await.is_ok() {} };
    timeout(LIMIT, gone).await.expect("it learns that the reader is gone");
    assert!(!unit.accepted().has_ended());

    let other = Worker::serving(Numbers { end: 500, range: 11, ..Numbers::default() }, named(&identity)).await;
    let mut connection = unit.subscribe(&identity, &other, "plan").await;
    timeout(LIMIT, unit.take_all(&mut connection)).await.expect("in time");
    assert_eq!(unit.numbers, unit.expected(500));
}

#[tokio::test]
async fn what_a_reader_cannot_serve_is_refused_by_name() {
    let (identity, worker) = pair(Numbers { first: 5, end: 10, range: 3, ..Numbers::default() }).await;
    let mut unit = Unit::new(0, 1);
    let mut connection = unit.subscribe(&identity, &worker, "another plan").await;
    let refused = timeout(LIMIT, unit.take(&mut connection)).await.expect("in time");
    assert!(matches!(refused, Err(OnRefusal::FindReader(_))), "{refused:?}");

    let mut connection = unit.subscribe(&identity, &worker, "plan").await;
    let refused = timeout(LIMIT, unit.take(&mut connection)).await.expect("in time");
    let detail = "DataLoss: reading numbers: they start at 5".to_owned();
    assert_eq!(refused, Err(OnRefusal::DataLoss(detail)));

    let accepted = LogProgress { next: Position::at(6), ..LogProgress::START };
    let mut unit = Unit::standing_at(0, 1, Epoch(2), accepted);
    let mut connection = unit.subscribe(&identity, &worker, "plan").await;
    timeout(LIMIT, unit.take_all(&mut connection)).await.expect("in time");
    assert_eq!(unit.numbers, [6, 8]);
}

#[tokio::test]
async fn an_owner_before_is_served_no_more_once_the_new_one_has_come() {
    let (identity, worker) = pair(Numbers { end: 50, range: 7, ..Numbers::default() }).await;
    let (mut old, mut new) = (Unit::new(0, 1), Unit::owned_at(0, 1, Epoch(2)));
    let mut to_old = old.subscribe(&identity, &worker, "plan").await;
    old.await_range(&mut to_old).await;
    let mut to_new = new.subscribe(&identity, &worker, "plan").await;
    new.await_range(&mut to_new).await;

    let mut again = old.subscribe(&identity, &worker, "plan").await;
    let refused = timeout(LIMIT, old.take(&mut again)).await.expect("in time");
    assert_eq!(refused, Err(OnRefusal::ReadAnew));
    drop((to_old, again));
    timeout(LIMIT, new.take_all(&mut to_new)).await.expect("the old connections end nothing");
    assert_eq!(new.numbers, new.expected(50));
}

#[tokio::test]
async fn a_unit_that_comes_again_is_not_kept_waiting_by_a_reader_that_waits_at_the_end() {
    let (identity, worker) = pair(Numbers { end: 20, range: 7, then: Then::Waits, ..Numbers::default() }).await;
    let end = Position::at(20);
    let mut unit = Unit::new(0, 4);
    let mut connection = unit.subscribe(&identity, &worker, "plan").await;
    let all = async {
        while unit.accepted().next < end {
            unit.take(&mut connection).await.expect("the reader lives");
        }
    };
    timeout(LIMIT, all).await.expect("in time");

    let accepted = LogProgress { next: Position::at(6), ..LogProgress::START };
    let mut again = Unit::standing_at(0, 4, Epoch(2), accepted);
    let mut connection = again.subscribe(&identity, &worker, "plan").await;
    let rest = async {
        while again.accepted().next < end {
            again.take(&mut connection).await.expect("the reader lives");
        }
    };
    timeout(LIMIT, rest).await.expect("in time");
    assert_eq!(again.numbers, [6, 8, 10, 12, 14, 16, 18]);
}
