//! What a pipeline's stages write to, and who keeps how far they have come.

use std::sync::Arc;

use thalweg_connectors::kafka::{About, Delivery, delivery::Layout};
use thalweg_connectors::registry;
use thalweg_core::error::Error;
use thalweg_core::unit::StageId;
use thalweg_crds::connector::SinkConnector;
use thalweg_crds::manifest::{ResolvedPipeline, ResolvedSink};
use thalweg_crds::source::OnError;
use thalweg_sql::stages::{PlannedPipeline, Stage, StageKind, StageOutput};
use thalweg_state::{PipelineState, StateRoot};

use super::build::Settings;
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
        state: &PipelineState,
        settings: &Settings,
    ) -> Result<Option<Arc<Delivery>>> {
        let sinks: Vec<_> = self.resolved.sinks.iter().chain(&self.resolved.dead_letter).collect();
        let Some(connection) = registry::kafka_connection(&sinks, &settings.secrets)? else { return Ok(None) };
        let kept_there = !root.is_durable() && self.are_transactional();
        let about = About {
            pipeline: self.resolved.full_name(),
            installation: root.installation().to_owned(),
            incarnation: (!kept_there).then(|| state.incarnation()),
            layout: self.layout(),
            fingerprints: self.plan.stages.iter().map(|stage| stage.fingerprint.clone()).collect(),
            fresh: settings.fresh,
            restart: settings.restart.clone(),
            commit_every: self.resolved.spec.state().commit_every.as_std(),
        };
        let made = root.is_durable().then(|| state.append_log("kafka/progress"));
        Ok(Some(Delivery::open(connection, about, made, settings.clock.clone(), &*settings.kafka).await?))
    }

    /// Units that write to kafka, or may write dead letters there.
    fn layout(&self) -> Layout {
        let dead_letters = self.resolved.dead_letter.as_ref().is_some_and(is_kafka);
        let writes = |stage: &&Stage| dead_letters || self.of(stage).is_some_and(is_kafka);
        let mut layout = Layout::default();
        for stage in self.plan.stages.iter().filter(writes) {
            match &stage.kind {
                StageKind::Windowed(_) => layout.keyed.push((stage.id, self.key_groups)),
                StageKind::Stateless => layout.routes.extend(routes(stage.id, stage.inputs.len())),
            }
        }
        layout
    }

    /// The sink of a stage; `None` where a later stage reads it.
    fn of(&self, stage: &Stage) -> Option<&ResolvedSink> {
        match &stage.output {
            StageOutput::Sink(name) => self.resolved.sinks.iter().find(|sink| sink.alias == *name),
            StageOutput::Stage(_) => None,
        }
    }
}

fn routes(stage: StageId, inputs: usize) -> impl Iterator<Item = (StageId, u16)> {
    (0..u16::try_from(inputs).unwrap_or(u16::MAX)).map(move |input| (stage, input))
}

fn is_kafka(sink: &ResolvedSink) -> bool {
    matches!(sink.spec.connector(), Some(SinkConnector::Kafka(_)))
}
