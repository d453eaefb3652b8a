//! What the limits count as one address: an IPv4 address, or an IPv6 network of 64 bits,
//! since a customer who has one IPv6 address usually has its whole network. Many customers have
//! 65,536 such networks, a site of 48 bits; so a site counts too, for [`NETWORKS_OF_SITE`] of them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A site may ask for as much as this many networks of its.
pub(crate) const NETWORKS_OF_SITE: u32 = 8;

/// An address as the limits count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IpPrefix {
    /// Its first address.
    first: IpAddr,
    /// How many bits all its addresses share.
    bits: u32,
}

impl IpPrefix {
    /// What an address counts as.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => IpPrefix::network(v6, 64),
            first => IpPrefix { first, bits: 32 },
        }
    }

    /// The site that an IPv6 network belongs to.
    pub(crate) fn site(self) -> Option<Self> {
        match self.first {
            IpAddr::V6(v6) => Some(IpPrefix::network(v6, 48)),
            IpAddr::V4(_) => None,
        }
    }

    fn network(address: Ipv6Addr, bits: u32) -> Self {
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        let first = IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask));
        IpPrefix { first, bits }
    }

    /// Whether an address is one of these.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(v4)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                v4.to_bits() & mask == first.to_bits()
            }
            (IpAddr::V6(first), IpAddr::V6(v6)) => {
                IpPrefix::network(v6, self.bits).first == IpAddr::V6(first)
            }
            _ => false,
        }
    }
}

impl FromStr for IpPrefix {
    type Err = &'static str;

    /// Reads a network as an operator writes it: `10.0.0.0/8`, `fd00::/8`, or one address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address
            .parse()
            .map_err(|_| "a network is an address and its length, as 10.0.0.0/8 or fd00::/8")?;
        let most = match first {
            IpAddr::V4(_) => 32,
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                return Err("write this address as IPv4");
            }
            IpAddr::V6(_) => 128,
        };
        let bits = match bits.map(str::parse) {
            None => most,
            Some(Ok(bits)) if bits <= most => bits,
            Some(_) => return Err("a network's length is a number up to 32, or 128 for IPv6"),
        };
        let all_bits = match first {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        match all_bits.checked_shl(bits).unwrap_or(0) {
            0 => Ok(IpPrefix { first, bits }),
            _ => Err("this network's address has bits behind its length, which have to be 0"),
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(v4) if self.bits == 32 => v4.fmt(f),
            IpAddr::V4(v4) => write!(f, "{v4}/{}", self.bits),
            IpAddr::V6(v6) => write!(f, "{v6}/{}", self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> String {
        IpPrefix::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn neighbours_share_a_network_in_ipv6_only() {
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2:ffff::"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:3::"), "2001:db8:1:3::/64");
    }

    #[test]
    fn a_network_is_read_and_contains_its_own() {
        let contains = |network: &str, address: &str| {
            let network: IpPrefix = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("0.0.0.0/0", "192.0.2.7") && !contains("0.0.0.0/0", "::2"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "192.0.2.7"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe80::1"));
        for wrong in [
            "10.0.0.1/8",
            "fd00::1/8",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "x",
            "",
            "::/-1",
        ] {
            assert!(wrong.parse::<IpPrefix>().is_err(), "{wrong}");
        }
        assert!("::ffff:10.0.0.0/104".parse::<IpPrefix>().is_err());
    }

    #[test]
    fn networks_of_one_customer_share_a_site() {
        let site = |address: &str| {
            let site = IpPrefix::of(address.parse().unwrap()).site();
            site.map(|site| site.to_string())
        };
        assert_eq!(site("203.0.113.7"), None);
        assert_eq!(site("2001:db8:1:2::3").unwrap(), "2001:db8:1::/48");
        assert_eq!(site("2001:db8:1:ffff::3").unwrap(), "2001:db8:1::/48");
        assert_eq!(site("2001:db8:2::3").unwrap(), "2001:db8:2::/48");
    }
}
