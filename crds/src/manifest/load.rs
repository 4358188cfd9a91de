//! Files and folders of manifests, as typed items.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check::{self, Finding, Refused};
use super::place::{Origin, Places, Position};
use super::problem::{Problem, Problems};
use super::resolve::{self, ResolvedPipeline, resolve_into};
use super::yaml::{self, Node, Tree};
use crate::definition;
use crate::{API_VERSION, GROUP, PipelineSpec, SinkSpec, SourceSpec};

/// The keys of a ConfigMap, for `sqlFrom`.
pub type ConfigMap = BTreeMap<String, String>;

/// The namespace of a manifest that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One resource of a manifest.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// Where it begins.
    pub origin: Origin,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: T,
    places: Arc<Places>,
}

impl<T> Item<T> {
    /// `Kind/name`.
    pub fn resource(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// Where the value of a field begins, such as `spec.sql`; `None` if it is not written.
    pub fn position(&self, path: &str) -> Option<Position> {
        self.places.position(path)
    }

    /// Where a character stands in the file that has this line and column (from 1) in the text of a field.
    pub fn position_in_text(&self, path: &str, line: usize, column: usize) -> Option<Position> {
        self.places.position_in_text(path, line, column)
    }

    /// A problem at a field, or at the nearest one around it that is written.
    pub fn problem(&self, path: &str, message: impl Into<String>, help: Option<String>) -> Problem {
        let at = self.places.nearest(path).unwrap_or(Position { line: self.origin.line, column: self.origin.column });
        self.problem_at(at, path, message.into(), help)
    }

    /// A problem at a character of the text of a field.
    pub fn problem_in_text(&self, path: &str, line: usize, column: usize, message: impl Into<String>) -> Problem {
        match self.position_in_text(path, line, column) {
            Some(at) => self.problem_at(at, path, message.into(), None),
            None => self.problem(path, message, None),
        }
    }

    fn problem_at(&self, at: Position, path: &str, message: String, help: Option<String>) -> Problem {
        Problem {
            resource: self.resource(),
            file: self.origin.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_owned(),
            message,
            help,
        }
    }
}

/// What was found in files and folders.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// `StreamSource`s.
    pub sources: Vec<Item<SourceSpec>>,
    /// `StreamSink`s.
    pub sinks: Vec<Item<SinkSpec>>,
    /// `StreamPipeline`s.
    pub pipelines: Vec<Item<PipelineSpec>>,
    /// ConfigMaps, which may hold SQL.
    pub config_maps: Vec<Item<ConfigMap>>,
    /// What was skipped, in a sentence each.
    pub notes: Vec<String>,
    /// Resources that exist and have problems: (kind, namespace, name).
    broken: HashSet<(String, String, String)>,
    /// What is understood of them.
    pub(super) rests: Rests,
    /// Whether something could not be read so far that its kind and name are known.
    is_cut: bool,
}

/// What is understood of resources with problems of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Rests {
    pub(super) sources: Vec<Rest<SourceSpec>>,
    pub(super) sinks: Vec<Rest<SinkSpec>>,
    pub(super) pipelines: Vec<Rest<PipelineSpec>>,
}

/// A resource without the fields that its problems are about.
#[derive(Clone, Debug)]
pub(super) struct Rest<T> {
    /// What is left.
    pub(super) item: Item<T>,
    /// The fields, such as `spec.watermark.delay`.
    pub(super) amiss: Vec<String>,
}

