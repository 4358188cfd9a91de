//! Parquet files as blocks of rows, row group after row group. Blocks.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use thalweg_core::decode::{BadClass, BadRecord};
use thalweg_core::error::Result;
use thalweg_core::position::Position;
use thalweg_core::source::Payload;

use super::block::{Block, Blocks};
use super::store::{Found, Stored, read_error};
use super::text::{BROKEN_OFF, check_unchanged};
use super::unfit::OpenError;
use crate::formats::column::sql_name;

/// The most rows of a block, and the least where rows are wide and files many.
const BLOCK_ROWS: (u64, u64) = (8192, 1024);
/// What one block of each file that is read at a time takes together, about: a pipeline holds several of each.
const BLOCKS_BYTES: u64 = 2 << 20;

/// A Parquet file, read in order.
pub(crate) struct ParquetBlocks {
    rows: ParquetRecordBatchReader,
    columns: SchemaRef,
    shown: Arc<str>,
    at: Position,
    total_rows: u64,
    file: Chunks,
    /// As it was when it was opened.
    found: Found,
    /// Whether it may be another file by the time its end is reached.
    is_watched: bool,
    ended: bool,
    tells_unread: bool,
}

impl ParquetBlocks {
    /// Opens a file at a row, as one of so many that are read at a time.
    ///
    /// # Errors
    /// It is no Parquet file, or has not the columns that are expected.
    pub(crate) fn open(
        stored: Arc<Stored>,
        found: &Found,
        shown: &Arc<str>,
        columns: &SchemaRef,
        at: Position,
        readers: usize,
    ) -> Result<Self, OpenError> {
        let found = stored.now(&found.name).map_err(|error| read_error(shown, 0, &error))?;
        let file = Chunks::of(stored, found.size);
        let metadata = metadata(&file).map_err(|error| file.open_error(shown, &error))?;
        for expected in columns.fields() {
            check_column(shown, metadata.schema().field_with_name(expected.name()).ok(), expected)?;
            check_int96(shown, &metadata, expected)?;
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata);
        let names = columns.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let groups: Vec<u64> =
            builder.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect();
        let total_rows = groups.iter().copied().fold(0, u64::saturating_add);
        let bytes = read_bytes(builder.metadata(), &mask);
        let from = u64::try_from(at.offset).unwrap_or(u64::MAX);
        let (first, skipped) = start(&groups, from);
        let rows = builder
            .with_projection(mask)
            .with_batch_size(block_rows(total_rows, bytes, readers))
            .with_row_groups((first..groups.len()).collect())
            .with_offset(usize::try_from(from - skipped).unwrap_or(usize::MAX))
            .build()
            .map_err(|error| file.open_error(shown, &error))?;
        let (columns, shown) = (Arc::clone(columns), Arc::clone(shown));
        let (is_watched, ended, tells_unread) = (false, false, false);
        Ok(Self { rows, columns, shown, at, total_rows, file, found, is_watched, ended, tells_unread })
    }

    /// Whether its folder is watched.
    pub(crate) fn watched(self, is_watched: bool) -> Self {
        Self { is_watched, ..self }
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
        let file = Chunks::of(Arc::new(stored), found.size);
        let metadata = metadata(&file).map_err(|error| file.open_error(shown, &error).into_error(shown))?;
        Ok(Arc::clone(metadata.schema()))
    }

    fn block(&mut self, rows: &RecordBatch) -> Result<Block, ArrowError> {
        let columns = self.columns.fields().iter().map(|expected| column(rows, expected));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let fields = self.columns.fields().iter().zip(&columns);
        let fields = fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let from = self.offset();
        let to = from + rows.num_rows() as u64;
        self.at = self.at.advanced_by(rows.num_rows() as u64);
        let share = u128::from(self.file.size) * u128::from(to) / u128::from(self.total_rows.max(1));
        let stored = u64::try_from(share).unwrap_or(self.file.size);
        Ok(Block { from, to, payload: Payload::Columns(rows).into(), bad: Vec::new(), stored })
    }

    fn offset(&self) -> u64 {
        u64::try_from(self.at.offset).unwrap_or(BROKEN_OFF)
    }

    /// The rest of the file cannot be read: storage failed, the file is another, or it is broken.
    fn break_off(&mut self, error: &ArrowError) -> Result<Block> {
        self.ended = true;
        if let Some(storage) = self.file.take_fault() {
            return Err(read_error(&self.shown, self.offset(), &storage));
        }
        self.check_unchanged()?;
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
        Ok(Block::gap(self.offset(), BROKEN_OFF, vec![bad], self.file.size))
    }

