//! Sinks: nothing is seen before it is published, nothing is published twice, whenever a writer dies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use thalweg_core::error::ErrorKind;
use thalweg_core::ownership::Owner;
use thalweg_core::position::Position;
use thalweg_core::share::Share;
use thalweg_core::sink::{Capability, Label, Sealed, Sink, SinkWriter, WriterId};
use thalweg_core::unit::{Incarnation, RunId, StageId, UnitId};

use super::super::{Encoding, FilesSink, FilesSinkConfig};
use super::kit::*;

fn unit(index: u32) -> WriterId {
    let unit = UnitId { stage: StageId(0), index };
    let owner = Owner::own(RunId("run".to_owned()));
    WriterId { pipeline: "default.trips".to_owned(), incarnation: Incarnation(1), unit, owner }
}

fn sink(folder: &Path, partition_by: &[&str]) -> FilesSink {
    let partition_by = partition_by.iter().map(|key| (*key).to_owned()).collect();
    let settings = FilesSinkConfig { partition_by, roll_bytes: 1000, ..FilesSinkConfig::new("out", folder) };
    FilesSink::new(settings, Encoding::Json, TestClock::new()).expect("a sink")
}

fn batch(numbers: &[i64]) -> RecordBatch {
    let zones = numbers.iter().map(|n| if n % 2 == 0 { "even/zone" } else { "odd" });
    let zones: ArrayRef = Arc::new(StringArray::from_iter_values(zones));
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    RecordBatch::try_from_iter([("zone", zones), ("n", numbers)]).expect("a batch")
}

fn stored(seq: u64) -> Label {
    Label { seq, position: None }
}

fn direct(seq: u64, offset: u64) -> Label {
    Label { seq, position: Some(Position::at(offset)) }
}

/// Every file below the folder with its text.
fn all_files(folder: &Path) -> BTreeMap<String, String> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.join("out")]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder.join("out")).expect("below").display().to_string();
                files.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    files
}

fn visible(folder: &Path) -> BTreeMap<String, String> {
    all_files(folder).into_iter().filter(|(name, _)| !name.starts_with('.')).collect()
}

/// What nobody shall see, but for the mark of what was published last.
fn unfinished(folder: &Path) -> Vec<String> {
    let hidden = all_files(folder).into_keys().filter(|name| name.starts_with('.'));
    let (marks, unfinished): (Vec<_>, Vec<_>) = hidden.partition(|name| name.starts_with(".thalweg-published-"));
    assert!(marks.len() <= 2, "{marks:?}");
    unfinished
}

fn numbers(files: &BTreeMap<String, String>) -> Vec<i64> {
    let lines = files.values().flat_map(|text| text.lines());
    let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["n"].as_i64().expect("n");
    let mut numbers: Vec<i64> = lines.map(number).collect();
    numbers.sort_unstable();
    numbers
}

async fn seal(writer: &mut dyn SinkWriter, rows: &[i64], label: &Label) -> Sealed {
    writer.write(&batch(rows)).await.expect("written");
    writer.seal(label).await.expect("sealed").expect("something")
}

#[tokio::test]
async fn rows_are_seen_once_published_under_a_name_that_says_where_to_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &[]);
    assert_eq!(sink.capability(), Capability::SealAndPublish { direct: true });
    let mut writer = sink.writer(&unit(0)).await.expect("a writer");
    assert_eq!(writer.last_published().await.expect("none"), None);
    assert_eq!(writer.seal(&direct(0, 0)).await.expect("nothing"), None);
    let first = seal(writer.as_mut(), &[1, 2], &direct(0, 17)).await;
    assert!(visible(folder.path()).is_empty());
    for _ in 0..2 {
        writer.publish(&first).await.expect("published");
        let names: Vec<_> = all_files(folder.path()).into_keys().collect();
        assert_eq!(names, ["default.trips-1-0-0-000000000000-p0.17.json"]);
    }
    let second = seal(writer.as_mut(), &[3], &direct(1, 23)).await;
    writer.publish(&second).await.expect("published");
    let mut next = sink.writer(&unit(0)).await.expect("a writer");
    assert_eq!(next.last_published().await.expect("one"), Some(direct(1, 23)));
    let mut other = sink.writer(&unit(1)).await.expect("a writer");
    assert_eq!(other.last_published().await.expect("none"), None);
    assert_eq!(numbers(&visible(folder.path())), [1, 2, 3]);
}

