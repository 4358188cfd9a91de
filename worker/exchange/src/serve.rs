//! One log, served: who subscribes, what the cursors want, what is read, who gets it. The cursors decide
//! ([`crate::cursors`]); this moves messages and ranges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::future::{BoxFuture, select_all};
use thalweg_core::clock::SharedClock;
use thalweg_core::error::{Error, ErrorKind, Result};
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use tokio::sync::mpsc;

use crate::cursors::{Cursors, Want, Which};
use crate::message::{Attempt, Message, Range, Refusal, Rows, Stamp, Subscription};

/// A log as it is read for units.
#[async_trait]
pub trait RangeSource: Send + Sync {
    /// Whether rows can be made by this plan and layout. Two at the most while a plan changes.
    fn serves(&self, stamp: &Stamp) -> bool;

    /// Starts to read at a position, knowing what a subscriber knows of the log before it. `cuts` are the places beyond
    /// it, ascending, at which the first subscribers will want a range to end: whoever reads ahead can end chunks there.
    ///
    /// # Errors
    /// `DataLoss` where the log no longer holds the position.
    async fn open(&self, from: LogProgress, cuts: Vec<LogProgress>) -> Result<Box<dyn RangeReader>>;

    /// Every subscriber was sent what is before `least`.
    fn served(&self, least: Position) {
        let _ = least;
    }

    /// A subscriber has made durable what it has read before `next`.
    fn committed(&self, subscription: &Subscription, next: Position) {
        let _ = (subscription, next);
    }
}

/// A cursor's reader.
#[async_trait]
pub trait RangeReader: Send {
    /// The next range, which ends at `until` at the latest; or, at the log's end, once it is idle or has ended, an empty
    /// one. Waits for as long as there is neither; a call that is dropped drops the reader with it.
    async fn read(&mut self, until: Option<Position>) -> Result<Box<dyn ReadRange>>;
}

/// A range that was read, with what each subscriber gets of it.
pub trait ReadRange: Send {
    /// The log after it.
    fn after(&self) -> LogProgress;

    /// The rows and the dead letters of one subscriber; asked for once each.
    fn part(&mut self, subscription: &Subscription, stamp: &Stamp) -> (Option<Rows>, Option<RecordBatch>);

    /// Whether the log is nearly full, so that its subscribers should commit soon.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// What happens to the subscriptions of a log.
pub enum Command {
    /// A unit wants the log from where it is, or again.
    Subscribe {
        /// Who.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
        /// How the rows must be made.
        stamp: Stamp,
        /// Where the unit is.
        accepted: LogProgress,
        /// Ranges that may come.
        credit: u32,
        /// Where messages for it go. Credit bounds what waits there.
        to: mpsc::UnboundedSender<Message>,
    },
    /// More ranges may come.
    Grant {
        /// To whom.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
        /// So many.
        ranges: u32,
    },
    /// What a unit has read is durable.
    Committed {
        /// Whose.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
        /// The first position that is not.
        next: Position,
    },
    /// The log is read elsewhere: the unit is to hear it, and is served no more.
    Refer {
        /// Who.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
    },
    /// A unit wants the log no longer, or its connection is gone.
    Unsubscribe {
        /// Who.
        subscription: Subscription,
        /// Which of the unit's subscriptions.
        attempt: Attempt,
    },
}

impl Command {
    /// Nobody reads the log here: says so to whoever subscribes.
    pub(crate) fn refuse(self) {
        if let Self::Subscribe { subscription, attempt, to, .. } = self {
            // Whoever has gone need not be told.
            let _ = to.send(Message::Refused { subscription, attempt, reason: Refusal::NotReader });
        }
    }
}

/// A subscription's way back.
struct Outlet {
    attempt: Attempt,
    stamp: Stamp,
    to: mpsc::UnboundedSender<Message>,
}

struct Open {
    reader: Box<dyn RangeReader>,
    /// What it reads next, and what it knows of the log before.
    at: LogProgress,
}

impl Open {
    /// Whether a cursor will go on with it: none does at the end of a log, nor where it knows more by now.
    fn is_of_use(&self, cursors: &Cursors<Subscription>) -> bool {
        let goes_on_here = |cursor: LogProgress| cursor.knows_as(&self.at) && !cursor.has_ended();
        [Which::Main, Which::CatchUp].into_iter().filter_map(|which| cursors.cursor(which)).any(goes_on_here)
    }
}

/// A read on its way, which may wait at the log's end for as long as nothing comes.
struct Reading {
    from: LogProgress,
    read: BoxFuture<'static, Done>,
}

/// A read that is over.
struct Done {
    which: Which,
    from: LogProgress,
    result: Result<(Box<dyn RangeReader>, Box<dyn ReadRange>)>,
}

/// Serves one log. Whoever still subscribes when it is dropped hears that this is no reader of the log.
pub struct LogServer {
    commands: mpsc::UnboundedReceiver<Command>,
    source: Arc<dyn RangeSource>,
    clock: SharedClock,
    cursors: Cursors<Subscription>,
    outlets: BTreeMap<Subscription, Outlet>,
    /// Readers that stand still.
    open: Vec<Open>,
    reading: BTreeMap<Which, Reading>,
}

impl LogServer {
    /// A log that nobody reads yet. A level subscriber without credit is waited for while `patience` lasts.
    pub fn new(
        source: Arc<dyn RangeSource>,
        clock: SharedClock,
        patience: Duration,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            commands,
            source,
            clock,
            cursors: Cursors::new(patience),
            outlets: BTreeMap::new(),
            open: Vec::new(),
            reading: BTreeMap::new(),
        }
    }

