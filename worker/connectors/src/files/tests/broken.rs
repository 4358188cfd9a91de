//! Files of strangers: too long, cut off, swollen, changed.

use thalweg_core::decode::BadClass;
use thalweg_core::error::ErrorKind;
use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::{Read, Source};

use super::super::{FilesSourceConfig, Records};
use super::kit::*;
use crate::formats::Framing;

#[tokio::test]
async fn a_record_that_is_too_long_costs_itself_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "y".repeat(5000);
    write(folder.path(), "a.json", format!("one\n{long}\ntwo\n{long}").as_bytes());
    for chunk_bytes in [1, 100, 1 << 20] {
        let settings = FilesSourceConfig { max_record_bytes: 2000, chunk_bytes, ..config(folder.path(), "a.json") };
        let source = source(settings, lines());
        let taken = drain_all(&source).await.expect("rows").remove(0);
        assert_eq!(taken.rows, [(Position::at(0), "one".into()), (Position::at(5005), "two".into())]);
        let places: Vec<_> = taken.bad.iter().map(|bad| (bad.position, bad.class, bad.raw.len())).collect();
        let class = BadClass::Decode;
        assert_eq!(places, [(Position::at(4), class, 1024), (Position::at(5009), class, 1024)]);
        assert!(taken.bad[0].message.contains("2000") && taken.bad[0].message.contains("5001"), "{:?}", taken.bad[0]);
        let rest = drain_from(&source, "lane-0", Position::at(4)).await.expect("rows");
        assert_eq!((rest.rows.len(), rest.bad.len()), (1, 2));
    }
}

#[tokio::test]
async fn a_quoted_field_that_is_too_long_ends_with_its_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "y\n".repeat(3000);
    write(folder.path(), "a.csv", format!("1,a\n2,\"{long}\"\"\n\"\n3,b\n").as_bytes());
    for chunk_bytes in [1, 100, 1 << 20] {
        let settings = FilesSourceConfig { max_record_bytes: 2000, chunk_bytes, ..config(folder.path(), "a.csv") };
        let records = Records::Text { framing: Framing::Csv { delimiter: b',', quote: b'"' }, header: None };
        let taken = drain_all(&source(settings, records)).await.expect("rows").remove(0);
        assert_eq!((taken.texts(), taken.bad.len()), (vec!["1,a", "3,b"], 1));
    }
}

#[tokio::test]
async fn a_quote_too_many_costs_its_line_and_not_the_rest_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: Vec<_> = (0..3_000).map(|n| format!("{n},a")).collect();
    let text = |range: std::ops::Range<usize>| rows[range].iter().map(|row| format!("{row}\n")).collect::<String>();
    write(
        folder.path(),
        "a.csv",
        format!("{}x,\"a\n{}y,\"a\n{}", text(0..10), text(10..2_900), text(2_900..3_000)).as_bytes(),
    );
    for chunk_bytes in [1, 100, 1 << 20] {
        let settings = FilesSourceConfig { max_record_bytes: 2000, chunk_bytes, ..config(folder.path(), "a.csv") };
        let records = Records::Text { framing: Framing::Csv { delimiter: b',', quote: b'"' }, header: None };
        let taken = drain_all(&source(settings, records)).await.expect("rows").remove(0);
        let bad: Vec<_> = taken.bad.iter().map(|bad| bad.raw.clone()).collect();
        // The last one is not too long with what follows: its decoder tells it.
        let found: Vec<_> = taken.texts().into_iter().filter(|line| *line != "y,\"a").collect();
        assert!(found == rows && bad == ["x,\"a\n"], "{bad:?}");
    }
}

#[tokio::test]
async fn a_cut_off_file_gives_its_rows_one_bad_record_and_the_next_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let many = numbered(0..5000);
    let text = text_of(&many);
    for (name, whole) in [("a.json.gz", gzip(&text)), ("a.json.zst", zstd(&text))] {
        let place = format!("{name}.d");
        write(folder.path(), &format!("{place}/{name}"), &whole[..whole.len() - 20]);
        write(folder.path(), &format!("{place}/b.json"), b"next\n");
        let settings =
            FilesSourceConfig { lanes: 1, chunk_bytes: 1000, ..config(folder.path(), &format!("{place}/*")) };
        let source = source(settings, lines());
        let taken = drain_all(&source).await.expect("rows").remove(0);
        assert_eq!(taken.texts().last(), Some(&"next"));
        let good = taken.rows.len() - 1;
        assert!(taken.texts()[..good].iter().eq(many[..good].iter()), "{name}");
        assert_eq!(taken.bad.len(), 1);
        let bad = &taken.bad[0];
        assert!(bad.message.contains(name) && bad.message.contains("cut off"), "{}", bad.message);
        assert_eq!(bad.position.offset, text_of(&many[..good]).len() as u128);
        let broken_off = taken.chunks.iter().find(|chunk| !chunk.bad.is_empty()).expect("a chunk");
        let rest = drain_from(&source, "lane-0", broken_off.to).await.expect("rows");
        assert_eq!((rest.texts(), rest.bad.len()), (vec!["next"], 0));
    }
}

#[tokio::test]
async fn a_short_file_that_is_no_archive_is_not_called_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = gzip(b"one\n");
    for (bytes, expected) in [(&b"{}\n"[..], "invalid gzip header"), (&whole[..1], "cut off"), (&whole[..9], "cut off")]
    {
        write(folder.path(), "a.json.gz", bytes);
        let taken = drain_all(&source(config(folder.path(), "a.json.gz"), lines())).await.expect("rows").remove(0);
        assert!(taken.bad.len() == 1 && taken.bad[0].message.contains(expected), "{:?}", taken.bad);
    }
}

