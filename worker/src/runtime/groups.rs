//! Groups of rows on which an expression of the query fails: behind a window, or between two of them. There is no record
//! of a log to blame any more, so the sources decide that the stage reads, the strictest of them.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::position::Position;
use thalweg_crds::source::OnError;
use thalweg_sql::stages::{InputFrom, PlannedPipeline, Stage};
use thalweg_sql::transform::FailedRow;

use super::counters::Counters;
use super::dead_letter;
use super::error::{Result, RunError};
use super::{Job, JobSource};

/// What becomes of such groups in a stage.
#[derive(Clone, Debug, Default)]
pub struct GroupPolicy {
    on_error: OnError,
    /// The number of the source that decides, if there is one, and its name in SQL.
    source: Option<(usize, String)>,
    /// The sources that say the same, as messages name them.
    resources: Vec<String>,
    stage: u32,
    statement: usize,
}

impl GroupPolicy {
    /// What the sources of a stage say.
    pub fn of(job: &Job, stage: &Stage) -> Self {
        let read = sources_of(&job.plan, stage);
        let read: Vec<_> = job.sources.iter().enumerate().filter(|(_, source)| read.contains(&source.name)).collect();
        let on_error = read.iter().map(|(_, source)| source.on_error).min_by_key(|on_error| leniency(*on_error));
        let on_error = on_error.unwrap_or_default();
        let decides = |(_, source): &&(usize, &JobSource)| source.on_error == on_error;
        Self {
            on_error,
            source: read.iter().find(decides).map(|(index, source)| (*index, source.name.clone())),
            resources: read.iter().filter(decides).map(|(_, source)| source.resource.clone()).collect(),
            stage: stage.id.0,
            statement: stage.statement + 1,
        }
    }

    /// Counts failed groups.
    pub fn count(&self, counters: &Counters, failed: &[FailedRow]) {
        if let Some(source) = self.source.as_ref().and_then(|(index, _)| counters.sources.get(*index)) {
            source.bad.of(BadClass::Evaluation).add(failed.len() as u64);
        }
    }

    /// The dead letters that failed groups become.
    ///
    /// # Errors
    /// `FailedGroup` where a source says `Fail`.
    pub fn judge(&self, failed: &[FailedRow]) -> Result<Option<RecordBatch>> {
        let Some(first) = failed.first() else { return Ok(None) };
        match self.on_error {
            OnError::Fail => Err(self.failure(first)),
            OnError::Drop => Ok(None),
            OnError::DeadLetter => self.letters(failed).map(Some),
        }
    }

    fn failure(&self, failed: &FailedRow) -> RunError {
        RunError::FailedGroup {
            statement: self.statement,
            place: place(failed.window_time),
            message: failed.message.clone(),
            row: failed.row.clone(),
            resources: self.resources.join(" and "),
        }
    }

    /// Rows as those of bad records: `split` is the stage, `position` the end of the window.
    fn letters(&self, failed: &[FailedRow]) -> Result<RecordBatch> {
        let record = |failed: &FailedRow| BadRecord {
            position: Position::at(failed.window_time.unwrap_or(i64::MIN) as u64),
            class: BadClass::Evaluation,
            message: failed.message.clone(),
            column: None,
            raw: Bytes::from(failed.row.clone()),
            record_time: failed.window_time,
        };
        let records: Vec<_> = failed.iter().map(record).collect();
        let source = self.source.as_ref().map_or("", |(_, name)| name.as_str());
        let show = |position: Position| place(Some(position.offset as u64 as i64).filter(|time| *time != i64::MIN));
        let stage = format!("stage-{}", self.stage);
        dead_letter::to_batch(source, &stage, &records.iter().collect::<Vec<_>>(), show)
            .map_err(|error| RunError::Internal(error.to_string()))
    }
}

/// The sources whose rows reach a stage, by their names in SQL.
fn sources_of(plan: &PlannedPipeline, stage: &Stage) -> Vec<String> {
    let of_input = |from: &InputFrom| match from {
        InputFrom::Source(name) => vec![name.clone()],
        InputFrom::Stage(id) => plan.stage(*id).map_or_else(Vec::new, |stage| sources_of(plan, stage)),
    };
    stage.inputs.iter().flat_map(|input| of_input(&input.from)).collect()
}

/// Who fails is heard before who keeps a letter, and that before who drops.
fn leniency(on_error: OnError) -> u8 {
    match on_error {
        OnError::Fail => 0,
        OnError::DeadLetter => 1,
        OnError::Drop => 2,
    }
}

fn place(window_time: Option<i64>) -> String {
    let end = window_time.and_then(|time| DateTime::from_timestamp_millis(time.saturating_add(1)));
    let text = |end: DateTime<_>| format!("window ending {}", end.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    end.map_or_else(|| "no window".to_owned(), text)
}
