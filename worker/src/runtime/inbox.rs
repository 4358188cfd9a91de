//! A unit's subscriptions: what comes of its logs, once each and in order, whoever serves them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, ErrorKind};
use thalweg_core::log::LogId;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::time::Watermark;
use thalweg_core::unit::{Epoch, UnitId};
use thalweg_exchange::budget::{Budget, Share};
use thalweg_exchange::hub::{Hub, Line, Request};
use thalweg_exchange::message::{Attempt, Message, Range as Sent, Refusal, Stamp, Subscription};
use thalweg_exchange::subscriber::{OnRange, OnRefusal, Subscriber};
use tokio::sync::mpsc;

use super::error::{Result, RunError};
use super::message::{LogKey, Range};
use super::wait;

/// Inboxes that this process has had.
static LIVES: AtomicU64 = AtomicU64::new(0);

/// What a unit reads.
pub struct Inbox {
    unit: UnitId,
    epoch: Epoch,
    /// Which inbox of this process it is: a unit may be opened again at one epoch, and what its life before still says must
    /// not be taken for what this one says.
    life: u64,
    stamp: Stamp,
    hub: Hub,
    clock: SharedClock,
    /// Says how many ranges may come.
    ranges: Budget,
    sender: mpsc::UnboundedSender<Message>,
    messages: mpsc::UnboundedReceiver<Message>,
    logs: BTreeMap<Subscription, Read>,
    /// How many of them are subscribed to again after a pause.
    paused: usize,
}

/// A log that is read.
struct Read {
    key: LogKey,
    subscriber: Subscriber,
    /// What the unit has committed of it.
    committed: Position,
    /// Ranges that may be on their way.
    share: Share,
    /// `None` while it is not subscribed to: it failed and is tried again, or has ended.
    line: Option<Line>,
    /// When it is subscribed to again.
    again_at: Option<Duration>,
}

