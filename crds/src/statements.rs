//! The statements of a pipeline from plan to plan: which go on, which are others now, and the numbers of their stages.
//!
//! A statement is what starts from scratch alone: its stages feed each other through outboxes, and no stage of another one.
//! It has no name, and its place among the others is none, since one that is written in front of it moves it. It is told again
//! by what it does: first by all of it, then by what shapes what is kept of it, then by its sink. Where that leaves a choice
//! nobody chooses: a statement that may be one of several counts as changed. What it is known by from then on are the numbers
//! of its stages: they stay as long as it goes on, and are never given to another one. So a statement that starts anew is one
//! with new numbers, and whatever bears a number (a unit's store, its epoch, the names of what it writes) needs to know
//! nothing of it.
//!
//! Numbers are given twice: by the operator, for the assignment, and by workers, for what they keep, which may outlive the
//! assignment. As long as it is there its numbers say which statement is which, since a plan may have come between that no worker
//! has seen; who meets another assignment, or has none, tells by the rule. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::assignment::StageNumbers;

/// Why a statement counts as changed whose shape has not.
pub const WHICH: &str = "several statements that feed this sink keep the same, and it cannot be told which of them this one was: \
                         change them one at a time";

/// A statement that was planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The sink that it feeds, by its name in SQL.
    pub sink: String,
    /// Equal where it does the same, however that is written: `VERSION-HASH`, a hash of all of its plan by one version of the
    /// planner. Of two versions nothing is known by it.
    pub text: String,
    /// Its stages, in the order of its data's flow.
    pub stages: Vec<Stage>,
    /// Whether it may start anew in the place of one that it does not fit: who runs alone has agreed. Of a plan; not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}

/// A stage of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its number; of a statement that is new, the one that it has if nobody else has had it.
    pub number: u32,
    /// Equal where what is kept can be carried over.
    pub shape: String,
    /// The same in words for people, by name: `keys` → `(zone)`. It decides nothing: it names the difference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub about: BTreeMap<String, String>,
}

/// Statements with the numbers that they have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbered {
    /// The statements of a plan, in their order.
    pub statements: Vec<Statement>,
    /// No number from here on was ever given.
    pub next: u32,
}

/// What a statement is to those of the plan before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The one of this index, which goes on.
    GoesOn(usize),
    /// In the place of the one of this index, which it does not fit, or which may be another one.
    Changed(usize),
    /// There was none.
    New,
}

impl Statement {
    /// Whether what is kept of one can be carried over to the other.
    pub fn fits(&self, other: &Self) -> bool {
        let shapes = |statement: &Self| statement.stages.iter().map(|stage| stage.shape.clone()).collect::<Vec<_>>();
        self.sink == other.sink && shapes(self) == shapes(other)
    }

    /// The numbers of its stages.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.stages.iter().map(|stage| stage.number)
    }

    /// Whether both do the same.
    fn is(&self, other: &Self) -> bool {
        self.text == other.text && self.fits(other)
    }

    /// Whether another version planned it.
    fn is_of_another_version(&self, other: &Self) -> bool {
        let version = |statement: &Self| statement.text.split_once('-').map(|(version, _)| version.to_owned());
        version(self) != version(other)
    }
}

impl Numbered {
    /// Statements that have their numbers, none of which was given to another one.
    pub fn of(statements: Vec<Statement>) -> Self {
        let statements: Vec<_> =
            statements.into_iter().map(|statement| Statement { anew: false, ..statement }).collect();
        let next = statements.iter().flat_map(Statement::numbers).max().map_or(0, |most| most + 1);
        Self { statements, next }
    }

