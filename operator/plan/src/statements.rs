//! Which statements go on from the plan that runs to the next one, and the numbers of their stages.
//!
//! A planner numbers stages in the order of the text. The assignment needs numbers that stay: units are named by them, with
//! their owners and epochs. What they stand for is in the assignment itself ([`StageNumbers`]), as epochs are, so that it is
//! known as long as they are; a plan's ConfigMap may be gone. Where they differ from the planner's they stand beside the plan
//! ([`Restarted::numbers`]) and are part of its hash, so that each worker knows them from its mount. Nothing is decided twice:
//! until the next plan runs each look decides the same, and then it is what runs.

use thalweg_crds::assignment::{AssignmentSpec, NumberedStage, NumberedStatement, StageNumbers};
use thalweg_crds::restart::{Numbers, Restarted};
use thalweg_crds::statements::{self, Fate, Numbered, Statement};

use crate::check::{Stage, StageKind};
use crate::names::hash;
use crate::resources::Written;
use crate::restart;
use crate::validate::{ValidatedPipeline, replanned};

/// What is to be known of the numbers of a plan's stages when the next ones are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// When the pipeline was made, in seconds since 1970.
    pub made: i64,
    /// How often its statements have become others.
    pub changes: u64,
    /// No number from here on was ever given.
    pub next: u32,
}

/// As an assignment says it.
pub fn published(stages: &[Stage], given: &Given) -> StageNumbers {
    let statements = stages.chunk_by(|stage, next| stage.statement == next.statement);
    let statement = |stages: &[Stage]| {
        let first = stages.first();
        NumberedStatement {
            sink: first.map(|stage| stage.sink.clone()).unwrap_or_default(),
            text: first.map(|stage| stage.text.clone()).unwrap_or_default(),
            stages: stages.iter().map(numbered_stage).collect(),
        }
    };
    let next = stages.iter().map(|stage| stage.id.saturating_add(1)).max().unwrap_or_default();
    StageNumbers {
        made: given.made,
        changes: i64::try_from(given.changes).unwrap_or(i64::MAX),
        next: next.max(i32::try_from(given.next).unwrap_or(i32::MAX)),
        statements: statements.map(statement).collect(),
    }
}

fn numbered_stage(stage: &Stage) -> NumberedStage {
    let kind = match stage.kind {
        StageKind::Stateless => "stateless",
        StageKind::Windowed => "windowed",
    };
    NumberedStage {
        stage: stage.id,
        reads: hash(format!("{kind} {}", stage.sources.join(" ")).as_bytes()),
        fingerprint: stage.fingerprint.clone(),
    }
}

/// The statements that numbers stand for. What shapes a stage: with state all that its fingerprint holds, without only what
/// positions belong to, since units of stateless stages are numbered by input.
pub(crate) fn statements(numbers: &StageNumbers, has_state: bool) -> Vec<Statement> {
    let shape = |stage: &NumberedStage| match has_state {
        true => format!("{} {}", stage.reads, stage.fingerprint),
        false => stage.reads.clone(),
    };
    let stage = |stage: &NumberedStage| statements::Stage {
        number: stage.stage.unsigned_abs(),
        shape: shape(stage),
        ..statements::Stage::default()
    };
    let statement = |statement: &NumberedStatement| Statement {
        sink: statement.sink.clone(),
        text: statement.text.clone(),
        stages: statement.stages.iter().map(stage).collect(),
        anew: false,
    };
    numbers.statements.iter().map(statement).collect()
}

/// What runs, as far as numbers go.
struct Running<'a> {
    /// What is published of it; `None` where there is nothing, or an earlier version published it.
    numbers: Option<&'a StageNumbers>,
    /// No number of a published unit is from here on.
    next: u32,
    /// How often its statements had become others, by what was noted with plans.
    changes: u64,
}

