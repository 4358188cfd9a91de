//! Quantities of bytes as Kubernetes writes them: `10Mi`, `1Gi`, `500k`, or a plain number.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the schema accepts of a text; every match parses without overflow.
pub const PATTERN: &str = r"^([0-9]{1,15}|[0-9]{1,6}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti))$";

/// What the schema accepts of a text that means one byte or more.
pub const POSITIVE_PATTERN: &str = r"^(0{0,5}[1-9][0-9]{0,14}|(0{0,5}[1-9][0-9]{0,5}(\.[0-9]{1,3})?|0{1,6}\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))(k|M|G|T|Ki|Mi|Gi|Ti))$";

/// The schema of one byte or more.
pub(crate) fn positive(_: &mut SchemaGenerator) -> Schema {
    schema(1, POSITIVE_PATTERN)
}

fn schema(least: u64, pattern: &str) -> Schema {
    // An upper bound as tight as that of the pattern, and one that a JSON number holds exactly.
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": least,
        "maximum": 999_999_999_999_999_u64,
        "maxLength": 32,
        "pattern": pattern,
    })
}

const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// A number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A number of mebibytes.
    pub const fn from_mebi(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// How many bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A text is no quantity of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no quantity of bytes; expected a number with a unit (k, M, G, T, Ki, Mi, Gi, Ti), such as 10Mi")]
pub struct QuantityError(String);

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text).map(Self).ok_or_else(|| QuantityError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if unit > 1 => (whole, fraction),
        Some(_) => return None,
        None => (number, "0"),
    };
    let digits = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let unit = u128::from(unit);
    let bytes = whole.parse::<u128>().ok()? * unit + fraction.parse::<u128>().ok()? * unit / scale;
    u64::try_from(bytes).ok()
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().take(4).find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(0, PATTERN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_kubernetes_users_write() {
        for (text, bytes) in [
            ("10Mi", 10 << 20),
            ("1Gi", 1 << 30),
            ("128Mi", 128 << 20),
            ("1.5Gi", 3 << 29),
            ("500k", 500_000),
            ("42", 42),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes::new(bytes)), "{text}");
        }
        assert_eq!(serde_json::from_str::<Bytes>("1024").unwrap(), Bytes::new(1024));
    }

    #[test]
    fn says_what_is_expected_of_a_text_that_is_no_quantity() {
        for text in ["", "Mi", "10MB", "10 Mi", "-1Mi", "1.5", "1e6", "1.Mi", "99999999999999Ti"] {
            assert_eq!(text.parse::<Bytes>(), Err(QuantityError(text.to_owned())));
        }
        assert_eq!(
            "10MB".parse::<Bytes>().unwrap_err().to_string(),
            "`10MB` is no quantity of bytes; expected a number with a unit (k, M, G, T, Ki, Mi, Gi, Ti), such as 10Mi"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in any::<u64>()) {
            let quantity = Bytes::new(bytes);
            prop_assert_eq!(quantity.to_string().parse::<Bytes>(), Ok(quantity));
        }

        #[test]
        fn whatever_the_schema_accepts_parses(
            text in r"[0-9]{1,15}|[0-9]{1,6}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)"
        ) {
            prop_assert!(text.parse::<Bytes>().is_ok());
        }

        #[test]
        fn whatever_the_schema_accepts_of_one_byte_or_more_is_some(text in POSITIVE_PATTERN.trim_matches(['^', '$'])) {
            prop_assert!(text.parse::<Bytes>().is_ok_and(|found| found >= Bytes::new(1)), "{text}");
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Bytes>();
        }
    }
}
