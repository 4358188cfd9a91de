//! How far each unit has come, kept in the cluster that it writes to: the progress topic of a pipeline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use thalweg_core::append_log::AppendLog;
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::ownership::Owner as UnitOwner;
use thalweg_core::ownership::claim::Adopt;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::share::{Holder, Share};
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_crds::connector::KafkaCompression;
use thalweg_crds::statements::{Made, Statement};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::client::{Bounds, CLEANUP_POLICY, ClientError, Cluster, NewTopic, Producing, Reach, Topic, Wanted};
use super::config::{Connection, SinkConfig};
use super::home::{Claimed, Home, TopicList};
use super::patience::{MISSING, Patience, Waits, persist, told};
use super::progress::{Cut, Owner, Progress, is_compacted};
use super::transaction::UnitTransaction;
use crate::outage::Watch;

/// How long brokers that have answered are waited for.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long reading a partition of progress back may take.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(60);
/// How long after one look follows the next.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The last record of a partition is looked for in its last offsets first: compaction may be far behind.
const NEAR_END: u64 = 256;
/// The longest name of a topic.
const LONGEST_NAME: usize = 249;
/// Memory with which a unit goes on, however little there is: a transaction then holds about a megabyte of rows.
const LEAST_BYTES: usize = 2 << 20;

/// What is to be delivered, and for whom.
#[derive(Clone, Debug)]
pub struct About {
    /// `NAMESPACE.NAME` of the pipeline.
    pub pipeline: String,
    /// The installation's id.
    pub installation: String,
    /// Whether a topic of another owner is taken over.
    pub adopt: Adopt,
    /// The start from scratch that state belongs to. Without: there is no state but here, and this topic says which.
    pub incarnation: Option<Incarnation>,
    /// The statements of the plan, shaped by what positions belong to.
    pub statements: Vec<Statement>,
    /// Where state is elsewhere: by the number that a stage has in the plan, the one by which it is kept.
    pub numbers: Option<BTreeMap<StageId, StageId>>,
    /// When the plan was made, where there is an operator.
    pub made: Option<Made>,
    /// Whether nothing is to be noted: who asks only looks.
    pub only_looks: bool,
    /// The stages that write to the cluster, by their numbers in the plan; once the topic is open, by those that they are kept by.
    pub writers: BTreeSet<StageId>,
    /// How many key groups they have together: so many units there are in any case.
    pub keyed: u32,
    /// Where nothing but the topic keeps how far the pipeline has come: its id, if somebody remembers that there was one.
    pub known: Option<String>,
    /// Start from scratch.
    pub fresh: bool,
    /// The start from scratch that the plan belongs to, where somebody asked for one.
    pub restart: Option<Restart>,
    /// How often units commit.
    pub commit_every: Duration,
    /// What rows may take that are on their way.
    pub memory: Share,
    /// How long a start waits.
    pub waits: Waits,
}

/// The progress topic of a pipeline, opened.
pub struct Delivery {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) about: About,
    pub(super) topic: Arc<str>,
    pub(super) clock: SharedClock,
    /// The topic's id.
    id: u128,
    /// Whose progress it is.
    owner: Owner,
    /// The installation that ids of units' transactions name.
    ids: String,
    incarnation: Incarnation,
    /// What partitions had lost before the incarnation began.
    cut: Cut,
    /// By the number that a stage has in the plan, the one that its units bear here.
    kept: BTreeMap<StageId, StageId>,
    partitions: AtomicU32,
    /// Bytes of a batch that every topic takes which is written.
    batch_bytes: AtomicUsize,
    home: Arc<Home>,
    units: Mutex<HashMap<UnitId, Weak<SharedTransaction>>>,
    /// Whether the brokers answer whoever writes.
    watch: Watch,
}

/// A unit's transaction, acquired with the first of its writers.
pub(super) struct SharedTransaction {
    acquired: OnceCell<Mutex<UnitTransaction>>,
    /// What its rows take since the last delivery.
    pub(super) memory: Holder,
}

