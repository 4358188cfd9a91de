//! Patterns of Java's `DateTimeFormatter`, as Flink's `DATE_FORMAT` and `TO_TIMESTAMP` take them.

use std::fmt::Write as _;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::exec_err;
use datafusion::error::Result;

/// What Flink uses where no pattern is given.
pub(super) const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss";

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Literal(String),
    /// A letter and how often it stands there.
    Field(char, usize),
}

/// How often a letter may stand in a row, as in Java.
const MOST_LETTERS: usize = 19;

/// A pattern, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Item>);

impl Pattern {
    /// Reads a pattern; letters that are not known are refused.
    pub(super) fn parse(pattern: &str) -> Result<Self> {
        let mut items = vec![];
        let mut rest = pattern.chars().peekable();
        while let Some(first) = rest.next() {
            if first == '\'' {
                items.push(Item::Literal(quoted(&mut rest)));
            } else if first.is_ascii_alphabetic() {
                let mut count = 1;
                while rest.next_if_eq(&first).is_some() {
                    count += 1;
                }
                if count > MOST_LETTERS {
                    return exec_err!("{count} times `{first}` in a pattern, expected {MOST_LETTERS} at most");
                }
                if !"yuMdHhmsSaED".contains(first) {
                    return exec_err!(
                        "`{first}` of the pattern `{pattern}` is not supported: use y M d H h m s S a E D"
                    );
                }
                items.push(Item::Field(first, count));
            } else {
                items.push(Item::Literal(first.to_string()));
            }
        }
        Ok(Self(items))
    }

    /// Writes a time, given in milliseconds.
    pub(super) fn format(&self, millis: i64, out: &mut String) -> Result<()> {
        let Some(time) = chrono::DateTime::from_timestamp_millis(millis).map(|time| time.naive_utc()) else {
            return exec_err!("{millis} ms is no time of the calendar");
        };
        for item in &self.0 {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Field(letter, count) => field(*letter, *count, &time, out),
            }
        }
        Ok(())
    }

    /// Reads a time, in milliseconds; `None` if the text does not follow the pattern.
    pub(super) fn read(&self, text: &str) -> Option<i64> {
        let mut parts = Parts::default();
        let mut rest = text;
        for (at, item) in self.0.iter().enumerate() {
            let adjacent = matches!(self.0.get(at + 1), Some(Item::Field(..)));
            rest = match item {
                Item::Literal(literal) => rest.strip_prefix(literal.as_str())?,
                Item::Field(letter, count) => parts.take(*letter, *count, adjacent, rest)?,
            };
        }
        if rest.is_empty() { parts.millis() } else { None }
    }
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut literal = String::new();
    while let Some(next) = rest.next() {
        if next == '\'' && rest.next_if_eq(&'\'').is_none() {
            break;
        }
        literal.push(next);
    }
    if literal.is_empty() { "'".to_owned() } else { literal }
}

fn field(letter: char, count: usize, time: &NaiveDateTime, out: &mut String) {
    let number = match letter {
        'y' | 'u' if count == 2 => i64::from(time.year().rem_euclid(100)),
        'y' | 'u' => i64::from(time.year()),
        'M' if count == 3 => return out.push_str(&MONTHS[time.month0() as usize][..3]),
        'M' if count > 3 => return out.push_str(MONTHS[time.month0() as usize]),
        'M' => i64::from(time.month()),
        'd' => i64::from(time.day()),
        'D' => i64::from(time.ordinal()),
        'H' => i64::from(time.hour()),
        'h' => i64::from(time.hour12().1),
        'm' => i64::from(time.minute()),
        's' => i64::from(time.second()),
        'a' => return out.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
        'E' => {
            let name = DAYS[time.weekday().num_days_from_monday() as usize];
            return out.push_str(if count > 3 { name } else { &name[..3] });
        }
        _ => {
            let nanos = format!("{:09}", time.nanosecond());
            return (0..count).for_each(|digit| out.push_str(nanos.get(digit..=digit).unwrap_or("0")));
        }
    };
    // Writing to a String does not fail.
    let _ = write!(out, "{number:0count$}");
}

struct Parts {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    millis: u32,
}

impl Default for Parts {
    fn default() -> Self {
        Self { year: 1970, month: 1, day: 1, hour: 0, afternoon: None, minute: 0, second: 0, millis: 0 }
    }
}

