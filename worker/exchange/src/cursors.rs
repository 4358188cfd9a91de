//! Where a log is read for whom: at most two cursors, so that a slow subscriber neither stops the others nor makes the
//! log be read once for each.
//!
//! Who is level with the main cursor is served by it. Whoever has no credit when a range comes is detached: the main
//! cursor goes on, and the subscriber returns through the catch-up cursor, which merges once it is level. A third
//! position waits for the merge, unless it comes right after the catch-up cursor has begun: that one then goes back. So does a main
//! cursor that has just begun, to where it did and no further: units of a pipeline that starts come one after the other. A cursor
//! stands where some subscriber does: what nobody waits for is not read.
//! Ranges end where a subscriber's accepted position lies, because a range that was aggregated cannot be cut.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_core::ownership::replay::cursor_start;
use thalweg_core::position::Position;
use thalweg_core::progress::LogProgress;

/// How long, by default, the main cursor waits for a level subscriber without credit before it goes on without it: to
/// read again for a short pause costs more than the pause.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// How long a cursor, once begun, goes back for whoever comes behind it: where a pipeline starts, or a worker was lost, units
/// come at about the same time, and two cursors over a backlog do not meet before its end.
pub const GATHERING: Duration = Duration::from_millis(200);

/// One of the two cursors of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Serves all that are level.
    Main,
    /// Serves those that fell behind.
    CatchUp,
}

/// What a cursor is to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The next range: from where the cursor stands, to `until` at the most.
    Read {
        /// Where it starts, and what is known of the log there.
        from: LogProgress,
        /// Where it must end, if the log goes on so far.
        until: Option<Position>,
    },
    /// Nothing before this moment, unless a subscriber gets credit.
    Wait(Duration),
    /// Nothing until a subscriber comes or gets credit.
    Nothing,
}

/// The cursors of one log and their subscribers, which are named by `S`.
#[derive(Clone, Debug)]
pub struct Cursors<S> {
    /// How long a level subscriber without credit is waited for.
    patience: Duration,
    main: Option<LogProgress>,
    /// When and where the main cursor began.
    main_began: (Duration, Position),
    catch_up: Option<LogProgress>,
    /// When and where the catch-up cursor began.
    catch_up_began: (Duration, Position),
    /// The last moment that is known.
    now: Duration,
    subscribers: BTreeMap<S, Subscriber>,
}

#[derive(Clone, Copy, Debug)]
struct Subscriber {
    accepted: LogProgress,
    /// Ranges that it may be sent.
    credit: u32,
    /// Since when it has none.
    without_since: Option<Duration>,
    /// The cursor that serves it; `None` while it waits for one.
    at: Option<Which>,
}