impl SharedTransaction {
    /// The transaction, for one writer at a time.
    pub(super) async fn lock(&self) -> Result<MutexGuard<'_, UnitTransaction>> {
        let acquired =
            self.acquired.get().ok_or_else(|| Error::internal("writing to kafka", "the unit was not acquired"))?;
        Ok(acquired.lock().await)
    }
}

impl Delivery {
    /// Opens the progress topic, or makes it. `made` is a durable list that remembers that there was one.
    ///
    /// # Errors
    /// `DataLoss` where there was one and it is gone, or records of it are; `User` where it is another owner's, of other
    /// statements, or not compacted.
    pub async fn open(
        connection: Connection,
        about: About,
        made: Option<Arc<dyn AppendLog>>,
        clock: SharedClock,
        reach: &dyn Reach,
    ) -> Result<Arc<Self>> {
        let doing = format!("reaching {}", connection.shown());
        let cluster = persist(&clock, about.waits.away, &doing, || reach.reach(&connection)).await?;
        let topic: Arc<str> = format!("thalweg-progress.{}", about.pipeline).into();
        if topic.len() > LONGEST_NAME {
            let detail = format!("a topic's name has at most {LONGEST_NAME} characters");
            return Err(
                Error::user(format!("progress topic `{topic}`"), detail).with_hint("shorten the pipeline's name")
            );
        }
        let (found, may_begin) = ensure(&*cluster, &topic, &about, made, &connection, &clock).await?;
        let home = Home::open(&cluster, &topic, &about, &clock).await?.beginning_where(may_begin);
        let Claimed { owner, ids, incarnation, cut, kept, writers } = home.claim(&about).await?;
        let about = About { writers, ..about };
        let watch = Watch::new(connection.shown(), clock.clone());
        Ok(Arc::new(Self {
            cluster,
            about,
            topic,
            clock,
            id: found.id,
            owner,
            ids,
            incarnation,
            cut,
            kept,
            partitions: AtomicU32::new(found.partitions),
            batch_bytes: AtomicUsize::new(usize::MAX),
            home: Arc::new(home),
            units: Mutex::default(),
            watch,
        }))
    }

    /// Does something with the cluster, and while it takes long asks whether a broker answers.
    pub(super) async fn watched<T>(&self, doing: impl Future<Output = Result<T>>) -> Result<T> {
        let ask = || async {
            match self.cluster.topic(&self.topic).await {
                Err(ClientError::Away(said)) => Err(said),
                // What else is amiss is told by what is done.
                Ok(_) | Err(_) => Ok(()),
            }
        };
        self.watch.over(doing, ask).await
    }

    /// Why nothing is written, where that has lasted for some seconds and whoever writes goes on trying.
    pub(super) fn outage(&self) -> Option<String> {
        self.watch.told()
    }

    /// Attempts of a write, which are told where they fail for long.
    pub(super) fn patience(&self, limit: Duration) -> Patience {
        Patience::new(&self.clock, limit).of(self.watch.attempt())
    }

    /// The topic's id: one that is made again has another one.
    pub fn id(&self) -> String {
        shown_id(self.id)
    }

    /// The start from scratch that progress belongs to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// By the number that a stage has in the plan, the one that its units bear here.
    pub fn kept(&self) -> &BTreeMap<StageId, StageId> {
        &self.kept
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
        let writing = units.iter().filter(|unit| self.about.writers.contains(&unit.stage));
        let Some(most) = self.home.allot(&writing.copied().collect::<Vec<_>>()).await? else { return Ok(()) };
        self.grow(most + 1).await
    }

