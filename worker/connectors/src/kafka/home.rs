//! Partition 0 of the progress topic: what the pipeline says of itself, and the lists of pipelines without other state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, Result};
use thalweg_core::ownership::claim::{Claim, Expected, claim};
use thalweg_core::ownership::restart::{Begin, Restart, begin};
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_crds::statements::{self, Fate, Kept, Numbered};
use tokio::sync::Mutex;

use super::client::{Bounds, ClientError, Cluster, Outgoing, Result as ClientResult, Transactions};
use super::delivery::{
    About, READ_LIMIT, START_LIMIT, Until, bounds, entries, in_use, lost, owner, producing, transactional_id, undecided,
};
use super::patience::{Patience, persist, told};
use super::progress::{Beginning, Cut, Noted, Owner, beginning};
use super::transaction::{Next, next};

/// Key of the pipeline's own record.
const PIPELINE: &str = "pipeline";
/// A transaction of partition 0 takes some milliseconds: one that takes longer than this is of a process that has died in it. Whoever
/// is merely slow is fenced, and has to write once more.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// How long after one look at whether it is over follows the next, at first and at the most: a tenth of the time that it has taken.
const BETWEEN_LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Key of a list of units that were allotted partitions, behind those of the lists before.
fn allotment(index: usize) -> Bytes {
    format!("units/{index}").into()
}

/// What partition 0 says of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    owner: Owner,
    /// The installation that ids of units' transactions name, where it is not the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<String>,
    incarnation: Incarnation,
    /// Its statements, by the numbers that their units bear here.
    kept: Kept,
    /// Whether there is no state but here: these numbers then decide, and otherwise those of the state do.
    is_kept_here: bool,
    /// The stages that write to the cluster, by those numbers.
    writers: BTreeSet<StageId>,
    /// Stages that did and do no more, with how many of their units were fenced for good.
    retired: BTreeMap<StageId, usize>,
    /// The start from scratch that the incarnation was made for, where somebody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<Restart>,
    /// Whose start that was, where another one has it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun_by: Option<Owner>,
    /// What partitions had lost before the incarnation began.
    #[serde(default, skip_serializing_if = "Cut::is_nothing")]
    cut: Cut,
}

impl Record {
    fn ids(&self) -> &str {
        self.ids.as_ref().unwrap_or(&self.owner.installation)
    }

    /// The start from scratch that it was made for. One of another owner is before all of ours: when that one's pipeline was made
    /// says nothing about ours.
    fn restart_before(&self, me: &Owner) -> Option<Restart> {
        let restart = self.restart.clone()?;
        let is_ours = self.begun_by.as_ref().is_none_or(|by| by.identity() == me.identity());
        Some(if is_ours { restart } else { Restart { made: i64::MIN, ..restart } })
    }
}

/// What a process finds of its pipeline.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) owner: Owner,
    /// The installation that ids of units' transactions name.
    pub(super) ids: String,
    pub(super) incarnation: Incarnation,
    /// What partitions had lost before it began.
    pub(super) cut: Cut,
    /// By the number that a stage has in the plan, the one that its units bear here.
    pub(super) kept: BTreeMap<StageId, StageId>,
    /// The stages that write to the cluster, by those numbers.
    pub(super) writers: BTreeSet<StageId>,
}

/// Partition 0, which every process of the pipeline reads, and writes in turn.
pub(super) struct Home {
    cluster: Arc<dyn Cluster>,
    topic: Arc<str>,
    about: About,
    clock: SharedClock,
    /// Whether a pipeline may begin where records are gone, and nothing is noted.
    may_begin: bool,
    /// Where the partition began when it was opened.
    start: u64,
    state: Mutex<HomeState>,
}

#[derive(Default)]
struct HomeState {
    /// What this process writes with, until another one writes.
    producer: Option<Box<dyn Transactions>>,
    entries: BTreeMap<Bytes, Bytes>,
    /// Below this offset nothing is open that a new producer ends.
    ended: u64,
    /// When and why it was last in vain to read all that was written.
    unread: Option<(Duration, Error)>,
}

impl Home {
    pub(super) async fn open(
        cluster: &Arc<dyn Cluster>,
        topic: &Arc<str>,
        about: &About,
        clock: &SharedClock,
    ) -> Result<Self> {
        let mut home = Self {
            cluster: Arc::clone(cluster),
            topic: Arc::clone(topic),
            about: about.clone(),
            clock: clock.clone(),
            may_begin: false,
            start: 0,
            state: Mutex::default(),
        };
        let found = home.bounds().await?;
        home.start = found.start;
        home.state.get_mut().entries = home.between(found.start..found.stable_end).await?;
        Ok(home)
    }

    /// The same; whether a pipeline may begin where records are gone, and nothing is noted.
    pub(super) fn beginning_where(self, may_begin: bool) -> Self {
        Self { may_begin, ..self }
    }

    async fn bounds(&self) -> Result<Bounds> {
        let doing = format!("reading `{}`", self.topic);
        persist(&self.clock, START_LIMIT, &doing, || self.cluster.bounds(&self.topic, 0)).await
    }

    async fn between(&self, offsets: Range<u64>) -> Result<BTreeMap<Bytes, Bytes>> {
        Ok(entries(&*self.cluster, &self.topic, 0, offsets, &self.clock).await?.into_iter().collect())
    }

