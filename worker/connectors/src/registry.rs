//! The one list of connectors: what a manifest names, and what is made of it.
//!
//! To add a connector: a folder beside this file, an arm in [`source`] or [`sink`], and what `CONTRIBUTING.md` lists.

mod format;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_core::address::{Reachable, Surroundings};
use thalweg_core::append_log::AppendLog;
use thalweg_core::clock::SharedClock;
use thalweg_core::decode::Decoder;
use thalweg_core::error::{Error, Result};
use thalweg_core::share::Share;
use thalweg_core::sink::Sink;
use thalweg_core::source::Source;
use thalweg_crds::SinkSpec;
use thalweg_crds::address::AddressRange;
use thalweg_crds::connector::{self, SinkConnector, SourceConnector};
use thalweg_crds::format::Format;
use thalweg_crds::manifest::{ResolvedSink, ResolvedSource};
use thalweg_crds::secret::ValueFrom;
use thalweg_crds::source::OnError;
use thalweg_objects::BucketAccess;

use crate::blackhole::BlackholeSink;
use crate::files::{FilesSink, FilesSinkConfig, FilesSource, FilesSourceConfig, parquet_columns};
use crate::generator::{GeneratorConfig, GeneratorSource};
use crate::kafka::client::Reach;
use crate::kafka::config::Connection;
use crate::kafka::{Delivery, KafkaSink, KafkaSource, SinkConfig, SourceConfig, Waits};
use crate::stdout::{StdoutSink, Style};

pub use trial::{reads_back, try_sink, try_source};

/// Values that resources refer to.
pub trait Values {
    /// The value of a key.
    ///
    /// # Errors
    /// *User*: it is not there.
    fn read(&self, from: &ValueFrom) -> Result<Vec<u8>>;

    /// What reads the value of a key whenever it is called, for values that are renewed while they are used.
    fn read_again(&self, from: &ValueFrom) -> ReadAgain;
}

/// Reads a value as it stands now.
pub type ReadAgain = Arc<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

/// A [`Values::read_again`] that calls [`Values::read`].
pub fn again(values: &(impl Values + Clone + Send + Sync + 'static), from: &ValueFrom) -> ReadAgain {
    let (values, from) = (values.clone(), from.clone());
    Arc::new(move || values.read(&from))
}

/// A source to be opened.
pub struct SourceRequest<'a> {
    /// What its resource says.
    pub source: &'a ResolvedSource,
    /// Every declared column, by its name in SQL.
    pub schema: SchemaRef,
    /// Those that are read.
    pub columns: &'a BTreeSet<String>,
    /// The durable list of a name.
    pub lists: &'a dyn Fn(&str) -> Arc<dyn AppendLog>,
    /// Values of Secrets and ConfigMaps.
    pub values: &'a dyn Values,
    /// Where time comes from.
    pub clock: SharedClock,
    /// How clusters of Kafka are reached.
    pub kafka: Arc<dyn Reach>,
    /// What the readers of a pipeline's topics may have fetched and not decoded yet.
    pub memory: &'a Share,
    /// How long its first list waits for a topic, and for brokers; those of kafka's sinks are told by what keeps their progress.
    pub waits: Waits,
}

/// A source, and what makes columns of its chunks.
pub struct OpenedSource {
    /// The source.
    pub source: Arc<dyn Source>,
    /// Its decoder: the columns that are read, in the order of their declaration.
    pub decoder: Arc<dyn Decoder>,
}

/// A sink to be opened.
pub struct SinkRequest<'a> {
    /// What its resource says.
    pub sink: &'a ResolvedSink,
    /// What keeps the progress of kafka sinks.
    pub delivery: Option<&'a Arc<Delivery>>,
    /// What the sinks of a pipeline may hold in memory together; those of kafka are told by what keeps their progress.
    pub memory: &'a Share,
    /// Values of Secrets and ConfigMaps.
    pub values: &'a dyn Values,
    /// Where time comes from.
    pub clock: SharedClock,
}

/// Opens a source.
///
/// # Errors
/// *User*: a connector or format that is not supported, settings that do not fit.
pub fn source(request: SourceRequest<'_>) -> Result<OpenedSource> {
    match request.source.spec.connector() {
        Some(SourceConnector::Files(files)) => files_source(files, &request),
        Some(SourceConnector::Generator(generator)) => generator_source(generator, &request),
        Some(SourceConnector::Kafka(kafka)) => kafka_source(kafka, &request),
        None => Err(no_connector("StreamSource", &request.source.name)),
    }
}

