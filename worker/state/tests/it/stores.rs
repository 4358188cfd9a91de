//! Units' stores: durable and in memory keep the same promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::commit::{UnitStore, WriteSet};
use thalweg_core::error::ErrorKind;
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_state::{Expected, PipelineState, RootOptions, StateRoot};

const BUDGET: usize = 16 << 20;
const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };

async fn states() -> (tempfile::TempDir, [PipelineState; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = RootOptions { fsync: false, ..RootOptions::default() };
    let durable = StateRoot::open(folder.path().to_str().expect("UTF-8"), &options).await.expect("opens");
    let memory = StateRoot::in_memory(Incarnation(1));
    let open = |root: StateRoot| async move {
        PipelineState::open(&root, "default", "stores", &Expected::default(), false).await.expect("opens")
    };
    let states = [open(durable).await, open(memory).await];
    (folder, states)
}

fn put(key: &'static str, value: &'static str) -> WriteSet {
    let mut writes = WriteSet::default();
    writes.put(key, value);
    writes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_opener_fences_the_earlier_one_and_sees_all_that_it_committed() {
    let (_folder, states) = states().await;
    for state in states {
        let earlier = state.unit_store(UNIT, BUDGET).await.expect("a store");
        earlier.commit(put("a", "1")).await.expect("commits");
        let later = state.unit_store(UNIT, BUDGET).await.expect("a store");

        let error = earlier.commit(put("a", "stale")).await.expect_err("fenced");
        assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
        let error = earlier.commit(put("b", "stale")).await.expect_err("fenced");
        assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
        earlier.close().await.expect("closes");

        assert_eq!(later.get(b"a").await.expect("reads"), Some(Bytes::from_static(b"1")));
        assert_eq!(later.get(b"b").await.expect("reads"), None);
        later.commit(put("a", "2")).await.expect("commits");
        later.close().await.expect("closes");
        let again = state.unit_store(UNIT, BUDGET).await.expect("a store");
        assert_eq!(again.get(b"a").await.expect("reads"), Some(Bytes::from_static(b"2")));
        again.close().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_shows_what_was_committed_before_it_and_disturbs_nobody() {
    let (_folder, [durable, memory]) = states().await;
    assert!(memory.unit_view(UNIT).await.expect("no view").is_none());
    assert!(durable.unit_view(UNIT).await.is_err(), "there is no store yet");
    let store = durable.unit_store(UNIT, BUDGET).await.expect("a store");
    store.commit(put("a", "1")).await.expect("commits");
    let view = durable.unit_view(UNIT).await.expect("opens").expect("a view");
    assert_eq!(view.get(b"a").await.expect("reads"), Some(Bytes::from_static(b"1")));
    assert_eq!(view.scan(b"", None, 9).await.expect("scans"), [(Bytes::from("a"), Bytes::from("1"))]);
    store.commit(put("b", "2")).await.expect("nobody has fenced it");
    assert_eq!(view.get(b"a").await.expect("reads"), Some(Bytes::from_static(b"1")));
    let later = durable.unit_view(UNIT).await.expect("opens").expect("a view");
    assert_eq!(later.scan(b"", Some(b"a"), 9).await.expect("scans"), [(Bytes::from("b"), Bytes::from("2"))]);
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_given_up_refuses_the_next_ones() {
    let (_folder, [durable, _]) = states().await;
    let store = durable.unit_store(UNIT, BUDGET).await.expect("a store");
    {
        let commit = store.commit(put("a", "1"));
        tokio::pin!(commit);
        // One poll starts it, and no more.
        let _ = futures::poll!(&mut commit);
    }
    let error = store.commit(put("b", "2")).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::External);
    assert!(error.detail.contains("reopen"), "{error}");
    store.close().await.expect("closes");
    store.close().await.expect("closing twice changes nothing");
}

/// A machine whose wall clock is off by so many milliseconds.
struct Off(SystemClock, i64);

impl Clock for Off {
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn wall_millis(&self) -> i64 {
        self.0.wall_millis() + self.1
    }
}

/// Commits until something was compacted, and once more.
async fn commits_and_compacts(store: &dyn UnitStore, objects: &dyn ObjectStore) {
    let compactions = async || {
        let objects: Vec<_> = objects.list(None).try_collect().await.expect("listed");
        objects.iter().filter(|object| object.location.as_ref().contains("/compactions/")).count()
    };
    let (before, limit) = (compactions().await, Duration::from_secs(60));
    let compacted = async {
        // A job is recorded when it is made, when it runs and when it is done.
        while compactions().await < before + 3 {
            store.commit(put("again", "and again")).await.expect("commits");
        }
    };
    tokio::time::timeout(limit, compacted).await.expect("in time");
    store.commit(put("again", "at last")).await.expect("commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_clock_is_an_hour_behind_goes_on_with_what_another_has_written() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (owners, (key, minutes)) in [("a", 30), ("b", -30), ("c", 0)].into_iter().enumerate() {
        let clock = Arc::new(Off(SystemClock::new(), minutes * 60_000));
        let root = StateRoot::over("s3://played", objects.clone(), "installation", clock);
        let state = PipelineState::open(&root, "default", "stores", &Expected::default(), false).await.expect("opens");
        let store = state.unit_store(UNIT, BUDGET).await.expect("a store");
        store.commit(put(key, "committed")).await.expect("commits");
        commits_and_compacts(&*store, &*objects).await;
        let found = store.scan(b"", None, 9).await.expect("scans");
        // One of each owner so far, and the one that all have written.
        assert_eq!(found.len(), owners + 2, "{found:?}");
        store.close().await.expect("closes");
    }
}

#[test]
fn whoever_slept_while_old_versions_were_collected_is_fenced_all_the_same() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let open = async |minutes: i64| {
        let clock = Arc::new(Off(SystemClock::new(), minutes * 60_000));
        let root = StateRoot::over("s3://played", objects.clone(), "installation", clock);
        let state = PipelineState::open(&root, "default", "stores", &Expected::default(), false).await.expect("opens");
        state.unit_store(UNIT, BUDGET).await.expect("a store")
    };
    let manifests = async || {
        let objects: Vec<_> = objects.list(None).try_collect().await.expect("listed");
        objects.iter().filter(|object| object.location.as_ref().ends_with(".manifest")).count()
    };
    // A process of its own, which sleeps wherever it is not asked.
    let runtime = |is_paused| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(is_paused).build().expect("a runtime")
    };
    let (asleep, awake) = (runtime(false), runtime(true));
    let slept = asleep.block_on(async {
        let store = open(0).await;
        store.commit(put("a", "1")).await.expect("commits");
        store
    });
    let store = awake.block_on(async {
        // To this one, whatever was written is ten minutes old.
        let store = open(10).await;
        for _ in 0..9 {
            store.commit(put("a", "2")).await.expect("commits");
        }
        assert!(manifests().await > 9);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert!(manifests().await < 4, "old versions are collected");
        store
    });
    let error = asleep.block_on(slept.commit(put("a", "stale"))).expect_err("fenced");
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    awake.block_on(async {
        store.commit(put("b", "3")).await.expect("commits");
        store.close().await.expect("closes");
        let found = open(10).await.scan(b"", None, 9).await.expect("scans");
        assert_eq!(found, [("a", "2"), ("b", "3")].map(|(key, value)| (Bytes::from(key), Bytes::from(value))));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_key_is_refused_and_an_empty_commit_changes_nothing() {
    let (_folder, [durable, _]) = states().await;
    let store = durable.unit_store(UNIT, BUDGET).await.expect("a store");
    store.commit(WriteSet::default()).await.expect("nothing to do");
    let error = store.commit(put("", "1")).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Internal);
    store.commit(put("a", "1")).await.expect("the store still works");
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_folder_cannot_be_written_says_so() {
    let (folder, [durable, _]) = states().await;
    let units = folder.path().join("default/stores/1/units");
    std::fs::write(&units, "a file where a folder should be").expect("written");
    let error = durable.unit_store(UNIT, BUDGET).await.map(|_| ()).expect_err("refused");
    assert!(error.what.contains("opening the store `default/stores/1/units/0-0`"), "{error}");
}

/// What a proptest case does to a store.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Reopen,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(254), Just(255)], 1..max)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = proptest::collection::vec((bytes(4), proptest::option::weighted(0.8, bytes(4))), 1..12);
    proptest::collection::vec(prop_oneof![8 => commit.prop_map(Step::Commit), 1 => Just(Step::Reopen)], 1..8)
}

async fn scan_all(store: &dyn UnitStore, prefix: &[u8], page: usize) -> Vec<(Bytes, Bytes)> {
    let mut all: Vec<(Bytes, Bytes)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let found = store.scan(prefix, after.as_deref(), page).await.expect("scans");
        if found.is_empty() {
            return all;
        }
        all.extend(found);
    }
}

async fn all_entries(store: &dyn UnitStore, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
    let (mut all, mut entries) = (Vec::new(), store.entries(prefix, None).await.expect("reads"));
    while let Some(entry) = entries.next().await.expect("reads") {
        all.push(entry);
    }
    all
}

async fn follows_a_map(state: &PipelineState, unit: UnitId, steps: &[Step], prefix: &[u8], page: usize) {
    let mut map = BTreeMap::new();
    let mut store: Arc<dyn UnitStore> = state.unit_store(unit, BUDGET).await.expect("a store");
    for step in steps {
        match step {
            Step::Reopen => {
                store.close().await.expect("closes");
                store = state.unit_store(unit, BUDGET).await.expect("a store");
            }
            Step::Commit(changes) => {
                // A key once a commit: the order of puts and deletes of one key is not part of the promise.
                let changes: BTreeMap<_, _> = changes.iter().cloned().collect();
                let mut writes = WriteSet::default();
                for (key, value) in changes {
                    match value {
                        Some(value) => {
                            writes.put(key.clone(), value.clone());
                            map.insert(Bytes::from(key), Bytes::from(value));
                        }
                        None => {
                            writes.delete(key.clone());
                            map.remove(key.as_slice());
                        }
                    }
                }
                store.commit(writes).await.expect("commits");
            }
        }
        let wanted: Vec<_> =
            map.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(scan_all(store.as_ref(), prefix, page).await, wanted);
        assert_eq!(all_entries(store.as_ref(), prefix).await, wanted);
    }
    store.close().await.expect("closes");
}

#[test]
fn a_scan_gives_what_a_sorted_map_gives_in_any_pages_and_after_reopening() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (_folder, states) = runtime.block_on(states());
    let index = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps(), prefix in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(255)], 0..2), page in 1..5usize)| {
        index.set(index.get() + 1);
        let unit = UnitId { stage: StageId(1), index: index.get() };
        for state in &states {
            runtime.block_on(follows_a_map(state, unit, &steps, &prefix, page));
        }
    });
}