impl Manifests {
    /// Whether a resource exists, but has problems of its own.
    pub(super) fn is_broken(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.broken.contains(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    /// Whether a resource that was not found may exist, in what could not be read.
    pub(super) fn may_exist(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.is_cut || self.is_broken(kind, namespace, name)
    }
}

/// Reads files and folders (`*.yaml`, `*.yml`, `*.json`; not the folders within). Every problem, or the manifests.
pub fn load(paths: &[PathBuf]) -> Result<Manifests, Problems> {
    let (manifests, problems) = read(paths);
    Problems::from_list(problems).map_or(Ok(manifests), Err)
}

/// [`load`], then [`resolve`](super::resolve()): every problem of both at once, or the pipelines.
pub fn load_pipelines(paths: &[PathBuf]) -> Result<(Manifests, Vec<ResolvedPipeline>), Problems> {
    let (manifests, pipelines, problems) = read_pipelines(paths);
    Problems::from_list(problems).map_or(Ok((manifests, pipelines)), Err)
}

/// [`load_pipelines`] as far as things are understood: every problem, and pipelines of which [`ResolvedPipeline::unread`] says what
/// is not.
pub fn read_pipelines(paths: &[PathBuf]) -> (Manifests, Vec<ResolvedPipeline>, Vec<Problem>) {
    let (manifests, mut problems) = read(paths);
    let pipelines = resolve_into(&manifests, &mut problems);
    (manifests, pipelines, problems)
}

/// Reads what can be read, and tells what cannot.
pub fn read(paths: &[PathBuf]) -> (Manifests, Vec<Problem>) {
    let mut reader = Reader::default();
    for path in paths {
        match files(path) {
            Ok(files) => files.iter().for_each(|file| reader.file(file)),
            Err(problem) => reader.lose(*problem),
        }
    }
    (reader.manifests, reader.problems)
}

/// Reads a text that is no file on disk, and tells what cannot be read; problems name `file`.
pub fn read_text(file: &Path, text: &str) -> (Manifests, Vec<Problem>) {
    let mut reader = Reader::default();
    reader.text(file, text);
    (reader.manifests, reader.problems)
}

/// [`read_text`], then [`resolve`](super::resolve()): every problem of both at once, or the pipelines.
pub fn pipelines_of_text(file: &Path, text: &str) -> Result<Vec<ResolvedPipeline>, Problems> {
    let (pipelines, problems) = read_pipelines_of_text(file, text);
    Problems::from_list(problems).map_or(Ok(pipelines), Err)
}

/// [`read_pipelines`] of a text that is no file on disk.
pub fn read_pipelines_of_text(file: &Path, text: &str) -> (Vec<ResolvedPipeline>, Vec<Problem>) {
    let (manifests, mut problems) = read_text(file, text);
    let pipelines = resolve_into(&manifests, &mut problems);
    (pipelines, problems)
}

/// The files of a path, in the order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).map_err(|error| Box::new(file_problem(path, format!("cannot be read: {error}"))))?;
    let is_manifest = |file: &PathBuf| {
        let suffix = file.extension().and_then(|suffix| suffix.to_str());
        matches!(suffix, Some("yaml" | "yml" | "json")) && file.is_file()
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        return Err(Box::new(file_problem(path, "this folder holds no *.yaml, *.yml or *.json".to_owned())));
    }
    Ok(files)
}

fn file_problem(file: &Path, message: String) -> Problem {
    Problem {
        resource: String::new(),
        file: file.to_owned(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
        help: None,
    }
}

/// Where resources of a kind go: whole ones, and what is understood of others.
type Lists<T> = fn(&mut Manifests) -> (&mut Vec<Item<T>>, &mut Vec<Rest<T>>);

#[derive(Default)]
struct Reader {
    manifests: Manifests,
    problems: Vec<Problem>,
    seen: BTreeMap<(String, String, String), Origin>,
}

/// One resource before it is checked.
struct Resource<'a> {
    root: &'a Arc<Node>,
    kind: String,
    namespace: String,
    name: String,
    origin: Origin,
    source: Arc<str>,
}

impl Reader {
    fn file(&mut self, file: &Path) {
        match file_text(file) {
            Ok(text) => self.text(file, &text),
            Err(problem) => self.lose(*problem),
        }
    }

    /// Tells of what may have held any resource.
    fn lose(&mut self, problem: Problem) {
        self.manifests.is_cut = true;
        self.problems.push(problem);
    }

    fn text(&mut self, file: &Path, text: &str) {
        let parsed = yaml::parse(text);
        for problem in parsed.problems {
            self.lose(Problem {
                line: problem.at.line,
                column: problem.at.column,
                help: problem.help,
                ..file_problem(file, problem.message)
            });
        }
        let source: Arc<str> = text.into();
        parsed.documents.iter().for_each(|document| self.document(file, &source, document));
    }

