//! Which addresses connectors reach, whatever name led to them.
//!
//! A resource is written by somebody, and what opens its connections has a place in the network that its writer may not have:
//! beside a machine's metadata service, in a pod, before the API server. Brokers and stores of an organisation have private
//! addresses (RFC 1918, RFC 4193), so that those are no reason to refuse one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thalweg_crds::address::AddressRange;

use crate::error::Error;

/// Where clouds tell a machine who it is, and hand out its credentials.
const METADATA: [IpAddr; 10] = [
    // Amazon EC2, Google Cloud, Azure, Oracle Cloud, OpenStack and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Amazon ECS, and EKS Pod Identity.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure, which calls it WireServer.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Amazon EC2, EKS Pod Identity, Google Cloud, Oracle Cloud and Scaleway by IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

/// Where this process runs, as far as an address has a meaning by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Surroundings {
    /// On a machine, for whoever started it: brokers at the loopback address are theirs.
    #[default]
    Machine,
    /// In a pod that the operator has made: at the loopback address is what the pod itself serves.
    Pod {
        /// The API server's host, as Kubernetes tells every pod: an address, or, on some clouds, a name.
        api_server: String,
    },
}

impl Surroundings {
    /// Kubernetes sets `KUBERNETES_SERVICE_HOST` in every container; this is its value in one of a worker.
    pub fn new(api_server: Option<String>) -> Self {
        api_server.map_or(Self::Machine, |api_server| Self::Pod { api_server })
    }
}

/// What may be reached for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reachable {
    field: &'static str,
    exceptions: Vec<AddressRange>,
    surroundings: Surroundings,
}

/// On a machine, without exceptions.
impl Default for Reachable {
    fn default() -> Self {
        Self::new("allowPrivateAddresses", Vec::new(), Surroundings::default())
    }
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a cloud's metadata service.
    Metadata,
    /// It has a meaning on one machine's own network only (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// It is the API server.
    ApiServer,
    /// It is this pod.
    Loopback,
    /// It is no address of anybody: it leads to this machine (RFC 1122 §3.2.1.3).
    Unspecified,
    /// It is an address of many.
    Multicast,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "where clouds hand out the credentials of a machine",
            Self::LinkLocal => "an address of this machine's own network (link-local)",
            Self::ApiServer => "the API server of Kubernetes",
            Self::Loopback => "this pod itself",
            Self::Unspecified => "no address of a service",
            Self::Multicast => "an address of many",
        })
    }
}

/// An address that is not reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is {reason}, which connectors do not reach", at(.host, .address))]
pub struct Refused {
    /// The name that led to it, or the address as it was written.
    pub host: String,
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub reason: Reason,
    /// The field that names exceptions.
    field: &'static str,
}

fn at(host: &str, address: &IpAddr) -> String {
    match host.parse::<IpAddr>() {
        Ok(_) => format!("`{address}`"),
        Err(_) => format!("`{host}` is at {address}: that"),
    }
}

impl Refused {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let range = AddressRange::of(self.address);
        format!("name another host; where this one is meant, say `{}: [\"{range}\"]`", self.field)
    }

    /// The error that happened while `what` was done: the resource must change.
    pub fn about(&self, what: impl Into<String>) -> Error {
        Error::user(what, self).with_hint(self.hint())
    }
}

impl Reachable {
    /// What may be reached; `field` names the `exceptions` in messages.
    pub fn new(field: &'static str, exceptions: Vec<AddressRange>, surroundings: Surroundings) -> Self {
        Self { field, exceptions, surroundings }
    }

