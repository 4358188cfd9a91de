//! Numbers in text: as JSON writes them, and more freely where they are given as text, as Flink reads those.

use super::cell::{Kind, Token};

/// A decimal number: `mantissa × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    negative: bool,
    mantissa: u128,
    exponent: i32,
    /// Whether digits beyond the 38th were dropped.
    is_cut: bool,
    /// Whether the first of them was 5 or more.
    is_half: bool,
}

/// The most digits that a mantissa holds, as many as the widest DECIMAL.
const DIGITS: u32 = 38;
/// Beyond this an exponent makes anything zero or infinite.
const FAR: i32 = 100_000;

impl Number {
    /// Reads a bare JSON number, or a number in text: blanks around it, a plus sign and leading zeros count there.
    pub fn parse(token: Token<'_>) -> Option<Self> {
        let is_text = token.kind == Kind::Text;
        let bytes = if is_text { token.bytes().trim_ascii() } else { token.bytes() };
        let (negative, bytes) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) if is_text => (false, rest),
            _ => (false, bytes),
        };
        let mut number = Self { negative, mantissa: 0, exponent: 0, is_cut: false, is_half: false };
        let mut digits = 0;
        let rest = number.take_digits(bytes, &mut digits, 0);
        let whole = bytes.len() - rest.len();
        let mut rest = rest;
        let mut fraction = 0;
        if let Some((b'.', after)) = rest.split_first() {
            rest = number.take_digits(after, &mut digits, -1);
            fraction = after.len() - rest.len();
            if !is_text && fraction == 0 {
                return None;
            }
        }
        let leading_zero = whole > 1 && bytes[0] == b'0';
        if whole + fraction == 0 || (!is_text && (whole == 0 || leading_zero)) {
            return None;
        }
        number.take_exponent(rest)
    }

    /// Takes digits; each moves the exponent by `shift` where it is kept, and by one more where it is dropped.
    fn take_digits<'a>(&mut self, mut bytes: &'a [u8], digits: &mut u32, shift: i32) -> &'a [u8] {
        while let Some((&byte, rest)) = bytes.split_first() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            if *digits < DIGITS {
                self.mantissa = self.mantissa * 10 + u128::from(digit);
                *digits += u32::from(self.mantissa != 0);
                self.exponent += shift;
            } else {
                if *digits == DIGITS {
                    self.is_half = digit >= 5;
                    *digits += 1;
                }
                self.exponent += shift + 1;
                self.is_cut |= digit != 0;
            }
            bytes = rest;
        }
        bytes
    }

    /// Takes `e…`, which must be all that is left.
    fn take_exponent(mut self, rest: &[u8]) -> Option<Self> {
        let Some((b'e' | b'E', rest)) = rest.split_first() else {
            return rest.is_empty().then_some(self);
        };
        let (negative, digits) = match rest.split_first()? {
            (b'-', digits) => (true, digits),
            (b'+', digits) => (false, digits),
            _ => (false, rest),
        };
        let digit = |value: i32, &b: &u8| b.is_ascii_digit().then(|| (value * 10 + i32::from(b - b'0')).min(FAR));
        let exponent = if digits.is_empty() { None } else { digits.iter().try_fold(0, digit) }?;
        self.exponent += if negative { -exponent } else { exponent };
        Some(self)
    }

    /// The whole number that this is, if it is one: `1e3` is 1000.
    pub fn to_integer(self) -> Option<i128> {
        let magnitude = match self.mantissa {
            0 => 0,
            m if self.exponent >= 0 => m.checked_mul(power(self.exponent)?)?,
            m => {
                let divisor = power(-self.exponent)?;
                (m % divisor == 0 && !self.is_cut).then_some(m / divisor)?
            }
        };
        self.signed(magnitude)
    }

    /// The number times `10^scale`, rounded half up as `BigDecimal.setScale` does in Flink; `None` above `10^precision`.
    pub fn to_decimal(self, precision: u8, scale: i8) -> Option<i128> {
        let shift = self.exponent.saturating_add(i32::from(scale));
        let magnitude = match self.mantissa {
            0 => 0,
            // What was dropped counts where the last digit that is left is the last one asked for.
            m if shift == 0 => m + u128::from(self.is_half),
            m if shift > 0 => m.checked_mul(power(shift)?)?,
            m => match power(-shift) {
                Some(divisor) => m / divisor + u128::from(m % divisor >= divisor.div_ceil(2)),
                None => 0,
            },
        };
        let is_within = power(i32::from(precision)).is_some_and(|limit| magnitude < limit);
        is_within.then(|| self.signed(magnitude))?
    }

    /// The nearest double, where the digits at hand give it exactly (Clinger's fast path).
    fn to_exact_f64(self) -> Option<f64> {
        const POWERS: [f64; 23] = [
            1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
            1e19, 1e20, 1e21, 1e22,
        ];
        let mantissa = u64::try_from(self.mantissa).ok().filter(|&m| m <= 1 << 53 && !self.is_cut)? as f64;
        let power = POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -value } else { value })
    }

    fn signed(self, magnitude: u128) -> Option<i128> {
        let value = i128::try_from(magnitude).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// `10^exponent`, where it fits.
fn power(exponent: i32) -> Option<u128> {
    10_u128.checked_pow(exponent.try_into().ok()?)
}

/// A whole number that fits into 64 bits.
#[inline]
pub(crate) fn integer(token: Token<'_>) -> Option<i64> {
    match short_integer(token) {
        Some(value) => Some(value as i64),
        None => Number::parse(token)?.to_integer()?.try_into().ok(),
    }
}

/// One to sixteen digits and nothing else, eight at a time.
#[inline]
pub(crate) fn short_integer(token: Token<'_>) -> Option<u64> {
    let first = token.load8(0)?;
    if token.kind == Kind::Scalar && first as u8 == b'0' && token.len > 1 {
        return None;
    }
    match token.len {
        1..=8 => eight_digits(first << (64 - 8 * token.len), 8 - token.len),
        9..=16 => {
            let low = token.load8(token.len - 8)?;
            let high = eight_digits(first << (128 - 8 * token.len), 16 - token.len)?;
            Some(high * 100_000_000 + eight_digits(low, 0)?)
        }
        _ => None,
    }
}

/// The number that eight digits write, the first in the lowest byte; the lowest `absent` bytes count as zeros.
#[inline]
fn eight_digits(bytes: u64, absent: usize) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let zeros = ZEROS.checked_shl(8 * absent as u32)?;
    let digits = bytes ^ zeros;
    if digits.wrapping_add(0x7676_7676_7676_7676) & 0x8080_8080_8080_8080 != 0 || digits & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((quads.wrapping_mul(10_000) + (quads >> 32)) & 0xffff_ffff)
}

