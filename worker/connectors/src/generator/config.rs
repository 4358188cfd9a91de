//! What is generated, how much and how fast.

use thalweg_core::error::{Error, Result};
use thalweg_crds::connector as spec;

use super::by_schema::GeneratedColumn;
use super::nexmark::NexmarkKind;

/// Most splits of one generator.
const MOST_SPLITS: u32 = 4096;

/// A generator, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorConfig {
    /// The kind of record.
    pub kind: RowKind,
    /// The same seed makes the same records.
    pub seed: u64,
    /// How many records over all splits; `None` is without end.
    pub rows: Option<u64>,
    /// Records a second over all splits; `None` is as fast as they are taken.
    pub rows_per_second: Option<u64>,
    /// Into how many splits the records are dealt, at least one.
    pub splits: u32,
}

/// The kind of record.
#[derive(Clone, Debug, PartialEq)]
pub enum RowKind {
    /// Taxi trips.
    Taxi(TaxiConfig),
    /// One kind of Nexmark's events.
    Nexmark(NexmarkKind),
    /// Values by type.
    Schema(Vec<GeneratedColumn>),
}

/// Settings of taxi trips. Rates are shares of the records, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct TaxiConfig {
    /// Trips a second of event time.
    pub events_per_second: u32,
    /// Pickup time of the first trip, milliseconds since 1970 in UTC.
    pub start_millis: i64,
    /// How far trips on time may lag behind the greatest pickup time before them.
    pub disorder_millis: u32,
    /// A zone, 1 to 265, in which half of the trips start.
    pub hot_zone: Option<u16>,
    /// Whether trips carry coordinates instead of location ids, as the public records of older years do.
    pub coordinates: bool,
    /// Trips that come one minute to six hours after their time.
    pub late_rate: f64,
    /// Trips that repeat one of the 64 before them, field by field.
    pub duplicate_rate: f64,
    /// Lines that cannot be decoded, or lack what they must have.
    pub broken_rate: f64,
}

impl Default for TaxiConfig {
    /// 1,000 trips a second of event time from 2018-01-01, up to 2 s out of order, all of them good.
    fn default() -> Self {
        Self {
            events_per_second: 1_000,
            start_millis: 1_514_764_800_000,
            disorder_millis: 2_000,
            hot_zone: None,
            coordinates: false,
            late_rate: 0.0,
            duplicate_rate: 0.0,
            broken_rate: 0.0,
        }
    }
}

impl TaxiConfig {
    /// # Errors
    /// `User` where a rate or the hot zone is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let rates =
            [("lateRate", self.late_rate), ("duplicateRate", self.duplicate_rate), ("brokenRate", self.broken_rate)];
        for (name, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                return Err(out_of_range(name, rate, "0 to 1"));
            }
        }
        match self.hot_zone {
            Some(zone) if !(1..=265).contains(&zone) => Err(out_of_range("hotZone", zone, "1 to 265")),
            Some(_) if self.coordinates => Err(out_of_range("hotZone", "a zone", "none with coordinates")),
            _ if self.events_per_second == 0 => Err(out_of_range("eventsPerSecond", 0, "at least 1")),
            _ => Ok(()),
        }
    }
}

impl GeneratorConfig {
    /// Resolves what a `StreamSource` says; `columns` are those that it declares, for `schema: {}`.
    ///
    /// # Errors
    /// `User` for a number that is out of range, or where not exactly one kind of record is given.
    pub fn new(spec: &spec::GeneratorSource, columns: Vec<GeneratedColumn>) -> Result<Self> {
        let kind = match spec.kind() {
            Some(spec::Rows::Taxi(taxi)) => RowKind::Taxi(taxi.into()),
            Some(spec::Rows::Nexmark(_)) => RowKind::Nexmark(NexmarkKind::Bid),
            Some(spec::Rows::Schema(_)) => RowKind::Schema(columns),
            None => return Err(Error::user("generator", "expected exactly one of taxi, nexmark, schema")),
        };
        let positive = |name, value: Option<i64>| {
            value.map(|value| u64::try_from(value).map_err(|_| out_of_range(name, value, "0 and above"))).transpose()
        };
        let splits = u32::try_from(spec.splits).ok().filter(|splits| (1..=MOST_SPLITS).contains(splits));
        Ok(Self {
            kind,
            seed: spec.seed.cast_unsigned(),
            rows: positive("rows", spec.rows)?,
            rows_per_second: positive("rowsPerSecond", spec.rows_per_second)?,
            splits: splits.ok_or_else(|| out_of_range("splits", spec.splits, "1 to 4096"))?,
        })
    }
}

impl From<&spec::TaxiTrips> for TaxiConfig {
    fn from(taxi: &spec::TaxiTrips) -> Self {
        Self {
            // Zero is refused by `validate`, and so is what does not fit.
            events_per_second: u32::try_from(taxi.events_per_second).unwrap_or(0),
            hot_zone: taxi.hot_zone.map(|zone| u16::try_from(zone).unwrap_or(0)),
            coordinates: taxi.coordinates,
            late_rate: taxi.late_rate,
            duplicate_rate: taxi.duplicate_rate,
            broken_rate: taxi.broken_rate,
            ..Self::default()
        }
    }
}

fn out_of_range(field: &str, found: impl std::fmt::Display, expected: &str) -> Error {
    Error::user(format!("generator.{field}"), format!("found {found}, expected {expected}"))
}
