use super::super::load::load;
use super::*;
use crate::connector::SourceConnector;
use tempfile::TempDir;

const PARTS: &str = r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: taxi-trips }
spec:
  files: { url: data }
  schema:
  - { name: id, type: BIGINT NOT NULL, from: trip_id }
  - { name: at, type: TIMESTAMP(3), nullable: false }
  - { name: file, type: STRING, metadata: file }
  - { name: note, type: STRING, default: none }
  watermark: { column: at }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: out.a }
spec: { blackhole: {} }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: bad }
spec: { stdout: {} }
"#;

/// Resolves `PARTS`, after `edits` in them, and a pipeline with this spec.
fn resolved(edits: &[(&str, &str)], pipeline: &str) -> Result<Vec<ResolvedPipeline>, String> {
    let folder = TempDir::new().unwrap();
    let mut parts = PARTS.to_owned();
    for (from, to) in edits {
        assert!(parts.contains(from), "{from}");
        parts = parts.replace(from, to);
    }
    let indented = pipeline.replace('\n', "\n  ");
    let text = format!(
        "{parts}---\napiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: p }}\nspec:\n  {indented}\n"
    );
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, text).unwrap();
    let manifests = load(&[file]).unwrap_or_else(|problems| panic!("{problems}"));
    resolve(&manifests).map_err(|problems| {
        let told = |problem: &Problem| {
            let help = problem.help.as_ref().map(|help| format!(" / {help}")).unwrap_or_default();
            format!("{}:{} {}: {}{help}", problem.line, problem.column, problem.path, problem.message)
        };
        problems.as_slice().iter().map(told).collect::<Vec<_>>().join("\n")
    })
}

const PIPELINE: &str = "sources: [{ name: taxi-trips, as: trips }]\nsinks: [{ name: out.a }]\nsql: SELECT 1";

#[test]
fn a_pipeline_carries_its_sources_and_sinks_under_their_names_in_sql() {
    let dead_letter = format!("{PIPELINE}\ndeadLetter: {{ sink: bad }}\ndelivery: AtLeastOnce");
    let pipeline = resolved(&[], &dead_letter).unwrap().remove(0);
    assert_eq!((pipeline.resource().as_str(), pipeline.sql.as_str()), ("StreamPipeline/p", "SELECT 1"));
    let source = &pipeline.sources[0];
    assert_eq!((source.alias.as_str(), source.name.as_str()), ("trips", "taxi-trips"));
    assert!(matches!(source.spec.connector(), Some(SourceConnector::Files(_))));
    let sink = &pipeline.sinks[0];
    assert_eq!((sink.alias.as_str(), sink.delivery), ("out_a", Delivery::AtLeastOnce));
    assert_eq!(pipeline.dead_letter.unwrap().name, "bad");
}

#[test]
fn columns_carry_their_types_inputs_and_defaults() {
    let pipeline = resolved(&[], PIPELINE).unwrap().remove(0);
    let columns = &pipeline.sources[0].columns;
    let column = |name: &str, data_type, nullable, input| ResolvedColumn {
        name: name.into(),
        data_type,
        nullable,
        input,
        default: None,
    };
    assert_eq!(columns[0], column("id", ColumnType::BigInt, false, ColumnInput::Field("trip_id".into())));
    assert_eq!(columns[1], column("at", ColumnType::Timestamp(3), false, ColumnInput::Field("at".into())));
    assert_eq!(columns[2], column("file", ColumnType::String, true, ColumnInput::Metadata("file".into())));
    assert_eq!(columns[3].default, Some("none".into()));
}

