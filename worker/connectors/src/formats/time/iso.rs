//! ISO 8601 dates and times, as databases and JavaScript write them. Years have four digits.

use super::Moment;
use super::calendar::checked_days;

/// `yyyy-MM-dd`, then `T` or a space, `HH:mm:ss`, perhaps a fraction, perhaps a zone.
#[inline]
pub(crate) fn datetime(text: &[u8], last_date: &mut ([u8; 10], i64)) -> Option<Moment> {
    let (date_text, rest) = text.split_first_chunk::<10>()?;
    if *date_text != last_date.0 {
        *last_date = (*date_text, date(date_text)?);
    }
    let (clock, rest) = rest.split_first_chunk::<9>()?;
    if !matches!(clock[0], b'T' | b' ' | b't') {
        return None;
    }
    let (seconds, nanos) = match rest {
        [b'.', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'Z'] => (of_clock(clock)?, millis([*a, *b, *c])),
        [b'Z'] | [] => (of_clock(clock)?, 0),
        _ => {
            let (nanos, zone) = fraction(rest)?;
            (of_clock(clock)? - offset(zone)?, nanos)
        }
    };
    Some(Moment { seconds: last_date.1 * 86_400 + seconds, nanos })
}

fn millis(digits: [u8; 3]) -> u32 {
    let [a, b, c] = digits.map(|digit| u32::from(digit - b'0'));
    (a * 100 + b * 10 + c) * 1_000_000
}

/// `yyyy-MM-dd` as days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    if year == 0 {
        return None;
    }
    checked_days(year, two(m1, m2)?, two(d1, d2)?)
}

/// `HH:mm:ss`, perhaps with a fraction and `Z`, as nanoseconds of the day.
pub(crate) fn time_of_day(text: &[u8]) -> Option<i64> {
    let (clock, rest) = text.split_first_chunk::<8>()?;
    let mut with_mark = [b'T'; 9];
    with_mark[1..].copy_from_slice(clock);
    let (nanos, zone) = fraction(rest)?;
    matches!(zone, [] | [b'Z']).then_some(())?;
    Some(of_clock(&with_mark)? * 1_000_000_000 + i64::from(nanos))
}

/// A mark and `HH:mm:ss` as seconds of the day.
#[inline]
fn of_clock(clock: &[u8; 9]) -> Option<i64> {
    let &[_, h1, h2, b':', m1, m2, b':', s1, s2] = clock else { return None };
    let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// `.` and up to nine digits as nanoseconds, if there are any, and what follows.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let value = digits.iter().fold(0, |value, b| value * 10 + u32::from(b - b'0'));
    Some((value * 10_u32.pow(9 - count as u32), rest))
}

/// A zone as seconds east of UTC: nothing, `Z`, `+hh:mm`, `+hhmm` or `+hh`, up to 18 hours as in Java.
pub(super) fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, zone) = match zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *zone {
        [h1, h2] => (two(h1, h2)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(h1, h2)?, two(m1, m2)?),
        _ => return None,
    };
    let seconds = hours * 3_600 + minutes * 60;
    (minutes < 60 && seconds <= 18 * 3_600).then_some(sign * seconds)
}

/// Two digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDateTime};
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Moment> {
        datetime(text.as_bytes(), &mut (*b"1970-01-01", 0))
    }

    proptest! {
        #[test]
        fn times_are_those_of_chrono(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_u32..1_000_000_000) {
            let time = DateTime::from_timestamp(seconds, nanos).unwrap().naive_utc();
            for (format, digits) in [("%FT%T%.9fZ", 9), ("%F %T%.6f", 6), ("%FT%T%.3fZ", 3), ("%F %T", 0)] {
                let unit = 10_u32.pow(9 - digits);
                let moment = Moment { seconds, nanos: nanos / unit * unit };
                prop_assert_eq!(read(&time.format(format).to_string()), Some(moment));
            }
        }

        #[test]
        fn damaged_times_are_read_as_chrono_reads_them(at in 0_usize..19, byte in b' '..b'~') {
            let mut text = *b"2018-02-01T04:17:05";
            text[at] = byte;
            let text = std::str::from_utf8(&text).unwrap();
            let oracle = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S")
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S"))
                .ok()
                // What is stricter here: every part has all of its digits, there is no leap second and no year 0.
                .filter(|_| text.bytes().enumerate().all(|(i, b)| [4, 7, 10, 13, 16].contains(&i) || b.is_ascii_digit()))
                .filter(|_| !text.ends_with("60") && !text.starts_with("0000"))
                .map(|time| time.and_utc().timestamp());
            if byte != b't' {
                prop_assert_eq!(read(text).map(|m| m.seconds), oracle, "{}", text);
            }
        }
    }

    #[test]
    fn zones_move_the_time() {
        let utc = read("2018-01-01T04:17:05Z");
        assert!(utc.is_some());
        for text in
            ["2018-01-01T05:17:05+01:00", "2018-01-01 00:47:05.0-0330", "2017-12-31T22:17:05-06", "2018-01-01 04:17:05"]
        {
            assert_eq!(read(text), utc, "{text}");
        }
    }

    #[test]
    fn impossible_times_are_none() {
        for text in [
            "2018-02-29T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-00-01T00:00:00Z",
            "2018-01-00T00:00:00Z",
            "2018-01-01T24:00:00Z",
            "2018-01-01T00:60:00Z",
            "2018-01-01T00:00:60Z",
            "0000-01-01T00:00:00Z",
            "2018-01-01",
            "2018-01-01T00:00",
            "2018-01-01T00:00:00.",
            "2018-01-01T00:00:00.1234567890Z",
            "2018-01-01T00:00:00Zx",
            "2018-01-01T00:00:00+19:00",
            "2018-01-01T00:00:00+1",
            "2018-01-01T00:00:00.5Q",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read("2016-02-29T00:00:00Z").is_some());
    }

    #[test]
    fn times_of_day_have_fractions() {
        assert_eq!(time_of_day(b"04:17:05"), Some(15_425_000_000_000));
        assert_eq!(time_of_day(b"04:17:05.25Z"), Some(15_425_250_000_000));
        assert_eq!(time_of_day(b"24:00:00"), None);
        assert_eq!(time_of_day(b"4:17:05"), None);
    }
}
