//! Kafka, played behind the client's trait: partitions, transactions that are fenced by their producer's epoch and given up
//! in time, readers of committed records, brokers that do not answer or whose answers are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use thalweg_connectors::kafka::client::{
    Bounds, CLEANUP_POLICY, ClientError, Cluster, NewTopic, Outgoing, PartitionReader, Polled, Producer, Producing,
    Reach, Result, Topic, Transactions, Wanted,
};
use thalweg_connectors::kafka::config::Connection;
use thalweg_core::source::Records;

use super::world::{Fate, System, World};
use super::{Mutant, Rules};

/// How often a reader that waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Records of one answer at the most.
const BATCH: usize = 40;
/// How long brokers may take to learn of new partitions.
const LEARNING: Duration = Duration::from_secs(2);

/// The brokers of a history.
pub struct Broker {
    world: Arc<World>,
    rules: Rules,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, Log>,
    writers: BTreeMap<String, Writer>,
}

#[derive(Default)]
struct Log {
    id: u128,
    partitions: Vec<Vec<Entry>>,
    /// How many partitions there were before, and when that was.
    before: (usize, Duration),
}

struct Entry {
    key: Option<Bytes>,
    value: Option<Bytes>,
    millis: i64,
    is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    Committed,
    Aborted,
    /// The end of a transaction.
    Marker,
    /// Of a transaction that is open.
    Open(Arc<str>),
}

/// What the coordinator of transactions knows of one id.
#[derive(Default)]
struct Writer {
    epoch: u64,
    open: BTreeSet<(String, usize)>,
    /// The epoch and the number of the transaction that was committed last.
    committed: Option<(u64, u64)>,
    began: Duration,
    timeout: Duration,
}

/// A record that readers of committed records are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub key: String,
    pub value: String,
}