#[test]
fn each_broken_reference_is_told_at_its_place() {
    for (edits, pipeline, expected) in [
        (
            vec![],
            PIPELINE.replace("name: taxi-trips", "name: taxi-trip"),
            "28:21 spec.sources[0].name: there is no StreamSource `taxi-trip` in namespace default / did you mean \
             taxi-trips?",
        ),
        (
            vec![],
            PIPELINE.replace("as: trips", "as: out_a"),
            "29:11 spec.sinks[0]: `out_a` is already the name in SQL of spec.sources[0] / give one of them another name \
             with as",
        ),
        (
            vec![("column: at", "column: id")],
            PIPELINE.to_owned(),
            "12:24 spec.watermark.column: a watermark's column must be a TIMESTAMP, and `id` is BIGINT NOT NULL / \
             declare it as TIMESTAMP(3), or name another column",
        ),
        (
            vec![("column: at", "column: att")],
            PIPELINE.to_owned(),
            "12:24 spec.watermark.column: there is no column `att` / did you mean at?",
        ),
        (
            vec![("metadata: file", "metadata: offset")],
            PIPELINE.to_owned(),
            "10:43 spec.schema[2].metadata: files has no metadata `offset` / expected file or position",
        ),
        (
            vec![("BIGINT NOT NULL", "BIGINTS")],
            PIPELINE.to_owned(),
            "8:23 spec.schema[0].type: `BIGINTS` is no type; did you mean BIGINT?",
        ),
        (
            vec![("default: none", "default: { a: b }")],
            PIPELINE.to_owned(),
            "11:42 spec.schema[3].default: a default is a text, a number, true or false",
        ),
        (
            vec![("metadata: file }", "metadata: file, default: a }")],
            PIPELINE.to_owned(),
            "10:58 spec.schema[2].default: a metadata column always has a value: default has no meaning with metadata",
        ),
        (
            vec![("watermark: { column: at }", "watermark: { column: at, late: DeadLetter }")],
            PIPELINE.to_owned(),
            "28:3 spec.deadLetter: StreamSource/taxi-trips says DeadLetter, and the pipeline has no deadLetter.sink / \
             add deadLetter: { sink: NAME }",
        ),
        (
            vec![("spec: { blackhole: {} }", "spec: { blackhole: {}, onError: DeadLetter }")],
            PIPELINE.to_owned(),
            "28:3 spec.deadLetter: StreamSink/out.a says DeadLetter, and the pipeline has no deadLetter.sink / add \
             deadLetter: { sink: NAME }",
        ),
        (
            vec![("spec: { stdout: {} }", "spec: { stdout: {}, onError: DeadLetter }")],
            format!("{PIPELINE}\ndeadLetter: {{ sink: bad }}"),
            "31:23 spec.deadLetter.sink: StreamSink/bad takes dead letters, so it cannot make any / set its onError to \
             Fail or Drop",
        ),
    ] {
        assert_eq!(resolved(&edits, &pipeline).unwrap_err(), expected);
    }
}

#[test]
fn two_sinks_of_a_pipeline_do_not_share_a_folder() {
    let (out, bad) = ("spec: { blackhole: {} }", "spec: { stdout: {} }");
    let both = PIPELINE.replace("[{ name: out.a }]", "[{ name: out.a }, { name: bad }]");
    let apart = format!("{PIPELINE}\ndeadLetter: {{ sink: bad }}");
    let same = format!("{PIPELINE}\ndeadLetter: {{ sink: out.a }}");
    let help = "/ give each sink of a pipeline a folder of its own";
    for (one, other) in [("rows", "rows"), ("rows", "./rows/"), ("a/./rows", "a//rows")] {
        let one = format!("spec: {{ files: {{ url: {one} }} }}");
        let other = format!("spec: {{ files: {{ url: {other} }} }}");
        let edits = [(out, one.as_str()), (bad, other.as_str())];
        let problem = resolved(&edits, &both).unwrap_err();
        assert!(problem.starts_with("29:36 spec.sinks[1].name: StreamSink/bad writes to `"), "{problem}");
        assert!(problem.ends_with(&format!("rows`, as spec.sinks[0].name does {help}")), "{problem}");
        let problem = resolved(&edits, &apart).unwrap_err();
        assert!(problem.starts_with("31:23 spec.deadLetter.sink: StreamSink/bad writes to `"), "{problem}");
        let problem = resolved(&edits, &same).unwrap_err();
        assert!(problem.starts_with("31:23 spec.deadLetter.sink: StreamSink/out.a writes to `"), "{problem}");
    }
    let s3 = |prefix: &str| format!("spec: {{ files: {{ url: \"s3://b/{prefix}\" }} }}");
    let problem = resolved(&[(out, &s3("x")), (bad, &s3("x/"))], &both).unwrap_err();
    assert_eq!(
        problem,
        format!("29:36 spec.sinks[1].name: StreamSink/bad writes to `s3://b/x`, as spec.sinks[0].name does {help}")
    );
    assert!(resolved(&[(out, &s3("x")), (bad, &s3("y"))], &both).is_ok());
    assert!(resolved(&[], &same).is_ok(), "what holds no files may be shared");
}

