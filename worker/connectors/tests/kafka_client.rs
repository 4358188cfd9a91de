//! What the client must do on a real broker: one test for each trap of the library behind it. `make e2e`.

use std::time::Duration;

use bytes::Bytes;
use krafka::Record;
use thalweg_connectors::kafka::client::{Bounds, ClientError, Cluster, KrafkaCluster, Outgoing, Producing, Wanted};
use thalweg_connectors::kafka::config::{Connection, Fetching};
use thalweg_crds::connector::KafkaCompression;
use thalweg_e2e::kafka::Kafka;

async fn cluster(kafka: &Kafka) -> KrafkaCluster {
    let connection = Connection {
        brokers: vec![kafka.address()],
        client_id: "test".to_owned(),
        security: None,
        fetching: Fetching::default(),
    };
    KrafkaCluster::connect(connection).await.expect("reached")
}

fn producing(timeout: Duration) -> Producing {
    Producing {
        compression: KafkaCompression::Zstd,
        linger: Duration::from_millis(1),
        batch_bytes: 16 << 10,
        transaction_timeout: timeout,
    }
}

fn outgoing(value: &str) -> Outgoing {
    Outgoing { topic: "t".into(), partition: Some(0), key: None, value: Bytes::from(value.to_owned()) }
}

/// Reads until the next offset is `until`.
async fn read(cluster: &KrafkaCluster, from: u64, until: u64) -> Vec<String> {
    let mut reader = cluster.reader("t", 0, from, Wanted::default()).await.expect("opened");
    let mut values = Vec::new();
    for _ in 0..100 {
        let polled = reader.poll(Duration::from_millis(200)).await.expect("polled");
        let texts = polled.records.values.into_iter().flatten();
        values.extend(texts.map(|value| String::from_utf8(value.to_vec()).expect("text")));
        if polled.next >= until {
            return values;
        }
    }
    panic!("offset {until} was not reached")
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_show_at_once_or_never_and_positions_run_over_their_markers() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    let mut first = cluster.transactions("id", &producing(Duration::from_secs(60))).await.expect("a producer");
    first.commit().await.expect("a commit of nothing does nothing");
    first.send(outgoing("a")).await.expect("sent");
    first.commit().await.expect("committed");
    first.send(outgoing("b")).await.expect("sent");
    first.abort().await.expect("aborted");
    first.send(outgoing("c")).await.expect("sent");
    // Open: neither shown, nor below what readers of committed records may read.
    let open = async {
        loop {
            let bounds = cluster.bounds("t", 0).await.expect("bounds");
            if bounds.end == 5 {
                return bounds;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let bounds = tokio::time::timeout(Duration::from_secs(20), open).await.expect("sent in time");
    assert_eq!(bounds, Bounds { start: 0, stable_end: 4, end: 5 });
    assert_eq!(read(&cluster, 0, 4).await, ["a"]);
    let mut reader = cluster.reader("t", 0, 4, Wanted::default()).await.expect("opened");
    let polled = reader.poll(Duration::from_secs(1)).await.expect("polled");
    assert!(!polled.at_end && polled.next == 4, "an open transaction is not the end: {polled:?}");
    // Whoever comes with the same id ends what was open, and the first one is out.
    let mut second = cluster.transactions("id", &producing(Duration::from_secs(60))).await.expect("a producer");
    second.send(outgoing("d")).await.expect("sent");
    second.commit().await.expect("committed");
    let fenced = match first.commit().await {
        Err(ClientError::Abortable(_)) => first.abort().await,
        other => other,
    };
    assert!(matches!(fenced, Err(ClientError::Fenced(_))), "{fenced:?}");
    let end = cluster.bounds("t", 0).await.expect("bounds").end;
    assert_eq!(read(&cluster, 0, end).await, ["a", "d"]);
    let mut reader = cluster.reader("t", 0, end, Wanted::default()).await.expect("opened");
    let polled = reader.poll(Duration::from_secs(1)).await.expect("polled");
    assert!(polled.at_end, "{polled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_broker_gave_up_asks_for_another_producer() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    let mut slow = cluster.transactions("slow", &producing(Duration::from_secs(1))).await.expect("a producer");
    slow.send(outgoing("x")).await.expect("sent");
    let given_up = async {
        // The marker of the abort stands behind the record.
        while cluster.bounds("t", 0).await.expect("bounds").stable_end < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_up).await.expect("given up");
    let error = slow.commit().await.expect_err("it was given up");
    let is_one = matches!(error, ClientError::Spent(_) | ClientError::Abortable(_) | ClientError::Fenced(_));
    assert!(is_one, "{error:?}");
    let mut again = cluster.transactions("slow", &producing(Duration::from_secs(60))).await.expect("a producer");
    again.send(outgoing("y")).await.expect("sent");
    again.commit().await.expect("committed");
    let end = cluster.bounds("t", 0).await.expect("bounds").end;
    assert_eq!(read(&cluster, 0, end).await, ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_log_does_not_hold_is_said() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    kafka.send((0..10).map(|n| Record::new("t", n.to_string()))).await;
    kafka.forget("t", 0, 5).await;
    assert_eq!(cluster.bounds("t", 0).await.expect("bounds"), Bounds { start: 5, stable_end: 10, end: 10 });
    let mut reader = cluster.reader("t", 0, 2, Wanted::default()).await.expect("opened");
    let polled = reader.poll(Duration::from_secs(2)).await;
    assert_eq!(polled.expect_err("overtaken"), ClientError::OutOfRange);
    assert_eq!(cluster.topic("nothing").await.expect("an answer"), None);
    assert!(matches!(cluster.bounds("t", 7).await, Err(ClientError::NoTopic | ClientError::Away(_))));
    assert!(!cluster.create_topic(&again("t")).await.expect("an answer"), "it is there already");
    assert!(cluster.offset_at("t", 0, i64::MAX / 2).await.expect("an answer").is_none(), "no record is that new");
}

fn again(name: &str) -> thalweg_connectors::kafka::client::NewTopic {
    let name = name.to_owned();
    thalweg_connectors::kafka::client::NewTopic { name, partitions: 1, replication: None, settings: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_where_the_producer_of_java_sends_it() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 7, &[]).await;
    let cluster = cluster(&kafka).await;
    let mut producer = cluster.producer(&producing(Duration::from_secs(60))).await.expect("a producer");
    for key in 0..200 {
        let key = Some(Bytes::from(format!("key-{key}")));
        producer.send(Outgoing { partition: None, key, ..outgoing("ours") }).await.expect("sent");
    }
    producer.acknowledge().await.expect("acknowledged");
    let keys: String = (0..200).map(|key| format!("key-{key}\tjava\n")).collect();
    let mut console = kafka
        .tool("org.apache.kafka.tools.ConsoleProducer")
        .args(["--bootstrap-server", &kafka.address(), "--topic", "t", "--reader-property", "parse.key=true"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("java starts");
    std::io::Write::write_all(&mut console.stdin.take().expect("piped"), keys.as_bytes()).expect("written");
    assert!(console.wait().expect("ended").success());
    let seen = kafka.committed("t");
    assert_eq!(seen.len(), 400);
    let mut partitions = std::collections::HashMap::new();
    for record in &seen {
        let first = partitions.entry(record.key.clone()).or_insert(record.partition);
        assert_eq!(*first, record.partition, "{:?}", record.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_apart_from_being_refused() {
    let connection = Connection {
        brokers: vec!["127.0.0.1:1".to_owned()],
        client_id: "test".to_owned(),
        security: None,
        fetching: Fetching::default(),
    };
    let away = KrafkaCluster::connect(connection).await.err().expect("nobody is there");
    assert!(matches!(away, ClientError::Away(_)), "{away:?}");
}
