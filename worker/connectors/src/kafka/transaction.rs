//! One unit's rows on their way: in one transaction with its progress, sent again where a broker gives them up.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_core::error::{Error, ErrorKind, Result};
use thalweg_core::ownership::Owner;
use thalweg_core::ownership::delivery::{NotTaken, take};
use thalweg_core::sink::Label;
use thalweg_core::unit::{Epoch, Incarnation, RunId, UnitId};
use thalweg_crds::pipeline::Delivery as Promise;

use super::client::{ClientError, Outgoing, Producer, Producing, Result as ClientResult, Transactions};
use super::config::SinkConfig;
use super::delivery::{Delivery, Until, patience};
use super::patience::{insist, told};
use super::progress::Progress;

/// How long acquiring a unit tries.
const ACQUIRE_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// One unit's transaction.
pub(super) struct UnitTransaction {
    delivery: Arc<Delivery>,
    unit: UnitId,
    partition: u32,
    topic: Arc<str>,
    how: Producing,
    epoch: Epoch,
    run: RunId,
    producer: Box<dyn Transactions>,
    /// Where rows are acknowledged before progress is written, and may come twice.
    acknowledged: Option<Box<dyn Producer>>,
    /// Rows since the last delivery.
    sent: Vec<Outgoing>,
    /// Why the rows so far are not on their way.
    broken: Option<ClientError>,
    last: Option<Label>,
}

/// What follows from a failure of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody knows whether it was done: ask for it again.
    CommitAgain,
    /// Give the transaction up, and send everything in another one.
    SendAgain,
    /// Make another producer, and see how far the last one came.
    Rebuild,
    /// No attempt will succeed, or none may.
    Stop,
}

/// Decides what follows from a failure.
pub(super) fn next(error: &ClientError) -> Next {
    match error {
        ClientError::CommitUnknown(_) => Next::CommitAgain,
        ClientError::Abortable(_) | ClientError::Away(_) | ClientError::NoTopic => Next::SendAgain,
        ClientError::Spent(_) => Next::Rebuild,
        ClientError::Fenced(_)
        | ClientError::TooLarge(_)
        | ClientError::Denied(_)
        | ClientError::Refused(_)
        | ClientError::Forbidden(_)
        | ClientError::Corrupt(_)
        | ClientError::Cut(_)
        | ClientError::OutOfRange => Next::Stop,
    }
}

/// The epoch at which an owner may have a unit of which this progress was found.
fn epoch(owner: &Owner, found: Option<&Progress>, incarnation: Incarnation, doing: &str) -> Result<Epoch> {
    take(found.map(Progress::marked).as_ref(), owner, incarnation).map_err(|refused| match refused {
        NotTaken::Superseded(superseded) => Error::superseded(doing, superseded),
        NotTaken::Restarted(later) => {
            let detail = format!("incarnation {later} has begun, and this is incarnation {incarnation}");
            Error::new(ErrorKind::Fenced, doing, detail)
        }
    })
}

impl UnitTransaction {
    /// Takes the unit over: ends the transactions of every earlier owner, reads how far the last one came, and commits
    /// the epoch of this one before anything else.
    ///
    /// # Errors
    /// [`Error::superseded`] where somebody else has taken over at an epoch that is not below the one assigned.
    pub(super) async fn acquire(
        delivery: &Arc<Delivery>,
        unit: UnitId,
        owner: &Owner,
        config: &SinkConfig,
    ) -> Result<Self> {
        let doing = format!("acquiring unit {unit} in `{}`", delivery.topic);
        let partition = delivery.partition(unit).await?;
        // Whoever comes too late must not end the transactions of the one who has the unit.
        let stored = delivery.last(unit, partition, Until::Committed).await?;
        epoch(owner, stored.as_ref(), delivery.incarnation(), &doing)?;
        let how = delivery.producing(config);
        let id = delivery.transactional_id(unit);
        let open = || delivery.cluster.transactions(&id, &how);
        let producer = insist(delivery.patience(ACQUIRE_LIMIT), &doing, open).await?;
        // Whoever notes that a statement is gone ends its transactions afterwards: one that begins before is ended, and one that
        // begins later finds the note.
        if !delivery.is_written_by(unit.stage).await? {
            return Err(Error::new(ErrorKind::Fenced, doing, "its statement is gone from the plan that runs"));
        }
        let acknowledged = match config.promise {
            Promise::ExactlyOnce => None,
            Promise::AtLeastOnce => {
                let open = || delivery.cluster.producer(&how);
                Some(insist(delivery.patience(ACQUIRE_LIMIT), &doing, open).await?)
            }
        };
        let stored = delivery.last(unit, partition, Until::End).await?;
        if stored.is_none() {
            delivery.check_same().await?;
            delivery.check_whole(partition).await?;
        }
        let epoch = epoch(owner, stored.as_ref(), delivery.incarnation(), &doing)?;
        let last = stored.filter(|stored| stored.incarnation == delivery.incarnation()).and_then(|stored| stored.label);
        let mut acquired = Self {
            delivery: Arc::clone(delivery),
            unit,
            partition,
            topic: Arc::clone(&config.topic),
            how,
            epoch,
            run: owner.run.clone(),
            producer,
            acknowledged,
            sent: Vec::new(),
            broken: None,
            last: last.clone(),
        };
        acquired.write(last).await?;
        Ok(acquired)
    }

    /// The last label that was delivered.
    pub(super) fn last(&self) -> Option<Label> {
        self.last.clone()
    }