    fn check_unchanged(&self) -> Result<()> {
        check_unchanged(&self.file.stored, &self.found, &self.shown, self.offset())
    }

    /// A file that is written anew in its place gives rows of both. What is watched is looked at once more by its reader.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        if self.is_watched { Ok(()) } else { self.check_unchanged() }
    }
}

impl Blocks for ParquetBlocks {
    fn next(&mut self) -> Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        let block = self.rows.next().map(|rows| rows.and_then(|rows| self.block(&rows)));
        match block {
            None => self.end().map(|()| None),
            Some(Ok(block)) => Ok(Some(block)),
            Some(Err(error)) => self.break_off(&error).map(Some),
        }
    }
}

/// What a file says of itself, with its columns as they are read: INT96, the time of Spark and Hive, as microseconds. As
/// nanoseconds, which Arrow takes it for, 64 bits end in the year 2262, and other times come out as ones within.
fn metadata(file: &Chunks) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new())?;
    let roots = int96(&metadata);
    if roots.is_empty() {
        return Ok(metadata);
    }
    let fields = metadata.schema().fields().iter().enumerate().map(|(root, field)| {
        let read = field.as_ref().clone();
        if roots.contains(&root) { read.with_data_type(micros(field.data_type())) } else { read }
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata.schema().metadata().clone());
    ArrowReaderMetadata::try_new(
        Arc::clone(metadata.metadata()),
        ArrowReaderOptions::new().with_schema(Arc::new(schema)),
    )
}

/// The columns with times of INT96.
fn int96(metadata: &ArrowReaderMetadata) -> BTreeSet<usize> {
    let schema = metadata.parquet_schema();
    let leaves = schema.columns().iter().enumerate().filter(|(_, leaf)| leaf.physical_type() == PhysicalType::INT96);
    leaves.map(|(leaf, _)| schema.get_column_root_idx(leaf)).collect()
}

/// A type with microseconds in the place of nanoseconds.
fn micros(of: &DataType) -> DataType {
    match of {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::List(item) => {
            let read = micros(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(read)))
        }
        other => other.clone(),
    }
}

/// Nanoseconds of INT96 are not read, and not lost without a word either.
fn check_int96(shown: &str, metadata: &ArrowReaderMetadata, expected: &Field) -> Result<(), OpenError> {
    let root = metadata.schema().index_of(expected.name()).ok();
    let nanoseconds = expected.data_type() != &micros(expected.data_type());
    if !nanoseconds || root.is_none_or(|root| !int96(metadata).contains(&root)) {
        return Ok(());
    }
    let (name, wanted) = (expected.name(), sql_name(expected.data_type()));
    Err(OpenError::schema(format!(
        "`{shown}`, column `{name}`: expected {wanted}, found INT96, of which microseconds are read (declare TIMESTAMP(6))"
    )))
}

/// What the columns that are read take in memory, by what the file says of itself, true or not: when they are decompressed, or, of
/// texts that stand in a dictionary, each written out.
fn read_bytes(metadata: &ParquetMetaData, mask: &ProjectionMask) -> u64 {
    let of_group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        let bytes = |column: &ColumnChunkMetaData| {
            column.uncompressed_size().max(column.unencoded_byte_array_data_bytes().unwrap_or(0)).max(0) as u64
        };
        columns.map(|(_, column)| bytes(column)).fold(0, u64::saturating_add)
    };
    metadata.row_groups().iter().map(of_group).fold(0, u64::saturating_add)
}

