//! Charts of what became of a load.

use std::fmt::Write as _;

use crate::machine::{Outcome, Second};
use crate::settings::Settings;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A figure of a second, and what it is called.
type Line = (&'static str, fn(&Second) -> f32);

const LINES: [Line; 3] = [
    ("arrivals/s", |second| second.arrivals),
    ("workers", |second| f32::from(second.workers)),
    ("lag, s", |second| second.lag_seconds),
];

/// Three rows of bars, so many characters wide: arrivals, workers, lag; each the most of its time.
pub fn terminal(outcome: &Outcome, width: usize) -> String {
    let mut text = String::new();
    for (name, figure) in LINES {
        let figures = most(&outcome.seconds, width, figure);
        let top = figures.iter().copied().fold(0.0, f32::max);
        let bar = |figure: &f32| match *figure > 0.0 {
            true => BARS[((figure / top * 8.0).ceil() as usize).clamp(1, 8) - 1],
            false => ' ',
        };
        let bars: String = figures.iter().map(bar).collect();
        let _ = writeln!(text, "{name:>10} {bars} {top:.0}");
    }
    text
}

/// The most of each of so many stretches of equal length.
fn most(seconds: &[Second], stretches: usize, figure: fn(&Second) -> f32) -> Vec<f32> {
    let stretches = stretches.clamp(1, seconds.len().max(1));
    let at = |stretch: usize| stretch * seconds.len() / stretches;
    let of = |stretch| seconds[at(stretch)..at(stretch + 1)].iter().map(figure).fold(0.0, f32::max);
    (0..stretches).map(of).collect()
}

/// The same as a drawing: arrivals in workers' worth with the workers, and below the lag with its target.
pub fn svg(outcome: &Outcome, settings: &Settings) -> String {
    const WIDTH: usize = 1_000;
    const HEIGHT: f32 = 180.0;
    let target = settings.target_lag_seconds() as f32;
    let capacity = settings.capacity.max(1e-6) as f32;
    let arrivals: Vec<f32> =
        most(&outcome.seconds, WIDTH, LINES[0].1).into_iter().map(|arrivals| arrivals / capacity).collect();
    let workers = most(&outcome.seconds, WIDTH, LINES[1].1);
    let lag = most(&outcome.seconds, WIDTH, LINES[2].1);
    let top = |figures: &[&[f32]]| figures.iter().flat_map(|of| of.iter()).copied().fold(1.0, f32::max);
    let (upper, lower) = (top(&[&arrivals, &workers]), top(&[&lag, &[target]]));
    let points = |figures: &[f32], top: f32, base: f32| {
        let point = |(x, figure): (usize, &f32)| format!("{x},{:.1}", base - figure / top * HEIGHT);
        figures.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
    };
    let mut text = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-60 0 1080 460\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect x=\"-60\" width=\"1080\" height=\"460\" fill=\"white\"/>\n",
    );
    let mut line = |figures: &[f32], top: f32, base: f32, colour: &str| {
        let points = points(figures, top, base);
        let _ = writeln!(text, "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{points}\"/>");
    };
    line(&arrivals, upper, 210.0, "#999999");
    line(&workers, upper, 210.0, "#0060c0");
    line(&vec![target; lag.len()], lower, 430.0, "#cccccc");
    line(&lag, lower, 430.0, "#c03000");
    for (y, label) in [
        (22.0, format!("workers (blue) and arrivals in workers' worth (grey), up to {upper:.0}")),
        (242.0, format!("lag in seconds, up to {lower:.0}; target {target:.0}")),
        (452.0, format!("{} s", outcome.seconds.len())),
    ] {
        let _ = writeln!(text, "<text x=\"0\" y=\"{y}\">{label}</text>");
    }
    text.push_str("</svg>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let second = |at: u16| Second { arrivals: f32::from(at), workers: 1 + at / 50, lag_seconds: 0.0 };
        Outcome { seconds: (0..100).map(second).collect(), ..Outcome::default() }
    }

    #[test]
    fn bars_show_the_most_of_their_time() {
        assert_eq!(
            terminal(&outcome(), 10),
            "arrivals/s ▁▂▃▄▄▅▆▇██ 99\n   workers ▄▄▄▄▄█████ 2\n    lag, s            0\n"
        );
    }

    #[test]
    fn a_drawing_has_a_line_for_each_figure() {
        let (_, settings) = crate::made(crate::Kind::Walk, 1);
        let drawn = svg(&outcome(), &settings);
        assert_eq!(drawn.matches("<polyline").count(), 4);
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    }
}
