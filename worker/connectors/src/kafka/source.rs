//! The connector: partitions as splits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::share::Share;
use thalweg_core::source::{LogBounds, Piece, Source, Split, SplitReader};
use tokio::sync::Mutex;

use super::client::{Bounds, ClientError, Cluster, Reach, Topic};
use super::config::{SourceConfig, StartAt};
use super::logs::{Cut, Logs};
use super::patience::{MISSING, Patience, Waits, awaited, persist, told};
use super::portion::LEAST_PART;
use super::reader::KafkaReader;
use super::starts::{Found, Starts, Which};
use crate::outage::Outages;

/// How long it may take to find where a partition starts: whoever is to lead it may not have been chosen yet.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A topic as a source.
pub struct KafkaSource {
    shared: Arc<Shared>,
    list: Arc<dyn AppendLog>,
    known: Mutex<Known>,
    /// What the consumer group was shown, where one is named.
    shown: Mutex<Vec<(u32, u64)>>,
    is_shown: AtomicBool,
    /// Whether the topic, which was there, was missing at the last look.
    is_missing: AtomicBool,
}

/// What the source and its readers share.
pub(super) struct Shared {
    pub(super) config: SourceConfig,
    pub(super) clock: SharedClock,
    /// What all readers of the pipeline may have in memory together and not decoded.
    pub(super) memory: Share,
    /// What readers have found out of the partitions' logs.
    pub(super) logs: Logs,
    reach: Arc<dyn Reach>,
    cluster: Mutex<Option<Arc<dyn Cluster>>>,
    is_away: AtomicBool,
    outages: Arc<Outages<u32>>,
}

/// What is known of the topic.
#[derive(Default)]
struct Known {
    starts: Option<Starts>,
    topic: Option<Topic>,
    missing: u32,
}

impl KafkaSource {
    /// A source that keeps in `list` where partitions start. Its readers share `memory` with all others of the pipeline.
    pub fn new(
        config: SourceConfig,
        list: Arc<dyn AppendLog>,
        clock: SharedClock,
        reach: Arc<dyn Reach>,
        memory: &Share,
    ) -> Self {
        let (cluster, is_away, outages) = (Mutex::default(), AtomicBool::new(false), Arc::default());
        let (memory, logs) = (memory.clone(), Logs::default());
        let shared = Shared { config, clock, memory, logs, reach, cluster, is_away, outages };
        let (known, shown, is_shown) = (Mutex::default(), Mutex::default(), AtomicBool::new(true));
        Self { shared: Arc::new(shared), list, known, shown, is_shown, is_missing: AtomicBool::new(false) }
    }

    /// The topic at the start: it may be about to be made. One that is known to have been there is gone.
    async fn first_topic(&self, cluster: &Arc<dyn Cluster>, starts: &Starts) -> Result<Topic> {
        let Shared { config, clock, .. } = &*self.shared;
        let (name, doing) = (&config.topic, format!("reading topic `{}`", config.topic));
        let was_read = starts.topic_id.is_some();
        // To say that what was read is lost has time: it is told once, and followed by long pauses.
        let missing = if was_read { Waits::ONCE.missing } else { config.waits.missing };
        match awaited(clock, Waits { missing, ..config.waits }, &doing, || cluster.topic(name)).await? {
            Some(topic) => self.readable(topic),
            None if was_read => Err(self.shared.lost("it was read before, and is not there")),
            None => Err(Error::user(doing, format!("there is no topic `{name}`"))
                .because(Cause::NotFound)
                .with_hint("create it, or correct `kafka.topic`")),
        }
    }

    /// The topic, if this user may read it.
    fn readable(&self, topic: Topic) -> Result<Topic> {
        if topic.may_read {
            return Ok(topic);
        }
        let denied = ClientError::Denied("TopicAuthorizationFailed: the user may not read it".to_owned());
        Err(told(&format!("reading topic `{}`", self.shared.config.topic), &denied))
    }

    /// The topic later on. While nobody answers, it is as it was.
    async fn later_topic(&self, cluster: &Arc<dyn Cluster>, known: &mut Known, before: Topic) -> Result<Topic> {
        match cluster.topic(&self.shared.config.topic).await {
            Ok(Some(topic)) => {
                self.shared.is_back();
                known.missing = 0;
                self.is_missing.store(false, Ordering::Relaxed);
                self.readable(topic)
            }
            Ok(None) => {
                known.missing += 1;
                self.is_missing.store(true, Ordering::Relaxed);
                if known.missing < MISSING { Ok(before) } else { Err(self.shared.gone()) }
            }
            Err(error @ ClientError::Away(_)) => {
                self.shared.is_away(&error);
                known.missing = 0;
                Ok(before)
            }
            Err(error) => Err(told(&format!("looking for partitions of `{}`", self.shared.config.topic), &error)),
        }
    }

    /// The topic as a reader sees it, which looks once and looks again itself. Where one broker knows of none, it is for whoever
    /// lists splits to judge whether it is gone: those count their looks, and pause between them.
    async fn seen_topic(&self, cluster: &Arc<dyn Cluster>, before: Option<Topic>) -> Result<Option<Topic>> {
        let Shared { config, clock, .. } = &*self.shared;
        let (name, doing) = (&config.topic, format!("reading topic `{}`", config.topic));
        let found = match before {
            None => persist(clock, config.waits.away, &doing, || cluster.topic(name)).await?,
            Some(before) => match cluster.topic(name).await {
                Err(error @ ClientError::Away(_)) => {
                    self.shared.is_away(&error);
                    Some(before)
                }
                found => found.map_err(|error| told(&doing, &error))?,
            },
        };
        found.map(|topic| self.readable(topic)).transpose()
    }

    /// What was decided of where partitions start, as far as it is known here.
    async fn starts(&self, known: &Known) -> Result<Starts> {
        let mut starts = known.starts.clone().unwrap_or_default();
        if known.topic.is_none() {
            starts.read(&self.list.read(starts.records).await?)?;
        }
        Ok(starts)
    }

