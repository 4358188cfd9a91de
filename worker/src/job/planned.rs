//! From manifests to plans, with every problem at its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_connectors::registry::{self, Values};
use thalweg_crds::connector::SinkConnector;
use thalweg_crds::manifest::{
    ColumnInput, Problem, Problems, ResolvedColumn, ResolvedPipeline, ResolvedSink, ResolvedSource, Unread,
    read_pipelines, read_pipelines_of_text,
};
use thalweg_sql::catalog::{Catalog, SinkTable, SourceTable, Unknown, WatermarkSpec};
use thalweg_sql::stages::PlannedPipeline;

use super::trial;
use super::types::{arrow_type, column_type};

/// A pipeline whose manifests and SQL are right.
pub struct Planned {
    /// What the manifests say.
    pub resolved: ResolvedPipeline,
    /// What to do.
    pub plan: PlannedPipeline,
}

/// Units of a keyed stage where nothing else is said: `2 × maxWorkers`, at least this many.
const LEAST_KEY_GROUPS: u32 = 8;

impl Planned {
    /// Units of each keyed stage.
    pub fn key_groups(&self) -> u32 {
        let spec = &self.resolved.spec;
        let most_workers = spec.scaling.as_ref().map_or(1, |scaling| scaling.max_workers.unsigned_abs());
        let given = spec.state.as_ref().and_then(|state| state.key_groups);
        given.map_or_else(|| (2 * most_workers).max(LEAST_KEY_GROUPS), i32::unsigned_abs)
    }
}

/// Everything that was found in some manifests.
pub struct Found {
    /// The pipelines, in the order of the files.
    pub pipelines: Vec<Planned>,
    /// What was passed over, for people.
    pub notes: Vec<String>,
}

/// Loads and plans every pipeline, or gives every problem at once. Columns that a source does not declare are taken from
/// its files; `values` are the secrets that reaching them may need.
pub fn plan_manifests(paths: &[PathBuf], values: &dyn Values) -> Result<Found, Problems> {
    plan_with(paths, |source| stored_columns(source, values))
}

/// [`plan_manifests`] without opening anything that the manifests name: columns that are not declared are a problem.
pub fn plan_declared(paths: &[PathBuf]) -> Result<Found, Problems> {
    plan_with(paths, undeclared)
}

/// [`plan_declared`] of a text that is no file.
pub fn plan_text(text: &str) -> Result<Found, Problems> {
    let read = read_pipelines_of_text(Path::new("resources.yaml"), text);
    let mut notes = Vec::new();
    let pipelines = plan_resolved(read, undeclared, &mut notes)?;
    Ok(Found { pipelines, notes })
}

/// Columns where nothing is opened that could have them.
fn undeclared(_: &ResolvedSource) -> Columns {
    Err("nothing that is stored is opened here, so columns must be declared".to_owned())
}

/// The columns that a source has which declares none, and what is to be said of them.
type Columns = Result<(Vec<ResolvedColumn>, Option<String>), String>;

fn plan_with(paths: &[PathBuf], columns: impl Fn(&ResolvedSource) -> Columns) -> Result<Found, Problems> {
    let (manifests, resolved, problems) = read_pipelines(paths);
    let mut notes = manifests.notes;
    let pipelines = plan_resolved((resolved, problems), columns, &mut notes)?;
    Ok(Found { pipelines, notes })
}

/// Plans pipelines as far as they are understood: what is amiss in manifests, which is told, shall not hide what is in SQL.
fn plan_resolved(
    (resolved, mut problems): (Vec<ResolvedPipeline>, Vec<Problem>),
    columns: impl Fn(&ResolvedSource) -> Columns,
    notes: &mut Vec<String>,
) -> Result<Vec<Planned>, Problems> {
    let mut pipelines = Vec::new();
    for mut resolved in resolved {
        problems.extend(take_columns(&mut resolved, &columns, notes));
        match plan(&resolved) {
            Ok(plan) if resolved.unread.is_none() => {
                let planned = Planned { resolved, plan };
                problems.extend(trial::problems(&planned));
                pipelines.push(planned);
            }
            planned => {
                problems.extend(planned.err().unwrap_or_default());
                let place = |problem: &Problem| (problem.file.clone(), problem.line, problem.path.clone());
                let is_told = |found: &Problem| problems.iter().any(|told| place(told) == place(found));
                let of_state = trial::of_state(&resolved).filter(|found| !is_told(found));
                problems.extend(of_state);
            }
        }
    }
    match Problems::from_list(problems) {
        Some(problems) => Err(problems),
        None => Ok(pipelines),
    }
}

