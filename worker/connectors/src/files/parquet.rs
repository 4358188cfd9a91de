//! Parquet files as blocks of rows, row group after row group. Blocks.

use std::io::{self, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::Result;
use thalweg_core::position::Position;
use thalweg_core::source::Payload;

use super::block::{Block, Blocks};
use super::input::StorageError;
use super::store::{Found, Stored, read_error};
use super::text::BROKEN_OFF;
use super::unfit::OpenError;
use crate::formats::column::sql_name;

/// The most rows of a block.
const BATCH_ROWS: usize = 8192;

/// A Parquet file, read in order.
pub(crate) struct ParquetBlocks {
    rows: ParquetRecordBatchReader,
    columns: SchemaRef,
    shown: Arc<str>,
    at: Position,
    total_rows: u64,
    size: u64,
    ended: bool,
    tells_unread: bool,
}

impl ParquetBlocks {
    /// Opens a file at row `from`.
    ///
    /// # Errors
    /// It is no Parquet file, or has not the columns that are expected.
    pub(crate) fn open(
        stored: Arc<Stored>,
        found: &Found,
        shown: &Arc<str>,
        columns: &SchemaRef,
        at: Position,
    ) -> Result<Self, OpenError> {
        let now = stored.now(&found.name).map_err(|error| read_error(shown, 0, &error))?;
        let file = Chunks { stored, size: now.size };
        let opened = ParquetRecordBatchReaderBuilder::try_new(file);
        let builder = opened.map_err(|error| open_error(shown, error))?;
        for expected in columns.fields() {
            check_column(shown, builder.schema().field_with_name(expected.name()).ok(), expected)?;
        }
        let names = columns.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let groups: Vec<u64> =
            builder.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect();
        let from = u64::try_from(at.offset).unwrap_or(u64::MAX);
        let (first, skipped) = start(&groups, from);
        let rows = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .with_row_groups((first..groups.len()).collect())
            .with_offset(usize::try_from(from - skipped).unwrap_or(usize::MAX))
            .build()
            .map_err(|error| open_error(shown, error))?;
        let (columns, shown, total_rows) = (Arc::clone(columns), Arc::clone(shown), groups.iter().sum());
        Ok(Self { rows, columns, shown, at, total_rows, size: now.size, ended: false, tells_unread: false })
    }

    /// Whether a rest that cannot be read is told at once.
    pub(crate) fn telling(self, tells_unread: bool) -> Self {
        Self { tells_unread, ..self }
    }

    /// The columns that a file says it has.
    ///
    /// # Errors
    /// It is no Parquet file.
    pub(crate) fn columns_of(stored: Stored, found: &Found, shown: &str) -> Result<SchemaRef> {
        let file = Chunks { stored: Arc::new(stored), size: found.size };
        let opened = ParquetRecordBatchReaderBuilder::try_new(file);
        Ok(Arc::clone(opened.map_err(|error| open_error(shown, error).into_error(shown))?.schema()))
    }

    fn block(&mut self, rows: &RecordBatch) -> Result<Block, ArrowError> {
        let columns = self.columns.fields().iter().map(|expected| column(rows, expected));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &options)?;
        let from = self.offset();
        let to = from + rows.num_rows() as u64;
        self.at = self.at.advanced_by(rows.num_rows() as u64);
        let share = u128::from(self.size) * u128::from(to) / u128::from(self.total_rows.max(1));
        let stored = u64::try_from(share).unwrap_or(self.size);
        Ok(Block { from, to, payload: Payload::Columns(rows), bad: Vec::new(), stored })
    }

    fn offset(&self) -> u64 {
        u64::try_from(self.at.offset).unwrap_or(BROKEN_OFF)
    }

    /// The rest of the file cannot be read.
    fn break_off(&mut self, error: &ArrowError) -> Result<Block> {
        self.ended = true;
        if let Some(storage) = arrow_storage_error(error) {
            return Err(read_error(&self.shown, self.offset(), storage));
        }
        let message = format!(
            "`{}` cannot be read from row {} on: {error}; the rest of the file is not read",
            self.shown,
            self.offset() + 1
        );
        if self.tells_unread {
            tracing::warn!("{message}");
        }
        let (class, raw) = (BadClass::Decode, Bytes::new());
        let bad = BadRecord { position: self.at, class, message, column: None, raw, record_time: None };
        Ok(Block::gap(self.offset(), BROKEN_OFF, vec![bad], self.size))
    }
}