    /// What each statement of another plan is to these. Those that do the same are told first; then those that are the only
    /// one left of their shape in both plans; then who feeds a sink that one of the others fed is that one, changed. Where
    /// another version planned the same shapes in the same order, nothing else has changed.
    pub fn fates(&self, plan: &[Statement]) -> Vec<Fate> {
        let pairs = || self.statements.iter().zip(plan);
        if self.statements.len() == plan.len()
            && pairs().all(|(was, is)| was.fits(is))
            && pairs().any(|(was, is)| was.is_of_another_version(is))
        {
            return (0..plan.len()).map(Fate::GoesOn).collect();
        }
        let mut free: BTreeSet<usize> = (0..self.statements.len()).collect();
        let mut fates: Vec<Option<Fate>> = vec![None; plan.len()];
        for (fate, statement) in fates.iter_mut().zip(plan) {
            let same = free.iter().copied().find(|&index| self.statements[index].is(statement));
            *fate = same.filter(|index| free.remove(index)).map(Fate::GoesOn);
        }
        for (index, statement) in
            plan.iter().enumerate().filter(|(index, _)| fates[*index].is_none()).collect::<Vec<_>>()
        {
            let rivals = plan.iter().zip(&fates).filter(|(other, fate)| fate.is_none() && other.fits(statement));
            let is_alone = rivals.count() == 1;
            let fitting: Vec<_> =
                free.iter().copied().filter(|&before| self.statements[before].fits(statement)).collect();
            if let ([only], true) = (&*fitting, is_alone) {
                free.remove(only);
                fates[index] = Some(Fate::GoesOn(*only));
            }
        }
        let mut left = |statement: &Statement| {
            let found = free.iter().copied().find(|&index| self.statements[index].sink == statement.sink);
            found.filter(|index| free.remove(index)).map_or(Fate::New, Fate::Changed)
        };
        plan.iter().zip(fates).map(|(statement, fate)| fate.unwrap_or_else(|| left(statement))).collect()
    }

    /// Another plan's statements with their numbers, by what each is to these: those that go on keep theirs, all others get
    /// new ones.
    pub fn followed_by(&self, plan: &[Statement], fates: &[Fate]) -> Self {
        let mut next = self.next;
        let mut number = |wanted: u32| {
            let given = wanted.max(next);
            next = given + 1;
            given
        };
        let mut numbered = |(statement, fate): (&Statement, &Fate)| {
            let mut statement = Statement { anew: false, ..statement.clone() };
            for (index, stage) in statement.stages.iter_mut().enumerate() {
                stage.number = match *fate {
                    Fate::GoesOn(before) => self.statements[before].stages[index].number,
                    Fate::Changed(_) | Fate::New => number(stage.number),
                };
            }
            statement
        };
        let statements = plan.iter().zip(fates).map(&mut numbered).collect();
        Self { statements, next }
    }

    /// By the number that a stage has in `plan`, the one that it has here; these statements are those of the plan.
    pub fn of_plan(&self, plan: &[Statement]) -> BTreeMap<u32, u32> {
        plan.iter().flat_map(Statement::numbers).zip(self.numbers()).collect()
    }

    /// The numbers of all stages, statement by statement.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.statements.iter().flat_map(Statement::numbers)
    }
}

/// When a plan was made: of two that differ in their statements the later one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// When the pipeline was made, in seconds since 1970.
    pub pipeline: i64,
    /// How often its statements have become others since.
    pub changes: u64,
    /// The UID of the assignment whose numbers it has: within one they mean the same. Empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub assignment: String,
}

impl Made {
    /// The plan of an assignment with this UID.
    pub fn by(numbers: &StageNumbers, assignment: &str) -> Self {
        let changes = numbers.changes.unsigned_abs();
        Self { pipeline: numbers.made, changes, assignment: assignment.to_owned() }
    }

    fn is_later_than(&self, other: &Self) -> bool {
        (self.pipeline, self.changes) > (other.pipeline, other.changes)
    }
}

/// What was kept for a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The plan; `None` where there is no operator that knows of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// The numbers of its stages in that plan, statement by statement: what is kept may stand under others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<u32>,
    /// Its statements.
    #[serde(flatten)]
    pub numbered: Numbered,
}

/// What to do about what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is of these statements: go on. They have these numbers.
    GoOn(Numbered),
    /// Note this, then go on.
    Note(Kept),
    /// Some statements do not fit what is kept of those in their place: the indices of both, those that are kept first.
    Refuse(Vec<(usize, usize)>),
    /// It is of a later plan: do nothing.
    Overtaken,
}

