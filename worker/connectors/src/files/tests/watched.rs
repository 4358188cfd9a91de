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

/// What became of a watched file that was read, and then was replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Replaced {
    Moved,
    InPlace,
}

fn replace(folder: &std::path::Path, how: Replaced, text: &[u8]) {
    match how {
        Replaced::InPlace => write(folder, "a.json", text),
        Replaced::Moved => {
            write(folder, ".tmp", text);
            fs::rename(folder.join(".tmp"), folder.join("a.json")).expect("moved");
        }
    }
    // A file system counts time in steps, of which this may be the same.
    let file = fs::File::options().write(true).open(folder.join("a.json")).expect("it is there");
    let now = file.metadata().and_then(|found| found.modified()).expect("its time");
    file.set_modified(now + Duration::from_secs(1)).expect("later");
}

#[tokio::test]
async fn a_watched_file_that_is_replaced_is_data_loss_whatever_its_length() {
    let long = text_of(&numbered(0..2_000));
    for (text, other) in [
        (&b"one\ntwo\n"[..], &b"six\nten\n"[..]),
        (&b"one\ntwo\n"[..], &b"six\nseven\neight\n"[..]),
        (&long[..], &text_of(&numbered(1..2_500))[..]),
    ] {
        for (how, restarted) in
            [(Replaced::Moved, false), (Replaced::InPlace, false), (Replaced::Moved, true), (Replaced::InPlace, true)]
        {
            let folder = tempfile::tempdir().expect("a folder");
            write(folder.path(), "a.json", text);
            let log: Arc<dyn AppendLog> = Arc::new(MemoryLog::new());
            let start = || {
                FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), TestClock::new()).expect("a source")
            };
            let source = start();
            source.splits().await.expect("splits");
            let mut reader = source.open(&SplitId::new("file-0"), Position::START).await.expect("a reader");
            drain(reader.as_mut()).await.expect("rows");
            let end = Position::at(text.len() as u64);
            // The same one, with another time: nothing is lost.
            write(folder.path(), "a.json", text);
            assert!(drain(reader.as_mut()).await.expect("nothing new").rows.is_empty());
            replace(folder.path(), how, other);
            let error = match restarted {
                false => drain(reader.as_mut()).await.expect_err("replaced"),
                true => drain_from(&start(), "file-0", end).await.expect_err("replaced"),
            };
            let said = error.to_string();
            assert!(error.kind == ErrorKind::DataLoss && said.contains("another than the one that was read"), "{said}");
            replace(folder.path(), how, text);
            append(folder.path(), "a.json", b"more\n");
            let taken = drain_from(&start(), "file-0", end).await.expect("it was put back");
            assert_eq!(taken.texts(), ["more"]);
        }
    }
}

#[tokio::test]
async fn what_grew_since_it_was_listed_is_known_by_what_was_there_when_somebody_looked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    write(folder.path(), "a.json", b"");
    start().splits().await.expect("splits");
    append(folder.path(), "a.json", b"one\ntwo\n");
    // Nobody looked again: the file must be the same one of its file system.
    assert!(drain_from(&start(), "file-0", Position::at(8)).await.expect("the same").rows.is_empty());
    replace(folder.path(), Replaced::Moved, b"one\ntwo\n");
    assert_eq!(drain_from(&start(), "file-0", Position::at(8)).await.expect_err("moved").kind, ErrorKind::DataLoss);

    fs::remove_file(folder.path().join("a.json")).expect("removed");
    write(folder.path(), "b.json", b"");
    start().splits().await.expect("splits");
    append(folder.path(), "b.json", b"one\ntwo\n");
    clock.advance(EVERY);
    start().splits().await.expect("splits");
    fs::copy(folder.path().join("b.json"), folder.path().join("copy")).expect("copied");
    fs::rename(folder.path().join("copy"), folder.path().join("b.json")).expect("moved");
    assert!(drain_from(&start(), "file-1", Position::at(8)).await.expect("a copy").rows.is_empty());
    write(folder.path(), "b.json", b"six\nten\n");
    assert_eq!(drain_from(&start(), "file-1", Position::at(8)).await.expect_err("other").kind, ErrorKind::DataLoss);
    assert_eq!(drain_from(&start(), "file-1", Position::START).await.expect("unread").texts(), ["six", "ten"]);
}

#[tokio::test]
async fn a_short_file_that_is_no_archive_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.json.gz", "b.json.zst"] {
        write(folder.path(), name, b"no");
        let settings = FilesSourceConfig { watch: Some(EVERY), ..config(folder.path(), name) };
        let taken = drain_all(&source(settings, lines())).await.expect("rows").remove(0);
        assert!(taken.bad.len() == 1 && taken.bad[0].message.contains("header"), "{:?}", taken.bad);
    }
}

