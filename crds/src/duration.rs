//! Durations as Kubernetes and Go write them: `500ms`, `30s`, `1m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the schema accepts; every match parses without overflow.
pub const PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h)){1,6}$";

/// What the schema accepts where less than a millisecond has no meaning. A pattern cannot add: a part of it has to be a millisecond
/// or more, and one that is less than 1 of its unit is in seconds, minutes or hours and has a digit other than 0 among its first
/// three.
pub const MILLISECOND_PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h)){0,5}(0{0,8}[1-9][0-9]{0,8}(\.[0-9]{1,9})?(ms|s|m|h)|0{1,9}\.(0{0,2}[1-9][0-9]{0,6})(s|m|h))([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h)){0,5}$";

/// The schema of a duration of a millisecond or more.
pub(crate) fn of_a_millisecond(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 64, "pattern": MILLISECOND_PATTERN })
}

/// A length of time, written as Go writes it (`1h30m`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(StdDuration);

impl Duration {
    /// Wraps a length of time.
    pub const fn new(value: StdDuration) -> Self {
        Self(value)
    }

    /// A whole number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(StdDuration::from_millis(millis))
    }

    /// A whole number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    /// The standard library's type.
    pub const fn as_std(self) -> StdDuration {
        self.0
    }
}

impl From<Duration> for StdDuration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl From<StdDuration> for Duration {
    fn from(value: StdDuration) -> Self {
        Self(value)
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("the duration is empty; expected a number and a unit, such as 30s")]
    Empty,
    /// A number without a unit, or the other way round.
    #[error("`{0}` is no duration; expected numbers with units (ns, us, ms, s, m, h), such as 500ms, 30s or 1h30m")]
    Syntax(String),
    /// Longer than can be held.
    #[error("`{0}` is too long a duration; the limit is 999999999h")]
    TooLong(String),
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        let mut total: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let (nanos, after) = component(rest).ok_or_else(|| DurationError::Syntax(text.to_owned()))?;
            total = total.saturating_add(nanos);
            rest = after;
        }
        let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| DurationError::TooLong(text.to_owned()))?;
        Ok(Self(StdDuration::new(seconds, (total % 1_000_000_000) as u32)))
    }
}

/// Reads one number and its unit from the front of `text`: its nanoseconds, and what is left.
fn component(text: &str) -> Option<(u128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let unit_nanos: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (number, "0"),
    };
    if whole.is_empty() || fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let nanos = whole.parse::<u128>().ok()? * unit_nanos + fraction.parse::<u128>().ok()? * unit_nanos / scale;
    Some((nanos, rest))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let units: [(u128, &str); 6] = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        for (size, unit) in units {
            if nanos >= size {
                write!(f, "{}{unit}", nanos / size)?;
                nanos %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 64, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_kubernetes_users_write() {
        for (text, millis) in
            [("30s", 30_000), ("1m", 60_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5s", 1_500), ("0s", 0)]
        {
            assert_eq!(text.parse::<Duration>(), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn says_what_is_expected_of_a_text_that_is_no_duration() {
        for text in ["5", "s", "5 s", "5sec", "1..5s", ".5s", "5.s", "-5s", "1d"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::Syntax(text.to_owned())));
        }
        assert_eq!(
            "5".parse::<Duration>().unwrap_err().to_string(),
            "`5` is no duration; expected numbers with units (ns, us, ms, s, m, h), such as 500ms, 30s or 1h30m"
        );
        assert_eq!("".parse::<Duration>(), Err(DurationError::Empty));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in 0u64..u64::MAX) {
            let duration = Duration::new(StdDuration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        }

        #[test]
        fn whatever_the_schema_accepts_parses(text in r"([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|µs|ms|s|m|h)){1,6}") {
            prop_assert!(text.parse::<Duration>().is_ok());
        }

        #[test]
        fn whatever_the_schema_accepts_of_a_millisecond_or_more_is_one(text in MILLISECOND_PATTERN.trim_matches(['^', '$'])) {
            prop_assert!(text.parse::<Duration>().is_ok_and(|found| found >= Duration::from_millis(1)), "{text}");
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Duration>();
        }
    }
}