    /// Takes the topic as it is now, and decides where its partitions start; how many there are.
    async fn take(
        &self,
        cluster: &Arc<dyn Cluster>,
        known: &mut Known,
        (topic, mut starts): (Topic, Starts),
    ) -> Result<usize> {
        if starts.is_other(topic.id) {
            return Err(self.shared.another());
        }
        self.decide(cluster, topic, &mut starts).await?;
        let partitions = starts.of.len().max(topic.partitions as usize);
        known.topic = Some(topic);
        known.starts = Some(starts);
        Ok(partitions)
    }

    /// Decides where partitions start that were not seen before, and keeps it.
    async fn decide(&self, cluster: &Arc<dyn Cluster>, topic: Topic, starts: &mut Starts) -> Result<()> {
        loop {
            let (unknown, which) = starts.unknown(topic.partitions);
            if unknown.is_empty() {
                return Ok(());
            }
            let mut found = BTreeMap::new();
            for partition in unknown {
                found.insert(partition, self.start(cluster, partition, which).await?);
            }
            let record = Found::new(topic.id, found).encode()?;
            match self.list.append(starts.records, record.clone()).await? {
                Appended::Created => starts.read(&[record])?,
                // Another worker was first, and what it decided counts.
                Appended::Exists => starts.read(&self.list.read(starts.records).await?)?,
            }
        }
    }

    async fn start(&self, cluster: &Arc<dyn Cluster>, partition: u32, which: Which) -> Result<u64> {
        let Shared { config, clock, .. } = &*self.shared;
        let doing = format!("finding where `{}`, partition {partition}, starts", config.topic);
        let bounds = persist(clock, START_LIMIT, &doing, || async {
            cluster.bounds(&config.topic, partition).await.map_err(not_yet)
        });
        let bounds = bounds.await?;
        if which == Which::Later {
            return Ok(bounds.start);
        }
        match &config.start_at {
            StartAt::Earliest => Ok(bounds.start),
            StartAt::Latest => Ok(bounds.end),
            StartAt::Timestamp(millis) => {
                let found = || async { cluster.offset_at(&config.topic, partition, *millis).await.map_err(not_yet) };
                Ok(persist(clock, START_LIMIT, &doing, found).await?.unwrap_or(bounds.end))
            }
            StartAt::Offsets(offsets) => match offsets.get(&partition) {
                None => Ok(bounds.start),
                Some(&offset) if (bounds.start..=bounds.end).contains(&offset) => Ok(offset),
                Some(offset) => {
                    let held = format!("found {offset}, the partition holds {} to {}", bounds.start, bounds.end);
                    Err(Error::user(format!("`kafka.startAt.offsets` of partition {partition}"), held))
                }
            },
        }
    }

