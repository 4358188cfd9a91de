//! How far each unit has come, kept in the cluster that it writes to: the progress topic of a pipeline.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use thalweg_core::append_log::AppendLog;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::ownership::Owner as UnitOwner;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::unit::{Incarnation, UnitId};
use thalweg_crds::connector::KafkaCompression;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::client::{Bounds, ClientError, Cluster, NewTopic, Producing, Reach, Wanted};
use super::config::{Connection, SinkConfig};
use super::home::{Home, TopicList};
use super::patience::{MISSING, Patience, persist, told};
pub use super::progress::Layout;
use super::progress::{Owner, Progress};
use super::transaction::UnitTransaction;

/// How long a start waits for brokers that do not answer.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long reading a partition of progress back may take.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// How long after one look follows the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The last record of a partition is looked for in its last offsets first: compaction may be far behind.
const NEAR_END: u64 = 256;
/// The longest name of a topic.
const LONGEST_NAME: usize = 249;

/// What is to be delivered, and for whom.
#[derive(Clone, Debug)]
pub struct About {
    /// `NAMESPACE.NAME` of the pipeline.
    pub pipeline: String,
    /// The installation's id.
    pub installation: String,
    /// The start from scratch that state belongs to. Without: there is no state but here, and this topic says which.
    pub incarnation: Option<Incarnation>,
    /// Which units write.
    pub layout: Layout,
    /// What each stage computes.
    pub fingerprints: Vec<String>,
    /// Start from scratch.
    pub fresh: bool,
    /// The start from scratch that the plan belongs to, where somebody asked for one.
    pub restart: Option<Restart>,
    /// How often units commit.
    pub commit_every: Duration,
}

/// The progress topic of a pipeline, opened.
pub struct Delivery {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) about: About,
    pub(super) topic: Arc<str>,
    pub(super) clock: SharedClock,
    incarnation: Incarnation,
    partitions: AtomicU32,
    /// Bytes of a batch that every topic takes which is written.
    batch_bytes: AtomicUsize,
    home: Arc<Home>,
    units: Mutex<HashMap<UnitId, Weak<SharedTransaction>>>,
}

/// A unit's transaction, acquired with the first of its writers.
#[derive(Default)]
pub(super) struct SharedTransaction(OnceCell<Mutex<UnitTransaction>>);

impl SharedTransaction {
    /// The transaction, for one writer at a time.
    pub(super) async fn lock(&self) -> Result<MutexGuard<'_, UnitTransaction>> {
        let acquired = self.0.get().ok_or_else(|| Error::internal("writing to kafka", "the unit was not acquired"))?;
        Ok(acquired.lock().await)
    }
}

impl Delivery {
    /// Opens the progress topic, or makes it. `made` is a durable list that remembers that there was one.
    ///
    /// # Errors
    /// `DataLoss` where there was one and it is gone; `User` where it is another owner's, or of other statements.
    pub async fn open(
        connection: Connection,
        about: About,
        made: Option<Arc<dyn AppendLog>>,
        clock: SharedClock,
        reach: &dyn Reach,
    ) -> Result<Arc<Self>> {
        let doing = format!("reaching {}", connection.shown());
        let cluster = persist(&clock, START_LIMIT, &doing, || reach.reach(&connection)).await?;
        let topic: Arc<str> = format!("thalweg-progress.{}", about.pipeline).into();
        if topic.len() > LONGEST_NAME {
            let detail = format!("a topic's name has at most {LONGEST_NAME} characters");
            return Err(
                Error::user(format!("progress topic `{topic}`"), detail).with_hint("shorten the pipeline's name")
            );
        }
        let partitions = ensure(&*cluster, &topic, &about, made, &clock).await?;
        let home = Home::open(&cluster, &topic, &about, &clock).await?;
        let incarnation = home.claim(&about).await?;
        Ok(Arc::new(Self {
            cluster,
            about,
            topic,
            clock,
            incarnation,
            partitions: AtomicU32::new(partitions),
            batch_bytes: AtomicUsize::new(usize::MAX),
            home: Arc::new(home),
            units: Mutex::default(),
        }))
    }