#[test]
fn a_place_in_the_sql_is_told_as_a_place_in_the_file() {
    let block = PIPELINE.replace("sql: SELECT 1", "sql: |\n  SELECT 1\n    FROM trips");
    let pipeline = resolved(&[], &block).unwrap().remove(0);
    let problem = pipeline.sql_problem(2, 8, "no table `trips`", Some("declare it".into()));
    assert_eq!((problem.line, problem.column, problem.path.as_str()), (32, 12, "spec.sql"));
    assert_eq!(problem.help.as_deref(), Some("declare it"));
}

#[test]
fn sql_may_come_from_a_config_map_and_keeps_its_places_there() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: m }\ndata:\n  a.sql: |\n    SELECT\n      x\n---\n";
    let parts = format!("{map}apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: taxi-trips }}");
    let edits =
        [("apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: { name: taxi-trips }", parts.as_str())];
    let from = PIPELINE.replace("sql: SELECT 1", "sqlFrom: { configMapKeyRef: { name: m, key: a.sql } }");
    let pipeline = resolved(&edits, &from).unwrap().remove(0);
    assert_eq!(pipeline.sql, "SELECT\n  x\n");
    let problem = pipeline.sql_problem(2, 3, "no column `x`", None);
    assert_eq!((problem.resource.as_str(), problem.path.as_str()), ("ConfigMap/m", "data[a.sql]"));
    assert_eq!((problem.line, problem.column), (8, 7));
    assert_eq!(pipeline.problem("spec.sinks[0]", "x", None).line, 37);
}

#[test]
fn commits_are_no_further_apart_than_a_transaction_of_kafka_may_be_open() {
    let kafka = [("spec: { blackhole: {} }", "spec: { kafka: { brokers: [\"k:9092\"], topic: t } }")];
    let every = |every: &str, more: &str| format!("{PIPELINE}\nstate: {{ commitEvery: {every} }}{more}");
    assert!(resolved(&kafka, &every("5m", "")).is_ok());
    let told = resolved(&kafka, &every("301s", "")).unwrap_err();
    assert!(told.contains("spec.state.commitEvery: expected at most 5m with StreamSink/out.a"), "{told}");
    assert!(told.contains("found 5m1s"), "{told}");
    assert!(resolved(&kafka, &every("301s", "\ndelivery: AtLeastOnce")).is_ok(), "no row is in a transaction");
    assert!(resolved(&[], &every("1h", "")).is_ok(), "there is none");
}

/// What is understood of a pipeline: sources and sinks; and what is not: names, and whether there may be others.
type Understood = (Vec<String>, Vec<String>, Option<(Vec<String>, bool)>);

fn read(text: &str) -> Vec<Understood> {
    let (pipelines, problems) = super::super::load::read_pipelines_of_text(std::path::Path::new("a.yaml"), text);
    let is_whole = pipelines.iter().all(|pipeline| pipeline.unread.is_none());
    assert!(is_whole || !problems.is_empty(), "what is not understood is told");
    let told = |pipeline: ResolvedPipeline| {
        let sources = pipeline.sources.into_iter().map(|source| source.alias).collect();
        let sinks = pipeline.sinks.into_iter().map(|sink| sink.alias).collect();
        let unread = pipeline.unread.map(|unread| (unread.names.into_iter().collect(), unread.others));
        (sources, sinks, unread)
    };
    pipelines.into_iter().map(told).collect()
}

