//! Rows as keys, values and headers.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::Array;
use arrow::array::cast::AsArray;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use thalweg_core::error::{Error, Result};
use thalweg_crds::connector;

use super::client::Headers;
use crate::formats::column::sql_name;
use crate::formats::{Encoder, JsonEncoder};

/// The fields that name columns.
const KEY: &str = "`kafka.key`";
const HEADERS: &str = "`kafka.headers`";

/// Whether a sink can write rows of a schema.
///
/// # Errors
/// *User*: a column that is not there, a header that is no plain value, rows that could only be tombstones.
pub(crate) fn check_rows(sink: &connector::KafkaSink, rows: &Schema) -> Result<()> {
    for name in &sink.key {
        place(rows, KEY, name)?;
    }
    for name in &sink.headers {
        let data_type = rows.field(place(rows, HEADERS, name)?).data_type();
        if data_type.is_nested() {
            let detail = format!("expected a plain value, found {}", sql_name(data_type));
            let hint = "select what it holds, such as `map['key'] AS name`";
            return Err(Error::user(format!("{HEADERS}: `{name}`"), detail).with_hint(hint));
        }
    }
    if sink.tombstones && content(rows, &sink.key, &sink.headers).next().is_none() {
        let detail = "every row would be one, for all columns are of the key or headers";
        return Err(Error::user("`kafka.tombstones`", detail));
    }
    Ok(())
}

/// Rows as JSON objects, without their newlines.
pub(super) fn values(rows: &RecordBatch) -> Result<Vec<Bytes>> {
    let mut text = Vec::new();
    JsonEncoder::new().write(rows, &mut text)?;
    let text = Bytes::from(text);
    let mut from = 0;
    let line = |end| text.slice(std::mem::replace(&mut from, end + 1)..end);
    // JSON writes a newline within a text as an escape.
    Ok(memchr::memchr_iter(b'\n', &text).map(line).collect())
}

/// Rows less some columns.
pub(super) fn without<'a>(rows: &'a RecordBatch, columns: &[String]) -> Result<Cow<'a, RecordBatch>> {
    if columns.is_empty() {
        return Ok(Cow::Borrowed(rows));
    }
    let indices: Vec<_> = content(rows.schema_ref(), &[], columns).collect();
    project(rows, &indices).map(Cow::Owned)
}

/// The keys of rows: the bare value of one column (a text without quotes), or an object of several. A null is no key.
///
/// # Errors
/// *User*: the rows have no such column.
pub(super) fn keys(rows: &RecordBatch, columns: &[String]) -> Result<Vec<Option<Bytes>>> {
    if columns.is_empty() {
        return Ok(vec![None; rows.num_rows()]);
    }
    let indices = columns.iter().map(|name| place(rows.schema_ref(), KEY, name)).collect::<Result<Vec<_>>>()?;
    let objects = values(&project(rows, &indices)?)?;
    if columns.len() > 1 {
        return Ok(objects.into_iter().map(Some).collect());
    }
    objects.iter().map(bare).collect()
}

/// The headers of rows, one for each column: its name, and its bare value, or bytes as they are; nothing at all where there are
/// no columns. A null is a header without a value.
///
/// # Errors
/// As [`keys`].
pub(super) fn headers(rows: &RecordBatch, columns: &[String]) -> Result<Vec<Headers>> {
    let mut all = Vec::new();
    if !columns.is_empty() {
        all.resize_with(rows.num_rows(), || Headers::with_capacity(columns.len()));
    }
    for name in columns {
        let index = place(rows.schema_ref(), HEADERS, name)?;
        let texts: Vec<_> = match rows.column(index).as_binary_opt::<i32>() {
            Some(bytes) => bytes.iter().map(|bytes| bytes.map(Bytes::copy_from_slice)).collect(),
            None => values(&project(rows, &[index])?)?.iter().map(bare).collect::<Result<Vec<_>>>()?,
        };
        let name: Arc<str> = name.as_str().into();
        for (headers, text) in all.iter_mut().zip(texts) {
            headers.push((Arc::clone(&name), text));
        }
    }
    Ok(all)
}

