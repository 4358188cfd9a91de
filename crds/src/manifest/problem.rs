//! What is amiss in a manifest: where, what, and what to do.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing amiss, at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `Kind/name`; empty where the text could not be read so far.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, such as `spec.schema[3].type`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What was found, and what is expected.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        for part in [&self.resource, &self.path] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        let colon = if self.resource.is_empty() && self.path.is_empty() { "" } else { ":" };
        write!(f, "{colon} {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything amiss, in the order of files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts problems and drops repeated ones; `None` if there are none.
    pub fn from_list(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|a, b| (&a.file, a.line, a.column, &a.path).cmp(&(&b.file, b.line, b.column, &b.path)));
        problems.dedup();
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            resource: "StreamSource/taxi-trips".into(),
            file: "a.yaml".into(),
            line: 7,
            column: 13,
            path: "spec.schema[2].type".into(),
            message: "`BIGNT` is no type".into(),
            help: Some("write BIGINT".into()),
        }
    }

    #[test]
    fn a_problem_reads_as_place_field_message_help() {
        assert_eq!(
            problem().to_string(),
            "a.yaml:7:13: StreamSource/taxi-trips spec.schema[2].type: `BIGNT` is no type\n  help: write BIGINT"
        );
        let bare = Problem { resource: String::new(), path: String::new(), line: 0, help: None, ..problem() };
        assert_eq!(bare.to_string(), "a.yaml: `BIGNT` is no type");
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_once_each() {
        let later = Problem { line: 9, ..problem() };
        let problems = Problems::from_list(vec![later.clone(), problem(), problem()]).unwrap();
        assert_eq!(problems.as_slice(), [problem(), later]);
        assert_eq!(Problems::from_list(vec![]), None);
    }
}