    /// The start from scratch that progress belongs to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Writes no longer batches from now on: a unit's records of all topics go through one producer.
    pub(super) fn fit_batches(&self, bytes: usize) {
        self.batch_bytes.fetch_min(bytes, Ordering::Relaxed);
    }

    /// How a unit's records are written.
    pub(super) fn producing(&self, config: &SinkConfig) -> Producing {
        let how = producing(&self.about, Some(config));
        Producing { batch_bytes: how.batch_bytes.min(self.batch_bytes.load(Ordering::Relaxed)), ..how }
    }

    /// A list that is kept in the topic, for pipelines without other state.
    pub fn list(&self, name: &str) -> Arc<dyn AppendLog> {
        let prefix = format!("list/{}/{name}/", self.incarnation);
        Arc::new(TopicList { home: Arc::clone(&self.home), prefix })
    }

    /// Makes room for units.
    pub async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        let most = units.iter().filter_map(|unit| self.about.layout.partition(*unit)).max();
        let Some(wanted) = most.map(|most| most + 1) else { return Ok(()) };
        if wanted <= self.partitions.load(Ordering::Relaxed) {
            return Ok(());
        }
        let doing = format!("adding partitions to `{}`", self.topic);
        persist(&self.clock, START_LIMIT, &doing, || self.cluster.grow_topic(&self.topic, wanted)).await?;
        // Brokers learn of new partitions one after another.
        let there = || async {
            match self.cluster.bounds(&self.topic, wanted - 1).await {
                Err(ClientError::NoTopic) => Err(ClientError::Away("a new partition is not there yet".to_owned())),
                other => other,
            }
        };
        persist(&self.clock, START_LIMIT, &doing, there).await?;
        self.partitions.store(wanted, Ordering::Relaxed);
        Ok(())
    }

    /// The transaction of a unit, which its writers share.
    ///
    /// # Errors
    /// [`Error::superseded`] where somebody else has taken over at an epoch that is not below the one assigned.
    pub(super) async fn unit(
        self: &Arc<Self>,
        unit: UnitId,
        owner: &UnitOwner,
        config: &SinkConfig,
    ) -> Result<Arc<SharedTransaction>> {
        let shared = {
            let mut units = self.units.lock().await;
            let open = units.get(&unit).and_then(Weak::upgrade);
            open.unwrap_or_else(|| {
                let shared = Arc::new(SharedTransaction::default());
                units.insert(unit, Arc::downgrade(&shared));
                shared
            })
        };
        let acquire = || async { UnitTransaction::acquire(self, unit, owner, config).await.map(Mutex::new) };
        shared.0.get_or_try_init(acquire).await?;
        Ok(shared)
    }

    /// The id of a unit's transactions.
    pub(super) fn transactional_id(&self, unit: UnitId) -> String {
        transactional_id(&self.about, &unit.to_string())
    }

    /// Whose progress it is.
    pub(super) fn owner(&self) -> Owner {
        owner(&self.about)
    }

    /// The last progress of a unit.
    ///
    /// # Errors
    /// `User` where it is another owner's.
    pub(super) async fn last(&self, unit: UnitId, partition: u32, until: Until) -> Result<Option<Progress>> {
        let key = unit.to_string();
        let mut found = None;
        for entry in tail(&*self.cluster, &self.topic, partition, &self.clock, key.as_bytes(), until).await? {
            let progress = Progress::decode(&entry)?;
            check_owner(&self.topic, &progress.owner, &self.owner())?;
            found = Some(progress);
        }
        Ok(found)
    }

    /// An error that names what is missing, where that is why a write failed.
    pub(super) async fn missing(&self, topic: &str) -> Option<Error> {
        for name in [&*self.topic, topic] {
            if self.is_missing(name).await {
                return Some(if name == &*self.topic { deleted(name) } else { no_topic(name) });
            }
        }
        None
    }

    /// Whether every one of [`MISSING`] looks finds no such topic.
    async fn is_missing(&self, topic: &str) -> bool {
        for look in 0..MISSING {
            if look > 0 {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            if !matches!(self.cluster.topic(topic).await, Ok(None)) {
                return false;
            }
        }
        true
    }
}

