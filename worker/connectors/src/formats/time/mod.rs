//! Times in text.

mod calendar;
mod iso;
mod pattern;

pub(crate) use calendar::civil_from_days;
pub(crate) use iso::{date, time_of_day};
pub use pattern::{Pattern, PatternError};

use thalweg_core::years;

use super::cell::{Kind, Token};
use super::number::{Number, short_integer};

/// How a source writes its timestamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `2018-01-01T04:17:05.000Z`: `T` or a space, a fraction of up to nine digits, `Z`, `+hh:mm` or nothing (UTC).
    #[default]
    Iso8601,
    /// Milliseconds since 1970, UTC.
    EpochMillis,
    /// Seconds since 1970, UTC; a fraction counts.
    EpochSeconds,
    /// A pattern of Java's `DateTimeFormatter`: `dd/MM/yyyy HH:mm:ss`.
    Pattern(Pattern),
}

/// A moment: seconds since 1970, UTC, and nanoseconds after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// From 0 to 999,999,999.
    pub nanos: u32,
}

/// Reads timestamps of one column, one after the other: neighbours mostly share their date.
#[derive(Clone, Debug)]
pub(crate) struct TimestampReader {
    format: TimestampFormat,
    /// The last date, as its ten bytes, and its days since 1970.
    last_date: ([u8; 10], i64),
}

impl TimestampReader {
    /// Reads this format.
    pub fn new(format: TimestampFormat) -> Self {
        Self { format, last_date: (*b"1970-01-01", 0) }
    }

    /// The moment that a value names; `None` if it does not, or names one that does not exist or is outside of the years
    /// that times may have.
    #[inline]
    pub fn read(&mut self, token: Token<'_>) -> Option<Moment> {
        let moment = match &self.format {
            TimestampFormat::Iso8601 if token.kind == Kind::Text => iso::datetime(token.bytes(), &mut self.last_date),
            TimestampFormat::Iso8601 => None,
            TimestampFormat::EpochMillis => epoch(token, 3),
            TimestampFormat::EpochSeconds => epoch(token, 0),
            TimestampFormat::Pattern(pattern) if token.kind == Kind::Text => pattern.parse(token.bytes()),
            TimestampFormat::Pattern(_) => None,
        };
        moment.filter(|moment| years::SECONDS.contains(&moment.seconds))
    }
}

/// A count since 1970 of units of `10^-digits` seconds.
fn epoch(token: Token<'_>, digits: i8) -> Option<Moment> {
    let per_second = 10_i64.pow(digits.unsigned_abs().into());
    if let Some(count) = short_integer(token) {
        let (seconds, rest) = (count as i64 / per_second, count as i64 % per_second);
        return Some(Moment { seconds, nanos: (rest * (1_000_000_000 / per_second)) as u32 });
    }
    let nanos = Number::parse(token)?.to_decimal(38, 9 - digits)?;
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    Some(Moment { seconds, nanos: nanos.rem_euclid(1_000_000_000) as u32 })
}
