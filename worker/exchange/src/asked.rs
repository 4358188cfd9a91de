//! What the units of this process have asked of readers that cannot be told yet, or of one peer.

use std::collections::BTreeMap;
use std::pin::pin;

use thalweg_core::ownership::tenure::Reply;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;
use thalweg_core::unit::{Epoch, UnitId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use crate::message::{Attempt, Message, Refusal, Stamp, Subscription};
use crate::serve::Command;

/// A subscription as the reader must hear of it, whatever was said meanwhile.
pub(crate) struct Asked {
    pub subscription: Subscription,
    pub attempt: Attempt,
    pub stamp: Stamp,
    pub accepted: LogProgress,
    pub credit: u32,
    pub committed: Option<Position>,
    pub to: UnboundedSender<Message>,
}

impl Asked {
    pub fn grant(&mut self, ranges: u32) {
        self.credit = self.credit.saturating_add(ranges);
    }

    /// Asks a reader of this process, or who speaks with a peer. One that ends refuses with its last breath what has
    /// reached it; what does not reach it is refused here.
    pub fn ask(self, commands: &UnboundedSender<Command>) {
        let Self { subscription, attempt, stamp, accepted, credit, committed, to } = self;
        let committed = committed.map(|next| Command::Committed { subscription: subscription.clone(), attempt, next });
        let subscribe = Command::Subscribe { subscription, attempt, stamp, accepted, credit, to };
        if let Err(error) = commands.send(subscribe) {
            error.0.refuse();
        }
        if let Some(committed) = committed {
            // A reader that has ended has no use for it.
            let _ = commands.send(committed);
        }
    }

    fn message(&self) -> Message {
        Message::Subscribe {
            subscription: self.subscription.clone(),
            attempt: self.attempt,
            stamp: self.stamp.clone(),
            accepted: self.accepted,
            credit: self.credit,
        }
    }

    fn messages(&self) -> impl Iterator<Item = Message> {
        let (subscription, attempt) = (&self.subscription, self.attempt);
        let committed =
            self.committed.map(|next| Message::Committed { subscription: subscription.clone(), attempt, next });
        [self.message()].into_iter().chain(committed)
    }

    fn refuse(self) {
        let Self { subscription, attempt, to, .. } = self;
        // Whoever has gone need not be told.
        let _ = to.send(Message::Refused { subscription, attempt, reason: Refusal::NotReader });
    }
}

/// A request to let go of a unit.
pub(crate) struct Release {
    pub unit: UnitId,
    pub epoch: Epoch,
    pub assignment: String,
    pub answered: oneshot::Sender<Reply>,
}

/// All that is asked of one peer, whether it is connected or not. Who still waits for it when this is dropped hears that
/// the peer is no reader.
pub(crate) struct AskedOfPeer {
    commands: UnboundedReceiver<Command>,
    releases: UnboundedReceiver<Release>,
    subscriptions: BTreeMap<Subscription, Asked>,
    released: Vec<Release>,
}

impl AskedOfPeer {
    pub fn new(commands: UnboundedReceiver<Command>, releases: UnboundedReceiver<Release>) -> Self {
        Self { commands, releases, subscriptions: BTreeMap::new(), released: Vec::new() }
    }

    /// Whether a connection is needed.
    pub fn is_waiting(&self) -> bool {
        !self.subscriptions.is_empty() || self.released.iter().any(|release| !release.answered.is_closed())
    }

    /// Waits until something is asked, and gives what a peer that is connected must hear. A call that is dropped loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Message> {
        tokio::select! {
            Some(command) = self.commands.recv() => self.command(command),
            Some(release) = self.releases.recv() => Some(self.release(release)),
            else => std::future::pending().await,
        }
    }

    /// Does something else without a connection, and hears meanwhile what is asked.
    pub async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return done,
                // The peer hears it once it is connected.
                _ = self.next() => {}
            }
        }
    }

    /// All that a peer must hear first on a new connection.
    pub fn first(&mut self) -> Vec<Message> {
        self.released.retain(|release| !release.answered.is_closed());
        let releases = self.released.iter().map(Release::message);
        self.subscriptions.values().flat_map(Asked::messages).chain(releases).collect()
    }

    /// The connection is gone, and with it what the peer knew.
    pub fn lost(&mut self) {
        for asked in std::mem::take(&mut self.subscriptions).into_values() {
            asked.refuse();
        }
    }

    /// The peer's address refuses connections. Subscriptions wait for it, or for whom the assignment will name; who asked
    /// it to let go of a unit need not.
    pub fn nobody_there(&mut self) {
        for release in std::mem::take(&mut self.released) {
            // Whoever waits no longer need not be told.
            let _ = release.answered.send(Reply::NobodyThere);
        }
    }

    /// A unit wants something. Gives what a peer that is connected must hear.
    fn command(&mut self, command: Command) -> Option<Message> {
        match command {
            Command::Subscribe { subscription, attempt, stamp, accepted, credit, to } => {
                let asked = Asked { subscription, attempt, stamp, accepted, credit, committed: None, to };
                let message = asked.message();
                self.subscriptions.insert(asked.subscription.clone(), asked);
                Some(message)
            }
            Command::Grant { subscription, attempt, ranges } => {
                self.current(&subscription, attempt)?.grant(ranges);
                Some(Message::Grant { subscription, attempt, ranges })
            }
            Command::Committed { subscription, attempt, next } => {
                self.current(&subscription, attempt)?.committed = Some(next);
                Some(Message::Committed { subscription, attempt, next })
            }
            Command::Refer { subscription, attempt } => {
                self.current(&subscription, attempt)?;
                self.subscriptions.remove(&subscription)?.refuse();
                Some(Message::Unsubscribe { subscription, attempt })
            }
            Command::Unsubscribe { subscription, attempt } => {
                self.current(&subscription, attempt)?;
                self.subscriptions.remove(&subscription);
                Some(Message::Unsubscribe { subscription, attempt })
            }
        }
    }

    /// A unit's new owner wants the peer to let go of it. Gives what a peer that is connected must hear.
    fn release(&mut self, release: Release) -> Message {
        let message = release.message();
        self.released.retain(|release| !release.answered.is_closed());
        self.released.push(release);
        message
    }

    /// The peer says something. Gives back what it must not say.
    pub fn heard(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Range(range) => {
                if let Some(asked) = self.current(&range.subscription, range.attempt) {
                    // Whoever has gone unsubscribes.
                    let _ = asked.to.send(Message::Range(range));
                }
            }
            Message::Refused { subscription, attempt, reason } => {
                if self.current(&subscription, attempt).is_some()
                    && let Some(asked) = self.subscriptions.remove(&subscription)
                {
                    // Whoever has gone need not be told.
                    let _ = asked.to.send(Message::Refused { subscription, attempt, reason });
                }
            }
            Message::Released { unit, epoch } => {
                for release in self.released.extract_if(.., |release| (release.unit, release.epoch) == (unit, epoch)) {
                    // Whoever waits no longer need not be told.
                    let _ = release.answered.send(Reply::Released);
                }
            }
            Message::Alive => {}
            other => return Some(other),
        }
        None
    }

    fn current(&mut self, subscription: &Subscription, attempt: Attempt) -> Option<&mut Asked> {
        self.subscriptions.get_mut(subscription).filter(|asked| asked.attempt == attempt)
    }
}

impl Release {
    fn message(&self) -> Message {
        let Self { unit, epoch, assignment, .. } = self;
        Message::Release { unit: *unit, epoch: *epoch, assignment: assignment.clone() }
    }
}

impl Drop for AskedOfPeer {
    fn drop(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            // What it would say to the peer is said to nobody.
            let _ = self.command(command);
        }
        self.lost();
    }
}
