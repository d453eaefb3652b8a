//! What the limits count as one address: an IPv4 address, or an IPv6 network of 64 bits,
//! since a customer who has one IPv6 address usually has its whole network.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address as the limits count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IpPrefix(IpAddr);

impl IpPrefix {
    /// What an address counts as.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() >> 64 << 64;
                IpPrefix(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            v4 => IpPrefix(v4),
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
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
}
