//! Where assignments come from.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use thalweg_crds::assignment::{AssignmentSpec, StreamAssignment};

use super::error::ClusterError;
use super::folder::Objects;

/// How long one watch lasts, in seconds. A connection that died without a word is noticed a few seconds later
/// ([`super::client`]).
pub const WATCH_SECONDS: u32 = 30;

/// The first pause after a watch that failed, and the longest: a worker is to hear soon of what is published once the API server
/// is back, and asks for one object.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// Pauses between attempts to watch: each twice as long as the one before.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.0.saturating_mul(1 << self.failures.min(16)).min(PAUSE.1);
        self.failures = self.failures.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// An assignment as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Differs between two objects of one name.
    pub uid: String,
    /// Grows with every change.
    pub generation: i64,
    /// What it says.
    pub spec: AssignmentSpec,
}

/// Where assignments come from. A watch may be late; a read is not.
#[async_trait]
pub trait Table: Send + Sync {
    /// The assignment as it is, then as it changes; `None` where there is none. Goes on for ever: an error says why
    /// nothing comes, and what follows is tried again.
    fn changes(&self) -> BoxStream<'static, Result<Option<Published>, ClusterError>>;

    /// The assignment as it is now.
    ///
    /// # Errors
    /// Nobody answered.
    async fn read(&self) -> Result<Option<Published>, ClusterError>;
}

/// The newer of what is known and what was heard: a watch may bring late what a read has shown already.
pub fn newer(known: Option<Published>, heard: Option<Published>) -> Option<Published> {
    match (known, heard) {
        (Some(known), Some(heard)) if known.uid == heard.uid && known.generation > heard.generation => Some(known),
        (_, heard) => heard,
    }
}

/// The `StreamAssignment` in the API server.
pub struct ClusterTable {
    api: Api<StreamAssignment>,
    name: String,
}

impl ClusterTable {
    /// The assignment of this name.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

#[async_trait]
impl Table for ClusterTable {
    fn changes(&self) -> BoxStream<'static, Result<Option<Published>, ClusterError>> {
        let name = self.name.clone();
        let config = Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
        let events = watcher(self.api.clone(), config).backoff(Pauses::default());
        let heard = events.map_err(move |error| why(&name, &error)).scan(false, |is_there, event| {
            let heard = event.map(|event| hear(is_there, event)).transpose();
            future::ready(Some(heard))
        });
        heard.filter_map(future::ready).boxed()
    }

    async fn read(&self) -> Result<Option<Published>, ClusterError> {
        let found = self.api.get_opt(&self.name).await;
        let found = found.map_err(|error| ClusterError::assignment(&self.name, &error))?;
        Ok(found.map(published))
    }
}

/// The `StreamAssignment` in a folder.
pub struct FolderTable {
    assignments: Objects<StreamAssignment>,
    name: String,
}

/// How often the file is looked at: what a change of owner waits for.
const LOOK_EVERY: Duration = Duration::from_millis(25);

impl FolderTable {
    /// The assignment of this name.
    pub fn new(assignments: Objects<StreamAssignment>, name: &str) -> Self {
        Self { assignments, name: name.to_owned() }
    }
}

/// What tells one file from the next that takes its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMark {
    inode: u64,
    written: SystemTime,
}

impl FileMark {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { inode: metadata.ino(), written: metadata.modified().ok()? })
    }
}

