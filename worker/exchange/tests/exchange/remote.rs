//! Units and readers of several processes that find each other by an assignment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use thalweg_core::clock::SystemClock;
use thalweg_core::ownership::tenure::Reply;
use thalweg_core::position::Position;
use thalweg_core::unit::Epoch;
use thalweg_exchange::hub::Hub;
use thalweg_exchange::link::PeerAddress;
use thalweg_mtls::identity::Identity;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use super::node::{Node, assign};
use super::subscribed::Subscribed;
use super::worker::{LIMIT, Numbers, Then, run, subscription};

const END: u64 = 20_000;

fn numbers(range: u64) -> Arc<Numbers> {
    Arc::new(Numbers { end: END, range, ..Numbers::default() })
}

/// Takes so many messages of each unit.
async fn take(units: &mut [(&Hub, Subscribed)], messages: usize) {
    let taking = units.iter_mut().map(async |(hub, unit)| {
        for _ in 0..messages {
            unit.take(hub).await;
        }
    });
    join_all(taking).await;
}

async fn take_all(units: &mut [(&Hub, Subscribed)]) {
    let taking = units.iter_mut().map(|(hub, unit)| unit.take_all(hub));
    timeout(LIMIT, join_all(taking)).await.expect("in time");
    for (_, unit) in units {
        assert_eq!(unit.numbers, unit.expected(END));
    }
}

#[tokio::test]
async fn a_log_comes_whole_and_in_order_however_its_reader_moves() {
    let nodes = [Node::start("one").await, Node::start("two").await, Node::start("three").await];
    let all = nodes.each_ref();
    let log = subscription(0).log;
    let mut units: Vec<_> = (0..6)
        .map(|index| (&nodes[index as usize % 3].hub, Subscribed::new(&nodes[index as usize % 3].hub, index, 4)))
        .collect();
    let mut served = None;
    for (turn, range) in [7, 11, 5, 13, 3, 17].into_iter().enumerate() {
        let reader = all[turn % 3];
        // Whichever comes first: the assignment, or the reader that obeys it.
        if turn % 2 == 0 {
            assign(&all, Some(reader));
            served = Some(reader.hub.serve(log.clone(), numbers(range)));
        } else {
            let next = reader.hub.serve(log.clone(), numbers(range));
            assign(&all, Some(reader));
            served = Some(next);
        }
        take(&mut units, 60).await;
    }
    assert!(units.iter().all(|(_, unit)| unit.numbers.len() > 200 && unit.numbers.len() < END as usize / 2));
    take_all(&mut units).await;
    drop(served);
}

#[tokio::test]
async fn connections_that_are_cut_are_made_again_and_nothing_is_missing_or_comes_twice() {
    let (reader, other) = (Node::start("reader").await, Node::start("other").await);
    assign(&[&reader, &other], Some(&reader));
    let _served = reader.hub.serve(subscription(0).log, numbers(7));
    let mut units: Vec<_> = (0..4).map(|index| (&other.hub, Subscribed::new(&other.hub, index, 4))).collect();
    for _ in 0..10 {
        take(&mut units, 50).await;
        assert_eq!(reader.connections.get(), 1, "one a peer and direction");
        reader.cut();
        reader.connections.until(|connections| *connections == 0).await;
    }
    take_all(&mut units).await;
}

#[tokio::test]
async fn a_peer_that_starts_again_is_known_by_its_new_run_and_key() {
    let unit_node = Node::start("units").await;
    let mut reader = Node::start("reader-0").await;
    let mut served = reader.hub.serve(subscription(0).log, numbers(7));
    assign(&[&unit_node, &reader], Some(&reader));
    let mut units: Vec<_> = (0..2).map(|index| (&unit_node.hub, Subscribed::new(&unit_node.hub, index, 4))).collect();
    for restart in 1..5 {
        take(&mut units, 50).await;
        drop((served, reader));
        reader = Node::start(&format!("reader-{restart}")).await;
        served = reader.hub.serve(subscription(0).log, numbers(7 + restart));
        assign(&[&unit_node, &reader], Some(&reader));
    }
    take_all(&mut units).await;
    drop(served);
}

