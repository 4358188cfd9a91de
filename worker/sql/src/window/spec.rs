//! Arithmetic of windows and panes: pure, total over all of `i64` (it saturates at the edges of time).
//!
//! Windows and panes are half-open, `[start, end)`, and are named by their ends. A *pane* is the smallest slice of event
//! time that all windows of a stage share, so a window is a run of panes:
//!
//! | window | pane | windows of the pane that ends at `p` |
//! |---|---|---|
//! | `TUMBLE` | the window | `p` |
//! | `HOP` | gcd(size, slide) | each end of the slide's grid in `[p, p − pane + size]` |
//! | `CUMULATE` | the step | each step's end from `p` to the end of the full window |
//! | attached | the row's window | `p` |

use super::WindowSpec;

/// Points `phase + k × period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    period: i64,
    phase: i64,
}

impl Grid {
    /// `period` below one counts as one, so that no plan can divide by zero.
    pub(crate) fn new(period: i64, phase: i64) -> Self {
        let period = period.max(1);
        Self { period, phase: phase.rem_euclid(period) }
    }

    /// The distance between two points.
    pub(crate) fn period(self) -> i64 {
        self.period
    }

    /// The last point at or before `t`.
    #[inline]
    pub(crate) fn floor(self, t: i64) -> i64 {
        let above = t.rem_euclid(self.period) - self.phase;
        t.saturating_sub(if above < 0 { above + self.period } else { above })
    }

    /// The first point after `t`: the end of the slice that holds `t`.
    #[inline]
    pub(crate) fn after(self, t: i64) -> i64 {
        self.floor(t).saturating_add(self.period)
    }

