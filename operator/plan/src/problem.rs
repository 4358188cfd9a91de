//! What is amiss in a pipeline or in what it refers to: where, what, and what to do.

use std::fmt;

use thalweg_crds::condition::Reason;

/// One thing amiss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing; the reason of the condition, where it is the first.
    pub reason: Reason,
    /// `Kind/name`.
    pub resource: String,
    /// The field, such as `spec.sources[0].name`.
    pub path: String,
    /// Line and column within the text of the field, both from 1, where the field holds a text such as SQL.
    pub place: Option<(usize, usize)>,
    /// What was found, and what is expected.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.path.is_empty() { String::new() } else { format!(" {}", self.path) };
        let place = self.place.map(|(line, column)| format!(" {line}:{column}")).unwrap_or_default();
        let message = self.message.trim_end_matches('.');
        write!(f, "{}{field}{place}: {message}", self.resource)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// Longest message of a condition that the API server takes.
const MESSAGE_LIMIT: usize = 32_768;

/// Every problem, as one message; the first one's reason goes with it.
pub fn summary(problems: &[Problem]) -> (Reason, String) {
    let reason = problems.first().map_or(Reason::InvalidSpec, |problem| problem.reason);
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let message: String = lines.join("\n").chars().take(MESSAGE_LIMIT / 4).collect();
    (reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_resource_field_place_message_help() {
        let problem = Problem {
            reason: Reason::InvalidSql,
            resource: "StreamPipeline/p".to_owned(),
            path: "spec.sql".to_owned(),
            place: Some((3, 7)),
            message: "there is no column `fair`.".to_owned(),
            help: Some("did you mean fare?".to_owned()),
        };
        assert_eq!(problem.to_string(), "StreamPipeline/p spec.sql 3:7: there is no column `fair`; did you mean fare?");
        let bare = Problem { path: String::new(), place: None, help: None, ..problem };
        assert_eq!(bare.to_string(), "StreamPipeline/p: there is no column `fair`");
    }
}