    /// Makes the topic have so many partitions at the least.
    async fn grow(&self, wanted: u32) -> Result<()> {
        if wanted <= self.partitions.load(Ordering::Relaxed) {
            return Ok(());
        }
        let doing = format!("adding partitions to `{}`", self.topic);
        // Another worker may do the same.
        let has_grown = || async {
            let found = self.cluster.topic(&self.topic).await?;
            Ok::<_, ClientError>(found.is_some_and(|found| found.partitions >= wanted))
        };
        persist(&self.clock, START_LIMIT, &doing, || async {
            if has_grown().await? {
                return Ok(());
            }
            match self.cluster.grow_topic(&self.topic, wanted).await {
                Err(error) if !matches!(error, ClientError::Away(_)) && has_grown().await? => Ok(()),
                grown => grown,
            }
        })
        .await?;
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

    /// The partition of a unit, which another worker may have made room for.
    pub(super) async fn partition(&self, unit: UnitId) -> Result<u32> {
        if let Some(partition) = self.home.partition(unit).await? {
            // Whoever allotted it may have died before there was room.
            self.grow(partition + 1).await?;
            return Ok(partition);
        }
        self.prepare(&[unit]).await?;
        let none = || Error::internal(format!("unit {unit} in `{}`", self.topic), "it is no unit of this pipeline");
        self.home.partition(unit).await?.ok_or_else(none)
    }

    /// Whether units of a stage write by the plan that was noted last.
    pub(super) async fn is_written_by(&self, stage: StageId) -> Result<bool> {
        self.home.is_written_by(stage).await
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
                let memory = self.about.memory.holder(LEAST_BYTES);
                let shared = Arc::new(SharedTransaction { acquired: OnceCell::new(), memory });
                units.insert(unit, Arc::downgrade(&shared));
                shared
            })
        };
        if self.about.memory.falls_short(LEAST_BYTES) {
            let (pipeline, writers) = (&self.about.pipeline, self.about.memory.holders());
            tracing::warn!(
                pipeline,
                writers,
                "there is too little memory for so many writers of one worker: it may take more than its limit; raise the limit, or \
                 have more workers"
            );
        }
        let acquire = || async { UnitTransaction::acquire(self, unit, owner, config).await.map(Mutex::new) };
        shared.acquired.get_or_try_init(acquire).await?;
        Ok(shared)
    }

    /// The id of a unit's transactions.
    pub(super) fn transactional_id(&self, unit: UnitId) -> String {
        transactional_id(&self.ids, &self.about.pipeline, unit)
    }

    /// Whose progress it is.
    pub(super) fn owner(&self) -> Owner {
        self.owner.clone()
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
            if !progress.owner.is_before(&self.owner) {
                return Err(in_use(&self.topic, &progress.owner, &self.owner));
            }
            found = Some(progress);
        }
        Ok(found)
    }

    /// Refuses a topic that has taken the place of the one that was opened: a unit would find no progress there, and begin anew.
    pub(super) async fn check_same(&self) -> Result<()> {
        let doing = format!("reading topic `{}`", self.topic);
        let found = persist(&self.clock, START_LIMIT, &doing, || self.cluster.topic(&self.topic)).await?;
        match found {
            Some(found) if found.id != self.id => Err(deleted(&self.topic)),
            _ => Ok(()),
        }
    }

    /// Refuses a partition that has lost records, where nothing is found of its unit: it may have been in them.
    pub(super) async fn check_whole(&self, partition: u32) -> Result<()> {
        let start = bounds(&*self.cluster, &self.topic, partition, &self.clock).await?.start;
        match self.cut.is_passed(partition, start) {
            true => Err(lost(&self.topic, partition, start)),
            false => Ok(()),
        }
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

/// What to do where nobody knows any more how far a pipeline has come.
const BEGIN_AGAIN: &str = "to begin again, which writes rows that are there already, start with --fresh; in a cluster set another \
                           restart.nonce";

/// The progress topic is gone.
fn deleted(topic: &str) -> Error {
    let detail = "it was deleted, and with it how far this pipeline has come";
    Error::data_loss(format!("progress topic `{topic}`"), detail).with_hint(BEGIN_AGAIN)
}

/// Records of a partition are gone, and nothing there says what they did.
pub(super) fn lost(topic: &str, partition: u32, start: u64) -> Error {
    let what = format!("progress topic `{topic}`, partition {partition}");
    let detail = format!(
        "the oldest record kept is {start}: retention, or somebody, has deleted records, and with them how far this pipeline has come"
    );
    Error::data_loss(what, detail).with_hint(BEGIN_AGAIN)
}

/// Brokers would delete progress.
fn not_compacted(topic: &str, policy: &str, connection: &Connection) -> Error {
    let detail = format!(
        "its `{CLEANUP_POLICY}` is `{policy}`, and must be `compact`: brokers would delete how far this pipeline has come, and its rows \
         would be written again"
    );
    let hint = format!(
        "kafka-configs --bootstrap-server {} --alter --entity-type topics --entity-name {topic} --add-config \
         {CLEANUP_POLICY}=compact; if it then says DataLoss, progress was deleted before: start with --fresh, in a cluster set another \
         restart.nonce",
        connection.brokers.join(",")
    );
    Error::user(format!("progress topic `{topic}`"), detail).with_hint(hint)
}

fn shown_id(id: u128) -> String {
    format!("{id:032x}")
}

fn no_topic(topic: &str) -> Error {
    Error::user(format!("topic `{topic}`"), "it was deleted while it was written to")
        .because(Cause::NotFound)
        .with_hint("make it again")
}

pub(super) fn owner(about: &About) -> Owner {
    Owner { installation: about.installation.clone(), pipeline: about.pipeline.clone(), hands: 0 }
}

/// The id of a unit's transactions. The installation is the one that made the topic: whoever takes it over fences by the same
/// ids those who had it.
pub(super) fn transactional_id(installation: &str, pipeline: &str, unit: UnitId) -> String {
    format!("thalweg-{installation}-{pipeline}-{unit}")
}

/// That a topic is another owner's.
pub(super) fn in_use(topic: &str, found: &Owner, ours: &Owner) -> Error {
    let what = format!("progress topic `{topic}`");
    let detail = format!("StateInUse: it belongs to `{}` of installation {}", found.pipeline, found.installation);
    let hint = format!(
        "this is installation {}; give the pipeline another name, or take it over with `state.adopt: true` if that one is gone for \
         good",
        ours.installation
    );
    Error::user(what, detail).because(Cause::StateInUse).with_hint(hint)
}

/// The topic, which is made where there is none and never was one; and whether a pipeline may begin there though records are
/// gone: it is to start anew, or nobody remembers it who would.
async fn ensure(
    cluster: &dyn Cluster,
    topic: &str,
    about: &About,
    made: Option<Arc<dyn AppendLog>>,
    connection: &Connection,
    clock: &SharedClock,
) -> Result<(Topic, bool)> {
    let doing = format!("reading topic `{topic}`");
    let remembered = match &made {
        Some(made) => made.read(0).await?.into_iter().last(),
        None => None,
    };
    let is_remembered = remembered.is_some() || about.known.is_some();
    let would_be = made.is_some() || about.made.is_some();
    let mut found = persist(clock, about.waits.away, &doing, || cluster.topic(topic)).await?;
    let mut is_ours = false;
    if found.is_none() {
        if is_remembered && !about.fresh {
            return Err(deleted(topic));
        }
        let wanted = NewTopic {
            name: topic.to_owned(),
            partitions: 1 + about.keyed,
            replication: None,
            settings: vec![
                (CLEANUP_POLICY, "compact".to_owned()),
                ("segment.bytes", (4 << 20).to_string()),
                ("min.cleanable.dirty.ratio", "0.1".to_owned()),
            ],
        };
        let doing = format!("making topic `{topic}`");
        is_ours = persist(clock, START_LIMIT, &doing, || cluster.create_topic(&wanted)).await?;
        found = Some(visible(cluster, topic, clock).await?);
    }
    let Some(found) = found else { return Err(deleted(topic)) };
    let id = shown_id(found.id);
    let is_noted = remembered.as_ref().map(|remembered| remembered[..] == *id.as_bytes());
    let is_another = about.known.as_ref().is_some_and(|known| *known != id) || is_noted == Some(false);
    if is_another && !about.fresh {
        return Err(deleted(topic));
    }
    if !is_ours {
        check_compacted(cluster, topic, about, connection, clock).await?;
    }
    if let Some(made) = made
        && is_noted != Some(true)
    {
        let index = made.read(0).await?.len() as u64;
        made.append(index, Bytes::from(id)).await?;
    }
    Ok((found, about.fresh || (would_be && !is_remembered)))
}

/// Refuses a topic that somebody else has made, of which brokers delete by age or size.
async fn check_compacted(
    cluster: &dyn Cluster,
    topic: &str,
    about: &About,
    connection: &Connection,
    clock: &SharedClock,
) -> Result<()> {
    let doing = format!("asking for `{CLEANUP_POLICY}` of topic `{topic}`");
    let policy = persist(clock, START_LIMIT, &doing, || async {
        match cluster.setting(topic, CLEANUP_POLICY).await {
            Err(ClientError::NoTopic) => Err(ClientError::Away("the topic is not there yet".to_owned())),
            found => found,
        }
    })
    .await?;
    match policy {
        Some(policy) if is_compacted(&policy) => Ok(()),
        Some(policy) => Err(not_compacted(topic, &policy, connection)),
        // Who only looks is followed by who works.
        None if about.only_looks => Ok(()),
        None => {
            tracing::warn!(
                "progress topic `{topic}`: the user may not describe its settings (`DescribeConfigs`), so it is not known whether its \
                 `{CLEANUP_POLICY}` is `compact`; with another one brokers delete how far the pipeline has come, and rows are written \
                 again"
            );
            Ok(())
        }
    }
}

/// A topic that was just made, as soon as every partition of it can be asked.
pub(super) async fn visible(cluster: &dyn Cluster, topic: &str, clock: &SharedClock) -> Result<Topic> {
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

/// Where a partition of the progress topic begins and ends.
pub(super) async fn bounds(cluster: &dyn Cluster, topic: &str, partition: u32, clock: &SharedClock) -> Result<Bounds> {
    let doing = format!("reading `{topic}`, partition {partition}");
    persist(clock, START_LIMIT, &doing, || async {
        match cluster.bounds(topic, partition).await {
            // Another worker has made room for the unit, and the broker that answers has not heard of it yet.
            Err(ClientError::NoTopic) if cluster.topic(topic).await?.is_some() => {
                Err(ClientError::Away("the partition is not there yet".to_owned()))
            }
            found => found,
        }
    })
    .await
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
    let bounds = bounds(cluster, topic, partition, clock).await?;
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
            return Err(undecided(&doing, polled.next, offsets.end));
        }
    }
}

