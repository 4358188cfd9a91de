//! What a source means by itself: types of columns, the watermark's column, metadata.

use super::{ColumnInput, Item, Problem, ResolvedColumn, SourceSpec, is_within, nearest_of};
use crate::column_type::ColumnType;
use crate::schema::Column;

/// Everything amiss in one source that its schema cannot see.
pub(in crate::manifest) fn check(item: &Item<SourceSpec>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, column) in item.spec.schema.iter().enumerate() {
        let path = format!("spec.schema[{index}]");
        if let Err(error) = column.column_type() {
            problems.push(item.problem(&format!("{path}.type"), error.to_string(), None));
        }
        problems.extend(metadata(item, column, &path));
        problems.extend(default_value(item, column, &path));
    }
    problems.extend(watermark(item));
    problems
}

/// Whether what SQL sees of a source is understood though some fields are not.
pub(super) fn is_clear(spec: &SourceSpec, amiss: &[String]) -> bool {
    // Where a value comes from is not seen, nor what a missing one is.
    let is_seen = |path: &str| {
        let is_hidden = [".from", ".metadata", ".default"].iter().any(|end| path.ends_with(end));
        let is_time = path == "spec.watermark" || is_within(path, &["spec.watermark.column"]);
        is_time || is_within(path, &["spec.lookup"]) || (is_within(path, &["spec.schema"]) && !is_hidden)
    };
    // One whose columns are stored is not opened while it has problems.
    amiss.is_empty() || (!spec.schema.is_empty() && !amiss.iter().any(|path| is_seen(path)))
}

/// The columns whose types parse.
pub(super) fn columns(spec: &SourceSpec) -> Vec<ResolvedColumn> {
    spec.schema.iter().filter_map(|column| Some(resolved(column, column.column_type().ok()?))).collect()
}

fn resolved(column: &Column, data_type: ColumnType) -> ResolvedColumn {
    let input = match (&column.metadata, &column.from) {
        (Some(key), _) => ColumnInput::Metadata(key.clone()),
        (None, Some(field)) => ColumnInput::Field(field.clone()),
        (None, None) => ColumnInput::Field(column.name.clone()),
    };
    ResolvedColumn {
        name: column.name.clone(),
        nullable: column.nullable && data_type.is_nullable(),
        data_type: data_type.nullable().clone(),
        input,
        default: column.default.clone(),
    }
}

fn metadata(item: &Item<SourceSpec>, column: &Column, path: &str) -> Option<Problem> {
    let key = column.metadata.as_deref()?;
    let connector = item.spec.connector()?;
    let known = connector.metadata_keys();
    if known.contains(&key) {
        return None;
    }
    let message = format!("{} has no metadata `{key}`", connector.name());
    Some(item.problem(&format!("{path}.metadata"), message, Some(nearest_of(key, known))))
}

fn default_value(item: &Item<SourceSpec>, column: &Column, path: &str) -> Option<Problem> {
    let default = column.default.as_ref()?;
    let message = if column.metadata.is_some() {
        "a metadata column always has a value: default has no meaning with metadata"
    } else if default.is_object() || default.is_array() {
        "a default is a text, a number, true or false"
    } else {
        return None;
    };
    Some(item.problem(&format!("{path}.default"), message, None))
}

fn watermark(item: &Item<SourceSpec>) -> Option<Problem> {
    let column = &item.spec.watermark.as_ref()?.column;
    if item.spec.schema.is_empty() {
        return None;
    }
    let path = "spec.watermark.column";
    let Some(declared) = item.spec.schema.iter().find(|declared| declared.name == *column) else {
        let names: Vec<&str> = item.spec.schema.iter().map(|declared| declared.name.as_str()).collect();
        return Some(item.problem(path, format!("there is no column `{column}`"), Some(nearest_of(column, &names))));
    };
    let data_type = declared.column_type().ok().filter(|data_type| !data_type.is_timestamp())?;
    let message = format!("a watermark's column must be a TIMESTAMP, and `{column}` is {data_type}");
    Some(item.problem(path, message, Some("declare it as TIMESTAMP(3), or name another column".to_owned())))
}
