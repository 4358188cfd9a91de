//! A `kafka` sink: rows as records of a topic.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::sink::{Capability, Sink, SinkWriter, WriterId};
use thalweg_core::unit::UnitId;
use tokio::sync::OnceCell;

use super::client::{ClientError, NewTopic};
use super::config::SinkConfig;
use super::delivery::{Delivery, visible};
use super::fit::Fit;
use super::patience::{persist, told};
use super::writer::KafkaWriter;

/// How long a topic may be missing that somebody else is about to make.
const MISSING_LIMIT: Duration = Duration::from_secs(10);

/// A topic as a sink.
pub struct KafkaSink {
    config: Arc<SinkConfig>,
    delivery: Arc<Delivery>,
    fit: OnceCell<Option<Fit>>,
}

impl KafkaSink {
    /// A sink whose units' progress is kept in `delivery`.
    pub fn new(config: SinkConfig, delivery: Arc<Delivery>) -> Self {
        Self { config: Arc::new(config), delivery, fit: OnceCell::new() }
    }

    /// How long rows may be, asked once; a topic that is given a lower limit refuses them until the next start.
    async fn fit(&self) -> Result<Option<Fit>> {
        let (name, clock) = (&self.config.topic, &self.delivery.clock);
        let ask = || async {
            let doing = format!("asking how long records of topic `{name}` may be");
            let most = persist(clock, MISSING_LIMIT, &doing, || self.delivery.cluster.most_bytes(name)).await?;
            if most.is_none() {
                tracing::info!("the user may not describe topic `{name}`: rows that it does not take are errors");
            }
            Ok(most.map(|most| Fit::new(most, self.config.compression)))
        };
        self.fit.get_or_try_init(ask).await.copied()
    }

    async fn create(&self) -> Result<()> {
        let Some(create) = &self.config.create else { return Ok(()) };
        let wanted = NewTopic {
            name: self.config.topic.to_string(),
            partitions: create.partitions.unsigned_abs(),
            replication: create.replication_factor.and_then(|count| u16::try_from(count).ok()),
            settings: Vec::new(),
        };
        let doing = format!("making topic `{}`", self.config.topic);
        let make = || self.delivery.cluster.create_topic(&wanted);
        if persist(&self.delivery.clock, MISSING_LIMIT, &doing, make).await? {
            visible(&*self.delivery.cluster, &self.config.topic, &self.delivery.clock).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn capability(&self) -> Capability {
        Capability::Transactional
    }

    async fn check(&self) -> Result<()> {
        self.create().await?;
        let name = &self.config.topic;
        let look = || async {
            let found = self.delivery.cluster.topic(name).await?;
            found.ok_or_else(|| ClientError::Away(format!("there is no topic `{name}`")))
        };
        let found = persist(&self.delivery.clock, MISSING_LIMIT, &format!("writing to topic `{name}`"), look).await;
        let found = found.map_err(|error| match error.detail.starts_with("there is no topic") {
            true => Error::user(error.what, error.detail)
                .because(Cause::NotFound)
                .with_hint("create it, correct `kafka.topic`, or say `kafka.createTopic: { partitions: N }`"),
            false => error,
        })?;
        if !found.may_write {
            let denied = ClientError::Denied("TopicAuthorizationFailed: the user may not write to it".to_owned());
            return Err(told(&format!("writing to topic `{name}`"), &denied));
        }
        let fit = self.fit().await?;
        fit.into_iter().for_each(|fit| self.delivery.fit_batches(fit.batch(self.config.batch_bytes)));
        Ok(())
    }

    async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        self.delivery.prepare(units).await
    }

    async fn writer(&self, id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        let transaction = self.delivery.unit(id.unit, &id.owner, &self.config).await?;
        let commit_every = self.delivery.about.commit_every;
        Ok(Box::new(KafkaWriter::new(Arc::clone(&self.config), transaction, commit_every, self.fit().await?)))
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use thalweg_core::error::ErrorKind;

    use super::*;
    use crate::kafka::played::{Paused, Played, about, connection, sink_config};

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_missing_or_was_deleted_has_a_reason_of_its_own() {
        let (cluster, clock) = (Played::default(), Arc::new(Paused::new()));
        let delivery = Delivery::open(connection(), about(), None, clock, &cluster).await.expect("opened");
        let sink = KafkaSink::new(sink_config(), Arc::clone(&delivery));
        sink.check().await.expect("it is there");
        // The progress topic is looked for first, and so often a topic has to be missing.
        *cluster.partitions() = VecDeque::from([Ok(1), Ok(0)]);
        let deleted = delivery.missing("out").await.expect("it is gone");
        assert_eq!((deleted.kind, deleted.cause), (ErrorKind::User, Some(Cause::NotFound)), "{deleted}");
        let missing = sink.check().await.expect_err("there is none");
        assert_eq!((missing.kind, missing.cause), (ErrorKind::User, Some(Cause::NotFound)), "{missing}");
    }
}