    /// Puts a row on its way. Failures show when it is delivered.
    pub(super) async fn send(&mut self, record: Outgoing) {
        self.sent.push(record.clone());
        if self.broken.is_none() {
            self.broken = self.put(record).await.err();
        }
    }

    /// Makes all rows visible together with the label.
    pub(super) async fn deliver(&mut self, label: &Label) -> Result<()> {
        // A unit's writers share this: the first of them has delivered the rows of all.
        if self.sent.is_empty() && self.last.as_ref() == Some(label) {
            return Ok(());
        }
        self.acknowledge().await?;
        self.write(Some(label.clone())).await?;
        self.sent.clear();
        self.last = Some(label.clone());
        Ok(())
    }

    async fn put(&mut self, record: Outgoing) -> ClientResult<()> {
        match &mut self.acknowledged {
            Some(rows) => rows.send(record).await,
            None => self.producer.send(record).await,
        }
    }

    /// Where rows are not in the transaction: waits for them, and sends all of them again if some fail.
    async fn acknowledge(&mut self) -> Result<()> {
        let mut patience = patience(&self.delivery);
        while let Some(rows) = &mut self.acknowledged {
            let done = match self.broken.take() {
                None => rows.acknowledge().await,
                Some(error) => Err(error),
            };
            let Err(error) = done else {
                self.sent.clear();
                return Ok(());
            };
            if next(&error) == Next::Stop || !patience.wait(&self.doing(), &error).await {
                return Err(self.explain(&error).await);
            }
            self.broken = self.send_acknowledged().await.err();
        }
        Ok(())
    }

    async fn send_acknowledged(&mut self) -> ClientResult<()> {
        let mut rows = self.delivery.cluster.producer(&self.how).await?;
        for record in &self.sent {
            rows.send(record.clone()).await?;
        }
        self.acknowledged = Some(rows);
        Ok(())
    }

    /// Commits the transaction with a label, again and again where that may help.
    async fn write(&mut self, label: Option<Label>) -> Result<()> {
        let progress = Progress {
            owner: self.delivery.owner(),
            incarnation: self.delivery.incarnation(),
            epoch: self.epoch,
            run: Some(self.run.clone()),
            label,
        };
        let record = Outgoing {
            topic: Arc::clone(&self.delivery.topic),
            partition: Some(self.partition),
            key: Some(Bytes::from(self.unit.to_string())),
            value: Some(progress.encode()?),
            headers: Vec::new(),
        };
        let mut patience = patience(&self.delivery);
        let mut done = match self.broken.take() {
            None => self.commit(record.clone()).await,
            Some(error) => Err(error),
        };
        while let Err(error) = done {
            if next(&error) == Next::Stop {
                return Err(self.explain(&error).await);
            }
            if let Some(missing) = self.delivery.missing(&self.topic).await {
                return Err(missing);
            }
            if !patience.wait(&self.doing(), &error).await {
                return Err(self.explain(&error).await);
            }
            done = match next(&error) {
                Next::CommitAgain => self.producer.commit().await,
                Next::Rebuild => match self.rebuild(&progress).await? {
                    Some(Rebuilt::Done) => Ok(()),
                    Some(Rebuilt::SendAgain) => self.send_all(record.clone()).await,
                    None => Err(error),
                },
                Next::SendAgain | Next::Stop => match self.producer.abort().await {
                    Ok(()) => self.send_all(record.clone()).await,
                    Err(error) => Err(error),
                },
            };
        }
        Ok(())
    }

    async fn commit(&mut self, progress: Outgoing) -> ClientResult<()> {
        self.producer.send(progress).await?;
        self.producer.commit().await
    }

    async fn send_all(&mut self, progress: Outgoing) -> ClientResult<()> {
        if self.acknowledged.is_none() {
            for record in &self.sent {
                self.producer.send(record.clone()).await?;
            }
        }
        self.commit(progress).await
    }

    /// Another producer in place of one that has come to its end. `None` where nobody answers.
    async fn rebuild(&mut self, wanted: &Progress) -> Result<Option<Rebuilt>> {
        // Whoever has been overtaken must not end the transactions of the one who has the unit.
        match self.delivery.last(self.unit, self.partition, Until::Committed).await {
            Ok(stored) => self.still_has_it(stored.as_ref())?,
            Err(error) if error.kind == ErrorKind::External => return Ok(None),
            Err(error) => return Err(error),
        }
        let id = self.delivery.transactional_id(self.unit);
        match self.delivery.cluster.transactions(&id, &self.how).await {
            Ok(producer) => self.producer = producer,
            Err(error) if next(&error) == Next::Stop => return Err(told(&self.doing(), &error)),
            Err(_) => return Ok(None),
        }
        let stored = self.delivery.last(self.unit, self.partition, Until::End).await?;
        if stored.as_ref() == Some(wanted) {
            return Ok(Some(Rebuilt::Done));
        }
        self.still_has_it(stored.as_ref())?;
        Ok(Some(Rebuilt::SendAgain))
    }

    /// Whether nobody has taken the unit over, by its progress.
    fn still_has_it(&self, found: Option<&Progress>) -> Result<()> {
        let held = Owner { run: self.run.clone(), assigned: Some(self.epoch) };
        epoch(&held, found, self.delivery.incarnation(), &self.doing()).map(drop)
    }

    async fn explain(&self, error: &ClientError) -> Error {
        match self.delivery.missing(&self.topic).await {
            Some(missing) => missing,
            None => told(&self.doing(), error),
        }
    }

    fn doing(&self) -> String {
        format!("writing to topic `{}`", self.topic)
    }
}

/// What the last producer left.
enum Rebuilt {
    /// It had committed.
    Done,
    /// It had not.
    SendAgain,
}
