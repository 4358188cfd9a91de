//! What workers tell of commits in their logs.

use serde_json::Value;

/// Who tells of them.
const TARGET: &str = "thalweg::commits";
/// What `--log` of a worker says, so that it tells each commit of each unit beside what it tells anyway.
pub const LOG: &str = "info,krafka=off,thalweg::commits=debug";

/// A commit of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When it was durable, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whose: `STAGE-INDEX`.
    pub unit: String,
    /// By which owner.
    pub epoch: u64,
    /// What the unit's windows held.
    pub state_bytes: u64,
}

/// Whether a line of a log tells of a commit.
pub fn is_commit(line: &str) -> bool {
    line.contains(TARGET)
}

/// The commits that some logs tell, in the order of time.
pub fn commits(logs: impl Iterator<Item = String>) -> Vec<Commit> {
    let mut commits: Vec<_> = logs.flat_map(|log| log.lines().filter_map(commit).collect::<Vec<_>>()).collect();
    commits.sort_by_key(|commit| commit.at_ms);
    commits
}

fn commit(line: &str) -> Option<Commit> {
    if !is_commit(line) {
        return None;
    }
    let told: Value = serde_json::from_str(line).ok()?;
    Some(Commit {
        at_ms: told["wall_millis"].as_i64()?,
        unit: told["unit"].as_str()?.to_owned(),
        epoch: told["epoch"].as_u64()?,
        state_bytes: told["state_bytes"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_of_several_logs_are_told_in_the_order_of_time_and_other_lines_are_none() {
        let line = |at: i64, unit: &str| {
            format!(
                r#"{{"level":"DEBUG","unit":"{unit}","epoch":3,"wall_millis":{at},"state_bytes":7,"target":"{TARGET}"}}"#
            )
        };
        let last = line(9, "0-9");
        let cut_off = last.trim_end_matches('}');
        let logs = [
            format!("{}\n{{\"level\":\"INFO\",\"message\":\"else\"}}\n{}\n{cut_off}", line(5, "0-1"), line(8, "0-1")),
            line(6, "0-2"),
        ];
        let commit = |at_ms, unit: &str| Commit { at_ms, unit: unit.to_owned(), epoch: 3, state_bytes: 7 };
        assert_eq!(commits(logs.into_iter()), [commit(5, "0-1"), commit(6, "0-2"), commit(8, "0-1")]);
    }
}
