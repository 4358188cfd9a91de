//! Starts of a whole pipeline from scratch: which one a plan belongs to, by what runs and what the user asks for. Statements
//! that start alone: [`crate::statements`].
//!
//! It stands beside the plan, so that each worker knows it from its mount; how many there were is also in the assignment.
//! Nothing is decided twice: until workers of the next plan take over, each look decides the same, and then it is what runs.

use k8s_openapi::api::core::v1::ConfigMap;
use thalweg_crds::assignment::{AssignmentSpec, StageIncarnation};
use thalweg_crds::ids::Incarnation;
use thalweg_crds::pipeline::Restart;
use thalweg_crds::restart::{RESTART, Restarted};

use crate::check::Stage;

/// The start that the plan of a ConfigMap belongs to; none where there was no restart.
pub fn noted(map: &ConfigMap) -> Option<Restarted> {
    serde_json::from_str(map.data.as_ref()?.get(RESTART)?).ok()
}

/// The start that runs: that of the plan which the assignment names, else the last of all that are noted with plans of the
/// pipeline. `made` is when the pipeline was, in seconds since 1970.
pub fn running(
    plan: Option<Restarted>,
    others: impl IntoIterator<Item = Restarted>,
    assignment: Option<&AssignmentSpec>,
    asked: Option<&Restart>,
    made: i64,
) -> Option<Restarted> {
    let counted = assignment.map_or(0, counted);
    // Somebody has removed the plan: what was asked for is done, as far as anybody knows.
    let nonce = || asked.map(|asked| asked.nonce.clone());
    let lost = || Restarted { made, count: counted, nonce: nonce(), ..Restarted::default() };
    plan.or_else(|| others.into_iter().max_by_key(|noted| (noted.made, noted.count)))
        .filter(|noted| noted.count >= counted)
        .or_else(|| (counted > 0).then(lost))
}

/// The start that a pipeline is to have: another one where its nonce is one that was not seen before. Its stages have no numbers
/// yet.
pub fn next(running: Option<&Restarted>, asked: Option<&Restart>, made: i64) -> Option<Restarted> {
    let seen = running.and_then(|running| running.nonce.as_deref());
    match asked.filter(|asked| Some(asked.nonce.as_str()) != seen) {
        Some(_) => Some(anew(running, asked, made)),
        None => running.map(|running| Restarted { numbers: None, ..running.clone() }),
    }
}

/// Which start from scratch it is; none where there was no restart.
pub(crate) fn start(restarted: Option<&Restarted>) -> Option<(i64, u64)> {
    restarted.filter(|restarted| restarted.count > 0).map(|restarted| (restarted.made, restarted.count))
}

/// One more start.
pub fn anew(running: Option<&Restarted>, asked: Option<&Restart>, made: i64) -> Restarted {
    let before = running.filter(|running| running.made == made).map_or(0, |running| running.count);
    Restarted {
        made,
        count: before + 1,
        nonce: asked.map(|asked| asked.nonce.clone()).or_else(|| running?.nonce.clone()),
        from: asked.and_then(|asked| asked.from.clone()),
        numbers: None,
    }
}

/// How many starts from scratch an assignment has seen.
pub(crate) fn counted(assignment: &AssignmentSpec) -> u64 {
    let counts = assignment.incarnations.iter().map(|stage| stage.incarnation.0);
    counts.max().and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
}

/// What starts from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// All statements; how often that was with this time.
    All(u64),
    /// Those that have changed.
    Changed,
}

/// The start from scratch that one assignment has seen and the one before has not. `has_changed` says whether its plan starts
/// what has changed anew.
pub fn begun(before: Option<&AssignmentSpec>, after: Option<&AssignmentSpec>, has_changed: bool) -> Option<Begun> {
    let (before, after) = (before?, after?);
    match counted(after) {
        count if count > counted(before) => Some(Begun::All(count)),
        _ => (has_changed && before.plan != after.plan).then_some(Begun::Changed),
    }
}

/// As an assignment notes it; nothing where there was no restart.
pub(crate) fn count(stages: &[Stage], count: u64) -> Vec<StageIncarnation> {
    let incarnation = Incarnation(i64::try_from(count).unwrap_or(i64::MAX));
    let stages = stages.iter().filter(|_| count > 0);
    stages.map(|stage| StageIncarnation { stage: stage.id, incarnation }).collect()
}

