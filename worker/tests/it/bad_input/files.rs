//! Whole files that are not what they should be.

use std::io::Write;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::json;

use super::{FIRST, GOOD, HELP, LAST, Pipeline, many, write_bytes};
use crate::command::Workplace;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).expect("memory")
}

fn good() -> Vec<String> {
    GOOD.map(str::to_owned).to_vec()
}

#[test]
fn a_cut_off_archive_gives_its_rows_one_bad_record_and_the_file_beside_it() {
    for (name, packed) in [("data/a.json.gz", gzip(&many(0..50_000))), ("data/a.json.zst", zstd(&many(0..50_000)))] {
        let place = Workplace::new();
        write_bytes(&place, name, &packed[..packed.len() / 2]);
        place.write("data/b.json", &format!("{FIRST}\n"));

        let failed = Pipeline::new("Fail").run(&place);
        let error = failed.error();
        assert!(error.starts_with(&format!("{name}, line ")), "{error}");
        assert!(error.contains(&format!("`{name}` cannot be decompressed beyond byte ")), "{error}");
        assert!(error.contains(" of its text: the file is cut off; the rest of the file is not read"), "{error}");

        let dropped = Pipeline::new("Drop").run(&place);
        dropped.completed();
        assert_eq!(dropped.bad(), &json!({ "Decode": 1 }));
        assert!(dropped.rows.contains(&GOOD[0].to_owned()), "the file beside it");
        let rows = dropped.rows.len();
        assert!((1_000..50_000).contains(&rows), "{rows} rows before the cut");

        let kept = Pipeline::new("DeadLetter").run(&place);
        kept.completed();
        assert_eq!((kept.rows, kept.dead.len()), (dropped.rows, 1));
        assert_eq!((&kept.dead[0]["class"], &kept.dead[0]["source"]), (&json!("Decode"), &json!("trips")));
        // The last record that was whole is the one before the letter's position: nothing between was lost.
        let id: u64 = rows as u64 - 1;
        let raw = kept.dead[0]["raw"].as_str().expect("raw");
        assert!(many(id..id + 1).starts_with(raw), "row {id} was cut to {raw}");
    }
}

#[test]
fn a_file_that_is_no_archive_is_one_bad_record() {
    let place = Workplace::new();
    place.write("data/a.json.gz", "hello, no gzip");
    place.write("data/b.json", &format!("{FIRST}\n{LAST}\n"));
    let message = "`data/a.json.gz` cannot be decompressed beyond byte 0 of its text: invalid gzip header; the rest of \
                   the file is not read";
    assert_eq!(Pipeline::new("Fail").run(&place).error(), format!("data/a.json.gz, line 1: {message}\n  {HELP}"));
    let kept = Pipeline::new("DeadLetter").run(&place);
    kept.completed();
    assert_eq!((kept.rows, &kept.dead[0]["message"]), (good(), &json!(message)));
    let dropped = Pipeline::new("Drop").run(&place);
    dropped.completed();
    assert_eq!((dropped.rows, dropped.stderr.matches(message).count()), (good(), 1), "its name is told");
}

fn parquet(place: &Workplace, name: &str, columns: &[(&str, ArrayRef)]) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, values)| (*name, values.clone(), true)));
    let batch = batch.expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("memory");
    write_bytes(place, name, &writer.into_inner().expect("memory"));
}

fn good_columns() -> [(&'static str, ArrayRef); 4] {
    use std::sync::Arc;
    [
        ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]))),
        ("zone", Arc::new(arrow::array::Int32Array::from(vec![7, 0, 8]))),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![1_704_067_200_000, 1_704_067_200_000, 1_704_067_201_000])),
        ),
        ("note", Arc::new(StringArray::from(vec!["a", "-", "b"]))),
    ]
}

fn of_parquet(on_error: &'static str) -> Pipeline {
    Pipeline { format: "parquet: {}", ..Pipeline::new(on_error) }
}

#[test]
fn a_parquet_file_of_another_schema_is_one_bad_record() {
    let place = Workplace::new();
    let [id, zone, at, note] = good_columns();
    parquet(&place, "data/b.parquet", &[id.clone(), zone.clone(), at.clone(), note.clone()]);
    let null = "column `id`: expected BIGINT, found null";
    for (columns, found) in [
        (vec![id.clone(), at.clone(), note.clone()], "expected INT, found no such column"),
        (
            vec![id.clone(), at, ("zone", note.1.clone()), note],
            "expected INT, found STRING (declare the type that the files have, and cast in the query)",
        ),
    ] {
        parquet(&place, "data/a.parquet", &columns);
        let message = format!("`data/a.parquet`, column `zone`: {found}; the file is not read");
        let failed = of_parquet("Fail").run(&place);
        let of_null = format!("data/b.parquet, row 2: {null}\n  {HELP}");
        let of_schema = format!("data/a.parquet, row 1: {message}\n  {HELP}");
        assert!([of_schema, of_null].contains(&failed.error().to_owned()), "{}", failed.error());

        let kept = of_parquet("DeadLetter").run(&place);
        kept.completed();
        assert_eq!((&kept.rows, kept.bad()), (&good(), &json!({ "Schema": 2 })));
        let mut messages: Vec<_> = kept.dead.iter().map(|letter| letter["message"].as_str().expect("text")).collect();
        messages.sort_unstable();
        assert_eq!(messages, [message.as_str(), null]);
        let dropped = of_parquet("Drop").run(&place);
        assert_eq!((&dropped.rows, dropped.bad()), (&good(), &json!({ "Schema": 2 })));
    }
}