    /// Judges the address that a host has, or is.
    ///
    /// # Errors
    /// It is refused, and no exception names it.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        if self.exceptions.iter().any(|range| range.contains(address)) {
            return Ok(());
        }
        let address = address.to_canonical();
        let carried = carried(address).map(IpAddr::V4);
        let reason = [Some(address), carried].into_iter().flatten().find_map(|address| self.reason(host, address));
        match reason {
            Some(reason) => Err(Refused { host: host.to_owned(), address, reason, field: self.field }),
            None => Ok(()),
        }
    }

    /// Judges all addresses that a host has: whoever connects may take any of them.
    ///
    /// # Errors
    /// As [`Self::judge`], of the first one that is refused.
    pub fn judge_all(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), Refused> {
        addresses.into_iter().try_for_each(|address| self.judge(host, address))
    }

    fn reason(&self, host: &str, address: IpAddr) -> Option<Reason> {
        if METADATA.contains(&address) {
            return Some(Reason::Metadata);
        }
        if let Surroundings::Pod { api_server } = &self.surroundings {
            if is_of(api_server, host, address) {
                return Some(Reason::ApiServer);
            }
            if address.is_loopback() {
                return Some(Reason::Loopback);
            }
        }
        let (is_nobody, is_link_local, is_broadcast) = match address {
            IpAddr::V4(address) => (address.octets()[0] == 0, address.is_link_local(), address.is_broadcast()),
            IpAddr::V6(address) => (address.is_unspecified(), address.is_unicast_link_local(), false),
        };
        let found = [
            (is_nobody, Reason::Unspecified),
            (is_link_local, Reason::LinkLocal),
            (is_broadcast || address.is_multicast(), Reason::Multicast),
        ];
        found.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason))
    }
}

/// Whether a host and its address are those of the API server.
fn is_of(api_server: &str, host: &str, address: IpAddr) -> bool {
    match api_server.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(api_server) => api_server.to_canonical() == address,
        Err(_) => api_server.trim_end_matches('.').eq_ignore_ascii_case(host.trim_end_matches('.')),
    }
}

