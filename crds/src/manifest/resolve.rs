//! What manifests mean together: references followed, names in SQL settled, columns parsed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::check::nearest_of;
use super::load::{ConfigMap, Item, Manifests, Rest};
use super::place::Origin;
use super::problem::{Problem, Problems};
use crate::column_type::ColumnType;
use crate::connector::SinkConnector;
use crate::duration::Duration;
use crate::pipeline::Delivery;
use crate::source::OnError;
use crate::{PipelineSpec, SinkSpec, SourceSpec};

pub(super) mod pipeline;
pub(super) mod source;

/// A pipeline with all that it refers to.
#[derive(Clone, Debug)]
pub struct ResolvedPipeline {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub spec: PipelineSpec,
    /// Its statements, from `sql` or a ConfigMap.
    pub sql: String,
    /// What it reads, in the order of `sources`.
    pub sources: Vec<ResolvedSource>,
    /// What it writes, in the order of `sinks`.
    pub sinks: Vec<ResolvedSink>,
    /// Where dead letters go.
    pub dead_letter: Option<ResolvedSink>,
    /// Where it begins.
    pub origin: Origin,
    /// What is not understood of it, which is told already; `None` where all of it is. Where it is not, only its SQL can be judged.
    pub unread: Option<Unread>,
    item: Arc<Item<PipelineSpec>>,
    /// The resources behind its sources and sinks.
    read: Vec<Arc<Item<SourceSpec>>>,
    written: Vec<Arc<Item<SinkSpec>>>,
    /// The ConfigMap that holds the SQL, and the path of its key.
    sql_map: Option<KeyOfMap>,
}

impl ResolvedPipeline {
    /// `NAMESPACE.NAME`, as summaries, metrics and names of files have it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// `StreamPipeline/name`.
    pub fn resource(&self) -> String {
        format!("StreamPipeline/{}", self.name)
    }

    /// A problem at a character of the SQL, by its line and column (from 1) there.
    pub fn sql_problem(&self, line: usize, column: usize, message: impl Into<String>, help: Option<String>) -> Problem {
        let problem = match &self.sql_map {
            None => self.item.problem_in_text("spec.sql", line, column, message),
            Some((map, path)) => map.problem_in_text(path, line, column, message),
        };
        Problem { help, ..problem }
    }

    /// A problem at a field of the pipeline, such as `spec.sinks[0]`.
    pub fn problem(&self, path: &str, message: impl Into<String>, help: Option<String>) -> Problem {
        self.item.problem(path, message, help)
    }

    /// A problem at a field of one of its sources.
    pub fn source_problem(&self, name: &str, path: &str, message: impl Into<String>, help: Option<String>) -> Problem {
        match self.read.iter().find(|item| item.name == name) {
            Some(item) => item.problem(path, message, help),
            None => self.problem("spec.sources", message, help),
        }
    }

    /// A problem at a field of one of its sinks.
    pub fn sink_problem(&self, name: &str, path: &str, message: impl Into<String>, help: Option<String>) -> Problem {
        match self.written.iter().find(|item| item.name == name) {
            Some(item) => item.problem(path, message, help),
            None => self.problem("spec.sinks", message, help),
        }
    }
}

/// Names in SQL of which it is not known what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// These: sources and sinks that cannot be read.
    pub names: BTreeSet<String>,
    /// And others: not even the name is certain of something that the pipeline reads or writes.
    pub others: bool,
}

/// How far commits may be apart whose rows are in transactions of Kafka meanwhile: a third of how long its brokers, by default,
/// let them be open at the most.
const MOST_IN_TRANSACTION: Duration = Duration::from_secs(300);

/// A ConfigMap, and the path of one of its keys.
type KeyOfMap = (Arc<Item<ConfigMap>>, String);

/// A source as a pipeline sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSource {
    /// Its name in SQL.
    pub alias: String,
    /// The resource's name.
    pub name: String,
    /// What it says.
    pub spec: SourceSpec,
    /// Its columns; none where the format brings them.
    pub columns: Vec<ResolvedColumn>,
    /// Where it begins; relative paths start from the folder of this file.
    pub origin: Origin,
}