impl<'a> Running<'a> {
    fn of(assignment: Option<&'a AssignmentSpec>, changes: u64) -> Self {
        let units = assignment.into_iter().flat_map(|assignment| &assignment.units);
        let next = units.map(|unit| unit.unit.stage.unsigned_abs() + 1).max().unwrap_or_default();
        let numbers = assignment.and_then(|assignment| assignment.numbers.as_ref());
        let given = numbers.map_or(0, |numbers| numbers.next.unsigned_abs());
        let changed = numbers.map_or(0, |numbers| numbers.changes.unsigned_abs());
        Self { numbers, next: next.max(given), changes: changes.max(changed) }
    }

    /// The numbers of the stages that were planned, in their order, and what is to be known of them; `made` is when the pipeline
    /// was made. Where nobody knows what runs they are the planner's, and nothing is said to have changed: workers, to whom the
    /// assignment is another one, know what they have kept.
    fn followed_by(&self, planned: &[Stage], has_state: bool, made: i64) -> (Vec<u32>, Given) {
        let planned = published(planned, &Given::default());
        let wanted = statements(&planned, has_state);
        let Some(numbers) = self.numbers else {
            let numbered = Numbered::of(wanted);
            let given = Given { made, changes: self.changes, next: numbered.next.max(self.next) };
            return (numbered.numbers().collect(), given);
        };
        let before = Numbered { statements: statements(numbers, has_state), next: self.next };
        let fates = before.fates(&wanted);
        let numbered = before.followed_by(&wanted, &fates);
        let stays = (0..fates.len()).map(Fate::GoesOn).eq(fates.iter().copied())
            && is_same(&numbers.statements, &planned.statements);
        let changes = self.changes + u64::from(!stays);
        (numbered.numbers().collect(), Given { made, changes, next: numbered.next })
    }
}

/// Whether statements are the same, whatever their numbers.
fn is_same(before: &[NumberedStatement], next: &[NumberedStatement]) -> bool {
    let stage = |stage: &NumberedStage| NumberedStage { stage: 0, ..stage.clone() };
    let plain = |statement: &NumberedStatement| NumberedStatement {
        stages: statement.stages.iter().map(stage).collect(),
        ..statement.clone()
    };
    before.iter().map(plain).eq(next.iter().map(plain))
}

/// A pipeline with the numbers that its stages have after those that are published. `noted` is how often its statements had
/// become others, by what was noted with its plans; `made` is when it was made, in seconds since 1970.
pub fn numbered(
    written: &mut Written,
    planned: ValidatedPipeline,
    assignment: Option<&AssignmentSpec>,
    noted: u64,
    made: i64,
) -> ValidatedPipeline {
    let running = Running::of(assignment, noted);
    let (stages, given) = running.followed_by(&planned.stages, planned.state_url.is_some(), made);
    let planned = ValidatedPipeline { given, ..planned };
    let is_as_planned = (0..).zip(&stages).all(|(at, stage)| at == *stage);
    if is_as_planned {
        // Of numbers that were others once nothing is left beside the plan: it is the one that it was before them.
        let is_nothing_else =
            written.restarted.as_ref().is_some_and(|restarted| restart::start(Some(restarted)).is_none());
        return match is_nothing_else {
            true => {
                written.restarted = None;
                replanned(written, planned)
            }
            false => planned,
        };
    }
    let start = written.restarted.take().unwrap_or_else(|| Restarted { made, ..Restarted::default() });
    written.restarted = Some(Restarted { numbers: Some(Numbers { stages }), ..start });
    replanned(written, planned)
}

#[cfg(test)]
mod tests {
    use thalweg_crds::assignment::UnitAssignment;
    use thalweg_crds::ids::UnitId;

    use super::*;

    /// When the pipeline was made.
    const MADE: i64 = 1_700_000_000;

    /// Windowed stages of statements, as a planner numbers them: sink, and fingerprint, behind which a text may stand.
    fn planned(statements: &[(&str, &str)]) -> Vec<Stage> {
        let stage = |(index, (sink, text)): (usize, &(&str, &str))| Stage {
            id: i32::try_from(index).unwrap(),
            kind: StageKind::Windowed,
            statement: index,
            sink: (*sink).to_owned(),
            text: (*text).to_owned(),
            sources: vec!["trips".to_owned()],
            fingerprint: text.split(' ').next().unwrap().to_owned(),
        };
        statements.iter().enumerate().map(stage).collect()
    }