/// Opens a sink.
///
/// # Errors
/// As [`source`].
pub fn sink(request: SinkRequest<'_>) -> Result<Arc<dyn Sink>> {
    let spec = &request.sink.spec;
    match spec.connector() {
        Some(SinkConnector::Files(files)) => {
            Ok(Arc::new(files_sink(files, request.sink, request.values, request.clock)?.within(request.memory)))
        }
        Some(SinkConnector::Stdout(stdout)) => Ok(Arc::new(StdoutSink::new(match stdout.style {
            connector::Style::Table => Style::Table,
            connector::Style::Json => Style::Json,
        }))),
        Some(SinkConnector::Blackhole(_)) => Ok(Arc::new(BlackholeSink::new())),
        Some(SinkConnector::Kafka(kafka)) => {
            format::kafka_encoding(&written(spec))?;
            let config = SinkConfig::resolve(kafka, request.sink.delivery, request.values)?;
            let delivery = request.delivery.cloned();
            let delivery =
                delivery.ok_or_else(|| Error::internal("opening a kafka sink", "nothing keeps its progress"))?;
            Ok(Arc::new(KafkaSink::new(config, delivery)))
        }
        None => Err(no_connector("StreamSink", &request.sink.name)),
    }
}

fn files_sink(
    files: &connector::FilesSink,
    sink: &ResolvedSink,
    values: &dyn Values,
    clock: SharedClock,
) -> Result<FilesSink> {
    let s3 = files.s3.as_ref().map(|s3| bucket_access(s3, values)).transpose()?;
    let config = FilesSinkConfig::resolve(files, sink.origin.folder(), s3);
    FilesSink::new(config, format::encoding(&written(&sink.spec))?, clock)
}

/// The format of a sink.
fn written(spec: &SinkSpec) -> Format {
    spec.format.as_ref().map_or_else(|| Format::Json(Default::default()), |format| format.resolve())
}

/// The columns of a source whose format brings them, from what is stored; `None` where columns must be declared.
///
/// # Errors
/// *User*: nothing is stored, or something else. *External*: it cannot be reached.
pub async fn stored_columns(source: &ResolvedSource, values: &dyn Values) -> Result<Option<SchemaRef>> {
    match (source.spec.connector(), source.spec.format()) {
        (Some(SourceConnector::Files(files)), Format::Parquet(_)) => {
            parquet_columns(&files_config(files, source, values)?).await.map(Some)
        }
        _ => Ok(None),
    }
}

fn files_config(
    files: &connector::FilesSource,
    source: &ResolvedSource,
    values: &dyn Values,
) -> Result<FilesSourceConfig> {
    let s3 = files.s3.as_ref().map(|s3| bucket_access(s3, values)).transpose()?;
    let most = usize::try_from(source.spec.max_record_bytes.get()).unwrap_or(usize::MAX);
    let config = FilesSourceConfig::resolve(files, source.origin.folder(), most, s3);
    Ok(FilesSourceConfig { tells_unread: source.spec.on_error != OnError::Fail, ..config })
}

fn files_source(files: &connector::FilesSource, request: &SourceRequest<'_>) -> Result<OpenedSource> {
    let config = files_config(files, request.source, request.values)?;
    let format::Reading { records, decoder } = format::reading(request)?;
    let list = (request.lists)(&format!("{}/files", request.source.alias));
    let source = FilesSource::new(config, records, list, request.clock.clone())?;
    Ok(OpenedSource { source: Arc::new(source), decoder })
}

fn kafka_source(kafka: &connector::KafkaSource, request: &SourceRequest<'_>) -> Result<OpenedSource> {
    let most = usize::try_from(request.source.spec.max_record_bytes.get()).unwrap_or(usize::MAX);
    let decoder = kafka_decoder(request)?;
    let config = SourceConfig::resolve(kafka, most, format::wanted(request), request.values)?;
    let config = SourceConfig { waits: request.waits, ..config };
    let list = (request.lists)(&format!("{}/kafka", request.source.alias));
    let (clock, kafka) = (request.clock.clone(), request.kafka.clone());
    Ok(OpenedSource { source: Arc::new(KafkaSource::new(config, list, clock, kafka, request.memory)), decoder })
}

