//! What a pipeline's state was made for, and how that differs from what is wanted now. Pure.

use std::collections::BTreeMap;

use thalweg_core::ownership::claim::Adopt;
use thalweg_crds::statements::{Made, Stage, Statement, WHICH};

/// What is noted in a pipeline's state, by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notes {
    /// All: who works.
    #[default]
    All,
    /// What sources list, which says where reading begins: who looks out for input in the place of workers.
    Lists,
    /// Nothing: who tries a plan while another one runs.
    Nothing,
}

/// What the running plan wants of its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its statements. A stage's shape says whether state can be carried over, `about` says the same in words.
    pub statements: Vec<Statement>,
    /// When the plan was made, where there is an operator.
    pub made: Option<Made>,
    /// What may be noted.
    pub notes: Notes,
    /// Whether state of another owner is taken over.
    pub adopt: Adopt,
    /// Versions of what this build writes, by name: `hash`, `keys`, `windows`.
    pub versions: BTreeMap<String, u32>,
}

/// How versions differ, one sentence each.
pub fn version_differences(stored: &BTreeMap<String, u32>, wanted: &BTreeMap<String, u32>) -> Vec<String> {
    changes(stored, wanted).map(|(name, was, now)| format!("version of {name} was {was}, now {now}")).collect()
}

/// How a statement differs from the one in whose place it is, one sentence each, by the numbers of what stands.
pub fn differences(stored: &Statement, wanted: &Statement) -> Vec<String> {
    if stored.fits(wanted) {
        return vec![format!("`INSERT INTO {}`: {WHICH}", wanted.sink)];
    }
    let pairs = stored.stages.iter().zip(&wanted.stages);
    let mut found: Vec<String> =
        pairs.filter(|(was, is)| was.shape != is.shape).flat_map(|(was, is)| stage_differences(was, is)).collect();
    let common = stored.stages.len().min(wanted.stages.len());
    found.extend(wanted.stages[common..].iter().map(|stage| format!("stage {} is new", stage.number)));
    found.extend(stored.stages[common..].iter().map(|stage| format!("stage {} is gone", stage.number)));
    found
}

fn stage_differences(stored: &Stage, wanted: &Stage) -> Vec<String> {
    let stage = stored.number;
    let named: Vec<_> = changes(&stored.about, &wanted.about)
        .map(|(name, was, now)| format!("stage {stage}: {name} {} {was}, now {now}", was_or_were(name)))
        .collect();
    if !named.is_empty() {
        return named;
    }
    vec![format!("stage {stage}: what shapes its state was {}, now {}", stored.shape, wanted.shape)]
}

/// Entries of either map that differ, with both values.
fn changes<'a, V: std::fmt::Display + PartialEq>(
    stored: &'a BTreeMap<String, V>,
    wanted: &'a BTreeMap<String, V>,
) -> impl Iterator<Item = (&'a str, String, String)> {
    let names: std::collections::BTreeSet<_> = stored.keys().chain(wanted.keys()).collect();
    names.into_iter().filter_map(|name| {
        let (was, now) = (stored.get(name), wanted.get(name));
        let text = |value: Option<&V>| value.map_or_else(|| "none".to_owned(), V::to_string);
        (was != now).then(|| (name.as_str(), text(was), text(now)))
    })
}

fn was_or_were(name: &str) -> &'static str {
    if name.ends_with('s') { "were" } else { "was" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By shape, and by what is to be said of it.
    type Wanted<'a> = (&'a str, &'a [(&'a str, &'a str)]);

    fn statement(stages: &[Wanted<'_>]) -> Statement {
        let stage = |(number, (shape, about)): (u32, &Wanted<'_>)| Stage {
            number,
            shape: (*shape).to_owned(),
            about: about.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        Statement { sink: "out".to_owned(), stages: (1..).zip(stages).map(stage).collect(), ..Statement::default() }
    }

    #[test]
    fn statements_of_one_shape_do_not_differ_whatever_the_words_for_people_say() {
        let stored = statement(&[("a", &[("keys", "(zone)")])]);
        let wanted = statement(&[("a", &[("keys", "(the zone)")])]);
        assert_eq!(differences(&stored, &wanted), [format!("`INSERT INTO out`: {WHICH}")]);
    }

    #[test]
    fn every_difference_is_named() {
        let stored = statement(&[("a", &[("key groups", "8"), ("keys", "(zone)"), ("window", "TUMBLE 5 s")])]);
        let wanted = statement(&[("b", &[("key groups", "16"), ("keys", "(zone, day)"), ("window", "TUMBLE 5 s")])]);
        assert_eq!(
            differences(&stored, &wanted),
            ["stage 1: key groups were 8, now 16", "stage 1: keys were (zone), now (zone, day)"]
        );
        let versions = |hash| BTreeMap::from([("hash".to_owned(), hash)]);
        assert_eq!(version_differences(&versions(1), &versions(2)), ["version of hash was 1, now 2"]);
    }

    #[test]
    fn a_difference_without_words_shows_the_shapes() {
        let (stored, wanted) = (statement(&[("a", &[])]), statement(&[("b", &[])]));
        assert_eq!(differences(&stored, &wanted), ["stage 1: what shapes its state was a, now b"]);
    }

    #[test]
    fn stages_that_come_and_go_are_named() {
        let (one, two) = (statement(&[("a", &[])]), statement(&[("a", &[]), ("b", &[])]));
        assert_eq!(differences(&one, &two), ["stage 2 is new"]);
        assert_eq!(differences(&two, &one), ["stage 2 is gone"]);
    }
}
