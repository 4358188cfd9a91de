//! Rows as keys and values.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use thalweg_core::error::{Error, Result};

use crate::formats::{Encoder, JsonEncoder};

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

/// The keys of rows: the bare value of one column (a text without quotes), or an object of several. A null is no key.
///
/// # Errors
/// *User*: the rows have no such column.
pub(super) fn keys(rows: &RecordBatch, columns: &[String]) -> Result<Vec<Option<Bytes>>> {
    if columns.is_empty() {
        return Ok(vec![None; rows.num_rows()]);
    }
    let schema = rows.schema();
    let index = |name: &String| {
        schema.index_of(name).map_err(|_| {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::user("`kafka.key`", format!("`{name}` is no column of the rows; they have {}", names.join(", ")))
        })
    };
    let indices = columns.iter().map(index).collect::<Result<Vec<_>>>()?;
    let keys = rows.project(&indices).map_err(|error| Error::internal("taking the key's columns", error))?;
    let objects = values(&keys)?;
    if columns.len() > 1 {
        return Ok(objects.into_iter().map(Some).collect());
    }
    objects.iter().map(bare).collect()
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
    let text: String = serde_json::from_slice(&value).map_err(|error| Error::internal("reading a key", error))?;
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
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

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
}