    /// A pipeline that goes from plan to plan.
    #[derive(Default)]
    struct Pipeline {
        assignment: Option<AssignmentSpec>,
    }

    impl Pipeline {
        /// The numbers of a plan, which then runs; what follows if it runs is the same.
        fn runs(&mut self, statements: &[(&str, &str)]) -> (Vec<u32>, Given) {
            let next = self.next(statements);
            let (stages, given) = next.clone();
            let ids = stages.iter().map(|number| number.cast_signed());
            let stages: Vec<_> =
                planned(statements).into_iter().zip(ids).map(|(stage, id)| Stage { id, ..stage }).collect();
            let unit = |stage: &Stage| UnitAssignment {
                unit: UnitId { stage: stage.id, index: 0 },
                ..UnitAssignment::default()
            };
            self.assignment = Some(AssignmentSpec {
                numbers: Some(published(&stages, &given)),
                units: stages.iter().map(unit).collect(),
                ..AssignmentSpec::default()
            });
            assert_eq!(self.next(statements), next, "each look decides the same");
            next
        }

        fn next(&self, statements: &[(&str, &str)]) -> (Vec<u32>, Given) {
            Running::of(self.assignment.as_ref(), 0).followed_by(&planned(statements), true, MADE)
        }
    }

    #[test]
    fn statements_keep_their_numbers_and_those_that_change_get_others() {
        let mut pipeline = Pipeline::default();
        let (first, given) = pipeline.runs(&[("a", "x"), ("b", "y")]);
        assert_eq!((first, given), (vec![0, 1], Given { made: MADE, next: 2, changes: 0 }));
        let (second, given) = pipeline.runs(&[("a", "other"), ("b", "y")]);
        assert_eq!((second, given), (vec![2, 1], Given { made: MADE, next: 3, changes: 1 }));
        assert_eq!(pipeline.runs(&[("a", "x"), ("b", "y")]).0, [3, 1], "and back is another start");
        assert_eq!(pipeline.runs(&[("b", "y")]).0, [1]);
        let (fifth, given) = pipeline.runs(&[("a", "x"), ("b", "y")]);
        assert_eq!((fifth, given.next, given.changes), (vec![4, 1], 5, 4));
        let (edited, given) = pipeline.runs(&[("a", "x"), ("b", "y edited")]);
        assert_eq!((edited, given.changes), (vec![4, 1], 5), "workers note what each statement is now");
        assert_eq!(pipeline.runs(&[("c", "y"), ("c", "y 2"), ("b", "y")]).0, [5, 6, 1]);
        assert_eq!(pipeline.runs(&[("c", "y 2"), ("c", "y"), ("b", "y")]).0, [6, 5, 1]);
    }

    /// An earlier version published it, or somebody has deleted the assignment.
    #[test]
    fn where_nobody_knows_what_runs_nothing_is_said_to_have_changed_and_counts_do_not_fall() {
        let unit = UnitAssignment { unit: UnitId { stage: 6, index: 0 }, ..UnitAssignment::default() };
        let of_before = AssignmentSpec { units: vec![unit], ..AssignmentSpec::default() };
        let (stages, given) = Running::of(Some(&of_before), 3).followed_by(&planned(&[("a", "x")]), true, MADE);
        assert_eq!((stages, given), (vec![0], Given { made: MADE, next: 7, changes: 3 }));
    }

    #[test]
    fn without_state_only_what_positions_belong_to_counts_and_it_stays_so_when_state_comes() {
        let with = |stages: &[Stage]| AssignmentSpec {
            numbers: Some(published(stages, &Given::default())),
            ..AssignmentSpec::default()
        };
        let first = planned(&[("a", "x")]);
        let running = with(&first);
        let next =
            |planned: &[Stage], has_state| Running::of(Some(&running), 0).followed_by(planned, has_state, MADE).0;
        assert_eq!(next(&planned(&[("a", "other")]), false), [0]);
        assert_eq!(next(&first, true), [0], "a state URL is set");
        let mut moved = planned(&[("a", "x")]);
        moved[0].sources = vec!["zones".to_owned()];
        assert_eq!(next(&moved, false), [1]);
    }
}
