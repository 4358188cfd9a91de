//! Append-only lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use thalweg_core::append_log::{AppendLog, Appended};
use thalweg_core::error::ErrorKind;
use thalweg_state::{Expected, PipelineState, RootOptions, StateRoot};

async fn state(folder: &tempfile::TempDir) -> PipelineState {
    let root = StateRoot::open(folder.path().to_str().expect("UTF-8"), &RootOptions::default()).await.expect("opens");
    PipelineState::open(&root, "default", "lists", &Expected::default(), false).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_that_race_one_wins_each_index_and_all_read_the_same() {
    const ENTRIES: u64 = 40;
    let folder = tempfile::tempdir().expect("a folder");
    let state = state(&folder).await;
    let wins: Arc<[AtomicU64]> = (0..ENTRIES).map(|_| AtomicU64::new(0)).collect();
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let (list, wins) = (state.append_log("trips/lane-3"), Arc::clone(&wins));
            tokio::spawn(race(list, wins, racer))
        })
        .collect();
    for racer in racers {
        racer.await.expect("no panic");
    }

    assert!(wins.iter().all(|wins| wins.load(Ordering::SeqCst) == 1), "one winner an index");
    let all = state.append_log("trips/lane-3").read(0).await.expect("reads");
    assert_eq!(all.len() as u64, ENTRIES);
    assert_eq!(state.append_log("trips/lane-3").read(17).await.expect("reads"), all[17..]);
    assert!(state.append_log("trips/lane-3").read(ENTRIES).await.expect("reads").is_empty());
    assert!(state.append_log("trips/lane-4").read(0).await.expect("reads").is_empty());
}

async fn race(list: Arc<dyn AppendLog>, wins: Arc<[AtomicU64]>, racer: u32) {
    let mut index = 0;
    while index < wins.len() as u64 {
        let record = Bytes::from(format!("{{\"racer\":{racer},\"index\":{index}}}"));
        if list.append(index, record).await.expect("appends") == Appended::Created {
            wins[usize::try_from(index).expect("small")].fetch_add(1, Ordering::SeqCst);
        }
        index += 1;
    }
}

#[tokio::test]
async fn an_entry_that_does_not_follow_the_last_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = state(&folder).await.append_log("trips/lane-0");
    let error = list.append(1, Bytes::from_static(b"{}")).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(list.append(0, Bytes::from_static(b"a")).await.expect("appends"), Appended::Created);
    assert_eq!(list.append(0, Bytes::from_static(b"b")).await.expect("appends"), Appended::Exists);
    assert_eq!(list.read(0).await.expect("reads"), [Bytes::from_static(b"a")]);
}

#[tokio::test]
async fn an_entry_that_vanished_is_data_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = state(&folder).await;
    let list = state.append_log("trips/lane-0");
    for index in 0..3 {
        list.append(index, Bytes::from_static(b"{}")).await.expect("appends");
    }
    std::fs::remove_file(folder.path().join("default/lists/1/lists/trips/lane-0/00000001.json")).expect("removed");
    let error = state.append_log("trips/lane-0").read(0).await.expect_err("a hole");
    assert_eq!(error.kind, ErrorKind::DataLoss);
    assert!(error.detail.contains("entry 1 is missing"), "{error}");
}