    /// The topic, and where a partition starts. Who reads it has heard of it from another worker, which lists, and may
    /// ask a broker that has not: it is waited for.
    async fn opened(&self, partition: u32) -> Result<(Topic, u64)> {
        let doing = format!("opening `{}`, partition {partition}", self.shared.config.topic);
        let unlisted = ClientError::Away("no broker that answers has it".to_owned());
        let mut patience = Patience::new(&self.shared.clock, Duration::MAX / 4);
        loop {
            match self.find(partition).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Another broker has not heard of the topic either.
                Err(error) if error.cause == Some(Cause::NotFound) => {}
                Err(error) => return Err(error),
            }
            patience.wait(&doing, &unlisted).await;
        }
    }

    /// The topic, and where a partition starts, if that is known to this worker, or to the one that lists.
    async fn find(&self, partition: u32) -> Result<Option<(Topic, u64)>> {
        if let Some(known) = self.known(partition).await {
            return Ok(Some(known));
        }
        self.read_list().await?;
        if let Some(known) = self.known(partition).await {
            return Ok(Some(known));
        }
        self.look().await?;
        Ok(self.known(partition).await)
    }

    /// Takes the topic as a reader sees it, if it is there.
    async fn look(&self) -> Result<()> {
        let cluster = self.shared.cluster().await?;
        let mut known = self.known.lock().await;
        let before = known.topic;
        let Some(topic) = self.seen_topic(&cluster, before).await? else { return Ok(()) };
        let starts = self.starts(&known).await?;
        self.take(&cluster, &mut known, (topic, starts)).await.map(drop)
    }

    /// What other workers have decided meanwhile.
    async fn read_list(&self) -> Result<()> {
        let mut known = self.known.lock().await;
        if let Some(starts) = &mut known.starts {
            starts.read(&self.list.read(starts.records).await?)?;
        }
        Ok(())
    }

    async fn write_to_group(&self, group: &str, offsets: &[(u32, u64)]) -> Result<()> {
        let topic = &self.shared.config.topic;
        let written = self.shared.cluster().await?.write_to_group(group, topic, offsets).await;
        written.map_err(|error| told(&format!("writing positions of `{topic}` to the group `{group}`"), &error))
    }

    async fn known(&self, partition: u32) -> Option<(Topic, u64)> {
        let known = self.known.lock().await;
        let start = known.starts.as_ref()?.of.get(&partition).copied();
        known.topic.zip(start)
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let cluster = self.shared.cluster().await?;
        let mut known = self.known.lock().await;
        let starts = self.starts(&known).await?;
        let topic = match known.topic {
            None => self.first_topic(&cluster, &starts).await?,
            Some(before) => self.later_topic(&cluster, &mut known, before).await?,
        };
        let partitions = self.take(&cluster, &mut known, (topic, starts)).await?;
        Ok((0..partitions).map(|number| Split { id: SplitId::new(number.to_string()), size: None }).collect())
    }

    fn grows(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        true
    }

    fn is_in_doubt(&self) -> bool {
        self.is_missing.load(Ordering::Relaxed)
    }

    fn show(&self, _: &SplitId, position: Position) -> String {
        position.offset.to_string()
    }

    async fn show_taken(&self, taken: &[(SplitId, Position)]) {
        let Some(group) = &self.shared.config.group else { return };
        let Some(topic) = self.known.lock().await.topic else { return };
        let is_of_topic = |(_, at): &&(SplitId, Position)| at.entry == entry_of(topic.id);
        let offset = |(split, at): &(SplitId, Position)| partition_of(split).ok().zip(u64::try_from(at.offset).ok());
        let offsets: Vec<_> = taken.iter().filter(is_of_topic).filter_map(offset).collect();
        let mut shown = self.shown.lock().await;
        if *shown == offsets {
            return;
        }
        let written = self.write_to_group(group, &offsets).await;
        let was_shown = self.is_shown.swap(written.is_ok(), Ordering::Relaxed);
        match written {
            Ok(()) => *shown = offsets,
            // Told once; tools see that it stands still.
            Err(error) if was_shown => tracing::warn!("{error}"),
            Err(_) => {}
        }
    }

    async fn open(&self, split: &SplitId, from: Position) -> Result<Box<dyn SplitReader>> {
        let partition = partition_of(split)?;
        self.shared.check_uncut(partition)?;
        let cluster = self.shared.cluster().await?;
        let (topic, start) = self.opened(partition).await?;
        let Shared { config, clock, .. } = &*self.shared;
        let doing = format!("opening `{}`, partition {partition}", config.topic);
        let (waiting, since) = (self.shared.outages.waiting(partition), clock.monotonic());
        let was_unknown = AtomicBool::new(false);
        let bounds = persist(clock, Duration::MAX / 4, &doing, || async {
            let bounds = cluster.bounds(&config.topic, partition).await;
            match &bounds {
                Err(error @ ClientError::Away(_)) => waiting.unanswered(since, error),
                Err(ClientError::NoTopic) => was_unknown.store(true, Ordering::Relaxed),
                _ => {}
            }
            bounds.map_err(not_yet)
        })
        .await?;
        // Who lists the topic judges whether it is gone; here another one may have come meanwhile.
        if was_unknown.into_inner()
            && self.seen_topic(&cluster, Some(topic)).await?.is_some_and(|now| now.id != topic.id)
        {
            return Err(self.shared.another());
        }
        waiting.answered();
        // Who begins takes what there is, which may be a statement that has come long after the start was decided; it is told at
        // once where that is, and from then on nothing may go before it is read.
        let begins = from == Position::START;
        if begins && start < bounds.start {
            let (place, oldest) = (self.shared.place(partition), bounds.start);
            tracing::warn!(
                "{place}: read from offset {oldest} on, not {start}: retention has deleted what nobody had begun to read"
            );
        }
        let next = if begins { start.max(bounds.start) } else { u64::try_from(from.offset).unwrap_or(u64::MAX) };
        if !begins && from.entry != entry_of(topic.id) {
            return Err(self.shared.another());
        }
        self.shared.check(partition, next, bounds)?;
        let name = config.topic.clone();
        let piece = Piece { name, ordinal: partition, watermark_scope: 0, is_last_scope: true };
        let reader = KafkaReader::new(Arc::clone(&self.shared), topic.id, partition, next, piece, waiting);
        if self.shared.memory.falls_short(LEAST_PART) {
            let (topic, partitions) = (&self.shared.config.topic, self.shared.memory.holders());
            tracing::warn!(
                %topic,
                partitions,
                "there is too little memory for so many partitions of one worker: it may take more than its limit; raise the \
                 limit, or have more workers"
            );
        }
        Ok(Box::new(if begins { reader.beginning() } else { reader }))
    }

    async fn bounds(&self, split: &SplitId) -> Result<Option<LogBounds>> {
        let partition = partition_of(split)?;
        let Some((topic, start)) = self.find(partition).await? else { return Ok(None) };
        let name = &self.shared.config.topic;
        let bounds = self.shared.cluster().await?.bounds(name, partition).await;
        let bounds = bounds.map_err(|error| told(&format!("finding the end of `{name}`"), &error))?;
        let at = |offset| Position::within(entry_of(topic.id), offset);
        Ok(Some(LogBounds { start: at(start.max(bounds.start)), end: at(bounds.stable_end) }))
    }

    fn outage(&self, split: &SplitId) -> Option<Error> {
        let Shared { config, clock, outages, .. } = &*self.shared;
        let said = outages.told(partition_of(split).ok()?, clock.monotonic())?;
        let away = ClientError::Away(format!("{} does not answer ({said})", config.connection.shown()));
        // The same words for all partitions.
        Some(told(&format!("reading topic `{}`", config.topic), &away))
    }

    async fn describe(&self, split: &SplitId, position: Position, column: Option<usize>) -> String {
        let column = column.map(|byte| format!(", byte {}", byte + 1)).unwrap_or_default();
        format!("topic {}, partition {split}, offset {}{column}", self.shared.config.topic, position.offset)
    }
}

impl Shared {
    /// The cluster, reached when it is first needed.
    pub(super) async fn cluster(&self) -> Result<Arc<dyn Cluster>> {
        let mut cluster = self.cluster.lock().await;
        if let Some(cluster) = &*cluster {
            return Ok(Arc::clone(cluster));
        }
        let connection = &self.config.connection;
        let doing = format!("reaching {}", connection.shown());
        let reached = persist(&self.clock, self.config.waits.away, &doing, || self.reach.reach(connection)).await?;
        *cluster = Some(Arc::clone(&reached));
        Ok(reached)
    }