#[async_trait]
impl Table for FolderTable {
    fn changes(&self) -> BoxStream<'static, Result<Option<Published>, ClusterError>> {
        let (assignments, name) = (self.assignments.clone(), self.name.clone());
        let path = assignments.path(&name);
        let marks = stream::unfold(None::<Option<FileMark>>, move |before| {
            let path = path.clone();
            async move {
                loop {
                    let now = FileMark::of(&path);
                    if before.as_ref() != Some(&now) {
                        return Some(((), Some(now)));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        });
        marks.map(move |()| Ok(assignments.get(&name)?.map(published))).boxed()
    }

    async fn read(&self) -> Result<Option<Published>, ClusterError> {
        Ok(self.assignments.get(&self.name)?.map(published))
    }
}

/// What an event of a watch on one name says; `None` where it says nothing. `is_there` keeps whether a list that is being
/// told has shown the object.
fn hear(is_there: &mut bool, event: Event<StreamAssignment>) -> Option<Option<Published>> {
    match event {
        Event::Init => {
            *is_there = false;
            None
        }
        Event::InitApply(found) => {
            *is_there = true;
            Some(Some(published(found)))
        }
        Event::InitDone => (!*is_there).then_some(None),
        Event::Apply(found) => Some(Some(published(found))),
        Event::Delete(_) => Some(None),
    }
}

fn published(found: StreamAssignment) -> Published {
    Published {
        uid: found.uid().unwrap_or_default(),
        generation: found.metadata.generation.unwrap_or_default(),
        spec: found.spec,
    }
}

fn why(name: &str, error: &watcher::Error) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ClusterError::assignment(name, error),
        watcher::Error::WatchError(status) => ClusterError::assignment(name, &kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => ClusterError::Api {
            what: format!("watching StreamAssignment `{name}`"),
            said: error.to_string(),
            hint: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::{PipelineFolder, Written};
    use super::*;

    fn published(uid: &str, generation: i64) -> Option<Published> {
        Some(Published { uid: uid.to_owned(), generation, spec: AssignmentSpec::default() })
    }

    #[test]
    fn what_a_watch_brings_late_does_not_replace_what_a_read_has_shown() {
        assert_eq!(newer(published("a", 5), published("a", 4)), published("a", 5));
        assert_eq!(newer(published("a", 5), published("a", 6)), published("a", 6));
        assert_eq!(newer(published("a", 5), published("b", 1)), published("b", 1));
        assert_eq!(newer(published("a", 5), None), None);
        assert_eq!(newer(None, published("a", 1)), published("a", 1));
    }

    #[test]
    fn a_watch_that_fails_is_tried_again_every_two_seconds_at_least() {
        let mut pauses = Pauses::default();
        let millis: Vec<_> = pauses.by_ref().take(40).map(|pause| pause.as_millis()).collect();
        assert_eq!((&millis[..3], millis[39]), (&[500, 1_000, 2_000][..], 2_000));
        pauses.reset();
        assert_eq!(pauses.next(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_list_without_the_object_says_that_it_is_gone() {
        let mut is_there = true;
        assert_eq!(hear(&mut is_there, Event::Init), None);
        assert_eq!(hear(&mut is_there, Event::InitDone), Some(None));
        let found = StreamAssignment::new("p", AssignmentSpec::default());
        assert_eq!(hear(&mut is_there, Event::Init), None);
        assert!(matches!(hear(&mut is_there, Event::InitApply(found.clone())), Some(Some(_))));
        assert_eq!(hear(&mut is_there, Event::InitDone), None);
        assert_eq!(hear(&mut is_there, Event::Delete(found)), Some(None));
    }

    #[tokio::test]
    async fn a_folder_tells_each_assignment_that_is_put_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let assignments = PipelineFolder::new(folder.path(), "a", "p").assignments();
        let table = FolderTable::new(assignments.clone(), "p");
        let mut changes = table.changes();
        let mut next = async || changes.next().await.expect("goes on").expect("readable").map(|heard| heard.generation);
        assert_eq!(next().await, None);
        let made = assignments.create(StreamAssignment::new("p", AssignmentSpec::default())).await;
        let Ok(Written::Done(made)) = made else { panic!("made") };
        assert_eq!(next().await, Some(1));
        let Ok(Written::Done(_)) = assignments.replace(*made).await else { panic!("written") };
        assert_eq!(next().await, Some(2));
        assert_eq!(table.read().await.expect("readable").map(|read| read.generation), Some(2));
    }

    #[test]
    fn a_cluster_without_the_definition_is_told_what_it_lacks() {
        let status = kube::core::Status { code: 404, message: "404 page not found".to_owned(), ..Default::default() };
        let error = why("p", &watcher::Error::InitialListFailed(kube::Error::Api(status.boxed())));
        let said = error.to_string();
        assert!(said.contains("StreamAssignment `p`") && said.contains("install the chart's definitions"), "{said}");
    }
}
