//! The one list of functions that SQL may call.
//!
//! Those of the planner whose meaning is Flink's are taken by name; the others are in this folder. All are pure: equal
//! arguments give equal results, on every worker and at every time.

mod casts;
mod codes;
mod decimal;
#[cfg(test)]
mod extremes;
mod geo;
mod java_time;
mod json;
mod math;
mod parts;
mod row;
mod text;
mod time;
mod totals;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::functions::all_default_functions;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
pub(crate) use json::Shape as JsonShape;

/// Functions of the planner under their own names.
const BORROWED: &[&str] = &[
    "btrim",
    "character_length",
    "coalesce",
    "concat_ws",
    "contains",
    "decode",
    "encode",
    "ends_with",
    "find_in_set",
    "get_field",
    "initcap",
    "levenshtein",
    "lower",
    "ltrim",
    "md5",
    "named_struct",
    "nullif",
    "octet_length",
    "regexp_count",
    "regexp_like",
    "reverse",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "struct",
    "to_hex",
    "translate",
    "upper",
    "array_has",
    "array_element",
    "array_length",
    "cardinality",
    "make_array",
    "map",
    "map_extract",
    "map_keys",
    "map_values",
];

/// Functions of the planner under another name: ours, then its own.
const RENAMED: &[(&str, &str)] = &[
    ("char_length", "character_length"),
    ("length", "character_length"),
    ("trim", "btrim"),
    ("array_contains", "array_has"),
    ("greatest_of", "greatest"),
    ("least_of", "least"),
    ("sha224_bytes", "sha224"),
    ("sha256_bytes", "sha256"),
    ("sha384_bytes", "sha384"),
    ("sha512_bytes", "sha512"),
    ("ucase", "upper"),
    ("lcase", "lower"),
];

/// What the text's rewriting makes of a function, where messages would show that: its name in a text, then the other.
const RESPELT: &[(&str, &str)] = &[
    ("floor", "floor_time"),
    ("ceil", "ceil_time"),
    ("extract", "time_field"),
    ("timestampadd", "timestampadd_unit"),
    ("timestampdiff", "timestampdiff_unit"),
    ("regexp", "regexp_like"),
    ("substring", "substr"),
    ("is json", "is_json"),
    ("startswith", "starts_with"),
    ("endswith", "ends_with"),
];

/// Names that are rewritten before the planner sees them.
const REWRITTEN: &[&str] = &[
    "concat",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "endswith",
    "greatest",
    "hour",
    "if",
    "ifnull",
    "instr",
    "json_array",
    "json_object",
    "least",
    "minute",
    "mod",
    "month",
    "quarter",
    "regexp",
    "second",
    "sha2",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "startswith",
    "timestampadd",
    "timestampdiff",
    "week",
    "year",
];

/// What `JSON_OBJECT` and `JSON_ARRAY` are rewritten to: its first argument says what is made, the others are the values.
pub(crate) const JSON_TEXT: &str = "json_constructed";

/// Aggregate functions.
const AGGREGATES: &[&str] =
    &["count", "first_value", "last_value", "max", "min", "stddev", "stddev_pop", "var", "var_pop"];

/// Aggregate functions under another name: ours, then the planner's.
const RENAMED_AGGREGATES: &[(&str, &str)] = &[("stddev_samp", "stddev"), ("var_samp", "var"), ("variance", "var")];

static SCALARS: LazyLock<BTreeMap<String, Arc<ScalarUDF>>> = LazyLock::new(scalars);
static AGGREGATE_MAP: LazyLock<BTreeMap<String, Arc<AggregateUDF>>> = LazyLock::new(aggregates);

fn scalars() -> BTreeMap<String, Arc<ScalarUDF>> {
    let planner: BTreeMap<String, Arc<ScalarUDF>> = all_default_functions()
        .into_iter()
        .chain(all_default_nested_functions())
        .map(|function| (function.name().to_owned(), function))
        .collect();
    let borrowed = BORROWED.iter().map(|name| (*name, *name)).chain(RENAMED.iter().copied());
    let borrowed = borrowed.filter_map(|(ours, theirs)| Some((ours.to_owned(), Arc::clone(planner.get(theirs)?))));
    let own = [
        casts::functions(),
        codes::functions(),
        decimal::functions(),
        geo::functions(),
        json::functions(),
        math::functions(),
        parts::functions(),
        text::functions(),
        time::functions(),
    ];
    let own = own.into_iter().flatten().map(|function| (function.name().to_owned(), Arc::new(function)));
    borrowed.chain(own).collect()
}

fn aggregates() -> BTreeMap<String, Arc<AggregateUDF>> {
    let planner: BTreeMap<String, Arc<AggregateUDF>> =
        all_default_aggregate_functions().into_iter().map(|function| (function.name().to_owned(), function)).collect();
    let names = AGGREGATES.iter().map(|name| (*name, *name)).chain(RENAMED_AGGREGATES.iter().copied());
    let borrowed = names.filter_map(|(ours, theirs)| Some((ours.to_owned(), Arc::clone(planner.get(theirs)?))));
    let (sum, average) = (Arc::new(totals::sum()), Arc::new(totals::avg()));
    let own = [("sum", sum), ("avg", Arc::clone(&average)), ("mean", average)];
    borrowed.chain(own.map(|(name, function)| (name.to_owned(), function))).collect()
}

