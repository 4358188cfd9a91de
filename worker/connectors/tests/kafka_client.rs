//! What the client must do on a real broker: one test for each trap of the library behind it. `make e2e`; `make e2e-rdkafka`
//! has the other library behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use bytes::Bytes;
use krafka::Record;
use thalweg_connectors::kafka::client::{
    Bounds, ClientError, Cluster, EpochEnd, Epochs, Krafka, Library, Outgoing, Producing, Reach, Wanted,
};
use thalweg_connectors::kafka::config::{Connection, Fetching};
use thalweg_connectors::kafka::{About, Delivery, KafkaSink, SinkConfig, Waits};
use thalweg_core::address::{Reachable, Reason, Surroundings};
use thalweg_core::append_log::Appended;
use thalweg_core::clock::{Clock as _, SystemClock};
use thalweg_core::error::{Cause, Error, ErrorKind};
use thalweg_core::ownership::claim::Adopt;
use thalweg_core::ownership::{Owner, Superseded};
use thalweg_core::position::Position;
use thalweg_core::share::Share;
use thalweg_core::sink::{Label, Sink, SinkWriter, WriterId};
use thalweg_core::unit::{Epoch, Incarnation, RunId, StageId, UnitId};
use thalweg_crds::connector::KafkaCompression;
use thalweg_crds::pipeline::Delivery as Promise;
use thalweg_crds::statements::{Stage, Statement};
use thalweg_e2e::kafka::Kafka;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

