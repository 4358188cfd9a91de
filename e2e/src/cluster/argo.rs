//! What Argo CD makes of a pipeline, by the health check that is shipped for it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What Argo CD calls the health of a StreamPipeline.
const CHECK: &str = "  resource.customizations.health.thalweg.dev_StreamPipeline: |";

/// The check, as it stands in the ConfigMap that is shipped.
fn check() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/argocd/argocd-cm.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().skip_while(|line| *line != CHECK).skip(1);
    let lines: Vec<_> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    assert!(!lines.is_empty(), "{} has no {CHECK}", path.display());
    lines.join("\n")
}

/// The health of an object, and what is said of it. It is asked of Lua 5.1, which is the language of Argo CD's interpreter.
///
/// # Panics
/// There is no Lua on the PATH, or the check fails, or it says what Argo CD does not know.
pub fn health(object: &Value) -> (String, String) {
    let script = format!(
        "obj = {}\nlocal function check()\n{}\nend\nlocal health = check()\nprint(health.status)\nio.write(health.message)",
        lua(object),
        check()
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &script).expect("written");
    let output = Command::new("lua5.1").arg(file.path()).output().expect("lua5.1 is on the PATH");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
    let (status, message) = said.split_once('\n').expect("a status and a message");
    assert!(["Healthy", "Progressing", "Degraded", "Suspended"].contains(&status), "{status}");
    (status.to_owned(), message.to_owned())
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    let list = |items: Vec<String>| format!("{{{}}}", items.join(", "));
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => list(items.iter().map(lua).collect()),
        Value::Object(fields) => {
            list(fields.iter().map(|(name, value)| format!("[{}] = {}", quoted(name), lua(value))).collect())
        }
    }
}

fn quoted(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
    format!("\"{bytes}\"")
}
