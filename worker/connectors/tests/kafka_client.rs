//! What the client must do on a real broker: one test for each trap of the library behind it. `make e2e`; `make e2e-rdkafka`
//! has the other library behind it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use bytes::Bytes;
use krafka::Record;
use thalweg_connectors::kafka::client::{Bounds, ClientError, Cluster, Library, Outgoing, Producing, Reach, Wanted};
use thalweg_connectors::kafka::config::{Connection, Fetching};
use thalweg_connectors::kafka::delivery::Layout;
use thalweg_connectors::kafka::{About, Delivery, KafkaSink, SinkConfig};
use thalweg_core::append_log::Appended;
use thalweg_core::clock::SystemClock;
use thalweg_core::error::{Error, ErrorKind};
use thalweg_core::ownership::{Owner, Superseded};
use thalweg_core::position::Position;
use thalweg_core::sink::{Label, Sink, SinkWriter, WriterId};
use thalweg_core::unit::{Epoch, Incarnation, RunId, StageId, UnitId};
use thalweg_crds::connector::KafkaCompression;
use thalweg_crds::pipeline::Delivery as Promise;
use thalweg_e2e::kafka::Kafka;

fn connection(kafka: &Kafka) -> Connection {
    Connection {
        brokers: vec![kafka.address()],
        client_id: "test".to_owned(),
        security: None,
        fetching: Fetching::default(),
    }
}

