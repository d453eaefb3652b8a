//! A host in its one spelling: what a person may type for a name or an IP address, and what
//! that means. Nothing is resolved here; ports are in [`address`](super::address).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, in bytes (RFC 1035, section 2.3.4, without the root's dot).
const MAX_NAME: usize = 253;

/// The longest label of a name, in bytes (the same section).
const MAX_LABEL: usize = 63;

/// The longest zone, in bytes: what Linux and macOS allow an interface to be called.
const MAX_ZONE: usize = 15;

/// Names that systems give to their own loopback address. RFC 6761, section 6.3, adds all
/// that end in `.localhost`.
const LOOPBACK_NAMES: [&str; 4] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
];

/// A host. Two spellings of one host are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A name in lower case, without the dot of the root.
    Name(String),
    /// An address of version 4, also if it was written as one of version 6.
    V4(Ipv4Addr),
    /// An address of version 6, and for a link-local one perhaps the interface.
    V6(Ipv6Addr, Option<String>),
}

/// The text is no host. Says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAHost(pub(super) &'static str);

impl Host {
    /// Reads a name, an address of version 4, or one of version 6 in brackets.
    pub(super) fn parse(text: &str) -> Result<Self, NotAHost> {
        match text.strip_prefix('[') {
            Some(rest) => match rest.strip_suffix(']') {
                Some(inner) => Host::parse_v6(inner),
                None => Err(NotAHost("a bracket is not closed")),
            },
            None if text.contains(':') => {
                Err(NotAHost("an IPv6 address before a port stands in brackets"))
            }
            None => parse_name(text),
        }
    }

    /// Reads an address of version 6 without brackets, with or without a zone.
    pub(super) fn parse_v6(text: &str) -> Result<Self, NotAHost> {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| NotAHost("only an IPv6 address stands in brackets"))?;
        let of_zone = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if zone.is_some_and(|zone| {
            zone.is_empty() || zone.len() > MAX_ZONE || !zone.chars().all(of_zone)
        }) {
            return Err(NotAHost("behind '%' stands the name of an interface"));
        }
        Ok(match Host::from(IpAddr::V6(address)) {
            Host::V6(address, _) => Host::V6(address, zone.map(str::to_owned)),
            mapped => mapped,
        })
    }

    /// The host that pins and vaults are kept for. The addresses and names of the loopback
    /// interface are one host, and so is the unspecified address, which leads there. An
    /// interface names a way to a host, not another host.
    pub(super) fn identity(&self) -> Host {
        let loopback = match self {
            Host::Name(name) => {
                LOOPBACK_NAMES.contains(&name.as_str()) || name.ends_with(".localhost")
            }
            Host::V4(address) => *address == Ipv4Addr::LOCALHOST || address.is_unspecified(),
            Host::V6(address, _) => address.is_loopback() || address.is_unspecified(),
        };
        match self {
            _ if loopback => Host::V4(Ipv4Addr::LOCALHOST),
            Host::V6(address, _) => Host::V6(*address, None),
            other => other.clone(),
        }
    }

    /// What the system resolves: without brackets, with the zone.
    pub(super) fn to_resolve(&self) -> String {
        match self {
            Host::V6(address, Some(zone)) => format!("{address}%{zone}"),
            _ => self.name(),
        }
    }

    /// What a certificate would name: without brackets and zone.
    pub(super) fn name(&self) -> String {
        match self {
            Host::Name(name) => name.clone(),
            Host::V4(address) => address.to_string(),
            Host::V6(address, _) => address.to_string(),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Host::V4(address),
            IpAddr::V6(address) => Host::V6(address, None),
        }
    }
}

/// As it stands before a port.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::V6(..) => write!(f, "[{}]", self.to_resolve()),
            _ => f.write_str(&self.name()),
        }
    }
}

/// Reads a name, or an address of version 4 in any form that the system's resolver takes.
fn parse_name(text: &str) -> Result<Host, NotAHost> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_ascii() {
        return Err(NotAHost(
            "a name with letters other than a-z is written here in its form that begins with xn--; \
             the command `idn2 NAME` prints it",
        ));
    }
    if !name.chars().all(of_name) {
        return Err(NotAHost(
            "a host's name has only letters, digits, '-', '_' and '.'",
        ));
    }
    let labels_fit = name
        .split('.')
        .all(|label| (1..=MAX_LABEL).contains(&label.len()));
    if name.len() > MAX_NAME || !labels_fit {
        return Err(NotAHost("a part of the host's name is empty or too long"));
    }
    // No top-level domain is a number (RFC 3696, section 2), and resolvers agree.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
    match (numeric, parse_v4(&name)) {
        (true, Some(address)) => Ok(Host::V4(address)),
        (true, None) => Err(NotAHost("an IPv4 address is written like 192.0.2.7")),
        (false, _) => Ok(Host::Name(name)),
    }
}

