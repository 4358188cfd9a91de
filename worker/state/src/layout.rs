//! What a pipeline's state was made for, and how that differs from what is wanted now. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thalweg_core::unit::StageId;

/// What shapes the state of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageLayout {
    /// The stage.
    pub stage: StageId,
    /// Equal where state can be carried over: a hash of all that shapes it.
    pub fingerprint: String,
    /// How many key groups, one unit each. Absent where there is one unit a split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_groups: Option<u32>,
    /// The same as the fingerprint, in words for people, by name: `keys` → `(zone)`, `window` → `TUMBLE 5 s`. It
    /// decides nothing: it names the difference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub about: BTreeMap<String, String>,
}

/// What the running plan wants of its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Stages in the order of their numbers.
    pub stages: Vec<StageLayout>,
    /// Versions of what this build writes, by name: `hash`, `keys`, `windows`.
    pub versions: BTreeMap<String, u32>,
}

/// Every difference between what stands and what is wanted, one sentence each; empty where state can be carried over.
pub fn differences(stored: &Expected, wanted: &Expected) -> Vec<String> {
    let mut found = version_differences(&stored.versions, &wanted.versions);
    for stage in &wanted.stages {
        match stored.stages.iter().find(|other| other.stage == stage.stage) {
            Some(other) => found.extend(stage_differences(other, stage)),
            None => found.push(format!("stage {} is new", stage.stage)),
        }
    }
    let gone = stored.stages.iter().filter(|stage| !wanted.stages.iter().any(|other| other.stage == stage.stage));
    found.extend(gone.map(|stage| format!("stage {} is gone", stage.stage)));
    found
}

fn version_differences(stored: &BTreeMap<String, u32>, wanted: &BTreeMap<String, u32>) -> Vec<String> {
    changes(stored, wanted).map(|(name, was, now)| format!("version of {name} was {was}, now {now}")).collect()
}

fn stage_differences(stored: &StageLayout, wanted: &StageLayout) -> Vec<String> {
    let stage = wanted.stage;
    let mut found = Vec::new();
    if stored.key_groups != wanted.key_groups {
        let (was, now) = (groups(stored.key_groups), groups(wanted.key_groups));
        found.push(format!("stage {stage}: key groups were {was}, now {now}"));
    }
    if stored.fingerprint != wanted.fingerprint {
        let named: Vec<_> = changes(&stored.about, &wanted.about)
            .map(|(name, was, now)| format!("stage {stage}: {name} {} {was}, now {now}", was_or_were(name)))
            .collect();
        if named.is_empty() {
            let (was, now) = (&stored.fingerprint, &wanted.fingerprint);
            found.push(format!("stage {stage}: what shapes its state was {was}, now {now}"));
        }
        found.extend(named);
    }
    found
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

fn groups(count: Option<u32>) -> String {
    count.map_or_else(|| "one a split".to_owned(), |count| count.to_string())
}

fn was_or_were(name: &str) -> &'static str {
    if name.ends_with('s') { "were" } else { "was" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(fingerprint: &str, key_groups: u32, about: &[(&str, &str)]) -> StageLayout {
        StageLayout {
            stage: StageId(1),
            fingerprint: fingerprint.to_owned(),
            key_groups: Some(key_groups),
            about: about.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn expected(stages: Vec<StageLayout>, hash: u32) -> Expected {
        Expected { stages, versions: BTreeMap::from([("hash".to_owned(), hash)]) }
    }

    #[test]
    fn equal_layouts_do_not_differ_whatever_the_words_for_people_say() {
        let stored = expected(vec![layout("a", 8, &[("keys", "(zone)")])], 1);
        let wanted = expected(vec![layout("a", 8, &[("keys", "(the zone)")])], 1);
        assert_eq!(differences(&stored, &wanted), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let stored = expected(vec![layout("a", 8, &[("keys", "(zone)"), ("window", "TUMBLE 5 s")])], 1);
        let wanted = expected(vec![layout("b", 16, &[("keys", "(zone, day)"), ("window", "TUMBLE 5 s")])], 2);
        assert_eq!(
            differences(&stored, &wanted),
            [
                "version of hash was 1, now 2",
                "stage 1: key groups were 8, now 16",
                "stage 1: keys were (zone), now (zone, day)",
            ]
        );
    }

    #[test]
    fn a_difference_without_words_shows_the_fingerprints() {
        let stored = expected(vec![layout("a", 8, &[])], 1);
        let wanted = expected(vec![layout("b", 8, &[])], 1);
        assert_eq!(differences(&stored, &wanted), ["stage 1: what shapes its state was a, now b"]);
    }

    #[test]
    fn stages_that_come_and_go_are_named() {
        let stored = expected(vec![layout("a", 8, &[])], 1);
        let mut other = layout("a", 8, &[]);
        other.stage = StageId(2);
        assert_eq!(differences(&stored, &expected(vec![other], 1)), ["stage 2 is new", "stage 1 is gone"]);
    }
}
