//! Incarnations, owners, and plans that do not fit.

use std::collections::BTreeMap;

use bytes::Bytes;
use thalweg_core::append_log::Appended;
use thalweg_core::commit::WriteSet;
use thalweg_core::error::{Error, ErrorKind};
use thalweg_core::ownership::restart::Restart;
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_state::{Expected, PipelineState, RootOptions, StageLayout, StateRoot};

const BUDGET: usize = 16 << 20;
const UNIT: UnitId = UnitId { stage: StageId(1), index: 3 };

fn keyed_by(keys: &str, key_groups: u32) -> Expected {
    let stage = StageLayout {
        stage: StageId(1),
        fingerprint: format!("hash of {keys}"),
        key_groups: Some(key_groups),
        about: BTreeMap::from([("keys".to_owned(), keys.to_owned())]),
    };
    Expected { stages: vec![stage], versions: BTreeMap::from([("hash".to_owned(), 1)]) }
}

async fn root(folder: &tempfile::TempDir, installation: Option<&str>) -> StateRoot {
    let options = RootOptions { installation: installation.map(str::to_owned), ..RootOptions::default() };
    StateRoot::open(folder.path().to_str().expect("UTF-8"), &options).await.expect("opens")
}

async fn open(root: &StateRoot, expected: &Expected, fresh: bool) -> Result<PipelineState, Error> {
    PipelineState::open(root, "default", "pickups", expected, fresh).await
}

#[tokio::test]
async fn a_plan_of_other_keys_is_refused_with_the_difference_named_and_fresh_starts_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let state = open(&root, &keyed_by("(zone)", 8), false).await.expect("the first");
    assert_eq!(state.incarnation(), Incarnation(1));
    let again = open(&root, &keyed_by("(zone)", 8), false).await.expect("the same plan");
    assert_eq!(again.incarnation(), Incarnation(1));

    let error = open(&root, &keyed_by("(zone, day)", 8), false).await.map(|_| ()).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::User);
    assert_eq!(
        error.to_string(),
        format!(
            "state of pipeline `default/pickups` in `{}`, incarnation 1: stage 1: keys were (zone), now (zone, day) \
             (start with --fresh or a new folder)",
            folder.path().display()
        )
    );
    let error = open(&root, &keyed_by("(zone)", 16), false).await.map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("stage 1: key groups were 8, now 16"), "{error}");

    let fresh = open(&root, &keyed_by("(zone, day)", 8), true).await.expect("fresh");
    assert_eq!(fresh.incarnation(), Incarnation(2));
    let newest = open(&root, &keyed_by("(zone, day)", 8), false).await.expect("the newest");
    assert_eq!(newest.incarnation(), Incarnation(2));
    assert!(folder.path().join("default/pickups/1/pipeline.json").exists(), "the old one is kept");
}

#[tokio::test]
async fn what_is_removed_is_all_of_one_pipeline_and_nothing_of_another_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = root(&folder, Some("installation-a")).await;
    for fresh in [false, true] {
        let state = open(&mine, &keyed_by("(zone)", 8), fresh).await.expect("opens");
        let store = state.unit_store(UNIT, BUDGET).await.expect("a store");
        let mut writes = WriteSet::default();
        writes.put("key", "value");
        store.commit(writes).await.expect("commits");
        store.close().await.expect("closes");
    }
    PipelineState::open(&mine, "default", "pickups-2", &keyed_by("(zone)", 8), false).await.expect("opens");
    drop(mine);
    let second = root(&folder, Some("installation-b")).await;
    let error = PipelineState::remove(&second, "default", "pickups").await.expect_err("it is another's");
    assert!(error.detail.starts_with("StateInUse"), "{error}");
    drop(second);
    let mine = root(&folder, Some("installation-a")).await;
    assert!(PipelineState::remove(&mine, "default", "pickups").await.expect("removed") > 4);
    assert_eq!(PipelineState::remove(&mine, "default", "pickups").await.expect("nothing is left"), 0);
    assert!(folder.path().join("default/pickups-2/1/pipeline.json").exists());
    let state = open(&mine, &keyed_by("(zone, day)", 8), false).await.expect("anything may begin there");
    assert_eq!(state.incarnation(), Incarnation(1));
}

fn restart(count: u64) -> Restart {
    Restart { made: 7, count, nonce: Some(count.to_string()) }
}

