//! Avro records, one a broker's record: plain data of one schema, without a prefix that names it.
//!
//! A chunk is decoded as a whole. What fails is halved until it is known which records are to blame, so that each bad record
//! costs its row only, whatever is wrong with it: the decoder of Arrow keeps the columns of records that it could not read
//! to their ends, and sees text that is no UTF-8 only once a batch is whole.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{can_cast_types, cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_avro::errors::AvroError;
use arrow_avro::reader::{Decoder as Reader, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use thalweg_core::decode::{BadClass, Decoded, Decoder, Rows};
use thalweg_core::error::{Error, Result};
use thalweg_core::source::{Payload, RawChunk, Records};
use thalweg_core::years::rows_outside;

use super::assembler::{Place, bad_record, position_of};
use super::column::{Column, Metadata, schema_of, sql_name};
use super::fault::{Fault, Faults};
use super::json::tombstone;
use super::metadata;
use super::years;

/// What the decoder of Arrow wants before each record: a mark, and the number of the schema. Records of brokers have
/// none, so they get this one.
const PREFIX: [u8; 5] = [0, 0, 0, 0, NUMBER];
const NUMBER: u8 = 1;
/// The field that messages name.
const SCHEMA: &str = "`format.avro.schema`";

/// Decodes Avro.
#[derive(Clone, Debug)]
pub struct AvroDecoder {
    columns: Vec<Column>,
    schema: SchemaRef,
    /// The schema that records are written with.
    written: AvroSchema,
    /// The columns of records as Arrow reads them.
    read: SchemaRef,
}

/// Records that were read, by number.
struct Read {
    rows: RecordBatch,
    numbers: Vec<u32>,
}

impl AvroDecoder {
    /// A decoder of these columns, of records with this schema, which is JSON.
    ///
    /// # Errors
    /// *User*: it is no schema of a record, or of one that is not supported; a column is no field of it, or has another type.
    pub fn new(columns: Vec<Column>, schema: &str) -> Result<Self> {
        let written = AvroSchema::new(schema.to_owned());
        let refused = |found: String| {
            Error::user(SCHEMA, found).with_hint("give the schema of a record as JSON, as the producer has it")
        };
        let reader = reader(&written, 1).map_err(|error| refused(error.to_string()))?;
        let read = reader.schema();
        if let Some(field) = read.fields().iter().find(|field| holds_weightless_items(field.data_type())) {
            return Err(refused(format!(
                "field `{}`: items of arrays and maps must take a byte at least",
                field.name()
            )));
        }
        if read.fields().iter().all(|field| is_weightless(field.data_type())) {
            return Err(refused("expected a record with a field that takes a byte at least".to_owned()));
        }
        for column in columns.iter().filter(|column| column.metadata.is_none()) {
            check(column, &read)?;
        }
        Ok(Self { schema: Arc::new(schema_of(&columns)), columns, written, read })
    }

    /// Reads these records; those that cannot be read are told to `bad`, the others follow in their order.
    fn read(&self, records: &[(u32, &[u8])], into: &mut Vec<Read>, bad: &mut Vec<(u32, Fault)>) {
        match self.read_all(records) {
            Ok(Some(rows)) => into.push(Read { rows, numbers: records.iter().map(|(number, _)| *number).collect() }),
            Ok(None) => {}
            Err(error) => match records {
                [(number, value)] => bad.push((*number, not_read(value, &error))),
                _ => {
                    let (first, second) = records.split_at(records.len() / 2);
                    self.read(first, into, bad);
                    self.read(second, into, bad);
                }
            },
        }
    }

    fn read_all(&self, records: &[(u32, &[u8])]) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let Some(capacity) = Some(records.len()).filter(|count| *count > 0) else { return Ok(None) };
        let mut reader = reader(&self.written, capacity)?;
        for (_, value) in records {
            begin(&mut reader)?;
            let left = reader.capacity();
            let taken = reader.decode(value)?;
            // The decoder waits for the rest of a record that ends too early.
            if reader.capacity() == left {
                return Err(AvroError::EOF("it ends too early".to_owned()).into());
            }
            if taken < value.len() || reader.capacity() + 1 != left {
                return Err(follows());
            }
        }
        begin(&mut reader)?;
        Ok(reader.flush()?)
    }

    fn decoded(&self, chunk: &RawChunk, records: &Records) -> std::result::Result<Decoded, ArrowError> {
        let (mut read, mut bad) = (Vec::new(), Vec::new());
        let numbered = (0u32..).zip(&records.values);
        let tombstones = numbered.clone().filter(|(_, value)| value.is_none());
        bad.extend(tombstones.map(|(number, _)| (number, tombstone())));
        let values: Vec<_> = numbered.filter_map(|(number, value)| Some((number, value.as_deref()?))).collect();
        self.read(&values, &mut read, &mut bad);
        let numbers: Vec<u32> = read.iter().flat_map(|read| &read.numbers).copied().collect();
        let rows = concat_batches(&self.read, read.iter().map(|read| &read.rows))?;
        let columns = self.columns.iter().map(|column| self.column(column, chunk, records, &rows, &numbers));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let good = self.judge(records, &rows, &numbers, &columns, &mut bad);
        let kept: Vec<u32> = good.set_indices().map(|row| numbers[row]).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let loose: Vec<_> =
            self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let all = RecordBatch::try_new_with_options(Arc::new(Schema::new(loose)), columns, &options)?;
        let all = if kept.len() < numbers.len() { filter_record_batch(&all, &BooleanArray::from(good))? } else { all };
        let options = RecordBatchOptions::new().with_row_count(Some(kept.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), all.columns().to_vec(), &options)?;
        Ok(Decoded { batch, rows: Rows::Records(kept), bad: self.letters(chunk, bad) })
    }

    fn column(
        &self,
        column: &Column,
        chunk: &RawChunk,
        records: &Records,
        rows: &RecordBatch,
        numbers: &[u32],
    ) -> std::result::Result<ArrayRef, ArrowError> {
        match column.metadata {
            Some(Metadata::File | Metadata::Split) => {
                Ok(Arc::new(StringArray::new_repeated(chunk.piece.name.as_ref(), numbers.len())))
            }
            Some(Metadata::Position) => {
                let offset = |number: &u32| position_of(chunk, &place(*number)).offset;
                let offsets = numbers.iter().map(|number| i64::try_from(offset(number)).unwrap_or(i64::MAX));
                Ok(Arc::new(Int64Array::from_iter_values(offsets)))
            }
            Some(metadata) => metadata::array(metadata, &column.data_type, records, numbers),
            None => {
                let missing = || ArrowError::SchemaError(format!("no field `{}`", column.from));
                cast(rows.column_by_name(&column.from).ok_or_else(missing)?, &column.data_type)
            }
        }
    }

    /// The rows that are good: every value fits its column, no null stands where none may be, times are of the years that
    /// they may have, and keys and headers are text where they must.
    fn judge(
        &self,
        records: &Records,
        rows: &RecordBatch,
        numbers: &[u32],
        columns: &[ArrayRef],
        bad: &mut Vec<(u32, Fault)>,
    ) -> BooleanBuffer {
        let places: Vec<_> = numbers.iter().map(|number| place(*number)).collect();
        let mut faults = Faults::default();
        numbers.iter().for_each(|_| faults.push_row(0));
        for (column, values) in self.columns.iter().zip(columns) {
            faults.about(&column.describe());
            if let Some(metadata) = column.metadata {
                metadata::judge(metadata, &column.data_type, records, &places, &mut faults);
                continue;
            }
            for row in rows_outside(values.as_ref()) {
                let message = years::problem(faults.context(), values.as_ref(), row);
                faults.report(row, Fault { class: BadClass::Schema, column: None, message });
            }
            if let Some(nulls) = values.logical_nulls() {
                let written = rows.column_by_name(&column.from);
                let was_null = written.and_then(|written| written.logical_nulls());
                for row in (0..numbers.len()).filter(|row| nulls.is_null(*row)) {
                    let was_null = was_null.as_ref().is_some_and(|nulls| nulls.is_null(row));
                    if !was_null || !column.may_be_null() {
                        let found = if was_null { "null" } else { "a value that is none" };
                        let expected = sql_name(&column.data_type);
                        let message = format!("{}: expected {expected}, found {found}", faults.context());
                        faults.report(row, Fault { class: BadClass::Schema, column: None, message });
                    }
                }
            }
        }
        BooleanBuffer::collect_bool(numbers.len(), |row| match faults.take(row) {
            Some(fault) => {
                bad.push((numbers[row], fault));
                false
            }
            None => true,
        })
    }

    fn letters(&self, chunk: &RawChunk, bad: Vec<(u32, Fault)>) -> Vec<thalweg_core::decode::BadRecord> {
        let records = bad.into_iter().map(|(number, fault)| bad_record(chunk, &place(number), fault, None));
        let mut letters: Vec<_> = chunk.bad.iter().cloned().chain(records).collect();
        letters.sort_by_key(|letter| letter.position);
        letters
    }

    fn nothing(&self, chunk: &RawChunk, message: String) -> Decoded {
        let fault = Fault { class: BadClass::Decode, column: None, message };
        let batch = RecordBatch::new_empty(Arc::clone(&self.schema));
        Decoded { batch, rows: Rows::All, bad: self.letters(chunk, vec![(0, fault)]) }
    }
}