/// The rows of a block, where so many rows take so many bytes.
fn block_rows(rows: u64, bytes: u64, readers: usize) -> usize {
    let share = BLOCKS_BYTES / readers.max(1) as u64;
    let fit = u128::from(share) * u128::from(rows) / u128::from(bytes.max(1));
    let (most, least) = BLOCK_ROWS;
    u64::try_from(fit).unwrap_or(most).clamp(least, most) as usize
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

/// A column as its declared type, but for the precision of times: a time may be beyond what the declared one holds, which
/// is for the decoder to tell of its row.
fn column(rows: &RecordBatch, expected: &Field) -> Result<ArrayRef, ArrowError> {
    let found = rows.column_by_name(expected.name());
    let found = found.ok_or_else(|| ArrowError::SchemaError(format!("no column `{}`", expected.name())))?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match (found.data_type(), expected.data_type()) {
        // The moment counts, not what clocks showed in the zone that the writer was in.
        (DataType::Timestamp(unit, Some(_)), DataType::Timestamp(..)) => {
            let utc = cast_with_options(found, &DataType::Timestamp(*unit, Some("UTC".into())), &options)?;
            cast_with_options(&utc, &DataType::Timestamp(*unit, None), &options)
        }
        (DataType::Timestamp(_, None) | DataType::Date32, DataType::Timestamp(..)) => Ok(Arc::clone(found)),
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

/// A stored file as the Parquet reader wants it.
#[derive(Clone)]
struct Chunks {
    stored: Arc<Stored>,
    size: u64,
    /// What storage said when it failed: of the reader's own errors only words are left on their way through Arrow's.
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl Chunks {
    fn of(stored: Arc<Stored>, size: u64) -> Self {
        Self { stored, size, fault: Arc::default() }
    }

    fn take_fault(&self) -> Option<io::Error> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let said = io::Error::new(error.kind(), error.to_string());
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        said
    }

    /// What an error of the reader's means while a file is opened.
    fn open_error(&self, shown: &str, error: &ParquetError) -> OpenError {
        match self.take_fault() {
            Some(storage) => read_error(shown, 0, &storage).into(),
            None => OpenError::decode(format!("`{shown}` cannot be read as Parquet: {error}")),
        }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::new(From { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| ParquetError::EOF(format!("byte {start} and {length} more")))?;
        let bytes = self.stored.range(start, (end - start) as usize);
        let bytes = bytes.map_err(|error| self.failed(error))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("byte {start} and {length} more")));
        }
        Ok(bytes)
    }
}

/// Reads on from a byte.
struct From {
    file: Chunks,
    at: u64,
}

impl Read for From {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.stored.read_at(self.at, into).map_err(|error| self.file.failed(error))?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::FileMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    #[test]
    fn blocks_are_the_smaller_the_wider_their_rows_and_the_more_files_are_read() {
        let wide = |readers| block_rows(1_000_000, 160_000_000, readers);
        assert_eq!([wide(1), wide(2), wide(8), wide(1_000)], [8192, 6553, 1638, 1024]);
        assert_eq!([8, 64].map(|readers| block_rows(1_000_000, 11_000_000, readers)), [8192, 2978]);
        assert_eq!(
            [block_rows(0, 0, 0), block_rows(u64::MAX, u64::MAX, 1), block_rows(1, u64::MAX, 1)],
            [1024, 8192, 1024]
        );
    }

    /// The metadata of one row group with these columns of `BYTE_ARRAY`: bytes on disk when decompressed, and written out.
    fn said(columns: &[(i64, Option<i64>)]) -> ParquetMetaData {
        let names = 0..columns.len();
        let fields: String = names.map(|name| format!("required binary c{name}; ")).collect();
        let schema = parse_message_type(&format!("message schema {{ {fields} }}")).expect("a schema");
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        let column = |(leaf, (bytes, written_out)): (usize, &(i64, Option<i64>))| {
            let column = ColumnChunkMetaData::builder(schema.column(leaf)).set_num_values(1);
            let column = column.set_total_uncompressed_size(*bytes).set_unencoded_byte_array_data_bytes(*written_out);
            column.build().expect("a column")
        };
        let columns = columns.iter().enumerate().map(column).collect();
        let group = RowGroupMetaData::builder(Arc::clone(&schema)).set_num_rows(1).set_column_metadata(columns);
        let file = FileMetaData::new(2, 1, None, None, Arc::clone(&schema), None);
        ParquetMetaData::new(file, vec![group.build().expect("a group")])
    }

    #[test]
    fn columns_take_what_is_read_of_them_whatever_the_file_says() {
        let said =
            said(&[(10, None), (20, Some(300)), (400, Some(30)), (i64::MAX, None), (i64::MAX, None), (i64::MIN, None)]);
        let read = |leaves: &[usize]| {
            let schema = said.file_metadata().schema_descr();
            read_bytes(&said, &ProjectionMask::leaves(schema, leaves.iter().copied()))
        };
        assert_eq!([read(&[]), read(&[0]), read(&[0, 1]), read(&[2]), read(&[5])], [0, 10, 310, 400, 0]);
        assert_eq!(read(&[0, 1, 2, 3, 4]), u64::MAX);
    }
}
