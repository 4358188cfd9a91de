use proptest::prelude::*;
use thalweg_core::progress::{Offer, offer};
use thalweg_core::time::Watermark;

use super::*;

const END: u64 = 12;

fn at(offset: u64) -> LogProgress {
    LogProgress { next: Position::at(offset), ..LogProgress::START }
}

fn ended() -> LogProgress {
    LogProgress { watermark: Watermark::END, ..at(END) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a test does to the cursors of a log.
#[derive(Clone, Debug)]
enum Event {
    Subscribe { id: u8, accepted: u64, credit: u32 },
    Unsubscribe(u8),
    Grant { id: u8, ranges: u32 },
    Serve { which: Which, length: u64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let which = prop_oneof![Just(Which::Main), Just(Which::CatchUp)];
    let event = prop_oneof![
        1 => (0..4u8, 0..END, 0..3u32).prop_map(|(id, accepted, credit)| Event::Subscribe { id, accepted, credit }),
        1 => (0..4u8).prop_map(Event::Unsubscribe),
        2 => (0..4u8, 0..3u32).prop_map(|(id, ranges)| Event::Grant { id, ranges }),
        6 => (which, 1..4u64).prop_map(|(which, length)| Event::Serve { which, length }),
    ];
    prop::collection::vec(event, 0..60)
}

/// Readers and units around the cursors.
struct Log {
    cursors: Cursors<u8>,
    accepted: BTreeMap<u8, LogProgress>,
    now: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { cursors: Cursors::new(PATIENCE), accepted: BTreeMap::new(), now: 0 }
    }
}

impl Log {
    fn apply(&mut self, event: Event) {
        // Each range is read long after the one before, so patience is over; units come at about the same time.
        self.now += u64::from(matches!(event, Event::Serve { .. }));
        let now = seconds(self.now);
        match event {
            Event::Subscribe { id, accepted, credit } => {
                self.accepted.insert(id, at(accepted));
                self.cursors.subscribe(id, at(accepted), credit, now);
            }
            Event::Unsubscribe(id) => {
                self.accepted.remove(&id);
                self.cursors.unsubscribe(&id);
            }
            Event::Grant { id, ranges } => self.cursors.grant(&id, ranges),
            Event::Serve { which, length } => {
                self.serve(which, length);
            }
        }
    }

    /// Reads a range as it is wanted; whether somebody got it.
    fn serve(&mut self, which: Which, length: u64) -> bool {
        let now = seconds(self.now);
        let Want::Read { from, until } = self.cursors.want(which, now) else { return false };
        let offset = u64::try_from(from.next.offset).expect("short");
        let to = until.map_or(END, |until| u64::try_from(until.offset).expect("short")).min(offset + length).min(END);
        let after = if to == END && from.next == Position::at(END) { ended() } else { at(to) };
        let served = self.cursors.served(which, from.next, after, now);
        for id in &served {
            let accepted = self.accepted.get_mut(id).expect("only who has subscribed is served");
            assert_eq!(offer(accepted.next, from.next, after.next), Offer::Take, "{id} wants {}", accepted.next);
            *accepted = after;
        }
        !served.is_empty()
    }
}

proptest! {
    #[test]
    fn every_subscriber_is_served_the_log_from_where_it_stands_without_gap_or_repeat(events in events()) {
        let mut log = Log::default();
        for event in events {
            log.apply(event);
            for (id, accepted) in &log.accepted {
                prop_assert_eq!(log.cursors.sent(id), Some(*accepted));
            }
        }
    }

    #[test]
    fn a_cursor_stands_where_one_of_those_does_that_it_serves(events in events()) {
        let mut log = Log::default();
        for event in events {
            log.apply(event);
            for which in [Which::Main, Which::CatchUp] {
                if let Some(cursor) = log.cursors.cursor(which) {
                    prop_assert!(!log.cursors.served_by(which, cursor.next).is_empty(), "{which:?}: {:?}", log.cursors);
                }
            }
            let cursors = [Which::Main, Which::CatchUp].map(|which| log.cursors.cursor(which).map(|cursor| cursor.next));
            if let [Some(main), Some(catch_up)] = cursors {
                prop_assert!(catch_up < main, "{:?}", log.cursors);
            }
        }
    }

    #[test]
    fn whoever_has_credit_comes_to_the_end_of_the_log(events in events()) {
        let mut log = Log::default();
        events.into_iter().for_each(|event| log.apply(event));
        // More than anybody can need: each round serves somebody, or nobody needs anything.
        for _ in 0..200 {
            let ids: Vec<_> = log.accepted.keys().copied().collect();
            ids.into_iter().for_each(|id| log.apply(Event::Grant { id, ranges: 1 }));
            log.serve(Which::CatchUp, 3);
            log.serve(Which::Main, 3);
        }
        prop_assert!(log.accepted.values().all(|accepted| *accepted == ended()), "{:?}", log.cursors);
    }

    #[test]
    fn one_without_credit_stops_nobody_else(events in events()) {
        let mut log = Log::default();
        events.into_iter().for_each(|event| log.apply(event));
        log.apply(Event::Subscribe { id: 9, accepted: 0, credit: 0 });
        log.apply(Event::Subscribe { id: 8, accepted: 0, credit: 100 });
        for _ in 0..200 {
            log.now += 1;
            log.serve(Which::CatchUp, 3);
            log.serve(Which::Main, 3);
        }
        prop_assert_eq!(log.accepted[&8], ended());
        prop_assert_eq!(log.accepted[&9], at(0));
    }

    #[test]
    fn a_reader_stops_only_where_nobody_that_wants_something_has_credit(events in events()) {
        let mut log = Log::default();
        events.into_iter().for_each(|event| log.apply(event));
        let now = seconds(log.now + 1);
        let reads = [Which::Main, Which::CatchUp].map(|which| matches!(log.cursors.want(which, now), Want::Read { .. }));
        let has_credit = log.cursors.subscribers.values().any(|subscriber| subscriber.credit > 0);
        prop_assert_eq!(reads[0] || reads[1], has_credit);
    }
}

/// Where somebody stands who knows the greatest event time before it, which is the offset here.
fn known_at(offset: u64) -> LogProgress {
    LogProgress { max_event_time: i64::try_from(offset).ok(), ..at(offset) }
}

proptest! {
    /// Some know the log before their place, as it is in their state; others go on from what a sink holds, and do not.
    #[test]
    fn who_knows_the_log_before_its_place_is_served_by_a_cursor_that_knows_it(events in events()) {
        let offset = |progress: &LogProgress| u64::try_from(progress.next.offset).expect("short");
        let is_known = |progress: &LogProgress| offset(progress) == 0 || *progress == known_at(offset(progress));
        let knows = |id: &u8| id.is_multiple_of(2);
        let mut cursors = Cursors::new(PATIENCE);
        for (second, event) in (0..).zip(events) {
            match event {
                Event::Subscribe { id, accepted, credit } => {
                    let accepted = if knows(&id) { known_at(accepted) } else { at(accepted) };
                    cursors.subscribe(id, accepted, credit, seconds(second));
                }
                Event::Unsubscribe(id) => cursors.unsubscribe(&id),
                Event::Grant { id, ranges } => cursors.grant(&id, ranges),
                Event::Serve { which, length } => {
                    let Want::Read { from, until } = cursors.want(which, seconds(second)) else { continue };
                    let until = until.map_or(END, |until| u64::try_from(until.offset).expect("short"));
                    let to = until.min(offset(&from) + length).min(END);
                    let after = if is_known(&from) { known_at(to) } else { at(to) };
                    let served = cursors.served(which, from.next, after, seconds(second));
                    prop_assert!(is_known(&from) || !served.iter().any(knows), "{served:?} by {from:?}");
                }
            }
        }
    }
}

#[test]
fn what_only_one_waited_for_that_has_gone_is_not_read() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe("gone", at(2), 1, seconds(0));
    cursors.subscribe("stays", at(7), 1, seconds(0));
    assert_eq!(cursors.want(Which::Main, seconds(0)), Want::Read { from: at(2), until: Some(Position::at(7)) });
    cursors.unsubscribe(&"gone");
    assert_eq!(cursors.want(Which::Main, seconds(0)), Want::Read { from: at(7), until: None });
}

#[test]
fn a_short_pause_does_not_detach() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe("quick", at(0), 9, seconds(0));
    cursors.subscribe("slow", at(0), 1, seconds(0));
    assert_eq!(cursors.served(Which::Main, Position::START, at(4), seconds(1)), ["quick", "slow"]);
    assert_eq!(cursors.want(Which::Main, seconds(1)), Want::Wait(seconds(1) + PATIENCE));
    let later = seconds(1) + PATIENCE;
    assert_eq!(cursors.want(Which::Main, later), Want::Read { from: at(4), until: None });
    cursors.grant(&"slow", 1);
    assert_eq!(cursors.served(Which::Main, Position::at(4), at(8), later), ["quick", "slow"]);
}

