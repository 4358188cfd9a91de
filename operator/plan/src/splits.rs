//! Splits of sources: which there are, who lists them, who reads them.
//!
//! The ordinal of a split is its index among those of its source, and units are numbered by it: a split that was published
//! once keeps its place for ever.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_crds::assignment::{AssignmentSpec, Enumerator, SplitAssignment, UnitAssignment};
use thalweg_crds::ids::{Epoch, Slot, SplitId, UnitId};
use thalweg_crds::report::{ListedSource, Report};

use crate::assignment::{MoveLimit, Progress, UnitState, place, rebalance};
use crate::autoscale::SplitKey;
use crate::fleet::Fleet;
use crate::observed::Observed;
use crate::scaling::Places;

/// Most splits of one `StreamAssignment`.
const SPLITS_PER_OBJECT: usize = 4096;
/// Splits whose rates are within this factor of the mean count as equal: rates are never the same twice, and a move
/// for every change would be worse than what it mends.
const EQUAL_WITHIN: f64 = 2.0;
/// The most that a split counts more than others.
const HEAVIEST: f64 = 16.0;

/// The splits of some sources: those that are published, and at the end those that were listed since.
pub(crate) fn known(basis: &AssignmentSpec, sources: &BTreeSet<&str>, observed: &Observed) -> Vec<SplitAssignment> {
    let published = basis.splits.iter().filter(|split| sources.contains(split.source.as_str()));
    let mut splits: Vec<SplitAssignment> = published.cloned().collect();
    let mut seen: BTreeSet<(String, SplitId)> =
        splits.iter().map(|split| (split.source.clone(), split.split.clone())).collect();
    for listing in listings(basis, observed).filter(|listing| sources.contains(listing.source.as_str())) {
        let fresh = listing.splits.iter().filter(|split| seen.insert((listing.source.clone(), (*split).clone())));
        splits.extend(fresh.map(|split| SplitAssignment {
            source: listing.source.clone(),
            split: split.clone(),
            ..SplitAssignment::default()
        }));
    }
    splits.truncate(SPLITS_PER_OBJECT);
    splits
}

/// Whether the splits of a source were listed once.
pub(crate) fn is_listed(source: &str, splits: &[SplitAssignment], basis: &AssignmentSpec, observed: &Observed) -> bool {
    splits.iter().any(|split| split.source == source)
        || listings(basis, observed).any(|listing| listing.source == source)
}

/// Whether a source has no further splits, and all that it has are published.
pub(crate) fn is_complete(source: &str, basis: &AssignmentSpec, observed: &Observed) -> bool {
    let is_published =
        |split: &SplitId| basis.splits.iter().any(|known| known.source == source && known.split == *split);
    listings(basis, observed)
        .any(|listing| listing.source == source && listing.complete && listing.splits.iter().all(is_published))
}

/// What the workers say that were asked to list.
fn listings<'a>(basis: &'a AssignmentSpec, observed: &'a Observed) -> impl Iterator<Item = &'a ListedSource> {
    basis.enumerators.iter().filter_map(|enumerator| {
        let report = report(basis, observed, &enumerator.slot)?;
        report.listed.iter().find(|listing| listing.source == enumerator.source)
    })
}

/// The report of the life that is entered for a slot, if it runs the plan that is published.
pub(crate) fn report<'a>(basis: &AssignmentSpec, observed: &'a Observed, slot: &Slot) -> Option<&'a Report> {
    let entry = basis.workers.iter().find(|worker| worker.slot == *slot)?;
    observed.reports.get(&entry.run_id).filter(|report| report.plan == basis.plan)
}

/// Who lists which source: whoever did, while it serves; else whoever has fewest sources to list.
pub(crate) fn enumerators(sources: &BTreeSet<&str>, basis: &AssignmentSpec, fleet: &Fleet<'_>) -> Vec<Enumerator> {
    let of_sources = basis.enumerators.iter().filter(|enumerator| sources.contains(enumerator.source.as_str()));
    let mut loads: BTreeMap<&Slot, usize> = fleet.serving().map(|slot| (slot, 0)).collect();
    if loads.is_empty() {
        return of_sources.cloned().collect();
    }
    let mut kept: BTreeMap<&str, &Slot> = BTreeMap::new();
    for enumerator in of_sources {
        if let Some(load) = loads.get_mut(&enumerator.slot) {
            *load += 1;
            kept.insert(&enumerator.source, &enumerator.slot);
        }
    }
    let mut lightest = || {
        let (slot, load) = loads.iter_mut().min_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(b.0)))?;
        *load += 1;
        Some(*slot)
    };
    let named = sources.iter().filter_map(|source| {
        let slot = kept.get(source).copied().or_else(&mut lightest)?;
        Some(Enumerator { source: (*source).to_owned(), slot: slot.clone() })
    });
    named.collect()
}