/// Where a writer dies: after writing, sealing, committing, or publishing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Written,
    Sealed,
    Committed,
    Published,
}

#[tokio::test]
async fn exactly_the_committed_rows_are_seen_wherever_a_writer_dies() {
    for partition_by in [&[][..], &["zone"][..]] {
        for death in [Death::Written, Death::Sealed, Death::Committed, Death::Published] {
            let folder = tempfile::tempdir().expect("a folder");
            let sink = sink(folder.path(), partition_by);
            let mut committed: Vec<(Label, Sealed)> = Vec::new();
            let mut writer = sink.writer(&unit(0)).await.expect("a writer");
            writer.write(&batch(&[1, 2, 3])).await.expect("written");
            if death != Death::Written {
                let sealed = writer.seal(&stored(0)).await.expect("sealed").expect("something");
                if death != Death::Sealed {
                    committed.push((stored(0), sealed.clone()));
                }
                if death == Death::Published {
                    writer.publish(&sealed).await.expect("published");
                }
            }
            drop(writer);

            let mut writer = sink.writer(&unit(0)).await.expect("a writer");
            let rest: &[i64] = if committed.is_empty() { &[1, 3] } else { &[4, 5] };
            let seq = committed.len() as u64;
            let sealed = seal(writer.as_mut(), rest, &stored(seq)).await;
            for (_, recorded) in &committed {
                writer.publish(recorded).await.expect("published");
            }
            writer.publish(&sealed).await.expect("published");
            let expected: &[i64] = if committed.is_empty() { &[1, 3] } else { &[1, 2, 3, 4, 5] };
            assert_eq!(numbers(&visible(folder.path())), expected, "{death:?} {partition_by:?}");
            assert!(unfinished(folder.path()).is_empty(), "{death:?} {partition_by:?}");
        }
    }
}

#[tokio::test]
async fn publishing_goes_on_wherever_it_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &["zone"]);
    let mut writer = sink.writer(&unit(0)).await.expect("a writer");
    let sealed = seal(writer.as_mut(), &[1, 2], &stored(0)).await;
    let files = sealed.0["files"].as_array().expect("files").clone();
    assert_eq!(files.len(), 2);
    let path =
        |file: &serde_json::Value, key: &str| folder.path().join("out").join(file[key].as_str().expect("a name"));
    fs::create_dir_all(path(&files[0], "name").parent().expect("a folder")).expect("made");
    fs::hard_link(path(&files[0], "staged"), path(&files[0], "name")).expect("linked");
    let mut next = sink.writer(&unit(0)).await.expect("a writer");
    next.publish(&sealed).await.expect("published");
    fs::remove_file(path(&files[0], "staged")).expect_err("gone already");
    next.publish(&sealed).await.expect("again");
    assert_eq!(numbers(&visible(folder.path())), [1, 2]);
}

#[tokio::test]
async fn what_is_taken_away_after_it_was_published_is_not_missed_and_what_was_never_published_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sink, out) = (sink(folder.path(), &[]), folder.path().join("out"));
    let mut writer = sink.writer(&unit(0)).await.expect("a writer");
    for seq in 0..3 {
        let sealed = seal(writer.as_mut(), &[1], &stored(seq)).await;
        writer.publish(&sealed).await.expect("published");
        visible(folder.path()).keys().for_each(|name| fs::remove_file(out.join(name)).expect("taken away"));
        let mut next = sink.writer(&unit(0)).await.expect("a writer");
        next.publish(&sealed).await.expect("it was there");
        assert!(visible(folder.path()).is_empty() && unfinished(folder.path()).is_empty());
    }
    let sealed = seal(writer.as_mut(), &[1], &stored(3)).await;
    unfinished(folder.path()).iter().for_each(|name| fs::remove_file(out.join(name)).expect("removed"));
    let mut next = sink.writer(&unit(0)).await.expect("a writer");
    assert_eq!(next.publish(&sealed).await.expect_err("lost").kind, ErrorKind::DataLoss);
}