impl Decoder for AvroDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&self, chunk: &RawChunk) -> Decoded {
        let Payload::Records(records) = &chunk.payload else {
            return self.nothing(chunk, "expected records of a broker, found files".to_owned());
        };
        let decoded = self.decoded(chunk, records);
        decoded.unwrap_or_else(|error| self.nothing(chunk, format!("a bug in the decoder: {error}")))
    }
}

/// A decoder of Arrow for so many records.
fn reader(schema: &AvroSchema, records: usize) -> std::result::Result<Reader, ArrowError> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(u32::from(NUMBER)), schema.clone())?;
    // One more than come, lest what follows the last one is left unread and unseen.
    ReaderBuilder::new().with_batch_size(records + 1).with_writer_schema_store(store).build_decoder()
}

/// Tells the decoder that a record begins. Where bytes that look like a prefix follow the one before, it takes this for a
/// record.
fn begin(reader: &mut Reader) -> std::result::Result<(), ArrowError> {
    let left = reader.capacity();
    let is_taken = reader.decode(&PREFIX)? == PREFIX.len() && reader.capacity() == left;
    if is_taken { Ok(()) } else { Err(follows()) }
}

fn follows() -> ArrowError {
    AvroError::ParseError("more bytes follow it".to_owned()).into()
}