/// A column with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedColumn {
    /// Its name in SQL.
    pub name: String,
    /// Its type, without an outer `NOT NULL`.
    pub data_type: ColumnType,
    /// Whether it may be null: neither `nullable: false` nor `NOT NULL`.
    pub nullable: bool,
    /// Where its values come from.
    pub input: ColumnInput,
    /// The value of a missing field.
    pub default: Option<Value>,
}

/// Where a column's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnInput {
    /// A field of the record.
    Field(String),
    /// A fact about the record, by the connector's name for it.
    Metadata(String),
}

/// A sink as a pipeline sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSink {
    /// Its name in SQL.
    pub alias: String,
    /// The resource's name.
    pub name: String,
    /// What it says.
    pub spec: SinkSpec,
    /// What is promised for it.
    pub delivery: Delivery,
    /// Where it begins; relative paths start from the folder of this file.
    pub origin: Origin,
}

/// Follows every reference. Every problem, or the pipelines in the order of the manifests.
pub fn resolve(manifests: &Manifests) -> Result<Vec<ResolvedPipeline>, Problems> {
    let mut problems = Vec::new();
    let pipelines = resolve_into(manifests, &mut problems);
    Problems::from_list(problems).map_or(Ok(pipelines), Err)
}

/// Follows every reference; pipelines as far as they are understood, and all problems.
pub(super) fn resolve_into(manifests: &Manifests, problems: &mut Vec<Problem>) -> Vec<ResolvedPipeline> {
    for item in &manifests.sources {
        problems.extend(source::check(item));
    }
    for item in &manifests.pipelines {
        problems.extend(pipeline::check(item));
    }
    let mut resolved = Vec::new();
    for pipeline in &manifests.pipelines {
        let mut resolver = Resolver { manifests, pipeline, amiss: &[], problems: Vec::new() };
        resolved.extend(resolver.pipeline());
        problems.append(&mut resolver.problems);
    }
    for Rest { item, amiss } in &manifests.rests.pipelines {
        // What its references mean may be another thing once it is mended: that is told then.
        let mut resolver = Resolver { manifests, pipeline: item, amiss, problems: Vec::new() };
        resolved.extend(resolver.pipeline().filter(|_| pipeline::has_sql(amiss)));
    }
    resolved
}

/// Whether a field is one of some, or stands within one of them.
fn is_within(path: &str, fields: &[&str]) -> bool {
    let is_in =
        |field: &&str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    fields.iter().any(is_in)
}

