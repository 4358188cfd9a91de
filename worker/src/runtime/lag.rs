//! How far units are behind the ends of the splits that they read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use thalweg_core::log::SplitId;
use thalweg_core::position::Position;
use thalweg_core::source::LogBounds;

use super::load::Recent;

/// Chunks whose age is kept at the most; of those behind them nothing need be known.
const MOST_CHUNKS: usize = 4_096;

/// What a split's readers have seen and handed on.
#[derive(Debug, Default)]
pub struct SplitGauge(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The least position that every subscriber was sent.
    accepted: Option<Position>,
    /// Chunks that were read, and may not have been handed on: where each ends, and its oldest record's time.
    waiting: VecDeque<(Position, i64)>,
    /// The time of the first record of the last chunk that was handed on: what comes behind it is no older.
    passed: Option<i64>,
    /// When a reader last stood at the end.
    caught_up: Option<i64>,
    rows: u64,
}

/// How far a split is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// Records between what all units have and the end.
    pub records: u64,
    /// Age of the oldest record that a unit does not have, or what it is at the most where that record was not read yet;
    /// `None` where nothing was.
    pub seconds: Option<f64>,
}

impl SplitGauge {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A chunk was read that ends at `to`; `oldest` is its first record's time in milliseconds since 1970, where the log
    /// has one.
    pub fn read(&self, to: Position, oldest: Option<i64>) {
        let mut seen = self.seen();
        let is_new = seen.waiting.back().is_none_or(|(end, _)| to > *end) && seen.accepted.is_none_or(|at| to > at);
        if let Some(oldest) = oldest.filter(|_| is_new && seen.waiting.len() < MOST_CHUNKS) {
            seen.waiting.push_back((to, oldest));
        }
    }

    /// A reader stood at the log's end at this time, in milliseconds since 1970.
    pub fn caught_up(&self, now: i64) {
        self.seen().caught_up = Some(now);
    }

    /// Every subscriber was sent what is before `least`.
    pub fn served(&self, least: Position) {
        let mut seen = self.seen();
        seen.accepted = Some(least);
        while let Some((_, oldest)) = seen.waiting.pop_front_if(|(end, _)| *end <= least) {
            seen.passed = Some(oldest);
        }
    }

    /// The least position that every subscriber was sent, once it is known.
    pub fn accepted(&self) -> Option<Position> {
        self.seen().accepted
    }

    /// Rows were decoded.
    pub fn rows(&self, count: u64) {
        self.seen().rows += count;
    }

    /// Rows decoded so far.
    fn count(&self) -> u64 {
        self.seen().rows
    }

    /// How far units are behind, at a time in milliseconds since 1970. Offsets count records: those that are no longer
    /// kept, or never were wanted, are none.
    pub fn lag(&self, bounds: LogBounds, now: i64) -> Lag {
        let seen = self.seen();
        let from = seen.accepted.filter(|at| at.entry == bounds.end.entry).unwrap_or(bounds.start).max(bounds.start);
        let records = u64::try_from(bounds.end.offset.saturating_sub(from.offset)).unwrap_or(u64::MAX);
        let since = seen.waiting.front().map(|(_, oldest)| *oldest).or(seen.passed.max(seen.caught_up));
        let age = |since: i64| Duration::from_millis(now.saturating_sub(since).max(0).unsigned_abs()).as_secs_f64();
        let seconds = if records == 0 { Some(0.0) } else { since.map(age) };
        Lag { records, seconds }
    }
}

/// A split that is read here.
#[derive(Clone, Debug)]
pub struct Gauged {
    /// Number of the source in the job.
    pub source: usize,
    /// The split.
    pub split: SplitId,
    gauge: Weak<SplitGauge>,
}

/// What was found out about a split that is read here.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitFigures {
    /// Number of the source in the job.
    pub source: usize,
    /// The split.
    pub split: SplitId,
    /// Behind its last record, where known.
    pub end: Option<Position>,
    /// The least position that all units have, where known.
    pub accepted: Option<Position>,
    /// How far units are behind, where known.
    pub lag: Option<Lag>,
    /// Rows a second that were decoded in the last seconds.
    pub rate: f64,
}

/// The splits that are read here.
#[derive(Debug, Default)]
pub struct Gauges(Mutex<Vec<Gauged>>);