#[test]
fn who_was_detached_catches_up_and_merges() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe("quick", at(0), 9, seconds(0));
    cursors.subscribe("slow", at(0), 0, seconds(0));
    assert_eq!(cursors.served(Which::Main, Position::START, at(4), seconds(1)), ["quick"]);
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Nothing);
    cursors.grant(&"slow", 2);
    let until = Some(Position::at(4));
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Read { from: at(0), until });
    assert_eq!(cursors.served(Which::CatchUp, Position::START, at(4), seconds(1)), ["slow"]);
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Nothing, "it has merged");
    assert_eq!(cursors.served(Which::Main, Position::at(4), at(9), seconds(1)), ["quick", "slow"]);
}

#[test]
fn a_third_position_waits_for_the_merge() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe(0, at(8), 9, seconds(0));
    cursors.subscribe(1, at(4), 9, seconds(0));
    cursors.subscribe(2, at(1), 9, seconds(1));
    assert_eq!(cursors.want(Which::Main, seconds(1)), Want::Read { from: at(8), until: None });
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Read { from: at(4), until: Some(Position::at(8)) });
    assert_eq!(cursors.served(Which::CatchUp, Position::at(4), at(8), seconds(1)), [1]);
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Read { from: at(1), until: Some(Position::at(8)) });
}

