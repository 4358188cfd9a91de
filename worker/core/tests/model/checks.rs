//! The scopes that are explored, and the mutants that each must be killed by name.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::properties::{I1, I2, I3, I4, I5, I6_CHILD, I6_REPLAY, I7, I8, I10};
use super::scope::{Mutant, Scope};
use super::state::State;
use super::{Numbers, Ownership};

/// Explores all of a scope: every invariant holds, and what must be reachable is.
fn explore(name: &str, scope: Scope) {
    let model = Ownership { scope, mutant: None, only: None, numbers: Numbers::Immaterial };
    let checker = model.clone().checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    println!("{name}: {} states, {} transitions", checker.unique_state_count(), checker.state_count());
    holds(name, &model, &checker);
    let found = checker.discoveries();
    comes_about(name, &model, |property| found.contains_key(property));
    assert!(checker.is_done());
}

/// Every invariant held.
fn holds(name: &str, model: &Ownership, checker: &impl Checker<Ownership>) {
    let found = checker.discoveries();
    let is_broken = |property: &Property<Ownership>| !is_rare(property) && found.contains_key(property.name);
    if let Some(broken) = model.properties().into_iter().find(is_broken) {
        panic!("{name}: `{}` does not hold:\n{}", broken.name, shortest(model, broken.name));
    }
}

/// What must be reachable was seen, lest the invariants hold for want of events.
fn comes_about(name: &str, model: &Ownership, is_seen: impl Fn(&str) -> bool) {
    for property in model.properties().iter().filter(|property| is_rare(property)) {
        assert!(is_seen(property.name), "{name}: never seen: {}", property.name);
    }
}

/// The shortest history that breaks a property, to be read.
fn shortest(model: &Ownership, property: &'static str) -> String {
    let model = Ownership { only: Some(property), numbers: Numbers::Kept, ..model.clone() };
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else { return "not found again".to_owned() };
    let last = format!("{:?}\n", path.last_state());
    path.into_actions().iter().map(|action| format!("{action:?}\n")).chain([last]).collect()
}

/// The shortest history that breaks the one property.
fn kills(mutant: Mutant, property: &'static str, scope: Scope) {
    let model = Ownership { scope, mutant: Some(mutant), only: Some(property), numbers: Numbers::Immaterial };
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let path = checker.discovery(property);
    let path =
        path.unwrap_or_else(|| panic!("{mutant:?} survives `{property}` in {} states", checker.unique_state_count()));
    println!("{mutant:?} breaks `{property}` after {} steps", path.into_actions().len());
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident breaks $property:ident in $scope:ident;)*) => {$(
        #[test]
        fn $name() {
            kills(Mutant::$mutant, $property, Scope::$scope);
        }
    )*};
}

mutants! {
    without_an_epoch_marker_an_old_owner_wins: NoEpochMarker breaks I2 in MOVED;
    an_equal_epoch_of_another_run_must_not_do: EqualEpochOfAnotherRun breaks I7 in MOVED;
    without_a_fence_two_can_commit: NoFence breaks I1 in MOVED;
    fences_that_are_collected_lose_commits: FencesCollected breaks I3 in MOVED;
    without_a_conditional_update_two_own_one_epoch: NoConditionalUpdate breaks I7 in MOVED;
    a_takeover_that_keeps_the_epoch_makes_two_owners: TakeoverKeepsEpoch breaks I7 in MOVED;
    a_refusal_that_nobody_hears_leaves_a_unit_alone: RefusalIgnored breaks I8 in MOVED;
    reopening_without_a_fresh_read_never_ends: ReopenWithoutFreshRead breaks I8 in FENCED;
    waiting_for_ever_for_a_dead_owner_ends_nowhere: HandoffWaitsForEver breaks I8 in MOVED;
    letting_go_for_a_deleted_assignment_strands_a_unit: ReleaseByAnotherAssignment breaks I8 in RECREATED;
    what_is_sent_before_its_commit_may_never_be: EmitBeforeCommit breaks I5 in MOVED;
    positions_apart_from_state_fold_twice: PositionsApart breaks I4 in MOVED;
    progress_apart_from_rows_repeats_them: ProgressApart breaks I5 in MOVED;
    ranges_that_are_not_compared_fold_twice: RangesNotCompared breaks I4 in MOVED;
    a_cursor_at_the_greatest_position_skips: ReplayPastLeast breaks I6_REPLAY in MOVED;
    an_incarnation_that_is_ignored_skips_rows: IncarnationIgnored breaks I5 in RESTARTED;
    a_child_that_does_not_wait_for_every_unit_comes_too_early: ChildBeforeParentsEnd breaks I6_CHILD in SPLIT;
    the_end_of_a_parent_counts_under_its_incarnation_only: ParentsEndOfEarlierIncarnation breaks I6_CHILD in RESTARTED;
    lost_state_must_not_start_from_zero: LostStateFromZero breaks I3 in LOST;
    a_pipeline_that_is_made_again_is_published_above_what_stands: RefusalIgnored breaks I8 in MADE_AGAIN;
    what_stands_counts_for_a_pipeline_that_is_made_again: EqualEpochOfAnotherRun breaks I7 in MADE_AGAIN;
    an_epoch_of_a_deleted_assignment_waits_for_ever: TenureOutlivesAssignment breaks I8 in RECREATED;
    state_of_another_owner_is_not_used: AnotherOwnerIgnored breaks I10 in REFUSED;
    state_that_is_taken_over_unsaid_goes_to_and_fro: AdoptionUnwritten breaks I8 in ADOPTED_AND_FENCED;
    who_does_not_look_fences_whoever_fenced_it: OwnerAskedOnlyAtStart breaks I8 in ADOPTED_AND_FENCED;
}

