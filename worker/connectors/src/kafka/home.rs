//! Partition 0 of the progress topic: what the pipeline says of itself, and the lists of pipelines without other state.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, Result};
use thalweg_core::ownership::restart::{Begin, Restart, begin};
use thalweg_core::unit::Incarnation;
use tokio::sync::Mutex;

use super::client::{ClientError, Cluster, Outgoing, Result as ClientResult, Transactions};
use super::delivery::{About, Layout, START_LIMIT, Until, check_owner, entries, owner, producing, transactional_id};
use super::patience::{persist, told};
use super::progress::Owner;
use super::transaction::{Next, next};

/// Key of the pipeline's own record.
const PIPELINE: &str = "pipeline";

/// What partition 0 says of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    owner: Owner,
    incarnation: Incarnation,
    layout: Layout,
    fingerprints: Vec<String>,
    /// The start from scratch that the incarnation was made for, where somebody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<Restart>,
}

/// Partition 0, which every process of the pipeline reads, and writes in turn.
pub(super) struct Home {
    cluster: Arc<dyn Cluster>,
    topic: Arc<str>,
    about: About,
    clock: SharedClock,
    state: Mutex<HomeState>,
}

struct HomeState {
    /// What this process writes with, until another one writes.
    producer: Option<Box<dyn Transactions>>,
    entries: BTreeMap<Bytes, Bytes>,
}

/// How often a process tries to write where others do.
const TURNS: u32 = 10;

impl Home {
    pub(super) async fn open(
        cluster: &Arc<dyn Cluster>,
        topic: &Arc<str>,
        about: &About,
        clock: &SharedClock,
    ) -> Result<Self> {
        let home = Self {
            cluster: Arc::clone(cluster),
            topic: Arc::clone(topic),
            about: about.clone(),
            clock: clock.clone(),
            state: Mutex::new(HomeState { producer: None, entries: BTreeMap::new() }),
        };
        home.state.lock().await.entries = home.entries(Until::Committed).await?;
        Ok(home)
    }

    async fn entries(&self, until: Until) -> Result<BTreeMap<Bytes, Bytes>> {
        let doing = format!("reading `{}`", self.topic);
        let bounds = persist(&self.clock, START_LIMIT, &doing, || self.cluster.bounds(&self.topic, 0)).await?;
        let offsets = bounds.start..until.end(&bounds);
        Ok(entries(&*self.cluster, &self.topic, 0, offsets, &self.clock).await?.into_iter().collect())
    }

    /// Takes the topic for this pipeline; the incarnation.
    pub(super) async fn claim(&self, about: &About) -> Result<Incarnation> {
        loop {
            if let Some(incarnation) = self.try_to_claim(about).await? {
                return Ok(incarnation);
            }
        }
    }

    /// `None` where another process has written meanwhile.
    async fn try_to_claim(&self, about: &About) -> Result<Option<Incarnation>> {
        let stored = self.state.lock().await.entries.get(PIPELINE.as_bytes()).cloned();
        let before = stored.clone();
        let stored: Option<Record> = match stored {
            Some(stored) => Some(serde_json::from_slice(&stored).map_err(|error| {
                let hint = "was the topic written by something else?";
                Error::user(format!("progress topic `{}`", self.topic), error).with_hint(hint)
            })?),
            None => None,
        };
        let ours = owner(about);
        let (incarnation, restart) = match (&stored, about.incarnation) {
            (Some(stored), given) => {
                check_owner(&self.topic, &stored.owner, &ours)?;
                match given {
                    Some(given) => (given, stored.restart.clone()),
                    None => self.next_incarnation(stored, about)?,
                }
            }
            (None, given) => (given.unwrap_or(Incarnation(1)), about.restart.clone()),
        };
        let (layout, fingerprints) = (about.layout.clone(), about.fingerprints.clone());
        let record = Record { owner: ours, incarnation, layout, fingerprints, restart };
        if stored.as_ref() != Some(&record) {
            let text = serde_json::to_vec(&record).map_err(|error| Error::internal("writing a record", error))?;
            let is_put = self.put(PIPELINE.into(), before, text.into()).await?;
            return Ok(is_put.then_some(incarnation));
        }
        Ok(Some(incarnation))
    }

    /// Where there is no state but here: the incarnation, and the start that it was made for.
    fn next_incarnation(&self, stored: &Record, about: &About) -> Result<(Incarnation, Option<Restart>)> {
        let next = Incarnation(stored.incarnation.0 + 1);
        match begin(stored.restart.as_ref(), about.restart.as_ref()) {
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
        if stored.fingerprints == about.fingerprints && stored.layout == about.layout {
            return Ok((stored.incarnation, stored.restart.clone()));
        }
        let detail = "it holds the positions of other statements than those of this pipeline";
        let hint = "start with --fresh, or give the changed pipeline another name";
        Err(Error::user(format!("progress topic `{}`", self.topic), detail).with_hint(hint))
    }

    /// Writes a value in place of `before`; whether it was still there. Of several processes one writes at a time:
    /// whoever begins ends what others had open, and sees all that they wrote.
    async fn put(&self, key: Bytes, before: Option<Bytes>, value: Bytes) -> Result<bool> {
        let doing = format!("writing to `{}`", self.topic);
        let mut state = self.state.lock().await;
        for turn in 1.. {
            let mut producer = match state.producer.take() {
                Some(producer) => producer,
                None => {
                    let (id, how) = (transactional_id(&self.about, PIPELINE), producing(&self.about, None));
                    let open = || self.cluster.transactions(&id, &how);
                    let producer = persist(&self.clock, START_LIMIT, &doing, open).await?;
                    state.entries = self.entries(Until::End).await?;
                    producer
                }
            };
            let found = state.entries.get(&key);
            // A write whose answer was lost may stand.
            let is_done = turn > 1 && found == Some(&value);
            if is_done || found != before.as_ref() {
                state.producer = Some(producer);
                return Ok(is_done);
            }
            match self.write(&mut *producer, &key, &value).await {
                Ok(()) => {
                    state.producer = Some(producer);
                    state.entries.insert(key, value);
                    return Ok(true);
                }
                // Another process has written, which shows in several ways; a new producer sees what.
                Err(error) if turn < TURNS && is_worth_another(&error) => {}
                Err(error) => return Err(told(&doing, &error)),
            }
        }
        Err(Error::internal(doing, "it was never tried"))
    }

    async fn write(&self, producer: &mut dyn Transactions, key: &Bytes, value: &Bytes) -> ClientResult<()> {
        let (topic, key, value) = (Arc::clone(&self.topic), Some(key.clone()), value.clone());
        producer.send(Outgoing { topic, partition: Some(0), key, value }).await?;
        producer.commit().await
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
        let state = self.home.state.lock().await;
        let entry = |index: u64| state.entries.get(format!("{}{index}", self.prefix).as_bytes()).cloned();
        Ok((from..).map_while(entry).collect())
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        let is_put = self.home.put(format!("{}{index}", self.prefix).into(), None, record).await?;
        Ok(if is_put { Appended::Created } else { Appended::Exists })
    }
}