/// A partition could not be read in [`READ_LIMIT`].
pub(super) fn undecided(doing: &str, next: u64, end: u64) -> Error {
    let detail = format!("offset {next} of {end} after {READ_LIMIT:?}");
    Error::external(doing, detail).with_hint("does a transaction hang?")
}

/// Attempts of a write.
pub(super) fn patience(delivery: &Delivery) -> Patience {
    /// A broker that is restarted, or a new leader, takes seconds; an outage of minutes is told by an error.
    const LIMIT: Duration = Duration::from_secs(300);
    delivery.patience(LIMIT)
}

#[cfg(test)]
mod tests {
    use thalweg_core::clock::SystemClock;
    use thalweg_core::error::ErrorKind;
    use thalweg_core::unit::RunId;

    use super::*;
    use crate::kafka::played::{Played, about, connection, sink_config};

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_compacted_is_refused_with_the_command_that_mends_it_and_one_that_may_be_is_not() {
        let cluster = Played::default();
        let clock: SharedClock = Arc::new(SystemClock::new());
        // Somebody else has made it.
        let open = || Delivery::open(connection(), about(), None, clock.clone(), &cluster);
        for policy in ["delete", "compact,delete"] {
            *cluster.policy() = Some(Ok(Some(policy.to_owned())));
            let error = open().await.err().expect("brokers delete progress");
            assert_eq!(error.kind, ErrorKind::User, "{error}");
            let hint = "kafka-configs --bootstrap-server played:9092 --alter --entity-type topics --entity-name \
                        thalweg-progress.default.p --add-config cleanup.policy=compact; if it then says DataLoss, progress was \
                        deleted before: start with --fresh, in a cluster set another restart.nonce";
            assert_eq!((error.what.as_str(), error.hint.as_deref()), (TOPIC, Some(hint)));
            assert!(
                error.detail.starts_with(&format!("its `cleanup.policy` is `{policy}`, and must be `compact`")),
                "{error}"
            );
            assert!(cluster.ids().is_empty(), "nothing is written: {:?}", cluster.ids());
        }
        *cluster.policy() = Some(Err(ClientError::Denied("it is another's".to_owned())));
        open().await.err().expect("what is not foreseen is told");
        for may_be in [None, Some("compact".to_owned())] {
            *cluster.policy() = Some(Ok(may_be));
            open().await.expect("opened");
        }
    }

