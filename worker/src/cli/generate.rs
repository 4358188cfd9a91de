//! `thalweg generate`: the data that examples and benchmarks read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};
use thalweg_connectors::formats::{CsvEncoder, CsvStyle, Encoder, ParquetEncoder};
use thalweg_connectors::generator::config::TaxiConfig;
use thalweg_connectors::generator::nexmark::NexmarkKind;
use thalweg_connectors::generator::taxi::zones_csv;
use thalweg_connectors::generator::{Generate, RowKind, generate as generator};

use super::args::{DEFAULT_EVENTS_PER_SECOND, DataFormat, Dataset, GenerateArgs};
use super::{Exit, tell};

/// Rows that are made at once.
const BATCH: u64 = 8_192;

/// Writes a dataset.
pub fn generate(args: &GenerateArgs) -> Exit {
    let kind = match args.dataset {
        Dataset::Taxi => RowKind::Taxi(TaxiConfig {
            events_per_second: args.events_per_second,
            hot_zone: args.hot_zone,
            coordinates: args.coordinates,
            late_rate: args.late,
            duplicate_rate: args.duplicate,
            broken_rate: args.broken,
            ..TaxiConfig::default()
        }),
        Dataset::Nexmark => RowKind::Nexmark(NexmarkKind::Bid),
    };
    if let Some(problem) = without_effect(args) {
        tell(&format!("error: {problem}"));
        return Exit::Wrong;
    }
    match generator(&kind, args.seed) {
        Ok(rows) => match write_all(args, &*rows) {
            Ok(bytes) => {
                tell(&format!("{} rows, {} in {}", HumanCount(args.rows), HumanBytes(bytes), args.out.display()));
                Exit::Done
            }
            Err(error) => {
                tell(&format!("error: writing to {}: {error}", args.out.display()));
                Exit::Failed
            }
        },
        Err(error) => {
            tell(&format!("error: {error}"));
            Exit::Wrong
        }
    }
}

/// What was asked for and means nothing for what is written.
fn without_effect(args: &GenerateArgs) -> Option<String> {
    if args.dataset != Dataset::Taxi {
        let of_taxi = [
            ("--hot-zone", args.hot_zone.is_some()),
            ("--coordinates", args.coordinates),
            ("--late", args.late > 0.0),
            ("--duplicate", args.duplicate > 0.0),
            ("--broken", args.broken > 0.0),
            ("--events-per-second", args.events_per_second != DEFAULT_EVENTS_PER_SECOND),
        ];
        let (option, _) = of_taxi.into_iter().find(|(_, is_given)| *is_given)?;
        return Some(format!("{option} is for taxi: the bids of nexmark do not have it"));
    }
    let problem = "--broken is for --format json: rows of csv and parquet are written from columns, which are whole";
    (args.broken > 0.0 && args.format != DataFormat::Json).then(|| problem.to_owned())
}

fn write_all(args: &GenerateArgs, rows: &dyn Generate) -> io::Result<u64> {
    std::fs::create_dir_all(&args.out)?;
    let name = match args.dataset {
        Dataset::Taxi => "taxi",
        Dataset::Nexmark => "nexmark",
    };
    let suffix = match args.format {
        DataFormat::Json => "json",
        DataFormat::Csv => "csv",
        DataFormat::Parquet => "parquet",
    };
    let mut bytes = 0;
    for file in 0..u64::from(args.files) {
        let (from, to) = (args.rows * file / u64::from(args.files), args.rows * (file + 1) / u64::from(args.files));
        bytes += write_file(&args.out.join(format!("{name}-{file:05}.{suffix}")), args.format, rows, from, to)?;
    }
    if args.dataset == Dataset::Taxi {
        std::fs::write(args.out.join("zones.csv"), zones_csv())?;
    }
    Ok(bytes)
}

fn write_file(path: &Path, format: DataFormat, rows: &dyn Generate, from: u64, to: u64) -> io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut encoder = encoder(format, rows).map_err(io::Error::other)?;
    let (mut text, mut written) = (Vec::new(), 0);
    for start in (from..to).step_by(BATCH as usize) {
        let count = BATCH.min(to - start);
        match &mut encoder {
            None => (start..start + count).for_each(|row| rows.write_json(row, &mut text)),
            Some(encoder) => encoder.write(&rows.batch(start, count as usize), &mut text).map_err(io::Error::other)?,
        }
        written += text.len() as u64;
        file.write_all(&text)?;
        text.clear();
    }
    if let Some(encoder) = &mut encoder {
        encoder.finish(&mut text).map_err(io::Error::other)?;
    }
    file.write_all(&text)?;
    file.flush()?;
    Ok(written + text.len() as u64)
}

/// JSON is written by the generator itself: the text that its source gives.
fn encoder(format: DataFormat, rows: &dyn Generate) -> thalweg_core::error::Result<Option<Box<dyn Encoder>>> {
    Ok(match format {
        DataFormat::Json => None,
        DataFormat::Csv => Some(Box::new(CsvEncoder::new(rows.schema().clone(), CsvStyle::default())?)),
        DataFormat::Parquet => Some(Box::new(ParquetEncoder::new(rows.schema().clone())?)),
    })
}
