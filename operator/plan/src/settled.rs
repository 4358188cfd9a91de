//! Which moves of splits and units the load alone has called for.
//!
//! What moves because a worker came, went or was replaced belongs to that change, which is told by itself; and it moves in
//! several looks.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_crds::assignment::AssignmentSpec;
use thalweg_crds::ids::{RunId, Slot};

use crate::assignment::Role;
use crate::fleet::Fleet;
use crate::observed::Observed;
use crate::plan::{Plan, Step};

/// For how long the same workers must have had the same work before a move is the load's own: three decisions.
const LONG: Duration = Duration::from_secs(15);
/// So many moves are named; of more, how many they are.
const NAMED: usize = 4;

/// Since when the same workers have had the same work, and as many were wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    wanted: usize,
    workers: Vec<RunId>,
    since: Duration,
}

impl Settled {
    /// Takes in what is to be published next, with so many workers wanted; gives in words what moves because of the load
    /// alone.
    pub fn note(&mut self, observed: &Observed, plan: &Plan, wanted: usize, now: Duration) -> Option<String> {
        let next = plan.assignment.as_ref()?;
        let fleet = Fleet::of(observed, &next.plan, wanted);
        let serving = fleet.members.into_iter().filter(|member| member.role != Role::Leaving);
        let workers: Vec<RunId> = serving.map(|member| member.run_id).collect();
        if (self.wanted, &self.workers) != (wanted, &workers) {
            *self = Self { wanted, workers, since: now };
            return None;
        }
        let moves = observed.assignment.as_ref().map(|published| moves(published, next)).unwrap_or_default();
        let was_settled = now.saturating_sub(self.since) >= LONG;
        if plan.step != Step::Run || !moves.is_empty() {
            self.since = now;
        }
        (was_settled && !moves.is_empty()).then(|| in_words(&moves))
    }
}

/// Splits that go from one reader to another, or else units from one owner to another: those of a split follow it.
fn moves(published: &AssignmentSpec, next: &AssignmentSpec) -> Vec<String> {
    let readers: BTreeMap<_, _> =
        published.splits.iter().map(|split| ((&split.source, &split.split), &split.reader)).collect();
    let splits = next.splits.iter().filter_map(|split| {
        let before = readers.get(&(&split.source, &split.split))?.as_ref();
        moved(before, split.reader.as_ref(), || format!("{}/{}", split.source, split.split))
    });
    let splits: Vec<_> = splits.collect();
    if !splits.is_empty() {
        return splits;
    }
    let owners: BTreeMap<_, _> = published.units.iter().map(|unit| (unit.unit, &unit.owner)).collect();
    let units = next.units.iter().filter_map(|unit| {
        moved(owners.get(&unit.unit)?.as_ref(), unit.owner.as_ref(), || format!("unit {}", unit.unit))
    });
    units.collect()
}

fn moved(from: Option<&Slot>, to: Option<&Slot>, what: impl FnOnce() -> String) -> Option<String> {
    let (from, to) = (from?, to?);
    (from != to).then(|| format!("{} from {from} to {to}", what()))
}

fn in_words(moves: &[String]) -> String {
    let named = moves.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match moves.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