struct Resolver<'a> {
    manifests: &'a Manifests,
    pipeline: &'a Item<PipelineSpec>,
    /// The fields of the pipeline that are not understood.
    amiss: &'a [String],
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn pipeline(&mut self) -> Option<ResolvedPipeline> {
        let spec = &self.pipeline.spec;
        let mut sources = self.sources();
        let mut sinks = self.sinks();
        self.aliases();
        let dead_letter = self.dead_letter(&sources, &sinks);
        self.folders(&sinks, dead_letter.as_ref());
        self.transactions(&sinks, dead_letter.as_ref());
        let (sql, sql_map) = self.sql()?;
        let unread = self.unread(&mut sources, &mut sinks);
        Some(ResolvedPipeline {
            namespace: self.pipeline.namespace.clone(),
            name: self.pipeline.name.clone(),
            spec: spec.clone(),
            sql,
            sources,
            sinks,
            dead_letter,
            origin: self.pipeline.origin.clone(),
            unread,
            item: Arc::new(self.pipeline.clone()),
            read: self.items(&self.manifests.sources),
            written: self.items(&self.manifests.sinks),
            sql_map,
        })
    }

    /// The resources of a kind in the pipeline's namespace.
    fn items<T: Clone>(&self, items: &[Item<T>]) -> Vec<Arc<Item<T>>> {
        let here = items.iter().filter(|item| item.namespace == self.pipeline.namespace);
        here.map(|item| Arc::new(item.clone())).collect()
    }

    fn sources(&mut self) -> Vec<ResolvedSource> {
        let mut resolved = Vec::new();
        for (index, reference) in self.pipeline.spec.sources.iter().enumerate() {
            let path = format!("spec.sources[{index}].name");
            let found = self.find(&self.manifests.sources, "StreamSource", &reference.name, &path);
            resolved.extend(found.map(|item| resolved_source(item, reference.alias())));
        }
        resolved
    }

    fn sinks(&mut self) -> Vec<ResolvedSink> {
        let mut resolved = Vec::new();
        for (index, reference) in self.pipeline.spec.sinks.iter().enumerate() {
            let path = format!("spec.sinks[{index}].name");
            let found = self.find(&self.manifests.sinks, "StreamSink", &reference.name, &path);
            let delivery = reference.delivery.unwrap_or(self.pipeline.spec.delivery);
            resolved.extend(found.map(|item| resolved_sink(item, reference.alias(), delivery)));
        }
        resolved
    }

    /// The resource of a name in the pipeline's namespace.
    fn find<'i, T>(&mut self, items: &'i [Item<T>], kind: &str, name: &str, path: &str) -> Option<&'i Item<T>> {
        let namespace = &self.pipeline.namespace;
        let here = |item: &&Item<T>| item.namespace == *namespace;
        let found = items.iter().filter(here).find(|item| item.name == name);
        if found.is_none() && !self.manifests.may_exist(kind, namespace, name) {
            let names: Vec<&str> = items.iter().filter(here).map(|item| item.name.as_str()).collect();
            let elsewhere = items.iter().find(|item| item.name == name);
            let help = match elsewhere {
                Some(item) => format!("there is one in namespace {}; no reference crosses a namespace", item.namespace),
                None if names.is_empty() => format!("give its manifest too: there is no {kind}"),
                None => nearest_of(name, &names),
            };
            let message = format!("there is no {kind} `{name}` in namespace {namespace}");
            self.problems.push(self.pipeline.problem(path, message, Some(help)));
        }
        found
    }

    /// What is not understood of the pipeline; `None` where all of it is, and so no problem was found of it or of what it names.
    /// Sources and sinks are then those of which SQL can be judged.
    fn unread(&self, sources: &mut Vec<ResolvedSource>, sinks: &mut Vec<ResolvedSink>) -> Option<Unread> {
        let (manifests, spec, namespace) = (self.manifests, &self.pipeline.spec, &self.pipeline.namespace);
        let mut is_whole = self.problems.is_empty()
            && self.amiss.is_empty()
            && !manifests.is_broken("StreamPipeline", namespace, &self.pipeline.name)
            && pipeline::check(self.pipeline).is_empty();
        let mut unread = Unread { others: !pipeline::has_references(self.amiss), ..Unread::default() };
        for reference in &spec.sources {
            let is_broken = manifests.is_broken("StreamSource", namespace, &reference.name);
            let found = seen(&manifests.sources, &manifests.rests.sources, namespace, &reference.name);
            let Some((item, amiss, is_taken)) = found else {
                unread.others |= !is_broken && reference.alias.is_none();
                unread.names.insert(reference.alias());
                continue;
            };
            let told = source::check(item).into_iter().map(|problem| problem.path);
            let told: Vec<String> = amiss.iter().cloned().chain(told).collect();
            is_whole &= told.is_empty() && !is_broken;
            // One that is taken and broken is given twice.
            if !source::is_clear(&item.spec, &told) || (is_taken && is_broken) {
                unread.names.insert(reference.alias());
            } else if !is_taken {
                sources.push(resolved_source(item, reference.alias()));
            }
        }
        for reference in &spec.sinks {
            let is_broken = manifests.is_broken("StreamSink", namespace, &reference.name);
            let found = seen(&manifests.sinks, &manifests.rests.sinks, namespace, &reference.name);
            let Some((item, _, is_taken)) = found else {
                unread.others |= !is_broken && reference.alias.is_none();
                unread.names.insert(reference.alias());
                continue;
            };
            is_whole &= !is_broken;
            // What is amiss can only be more that it wants of rows.
            if is_taken && is_broken {
                unread.names.insert(reference.alias());
            } else if !is_taken {
                sinks.push(resolved_sink(item, reference.alias(), reference.delivery.unwrap_or(spec.delivery)));
            }
        }
        if let Some(dead_letter) = &spec.dead_letter {
            let is_found = seen(&manifests.sinks, &[], namespace, &dead_letter.sink).is_some();
            is_whole &= is_found && !manifests.is_broken("StreamSink", namespace, &dead_letter.sink);
        }
        is_whole &= unread == Unread::default();
        if is_whole {
            return None;
        }
        let names = sources.iter().map(|source| &source.alias).chain(sinks.iter().map(|sink| &sink.alias));
        let mut once = BTreeSet::new();
        let twice: Vec<String> = names.filter(|name| !once.insert(*name)).cloned().collect();
        unread.names.extend(twice);
        sources.retain(|source| !unread.names.contains(&source.alias));
        sinks.retain(|sink| !unread.names.contains(&sink.alias));
        Some(unread)
    }

    /// Names in SQL are names of one table each, sources and sinks alike.
    fn aliases(&mut self) {
        let spec = &self.pipeline.spec;
        let sources = spec.sources.iter().enumerate().map(|(i, source)| (format!("spec.sources[{i}]"), source.alias()));
        let sinks = spec.sinks.iter().enumerate().map(|(i, sink)| (format!("spec.sinks[{i}]"), sink.alias()));
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for (path, alias) in sources.chain(sinks) {
            if let Some(first) = seen.get(&alias) {
                let message = format!("`{alias}` is already the name in SQL of {first}");
                let help = Some("give one of them another name with as".to_owned());
                self.problems.push(self.pipeline.problem(&path, message, help));
            } else {
                seen.insert(alias, path);
            }
        }
    }

    /// One folder belongs to one sink: a unit writes to several, and tells its files by its own name only.
    fn folders(&mut self, sinks: &[ResolvedSink], dead_letter: Option<&ResolvedSink>) {
        let references = &self.pipeline.spec.sinks;
        let index = |sink: &ResolvedSink| references.iter().position(|reference| reference.alias() == sink.alias);
        let path = |sink: &ResolvedSink| format!("spec.sinks[{}].name", index(sink).unwrap_or_default());
        let main = sinks.iter().map(|sink| (path(sink), sink));
        let all = main.chain(dead_letter.map(|sink| ("spec.deadLetter.sink".to_owned(), sink)));
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for (path, sink) in all {
            let Some(folder) = folder(sink) else { continue };
            if let Some(first) = seen.get(&folder) {
                let message = format!("StreamSink/{} writes to `{folder}`, as {first} does", sink.name);
                let help = Some("give each sink of a pipeline a folder of its own".to_owned());
                self.problems.push(self.pipeline.problem(&path, message, help));
            } else {
                seen.insert(folder, path);
            }
        }
    }

    /// A transaction that is open for as long as commits are apart must not be given up by brokers meanwhile.
    fn transactions(&mut self, sinks: &[ResolvedSink], dead_letter: Option<&ResolvedSink>) {
        let every = self.pipeline.spec.state().commit_every;
        let is_open = |sink: &&ResolvedSink| {
            sink.delivery == Delivery::ExactlyOnce && matches!(sink.spec.connector(), Some(SinkConnector::Kafka(_)))
        };
        let Some(sink) = sinks.iter().chain(dead_letter).find(is_open).filter(|_| every > MOST_IN_TRANSACTION) else {
            return;
        };
        let message = format!(
            "expected at most {MOST_IN_TRANSACTION} with StreamSink/{}, which has rows in a transaction until they are committed, \
             found {every}",
            sink.name
        );
        let help =
            "brokers give up a transaction after 15 minutes; commit more often, or let its delivery be AtLeastOnce";
        self.problems.push(self.pipeline.problem("spec.state.commitEvery", message, Some(help.to_owned())));
    }

    fn dead_letter(&mut self, sources: &[ResolvedSource], sinks: &[ResolvedSink]) -> Option<ResolvedSink> {
        let spec = &self.pipeline.spec;
        if let Some(dead_letter) = &spec.dead_letter {
            let item = self.find(&self.manifests.sinks, "StreamSink", &dead_letter.sink, "spec.deadLetter.sink")?;
            let written = spec.sinks.iter().find(|sink| sink.name == dead_letter.sink);
            if item.spec.on_error == OnError::DeadLetter {
                let message = format!("StreamSink/{} takes dead letters, so it cannot make any", item.name);
                let help = Some("set its onError to Fail or Drop".to_owned());
                self.problems.push(self.pipeline.problem("spec.deadLetter.sink", message, help));
            }
            let delivery = written.and_then(|sink| sink.delivery).unwrap_or(spec.delivery);
            return Some(resolved_sink(item, item.name.replace(['-', '.'], "_"), delivery));
        }
        let source = sources.iter().find(|source| source.spec.makes_dead_letters());
        let sink = sinks.iter().find(|sink| sink.spec.on_error == OnError::DeadLetter);
        let who = source.map(|source| format!("StreamSource/{}", source.name));
        let who = who.or_else(|| sink.map(|sink| format!("StreamSink/{}", sink.name)))?;
        let message = format!("{who} says DeadLetter, and the pipeline has no deadLetter.sink");
        let help = Some("add deadLetter: { sink: NAME }".to_owned());
        self.problems.push(self.pipeline.problem("spec.deadLetter", message, help));
        None
    }

    fn sql(&mut self) -> Option<(String, Option<KeyOfMap>)> {
        let spec = &self.pipeline.spec;
        if let Some(sql) = &spec.sql {
            return Some((sql.clone(), None));
        }
        let reference = &spec.sql_from.as_ref()?.config_map_key_ref;
        let path = "spec.sqlFrom.configMapKeyRef";
        let maps = &self.manifests.config_maps;
        let item = self.find(maps, "ConfigMap", &reference.name, &format!("{path}.name"))?;
        let Some(sql) = item.spec.get(&reference.key) else {
            let keys: Vec<&str> = item.spec.keys().map(String::as_str).collect();
            let message = format!("ConfigMap/{} has no key `{}`", reference.name, reference.key);
            let help = Some(nearest_of(&reference.key, &keys));
            self.problems.push(self.pipeline.problem(&format!("{path}.key"), message, help));
            return None;
        };
        let text_path = super::place::child("data", &reference.key);
        Some((sql.clone(), Some((Arc::new(item.clone()), text_path))))
    }
}