#[test]
fn invariants_hold_where_a_unit_moves() {
    explore("moved", Scope::MOVED);
    explore("moved twice", Scope::MOVED_TWICE);
    explore("fenced", Scope::FENCED);
}

#[test]
fn invariants_hold_where_reads_go_back_in_time() {
    explore("old reads", Scope::OLD_READS);
}

#[test]
fn invariants_hold_where_a_pipeline_is_made_again() {
    explore("recreated", Scope::RECREATED);
    explore("made again", Scope::MADE_AGAIN);
}

#[test]
fn invariants_hold_where_another_installation_finds_the_state() {
    explore("refused", Scope::REFUSED);
    explore("adopted", Scope::ADOPTED);
    explore("adopted and fenced", Scope::ADOPTED_AND_FENCED);
}

#[test]
fn invariants_hold_where_two_installations_take_the_state_from_each_other() {
    explore("taken back", Scope::TAKEN_BACK);
}

#[test]
fn invariants_hold_where_a_pipeline_starts_from_scratch() {
    explore("restarted", Scope::RESTARTED);
}

#[test]
fn invariants_hold_where_a_source_is_split() {
    explore("split", Scope::SPLIT);
}

#[test]
fn invariants_hold_where_state_is_deleted() {
    explore("lost", Scope::LOST);
}

#[test]
fn invariants_hold_for_two_units() {
    explore("two units", Scope::TWO_UNITS);
}

#[test]
fn invariants_hold_for_three_workers() {
    explore("three workers", Scope::THREE_WORKERS);
}

#[test]
#[ignore = "takes minutes"]
fn invariants_hold_for_two_units_and_a_fault() {
    explore("two units and a fault", Scope::TWO_UNITS_AND_A_FAULT);
}

#[test]
#[ignore = "takes minutes"]
fn invariants_hold_for_three_workers_and_two_changes_of_owner() {
    explore("three workers, moved twice", Scope::THREE_WORKERS_MOVED_TWICE);
}

#[test]
#[ignore = "takes minutes"]
fn invariants_hold_for_two_logs_and_two_changes_of_owner() {
    explore("two logs, moved twice", Scope::TWO_LOGS);
}

#[test]
#[ignore = "takes minutes"]
fn invariants_hold_where_state_is_taken_over_and_a_fault() {
    explore("adopted and a fault", Scope::ADOPTED_AND_A_FAULT);
}

/// Half of the time histories at random, the other half all of them up to some length.
#[test]
#[ignore = "takes an hour, or MODEL_MINUTES"]
fn invariants_hold_for_an_hour_of_three_workers_and_two_units() {
    /// What is remembered of them, and those that wait, are some 15 GB.
    const MOST_STEPS: usize = 300_000_000;
    let minutes = std::env::var("MODEL_MINUTES").map_or(60, |minutes| minutes.parse().expect("a number of minutes"));
    let half = Duration::from_secs(minutes * 60 / 2);
    let model = |numbers| Ownership { scope: Scope::LARGE, mutant: None, only: None, numbers };

    let walked = std::thread::scope(|scope| {
        let walks = [1, 2].map(|seed| scope.spawn(move || Walks::of(&model(Numbers::Kept), seed, half)));
        walks.map(|walks| walks.join().expect("it ends"))
    });
    for Walks { histories, steps, longest, seen } in walked {
        println!("at random: {histories} histories, {steps} steps, at most {longest} in one");
        comes_about("at random", &model(Numbers::Kept), |property| seen.contains(property));
    }

    let immaterial = model(Numbers::Immaterial);
    let checker = immaterial.clone().checker().threads(2).timeout(half).target_state_count(MOST_STEPS);
    let bounded = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps, depth) = (bounded.unique_state_count(), bounded.state_count(), bounded.max_depth());
    println!("bounded: {states} states, {steps} steps, all histories of fewer than {depth} steps");
    holds("bounded", &immaterial, &bounded);
}

