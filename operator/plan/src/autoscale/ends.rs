//! What comes into a split, from how its end moves: arrivals, not throughput.

use std::collections::VecDeque;
use std::time::Duration;

/// How long ends are kept: the long window of [`super::load`], and a report or two before it.
const KEPT: Duration = Duration::from_secs(90);

/// Age of a record of which nothing but that it is old is known.
const VERY_OLD_SECONDS: f64 = 1e9;

/// Where the end of a split was, and when, by the clock of whoever asked. No worker's clock comes into it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ends(VecDeque<(Duration, u64)>);

impl Ends {
    /// The end was seen there at this time; whether it has moved. An end that falls is that of another log: what was known
    /// of the old one goes.
    pub fn note(&mut self, at: Duration, end: u64) -> bool {
        let moves = self.0.back().is_none_or(|(_, before)| end != *before);
        match self.0.back_mut() {
            Some((last, _)) if at < *last => return false,
            Some((_, before)) if end < *before => self.0.clear(),
            Some((last, before)) if at == *last => {
                *before = end;
                return moves;
            }
            _ => {}
        }
        self.0.push_back((at, end));
        // One that is older than the window is where the window begins.
        while self.0.len() > 2 && at.saturating_sub(self.0[1].0) >= KEPT {
            self.0.pop_front();
        }
        moves
    }

    /// Records a second that came in the last `window`, or since less where less is known; `None` before a second look.
    pub fn rate(&self, window: Duration) -> Option<f64> {
        let (last, end) = *self.0.back()?;
        let begins = last.saturating_sub(window);
        let before = self.0.iter().rev().skip(1).find(|(at, _)| *at <= begins).or_else(|| self.0.front())?;
        let seconds = last.saturating_sub(before.0).as_secs_f64();
        (seconds > 0.0).then(|| end.saturating_sub(before.1) as f64 / seconds)
    }

    /// How old the oldest of the last `lag` records is at `now`, in seconds; `None` where that is not known.
    pub fn age(&self, lag: u64, now: Duration) -> Option<f64> {
        let (_, end) = *self.0.back()?;
        if lag == 0 {
            return Some(0.0);
        }
        let accepted = end.saturating_sub(lag);
        let after = self.0.iter().position(|(_, end)| *end > accepted);
        match after {
            Some(0) | None => self.age_before_all(accepted, now),
            Some(after) => {
                let ((from, low), (to, high)) = (self.0[after - 1], self.0[after]);
                let share = accepted.saturating_sub(low) as f64 / (high - low) as f64;
                let came = from + to.saturating_sub(from).mul_f64(share.clamp(0.0, 1.0));
                Some(now.saturating_sub(came).as_secs_f64())
            }
        }
    }

    /// The age of what came before the first end that is kept, if it came at the rate of those since.
    fn age_before_all(&self, accepted: u64, now: Duration) -> Option<f64> {
        let (first, end) = *self.0.front()?;
        let rate = self.rate(KEPT)?;
        let before = end.saturating_sub(accepted) as f64 / rate;
        Some((now.saturating_sub(first).as_secs_f64() + before).min(VERY_OLD_SECONDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ends(samples: &[(u64, u64)]) -> Ends {
        let mut ends = Ends::default();
        samples.iter().for_each(|(at, end)| {
            ends.note(seconds(*at), *end);
        });
        ends
    }

    #[test]
    fn arrivals_are_counted_over_each_window() {
        let ends = ends(&[(0, 0), (15, 150), (30, 300), (45, 450), (60, 3_450)]);
        assert_eq!(ends.rate(seconds(15)), Some(200.0));
        assert_eq!(ends.rate(seconds(60)), Some(57.5));
        assert_eq!(ends.rate(seconds(600)), Some(57.5), "no more is known");
    }

    #[test]
    fn one_look_tells_no_rate() {
        assert_eq!(ends(&[(5, 100)]).rate(seconds(15)), None);
        assert_eq!(ends(&[]).rate(seconds(15)), None);
        assert_eq!(ends(&[(5, 100)]).age(7, seconds(5)), None);
    }

    #[test]
    fn an_end_that_falls_starts_anew() {
        let mut fallen = ends(&[(0, 1_000_000), (5, 1_000_100), (10, 3)]);
        assert_eq!(fallen.rate(seconds(15)), None);
        fallen.note(seconds(20), 13);
        assert_eq!(fallen.rate(seconds(15)), Some(1.0));
    }

    #[test]
    fn a_look_from_before_the_last_one_is_none() {
        let mut late = ends(&[(0, 0), (10, 100)]);
        late.note(seconds(5), 10_000);
        assert_eq!(late.rate(seconds(15)), Some(10.0));
    }

    #[test]
    fn a_record_is_as_old_as_the_end_that_it_moved() {
        let ends = ends(&[(0, 0), (10, 100), (20, 200)]);
        assert_eq!(ends.age(0, seconds(20)), Some(0.0));
        assert_eq!(ends.age(50, seconds(20)), Some(5.0));
        assert_eq!(ends.age(150, seconds(22)), Some(17.0));
        assert_eq!(ends.age(200, seconds(20)), Some(20.0));
    }

    #[test]
    fn what_came_before_the_first_look_is_as_old_as_the_rate_says() {
        let ends = ends(&[(0, 1_000), (10, 1_100)]);
        assert_eq!(ends.age(300, seconds(10)), Some(30.0));
        let mut still = Ends::default();
        still.note(seconds(0), 1_000);
        still.note(seconds(10), 1_000);
        assert_eq!(still.age(300, seconds(10)), Some(VERY_OLD_SECONDS), "nothing has come for as long as is known");
    }
}
