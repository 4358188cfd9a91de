//! Which folder a row goes to, in Hive's layout: `borough=Queens/date=2018-01-01`. Pure.
//!
//! As Flink and Spark do: the columns that name folders are not repeated in the files; those below `date(…)` and
//! `hour(…)` are.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{DatePart, cast, date_part, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use thalweg_core::error::{Error, Result};

use crate::formats::column::sql_name;

/// The longest name of a folder, in bytes: what file systems take (`NAME_MAX`).
const LONGEST_NAME: usize = 255;
/// The longest path of folders, in bytes, which leaves room for a prefix and a file's name in the key of an S3 object.
const LONGEST_PATH: usize = 600;
/// The folder of rows without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Deals rows to folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partitioner {
    keys: Vec<Key>,
}

/// One level of folders.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// The value of a column.
    Column(String),
    /// The day of a timestamp, in UTC.
    Date(String),
    /// The hour of a timestamp, in UTC.
    Hour(String),
}

impl Key {
    fn parse(text: &str) -> Result<Self> {
        let argument = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')').map(str::to_owned);
        let key = argument("date").map(Self::Date).or_else(|| argument("hour").map(Self::Hour));
        match key {
            Some(key) => Ok(key),
            None if text.contains(['(', ')']) || text.is_empty() => {
                let expected = "expected a column, `date(column)` or `hour(column)`";
                Err(Error::user(format!("`files.partitionBy`: `{text}`"), expected))
            }
            None => Ok(Self::Column(text.to_owned())),
        }
    }

    fn column(&self) -> &str {
        match self {
            Self::Column(column) | Self::Date(column) | Self::Hour(column) => column,
        }
    }

    /// What stands before `=`.
    fn folder(&self) -> &str {
        match self {
            Self::Column(column) => column,
            Self::Date(_) => "date",
            Self::Hour(_) => "hour",
        }
    }

    fn values(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let is_time = matches!(column.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        match self {
            Self::Date(_) | Self::Hour(_) if !is_time => {
                Err(ArrowError::CastError(format!("expected a timestamp, found {}", sql_name(column.data_type()))))
            }
            Self::Column(_) => Ok(ArrayRef::clone(column)),
            Self::Date(_) => cast(column, &DataType::Date32),
            Self::Hour(_) => date_part(column, DatePart::Hour),
        }
    }

    fn path(&self, values: &ArrayRef, row: usize) -> Result<String, ArrowError> {
        let options = FormatOptions::default();
        let value = if values.is_null(row) {
            String::new()
        } else {
            ArrayFormatter::try_new(values.as_ref(), &options)?.value(row).try_to_string()?
        };
        let value = match self {
            _ if value.is_empty() => NO_VALUE.to_owned(),
            Self::Hour(_) => format!("{value:0>2}"),
            Self::Column(_) | Self::Date(_) => escape(&value),
        };
        Ok(format!("{}={value}", escape(self.folder())))
    }
}

/// The rows of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The folder, below the sink's.
    pub(crate) folder: String,
    /// What the files there hold of its rows.
    pub(crate) rows: RecordBatch,
    /// Which rows these are.
    pub(crate) indices: UInt32Array,
}

impl Part {
    /// What is wrong with a folder that no place would take.
    pub(crate) fn problem(&self) -> Option<String> {
        let longest = self.folder.split('/').max_by_key(|name| name.len()).unwrap_or_default();
        let (found, limit, of) = match (longest.len(), self.folder.len()) {
            (found, _) if found > LONGEST_NAME => (found, LONGEST_NAME, "the name of a folder"),
            (_, found) if found > LONGEST_PATH => (found, LONGEST_PATH, "the names of all folders"),
            _ => return None,
        };
        let key = longest.split('=').next().unwrap_or_default();
        Some(format!("`files.partitionBy`: `{key}`: expected at most {limit} bytes as {of}, found {found}"))
    }
}

impl Partitioner {
    /// Reads `partitionBy`.
    ///
    /// # Errors
    /// A key that is none.
    pub(crate) fn parse(keys: &[String]) -> Result<Self> {
        let keys = keys.iter().map(|key| Key::parse(key)).collect::<Result<_>>()?;
        Ok(Self { keys })
    }

    /// Whether all rows go to one folder.
    pub(crate) fn is_none(&self) -> bool {
        self.keys.is_empty()
    }

    /// The rows of each folder, in the order in which folders first appear, without the columns that name folders.
    ///
    /// # Errors
    /// A column is missing, or is no timestamp where one is needed.
    pub(crate) fn split(&self, rows: &RecordBatch) -> Result<Vec<Part>> {
        let kept = self.kept(&rows.schema());
        if kept.is_empty() {
            let expected = "expected a column that is not in it, for the files to hold";
            return Err(Error::user(format!("`files.partitionBy`: {}", self.shown()), expected));
        }
        let columns = self.keys.iter().map(|key| key_values(key, rows)).collect::<Result<Vec<_>>>()?;
        let split = || -> Result<Vec<_>, ArrowError> {
            let kept = rows.project(&kept)?;
            let part = |indices: Vec<u32>| {
                let folder = self.path(&columns, indices[0] as usize)?;
                let indices = UInt32Array::from(indices);
                let is_all = indices.len() == kept.num_rows();
                let rows = if is_all { kept.clone() } else { take_record_batch(&kept, &indices)? };
                Ok(Part { folder, rows, indices })
            };
            groups(&columns)?.into_iter().map(part).collect()
        };
        split().map_err(|error| Error::internal("partitioning rows", error))
    }

    /// The columns of the files, of rows with these columns.
    pub(crate) fn kept_schema(&self, rows: &SchemaRef) -> SchemaRef {
        let kept = self.kept(rows).into_iter().map(|index| rows.field(index).clone());
        Arc::new(Schema::new(kept.collect::<Vec<_>>()))
    }

