//! The invariants I1 to I8 and I10 of `docs/design/0007-ownership-model.md`, and what must be reachable lest they hold for want
//! of events.

use stateright::Property;
use thalweg_core::position::Position;

use super::Ownership;
use super::scope::{INCARNATIONS, LOGS, Logs, Scope};
use super::state::{Handle, Hold, Rows, State, Store, small_usize};

pub(crate) const I1: &str = "I1 at most one worker can commit for a unit";
pub(crate) const I2: &str = "I2 committed epochs never fall";
pub(crate) const I3: &str = "I3 V only grows, and no commit is lost";
pub(crate) const I4: &str = "I4 state is the fold of an exact prefix of each log";
pub(crate) const I5: &str =
    "I5 a sink holds a prefix of the outbox, without repeats, of one incarnation after the other";
pub(crate) const I6_REPLAY: &str = "I6 replay never starts past the least V";
pub(crate) const I6_CHILD: &str = "I6 a child starts when its parent has ended for every unit";
pub(crate) const I7: &str = "I7 no two owners share a unit, an epoch and an incarnation";
pub(crate) const I8: &str = "I8 without further faults every unit comes to be owned, and takes and delivers everything";
pub(crate) const I10: &str = "I10 a unit is opened by none but who had the state when it looked";

/// Every property, or the one that a mutant is to break.
pub(crate) fn properties(scope: &Scope, only: Option<&'static str>) -> Vec<Property<Ownership>> {
    let mut all = invariants();
    match only {
        Some(name) => all.retain(|property| property.name == name),
        None => all.extend(reachable(scope)),
    }
    all
}

type Condition = fn(&Ownership, &State) -> bool;

fn always(name: &'static str, condition: Condition) -> Property<Ownership> {
    Property::always(name, condition)
}

fn sometimes(name: &'static str, condition: Condition) -> Property<Ownership> {
    Property::sometimes(name, condition)
}

fn invariants() -> Vec<Property<Ownership>> {
    vec![
        always(I1, |model, state| {
            stores(model, state).all(|(unit, at, store)| writers(model, state, unit, at, store) <= 1)
        }),
        always(I2, |_, state| !state.broken.epoch_fell),
        always(I3, |_, state| !state.broken.commit_lost),
        always(I4, |model, state| stores(model, state).all(|(_, _, store)| is_exact(store))),
        always(I5, |model, state| !state.broken.incarnations_mixed && sinks_are_prefixes(model, state)),
        always(I6_REPLAY, |model, state| (0..LOGS).all(|log| replay_is_complete(model, state, log))),
        always(I6_CHILD, children_wait),
        always(I7, |_, state| !state.broken.epoch_shared),
        always(I8, |model, state| model.is_settled(state) || model.goes_on(state)),
        always(I10, |_, state| !state.broken.trespassed),
    ]
}

fn reachable(scope: &Scope) -> Vec<Property<Ownership>> {
    let mut all = vec![
        sometimes("everything is delivered by one who took over", |model, state| {
            state.tables[state.owner()].rows.iter().any(|row| row.epoch > 1) && model.is_settled(state)
        }),
        sometimes("a worker that was fenced finds out", |_, state| {
            any_hold(state, |hold| matches!(hold, Hold::Lost(_)))
        }),
        sometimes("a worker is refused by a marker", |_, state| {
            any_hold(state, |hold| matches!(hold, Hold::Refused { .. }))
        }),
    ];
    if scope.budget.moves > 0 {
        all.push(sometimes("an owner before lets go when asked", |_, state| {
            any_hold(state, |hold| matches!(hold, Hold::Released(_)))
        }));
    }
    if scope.budget.adoptions > 0 {
        all.push(sometimes("everything is delivered by another installation", |model, state| {
            state.owner() == 1 && model.is_settled(state)
        }));
        all.push(sometimes("who had the state before ends", |model, state| {
            let before = &state.workers[..model.scope.workers_of_first()];
            state.owner() == 1 && before.iter().any(|worker| worker.is_to_begin)
        }));
    }
    all
}

fn any_hold(state: &State, is: fn(&Hold) -> bool) -> bool {
    state.workers.iter().flat_map(|worker| &worker.units).any(is)
}

/// Every store with its unit and incarnation.
fn stores<'a>(model: &Ownership, state: &'a State) -> impl Iterator<Item = (usize, usize, &'a Store)> {
    let units = state.stores[..model.scope.units].iter().enumerate();
    units.flat_map(|(unit, stores)| stores.iter().enumerate().map(move |(at, store)| (unit, at, store)))
}

/// How many workers could commit to a store now.
fn writers(model: &Ownership, state: &State, unit: usize, incarnation: usize, store: &Store) -> usize {
    let handles = state.workers.iter().filter_map(|worker| worker.units[unit].handle());
    let may_write =
        |handle: &Handle| usize::from(handle.incarnation) == incarnation && model.admits_writer(store, handle.writer);
    handles.filter(may_write).count()
}

/// Each record before `V` folded once, no other.
fn is_exact(store: &Store) -> bool {
    let prefix = |next: u8| (0..next).fold(0, |folded, record| folded | 1 << (2 * record));
    store.content.next.iter().zip(store.content.folded).all(|(&next, folded)| folded == prefix(next))
}

fn sinks_are_prefixes(model: &Ownership, state: &State) -> bool {
    stores(model, state).all(|(unit, incarnation, store)| {
        store.is_lost || store.content.outbox.starts_with(state.sinks[unit].rows[incarnation])
    })
}

fn replay_is_complete(model: &Ownership, state: &State, log: usize) -> bool {
    (0..INCARNATIONS).map(small_usize).all(|incarnation| {
        let least = model.accepted(state, incarnation, log).min();
        let start = model.cursor_start(state, incarnation, log).map(|start| Position::at(start.into()));
        start <= least
    })
}

fn children_wait(model: &Ownership, state: &State) -> bool {
    let has_ended = |incarnation: usize| {
        let stores = &state.stores[..model.scope.units];
        stores.iter().all(|stores| stores[incarnation].content.next[0] >= model.scope.records[0])
    };
    model.scope.logs == Logs::Independent
        || stores(model, state)
            .all(|(_, incarnation, store)| store.is_lost || store.content.next[1] == 0 || has_ended(incarnation))
}

impl Ownership {
    /// Whether something happens without anybody's fault or will.
    fn goes_on(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.needed(state, &mut actions);
        actions.into_iter().any(|action| self.after(state, action).is_some())
    }

    /// Whether every unit is owned by whom the assignment names, that of the installation which has the state, has taken all
    /// logs and delivered its outbox; or has stopped because its state is gone.
    fn is_settled(&self, state: &State) -> bool {
        let table = &state.tables[state.owner()];
        (0..self.scope.units).all(|unit| {
            let row = table.rows[unit];
            let store = &state.stores[unit][usize::from(table.incarnation)];
            let hold = row.owner.map(|owner| &state.workers[usize::from(owner)]).map(|worker| worker.units[unit]);
            match hold {
                Some(Hold::Owned(handle)) => {
                    let is_owner = handle.epoch == row.epoch
                        && handle.incarnation == table.incarnation
                        && handle.writer == store.writer;
                    let delivered: Rows = state.sinks[unit].rows[usize::from(handle.incarnation)];
                    is_owner && store.content.next == self.scope.records && delivered == store.content.outbox
                }
                Some(Hold::Halted) => store.is_lost,
                _ => false,
            }
        })
    }
}
