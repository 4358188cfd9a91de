//! Text, where Flink's functions differ from the planner's.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::Regex;

use super::row::{Kind, Last, Returns, pure};

const TEXT: Returns = Returns::Always(|| DataType::Utf8);

pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        pure("split_index", &[Kind::Text, Kind::Text, Kind::Int], 3, TEXT, |args| {
            let (text, delimiter) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
            let index = args[2].as_primitive::<Int64Type>();
            let mut out = StringBuilder::with_capacity(text.len(), text.value_data().len());
            for row in 0..text.len() {
                if text.is_null(row) || delimiter.is_null(row) || index.is_null(row) {
                    out.append_null();
                    continue;
                }
                let part = usize::try_from(index.value(row))
                    .ok()
                    .filter(|_| !text.value(row).is_empty())
                    .and_then(|index| text.value(row).split(delimiter.value(row)).nth(index));
                out.append_option(part);
            }
            Ok(Arc::new(out.finish()))
        }),
        pure("regexp_extract", &[Kind::Text, Kind::Text, Kind::Int], 2, TEXT, |args| {
            let (text, pattern) = (args[0].as_string::<i32>(), args[1].as_string::<i32>());
            let group = args.get(2).map(|group| group.as_primitive::<Int64Type>());
            let mut out = StringBuilder::with_capacity(text.len(), 0);
            let mut last = Last::new();
            for row in 0..text.len() {
                if text.is_null(row) || pattern.is_null(row) || group.is_some_and(|group| group.is_null(row)) {
                    out.append_null();
                    continue;
                }
                let regex = last.get(pattern.value(row), compile)?;
                let group = usize::try_from(group.map_or(0, |group| group.value(row))).unwrap_or(usize::MAX);
                let found = regex.captures(text.value(row)).and_then(|found| found.get(group));
                out.append_option(found.map(|found| found.as_str()));
            }
            Ok(Arc::new(out.finish()))
        }),
    ]
}

fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern)
        .map_err(|error| exec_datafusion_err!("`{pattern}` is no regular expression: {}", crate::planner::why(&error)))
}
