//! Patterns of Java's `DateTimeFormatter`, the part that writes complete times in digits.

use super::calendar::checked_days;
use super::{Moment, iso};

/// A pattern like `dd/MM/yyyy HH:mm:ss.SSS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

/// A pattern that cannot be read, or does not name a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timestamp pattern `{pattern}`: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// A number of so many digits; of one to two where the pattern has a single letter.
    Digits(Unit, usize),
    /// A fraction of so many digits.
    Fraction(usize),
    /// `Z`, `+hh:mm`, `+hhmm` or `+hh`, at the end.
    Zone,
    /// `AM` or `PM`.
    Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    HourOfHalf,
    Minute,
    Second,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A letter that is not known, or no year, month and day.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let fail = |problem: String| PatternError { pattern: pattern.to_owned(), problem };
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some(letter) = rest.chars().next() {
            let run = rest.len() - rest.trim_start_matches(letter).len();
            let count = run / letter.len_utf8();
            let (part, used) = match letter {
                '\'' => quoted(rest).ok_or_else(|| fail("a quote is not closed".to_owned()))?,
                c if c.is_ascii_alphabetic() => (part(c, count).map_err(fail)?, run),
                _ => (Part::Literal(rest.as_bytes()[..run].to_vec()), run),
            };
            parts.push(part);
            rest = &rest[used..];
        }
        for (unit, name) in [(Unit::Year, "year `yyyy`"), (Unit::Month, "month `MM`"), (Unit::Day, "day `dd`")] {
            if !parts.iter().any(|part| matches!(part, Part::Digits(u, _) if *u == unit)) {
                return Err(fail(format!("expected a {name}")));
            }
        }
        Ok(Self { text: pattern.to_owned(), parts })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The moment that a text names, UTC where the pattern has no zone.
    pub(crate) fn parse(&self, text: &[u8]) -> Option<Moment> {
        let mut fields = Fields::default();
        let mut rest = text;
        for part in &self.parts {
            rest = fields.take(part, rest)?;
        }
        if rest.is_empty() { fields.moment() } else { None }
    }
}

/// `'text'`, or `''` for a quote: the part and its length.
fn quoted(rest: &str) -> Option<(Part, usize)> {
    if rest.starts_with("''") {
        return Some((Part::Literal(b"'".to_vec()), 2));
    }
    let end = rest[1..].find('\'')?;
    Some((Part::Literal(rest.as_bytes()[1..=end].to_vec()), end + 2))
}

fn part(letter: char, count: usize) -> Result<Part, String> {
    let unit = match letter {
        'y' | 'u' if count == 4 => return Ok(Part::Digits(Unit::Year, 4)),
        'S' if count <= 9 => return Ok(Part::Fraction(count)),
        'X' | 'x' | 'Z' => return Ok(Part::Zone),
        'a' if count == 1 => return Ok(Part::Half),
        'M' => Unit::Month,
        'd' => Unit::Day,
        'H' => Unit::Hour,
        'h' => Unit::HourOfHalf,
        'm' => Unit::Minute,
        's' => Unit::Second,
        _ => return Err(format!("expected y, M, d, H, h, m, s, S, a, X or 'text', found {count} × `{letter}`")),
    };
    if count > 2 {
        return Err(format!("expected one or two `{letter}`, found {count}"));
    }
    Ok(Part::Digits(unit, count))
}

/// What was read so far.
#[derive(Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    hour_of_half: Option<i64>,
    minute: i64,
    second: i64,
    nanos: u32,
    offset: i64,
    is_afternoon: bool,
}

