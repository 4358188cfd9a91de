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
use super::patience::{Patience, persist, told};
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
        let (id, how) = (transactional_id(&self.about, PIPELINE), producing(&self.about, None));
        let made = self.cluster.transactions(&id, &how).await;
        if made.is_ok() {
            state.entries = self.entries(Until::End).await?;
        }
        Ok(made)
    }

    /// Sees what other processes have written.
    async fn refresh(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.entries = self.entries(Until::Committed).await?;
        Ok(())
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
        self.home.refresh().await?;
        let state = self.home.state.lock().await;
        let entry = |index: u64| state.entries.get(format!("{}{index}", self.prefix).as_bytes()).cloned();
        Ok((from..).map_while(entry).collect())
    }

    async fn append(&self, index: u64, record: Bytes) -> Result<Appended> {
        let is_put = self.home.put(format!("{}{index}", self.prefix).into(), None, record).await?;
        Ok(if is_put { Appended::Created } else { Appended::Exists })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use thalweg_core::clock::SystemClock;

    use super::*;
    use crate::kafka::played::Played;

    fn about() -> About {
        About {
            pipeline: "default.p".to_owned(),
            installation: "installation".to_owned(),
            incarnation: None,
            layout: Layout::default(),
            fingerprints: Vec::new(),
            fresh: false,
            restart: None,
            commit_every: Duration::from_secs(1),
        }
    }

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
        assert_eq!(home.claim(&about()).await.expect("claimed"), Incarnation(1));
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
        assert_eq!(error.kind, thalweg_core::error::ErrorKind::User);
    }
}