async fn cluster(kafka: &Kafka) -> Arc<dyn Cluster> {
    Library.reach(&connection(kafka)).await.expect("reached")
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
async fn read(cluster: &dyn Cluster, from: u64, until: u64) -> Vec<String> {
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
            // The first one is decided a moment after its commit, with its marker; of the second one nothing may have been sent.
            if bounds.stable_end >= 2 && bounds.end > bounds.stable_end {
                return bounds;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let bounds = tokio::time::timeout(Duration::from_secs(20), open).await.expect("sent in time");
    assert_eq!(bounds.end, bounds.stable_end + 1);
    assert_eq!(read(&*cluster, 0, bounds.stable_end).await, ["a"]);
    let mut reader = cluster.reader("t", 0, bounds.stable_end, Wanted::default()).await.expect("opened");
    let polled = reader.poll(Duration::from_secs(1)).await.expect("polled");
    assert!(!polled.at_end && polled.next == bounds.stable_end, "an open transaction is not the end: {polled:?}");
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
    assert_eq!(read(&*cluster, 0, end).await, ["a", "d"]);
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
    assert_eq!(read(&*cluster, 0, end).await, ["y"]);
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
    assert_eq!(cluster.most_bytes("t").await.expect("an answer"), Some(1_048_588), "Kafka's default");
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
async fn what_java_compresses_is_read_and_what_is_compressed_here_is_read_by_java() {
    const CODECS: [(KafkaCompression, &str); 5] = [
        (KafkaCompression::None, "none"),
        (KafkaCompression::Gzip, "gzip"),
        (KafkaCompression::Snappy, "snappy"),
        (KafkaCompression::Lz4, "lz4"),
        (KafkaCompression::Zstd, "zstd"),
    ];
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    let text = |who: &str, codec: &str| format!("{who} {codec} {}", "x".repeat(500));
    for (compression, codec) in CODECS {
        let how = Producing { compression, ..producing(Duration::from_secs(60)) };
        let mut producer = cluster.producer(&how).await.expect("a producer");
        producer.send(outgoing(&text("ours", codec))).await.expect("sent");
        producer.acknowledge().await.expect("acknowledged");
    }
    for (_, codec) in CODECS {
        let mut console = kafka
            .tool("org.apache.kafka.tools.ConsoleProducer")
            .args(["--bootstrap-server", &kafka.address(), "--topic", "t", "--compression-codec", codec])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("java starts");
        let line = text("java", codec);
        std::io::Write::write_all(&mut console.stdin.take().expect("piped"), line.as_bytes()).expect("written");
        assert!(console.wait().expect("ended").success());
    }
    let wanted: Vec<_> = ["ours", "java"].iter().flat_map(|who| CODECS.map(|(_, codec)| text(who, codec))).collect();
    assert_eq!(read(&*cluster, 0, 10).await, wanted);
    let shown: Vec<_> = kafka.committed("t").into_iter().filter_map(|seen| seen.value).collect();
    assert_eq!(shown, wanted);
    // The broker keeps batches as they came: their attributes name the codec.
    let segment = std::fs::read(kafka.folder().join("data/t-0/00000000000000000000.log")).expect("a segment");
    let mut codecs = Vec::new();
    let mut rest = &segment[..];
    while let Some(length) = rest.get(8..12).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes"))) {
        codecs.push(rest[22] & 7);
        rest = &rest[12 + length as usize..];
    }
    assert_eq!(codecs, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_apart_from_being_refused() {
    let connection = Connection {
        brokers: vec!["127.0.0.1:1".to_owned()],
        client_id: "test".to_owned(),
        security: None,
        fetching: Fetching::default(),
    };
    let away = Library.reach(&connection).await.err().expect("nobody is there");
    assert!(matches!(away, ClientError::Away(_)), "{away:?}");
}

const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };

/// A process of the pipeline `default.p`, which writes to the topic `t`.
async fn process(kafka: &Kafka, incarnation: Option<u64>) -> (Arc<Delivery>, KafkaSink) {
    let about = About {
        pipeline: "default.p".to_owned(),
        installation: "test".to_owned(),
        incarnation: incarnation.map(Incarnation),
        layout: Layout { keyed: Vec::new(), routes: vec![(StageId(0), 0)] },
        fingerprints: vec!["print".to_owned()],
        fresh: false,
        restart: None,
        commit_every: Duration::from_secs(1),
    };
    let clock = Arc::new(SystemClock::new());
    let delivery = Delivery::open(connection(kafka), about, None, clock, &Library).await.expect("opened");
    let config = SinkConfig {
        connection: connection(kafka),
        topic: "t".into(),
        key: Vec::new(),
        compression: KafkaCompression::None,
        create: None,
        linger: Duration::from_millis(1),
        batch_bytes: 16 << 10,
        promise: Promise::ExactlyOnce,
    };
    let sink = KafkaSink::new(config, Arc::clone(&delivery));
    sink.prepare(&[UNIT]).await.expect("room");
    (delivery, sink)
}

async fn acquire(
    sink: &KafkaSink,
    incarnation: u64,
    run: &str,
    epoch: Option<u64>,
) -> Result<Box<dyn SinkWriter>, Error> {
    let owner = Owner { run: RunId(run.to_owned()), assigned: epoch.map(Epoch) };
    let incarnation = Incarnation(incarnation);
    sink.writer(&WriterId { pipeline: "default.p".to_owned(), incarnation, unit: UNIT, owner }).await
}

async fn write(writer: &mut dyn SinkWriter, number: i64) -> Result<(), Error> {
    let column = Arc::new(Int64Array::from(vec![number]));
    writer.write(&RecordBatch::try_from_iter([("n", column as _)]).expect("valid")).await
}

async fn deliver(writer: &mut dyn SinkWriter, next: u64) -> Result<(), Error> {
    writer.deliver(&Label { seq: 0, position: Some(Position::at(next)) }).await
}

fn superseded(acquired: Result<Box<dyn SinkWriter>, Error>) -> Superseded {
    let error = acquired.err().expect("it is taken");
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    error.superseded.expect("and says by which epoch")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_written_at_the_epoch_that_was_assigned_and_by_one_process_of_an_epoch() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_first, sink) = process(&kafka, Some(1)).await;
    let mut at_3 = acquire(&sink, 1, "a", Some(3)).await.expect("it is free");
    write(&mut *at_3, 1).await.expect("written");
    deliver(&mut *at_3, 1).await.expect("delivered");
    write(&mut *at_3, 2).await.expect("written");

    // Whoever comes too late is told, and ends nothing that the owner has open.
    let (_second, sink) = process(&kafka, Some(1)).await;
    for assigned in [2, 3] {
        let refused = superseded(acquire(&sink, 1, "b", Some(assigned)).await);
        assert_eq!(refused, Superseded { assigned: Epoch(assigned), stored: Epoch(3) });
    }
    deliver(&mut *at_3, 2).await.expect("it is still the owner");

    // The next owner goes on after what was delivered, and the one before is out.
    let mut at_4 = acquire(&sink, 1, "b", Some(4)).await.expect("it is assigned above");
    let last = at_4.last_published().await.expect("read").expect("something was delivered");
    assert_eq!(last.position, Some(Position::at(2)));
    write(&mut *at_3, 9).await.expect("failures show when it is delivered");
    let fenced = deliver(&mut *at_3, 9).await.expect_err("another one owns it");
    assert_eq!(fenced.kind, ErrorKind::Fenced, "{fenced}");
    write(&mut *at_4, 3).await.expect("written");
    deliver(&mut *at_4, 3).await.expect("delivered");

    // The same process may come again at its epoch; one that assigns to itself goes above.
    let (_again, again) = process(&kafka, Some(1)).await;
    drop(acquire(&again, 1, "b", Some(4)).await.expect("it has the unit"));
    let (_own, own) = process(&kafka, Some(1)).await;
    let mut at_5 = acquire(&own, 1, "c", None).await.expect("always");
    write(&mut *at_5, 4).await.expect("written");
    deliver(&mut *at_5, 4).await.expect("delivered");
    assert_eq!(superseded(acquire(&again, 1, "b", Some(4)).await).stored, Epoch(5));

    // Another start from scratch counts its epochs anew, and ends the one before for good.
    let (_restarted, restarted) = process(&kafka, Some(2)).await;
    let mut fresh = acquire(&restarted, 2, "d", Some(1)).await.expect("nobody has written in it");
    assert_eq!(fresh.last_published().await.expect("read"), None);
    write(&mut *fresh, 5).await.expect("written");
    deliver(&mut *fresh, 5).await.expect("delivered");
    let refused = acquire(&again, 1, "b", Some(9)).await.err().expect("its incarnation is over");
    assert_eq!(refused.kind, ErrorKind::Fenced, "{refused}");

    let cluster = cluster(&kafka).await;
    let end = cluster.bounds("t", 0).await.expect("bounds").stable_end;
    let rows = read(&*cluster, 0, end).await;
    assert_eq!(rows, [1, 2, 3, 4, 5].map(|number| format!("{{\"n\":{number}}}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_transaction_that_the_broker_aborted_are_sent_again_and_show_once() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_delivery, sink) = process(&kafka, Some(1)).await;
    let mut writer = acquire(&sink, 1, "a", Some(1)).await.expect("it is free");
    write(&mut *writer, 1).await.expect("written");
    write(&mut *writer, 2).await.expect("written");
    let cluster = cluster(&kafka).await;
    // The broker's patience is a minute; the marker of its abort stands behind the rows.
    let aborted = async {
        while cluster.bounds("t", 0).await.expect("bounds").stable_end < 3 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(150), aborted).await.expect("aborted");
    write(&mut *writer, 3).await.expect("written");
    deliver(&mut *writer, 3).await.expect("delivered");
    write(&mut *writer, 4).await.expect("written");
    deliver(&mut *writer, 4).await.expect("delivered");
    let shown: Vec<_> = kafka.committed("t").into_iter().filter_map(|seen| seen.value).collect();
    assert_eq!(shown, [1, 2, 3, 4].map(|number| format!("{{\"n\":{number}}}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_extend_the_lists_of_a_pipeline_without_state() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (one, _sink) = process(&kafka, None).await;
    let (two, _sink) = process(&kafka, None).await;
    assert_eq!(one.incarnation(), two.incarnation(), "both start the same thing");
    let (one, two) = (one.list("splits"), two.list("splits"));
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(one.append(0, text("a")).await.expect("appended"), Appended::Created);
    assert_eq!(two.append(0, text("b")).await.expect("asked"), Appended::Exists);
    assert_eq!(two.read(0).await.expect("read"), [text("a")]);
    assert_eq!(two.append(1, text("b")).await.expect("appended"), Appended::Created);
    assert_eq!(one.append(1, text("c")).await.expect("asked"), Appended::Exists);
    assert_eq!(one.append(2, text("c")).await.expect("appended"), Appended::Created);
    assert_eq!(one.read(0).await.expect("read"), [text("a"), text("b"), text("c")]);
}
