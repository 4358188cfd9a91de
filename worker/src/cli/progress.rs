//! Progress while a pipeline runs: bars on a terminal where the end is known, a line each ten seconds elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use thalweg_core::clock::SharedClock;
use tokio_util::sync::CancellationToken;

use super::summary::event_time;
use super::tell;
use crate::runtime::counters::{Counters, Watched};

const REFRESH: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows progress until `done` is cancelled.
pub async fn show(pipelines: Vec<Watched>, clock: SharedClock, done: CancellationToken) {
    if std::io::stderr().is_terminal() {
        show_bars(&pipelines, &clock, &done).await;
    } else {
        print_lines(&pipelines, &clock, &done).await;
    }
}

async fn show_bars(pipelines: &[Watched], clock: &SharedClock, done: &CancellationToken) {
    let screen = MultiProgress::new();
    let bars: Vec<_> = pipelines.iter().map(|pipeline| screen.add(bar(pipeline))).collect();
    let mut rate = Rate::new(pipelines.len());
    loop {
        tokio::select! {
            () = done.cancelled() => break,
            () = tokio::time::sleep(REFRESH) => {}
        }
        rate.sample(pipelines, clock.monotonic());
        for (index, (pipeline, bar)) in pipelines.iter().zip(&bars).enumerate() {
            let (read, size) = bytes(&pipeline.counters);
            bar.set_length(size.max(1));
            bar.set_position(read.min(size));
            bar.set_message(line(&pipeline.counters, rate.of(index)));
        }
    }
    bars.iter().for_each(ProgressBar::finish_and_clear);
}

fn bar(pipeline: &Watched) -> ProgressBar {
    let bounded = bytes(&pipeline.counters).1 > 0;
    let template = if bounded { "{prefix} {bar:24} {percent:>3}%  {msg}" } else { "{prefix} {spinner}  {msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1).with_style(style).with_prefix(pipeline.name.clone())
}

async fn print_lines(pipelines: &[Watched], clock: &SharedClock, done: &CancellationToken) {
    let mut rate = Rate::new(pipelines.len());
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            () = tokio::time::sleep(LINE_EVERY) => {}
        }
        rate.sample(pipelines, clock.monotonic());
        for (index, pipeline) in pipelines.iter().enumerate() {
            tell(&format!("{}  {}", pipeline.name, line(&pipeline.counters, rate.of(index))));
        }
    }
}

fn bytes(counters: &Counters) -> (u64, u64) {
    let sum = |field: fn(&crate::runtime::counters::SourceCounters) -> u64| counters.sources.iter().map(field).sum();
    (sum(|source| source.read.get()), sum(|source| source.size.get()))
}

fn line(counters: &Counters, rate: f64) -> String {
    let rows = counters.rows_read();
    let (bad, late) = counters
        .sources
        .iter()
        .fold((0, 0), |(bad, late), source| (bad + source.bad.total(), late + source.late.get()));
    let watermark = counters.stages.first().map(|stage| event_time(stage.watermark())).unwrap_or_default();
    let (read, size) = bytes(counters);
    let lag = if size > 0 { format!(" · lag {} B", HumanCount(size.saturating_sub(read))) } else { String::new() };
    format!(
        "{} rows · {} rows/s · watermark {watermark}{lag} · {} bad · {} late",
        HumanCount(rows),
        HumanCount(rate as u64),
        HumanCount(bad),
        HumanCount(late)
    )
}

/// Rows a second since the last sample.
struct Rate {
    at: Duration,
    rows: Vec<u64>,
    rates: Vec<f64>,
}

impl Rate {
    fn new(pipelines: usize) -> Self {
        Self { at: Duration::ZERO, rows: vec![0; pipelines], rates: vec![0.0; pipelines] }
    }

    fn sample(&mut self, pipelines: &[Watched], now: Duration) {
        let seconds = now.saturating_sub(self.at).as_secs_f64().max(1e-3);
        for (index, pipeline) in pipelines.iter().enumerate() {
            let rows = pipeline.counters.rows_read();
            self.rates[index] = rows.saturating_sub(self.rows[index]) as f64 / seconds;
            self.rows[index] = rows;
        }
        self.at = now;
    }

    fn of(&self, index: usize) -> f64 {
        self.rates[index]
    }
}