fn connection(kafka: &Kafka) -> Connection {
    Connection {
        brokers: vec![kafka.address()],
        client_id: "test".to_owned(),
        security: None,
        fetching: Fetching::default(),
        reachable: Reachable::default(),
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
    let value = Some(Bytes::from(value.to_owned()));
    Outgoing { topic: "t".into(), partition: Some(0), key: None, value, headers: Vec::new() }
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

/// Lag is told by it.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_first_record_is_told_although_nobody_wants_times() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    // Retention would delete old ones.
    let now = SystemClock::new().wall_millis();
    let times = [now, now + 7, now + 3];
    kafka.send(times.map(|time| Record::new("t", "v").timestamp(time))).await;
    for (from, first) in (0u64..).zip(times) {
        let mut reader = cluster.reader("t", 0, from, Wanted::default()).await.expect("opened");
        let some = async {
            loop {
                let polled = reader.poll(Duration::from_millis(200)).await.expect("polled");
                if polled.next > from {
                    return polled.records;
                }
            }
        };
        let records = tokio::time::timeout(Duration::from_secs(20), some).await.expect("read in time");
        assert_eq!((records.first_timestamp, records.timestamps.len()), (Some(first), 0));
    }
}

/// The epochs of the first records from an offset on.
async fn epochs(cluster: &dyn Cluster, from: u64) -> Epochs {
    let mut reader = cluster.reader("t", 0, from, Wanted::default()).await.expect("opened");
    let some = async {
        loop {
            let polled = reader.poll(Duration::from_millis(200)).await.expect("polled");
            if let Some(epochs) = polled.epochs {
                return epochs;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), some).await.expect("read in time")
}

/// By that a reader knows whether a new leader has what it has read.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_where_the_next_one_begins() {
    let mut kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    kafka.send((0..10).map(|n| Record::new("t", n.to_string()))).await;
    // librdkafka has no such question.
    let cluster = Krafka.reach(&connection(&kafka)).await.expect("reached");
    let Epochs { first, last } = epochs(&*cluster, 0).await;
    assert_eq!(first, last);
    assert_eq!(cluster.epoch_end("t", 0, first).await, Ok(Some(EpochEnd { epoch: first, end: 10 })));
    kafka.stop();
    kafka.resume();
    kafka.send((10..15).map(|n| Record::new("t", n.to_string()))).await;
    let cluster = Krafka.reach(&connection(&kafka)).await.expect("reached");
    let next = epochs(&*cluster, 10).await.first;
    assert!(next > first, "{next} after {first}");
    assert_eq!(cluster.epoch_end("t", 0, first).await, Ok(Some(EpochEnd { epoch: first, end: 10 })));
    assert_eq!(cluster.epoch_end("t", 0, next).await, Ok(Some(EpochEnd { epoch: next, end: 15 })));
    assert_eq!(cluster.epoch_end("t", 0, next + 1).await, Err(ClientError::Cut(None)), "a leader knows its own epoch");
    // Here an answer has one batch. Were the next one joined to it in a poll, nobody could tell that another log began there.
    let wanted = Wanted { fetch_bytes: Some(1), ..Wanted::default() };
    let mut reader = cluster.reader("t", 0, 0, wanted).await.expect("opened");
    let all = async {
        let (mut found, mut until) = (Vec::new(), 0);
        while until < 15 {
            let polled = reader.poll(Duration::from_millis(200)).await.expect("polled");
            until = polled.next;
            found.extend(polled.epochs);
        }
        found
    };
    let found = tokio::time::timeout(Duration::from_secs(20), all).await.expect("read in time");
    assert!(found.iter().all(|epochs| epochs.first == epochs.last), "{found:?}");
    assert_eq!(found.iter().map(|epochs| epochs.last).max(), Some(next));
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
    assert_eq!(cluster.setting("t", "cleanup.policy").await.expect("an answer").as_deref(), Some("delete"));
    assert_eq!(cluster.setting("t", "no.such.setting").await.expect("an answer"), None);
    assert!(cluster.offset_at("t", 0, i64::MAX / 2).await.expect("an answer").is_none(), "no record is that new");
}

fn again(name: &str) -> thalweg_connectors::kafka::client::NewTopic {
    let name = name.to_owned();
    thalweg_connectors::kafka::client::NewTopic { name, partitions: 1, replication: None, settings: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_records_without_a_value_are_written_and_read_as_they_are() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let cluster = cluster(&kafka).await;
    let headers = || {
        let all = [("a", Some("1")), ("b", None), ("c", Some("")), ("a", Some("2"))];
        all.map(|(name, value)| (Arc::<str>::from(name), value.map(Bytes::from))).to_vec()
    };
    let key = || Some(Bytes::from("k"));
    let records = || {
        [
            Outgoing { key: key(), headers: headers(), ..outgoing("v") },
            Outgoing { key: key(), value: None, ..outgoing("") },
            // Not the same.
            Outgoing { key: key(), ..outgoing("") },
        ]
    };
    let mut in_transaction = cluster.transactions("id", &producing(Duration::from_secs(60))).await.expect("a producer");
    for record in records() {
        in_transaction.send(record).await.expect("sent");
    }
    in_transaction.commit().await.expect("committed");
    let mut alone = cluster.producer(&producing(Duration::from_secs(60))).await.expect("a producer");
    for record in records() {
        alone.send(record).await.expect("sent");
    }
    alone.acknowledge().await.expect("acknowledged");

    let lines: Vec<_> = kafka.committed_with_headers("t").into_iter().map(|(text, seen)| (text, seen.value)).collect();
    let of_one = [("a:1,b:null,c:,a:2", Some("v")), ("NO_HEADERS", None), ("NO_HEADERS", Some(""))];
    let of_one = of_one.map(|(text, value)| (text.to_owned(), value.map(str::to_owned)));
    assert_eq!(lines, [of_one.clone(), of_one].concat());

    let wanted = Wanted { keys: true, headers: true, ..Wanted::default() };
    let mut reader = cluster.reader("t", 0, 0, wanted).await.expect("opened");
    let (mut values, mut found) = (Vec::new(), Vec::new());
    let read = async {
        while values.len() < 6 {
            let records = reader.poll(Duration::from_millis(200)).await.expect("polled").records;
            values.extend(records.values);
            found.extend(records.headers);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("read in time");
    let of_one = [Some(Bytes::from("v")), None, Some(Bytes::new())];
    assert_eq!(values, [of_one.clone(), of_one].concat());
    let with = headers().into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Vec<_>>();
    assert_eq!(found, [with.clone(), Vec::new(), Vec::new(), with, Vec::new(), Vec::new()]);
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
        reachable: Reachable::default(),
    };
    let away = Library.reach(&connection).await.err().expect("nobody is there");
    assert!(matches!(away, ClientError::Away(_)), "{away:?}");
}

/// Passes on what comes to an address of its own: a way to the broker that the broker does not know of.
async fn way_to(kafka: &Kafka) -> String {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
    let (way, broker) = (listener.local_addr().expect("bound").to_string(), kafka.address());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(&broker).await.expect("the broker is there");
            tokio::spawn(async move { copy_bidirectional(&mut from, &mut to).await });
        }
    });
    way
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_calls_its_brokers_is_refused_where_it_leads_to_the_pod_itself() {
    let kafka = Kafka::start();
    let way = way_to(&kafka).await;
    let reach = async |exception: &str| {
        let pod = Surroundings::new(Some("10.96.0.1".to_owned()));
        let exceptions = vec![exception.parse().expect("a range")];
        let reachable = Reachable::new("kafka.allowPrivateAddresses", exceptions, pod);
        let connection = Connection { brokers: vec![way.clone()], reachable, ..connection(&kafka) };
        Library.reach(&connection).await.expect("the way is an exception").topic("nothing").await
    };
    let Err(ClientError::Forbidden(refused)) = reach("127.0.0.2").await else { panic!("it is reached") };
    assert_eq!((refused.host.as_str(), refused.reason), ("127.0.0.1", Reason::Loopback));
    assert_eq!(reach("127.0.0.0/8").await, Ok(None));
}

const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };
/// Where the progress of `default.p` is kept.
const PROGRESS: &str = "thalweg-progress.default.p";

