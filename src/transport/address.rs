//! The address of a server: `HOST:PORT`, or `chat://FINGERPRINT@HOST:PORT`, which also names
//! its certificate and so leaves no doubt at first contact. What may stand for a host is in
//! [`host`](super::host).

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use super::fingerprint::{Fingerprint, NotAFingerprint};
use super::host::{Host, NotAHost};

/// The beginning of an address with a fingerprint.
const SCHEME: &str = "chat://";

/// The port of an address that names none; a server listens there unless told otherwise.
pub const DEFAULT_PORT: u16 = 8080;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
    /// The fingerprint of the certificate that is expected there.
    pub fingerprint: Option<Fingerprint>,
}

/// One server on the network, as `HOST:PORT`: the same text for all spellings of an address.
/// What is remembered of a server is remembered for this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

/// Why a text is not an address. Its sentence says how to write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnAddress {
    /// The host or the port is wrong, and why.
    Place(&'static str),
    /// What stands before the `@` is not a fingerprint.
    Fingerprint(NotAFingerprint),
}

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnAddress::Place(why) => write!(
                f,
                "{why}; write it as HOST:PORT, for instance 127.0.0.1:8080, or as \
                 chat://FINGERPRINT@HOST:PORT"
            ),
            NotAnAddress::Fingerprint(error) => error.fmt(f),
        }
    }
}

// The fingerprint's error is shown as it is and has no source, so neither has this.
impl std::error::Error for NotAnAddress {}

impl Address {
    /// The host alone, without brackets: what a certificate would name.
    pub fn host(&self) -> String {
        self.host.name()
    }

    /// The server that is meant.
    pub fn place(&self) -> Place {
        Place(format!("{}:{}", self.host.identity(), self.port))
    }

    /// The address without the fingerprint: `HOST:PORT`.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Asks the system where that is.
    ///
    /// # Errors
    /// The name has no address.
    pub fn resolve(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        (self.host.to_resolve(), self.port).to_socket_addrs()
    }
}

/// The address of a server that listens there.
impl From<SocketAddr> for Address {
    fn from(listening: SocketAddr) -> Self {
        Address {
            host: Host::from(listening.ip()),
            port: listening.port(),
            fingerprint: None,
        }
    }
}

impl Place {
    /// Whether it is reached over the loopback interface.
    pub fn is_this_machine(&self) -> bool {
        let host = self.0.rsplit_once(':').map(|(host, _)| host);
        host.and_then(|host| host.parse().ok())
            .is_some_and(|address: std::net::Ipv4Addr| address.is_loopback())
    }

    /// `HOST:PORT`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "{SCHEME}{fingerprint}@{}", self.host_and_port()),
            None => f.write_str(&self.host_and_port()),
        }
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let scheme = text
            .get(..SCHEME.len())
            .filter(|start| start.eq_ignore_ascii_case(SCHEME));
        let (fingerprint, place) = match scheme.map(|_| &text[SCHEME.len()..]) {
            None => (None, text),
            Some(rest) => match rest.trim_end_matches('/').split_once('@') {
                None => (None, rest.trim_end_matches('/')),
                Some((fingerprint, place)) => {
                    let parsed = fingerprint.parse().map_err(NotAnAddress::Fingerprint)?;
                    (Some(parsed), place)
                }
            },
        };
        let (host, port) = parse_place(place).map_err(|NotAHost(why)| NotAnAddress::Place(why))?;
        Ok(Address {
            host,
            port,
            fingerprint,
        })
    }
}

/// Reads `HOST`, `HOST:PORT`, or a bare IPv6 address.
fn parse_place(text: &str) -> Result<(Host, u16), NotAHost> {
    if text.matches(':').count() > 1 && !text.contains('[') {
        return parse_bare_v6(text);
    }
    match text.rsplit_once(':') {
        // The last colon of `[::1]` stands before no port.
        Some((host, port)) if !port.ends_with(']') => Ok((Host::parse(host)?, parse_port(port)?)),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(NotAHost("there is no host")),
        _ => Ok((Host::parse(text)?, DEFAULT_PORT)),
    }
}

