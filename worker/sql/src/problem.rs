//! What is wrong with the SQL, and where.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::SchemaError;
use datafusion::common::diagnostic::DiagnosticKind;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use strsim::damerau_levenshtein;

use crate::explain::Type;

/// One problem of the text, at its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was found, and what is expected.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for SqlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl SqlProblem {
    /// Whether it stands at a place, of which an unknown one is the start of the text.
    pub(crate) fn is_at(&self, place: Place) -> bool {
        let there = place.problem("");
        (self.line, self.column) == (there.line, there.column)
    }
}

/// A place in the text; line 0 stands for "somewhere".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    line: u64,
    column: u64,
}

impl Place {
    /// This place, or `other` if it is unknown.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.line == 0 { other } else { self }
    }

    /// A problem at this place.
    pub(crate) fn problem(self, message: impl Into<String>) -> SqlProblem {
        SqlProblem {
            line: self.line.max(1) as usize,
            column: self.column.max(1) as usize,
            message: message.into(),
            help: None,
        }
    }

    /// A problem at this place, with what to write instead.
    pub(crate) fn refuse(self, message: impl Into<String>, help: impl Into<String>) -> SqlProblem {
        SqlProblem { help: Some(help.into()), ..self.problem(message) }
    }
}

impl From<Location> for Place {
    fn from(at: Location) -> Self {
        Self { line: at.line, column: at.column }
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        span.start.into()
    }
}

impl From<datafusion::common::Span> for Place {
    fn from(span: datafusion::common::Span) -> Self {
        Self { line: span.start.line, column: span.start.column }
    }
}

/// What the planner said, at its own place if it knows one, else at `place`.
pub(crate) fn from_planner(error: &DataFusionError, place: Place) -> SqlProblem {
    if let DataFusionError::External(inner) = error.find_root()
        && let Some(problem) = inner.downcast_ref::<Carried>()
    {
        return problem.0.clone();
    }
    let Some(diagnostic) = error.diagnostic().filter(|found| found.kind == DiagnosticKind::Error) else {
        return place.problem(plain(error));
    };
    let noted = diagnostic.notes.iter().find_map(|note| note.span);
    let at = diagnostic.span.or(noted).map_or(place, Place::from);
    if diagnostic.message.starts_with("table '") {
        // The context's own sentence, which says what there is.
        let said = root_sentence(error);
        let (message, help) = said.split_once("; ").unwrap_or((&said, ""));
        return SqlProblem { help: (!help.is_empty()).then(|| help.to_owned()), ..at.problem(message) };
    }
    let notes =
        diagnostic.notes.iter().map(|note| &note.message).chain(diagnostic.helps.iter().map(|help| &help.message));
    if diagnostic.message == "expressions have incompatible types" {
        let kinds: Vec<String> = notes.filter_map(|note| kind_of(note)).collect();
        return at.refuse(format!("{} do not go together here", kinds.join(" and ")), "CAST one of them");
    }
    if let Some((operator, kind)) = diagnostic.message.split_once(" cannot be used with ") {
        return at.refuse(format!("`{operator}` takes no {}", flink_type(kind)), "CAST it");
    }
    let found = diagnostic.message.split('\'').nth(1).unwrap_or_default();
    if diagnostic.helps.iter().any(|help| help.message.contains("ANY_VALUE(")) {
        let what = format!("`{found}` is neither a key of GROUP BY nor within an aggregate function");
        return at.refuse(what, "add it to GROUP BY, or write first_value(…) of it");
    }
    let mut notes: Vec<String> = notes.filter_map(|note| meant_column(found, note)).collect();
    if let DataFusionError::SchemaError(missing, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, valid_fields } = missing.as_ref()
        && notes.is_empty()
    {
        let known = nearest(&field.name, valid_fields.iter().map(|known| known.name.as_str()));
        notes.extend(known.map(|known| format!("did you mean `{known}`?")));
    }
    let problem = at.problem(diagnostic.message.replace('\'', "`"));
    SqlProblem { help: (!notes.is_empty()).then(|| notes.join("; ")), ..problem }
}

/// `possible column bid.price` as a question, if that is near to what was found.
fn meant_column(found: &str, note: &str) -> Option<String> {
    let Some(column) = note.strip_prefix("possible column ") else { return Some(note.to_owned()) };
    let column = column.rsplit('.').next().unwrap_or(column);
    let found = found.rsplit('.').next().unwrap_or(found);
    nearest(found, [column]).map(|column| format!("did you mean `{column}`?"))
}

/// `has type Utf8` under Flink's name.
fn kind_of(note: &str) -> Option<String> {
    let kind = note.strip_prefix("has type ")?;
    Some(flink_type(kind))
}

fn root_sentence(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => root_sentence(inner),
        other => cleaned(&other.message()),
    }
}

/// The planner's sentence without its prefixes and without a backtrace.
pub(crate) fn plain(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::Diagnostic(diagnostic, _) => cleaned(&diagnostic.message),
        other => cleaned(&other.message()),
    }
}