fn about(incarnation: Option<u64>) -> About {
    About {
        pipeline: "default.p".to_owned(),
        installation: "test".to_owned(),
        adopt: Adopt::No,
        incarnation: incarnation.map(Incarnation),
        statements: Vec::new(),
        numbers: None,
        made: None,
        only_looks: false,
        writers: [StageId(0)].into(),
        keyed: 0,
        known: None,
        fresh: false,
        restart: None,
        commit_every: Duration::from_secs(1),
        memory: Share::default(),
        waits: Waits::default(),
    }
}

/// A process of the pipeline `default.p`, which writes to the topic `t`.
async fn process(kafka: &Kafka, incarnation: Option<u64>) -> (Arc<Delivery>, KafkaSink) {
    process_of(kafka, about(incarnation)).await
}

async fn process_of(kafka: &Kafka, about: About) -> (Arc<Delivery>, KafkaSink) {
    let clock = Arc::new(SystemClock::new());
    let delivery = Delivery::open(connection(kafka), about, None, clock, &Library).await.expect("opened");
    let config = SinkConfig {
        connection: connection(kafka),
        topic: "t".into(),
        key: Vec::new(),
        headers: Vec::new(),
        tombstones: false,
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
async fn a_topic_that_is_taken_over_goes_on_where_it_was_and_who_had_it_is_fenced_and_refused() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_first, sink) = process(&kafka, Some(1)).await;
    let mut had = acquire(&sink, 1, "a", Some(3)).await.expect("it is free");
    write(&mut *had, 1).await.expect("written");
    deliver(&mut *had, 1).await.expect("delivered");
    write(&mut *had, 2).await.expect("written");

    // Another cluster's, of the same name: it ends nothing that the owner has open.
    let another = |adopt| About { installation: "another".to_owned(), adopt, ..about(Some(1)) };
    let refused = async |about: About| {
        let opened = Delivery::open(connection(&kafka), about, None, Arc::new(SystemClock::new()), &Library).await;
        let error = opened.err().expect("it is another's");
        assert_eq!(error.cause, Some(Cause::StateInUse), "{error}");
    };
    refused(another(Adopt::No)).await;
    deliver(&mut *had, 2).await.expect("it still has it");

    write(&mut *had, 3).await.expect("written");
    let (_second, taken) = process_of(&kafka, another(Adopt::Yes)).await;
    let refusal = superseded(acquire(&taken, 1, "b", Some(1)).await);
    assert_eq!(refusal, Superseded { assigned: Epoch(1), stored: Epoch(3) }, "epochs are those of the topic");
    let mut has = acquire(&taken, 1, "b", Some(4)).await.expect("it is above");
    let last = has.last_published().await.expect("read").expect("something was delivered");
    assert_eq!(last.position, Some(Position::at(2)));
    let fenced = deliver(&mut *had, 3).await.expect_err("another one owns it");
    assert_eq!(fenced.kind, ErrorKind::Fenced, "{fenced}");
    drop(had);
    let error = acquire(&sink, 1, "a", Some(9)).await.err().expect("it does not take it back");
    assert_eq!(error.cause, Some(Cause::StateInUse), "{error}");
    write(&mut *has, 3).await.expect("written");
    deliver(&mut *has, 3).await.expect("delivered");
    refused(about(Some(1))).await;
    drop(has);
    let (_again, again) = process_of(&kafka, another(Adopt::No)).await;
    drop(acquire(&again, 1, "b", Some(4)).await.expect("it need not ask any more"));

    let cluster = cluster(&kafka).await;
    let end = cluster.bounds("t", 0).await.expect("bounds").stable_end;
    assert_eq!(read(&*cluster, 0, end).await, [1, 2, 3].map(|number| format!("{{\"n\":{number}}}")));
}