impl Fields {
    fn take<'a>(&mut self, part: &Part, text: &'a [u8]) -> Option<&'a [u8]> {
        match part {
            Part::Literal(literal) => text.strip_prefix(literal.as_slice()),
            Part::Digits(unit, width) => {
                let is_open = *width == 1 && text.get(1).is_some_and(u8::is_ascii_digit);
                let (value, rest) = digits(text, if is_open { 2 } else { *width })?;
                *self.slot(*unit) = i64::from(value);
                Some(rest)
            }
            Part::Fraction(width) => {
                let (value, rest) = digits(text, *width)?;
                self.nanos = value * 10_u32.pow(9 - *width as u32);
                Some(rest)
            }
            Part::Zone => {
                let zone = text.iter().take_while(|b| b"Zz+-:0123456789".contains(b)).count();
                let (zone, rest) = text.split_at(zone);
                self.offset = if zone.is_empty() { None } else { iso::offset(zone) }?;
                Some(rest)
            }
            Part::Half => {
                let (half, rest) = text.split_first_chunk::<2>()?;
                self.is_afternoon = half.eq_ignore_ascii_case(b"PM");
                (self.is_afternoon || half.eq_ignore_ascii_case(b"AM")).then_some(rest)
            }
        }
    }

    fn slot(&mut self, unit: Unit) -> &mut i64 {
        match unit {
            Unit::Year => &mut self.year,
            Unit::Month => &mut self.month,
            Unit::Day => &mut self.day,
            Unit::Hour => &mut self.hour,
            Unit::HourOfHalf => self.hour_of_half.get_or_insert(0),
            Unit::Minute => &mut self.minute,
            Unit::Second => &mut self.second,
        }
    }

    fn moment(&self) -> Option<Moment> {
        let hour = match self.hour_of_half {
            Some(hour @ 1..=12) => hour % 12 + if self.is_afternoon { 12 } else { 0 },
            Some(_) => return None,
            None => self.hour,
        };
        let exists = hour < 24 && self.minute < 60 && self.second < 60 && self.year > 0;
        let days = checked_days(self.year, self.month, self.day).filter(|_| exists)?;
        let seconds = days * 86_400 + hour * 3_600 + self.minute * 60 + self.second - self.offset;
        Some(Moment { seconds, nanos: self.nanos })
    }
}

/// Exactly `width` digits.
fn digits(text: &[u8], width: usize) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(width)?;
    let digit = |value: u32, b: &u8| b.is_ascii_digit().then(|| value * 10 + u32::from(b - b'0'));
    Some((digits.iter().try_fold(0, digit)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(pattern: &str, text: &str) -> Option<i64> {
        Pattern::new(pattern).unwrap().parse(text.as_bytes()).map(|m| m.seconds)
    }

    #[test]
    fn patterns_read_what_java_writes() {
        let expected = Some(1_514_780_225);
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss", "2018-01-01 04:17:05"),
            ("dd/MM/yyyy HH:mm:ss.SSS", "01/01/2018 04:17:05.250"),
            ("d.M.yyyy H:mm:ss", "1.1.2018 4:17:05"),
            ("yyyyMMddHHmmss", "20180101041705"),
            ("yyyy-MM-dd'T'HH:mm:ssXXX", "2018-01-01T05:17:05+01:00"),
            ("yyyy-MM-dd'T'HH:mm:ssX", "2018-01-01T04:17:05Z"),
            ("MM/dd/yyyy hh:mm:ss a", "01/01/2018 04:17:05 AM"),
            ("yyyy ''MM-dd HH:mm:ss", "2018 '01-01 04:17:05"),
        ] {
            assert_eq!(seconds(pattern, text), expected, "{pattern}");
        }
        assert_eq!(seconds("yyyy-MM-dd", "2018-01-01"), Some(1_514_764_800));
        assert_eq!(seconds("yyyy-MM-dd hh a", "2018-01-01 12 AM"), Some(1_514_764_800));
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "2018-02-30 00:00:00",
            "2018-01-01 24:00:00",
            "2018-01-01 00:00:00x",
            "2018-01-01",
            "",
            "2018-1-01 00:00:00",
        ] {
            assert_eq!(seconds("yyyy-MM-dd HH:mm:ss", text), None, "{text}");
        }
    }

    #[test]
    fn unknown_patterns_are_refused_with_what_is_expected() {
        let message = |pattern: &str| Pattern::new(pattern).expect_err("no pattern").to_string();
        assert_eq!(message("HH:mm"), "timestamp pattern `HH:mm`: expected a year `yyyy`");
        assert!(message("yyyy-MMM-dd").contains("expected one or two `M`, found 3"));
        assert!(message("yyyy-MM-dd Q").contains("found 1 × `Q`"));
        assert!(message("yyyy-MM-dd 'T").contains("a quote is not closed"));
    }
}