    fn document(&mut self, file: &Path, source: &Arc<str>, root: &Arc<Node>) {
        let text = |key: &str| root.get(key).and_then(|node| node.as_str()).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if root.tree == Tree::Null {
            return;
        }
        if api_version == "v1" && kind == "List" {
            if let Some(Tree::List(items)) = root.get("items").map(|items| &items.tree) {
                items.iter().for_each(|item| self.document(file, source, item));
            }
            return;
        }
        let metadata = |key: &str| root.get("metadata").and_then(|m| m.get(key)).and_then(|node| node.as_str());
        let resource = Resource {
            root,
            namespace: metadata("namespace").unwrap_or(DEFAULT_NAMESPACE).to_owned(),
            name: metadata("name").unwrap_or_default().to_owned(),
            origin: Origin { file: file.to_owned(), line: root.at.line, column: root.at.column },
            source: Arc::clone(source),
            kind,
        };
        self.resource(&api_version, resource);
    }

    fn resource(&mut self, api_version: &str, resource: Resource<'_>) {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        match (api_version, resource.kind.as_str()) {
            ("", _) | (_, "") => self.push_cut(&resource, untyped(&resource)),
            ("v1", "ConfigMap") => self.config_map(resource),
            (API_VERSION, "StreamAssignment") => self.skip(&resource, "is internal"),
            (API_VERSION, "StreamSource") => {
                self.typed(
                    resource,
                    "StreamSource",
                    |m| (&mut m.sources, &mut m.rests.sources),
                    resolve::source::check,
                );
            }
            (API_VERSION, "StreamSink") => {
                self.typed(resource, "StreamSink", |m| (&mut m.sinks, &mut m.rests.sinks), |_| Vec::new());
            }
            (API_VERSION, "StreamPipeline") => {
                let check = resolve::pipeline::check;
                self.typed(resource, "StreamPipeline", |m| (&mut m.pipelines, &mut m.rests.pipelines), check);
            }
            (API_VERSION, _) => self.push_cut(&resource, unknown_kind(&resource)),
            _ if group == GROUP => self.push_cut(&resource, wrong_version(&resource, api_version)),
            _ => self.skip(&resource, "is none of thalweg.dev"),
        }
    }

    /// Takes a resource. `amiss` tells what its schema cannot see: here of one that is not taken, so that it is told all the
    /// same.
    fn typed<T: DeserializeOwned>(
        &mut self,
        resource: Resource<'_>,
        kind: &'static str,
        lists: Lists<T>,
        amiss: fn(&Item<T>) -> Vec<Problem>,
    ) {
        let schema = definition::schema(kind).unwrap_or(&Value::Null);
        let repeated = self.repeated(&resource);
        let name = (kind.to_owned(), resource.namespace.clone(), resource.name.clone());
        if repeated {
            // Which of them is meant is not known.
            self.manifests.broken.insert(name.clone());
        }
        self.manifests.is_cut |= resource.name.is_empty();
        let checked = check::check::<T>(schema, resource.root).and_then(|json| {
            serde_json::from_value::<T>(json["spec"].clone()).map_err(|error| {
                let help = Some("this is a fault of the schema: please report it".to_owned());
                Refused { findings: vec![Finding::in_field("spec", error.to_string(), help)], rest: None, core: None }
            })
        });
        match checked {
            Ok(spec) if !repeated => lists(&mut self.manifests).0.push(item(resource, kind, spec)),
            Ok(_) => {}
            Err(Refused { findings, rest, core }) => {
                let mut fields: Vec<String> = findings.iter().map(Finding::subject).collect();
                findings.into_iter().for_each(|finding| self.push(&resource, finding));
                self.manifests.broken.insert(name);
                let has_rest = rest.is_some();
                let Some(spec) = rest.or(core) else { return };
                let item = item(resource, kind, *spec);
                if has_rest {
                    self.problems.extend(amiss(&item));
                } else {
                    fields = fields.iter().map(|field| check::field_of_spec(field).to_owned()).collect();
                }
                if !repeated {
                    lists(&mut self.manifests).1.push(Rest { item, amiss: fields });
                }
            }
        }
    }