#[test]
fn a_file_that_is_no_parquet_is_one_bad_record() {
    for bytes in [&b""[..], b"PAR1", b"no Parquet at all, but long enough for a footer"] {
        let place = Workplace::new();
        write_bytes(&place, "data/a.parquet", bytes);
        let failed = of_parquet("Fail").run(&place);
        let start = "data/a.parquet, row 1: `data/a.parquet` cannot be read as Parquet: ";
        assert!(failed.error().starts_with(start), "{}", failed.error());
        assert!(failed.error().ends_with(&format!("; the file is not read\n  {HELP}")), "{}", failed.error());
        parquet(&place, "data/b.parquet", &good_columns());
        let dropped = of_parquet("Drop").run(&place);
        dropped.completed();
        assert_eq!((&dropped.rows, dropped.bad()), (&good(), &json!({ "Decode": 1, "Schema": 1 })));
    }
}

#[test]
fn a_csv_file_with_another_header_is_one_bad_record_and_an_empty_one_is_none() {
    let place = Workplace::new();
    let csv = |on_error| Pipeline { format: "csv: { header: true }", ..Pipeline::new(on_error) };
    place.write("data/a.csv", "id,zone,when,note\n1,7,2024-01-01T00:00:00Z,a\n");
    place.write("data/b.csv", "id,zone,at,note\n1,7,2024-01-01T00:00:00Z,a\n2,8,2024-01-01T00:00:01Z,b");
    place.write("data/c.csv", "");
    let message = "column `at`: expected in the header of `data/a.csv`, found id, zone, when, note (mend its `from`, or give it \
         a `default` where older files lack it); the file is not read";
    assert_eq!(csv("Fail").run(&place).error(), format!("data/a.csv, line 1: {message}\n  {HELP}"));
    let kept = csv("DeadLetter").run(&place);
    kept.completed();
    assert_eq!((kept.rows, kept.dead.len(), &kept.dead[0]["message"]), (good(), 1, &json!(message)));
}

#[test]
fn empty_files_and_last_lines_without_a_newline_are_as_good_as_others() {
    let place = Workplace::new();
    place.write("data/a.json", "");
    place.write("data/b.json", &format!("{FIRST}\n{LAST}"));
    place.write("data/c.json", "\n\n");
    write_bytes(&place, "data/d.json.gz", &gzip(""));
    write_bytes(&place, "data/e.json.gz", b"");
    for pipeline in [Pipeline::new("Fail"), Pipeline::windowed("Fail")] {
        let ran = pipeline.run(&place);
        ran.completed();
        assert_eq!((ran.rows.len(), ran.bad()), (2, &json!({})));
    }
}

#[test]
fn no_file_that_matches_is_an_error_unless_that_is_allowed() {
    let place = Workplace::new();
    let ran = Pipeline::new("Drop").run(&place);
    let error = "StreamSource/taxi-trips: `files.url` `data/*`: no file matches (relative paths start from `.`) (correct the \
                 path, or set `files.allowEmpty: true`)";
    assert_eq!(ran.error(), error);
    for pipeline in [Pipeline::new("Fail"), Pipeline::windowed("Fail")] {
        let ran = Pipeline { files: "url: data/*, allowEmpty: true".to_owned(), ..pipeline }.run(&place);
        ran.completed();
        assert_eq!(ran.rows.len(), 0);
    }
}

#[test]
fn a_sign_that_begins_a_pattern_is_named_where_no_file_matches() {
    let place = Workplace::new();
    place.write("in[1].json", &format!("{FIRST}\n{LAST}\n"));
    let of = |url: &str| Pipeline { files: format!("url: \"{url}\""), ..Pipeline::new("Fail") };
    let ran = of("in[1].json").run(&place);
    let hint = "(correct the path (`[` begins a pattern: where it is part of the name, write `[[]`), or set \
                `files.allowEmpty: true`)";
    assert!(ran.error().ends_with(hint), "{}", ran.error());
    let ran = of("in[[]1].json").run(&place);
    ran.completed();
    assert_eq!(ran.rows, good());
}

#[test]
fn a_pipe_is_no_file() {
    let place = Workplace::new();
    place.write("data/a.json", "");
    let pipe = place.path("data/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let ran = Pipeline { files: "url: data/pipe".to_owned(), ..Pipeline::new("Fail") }.run(&place);
    let expected =
        "StreamSource/taxi-trips: listing `data/pipe`: expected a file or a folder, found a pipe, socket or device";
    assert_eq!(ran.error(), expected);

    std::os::unix::fs::symlink("nowhere", place.path("data/link")).expect("a link");
    let ran = Pipeline::new("Fail").run(&place);
    ran.completed();
    for told in [
        "`data/pipe` is passed over: it is a pipe, socket or device",
        "`data/link` is passed over: it is a link to what does not exist",
    ] {
        assert_eq!(ran.stderr.matches(told).count(), 1, "{}", ran.stderr);
    }
}
