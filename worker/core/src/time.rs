//! Event time and watermarks, in milliseconds since 1970-01-01T00:00:00Z.

use std::fmt;

use serde::{Deserialize, Serialize};

/// No row with an earlier event time is still expected (it would be late).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet: −∞.
    pub const UNKNOWN: Self = Self(i64::MIN);
    /// Nothing comes any more: +∞.
    pub const END: Self = Self(i64::MAX);

    /// The watermark behind the greatest event time seen, `None` where no row was seen yet.
    pub fn behind(max_event_time: Option<i64>, delay_ms: i64) -> Self {
        max_event_time.map_or(Self::UNKNOWN, |max| Self(max.saturating_sub(delay_ms)))
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNKNOWN => f.write_str("unknown"),
            Self::END => f.write_str("end"),
            Self(millis) => write!(f, "{millis}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_unknown_until_a_row_was_seen() {
        assert_eq!(Watermark::behind(None, 5), Watermark::UNKNOWN);
        assert_eq!(Watermark::behind(Some(12), 5), Watermark(7));
    }

    #[test]
    fn a_watermark_at_the_edge_of_time_does_not_wrap() {
        assert_eq!(Watermark::behind(Some(i64::MIN + 1), 5), Watermark::UNKNOWN);
    }
}