impl Gauges {
    /// One more; it goes when whoever reads the split does.
    pub fn add(&self, source: usize, split: SplitId, gauge: &Arc<SplitGauge>) {
        let gauge = Arc::downgrade(gauge);
        self.lock().push(Gauged { source, split, gauge });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Gauged>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are read now.
    pub fn all(&self) -> Vec<(Gauged, Arc<SplitGauge>)> {
        let mut gauges = self.lock();
        gauges.retain(|gauged| gauged.gauge.strong_count() > 0);
        gauges.iter().filter_map(|gauged| Some((gauged.clone(), gauged.gauge.upgrade()?))).collect()
    }
}

/// Rows a second over the last looks.
#[derive(Debug, Default)]
pub struct Rates(HashMap<(usize, SplitId), Recent<u64>>);

impl Rates {
    /// Rows a second of a split in the last [`RECENT`](super::load::RECENT); 0 at first.
    pub fn of(&mut self, gauged: &Gauged, gauge: &SplitGauge, now: Duration) -> f64 {
        let rows = gauge.count();
        let recent = self.0.entry((gauged.source, gauged.split.clone())).or_default();
        let Some((before, passed)) = recent.note(now, rows) else { return 0.0 };
        rows.saturating_sub(*before) as f64 / passed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100_000;

    fn at(offset: u64) -> Position {
        Position::within(7, offset)
    }

    fn bounds(start: u64, end: u64) -> LogBounds {
        LogBounds { start: at(start), end: at(end) }
    }

    #[test]
    fn lag_counts_from_what_all_units_have_or_from_what_is_kept() {
        let gauge = SplitGauge::default();
        assert_eq!(gauge.lag(bounds(5, 9), NOW), Lag { records: 4, seconds: None }, "nothing was read yet");
        gauge.served(at(7));
        assert_eq!(gauge.lag(bounds(5, 9), NOW).records, 2);
        assert_eq!(gauge.lag(bounds(8, 9), NOW).records, 1, "the log was trimmed meanwhile");
        assert_eq!(gauge.lag(bounds(5, 7), NOW), Lag { records: 0, seconds: Some(0.0) });
        gauge.served(Position::START);
        assert_eq!(gauge.lag(bounds(5, 9), NOW).records, 4, "a unit has nothing yet");
    }

    #[test]
    fn lag_is_as_old_as_the_oldest_record_that_some_unit_does_not_have() {
        let gauge = SplitGauge::default();
        gauge.read(at(3), Some(NOW - 9_000));
        gauge.read(at(6), Some(NOW - 4_000));
        gauge.read(at(6), Some(NOW - 1_000));
        assert_eq!(gauge.lag(bounds(0, 8), NOW).seconds, Some(9.0));
        gauge.served(at(3));
        assert_eq!(gauge.lag(bounds(0, 8), NOW).seconds, Some(4.0));
        gauge.served(at(6));
        assert_eq!(
            gauge.lag(bounds(0, 8), NOW).seconds,
            Some(4.0),
            "the two at the end are no older than what is before"
        );
        gauge.caught_up(NOW - 500);
        assert_eq!(gauge.lag(bounds(0, 8), NOW).seconds, Some(0.5), "they came since");
        assert_eq!(gauge.lag(bounds(0, 8), NOW - 9_000).seconds, Some(0.0), "clocks differ");
    }

    #[test]
    fn a_log_that_is_behind_from_the_start_flows_is_caught_up_and_idle_has_its_lag_in_seconds() {
        let gauge = SplitGauge::default();
        gauge.served(at(0));
        gauge.read(at(5), Some(NOW - 60_000));
        assert_eq!(gauge.lag(bounds(0, 9), NOW).seconds, Some(60.0), "behind from the start");
        // A flow in which nobody ever stands at the end: a record each 100 ms, handed on as soon as it is read.
        for (next, now) in (6..1_000).zip((NOW..).step_by(100)) {
            gauge.read(at(next), Some(now - 5));
            gauge.served(at(next));
            let Lag { records, seconds } = gauge.lag(bounds(0, next + 1), now + 50);
            assert_eq!((records, seconds), (1, Some(0.055)));
        }
        let later = NOW + 200_000;
        assert_eq!(gauge.lag(bounds(0, 999), later), Lag { records: 0, seconds: Some(0.0) }, "caught up");
        // Nothing comes for long, and then something does that was not read yet.
        gauge.caught_up(later + 3_600_000);
        assert_eq!(gauge.lag(bounds(0, 1_000), later + 3_600_200).seconds, Some(0.2), "idle until then");
    }

    #[test]
    fn a_rate_is_what_came_in_the_last_seconds() {
        let (gauge, mut rates) = (Arc::new(SplitGauge::default()), Rates::default());
        let gauges = Gauges::default();
        gauges.add(0, SplitId::new("0"), &gauge);
        let [(gauged, found)] = &gauges.all()[..] else { panic!("one") };
        assert_eq!(rates.of(gauged, found, Duration::from_secs(1)), 0.0);
        gauge.rows(500);
        assert_eq!(rates.of(gauged, found, Duration::from_secs(3)), 250.0);
        assert_eq!(rates.of(gauged, found, Duration::from_secs(5)), 125.0);
        assert_eq!(rates.of(gauged, found, Duration::from_secs(11)), 0.0);
    }
}