    fn config_map(&mut self, resource: Resource<'_>) {
        let entries = match resource.root.get("data").map(|data| &data.tree) {
            Some(Tree::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let text = |node: &Node| node.as_str().map(str::to_owned);
        let data = entries.iter().filter_map(|entry| Some((entry.key.clone(), text(&entry.value)?))).collect();
        if !self.repeated(&resource) {
            self.manifests.config_maps.push(item(resource, "ConfigMap", data));
        }
    }

    /// Whether a resource of this kind, namespace and name was seen before, which is a problem.
    fn repeated(&mut self, resource: &Resource<'_>) -> bool {
        let key = (resource.kind.clone(), resource.namespace.clone(), resource.name.clone());
        let Some(first) = self.seen.get(&key).filter(|_| !resource.name.is_empty()) else {
            self.seen.insert(key, resource.origin.clone());
            return false;
        };
        let place = format!("{}:{}", first.file.display(), first.line);
        let message = format!("{}/{} is given twice; the first one is at {place}", resource.kind, resource.name);
        let help = Some("rename or remove one of them".to_owned());
        self.push(resource, Finding::in_field("metadata.name", message, help));
        true
    }

    fn skip(&mut self, resource: &Resource<'_>, why: &str) {
        let Origin { file, line, .. } = &resource.origin;
        let note = format!("{}:{line}: {}/{} {why}: skipped", file.display(), resource.kind, resource.name);
        self.manifests.notes.push(note);
    }

    /// A problem of a resource of which it is not known what it is.
    fn push_cut(&mut self, resource: &Resource<'_>, finding: Finding) {
        self.manifests.is_cut = true;
        self.push(resource, finding);
    }

    fn push(&mut self, resource: &Resource<'_>, finding: Finding) {
        let places = Places::of(Arc::clone(&resource.source), resource.root);
        let at = finding.at.or_else(|| places.nearest(&finding.path)).unwrap_or(resource.root.at);
        let named = !resource.kind.is_empty() && !resource.name.is_empty();
        self.problems.push(Problem {
            resource: if named { format!("{}/{}", resource.kind, resource.name) } else { resource.kind.clone() },
            file: resource.origin.file.clone(),
            line: at.line,
            column: at.column,
            path: finding.path,
            message: finding.message,
            help: finding.help,
        });
    }
}

fn item<T>(resource: Resource<'_>, kind: &'static str, spec: T) -> Item<T> {
    Item {
        places: Arc::new(Places::of(resource.source, resource.root)),
        origin: resource.origin,
        kind,
        namespace: resource.namespace,
        name: resource.name,
        spec,
    }
}

fn untyped(resource: &Resource<'_>) -> Finding {
    let message = match &resource.root.tree {
        Tree::Map(_) => "a resource needs apiVersion and kind".to_owned(),
        _ => format!("expected a resource, found {}", resource.root.type_name()),
    };
    let help = Some(format!("write apiVersion: {API_VERSION} and kind: StreamPipeline, StreamSource or StreamSink"));
    Finding::in_field("", message, help)
}

fn unknown_kind(resource: &Resource<'_>) -> Finding {
    let kinds = ["StreamSource", "StreamSink", "StreamPipeline"];
    let message = format!("{GROUP} has no kind `{}`", resource.kind);
    Finding::in_field("kind", message, Some(check::nearest_of(&resource.kind, &kinds)))
}

fn wrong_version(resource: &Resource<'_>, api_version: &str) -> Finding {
    let message = format!("{} is not served as `{api_version}`", resource.kind);
    Finding::in_field("apiVersion", message, Some(format!("write {API_VERSION}")))
}

/// A file's text without its byte order mark.
fn file_text(file: &Path) -> Result<String, Box<Problem>> {
    let length = std::fs::metadata(file).map(|metadata| metadata.len());
    if length.is_ok_and(|length| length > yaml::MAX_BYTES as u64) {
        return Err(Box::new(file_problem(file, "the file is longer than 4 MiB; split it".to_owned())));
    }
    let bytes =
        std::fs::read(file).map_err(|error| Box::new(file_problem(file, format!("cannot be read: {error}"))))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last = valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        Box::new(Problem { line, column, ..file_problem(file, "the file is not UTF-8 from here on".to_owned()) })
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    // JSON allows tabs between values, and none within a text; the YAML parser allows them in some places only.
    let is_json = file.extension().is_some_and(|suffix| suffix == "json");
    Ok(if is_json { text.replace('\t', " ") } else { text })
}

#[cfg(test)]
mod tests;