    fn shown(&self) -> String {
        self.keys.iter().map(Key::column).collect::<Vec<_>>().join(", ")
    }

    fn path(&self, columns: &[ArrayRef], row: usize) -> Result<String, ArrowError> {
        let levels = self.keys.iter().zip(columns).map(|(key, values)| key.path(values, row));
        Ok(levels.collect::<Result<Vec<_>, _>>()?.join("/"))
    }

    /// The columns that stay in the files.
    fn kept(&self, schema: &SchemaRef) -> Vec<usize> {
        let is_key = |name: &str| self.keys.iter().any(|key| matches!(key, Key::Column(column) if column == name));
        let columns = schema.fields().iter().enumerate();
        columns.filter(|(_, field)| !is_key(field.name())).map(|(index, _)| index).collect()
    }
}

fn key_values(key: &Key, rows: &RecordBatch) -> Result<ArrayRef> {
    let what = || format!("`files.partitionBy`: `{}`", key.column());
    let column = rows.column_by_name(key.column()).ok_or_else(|| Error::user(what(), "there is no such column"))?;
    key.values(column).map_err(|error| match error {
        ArrowError::CastError(detail) => Error::user(what(), detail),
        other => Error::user(what(), other),
    })
}

/// The rows that agree in all columns.
fn groups(columns: &[ArrayRef]) -> Result<Vec<Vec<u32>>, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut numbers: HashMap<OwnedRow, usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    for (index, row) in rows.iter().enumerate() {
        let group = match last {
            Some((previous, group)) if rows.row(previous) == row => group,
            _ => *numbers.entry(row.owned()).or_insert(groups.len()),
        };
        last = Some((index, group));
        let index = u32::try_from(index).map_err(|error| ArrowError::ComputeError(error.to_string()))?;
        match groups.get_mut(group) {
            Some(indices) => indices.push(index),
            None => groups.push(vec![index]),
        }
    }
    Ok(groups)
}

/// As Hive's `FileUtils.escapePathName` does.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\u{1}'..='\u{1f}'
            | '\u{7f}'
            | '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^'
            | '\0' => escaped.push_str(&format!("%{:02X}", character as u32)),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    fn rows() -> RecordBatch {
        let zones: ArrayRef = Arc::new(StringArray::from(vec![Some("a/b=c%"), None, Some("a/b=c%"), Some("")]));
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![
            Some(1_514_780_105_000),
            Some(1_514_780_105_000),
            Some(1_514_866_505_000),
            None,
        ]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        RecordBatch::try_from_iter([("zone", zones), ("at", times), ("n", numbers)]).expect("a batch")
    }

    fn split(keys: &[&str]) -> Vec<(String, usize, usize)> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let parts = Partitioner::parse(&keys).expect("keys").split(&rows()).expect("parts");
        parts.into_iter().map(|part| (part.folder, part.rows.num_rows(), part.rows.num_columns())).collect()
    }

    #[test]
    fn a_folder_is_as_long_as_a_file_system_takes() {
        let problem = |folder: &str| {
            let (rows, indices) = (rows(), UInt32Array::from(vec![0]));
            Part { folder: folder.to_owned(), rows, indices }.problem()
        };
        let of = |bytes: usize| format!("zone={}", "v".repeat(bytes - 5));
        assert_eq!(problem(&of(255)), None);
        let expected = "`files.partitionBy`: `zone`: expected at most 255 bytes as the name of a folder, found 256";
        assert_eq!(problem(&format!("day=1/{}", of(256))).as_deref(), Some(expected));
        assert_eq!(problem(&[of(199), of(199), of(200)].join("/")), None);
        let found = problem(&[of(200), of(200), of(200)].join("/")).expect("too long");
        assert!(found.contains("at most 600 bytes as the names of all folders, found 602"), "{found}");
    }

    #[test]
    fn values_are_escaped_and_their_columns_leave_the_files() {
        let expected =
            [("zone=a%2Fb%3Dc%25", 2), ("zone=__HIVE_DEFAULT_PARTITION__", 1), ("zone=__HIVE_DEFAULT_PARTITION__", 1)];
        assert_eq!(split(&["zone"]), expected.map(|(path, rows)| (path.to_owned(), rows, 2)));
    }

    #[test]
    fn days_and_hours_keep_their_column() {
        let parts = split(&["date(at)", "hour(at)"]);
        let expected = [
            ("date=2018-01-01/hour=04", 2),
            ("date=2018-01-02/hour=04", 1),
            ("date=__HIVE_DEFAULT_PARTITION__/hour=__HIVE_DEFAULT_PARTITION__", 1),
        ];
        assert_eq!(parts, expected.map(|(path, rows)| (path.to_owned(), rows, 3)));
    }

    #[test]
    fn something_must_be_left_for_the_files() {
        let keys = ["zone", "at", "n"].map(str::to_owned);
        let error = Partitioner::parse(&keys).expect("keys").split(&rows()).expect_err("nothing left");
        assert!(error.to_string().contains("zone, at, n"), "{error}");
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (key, found) in [("hour(n", "`hour(n`"), ("day(at)", "`day(at)`"), ("", "``")] {
            let error = Partitioner::parse(&[key.to_owned()]).expect_err("refused").to_string();
            assert!(error.contains(found), "{error}");
        }
        for (key, found) in [("absent", "no such column"), ("date(n)", "`n`"), ("hour(zone)", "`zone`")] {
            let split = Partitioner::parse(&[key.to_owned()]).expect("a key").split(&rows());
            let error = split.expect_err("refused").to_string();
            assert!(error.contains(found), "{error}");
        }
    }
}
