//! What becomes of one chunk of a split: decoded once, judged late or not, transformed and folded for every stage that
//! reads it. Pure but for the two moments at which it hands on the greatest event time to the next chunk.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, TimestampMillisecondArray, UInt32Array, UInt64Array};
use arrow::compute::{filter_record_batch, max, not};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use thalweg_core::decode::{BadClass, BadRecord, Decoded, Decoder, Rows as RowPlaces};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, RawChunk};
use thalweg_core::time::Watermark;
use thalweg_sql::transform::Transform;
use thalweg_sql::window::{Folder, Partial, WindowedAggregate};

/// How a source's chunks are worked on.
pub struct ReadPlan {
    /// Bytes to columns.
    pub decoder: Arc<dyn Decoder>,
    /// The event-time column of the decoder's schema, with the watermark's delay in milliseconds.
    pub watermark: Option<(usize, i64)>,
    /// Whether late rows become dead letters; else they are counted only.
    pub keep_late: bool,
    /// One for each input of a stage that reads this source.
    pub routes: Vec<Route>,
    /// Whether units may close windows that a split still has rows of: it was idle, or appeared later. Then chunks are kept
    /// until they are served.
    pub may_be_closed: bool,
}

/// What one input of a stage wants of a chunk.
pub struct Route {
    /// The statement that the stage belongs to, from 1.
    pub statement: usize,
    /// The number of the input in its stage.
    pub input: u16,
    /// Columns of the decoder's schema, in the order of the transform's input.
    pub columns: Vec<RouteColumn>,
    /// Rows of the source to rows of the stage.
    pub transform: Arc<Transform>,
    /// Windows to fold into, and the number of key groups; `None` where rows go on as they are.
    pub windows: Option<(Arc<WindowedAggregate>, u32)>,
}

/// A column that a transform takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteColumn {
    /// A column of the decoder's schema.
    Decoded(usize),
    /// The number of the piece of the log, `__log`: of a file, of a partition, of a unit whose outbox it is.
    Log,
    /// The input, and the row's place in the piece, as one number, `__position`.
    Place,
}

/// The greatest event time of a split so far, within its watermark scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTime {
    /// The scope.
    pub scope: u64,
    /// Milliseconds; `None` before the first row.
    pub max: Option<i64>,
}

/// A decoded chunk whose lateness is not judged yet.
pub struct Opened {
    chunk: RawChunk,
    decoded: Decoded,
    own_max: Option<i64>,
}

/// A chunk that is kept until it is served, for units that have closed windows of it.
pub struct Kept {
    opened: Opened,
    before: Option<i64>,
}

/// A chunk, done.
pub struct Processed {
    /// Rows that were decoded.
    pub rows: usize,
    /// Rows that came after their windows had closed, in any of the stages that read them.
    pub late: usize,
    /// Records that could not be decoded.
    pub bad: Vec<BadRecord>,
    /// By route.
    pub routes: Vec<RouteRows>,
    /// Itself, where [`ReadPlan::may_be_closed`] says so.
    pub kept: Option<Kept>,
}

/// What a route makes of a chunk.
#[derive(Default)]
pub struct RouteRows {
    /// Rows as they are, for a stage without windows.
    pub batch: Option<RecordBatch>,
    /// One a key group.
    pub partials: Vec<Option<Partial>>,
    /// Rows that an expression failed on, and late rows if they are kept.
    pub bad: Vec<BadRecord>,
}

impl Route {
    /// The columns of an outbox entry that the transform takes; `__position` is the entry's number.
    pub fn select_outbox(&self, rows: &RecordBatch, log: u32, seq: u64) -> Result<RecordBatch, String> {
        let count = rows.num_rows();
        self.assemble(rows, log, || UInt64Array::from(vec![place(self.input, seq); count]))
    }