#[tokio::test]
async fn a_file_that_goes_with_rows_that_were_not_read_is_data_loss_for_whoever_reads_on() {
    let text = b"one\ntwo\nthree\n";
    for listed in [0, 4] {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
        let start =
            || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
        write(folder.path(), "a.json", &text[..listed]);
        let source = start();
        source.splits().await.expect("splits");
        append(folder.path(), "a.json", &text[listed..]);
        clock.advance(EVERY);
        source.splits().await.expect("splits");
        fs::remove_file(folder.path().join("a.json")).expect("removed");
        for is_gone_for_long in [false, true] {
            if is_gone_for_long {
                clock.advance(EVERY);
                start().splits().await.expect("splits");
            }
            for read in [0, 4, 8] {
                let error = drain_from(&start(), "file-0", Position::at(read)).await.expect_err("not read to its end");
                let said = error.to_string();
                assert!(
                    error.kind == ErrorKind::DataLoss && said.contains("it had 14 bytes"),
                    "{listed}, {read}: {said}"
                );
            }
            let source = start();
            let mut reader = source.open(&SplitId::new("file-0"), Position::at(14)).await.expect("a reader");
            for _ in 0..2 {
                assert!(drain(reader.as_mut()).await.expect("it was read to its end").caught_up);
            }
        }
    }
}

#[tokio::test]
async fn the_size_at_which_a_file_went_is_noted_by_whoever_saw_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    write(folder.path(), "a.json", b"one\ntwo\n");
    let source = start();
    source.splits().await.expect("splits");
    for (text, records) in [("x\n", 2), ("y\n", 2)] {
        append(folder.path(), "a.json", text.as_bytes());
        clock.advance(EVERY);
        source.splits().await.expect("splits");
        assert_eq!(log.read(0).await.expect("a list").len(), records, "{text}");
    }
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    let early = drain_from(&source, "file-0", Position::at(10)).await.expect_err("this process has seen it");
    assert_eq!(early.kind, ErrorKind::DataLoss);
    for _ in 0..3 {
        clock.advance(EVERY);
        source.splits().await.expect("splits");
        assert_eq!(log.read(0).await.expect("a list").len(), 3, "once");
    }
    let early = drain_from(&start(), "file-0", Position::at(10)).await.expect_err("it was noted");
    assert!(early.to_string().contains("it had 12 bytes"), "{early}");
    assert!(drain_from(&start(), "file-0", Position::at(12)).await.expect("read to its end").caught_up);
}

#[tokio::test]
async fn another_process_that_reads_knows_what_the_one_that_lists_has_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    write(folder.path(), "a.json", b"one\n");
    let (lists, reads) = (start(), start());
    lists.splits().await.expect("splits");
    assert_eq!(drain_from(&reads, "file-0", Position::START).await.expect("rows").texts(), ["one"]);
    append(folder.path(), "a.json", b"two\n");
    clock.advance(EVERY);
    lists.splits().await.expect("splits");
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    let error = drain_from(&reads, "file-0", Position::at(4)).await.expect_err("gone");
    assert!(error.kind == ErrorKind::DataLoss && error.to_string().contains("it had 8 bytes"), "{error}");
}

#[tokio::test]
async fn a_file_that_grows_all_the_time_is_noted_less_and_less() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, clock): (Arc<dyn AppendLog>, _) = (Arc::new(MemoryLog::new()), TestClock::new());
    let start = || FilesSource::new(watched(folder.path()), lines(), Arc::clone(&log), clock.clone() as _).expect("it");
    write(folder.path(), "a.json", b"0123456789\n");
    let source = start();
    source.splits().await.expect("splits");
    let minutes = 120;
    for _ in 0..minutes * 12 {
        append(folder.path(), "a.json", b"0123456789\n");
        clock.advance(EVERY);
        source.splits().await.expect("splits");
    }
    let records = log.read(0).await.expect("a list").len();
    // One for each time that it grew by an eighth, and that more of its beginning could be known.
    assert!((20..60).contains(&records), "{records} records");
    fs::remove_file(folder.path().join("a.json")).expect("removed");
    // Whoever sees that it is gone notes how big it was.
    clock.advance(EVERY);
    source.splits().await.expect("splits");
    let size = 11 * (minutes as u64 * 12 + 1);
    assert!(drain_from(&start(), "file-0", Position::at(size)).await.expect("read to its end").caught_up);
    let error = drain_from(&start(), "file-0", Position::at(size - 11)).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::DataLoss);
}
