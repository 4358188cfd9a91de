//! The one list of connectors and formats: from what resources say to what a worker reads and writes.
//!
//! To add a connector: a folder beside this file, settings in `crds/src/connector/`, an arm in [`source`] or [`sink`].

mod columns;
mod settings;
mod writers;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_core::append_log::AppendLog;
use thalweg_core::clock::SharedClock;
use thalweg_core::decode::Decoder;
use thalweg_core::error::{Error, Result};
use thalweg_core::sink::Sink;
use thalweg_core::source::Source;
use thalweg_crds::connector::{FilesSource as FilesSpec, GeneratorSource as GeneratorSpec, SinkConnector, SourceConnector, Style};
use thalweg_crds::format::Format;
use thalweg_crds::manifest::{ResolvedSink, ResolvedSource};
use thalweg_crds::secret::ValueFrom;

use crate::blackhole::BlackholeSink;
use crate::files::{FilesSink, FilesSource, Framing, Headers, Records};
use crate::formats::csv::CsvDecoder;
use crate::formats::json::JsonDecoder;
use crate::generator::by_schema::GeneratedColumn;
use crate::generator::{GeneratorConfig, GeneratorSource};
use crate::stdout::{StdoutSink, Style as StdoutStyle};
use crate::files::encoder::JsonLines;

use columns::ColumnsDecoder;

/// Where values of Secrets and ConfigMaps come from.
pub trait Values {
    /// The value that a reference names.
    ///
    /// # Errors
    /// `User` where there is none; the message never holds a value.
    fn read(&self, from: &ValueFrom) -> Result<Vec<u8>>;
}

/// A source to open.
pub struct SourceRequest<'a> {
    /// What its resource says.
    pub source: &'a ResolvedSource,
    /// Every declared column, as the plan sees them.
    pub schema: SchemaRef,
    /// The columns that are read.
    pub columns: &'a BTreeSet<String>,
    /// Durable lists, for listings.
    pub lists: &'a dyn Fn(&str) -> Arc<dyn AppendLog>,
    /// Secrets.
    pub values: &'a dyn Values,
    /// Where time comes from.
    pub clock: SharedClock,
}

/// A source, with what decodes it.
pub struct OpenedSource {
    /// What is read.
    pub source: Arc<dyn Source>,
    /// Decodes the columns that are read.
    pub decoder: Arc<dyn Decoder>,
}

/// Opens a source.
///
/// # Errors
/// `User` where the settings do not fit, or name what is not supported yet.
pub fn source(request: SourceRequest<'_>) -> Result<OpenedSource> {
    match request.source.spec.connector() {
        Some(SourceConnector::Files(files)) => files_source(files, &request),
        Some(SourceConnector::Generator(generator)) => generator_source(generator, &request),
        Some(SourceConnector::Kafka(_)) => Err(not_yet("StreamSource", &request.source.name, "kafka")),
        None => Err(Error::user(format!("StreamSource `{}`", request.source.name), "it names no connector")),
    }
}

fn files_source(files: &FilesSpec, request: &SourceRequest<'_>) -> Result<OpenedSource> {
    let spec = &request.source.spec;
    let base = request.source.origin.folder();
    let config = settings::files_source(files, base, spec.max_record_bytes, request.values)?;
    let read = columns::read(request);
    let list = (request.lists)(&request.source.alias);
    let (records, decoder): (Records, Arc<dyn Decoder>) = match spec.format() {
        Format::Json(json) => {
            let decoder = JsonDecoder::new(read, settings::json(&json)?)?;
            (Records::Text { framing: Framing::Lines, header: None }, Arc::new(decoder))
        }
        Format::Csv(csv) => {
            let framing = Framing::Csv { delimiter: settings::one_byte(&csv.delimiter), quote: settings::one_byte(&csv.quote) };
            let all = request.source.columns.iter().map(columns::field);
            let decoder = Arc::new(CsvDecoder::new(read, settings::csv(&csv, all.collect()))?);
            let header = csv.header.then(|| Arc::new(HeadersOf(decoder.clone())) as Arc<dyn Headers>);
            (Records::Text { framing, header }, decoder)
        }
        Format::Parquet(_) => {
            let decoder = ColumnsDecoder::new(&read);
            (Records::Parquet { columns: decoder.stored() }, Arc::new(decoder))
        }
        Format::Avro(_) => return Err(not_yet("StreamSource", &request.source.name, "files in avro")),
    };
    let source = FilesSource::new(config, records, list, request.clock.clone())?;
    Ok(OpenedSource { source: Arc::new(source), decoder })
}

fn generator_source(generator: &GeneratorSpec, request: &SourceRequest<'_>) -> Result<OpenedSource> {
    let json = match request.source.spec.format() {
        Format::Json(json) => json,
        other => return Err(not_yet("StreamSource", &request.source.name, &format!("a generator in {}", other.name()))),
    };
    let fields = request.source.columns.iter().zip(request.schema.fields());
    let columns = match generator.schema {
        None => Vec::new(),
        Some(_) => fields
            .map(|(column, field)| GeneratedColumn::new(columns::field(column), field.data_type().clone()))
            .collect::<Result<_>>()?,
    };
    let source = GeneratorSource::new(GeneratorConfig::new(generator, columns)?, request.clock.clone())?;
    let decoder = JsonDecoder::new(columns::read(request), settings::json(&json)?)?;
    Ok(OpenedSource { source: Arc::new(source), decoder: Arc::new(decoder) })
}

/// A sink to open.
pub struct SinkRequest<'a> {
    /// What its resource says.
    pub sink: &'a ResolvedSink,
    /// Secrets.
    pub values: &'a dyn Values,
    /// Where time comes from.
    pub clock: SharedClock,
}

/// Opens a sink.
///
/// # Errors
/// `User` where the settings do not fit, or name what is not supported yet.
pub fn sink(request: SinkRequest<'_>) -> Result<Arc<dyn Sink>> {
    let spec = &request.sink.spec;
    match spec.connector() {
        Some(SinkConnector::Files(files)) => {
            let config = settings::files_sink(files, request.sink.origin.folder(), request.values)?;
            let encoding = writers::encoding(&spec.format())?;
            Ok(Arc::new(FilesSink::new(config, encoding, request.clock)?))
        }
        Some(SinkConnector::Stdout(stdout)) => Ok(Arc::new(StdoutSink::new(match stdout.style {
            Style::Table => StdoutStyle::Table,
            Style::Json => StdoutStyle::Lines(Arc::new(JsonLines)),
        }))),
        Some(SinkConnector::Blackhole(_)) => Ok(Arc::new(BlackholeSink::new())),
        Some(SinkConnector::Kafka(_)) => Err(not_yet("StreamSink", &request.sink.name, "kafka")),
        None => Err(Error::user(format!("StreamSink `{}`", request.sink.name), "it names no connector")),
    }
}

fn not_yet(kind: &str, name: &str, what: &str) -> Error {
    Error::user(format!("{kind} `{name}`"), format!("{what}: not supported yet by this version"))
}

/// Gives the header lines of files to the decoder.
struct HeadersOf(Arc<CsvDecoder>);

impl Headers for HeadersOf {
    fn set_header(&self, piece: &str, header: &[u8]) -> Result<()> {
        self.0.set_header(&piece.into(), header)
    }
}
