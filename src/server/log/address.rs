//! How much of a client's address a line tells. Bans and limits always count with the whole address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

/// What is logged of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Addresses {
    /// All of them.
    Full,
    /// The network: the first 24 bits of IPv4, the first 48 of IPv6, and no port.
    Network,
    /// A dash in their place.
    None,
}

/// The [`Addresses`] in force, as a number.
static SHOWN: AtomicU8 = AtomicU8::new(Addresses::Full as u8);

/// Sets what is logged of addresses from here on.
pub(super) fn set(addresses: Addresses) {
    SHOWN.store(addresses as u8, Ordering::Relaxed);
}

/// A client's address in a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub SocketAddr);

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SHOWN.load(Ordering::Relaxed) {
            shown if shown == Addresses::Full as u8 => self.0.fmt(f),
            shown if shown == Addresses::Network as u8 => f.write_str(&network(self.0.ip())),
            _ => f.write_str("-"),
        }
    }
}

fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_tells_no_single_machine() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2::77", "2001:db8:1::/48"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }
}
