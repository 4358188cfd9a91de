//! What a killed process leaves behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use thalweg_core::commit::{UnitStore, WriteSet};
use thalweg_core::unit::{StageId, UnitId};
use thalweg_state::{Expected, PipelineState, RootOptions, StateRoot};

const FOLDER: &str = "THALWEG_TEST_KILL_FOLDER";
const CHILD: &str = "kill::a_child_that_commits_until_it_is_killed";
const BUDGET: usize = 16 << 20;
const UNIT: UnitId = UnitId { stage: StageId(0), index: 0 };
/// Entries of a commit; a half-written one would miss some.
const ENTRIES: u64 = 50;
/// A sliding window of commits stands, so that deletes are tested, too.
const KEPT: u64 = 20;
const ROUNDS: u64 = 12;

async fn open(folder: &str) -> std::sync::Arc<dyn UnitStore> {
    let options = RootOptions { fsync: false, ..RootOptions::default() };
    let root = StateRoot::open(folder, &options).await.expect("the lock is free once the other process is dead");
    let state = PipelineState::open(&root, "default", "kill", &Expected::default(), false).await.expect("opens");
    state.unit_store(UNIT, BUDGET).await.expect("a store")
}

fn entry(commit: u64, entry: u64) -> Bytes {
    Bytes::from([&b"e"[..], &commit.to_be_bytes(), &entry.to_be_bytes()].concat())
}

async fn last(store: &dyn UnitStore) -> u64 {
    let found = store.get(b"last").await.expect("reads");
    found.map_or(0, |bytes| u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes")))
}

fn nth_commit(commit: u64) -> WriteSet {
    let mut writes = WriteSet::default();
    for index in 0..ENTRIES {
        writes.put(entry(commit, index), vec![b'x'; 100]);
        if commit > KEPT {
            writes.delete(entry(commit - KEPT, index));
        }
    }
    writes.put("last", commit.to_be_bytes().to_vec());
    writes
}

/// Not a test by itself: [`what_was_acknowledged_survives_a_kill_and_nothing_is_half_there`] starts it as a process.
#[test]
#[ignore = "started by the test that kills it"]
fn a_child_that_commits_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = open(&folder).await;
        let mut commit = last(store.as_ref()).await;
        loop {
            commit += 1;
            store.commit(nth_commit(commit)).await.expect("commits");
            // Past the test harness's capture, straight to the pipe.
            writeln!(std::io::stdout(), "committed {commit}").expect("the parent listens");
        }
    });
}

fn start_child(folder: &str) -> (Child, Receiver<u64>) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", CHILD, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (acknowledge, acknowledged) = mpsc::channel();
    std::thread::spawn(move || {
        let numbers = stdout.lines().map_while(Result::ok);
        let numbers = numbers.filter_map(|line| line.split_once("committed ")?.1.parse().ok());
        numbers.for_each(|number| acknowledge.send(number).unwrap_or_default());
    });
    (child, acknowledged)
}

/// Kills the child some time after a few commits; gives the last one that it acknowledged.
fn kill_after(mut child: Child, acknowledged: &Receiver<u64>, commits: u64, pause: Duration) -> u64 {
    let limit = Duration::from_secs(60);
    let mut newest = 0;
    for _ in 0..commits {
        newest = acknowledged.recv_timeout(limit).expect("the child commits");
    }
    // Into the middle of the next commit, or right behind it.
    match acknowledged.recv_timeout(pause) {
        Ok(number) => newest = number,
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("reaped");
    acknowledged.iter().last().unwrap_or(newest)
}

async fn check(folder: &str, acknowledged: u64) -> u64 {
    let store = open(folder).await;
    let last = last(store.as_ref()).await;
    assert!(last >= acknowledged, "{acknowledged} was acknowledged, {last} stands");
    assert!(last <= acknowledged + 1, "one commit at a time, yet {last} stands after {acknowledged}");
    let entries = store.scan(b"e", None, usize::MAX).await.expect("scans");
    let oldest = last.saturating_sub(KEPT) + 1;
    let wanted = (oldest..=last).flat_map(|commit| (0..ENTRIES).map(move |index| entry(commit, index)));
    assert!(entries.iter().map(|(key, _)| key.clone()).eq(wanted), "whole commits only, from {oldest} to {last}");
    store.close().await.expect("closes");
    last
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_nothing_is_half_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = folder.path().to_str().expect("UTF-8");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for round in 0..ROUNDS {
        let (child, acknowledged) = start_child(url);
        let newest = kill_after(child, &acknowledged, 1 + round * 7 % 40, Duration::from_micros(round * 700));
        let stands = runtime.block_on(check(url, newest));
        assert!(stands > 0);
    }
}