/// Gives each split a reader, by the rule that units follow: a reader stays unless it is gone or leaves, or loads differ.
/// `units` are those that follow the readers; while one is between two owners, its split's reader stays. With `places`,
/// these decide, and not loads.
pub(crate) fn read(
    splits: Vec<SplitAssignment>,
    units: &[(UnitState, usize)],
    fleet: &Fleet<'_>,
    observed: &Observed,
    limit: MoveLimit,
    places: Option<&Places>,
) -> Vec<SplitAssignment> {
    let weights = weights(&splits, observed);
    let mut states: Vec<UnitState> = splits
        .iter()
        .zip(&weights)
        .zip(0..)
        .map(|((split, weight), index)| state(split, *weight, index, fleet))
        .collect();
    for (unit, split) in units.iter().filter(|(unit, _)| unit.published.previous.is_some()) {
        if unit.progress == Progress::Acquiring && states[*split].progress == Progress::Owned {
            states[*split].progress = Progress::Acquiring;
            states[*split].published.previous.clone_from(&unit.published.previous);
        }
    }
    let workers = fleet.workers(observed);
    let next = match places {
        None => rebalance(&states, &workers, limit),
        Some(places) => {
            let key = |split: &SplitAssignment| SplitKey { source: split.source.clone(), split: split.split.clone() };
            let named: Vec<_> = splits.iter().map(|split| places.get(&key(split)).cloned()).collect();
            place(&states, &workers, &named, limit)
        }
    };
    splits.into_iter().zip(next).map(|(split, next)| SplitAssignment { reader: next.owner, ..split }).collect()
}

/// A split, as a unit whose owner is its reader. It has no epoch: two readers for a moment do no harm.
fn state(split: &SplitAssignment, weight: f64, index: i32, fleet: &Fleet<'_>) -> UnitState {
    let lives = split.reader.as_ref().is_some_and(|reader| fleet.member(reader).is_some());
    UnitState {
        published: UnitAssignment {
            unit: UnitId { stage: 0, index },
            owner: split.reader.clone(),
            epoch: Epoch::default(),
            previous: None,
        },
        progress: if lives { Progress::Owned } else { Progress::Orphaned },
        weight,
    }
}

/// What each split counts: 1, or powers of two where its rate is far from the mean.
fn weights(splits: &[SplitAssignment], observed: &Observed) -> Vec<f64> {
    let (fresh, old): (Vec<_>, Vec<_>) = observed.reports.values().partition(|report| observed.is_fresh(report));
    let mut rates = rates(&fresh);
    // Who has read a split last is the only one to know of it, until its next reader says something.
    for (split, rate) in self::rates(&old) {
        rates.entry(split).or_insert(rate);
    }
    let rate = |split: &SplitAssignment| {
        rates.get(&(split.source.as_str(), &split.split)).copied().filter(|rate| rate.is_finite() && *rate >= 0.0)
    };
    let known: Option<Vec<f64>> = splits.iter().map(rate).collect();
    // Where one is not known, none is compared.
    let Some(known) = known else { return vec![1.0; splits.len()] };
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    known.into_iter().map(|rate| weight(rate, mean)).collect()
}

/// The rate of each split, of which two workers report a part while it moves.
fn rates<'a>(reports: &[&'a Report]) -> BTreeMap<(&'a str, &'a SplitId), f64> {
    let mut rates: BTreeMap<(&str, &SplitId), f64> = BTreeMap::new();
    for report in reports.iter().flat_map(|report| &report.splits) {
        *rates.entry((report.source.as_str(), &report.split)).or_default() += report.rate;
    }
    rates
}

fn weight(rate: f64, mean: f64) -> f64 {
    let ratio = if mean > 0.0 { rate / mean } else { 1.0 };
    match ratio {
        heavy if heavy >= EQUAL_WITHIN => heavy.log2().floor().exp2().min(HEAVIEST),
        light if light * EQUAL_WITHIN <= 1.0 => 0.5,
        _ => 1.0,
    }
}