impl Kept {
    /// Decides for a worker of a plan, by what was kept last. Where nothing was, the numbers are those of the plan, which may
    /// not be the planner's. A statement that does not fit starts anew only where somebody has agreed ([`Statement::anew`]).
    ///
    /// What is kept is that of the last plan that somebody worked by, text and all: a later one is told from it.
    pub fn next(found: Option<&Self>, plan: &[Statement], made: Option<&Made>) -> Next {
        let Some(found) = found else { return Next::Note(Self::of(made, plan, Numbered::of(plan.to_vec()))) };
        if found.is_later_than(made) {
            return Next::Overtaken;
        }
        let fates = found.fates(plan, made);
        let changed = fates.iter().zip(plan).enumerate().filter_map(|(index, (fate, statement))| match fate {
            Fate::Changed(before) if !statement.anew => Some((*before, index)),
            _ => None,
        });
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            return Next::Refuse(changed);
        }
        // What nobody assigns has no numbers that an assignment knows.
        let unassigned = || Some(Made { assignment: String::new(), ..found.made.clone()? });
        let next = Self::of(made.cloned().or_else(unassigned).as_ref(), plan, found.numbered.followed_by(plan, &fates));
        if next == *found { Next::GoOn(next.numbered) } else { Next::Note(next) }
    }

    /// Statements of a plan with the numbers under which they are kept.
    pub fn of(made: Option<&Made>, plan: &[Statement], numbered: Numbered) -> Self {
        Self { made: made.cloned(), planned: plan.iter().flat_map(Statement::numbers).collect(), numbered }
    }

    /// What each statement of a plan is to these: by the assignment's numbers, if it is the same assignment's.
    pub fn fates(&self, plan: &[Statement], made: Option<&Made>) -> Vec<Fate> {
        let is_of = |made: &Made| {
            !made.assignment.is_empty() && self.made.as_ref().is_some_and(|it| it.assignment == made.assignment)
        };
        if !made.is_some_and(is_of) {
            return self.numbered.fates(plan);
        }
        let mut planned = self.planned.iter().copied();
        let before: Vec<Vec<u32>> = self
            .numbered
            .statements
            .iter()
            .map(|statement| planned.by_ref().take(statement.stages.len()).collect())
            .collect();
        let fate = |statement: &Statement| {
            let numbers: Vec<u32> = statement.numbers().collect();
            match before.iter().position(|before| *before == numbers) {
                Some(index) if self.numbered.statements[index].fits(statement) => Fate::GoesOn(index),
                Some(index) => Fate::Changed(index),
                None => Fate::New,
            }
        };
        plan.iter().map(fate).collect()
    }

    /// Whether it was kept for a plan that was made after another one.
    pub fn is_later_than(&self, made: Option<&Made>) -> bool {
        self.made.as_ref().zip(made).is_some_and(|(mine, made)| mine.is_later_than(made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement that wants these numbers for its stages.
    fn statement(sink: &str, text: &str, shapes: &[&str], first: u32) -> Statement {
        let stage = |(number, shape): (u32, &&str)| Stage { number, shape: (*shape).to_owned(), ..Stage::default() };
        let (sink, text) = (sink.to_owned(), text.to_owned());
        Statement { sink, text, stages: (first..).zip(shapes).map(stage).collect(), anew: false }
    }

    /// A plan of statements with one stage each, as a planner numbers them: sink, and shape, behind which a text may stand.
    fn plan(statements: &[(&str, &str)]) -> Vec<Statement> {
        let one = |(number, (sink, text)): (u32, &(&str, &str))| {
            statement(sink, text, &[text.split(' ').next().unwrap_or_default()], number)
        };
        (0..).zip(statements).map(one).collect()
    }

    fn agreed(plan: Vec<Statement>) -> Vec<Statement> {
        plan.into_iter().map(|statement| Statement { anew: true, ..statement }).collect()
    }

    /// A plan with other numbers.
    fn with(numbers: &[u32], plan: Vec<Statement>) -> Vec<Statement> {
        let mut numbers = numbers.iter().copied();
        let mut plan = plan;
        let stages = plan.iter_mut().flat_map(|statement| &mut statement.stages);
        stages.for_each(|stage| stage.number = numbers.next().expect("a number for each stage"));
        plan
    }

    fn after(before: &Numbered, plan: &[Statement]) -> Numbered {
        before.followed_by(plan, &before.fates(plan))
    }

    fn numbers(numbered: &Numbered) -> Vec<u32> {
        numbered.numbers().collect()
    }

    #[test]
    fn the_first_plan_is_numbered_as_it_was_planned() {
        let first = Numbered::of(vec![statement("a", "", &["x", "y"], 0), statement("b", "", &["z"], 2)]);
        assert_eq!((numbers(&first), first.next), (vec![0, 1, 2], 3));
    }

    #[test]
    fn a_changed_statement_gets_numbers_that_nobody_had_and_the_others_keep_theirs() {
        let first = Numbered::of(plan(&[("a", "x"), ("b", "y")]));
        let changed = plan(&[("a", "other"), ("b", "y")]);
        assert_eq!(first.fates(&changed), [Fate::Changed(0), Fate::GoesOn(1)]);
        let second = after(&first, &changed);
        assert_eq!((numbers(&second), second.next), (vec![2, 1], 3));
        let back = after(&second, &plan(&[("a", "x"), ("b", "y")]));
        assert_eq!((numbers(&back), back.next), (vec![3, 1], 4), "what it was before is not taken up again");
    }

    #[test]
    fn statements_that_come_go_and_change_places_leave_the_others_as_they_are() {
        let first = Numbered::of(plan(&[("a", "x"), ("b", "y")]));
        let in_front = after(&first, &plan(&[("c", "z"), ("a", "x"), ("b", "y")]));
        assert_eq!(numbers(&in_front), [2, 0, 1]);
        assert_eq!(numbers(&after(&first, &plan(&[("b", "y"), ("a", "x")]))), [1, 0]);
        let gone = after(&in_front, &plan(&[("b", "y")]));
        assert_eq!((numbers(&gone), gone.next), (vec![1], 3), "a number is given once");
        assert_eq!(numbers(&after(&gone, &plan(&[("b", "y"), ("c", "z")]))), [1, 3], "it starts anew");
    }

    #[test]
    fn statements_of_one_sink_and_shape_are_told_by_what_they_do_and_not_by_their_order() {
        let first = Numbered::of(plan(&[("out", "x z=1")]));
        let in_front = after(&first, &plan(&[("out", "x z=2"), ("out", "x z=1")]));
        assert_eq!(numbers(&in_front), [1, 0]);
        assert_eq!(numbers(&after(&in_front, &plan(&[("out", "x z=1"), ("out", "x z=2")]))), [0, 1]);
        assert_eq!(numbers(&after(&in_front, &plan(&[("out", "x z=1")]))), [0]);
        assert_eq!(numbers(&after(&in_front, &plan(&[("out", "x z=2")]))), [1]);
        let edited = after(&in_front, &plan(&[("out", "x z=1"), ("out", "x z=3")]));
        assert_eq!(numbers(&edited), [0, 1], "one that is left in both is the same, edited");
        assert_eq!(numbers(&after(&edited, &plan(&[("out", "x z=3"), ("out", "x z=2")]))), [1, 0]);
    }

    #[test]
    fn which_of_several_a_statement_was_is_not_guessed() {
        let two = Numbered::of(plan(&[("out", "x z=1"), ("out", "x z=2")]));
        let both = plan(&[("out", "x z=3"), ("out", "x z=4")]);
        assert_eq!(two.fates(&both), [Fate::Changed(0), Fate::Changed(1)]);
        assert_eq!(two.fates(&both[..1]), [Fate::Changed(0)], "one of them is gone, and the other one is edited");
        let one = Numbered::of(plan(&[("out", "x z=1")]));
        assert_eq!(one.fates(&both), [Fate::Changed(0), Fate::New]);
        let twice = Numbered::of(plan(&[("out", "x z=1"), ("out", "x z=1")]));
        assert_eq!(twice.fates(&plan(&[("out", "x z=1"), ("out", "x z=1")])), [Fate::GoesOn(0), Fate::GoesOn(1)]);
        assert_eq!(numbers(&after(&two, &both)), [2, 3]);
    }

    #[test]
    fn of_several_that_feed_one_sink_the_equal_ones_are_told_first() {
        let first = Numbered::of(plan(&[("a", "x"), ("a", "y"), ("a", "y")]));
        let fates = first.fates(&plan(&[("a", "other"), ("a", "y"), ("a", "y"), ("a", "new")]));
        assert_eq!(fates, [Fate::Changed(0), Fate::GoesOn(1), Fate::GoesOn(2), Fate::New]);
        assert_eq!(first.fates(&plan(&[("a", "y"), ("a", "y")])), [Fate::GoesOn(1), Fate::GoesOn(2)]);
        assert_eq!(first.fates(&plan(&[("b", "x")])), [Fate::New], "another sink is another statement");
    }

    #[test]
    fn more_stages_than_before_take_no_number_of_a_neighbour() {
        let first = Numbered::of(vec![statement("a", "", &["x"], 0), statement("b", "", &["y"], 1)]);
        let grown = after(&first, &[statement("a", "", &["x", "z"], 0), statement("b", "", &["y"], 2)]);
        assert_eq!(numbers(&grown), [2, 3, 1]);
    }

    fn made(changes: u64) -> Made {
        Made { pipeline: 7, changes, assignment: "one".to_owned() }
    }

    fn noted(next: Next) -> Kept {
        let Next::Note(kept) = next else { panic!("{next:?}") };
        kept
    }

    fn go_on(next: Next) -> Vec<u32> {
        let Next::GoOn(numbered) = next else { panic!("{next:?}") };
        numbers(&numbered)
    }

    #[test]
    fn where_nothing_is_kept_the_numbers_of_the_plan_are_kept_whatever_their_order() {
        for given in [[2, 1], [1, 0]] {
            let first = noted(Kept::next(None, &with(&given, plan(&[("a", "x"), ("b", "y")])), Some(&made(1))));
            assert_eq!(numbers(&first.numbered), given);
        }
    }

    #[test]
    fn who_runs_alone_refuses_a_changed_statement_or_starts_it_anew_and_never_the_others() {
        let first = noted(Kept::next(None, &plan(&[("a", "x"), ("b", "y")]), None));
        let swapped = noted(Kept::next(Some(&first), &plan(&[("b", "y"), ("a", "x")]), None));
        assert_eq!(numbers(&swapped.numbered), [1, 0]);
        let changed = plan(&[("b", "y"), ("a", "other")]);
        assert_eq!(Kept::next(Some(&first), &changed, None), Next::Refuse(vec![(0, 1)]));
        let anew = noted(Kept::next(Some(&first), &agreed(changed.clone()), None));
        assert_eq!(numbers(&anew.numbered), [1, 2]);
        assert_eq!(go_on(Kept::next(Some(&anew), &agreed(changed.clone()), None)), [1, 2], "once");
        assert_eq!(go_on(Kept::next(Some(&anew), &changed, None)), [1, 2], "and it is what runs");
        let more = noted(Kept::next(Some(&first), &plan(&[("c", "z"), ("a", "x"), ("b", "y")]), None));
        assert_eq!(numbers(&more.numbered), [2, 0, 1]);
    }

    #[test]
    fn what_is_edited_is_noted_so_that_the_next_plan_is_told_from_it() {
        let first = noted(Kept::next(None, &plan(&[("out", "x p"), ("out", "x q")]), None));
        let edited = noted(Kept::next(Some(&first), &plan(&[("out", "x p2"), ("out", "x q")]), None));
        assert_eq!(numbers(&edited.numbered), [0, 1]);
        let next = noted(Kept::next(Some(&edited), &plan(&[("out", "x p"), ("out", "x p2")]), None));
        assert_eq!(numbers(&next.numbered), [1, 0], "p2 goes on, and q was edited");
    }

    #[test]
    fn a_statement_that_is_taken_out_and_put_back_is_a_new_one() {
        let first = noted(Kept::next(None, &plan(&[("a", "x"), ("b", "y")]), None));
        let one = noted(Kept::next(Some(&first), &plan(&[("b", "y")]), None));
        assert_eq!(numbers(&one.numbered), [1]);
        assert_eq!(go_on(Kept::next(Some(&one), &plan(&[("b", "y")]), None)), [1]);
        let back = noted(Kept::next(Some(&one), &plan(&[("a", "x"), ("b", "y")]), None));
        assert_eq!(numbers(&back.numbered), [2, 1]);
    }

    #[test]
    fn workers_of_one_plan_give_the_same_numbers_and_those_of_an_older_one_none() {
        let first = noted(Kept::next(None, &plan(&[("a", "x"), ("b", "y")]), Some(&made(0))));
        let changed = with(&[2, 1], plan(&[("a", "other"), ("b", "y")]));
        let second = noted(Kept::next(Some(&first), &changed, Some(&made(1))));
        assert_eq!((numbers(&second.numbered), second.made.clone()), (vec![2, 1], Some(made(1))));
        assert_eq!(go_on(Kept::next(Some(&second), &changed, Some(&made(1)))), [2, 1]);
        let old = plan(&[("a", "x"), ("b", "y")]);
        assert_eq!(Kept::next(Some(&second), &old, Some(&made(0))), Next::Overtaken);
        assert!(matches!(Kept::next(Some(&second), &old, None), Next::Refuse(_)));
        let third = noted(Kept::next(Some(&second), &with(&[1], plan(&[("b", "y")])), Some(&made(2))));
        assert_eq!(Kept::next(Some(&third), &changed, Some(&made(1))), Next::Overtaken);
    }

    #[test]
    fn plans_that_no_worker_has_seen_confuse_nobody_since_the_assignment_tells_statements_by_their_numbers() {
        let filters = plan(&[("out", "x z=1"), ("out", "x z=2"), ("b", "y")]);
        let first = noted(Kept::next(None, &filters, Some(&made(0))));
        // One was edited, and nobody saw it; then the other one.
        let edited = plan(&[("out", "x z=3"), ("out", "x z=4"), ("b", "y")]);
        let next = noted(Kept::next(Some(&first), &edited, Some(&made(2))));
        assert_eq!(numbers(&next.numbered), [0, 1, 2]);
        // One was taken out, which nobody saw; then another one came into the same sink.
        let other = with(&[3, 1, 2], plan(&[("out", "other"), ("out", "x z=2"), ("b", "y")]));
        assert_eq!(numbers(&noted(Kept::next(Some(&first), &other, Some(&made(2)))).numbered), [3, 1, 2]);
        // What was taken out and put back is another one, though it does the same.
        let back = with(&[3, 1, 2], filters.clone());
        assert_eq!(numbers(&noted(Kept::next(Some(&first), &back, Some(&made(2)))).numbered), [3, 1, 2]);
        // What has kept its number is nothing else.
        let unfit = plan(&[("out", "other"), ("out", "x z=2"), ("b", "y")]);
        assert_eq!(Kept::next(Some(&first), &unfit, Some(&made(1))), Next::Refuse(vec![(0, 0)]));
    }

    #[test]
    fn numbers_of_another_assignment_say_nothing() {
        let kept = noted(Kept::next(None, &with(&[2, 1], plan(&[("a", "other"), ("b", "y")])), Some(&made(1))));
        let made_again = Made { pipeline: 8, changes: 0, assignment: "two".to_owned() };
        let given_again = Made { assignment: "two".to_owned(), ..made(1) };
        for again in [made_again, given_again] {
            let next = noted(Kept::next(Some(&kept), &plan(&[("a", "other"), ("b", "y")]), Some(&again)));
            assert_eq!((numbers(&next.numbered), next.planned.clone()), (vec![2, 1], vec![0, 1]));
            assert_eq!(next.made.as_ref(), Some(&again));
            let changed = plan(&[("a", "x"), ("b", "y")]);
            assert!(matches!(Kept::next(Some(&kept), &changed, Some(&again)), Next::Refuse(_)), "nobody has agreed");
            let edited = with(&[2, 1], plan(&[("a", "x"), ("b", "y")]));
            let edited = noted(Kept::next(Some(&next), &edited, Some(&Made { changes: 2, ..again })));
            assert_eq!(numbers(&edited.numbered), [3, 1], "its numbers are its own");
        }
    }

    #[test]
    fn another_version_of_the_planner_changes_nothing() {
        let of = |version: u32, texts: &[&str]| {
            let mut plan = plan(&[("out", "x"), ("out", "x"), ("b", "y")]);
            plan.iter_mut().zip(texts).for_each(|(statement, text)| statement.text = format!("{version}-{text}"));
            plan
        };
        let before = Numbered::of(of(1, &["p", "q", "r"]));
        let all = [0, 1, 2].map(Fate::GoesOn);
        assert_eq!(before.fates(&of(2, &["s", "t", "u"])), all);
        assert_eq!(before.fates(&of(1, &["q", "p", "r"])), [1, 0, 2].map(Fate::GoesOn));
        assert_eq!(before.fates(&of(1, &["s", "t", "r"])), [Fate::Changed(0), Fate::Changed(1), Fate::GoesOn(2)]);
    }
}
