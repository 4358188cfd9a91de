//! From manifests to plans, with every problem at its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_connectors::registry::{self, Values};
use thalweg_crds::connector::SinkConnector;
use thalweg_crds::manifest::{
    ColumnInput, Problem, Problems, ResolvedColumn, ResolvedPipeline, ResolvedSink, ResolvedSource, load_pipelines,
    pipelines_of_text,
};
use thalweg_sql::catalog::{Catalog, SinkTable, SourceTable, WatermarkSpec};
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
    plan_with(paths, |_| Err("nothing that is stored is opened here, so columns must be declared".to_owned()))
}

/// [`plan_declared`] of a text that is no file.
pub fn plan_text(text: &str) -> Result<Found, Problems> {
    let resolved = pipelines_of_text(Path::new("resources.yaml"), text)?;
    let mut notes = Vec::new();
    let pipelines = plan_resolved(resolved, |_| Err("columns must be declared".to_owned()), &mut notes)?;
    Ok(Found { pipelines, notes })
}

/// The columns that a source has which declares none, and what is to be said of them.
type Columns = Result<(Vec<ResolvedColumn>, Option<String>), String>;

fn plan_with(paths: &[PathBuf], columns: impl Fn(&ResolvedSource) -> Columns) -> Result<Found, Problems> {
    let (manifests, resolved) = load_pipelines(paths)?;
    let mut notes = manifests.notes;
    let pipelines = plan_resolved(resolved, columns, &mut notes)?;
    Ok(Found { pipelines, notes })
}

fn plan_resolved(
    resolved: Vec<ResolvedPipeline>,
    columns: impl Fn(&ResolvedSource) -> Columns,
    notes: &mut Vec<String>,
) -> Result<Vec<Planned>, Problems> {
    let (mut pipelines, mut problems) = (Vec::new(), Vec::new());
    for mut resolved in resolved {
        let planned = take_columns(&mut resolved, &columns, notes).and_then(|()| plan(&resolved));
        match planned {
            Ok(plan) => {
                let planned = Planned { resolved, plan };
                problems.extend(trial::problems(&planned));
                pipelines.push(planned);
            }
            Err(found) => problems.extend(found),
        }
    }
    match Problems::from_list(problems) {
        Some(problems) => Err(problems),
        None => Ok(pipelines),
    }
}

fn take_columns(
    pipeline: &mut ResolvedPipeline,
    columns: impl Fn(&ResolvedSource) -> Columns,
    notes: &mut Vec<String>,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for source in pipeline.sources.iter_mut().filter(|source| source.columns.is_empty()) {
        match columns(source) {
            Ok((columns, note)) => {
                source.columns = columns;
                notes.extend(note);
            }
            Err(message) => problems.push(needs_schema(source, message)),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
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
    }
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
        Some(SinkConnector::Kafka(kafka)) => kafka.key.clone(),
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
    use super::*;

    #[test]
    fn a_partition_names_its_column() {
        assert_eq!(column_of("zone"), "zone");
        assert_eq!(column_of("date(pickup_at)"), "pickup_at");
    }
}