/// Over a backlog both cursors advance alike, so a third position would wait for the end of it.
#[test]
fn units_that_come_together_are_served_together_wherever_each_of_them_is() {
    const UNITS: u64 = 16;
    let mut cursors = Cursors::new(PATIENCE);
    let mut accepted: BTreeMap<u64, LogProgress> = BTreeMap::new();
    let mut reads = 0;
    let mut read = |cursors: &mut Cursors<u64>, accepted: &mut BTreeMap<u64, LogProgress>, now| {
        for which in [Which::CatchUp, Which::Main] {
            let Want::Read { from, until } = cursors.want(which, now) else { continue };
            reads += 1;
            let next = Position::at(u64::try_from(from.next.offset).expect("short") + 3);
            let after = LogProgress { next: until.map_or(next, |until| until.min(next)), ..from };
            for id in cursors.served(which, from.next, after, now) {
                accepted.insert(id, after);
                cursors.grant(&id, 1);
            }
        }
    };
    // Each is behind the one before, and comes when that one was served already.
    for unit in 0..UNITS {
        let (from, now) = (at(2 * (UNITS - unit)), Duration::from_millis(10 * unit));
        accepted.insert(unit, from);
        cursors.subscribe(unit, from, 2, now);
        read(&mut cursors, &mut accepted, now);
    }
    let last = accepted[&(UNITS - 1)];
    read(&mut cursors, &mut accepted, seconds(1));
    assert!(accepted[&(UNITS - 1)].next > last.next, "the last one need not wait for the others");
    for _ in 0..UNITS {
        read(&mut cursors, &mut accepted, seconds(1));
    }
    let behind = accepted.values().filter(|accepted| accepted.next <= at(2 * UNITS).next).count();
    assert_eq!(behind, 0, "after {reads} reads: {accepted:?}");
}

#[test]
fn ranges_end_where_a_subscriber_left_off() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe(0, at(2), 9, seconds(0));
    cursors.subscribe(1, at(5), 9, seconds(0));
    assert_eq!(cursors.want(Which::Main, seconds(0)), Want::Read { from: at(2), until: Some(Position::at(5)) });
    assert_eq!(cursors.served(Which::Main, Position::at(2), at(5), seconds(0)), [0]);
    assert_eq!(cursors.served(Which::Main, Position::at(5), at(6), seconds(0)), [0, 1]);
}