    /// Tells once that nobody answers.
    pub(super) fn is_away(&self, error: &ClientError) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let shown = self.config.connection.shown();
            tracing::warn!("reading topic `{}`: {shown} does not answer ({error}); trying again", self.config.topic);
        }
    }

    /// Tells once that somebody answers again.
    pub(super) fn is_back(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            tracing::warn!("reading topic `{}`: {} answers again", self.config.topic, self.config.connection.shown());
        }
    }

    /// Whether a log holds what is wanted.
    pub(super) fn check(&self, partition: u32, next: u64, bounds: Bounds) -> Result<()> {
        if next < bounds.start {
            let detail = format!(
                "offset {next} is wanted, and the oldest record kept is {}: retention has deleted what was not read yet",
                bounds.start
            );
            return Err(Error::data_loss(self.place(partition), detail).with_hint(START_ANEW));
        }
        if next > bounds.end {
            return Err(self.cut(partition, next, Some(bounds.end)));
        }
        Ok(())
    }

    /// Whether no reader has found that a log was cut. Behind that it is another one, however long it has become, and units that
    /// read on there would pass over what took the places of what they had read: nobody reads it any more.
    pub(super) fn check_uncut(&self, partition: u32) -> Result<()> {
        self.logs.cut(partition).map_or(Ok(()), |cut| Err(self.told_cut(partition, cut)))
    }

    /// Records that were read are not in the log any more. It is kept: whoever opens the partition again is told the same.
    pub(super) fn cut(&self, partition: u32, next: u64, end: Option<u64>) -> Error {
        self.told_cut(partition, self.logs.note(partition, Cut { next, end }))
    }

    fn told_cut(&self, partition: u32, Cut { next, end }: Cut) -> Error {
        let end = end.map_or_else(String::new, |end| format!(" to {end}"));
        let detail = format!(
            "offset {next} is wanted, and the log was cut back{end}: records that were read are gone, and others may stand in \
             their places"
        );
        let hint = "a broker leads that did not have them, as `unclean.leader.election.enable` allows, or one that lost its disk; \
                    start the pipeline anew with --fresh (in a cluster, `restart.nonce`) to read what there is";
        Error::data_loss(self.place(partition), detail).with_hint(hint)
    }

    /// A batch that holds what is wanted cannot be read.
    pub(super) fn corrupt(&self, partition: u32, next: u64, detail: &str) -> Error {
        let detail = format!("offset {next} is wanted, and {detail}");
        let hint = "nothing is skipped: if another replica is whole, let it lead the partition; else start anew behind the \
                    batch, with --fresh and `startAt: { position: Offsets }`";
        Error::data_loss(self.place(partition), detail).with_hint(hint)
    }

    /// The topic is not there any more.
    pub(super) fn gone(&self) -> Error {
        self.lost("it was deleted while it was read")
    }

    fn lost(&self, detail: &str) -> Error {
        let hint = "make it again and start the pipeline anew with --fresh; if `kafka.topic` names another one than before, \
                    change it back";
        Error::data_loss(format!("topic `{}`", self.config.topic), detail).with_hint(hint)
    }

    /// Another topic has the name now.
    pub(super) fn another(&self) -> Error {
        let detail = "it was deleted and made again: its positions are not those of the topic that was read";
        Error::data_loss(format!("topic `{}`", self.config.topic), detail).with_hint(START_ANEW)
    }

    pub(super) fn place(&self, partition: u32) -> String {
        format!("topic `{}`, partition {partition}", self.config.topic)
    }
}

const START_ANEW: &str = "start the pipeline anew with --fresh to read what there is";

/// The half of a topic's id that positions carry, so that none is ever taken for one of another topic of that name.
pub(super) fn entry_of(topic_id: u128) -> u64 {
    (topic_id >> 64) as u64 ^ topic_id as u64
}

/// What whoever leads a partition does not know may only have to come: somebody has listed it.
fn not_yet(error: ClientError) -> ClientError {
    match error {
        ClientError::NoTopic => ClientError::Away("who leads the partition does not know it yet".to_owned()),
        error => error,
    }
}