    /// The first point at or after `t`.
    pub(crate) fn ceil(self, t: i64) -> i64 {
        let floor = self.floor(t);
        if floor == t { t } else { floor.saturating_add(self.period) }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl WindowSpec {
    /// The grid of pane ends; `None` where panes follow the data (`SESSION`, attached windows).
    pub(crate) fn panes(&self) -> Option<Grid> {
        match *self {
            Self::Tumble { size, offset } => Some(Grid::new(size, offset)),
            Self::Hop { size, slide, offset } => Some(Grid::new(gcd(size.max(1), slide.max(1)), offset)),
            Self::Cumulate { step, offset, .. } => Some(Grid::new(step, offset)),
            Self::Session { .. } | Self::Attached => None,
        }
    }

    /// The grid of window ends; `None` where windows follow the data.
    pub(crate) fn window_ends(&self) -> Option<Grid> {
        match *self {
            Self::Tumble { size, offset } => Some(Grid::new(size, offset)),
            Self::Hop { size, slide, offset } => Some(Grid::new(slide, offset.wrapping_add(size))),
            Self::Cumulate { step, offset, .. } => Some(Grid::new(step, offset)),
            Self::Session { .. } | Self::Attached => None,
        }
    }

    /// Whether a window may have more than one pane.
    pub(crate) fn shares_panes(&self) -> bool {
        matches!(self, Self::Hop { .. } | Self::Cumulate { .. })
    }

    /// The first window that holds the pane ending at `pane_end`: the smallest window end at or after it.
    pub(crate) fn first_window_end(&self, pane_end: i64) -> i64 {
        match self.window_ends() {
            Some(ends) if self.shares_panes() => ends.ceil(pane_end),
            _ => pane_end,
        }
    }

    /// The last window that holds the pane ending at `pane_end`. It is before [`Self::first_window_end`] where no
    /// window holds the pane (`HOP` with a slide above its size).
    pub(crate) fn last_window_end(&self, pane_end: i64) -> i64 {
        match *self {
            Self::Hop { size, slide, offset } => {
                let pane = gcd(size.max(1), slide.max(1));
                Grid::new(slide, offset.wrapping_add(size)).floor(pane_end.saturating_sub(pane).saturating_add(size))
            }
            Self::Cumulate { size, offset, .. } => Grid::new(size, offset).ceil(pane_end),
            _ => pane_end,
        }
    }

    /// Where the window that ends at `window_end` starts; `None` where that is not a function of its end.
    pub(crate) fn window_start(&self, window_end: i64) -> Option<i64> {
        match *self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } => Some(window_end.saturating_sub(size)),
            Self::Cumulate { size, offset, .. } => Some(Grid::new(size, offset).floor(window_end.saturating_sub(1))),
            Self::Session { .. } | Self::Attached => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAR: i64 = 4_000_000_000_000;

    fn specs() -> impl Strategy<Value = WindowSpec> {
        prop_oneof![
            (1..5_000i64, -9_000..9_000i64).prop_map(|(size, offset)| WindowSpec::Tumble { size, offset }),
            (1..60i64, 1..60i64, 1..40i64, -9_000..9_000i64).prop_map(|(size, slide, unit, offset)| WindowSpec::Hop {
                size: size * unit,
                slide: slide * unit,
                offset
            }),
            (1..40i64, 1..30i64, -9_000..9_000i64).prop_map(|(step, count, offset)| WindowSpec::Cumulate {
                size: step * count,
                step,
                offset
            }),
        ]
    }

    /// The windows that hold `t`, from Flink's definitions alone, without panes.
    fn windows_by_definition(spec: &WindowSpec, t: i64) -> Vec<(i64, i64)> {
        let start_at_or_before = |period: i64, offset: i64| offset + (t - offset).div_euclid(period) * period;
        match *spec {
            WindowSpec::Tumble { size, offset } => {
                let start = start_at_or_before(size, offset);
                vec![(start, start + size)]
            }
            WindowSpec::Hop { size, slide, offset } => {
                let last = start_at_or_before(slide, offset);
                let mut windows: Vec<_> =
                    (0..).map(|k| last - k * slide).take_while(|s| s + size > t).map(|s| (s, s + size)).collect();
                windows.reverse();
                windows
            }
            WindowSpec::Cumulate { size, step, offset } => {
                let start = start_at_or_before(size, offset);
                (1..=size / step).map(|k| (start, start + k * step)).filter(|(_, end)| *end > t).collect()
            }
            WindowSpec::Session { .. } | WindowSpec::Attached => Vec::new(),
        }
    }

    fn windows_by_pane(spec: &WindowSpec, t: i64) -> Vec<(i64, i64)> {
        let (panes, ends) = (spec.panes().expect("a grid"), spec.window_ends().expect("a grid"));
        let pane_end = panes.after(t);
        let (mut end, last) = (spec.first_window_end(pane_end), spec.last_window_end(pane_end));
        let mut windows = Vec::new();
        while end <= last {
            windows.push((spec.window_start(end).expect("a grid"), end));
            end = ends.after(end);
        }
        windows
    }

    proptest! {
        #[test]
        fn the_windows_of_a_rows_pane_are_the_windows_of_the_row(spec in specs(), t in -FAR..FAR) {
            prop_assert_eq!(windows_by_pane(&spec, t), windows_by_definition(&spec, t));
        }

        #[test]
        fn a_pane_holds_its_row_and_no_window_cuts_it(spec in specs(), t in -FAR..FAR) {
            let panes = spec.panes().expect("a grid");
            let end = panes.after(t);
            prop_assert!(end > t && end - panes.period() <= t);
            prop_assert_eq!(panes.after(end - 1), end);
            prop_assert_eq!(panes.after(end - panes.period()), end);
            for (start, window_end) in windows_by_definition(&spec, t) {
                prop_assert!(start <= end - panes.period() && window_end >= end);
            }
        }

        #[test]
        fn pane_ends_never_fall_as_time_grows(spec in specs(), a: i64, b: i64) {
            let panes = spec.panes().expect("a grid");
            prop_assert!(a > b || panes.after(a) <= panes.after(b));
        }

        #[test]
        fn no_time_and_no_size_panics(a: i64, b: i64, c: i64, t: i64) {
            let specs = [
                WindowSpec::Tumble { size: a, offset: b },
                WindowSpec::Hop { size: a, slide: b, offset: c },
                WindowSpec::Cumulate { size: a, step: b, offset: c },
            ];
            for spec in specs {
                let end = spec.panes().expect("a grid").after(t);
                let _ = (spec.first_window_end(end), spec.last_window_end(end), spec.window_start(end));
            }
        }
    }
}
