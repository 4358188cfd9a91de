//! For how long a load stays low, learnt from how long it did before.
//!
//! To keep a worker that is not needed costs its time; to let it go costs a start and moves when the load returns, and when
//! it returns is not known: the ski-rental problem. Without any experience, to wait as long as the price is at
//! most twice as dear as to know the future (Karlin et al., *Competitive randomized algorithms*, 1990); with it, to wait
//! as long as would have been cheapest on the lows that were seen.

use std::collections::VecDeque;
use std::time::Duration;

/// The grain of the history.
const GRAIN: Duration = Duration::from_secs(15);
/// How much is kept: 6 hours.
const KEPT_GRAINS: u32 = 1_440;
/// Lows before which experience is none.
const FEWEST_LOWS: usize = 3;

/// How many workers were needed, over the last hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rhythm {
    /// Needs in turn, and for how many grains each.
    runs: VecDeque<(u16, u32)>,
    /// When the newest grain began.
    since: Option<Duration>,
    grains: u32,
}

impl Rhythm {
    /// So many workers are needed now. What is not heard of counts as what was heard last.
    pub fn note(&mut self, now: Duration, need: usize) {
        let need = u16::try_from(need).unwrap_or(u16::MAX);
        let Some(since) = self.since else {
            self.since = Some(now);
            self.push(need, 1);
            return;
        };
        let passed = now.saturating_sub(since).as_secs() / GRAIN.as_secs();
        let passed = u32::try_from(passed).unwrap_or(KEPT_GRAINS).min(KEPT_GRAINS);
        if passed == 0 {
            self.raise(need);
            return;
        }
        if let (Some((last, _)), true) = (self.runs.back().copied(), passed > 1) {
            self.push(last, passed - 1);
        }
        self.push(need, 1);
        self.since = Some(since + GRAIN * passed.max(1));
        if now.saturating_sub(self.since.unwrap_or(now)) >= GRAIN {
            self.since = Some(now);
        }
    }

    /// The most of a grain counts.
    fn raise(&mut self, need: u16) {
        let Some((last, grains)) = self.runs.back_mut() else { return };
        if need <= *last {
            return;
        }
        *grains -= 1;
        self.grains -= 1;
        if *grains == 0 {
            self.runs.pop_back();
        }
        self.push(need, 1);
    }

    fn push(&mut self, need: u16, grains: u32) {
        match self.runs.back_mut() {
            Some((last, count)) if *last == need => *count += grains,
            _ => self.runs.push_back((need, grains)),
        }
        self.grains += grains;
        while let Some((_, count)) = self.runs.front_mut().filter(|_| self.grains > KEPT_GRAINS) {
            let surplus = (self.grains - KEPT_GRAINS).min(*count);
            *count -= surplus;
            self.grains -= surplus;
            if *count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// For how many seconds no more than `workers` have been needed, to the grain.
    pub fn low_seconds(&self, workers: usize) -> f64 {
        let lows = self.runs.iter().rev().take_while(|(need, _)| usize::from(*need) <= workers);
        f64::from(lows.map(|(_, grains)| grains).sum::<u32>()) * GRAIN.as_secs_f64()
    }

    /// For how many seconds to wait before workers beyond `workers` are let go, if to have one back costs as much as to
    /// keep it for `price_seconds`.
    pub fn patience_seconds(&self, workers: usize, price_seconds: f64) -> f64 {
        let mut lows = self.lows(workers);
        if lows.len() < FEWEST_LOWS {
            return price_seconds;
        }
        lows.sort_by(f64::total_cmp);
        let count = lows.len() as f64;
        // Whoever waits through the first i lows pays for these, and for the others the same wait and the price.
        let (mut best, mut cheapest, mut waited) = (0.0, count * price_seconds, 0.0);
        for (through, low) in (1..).zip(&lows) {
            waited += low;
            let cost = waited + (count - f64::from(through)) * (low + price_seconds);
            if cost < cheapest {
                (best, cheapest) = (*low, cost);
            }
        }
        best
    }

    /// The lengths, in seconds, of lows that have ended: between two times that more than `workers` were needed.
    fn lows(&self, workers: usize) -> Vec<f64> {
        let (mut lows, mut low, mut began) = (Vec::new(), 0, false);
        for (need, grains) in &self.runs {
            match usize::from(*need) <= workers {
                true if began => low += grains,
                true => {}
                false => {
                    if low > 0 {
                        lows.push(f64::from(low) * GRAIN.as_secs_f64());
                    }
                    (low, began) = (0, true);
                }
            }
        }
        lows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs, each for a number of seconds, as they are noted every five.
    fn rhythm(needs: &[(usize, u64)]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        let mut now = 0;
        for (need, seconds) in needs {
            for _ in 0..seconds / 5 {
                rhythm.note(Duration::from_secs(now), *need);
                now += 5;
            }
        }
        rhythm
    }

    #[test]
    fn a_low_lasts_since_more_was_needed() {
        let rhythm = rhythm(&[(5, 60), (2, 120), (1, 30)]);
        assert_eq!(rhythm.low_seconds(1), 30.0);
        assert_eq!(rhythm.low_seconds(2), 150.0);
        assert_eq!(rhythm.low_seconds(4), 150.0);
        assert_eq!(rhythm.low_seconds(5), 210.0);
    }

    #[test]
    fn without_experience_one_waits_as_long_as_the_price() {
        assert_eq!(rhythm(&[(5, 60), (1, 60)]).patience_seconds(1, 90.0), 90.0);
    }

    #[test]
    fn lows_that_always_last_are_used_at_once_and_those_that_never_do_are_waited_through() {
        let batches: Vec<_> = (0..12).flat_map(|_| [(8, 120), (1, 780)]).collect();
        assert_eq!(rhythm(&batches).patience_seconds(1, 90.0), 0.0);
        let waves: Vec<_> = (0..40).flat_map(|_| [(8, 60), (1, 60)]).collect();
        assert_eq!(rhythm(&waves).patience_seconds(1, 90.0), 60.0);
    }

    #[test]
    fn short_lows_are_waited_through_where_long_ones_follow() {
        let mixed: Vec<_> = (0..12).flat_map(|_| [(8, 60), (1, 30), (8, 60), (1, 30), (8, 60), (1, 900)]).collect();
        assert_eq!(rhythm(&mixed).patience_seconds(1, 90.0), 30.0);
    }

    #[test]
    fn silence_counts_as_what_was_heard_last_and_old_times_are_forgotten() {
        let mut rhythm = rhythm(&[(9, 60), (3, 60)]);
        rhythm.note(Duration::from_secs(120 + 600), 1);
        assert_eq!(rhythm.low_seconds(1), 15.0);
        assert!(rhythm.low_seconds(3) >= 600.0);
        rhythm.note(Duration::from_secs(1_000_000), 1);
        assert_eq!(rhythm.low_seconds(1), f64::from(KEPT_GRAINS) * 15.0);
    }
}