/// Statements without state, by sink and the number of their one stage.
fn writing(statements: &[(&str, u32)]) -> About {
    let statement = |(sink, number): &(&str, u32)| Statement {
        sink: (*sink).to_owned(),
        text: (*sink).to_owned(),
        stages: vec![Stage { number: *number, shape: "events".to_owned(), ..Stage::default() }],
        anew: false,
    };
    let writers = statements.iter().map(|(_, number)| StageId(*number)).collect();
    About { statements: statements.iter().map(statement).collect(), writers, ..about(None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_on_a_statement_that_is_gone_is_fenced_and_one_that_has_moved_goes_on() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_first, sink) = process_of(&kafka, writing(&[("a", 0), ("b", 1)])).await;
    let mut cut_off = acquire(&sink, 1, "a", Some(1)).await.expect("it is free");
    write(&mut *cut_off, 1).await.expect("written");
    deliver(&mut *cut_off, 1).await.expect("delivered");
    // Made again, it counts anew, in another order.
    let (moved, _sink) = process_of(&kafka, writing(&[("b", 0), ("a", 1)])).await;
    let kept: BTreeMap<_, _> = [(0, 1), (1, 0)].map(|(stage, kept)| (StageId(stage), StageId(kept))).into();
    assert_eq!(moved.kept(), &kept);
    write(&mut *cut_off, 2).await.expect("written");
    deliver(&mut *cut_off, 2).await.expect("nobody has taken it");
    write(&mut *cut_off, 3).await.expect("failures show when it is delivered");
    let (_gone, _sink) = process_of(&kafka, writing(&[("b", 0)])).await;
    let fenced = deliver(&mut *cut_off, 3).await.expect_err("its statement is gone");
    assert_eq!(fenced.kind, ErrorKind::Fenced, "{fenced}");
    drop(cut_off);
    let late = acquire(&sink, 1, "c", Some(9)).await.err().expect("nobody takes it any more");
    assert_eq!(late.kind, ErrorKind::Fenced, "{late}");
    let cluster = cluster(&kafka).await;
    let end = cluster.bounds("t", 0).await.expect("bounds").stable_end;
    assert_eq!(read(&*cluster, 0, end).await, [1, 2].map(|number| format!("{{\"n\":{number}}}")));
}

/// Every process of a pipeline writes to the first partition of progress, and every other partition is one unit's.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_in_a_transaction_holds_up_nobody_who_takes_a_unit_over() {
    // A broker would give its transactions up after this time.
    const TIMEOUT: Duration = Duration::from_secs(300);
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_first, sink) = process(&kafka, Some(1)).await;
    let mut had = acquire(&sink, 1, "a", Some(1)).await.expect("it is free");
    write(&mut *had, 1).await.expect("written");
    deliver(&mut *had, 1).await.expect("delivered");
    let cluster = cluster(&kafka).await;
    let open = async |id: &str, partition: u32| {
        let mut dying = cluster.transactions(id, &producing(TIMEOUT)).await.expect("a producer");
        let key = Some(Bytes::from_static(b"never"));
        let record = Outgoing { topic: PROGRESS.into(), partition: Some(partition), key, ..outgoing("shown") };
        dying.send(record).await.expect("sent");
        let is_there = async {
            loop {
                let bounds = cluster.bounds(PROGRESS, partition).await.expect("bounds");
                if bounds.end > bounds.stable_end {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), is_there).await.expect("sent in time");
        dying
    };
    let mut of_all = open("thalweg-default.p-pipeline", 0).await;
    let mut of_unit = open("thalweg-test-default.p-0-0", 1).await;
    let (_second, sink) = process(&kafka, Some(1)).await;
    // Long before a reader gives up, and longer before the broker does.
    let taken = tokio::time::timeout(Duration::from_secs(30), acquire(&sink, 1, "b", Some(2))).await;
    let mut has = taken.expect("nobody is waited for").expect("it is above");
    let last = has.last_published().await.expect("read").expect("something was delivered");
    assert_eq!(last.position, Some(Position::at(1)));
    write(&mut *has, 2).await.expect("written");
    deliver(&mut *has, 2).await.expect("delivered");
    for dead in [&mut of_all, &mut of_unit] {
        dead.commit().await.expect_err("it was ended");
    }
    assert!(kafka.committed(PROGRESS).iter().all(|seen| seen.key.as_deref() != Some("never")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_whose_progress_was_deleted_is_data_loss_until_its_pipeline_starts_anew() {
    let kafka = Kafka::start();
    kafka.create_topic("t", 1, &[]).await;
    let (_first, sink) = process(&kafka, Some(1)).await;
    let mut had = acquire(&sink, 1, "a", Some(1)).await.expect("it is free");
    write(&mut *had, 1).await.expect("written");
    deliver(&mut *had, 1).await.expect("delivered");
    drop(had);
    let lose = async || {
        let end = kafka.end_of(PROGRESS, 1).await;
        kafka.forget_compacted(PROGRESS, 1, end).await;
    };
    lose().await;
    let lost = async |incarnation: u64| {
        let (_process, sink) = process(&kafka, Some(incarnation)).await;
        let error = acquire(&sink, incarnation, "b", Some(2)).await.err().expect("nobody knows how far it came");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        assert!(
            error.to_string().contains("thalweg-progress.default.p`, partition 1: the oldest record kept"),
            "{error}"
        );
    };
    lost(1).await;
    // What was lost before counts no more, and what is lost later does.
    let (_second, sink) = process(&kafka, Some(2)).await;
    let mut fresh = acquire(&sink, 2, "c", Some(1)).await.expect("it begins");
    assert_eq!(fresh.last_published().await.expect("read"), None);
    write(&mut *fresh, 1).await.expect("written");
    deliver(&mut *fresh, 1).await.expect("delivered");
    drop(fresh);
    let (_again, sink) = process(&kafka, Some(2)).await;
    drop(acquire(&sink, 2, "c", Some(1)).await.expect("it goes on"));
    lose().await;
    lost(2).await;
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