#[cfg(test)]
mod tests {
    use thalweg_crds::connector::{StartAt, StartPosition};

    use super::*;

    const MADE: i64 = 1_700_000_000;

    fn stage() -> Stage {
        Stage {
            id: 0,
            kind: crate::check::StageKind::Windowed,
            statement: 0,
            sink: String::new(),
            text: String::new(),
            sources: Vec::new(),
            fingerprint: String::new(),
        }
    }

    fn asked(nonce: &str) -> Restart {
        Restart { nonce: nonce.to_owned(), from: None }
    }

    fn restarted(count: u64, nonce: Option<&str>) -> Restarted {
        Restarted { made: MADE, count, nonce: nonce.map(str::to_owned), ..Restarted::default() }
    }

    #[test]
    fn each_new_nonce_is_one_start_and_taking_it_away_is_none() {
        assert_eq!(next(None, None, MADE), None);
        let first = next(None, Some(&asked("a")), MADE).unwrap();
        assert_eq!(first, restarted(1, Some("a")));
        assert_eq!(next(Some(&first), Some(&asked("a")), MADE), Some(first.clone()));
        assert_eq!(next(Some(&first), None, MADE), Some(first.clone()));
        assert_eq!(next(Some(&first), Some(&asked("b")), MADE), Some(restarted(2, Some("b"))));
    }

    #[test]
    fn a_changed_source_is_a_start_of_its_own_and_does_not_use_up_the_nonce() {
        let first = anew(None, None, MADE);
        assert_eq!(first, restarted(1, None));
        let second = next(Some(&first), Some(&asked("a")), MADE).unwrap();
        assert_eq!(second, restarted(2, Some("a")));
        let third = anew(Some(&second), None, MADE);
        assert_eq!(third, restarted(3, Some("a")));
        assert_eq!(next(Some(&third), Some(&asked("a")), MADE), Some(third.clone()), "it was seen");
    }

    #[test]
    fn where_it_starts_belongs_to_the_start() {
        let from = StartAt { position: StartPosition::Latest, ..StartAt::default() };
        let asked = Restart { from: Some(from.clone()), ..asked("a") };
        let first = next(None, Some(&asked), MADE).unwrap();
        assert_eq!(first.from, Some(from));
        assert_eq!(
            next(Some(&first), Some(&Restart { from: None, ..asked }), MADE),
            Some(first),
            "a nonce is one start"
        );
    }

    #[test]
    fn what_runs_is_known_from_its_plan_else_from_others_else_by_the_assignment() {
        let stages = [stage()];
        let assignment = AssignmentSpec { incarnations: count(&stages, 2), ..AssignmentSpec::default() };
        let known = restarted(2, Some("b"));
        assert_eq!(running(None, [], None, None, MADE), None);
        assert_eq!(running(Some(known.clone()), [], Some(&assignment), None, MADE), Some(known.clone()));
        let maps = [restarted(1, Some("a")), known.clone()];
        assert_eq!(running(None, maps, None, None, MADE), Some(known));
        assert_eq!(running(None, [], Some(&assignment), Some(&asked("x")), MADE), Some(restarted(2, Some("x"))));
    }

    #[test]
    fn a_start_is_news_once_its_assignment_is_published() {
        let stages = [stage()];
        let after = |starts| AssignmentSpec { incarnations: count(&stages, starts), ..AssignmentSpec::default() };
        assert_eq!(begun(Some(&after(0)), Some(&after(1)), false), Some(Begun::All(1)));
        assert_eq!(begun(Some(&after(1)), Some(&after(1)), true), None);
        assert_eq!(begun(Some(&after(1)), None, false), None);
        assert_eq!(begun(None, Some(&after(1)), true), None, "the first start of a pipeline is none from scratch");
        let next = AssignmentSpec { plan: "next".to_owned(), ..after(1) };
        assert_eq!(begun(Some(&after(1)), Some(&next), true), Some(Begun::Changed));
        assert_eq!(begun(Some(&after(1)), Some(&next), false), None);
    }

    #[test]
    fn a_pipeline_that_is_made_again_counts_anew() {
        let before = restarted(7, Some("a"));
        assert_eq!(next(Some(&before), Some(&asked("b")), MADE + 9).unwrap().count, 1);
    }
}