/// The progress topic is gone.
fn deleted(topic: &str) -> Error {
    let detail = "it was deleted, and with it how far this pipeline has come";
    Error::data_loss(format!("progress topic `{topic}`"), detail)
        .with_hint("to begin again, which writes rows that are there already, start with --fresh")
}

fn no_topic(topic: &str) -> Error {
    Error::user(format!("topic `{topic}`"), "it was deleted while it was written to").with_hint("make it again")
}

pub(super) fn owner(about: &About) -> Owner {
    Owner { installation: about.installation.clone(), pipeline: about.pipeline.clone() }
}

pub(super) fn transactional_id(about: &About, of: &str) -> String {
    format!("thalweg-{}-{}-{of}", about.installation, about.pipeline)
}

pub(super) fn check_owner(topic: &str, found: &Owner, ours: &Owner) -> Result<()> {
    if found == ours {
        return Ok(());
    }
    let what = format!("progress topic `{topic}`");
    let detail = format!("StateInUse: it belongs to `{}` of installation {}", found.pipeline, found.installation);
    let hint = format!("this is installation {}; give the pipeline another name", ours.installation);
    Err(Error::user(what, detail).because(Cause::StateInUse).with_hint(hint))
}

/// Makes the topic where there is none and never was one; its number of partitions.
async fn ensure(
    cluster: &dyn Cluster,
    topic: &str,
    about: &About,
    made: Option<Arc<dyn AppendLog>>,
    clock: &SharedClock,
) -> Result<u32> {
    let doing = format!("reading topic `{topic}`");
    let remembered = match &made {
        Some(made) => made.read(0).await?.into_iter().last(),
        None => None,
    };
    let mut found = persist(clock, START_LIMIT, &doing, || cluster.topic(topic)).await?;
    if found.is_none() {
        if remembered.is_some() && !about.fresh {
            return Err(deleted(topic));
        }
        let keyed: u32 = about.layout.keyed.iter().map(|(_, groups)| groups).sum();
        let wanted = NewTopic {
            name: topic.to_owned(),
            partitions: 1 + keyed,
            replication: None,
            settings: vec![
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", (4 << 20).to_string()),
                ("min.cleanable.dirty.ratio", "0.1".to_owned()),
            ],
        };
        let doing = format!("making topic `{topic}`");
        persist(clock, START_LIMIT, &doing, || cluster.create_topic(&wanted)).await?;
        found = Some(visible(cluster, topic, clock).await?);
    }
    let Some(found) = found else { return Err(deleted(topic)) };
    let id = Bytes::from(format!("{:032x}", found.id));
    match (made, remembered) {
        (Some(_), Some(remembered)) if remembered == id => {}
        (Some(_), Some(_)) if !about.fresh => return Err(deleted(topic)),
        (Some(made), _) => {
            let index = made.read(0).await?.len() as u64;
            made.append(index, id).await?;
        }
        (None, _) => {}
    }
    Ok(found.partitions)
}

/// A topic that was just made, as soon as every partition of it can be asked.
pub(super) async fn visible(cluster: &dyn Cluster, topic: &str, clock: &SharedClock) -> Result<super::client::Topic> {
    let doing = format!("waiting for topic `{topic}`");
    persist(clock, START_LIMIT, &doing, || async {
        let not_yet = || ClientError::Away("it was made and is not there yet".to_owned());
        let found = cluster.topic(topic).await?.ok_or_else(not_yet)?;
        for partition in 0..found.partitions {
            cluster.bounds(topic, partition).await.map_err(|error| match error {
                ClientError::NoTopic => not_yet(),
                other => other,
            })?;
        }
        Ok(found)
    })
    .await
}