impl Blocks for ParquetBlocks {
    fn next(&mut self) -> Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        let block = self.rows.next().map(|rows| rows.and_then(|rows| self.block(&rows)));
        match block {
            None => Ok(None),
            Some(Ok(block)) => Ok(Some(block)),
            Some(Err(error)) => self.break_off(&error).map(Some),
        }
    }
}

/// The row group that holds row `from`, and the rows before that group.
fn start(groups: &[u64], from: u64) -> (usize, u64) {
    let (mut first, mut skipped) = (0, 0);
    while first < groups.len() && skipped + groups[first] <= from {
        skipped += groups[first];
        first += 1;
    }
    (first, skipped)
}

/// A column as its declared type.
fn column(rows: &RecordBatch, expected: &Field) -> Result<ArrayRef, ArrowError> {
    let found = rows.column_by_name(expected.name());
    let found = found.ok_or_else(|| ArrowError::SchemaError(format!("no column `{}`", expected.name())))?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match found.data_type() {
        // The moment counts, not what clocks showed in the zone that the writer was in.
        DataType::Timestamp(unit, Some(_)) => {
            let utc = cast_with_options(found, &DataType::Timestamp(*unit, Some("UTC".into())), &options)?;
            cast_with_options(&utc, expected.data_type(), &options)
        }
        _ => cast_with_options(found, expected.data_type(), &options),
    }
}

fn check_column(shown: &str, found: Option<&Field>, expected: &Field) -> Result<(), OpenError> {
    let wanted = expected.data_type();
    let unfit = |found: &str, hint: &str| {
        let (name, wanted) = (expected.name(), sql_name(wanted));
        Err(OpenError::schema(format!("`{shown}`, column `{name}`: expected {wanted}, found {found}{hint}")))
    };
    match found {
        None => unfit("no such column", ""),
        Some(found) if fits(found.data_type(), wanted) => Ok(()),
        Some(found) => {
            unfit(&sql_name(found.data_type()), " (declare the type that the files have, and cast in the query)")
        }
    }
}

/// Whether every value of one type is one of the other.
fn fits(found: &DataType, expected: &DataType) -> bool {
    use DataType::{Date32, Decimal128, Dictionary, Float32, Float64, LargeUtf8, List, Timestamp, Utf8, Utf8View};
    let text = |of: &DataType| matches!(of, Utf8 | LargeUtf8 | Utf8View);
    match (found, expected) {
        _ if found == expected => true,
        (Dictionary(_, values), _) => fits(values, expected),
        (List(found), List(expected)) => fits(found.data_type(), expected.data_type()),
        (Float32, Float64) | (Date32 | Timestamp(..), Timestamp(..)) => true,
        (Decimal128(p, s), Decimal128(q, t)) => {
            s <= t && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        _ if found.is_integer() && expected.is_integer() => widens(found, expected),
        _ => text(found) && text(expected),
    }
}

fn widens(found: &DataType, expected: &DataType) -> bool {
    let (from, to) = (found.primitive_width(), expected.primitive_width());
    match (found.is_unsigned_integer(), expected.is_unsigned_integer()) {
        (true, true) | (false, false) => from <= to,
        (true, false) => from < to,
        (false, true) => false,
    }
}

fn open_error(shown: &str, error: ParquetError) -> OpenError {
    match &error {
        ParquetError::External(cause) if let Some(storage) = cause.downcast_ref::<StorageError>() => {
            read_error(shown, 0, &storage.0).into()
        }
        _ => OpenError::decode(format!("`{shown}` cannot be read as Parquet: {error}")),
    }
}

/// The storage's error behind one of the reader's.
fn arrow_storage_error(error: &ArrowError) -> Option<&io::Error> {
    let ArrowError::ExternalError(cause) = error else { return None };
    if let Some(storage) = cause.downcast_ref::<StorageError>() {
        return Some(&storage.0);
    }
    let ParquetError::External(cause) = cause.downcast_ref::<ParquetError>()? else { return None };
    cause.downcast_ref::<StorageError>().map(|storage| &storage.0)
}

/// A stored file as the Parquet reader wants it.
struct Chunks {
    stored: Arc<Stored>,
    size: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::new(From { stored: Arc::clone(&self.stored), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| ParquetError::EOF(format!("byte {start} and {length} more")))?;
        let bytes = self.stored.range(start, (end - start) as usize);
        let bytes = bytes.map_err(|error| ParquetError::External(Box::new(StorageError(error))))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("byte {start} and {length} more")));
        }
        Ok(bytes)
    }
}

/// Reads on from a byte.
struct From {
    stored: Arc<Stored>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.stored.read_at(self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}
