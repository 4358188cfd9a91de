//! Incarnations, owners, and plans that do not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use thalweg_core::append_log::Appended;
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::commit::WriteSet;
use thalweg_core::error::{Cause, Error, ErrorKind};
use thalweg_core::ownership::claim::Adopt;
use thalweg_core::ownership::restart::Restart;
use thalweg_core::unit::{Incarnation, StageId, UnitId};
use thalweg_crds::statements::{Made, Stage, Statement};
use thalweg_state::{Expected, Notes, PipelineState, RootOptions, StateRoot};

const BUDGET: usize = 16 << 20;
const UNIT: UnitId = UnitId { stage: StageId(1), index: 3 };

fn keyed_by(keys: &str, key_groups: u32) -> Expected {
    expecting(vec![statement("pickups", keys, key_groups, 1)])
}

fn statement(sink: &str, keys: &str, key_groups: u32, number: u32) -> Statement {
    let about = [("key groups", key_groups.to_string()), ("keys", keys.to_owned())];
    let stage = Stage {
        number,
        shape: format!("hash of {keys} in {key_groups}"),
        about: about.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    Statement { sink: sink.to_owned(), text: keys.to_owned(), stages: vec![stage], anew: false }
}

/// A statement without windows, whose stage is shaped by no more than what it reads.
fn filter(text: &str, number: u32) -> Statement {
    let stage = Stage { number, shape: "trips".to_owned(), ..Stage::default() };
    Statement { sink: "copies".to_owned(), text: text.to_owned(), stages: vec![stage], anew: false }
}

fn agreed(statements: Vec<Statement>) -> Vec<Statement> {
    statements.into_iter().map(|statement| Statement { anew: true, ..statement }).collect()
}

fn expecting(statements: Vec<Statement>) -> Expected {
    Expected { statements, versions: BTreeMap::from([("hash".to_owned(), 1)]), ..Expected::default() }
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
             (undo it, or let what has changed start anew alone: onIncompatibleChange: Restart; or start all of it anew: \
             --fresh, in a cluster another restart.nonce, which leaves what was kept and written where it is; a new folder for \
             state wants a new one for output, too)",
            folder.path().display()
        )
    );
    let error = open(&root, &keyed_by("(zone)", 16), false).await.map(|_| ()).expect_err("refused");
    assert!(error.to_string().contains("stage 1: key groups were 8, now 16"), "{error}");

    let fresh = open(&root, &keyed_by("(zone, day)", 8), true).await.expect("fresh");
    assert!(fresh.incarnation() > Incarnation(1));
    let newest = open(&root, &keyed_by("(zone, day)", 8), false).await.expect("the newest");
    assert_eq!(newest.incarnation(), fresh.incarnation());
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
    let number = async |count: u64| {
        let (expected, restart) = (keyed_by("(zone)", 8), (count > 0).then(|| restart(count)));
        let opened = PipelineState::open_at(&root, "default", "pickups", &expected, restart.as_ref()).await;
        opened.expect("opens").incarnation()
    };
    for expected in 1..=11 {
        assert_eq!(number(expected - 1).await, Incarnation(expected));
    }
    let state = open(&root, &keyed_by("(zone)", 8), false).await.expect("the newest");
    assert_eq!(state.incarnation(), Incarnation(11));
}

/// A clock that stands.
struct At(i64);

impl Clock for At {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_millis(&self) -> i64 {
        self.0
    }
}

#[tokio::test]
async fn what_is_wanted_fresh_has_a_number_that_no_state_that_is_gone_has_had() {
    let mut numbers = BTreeSet::new();
    // At each moment, state is gone: what it has written may still be there.
    for seconds in [1_700_000_000, 1_700_000_007, 1_700_000_009] {
        let clock = Arc::new(At(seconds * 1_000 + 999));
        let root = StateRoot::over("s3://played", Arc::new(InMemory::new()), "installation", clock);
        for fresh in [seconds % 2 == 0, true, true] {
            let state = open(&root, &keyed_by("(zone)", 8), fresh).await.expect("opens");
            assert!(state.incarnation().is_kept());
            let is_new = numbers.insert(state.incarnation());
            assert!(is_new || state.incarnation() == Incarnation(1), "{numbers:?}");
        }
    }
    assert_eq!(numbers.len(), 8, "{numbers:?}");
}

