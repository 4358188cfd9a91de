//! Values of fixed width, one at a time.

use arrow::datatypes::ArrowPrimitiveType;

use super::super::cell::{Kind, Token};
use super::super::number::{self, Number};
use super::super::time::{TimestampFormat, TimestampReader, date, time_of_day};

/// Reads a value of a type from text (a bare word or a string without escapes); `None` if it is none of that type.
pub(super) trait Parse<T: ArrowPrimitiveType>: Send {
    /// Reads it.
    fn parse(&mut self, token: Token<'_>) -> Option<T::Native>;

    /// A value of the type as milliseconds of event time.
    fn event_time(&self, value: T::Native) -> Option<i64> {
        let _ = value;
        None
    }
}

/// Whole numbers within the bounds of their type.
pub(super) struct Integer;

impl<T: ArrowPrimitiveType<Native: TryFrom<i64>>> Parse<T> for Integer {
    #[inline]
    fn parse(&mut self, token: Token<'_>) -> Option<T::Native> {
        number::integer(token)?.try_into().ok()
    }
}

/// FLOAT.
pub(super) struct Float;

impl<T: ArrowPrimitiveType<Native = f32>> Parse<T> for Float {
    fn parse(&mut self, token: Token<'_>) -> Option<f32> {
        number::float(token)
    }
}

/// DOUBLE.
pub(super) struct Double;

impl<T: ArrowPrimitiveType<Native = f64>> Parse<T> for Double {
    #[inline]
    fn parse(&mut self, token: Token<'_>) -> Option<f64> {
        number::double(token)
    }
}

/// DECIMAL.
pub(super) struct Decimal {
    /// Digits in all.
    pub precision: u8,
    /// Digits after the point.
    pub scale: i8,
}

impl<T: ArrowPrimitiveType<Native = i128>> Parse<T> for Decimal {
    #[inline]
    fn parse(&mut self, token: Token<'_>) -> Option<i128> {
        Number::parse(token)?.to_decimal(self.precision, self.scale)
    }
}

/// DATE.
pub(super) struct Date;

impl<T: ArrowPrimitiveType<Native = i32>> Parse<T> for Date {
    fn parse(&mut self, token: Token<'_>) -> Option<i32> {
        let text = if token.kind == Kind::Text { token.bytes() } else { return None };
        date(text)?.try_into().ok()
    }
}

/// TIME, in units of so many nanoseconds.
pub(super) struct Time {
    /// Nanoseconds of a unit.
    pub nanos: i64,
}

impl<T: ArrowPrimitiveType<Native: TryFrom<i64>>> Parse<T> for Time {
    fn parse(&mut self, token: Token<'_>) -> Option<T::Native> {
        let text = if token.kind == Kind::Text { token.bytes() } else { return None };
        (time_of_day(text)? / self.nanos).try_into().ok()
    }
}

/// TIMESTAMP, so many units a second; what is finer is cut off.
pub(super) struct Timestamp {
    reader: TimestampReader,
    per_second: i64,
}

impl Timestamp {
    /// Reads this format.
    pub fn new(format: &TimestampFormat, per_second: i64) -> Self {
        Self { reader: TimestampReader::new(format.clone()), per_second }
    }
}

impl<T: ArrowPrimitiveType<Native = i64>> Parse<T> for Timestamp {
    #[inline]
    fn parse(&mut self, token: Token<'_>) -> Option<i64> {
        let moment = self.reader.read(token)?;
        let fraction = i64::from(moment.nanos) * self.per_second / 1_000_000_000;
        moment.seconds.checked_mul(self.per_second)?.checked_add(fraction)
    }

    fn event_time(&self, value: i64) -> Option<i64> {
        let millis = i128::from(value) * 1_000;
        i64::try_from(millis.div_euclid(self.per_second.into())).ok()
    }
}

/// `true` or `false`, in any case where they are given as text.
pub(super) fn boolean(token: Token<'_>) -> Option<bool> {
    match (token.kind, token.bytes()) {
        (Kind::Scalar, b"true") => Some(true),
        (Kind::Scalar, b"false") => Some(false),
        (Kind::Text, text) if text.trim_ascii().eq_ignore_ascii_case(b"true") => Some(true),
        (Kind::Text, text) if text.trim_ascii().eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}
