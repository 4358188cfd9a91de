//! What pipelines say about a source or a sink, and what its own status says of that.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use thalweg_crds::condition::{ConditionStatus, ConditionType, Reason, condition};

use crate::status::{Facts, failure_about, owned};

/// What is said about a source or a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it can be used.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// What was found, and what to do.
    pub message: String,
}

/// What one pipeline says about `StreamSource/NAME` or `StreamSink/NAME`; `None` while that depends on workers that have not
/// been heard yet.
pub fn of_pipeline(facts: &Facts<'_>, resource: &str) -> Option<Verdict> {
    let no = |reason, message| Verdict { status: ConditionStatus::False, reason, message };
    let problems = facts.validated.err().unwrap_or_default();
    if let Some(problem) = problems.iter().find(|problem| problem.resource == resource) {
        return Some(no(problem.reason, problem.to_string()));
    }
    if facts.observed.awaits_words().is_some() {
        return None;
    }
    if let Some((reason, message)) = failure_about(facts.observed, resource) {
        return Some(no(reason, message));
    }
    Some(match owned(facts) > 0 {
        true => {
            Verdict { status: ConditionStatus::True, reason: Reason::AsExpected, message: "it is in use".to_owned() }
        }
        false => untried(),
    })
}

/// What a pipeline says that has not tried it.
pub fn untried() -> Verdict {
    Verdict {
        status: ConditionStatus::Unknown,
        reason: Reason::Pending,
        message: "no worker has tried it yet".to_owned(),
    }
}

/// What all pipelines together say, by name: one that is in trouble counts more than those that are not.
pub fn of_all(verdicts: &BTreeMap<String, Verdict>) -> Verdict {
    let named = |status: ConditionStatus| verdicts.iter().filter(move |(_, verdict)| verdict.status == status);
    if let Some((pipeline, verdict)) = named(ConditionStatus::False).next() {
        return Verdict { message: format!("StreamPipeline/{pipeline}: {}", verdict.message), ..verdict.clone() };
    }
    let users: Vec<&str> = named(ConditionStatus::True).map(|(pipeline, _)| pipeline.as_str()).collect();
    if users.is_empty() {
        let message = match verdicts.is_empty() {
            true => "no StreamPipeline names it",
            false => "no worker has tried it yet",
        };
        return Verdict { status: ConditionStatus::Unknown, reason: Reason::Pending, message: message.to_owned() };
    }
    Verdict {
        status: ConditionStatus::True,
        reason: Reason::AsExpected,
        message: format!("in use by StreamPipeline {}", shortened(&users)),
    }
}

/// The conditions of its status.
pub fn conditions(verdict: &Verdict, generation: Option<i64>, previous: &[Condition], now: Time) -> Vec<Condition> {
    let Verdict { status, reason, message } = verdict;
    vec![condition(ConditionType::Ready, *status, *reason, message.clone(), generation, previous, now)]
}

/// Hundreds of pipelines may read one source.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        few if few <= SHOWN => names.join(", "),
        many => format!("{} and {} more", names[..SHOWN].join(", "), many - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: ConditionStatus, reason: Reason) -> Verdict {
        Verdict { status, reason, message: "so".to_owned() }
    }

    #[test]
    fn one_pipeline_in_trouble_counts_more_than_those_that_are_not() {
        let mut all = BTreeMap::new();
        assert_eq!(of_all(&all).message, "no StreamPipeline names it");
        all.insert("a".to_owned(), verdict(ConditionStatus::Unknown, Reason::Pending));
        assert_eq!(of_all(&all).status, ConditionStatus::Unknown);
        for name in ["b", "c", "d", "e", "f", "g"] {
            all.insert(name.to_owned(), verdict(ConditionStatus::True, Reason::AsExpected));
        }
        assert_eq!(of_all(&all).message, "in use by StreamPipeline b, c, d, e, f and 1 more");
        all.insert("h".to_owned(), verdict(ConditionStatus::False, Reason::Unauthorized));
        let told = of_all(&all);
        assert_eq!((told.status, told.reason), (ConditionStatus::False, Reason::Unauthorized));
        assert_eq!(told.message, "StreamPipeline/h: so");
    }
}