/// Which rows have nothing but nulls beside their key and headers.
pub(super) fn deletes(rows: &RecordBatch, key: &[String], headers: &[String]) -> BooleanBuffer {
    let mut deletes = BooleanBuffer::new_set(rows.num_rows());
    for index in content(rows.schema_ref(), key, headers) {
        match rows.column(index).logical_nulls() {
            Some(nulls) => deletes &= &!nulls.inner(),
            None => return BooleanBuffer::new_unset(rows.num_rows()),
        }
    }
    deletes
}

/// The columns that are neither of the key nor headers.
fn content<'a>(schema: &'a Schema, key: &'a [String], headers: &'a [String]) -> impl Iterator<Item = usize> + 'a {
    let names = schema.fields().iter().map(|field| field.name()).enumerate();
    names.filter(move |(_, name)| !key.contains(name) && !headers.contains(name)).map(|(index, _)| index)
}

/// Where a column is that a field names.
fn place(schema: &Schema, field: &str, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::user(field, format!("`{name}` is no column of the rows; they have {}", names.join(", ")))
    })
}

fn project(rows: &RecordBatch, indices: &[usize]) -> Result<RecordBatch> {
    rows.project(indices).map_err(|error| Error::internal("taking columns for a record", error))
}

/// The value of an object's one field.
fn bare(object: &Bytes) -> Result<Option<Bytes>> {
    let value = object.slice(name_end(object)..object.len().saturating_sub(1));
    if &value[..] == b"null" {
        return Ok(None);
    }
    if value.first() != Some(&b'"') {
        return Ok(Some(value));
    }
    if memchr::memchr(b'\\', &value).is_none() {
        return Ok(Some(value.slice(1..value.len() - 1)));
    }
    let text: String = serde_json::from_slice(&value).map_err(|error| Error::internal("reading a text", error))?;
    Ok(Some(text.into()))
}

