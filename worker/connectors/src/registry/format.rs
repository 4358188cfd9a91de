//! The formats of resources: decoders with the columns that are read, encodings of files.

use std::sync::Arc;

use thalweg_core::decode::Decoder;
use thalweg_core::error::{Error, Result};
use thalweg_crds::format::{AvroFormat, CsvFormat, Format, JsonFormat, TimestampFormat as Written};
use thalweg_crds::manifest::{ColumnInput, ResolvedColumn};

use super::{SourceRequest, unsupported};
use crate::files::{ColumnsDecoder, Encoding, Headers, Records};
use crate::formats::time::Pattern;
use crate::formats::{AvroDecoder, Column, CsvDecoder, CsvOptions, CsvStyle, Header, JsonDecoder, JsonOptions};
use crate::formats::{Framing, Judged, Metadata, TimestampFormat};
use crate::generator::by_schema::GeneratedColumn;
use crate::kafka::client::Wanted;

/// How the files of a source are read.
pub(super) struct Reading {
    /// What a reader must know.
    pub(super) records: Records,
    /// The rest.
    pub(super) decoder: Arc<dyn Decoder>,
}

/// How the files of a source are read.
///
/// # Errors
/// *User*: a format that is not supported, or one that has not the types of the columns.
pub(super) fn reading(request: &SourceRequest<'_>) -> Result<Reading> {
    let written = &request.source.spec.format;
    match written.as_ref().map_or_else(|| Format::Json(JsonFormat::default()), |format| format.resolve()) {
        Format::Json(json) => {
            let decoder = json_decoder(&json, request)?;
            Ok(Reading { records: Records::Text { framing: Framing::Lines, header: None }, decoder })
        }
        Format::Csv(csv) => csv_reading(&csv, request),
        Format::Parquet(_) => {
            let decoder = ColumnsDecoder::new(columns(request)?);
            Ok(Reading { records: Records::Parquet { columns: decoder.fields() }, decoder: Arc::new(decoder) })
        }
        Format::Avro(_) => Err(unsupported("format.avro of files")),
    }
}

/// What the columns that are read take of a broker's records beside values.
pub(super) fn wanted(request: &SourceRequest<'_>) -> Wanted {
    let read = request.source.columns.iter().filter(|column| request.columns.contains(&column.name));
    let names: Vec<_> = read
        .filter_map(|column| match &column.input {
            ColumnInput::Metadata(name) => Some(name.as_str()),
            ColumnInput::Field(_) => None,
        })
        .collect();
    Wanted {
        timestamps: names.contains(&"timestamp"),
        keys: names.contains(&"key"),
        headers: names.contains(&"headers"),
        fetch_bytes: None,
    }
}

/// The decoder of JSON.
///
/// # Errors
/// As [`reading`].
pub(super) fn json_decoder(json: &JsonFormat, request: &SourceRequest<'_>) -> Result<Arc<dyn Decoder>> {
    let timestamps = timestamps(json.timestamps())?;
    let options = JsonOptions { strict: json.strict, timestamps, row_starts: true };
    if !json.strict {
        return Ok(Arc::new(JsonDecoder::new(columns(request)?, options)?));
    }
    let is_read = |column: &&ResolvedColumn| request.columns.contains(&column.name);
    let of_record = |column: &ResolvedColumn| matches!(column.input, ColumnInput::Field(_));
    let judged: Vec<_> = request.source.columns.iter().filter(|column| is_read(column) || of_record(column)).collect();
    let given = judged.iter().enumerate().filter(|(_, column)| is_read(column)).map(|(index, _)| index).collect();
    let all = judged.into_iter().map(|column| self::column(column, request)).collect::<Result<_>>()?;
    Ok(Arc::new(Judged::new(Arc::new(JsonDecoder::new(all, options)?), given)?))
}

/// The decoder of a broker's records in Avro.
///
/// # Errors
/// *User*: there is no schema, or one that does not fit the columns.
pub(super) fn avro_decoder(avro: &AvroFormat, request: &SourceRequest<'_>) -> Result<Arc<dyn Decoder>> {
    let Some(schema) = &avro.schema else {
        return Err(Error::user("`format.avro.schema`", "expected the schema of the records, found none")
            .with_hint("records of kafka hold none: give it as JSON"));
    };
    Ok(Arc::new(AvroDecoder::new(columns(request)?, schema)?))
}

fn csv_reading(csv: &CsvFormat, request: &SourceRequest<'_>) -> Result<Reading> {
    let (delimiter, quote) = (byte("format.csv.delimiter", &csv.delimiter)?, byte("format.csv.quote", &csv.quote)?);
    let header = if csv.header { Header::FirstRecord } else { Header::Names(fields(&request.source.columns)) };
    let options = CsvOptions {
        header,
        delimiter,
        quote: Some(quote),
        null: csv.null.clone(),
        timestamps: TimestampFormat::default(),
        row_starts: true,
    };
    let decoder = Arc::new(CsvDecoder::new(columns(request)?, options)?);
    let header = csv.header.then(|| Arc::clone(&decoder) as Arc<dyn Headers>);
    Ok(Reading { records: Records::Text { framing: Framing::Csv { delimiter, quote }, header }, decoder })
}

