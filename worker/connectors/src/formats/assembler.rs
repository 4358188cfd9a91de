//! Blocks of located rows become one batch and the list of what is wrong with the others.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, Int64Array, StringArray, new_null_array};
use arrow::compute::FilterBuilder;
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use thalweg_core::decode::{BadClass, BadRecord, Decoded, Rows};
use thalweg_core::position::Position;
use thalweg_core::source::{Payload, RawChunk};

use super::cell::Cells;
use super::column::{Column, Metadata};
use super::fault::{Fault, Faults};
use super::grid::Grid;
use super::metadata;
use super::plan::Plan;
use super::writer::Writer;

/// Where a record lies in its chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its first byte in the chunk's text, or its number.
    pub number: usize,
    /// Its length in bytes (of text).
    pub len: usize,
}

/// How one column comes to be.
enum Builder {
    Field(Box<dyn Writer>),
    Position(Vec<i64>),
    Name,
    /// What a broker tells of a record.
    Record(Metadata),
}

/// Builds what a chunk becomes.
pub(crate) struct Assembler<'a> {
    plan: &'a Plan,
    chunk: &'a RawChunk,
    builders: Vec<Builder>,
    good: BooleanBufferBuilder,
    /// Number of each row's record, where a column asks for what a broker tells.
    numbers: Vec<u32>,
    places: Option<Vec<u32>>,
    rows: usize,
    bad: Vec<BadRecord>,
}

impl<'a> Assembler<'a> {
    /// Starts a chunk; `with_places` keeps where each good row lies.
    pub fn new(plan: &'a Plan, chunk: &'a RawChunk, with_places: bool) -> Self {
        let builder = |index: usize| match (plan.columns[index].metadata, plan.writer(index)) {
            (Some(Metadata::Position), _) => Builder::Position(Vec::new()),
            (Some(Metadata::File | Metadata::Split), _) => Builder::Name,
            (Some(metadata), _) => Builder::Record(metadata),
            (None, Some(writer)) => Builder::Field(writer),
            (None, None) => Builder::Name,
        };
        Self {
            plan,
            chunk,
            builders: (0..plan.columns.len()).map(builder).collect(),
            good: BooleanBufferBuilder::new(0),
            numbers: Vec::new(),
            places: with_places.then(Vec::new),
            rows: 0,
            bad: chunk.bad.clone(),
        }
    }

    /// Converts a block: its cells lie in `text`, its records at `places`, and `faults` has those found so far.
    pub fn block(&mut self, text: &[u8], grid: &Grid, places: &[Place], faults: &mut Faults) {
        for index in 0..self.builders.len() {
            let cells = grid.column(index, places.len());
            let cells = Cells { text, cells, default: self.plan.default(index), rows: None };
            match &mut self.builders[index] {
                Builder::Field(writer) => {
                    faults.about(&self.plan.descriptions[index]);
                    writer.append(cells, faults);
                }
                Builder::Position(positions) => {
                    positions.extend(places.iter().map(|place| offset_of(position_of(self.chunk, place))));
                }
                Builder::Name => {}
                Builder::Record(metadata) => {
                    if let (Payload::Records(records), data_type) =
                        (&self.chunk.payload, &self.plan.columns[index].data_type)
                    {
                        faults.about(&self.plan.descriptions[index]);
                        metadata::judge(*metadata, data_type, records, places, faults);
                    }
                }
            }
        }
        if self.builders.iter().any(|builder| matches!(builder, Builder::Record(_))) {
            self.numbers.extend(places.iter().map(|place| place.number as u32));
        }
        if faults.any() {
            self.take_bad(places, faults);
        } else {
            self.good.append_n(places.len(), true);
        }
        if let Some(kept) = &mut self.places {
            let good = places.iter().enumerate().filter(|&(row, _)| self.good.get_bit(self.rows + row));
            kept.extend(good.map(|(_, place)| place.number as u32));
        }
        self.rows += places.len();
    }

    /// Sorts out the rows of a block that have faults.
    #[cold]
    fn take_bad(&mut self, places: &[Place], faults: &mut Faults) {
        for (row, place) in places.iter().enumerate() {
            let fault = faults.take(row);
            self.good.append(fault.is_none());
            if let Some(fault) = fault {
                let record_time = self.event_time(self.rows + row);
                self.refuse(place, fault, record_time);
            }
        }
    }

