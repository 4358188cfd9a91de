//! Watched sources: new files, growing files.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::append_log::{AppendLog, MemoryLog};
use thalweg_core::error::ErrorKind;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::Source;

use super::super::{FilesSource, FilesSourceConfig};
use super::kit::*;

const EVERY: Duration = Duration::from_secs(5);

fn watched(folder: &std::path::Path) -> FilesSourceConfig {
    FilesSourceConfig { watch: Some(EVERY), ..config(folder, "*") }
}

fn ids(splits: &[thalweg_core::source::Split]) -> Vec<&str> {
    splits.iter().map(|split| split.id.as_str()).collect()
}

#[tokio::test]
async fn a_growing_file_gives_lines_once_they_have_their_newline() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"one\ntw");
    let source = source(watched(folder.path()), lines());
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("file-0"), Position::START).await.expect("a reader");
    let first = drain(reader.as_mut()).await.expect("rows");
    assert_eq!((first.texts(), first.caught_up), (vec!["one"], true));
    assert!(drain(reader.as_mut()).await.expect("rows").rows.is_empty());
    append(folder.path(), "a.json", b"o\nthree\nfo");
    assert_eq!(drain(reader.as_mut()).await.expect("rows").texts(), ["two", "three"]);
    append(folder.path(), "a.json", b"ur\n");
    let last = drain(reader.as_mut()).await.expect("rows");
    assert_eq!(last.rows, [(Position::at(14), "four".to_owned())]);
    assert!(last.chunks[0].piece.is_last_scope);
}

#[tokio::test]
async fn new_files_are_looked_for_by_the_interval_and_keep_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "b.json", b"b\n");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    let (one, two) = (start(), start());
    assert!(one.grows());
    assert_eq!(ids(&one.splits().await.expect("splits")), ["file-0"]);
    write(folder.path(), "a.json", b"a\n");
    assert_eq!(ids(&one.splits().await.expect("splits")), ["file-0"]);
    assert_eq!(ids(&two.splits().await.expect("splits")), ["file-0", "file-1"]);
    clock.advance(EVERY);
    write(folder.path(), "c.json", b"c\n");
    assert_eq!(ids(&one.splits().await.expect("splits")), ["file-0", "file-1", "file-2"]);
    for (n, expected) in ["b", "a", "c"].iter().enumerate() {
        let taken = drain_from(&start(), &format!("file-{n}"), Position::START).await.expect("rows");
        assert_eq!(taken.texts(), [*expected]);
    }
}

#[tokio::test]
async fn a_watched_file_that_shrinks_is_data_loss_and_one_that_goes_after_its_end_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"one\ntwo\n");
    let source = source(watched(folder.path()), lines());
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("file-0"), Position::START).await.expect("a reader");
    drain(reader.as_mut()).await.expect("rows");
    write(folder.path(), "a.json", b"one\n");
    assert_eq!(drain(reader.as_mut()).await.expect_err("shrunk").kind, ErrorKind::DataLoss);
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    assert!(drain(reader.as_mut()).await.expect("nothing").caught_up);
    let early = drain_from(&source, "file-0", Position::at(4)).await.expect_err("gone");
    assert_eq!(early.kind, ErrorKind::DataLoss);
    assert!(drain_from(&source, "file-0", Position::at(8)).await.expect("read to its end").caught_up);
}

#[tokio::test]
async fn a_compressed_file_that_is_still_written_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = gzip(&text_of(&numbered(0..3000)));
    write(folder.path(), "a.json.gz", &whole[..whole.len() / 2]);
    let source = source(watched(folder.path()), lines());
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("file-0"), Position::START).await.expect("a reader");
    let first = drain(reader.as_mut()).await.expect("rows");
    assert!(first.bad.is_empty() && first.caught_up);
    write(folder.path(), "a.json.gz", &whole);
    let second = drain(reader.as_mut()).await.expect("rows");
    assert_eq!(first.rows.len() + second.rows.len(), 3000);
}

#[tokio::test]
async fn a_file_that_another_process_listed_can_be_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"a\n");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    let (enumerator, reader) = (start(), start());
    reader.splits().await.expect("splits");
    write(folder.path(), "b.json", b"b\n");
    assert_eq!(enumerator.splits().await.expect("splits").len(), 2);
    assert_eq!(drain_from(&reader, "file-1", Position::START).await.expect("rows").texts(), ["b"]);
    assert_eq!(drain_from(&reader, "file-2", Position::START).await.expect_err("none").kind, ErrorKind::Internal);
}