impl Headers for CsvDecoder {
    fn set_header(&self, piece: &Arc<str>, header: &[u8]) -> Result<()> {
        Self::set_header(self, piece, header)
    }
}

/// The fields of a record, in the order in which columns declare them.
fn fields(columns: &[ResolvedColumn]) -> Vec<String> {
    let field = |column: &ResolvedColumn| match &column.input {
        ColumnInput::Field(field) => Some(field.clone()),
        ColumnInput::Metadata(_) => None,
    };
    columns.iter().filter_map(field).collect()
}

/// Every column of a generator that makes its records by the schema.
///
/// # Errors
/// *User*: a type that no value is made for.
pub(super) fn generated(request: &SourceRequest<'_>) -> Result<Vec<GeneratedColumn>> {
    let declared = fields(&request.source.columns).into_iter().zip(request.schema.fields());
    declared.map(|(name, field)| GeneratedColumn::new(name, field.data_type().clone())).collect()
}

/// The columns that are read, in the order of their declaration.
///
/// # Errors
/// *Internal*: the schema is another one's.
fn columns(request: &SourceRequest<'_>) -> Result<Vec<Column>> {
    let read = request.source.columns.iter().filter(|column| request.columns.contains(&column.name));
    read.map(|column| self::column(column, request)).collect()
}

fn column(declared: &ResolvedColumn, request: &SourceRequest<'_>) -> Result<Column> {
    let what = || format!("column `{}` of `{}`", declared.name, request.source.name);
    let field = request.schema.field_with_name(&declared.name).map_err(|error| Error::internal(what(), error))?;
    let event_time = request.source.spec.watermark.as_ref().map(|watermark| watermark.column.as_str());
    let column = Column::new(&declared.name, field.data_type().clone());
    let column = match &declared.input {
        ColumnInput::Field(from) => column.from_field(from),
        ColumnInput::Metadata(name) => column.with_metadata(
            metadata(name).ok_or_else(|| Error::user(what(), format!("`metadata: {name}` is unknown")))?,
        ),
    };
    let default = declared.default.as_ref().map(|value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let is_watermark = event_time == Some(declared.name.as_str());
    Ok(Column { nullable: declared.nullable, default, is_watermark, ..column })
}

fn metadata(name: &str) -> Option<Metadata> {
    match name {
        "file" | "topic" => Some(Metadata::File),
        "position" | "offset" => Some(Metadata::Position),
        "split" => Some(Metadata::Split),
        "partition" => Some(Metadata::Partition),
        "timestamp" => Some(Metadata::Timestamp),
        "key" => Some(Metadata::Key),
        "headers" => Some(Metadata::Headers),
        _ => None,
    }
}

fn timestamps(written: Written) -> Result<TimestampFormat> {
    Ok(match written {
        Written::Iso8601 => TimestampFormat::Iso8601,
        Written::EpochMillis => TimestampFormat::EpochMillis,
        Written::EpochSeconds => TimestampFormat::EpochSeconds,
        Written::Pattern(pattern) => {
            let read = Pattern::new(&pattern);
            TimestampFormat::Pattern(read.map_err(|error| Error::user("`format.json.timestampFormat`", error))?)
        }
    })
}

/// The encoding of output files.
///
/// # Errors
/// As [`reading`].
pub(super) fn encoding(format: &Format) -> Result<Encoding> {
    Ok(match format {
        Format::Json(json) if json.timestamps() != Written::Iso8601 => {
            let found = format!(
                "expected Iso8601 on a sink, found {}: others are read, not written yet",
                json.timestamp_format
            );
            return Err(Error::user("`format.json.timestampFormat`", found));
        }
        Format::Json(_) => Encoding::Json,
        Format::Csv(csv) => Encoding::Csv(CsvStyle {
            header: csv.header,
            delimiter: byte("format.csv.delimiter", &csv.delimiter)?,
            quote: byte("format.csv.quote", &csv.quote)?,
            null: csv.null.clone(),
        }),
        Format::Parquet(_) => Encoding::Parquet,
        Format::Avro(_) => return Err(unsupported("format.avro")),
    })
}

/// That a broker's records are written in this format.
///
/// # Errors
/// *User*: they are not.
pub(super) fn kafka_encoding(format: &Format) -> Result<()> {
    match format {
        Format::Json(_) => encoding(format).map(drop),
        _ => Err(unsupported("a kafka sink of anything but json")),
    }
}

fn byte(field: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(Error::user(format!("`{field}`"), format!("expected one ASCII character, found `{text}`"))),
    }
}
