//! Single values as text: what JSON and CSV have in common.

use arrow::datatypes::TimeUnit;

use crate::formats::time::civil_from_days;

/// Appends a number in the fewest digits that give it back. Not for `NaN` and infinities.
pub(super) fn number<N: lexical_core::ToLexical>(value: N, out: &mut Vec<u8>) {
    // The longest double has 24 characters and the longest integer 39; lexical asks for room to spare.
    let mut digits = [0; 128];
    out.extend_from_slice(lexical_core::write(value, &mut digits));
}

/// Appends a double; what JSON has no number for under Java's name, in quotes if `quoted`.
pub(super) fn double(value: f64, quoted: bool, out: &mut Vec<u8>) {
    if value.is_finite() {
        return number(value, out);
    }
    let name: &[u8] = match value {
        _ if value.is_nan() => b"NaN",
        _ if value > 0.0 => b"Infinity",
        _ => b"-Infinity",
    };
    let quote: &[u8] = if quoted { b"\"" } else { b"" };
    [quote, name, quote].iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a decimal with all digits of its scale.
pub(super) fn decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut digits = [0; 128];
    let digits = lexical_core::write(value.unsigned_abs(), &mut digits);
    let scale = scale.max(0) as usize;
    match digits.len().checked_sub(scale) {
        Some(whole @ 1..) => {
            out.extend_from_slice(&digits[..whole]);
            if scale > 0 {
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + scale - digits.len(), b'0');
            out.extend_from_slice(digits);
        }
    }
}

/// Units a second, and their digits.
fn precision(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

/// Appends `2018-01-01`. Years beyond four digits get a sign, as ISO 8601 has it.
pub(super) fn date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if !(0..10_000).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
    }
    padded(year.unsigned_abs(), 4, out);
    out.push(b'-');
    padded(month.into(), 2, out);
    out.push(b'-');
    padded(day.into(), 2, out);
}

/// Appends `04:17:05.000`.
pub(super) fn time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let (per_second, digits) = precision(unit);
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    padded((seconds / 3_600).unsigned_abs(), 2, out);
    out.push(b':');
    padded((seconds / 60 % 60).unsigned_abs(), 2, out);
    out.push(b':');
    padded((seconds % 60).unsigned_abs(), 2, out);
    if digits > 0 {
        out.push(b'.');
        padded(fraction.unsigned_abs(), digits, out);
    }
}

/// Appends `2018-01-01T04:17:05.000Z`, with as many digits as the type has.
pub(super) fn timestamp(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_day = precision(unit).0 * 86_400;
    date(value.div_euclid(per_day), out);
    out.push(b'T');
    time(value.rem_euclid(per_day), unit, out);
    out.push(b'Z');
}

/// Appends a number with leading zeros.
fn padded(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let from = at.min(digits.len() - width);
    out.extend_from_slice(&digits[from..]);
}