#[tokio::test]
async fn a_file_that_swells_beyond_measure_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = [vec![b'0'; 999], b"\n".to_vec()].concat();
    write(folder.path(), "a.json.zst", &zstd(&line.repeat(100_000)));
    write(folder.path(), "b.json", b"next\n");
    let settings = FilesSourceConfig { lanes: 1, ..config(folder.path(), "*") };
    let source = source(settings, lines());
    source.splits().await.expect("splits");
    let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
    let (mut count, mut bad) = (0, Vec::new());
    while let Read::Chunk(chunk) = reader.read(None).await.expect("a read") {
        let chunk = chunk.fetched().await.expect("a text");
        count += rows(&chunk).len();
        bad.extend(chunk.bad);
    }
    assert!(count > 60_000 && count < 70_000, "{count}");
    assert!(bad.len() == 1 && bad[0].message.contains("200 : 1"), "{bad:?}");
}

#[tokio::test]
async fn a_file_that_shrinks_or_changes_under_the_reader_is_data_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text_of(&numbered(0..1000));
    for change in [&text[..500], &[text.as_slice(), b"more\n"].concat()] {
        write(folder.path(), "a.json", &text);
        let settings = FilesSourceConfig { chunk_bytes: 100, ..config(folder.path(), "a.json") };
        let source = source(settings, lines());
        source.splits().await.expect("splits");
        let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
        assert!(matches!(reader.read(None).await.expect("a read"), Read::Chunk(_)));
        write(folder.path(), "a.json", change);
        let error = drain(reader.as_mut()).await.expect_err("changed");
        assert!(error.kind == ErrorKind::DataLoss && error.to_string().contains("a.json"), "{error}");
        let error = drain_from(&source, "lane-0", Position::START).await.expect_err("changed");
        assert_eq!(error.kind, ErrorKind::DataLoss);
    }
}

#[tokio::test]
async fn an_archive_or_a_table_that_shrinks_or_changes_under_the_reader_is_data_loss_and_no_bad_record() {
    let folder = tempfile::tempdir().expect("a folder");
    // What does not compress: the reader is in the middle when the file changes.
    let text: Vec<u8> =
        (0..400_000u64).flat_map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()).collect();
    let (table, other) = (parquet_bytes(0..200_000), parquet_bytes((0..200_000).map(|n| n ^ 1)));
    assert_eq!(table.len(), other.len());
    let cases = [
        ("a.json.gz", lines(), gzip(&text), None),
        ("a.json.zst", lines(), zstd(&text), None),
        ("a.parquet", numbers_of_parquet(), table.clone(), None),
        ("b.parquet", numbers_of_parquet(), table, Some(other)),
    ];
    for (name, records, whole, change) in cases {
        write(folder.path(), name, &whole);
        let settings = FilesSourceConfig { chunk_bytes: 100, ..config(folder.path(), name) };
        let source = source(settings, records);
        source.splits().await.expect("splits");
        let mut reader = source.open(&SplitId::new("lane-0"), Position::START).await.expect("a reader");
        assert!(matches!(reader.read(None).await.expect("a read"), Read::Chunk(_)));
        // A file that is written anew has another time.
        let before = std::fs::metadata(folder.path().join(name)).expect("a file").modified().expect("a time");
        write(folder.path(), name, change.as_deref().unwrap_or(&whole[..whole.len() / 2]));
        let file = std::fs::File::options().append(true).open(folder.path().join(name)).expect("a file");
        file.set_modified(before + std::time::Duration::from_secs(1)).expect("a time");
        let error = loop {
            match reader.read(None).await {
                Ok(Read::Chunk(chunk)) => assert_eq!(chunk.bad, [], "{name}"),
                Ok(read) => panic!("{name}: {read:?}"),
                Err(error) => break error,
            }
        };
        assert!(error.kind == ErrorKind::DataLoss && error.to_string().contains("changed"), "{error}");
    }
}

/// Good records and positions of bad ones, read the plain way.
fn naive(text: &str, most: usize) -> (Vec<String>, Vec<u64>) {
    let (mut good, mut bad, mut at) = (Vec::new(), Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if line.len() > most {
            bad.push(at);
        } else {
            good.push(line.trim_end_matches('\n').to_owned());
        }
        at += line.len() as u64;
    }
    (good, bad)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_in_any_chunks_is_read_as_the_plain_way_does(
        text in "([ab]{0,9}\n){0,12}[ab]{0,30}(\n[ab]{0,5}){0,3}", chunk_bytes in 1usize..40, most in 1usize..20, packed in 0..3,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let (name, bytes) = match packed {
            0 => ("a.json", text.clone().into_bytes()),
            1 => ("a.json.gz", gzip(text.as_bytes())),
            _ => ("a.json.zst", zstd(text.as_bytes())),
        };
        write(folder.path(), name, &bytes);
        let settings = FilesSourceConfig { chunk_bytes, max_record_bytes: most, ..config(folder.path(), name) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let taken = runtime.block_on(drain_all(&source(settings, lines()))).expect("rows").remove(0);
        let bad: Vec<u64> = taken.bad.iter().map(|bad| bad.position.offset as u64).collect();
        let texts: Vec<String> = taken.texts().into_iter().map(str::to_owned).collect();
        proptest::prop_assert_eq!((texts, bad), naive(&text, most));
    }
}