/// What of a sentence speaks to the author of the SQL.
fn cleaned(text: &str) -> String {
    let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
    // Types that a function does not take: its own words are last, followed by advice about the planner.
    let text = match text.split_once("failed with: ") {
        Some((_, own)) => own.trim_start_matches("Error during planning: "),
        None => text.trim_start_matches("Execution error: ").trim_start_matches("Error during planning: "),
    };
    let text = text.split(" No function matches the given name").next().unwrap_or_default();
    // The planner takes a call that fits no signature for a bug of its own, and asks to report it.
    let text = text.split("This issue was likely caused by a bug").next().unwrap_or_default();
    let text = text.trim_start_matches("Internal error: ").trim().trim_end_matches('.');
    if let Some((_, reasons)) = text.split_once(" failed to match any signature, errors: ") {
        // One a signature: what is wrong with a value says more than that another form takes more of them.
        let reasons = reasons.split("Error during planning: ").map(|reason| reason.trim_matches([',', '.', ' ']));
        let (counts, values): (Vec<_>, Vec<_>) =
            reasons.filter(|reason| !reason.is_empty()).partition(|reason| reason.contains(" arguments but received "));
        // Of many a first one will do: it names the function and what was found.
        let refused = values.first().and_then(|first| not_taken(first));
        return refused.unwrap_or_else(|| if values.is_empty() { counts } else { values }.join("; or "));
    }
    if let Some(problem) = not_taken(text).or_else(|| not_that(text)) {
        return problem;
    }
    if text.contains("require unique expression names") || text.contains("which would be ambiguous") {
        let twice = text.split_once("expression \"").and_then(|(_, rest)| rest.split_once("\" at position"));
        let ambiguous = text.split_once("unqualified field name ").and_then(|(_, rest)| rest.split_once(" which "));
        let name = twice.map(|(twice, _)| twice.rsplit_once(" AS ").map_or(twice, |(_, alias)| alias));
        let name = name.or(ambiguous.map(|(name, _)| name.trim_matches('"')));
        let name = name.map(|name| name.rsplit_once('.').map_or(name, |(_, column)| column));
        let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
        return format!("two columns of a SELECT have the same name{name}: rename one with AS");
    }
    text.trim().trim_end_matches('.').to_owned()
}

/// What the planner says of a value or a condition of another type than is asked for.
fn not_that(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("Cast error: Cannot cast string '") {
        let (found, kind) = rest.split_once("' to value of ")?;
        return Some(format!("`{found}` is no {}", flink_type(kind.trim_end_matches(" type"))));
    }
    if let Some(rest) = text.strip_prefix("Parser error: Error parsing timestamp from '") {
        let (found, why) = rest.split_once("': ")?;
        let why = why.trim_start_matches("error parsing ");
        return Some(format!("`{found}` is no TIMESTAMP, by its {why}: expected 'yyyy-MM-dd HH:mm:ss'"));
    }
    if let Some(rest) = text.strip_prefix("Cast error: Can't cast value ") {
        let (found, kind) = rest.rsplit_once(" to type ")?;
        return Some(format!("{found} is beyond {}", flink_type(kind)));
    }
    if let Some(kind) = text.strip_prefix("Unsupported SQL type ") {
        return Some(format!("a CAST to {kind} is not supported yet"));
    }
    if let Some(qualifier) = text.strip_prefix("Invalid qualifier ") {
        return Some(format!("`{qualifier}.*`: FROM names no `{qualifier}`"));
    }
    if let Some(rest) = text.strip_prefix("Cannot create filter with non-boolean predicate ") {
        let (_, kind) = rest.rsplit_once(" returning ")?;
        return Some(format!("a condition is {}, expected BOOLEAN", flink_type(kind)));
    }
    if let Some(rest) = text.strip_prefix("Failed to coerce types ") {
        let (left, right) = rest.split_once(" in ")?.0.split_once(" and ")?;
        return Some(format!(
            "{} and {} do not go together here: CAST one of them",
            flink_type(left),
            flink_type(right)
        ));
    }
    text.starts_with("HAVING clause references: ").then(|| {
        "HAVING takes keys of GROUP BY and aggregate functions: write WHERE for a condition on rows".to_owned()
    })
}

/// A type under Flink's name, of one under the planner's.
fn flink_type(kind: &str) -> String {
    kind.parse::<DataType>().map_or_else(|_| kind.to_owned(), |kind| Type(&kind).to_string())
}

/// What the planner says of a function and a type that it does not take.
fn not_taken(text: &str) -> Option<String> {
    // In the quotes in which it is found again, to be given the name that was written.
    let name = |rest: &str| Some(rest.split('\'').nth(1)?.to_owned());
    let (name, kind) = match text.strip_prefix("Failed to coerce arguments to satisfy a call to ") {
        Some(rest) => (name(rest)?, rest.split("coercion from ").nth(1)?.split(' ').next()?),
        None => {
            let kind = text.strip_prefix("Function ")?.split_once("(DataType: ")?.1.trim_end_matches(')');
            (name(text)?, kind)
        }
    };
    Some(format!("'{name}' takes no {}", flink_type(kind)))
}

/// A problem that travels through the planner as one of its errors.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) SqlProblem);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

impl From<Carried> for DataFusionError {
    fn from(carried: Carried) -> Self {
        Self::External(Box::new(carried))
    }
}

/// The known name that a wrong one probably meant.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = found.to_lowercase();
    let distance = |name: &str| damerau_levenshtein(&lower, &name.to_lowercase());
    let best = known.into_iter().map(|name| (distance(name), name)).min()?;
    // A third of the letters: of short names that are further apart everything is near to something.
    let letters = found.chars().count();
    (best.0 < letters && best.0 <= (letters / 3).max(1)).then_some(best.1)
}

/// "did you mean …?", or the list of what there is.
pub(crate) fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(found, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let names: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "none is declared".to_owned() } else { format!("there is {}", names.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_planner_says_is_told_in_words_of_flink() {
        for (said, told) in [
            ("Cast error: Can't cast value 300 to type Int8", "300 is beyond TINYINT"),
            ("Unsupported SQL type BYTES", "a CAST to BYTES is not supported yet"),
            ("Invalid qualifier x", "`x.*`: FROM names no `x`"),
            (
                "Schema contains qualified field name t.a and unqualified field name a which would be ambiguous",
                "two columns of a SELECT have the same name `a`: rename one with AS",
            ),
        ] {
            assert_eq!(cleaned(said), told);
        }
    }
}
