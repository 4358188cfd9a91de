//! What `thalweg check -o json` answered about a plan: stages, or problems at their places.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use thalweg_crds::condition::Reason;

use crate::objects::{RESOURCES, STAGES};
use crate::problem::Problem;
use crate::resources::PlanText;

/// A plan's check, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The SQL has a plan.
    Stages(Vec<Stage>),
    /// It has none.
    Problems(Vec<Found>),
    /// The check itself was ended by its limits.
    OverLimit(String),
}

/// A stage of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its number: that of its place in the plan, from 0, until [`crate::statements`] gives it the one that it keeps.
    pub id: i32,
    /// What its units are.
    pub kind: StageKind,
    /// Which statement it belongs to, from 0. Stages of one statement stand behind each other.
    pub statement: usize,
    /// The sink that its statement feeds, by its name in SQL.
    pub sink: String,
    /// Equal for statements that do the same.
    pub text: String,
    /// The names in SQL of the sources that it reads: one for each input, in their order, since units of a stateless stage
    /// are numbered by input. Such a stage reads nothing but sources.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Equal for stages whose state can be carried over.
    pub fingerprint: String,
}

/// What the units of a stage are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StageKind {
    /// Splits of its sources.
    Stateless,
    /// Key groups.
    Windowed,
}

/// A problem as `thalweg check` tells it, at a place of the text that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// `Kind/name`.
    #[serde(default)]
    pub resource: String,
    /// Line of the text, from 1.
    #[serde(default)]
    pub line: usize,
    /// Column in characters, from 1.
    #[serde(default)]
    pub column: usize,
    /// The field.
    #[serde(default)]
    pub path: String,
    /// What was found, and what is expected.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    problems: Vec<Found>,
    #[serde(default)]
    pipelines: Vec<Pipeline>,
}

#[derive(Deserialize)]
struct Pipeline {
    stages: Vec<Stage>,
}

/// Reads the answer of a check of one pipeline.
///
/// # Errors
/// The answer is not what this version of `thalweg check` writes: the two binaries differ in version.
pub fn parse(answer: &[u8]) -> Result<Checked, String> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| format!("it is not understood: {error}"))?;
    if !answer.problems.is_empty() {
        return Ok(Checked::Problems(answer.problems));
    }
    match <[Pipeline; 1]>::try_from(answer.pipelines) {
        Ok([pipeline]) => Ok(Checked::Stages(pipeline.stages)),
        Err(pipelines) => Err(format!("expected one pipeline, found {}", pipelines.len())),
    }
}

/// Stages as they are noted beside the plan, so that an operator that starts need not plan everything again.
#[derive(Serialize, Deserialize)]
struct Noted<'a> {
    version: &'a str,
    /// How often the pipeline's statements had become others by then ([`thalweg_crds::assignment::StageNumbers::changes`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<u64>,
    stages: Vec<Stage>,
}

/// Version of the planner: the two binaries are released together.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The note of some stages.
pub(crate) fn note(stages: &[Stage], changes: u64) -> String {
    let changes = Some(changes).filter(|changes| *changes > 0);
    serde_json::to_string(&Noted { version: VERSION, changes, stages: stages.to_vec() }).unwrap_or_default()
}

/// How often a pipeline's statements had become others when a plan of it was noted.
pub fn noted_changes(map: &ConfigMap) -> u64 {
    noted(map).and_then(|noted| noted.changes).unwrap_or_default()
}

/// The stages that are noted with a plan, whichever version planned it.
pub fn noted_stages(map: &ConfigMap) -> Option<Vec<Stage>> {
    Some(noted(map)?.stages)
}

fn noted(map: &ConfigMap) -> Option<Noted<'_>> {
    serde_json::from_str(map.metadata.annotations.as_ref()?.get(STAGES)?).ok()
}

/// The stages that are noted with a plan, if this version planned it and the text is the same; with the numbers that they were
/// planned with.
pub fn stages_of(map: &ConfigMap, plan: &PlanText) -> Option<Vec<Stage>> {
    let is_same = map.data.as_ref()?.get(RESOURCES) == Some(&plan.resources);
    let noted = noted(map).filter(|noted| is_same && noted.version == VERSION)?;
    Some((0..).zip(noted.stages).map(|(id, stage)| Stage { id, ..stage }).collect())
}

impl Checked {
    /// The stages, or every problem at its field.
    ///
    /// # Errors
    /// The problems that the check found, or its limits.
    pub fn stages(&self, pipeline: &str, plan: &PlanText) -> Result<&[Stage], Vec<Problem>> {
        match self {
            Self::Stages(stages) => Ok(stages),
            Self::Problems(found) => Err(found.iter().map(|found| located(found, plan)).collect()),
            Self::OverLimit(what) => Err(vec![Problem {
                reason: Reason::InvalidSql,
                resource: format!("StreamPipeline/{pipeline}"),
                path: "spec.sql".to_owned(),
                place: None,
                message: format!("planning was ended: {what}"),
                help: Some("simplify the statement: split it into several pipelines".to_owned()),
            }]),
        }
    }
}

/// A problem of the plan's text, as one of a resource; places count within texts such as SQL.
pub(crate) fn located(found: &Found, plan: &PlanText) -> Problem {
    let is_text = found.path == "spec.sql" || found.path.starts_with("data");
    let place = is_text.then(|| plan.place_in_text(found.line, found.column)).flatten();
    Problem {
        reason: if is_text { Reason::InvalidSql } else { Reason::InvalidSpec },
        resource: found.resource.clone(),
        path: found.path.clone(),
        place,
        message: found.message.clone(),
        help: found.help.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_stages_or_problems() {
        let stages = r#"{"problems": [], "pipelines": [{"namespace": "a", "name": "p", "stages": [
            {"id": 0, "kind": "stateless", "statement": 1, "sink": "out", "text": "t", "sources": ["trips"], "fingerprint": "x",
             "columns": []}]}]}"#;
        let stage = Stage {
            id: 0,
            kind: StageKind::Stateless,
            statement: 1,
            sink: "out".to_owned(),
            text: "t".to_owned(),
            sources: vec!["trips".to_owned()],
            fingerprint: "x".to_owned(),
        };
        assert_eq!(parse(stages.as_bytes()), Ok(Checked::Stages(vec![stage])));
        let problems = r#"{"problems": [{"resource": "StreamPipeline/p", "file": "f", "line": 3, "column": 9,
            "path": "spec.sql", "message": "no column `fair`", "help": "did you mean fare?"}]}"#;
        let Ok(Checked::Problems(found)) = parse(problems.as_bytes()) else { panic!("problems") };
        assert_eq!((found[0].line, found[0].message.as_str()), (3, "no column `fair`"));
    }

    #[test]
    fn an_answer_of_another_version_is_an_error_and_not_a_problem_of_the_user() {
        assert!(parse(b"").is_err());
        assert!(parse(br#"{"problems": [], "pipelines": []}"#).is_err());
        let without_statements = br#"{"problems": [], "pipelines": [{"stages": [
            {"id": 0, "kind": "stateless", "sources": ["trips"], "fingerprint": "x"}]}]}"#;
        assert!(parse(without_statements).is_err(), "it would be one statement of a sink without a name");
    }
}
