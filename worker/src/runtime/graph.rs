//! Who reads what, by the plan.

use thalweg_core::unit::{StageId, UnitId};
use thalweg_sql::stages::{InputFrom, Stage, StageKind};

use super::chunk::{ReadPlan, Route, RouteColumn};
use super::error::{Result, RunError};
use super::split_log::ReadBy;
use super::{Job, JobSource};
use arrow::datatypes::Schema;

/// The inputs of stages that read a source, in the order of the numbers by which they are kept. The first one has what cannot be
/// decoded, and new statements get greater numbers: so it stays the same one whatever comes, wherever that is written.
pub fn readers_of(job: &Job, source: &str) -> Vec<ReadBy> {
    let inputs = job.plan.stages.iter().flat_map(|stage| (0u16..).zip(&stage.inputs).map(move |input| (stage, input)));
    let of_source = inputs.filter(|(_, (_, input))| matches!(&input.from, InputFrom::Source(name) if name == source));
    let mut readers: Vec<_> =
        of_source.map(|(stage, (input, _))| ReadBy { stage: stage.id, input, units: units(job, stage) }).collect();
    let kept = |stage| job.kept(UnitId { stage, index: 0 }).stage;
    readers.sort_by_key(|by| (kept(by.stage), by.input));
    readers
}

/// How many units of a stage take a part of each range.
fn units(job: &Job, stage: &Stage) -> u32 {
    match stage.kind {
        StageKind::Stateless => 1,
        StageKind::Windowed(_) => job.key_groups,
    }
}

/// The input of a stage that another stage feeds.
pub fn input_from(reader: &Stage, feeding: StageId) -> Result<u16> {
    let mut inputs = (0u16..).zip(&reader.inputs).filter(|(_, input)| input.from == InputFrom::Stage(feeding));
    inputs
        .next()
        .map(|(index, _)| index)
        .ok_or_else(|| RunError::Internal(format!("stage {} does not read stage {feeding}, which feeds it", reader.id)))
}

/// How chunks of a source are worked on for its readers.
pub fn read_plan(job: &Job, source: &JobSource, readers: &[ReadBy]) -> Result<ReadPlan> {
    let schema = source.decoder.schema();
    let route = |by: &ReadBy| route(job.stage(by.stage)?, by.input, job.key_groups, schema);
    let watermark = source.watermark.as_ref();
    let watermark = watermark.and_then(|watermark| {
        let column = schema.index_of(&watermark.column).ok()?;
        Some((column, watermark.delay_ms))
    });
    let routes = readers.iter().map(route).collect::<Result<Vec<_>>>()?;
    let has_windows = routes.iter().any(|route| route.windows.is_some());
    Ok(ReadPlan {
        decoder: source.decoder.clone(),
        watermark,
        keep_late: source.keep_late,
        routes,
        may_be_closed: has_windows && (source.idle_after.is_some() || source.source.grows()),
    })
}

/// What an input of a stage takes of what it reads, whose columns are `schema`.
pub fn route(stage: &Stage, number: u16, key_groups: u32, schema: &Schema) -> Result<Route> {
    let input = &stage.inputs[usize::from(number)];
    let column = |name: &String| match name.as_str() {
        "__log" => Ok(RouteColumn::Log),
        "__position" => Ok(RouteColumn::Place),
        name => schema.index_of(name).map(RouteColumn::Decoded).map_err(|error| RunError::Internal(error.to_string())),
    };
    let windows = match &stage.kind {
        StageKind::Stateless => None,
        StageKind::Windowed(windows) => Some((windows.clone(), key_groups)),
    };
    let columns = input.columns.iter().map(column).collect::<Result<_>>()?;
    Ok(Route { statement: stage.statement + 1, input: number, columns, transform: input.transform.clone(), windows })
}