#[tokio::test]
async fn another_owner_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &[]);
    let mut old = sink.writer(&unit(0)).await.expect("a writer");
    let stale = seal(old.as_mut(), &[1], &direct(0, 10)).await;
    let mut new = sink.writer(&unit(0)).await.expect("a writer");
    let sealed = seal(new.as_mut(), &[1, 2], &direct(0, 20)).await;
    new.publish(&sealed).await.expect("published");
    assert!(old.publish(&stale).await.is_err());
    assert_eq!(numbers(&visible(folder.path())), [1, 2]);
    let late = seal(old.as_mut(), &[9], &direct(0, 30)).await;
    assert_eq!(old.publish(&late).await.expect_err("fenced").kind, ErrorKind::Fenced);
}

#[tokio::test]
async fn partitions_are_folders_and_their_column_is_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &["zone"]);
    assert_eq!(sink.capability(), Capability::SealAndPublish { direct: false });
    let mut writer = sink.writer(&unit(3)).await.expect("a writer");
    let sealed = seal(writer.as_mut(), &[1, 2, 3], &stored(7)).await;
    writer.publish(&sealed).await.expect("published");
    let expected = [
        ("zone=even%2Fzone/default.trips-1-0-3-000000000007.json", "{\"n\":2}\n"),
        ("zone=odd/default.trips-1-0-3-000000000007.json", "{\"n\":1}\n{\"n\":3}\n"),
    ];
    assert_eq!(visible(folder.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
}

#[tokio::test]
async fn more_folders_than_open_files_become_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &["n"]);
    let mut writer = sink.writer(&unit(0)).await.expect("a writer");
    let many: Vec<i64> = (0..200).collect();
    writer.write(&batch(&many)).await.expect("written");
    let sealed = seal(writer.as_mut(), &many, &stored(0)).await;
    writer.publish(&sealed).await.expect("published");
    let files = visible(folder.path());
    let lines: usize = files.values().map(|text| text.lines().count()).sum();
    assert_eq!(lines, 400);
    assert!(files.contains_key("n=0/default.trips-1-0-0-000000000000-c1.json"), "{:?}", files.keys());
}

#[tokio::test]
async fn a_file_rolls_by_size_and_by_age() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &[]);
    let mut writer = sink.writer(&unit(0)).await.expect("a writer");
    assert!(!writer.wants_seal(Duration::from_secs(3600)));
    writer.write(&batch(&[1])).await.expect("written");
    assert!(!writer.wants_seal(Duration::from_secs(59)) && writer.wants_seal(Duration::from_secs(60)));
    writer.write(&batch(&[1; 100])).await.expect("written");
    assert!(writer.wants_seal(Duration::ZERO));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    sink(folder.path(), &[]).check().await.expect("writable");
    assert!(all_files(folder.path()).is_empty());
    fs::remove_dir_all(folder.path().join("out")).expect("removed");
    fs::write(folder.path().join("out"), b"a file").expect("a file");
    let error = sink(folder.path(), &[]).check().await.expect_err("no folder");
    assert!(error.kind == ErrorKind::User && error.to_string().contains("`out`"), "{error}");
}

#[tokio::test]
async fn what_an_earlier_incarnation_left_unfinished_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = sink(folder.path(), &[]);
    let mut old = sink.writer(&unit(0)).await.expect("a writer");
    seal(old.as_mut(), &[1], &stored(0)).await;
    old.write(&batch(&[2])).await.expect("written");
    assert_eq!(all_files(folder.path()).len(), 2);
    let next = WriterId { incarnation: Incarnation(2), ..unit(0) };
    sink.writer(&next).await.expect("a writer");
    let left: Vec<_> = all_files(folder.path()).into_keys().collect();
    assert!(left.len() == 1 && left[0].starts_with(".thalweg-sealed-"), "{left:?}");
}