/// Histories of which each step is any of those that can happen.
#[derive(Default)]
struct Walks {
    histories: u64,
    steps: u64,
    longest: usize,
    /// What must be reachable, and was reached.
    seen: HashSet<&'static str>,
}

impl Walks {
    /// Panics with the history that breaks an invariant.
    #[expect(clippy::disallowed_methods, reason = "how long it may take is the machine's time")]
    fn of(model: &Ownership, seed: u64, time: Duration) -> Self {
        let (properties, mut random) = (model.properties(), ChaCha8Rng::seed_from_u64(seed));
        let (mut walks, begun, mut actions) = (Self::default(), Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let (mut state, mut taken) = (model.init_states()[0], Vec::new());
            loop {
                for property in &properties {
                    let is_met = (property.condition)(model, &state);
                    match is_rare(property) {
                        true if is_met => drop(walks.seen.insert(property.name)),
                        true => {}
                        false => assert!(is_met, "`{}` does not hold after {taken:#?}: {state:?}", property.name),
                    }
                }
                actions.clear();
                model.actions(&state, &mut actions);
                actions.shuffle(&mut random);
                let next = actions.drain(..).find_map(|action| Some((action, model.next_state(&state, action)?)));
                let Some((action, next)) = next else { break };
                (state, walks.steps) = (next, walks.steps + 1);
                taken.push(action);
            }
            (walks.histories, walks.longest) = (walks.histories + 1, walks.longest.max(taken.len()));
        }
        walks
    }
}

/// Whether it is to be met once, and not always.
fn is_rare(property: &Property<Ownership>) -> bool {
    !property.expectation.discovery_is_failure()
}

#[test]
fn once_faults_stop_every_history_ends() {
    ends("once faults stop", Scope::MOVED);
}

#[test]
fn once_nobody_takes_state_over_every_history_ends() {
    ends("once nobody takes state over", Scope::TAKEN_BACK);
}

/// No history goes on for ever by steps that need nobody's fault or will.
fn ends(name: &str, scope: Scope) {
    let model = Ownership { scope, mutant: None, only: None, numbers: Numbers::Immaterial };
    let graph = Graph::of(&model);
    println!("{name}: {} states, {} needed steps", graph.states, graph.needed.len());
    assert!(graph.needed.len() > graph.states, "there are steps to order");
    assert!(graph.is_acyclic(), "a history without faults can go on for ever");
}

/// The states of a scope, and the steps that need nobody's fault or will.
struct Graph {
    states: usize,
    needed: Vec<(usize, usize)>,
}

impl Graph {
    fn of(model: &Ownership) -> Self {
        let mut numbers: HashMap<State, usize> = HashMap::new();
        let mut waiting = model.init_states();
        numbers.insert(waiting[0], 0);
        let mut needed = Vec::new();
        while let Some(state) = waiting.pop() {
            let from = numbers[&state];
            let mut actions = Vec::new();
            model.needed(&state, &mut actions);
            let first_unneeded = actions.len();
            model.unneeded(&state, &mut actions);
            for (at, action) in actions.into_iter().enumerate() {
                let Some(next) = model.next_state(&state, action) else { continue };
                let count = numbers.len();
                let to = match numbers.entry(next) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        waiting.push(next);
                        *entry.insert(count)
                    }
                };
                if at < first_unneeded {
                    needed.push((from, to));
                }
            }
        }
        Self { states: numbers.len(), needed }
    }

    /// Takes states away that no step leads to, until none is left.
    fn is_acyclic(&self) -> bool {
        let mut incoming = vec![0u32; self.states];
        let mut steps = vec![Vec::new(); self.states];
        for &(from, to) in &self.needed {
            incoming[to] += 1;
            steps[from].push(to);
        }
        let mut free: Vec<_> = (0..self.states).filter(|&state| incoming[state] == 0).collect();
        let mut taken = 0;
        while let Some(state) = free.pop() {
            taken += 1;
            for &to in &steps[state] {
                incoming[to] -= 1;
                if incoming[to] == 0 {
                    free.push(to);
                }
            }
        }
        taken == self.states
    }
}