    fn assemble(&self, batch: &RecordBatch, log: u32, places: impl Fn() -> UInt64Array) -> Result<RecordBatch, String> {
        let rows = batch.num_rows();
        let columns = self.columns.iter().map(|column| match *column {
            RouteColumn::Decoded(index) => batch.column(index).clone(),
            RouteColumn::Log => Arc::new(UInt32Array::from(vec![log; rows])) as ArrayRef,
            RouteColumn::Place => Arc::new(places()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.transform.input().clone(), columns.collect(), &options)
            .map_err(|error| format!("the columns that were read do not fit the plan: {error}"))
    }
}

impl Opened {
    /// Decodes.
    pub fn new(plan: &ReadPlan, chunk: RawChunk) -> Self {
        let decoded = plan.decoder.decode(&chunk);
        let own_max = plan.watermark.and_then(|(column, _)| max_millis(decoded.batch.column(column)));
        Self { chunk, decoded, own_max }
    }

    /// Rows that were decoded.
    pub fn rows(&self) -> usize {
        self.decoded.batch.num_rows()
    }

    /// The greatest event time after this chunk.
    pub fn max_after(&self, before: MaxTime) -> MaxTime {
        let scope = self.chunk.piece.watermark_scope;
        let before = if scope == before.scope { before.max } else { None };
        MaxTime { scope, max: before.max(self.own_max) }
    }

    /// Judges, transforms and folds.
    pub fn process(self, plan: &ReadPlan, before: MaxTime) -> Result<Processed, String> {
        let before = if before.scope == self.chunk.piece.watermark_scope { before.max } else { None };
        let late: Vec<_> = plan.routes.iter().map(|route| self.late_rows(plan, route, before)).collect();
        let routes = plan.routes.iter().zip(&late).map(|(route, late)| self.route(plan, route, late.as_ref()));
        let routes = routes.collect::<Result<_, String>>()?;
        let (rows, bad) = (self.decoded.batch.num_rows(), self.decoded.bad.clone());
        let kept = plan.may_be_closed.then_some(Kept { opened: self, before });
        Ok(Processed { rows, late: late_for_any(&late), bad, routes, kept })
    }

    fn route(&self, plan: &ReadPlan, route: &Route, late: Option<&BooleanArray>) -> Result<RouteRows, String> {
        let mut out = RouteRows::default();
        let (input, kept) = self.in_time(plan, route, late, &mut out)?;
        let transformed = route.transform.apply(&input);
        for (row, message) in &transformed.failed {
            let row = kept.as_ref().map_or(*row as usize, |kept| kept.value(*row as usize) as usize);
            out.bad.push(self.bad_row(plan, row, BadClass::Evaluation, message.clone()));
        }
        match &route.windows {
            None => out.batch = Some(transformed.batch).filter(|batch| batch.num_rows() > 0),
            Some((windows, key_groups)) => out.partials = fold(windows, *key_groups, &transformed.batch)?,
        }
        Ok(out)
    }

    /// What a route takes of the rows that are not late, and which rows these are where some are.
    fn in_time(
        &self,
        plan: &ReadPlan,
        route: &Route,
        late: Option<&BooleanArray>,
        out: &mut RouteRows,
    ) -> Result<(RecordBatch, Option<UInt32Array>), String> {
        let rows = self.decoded.batch.num_rows();
        let places = || UInt64Array::from_iter_values((0..rows).map(|row| place(route.input, self.offset(row))));
        let input = route.assemble(&self.decoded.batch, self.chunk.piece.ordinal, places)?;
        match late {
            Some(late) => self.set_aside(plan, route, late, input, out),
            None => Ok((input, None)),
        }
    }

    fn late_rows(&self, plan: &ReadPlan, route: &Route, before: Option<i64>) -> Option<BooleanArray> {
        let ((column, delay_ms), (windows, _)) = (plan.watermark?, route.windows.as_ref()?);
        windows.late(self.decoded.batch.column(column), before, delay_ms).0
    }

    fn set_aside(
        &self,
        plan: &ReadPlan,
        route: &Route,
        late: &BooleanArray,
        input: RecordBatch,
        out: &mut RouteRows,
    ) -> Result<(RecordBatch, Option<UInt32Array>), String> {
        let late_rows = (0..late.len()).filter(|&row| late.value(row));
        if plan.keep_late {
            out.bad.extend(late_rows.map(|row| self.late_row(plan, route, row)));
        }
        let keep = not(late).map_err(|error| error.to_string())?;
        let kept = (0..keep.len() as u32).filter(|&row| keep.value(row as usize)).collect();
        let input = filter_record_batch(&input, &keep).map_err(|error| error.to_string())?;
        Ok((input, Some(kept)))
    }

    /// Each statement has windows of its own, and letters of its own.
    fn late_row(&self, plan: &ReadPlan, route: &Route, row: usize) -> BadRecord {
        let message = format!("INSERT {}: its windows had closed when it was read", route.statement);
        self.bad_row(plan, row, BadClass::Late, message)
    }

    fn bad_row(&self, plan: &ReadPlan, row: usize, class: BadClass, message: String) -> BadRecord {
        let record_time = plan.watermark.and_then(|(column, _)| millis_at(self.decoded.batch.column(column), row));
        let (position, raw) = (self.position(row), self.raw(row));
        BadRecord { position, class, message, column: None, raw, record_time }
    }

    fn record(&self, row: usize) -> u64 {
        match &self.decoded.rows {
            RowPlaces::All => row as u64,
            RowPlaces::Records(records) => records.get(row).map_or(row as u64, |&record| u64::from(record)),
            RowPlaces::Starts(starts) => starts.get(row).map_or(row as u64, |&start| u64::from(start)),
        }
    }

    fn position(&self, row: usize) -> Position {
        match &self.chunk.payload {
            Payload::Records(records) => {
                let record = self.record(row) as usize;
                records
                    .offsets
                    .get(record)
                    .map_or(self.chunk.from, |&offset| Position { offset: offset.into(), ..self.chunk.from })
            }
            _ => self.chunk.from.advanced_by(self.record(row)),
        }
    }

    fn offset(&self, row: usize) -> u64 {
        self.position(row).offset as u64
    }

    fn raw(&self, row: usize) -> Bytes {
        let raw = match (&self.chunk.payload, &self.decoded.rows) {
            (Payload::Text(text), RowPlaces::Starts(starts)) => {
                let start = starts.get(row).map_or(0, |&start| start as usize);
                let end = starts.get(row + 1).map_or(text.len(), |&next| next as usize);
                let line = text.slice(start.min(text.len())..end.max(start).min(text.len()));
                let length = line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len());
                line.slice(..length)
            }
            (Payload::Records(records), _) => {
                records.values.get(self.record(row) as usize).cloned().flatten().unwrap_or_default()
            }
            _ => row_as_text(&self.decoded.batch, row),
        };
        raw.slice(..raw.len().min(BadRecord::MAX_RAW))
    }
}

impl Kept {
    /// What one unit gets of the chunk that has closed windows up to `closed`: its rows of these are late, as many as are
    /// counted.
    ///
    /// # Errors
    /// The plan is wrong.
    pub fn behind(
        &self,
        plan: &ReadPlan,
        route: &Route,
        unit: u32,
        closed: Watermark,
    ) -> Result<(RouteRows, usize), String> {
        let Some((windows, key_groups)) = &route.windows else { return Ok((RouteRows::default(), 0)) };
        let by_log = self.opened.late_rows(plan, route, self.before);
        let (input, kept) = self.opened.in_time(plan, route, by_log.as_ref(), &mut RouteRows::default())?;
        let mut late = Vec::with_capacity(input.num_rows());
        let is_late = |rows: &RecordBatch| {
            let groups = windows.groups(rows, *key_groups)?;
            let Some(closed) = windows.closed(rows, closed)? else { return Ok(vec![false; rows.num_rows()]) };
            Ok(groups.iter().enumerate().map(|(row, group)| *group == unit && closed.value(row)).collect())
        };
        judge(&route.transform, &input, &is_late, &mut late)?;
        let late = BooleanArray::from(late);
        let source = |row: usize| kept.as_ref().map_or(row, |kept| kept.value(row) as usize);
        let late_rows = (0..late.len()).filter(|&row| late.value(row)).map(source);
        let bad = match plan.keep_late {
            true => late_rows.map(|row| self.opened.late_row(plan, route, row)).collect(),
            false => Vec::new(),
        };
        let rest = not(&late).and_then(|keep| filter_record_batch(&input, &keep)).map_err(|error| error.to_string())?;
        let partials = fold(windows, *key_groups, &route.transform.apply(&rest).batch)?;
        Ok((RouteRows { batch: None, partials, bad }, late.true_count()))
    }
}

/// Judges the rows of a transform's input by those that it makes of them. It does not say which rows it leaves out: where
/// it leaves out some, halves are judged by themselves.
fn judge(
    transform: &Transform,
    input: &RecordBatch,
    of_output: &impl Fn(&RecordBatch) -> Result<Vec<bool>, String>,
    judged: &mut Vec<bool>,
) -> Result<(), String> {
    let rows = input.num_rows();
    let said = of_output(&transform.apply(input).batch)?;
    if said.len() == rows {
        judged.extend(said);
    } else if rows == 1 || !said.contains(&true) {
        // One row of which several are made is late where one of them is.
        judged.extend(std::iter::repeat_n(said.contains(&true), rows));
    } else {
        let half = rows / 2;
        judge(transform, &input.slice(0, half), of_output, judged)?;
        judge(transform, &input.slice(half, rows - half), of_output, judged)?;
    }
    Ok(())
}

/// Input and offset as one number: the offset has 48 bits, of bytes 256 TiB.
fn place(input: u16, offset: u64) -> u64 {
    (u64::from(input) << 48) | (offset & ((1 << 48) - 1))
}

/// Rows that are late for one stage at least: each once, since lateness is a property of the log.
fn late_for_any(late: &[Option<BooleanArray>]) -> usize {
    match late.iter().flatten().collect::<Vec<_>>()[..] {
        [] => 0,
        [one] => one.true_count(),
        [first, ref rest @ ..] => {
            (0..first.len()).filter(|&row| first.value(row) || rest.iter().any(|late| late.value(row))).count()
        }
    }
}

/// A row of a source that has no bytes of its own to show: its columns as one line of JSON.
fn row_as_text(batch: &RecordBatch, row: usize) -> Bytes {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    let written = writer.write(&batch.slice(row, 1)).and_then(|()| writer.finish());
    let mut text = writer.into_inner();
    text.truncate(text.trim_ascii_end().len());
    written.map_or_else(|_| Bytes::new(), |()| Bytes::from(text))
}

/// Folds rows of the stage into one partial a key group.
pub fn fold(
    windows: &Arc<WindowedAggregate>,
    key_groups: u32,
    rows: &RecordBatch,
) -> Result<Vec<Option<Partial>>, String> {
    if rows.num_rows() == 0 {
        return Ok(vec![None; key_groups as usize]);
    }
    let mut folder: Folder = windows.folder();
    folder.push(rows)?;
    windows.split(&folder.finish()?, key_groups)
}

fn max_millis(times: &ArrayRef) -> Option<i64> {
    max(times.as_any().downcast_ref::<TimestampMillisecondArray>()?)
}

fn millis_at(times: &ArrayRef, row: usize) -> Option<i64> {
    let times = times.as_any().downcast_ref::<TimestampMillisecondArray>()?;
    times.is_valid(row).then(|| times.value(row))
}
