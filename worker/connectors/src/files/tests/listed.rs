//! Lists that one run leaves to the next, and one process to another.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use thalweg_core::append_log::{AppendLog, MemoryLog};
use thalweg_core::error::ErrorKind;
use thalweg_core::position::Position;
use thalweg_core::source::Source;

use super::super::{Compression, FilesSource, FilesSourceConfig, Order, Records};
use super::kit::*;

fn log() -> Arc<dyn AppendLog> {
    Arc::new(MemoryLog::new())
}

fn over(log: &Arc<dyn AppendLog>, (settings, records): (FilesSourceConfig, Records)) -> FilesSource {
    FilesSource::new(settings, records, Arc::clone(log), TestClock::new()).expect("a source")
}

#[tokio::test]
async fn settings_that_positions_depend_on_stay_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let bounded = || config(folder.path(), "*.json");
    let watched = || FilesSourceConfig { watch: Some(Duration::from_secs(5)), ..bounded() };
    let by_name = |lanes| FilesSourceConfig { order: Order::ByName, lanes, ..bounded() };
    let zipped = |config: FilesSourceConfig| FilesSourceConfig { compression: Some(Compression::Gzip), ..config };
    let columns = || parquet(Arc::new(Schema::empty()));
    for (was, is, says) in [
        ((bounded(), lines()), (watched(), lines()), "any more: `files.watch` was absent, is set (put it back"),
        ((watched(), lines()), (bounded(), lines()), "any more: `files.watch` was set, is absent (put it back"),
        ((bounded(), lines()), (by_name(8), lines()), "any more: `files.order` was Any, is ByName ("),
        ((by_name(8), lines()), (by_name(3), lines()), "any more: `files.lanes` was 8, is 3 ("),
        ((bounded(), lines()), (zipped(bounded()), lines()), "any more: `files.compression` was Auto, is Gzip ("),
        ((watched(), columns()), (watched(), lines()), "any more: `format` was parquet, is json or csv ("),
        (
            (watched(), lines()),
            (zipped(bounded()), lines()),
            "`files.compression` was Auto, is Gzip; `files.watch` was set, is absent (",
        ),
    ] {
        let log = log();
        let splits = over(&log, was.clone()).splits().await.expect("listed");
        let other = over(&log, is);
        for _ in 0..2 {
            let error = other.splits().await.expect_err("of another shape");
            let said = error.to_string();
            assert!(error.kind == ErrorKind::User && said.contains(says), "{said}");
            let opened = other.open(&splits[0].id, Position::START).await.err().expect("of another shape");
            assert_eq!(opened.to_string(), said, "whoever reads only is told as well");
        }
        assert_eq!(log.read(0).await.expect("a list").len(), 1, "nothing was added");
        assert_eq!(over(&log, was).splits().await.expect("as before"), splits);
    }
}

#[tokio::test]
async fn settings_that_change_no_position_may_change() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let bounded = || config(folder.path(), "*.json");
    let every = |seconds| FilesSourceConfig { watch: Some(Duration::from_secs(seconds)), ..bounded() };
    for (was, is) in [
        (
            bounded(),
            FilesSourceConfig { lanes: 3, chunk_bytes: 7, max_record_bytes: 9, allow_empty: true, ..bounded() },
        ),
        (every(5), FilesSourceConfig { order: Order::ByName, lanes: 3, ..every(1) }),
    ] {
        let log = log();
        let splits = over(&log, (was, lines())).splits().await.expect("listed");
        assert_eq!(over(&log, (is, lines())).splits().await.expect("it goes on"), splits);
    }
}

#[tokio::test]
async fn of_two_processes_with_other_settings_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let log = log();
    let bounded = config(folder.path(), "*.json");
    let watched = FilesSourceConfig { watch: Some(Duration::from_secs(5)), ..bounded.clone() };
    let (one, two) = (over(&log, (bounded, lines())), over(&log, (watched, lines())));
    let (first, second) = tokio::join!(one.splits(), two.splits());
    let errors: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert!(errors.len() == 1 && errors[0].kind == ErrorKind::User, "{errors:?}");
    assert_eq!(log.read(0).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn a_list_that_does_not_say_of_which_settings_it_is_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", b"{}\n");
    let log = log();
    log.append(0, r#"{"lanes":8,"files":[]}"#.into()).await.expect("appended");
    let error = over(&log, (config(folder.path(), "*.json"), lines())).splits().await.expect_err("an old one");
    assert!(error.to_string().contains("another version wrote it"), "{error}");
}
