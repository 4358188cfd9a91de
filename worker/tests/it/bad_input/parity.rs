//! What `run` would refuse at its start is refused by `check` too, in the same words and at its place.

use super::{FIRST, Pipeline};
use crate::command::{Workplace, text};

/// The problem that all commands find with some manifests.
fn refused(manifests: &str) -> String {
    let place = Workplace::new();
    place.write("data/a.json", FIRST);
    place.write("p.yaml", manifests);
    let said = ["check", "run", "explain"].map(|command| {
        let output = place.run(&[command, "p.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", text(&output.stderr));
        text(&output.stderr)
    });
    assert!(said.iter().all(|other| *other == said[0]), "{said:#?}");
    assert!(!place.path("out").exists(), "nothing was run");
    said[0].trim_end().to_owned()
}

/// The problem after one edit of the manifests.
fn edited(from: &str, to: &str) -> String {
    let manifests = Pipeline::new("Fail").text();
    assert!(manifests.contains(from), "{from}");
    refused(&manifests.replacen(from, to, 1))
}

fn selecting(pipeline: Pipeline, select: &str) -> String {
    let sql = format!("INSERT INTO out SELECT {select} FROM trips");
    refused(&Pipeline { sql, ..pipeline }.text())
}

#[test]
fn settings_of_sources_and_sinks() {
    let note = "name: note, type: STRING";
    for (from, to, problem) in [
        (
            note,
            "name: note, type: INT, metadata: file",
            "p.yaml:11:7: StreamSource/taxi-trips spec.schema[3]: column `note`: this metadata is STRING, found INT",
        ),
        (
            "format: { json: {} }",
            "format: { json: { timestampFormat: yyyy-qq } }",
            "p.yaml:6:38: StreamSource/taxi-trips spec.format.json.timestampFormat: timestamp pattern `yyyy-qq`: expected y, \
             M, d, H, h, m, s, S, a, X or 'text', found 2 × `q`",
        ),
        (
            "url: data/*",
            "url: 'gs://b/x'",
            "p.yaml:5:17: StreamSource/taxi-trips spec.files.url: `gs://b/x`: the scheme `gs` is unknown; expected a path, \
             `file://`, `s3://`",
        ),
        (
            "url: out }",
            "url: 'gs://b/x' }",
            "p.yaml:19:23: StreamSink/out spec.files.url: `gs://b/x`: the scheme `gs` is unknown; expected a path, `file://`, \
             `s3://`",
        ),
        (
            "url: bad }",
            "url: bad, partitionBy: [zone] }",
            "p.yaml:24:41: StreamSink/bad spec.files.partitionBy: `zone`: there is no such column",
        ),
        (
            "files: { url: out }",
            "files: { url: out }, format: { json: { timestampFormat: EpochMillis } }",
            "p.yaml:19:65: StreamSink/out spec.format.json.timestampFormat: expected Iso8601 on a sink, found EpochMillis: \
             others are read, not written yet",
        ),
        (
            "url: out }",
            "url: data }",
            "p.yaml:19:23: StreamSink/out spec.files.url: StreamSource/taxi-trips would read what is written here\n  help: \
             write into a folder that its `files.url` does not mean",
        ),
        (
            "url: out }",
            "url: 'out/*' }",
            "p.yaml:19:23: StreamSink/out spec.files.url: `out/*`: a sink writes into one folder, and this is a pattern",
        ),
        (
            "commitEvery: 100ms",
            "url: 'gs://b/x'",
            "p.yaml:33:17: StreamPipeline/p spec.state.url: state URL `gs://b/x`: found `gs://`, expected a folder, or \
             s3://bucket/prefix",
        ),
    ] {
        assert_eq!(edited(from, to), problem);
    }
}

#[test]
fn types_that_a_format_or_a_folder_cannot_have() {
    let csv = |schema: &str| {
        let text = Pipeline { format: "csv: {}", ..Pipeline::new("Fail") }.text();
        refused(&text.replacen("name: note, type: STRING", schema, 1))
    };
    assert_eq!(
        csv("name: note, type: ARRAY<INT>"),
        "p.yaml:11:7: StreamSource/taxi-trips spec.schema[3]: column `note`: ARRAY<INT> is not a type of CSV\n  help: `format: \
         json` has it"
    );
    let to = |out: &str| Pipeline { out: out.to_owned(), ..Pipeline::new("Fail") };
    assert_eq!(
        selecting(to("files: { url: out }, format: { csv: {} }"), "id, ARRAY[id] AS ids"),
        "p.yaml:19:7: StreamSink/out spec: column `ids`: ARRAY<BIGINT> cannot be written as CSV\n  help: `format: json` has it"
    );
    assert_eq!(
        selecting(to("files: { url: out, partitionBy: ['date(note)'] }"), "id, note"),
        "p.yaml:19:41: StreamSink/out spec.files.partitionBy: `note`: expected a timestamp, found STRING"
    );
    assert_eq!(
        selecting(to("files: { url: out, partitionBy: [note] }"), "note"),
        "p.yaml:19:41: StreamSink/out spec.files.partitionBy: note: expected a column that is not in it, for the files to hold"
    );
}

#[test]
fn columns_that_no_record_can_be_made_of() {
    let to = |kafka: &str| Pipeline {
        out: format!("kafka: {{ brokers: ['kafka:9092'], topic: out, {kafka} }}"),
        bad: "kafka: { brokers: ['kafka:9092'], topic: bad }".to_owned(),
        ..Pipeline::new("Fail")
    };
    let missing = refused(&to("headers: [trace]").text());
    assert!(missing.contains("the sink `out` needs a column `trace`, which the query does not give"), "{missing}");
    for (kafka, select, problem) in [
        (
            "headers: [ids]",
            "id, ARRAY[id] AS ids",
            "StreamSink/out spec.kafka.headers: `ids`: expected a plain value, found ARRAY<BIGINT>\n  help: select what it \
             holds, such as `map['key'] AS name`",
        ),
        (
            "key: [id], headers: [note], tombstones: true",
            "id, note",
            "StreamSink/out spec.kafka.tombstones: every row would be one, for all columns are of the key or headers",
        ),
        (
            "tombstones: true",
            "id, note",
            "StreamSink/out spec.kafka: tombstones need a key, which says what is deleted",
        ),
        (
            "key: [id], headers: [id]",
            "id, note",
            "StreamSink/out spec.kafka: a column of the key is no header as well: leave it out of one of them",
        ),
    ] {
        let said = selecting(to(kafka), select);
        assert!(said.starts_with("p.yaml:19:") && said.ends_with(problem), "{said}");
    }
    // Dead letters have columns of their own.
    let bad = "kafka: { brokers: ['kafka:9092'], topic: bad, headers: [zone] }".to_owned();
    let letters = refused(&Pipeline { bad, ..to("key: [id]") }.text());
    assert!(letters.contains("StreamSink/bad spec.kafka.headers: `zone` is no column of the rows"), "{letters}");
}

#[test]
fn a_text_without_statements_and_manifests_without_a_pipeline() {
    let empty = refused(&Pipeline { sql: String::new(), ..Pipeline::new("Fail") }.text());
    assert_eq!(
        empty,
        "p.yaml:34:8: StreamPipeline/p spec.sql: the text is empty\n  help: write INSERT INTO sink SELECT … FROM source"
    );
    let place = Workplace::new();
    let manifests = Pipeline::new("Fail").text();
    let sources = manifests.rsplit_once("---").expect("several").0.to_owned();
    place.write("p.yaml", &sources);
    for command in ["run", "explain"] {
        let output = place.run(&[command, "p.yaml"]);
        let said = "error: there is no StreamPipeline in p.yaml\n  help: give its manifest too\n";
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(2), said), "{command}");
    }
    let output = place.run(&["check", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("no pipeline"), "{}", text(&output.stdout));
}
