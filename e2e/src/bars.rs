//! What is asked of measurements, and what they miss.

use std::fmt::Debug;

/// Figures, each beside what is asked of it.
#[derive(Debug, Default)]
pub struct Bars {
    missed: Vec<String>,
}

impl Bars {
    /// Asks that a figure is no more than this. One that was not measured is missed.
    pub fn at_most<T: PartialOrd + Debug + Copy>(&mut self, what: &str, found: Option<T>, most: T) {
        match found {
            Some(found) if found <= most => {}
            Some(found) => self.missed.push(format!("{what}: {found:?}, at most {most:?} is asked for")),
            None => self.missed.push(format!("{what}: not measured, at most {most:?} is asked for")),
        }
    }

    /// Asks that a figure is no less than this.
    pub fn at_least<T: PartialOrd + Debug + Copy>(&mut self, what: &str, found: T, least: T) {
        if found < least {
            self.missed.push(format!("{what}: {found:?}, at least {least:?} is asked for"));
        }
    }

    /// What was missed, in words; nothing where all is as it is asked for.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }
}

#[cfg(test)]
mod tests {
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
}