    /// Serves until the commands end.
    pub async fn run(mut self) {
        loop {
            let patience = self.start_reads();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                done = next_done(&mut self.reading) => self.done(done),
                () = patience => {}
            }
        }
    }

    /// Starts what the cursors want; the future ends when one of them may want more.
    fn start_reads(&mut self) -> BoxFuture<'static, ()> {
        let now = self.clock.monotonic();
        if self.cursors.wants_mark()
            && let Some(main) = self.cursors.cursor(Which::Main)
        {
            self.mark(main);
        }
        // A cursor that was moved has no use for what is read elsewhere, nor one that has learnt more of the log for rows
        // that are judged without that. Neither must wait for it.
        let cursors = &self.cursors;
        let is_awaited = |which, reading: &Reading| {
            cursors.cursor(which).is_some_and(|cursor: LogProgress| cursor.knows_as(&reading.from))
        };
        self.reading.retain(|which, reading| is_awaited(*which, reading));
        self.open.retain(|open| open.is_of_use(cursors));
        let mut wake = None;
        for which in [Which::Main, Which::CatchUp] {
            if self.reading.contains_key(&which) {
                continue;
            }
            match self.cursors.want(which, now) {
                Want::Read { from, until } if !from.has_ended() => self.read(which, from, until),
                Want::Wait(moment) => wake = Some(wake.map_or(moment, |wake| moment.min(wake))),
                Want::Read { .. } | Want::Nothing => {}
            }
        }
        match wake {
            Some(moment) => Box::pin(tokio::time::sleep(moment.saturating_sub(now))),
            None => Box::pin(std::future::pending()),
        }
    }

    fn read(&mut self, which: Which, from: LogProgress, until: Option<Position>) {
        let open = self.open.iter().position(|open| open.at.knows_as(&from));
        let open = open.map(|index| self.open.swap_remove(index).reader);
        let (source, cuts) = (self.source.clone(), self.cursors.cuts(which, from.next));
        let read = Box::pin(async move {
            let read = async {
                let mut reader = match open {
                    Some(reader) => reader,
                    None => source.open(from, cuts).await?,
                };
                let range = reader.read(until).await?;
                Ok((reader, range))
            };
            Done { which, from, result: read.await }
        });
        self.reading.insert(which, Reading { from, read });
    }

    fn done(&mut self, Done { which, from, result }: Done) {
        self.reading.remove(&which);
        match result {
            Ok((reader, mut range)) => {
                let after = range.after();
                let served = self.cursors.served(which, from.next, after, self.clock.monotonic());
                self.open.push(Open { reader, at: after });
                for subscription in served {
                    self.send(subscription, from.next, after, Some(&mut *range));
                }
                self.tell_served();
            }
            Err(error) => self.refuse_all(which, from, &error),
        }
    }

    /// Says again that the log is idle, or has ended.
    fn mark(&mut self, main: LogProgress) {
        for subscription in self.cursors.served(Which::Main, main.next, main, self.clock.monotonic()) {
            self.send(subscription, main.next, main, None);
        }
    }

    fn send(
        &mut self,
        subscription: Subscription,
        from: Position,
        after: LogProgress,
        range: Option<&mut (dyn ReadRange + 'static)>,
    ) {
        let Some(Outlet { attempt, stamp, to }) = self.outlets.get(&subscription) else { return };
        let awaited = range.as_ref().is_some_and(|range| range.is_awaited());
        let (rows, dead_letters) = range.map(|range| range.part(&subscription, stamp)).unwrap_or_default();
        let (attempt, stamp, id) = (*attempt, stamp.clone(), subscription.clone());
        let range = Range { subscription, attempt, stamp, from, after, rows, dead_letters, awaited };
        if to.send(Message::Range(range)).is_err() {
            self.forget(&id);
        }
    }

    /// Tells the source what every subscriber was sent.
    fn tell_served(&self) {
        if let Some(least) = self.cursors.least() {
            self.source.served(least);
        }
    }

    /// The cursor cannot go on: whoever it serves must decide.
    fn refuse_all(&mut self, which: Which, from: LogProgress, error: &Error) {
        let reason = match error.kind {
            ErrorKind::DataLoss => Refusal::DataLoss { detail: error.to_string() },
            _ => Refusal::Failed { detail: error.to_string() },
        };
        for subscription in self.cursors.served_by(which, from.next) {
            self.refuse(subscription, reason.clone());
        }
    }

    fn refuse(&mut self, subscription: Subscription, reason: Refusal) {
        self.cursors.unsubscribe(&subscription);
        if let Some(Outlet { attempt, to, .. }) = self.outlets.remove(&subscription) {
            // Whoever has gone need not be told.
            let _ = to.send(Message::Refused { subscription, attempt, reason });
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { subscription, attempt, stamp, accepted, credit, to } => {
                if let Some(reason) = self.refusal(&subscription, attempt, &stamp) {
                    // Whoever has gone need not be told.
                    let _ = to.send(Message::Refused { subscription, attempt, reason });
                    return;
                }
                self.outlets.insert(subscription.clone(), Outlet { attempt, stamp, to });
                self.cursors.subscribe(subscription, accepted, credit, self.clock.monotonic());
                // At the end of a log it may be long until a range is read.
                self.tell_served();
            }
            Command::Grant { subscription, attempt, ranges } if self.is_current(&subscription, attempt) => {
                self.cursors.grant(&subscription, ranges);
            }
            Command::Committed { subscription, attempt, next } if self.is_current(&subscription, attempt) => {
                self.source.committed(&subscription, next);
            }
            Command::Refer { subscription, attempt } if self.is_current(&subscription, attempt) => {
                self.refuse(subscription, Refusal::NotReader);
            }
            Command::Unsubscribe { subscription, attempt } if self.is_current(&subscription, attempt) => {
                self.forget(&subscription);
            }
            // Of an owner before, or a connection before.
            Command::Grant { .. } | Command::Committed { .. } | Command::Refer { .. } | Command::Unsubscribe { .. } => {
            }
        }
    }

    fn refusal(&self, subscription: &Subscription, attempt: Attempt, stamp: &Stamp) -> Option<Refusal> {
        let is_superseded = self.outlets.get(subscription).is_some_and(|outlet| outlet.attempt >= attempt);
        if is_superseded {
            Some(Refusal::Superseded)
        } else if self.source.serves(stamp) {
            None
        } else {
            Some(Refusal::OtherPlan)
        }
    }

    fn is_current(&self, subscription: &Subscription, attempt: Attempt) -> bool {
        self.outlets.get(subscription).is_some_and(|outlet| outlet.attempt == attempt)
    }

    fn forget(&mut self, subscription: &Subscription) {
        self.outlets.remove(subscription);
        self.cursors.unsubscribe(subscription);
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.command(command);
        }
        for (subscription, Outlet { attempt, to, .. }) in std::mem::take(&mut self.outlets) {
            // Whoever has gone need not be told.
            let _ = to.send(Message::Refused { subscription, attempt, reason: Refusal::NotReader });
        }
    }
}

/// The first read to be over; never, where there is none.
async fn next_done(reading: &mut BTreeMap<Which, Reading>) -> Done {
    if reading.is_empty() {
        return std::future::pending().await;
    }
    select_all(reading.values_mut().map(|reading| &mut reading.read)).await.0
}
