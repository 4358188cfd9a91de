use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SINK: &str =
    "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSink\nmetadata: { name: out }\nspec: { stdout: {} }\n";

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// The problems of a path, without the folder's own name.
fn problems(folder: &TempDir, path: &str) -> String {
    let path = if path.is_empty() { folder.path().to_owned() } else { folder.path().join(path) };
    let problems = load(&[path]).expect_err("there are problems").to_string();
    problems.replace(&format!("{}", folder.path().display()), "FOLDER")
}

#[test]
fn a_folder_gives_its_manifests_and_a_note_on_what_is_skipped() {
    let folder = folder(&[
        ("b.yml", b"apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n---\n---\n# nothing\n"),
        ("a.yaml", format!("\u{feff}{SINK}").as_bytes()),
        ("c.json", b"{\n\t\"apiVersion\":\t\"v1\",\t\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"sql\"},\"data\":{\"a\":\"SELECT 1\"}}"),
        ("d.txt", b"not: [read"),
    ]);
    std::fs::create_dir(folder.path().join("within.yaml")).unwrap();
    let manifests = load(&[folder.path().to_owned()]).unwrap();
    assert_eq!(manifests.sinks[0].resource(), "StreamSink/out");
    assert_eq!(manifests.sinks[0].namespace, "default");
    assert_eq!(manifests.sinks[0].origin.folder(), folder.path());
    assert_eq!(manifests.config_maps[0].spec["a"], "SELECT 1");
    let note = manifests.notes.join("\n").replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(note, "b.yml:1: Deployment/web is none of thalweg.dev: skipped");
}

#[test]
fn the_items_of_a_list_are_resources() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", SINK.trim_end().replace('\n', "\n  "));
    let folder = folder(&[("a.yaml", list.as_bytes())]);
    let manifests = load(&[folder.path().join("a.yaml")]).unwrap();
    assert_eq!(manifests.sinks[0].position("spec.stdout"), Some(Position { line: 7, column: 19 }));
}

#[test]
fn defaults_of_the_schema_are_filled_in() {
    let folder = folder(&[("a.yaml", SINK.replace("stdout: {}", "files: { url: out, roll: }").as_bytes())]);
    let manifests = load(&[folder.path().to_owned()]).unwrap();
    let roll = &manifests.sinks[0].spec.files.as_ref().unwrap().roll;
    assert_eq!((roll.every.to_string(), roll.size.to_string()), ("1m".into(), "128Mi".into()));
}

#[test]
fn what_cannot_be_read_is_a_problem_of_the_file() {
    let folder = folder(&[("a.yaml", b"a: 1\nb: \xff\n")]);
    assert_eq!(problems(&folder, "a.yaml"), "FOLDER/a.yaml:2:4: the file is not UTF-8 from here on");
    assert!(problems(&folder, "none.yaml").starts_with("FOLDER/none.yaml: cannot be read: "));
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    assert_eq!(problems(&folder, "empty"), "FOLDER/empty: this folder holds no *.yaml, *.yml or *.json");
    std::fs::write(folder.path().join("long.yaml"), vec![b' '; yaml::MAX_BYTES + 1]).unwrap();
    assert_eq!(problems(&folder, "long.yaml"), "FOLDER/long.yaml: the file is longer than 4 MiB; split it");
}

#[test]
fn no_problem_of_a_resource_hides_another() {
    let text = r#"
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: s, lables: { a: b } }
spec:
  files: { url: data, watch: 0s }
  schema: [{ name: id, type: BIGINT }]
  watermark: { column: id, delay: soon }
  maxRecordBytes: 0
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: t }
spec:
  files: { url: data }
  schema: [{ name: id, type: BIGINT }]
  watermark: { column: at, late: never }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: o }
spec: { files: { url: out, roll: { every: 0s, size: 0 } } }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: p }
spec:
  sources: [{ name: s }]
  sinks: [{ name: o }]
  sql: SELECT 1
  state: { keyGroups: 0, url: "ftp://x", commitEvery: 0s }
"#;
    let told = pipelines_of_text(Path::new("a.yaml"), text).expect_err("there are problems").to_string();
    for problem in [
        "StreamSource/s metadata.lables: unknown field",
        "StreamSource/s spec.watermark.delay: ",
        "StreamSource/s spec.watermark.column: a watermark's column must be a TIMESTAMP, and `id` is BIGINT",
        "StreamSource/s spec.files.watch: expected at least 1ms, found 0s",
        "StreamSource/s spec.maxRecordBytes: expected 1 to 999999999999999, found 0",
        "StreamSource/t spec.watermark.late: ",
        "StreamSource/t spec.watermark.column: there is no column `at`",
        "StreamSink/o spec.files.roll.every: expected at least 1ms, found 0s",
        "StreamSink/o spec.files.roll.size: expected 1 to 999999999999999, found 0",
        "StreamPipeline/p spec.state.keyGroups: ",
        "StreamPipeline/p spec.state.url: state URL `ftp://x`: found `ftp://`, expected a folder, or s3://bucket/prefix",
        "StreamPipeline/p spec.state.commitEvery: expected at least 1ms, found 0s",
    ] {
        assert!(told.contains(problem), "{problem}\nis not in\n{told}");
    }
}

#[test]
fn a_text_without_a_value_is_not_to_be_an_object() {
    let text = "apiVersion: thalweg.dev/v1alpha1\nkind: StreamPipeline\nmetadata: { name: p }\nspec:\n  sources: [{ name: \
                s }]\n  sinks: [{ name: o }]\n  sql:\n";
    let told = pipelines_of_text(Path::new("a.yaml"), text).expect_err("there are problems").to_string();
    assert!(told.contains("`sql:` without a value means that it is absent; give it one"), "{told}");
}

#[test]
fn one_name_in_two_files_is_a_problem_unless_namespaces_differ() {
    let twice = folder(&[("a.yaml", SINK.as_bytes()), ("b.yaml", SINK.as_bytes())]);
    assert_eq!(
        problems(&twice, ""),
        "FOLDER/b.yaml:3:19: StreamSink/out metadata.name: StreamSink/out is given twice; the first one is at \
         FOLDER/a.yaml:1\n  help: rename or remove one of them"
    );
    let other = SINK.replace("name: out", "name: out, namespace: b");
    let apart = folder(&[("a.yaml", SINK.as_bytes()), ("b.yaml", other.as_bytes())]);
    assert_eq!(load(&[apart.path().to_owned()]).unwrap().sinks.len(), 2);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = folder(&[("a.yaml", &bytes)]);
        let _ = load_pipelines(&[folder.path().join("a.yaml")]);
    }

    #[test]
    fn no_spec_panics(spec in r#"[ {}\[\]:,a-z"'\n*&|>-]{0,120}"#, kind in "Stream(Source|Sink|Pipeline)") {
        let text = format!("apiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: a }}\nspec: {spec}\n");
        let folder = folder(&[("a.yaml", text.as_bytes())]);
        let _ = load_pipelines(&[PathBuf::from(folder.path())]);
    }
}