/// How the pipeline's own records, and progress, are written.
pub(super) fn producing(about: &About, config: Option<&SinkConfig>) -> Producing {
    /// Kafka's own default, and the most that brokers allow by default is 15 minutes.
    const LEAST: Duration = Duration::from_secs(60);
    const MOST: Duration = Duration::from_secs(900);
    Producing {
        compression: config.map_or(KafkaCompression::None, |config| config.compression),
        linger: config.map_or(Duration::ZERO, |config| config.linger),
        batch_bytes: config.map_or(16 << 10, |config| config.batch_bytes),
        transaction_timeout: (3 * about.commit_every).clamp(LEAST, MOST),
    }
}

/// How far a partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// All of it: nobody else writes it any more.
    End,
    /// What is committed now: somebody may have a transaction open.
    Committed,
}

impl Until {
    pub(super) fn end(self, bounds: &Bounds) -> u64 {
        match self {
            Self::End => bounds.end,
            Self::Committed => bounds.stable_end,
        }
    }
}

/// The committed values of a key in a partition, the last ones at least.
async fn tail(
    cluster: &dyn Cluster,
    topic: &str,
    partition: u32,
    clock: &SharedClock,
    key: &[u8],
    until: Until,
) -> Result<Vec<Bytes>> {
    let doing = format!("reading `{topic}`, partition {partition}");
    let bounds = persist(clock, START_LIMIT, &doing, || async {
        match cluster.bounds(topic, partition).await {
            // Another worker has made room for the unit, and the broker that answers has not heard of it yet.
            Err(ClientError::NoTopic) if cluster.topic(topic).await?.is_some() => {
                Err(ClientError::Away("the partition is not there yet".to_owned()))
            }
            found => found,
        }
    })
    .await?;
    let end = until.end(&bounds);
    let near = end.saturating_sub(NEAR_END).max(bounds.start);
    for from in [near, bounds.start] {
        let entries = entries(cluster, topic, partition, from..end, clock).await?;
        let of_key: Vec<_> = entries.into_iter().filter(|(found, _)| found == key).map(|(_, value)| value).collect();
        if !of_key.is_empty() || from == bounds.start {
            return Ok(of_key);
        }
    }
    Ok(Vec::new())
}

/// Every committed record of a range of offsets.
pub(super) async fn entries(
    cluster: &dyn Cluster,
    topic: &str,
    partition: u32,
    offsets: std::ops::Range<u64>,
    clock: &SharedClock,
) -> Result<Vec<(Bytes, Bytes)>> {
    let doing = format!("reading `{topic}`, partition {partition}");
    let mut found = Vec::new();
    if offsets.is_empty() {
        return Ok(found);
    }
    let wanted = Wanted { keys: true, ..Wanted::default() };
    let open = || cluster.reader(topic, partition, offsets.start, wanted);
    let mut reader = persist(clock, START_LIMIT, &doing, open).await?;
    let until = clock.monotonic() + READ_LIMIT;
    loop {
        let polled = reader.poll(Duration::from_millis(200)).await.map_err(|error| told(&doing, &error))?;
        found.extend(
            polled.records.keys.into_iter().zip(polled.records.values).filter_map(|(key, value)| key.zip(value)),
        );
        if polled.next >= offsets.end {
            return Ok(found);
        }
        if clock.monotonic() >= until {
            let detail = format!("offset {} of {} after {READ_LIMIT:?}", polled.next, offsets.end);
            return Err(Error::external(doing, detail).with_hint("does a transaction hang?"));
        }
    }
}

/// Attempts of a write.
pub(super) fn patience(delivery: &Delivery) -> Patience {
    /// A broker that is restarted, or a new leader, takes seconds; an outage of minutes is told by an error.
    const LIMIT: Duration = Duration::from_secs(300);
    Patience::new(&delivery.clock, LIMIT)
}