fn kafka_decoder(request: &SourceRequest<'_>) -> Result<Arc<dyn Decoder>> {
    if let Format::Avro(avro) = request.source.spec.format() {
        return format::avro_decoder(&avro, request);
    }
    let format::Reading { decoder, .. } = format::reading(request)?;
    if let Format::Csv(csv) = request.source.spec.format()
        && csv.header
    {
        let found = "found true: a record of kafka has no header";
        return Err(Error::user("`format.csv.header`", found).with_hint("say header: false"));
    }
    Ok(decoder)
}

/// The cluster that the kafka sinks of a pipeline write to, and the sink that says how it is reached, such as
/// `StreamSink/counts`; `None` where there are none.
///
/// # Errors
/// *User*: more than one cluster, a secret that is not there.
pub fn kafka_connection(sinks: &[&ResolvedSink], values: &dyn Values) -> Result<Option<(String, Connection)>> {
    let mut found: Option<(String, Connection)> = None;
    for sink in sinks {
        let Some(SinkConnector::Kafka(kafka)) = sink.spec.connector() else { continue };
        let resource = format!("StreamSink/{}", sink.name);
        let connection = SinkConfig::resolve(kafka, sink.delivery, values)?.connection;
        if let Some((_, first)) = found.as_ref().filter(|(_, first)| first.brokers != connection.brokers) {
            let detail = format!("it writes to {}, and another sink to {}", connection.shown(), first.shown());
            let hint = "give the sinks of one pipeline the same `brokers`, or make two pipelines";
            return Err(Error::user(resource, detail).with_hint(hint));
        }
        found.get_or_insert((resource, connection));
    }
    Ok(found)
}

fn generator_source(generator: &connector::GeneratorSource, request: &SourceRequest<'_>) -> Result<OpenedSource> {
    let columns = match generator.schema {
        None => Vec::new(),
        Some(_) => format::generated(request)?,
    };
    let config = GeneratorConfig::new(generator, columns)?;
    let source = Arc::new(GeneratorSource::new(config, request.clock.clone())?);
    let Format::Json(json) = request.source.spec.format() else {
        return Err(unsupported("a generator of anything but json"));
    };
    Ok(OpenedSource { source, decoder: format::json_decoder(&json, request)? })
}

/// How a bucket is reached, with the values that its settings refer to.
///
/// # Errors
/// A value that is missing or no text.
pub fn bucket_access(s3: &connector::S3, values: &dyn Values) -> Result<BucketAccess> {
    let value = |from: &Option<ValueFrom>| from.as_ref().map(|from| text(from, values.read(from)?)).transpose();
    Ok(BucketAccess {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        allow_http: s3.allow_http,
        access_key_id: value(&s3.access_key_from)?,
        secret_access_key: value(&s3.secret_key_from)?,
        reachable: reachable("s3.allowPrivateAddresses", &s3.allow_private_addresses)?,
    })
}

/// What may be reached from here for a resource; `field` of it names the exceptions.
///
/// # Errors
/// *User*: one of them is no range of addresses.
pub(crate) fn reachable(field: &'static str, exceptions: &[String]) -> Result<Reachable> {
    let range = |(index, text): (usize, &String)| {
        text.parse::<AddressRange>().map_err(|error| Error::user(format!("`{field}[{index}]`"), error))
    };
    let ranges: Result<Vec<_>> = exceptions.iter().enumerate().map(range).collect();
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Kubernetes tells every pod where the API server is, and the operator tells its workers who they are: what somebody runs in a
    // pod of theirs is on their machine.
    let is_worker = variable("THALWEG_SLOT_PREFIX").is_some();
    let api_server = variable("KUBERNETES_SERVICE_HOST").filter(|_| is_worker);
    Ok(Reachable::new(field, ranges?, Surroundings::new(api_server)))
}

/// A value that is text; editors end files with a newline.
fn text(from: &ValueFrom, value: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(value).map_err(|_| {
        let key = from.secret_key_ref.as_ref().or(from.config_map_key_ref.as_ref());
        let what = key.map(|key| format!("key `{}` of `{}`", key.key, key.name)).unwrap_or_default();
        Error::user(what, "expected text, found other bytes")
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn unsupported(what: &str) -> Error {
    Error::user(format!("`{what}`"), "not supported yet")
}

fn no_connector(kind: &str, name: &str) -> Error {
    Error::user(format!("{kind}/{name}"), "expected exactly one connector")
}

#[cfg(test)]
mod tests;