    async fn entries(&self, until: Until) -> Result<BTreeMap<Bytes, Bytes>> {
        let bounds = self.bounds().await?;
        self.between(bounds.start..until.end(&bounds)).await
    }

    /// All that was committed before this was called. Who commits is answered before readers see it, some milliseconds later; who
    /// has died with a transaction open would hide it until brokers give that up, a minute later and more: it is ended. One that
    /// nobody can end is waited for outside of the lock, which others need.
    async fn decided(&self) -> Result<BTreeMap<Bytes, Bytes>> {
        let mut bounds = self.bounds().await?;
        let (wanted, began) = (bounds.end, self.clock.monotonic());
        let mut tried = Tried::Nothing;
        loop {
            let waited = self.clock.monotonic().saturating_sub(began);
            match look(&bounds, wanted, waited, tried) {
                Look::Read => return self.between(bounds.start..bounds.stable_end).await,
                Look::Wait => tokio::time::sleep((waited / 10).clamp(BETWEEN_LOOKS.0, BETWEEN_LOOKS.1)).await,
                Look::End => {
                    self.end(wanted, bounds.end).await?;
                    tried = Tried::ToEnd;
                }
                Look::GiveUp => {
                    let doing = format!("reading `{}`, partition 0", self.topic);
                    return Err(undecided(&doing, bounds.stable_end, wanted));
                }
            }
            bounds = self.bounds().await?;
        }
    }

    /// Ends what somebody has open below an offset; `end` is where the partition ends.
    async fn end(&self, wanted: u64, end: u64) -> Result<()> {
        let doing = format!("ending a transaction that is open in `{}`", self.topic);
        let mut patience = Patience::new(&self.clock, START_LIMIT);
        let mut state = self.state.lock().await;
        // Another unit of this process may have done it meanwhile: once more would only fence other processes.
        let is_decided = |bounds: Bounds| bounds.stable_end >= wanted;
        if state.ended >= wanted || self.cluster.bounds(&self.topic, 0).await.is_ok_and(is_decided) {
            return Ok(());
        }
        tracing::warn!("{doing}: whoever began it has not ended it for {IN_FLIGHT:?}");
        // One that this process has ends nothing: only a new one does. Whoever writes makes another, and reads first.
        state.producer = None;
        loop {
            match self.make().await {
                Ok(_) => {
                    state.ended = end;
                    return Ok(());
                }
                Err(error) => {
                    if !is_worth_another(&error) || !patience.wait(&doing, &error).await {
                        return Err(told(&doing, &error));
                    }
                }
            }
        }
    }

    /// Where partitions begin now.
    async fn cut(&self) -> Result<Cut> {
        let doing = format!("reading topic `{}`", self.topic);
        let found = persist(&self.clock, START_LIMIT, &doing, || self.cluster.topic(&self.topic)).await?;
        let mut starts = Vec::new();
        for partition in 0..found.map_or(0, |found| found.partitions) {
            starts.push((partition, bounds(&*self.cluster, &self.topic, partition, &self.clock).await?.start));
        }
        Ok(Cut::of(starts))
    }

    /// A record, with what was lost before its incarnation began.
    ///
    /// # Errors
    /// `DataLoss` where something was lost since.
    async fn with_cut(&self, stored: Option<&Record>, record: Record) -> Result<Record> {
        let noted = match stored {
            None => Noted::Nothing,
            Some(stored) if stored.incarnation == record.incarnation => Noted::This(&stored.cut),
            Some(_) => Noted::Earlier,
        };
        match beginning(noted, self.start, self.may_begin) {
            Beginning::Whole => Ok(record),
            Beginning::Anew => Ok(Record { cut: self.cut().await?, ..record }),
            Beginning::Lost => Err(lost(&self.topic, 0, self.start)),
        }
    }

    /// Takes the topic for this pipeline. Who only looks notes nothing.
    pub(super) async fn claim(&self, about: &About) -> Result<Claimed> {
        loop {
            let before = self.state.lock().await.entries.get(PIPELINE.as_bytes()).cloned();
            let stored = before.as_ref().map(|before| self.record(before)).transpose()?;
            let (record, claimed) = self.next(stored.as_ref(), about)?;
            let record = self.with_cut(stored.as_ref(), record).await?;
            let claimed = Claimed { cut: record.cut.clone(), ..claimed };
            if about.only_looks {
                return Ok(claimed);
            }
            if stored.as_ref() == Some(&record) || self.put_record(before, &record).await? {
                self.retire(record).await?;
                return Ok(claimed);
            }
        }
    }

    fn record(&self, text: &Bytes) -> Result<Record> {
        serde_json::from_slice(text).map_err(|error| {
            let hint = "was the topic written by something else, or by an earlier version? start with --fresh under another name";
            Error::user(format!("progress topic `{}`", self.topic), error).with_hint(hint)
        })
    }

    /// Whether the record was written in place of `before`.
    async fn put_record(&self, before: Option<Bytes>, record: &Record) -> Result<bool> {
        let text = serde_json::to_vec(record).map_err(|error| Error::internal("writing a record", error))?;
        self.put(self.clock.monotonic(), PIPELINE.into(), before, text.into()).await
    }