    const TOPIC: &str = "progress topic `thalweg-progress.default.p`";

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_has_lost_records_and_says_nothing_of_its_unit_is_data_loss_and_no_beginning() {
        let (cluster, clock) = (Played::default(), Arc::new(SystemClock::new()));
        let delivery = Delivery::open(connection(), about(), None, clock, &cluster).await.expect("opened");
        let acquire = |index| {
            let (unit, owner) = (UnitId { stage: StageId(0), index }, UnitOwner::own(RunId("run".to_owned())));
            let delivery = Arc::clone(&delivery);
            async move { delivery.unit(unit, &owner, &sink_config()).await.map(drop) }
        };
        acquire(0).await.expect("nothing was lost");
        cluster.holds(Bounds { start: 5, stable_end: 5, end: 5 });
        let error = acquire(1).await.expect_err("its progress may have been there");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        assert_eq!(error.what, format!("{TOPIC}, partition 2"));
        assert!(
            error.to_string().contains("the oldest record kept is 5") && error.to_string().contains("restart.nonce")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_has_room_even_if_whoever_allotted_it_died_before_there_was_any() {
        let (cluster, clock) = (Played::default(), Arc::new(SystemClock::new()));
        let delivery = Delivery::open(connection(), about(), None, clock, &cluster).await.expect("opened");
        let unit = UnitId { stage: StageId(0), index: 0 };
        delivery.home.allot(&[unit]).await.expect("allotted");
        assert_eq!(delivery.partition(unit).await.expect("it has one"), 1);
        assert_eq!(*cluster.grown(), [2]);
        assert_eq!(delivery.partition(unit).await.expect("it has one"), 1);
        assert_eq!(*cluster.grown(), [2], "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_was_deleted_is_neither_made_again_nor_replaced_until_somebody_starts_anew() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let cluster = Played::default();
        let open = |about: About| Delivery::open(connection(), about, None, clock.clone(), &cluster);
        let refused = |opened: Result<Arc<Delivery>>| {
            let error = opened.err().expect("there was one");
            assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        };
        let first = open(about()).await.expect("made");
        let known = About { known: Some(first.id()), ..about() };
        open(known.clone()).await.expect("it is the one that is known");
        cluster.forget_topic();
        for _ in 0..2 {
            refused(open(known.clone()).await);
        }
        assert_eq!(cluster.made_again(), 0, "nobody has made it");
        // Somebody does: a plan that is only tried, or a broker that makes topics by itself.
        open(about()).await.expect("made again");
        refused(open(known.clone()).await);
        let error = first.check_same().await.expect_err("a unit would find nothing there");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        let second = open(About { fresh: true, ..known.clone() }).await.expect("started anew");
        assert_ne!(Some(second.id()), known.known);
        second.check_same().await.expect("it is there");
    }
}