/// A double: `NaN` and `Infinity` are read from text only, and what overflows is none.
pub(crate) fn double(token: Token<'_>) -> Option<f64> {
    if let Some(value) = special(token) {
        return Some(value);
    }
    let number = Number::parse(token)?;
    let value = match number.to_exact_f64() {
        Some(value) => value,
        None => std::str::from_utf8(token.bytes().trim_ascii()).ok()?.parse().ok()?,
    };
    value.is_finite().then_some(value)
}

/// A float, rounded once from the text.
pub(crate) fn float(token: Token<'_>) -> Option<f32> {
    if let Some(value) = special(token) {
        return Some(value as f32);
    }
    Number::parse(token)?;
    let value: f32 = std::str::from_utf8(token.bytes().trim_ascii()).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// The values that JSON has no numbers for, as Java writes them.
fn special(token: Token<'_>) -> Option<f64> {
    if token.kind != Kind::Text {
        return None;
    }
    match token.bytes() {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scalar(text: &str) -> Token<'_> {
        Token::of(text.as_bytes(), Kind::Scalar)
    }

    fn text(text: &str) -> Token<'_> {
        Token::of(text.as_bytes(), Kind::Text)
    }

    proptest! {
        #[test]
        fn integers_are_read_whatever_follows_them(value in any::<i64>(), short in 0_u32..64, after in ".{0,20}") {
            let value = value >> short;
            let digits = value.to_string();
            let whole = format!("{digits}{after}");
            let token = Token { text: whole.as_bytes(), start: 0, len: digits.len(), kind: Kind::Scalar };
            prop_assert_eq!(integer(token), Some(value));
        }

        #[test]
        fn sixteen_bytes_are_digits_or_no_number(bytes in prop::collection::vec(any::<u8>(), 1..17)) {
            let mut padded = bytes.clone();
            padded.extend([b'0'; 16]);
            let token = Token { text: &padded, start: 0, len: bytes.len(), kind: Kind::Text };
            let expected = std::str::from_utf8(&bytes).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            prop_assert_eq!(short_integer(token), expected.and_then(|t| t.parse().ok()));
        }

        #[test]
        fn doubles_and_floats_are_the_nearest(value in any::<f64>(), digits in 0_usize..20) {
            for written in [format!("{value}"), format!("{value:e}"), format!("{value:.digits$}")] {
                if value.is_finite() {
                    prop_assert_eq!(double(scalar(&written)), written.parse().ok(), "{}", written);
                    let float_value: f32 = written.parse().unwrap();
                    prop_assert_eq!(float(scalar(&written)), Some(float_value).filter(|f| f.is_finite()));
                }
            }
        }

        #[test]
        fn decimals_are_exact(unscaled in -999_999_999_999_i128..=999_999_999_999) {
            let sign = if unscaled < 0 { "-" } else { "" };
            let digits = unscaled.unsigned_abs();
            let written = format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000);
            let number = Number::parse(scalar(&written)).unwrap();
            prop_assert_eq!(number.to_decimal(12, 4), Some(unscaled));
            prop_assert_eq!(number.to_decimal(38, 20), Some(unscaled * 10_i128.pow(16)));
        }
    }

    #[test]
    fn exponents_are_whole_numbers_where_they_are_whole() {
        for (written, value) in [("1e3", 1000), ("1.5e1", 15), ("-2.0", -2), ("100e-2", 1), ("0e999999999", 0)] {
            assert_eq!(integer(scalar(written)), Some(value), "{written}");
        }
        for written in ["1.5", "1e-1", "1e19", "9223372036854775808", "-9223372036854775809", "1e999999999"] {
            assert_eq!(integer(scalar(written)), None, "{written}");
        }
        assert_eq!(integer(scalar("-9223372036854775808")), Some(i64::MIN));
    }

    #[test]
    fn text_is_read_more_freely_than_json_is() {
        for written in ["01", "+1", " 1 ", "1.", "1e0", "00000000000000000001"] {
            assert_eq!(integer(text(written)), Some(1), "{written}");
            assert_eq!(integer(scalar(written)), (written == "1e0").then_some(1), "{written}");
        }
        for written in ["", " ", "-", "+", ".", "e1", "1e", "1e+", "0x1", "1_0", "--1", "1 1", "١", "1.5.2"] {
            assert_eq!(integer(text(written)), None, "{written}");
            assert_eq!(double(text(written)), None, "{written}");
        }
        assert_eq!(double(text("Infinity")), Some(f64::INFINITY));
        assert_eq!(double(scalar("NaN")), None);
    }

    #[test]
    fn decimals_are_rounded_half_up_and_bounded() {
        let decimal = |written: &str| Number::parse(scalar(written)).and_then(|n| n.to_decimal(4, 2));
        for (written, value) in [("1.005", 101), ("1.004", 100), ("-1.005", -101), ("99.99", 9999), ("1e-9", 0)] {
            assert_eq!(decimal(written), Some(value), "{written}");
        }
        for written in ["99.995", "100", "1e30", "1e99999"] {
            assert_eq!(decimal(written), None, "{written}");
        }
        let widest = "9".repeat(38);
        let number = Number::parse(scalar(&widest)).unwrap();
        assert_eq!(number.to_decimal(38, 0), Some(10_i128.pow(38) - 1));
        assert_eq!(Number::parse(scalar(&format!("{widest}.5"))).unwrap().to_decimal(38, 0), None);
        // Digits that a mantissa does not hold are rounded as well.
        let ones: i128 = "1".repeat(38).parse().unwrap();
        for (fraction, rounded) in [("4", 0), ("49", 0), ("5", 1), ("9", 1), ("05", 0), ("50000001", 1)] {
            let written = format!("{ones}.{fraction}");
            assert_eq!(Number::parse(scalar(&written)).unwrap().to_decimal(38, 0), Some(ones + rounded), "{written}");
            let negative = format!("-{written}");
            assert_eq!(Number::parse(scalar(&negative)).unwrap().to_decimal(38, 0), Some(-ones - rounded));
            // The point further to the left.
            let small = format!("{}.{}{fraction}", &written[..30], &written[30..38]);
            assert_eq!(Number::parse(scalar(&small)).unwrap().to_decimal(38, 8), Some(ones + rounded), "{small}");
            assert_eq!(Number::parse(scalar(&format!("{written}e-2"))).unwrap().to_decimal(38, 0), Some(ones / 100));
        }
    }
}