impl<S: Ord + Clone> Cursors<S> {
    /// A log without subscribers. A level subscriber without credit is waited for while `patience` lasts; for ever, where
    /// it is [`Duration::MAX`].
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            main: None,
            main_began: (Duration::ZERO, Position::START),
            catch_up: None,
            catch_up_began: (Duration::ZERO, Position::START),
            now: Duration::ZERO,
            subscribers: BTreeMap::new(),
        }
    }

    /// A subscriber comes, or comes again: what it has accepted counts, not what it was sent.
    pub fn subscribe(&mut self, id: S, accepted: LogProgress, credit: u32, now: Duration) {
        self.now = now;
        let without_since = (credit == 0).then_some(now);
        self.subscribers.insert(id, Subscriber { accepted, credit, without_since, at: None });
        self.settle();
    }

    /// A subscriber goes.
    pub fn unsubscribe(&mut self, id: &S) {
        self.subscribers.remove(id);
        self.settle();
    }

    /// A subscriber lets `ranges` more come. One that is unknown has gone: its message was on its way.
    pub fn grant(&mut self, id: &S, ranges: u32) {
        if let Some(subscriber) = self.subscribers.get_mut(id)
            && ranges > 0
        {
            subscriber.credit = subscriber.credit.saturating_add(ranges);
            subscriber.without_since = None;
        }
        self.settle();
    }

    /// What a cursor is to read next. The main cursor stops only where no subscriber has credit, but for
    /// its patience.
    pub fn want(&self, which: Which, now: Duration) -> Want {
        let Some(from) = self.cursor(which) else { return Want::Nothing };
        if !self.at(which).any(|subscriber| subscriber.credit > 0) {
            return Want::Nothing;
        }
        let level = self.at(which).filter(|subscriber| subscriber.accepted.next == from.next);
        let waits_since = level.filter_map(|subscriber| subscriber.without_since).max();
        match waits_since.map(|since| since.saturating_add(self.patience)) {
            Some(end) if end > now => Want::Wait(end),
            _ => Want::Read { from, until: self.until(which, from.next) },
        }
    }

    /// A range was read. Gives those that it must be sent to, and takes their credit; whoever has none, or had accepted
    /// part of the range, is detached.
    ///
    /// An empty range (a log that became idle, or ended) goes to those that do not know it yet.
    pub fn served(&mut self, which: Which, from: Position, after: LogProgress, now: Duration) -> Vec<S> {
        if self.cursor(which).is_none_or(|cursor| cursor.next != from) {
            // The cursor was moved while it read: nobody waits for this range.
            return Vec::new();
        }
        self.now = now;
        let mut served = Vec::new();
        for (id, subscriber) in self.subscribers.iter_mut().filter(|(_, subscriber)| subscriber.at == Some(which)) {
            match subscriber.take(from, after, now) {
                Taken::Served => served.push(id.clone()),
                Taken::Detached => subscriber.at = None,
                Taken::NotConcerned => {}
            }
        }
        *self.cursor_mut(which) = Some(after);
        self.settle();
        served
    }

    /// Whether a level subscriber of the main cursor does not know that the log is idle or has ended, and can be told:
    /// then serve an empty range with what [`Cursors::cursor`] says.
    pub fn wants_mark(&self) -> bool {
        let unaware = |subscriber: &Subscriber, main: LogProgress| {
            subscriber.credit > 0 && subscriber.accepted.next == main.next && subscriber.accepted != main
        };
        self.main.is_some_and(|main| self.at(Which::Main).any(|subscriber| unaware(subscriber, main)))
    }

    /// Whom a cursor serves that stands at `from`, and is level with it.
    pub fn served_by(&self, which: Which, from: Position) -> Vec<S> {
        let is_served = |subscriber: &Subscriber| subscriber.at == Some(which) && subscriber.accepted.next == from;
        self.subscribers.iter().filter(|(_, subscriber)| is_served(subscriber)).map(|(id, _)| id.clone()).collect()
    }

    /// The least position that some subscriber was sent up to.
    pub fn least(&self) -> Option<Position> {
        self.subscribers.values().map(|subscriber| subscriber.accepted.next).min()
    }

    /// What a subscriber was sent up to.
    pub fn sent(&self, id: &S) -> Option<LogProgress> {
        self.subscribers.get(id).map(|subscriber| subscriber.accepted)
    }

    /// Where a cursor stands; `None` where it is not needed.
    pub fn cursor(&self, which: Which) -> Option<LogProgress> {
        match which {
            Which::Main => self.main,
            Which::CatchUp => self.catch_up,
        }
    }

    /// All positions beyond `from` at which ranges of this cursor must end as things stand, ascending, with what is known
    /// of the log there.
    pub fn cuts(&self, which: Which, from: Position) -> Vec<LogProgress> {
        let mut cuts: BTreeMap<Position, LogProgress> = BTreeMap::new();
        for end in self.ends(which, from) {
            cuts.entry(end.next).and_modify(|cut| *cut = cut.knowing(&end)).or_insert(end);
        }
        cuts.into_values().map(|cut| LogProgress { idle: false, ..cut }).collect()
    }

    fn cursor_mut(&mut self, which: Which) -> &mut Option<LogProgress> {
        match which {
            Which::Main => &mut self.main,
            Which::CatchUp => &mut self.catch_up,
        }
    }

    fn at(&self, which: Which) -> impl Iterator<Item = &Subscriber> {
        self.subscribers.values().filter(move |subscriber| subscriber.at == Some(which))
    }

    /// The next position at which a range of this cursor must end.
    fn until(&self, which: Which, from: Position) -> Option<Position> {
        self.ends(which, from).map(|end| end.next).min()
    }

    /// Where ranges of this cursor must end: where a subscriber left off, or the merge.
    fn ends(&self, which: Which, from: Position) -> impl Iterator<Item = LogProgress> {
        let merge = if which == Which::CatchUp { self.main } else { None };
        let accepted = self.at(which).map(|subscriber| subscriber.accepted);
        accepted.chain(merge).filter(move |end| end.next > from)
    }

    /// Restores the rules after an event.
    fn settle(&mut self) {
        self.give_way();
        for which in [Which::CatchUp, Which::Main] {
            if self.at(which).next().is_none() {
                *self.cursor_mut(which) = None;
            }
        }
        let is_level = |main: LogProgress| self.catch_up.is_some_and(|catch_up| catch_up.next == main.next);
        // Where nobody is level with the main cursor, the other one takes its place.
        if self.main.is_none_or(is_level)
            && let Some(catch_up) = self.catch_up.take()
        {
            if self.main.is_none() {
                self.main = Some(catch_up);
                self.main_began = self.catch_up_began;
            }
            self.move_all(Which::CatchUp, Which::Main);
        }
        self.start(Which::Main);
        self.go_back_to_the_start();
        self.join(Which::Main);
        self.start(Which::CatchUp);
        self.go_back();
        self.join(Which::CatchUp);
        self.learn(Which::Main);
        self.learn(Which::CatchUp);
        if self.skip() {
            self.settle();
        }
    }

    /// A cursor behind all that it serves, since who was level with it has gone, goes on to the first of them: nobody wants what lies
    /// between, and it may be gone already. Whether one did.
    fn skip(&mut self) -> bool {
        let mut skips = false;
        for which in [Which::Main, Which::CatchUp] {
            // The catch-up cursor ends at the main one.
            let end = if which == Which::CatchUp { self.main } else { None };
            let least = self.at(which).map(|subscriber| subscriber.accepted).chain(end).min_by_key(|first| first.next);
            let behind = |cursor: LogProgress| least.filter(|least| least.next > cursor.next);
            if let Some(least) = self.cursor(which).and_then(behind) {
                *self.cursor_mut(which) = Some(LogProgress { idle: false, ..least });
                skips = true;
            }
        }
        skips
    }

    /// A cursor knows of the log before it what any of those knows that it serves from here on: a unit that goes on from
    /// what its sink holds may have begun it, and knows the place alone.
    fn learn(&mut self, which: Which) {
        let Some(cursor) = self.cursor(which) else { return };
        let known = self.at(which).fold(cursor, |cursor, subscriber| cursor.knowing(&subscriber.accepted));
        *self.cursor_mut(which) = Some(known);
    }

    /// A catch-up cursor that has just begun goes back for those behind it. Its other subscribers are served again from
    /// where they are.
    fn go_back(&mut self) {
        if let Some(cursor) = self.catch_up.filter(|_| self.is_young(self.catch_up_began.0))
            && let Some(least) = self.least_waiting()
            && least.next < cursor.next
        {
            self.catch_up = Some(LogProgress { idle: false, ..least });
        }
    }

    /// A main cursor that has just begun goes back for those behind it, but not beyond where it began: a backlog would keep the others
    /// waiting. Nor where a catch-up cursor is on its way to it.
    fn go_back_to_the_start(&mut self) {
        let (began, start) = self.main_began;
        if let Some(cursor) = self.main.filter(|_| self.is_young(began) && self.catch_up.is_none())
            && let Some(least) = self.least_waiting()
            && (start..cursor.next).contains(&least.next)
        {
            self.main = Some(LogProgress { idle: false, ..least });
        }
    }

    fn is_young(&self, began: Duration) -> bool {
        self.now.saturating_sub(began) < GATHERING
    }

    /// A catch-up cursor whose subscribers have no credit stands in the way of those that have some and wait.
    fn give_way(&mut self) {
        let is_awaited = self.subscribers.values().any(Subscriber::is_waiting);
        if is_awaited && self.at(Which::CatchUp).all(|subscriber| subscriber.credit == 0) {
            for subscriber in self.subscribers.values_mut().filter(|subscriber| subscriber.at == Some(Which::CatchUp)) {
                subscriber.at = None;
            }
        }
    }

    fn move_all(&mut self, from: Which, to: Which) {
        for subscriber in self.subscribers.values_mut().filter(|subscriber| subscriber.at == Some(from)) {
            subscriber.at = Some(to);
        }
    }

    /// Starts a cursor that is not there, at the least position that a waiting subscriber with credit wants.
    fn start(&mut self, which: Which) {
        if self.cursor(which).is_some() {
            return;
        }
        // Whoever comes may not know yet that the log is idle: it is said again.
        let Some(from) = self.least_waiting() else { return };
        *self.cursor_mut(which) = Some(LogProgress { idle: false, ..from });
        match which {
            Which::Main => self.main_began = (self.now, from.next),
            Which::CatchUp => self.catch_up_began = (self.now, from.next),
        }
    }

    /// Where that one is of the waiting subscribers with credit that has the least.
    fn least_waiting(&self) -> Option<LogProgress> {
        let waiting = self.subscribers.values().filter(|subscriber| subscriber.is_waiting());
        let least = cursor_start(waiting.clone().map(|subscriber| subscriber.accepted.next));
        waiting.map(|subscriber| subscriber.accepted).find(|accepted| Some(accepted.next) == least)
    }

    /// Waiting subscribers with credit join a cursor that has not passed them.
    fn join(&mut self, which: Which) {
        let Some(cursor) = self.cursor(which) else { return };
        for subscriber in self.subscribers.values_mut() {
            if subscriber.is_waiting() && subscriber.accepted.next >= cursor.next {
                subscriber.at = Some(which);
            }
        }
    }
}

enum Taken {
    Served,
    Detached,
    NotConcerned,
}

impl Subscriber {
    fn is_waiting(&self) -> bool {
        self.at.is_none() && self.credit > 0
    }

    fn take(&mut self, from: Position, after: LogProgress, now: Duration) -> Taken {
        let accepted = self.accepted.next;
        let knows = accepted > from && accepted >= after.next || self.accepted == after;
        if knows {
            return Taken::NotConcerned;
        }
        if accepted != from || self.credit == 0 {
            return Taken::Detached;
        }
        self.accepted = after;
        self.credit -= 1;
        self.without_since = (self.credit == 0).then_some(now);
        Taken::Served
    }
}

#[cfg(test)]
#[path = "cursors_tests.rs"]
mod tests;