#[test]
fn a_range_that_began_before_somebody_came_is_not_cut_for_it() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe(0, at(2), 9, seconds(0));
    cursors.subscribe(1, at(4), 9, seconds(0));
    assert_eq!(cursors.served(Which::Main, Position::at(2), at(6), seconds(1)), [0]);
    assert_eq!(cursors.want(Which::CatchUp, seconds(1)), Want::Read { from: at(4), until: Some(Position::at(6)) });
}

/// Over a bounded log they would not meet before its end, and all of it would be read twice.
#[test]
fn units_of_a_pipeline_that_starts_are_served_by_one_cursor() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe("first", at(3), 9, seconds(1));
    assert_eq!(cursors.served(Which::Main, Position::at(3), at(7), seconds(1)), ["first"]);
    cursors.subscribe("second", at(3), 9, seconds(1) + GATHERING / 2);
    assert_eq!(cursors.cursor(Which::CatchUp), None);
    let until = Some(Position::at(7));
    assert_eq!(cursors.want(Which::Main, seconds(1) + GATHERING / 2), Want::Read { from: at(3), until });
    assert_eq!(cursors.served(Which::Main, Position::at(3), at(7), seconds(1) + GATHERING / 2), ["second"]);
    assert_eq!(cursors.served(Which::Main, Position::at(7), at(9), seconds(2)), ["first", "second"]);
    cursors.subscribe("late", at(3), 9, seconds(2));
    assert_eq!(cursors.cursor(Which::CatchUp), Some(at(3)), "it keeps nobody waiting that is far ahead");
}

#[test]
fn a_main_cursor_goes_back_no_further_than_to_where_it_began() {
    let mut cursors = Cursors::new(PATIENCE);
    cursors.subscribe("level", at(90), 9, seconds(0));
    cursors.subscribe("backlog", at(2), 9, seconds(0));
    assert_eq!(cursors.cursor(Which::Main), Some(at(90)));
    assert_eq!(cursors.cursor(Which::CatchUp), Some(at(2)));
}

#[test]
fn whoever_comes_late_hears_that_the_log_is_idle() {
    let mut cursors = Cursors::new(PATIENCE);
    let idle = LogProgress { idle: true, ..at(3) };
    cursors.subscribe(0, at(3), 9, seconds(0));
    assert_eq!(cursors.served(Which::Main, Position::at(3), idle, seconds(0)), [0]);
    assert!(!cursors.wants_mark());
    cursors.subscribe(1, at(3), 1, seconds(0));
    assert!(cursors.wants_mark());
    assert_eq!(cursors.served(Which::Main, Position::at(3), idle, seconds(0)), [1]);
    assert!(!cursors.wants_mark());
}

#[test]
fn one_that_is_waited_for_without_end_is_never_left_behind() {
    let mut cursors = Cursors::new(Duration::MAX);
    cursors.subscribe("quick", at(0), 9, seconds(0));
    cursors.subscribe("slow", at(0), 1, seconds(0));
    assert_eq!(cursors.served(Which::Main, Position::START, at(4), seconds(1)), ["quick", "slow"]);
    assert_eq!(cursors.want(Which::Main, seconds(1_000_000)), Want::Wait(Duration::MAX));
    cursors.grant(&"slow", 1);
    assert_eq!(cursors.want(Which::Main, seconds(1_000_000)), Want::Read { from: at(4), until: None });
}

#[test]
fn every_place_where_a_range_must_end_is_known_when_a_cursor_opens() {
    let mut cursors = Cursors::new(PATIENCE);
    let idle = LogProgress { idle: true, watermark: Watermark(7), ..at(9) };
    cursors.subscribe(0, idle, 9, seconds(0));
    cursors.subscribe(1, at(2), 9, seconds(0));
    cursors.subscribe(2, at(5), 9, seconds(0));
    cursors.subscribe(3, at(5), 9, seconds(0));
    let main = LogProgress { idle: false, ..idle };
    assert_eq!(cursors.cuts(Which::Main, Position::at(9)), []);
    assert_eq!(cursors.cuts(Which::CatchUp, Position::at(2)), [at(5), main]);
    assert_eq!(cursors.cuts(Which::CatchUp, Position::at(5)), [main]);
    // Of those who stand at one place it counts who knows most.
    cursors.subscribe(2, known_at(5), 9, seconds(0));
    assert_eq!(cursors.cuts(Which::CatchUp, Position::at(2)), [known_at(5), main]);
}