impl Broker {
    pub fn new(world: Arc<World>, rules: Rules) -> Arc<Self> {
        Arc::new(Self { world, rules, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a topic, at once.
    pub fn make(&self, name: &str, partitions: usize) {
        let mut state = self.state();
        let id = state.topics.len() as u128 + 1;
        let partitions = (0..partitions).map(|_| Vec::new()).collect();
        state.topics.entry(name.to_owned()).or_insert(Log { id, partitions, ..Log::default() });
    }

    /// Appends a record that is committed, at once.
    pub fn append(&self, topic: &str, partition: usize, key: &str, value: &str) {
        let millis = i64::try_from(self.world.now().as_millis()).unwrap_or(i64::MAX);
        let (key, value) = (Some(Bytes::from(key.to_owned())), Some(Bytes::from(value.to_owned())));
        if let Some(log) = self.state().topics.get_mut(topic) {
            log.partitions[partition].push(Entry { key, value, millis, is: Is::Committed });
        }
    }

    /// Every committed record of a topic, by partition.
    pub fn committed(&self, topic: &str) -> Vec<Vec<Shown>> {
        let text = |bytes: &Option<Bytes>| {
            bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        let shown = |entry: &Entry| Shown { key: text(&entry.key), value: text(&entry.value) };
        let state = self.state();
        let Some(log) = state.topics.get(topic) else { return Vec::new() };
        let of_partition =
            |entries: &Vec<Entry>| entries.iter().filter(|entry| entry.is == Is::Committed).map(shown).collect();
        log.partitions.iter().map(of_partition).collect()
    }

    /// Gives up transactions that are open for too long.
    pub fn look(&self) {
        let now = self.world.now();
        let mut state = self.state();
        let is_over = |writer: &Writer| !writer.open.is_empty() && now - writer.began > writer.timeout;
        let over: Vec<_> =
            state.writers.iter().filter(|(_, writer)| is_over(writer)).map(|(id, _)| id.clone()).collect();
        for id in over {
            state.end(&id, false, self.rules);
            if let Some(writer) = state.writers.get_mut(&id) {
                writer.epoch += 1;
            }
            self.world.note(format!("broker: gave up the transaction of {id}"));
        }
    }

    async fn travel(&self, what: &str) -> Result<Fate> {
        match self.world.travel(System::Broker).await {
            Fate::Lost => Err(away(what)),
            fate => Ok(fate),
        }
    }
}

fn away(what: &str) -> ClientError {
    ClientError::Away(format!("{what}: no broker answers"))
}

/// What was done, where its answer arrives.
fn heard<T>(fate: Fate, what: &str, done: T) -> Result<T> {
    if fate == Fate::AnswerLost { Err(away(what)) } else { Ok(done) }
}

impl State {
    /// Ends the open transaction of an id.
    fn end(&mut self, id: &str, commits: bool, rules: Rules) {
        let Some(writer) = self.writers.get_mut(id) else { return };
        let shows = commits || rules.breaks(Mutant::AbortedShows);
        for (topic, partition) in std::mem::take(&mut writer.open) {
            let Some(log) = self.topics.get_mut(&topic) else { continue };
            let entries = &mut log.partitions[partition];
            for entry in entries.iter_mut().filter(|entry| matches!(&entry.is, Is::Open(of) if **of == *id)) {
                entry.is = if shows { Is::Committed } else { Is::Aborted };
            }
            entries.push(Entry { key: None, value: None, millis: 0, is: Is::Marker });
        }
    }
}

impl Log {
    fn stable_end(&self, partition: usize) -> usize {
        let entries = &self.partitions[partition];
        entries.iter().position(|entry| matches!(entry.is, Is::Open(_))).unwrap_or(entries.len())
    }
}

/// The way to the brokers.
#[derive(Clone)]
pub struct Way(pub Arc<Broker>);

#[async_trait]
impl Reach for Way {
    async fn reach(&self, _connection: &Connection) -> Result<Arc<dyn Cluster>> {
        self.0.travel("reaching a broker").await?;
        Ok(Arc::new(self.clone()))
    }
}

impl Way {
    /// How many partitions a broker knows of that is asked now; some learn later than others.
    fn known(&self, log: &Log) -> usize {
        let (before, since) = log.before;
        let learns = self.0.world.now() - since < LEARNING;
        let is_behind = learns && self.0.world.draw(|rng| rng.random_bool(0.5));
        if is_behind && before > 0 { before } else { log.partitions.len() }
    }
}

fn number(partition: u32) -> usize {
    partition as usize
}

#[async_trait]
impl Cluster for Way {
    async fn topic(&self, name: &str) -> Result<Option<Topic>> {
        self.0.travel("describing a topic").await?;
        let state = self.0.state();
        let Some(log) = state.topics.get(name) else { return Ok(None) };
        let partitions = u32::try_from(self.known(log)).unwrap_or(u32::MAX);
        Ok(Some(Topic { id: log.id, partitions, may_read: true, may_write: true }))
    }

    async fn create_topic(&self, topic: &NewTopic) -> Result<bool> {
        let fate = self.0.travel("making a topic").await?;
        let is_there = self.0.state().topics.contains_key(&topic.name);
        self.0.make(&topic.name, number(topic.partitions));
        heard(fate, "making a topic", !is_there)
    }

    async fn grow_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let fate = self.0.travel("growing a topic").await?;
        let now = self.0.world.now();
        let mut state = self.0.state();
        let log = state.topics.get_mut(name).ok_or(ClientError::NoTopic)?;
        if log.partitions.len() < number(partitions) {
            log.before = (log.partitions.len(), now);
            log.partitions.resize_with(number(partitions), Vec::new);
        }
        heard(fate, "growing a topic", ())
    }

    async fn setting(&self, _topic: &str, name: &str) -> Result<Option<String>> {
        self.0.travel("asking for settings").await?;
        Ok((name == CLEANUP_POLICY).then(|| "compact".to_owned()))
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds> {
        self.0.travel("asking for offsets").await?;
        let state = self.0.state();
        let log = state.topics.get(topic).filter(|log| number(partition) < self.known(log));
        let log = log.ok_or(ClientError::NoTopic)?;
        let stable_end = log.stable_end(number(partition)) as u64;
        Ok(Bounds { start: 0, stable_end, end: log.partitions[number(partition)].len() as u64 })
    }

    async fn offset_at(&self, _topic: &str, _partition: u32, _millis: i64) -> Result<Option<u64>> {
        Err(ClientError::Refused("not played".to_owned()))
    }

    async fn write_to_group(&self, _group: &str, _topic: &str, _offsets: &[(u32, u64)]) -> Result<()> {
        Err(ClientError::Refused("not played".to_owned()))
    }

    async fn reader(&self, topic: &str, partition: u32, from: u64, _: Wanted) -> Result<Box<dyn PartitionReader>> {
        self.0.travel("opening a reader").await?;
        let (topic, partition) = (topic.to_owned(), number(partition));
        Ok(Box::new(Reader { broker: self.0.clone(), topic, partition, next: from }))
    }

    async fn producer(&self, _producing: &Producing) -> Result<Box<dyn Producer>> {
        Err(ClientError::Refused("not played".to_owned()))
    }

    async fn transactions(&self, id: &str, producing: &Producing) -> Result<Box<dyn Transactions>> {
        let fate = self.0.travel("initialising a producer").await?;
        let mut state = self.0.state();
        let fences = !self.0.rules.breaks(Mutant::NoFence);
        if fences {
            state.end(id, false, self.0.rules);
        }
        let writer = state.writers.entry(id.to_owned()).or_default();
        writer.timeout = producing.transaction_timeout;
        if fences || writer.epoch == 0 {
            writer.epoch += 1;
        }
        let epoch = writer.epoch;
        drop(state);
        self.0.world.note(format!("broker: {id} has epoch {epoch}"));
        let (broker, id) = (self.0.clone(), id.into());
        let producer = Transaction { broker, id, epoch, number: 0, is_open: false, broken: None };
        heard(fate, "initialising a producer", Box::new(producer) as Box<dyn Transactions>)
    }
}

struct Reader {
    broker: Arc<Broker>,
    topic: String,
    partition: usize,
    next: u64,
}

impl Reader {
    /// What there is now; `None` where nothing is, and something may come.
    fn look(&mut self) -> Result<Option<Polled>> {
        let most = self.broker.world.draw(|rng| rng.random_range(1..=BATCH));
        let state = self.broker.state();
        let log = state.topics.get(&self.topic).ok_or(ClientError::NoTopic)?;
        let entries = log.partitions.get(self.partition).ok_or(ClientError::NoTopic)?;
        let (from, stable) = (usize::try_from(self.next).unwrap_or(usize::MAX), log.stable_end(self.partition));
        if from > entries.len() {
            return Err(ClientError::OutOfRange);
        }
        let to = stable.min(from + most);
        if to <= from {
            return Ok(None);
        }
        let partition = u32::try_from(self.partition).unwrap_or(u32::MAX);
        let mut records = Records { partition, ..Records::default() };
        for (offset, entry) in entries.iter().enumerate().take(to).skip(from) {
            if entry.is == Is::Committed {
                records.values.push(entry.value.clone());
                records.keys.push(entry.key.clone());
                records.offsets.push(offset as u64);
                records.timestamps.push(entry.millis);
                records.first_timestamp = records.first_timestamp.or(Some(entry.millis));
            }
        }
        self.next = to as u64;
        Ok(Some(Polled { records, next: self.next, at_end: to == entries.len(), ..Polled::default() }))
    }

    fn is_at_end(&self) -> bool {
        let state = self.broker.state();
        let entries = state.topics.get(&self.topic).and_then(|log| log.partitions.get(self.partition));
        entries.is_some_and(|entries| entries.len() as u64 == self.next)
    }
}

#[async_trait]
impl PartitionReader for Reader {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let until = tokio::time::Instant::now() + wait;
        self.broker.travel("fetching").await?;
        loop {
            if let Some(polled) = self.look()? {
                return Ok(polled);
            }
            if tokio::time::Instant::now() >= until {
                return Ok(Polled { next: self.next, at_end: self.is_at_end(), ..Polled::default() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A producer of transactions.
struct Transaction {
    broker: Arc<Broker>,
    id: Arc<str>,
    epoch: u64,
    /// Of its transactions.
    number: u64,
    is_open: bool,
    /// Why a record of the transaction was not taken.
    broken: Option<String>,
}

impl Transaction {
    fn put(&self, outgoing: Outgoing) -> Result<(), String> {
        let now = self.broker.world.now();
        let mut guard = self.broker.state();
        let State { topics, writers } = &mut *guard;
        let writer = writers.get_mut(&*self.id).filter(|writer| writer.epoch == self.epoch);
        let writer = writer.ok_or("InvalidProducerEpoch")?;
        let log = topics.get_mut(&*outgoing.topic).ok_or("UnknownTopicOrPartition")?;
        let count = log.partitions.len();
        let of_key =
            || outgoing.key.iter().flatten().fold(7, |hash: usize, byte| hash * 31 % 8_191 + usize::from(*byte));
        let partition = outgoing.partition.map_or_else(|| of_key() % count, number);
        let entries = log.partitions.get_mut(partition).ok_or("UnknownTopicOrPartition")?;
        if writer.open.is_empty() {
            writer.began = now;
        }
        writer.open.insert((outgoing.topic.to_string(), partition));
        let millis = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let is = Is::Open(self.id.clone());
        entries.push(Entry { key: outgoing.key, value: outgoing.value, millis, is });
        Ok(())
    }

    fn is_current(&self, state: &State) -> bool {
        state.writers.get(&*self.id).is_some_and(|writer| writer.epoch == self.epoch)
    }

    fn fenced(&self) -> ClientError {
        ClientError::Fenced(format!("InvalidProducerEpoch of {}", self.id))
    }
}

#[async_trait]
impl Transactions for Transaction {
    async fn send(&mut self, record: Outgoing) -> Result<()> {
        if !self.is_open {
            (self.is_open, self.number) = (true, self.number + 1);
        }
        // Records go out behind the caller's back; the commit tells what became of them.
        let (_, fate) = self.broker.world.chance(System::Broker);
        if fate != Fate::Lost
            && let Err(said) = self.put(record)
        {
            self.broken = Some(said);
        }
        if fate != Fate::Answered {
            self.broken.get_or_insert_with(|| "a record was not acknowledged in time".to_owned());
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let fate = self.broker.world.travel(System::Broker).await;
        if let Some(said) = &self.broken {
            return Err(ClientError::Abortable(said.clone()));
        }
        let unknown = || ClientError::CommitUnknown("the end of a transaction was not acknowledged".to_owned());
        if fate == Fate::Lost {
            return Err(unknown());
        }
        let mut state = self.broker.state();
        if !self.is_current(&state) {
            return Err(self.fenced());
        }
        let mine = Some((self.epoch, self.number));
        let done = state.writers.get(&*self.id).is_some_and(|writer| writer.committed == mine);
        if !done {
            state.end(&self.id, true, self.broker.rules);
            if let Some(writer) = state.writers.get_mut(&*self.id) {
                writer.committed = mine;
            }
        }
        drop(state);
        if !done {
            self.broker
                .world
                .note(format!("broker: {} has committed {} of epoch {}", self.id, self.number, self.epoch));
        }
        if fate == Fate::AnswerLost {
            return Err(unknown());
        }
        self.is_open = false;
        Ok(())
    }

    async fn abort(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let fate = self.broker.travel("ending a transaction").await?;
        let mut state = self.broker.state();
        if !self.is_current(&state) {
            return Err(self.fenced());
        }
        state.end(&self.id, false, self.broker.rules);
        drop(state);
        heard(fate, "ending a transaction", ())?;
        (self.is_open, self.broken) = (false, None);
        Ok(())
    }
}