#[tokio::test]
async fn a_restart_makes_one_incarnation_for_all_its_workers_and_ends_those_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let at = async |expected: &Expected, restart: Option<&Restart>| {
        PipelineState::open_at(&root, "default", "pickups", expected, restart).await
    };
    let number = async |restart: Option<&Restart>, keys: &str| {
        at(&keyed_by(keys, 8), restart).await.expect("opens").incarnation()
    };
    assert_eq!(number(None, "(zone)").await, Incarnation(1));
    assert_eq!(number(Some(&restart(1)), "(zone)").await, Incarnation(2));
    assert_eq!(number(Some(&restart(1)), "(zone)").await, Incarnation(2), "another worker of the plan");
    let error = at(&keyed_by("(zone, day)", 8), Some(&restart(1))).await.map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("keys were (zone), now (zone, day)"), "{error}");
    assert_eq!(number(Some(&restart(2)), "(zone, day)").await, Incarnation(3), "other keys, from scratch");
    let error = at(&keyed_by("(zone)", 8), Some(&restart(1))).await.map(|_| ()).expect_err("it is over");
    assert_eq!(error.kind, ErrorKind::External, "{error}");
    assert!(folder.path().join("default/pickups/1/pipeline.json").exists(), "the old one is kept");
}

#[tokio::test]
async fn the_greatest_number_is_the_newest_beyond_nine() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    for expected in 1..=11 {
        let state = open(&root, &keyed_by("(zone)", 8), true).await.expect("fresh");
        assert_eq!(state.incarnation(), Incarnation(expected));
    }
    let state = open(&root, &keyed_by("(zone)", 8), false).await.expect("the newest");
    assert_eq!(state.incarnation(), Incarnation(11));
}

#[tokio::test]
async fn another_owner_is_refused_even_when_it_wants_to_start_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = root(&folder, Some("installation-a")).await;
    open(&first, &keyed_by("(zone)", 8), false).await.expect("opens");
    drop(first);

    let second = root(&folder, Some("installation-b")).await;
    for fresh in [false, true] {
        let error = open(&second, &keyed_by("(zone)", 8), fresh).await.map(|_| ()).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::User);
        assert!(
            error.detail == "StateInUse: it belongs to `default/pickups` of installation installation-a",
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_incarnation_that_lost_its_record_is_data_loss_and_an_empty_folder_is_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let pipeline = folder.path().join("default/pickups");
    std::fs::create_dir_all(pipeline.join("7")).expect("what a kill leaves");
    let state = open(&root, &keyed_by("(zone)", 8), false).await.expect("opens");
    assert_eq!(state.incarnation(), Incarnation(1));

    let store = state.unit_store(UNIT, BUDGET).await.expect("a store");
    let mut writes = WriteSet::default();
    writes.put("key", "value");
    store.commit(writes).await.expect("commits");
    store.close().await.expect("closes");
    std::fs::remove_file(pipeline.join("1/pipeline.json")).expect("removed");
    for fresh in [false, true] {
        let error = open(&root, &keyed_by("(zone)", 8), fresh).await.map(|_| ()).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
    }
}

#[tokio::test]
async fn incarnations_share_neither_units_nor_lists_nor_lookups() {
    let folder = tempfile::tempdir().expect("a folder");
    for root in [root(&folder, None).await, StateRoot::in_memory(Incarnation(1_700_000_000_000))] {
        let first = open(&root, &keyed_by("(zone)", 8), false).await.expect("opens");
        let store = first.unit_store(UNIT, BUDGET).await.expect("a store");
        let mut writes = WriteSet::default();
        writes.put("key", "value");
        store.commit(writes).await.expect("commits");
        store.close().await.expect("closes");
        first.append_log("trips/lane-0").append(0, Bytes::from_static(b"{}")).await.expect("appends");
        first.put_lookup("4f1c/zones", Bytes::from_static(b"table")).await.expect("puts");

        let second = open(&root, &keyed_by("(zone)", 8), true).await.expect("fresh");
        assert_eq!(second.incarnation().0, first.incarnation().0 + 1);
        let store = second.unit_store(UNIT, BUDGET).await.expect("a store");
        assert_eq!(store.get(b"key").await.expect("reads"), None);
        assert!(second.append_log("trips/lane-0").read(0).await.expect("reads").is_empty());
        assert_eq!(second.get_lookup("4f1c/zones").await.expect("reads"), None);
        store.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_lookup_table_is_stored_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = open(&root(&folder, None).await, &keyed_by("(zone)", 8), false).await.expect("opens");
    let put = |table| state.put_lookup("4f1c/zones", Bytes::from_static(table));
    assert_eq!(put(b"first").await.expect("puts"), Appended::Created);
    assert_eq!(put(b"second").await.expect("puts"), Appended::Exists);
    assert_eq!(state.get_lookup("4f1c/zones").await.expect("reads"), Some(Bytes::from_static(b"first")));
}

#[tokio::test]
async fn a_name_cannot_leave_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = open(&root(&folder, None).await, &keyed_by("(zone)", 8), false).await.expect("opens");
    state.put_lookup("../../../../out", Bytes::from_static(b"x")).await.expect("puts");
    assert_eq!(state.get_lookup("../../../../out").await.expect("reads"), Some(Bytes::from_static(b"x")));
    assert!(!folder.path().join("out").exists());
    assert!(!folder.path().parent().expect("a parent").join("out").exists());
}
