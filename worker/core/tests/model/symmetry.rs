//! Workers of one installation, units, and operators are alike: of all states that differ in their numbers only, one is explored.

use super::scope::{Installations, Scope, UNITS, WORKERS};
use super::state::{Content, Hold, Run, State, Store, Table, small_usize};

/// The least of all states that come of `state` by renumbering.
pub(crate) fn canonical(scope: &Scope, state: &State) -> State {
    let mut least = *state;
    sort_operators(scope, &mut least);
    for &workers in permutations(scope.workers_of_first()) {
        for units in [[0, 1], [1, 0]] {
            if scope.units < UNITS && units != [0, 1] {
                continue;
            }
            let other = renumbered(scope, state, workers, units);
            if other < least {
                least = other;
            }
        }
    }
    least
}

/// Of two installations each has one operator.
fn sort_operators(scope: &Scope, state: &mut State) {
    if scope.installations == Installations::One {
        state.operators.sort_unstable();
    }
}

/// Every renumbering of so many workers: `new[old]`.
fn permutations(workers: usize) -> &'static [[usize; WORKERS]] {
    const ALL: [[usize; WORKERS]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    match workers {
        1 => &ALL[..1],
        2 => &ALL[..2],
        _ => &ALL,
    }
}

fn renumbered(scope: &Scope, state: &State, workers: [usize; WORKERS], units: [usize; UNITS]) -> State {
    let mut next = *state;
    let worker = |old: u8| small_usize(workers[usize::from(old)]);
    let table = |old: &Table| {
        let mut table = *old;
        for (unit, row) in old.rows.iter().enumerate() {
            let row_of = &mut table.rows[units[unit]];
            *row_of = *row;
            row_of.owner = row.owner.map(worker);
            row_of.previous = row.previous.map(worker);
        }
        table
    };
    let content = |mut content: Content| {
        if content.epoch > 0 {
            content.run = Run { worker: worker(content.run.worker), ..content.run };
        }
        content
    };
    next.tables = state.tables.each_ref().map(table);
    next.table_before = table(&state.table_before);
    next.operators = state.operators.each_ref().map(table);
    sort_operators(scope, &mut next);
    for (old, from) in state.workers.iter().enumerate() {
        let to = &mut next.workers[workers[old]];
        *to = *from;
        to.seen = table(&from.seen);
        for (unit, hold) in from.units.iter().enumerate() {
            let mut hold = *hold;
            if let Hold::Opened(handle) | Hold::Owned(handle) = &mut hold {
                handle.base = content(handle.base);
            }
            to.units[units[unit]] = hold;
        }
    }
    for (sink, &to) in state.sinks.iter().zip(&units) {
        next.sinks[to] = *sink;
    }
    for (stores, &to) in state.stores.iter().zip(&units) {
        next.stores[to] = stores.map(|store| Store { content: content(store.content), ..store });
    }
    next
}
