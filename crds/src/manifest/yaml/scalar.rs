//! What a plain scalar means, by the rules of YAML 1.1 as `sigs.k8s.io/yaml` (`goyaml.v2/resolve.go`) applies them.

use serde_json::Number;

use super::Tree;

/// The value of a plain scalar without a tag. `None` where it has no form in JSON (`.inf`, `.nan`).
pub(super) fn resolve(text: &str) -> Option<Tree> {
    if let Some(known) = keyword(text) {
        return known;
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => {
            let plain = text.replace('_', "");
            (decimal_float(&plain) && underscores_separate_digits(text)).then_some(plain)
        }
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            if let Some(integer) = integer(&plain) {
                return Some(Tree::Number(integer));
            }
            decimal_float(&plain).then_some(plain)
        }
        _ => None,
    };
    // A float too large for 64 bits stays a text, as in Go, where parsing it is an error.
    let float = number.and_then(|plain| plain.parse::<f64>().ok()).filter(|float| float.is_finite());
    Some(float.map_or_else(|| Tree::String(text.to_owned()), |float| Tree::Number(json_number(float))))
}

/// Words with a meaning; `Some(None)` for those without a form in JSON.
fn keyword(text: &str) -> Option<Option<Tree>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Tree::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(Tree::Bool(false)),
        "" | "~" | "null" | "Null" | "NULL" => Some(Tree::Null),
        ".nan" | ".NaN" | ".NAN" => None,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => None,
        _ => return None,
    })
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`: `0x`, `0o`, `0b`, and `0` alone for octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match prefix.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.chars().next()?.is_digit(radix) {
        return None;
    }
    // ParseUint takes no sign at all, so `+` with more than 63 bits is no integer.
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(magnitude).map(Number::from);
    }
    (i64::try_from(magnitude).is_ok() || !text.starts_with('+')).then(|| Number::from(magnitude))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn decimal_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_ok && !exponent.is_empty() && digits(exponent)
}

/// What Go asks of underscores in a number.
fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1));
    (0..bytes.len()).filter(|at| bytes[*at] == b'_').all(separates)
}

/// A float as Go writes it to JSON: `1.0` becomes `1`, an integer.
fn json_number(float: f64) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() < EXACT {
        return Number::from(float as i64);
    }
    Number::from_f64(float).unwrap_or_else(|| Number::from(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json(text: &str) -> serde_json::Value {
        match resolve(text) {
            Some(Tree::Null) => json!(null),
            Some(Tree::Bool(value)) => json!(value),
            Some(Tree::Number(number)) => serde_json::Value::Number(number),
            Some(Tree::String(text)) => json!(text),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn plain_scalars_mean_what_kubectl_takes_them_for() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("On", json!(true)),
            ("y", json!(true)),
            ("NO", json!(false)),
            ("off", json!(false)),
            ("n", json!(false)),
            ("yEs", json!("yEs")),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("", json!(null)),
            ("0777", json!(511)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0b101", json!(-5)),
            ("08", json!(8)),
            ("1_000", json!(1000)),
            ("+5", json!(5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            (".6_1", json!(0.61)),
            ("._6", json!("._6")),
            ("1.", json!(1)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("0x", json!("0x")),
            ("0xg", json!("0xg")),
            ("-", json!("-")),
            ("1e999", json!("1e999")),
            ("5s", json!("5s")),
            ("10Mi", json!("10Mi")),
            ("12:30", json!("12:30")),
            ("2018-01-01", json!("2018-01-01")),
            ("2018-01-01T00:00:00Z", json!("2018-01-01T00:00:00Z")),
            ("1.2.3", json!("1.2.3")),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
        assert_eq!(resolve(".inf"), None);
    }
}