#[test]
fn what_sql_sees_of_a_pipeline_is_understood_as_far_as_it_can_be() {
    let whole = format!(
        "{PARTS}---\napiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{ name: p }}\nspec:\n  {}\n",
        PIPELINE.replace('\n', "\n  ")
    );
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let (trips, out) = (owned(&["trips"]), owned(&["out_a"]));
    assert_eq!(read(&whole), [(trips.clone(), out.clone(), None)]);
    for (from, to) in [
        ("files: { url: data }", "files: { url: data, wach: 5s }"),
        ("files: { url: data }", "files: { url: data, watch: 0s }"),
        ("files: { url: data }", "files: {}"),
        ("watermark: { column: at }", "watermark: { column: at, delay: soon }"),
        ("type: STRING, default: none", "type: STRING, default: { a: b }"),
        ("spec: { blackhole: {} }", "spec: { blackhole: {}, onErorr: Drop }"),
        ("sql: SELECT 1", "sql: SELECT 1\n  state: { commitEvery: 0s }"),
        ("sql: SELECT 1", "sql: SELECT 1\n  stat: {}"),
        ("sql: SELECT 1", "sql: SELECT 1\n  deadLetter: { sinc: bad }"),
    ] {
        let text = whole.replacen(from, to, 1);
        assert_eq!(read(&text), [(trips.clone(), out.clone(), Some((vec![], false)))], "{to}");
    }
    for (from, to) in [
        ("type: BIGINT NOT NULL", "type: BIGINTS"),
        ("type: TIMESTAMP(3)", "typ: TIMESTAMP(3)"),
        ("watermark: { column: at }", "watermark: { colum: at }"),
        ("watermark: { column: at }", "watermarks: { column: at }"),
        ("schema:", "schemas:"),
    ] {
        let text = whole.replacen(from, to, 1);
        assert_eq!(read(&text), [(vec![], out.clone(), Some((trips.clone(), false)))], "{to}");
    }
    for (from, to) in [("name: taxi-trips, as", "name: taxi-trip, as"), ("kind: StreamSource", "kind: StreamSorce")] {
        let text = whole.replacen(from, to, 1);
        assert_eq!(read(&text), [(vec![], out.clone(), Some((trips.clone(), false)))], "{to}");
    }
    let nowhere = whole.replacen("sinks: [{ name: out.a }]", "sinks: [{ name: out.b }]", 1);
    assert_eq!(read(&nowhere), [(trips.clone(), vec![], Some((owned(&["out_b"]), true)))]);
    let twice = whole.replacen("as: trips", "as: out_a", 1);
    assert_eq!(read(&twice), [(vec![], vec![], Some((out.clone(), false)))]);
    let unsure = whole.replacen("as: trips", "as: trips, a: b", 1);
    assert_eq!(read(&unsure), [(trips, out, Some((vec![], true)))]);
    assert!(read(&whole.replacen("sql: SELECT 1", "sqll: SELECT 1", 1)).is_empty());
}

#[test]
fn nothing_is_said_to_be_missing_that_may_stand_in_what_could_not_be_read() {
    let pipeline = "apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: { name: p }\nspec: { sources: [{ name: s }], \
                    sinks: [{ name: o }], sql: SELECT 1 }\n";
    let told = |text: &str| {
        let (_, problems) = super::super::load::read_pipelines_of_text(std::path::Path::new("a.yaml"), text);
        problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(told(pipeline).contains("there is no StreamSource `s`"), "{}", told(pipeline));
    for unread in [
        "spec: [",
        "kind: StreamSource",
        "apiVersion: thalweg.dev/v1alpha1\nkind: Stream\nmetadata: { name: s }",
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nspec: { generator: { taxi: {} } }",
    ] {
        let told = told(&format!("{pipeline}---\n{unread}\n"));
        assert!(!told.is_empty() && !told.contains("there is no Stream"), "{unread}: {told}");
    }
}
