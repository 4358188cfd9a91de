//! A `kafka` sink: rows as records of a topic.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::error::{Cause, Error, Result};
use thalweg_core::sink::{Capability, Sink, SinkWriter, WriterId};
use thalweg_core::unit::UnitId;
use tokio::sync::OnceCell;

use super::client::{ClientError, NewTopic};
use super::config::SinkConfig;
use super::delivery::{Delivery, visible};
use super::fit::Fit;
use super::patience::{awaited, persist, told};
use super::writer::KafkaWriter;

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
        let (name, clock, away) = (&self.config.topic, &self.delivery.clock, self.delivery.about.waits.away);
        let ask = || async {
            let doing = format!("asking how long records of topic `{name}` may be");
            let most = persist(clock, away, &doing, || self.delivery.cluster.most_bytes(name)).await?;
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
        if persist(&self.delivery.clock, self.delivery.about.waits.away, &doing, make).await? {
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
        let Delivery { cluster, about, clock, .. } = &*self.delivery;
        let (name, doing) = (&self.config.topic, format!("writing to topic `{}`", self.config.topic));
        let Some(found) = awaited(clock, about.waits, &doing, || cluster.topic(name)).await? else {
            return Err(Error::user(doing, format!("there is no topic `{name}`"))
                .because(Cause::NotFound)
                .with_hint("create it, correct `kafka.topic`, or say `kafka.createTopic: { partitions: N }`"));
        };
        if !found.may_write {
            let denied = ClientError::Denied("TopicAuthorizationFailed: the user may not write to it".to_owned());
            return Err(told(&doing, &denied));
        }
        let fit = self.fit().await?;
        fit.into_iter().for_each(|fit| self.delivery.fit_batches(fit.batch(self.config.batch_bytes)));
        Ok(())
    }

    async fn prepare(&self, units: &[UnitId]) -> Result<()> {
        self.delivery.watched(self.delivery.prepare(units)).await
    }

    async fn writer(&self, id: &WriterId) -> Result<Box<dyn SinkWriter>> {
        let open = async {
            let transaction = self.delivery.unit(id.unit, &id.owner, &self.config).await?;
            Ok::<_, Error>((transaction, self.fit().await?))
        };
        let (transaction, fit) = self.delivery.watched(open).await?;
        Ok(Box::new(KafkaWriter::new(Arc::clone(&self.config), Arc::clone(&self.delivery), transaction, fit)))
    }

    fn outage(&self) -> Option<Error> {
        let away = ClientError::Away(self.delivery.outage()?);
        Some(told(&format!("writing to topic `{}`", self.config.topic), &away))
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use thalweg_core::error::ErrorKind;
    use thalweg_core::ownership::Owner;
    use thalweg_core::sink::Label;
    use thalweg_core::unit::{RunId, StageId};
    use thalweg_crds::pipeline::Delivery as Promise;

    use super::*;
    use crate::kafka::delivery::About;
    use crate::kafka::patience::Waits;
    use crate::kafka::played::{Paused, Played, about, connection, sink_config};
    use crate::outage::TOLD_AFTER;

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

    #[tokio::test(start_paused = true)]
    async fn who_starts_again_and_again_tells_within_seconds_that_a_topic_is_missing_or_nobody_answers() {
        let (cluster, clock) = (Played::default(), Arc::new(Paused::new()));
        let wanted = About { waits: Waits::AGAIN, ..about() };
        let delivery = Delivery::open(connection(), wanted.clone(), None, clock, &cluster).await.expect("opened");
        let sink = KafkaSink::new(sink_config(), Arc::clone(&delivery));
        let clock = delivery.clock.clone();
        let after = |begun: Duration| clock.monotonic() - begun;
        // It is made a moment later, as together with the pipeline.
        *cluster.partitions() = VecDeque::from([Ok(0), Ok(0), Ok(0), Ok(1)]);
        sink.check().await.expect("it has come");
        *cluster.partitions() = VecDeque::from([Ok(0)]);
        let begun = clock.monotonic();
        let missing = sink.check().await.expect_err("there is none");
        assert_eq!((missing.kind, missing.cause), (ErrorKind::User, Some(Cause::NotFound)), "{missing}");
        assert_eq!((&*missing.what, &*missing.detail), ("writing to topic `out`", "there is no topic `out`"));
        assert!((Waits::AGAIN.missing..Duration::from_secs(4)).contains(&after(begun)), "{:?}", after(begun));
        cluster.goes_away(true);
        let begun = clock.monotonic();
        let away =
            Delivery::open(connection(), wanted, None, clock.clone(), &cluster).await.err().expect("nobody answers");
        assert_eq!((away.kind, away.cause), (ErrorKind::External, None), "{away}");
        assert!((Waits::AGAIN.away..Duration::from_secs(7)).contains(&after(begun)), "{:?}", after(begun));
        // Who starts once is more patient.
        let begun = clock.monotonic();
        Delivery::open(connection(), about(), None, clock.clone(), &cluster).await.err().expect("nobody answers");
        assert!(after(begun) >= Waits::ONCE.away, "{:?}", after(begun));
    }

    /// Waits until a sink tells that nothing is taken.
    async fn told_of(sink: &KafkaSink) -> Error {
        loop {
            if let Some(error) = sink.outage() {
                return error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_that_go_away_are_told_by_whoever_opens_or_writes_and_until_they_take_rows_again() {
        for promise in [Promise::ExactlyOnce, Promise::AtLeastOnce] {
            let (cluster, clock) = (Played::default(), Arc::new(Paused::new()));
            let delivery = Delivery::open(connection(), about(), None, clock, &cluster).await.expect("opened");
            let sink = KafkaSink::new(SinkConfig { promise, ..sink_config() }, Arc::clone(&delivery));
            let (pipeline, incarnation) = ("default.p".to_owned(), delivery.incarnation());
            let (unit, owner) = (UnitId { stage: StageId(0), index: 0 }, Owner::own(RunId("run".to_owned())));
            let id = WriterId { pipeline, incarnation, unit, owner };
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=3));
            let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
            cluster.goes_away(true);
            let mut opening = sink.writer(&id);
            tokio::select! {
                opened = &mut opening => panic!("{promise:?}: opened: {}", opened.is_ok()),
                error = told_of(&sink) => assert_eq!(error.kind, ErrorKind::External, "{error}"),
            }
            cluster.goes_away(false);
            let mut writer = opening.await.expect("somebody answers");
            assert!(sink.outage().is_none(), "{promise:?}: it is open");
            cluster.goes_away(true);
            let begun = delivery.clock.monotonic();
            writer.write(&rows).await.expect("it shows when they are delivered");
            let label = Label { seq: 0, position: None };
            let mut delivering = writer.deliver(&label);
            let error = tokio::select! {
                delivered = &mut delivering => panic!("{promise:?}: it has ended: {delivered:?}"),
                error = told_of(&sink) => error,
            };
            let after = delivery.clock.monotonic() - begun;
            assert!((TOLD_AFTER..2 * TOLD_AFTER).contains(&after), "{promise:?}: {after:?}");
            assert_eq!((error.kind, error.cause), (ErrorKind::External, None), "{error}");
            assert_eq!(error.what, "writing to topic `out`");
            let since = "Kafka at played:9092 has taken nothing since 1970-01-01T00:00:";
            assert!(error.detail.starts_with(since) && error.detail.ends_with("Z (connection refused)"), "{error}");
            cluster.goes_away(false);
            delivering.await.expect("it was tried again");
            assert!(sink.outage().is_none(), "{promise:?}: it has written");
            assert_eq!(writer.last_published().await.expect("known"), Some(label));
        }
    }
}
