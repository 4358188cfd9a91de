//! Why a text is no column type, and what was probably meant.

use super::MAX_DEPTH;

const NAMES: [&str; 24] = [
    "ARRAY",
    "BIGINT",
    "BOOLEAN",
    "BYTES",
    "CHAR",
    "DATE",
    "DEC",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "MAP",
    "NUMERIC",
    "ROW",
    "SMALLINT",
    "STRING",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TINYINT",
    "VARBINARY",
    "VARCHAR",
    "BINARY",
];

/// Names that Flink has and Thalweg does not read yet, and what to write instead.
const NOT_YET: [(&str, &str); 5] = [
    ("BINARY", "use BYTES"),
    ("INTERVAL", "use BIGINT, in milliseconds"),
    ("MULTISET", "use MAP<type, INT>"),
    ("RAW", "use BYTES"),
    ("VARIANT", "use STRING"),
];

/// Why a text is no column type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnTypeError {
    /// Nothing was written.
    #[error("the type is empty; expected one of Flink's names, such as STRING, BIGINT or TIMESTAMP(3)")]
    Empty,
    /// The text ends within parentheses, as YAML's flow style leaves it.
    #[error(
        "`{text}` ends inside its parentheses: the comma ended the value here; quote it, such as type: \"{whole}\""
    )]
    CutByComma {
        /// What was found.
        text: String,
        /// What was probably meant.
        whole: String,
    },
    /// No type has this name.
    #[error("`{name}` is no type; {}", expected_name(.nearest.as_deref()))]
    UnknownName {
        /// What was found.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// Flink has the type, Thalweg does not read it yet.
    #[error("{name} is not supported yet; {instead}")]
    NotSupported {
        /// Its name.
        name: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// Something else was expected at a place.
    #[error("`{text}`: expected {expected} at character {at}, found {found}")]
    Syntax {
        /// The whole text.
        text: String,
        /// What was expected.
        expected: &'static str,
        /// The place, in characters from 1.
        at: usize,
        /// What was found.
        found: String,
    },
    /// A number is out of its range.
    #[error("`{text}`: {what} must be {from} to {to}, found {found}")]
    OutOfRange {
        /// The whole text.
        text: String,
        /// What the number is.
        what: &'static str,
        /// The least one.
        from: u32,
        /// The greatest one.
        to: u32,
        /// What was found.
        found: String,
    },
    /// Types nest too deeply.
    #[error("the type nests deeper than {MAX_DEPTH} levels; flatten it")]
    TooDeep,
    /// A row has two fields of one name.
    #[error("ROW has two fields named `{0}`; rename one")]
    DuplicateField(String),
}

fn expected_name(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "expected one of Flink's names, such as STRING, BIGINT or TIMESTAMP(3)".to_owned(),
    }
}

/// Whether brackets are left open.
pub(super) fn is_cut(chars: &[char]) -> bool {
    let count = |symbols: [char; 2]| chars.iter().filter(|c| symbols.contains(c)).count();
    count(['(', '<']) > count([')', '>'])
}

/// What a text that a comma cut probably was.
pub(super) fn mended(text: &str) -> String {
    let text = text.trim();
    match text.rfind(['(', '<']) {
        Some(open) if text[open..].starts_with('(') => format!("{text}, 2)"),
        _ => format!("{text}, …>"),
    }
}

/// The error about a name that no type has.
pub(super) fn unknown(name: &str) -> ColumnTypeError {
    let upper = name.to_ascii_uppercase();
    if let Some((name, instead)) = NOT_YET.iter().find(|(not_yet, _)| *not_yet == upper) {
        return ColumnTypeError::NotSupported { name: (*name).to_owned(), instead };
    }
    ColumnTypeError::UnknownName { name: name.to_owned(), nearest: nearest(&upper) }
}

/// The nearest name: Flink's own, or the one for what other systems call the type.
fn nearest(upper: &str) -> Option<String> {
    let foreign = match upper {
        "TEXT" | "STR" | "UTF8" => Some("STRING"),
        "LONG" | "INT64" => Some("BIGINT"),
        "INT32" => Some("INT"),
        "BOOL" => Some("BOOLEAN"),
        "DATETIME" => Some("TIMESTAMP(3)"),
        "TIMESTAMPTZ" => Some("TIMESTAMP_LTZ(3)"),
        "FLOAT64" => Some("DOUBLE"),
        "FLOAT32" | "REAL" => Some("FLOAT"),
        "BLOB" | "BYTEA" => Some("BYTES"),
        "STRUCT" | "OBJECT" => Some("ROW<…>"),
        "LIST" => Some("ARRAY<…>"),
        _ => None,
    };
    let by_distance = || NAMES.iter().copied().min_by_key(|name| strsim::damerau_levenshtein(name, upper));
    let close = |name: &&str| strsim::damerau_levenshtein(name, upper) <= 2;
    foreign.or_else(|| by_distance().filter(close)).map(str::to_owned)
}
