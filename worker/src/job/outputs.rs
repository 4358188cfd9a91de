//! What a pipeline's stages write to, and who keeps how far they have come.

use std::sync::Arc;

use thalweg_connectors::kafka::{About, Delivery};
use thalweg_connectors::registry;
use thalweg_core::error::Error;
use thalweg_core::share::Share;
use thalweg_core::unit::StageId;
use thalweg_crds::connector::SinkConnector;
use thalweg_crds::manifest::{ResolvedPipeline, ResolvedSink};
use thalweg_crds::source::OnError;
use thalweg_crds::statements::{self, Statement};
use thalweg_sql::stages::{InputFrom, PlannedPipeline, Stage, StageKind, StageOutput};
use thalweg_state::{Expected, Notes, PipelineState, StateRoot};

use super::build::{Settings, adopt, kept};
use crate::runtime::Result;

/// A pipeline, as its sinks see it.
pub struct Outputs<'a> {
    /// The resources.
    pub resolved: &'a ResolvedPipeline,
    /// The plan.
    pub plan: &'a PlannedPipeline,
    /// Units of each keyed stage.
    pub key_groups: u32,
}

impl Outputs<'_> {
    /// Refuses what no commit could hold together.
    pub fn check(&self) -> thalweg_core::error::Result<()> {
        for stage in &self.plan.stages {
            let Some((main, dead_letters)) = self.of(stage).zip(self.resolved.dead_letter.as_ref()) else { continue };
            if is_kafka(main) && !is_kafka(dead_letters) && main.spec.on_error == OnError::DeadLetter {
                let what = format!("{}: `onError: DeadLetter` of StreamSink/{}", self.resolved.resource(), main.name);
                let detail = "a row that kafka does not take becomes a dead letter in the transaction of the others, and the \
                              sink of dead letters is not kafka";
                let hint = "let both be topics of one cluster, or set its onError to Fail or Drop";
                return Err(Error::user(what, detail).with_hint(hint));
            }
            if matches!(stage.kind, StageKind::Stateless) && is_kafka(main) != is_kafka(dead_letters) {
                let what = format!("{}: `INSERT INTO {}`", self.resolved.resource(), main.alias);
                let detail = "rows and dead letters of a query without windows are committed together, and one of their \
                              two sinks is kafka";
                let hint = "let both be topics of one cluster, or neither";
                return Err(Error::user(what, detail).with_hint(hint));
            }
        }
        Ok(())
    }

    /// Whether every unit's commits are transactions of its sink.
    pub fn are_transactional(&self) -> bool {
        let is_transactional =
            |stage: &Stage| matches!(stage.kind, StageKind::Stateless) && self.of(stage).is_some_and(is_kafka);
        self.plan.stages.iter().all(is_transactional)
    }

    /// What keeps the progress of kafka sinks, opened; `None` where there are none.
    pub async fn delivery(
        &self,
        root: &StateRoot,
        (state, expected): (&PipelineState, &Expected),
        memory: &Share,
        settings: &Settings,
    ) -> Result<Option<Arc<Delivery>>> {
        let sinks: Vec<_> = self.resolved.sinks.iter().chain(&self.resolved.dead_letter).collect();
        let Some((sink, connection)) = registry::kafka_connection(&sinks, &settings.secrets)? else { return Ok(None) };
        let kept_there = !root.is_durable() && self.are_transactional();
        let keyed = self.writers().filter(|stage| matches!(stage.kind, StageKind::Windowed(_))).count();
        let about = About {
            pipeline: self.resolved.full_name(),
            installation: settings.installation.clone().unwrap_or_else(|| root.installation().to_owned()),
            adopt: adopt(&self.resolved.spec.state()),
            incarnation: (!kept_there).then(|| state.incarnation()),
            statements: self.statements(expected),
            numbers: (!kept_there).then(|| state.kept().clone()),
            made: expected.made.clone(),
            only_looks: expected.notes != Notes::All,
            writers: self.writers().map(|stage| stage.id).collect(),
            keyed: u32::try_from(keyed).unwrap_or(u32::MAX).saturating_mul(self.key_groups),
            known: settings.progress.clone().filter(|_| kept_there),
            fresh: settings.fresh,
            restart: settings.restart.clone(),
            commit_every: self.resolved.spec.state().commit_every.as_std(),
            memory: memory.clone(),
            waits: settings.waits(),
        };
        let made = root.is_durable().then(|| kept(state.append_log("kafka/progress"), settings.notes));
        let opened = Delivery::open(connection, about, made, settings.clock.clone(), &*settings.kafka).await;
        Ok(Some(opened.map_err(|error| error.of(&sink))?))
    }

    /// The statements, shaped by no more than what positions belong to.
    fn statements(&self, expected: &Expected) -> Vec<Statement> {
        let shape = |stage: &mut statements::Stage| {
            stage.shape = self.plan.stage(StageId(stage.number)).map(sources).unwrap_or_default();
        };
        let mut statements = expected.statements.clone();
        statements.iter_mut().flat_map(|statement| &mut statement.stages).for_each(shape);
        statements
    }

    /// Stages that write to kafka, or may write dead letters there.
    fn writers(&self) -> impl Iterator<Item = &Stage> {
        let dead_letters = self.resolved.dead_letter.as_ref().is_some_and(is_kafka);
        self.plan.stages.iter().filter(move |stage| dead_letters || self.of(stage).is_some_and(is_kafka))
    }

    /// The sink of a stage; `None` where a later stage reads it.
    fn of(&self, stage: &Stage) -> Option<&ResolvedSink> {
        match &stage.output {
            StageOutput::Sink(name) => self.resolved.sinks.iter().find(|sink| sink.alias == *name),
            StageOutput::Stage(_) => None,
        }
    }
}

/// What positions of a stage belong to: nothing else is kept where its sink keeps all.
fn sources(stage: &Stage) -> String {
    let names = stage.inputs.iter().map(|input| match &input.from {
        InputFrom::Source(name) => name.clone(),
        InputFrom::Stage(_) => "another stage".to_owned(),
    });
    names.collect::<Vec<_>>().join(" ")
}

fn is_kafka(sink: &ResolvedSink) -> bool {
    matches!(sink.spec.connector(), Some(SinkConnector::Kafka(_)))
}