/// That a column is a field of records, and can have its type.
fn check(column: &Column, read: &Schema) -> Result<()> {
    let what = || format!("{} of a source with {SCHEMA}", column.describe());
    let Ok(field) = read.field_with_name(&column.from) else {
        let fields: Vec<_> = read.fields().iter().map(|field| format!("`{}`", field.name())).collect();
        let found = format!("expected one of the record's fields {}, found `{}`", fields.join(", "), column.from);
        return Err(Error::user(what(), found).with_hint("say `from:` where a field has another name than its column"));
    };
    if can_cast_types(field.data_type(), &column.data_type) {
        return Ok(());
    }
    let (expected, found) = (sql_name(&column.data_type), sql_name(field.data_type()));
    Err(Error::user(what(), format!("expected a field that can be {expected}, found {found}")))
}

/// Whether values of a type may take no byte: then a number alone could ask for any amount of them.
fn is_weightless(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::FixedSizeBinary(0) => true,
        DataType::Struct(fields) => fields.iter().all(|field| is_weightless(field.data_type()) && !field.is_nullable()),
        _ => false,
    }
}

/// Whether a type has arrays or maps of such values somewhere.
fn holds_weightless_items(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => {
            is_weightless(item.data_type()) && !item.is_nullable()
                || item.data_type() == &DataType::Null
                || holds_weightless_items(item.data_type())
        }
        // A key takes a byte.
        DataType::Map(entries, _) => holds_weightless_items(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_weightless_items(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| holds_weightless_items(field.data_type())),
        _ => false,
    }
}

fn place(number: u32) -> Place {
    Place { number: number as usize, len: 0 }
}

/// The fault of a record that could not be read.
#[cold]
fn not_read(value: &[u8], error: &ArrowError) -> Fault {
    let message = format!("expected a record of {SCHEMA}, found {} bytes: {error}", value.len());
    Fault { class: BadClass::Decode, column: None, message }
}
