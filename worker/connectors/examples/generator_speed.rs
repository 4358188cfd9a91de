//! How fast records are made: `cargo run --workspace --example generator_speed`. One thread.

use thalweg_connectors::generator::config::TaxiConfig;
use thalweg_connectors::generator::nexmark::NexmarkKind;
use thalweg_connectors::generator::{RowKind, generate};
use thalweg_core::clock::{Clock, SystemClock};
use thalweg_core::error::Result;

const ROWS: u64 = 1_000_000;

fn main() -> Result<()> {
    let clock = SystemClock::new();
    let kinds = [
        ("taxi", RowKind::Taxi(TaxiConfig::default())),
        ("bid", RowKind::Nexmark(NexmarkKind::Bid)),
        ("auction", RowKind::Nexmark(NexmarkKind::Auction)),
        ("person", RowKind::Nexmark(NexmarkKind::Person)),
    ];
    for (name, kind) in kinds {
        let rows = generate(&kind, 42)?;
        let (start, mut text, mut bytes) = (clock.monotonic(), Vec::new(), 0);
        for row in 0..ROWS {
            rows.write_json(row, &mut text);
            if text.len() > 1 << 20 {
                bytes += text.len();
                text.clear();
            }
        }
        bytes += text.len();
        let as_text = (clock.monotonic() - start).as_secs_f64();
        let start = clock.monotonic();
        (0..ROWS).step_by(8192).for_each(|row| drop(rows.batch(row, 8192)));
        let as_columns = (clock.monotonic() - start).as_secs_f64();
        let millions = |seconds: f64| ROWS as f64 / seconds / 1e6;
        println!(
            "{name:<8} {:>4} bytes a row, text {:.2} M rows/s, columns {:.2} M rows/s",
            bytes as u64 / ROWS,
            millions(as_text),
            millions(as_columns)
        );
    }
    rows_as_examples()
}

fn rows_as_examples() -> Result<()> {
    for kind in [RowKind::Taxi(TaxiConfig::default()), RowKind::Nexmark(NexmarkKind::Bid)] {
        let mut text = Vec::new();
        generate(&kind, 42)?.write_json(1_000, &mut text);
        print!("{}", String::from_utf8_lossy(&text));
    }
    Ok(())
}