/// Gives sources that declare none the columns that they have; those whose columns cannot be known are told and no longer
/// understood.
fn take_columns(
    pipeline: &mut ResolvedPipeline,
    columns: impl Fn(&ResolvedSource) -> Columns,
    notes: &mut Vec<String>,
) -> Vec<Problem> {
    let (mut problems, mut unread) = (Vec::new(), BTreeSet::new());
    for source in pipeline.sources.iter_mut().filter(|source| source.columns.is_empty()) {
        match columns(source) {
            Ok((columns, note)) => {
                source.columns = columns;
                notes.extend(note);
            }
            Err(message) => {
                unread.insert(source.alias.clone());
                problems.push(needs_schema(source, message));
            }
        }
    }
    if !unread.is_empty() {
        pipeline.sources.retain(|source| !unread.contains(&source.alias));
        pipeline.unread.get_or_insert_default().names.extend(unread);
    }
    problems
}

/// The columns that the files of a source have.
fn stored_columns(source: &ResolvedSource, values: &dyn Values) -> Columns {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let stored = runtime.map_err(|error| error.to_string())?.block_on(registry::stored_columns(source, values));
    let stored = stored.map_err(|error| error.to_string())?.ok_or("columns are not taken from what is stored yet")?;
    let event_time = source.spec.watermark.as_ref().map(|watermark| watermark.column.as_str());
    if let Some(missing) = event_time.filter(|name| stored.field_with_name(name).is_err()) {
        return Err(format!("watermark.column is `{missing}`, which the first file does not have"));
    }
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    for field in stored.fields() {
        let Some(data_type) = column_type(field.data_type()) else {
            left_out.push(format!("`{}` ({})", field.name(), field.data_type()));
            continue;
        };
        let (name, nullable) = (field.name().clone(), field.is_nullable());
        columns.push(ResolvedColumn {
            input: ColumnInput::Field(name.clone()),
            name,
            data_type,
            nullable,
            default: None,
        });
    }
    let note = (!left_out.is_empty()).then(|| {
        let left_out = left_out.join(", ");
        format!("StreamSource/{}: SQL has no type for {left_out}: left out", source.name)
    });
    Ok((columns, note))
}

fn plan(pipeline: &ResolvedPipeline) -> Result<PlannedPipeline, Vec<Problem>> {
    let place = |problem: thalweg_sql::SqlProblem| {
        pipeline.sql_problem(problem.line, problem.column, problem.message, problem.help)
    };
    thalweg_sql::plan(&pipeline.sql, &catalog(pipeline)).map_err(|problems| problems.into_iter().map(place).collect())
}

fn needs_schema(source: &ResolvedSource, message: String) -> Problem {
    Problem {
        resource: format!("StreamSource/{}", source.name),
        file: source.origin.file.clone(),
        line: source.origin.line,
        column: source.origin.column,
        path: "spec.schema".to_owned(),
        message,
        help: Some(
            "declare the columns that the query reads: name, type, and from where the file has another name".to_owned(),
        ),
    }
}

/// What the SQL of a pipeline may name.
fn catalog(pipeline: &ResolvedPipeline) -> Catalog {
    Catalog {
        sources: pipeline.sources.iter().map(source_table).collect(),
        sinks: pipeline.sinks.iter().map(sink_table).collect(),
        unknown: pipeline.unread.clone().map(unknown).unwrap_or_default(),
    }
}

fn unknown(unread: Unread) -> Unknown {
    Unknown { names: unread.names, others: unread.others }
}

