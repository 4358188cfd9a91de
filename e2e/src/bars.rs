//! What is asked of measurements, and what they miss.

use std::fmt::Debug;

use serde_json::{Value, json};

/// How long a unit with state in a folder may pause beyond the rhythm of commits while it is handed over, 99 of 100 times, in
/// milliseconds.
pub const MOVE_PAUSE_MS: i64 = 50;
/// The same, with state in a bucket.
pub const MOVE_PAUSE_IN_BUCKET_MS: i64 = 500;
/// So many times their undisturbed p99 units may take between two commits while others move.
pub const BESIDE_MOVES: i64 = 2;
/// How long it may take from the change of the assignment, once a unit's owner was killed, to the next one's first commit, 99 of
/// 100 times, in milliseconds.
pub const RECOVERY_MS: i64 = 1_500;
/// How long a unit, or a whole pipeline, may commit nothing under fire, in milliseconds.
pub const LONGEST_STOP_MS: i64 = 30_000;

/// No planned move takes so long in a test, however busy the machine is, in milliseconds: a worker that says nothing for this
/// time loses its units, so a move that takes as long was none.
pub const MOVE_IN_A_TEST_MS: i64 = 15_000;
/// No takeover takes so long in a test once it is assigned, however busy the machine is, in milliseconds.
pub const RECOVERY_IN_A_TEST_MS: i64 = 15_000;

/// Figures, each beside what is asked of it.
#[derive(Debug, Default)]
pub struct Bars {
    asked: Vec<Value>,
    missed: Vec<String>,
}

impl Bars {
    /// Asks that a figure is no more than this. One that was not measured is missed.
    pub fn at_most<T: PartialOrd + Debug + Copy>(&mut self, what: &str, found: Option<T>, most: T) {
        self.asked.push(json!({"figure": what, "found": found.map(shown), "atMost": shown(most)}));
        match found {
            Some(found) if found <= most => {}
            Some(found) => self.missed.push(format!("{what}: {found:?}, at most {most:?} is asked for")),
            None => self.missed.push(format!("{what}: not measured, at most {most:?} is asked for")),
        }
    }

    /// Asks that a figure is no less than this.
    pub fn at_least<T: PartialOrd + Debug + Copy>(&mut self, what: &str, found: T, least: T) {
        self.asked.push(json!({"figure": what, "found": shown(found), "atLeast": shown(least)}));
        if found < least {
            self.missed.push(format!("{what}: {found:?}, at least {least:?} is asked for"));
        }
    }

    /// What was missed, in words; nothing where all is as it is asked for.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    /// Every figure beside its bar, in the order in which they were asked for.
    pub fn asked(&self) -> &[Value] {
        &self.asked
    }
}

/// As a number where it is one, else in words: `50`, `"1.5s"`.
fn shown<T: Debug>(figure: T) -> Value {
    let text = format!("{figure:?}");
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_figure_beyond_its_bar_is_missed_and_so_is_one_that_nobody_measured() {
        let mut bars = Bars::default();
        bars.at_most("pause", Some(50), 50);
        bars.at_least("kills", 20, 20);
        assert!(bars.missed().is_empty(), "{bars:?}");
        bars.at_most("pause", Some(51), 50);
        bars.at_least("kills", 19, 20);
        bars.at_most("recovery", None, 1.5);
        let missed = [
            "pause: 51, at most 50 is asked for",
            "kills: 19, at least 20 is asked for",
            "recovery: not measured, at most 1.5 is asked for",
        ];
        assert_eq!(bars.missed(), missed);
    }

    #[test]
    fn every_figure_is_told_beside_its_bar_whether_it_is_missed_or_not() {
        let mut bars = Bars::default();
        bars.at_most("pause", Some(60), 50);
        bars.at_most("recovery", None, 1.5);
        bars.at_most("told", Some(Duration::from_millis(1_500)), Duration::from_secs(2));
        bars.at_least("kills", 20, 20);
        let asked = [
            json!({"figure": "pause", "found": 60, "atMost": 50}),
            json!({"figure": "recovery", "found": null, "atMost": 1.5}),
            json!({"figure": "told", "found": "1.5s", "atMost": "2s"}),
            json!({"figure": "kills", "found": 20, "atLeast": 20}),
        ];
        assert_eq!(bars.asked(), asked);
    }
}
