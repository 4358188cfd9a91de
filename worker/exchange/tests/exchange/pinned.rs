//! Who may talk to whom.

use thalweg_exchange::channel::{ChannelError, connect};
use thalweg_exchange::network::Tcp;
use thalweg_mtls::identity::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::worker::{LIMIT, Numbers, Unit, Worker, named, run};

fn numbers() -> Numbers {
    Numbers { end: 10, range: 3, ..Numbers::default() }
}

#[tokio::test]
async fn a_worker_whose_key_is_not_pinned_is_refused() {
    let (known, stranger) = (Identity::generate().expect("a key"), Identity::generate().expect("a key"));
    let worker = Worker::serving(numbers(), named(&known)).await;

    let config = stranger.client_config(worker.fingerprint).expect("a configuration");
    let refused =
        connect(&Tcp, worker.address, config.clone(), &run("stranger")).await.err().expect("it is a stranger");
    assert!(matches!(refused, ChannelError::Io { .. }), "{refused}");

    let config = known.client_config(worker.fingerprint).expect("a configuration");
    connect(&Tcp, worker.address, config.clone(), &run("known")).await.expect("it is known");
    worker.hub.place(named(&stranger), [].into());
    assert!(connect(&Tcp, worker.address, config, &run("known")).await.is_err(), "the assignment names it no more");
}

#[tokio::test]
async fn a_reader_with_another_key_is_not_believed() {
    let identity = Identity::generate().expect("a key");
    let worker = Worker::serving(numbers(), named(&identity)).await;
    let other = Identity::generate().expect("a key").fingerprint();
    let config = identity.client_config(other).expect("a configuration");
    let refused = connect(&Tcp, worker.address, config, &run("unit")).await.err().expect("it is another");
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn who_speaks_no_tls_learns_nothing_and_disturbs_nobody() {
    let identity = Identity::generate().expect("a key");
    let worker = Worker::serving(numbers(), named(&identity)).await;
    let mut plain = TcpStream::connect(worker.address).await.expect("the port is open");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(LIMIT, plain.read_to_end(&mut answer)).await.expect("in time");
    assert!(reading.is_err() || !answer.windows(4).any(|bytes| bytes == b"HTTP"), "{answer:?}");

    let mut unit = Unit::new(0, 2);
    let mut connection = unit.subscribe(&identity, &worker, "plan").await;
    tokio::time::timeout(LIMIT, unit.take_all(&mut connection)).await.expect("in time");
}