    /// Ends what units of stages that write no more may have left open, and fences whoever works on one still: nobody acquires
    /// them again. It is noted afterwards, so that it is done however often this process dies meanwhile. Whoever has written
    /// to the record since does the same.
    async fn retire(&self, record: Record) -> Result<()> {
        let mut units: BTreeMap<StageId, Vec<UnitId>> = BTreeMap::new();
        for unit in self.allotted().await?.into_keys().filter(|unit| !record.writers.contains(&unit.stage)) {
            units.entry(unit.stage).or_default().push(unit);
        }
        for (stage, units) in &units {
            if record.retired.get(stage) != Some(&units.len()) {
                for unit in units {
                    self.fence(record.ids(), *unit).await?;
                }
            }
        }
        let retired: BTreeMap<_, _> = units.into_iter().map(|(stage, units)| (stage, units.len())).collect();
        if retired != record.retired {
            let before = self.state.lock().await.entries.get(PIPELINE.as_bytes()).cloned();
            if before.as_ref().map(|before| self.record(before)).transpose()?.as_ref() == Some(&record) {
                self.put_record(before, &Record { retired, ..record }).await?;
            }
        }
        Ok(())
    }

    async fn fence(&self, ids: &str, unit: UnitId) -> Result<()> {
        let doing = format!("ending what unit {unit} of an earlier statement may have left open");
        let (id, how) = (transactional_id(ids, &self.about.pipeline, unit), producing(&self.about, None));
        let mut patience = Patience::new(&self.clock, START_LIMIT);
        while let Err(error) = self.cluster.transactions(&id, &how).await {
            if !is_worth_another(&error) || !patience.wait(&doing, &error).await {
                return Err(told(&doing, &error));
            }
        }
        Ok(())
    }

    /// What is to be noted of the pipeline after what is, and what this process finds of it.
    fn next(&self, stored: Option<&Record>, about: &About) -> Result<(Record, Claimed)> {
        let stored = stored.map(|stored| self.ours(stored, about)).transpose()?;
        let stored = stored.as_ref();
        let owner = stored.map_or_else(|| owner(about), |stored| stored.owner.clone());
        let ids = stored.and_then(|stored| stored.ids.clone());
        let (incarnation, restart) = match (stored, about.incarnation) {
            (Some(stored), Some(given)) if given < stored.incarnation => return Err(self.overtaken()),
            (Some(stored), Some(given)) => (given, stored.restart.clone()),
            (Some(stored), None) => self.next_incarnation(stored, about)?,
            (None, given) => (given.unwrap_or(Incarnation(1)), about.restart.clone()),
        };
        let goes_on = stored.filter(|stored| stored.incarnation == incarnation);
        let kept = match &about.numbers {
            Some(numbers) => self.kept_elsewhere(goes_on, about, numbers)?,
            None => self.kept_here(goes_on, about)?,
        };
        let numbers = kept.numbered.of_plan(&about.statements).into_iter();
        let numbers: BTreeMap<_, _> = numbers.map(|(stage, kept)| (StageId(stage), StageId(kept))).collect();
        let writers: BTreeSet<_> =
            about.writers.iter().map(|stage| numbers.get(stage).copied().unwrap_or(*stage)).collect();
        let mut retired = stored.map(|stored| stored.retired.clone()).unwrap_or_default();
        retired.retain(|stage, _| !writers.contains(stage));
        let is_kept_here = about.numbers.is_none();
        let begun_by = goes_on.and_then(|stored| stored.begun_by.clone());
        let cut = goes_on.map(|stored| stored.cut.clone()).unwrap_or_default();
        let record = Record {
            owner,
            ids,
            incarnation,
            kept,
            is_kept_here,
            writers,
            retired,
            restart,
            begun_by,
            cut: cut.clone(),
        };
        let (owner, ids, writers) = (record.owner.clone(), record.ids().to_owned(), record.writers.clone());
        Ok((record, Claimed { owner, ids, incarnation, cut, kept: numbers, writers }))
    }

    /// What is noted, as ours: another owner's is refused, or taken over.
    fn ours(&self, stored: &Record, about: &About) -> Result<Record> {
        let me = owner(about);
        match claim(Some(&stored.owner.identity()), &me.identity(), Expected::State, about.adopt) {
            Claim::InUse(_) => Err(in_use(&self.topic, &stored.owner, &me)),
            Claim::Adopt => {
                if !about.only_looks {
                    let (pipeline, from) = (&stored.owner.pipeline, &stored.owner.installation);
                    tracing::warn!(
                        "progress topic `{}`: taking it over from `{pipeline}` of installation {from}, as `state.adopt` says",
                        self.topic
                    );
                }
                let owner = Owner { hands: stored.owner.hands + 1, ..me };
                let ids = Some(stored.ids().to_owned());
                // When a plan of another owner's was made says nothing about ours.
                let kept = Kept { made: None, ..stored.kept.clone() };
                let begun_by = Some(stored.begun_by.as_ref().unwrap_or(&stored.owner).clone());
                Ok(Record { owner, ids, kept, begun_by, ..stored.clone() })
            }
            Claim::Create | Claim::Use | Claim::DataLoss => Ok(stored.clone()),
        }
    }

