//! Records that are too long.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Child;

use serde_json::json;

use super::{Bad, FIRST, GOOD, HELP, LAST, Pipeline, costs_itself_only};
use crate::command::Workplace;

/// What a run may take of memory, whatever a record holds.
const MOST_KIB: u64 = 150 << 10;

#[test]
fn a_record_over_the_limit() {
    let raw = format!(r#"{{"id":3,"at":"2024-01-01T12:00:00Z","note":"{}"}}"#, "x".repeat(11 << 20));
    let message = format!("expected at most 10485760 bytes (`maxRecordBytes`), found a record of {}", raw.len() + 1);
    let bad = Bad {
        raw: raw.as_bytes(),
        shown: &raw,
        kept: 1 << 10,
        class: "Decode",
        place: ", line 2",
        message: &message,
        record_time: None,
    };
    costs_itself_only(&Workplace::new(), &bad);
}

#[test]
fn the_limit_is_the_one_that_the_source_says() {
    let place = Workplace::new();
    let long = format!(r#"{{"id":3,"at":"2024-01-01T12:00:00Z","note":"{}"}}"#, "x".repeat(2000));
    place.write("data/a.json", &format!("{FIRST}\n{long}\n{LAST}\n"));
    let pipeline = |limit: &str| Pipeline { more: format!("maxRecordBytes: {limit}"), ..Pipeline::new("Drop") };
    let ran = pipeline("1Ki").run(&place);
    assert_eq!((ran.bad(), ran.rows.len()), (&json!({ "Decode": 1 }), 2));
    let ran = pipeline("3Ki").run(&place);
    assert_eq!((ran.bad(), ran.rows.len()), (&json!({}), 3));
}

#[test]
fn a_record_of_100_mb_is_passed_over_without_holding_it() {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).expect("a folder");
    let mut file = BufWriter::new(File::create(place.path("data/a.json")).expect("a file"));
    writeln!(file, "{FIRST}").expect("written");
    write!(file, r#"{{"id":3,"at":"2024-01-01T12:00:00Z","note":""#).expect("written");
    let block = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| file.write_all(&block).expect("written"));
    write!(file, "\"}}\n{LAST}\n").expect("written");
    file.into_inner().expect("written");

    let failed = Pipeline::new("Fail").run(&place);
    let start =
        "data/a.json, line 2: expected at most 10485760 bytes (`maxRecordBytes`), found a record of 104857647\n";
    assert!(failed.error().starts_with(start) && failed.error().ends_with(HELP), "{}", failed.error());

    let kept = Pipeline::new("DeadLetter").run(&place);
    kept.completed();
    assert_eq!((kept.rows.as_slice(), kept.dead.len()), (&GOOD.map(str::to_owned)[..], 1));
    assert_eq!(kept.dead[0]["raw"].as_str().map(str::len), Some(1024));
    let peak = peak_kib(place.start(&["run", "p.yaml"]));
    assert!((1..MOST_KIB).contains(&peak), "{peak} KiB");
    println!("peak {peak} KiB");
}

/// The most memory that a process ever held, until its end.
fn peak_kib(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::yield_now();
    }
    peak
}
