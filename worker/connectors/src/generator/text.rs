//! JSON as text, straight into a buffer.

/// Digits of a number, right to left.
const MAX_DIGITS: usize = 20;

/// Appends a whole number.
pub(super) fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; MAX_DIGITS];
    let mut start = MAX_DIGITS;
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a whole number with its sign.
pub(super) fn write_signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(value.unsigned_abs(), out);
}

/// Appends hundredths as a number with one or two decimals: `28.5`, `0.07`, `3.0`. Divided by 100 they are the same
/// `f64` that the text parses to, for both are rounded correctly.
pub(super) fn write_hundredths(value: u64, out: &mut Vec<u8>) {
    write_unsigned(value / 100, out);
    let (tenths, hundredths) = (value / 10 % 10, value % 10);
    out.extend_from_slice(&[b'.', b'0' + tenths as u8]);
    if hundredths != 0 {
        out.push(b'0' + hundredths as u8);
    }
}

/// Appends millionths as a number with six decimals: `-73.780968`. Divided by a million they are the same `f64` that the
/// text parses to, for both are rounded correctly.
pub(super) fn write_millionths(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.abs();
    write_unsigned((value / 1_000_000).unsigned_abs(), out);
    out.push(b'.');
    padded(value % 1_000_000, 6, out);
}

/// Appends an instant as `2018-01-01T04:17:05.000Z`, without quotes. Years 0 to 9999.
pub(super) fn write_instant(millis: i64, out: &mut Vec<u8>) {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let seconds = of_day / 1000;
    padded(year, 4, out);
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(day, 2, out);
    out.push(b'T');
    padded(seconds / 3600, 2, out);
    out.push(b':');
    padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    padded(seconds % 60, 2, out);
    out.push(b'.');
    padded(of_day % 1000, 3, out);
    out.push(b'Z');
}

/// Appends a date as `2018-01-01`, without quotes.
pub(super) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    padded(year, 4, out);
    out.push(b'-');
    padded(month, 2, out);
    out.push(b'-');
    padded(day, 2, out);
}

fn padded(value: i64, digits: usize, out: &mut Vec<u8>) {
    let mut rest = value;
    let start = out.len();
    out.resize(start + digits, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Year, month and day of a count of days since 1970 (Hinnant: "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    proptest! {
        #[test]
        fn hundredths_parse_to_the_number_that_division_gives(value in 0..10_000_000_000u64) {
            let parsed: f64 = text(|out| write_hundredths(value, out)).parse().expect("a number");
            prop_assert_eq!(parsed, value as f64 / 100.0);
        }

        #[test]
        fn millionths_parse_to_the_number_that_division_gives(value in -180_000_000..180_000_000i64) {
            let written = text(|out| write_millionths(value, out));
            prop_assert_eq!(written.parse::<f64>().expect("a number"), value as f64 / 1e6);
        }

        #[test]
        fn instants_are_those_of_chrono(millis in -62_167_219_200_000..253_402_300_800_000i64) {
            let wanted = chrono::DateTime::from_timestamp_millis(millis).expect("in range");
            let wanted = wanted.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            prop_assert_eq!(text(|out| write_instant(millis, out)), wanted);
        }

        #[test]
        fn whole_numbers_are_written_as_rust_does(value in any::<i64>()) {
            prop_assert_eq!(text(|out| write_signed(value, out)), value.to_string());
        }
    }
}