/// Where the value starts in `{"name":value}`.
fn name_end(object: &[u8]) -> usize {
    let mut at = 2;
    while at < object.len() && object[at] != b'"' {
        at += if object[at] == b'\\' { 2 } else { 1 };
    }
    (at + 2).min(object.len())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, Int64Array, NullArray, StringArray};
    use arrow::datatypes::{DataType, Field};
    use serde_json::json;

    use super::*;

    fn rows() -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b\"\n"), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        RecordBatch::try_from_iter([("na\"me", names), ("n", numbers)]).expect("a batch")
    }

    fn text(keys: Vec<Option<Bytes>>) -> Vec<Option<String>> {
        keys.into_iter().map(|key| key.map(|key| String::from_utf8(key.to_vec()).expect("text"))).collect()
    }

    #[test]
    fn a_row_is_an_object() {
        let found = values(&rows()).expect("encoded");
        assert_eq!(found[0], r#"{"na\"me":"a","n":1}"#);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_key_of_one_column_is_its_bare_value_and_null_is_none() {
        let of = |name: &str| text(keys(&rows(), &[name.to_owned()]).expect("keys"));
        assert_eq!(of("na\"me"), [Some("a".to_owned()), Some("b\"\n".to_owned()), None]);
        assert_eq!(of("n"), [Some("1".to_owned()), Some("2".to_owned()), Some("3".to_owned())]);
    }

    #[test]
    fn a_key_of_several_columns_is_an_object_in_their_order() {
        let found = text(keys(&rows(), &["n".to_owned(), "na\"me".to_owned()]).expect("keys"));
        assert_eq!(found[2].as_deref(), Some(r#"{"n":3,"na\"me":null}"#));
    }

    #[test]
    fn a_key_that_is_no_column_is_refused_with_those_that_are() {
        let error = keys(&rows(), &["zone".to_owned()]).expect_err("refused");
        assert_eq!(error.to_string(), "`kafka.key`: `zone` is no column of the rows; they have na\"me, n");
    }

    /// An id, two that may be headers, and two that are left.
    fn changes() -> RecordBatch {
        let raw: [Option<&[u8]>; 4] = [Some(b"\xff"), None, Some(b"{}"), Some(b"")];
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
            ("trace", Arc::new(StringArray::from(vec![Some("t\"1"), None, Some(""), Some("t4")]))),
            ("raw", Arc::new(BinaryArray::from_opt_vec(raw.to_vec()))),
            ("n", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, None]))),
            ("note", Arc::new(StringArray::from(vec![Some("x"), None, None, Some("y")]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("a batch")
    }

    fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).into()
    }

    #[test]
    fn a_header_is_its_column_s_bare_value_or_its_bytes_and_null_is_without_value() {
        let found = headers(&changes(), &names(["trace", "n", "raw"])).expect("headers");
        let header = |name: &str, value: Option<&'static [u8]>| (Arc::<str>::from(name), value.map(Bytes::from_static));
        assert_eq!(
            found,
            [
                vec![header("trace", Some(b"t\"1")), header("n", Some(b"1")), header("raw", Some(b"\xff"))],
                vec![header("trace", None), header("n", Some(b"2")), header("raw", None)],
                vec![header("trace", Some(b"")), header("n", None), header("raw", Some(b"{}"))],
                vec![header("trace", Some(b"t4")), header("n", None), header("raw", Some(b""))],
            ]
        );
        assert_eq!(headers(&changes(), &[]).expect("none"), Vec::<Headers>::new());
    }

    #[test]
    fn headers_are_left_out_of_the_value_even_if_nothing_stays() {
        let of = |columns: &[String]| values(&without(&changes(), columns).expect("fewer")).expect("encoded");
        assert_eq!(of(&names(["trace", "raw", "note"]))[0], r#"{"id":"a","n":1}"#);
        assert_eq!(of(&names(["id", "trace", "raw", "n", "note"])), ["{}"; 4]);
    }

    #[test]
    fn a_row_with_nothing_but_nulls_beside_key_and_headers_deletes() {
        let of = |rows: &RecordBatch, headers: &[String]| {
            let found = deletes(rows, &names(["id"]), headers);
            (0..rows.num_rows()).map(|row| found.value(row)).collect::<Vec<_>>()
        };
        assert_eq!(of(&changes(), &names(["trace", "raw"])), [false, false, true, false]);
        assert_eq!(of(&changes(), &names(["trace"])), [false; 4], "bytes are there");
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let columns = |other: ArrayRef| RecordBatch::try_from_iter([("id", ids.clone()), ("other", other)]);
        assert_eq!(of(&columns(Arc::new(NullArray::new(2))).expect("a batch"), &[]), [true; 2], "NULL AS other");
        assert_eq!(of(&columns(Arc::new(Int64Array::from(vec![1, 2]))).expect("a batch"), &[]), [false; 2]);
    }

    #[test]
    fn what_no_record_could_be_is_refused_before_there_are_rows() {
        let sink = |more: serde_json::Value| {
            let mut sink = json!({ "brokers": ["kafka:9092"], "topic": "t" });
            sink.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            serde_json::from_value::<connector::KafkaSink>(sink).expect("a sink")
        };
        let list = Field::new_list_field(DataType::Int64, true);
        let fields = [("id", DataType::Utf8), ("trace", DataType::Utf8), ("list", DataType::List(Arc::new(list)))];
        let rows = Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec());
        let said = |more| check_rows(&sink(more), &rows).err().map(|error| error.to_string());
        for (more, problem) in [
            (json!({ "key": ["id"], "headers": ["trace"], "tombstones": true }), None),
            (json!({ "key": ["ID"] }), Some("`kafka.key`: `ID` is no column of the rows; they have id, trace, list")),
            (
                json!({ "headers": ["span"] }),
                Some("`kafka.headers`: `span` is no column of the rows; they have id, trace, list"),
            ),
            (
                json!({ "headers": ["list"] }),
                Some(
                    "`kafka.headers`: `list`: expected a plain value, found ARRAY<BIGINT> (select what it holds, such \
                     as `map['key'] AS name`)",
                ),
            ),
            (
                json!({ "key": ["id", "list"], "headers": ["trace"], "tombstones": true }),
                Some("`kafka.tombstones`: every row would be one, for all columns are of the key or headers"),
            ),
        ] {
            assert_eq!(said(more).as_deref(), problem);
        }
    }
}