/// Reads an IPv6 address without brackets. It is refused if its last group could as well be
/// a port.
fn parse_bare_v6(text: &str) -> Result<(Host, u16), NotAHost> {
    let before_port = text.rsplit_once(':').map(|(host, _)| host);
    if before_port.is_some_and(|host| Host::parse_v6(host).is_ok()) {
        return Err(NotAHost("an IPv6 address before a port stands in brackets"));
    }
    let host = Host::parse_v6(text)
        .map_err(|_| NotAHost("only an IPv6 address has more than one colon"))?;
    Ok((host, DEFAULT_PORT))
}

fn parse_port(text: &str) -> Result<u16, NotAHost> {
    match text.parse() {
        Ok(0) | Err(_) => Err(NotAHost("a port is a number from 1 to 65535")),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> String {
        let address: Address = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        address.place().as_str().to_owned()
    }

    #[test]
    fn both_forms_are_read_and_written_alike() {
        let fingerprint = Fingerprint([0xab; 32]);
        for text in [
            "chat.example:8080".to_owned(),
            "[::1]:8080".to_owned(),
            "[fe80::1%eth0]:8080".to_owned(),
            format!("chat://{fingerprint}@10.0.0.7:443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: Address = format!("CHAT://{fingerprint}@[::1]:8080/").parse().unwrap();
        assert_eq!(address.host(), "::1");
        assert_eq!(address.fingerprint, Some(fingerprint));
    }

    #[test]
    fn every_spelling_of_a_server_is_one_place() {
        for text in [
            "host:8080",
            "HOST:8080",
            "host.:8080",
            "host:08080",
            "host:+8080",
            "host",
            "Host.",
            "chat://host:8080",
            "Chat://HOST.",
            "chat://host/",
        ] {
            assert_eq!(place(text), "host:8080", "{text}");
        }
        for text in [
            "[2001:db8::5]:8080",
            "[2001:DB8:0:0:0:0:0:5]:08080",
            "[2001:db8::5]",
            "chat://[2001:db8::0005]",
            "2001:db8::5",
            "2001:db8:0:0:0:0:0:5",
        ] {
            assert_eq!(place(text), "[2001:db8::5]:8080", "{text}");
        }
        for text in ["localhost", "127.1", "[::1]:8080", "::1", "LOCALHOST.:8080"] {
            assert_eq!(place(text), "127.0.0.1:8080", "{text}");
        }
        assert_ne!(place("host:8081"), place("host:8080"));
        assert_ne!(place("host.example"), place("host"));
    }

    #[test]
    fn an_address_is_reached_as_it_was_typed() {
        let reached = |text: &str| {
            let address: Address = text.parse().unwrap();
            address.resolve().unwrap().next().unwrap().to_string()
        };
        assert_eq!(reached("[::1]:9"), "[::1]:9");
        assert_eq!(reached("127.1:9"), "127.0.0.1:9");
    }

    #[test]
    fn what_is_no_address_is_told_how_to_be_one() {
        for text in [
            "",
            ":8080",
            "8080",
            "::1:8080",
            "1:2:3:4:5:6:7:8:9",
            "host:",
            "host:http",
            "host:0",
            "host:65536",
            "host:-1",
            "host:++1",
            "host: 1",
            "host:80\u{202e}",
            "host:8080:8080",
            "[ho]st:80",
            "[evil]:80",
            "[::1]]:80",
            "[::1]80",
            "chat://00@host:8080",
            "chat://me@host",
            "chat://host/path",
            "chat://",
            "chat:host",
            "http://host",
            "a@b:80",
            "a b:80",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            let expected = ["HOST:PORT", "64 hexadecimal digits"];
            assert!(
                expected.iter().any(|way| error.to_string().contains(way)),
                "{text}: {error}"
            );
        }
    }
}