/// Where a sink writes files, spelt in one way.
fn folder(sink: &ResolvedSink) -> Option<String> {
    let Some(SinkConnector::Files(files)) = sink.spec.connector() else { return None };
    let url = files.url.trim_end_matches('/');
    if let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "file") {
        return Some(format!("{scheme}://{rest}"));
    }
    let path = sink.origin.folder().join(url.strip_prefix("file://").unwrap_or(url));
    let parts = path.components().filter(|part| *part != Component::CurDir);
    Some(parts.collect::<PathBuf>().display().to_string())
}

/// A resource of a name, or what is understood of it with the fields that are not; and whether it is taken as it is.
fn seen<'m, T>(
    items: &'m [Item<T>],
    rests: &'m [Rest<T>],
    namespace: &str,
    name: &str,
) -> Option<(&'m Item<T>, &'m [String], bool)> {
    let is_it = |item: &Item<T>| item.namespace == namespace && item.name == name;
    let taken = items.iter().find(|item| is_it(item)).map(|item| (item, &[] as &[String], true));
    let rest = || rests.iter().find(|rest| is_it(&rest.item)).map(|rest| (&rest.item, rest.amiss.as_slice(), false));
    taken.or_else(rest)
}

fn resolved_source(item: &Item<SourceSpec>, alias: String) -> ResolvedSource {
    ResolvedSource {
        alias,
        name: item.name.clone(),
        columns: source::columns(&item.spec),
        spec: item.spec.clone(),
        origin: item.origin.clone(),
    }
}

fn resolved_sink(item: &Item<SinkSpec>, alias: String, delivery: Delivery) -> ResolvedSink {
    ResolvedSink { alias, name: item.name.clone(), spec: item.spec.clone(), delivery, origin: item.origin.clone() }
}

#[cfg(test)]
mod tests;