fn partition_of(split: &SplitId) -> Result<u32> {
    let number = split.as_str().parse();
    number.map_err(|_| Error::internal(format!("opening split {split}"), "it is no partition of a topic"))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use thalweg_core::append_log::MemoryLog;
    use thalweg_core::error::ErrorKind;
    use thalweg_core::source::{Given, IN_DOUBT_EVERY, Payload, RawChunk, Read, Records};

    use super::*;
    use crate::kafka::client::{EpochEnd, Epochs, NewTopic, Polled};
    use crate::kafka::patience::Waits;
    use crate::kafka::played::{Paused, Played, connection};
    use crate::outage::TOLD_AFTER;

    fn source(cluster: &Played, list: &Arc<MemoryLog>) -> KafkaSource {
        source_within(cluster, list, &Share::default())
    }

    fn source_within(cluster: &Played, list: &Arc<MemoryLog>, memory: &Share) -> KafkaSource {
        source_waiting(cluster, list, (memory, Waits::ONCE))
    }

    fn source_waiting(cluster: &Played, list: &Arc<MemoryLog>, (memory, waits): (&Share, Waits)) -> KafkaSource {
        let (start_at, wanted) = (StartAt::Earliest, Default::default());
        let (connection, topic, most_bytes, group) = (connection(), "t".into(), 1_000, None);
        let config = SourceConfig { connection, topic, start_at, most_bytes, wanted, group, waits };
        KafkaSource::new(config, list.clone(), Arc::new(Paused::new()), Arc::new(cluster.clone()), memory)
    }

    /// A worker that reads hears of a new partition by the assignment; the broker that it asks may not have heard of it, or
    /// not answer at all.
    #[tokio::test(start_paused = true)]
    async fn a_partition_that_another_worker_lists_is_opened_once_a_broker_has_it() {
        let list = Arc::new(MemoryLog::new());
        let away = || Err(ClientError::Away("it restarts".to_owned()));
        let behind = Played::default();
        *behind.partitions() = VecDeque::from([Ok(1), Ok(1), away(), Ok(1), Ok(2)]);
        let reads = source(&behind, &list);
        assert_eq!(reads.splits().await.expect("listed").len(), 1);
        assert!(reads.bounds(&SplitId::new("1")).await.expect("an answer").is_none(), "not known yet");
        reads.open(&SplitId::new("1"), Position::START).await.expect("opened");
        assert_eq!(behind.partitions().len(), 1, "it has asked until the broker had it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_worker_has_decided_of_a_partition_is_enough_to_open_it() {
        let list = Arc::new(MemoryLog::new());
        let (ahead, behind) = (Played::default(), Played::default());
        *ahead.partitions() = VecDeque::from([Ok(2)]);
        *behind.partitions() = VecDeque::from([Ok(1)]);
        let (lists, reads) = (source(&ahead, &list), source(&behind, &list));
        assert_eq!(reads.splits().await.expect("listed").len(), 1);
        assert_eq!(lists.splits().await.expect("listed").len(), 2);
        reads.open(&SplitId::new("1"), Position::START).await.expect("opened");
        assert_eq!(list.read(0).await.expect("read").len(), 2, "it has decided nothing itself");
    }

    /// The topic may be new to the broker that it asks, or that broker has just started: whether there is one is for whoever lists
    /// to tell, and no reader ends a worker's job for it.
    #[tokio::test(start_paused = true)]
    async fn who_reads_and_does_not_list_waits_for_a_topic_that_its_broker_does_not_know() {
        let missing = || std::iter::repeat_n(Ok::<u32, ClientError>(0), 10);
        for is_decided in [false, true] {
            let (list, behind) = (Arc::new(MemoryLog::new()), Played::default());
            if is_decided {
                source(&Played::default(), &list).splits().await.expect("another worker has listed it");
            }
            let reads = source_waiting(&behind, &list, (&Share::default(), Waits::AGAIN));
            *behind.partitions() = missing().chain([Ok(1)]).collect();
            let begun = reads.shared.clock.monotonic();
            assert!(reads.bounds(&SplitId::new("0")).await.expect("an answer").is_none(), "not known yet");
            reads.open(&SplitId::new("0"), Position::START).await.expect("opened");
            let after = reads.shared.clock.monotonic() - begun;
            assert!(after > 2 * Waits::AGAIN.missing, "{after:?}");
            // The same where the topic was there, and one of its partitions is new.
            *behind.partitions() = missing().chain([Ok(2)]).collect();
            reads.open(&SplitId::new("1"), Position::START).await.expect("opened");
            assert_eq!(behind.partitions().len(), 1, "it has asked until the broker had it");
            assert_eq!(reads.splits().await.expect("listed").len(), 2);
            assert!(!reads.is_in_doubt(), "only who lists counts how often it was missing");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_does_not_know_its_partition_yet_is_waited_for() {
        let (cluster, list) = (Played::default(), Arc::new(MemoryLog::new()));
        let reads = source_waiting(&cluster, &list, (&Share::default(), Waits::AGAIN));
        reads.splits().await.expect("listed");
        cluster.lags(10);
        let begun = reads.shared.clock.monotonic();
        reads.open(&SplitId::new("0"), Position::START).await.expect("opened");
        let after = reads.shared.clock.monotonic() - begun;
        assert!(after > 2 * Waits::AGAIN.missing, "{after:?}");
        // Who lists waits for the leader of a partition that is new.
        *cluster.partitions() = VecDeque::from([Ok(2)]);
        cluster.lags(3);
        assert_eq!(reads.splits().await.expect("listed").len(), 2);
        // Where another topic has the name by then, nothing of it is read.
        cluster.lags(3);
        cluster.forget_topic();
        let topic = NewTopic { name: "t".to_owned(), partitions: 2, replication: None, settings: Vec::new() };
        cluster.create_topic(&topic).await.expect("made again");
        let error = reads.open(&SplitId::new("0"), Position::START).await.err().expect("another topic");
        assert!(
            error.kind == ErrorKind::DataLoss && error.detail.starts_with("it was deleted and made again"),
            "{error}"
        );
    }

    /// What the first chunk says of a log that nobody has begun to read.
    async fn beginning(reads: &KafkaSource) -> (Box<dyn SplitReader>, Position) {
        let mut reader = reads.open(&SplitId::new("0"), Position::START).await.expect("opened");
        let Read::Chunk(first) = reader.read(None).await.expect("read") else { panic!("it says where it begins") };
        assert!(matches!(first.payload, Given::Held(Payload::Records(records)) if records.offsets.is_empty()));
        (reader, first.to)
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_after_somebody_has_begun_to_read_is_lost_though_nothing_was_read_yet() {
        let (cluster, list) = (Played::default(), Arc::new(MemoryLog::new()));
        let reads = source(&cluster, &list);
        reads.splits().await.expect("listed");
        let (mut reader, begun) = beginning(&reads).await;
        assert_eq!(begun, Position::within(entry_of(7), 0));
        assert!(matches!(reader.read(None).await.expect("read"), Read::CaughtUp), "it is said once");
        // Ten records have come while nobody read, and four of them have gone.
        cluster.holds(Bounds { start: 4, stable_end: 10, end: 10 });
        let error = reads.open(&SplitId::new("0"), begun).await.err().expect("they are missing");
        assert_eq!((error.kind, error.detail.contains("offset 0 is wanted")), (ErrorKind::DataLoss, true), "{error}");
        // A statement that is new begins with what there is, and nothing of that may go.
        let (_, later) = beginning(&reads).await;
        assert_eq!(later, Position::within(entry_of(7), 4));
        cluster.holds(Bounds { start: 5, stable_end: 10, end: 10 });
        let error = reads.open(&SplitId::new("0"), later).await.err().expect("one is missing");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
    }

    /// Waits until a source tells that nobody answers.
    async fn told_of(source: &KafkaSource, split: &SplitId) -> Error {
        loop {
            if let Some(error) = source.outage(split) {
                return error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_goes_away_is_told_by_whoever_waits_for_it_and_until_it_is_back() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let (source, split) = (source(&cluster, &list), SplitId::new("0"));
        source.splits().await.expect("listed");
        let mut reader = source.open(&split, Position::START).await.expect("opened");
        assert!(matches!(reader.read(None).await, Ok(Read::Chunk(_))), "it says where it begins");
        assert!(matches!(reader.read(None).await, Ok(Read::CaughtUp)));
        assert!(source.outage(&split).is_none());
        cluster.goes_away(true);
        let begun = source.shared.clock.monotonic();
        let error = tokio::select! {
            read = reader.read(None) => panic!("it has ended: {read:?}"),
            error = told_of(&source, &split) => error,
        };
        let after = source.shared.clock.monotonic() - begun;
        assert!((TOLD_AFTER..2 * TOLD_AFTER).contains(&after), "{after:?}");
        assert_eq!((error.kind, error.cause), (ErrorKind::External, None), "{error}");
        assert_eq!(error.what, "reading topic `t`");
        assert_eq!(error.detail, "Kafka at played:9092 does not answer (connection refused)");
        assert!(source.outage(&SplitId::new("1")).is_none(), "of a partition that nobody reads nothing is known");
        cluster.goes_away(false);
        assert!(matches!(reader.read(None).await, Ok(Read::CaughtUp)));
        assert!(source.outage(&split).is_none(), "somebody answers");
        // Whoever opens a partition meanwhile waits as well.
        drop(reader);
        cluster.goes_away(true);
        tokio::select! {
            opened = source.open(&split, Position::START) => panic!("opened: {}", opened.is_ok()),
            error = told_of(&source, &split) => assert_eq!(error.kind, ErrorKind::External),
        }
        assert!(source.outage(&split).is_none(), "nobody wants it any more");
        cluster.goes_away(false);
        source.open(&split, Position::START).await.expect("opened");
        assert!(source.outage(&split).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn each_chunk_has_the_time_of_its_first_record_whether_or_not_a_column_reads_it() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let polled = |offsets: std::ops::Range<u64>, first| {
            let (next, values) = (offsets.end, offsets.clone().map(|_| Some(Bytes::from_static(b"{}"))).collect());
            let records = Records { values, offsets: offsets.collect(), first_timestamp: first, ..Records::default() };
            Polled { records, next, ..Polled::default() }
        };
        cluster.polls().extend([polled(0..4, Some(1_000)), polled(4..5, Some(2_000)), polled(5..6, None)]);
        let (source, split) = (source(&cluster, &list), SplitId::new("0"));
        source.splits().await.expect("listed");
        let mut reader = source.open(&split, Position::START).await.expect("opened");
        assert!(matches!(reader.read(None).await, Ok(Read::Chunk(_))), "it says where it begins");
        let mut found = Vec::new();
        for until in [Some(Position::within(entry_of(7), 2)), None, None, None] {
            let Ok(Read::Chunk(RawChunk { to, payload, .. })) = reader.read(until).await else { panic!("a chunk") };
            let Given::Held(Payload::Records(records)) = payload else { panic!("records") };
            assert!(records.timestamps.is_empty(), "nobody reads them");
            found.push((to.offset, records.first_timestamp));
        }
        assert_eq!(found, [(2, Some(1_000)), (4, Some(1_000)), (5, Some(2_000)), (6, None)]);
    }

    /// Records of one epoch.
    fn of_epoch(epoch: u32, offsets: std::ops::Range<u64>) -> Polled {
        let (next, values) = (offsets.end, offsets.clone().map(|_| Some(Bytes::from_static(b"{}"))).collect());
        let records = Records { values, offsets: offsets.collect(), ..Records::default() };
        Polled { records, next, epochs: Some(Epochs { first: epoch, last: epoch }), ..Polled::default() }
    }

    /// What the next chunk ends with, or why there is none.
    async fn chunk(reader: &mut dyn SplitReader) -> Result<u128> {
        match reader.read(None).await? {
            Read::Chunk(chunk) => Ok(chunk.to.offset),
            other => panic!("a chunk, found {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_of_a_leader_that_lacks_what_was_read_are_data_loss_however_long_its_log_is() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        // Those that follow have been written since, and the log is as long as it was, or longer.
        cluster.holds(Bounds { start: 0, stable_end: 9, end: 9 });
        for (then, end, lost) in [
            (of_epoch(2, 4..6), Ok(EpochEnd { epoch: 1, end: 4 }), None),
            (of_epoch(2, 4..6), Ok(EpochEnd { epoch: 1, end: 3 }), Some(" to 3")),
            (of_epoch(2, 4..6), Ok(EpochEnd { epoch: 0, end: 3 }), Some(" to 3")),
            // Compaction may have taken all of an epoch.
            (of_epoch(2, 4..6), Ok(EpochEnd { epoch: 0, end: 4 }), None),
            (of_epoch(2, 4..6), Err(ClientError::Cut(None)), Some("")),
            // Nobody need be asked.
            (of_epoch(0, 4..6), Ok(EpochEnd { epoch: 1, end: 4 }), Some("")),
        ] {
            let source = source(&cluster, &list);
            source.splits().await.expect("listed");
            cluster.ends_epoch(end);
            cluster.polls().extend([of_epoch(1, 0..2), of_epoch(1, 2..4), then]);
            let mut reader = source.open(&SplitId::new("0"), Position::START).await.expect("opened");
            for to in [0, 2, 4] {
                assert_eq!(chunk(&mut *reader).await.expect("a chunk"), to);
            }
            match (chunk(&mut *reader).await, lost) {
                (Ok(to), None) => assert_eq!(to, 6),
                (Err(error), Some(lost)) => {
                    let told =
                        format!("offset 4 is wanted, and the log was cut back{lost}: records that were read are");
                    assert_eq!((error.kind, error.what.as_str()), (ErrorKind::DataLoss, "topic `t`, partition 0"));
                    assert!(error.detail.starts_with(&told), "{error}");
                }
                (found, _) => panic!("{found:?}"),
            }
        }
    }

    fn at(offset: u64) -> Position {
        Position::within(entry_of(7), offset)
    }

    /// A source of a log that ends at `end`, and a reader of it that has read so many records of the first epoch.
    async fn reading(cluster: &Played, records: u64, end: u64) -> (KafkaSource, Box<dyn SplitReader>) {
        let source = source(cluster, &Arc::new(MemoryLog::new()));
        source.splits().await.expect("listed");
        cluster.holds(Bounds { start: 0, stable_end: end, end });
        cluster.polls().push_back(of_epoch(1, 0..records));
        let mut reader = source.open(&SplitId::new("0"), Position::START).await.expect("opened");
        for to in [0, records] {
            assert_eq!(chunk(&mut *reader).await.expect("a chunk"), u128::from(to));
        }
        (source, reader)
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_was_cut_is_read_by_nobody_any_more_however_long_it_grows() {
        let (cluster, split) = (Played::default(), SplitId::new("0"));
        let (source, mut reader) = reading(&cluster, 20, 20).await;
        // Another one follows it.
        cluster.polls().push_back(of_epoch(1, 5..8));
        let mut behind = source.open(&split, at(5)).await.expect("opened");
        assert_eq!(chunk(&mut *behind).await.expect("a chunk"), 8);
        // It was cut to ten, and has grown since.
        cluster.failures().push_back(ClientError::Cut(Some(10)));
        cluster.ends_epoch(Ok(EpochEnd { epoch: 1, end: 10 }));
        cluster.holds(Bounds { start: 0, stable_end: 50, end: 50 });
        let error = chunk(&mut *reader).await.expect_err("it was cut");
        assert!(error.detail.starts_with("offset 20 is wanted, and the log was cut back to 10"), "{error}");
        drop(reader);
        cluster.polls().push_back(of_epoch(1, 8..10));
        let told = chunk(&mut *behind).await.expect_err("it would come to where the other one was");
        assert_eq!((told.kind, told.to_string()), (ErrorKind::DataLoss, error.to_string()));
        for from in [at(20), at(8), Position::START] {
            let told = source.open(&split, from).await.err().expect("nobody goes on there");
            assert_eq!((told.kind, told.to_string()), (ErrorKind::DataLoss, error.to_string()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_after_others_looks_whether_the_log_holds_what_they_have_read() {
        let split = SplitId::new("0");
        // Behind the last record may be the marker of a transaction.
        for from in [2, 4, 5] {
            let cluster = Played::default();
            let (source, reader) = reading(&cluster, 4, 9).await;
            drop(reader);
            cluster.ends_epoch(Ok(EpochEnd { epoch: 1, end: 3 }));
            cluster.polls().push_back(of_epoch(2, from..9));
            let mut next = source.open(&split, at(from)).await.expect("the log is long enough");
            let error = chunk(&mut *next).await.expect_err("it was cut");
            assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
            assert_eq!(cluster.polls().len(), 1, "it was found before anything was read");
        }
        // Or it is cut once the library reads, and before it has got anything.
        let cluster = Played::default();
        let (source, _reader) = reading(&cluster, 4, 9).await;
        let mut behind = source.open(&split, at(2)).await.expect("opened");
        assert!(matches!(behind.read(None).await, Ok(Read::CaughtUp)));
        cluster.ends_epoch(Ok(EpochEnd { epoch: 1, end: 3 }));
        cluster.polls().push_back(of_epoch(2, 2..9));
        let error = chunk(&mut *behind).await.expect_err("it was cut");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
    }

    /// The first one that is asked about the topic does not answer.
    fn bounces(cluster: &Played) {
        *cluster.partitions() = VecDeque::from([Err(ClientError::Away("it restarts".to_owned())), Ok(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_that_the_library_tells_is_judged_once_somebody_answers() {
        // A topic that was made again looks the same.
        let cluster = Played::default();
        let (_source, mut reader) = reading(&cluster, 4, 9).await;
        cluster.forget_topic();
        let topic = NewTopic { name: "t".to_owned(), partitions: 1, replication: None, settings: Vec::new() };
        assert_eq!(cluster.create_topic(&topic).await, Ok(true));
        cluster.failures().push_back(ClientError::Cut(Some(0)));
        bounces(&cluster);
        let error = chunk(&mut *reader).await.expect_err("it is another one");
        assert!(error.detail.starts_with("it was deleted and made again"), "{error}");

        // Where nobody knows more, the library is believed, and it is not forgotten meanwhile.
        let cluster = Played::default();
        let source = source(&cluster, &Arc::new(MemoryLog::new()));
        source.splits().await.expect("listed");
        cluster.holds(Bounds { start: 0, stable_end: 9, end: 9 });
        let mut reader = source.open(&SplitId::new("0"), at(4)).await.expect("opened");
        cluster.failures().push_back(ClientError::Cut(Some(1)));
        bounces(&cluster);
        cluster.polls().push_back(of_epoch(2, 4..6));
        let error = chunk(&mut *reader).await.expect_err("it was cut");
        assert!(error.detail.starts_with("offset 4 is wanted, and the log was cut back to 1"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_that_the_library_tells_is_none_where_whoever_leads_has_what_was_read() {
        for (cut, lost) in [(1, false), (4, true)] {
            let cluster = Played::default();
            let (_source, mut reader) = reading(&cluster, 4, 9).await;
            cluster.polls().push_back(Polled { next: 5, ..Polled::default() });
            assert_eq!(chunk(&mut *reader).await.expect("a marker"), 5);
            cluster.ends_epoch(Ok(EpochEnd { epoch: 1, end: 4 }));
            cluster.failures().push_back(ClientError::Cut(Some(cut)));
            cluster.polls().push_back(of_epoch(1, 5..6));
            match chunk(&mut *reader).await {
                Ok(to) => assert_eq!((to, lost), (6, false)),
                // A record may stand where the marker was.
                Err(error) => assert_eq!((error.kind, lost), (ErrorKind::DataLoss, true), "{error}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_behind_the_end_is_data_loss_with_both_and_what_to_do() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let source = source(&cluster, &list);
        source.splits().await.expect("listed");
        cluster.holds(Bounds { start: 0, stable_end: 6, end: 6 });
        source.open(&SplitId::new("0"), at(6)).await.expect("the end itself is none");
        let error = source.open(&SplitId::new("0"), at(10)).await.err().expect("the log was cut");
        assert_eq!((error.kind, error.what.as_str()), (ErrorKind::DataLoss, "topic `t`, partition 0"));
        assert!(error.detail.starts_with("offset 10 is wanted, and the log was cut back to 6"), "{error}");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("--fresh") && hint.contains("unclean")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_fetches_less_once_more_of_them_share_the_memory_and_then_looks_whether_its_log_is_whole() {
        const MIB: usize = 1 << 20;
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let source = source_within(&cluster, &list, &Share::new(Some(MIB)));
        source.splits().await.expect("listed");
        let opened = || async { source.open(&SplitId::new("0"), Position::START).await.expect("opened") };
        let mut reader = opened().await;
        cluster.polls().extend([of_epoch(1, 0..2), of_epoch(1, 2..4)]);
        for to in [0, 2] {
            assert_eq!(chunk(&mut *reader).await.expect("a chunk"), to);
        }
        let other = opened().await;
        assert_eq!(chunk(&mut *reader).await.expect("a chunk"), 4, "a new reader goes on where the last one was");
        assert_eq!(*cluster.asked(), [MIB / 2, MIB / 4]);
        // Nothing is opened anew for twice as much.
        drop(other);
        assert!(matches!(reader.read(None).await, Ok(Read::CaughtUp)));
        assert_eq!(cluster.asked().len(), 2);
        // Whoever reads on without the library's knowledge asks itself.
        let _others = [opened().await, opened().await, opened().await];
        cluster.ends_epoch(Ok(EpochEnd { epoch: 1, end: 3 }));
        cluster.polls().push_back(of_epoch(2, 4..6));
        let error = chunk(&mut *reader).await.expect_err("the log was cut");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        assert_eq!(cluster.polls().len(), 1, "it was found before anything was read");
    }

    #[tokio::test(start_paused = true)]
    async fn who_lists_again_and_again_tells_within_seconds_that_a_topic_is_missing() {
        for (waits, most) in [(Waits::AGAIN, Duration::from_secs(4)), (Waits::ONCE, Duration::from_secs(12))] {
            let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
            let source = source_waiting(&cluster, &list, (&Share::default(), waits));
            *cluster.partitions() = VecDeque::from([Ok(0)]);
            let begun = source.shared.clock.monotonic();
            let missing = source.splits().await.expect_err("there is none");
            assert_eq!((&*missing.what, &*missing.detail), ("reading topic `t`", "there is no topic `t`"));
            let after = source.shared.clock.monotonic() - begun;
            assert!((waits.missing..most).contains(&after), "{waits:?}: {after:?}");
            // It is made a moment later, as together with the pipeline.
            *cluster.partitions() = VecDeque::from([Ok(0), Ok(0), Ok(0), Ok(1)]);
            assert_eq!(source.splits().await.expect("listed").len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_seems_to_be_deleted_is_in_doubt_until_it_is_there() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let source = source(&cluster, &list);
        let away = Err(ClientError::Away("no leader".to_owned()));
        *cluster.partitions() = VecDeque::from([Ok(1), Ok(0), away, Ok(1)]);
        for (look, is_in_doubt) in [false, true, true, false].into_iter().enumerate() {
            source.splits().await.expect("metadata may lack it");
            assert_eq!(source.is_in_doubt(), is_in_doubt, "look {look}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_metadata_lack_as_long_as_after_a_start_of_a_broker_was_not_deleted() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        let source = source(&cluster, &list);
        source.splits().await.expect("listed");
        *cluster.partitions() = VecDeque::from([Ok(0)]);
        let begun = source.shared.clock.monotonic();
        let after = || source.shared.clock.monotonic() - begun;
        let deleted = loop {
            if let Err(error) = source.splits().await {
                break error;
            }
            assert!(source.is_in_doubt());
            tokio::time::sleep(IN_DOUBT_EVERY).await;
        };
        assert_eq!(deleted.kind, ErrorKind::DataLoss, "{deleted}");
        assert!(after() > Waits::AGAIN.missing && after() < Duration::from_secs(5), "{:?}", after());
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_missing_has_a_reason_of_its_own_and_one_that_was_deleted_is_data_loss() {
        let (list, cluster) = (Arc::new(MemoryLog::new()), Played::default());
        *cluster.partitions() = VecDeque::from([Ok(0)]);
        let never = source(&cluster, &list).splits().await.expect_err("there is none");
        assert_eq!((never.kind, never.cause), (ErrorKind::User, Some(Cause::NotFound)), "{never}");
        *cluster.partitions() = VecDeque::from([Ok(1), Ok(0)]);
        let source = source(&cluster, &list);
        source.splits().await.expect("listed");
        for _ in 1..MISSING {
            source.splits().await.expect("metadata may lack it");
        }
        let deleted = source.splits().await.expect_err("it is gone");
        assert_eq!((deleted.kind, deleted.cause), (ErrorKind::DataLoss, None), "{deleted}");
        // Who starts later says the same, and not that somebody might make it.
        for waits in [Waits::AGAIN, Waits::ONCE] {
            let later = source_waiting(&cluster, &list, (&Share::default(), waits));
            let told = later.splits().await.expect_err("it is gone");
            assert_eq!((told.kind, &told.hint), (ErrorKind::DataLoss, &deleted.hint), "{told}");
            assert!(told.detail.starts_with("it was read before"), "{told}");
            // It is there again, as metadata of a broker that has just started may be.
            *cluster.partitions() = VecDeque::from([Ok(0), Ok(0), Ok(1)]);
            assert_eq!(later.splits().await.expect("listed").len(), 1);
            *cluster.partitions() = VecDeque::from([Ok(0)]);
        }
        *cluster.partitions() = VecDeque::from([Ok(1)]);
        cluster.forget_topic();
        let topic = NewTopic { name: "t".to_owned(), partitions: 1, replication: None, settings: Vec::new() };
        assert_eq!(cluster.create_topic(&topic).await, Ok(true));
        let another = source_waiting(&cluster, &list, (&Share::default(), Waits::AGAIN));
        let told = another.splits().await.expect_err("it is another one");
        assert_eq!(told.kind, ErrorKind::DataLoss, "{told}");
        assert!(told.detail.starts_with("it was deleted and made again"), "{told}");
    }
}