/// Reads an address as `inet_aton` does, and with it the system's resolver: one to four parts,
/// decimal, octal or hexadecimal, of which the last fills all bytes that are left.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(parse_part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 0xff) {
        return None;
    }
    let bytes_left = 4 - first.len();
    let fits = bytes_left == 4 || *last < 1 << (8 * bytes_left);
    let high = first
        .iter()
        .zip([24, 16, 8])
        .fold(0, |bits, (part, shift)| bits | part << shift);
    fits.then(|| Ipv4Addr::from_bits(high | last))
}

fn parse_part(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // `from_str_radix` takes a sign, too.
    let digits_only = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits_only.then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Option<Ipv4Addr> {
        match Host::parse(text) {
            Ok(Host::V4(address)) => Some(address),
            _ => None,
        }
    }

    #[test]
    fn an_address_of_version_4_has_many_spellings() {
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.0.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.000.000.001",
            "127.0.0.1.",
            "[::ffff:127.0.0.1]",
            "[::FFFF:7f00:1]",
        ] {
            assert_eq!(v4(text), Some(Ipv4Addr::LOCALHOST), "{text}");
        }
        assert_eq!(v4("0xffffffff"), Some(Ipv4Addr::BROADCAST));
        assert_eq!(v4("1.0xffffff"), Some(Ipv4Addr::new(1, 255, 255, 255)));
        for text in [
            "256.0.0.1",
            "1.2.3.256",
            "1.65536.1",
            "1.16777216",
            "4294967296",
            "1.2.3.4.5",
            "1.2.3.08",
            "0x",
            "0xg",
            "1..2",
            "chat.1",
            "1.2.3.4..",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn brackets_hold_an_address_of_version_6_and_nothing_else() {
        let one = Host::parse("[2001:db8::5]").unwrap();
        for text in [
            "[2001:DB8::5]",
            "[2001:0db8:0:0:0:0:0:5]",
            "[2001:db8:0::0.0.0.5]",
        ] {
            assert_eq!(Host::parse(text).as_ref(), Ok(&one), "{text}");
        }
        assert_eq!(one.to_string(), "[2001:db8::5]");
        assert_eq!(one.name(), "2001:db8::5");
        for text in [
            "[ho]st",
            "[host]",
            "[127.0.0.1]",
            "[]",
            "[::1",
            "::1]",
            "[::1]]",
            "[[::1]]",
            "ho[st]",
            "[::1].",
            "[ ::1]",
            "[::1%]",
            "[::1%a b]",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interface_is_a_way_and_no_other_host() {
        let host = Host::parse("[fe80::1%eth0]").unwrap();
        assert_eq!(host.to_resolve(), "fe80::1%eth0");
        assert_eq!(host.identity(), Host::parse("[FE80::1]").unwrap());
    }

    #[test]
    fn a_name_is_lower_case_and_ascii() {
        let name = Host::parse("Chat-1.Example.").unwrap();
        assert_eq!(name, Host::Name("chat-1.example".to_owned()));
        let long_label = "x".repeat(64);
        let long_name = ["x".repeat(63).as_str(); 4].join(".");
        for text in [
            "",
            ".",
            "..",
            ".host",
            "host..",
            "ho..st",
            "a b",
            " host",
            "host\n",
            "h\u{f6}st",
            "host\u{3002}",
            "h\u{200b}ost",
            "me@host",
            "host/path",
            &long_label,
            &long_name,
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_loopback_interface_is_one_host() {
        let loopback = Host::V4(Ipv4Addr::LOCALHOST);
        for text in [
            "localhost",
            "LocalHost.",
            "chat.localhost",
            "ip6-localhost",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::]",
            "0",
            "0.0.0.0",
        ] {
            assert_eq!(Host::parse(text).unwrap().identity(), loopback, "{text}");
        }
        for text in ["127.0.0.2", "localhosts", "localhost.example", "[::2]"] {
            assert_ne!(Host::parse(text).unwrap().identity(), loopback, "{text}");
        }
    }
}