impl Inbox {
    /// Reads nothing yet. `stamp` says how rows must be made.
    pub fn new(unit: UnitId, epoch: Epoch, stamp: Stamp, hub: Hub, clock: SharedClock, ranges: Budget) -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        Self { unit, epoch, life, stamp, hub, clock, ranges, sender, messages, logs: BTreeMap::new(), paused: 0 }
    }

    /// Reads one more log, from where the unit is.
    pub fn add(&mut self, key: LogKey, log: LogId, accepted: LogProgress) {
        let subscription = Subscription { unit: self.unit, input: key.input, log };
        let first = Attempt { epoch: self.epoch, count: self.life << 32 };
        let subscriber = Subscriber::new(first, self.stamp.clone(), accepted);
        let committed = accepted.next;
        let share = self.ranges.share();
        let mut read = Read { key, subscriber, committed, share, line: None, again_at: None };
        if !read.is_over(&subscription.log) {
            read.line = Some(request(&self.hub, &self.sender, &subscription, &read));
        }
        self.logs.insert(subscription, read);
    }

    /// The next range that continues a log. Dropped and called again it misses nothing.
    ///
    /// # Errors
    /// `DataLoss` where a log no longer holds what is wanted; `Fenced` where another owner of the unit reads it.
    pub async fn next(&mut self) -> Result<Range> {
        loop {
            let pause = self.pause();
            let message = tokio::select! {
                biased;
                message = self.messages.recv() => message,
                () = wait(pause) => {
                    self.subscribe_again();
                    continue;
                }
            };
            let message = message.ok_or_else(|| RunError::Internal("a unit's messages ended".to_owned()))?;
            if let Some(range) = self.hear(message)? {
                return Ok(range);
            }
        }
    }

    /// The next range that is here already.
    ///
    /// # Errors
    /// As [`Inbox::next`].
    pub fn arrived(&mut self) -> Result<Option<Range>> {
        while let Ok(message) = self.messages.try_recv() {
            if let Some(range) = self.hear(message)? {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }

    fn hear(&mut self, message: Message) -> Result<Option<Range>> {
        match message {
            Message::Range(range) => Ok(self.range(range)),
            Message::Refused { subscription, attempt, reason } => {
                self.refused(&subscription, attempt, reason)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// How long until a log is subscribed to again.
    fn pause(&self) -> Option<Duration> {
        if self.paused == 0 {
            return None;
        }
        let due = self.logs.values().filter_map(|read| read.again_at).min();
        due.map(|due| due.saturating_sub(self.clock.monotonic()))
    }

    fn range(&mut self, sent: Sent) -> Option<Range> {
        let read = self.logs.get_mut(&sent.subscription)?;
        let before = read.subscriber.accepted();
        match read.subscriber.on_range(sent.attempt, &sent.stamp, sent.from, sent.after) {
            OnRange::Drop => None,
            OnRange::SubscribeAgain => {
                read.subscriber.subscribe_again();
                read.line = Some(request(&self.hub, &self.sender, &sent.subscription, read));
                None
            }
            OnRange::Take => {
                match &read.line {
                    Some(line) if !sent.after.has_ended() => grant(line, &read.share),
                    _ if read.is_over(&sent.subscription.log) => read.line = None,
                    _ => {}
                }
                let Sent { after, rows, dead_letters, awaited, .. } = sent;
                Some(Range { log: read.key, before, after, rows, dead_letters, is_awaited: awaited })
            }
        }
    }

    /// A range has rows of windows that the unit has closed up to `closed`: it was not taken after all, and comes again
    /// with these rows as dead letters.
    ///
    /// # Errors
    /// An outbox, whose rows are never late, has such rows.
    pub fn take_back(&mut self, range: &Range, closed: Watermark) -> Result<()> {
        let found = self.logs.iter_mut().find(|(_, read)| read.key == range.log);
        match found {
            Some((subscription, read)) if matches!(subscription.log, LogId::Split { .. }) => {
                read.subscriber.take_back(range.before, closed);
                read.line = Some(request(&self.hub, &self.sender, subscription, read));
                Ok(())
            }
            _ => Err(RunError::Internal(format!("unit {} got rows of windows that it has closed", self.unit))),
        }
    }

    fn refused(&mut self, subscription: &Subscription, attempt: Attempt, reason: Refusal) -> Result<()> {
        let Some(read) = self.logs.get_mut(subscription) else { return Ok(()) };
        let reading = || format!("unit {}: reading {}", subscription.unit, subscription.log);
        match read.subscriber.on_refused(attempt, reason) {
            OnRefusal::Nothing => Ok(()),
            OnRefusal::FindReader(pause) => {
                read.line = None;
                let again_at = read.again_at.replace(self.clock.monotonic() + pause);
                self.paused += usize::from(again_at.is_none());
                Ok(())
            }
            OnRefusal::ReadAnew => {
                Err(Error::new(ErrorKind::Fenced, reading(), "another owner of the unit reads it").into())
            }
            OnRefusal::DataLoss(detail) => Err(Error::data_loss(reading(), detail).into()),
        }
    }

    fn subscribe_again(&mut self) {
        let now = self.clock.monotonic();
        for (subscription, read) in &mut self.logs {
            if read.again_at.is_some_and(|again_at| again_at <= now) {
                read.again_at = None;
                self.paused -= 1;
                read.subscriber.subscribe_again();
                read.line = Some(request(&self.hub, &self.sender, subscription, read));
            }
        }
    }

    /// The unit has committed all that it has taken: outboxes need not keep what is before.
    pub fn committed(&mut self) {
        for read in self.logs.iter_mut().filter(|(id, _)| matches!(id.log, LogId::Outbox(_))).map(|(_, read)| read) {
            let accepted = read.subscriber.accepted();
            read.committed = accepted.next;
            if let Some(line) = &read.line {
                line.committed(accepted.next);
            }
        }
    }
}

impl Read {
    /// Whether nothing need be said any more: an outbox must hear what was committed, as often as it is opened anew.
    fn is_over(&self, log: &LogId) -> bool {
        self.subscriber.accepted().has_ended() && !matches!(log, LogId::Outbox(_))
    }
}

/// A range was taken: others may come.
fn grant(line: &Line, share: &Share) {
    match share.taken() {
        0 => {}
        ranges => line.grant(ranges),
    }
}

/// Subscribes. An outbox is told what need not be kept: whoever serves it now may not know.
fn request(hub: &Hub, to: &mpsc::UnboundedSender<Message>, subscription: &Subscription, read: &Read) -> Line {
    let unit = &read.subscriber;
    let request = Request {
        subscription: subscription.clone(),
        attempt: unit.attempt(),
        stamp: unit.stamp().clone(),
        accepted: unit.accepted(),
        credit: read.share.opened(),
    };
    let line = hub.subscribe(request, to.clone());
    if matches!(subscription.log, LogId::Outbox(_)) {
        line.committed(read.committed);
    }
    line
}