#[tokio::test]
async fn what_an_earlier_incarnation_sealed_goes_once_nobody_can_publish_it_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = TestClock::new();
    let sink = FilesSink::new(FilesSinkConfig::new("out", folder.path()), Encoding::Json, clock.clone()).expect("it");
    let mut old = sink.writer(&unit(0)).await.expect("a writer");
    seal(old.as_mut(), &[1], &stored(0)).await;
    let left = unfinished(folder.path());
    let file = fs::File::options().write(true).open(folder.path().join("out").join(&left[0])).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(600)).expect("dated");
    let left_after = async |minutes: u64, incarnation: u64| {
        clock.advance(Duration::from_secs(minutes * 60));
        let id = WriterId { incarnation: Incarnation(incarnation), ..unit(0) };
        sink.writer(&id).await.expect("a writer");
        unfinished(folder.path()).len()
    };
    assert_eq!(left_after(60, 2).await, 1, "it is 50 minutes old");
    assert_eq!(left_after(60, 1).await, 1, "what its own incarnation has sealed stays");
    assert_eq!(left_after(0, 2).await, 0);
}

#[tokio::test]
async fn output_of_a_state_that_was_kept_is_known_again_and_that_of_others_is_not() {
    for partition_by in [&[] as &[&str], &["zone"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = sink(folder.path(), partition_by);
        let has_output = async |pipeline: &str| sink.has_output_of(pipeline).await.expect("looks");
        assert_eq!(has_output("default.trips").await, None, "there is no folder yet");
        // Runs that keep nothing begin anew each time.
        for (incarnation, is_known) in [(1_700_000_000_000, false), (7, true)] {
            let id = WriterId { incarnation: Incarnation(incarnation), ..unit(0) };
            let mut writer = sink.writer(&id).await.expect("a writer");
            let sealed = seal(writer.as_mut(), &[1], &stored(0)).await;
            assert_eq!(has_output("default.trips").await, None, "it was not published yet");
            writer.publish(&sealed).await.expect("published");
            let found = has_output("default.trips").await;
            assert_eq!(found.is_some(), is_known, "{incarnation} {partition_by:?}: {found:?}");
            assert_eq!(has_output("default.trip").await, None);
        }
        let visible: Vec<_> = visible(folder.path()).into_keys().collect();
        visible.iter().for_each(|name| fs::remove_file(folder.path().join("out").join(name)).expect("taken away"));
        let _ = fs::remove_dir(folder.path().join("out/zone=odd"));
        assert_eq!(has_output("default.trips").await, None, "marks alone are no output");
    }
}

/// Rows for 64 folders, of texts that do not compress well.
fn wide(round: u64) -> RecordBatch {
    let numbers = || (0..64 * 3_000u64).map(move |n| n + round * 1_000_000);
    let zones: ArrayRef = Arc::new(StringArray::from_iter_values(numbers().map(|n| (n % 64).to_string())));
    let mixed = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let texts = numbers().map(|n| format!("{:016x}{:016x}", mixed(n), mixed(mixed(n))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    RecordBatch::try_from_iter([("zone", zones), ("text", texts)]).expect("a batch")
}

#[tokio::test]
async fn files_are_finished_early_where_all_writers_together_have_little_memory() {
    let mut counts = Vec::new();
    for memory in [None, Some(1 << 20)] {
        let folder = tempfile::tempdir().expect("a folder");
        let partition_by = vec!["zone".to_owned()];
        let settings = FilesSinkConfig { partition_by, ..FilesSinkConfig::new("out", folder.path()) };
        let sink = FilesSink::new(settings, Encoding::Parquet, TestClock::new()).expect("a sink");
        let sink = sink.within(&Share::new(memory));
        let mut writer = sink.writer(&unit(0)).await.expect("a writer");
        for round in 0..2 {
            writer.write(&wide(round)).await.expect("written");
        }
        let sealed = writer.seal(&stored(0)).await.expect("sealed").expect("something");
        counts.push(sealed.0["files"].as_array().expect("files").len());
    }
    assert_eq!(counts[0], 64, "one a folder");
    assert!(counts[1] > 64, "{counts:?}");
}
