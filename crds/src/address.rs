//! Ranges of IP addresses as CIDR writes them (RFC 4632, RFC 4291 §2.3): `10.1.0.0/16`, `fd00::/8`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What the schema accepts. Every match of IPv4 parses; of IPv6 it is the shape only.
pub const PATTERN: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}(/(3[0-2]|[12]?[0-9]))?|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,8}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$";

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    /// One of them.
    address: IpAddr,
    /// How many bits they share, from the first one on.
    bits: u32,
}

/// A text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of addresses; expected CIDR, such as 10.1.0.0/16, or an address")]
pub struct AddressRangeError(String);

impl AddressRange {
    /// The range that holds one address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: width(address) }
    }

    /// Whether an address lies within; an IPv4 address that is written as one of IPv6 counts as what it is.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let rest = width(self.address) - self.bits;
        // All bits may be free: nothing is left to compare then.
        width(address) == width(self.address)
            && number(address).checked_shr(rest) == number(self.address).checked_shr(rest)
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let wrong = || AddressRangeError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let Some(bits) = bits else { return Ok(Self::of(address)) };
        let is_number = bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        if !is_number || bits > width(address) {
            return Err(wrong());
        }
        let canonical = address.to_canonical();
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
        match bits.checked_sub(width(address) - width(canonical)) {
            Some(bits) => Ok(Self { address: canonical, bits }),
            None => Ok(Self { address, bits }),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("a range")
    }

    #[test]
    fn a_range_holds_what_shares_its_first_bits() {
        for (text, within, beyond) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3/16", "10.1.0.0", "11.1.2.3"),
            ("192.168.0.7", "192.168.0.7", "192.168.0.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "fe80::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::1", "::1", "::2"),
            ("169.254.0.0/16", "::ffff:169.254.169.254", "::ffff:169.253.0.1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
        ] {
            let is_within = |address: &str| range(text).contains(address.parse().expect("an address"));
            assert!(is_within(within), "{text} holds {within}");
            assert!(!is_within(beyond), "{text} does not hold {beyond}");
        }
    }

    #[test]
    fn what_is_no_range_is_told_with_what_is_expected() {
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "010.0.0.0/8", "fd00::/129", "kafka", "::g"]
        {
            let error = text.parse::<AddressRange>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}` is no range of addresses; expected CIDR")), "{error}");
        }
        assert_eq!(range("10.0.0.7").to_string(), "10.0.0.7/32");
    }

    #[test]
    fn the_schema_takes_what_parses_and_of_ipv4_nothing_else() {
        let pattern = Regex::new(PATTERN).expect("a pattern");
        for text in [
            "10.0.0.0/8",
            "10.0.0.7",
            "0.0.0.0/0",
            "255.255.255.255/32",
            "fd00::/8",
            "::/0",
            "::1",
            "1:2:3:4:5:6:7:8/128",
        ] {
            assert!(pattern.is_match(text), "{text}");
        }
        for text in ["", "256.0.0.0/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0/8", "fd00::/129", "kafka", "kafka:9092"] {
            assert!(!pattern.is_match(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_range_reads_as_it_is_written_and_the_schema_takes_it(address: IpAddr, free in 0_u32..=128) {
            let address = address.to_canonical();
            let bits = width(address).saturating_sub(free);
            let text = format!("{address}/{bits}");
            let range: AddressRange = text.parse().expect("a range");
            prop_assert!(range.contains(address));
            prop_assert_eq!(range.to_string().parse::<AddressRange>(), Ok(range));
            prop_assert!(address.is_ipv6() || Regex::new(PATTERN).expect("a pattern").is_match(&text));
        }
    }
}