impl Parts {
    fn take<'a>(&mut self, letter: char, count: usize, adjacent: bool, text: &'a str) -> Option<&'a str> {
        match letter {
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = Some(if half.eq_ignore_ascii_case("PM") {
                    true
                } else if half.eq_ignore_ascii_case("AM") {
                    false
                } else {
                    return None;
                });
                return Some(rest);
            }
            'M' if count >= 3 => {
                let name = |month: &&str| if count == 3 { month[..3].to_owned() } else { (**month).to_owned() };
                let at = MONTHS.iter().position(|month| text.starts_with(&name(month)))?;
                self.month = at as u32 + 1;
                return text.get(name(&MONTHS[at]).len()..);
            }
            'E' | 'D' => return None,
            _ => {}
        }
        // A year of two digits has no other number of them, as in Java.
        let is_short_year = matches!(letter, 'y' | 'u') && count == 2;
        let is_exact = letter == 'S' || is_short_year;
        // Fields that touch have exactly as many digits as letters.
        let most = if adjacent || is_exact { count } else { count.max(if letter == 'y' { 4 } else { 2 }) };
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits == 0 || (is_exact && digits != count) {
            return None;
        }
        let (number, rest) = text.split_at_checked(digits)?;
        let value: u32 = number.parse().ok()?;
        match letter {
            'y' | 'u' if is_short_year => self.year = 2000 + i32::try_from(value).ok()?,
            'y' | 'u' => self.year = i32::try_from(value).ok()?,
            'M' => self.month = value,
            'd' => self.day = value,
            'H' | 'h' => self.hour = value,
            'm' => self.minute = value,
            's' => self.second = value,
            _ => self.millis = format!("{number:0<3}").get(..3)?.parse().ok()?,
        }
        Some(rest)
    }

    fn millis(&self) -> Option<i64> {
        let hour = match self.afternoon {
            Some(afternoon) => self.hour % 12 + if afternoon { 12 } else { 0 },
            None => self.hour,
        };
        let date = NaiveDate::from_ymd_opt(self.year, self.month, self.day)?;
        let time = date.and_hms_milli_opt(hour, self.minute, self.second, self.millis)?;
        Some(time.and_utc().timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(pattern: &str, millis: i64) -> String {
        let mut out = String::new();
        Pattern::parse(pattern).expect("a pattern").format(millis, &mut out).expect("a time");
        out
    }

    #[test]
    fn a_time_that_is_written_is_read_back() {
        let millis = 1_514_780_225_078;
        for (pattern, text) in [
            ("yyyy-MM-dd HH:mm:ss.SSS", "2018-01-01 04:17:05.078"),
            ("yyyyMMddHHmmssSSS", "20180101041705078"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2018-01-01T04:17:05.078"),
            ("dd MMM yyyy, h:mm:ss.SSS a", "01 Jan 2018, 4:17:05.078 AM"),
        ] {
            assert_eq!(formatted(pattern, millis), text);
            assert_eq!(Pattern::parse(pattern).expect("a pattern").read(text), Some(millis), "{pattern}");
        }
        assert_eq!(formatted("EEEE ''", millis), "Monday '");
    }

    #[test]
    fn what_does_not_follow_the_pattern_is_no_time() {
        let pattern = Pattern::parse(DEFAULT).expect("a pattern");
        for wrong in ["", "2018-13-01 00:00:00", "2018-01-01", "2018-01-01 00:00:00Z", "x"] {
            assert_eq!(pattern.read(wrong), None, "{wrong}");
        }
        assert!(Pattern::parse("yyyy-QQ").is_err());
        let long = "y".repeat(70_000);
        assert!(Pattern::parse(&long).is_err());
        assert!(Pattern::parse(&long[..MOST_LETTERS]).is_ok());
        // More than an `i32` holds.
        let wide = Pattern::parse("yyyyyyyyyy-MM-dd").expect("a pattern");
        assert_eq!(wide.read("4294967295-01-01"), None);
    }

    #[test]
    fn a_year_of_two_letters_has_two_digits() {
        for pattern in ["yy-MM-dd", "uu-MM-dd"] {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(pattern.read("18-01-01"), Some(1_514_764_800_000));
            for wrong in ["2018-01-01", "018-01-01", "8-01-01"] {
                assert_eq!(pattern.read(wrong), None, "{wrong}");
            }
        }
    }
}
