//! What resources say as settings of connectors and formats.

use std::path::Path;

use thalweg_core::error::{Error, Result};
use thalweg_crds::connector::{Compression as CompressionSpec, FilesSink, FilesSource, Order as OrderSpec, S3};
use thalweg_crds::format::{CsvFormat, JsonFormat, TimestampFormat as TimestampSpec};
use thalweg_crds::quantity::Bytes;
use thalweg_crds::secret::ValueFrom;

use super::Values;
use crate::files::{Compression, FilesSinkConfig, FilesSourceConfig, Order, S3Config};
use crate::formats::csv::{CsvOptions, Header};
use crate::formats::json::JsonOptions;
use crate::formats::{Pattern, TimestampFormat};

pub fn files_source(
    files: &FilesSource,
    base: &Path,
    max_record_bytes: Bytes,
    values: &dyn Values,
) -> Result<FilesSourceConfig> {
    let compression = match files.compression {
        CompressionSpec::Auto => None,
        CompressionSpec::None => Some(Compression::None),
        CompressionSpec::Gzip => Some(Compression::Gzip),
        CompressionSpec::Zstd => Some(Compression::Zstd),
    };
    let order = match files.order {
        OrderSpec::Any => Order::Any,
        OrderSpec::ByName => Order::ByName,
    };
    Ok(FilesSourceConfig {
        compression,
        watch: files.watch.map(|watch| watch.as_std()),
        allow_empty: files.allow_empty,
        order,
        lanes: files.lanes.unsigned_abs().max(1),
        max_record_bytes: usize::try_from(max_record_bytes.get()).unwrap_or(usize::MAX),
        s3: files.s3.as_ref().map(|spec| s3(spec, values)).transpose()?,
        ..FilesSourceConfig::new(&files.url, base)
    })
}

pub fn files_sink(files: &FilesSink, base: &Path, values: &dyn Values) -> Result<FilesSinkConfig> {
    Ok(FilesSinkConfig {
        partition_by: files.partition_by.clone(),
        roll_every: files.roll.every.as_std(),
        roll_bytes: files.roll.size.get(),
        s3: files.s3.as_ref().map(|spec| s3(spec, values)).transpose()?,
        ..FilesSinkConfig::new(&files.url, base)
    })
}

fn s3(spec: &S3, values: &dyn Values) -> Result<S3Config> {
    let read = |from: &Option<ValueFrom>| from.as_ref().map(|from| text(from, values)).transpose();
    Ok(S3Config {
        endpoint: spec.endpoint.clone(),
        region: spec.region.clone(),
        allow_http: spec.allow_http,
        access_key_id: read(&spec.access_key_from)?,
        secret_access_key: read(&spec.secret_key_from)?,
        session_token: None,
    })
}

/// A value that is text; the newline that editors leave at its end does not count.
fn text(from: &ValueFrom, values: &dyn Values) -> Result<String> {
    let text = String::from_utf8(values.read(from)?).map_err(|_| Error::user("a credential", "it is not UTF-8"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub fn json(json: &JsonFormat) -> Result<JsonOptions> {
    let timestamps = match json.timestamps() {
        TimestampSpec::Iso8601 => TimestampFormat::Iso8601,
        TimestampSpec::EpochMillis => TimestampFormat::EpochMillis,
        TimestampSpec::EpochSeconds => TimestampFormat::EpochSeconds,
        TimestampSpec::Pattern(pattern) => {
            let parsed = Pattern::new(&pattern);
            TimestampFormat::Pattern(parsed.map_err(|error| Error::user("`format.json.timestampFormat`", error))?)
        }
    };
    Ok(JsonOptions { strict: json.strict, timestamps, row_starts: true })
}

/// `names` are the fields of a record where no header gives them.
pub fn csv(csv: &CsvFormat, names: Vec<String>) -> CsvOptions {
    CsvOptions {
        header: if csv.header { Header::FirstRecord } else { Header::Names(names) },
        delimiter: one_byte(&csv.delimiter),
        quote: Some(one_byte(&csv.quote)),
        null: csv.null.clone(),
        timestamps: TimestampFormat::default(),
        row_starts: true,
    }
}

/// The one ASCII character that the schema demands.
pub fn one_byte(text: &str) -> u8 {
    text.bytes().next().unwrap_or(b',')
}