    /// The statements by the numbers that the state has given them.
    ///
    /// # Errors
    /// `External` where a later plan was here; `User` where there was no state until now, and progress stands under other
    /// numbers: their rows would all be written again.
    fn kept_elsewhere(
        &self,
        found: Option<&Record>,
        about: &About,
        numbers: &BTreeMap<StageId, StageId>,
    ) -> Result<Kept> {
        let mut statements = about.statements.clone();
        for stage in statements.iter_mut().flat_map(|statement| &mut statement.stages) {
            stage.number = numbers.get(&StageId(stage.number)).map_or(stage.number, |kept| kept.0);
        }
        let numbered = Numbered::of(statements);
        let made = about.made.as_ref();
        let Some(found) = found else { return Ok(Kept::of(made, &about.statements, numbered)) };
        if found.kept.is_later_than(made) {
            return Err(self.overtaken());
        }
        let fates = found.kept.fates(&about.statements, made);
        let moved = fates.iter().zip(&numbered.statements).find(|(fate, is)| match fate {
            Fate::GoesOn(was) => {
                let was = &found.kept.numbered.statements[*was];
                was.numbers().ne(is.numbers()) && (found.is_kept_here || was.text == is.text)
            }
            Fate::Changed(_) | Fate::New => false,
        });
        if let Some((_, statement)) = moved {
            let detail = format!(
                "state was elsewhere until now, and `INSERT INTO {}` stands under other numbers than in the new state: its rows \
                 would be written again, or others in their place",
                statement.sink
            );
            let hint = "leave state.url out as before, or start all of it anew under another name or with another restart.nonce";
            return Err(Error::user(format!("progress topic `{}`", self.topic), detail).with_hint(hint));
        }
        let next = numbered.next.max(found.kept.numbered.next);
        let made = made.or(found.kept.made.as_ref());
        Ok(Kept::of(made, &about.statements, Numbered { next, ..numbered }))
    }

    /// The statements where there is no state but here.
    fn kept_here(&self, found: Option<&Record>, about: &About) -> Result<Kept> {
        let found = found.map(|found| &found.kept);
        match Kept::next(found, &about.statements, about.made.as_ref()) {
            statements::Next::GoOn(_) => Ok(found.cloned().unwrap_or_default()),
            statements::Next::Note(kept) => Ok(kept),
            statements::Next::Overtaken => Err(self.overtaken()),
            statements::Next::Refuse(changed) => {
                let sinks = changed.iter().filter_map(|(_, index)| about.statements.get(*index));
                let sinks: Vec<_> = sinks.map(|statement| format!("`INSERT INTO {}`", statement.sink)).collect();
                let detail = format!("it holds the positions of other statements than {}", sinks.join(", "));
                let hint = "undo it, or change one statement of a sink at a time; `thalweg run` lets what has changed start anew \
                            alone with onIncompatibleChange: Restart, and all of it with --fresh; in a cluster that is another \
                            restart.nonce";
                Err(Error::user(format!("progress topic `{}`", self.topic), detail).with_hint(hint))
            }
        }
    }

    fn overtaken(&self) -> Error {
        let what = format!("progress topic `{}`", self.topic);
        Error::external(what, "it was begun for another plan than this worker's")
            .with_hint("workers of the newest plan go on with it; if this is the newest, set another restart.nonce")
    }

    /// Whether units of a stage write by the plan that was noted last.
    pub(super) async fn is_written_by(&self, stage: StageId) -> Result<bool> {
        let noted = self.decided().await?.remove(PIPELINE.as_bytes());
        let record = noted.as_ref().map(|noted| self.record(noted)).transpose()?;
        Ok(record.is_none_or(|record| record.writers.contains(&stage)))
    }

    /// The partition of a unit: the first that was allotted one has partition 1, behind the pipeline's own, and nobody has
    /// had it before. So units come and go with statements and splits, and none moves.
    pub(super) async fn partition(&self, unit: UnitId) -> Result<Option<u32>> {
        if let Some(partition) = self.allotted().await?.get(&unit) {
            return Ok(Some(*partition));
        }
        self.refresh().await?;
        Ok(self.allotted().await?.get(&unit).copied())
    }

    /// Allots partitions to those units that have none; the last partition of all of them.
    pub(super) async fn allot(&self, units: &[UnitId]) -> Result<Option<u32>> {
        let (began, mut is_fresh) = (self.clock.monotonic(), false);
        loop {
            let allotted = self.allotted().await?;
            let missing: Vec<_> = units.iter().filter(|unit| !allotted.contains_key(*unit)).collect();
            if missing.is_empty() {
                return Ok(units.iter().filter_map(|unit| allotted.get(unit)).max().copied());
            }
            // Another worker may have been first.
            if !is_fresh {
                self.refresh().await?;
                is_fresh = true;
                continue;
            }
            let index = allotments(&self.state.lock().await.entries).count();
            let text = serde_json::to_vec(&missing).map_err(|error| Error::internal("writing units", error))?;
            self.put(began, allotment(index), None, text.into()).await?;
        }
    }

    async fn allotted(&self) -> Result<BTreeMap<UnitId, u32>> {
        allotted(&self.state.lock().await.entries).map_err(|error| {
            let hint = "was the topic written by something else?";
            Error::user(format!("progress topic `{}`", self.topic), error).with_hint(hint)
        })
    }

    /// Where there is no state but here: the incarnation, and the start that it was made for.
    fn next_incarnation(&self, stored: &Record, about: &About) -> Result<(Incarnation, Option<Restart>)> {
        let next = Incarnation(stored.incarnation.0 + 1);
        match begin(stored.restart_before(&owner(about)).as_ref(), about.restart.as_ref()) {
            _ if about.fresh => return Ok((next, about.restart.clone())),
            Begin::Anew => return Ok((next, about.restart.clone())),
            Begin::Overtaken => {
                let detail =
                    format!("incarnation {} was begun for another plan than this worker's", stored.incarnation);
                return Err(Error::external(format!("progress topic `{}`", self.topic), detail)
                    .with_hint("workers of the newest plan go on with it"));
            }
            Begin::Continue => {}
        }
        Ok((stored.incarnation, stored.restart.clone()))
    }