/// Makes what takes a millisecond once, so that another thread can do it while manifests are read.
pub fn load() {
    LazyLock::force(&SCALARS);
    LazyLock::force(&AGGREGATE_MAP);
}

/// The scalar function of a lower-case name.
pub(crate) fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    SCALARS.get(name).cloned()
}

/// What the planner calls the function of a lower-case name.
pub(crate) fn planner_name(name: &str) -> &str {
    names().find(|(written, _)| *written == name).map_or(name, |(_, planner)| planner)
}

/// What a text may call a function of the planner.
pub(crate) fn written_name(name: &str) -> &str {
    names().find(|(_, planner)| *planner == name).map_or(name, |(written, _)| written)
}

/// Functions that are called otherwise in a text and in its plan.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    RENAMED.iter().chain(RENAMED_AGGREGATES).chain(RESPELT).copied()
}

/// The aggregate function of a lower-case name.
pub(crate) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    AGGREGATE_MAP.get(name).cloned()
}

/// Whether a lower-case name is that of an aggregate function.
pub(crate) fn is_aggregate(name: &str) -> bool {
    AGGREGATE_MAP.contains_key(name)
}

/// Whether a text may call a function by this lower-case name.
pub(crate) fn is_known(name: &str) -> bool {
    SCALARS.contains_key(name) || is_aggregate(name) || REWRITTEN.contains(&name)
}

/// The known function that a wrong name probably meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let hidden = |known: &&str| {
        !known.ends_with("_of")
            && !known.ends_with("_bytes")
            && !known.ends_with("_unit")
            && !known.starts_with("text_of_")
            && *known != JSON_TEXT
            && !known.starts_with("decimal_")
    };
    let known = SCALARS.keys().chain(AGGREGATE_MAP.keys()).map(String::as_str).filter(hidden);
    crate::problem::nearest(name, known.chain(REWRITTEN.iter().copied()))
}

/// Every scalar function's name.
pub(crate) fn scalar_names() -> Vec<String> {
    SCALARS.keys().cloned().collect()
}

/// Every aggregate function's name.
pub(crate) fn aggregate_names() -> Vec<String> {
    AGGREGATE_MAP.keys().cloned().collect()
}

/// Functions that are known and still no pipeline may call: what was found, and what to write instead.
pub(crate) fn refused(name: &str, no_arguments: bool) -> Option<(String, &'static str)> {
    let upper = name.to_uppercase();
    let clock =
        || Some((format!("{upper} reads a clock, so that a replay would give other rows"), "use a time of the row"));
    match name {
        "unix_timestamp" if no_arguments => clock(),
        "now"
        | "current_timestamp"
        | "current_date"
        | "current_time"
        | "localtime"
        | "localtimestamp"
        | "current_row_timestamp" => clock(),
        "proctime" => Some((
            "PROCTIME reads a clock, so that a replay would give other rows".to_owned(),
            "use the watermark's column of the source; FOR SYSTEM_TIME AS OF of a lookup join takes that too",
        )),
        "rand" | "rand_integer" | "random" | "uuid" => Some((
            format!("{upper} gives other values in a replay"),
            "derive it from the row, for example MD5(CAST(id AS STRING))",
        )),
        "current_watermark" | "source_watermark" => {
            Some((format!("{upper} is not supported"), "windows close by the watermark; late rows: `watermark.late`"))
        }
        "tumble" | "hop" | "session" | "cumulate" => Some((
            format!("{upper}(…) as a group function is not supported"),
            "write FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …)) GROUP BY window_start, window_end",
        )),
        "tumble_start" | "tumble_end" | "tumble_rowtime" | "hop_start" | "hop_end" | "hop_rowtime"
        | "session_start" | "session_end" | "session_rowtime" => Some((
            format!("{upper} is not supported"),
            "select window_start, window_end or window_time of the window function",
        )),
        "listagg" | "collect" | "array_agg" | "string_agg" | "json_objectagg" | "json_arrayagg" => {
            Some((format!("{upper} is not supported yet"), "use count, first_value, last_value, min or max"))
        }
        "row" => Some(("ROW(…) is not supported yet".to_owned(), "write named_struct('a', a, 'b', b)")),
        "row_number" | "rank" | "dense_rank" | "lag" | "lead" | "ntile" => {
            Some((format!("{upper} is not supported yet"), "use min, max, first_value or last_value in a window"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_lists_is_there() {
        for name in BORROWED.iter().chain(RENAMED.iter().map(|(ours, _)| ours)) {
            assert!(scalar(name).is_some(), "{name}");
        }
        for name in AGGREGATES.iter().chain(RENAMED_AGGREGATES.iter().map(|(ours, _)| ours)) {
            assert!(aggregate(name).is_some(), "{name}");
        }
    }

    #[test]
    fn no_function_looks_at_anything_but_its_arguments() {
        use datafusion::logical_expr::Volatility;
        for (name, function) in SCALARS.iter() {
            assert_eq!(function.signature().volatility, Volatility::Immutable, "{name}");
        }
    }
}