    fn event_time(&self, row: usize) -> Option<i64> {
        match self.builders.get(self.plan.watermark?)? {
            Builder::Field(writer) => writer.event_time(row),
            Builder::Record(Metadata::Timestamp) => match &self.chunk.payload {
                Payload::Records(records) => records.timestamps.get(*self.numbers.get(row)? as usize).copied(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Adds a record that is no row.
    pub fn refuse(&mut self, place: &Place, fault: Fault, record_time: Option<i64>) {
        self.bad.push(bad_record(self.chunk, place, fault, record_time));
    }

    /// The rows that are good, and the bad records in the order of the log.
    pub fn finish(mut self) -> Decoded {
        if !self.chunk.bad.is_empty() {
            self.bad.sort_by_key(|bad| bad.position);
        }
        let rows = match (self.places.take(), &self.chunk.payload) {
            (Some(places), Payload::Text(_)) => Rows::Starts(places),
            (Some(places), _) => Rows::Records(places),
            (None, _) => Rows::All,
        };
        match self.batch() {
            Ok(batch) => Decoded { batch, rows, bad: self.bad },
            Err(error) => self.nothing(&error),
        }
    }

    fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let good = BooleanArray::new(self.good.finish(), None);
        let count = good.true_count();
        let name = self.chunk.piece.name.as_ref();
        let array = |(builder, column): (&mut Builder, &Column)| -> Result<ArrayRef, ArrowError> {
            Ok(match builder {
                Builder::Record(metadata) => match &self.chunk.payload {
                    Payload::Records(records) => metadata::array(*metadata, &column.data_type, records, &self.numbers)?,
                    _ => new_null_array(&column.data_type, good.len()),
                },
                Builder::Field(writer) => writer.finish()?,
                Builder::Position(positions) => Arc::new(Int64Array::from(std::mem::take(positions))),
                Builder::Name => Arc::new(StringArray::new_repeated(name, good.len())),
            })
        };
        let builders = self.builders.iter_mut().zip(&self.plan.columns);
        let mut arrays = builders.map(array).collect::<Result<Vec<_>, _>>()?;
        if count < good.len() {
            let filter = FilterBuilder::new(&good).optimize().build();
            arrays = arrays.iter().map(|array| filter.filter(array)).collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), arrays, &options)
    }

    /// A chunk whose columns do not make a batch: a bug, told as such and without a panic.
    #[cold]
    fn nothing(self, error: &ArrowError) -> Decoded {
        let message = format!("a bug in the decoder: {error}");
        let fault = Fault { class: BadClass::Decode, column: None, message };
        let mut assembler = Assembler::new(self.plan, self.chunk, false);
        assembler.refuse(&Place { number: 0, len: 0 }, fault, None);
        let batch = RecordBatch::new_empty(Arc::clone(&self.plan.schema));
        Decoded { batch, rows: Rows::All, bad: assembler.bad }
    }
}

/// A record that is no row.
pub(super) fn bad_record(chunk: &RawChunk, place: &Place, fault: Fault, record_time: Option<i64>) -> BadRecord {
    let Fault { class, column, message } = fault;
    let (position, raw) = (position_of(chunk, place), raw_of(&chunk.payload, place));
    BadRecord { position, class, message, column, raw, record_time }
}

/// The position of a record of a chunk.
pub(super) fn position_of(chunk: &RawChunk, place: &Place) -> Position {
    match &chunk.payload {
        Payload::Records(records) => match records.offsets.get(place.number) {
            Some(&offset) => Position { entry: chunk.from.entry, offset: offset.into() },
            None => chunk.from.advanced_by(place.number as u64),
        },
        _ => chunk.from.advanced_by(place.number as u64),
    }
}

/// A position within its piece as a BIGINT.
fn offset_of(position: Position) -> i64 {
    i64::try_from(position.offset).unwrap_or(i64::MAX)
}

/// The bytes of a record, shared with the chunk.
fn raw_of(payload: &Payload, place: &Place) -> Bytes {
    let (bytes, from, len) = match payload {
        Payload::Text(text) => (text.clone(), place.number.min(text.len()), place.len),
        Payload::Records(records) => {
            let value = records.values.get(place.number).cloned().flatten().unwrap_or_default();
            let len = value.len();
            (value, 0, len)
        }
        Payload::Columns(_) => return Bytes::new(),
    };
    let to = (from + len.min(BadRecord::MAX_RAW)).min(bytes.len());
    bytes.slice(from..to)
}