#[tokio::test]
async fn a_stranger_learns_nothing_and_who_is_named_no_more_is_cut_off() {
    let [reader, known, stranger] =
        [Node::start("reader").await, Node::start("known").await, Node::start("stranger").await];
    let numbers = Numbers { end: END, range: 7, then: Then::Waits, ..Numbers::default() };
    let open = numbers.open.clone();
    let _served = reader.hub.serve(subscription(0).log, Arc::new(numbers));
    assign(&[&reader, &known], Some(&reader));
    // It knows the reader; the reader does not know it.
    assign(&[&stranger], None);
    stranger.hub.place(vec![reader.address.clone()], [(subscription(0).log, run("reader"))].into());
    let mut refused = Subscribed::new(&stranger.hub, 0, 4);
    reader.connections.until(|connections| *connections == 1).await;
    reader.connections.until(|connections| *connections == 0).await;
    assert_eq!((refused.messages.try_recv(), open.get()), (Err(TryRecvError::Empty), 0));

    let mut unit = Subscribed::new(&known.hub, 0, 4);
    unit.take(&known.hub).await;
    assert_eq!(open.get(), 1);
    assign(&[&reader], Some(&reader));
    open.until(|open| *open == 0).await;
    unit.until_refused(&known.hub).await;
    assert_eq!(refused.messages.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn a_known_key_under_another_run_is_refused() {
    let reader = Node::start("reader").await;
    let numbers = Numbers { end: END, range: 7, ..Numbers::default() };
    let open = numbers.open.clone();
    let _served = reader.hub.serve(subscription(0).log, Arc::new(numbers));

    let (before, again) = (Node::start("one").await, Identity::generate().expect("a key"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let named = PeerAddress { fingerprint: again.fingerprint(), ..before.address.clone() };
    reader.hub.place(vec![named], [].into());
    let hub = Hub::new(run("two"), Arc::new(SystemClock::new()), Duration::MAX);
    let listening = hub.clone();
    let listen = tokio::spawn(async move { listening.listen(listener, &again).await.map(|_| ()) });
    hub.place(vec![reader.address.clone()], [(subscription(0).log, run("reader"))].into());
    let mut unit = Subscribed::new(&hub, 0, 4);
    reader.connections.until(|connections| *connections == 1).await;
    reader.connections.until(|connections| *connections == 0).await;
    assert_eq!(open.get(), 0);
    while let Ok(message) = unit.messages.try_recv() {
        let message = format!("{message:?}");
        assert!(message.contains("NotReader"), "{message}");
    }
    listen.abort();
}

#[tokio::test]
async fn a_unit_that_stands_still_stops_no_other_of_the_same_connection() {
    let (reader, other) = (Node::start("reader").await, Node::start("other").await);
    assign(&[&reader, &other], Some(&reader));
    let _served = reader.hub.serve(subscription(0).log, numbers(7));
    let mut still = Subscribed::new(&other.hub, 1, 1);
    let mut units =
        vec![(&other.hub, Subscribed::new(&other.hub, 0, 4)), (&reader.hub, Subscribed::new(&reader.hub, 2, 4))];
    take_all(&mut units).await;
    assert_eq!(still.numbers, [] as [i64; 0]);
    still.take_all(&other.hub).await;
    assert_eq!(still.numbers, still.expected(END));
}

#[tokio::test]
async fn what_a_unit_has_committed_reaches_the_reader_elsewhere() {
    let (reader, other) = (Node::start("reader").await, Node::start("other").await);
    let unit = Subscribed::new(&other.hub, 0, 4);
    unit.line().committed(Position::at(0));
    assign(&[&reader, &other], Some(&reader));
    let numbers = Numbers { end: END, range: 7, ..Numbers::default() };
    let committed = numbers.committed.clone();
    let _served = reader.hub.serve(subscription(0).log, Arc::new(numbers));
    committed.until(|committed| *committed == [(0, Position::at(0))]).await;
    unit.line().committed(Position::at(7));
    committed.until(|committed| *committed == [(0, Position::at(0)), (0, Position::at(7))]).await;
}

#[tokio::test]
async fn a_peer_that_is_asked_to_let_go_of_a_unit_answers_also_over_a_new_connection() {
    let (owner, next) = (Node::start("owner").await, Node::start("next").await);
    let mut requests = owner.hub.release_requests();
    let unit = subscription(3).unit;
    assign(&[&owner, &next], None);
    let ask = next.hub.ask_to_release(&owner.address.run, unit, Epoch(4), "uid");
    let answer = async {
        let first = requests.recv().await.expect("the owner is asked");
        assert_eq!((first.unit, first.epoch, first.assignment.as_str()), (unit, Epoch(4), "uid"));
        owner.cut();
        let again = requests.recv().await.expect("the owner is asked again");
        assert_eq!((again.unit, again.epoch), (unit, Epoch(4)));
        drop(first);
        again.answer.send(()).expect("it is waited for");
    };
    let (reply, ()) = timeout(LIMIT, async { tokio::join!(ask, answer) }).await.expect("in time");
    assert_eq!(reply, Reply::Released);
}

#[tokio::test]
async fn where_nobody_listens_any_more_the_new_owner_of_a_unit_need_not_wait() {
    let (owner, next) = (Node::start("owner").await, Node::start("next").await);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it is bound");
    let ended = PeerAddress { address: closed, ..owner.address.clone() };
    assign(&[&next], None);
    next.hub.place(vec![ended.clone()], BTreeMap::new());
    let ask = next.hub.ask_to_release(&ended.run, subscription(3).unit, Epoch(4), "uid");
    assert_eq!(timeout(LIMIT, ask).await.expect("in time"), Reply::NobodyThere);
}

#[tokio::test]
async fn who_is_named_no_longer_need_not_be_waited_for() {
    let (owner, next) = (Node::start("owner").await, Node::start("next").await);
    let mut requests = owner.hub.release_requests();
    assign(&[&owner, &next], None);
    let ask = next.hub.ask_to_release(&owner.address.run, subscription(3).unit, Epoch(4), "uid");
    let goes = async {
        let _unanswered = requests.recv().await.expect("the owner is asked");
        assign(&[&next], None);
    };
    let (reply, ()) = timeout(LIMIT, async { tokio::join!(ask, goes) }).await.expect("in time");
    assert_eq!(reply, Reply::NobodyThere);
    let ask = next.hub.ask_to_release(&owner.address.run, subscription(3).unit, Epoch(4), "uid");
    assert_eq!(timeout(LIMIT, ask).await.expect("in time"), Reply::NobodyThere);
}

#[tokio::test]
async fn a_request_that_nobody_answers_holds_nothing_up() {
    let (owner, next) = (Node::start("owner").await, Node::start("next").await);
    assign(&[&owner, &next], Some(&owner));
    let _served = owner.hub.serve(subscription(0).log, numbers(70));
    let mut requests = owner.hub.release_requests();
    let ask = next.hub.ask_to_release(&owner.address.run, subscription(3).unit, Epoch(4), "uid");
    let goes_on = async {
        drop(requests.recv().await.expect("the owner is asked"));
        take_all(&mut [(&next.hub, Subscribed::new(&next.hub, 0, 4))]).await;
    };
    tokio::select! {
        _ = ask => panic!("nobody has answered"),
        () = goes_on => {}
    }
}
