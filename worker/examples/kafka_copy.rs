//! The client alone, as a ceiling of what a pipeline can do: records of the topic `in` are written to the topic `out`, in
//! a transaction a second for each partition. `kafka_copy BROKER PARTITIONS`; `make bench-kafka` runs it.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::client::{ClientError, Cluster, Library, Outgoing, Producing, Reach, Result, Wanted};
use thalweg_connectors::kafka::config::{Connection, Fetching};
use thalweg_core::address::Reachable;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_crds::connector::KafkaCompression;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const COMMIT_EVERY: Duration = Duration::from_secs(1);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(broker), Some(Ok(partitions))) = (words.next(), words.next().map(|count| count.parse::<u32>())) else {
        return Err(ClientError::Refused("usage: kafka_copy BROKER PARTITIONS".to_owned()));
    };
    let connection = Connection {
        brokers: vec![broker],
        client_id: "copy".to_owned(),
        security: None,
        fetching: Fetching::default(),
        reachable: Reachable::default(),
    };
    let cluster = Library.reach(&connection).await?;
    let copies: Vec<_> = (0..partitions).map(|partition| tokio::spawn(copy(cluster.clone(), partition))).collect();
    for copy in copies {
        copy.await.unwrap_or(Ok(()))?;
    }
    Ok(())
}

async fn copy(cluster: Arc<dyn Cluster>, partition: u32) -> Result<()> {
    let how = Producing {
        compression: KafkaCompression::None,
        linger: Duration::from_millis(10),
        batch_bytes: 512 << 10,
        transaction_timeout: Duration::from_secs(60),
    };
    let mut producer = cluster.transactions(&format!("copy-{partition}"), &how).await?;
    let wanted = Wanted { keys: true, ..Wanted::default() };
    let mut reader = cluster.reader("in", partition, 0, wanted).await?;
    let topic: Arc<str> = "out".into();
    let clock = SystemClock::new();
    let mut committed = clock.monotonic();
    loop {
        let records = reader.poll(Duration::from_millis(200)).await?.records;
        for (key, value) in records.keys.into_iter().zip(records.values.into_iter().flatten()) {
            let (topic, value) = (Arc::clone(&topic), Some(value));
            producer.send(Outgoing { topic, partition: None, key, value, headers: Vec::new() }).await?;
        }
        if clock.monotonic() - committed >= COMMIT_EVERY {
            producer.commit().await?;
            committed = clock.monotonic();
        }
    }
}