#[tokio::test]
async fn an_incarnation_is_unused_until_a_unit_has_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let state = open(&root, &keyed_by("(zone)", 8), false).await.expect("opens");
    assert!(state.is_unused().await.expect("looks"));
    let store = state.unit_store(UNIT, BUDGET).await.expect("a store");
    store.close().await.expect("closes");
    assert!(!state.is_unused().await.expect("looks"));
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

fn adopting(expected: Expected) -> Expected {
    Expected { adopt: Adopt::Yes, ..expected }
}

/// Roots of several installations over one bucket.
fn installations<const N: usize>(names: [&str; N]) -> [StateRoot; N] {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    names.map(|name| StateRoot::over("s3://played", objects.clone(), name, Arc::new(SystemClock::new())))
}

fn one(key: &'static str) -> WriteSet {
    let mut writes = WriteSet::default();
    writes.put(key, "1");
    writes
}

fn is_in_use(error: &Error) -> bool {
    error.cause == Some(Cause::StateInUse) && error.kind == ErrorKind::User
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_state_over_goes_on_with_it_and_who_had_it_is_fenced_and_refused() {
    let [first, second] = installations(["installation-a", "installation-b"]);
    let expected = keyed_by("(zone)", 8);
    let before = open(&first, &expected, false).await.expect("opens");
    let store = before.unit_store(UNIT, BUDGET).await.expect("a store");
    store.commit(one("a")).await.expect("commits");
    let error = open(&second, &expected, false).await.map(|_| ()).expect_err("it does not ask for it");
    assert!(is_in_use(&error), "{error}");
    // Whoever only tries a plan takes nothing.
    let tries = Expected { notes: Notes::Nothing, ..adopting(expected.clone()) };
    open(&second, &tries, false).await.expect("it could");
    store.commit(one("b")).await.expect("commits");
    open(&first, &expected, false).await.expect("it still has it");

    let after = open(&second, &adopting(expected.clone()), false).await.expect("takes it over");
    assert_eq!(after.incarnation(), before.incarnation());
    store.commit(one("c")).await.expect("until somebody else has the unit");
    let taken = after.unit_store(UNIT, BUDGET).await.expect("a store");
    assert_eq!(taken.scan(b"", None, 9).await.expect("scans").len(), 3, "it goes on where the other one was");
    let error = store.commit(one("d")).await.expect_err("fenced");
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    // It says so again, and leaves nothing at work.
    let _ = store.close().await;
    for unit in [UNIT, UnitId { index: 4, ..UNIT }] {
        let error = before.unit_store(unit, BUDGET).await.map(|_| ()).expect_err("it fences nobody in turn");
        assert!(is_in_use(&error), "{error}");
    }
    taken.commit(one("e")).await.expect("it has the unit");
    taken.close().await.expect("closes");
    for fresh in [false, true] {
        let error = open(&first, &expected, fresh).await.map(|_| ()).expect_err("it is another's");
        assert!(is_in_use(&error) && error.detail.contains("installation-b"), "{error}");
    }
    let error = PipelineState::remove(&first, "default", "pickups").await.expect_err("it is another's");
    assert!(is_in_use(&error), "{error}");

    open(&second, &expected, false).await.expect("it need not ask any more");
    open(&second, &adopting(expected.clone()), false).await.expect("and may");
    // Back again: whoever it is taken from is the other one.
    let back = open(&first, &adopting(expected.clone()), false).await.expect("takes it back");
    back.unit_store(UNIT, BUDGET).await.expect("a store").close().await.expect("closes");
    for late in [&before, &back] {
        late.unit_store(UNIT, BUDGET).await.expect("it is its own").close().await.expect("closes");
    }
    let error = after.unit_store(UNIT, BUDGET).await.map(|_| ()).expect_err("it is another's again");
    assert!(is_in_use(&error), "{error}");
    assert!(PipelineState::remove(&first, "default", "pickups").await.expect("removed") > 3);
    assert_eq!(PipelineState::remove(&second, "default", "pickups").await.expect("nothing is left"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_take_state_over_together_do_it_once() {
    let [first, second, third] = installations(["a", "b", "b"]);
    let expected = keyed_by("(zone)", 8);
    open(&first, &expected, false).await.expect("opens");
    let adopting = adopting(expected.clone());
    let (one, other) = tokio::join!(open(&second, &adopting, false), open(&third, &adopting, false));
    for state in [one.expect("takes it over"), other.expect("finds it taken over")] {
        state.unit_store(UNIT, BUDGET).await.expect("a store").close().await.expect("closes");
    }
    let back = Expected { adopt: Adopt::Yes, ..expected };
    let back = open(&first, &back, false).await.expect("takes it back");
    back.unit_store(UNIT, BUDGET).await.expect("a store").close().await.expect("closes");
}

#[tokio::test]
async fn what_is_taken_over_may_be_of_a_pipeline_that_was_made_later() {
    let [first, second] = installations(["a", "b"]);
    let at = async |root: &StateRoot, adopt, made: i64, restart: Option<(u64, &str)>| {
        let expected = Expected {
            adopt,
            made: Some(Made { pipeline: made, changes: 0, assignment: made.to_string() }),
            ..keyed_by("(zone)", 8)
        };
        let restart = restart.map(|(count, nonce)| Restart { made, count, nonce: Some(nonce.to_owned()) });
        let opened = PipelineState::open_at(root, "default", "pickups", &expected, restart.as_ref()).await;
        opened.map(|state| state.incarnation())
    };
    let old = at(&first, Adopt::No, 9, Some((3, "c"))).await.expect("opens");
    assert_eq!(at(&second, Adopt::Yes, 5, None).await.expect("takes it over"), old);
    assert_eq!(at(&second, Adopt::No, 5, None).await.expect("goes on"), old);
    let late = at(&second, Adopt::No, 4, None).await.expect_err("of a plan before ours");
    assert_eq!(late.kind, ErrorKind::External, "{late}");
    // A copy of the manifest holds the restart that the other pipeline has had; another one is one.
    assert_eq!(at(&second, Adopt::No, 5, Some((1, "c"))).await.expect("goes on"), old);
    let anew = at(&second, Adopt::No, 5, Some((2, "d"))).await.expect("starts anew");
    assert!(anew > old);
    assert_eq!(at(&second, Adopt::No, 5, Some((2, "d"))).await.expect("another worker"), anew);
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
        assert!(second.incarnation() > first.incarnation());
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

async fn put(state: &PipelineState, stage: u32, value: &'static str) {
    let store = state.unit_store(UnitId { stage: StageId(stage), index: 0 }, BUDGET).await.expect("a store");
    let mut writes = WriteSet::default();
    writes.put("key", value);
    store.commit(writes).await.expect("commits");
    store.close().await.expect("closes");
}

async fn get(state: &PipelineState, stage: u32) -> Option<Bytes> {
    let store = state.unit_store(UnitId { stage: StageId(stage), index: 0 }, BUDGET).await.expect("a store");
    let found = store.get(b"key").await.expect("reads");
    store.close().await.expect("closes");
    found
}

#[tokio::test]
async fn a_statement_that_has_changed_starts_anew_alone_and_those_that_come_and_go_disturb_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let at = async |statements: &[(&str, &str)], restarts: bool| {
        let statements: Vec<_> =
            (0..).zip(statements).map(|(number, (sink, keys))| statement(sink, keys, 8, number)).collect();
        open(&root, &expecting(if restarts { agreed(statements) } else { statements }), false).await
    };
    let first = at(&[("pickups", "(zone)"), ("totals", "(day)")], false).await.expect("the first");
    put(&first, 0, "of pickups").await;
    put(&first, 1, "of totals").await;
    let error = at(&[("pickups", "(zone, day)"), ("totals", "(day)")], false).await.map(|_| ()).expect_err("refused");
    assert!(error.detail.ends_with("stage 0: keys were (zone), now (zone, day)"), "{error}");
    let anew = at(&[("pickups", "(zone, day)"), ("totals", "(day)")], true).await.expect("it starts anew");
    assert_eq!(anew.incarnation(), first.incarnation());
    assert_eq!((get(&anew, 0).await, get(&anew, 1).await), (None, Some(Bytes::from_static(b"of totals"))));
    put(&anew, 0, "of pickups by day").await;
    let more =
        at(&[("hours", "(hour)"), ("totals", "(day)"), ("pickups", "(zone, day)")], false).await.expect("one more");
    assert_eq!(get(&more, 0).await, None, "it is new");
    assert_eq!(get(&more, 1).await, Some(Bytes::from_static(b"of totals")));
    assert_eq!(get(&more, 2).await, Some(Bytes::from_static(b"of pickups by day")));
    let fewer = at(&[("pickups", "(zone, day)")], false).await.expect("two are gone");
    assert_eq!(get(&fewer, 0).await, Some(Bytes::from_static(b"of pickups by day")));
    let all = at(&[("totals", "(day)"), ("pickups", "(zone, day)")], false).await.expect("one is back");
    assert_eq!(get(&all, 0).await, None, "and begins anew");
    assert_eq!(get(&all, 1).await, Some(Bytes::from_static(b"of pickups by day")));
    let back = at(&[("pickups", "(zone)")], true).await.expect("as it was once");
    assert_eq!(get(&back, 0).await, None, "what has changed is not taken up again");
}

#[tokio::test]
async fn workers_of_a_plan_keep_what_it_says_and_those_of_an_older_one_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let at = async |statements: Vec<Statement>, changes: u64| {
        let made = Some(Made { pipeline: 7, changes, assignment: "one".to_owned() });
        open(&root, &Expected { made, ..expecting(statements) }, false).await
    };
    let totals = || statement("totals", "(day)", 8, 1);
    let first = at(vec![statement("pickups", "(zone)", 8, 0), totals()], 0).await.expect("the first");
    put(&first, 1, "of totals").await;
    for _ in 0..2 {
        let changed = agreed(vec![statement("pickups", "(zone, day)", 8, 2), totals()]);
        let second = at(changed, 1).await.expect("a worker");
        assert_eq!((get(&second, 2).await, get(&second, 1).await), (None, Some(Bytes::from_static(b"of totals"))));
    }
    assert!(folder.path().join("default/pickups/1/units/2-0").exists(), "under the number that it is assigned by");
    at(vec![totals()], 2).await.expect("one is gone");
    let error = at(vec![statement("pickups", "(zone, day)", 8, 2), totals()], 1).await.map(|_| ()).expect_err("late");
    assert_eq!(error.kind, ErrorKind::External, "{error}");
    let error = at(vec![statement("pickups", "(zone)", 8, 0), totals()], 0).await.map(|_| ()).expect_err("too late");
    assert_eq!(error.kind, ErrorKind::External, "the first plan, too: {error}");
    let lists = || std::fs::read_dir(folder.path().join("default/pickups/1/statements")).expect("a list").count();
    let before = lists();
    let wanted = expecting(agreed(vec![statement("pickups", "(hour)", 8, 3), totals()]));
    open(&root, &Expected { notes: Notes::Lists, ..wanted }, false).await.expect("it looks");
    assert_eq!(lists(), before, "who only looks notes nothing");
}

#[tokio::test]
async fn statements_of_one_sink_and_shape_keep_what_is_theirs_and_are_refused_where_it_cannot_be_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let at = async |texts: &[&str]| {
        let statements = (0..).zip(texts).map(|(number, text)| filter(text, number)).collect();
        open(&root, &expecting(statements), false).await
    };
    put(&at(&["z = 1"]).await.expect("the first"), 0, "of 1").await;
    let two = at(&["z = 2", "z = 1"]).await.expect("one more in front");
    assert_eq!((get(&two, 0).await, get(&two, 1).await), (None, Some(Bytes::from_static(b"of 1"))));
    put(&two, 0, "of 2").await;
    let swapped = at(&["z = 1", "z = 2"]).await.expect("in another order");
    assert_eq!(get(&swapped, 0).await, Some(Bytes::from_static(b"of 1")));
    assert_eq!(get(&swapped, 1).await, Some(Bytes::from_static(b"of 2")));
    let error = at(&["z = 3", "z = 4"]).await.map(|_| ()).expect_err("both are edited");
    assert!(error.kind == ErrorKind::User && error.detail.contains("change them one at a time"), "{error}");
    let edited = at(&["z = 1", "z = 3"]).await.expect("one is");
    assert_eq!(get(&edited, 1).await, Some(Bytes::from_static(b"of 2")));
    let last = at(&["z = 3"]).await.expect("one is gone");
    assert_eq!(get(&last, 0).await, Some(Bytes::from_static(b"of 2")));
}

#[tokio::test]
async fn numbers_that_a_plan_has_are_kept_where_nothing_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    let statements = vec![statement("pickups", "(zone)", 8, 2), statement("totals", "(day)", 8, 1)];
    let state = open(&root, &expecting(statements), false).await.expect("the first");
    assert!(state.kept().iter().all(|(stage, kept)| stage == kept), "{:?}", state.kept());
}

#[tokio::test]
async fn units_without_a_word_of_what_they_are_for_are_data_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root(&folder, None).await;
    put(&open(&root, &keyed_by("(zone)", 8), false).await.expect("opens"), 1, "value").await;
    std::fs::remove_dir_all(folder.path().join("default/pickups/1/statements")).expect("removed");
    let error = open(&root, &keyed_by("(zone)", 8), false).await.map(|_| ()).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::DataLoss, "{error}");
}
