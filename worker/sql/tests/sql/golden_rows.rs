//! `tests/slt/*.slt`: a statement, the rows of its source, the rows that its transforms give.
//!
//! ```text
//! # A sentence about behaviour
//! INSERT INTO out SELECT …
//! ---- bid
//! {"auction":1}
//! ----
//! {"auction":1}
//! ! row 2: message          (a row that fails)
//! ```
//!
//! Write new expectations with `UPDATE_SLT=1 cargo test -p thalweg-sql`, and read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use thalweg_sql::plan;
use thalweg_sql::stages::InputFrom;

use crate::support::{batch, catalog, lines, lookups, project, row_numbers};

#[test]
fn every_statement_gives_the_rows_that_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut wrong = String::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        let found: Vec<String> = text.split("\n\n").filter(|case| !case.trim().is_empty()).map(run).collect();
        let found = format!("{}\n", found.join("\n\n"));
        if found == text {
            continue;
        }
        if std::env::var_os("UPDATE_SLT").is_some() {
            fs::write(&file, &found).expect("a file");
        }
        for (expected, found) in text.lines().zip(found.lines()).filter(|(expected, found)| expected != found) {
            let _ = writeln!(wrong, "{}\n  expected {expected}\n  found    {found}", file.display());
        }
        let _ = writeln!(wrong, "{}: differs", file.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A case with the rows that it gives now.
fn run(case: &str) -> String {
    let case = case.trim_end();
    let (sql, rest) = case.split_once("\n---- ").unwrap_or((case, "bid\n"));
    let (source, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    let input = rest.split("\n----").next().unwrap_or_default();
    let statement: String = sql.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let found = outcome(&statement, source, input);
    format!("{sql}\n---- {source}\n{input}\n----\n{found}").trim_end().to_owned()
}

fn outcome(statement: &str, source: &str, input: &str) -> String {
    let catalog = catalog();
    let planned = match plan(statement, &catalog) {
        Ok(planned) => planned,
        Err(problems) => return problems.iter().map(|problem| format!("! {problem}\n")).collect(),
    };
    let table = catalog.sources.iter().find(|table| table.name == source).expect("a source");
    let rows = batch(&table.schema, input);
    let mut out = String::new();
    for read in planned.stages.iter().flat_map(|stage| &stage.inputs) {
        if read.from == InputFrom::Source(source.to_owned()) {
            let transform = read.transform.bind(&lookups()).expect("lookup tables");
            let done = transform.apply(&project(&rows, &read.columns));
            check(&rows, &done);
            out.push_str(&lines(&done.batch));
            done.failed.iter().for_each(|(row, message)| {
                let _ = writeln!(out, "! row {}: {message}", row + 1);
            });
        }
    }
    out.trim_end().to_owned()
}

/// Rows come in the order of the input, and no row is both given and failed.
fn check(input: &RecordBatch, done: &thalweg_sql::transform::Transformed) {
    let rows = row_numbers(done.rows.as_ref(), done.batch.num_rows());
    assert_eq!(rows.len(), done.batch.num_rows());
    assert!(rows.is_sorted(), "{rows:?}");
    assert!(rows.iter().all(|row| (*row as usize) < input.num_rows()));
    assert!(done.failed.iter().all(|(row, _)| !rows.contains(row)));
}