/// The address of IPv4 that one of IPv6 carries, to which a gateway or the machine itself passes on what is sent: NAT64 (RFC 6052), 6to4
/// (RFC 3056), and the older form that is compatible with IPv4 (RFC 4291 §2.5.5.1).
fn carried(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let (high, low) = match address.segments() {
        // `::` and `::1` are what they are.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reachable(exceptions: &[&str], surroundings: Surroundings) -> Reachable {
        let exceptions = exceptions.iter().map(|range| range.parse().expect("a range")).collect();
        Reachable::new("kafka.allowPrivateAddresses", exceptions, surroundings)
    }

    fn pod() -> Surroundings {
        Surroundings::new(Some("10.96.0.1".to_owned()))
    }

    fn reason(reachable: &Reachable, address: &str) -> Option<Reason> {
        reachable.judge("kafka", address.parse().expect("an address")).err().map(|refused| refused.reason)
    }

    #[test]
    fn what_lies_beside_a_worker_is_refused_and_what_an_organisation_runs_is_not() {
        let everywhere = [
            (None, "10.0.0.5"),
            (None, "10.96.0.2"),
            (None, "172.16.3.4"),
            (None, "192.168.1.1"),
            (None, "100.64.0.1"),
            (None, "8.8.8.8"),
            (None, "169.253.255.255"),
            (None, "169.255.0.0"),
            (None, "fd12:3456::1"),
            (None, "fe00::1"),
            (None, "fec0::1"),
            (None, "2001:db8::1"),
            (None, "64:ff9b::808:808"),
            (Some(Reason::Metadata), "169.254.169.254"),
            (Some(Reason::Metadata), "169.254.170.23"),
            (Some(Reason::Metadata), "100.100.100.200"),
            (Some(Reason::Metadata), "168.63.129.16"),
            (Some(Reason::Metadata), "fd00:ec2::254"),
            (Some(Reason::Metadata), "::ffff:169.254.169.254"),
            (Some(Reason::Metadata), "::ffff:168.63.129.16"),
            (Some(Reason::Metadata), "::169.254.169.254"),
            (Some(Reason::Metadata), "64:ff9b::a9fe:a9fe"),
            (Some(Reason::Metadata), "2002:a9fe:a9fe::1"),
            (Some(Reason::LinkLocal), "169.254.0.0"),
            (Some(Reason::LinkLocal), "169.254.255.255"),
            (Some(Reason::LinkLocal), "::ffff:169.254.1.1"),
            (Some(Reason::LinkLocal), "fe80::1"),
            (Some(Reason::LinkLocal), "febf:ffff::1"),
            (Some(Reason::Unspecified), "0.0.0.0"),
            (Some(Reason::Unspecified), "0.1.2.3"),
            (Some(Reason::Unspecified), "::"),
            (Some(Reason::Unspecified), "::ffff:0.0.0.0"),
            (Some(Reason::Multicast), "224.0.0.1"),
            (Some(Reason::Multicast), "239.255.255.255"),
            (Some(Reason::Multicast), "255.255.255.255"),
            (Some(Reason::Multicast), "ff02::1"),
        ];
        for (expected, address) in everywhere {
            for surroundings in [Surroundings::Machine, pod()] {
                assert_eq!(reason(&reachable(&[], surroundings), address), expected, "{address}");
            }
        }
    }

    #[test]
    fn in_a_pod_the_loopback_address_and_the_api_server_are_refused_too() {
        for (address, in_pod) in [
            ("127.0.0.1", Reason::Loopback),
            ("127.8.8.8", Reason::Loopback),
            ("::1", Reason::Loopback),
            ("::ffff:127.0.0.1", Reason::Loopback),
            ("10.96.0.1", Reason::ApiServer),
            ("::ffff:10.96.0.1", Reason::ApiServer),
            ("64:ff9b::10.96.0.1", Reason::ApiServer),
        ] {
            assert_eq!(reason(&reachable(&[], pod()), address), Some(in_pod), "{address}");
            assert_eq!(reason(&reachable(&[], Surroundings::Machine), address), None, "{address}");
        }
    }

    #[test]
    fn an_api_server_that_is_told_by_name_is_refused_by_it() {
        let named = reachable(&[], Surroundings::new(Some("cluster.example.com".to_owned())));
        let address = IpAddr::V4(Ipv4Addr::new(20, 0, 0, 1));
        assert_eq!(named.judge("Cluster.Example.Com.", address).expect_err("refused").reason, Reason::ApiServer);
        assert_eq!(named.judge("other.example.com", address), Ok(()));
        let ipv6 = reachable(&[], Surroundings::new(Some("fd00:10::1".to_owned())));
        assert_eq!(reason(&ipv6, "fd00:10::1"), Some(Reason::ApiServer));
    }

    #[test]
    fn an_exception_opens_what_it_names_and_nothing_beside_it() {
        let allowed = reachable(&["169.254.20.10", "127.0.0.0/8", "fe80::/10", "10.96.0.1/32"], pod());
        for address in ["169.254.20.10", "::ffff:169.254.20.10", "127.0.0.1", "fe80::1", "10.96.0.1"] {
            assert_eq!(reason(&allowed, address), None, "{address}");
        }
        assert_eq!(reason(&allowed, "169.254.20.11"), Some(Reason::LinkLocal));
        assert_eq!(reason(&allowed, "169.254.169.254"), Some(Reason::Metadata));
        assert_eq!(reason(&allowed, "::1"), Some(Reason::Loopback));
    }

    #[test]
    fn a_refusal_names_host_address_and_reason_and_what_to_write() {
        let refused = |host: &str, address: &str| {
            let refused = reachable(&[], pod()).judge(host, address.parse().expect("an address"));
            refused.expect_err("refused").about("reaching Kafka").to_string()
        };
        assert_eq!(
            refused("metadata.example.com", "169.254.169.254"),
            "reaching Kafka: `metadata.example.com` is at 169.254.169.254: that is where clouds hand out the credentials of a \
             machine, which connectors do not reach (name another host; where this one is meant, say \
             `kafka.allowPrivateAddresses: [\"169.254.169.254/32\"]`)"
        );
        assert!(refused("fe80::1", "fe80::1").contains("`fe80::1` is an address of this machine's own network"));
        assert!(refused("10.96.0.1", "10.96.0.1").contains("[\"10.96.0.1/32\"]"));
    }

    #[test]
    fn of_several_addresses_of_a_host_one_is_enough_to_refuse_it() {
        let addresses = ["10.0.0.1", "169.254.169.254"].map(|address| address.parse().expect("an address"));
        let refused = reachable(&[], pod()).judge_all("kafka", addresses).expect_err("refused");
        assert_eq!(refused.address, addresses[1]);
    }

    proptest! {
        #[test]
        fn in_whatever_form_an_address_is_written_it_is_judged_alike(address: Ipv4Addr) {
            let reachable = reachable(&[], pod());
            let judged = |address: IpAddr| reachable.judge("a", address).map_err(|refused| refused.reason);
            let plain = judged(address.into());
            prop_assert_eq!(judged(address.to_ipv6_mapped().into()), plain);
            let nat64 = Ipv6Addr::from_bits((0x64_ff9b << 96) | u128::from(address.to_bits()));
            prop_assert_eq!(judged(nat64.into()), plain);
        }

        #[test]
        fn what_is_named_as_an_exception_is_reached(address: IpAddr) {
            let named = AddressRange::of(address);
            prop_assert_eq!(Reachable::new("f", vec![named], pod()).judge("a", address), Ok(()));
        }
    }
}
