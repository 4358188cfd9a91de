//! What is wrong with the SQL, and where.

use std::fmt;

use datafusion::common::diagnostic::DiagnosticKind;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use strsim::damerau_levenshtein;

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
    let at = diagnostic.span.map_or(place, Place::from);
    let mut said: Vec<String> = diagnostic.notes.iter().map(|note| note.message.clone()).collect();
    said.extend(diagnostic.helps.iter().map(|help| help.message.clone()));
    let problem = at.problem(diagnostic.message.clone());
    SqlProblem { help: (!said.is_empty()).then(|| said.join("; ")), ..problem }
}

/// The planner's sentence without its prefix and without a backtrace.
pub(crate) fn plain(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = match root {
        DataFusionError::Diagnostic(diagnostic, _) => diagnostic.message.clone(),
        other => other.message().into_owned(),
    };
    let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
    text.trim().trim_end_matches('.').to_owned()
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
    (best.0 <= 1 + found.chars().count() / 3).then_some(best.1)
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