fn source_table(source: &ResolvedSource) -> SourceTable {
    let watermark = source.spec.watermark.as_ref();
    SourceTable {
        name: source.alias.clone(),
        schema: schema(source),
        watermark: watermark.map(|watermark| WatermarkSpec {
            column: watermark.column.clone(),
            delay_ms: i64::try_from(watermark.delay.as_std().as_millis()).unwrap_or(i64::MAX),
        }),
        lookup: source.spec.lookup.is_some(),
    }
}

/// Every declared column; event time in milliseconds, as watermarks are.
pub fn schema(source: &ResolvedSource) -> SchemaRef {
    let event_time = source.spec.watermark.as_ref().map(|watermark| watermark.column.as_str());
    let fields = source.columns.iter().map(|column| {
        let is_event_time = event_time == Some(column.name.as_str());
        let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
        let data_type = if is_event_time { milliseconds } else { arrow_type(&column.data_type) };
        Field::new(&column.name, data_type, column.nullable && !is_event_time)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn sink_table(sink: &ResolvedSink) -> SinkTable {
    let required_columns = match sink.spec.connector() {
        Some(SinkConnector::Files(files)) => files.partition_by.iter().map(|part| column_of(part)).collect(),
        Some(SinkConnector::Kafka(kafka)) => kafka.key.iter().chain(&kafka.headers).cloned().collect(),
        _ => Vec::new(),
    };
    SinkTable { name: sink.alias.clone(), required_columns }
}

/// The column of `zone` or of `date(pickup_at)`.
fn column_of(partition: &str) -> String {
    let inner = partition.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(partition).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use thalweg_core::unit::StageId;
    use thalweg_sql::stages::{InputFrom, StageOutput};

    use super::*;

    const MANIFESTS: &str = "
apiVersion: thalweg.dev/v1alpha1
kind: StreamSource
metadata: { name: trips }
spec:
  generator: { taxi: {}, rows: 1 }
  schema: [{ name: zone, type: INT, from: pickup_location_id }, { name: at, type: TIMESTAMP(3), from: pickup_datetime }]
  watermark: { column: at, delay: 1s }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: copies }
spec: { blackhole: {} }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamSink
metadata: { name: peaks }
spec: { blackhole: {} }
---
apiVersion: thalweg.dev/v1alpha1
kind: StreamPipeline
metadata: { name: p }
spec:
  sources: [{ name: trips }]
  sinks: [{ name: copies }, { name: peaks }]
  sql: |
    INSERT INTO copies SELECT zone FROM trips;
    INSERT INTO peaks SELECT window_start, max(trips) AS peak FROM (
      SELECT window_start, window_end, zone, count(*) AS trips
      FROM TABLE(TUMBLE(TABLE trips, DESCRIPTOR(at), INTERVAL '1' HOUR))
      GROUP BY window_start, window_end, zone) GROUP BY window_start, window_end
";

    #[test]
    fn a_statement_is_the_stages_that_feed_its_sink_whatever_their_numbers() {
        let mut plan = plan_text(MANIFESTS).expect("it is right").pipelines.remove(0).plan;
        let numbers = |plan: &PlannedPipeline| -> Vec<(String, Vec<u32>)> {
            let statements = plan.statements();
            statements
                .map(|(sink, stages)| (sink.to_owned(), stages.iter().map(|stage| stage.id.0).collect()))
                .collect()
        };
        assert_eq!(numbers(&plan), [("copies".to_owned(), vec![0]), ("peaks".to_owned(), vec![1, 2])]);
        assert!(plan.renumber(&[7, 1, 4].map(StageId)));
        assert_eq!(numbers(&plan), [("copies".to_owned(), vec![7]), ("peaks".to_owned(), vec![1, 4])]);
        let (feeds, reads) =
            (plan.stage(StageId(1)).expect("it is there"), plan.stage(StageId(4)).expect("it is there"));
        assert_eq!(feeds.output, StageOutput::Stage(StageId(4)));
        assert_eq!(reads.inputs[0].from, InputFrom::Stage(StageId(1)));
        assert!(!plan.clone().renumber(&[StageId(0)]), "there are more stages");
    }

    #[test]
    fn a_partition_names_its_column() {
        assert_eq!(column_of("zone"), "zone");
        assert_eq!(column_of("date(pickup_at)"), "pickup_at");
    }
}