    /// Writes a value in place of `before`; whether it was still there. Of several processes one writes at a time:
    /// whoever begins ends what others had open, and sees all that they wrote. The caller has waited for it since it `began`.
    async fn put(&self, began: Duration, key: Bytes, before: Option<Bytes>, value: Bytes) -> Result<bool> {
        let doing = format!("writing to `{}`", self.topic);
        let mut state = self.state.lock().await;
        // Whoever had the lock meanwhile has tried for all who wait for it.
        if let Some((at, error)) = &state.unread
            && *at > began
        {
            return Err(error.clone());
        }
        let mut patience = Patience::new(&self.clock, START_LIMIT);
        let mut has_tried = false;
        loop {
            let error = match self.producer(&mut state).await? {
                Ok(mut producer) => {
                    let found = state.entries.get(&key);
                    // A write whose answer was lost may stand.
                    let is_done = has_tried && found == Some(&value);
                    if is_done || found != before.as_ref() {
                        state.producer = Some(producer);
                        return Ok(is_done);
                    }
                    has_tried = true;
                    match self.write(&mut *producer, &key, &value).await {
                        Ok(()) => {
                            state.producer = Some(producer);
                            state.entries.insert(key, value);
                            return Ok(true);
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            // Another process writes, which shows in several ways; a new producer sees what. The pauses grow until one of
            // both gets through.
            if !is_worth_another(&error) || !patience.wait(&doing, &error).await {
                return Err(told(&doing, &error));
            }
        }
    }

    /// What this process writes with. One that is made now ends what others had open, and sees all that they wrote; of
    /// several that are made at once the broker may refuse all but one, as fenced.
    async fn producer(&self, state: &mut HomeState) -> Result<ClientResult<Box<dyn Transactions>>> {
        if let Some(producer) = state.producer.take() {
            return Ok(Ok(producer));
        }
        let made = self.make().await;
        if made.is_ok() {
            let read = self.entries(Until::End).await;
            state.unread = read.as_ref().err().map(|error| (self.clock.monotonic(), error.clone()));
            state.entries = read?;
        }
        Ok(made)
    }

    async fn make(&self) -> ClientResult<Box<dyn Transactions>> {
        // One for whoever may want the topic: of two installations that find none, one is first.
        let (id, how) = (format!("thalweg-{}-{PIPELINE}", self.about.pipeline), producing(&self.about, None));
        self.cluster.transactions(&id, &how).await
    }

    /// Sees what other processes have written. What this one wrote itself a reader may not see yet: a commit is answered before its
    /// marker is written.
    async fn refresh(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        let committed = self.entries(Until::Committed).await?;
        let held = state.producer.as_ref().and_then(|_| state.entries.get(PIPELINE.as_bytes()).cloned());
        // Lists only grow.
        state.entries.extend(committed);
        state.entries.extend(held.map(|held| (PIPELINE.into(), held)));
        Ok(())
    }

    async fn write(&self, producer: &mut dyn Transactions, key: &Bytes, value: &Bytes) -> ClientResult<()> {
        let (topic, key, value) = (Arc::clone(&self.topic), Some(key.clone()), Some(value.clone()));
        producer.send(Outgoing { topic, partition: Some(0), key, value, headers: Vec::new() }).await?;
        producer.commit().await
    }
}

fn allotments(entries: &BTreeMap<Bytes, Bytes>) -> impl Iterator<Item = &Bytes> {
    (0..).map_while(|index| entries.get(&allotment(index)))
}

fn allotted(entries: &BTreeMap<Bytes, Bytes>) -> serde_json::Result<BTreeMap<UnitId, u32>> {
    let lists = allotments(entries).map(|entry| serde_json::from_slice::<Vec<UnitId>>(entry));
    let units: Vec<_> = lists.collect::<serde_json::Result<_>>()?;
    let mut allotted = BTreeMap::new();
    // Two who allot at once may both name a unit: the first list counts, which somebody may have seen before there was another.
    for (unit, partition) in units.into_iter().flatten().zip(1..) {
        allotted.entry(unit).or_insert(partition);
    }
    Ok(allotted)
}

/// What whoever wants to read partition 0 up to an offset does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// All of it is decided: read it.
    Read,
    /// Somebody is about to end a transaction: look again.
    Wait,
    /// Somebody has died in a transaction: end it.
    End,
    /// It is open still, and nobody can end it.
    GiveUp,
}

/// What was done about a transaction that stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Nothing,
    ToEnd,
}

fn look(bounds: &Bounds, wanted: u64, waited: Duration, tried: Tried) -> Look {
    match tried {
        _ if bounds.stable_end >= wanted => Look::Read,
        _ if waited < IN_FLIGHT => Look::Wait,
        Tried::Nothing => Look::End,
        Tried::ToEnd if waited < READ_LIMIT => Look::Wait,
        Tried::ToEnd => Look::GiveUp,
    }
}

fn is_worth_another(error: &ClientError) -> bool {
    matches!(error, ClientError::Fenced(_)) || next(error) != Next::Stop
}

/// A list in partition 0.
pub(super) struct TopicList {
    pub home: Arc<Home>,
    pub prefix: String,
}

#[async_trait]
impl AppendLog for TopicList {
    async fn read(&self, from: u64) -> Result<Vec<Bytes>> {
        self.home.refresh().await?;
        let state = self.home.state.lock().await;
        let entry = |index: u64| state.entries.get(format!("{}{index}", self.prefix).as_bytes()).cloned();
        Ok((from..).map_while(entry).collect())
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        let began = self.home.clock.monotonic();
        let is_put = self.home.put(began, format!("{}{index}", self.prefix).into(), None, record).await?;
        Ok(if is_put { Appended::Created } else { Appended::Exists })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use thalweg_core::clock::SystemClock;
    use thalweg_core::error::{Cause, ErrorKind};
    use thalweg_core::ownership::claim::Adopt;
    use thalweg_crds::statements::Statement;

    use super::*;
    use crate::kafka::client::Polled;
    use crate::kafka::played::{Paused, Played, about};

    /// Workers that begin together fence each other, while they make producers and while they write.
    #[tokio::test(start_paused = true)]
    async fn whoever_is_fenced_where_all_write_in_turn_writes_later() {
        let cluster = Played::default();
        let fenced = || Err(ClientError::Fenced("InvalidProducerEpoch".to_owned()));
        let abortable = || Err(ClientError::Abortable("TransactionAbortable: InvalidProducerEpoch".to_owned()));
        *cluster.producers() = (0..8).flat_map(|_| [fenced(), Ok(())]).collect();
        *cluster.commits() = VecDeque::from([abortable(), abortable(), fenced()]);
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let clock: SharedClock = Arc::new(SystemClock::new());
        let home = Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened");
        assert_eq!(home.claim(&about()).await.expect("claimed").incarnation, Incarnation(1));
        assert!(cluster.commits().is_empty(), "every commit was tried");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_in_that_is_refused_is_told_at_once() {
        let cluster = Played::default();
        *cluster.producers() = VecDeque::from([Err(ClientError::Denied("no permission".to_owned()))]);
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let clock: SharedClock = Arc::new(SystemClock::new());
        let home = Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened");
        let error = home.claim(&about()).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::User);
    }

    #[test]
    fn only_a_transaction_that_is_open_for_long_is_ended() {
        let open = Bounds { start: 0, stable_end: 3, end: 5 };
        assert_eq!(look(&open, 5, Duration::ZERO, Tried::Nothing), Look::Wait);
        assert_eq!(look(&open, 5, Duration::from_secs(4), Tried::Nothing), Look::Wait, "somebody is slow");
        assert_eq!(look(&open, 5, IN_FLIGHT, Tried::Nothing), Look::End);
        assert_eq!(look(&open, 5, IN_FLIGHT, Tried::ToEnd), Look::Wait, "once is enough");
        assert_eq!(look(&open, 5, READ_LIMIT, Tried::ToEnd), Look::GiveUp);
        assert_eq!(look(&open, 3, IN_FLIGHT, Tried::Nothing), Look::Read, "what comes behind it is of no matter");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_died_in_a_transaction_is_ended_by_whoever_must_know_what_is_noted() {
        let cluster = Played::default();
        let clock: SharedClock = Arc::new(Paused::new());
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let home = Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened");
        cluster.holds(Bounds { start: 0, stable_end: 1, end: 2 });
        cluster.polls().push_back(Polled { next: 2, ..Polled::default() });
        let began = clock.monotonic();
        assert!(home.is_written_by(StageId(0)).await.expect("read"));
        assert!(clock.monotonic() - began < 2 * IN_FLIGHT);
        assert_eq!(*cluster.ids(), ["thalweg-default.p-pipeline"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_nobody_can_end_holds_each_up_for_a_minute_and_nobody_for_others() {
        let cluster = Played::default();
        let clock: SharedClock = Arc::new(Paused::new());
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let home = Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened");
        cluster.hangs();
        let units = [0, 1].map(|index| UnitId { stage: StageId(0), index });
        let began = clock.monotonic();
        let asks = || home.is_written_by(StageId(0));
        let looks = async {
            // It is being waited for by now.
            tokio::time::sleep(2 * IN_FLIGHT).await;
            let found = home.partition(units[0]).await.expect("read");
            (found, clock.monotonic() - began)
        };
        let (one, other, third, (found, after)) = tokio::join!(asks(), asks(), asks(), looks);
        for error in [one, other, third].map(|asked| asked.expect_err("it hangs")) {
            assert_eq!((error.kind, &*error.detail), (ErrorKind::External, "offset 0 of 1 after 60s"), "{error}");
        }
        assert!(found.is_none() && after < 3 * IN_FLIGHT, "nobody has the lock: {after:?}");
        assert!(clock.monotonic() - began < READ_LIMIT + IN_FLIGHT, "{:?}", clock.monotonic() - began);
        assert_eq!(*cluster.ids(), ["thalweg-default.p-pipeline"], "nobody is fenced more than once");
        // Those who write read all of it first, one after another.
        let began = clock.monotonic();
        let (one, other) = tokio::join!(home.allot(&units[..1]), home.allot(&units[1..]));
        for error in [one, other].map(|allotted| allotted.expect_err("it hangs")) {
            assert_eq!((error.kind, &*error.detail), (ErrorKind::External, "offset 0 of 1 after 60s"), "{error}");
        }
        assert!(clock.monotonic() - began < READ_LIMIT + IN_FLIGHT, "{:?}", clock.monotonic() - began);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_partition_that_has_lost_records_is_data_loss_until_somebody_starts_anew() {
        let cluster = Played::default();
        cluster.holds(Bounds { start: 5, stable_end: 5, end: 5 });
        let home = opened(&cluster).await;
        let error = home.claim(&about()).await.expect_err("something was noted");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        assert!(
            error.to_string().contains("progress topic `progress`, partition 0: the oldest record kept is 5"),
            "{error}"
        );
        assert!(cluster.ids().is_empty(), "and nothing is written: {:?}", cluster.ids());
        let mut home = home.beginning_where(true);
        let begun = home.claim(&about()).await.expect("started anew");
        assert!(!begun.cut.is_passed(0, 5) && begun.cut.is_passed(0, 6), "{begun:?}");
        assert_eq!(home.claim(&about()).await.expect("it goes on").cut, begun.cut);
        home.start = 6;
        let error = home.claim(&about()).await.expect_err("something was lost since");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
        cluster.holds(Bounds { start: 6, stable_end: 6, end: 6 });
        let again = home.claim(&About { fresh: true, ..about() }).await.expect("started anew");
        assert!(again.incarnation > begun.incarnation && !again.cut.is_passed(0, 6), "{again:?}");
    }

    fn of(installation: &str, adopt: Adopt) -> About {
        About { installation: installation.to_owned(), adopt, ..about() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_topic_of_another_installation_is_refused_and_nobody_is_fenced() {
        let cluster = Played::default();
        let home = opened(&cluster).await;
        home.claim(&about()).await.expect("claimed");
        cluster.ids().clear();
        home.state.lock().await.producer = None;
        let error = home.claim(&of("another", Adopt::No)).await.expect_err("it is another's");
        assert_eq!((error.kind, error.cause), (ErrorKind::User, Some(Cause::StateInUse)), "{error}");
        assert_eq!(error.detail, "StateInUse: it belongs to `default.p` of installation installation");
        assert!(cluster.ids().is_empty(), "{:?}", cluster.ids());
        home.claim(&about()).await.expect("it still has it");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_installations_that_find_no_topic_one_writes_at_a_time() {
        let cluster = Played::default();
        for installation in ["installation", "another"] {
            let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
            let about = of(installation, Adopt::No);
            let clock: SharedClock = Arc::new(SystemClock::new());
            let home = Home::open(&shared, &"progress".into(), &about, &clock).await.expect("opened");
            home.claim(&about).await.expect("it finds nobody");
        }
        let ids = cluster.ids();
        assert!(ids.len() == 2 && ids[0] == ids[1], "they fence each other: {ids:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_topic_over_keeps_the_ids_of_transactions_and_who_had_it_is_refused() {
        let cluster = Played::default();
        let home = opened(&cluster).await;
        let made = |pipeline: i64| Some(statements::Made { pipeline, changes: 0, assignment: pipeline.to_string() });
        let restart = Some(Restart { made: 9, count: 3, nonce: Some("c".to_owned()) });
        let first = About { made: made(9), restart, ..about() };
        let had = home.claim(&first).await.expect("claimed");
        // Whoever only tries a plan takes nothing.
        home.claim(&About { only_looks: true, ..of("another", Adopt::Yes) }).await.expect("it could");
        home.claim(&first).await.expect("it still has it");
        // Its pipeline was made before the other one.
        let second = About { made: made(5), ..of("another", Adopt::Yes) };
        let taken = home.claim(&second).await.expect("taken over");
        assert_eq!((taken.incarnation, &*taken.ids, taken.owner.hands), (had.incarnation, "installation", 1));
        assert!(had.owner.is_before(&taken.owner) && !taken.owner.is_before(&had.owner));
        let error = home.claim(&first).await.expect_err("it is another's");
        assert_eq!(error.cause, Some(Cause::StateInUse), "{error}");
        let again = home.claim(&About { adopt: Adopt::No, ..second.clone() }).await.expect("it need not ask any more");
        assert_eq!((again.owner, again.ids), (taken.owner.clone(), taken.ids));
        let back = home.claim(&About { adopt: Adopt::Yes, ..first }).await.expect("taken back");
        assert_eq!((back.incarnation, &*back.ids, back.owner.hands), (had.incarnation, "installation", 2));
        assert!(!back.owner.is_before(&taken.owner), "whoever it is taken from is the other one");
    }

    fn statement(sink: &str, text: &str, number: u32) -> Statement {
        let stage = statements::Stage { number, shape: "trips".to_owned(), ..statements::Stage::default() };
        Statement { sink: sink.to_owned(), text: text.to_owned(), stages: vec![stage], anew: false }
    }

    /// What a worker asks for that has these statements, in their order.
    fn wanting(statements: Vec<Statement>) -> About {
        let writers = statements.iter().flat_map(Statement::numbers).map(StageId).collect();
        About { statements, writers, ..about() }
    }

    async fn opened(cluster: &Played) -> Home {
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let clock: SharedClock = Arc::new(SystemClock::new());
        Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened")
    }

    fn kept(claimed: &Claimed) -> Vec<(u32, u32)> {
        claimed.kept.iter().map(|(stage, kept)| (stage.0, kept.0)).collect()
    }

    fn is_fenced(cluster: &Played, unit: &str) -> bool {
        cluster.ids().iter().any(|id| id.ends_with(&format!("-{unit}")))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_statement_that_is_gone_had_open_is_ended_however_often_that_fails() {
        let cluster = Played::default();
        let home = opened(&cluster).await;
        let both = wanting(vec![statement("a", "p", 0), statement("b", "q", 1)]);
        home.claim(&both).await.expect("claimed");
        let units = [(0, 0), (0, 1), (1, 0)].map(|(stage, index)| UnitId { stage: StageId(stage), index });
        home.allot(&units).await.expect("allotted");
        let one = wanting(vec![statement("b", "q", 1)]);
        *cluster.producers() = VecDeque::from([Err(ClientError::Denied("not now".to_owned()))]);
        home.claim(&one).await.expect_err("it is told");
        cluster.ids().clear();
        *cluster.producers() = VecDeque::from([Err(ClientError::Away("not now".to_owned()))]);
        home.claim(&one).await.expect("claimed");
        assert!(is_fenced(&cluster, "0-0") && is_fenced(&cluster, "0-1"), "{:?}", cluster.ids());
        assert!(!is_fenced(&cluster, "1-0"), "it goes on");
        cluster.ids().clear();
        home.claim(&one).await.expect("claimed");
        assert!(cluster.ids().is_empty(), "once is enough: {:?}", cluster.ids());
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_outlive_the_order_of_statements_and_the_state_that_comes_later() {
        let cluster = Played::default();
        let home = opened(&cluster).await;
        // As the operator gives them after a swap.
        let swapped = wanting(vec![statement("b", "q", 1), statement("a", "p", 0)]);
        assert_eq!(kept(&home.claim(&swapped).await.expect("claimed")), [(0, 0), (1, 1)]);
        // Made again, it counts anew.
        let again = wanting(vec![statement("b", "q", 0), statement("a", "p", 1)]);
        assert_eq!(kept(&home.claim(&again).await.expect("claimed")), [(0, 1), (1, 0)]);
        let numbers =
            |numbers: [(u32, u32); 2]| Some(numbers.map(|(stage, kept)| (StageId(stage), StageId(kept))).into());
        let incarnation = Some(Incarnation(1));
        let other = About { numbers: numbers([(0, 0), (1, 1)]), incarnation, ..again.clone() };
        let error = home.claim(&other).await.expect_err("all rows would come twice");
        assert_eq!(error.kind, ErrorKind::User, "{error}");
        let same = About { numbers: numbers([(0, 1), (1, 0)]), incarnation, ..again.clone() };
        assert_eq!(kept(&home.claim(&same).await.expect("claimed")), [(0, 1), (1, 0)]);
        assert_eq!(kept(&home.claim(&again).await.expect("without it again")), [(0, 1), (1, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_of_an_older_plan_or_only_looks_notes_nothing_wherever_state_is() {
        let cluster = Played::default();
        let home = opened(&cluster).await;
        let made = |changes| Some(statements::Made { pipeline: 7, changes, assignment: "one".to_owned() });
        let both = vec![statement("a", "p", 0), statement("b", "q", 1)];
        let numbers = Some([0, 1].map(|stage| (StageId(stage), StageId(stage))).into());
        for numbers in [None, numbers] {
            let incarnation = numbers.as_ref().map(|_| Incarnation(1));
            let of = |statements: &[Statement], changes| {
                let (numbers, made) = (numbers.clone(), made(changes));
                About { numbers, incarnation, made, ..wanting(statements.to_vec()) }
            };
            home.claim(&of(&both, 2)).await.expect("the newest");
            let record = || async { home.state.lock().await.entries.get(PIPELINE.as_bytes()).cloned() };
            let noted = record().await;
            let late = home.claim(&of(&both[..1], 1)).await.expect_err("it is late");
            assert_eq!(late.kind, ErrorKind::External, "{late}");
            home.claim(&About { only_looks: true, ..of(&both[..1], 3) }).await.expect("it looks");
            assert_eq!(record().await, noted);
        }
    }

    #[test]
    fn units_keep_the_partitions_that_they_were_allotted_whatever_comes_later() {
        let unit = |stage, index| UnitId { stage: StageId(stage), index };
        let mut entries = BTreeMap::new();
        let mut expected = BTreeMap::new();
        for list in 0..12 {
            let units = [unit(list, 7), unit(list, 0)];
            entries.insert(allotment(list as usize), serde_json::to_vec(&units).expect("JSON").into());
            expected.extend([(unit(list, 7), 2 * list + 1), (unit(list, 0), 2 * list + 2)]);
            assert_eq!(allotted(&entries).expect("units"), expected);
        }
        // Named again, with another one, by somebody who did not know.
        entries.insert(allotment(12), serde_json::to_vec(&[unit(3, 7), unit(12, 0)]).expect("JSON").into());
        expected.insert(unit(12, 0), 26);
        assert_eq!(allotted(&entries).expect("units"), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn units_that_have_none_are_allotted_the_next_partitions() {
        let shared: Arc<dyn Cluster> = Arc::new(Played::default());
        let clock: SharedClock = Arc::new(SystemClock::new());
        let home = Home::open(&shared, &"progress".into(), &about(), &clock).await.expect("opened");
        let units = [0, 1].map(|index| UnitId { stage: StageId(0), index });
        assert_eq!(home.allot(&[]).await.expect("none"), None);
        assert_eq!(home.allot(&units).await.expect("two"), Some(2));
        assert_eq!(home.allot(&units[..1]).await.expect("it has one"), Some(1));
        assert_eq!(home.partition(units[1]).await.expect("read"), Some(2));
    }
}
