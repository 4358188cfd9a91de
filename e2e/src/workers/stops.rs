//! How long each unit of a pipeline committed nothing, within a time that is judged.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::told::Commit;
use crate::bank::commits::quantile;

/// A time in which a unit committed nothing, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The commit before, or when the unit was first to commit.
    pub from_ms: i64,
    /// The commit after, or the end of what is judged.
    pub to_ms: i64,
}

impl Stop {
    /// How long it was, in milliseconds.
    pub fn length_ms(&self) -> i64 {
        self.to_ms - self.from_ms
    }
}

/// A unit that stood still while others went on, or with all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which: `STAGE-INDEX`.
    pub unit: String,
    /// Its longest stop.
    pub stop: Stop,
    /// How many other units of its pipeline went on meanwhile.
    pub others: usize,
}

/// When the units of a pipeline committed.
#[derive(Clone, Debug)]
pub struct Rhythms {
    until_ms: i64,
    units: BTreeMap<String, Rhythm>,
}

#[derive(Clone, Debug)]
struct Rhythm {
    from_ms: i64,
    commits_ms: Vec<i64>,
}

impl Rhythm {
    /// The times without a commit up to then; the last one may go on. A unit that never committed has one.
    fn stops(&self, until_ms: i64) -> Vec<Stop> {
        let ends = self.commits_ms.iter().copied().chain([until_ms]);
        let begins = [self.from_ms].into_iter().chain(self.commits_ms.iter().copied());
        begins.zip(ends).map(|(from_ms, to_ms)| Stop { from_ms, to_ms }).collect()
    }

    /// Whether it committed within that time, and stood still for no longer than this in any part of it.
    fn went_on(&self, during: Stop, longest_ms: i64, until_ms: i64) -> bool {
        let touches = |stop: &Stop| stop.from_ms < during.to_ms && stop.to_ms > during.from_ms;
        let has_committed = self.commits_ms.iter().any(|at| during.from_ms < *at && *at < during.to_ms);
        has_committed
            && self.stops(until_ms).iter().filter(|stop| touches(stop)).all(|stop| stop.length_ms() <= longest_ms)
    }
}

impl Rhythms {
    /// The commits, in the order of time, of units that must commit from a time each until the same end, in milliseconds since
    /// 1970. A unit that is to commit only after the end is left out; what else committed is not judged.
    pub fn of(awaited: impl IntoIterator<Item = (String, i64)>, commits: &[Commit], until_ms: i64) -> Self {
        let begun = awaited.into_iter().filter(|(_, from_ms)| *from_ms < until_ms);
        let mut units: BTreeMap<_, _> =
            begun.map(|(unit, from_ms)| (unit, Rhythm { from_ms, commits_ms: Vec::new() })).collect();
        for commit in commits {
            let of = units.get_mut(&commit.unit).filter(|unit| (unit.from_ms..=until_ms).contains(&commit.at_ms));
            of.into_iter().for_each(|unit| unit.commits_ms.push(commit.at_ms));
        }
        Self { until_ms, units }
    }

    /// The longest stop of each unit that is longer than this, in the order of units.
    pub fn standing(&self, longest_ms: i64) -> Vec<Standing> {
        let longest = |(unit, rhythm): (&String, &Rhythm)| {
            let stops = rhythm.stops(self.until_ms).into_iter();
            let stop = stops.max_by_key(Stop::length_ms).filter(|stop| stop.length_ms() > longest_ms)?;
            let others = self.units.values().filter(|other| other.went_on(stop, longest_ms, self.until_ms)).count();
            Some(Standing { unit: unit.clone(), stop, others })
        };
        self.units.iter().filter_map(longest).collect()
    }

    /// The longest stop of any unit, in milliseconds; nothing where there are no units.
    pub fn longest_ms(&self) -> Option<i64> {
        let stops = self.units.values().flat_map(|rhythm| rhythm.stops(self.until_ms));
        stops.map(|stop| stop.length_ms()).max()
    }

    /// By unit: how often it committed, and the times between, in milliseconds.
    pub fn json(&self) -> Value {
        let of = |(unit, rhythm): (&String, &Rhythm)| {
            let mut stops: Vec<_> = rhythm.stops(self.until_ms).iter().map(Stop::length_ms).collect();
            let figures = json!({
                "commits": rhythm.commits_ms.len(), "p50": quantile(&mut stops, 0.5),
                "p99": quantile(&mut stops, 0.99), "longest": quantile(&mut stops, 1.0),
            });
            (unit.clone(), figures)
        };
        self.units.iter().map(of).collect::<serde_json::Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commits(of: &[(&str, i64)]) -> Vec<Commit> {
        let commit =
            |(unit, at_ms): &(&str, i64)| Commit { at_ms: *at_ms, unit: (*unit).to_owned(), epoch: 1, state_bytes: 0 };
        of.iter().map(commit).collect()
    }

    fn rhythms(awaited: &[(&str, i64)], committed: &[(&str, i64)], until_ms: i64) -> Rhythms {
        let awaited = awaited.iter().map(|(unit, from_ms)| ((*unit).to_owned(), *from_ms));
        Rhythms::of(awaited, &commits(committed), until_ms)
    }

    fn standing(unit: &str, from_ms: i64, to_ms: i64, others: usize) -> Standing {
        Standing { unit: unit.to_owned(), stop: Stop { from_ms, to_ms }, others }
    }

    #[test]
    fn a_unit_that_stands_still_is_named_though_its_pipeline_goes_on() {
        let committed = [("0-0", 10), ("0-1", 12), ("0-1", 20), ("0-1", 30), ("0-0", 41), ("0-1", 45)];
        let found = rhythms(&[("0-0", 0), ("0-1", 0)], &committed, 50);
        assert_eq!(found.standing(30), [standing("0-0", 10, 41, 1)]);
        assert_eq!((found.longest_ms(), found.standing(31)), (Some(31), Vec::new()));
    }

    #[test]
    fn a_unit_that_commits_no_more_or_never_did_stands_still_until_the_end() {
        let committed = [("0-0", 10), ("0-1", 15), ("0-1", 39)];
        let found = rhythms(&[("0-0", 0), ("0-1", 0), ("0-2", 5)], &committed, 50);
        assert_eq!(found.standing(30), [standing("0-0", 10, 50, 1), standing("0-2", 5, 50, 1)]);
    }

    #[test]
    fn a_unit_is_judged_from_when_it_is_to_commit_and_up_to_the_end() {
        let committed = [("0-0", 2), ("0-0", 30), ("0-0", 90)];
        let found = rhythms(&[("0-0", 20), ("0-1", 60)], &committed, 50);
        assert_eq!(found.json(), json!({"0-0": {"commits": 1, "p50": 10, "p99": 20, "longest": 20}}));
    }

    #[test]
    fn units_that_stand_still_together_are_named_and_do_not_count_as_others_that_went_on() {
        let committed = [("0-0", 10), ("0-1", 11), ("0-0", 60), ("0-1", 61)];
        let found = rhythms(&[("0-0", 0), ("0-1", 0)], &committed, 61);
        assert_eq!(found.standing(30), [standing("0-0", 10, 60, 0), standing("0-1", 11, 61, 0)]);
    }
}
