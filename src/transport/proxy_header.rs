//! The header with which a proxy begins a connection, to say for whom it connects: version 2 of
//! HAProxy's PROXY protocol. It reads bytes; who may send a header is decided in the server.
//!
//! Source: section 2.2 of `doc/proxy-protocol.txt` in HAProxy's repository. The older version 1,
//! a line of text, is refused, and so is whatever is not a TCP connection.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What each header begins with. No client and no person at the console begins so.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The header of a connection that a proxy makes on its own behalf, to look whether the server
/// answers.
pub const LOCAL: [u8; FIXED] = *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// The longest header that is taken, in bytes. Addresses need 52; the rest is for what proxies add
/// to them.
pub const MAX_HEADER: usize = 2048;

/// The bytes before the addresses: signature, version with command, family with protocol, length.
const FIXED: usize = 16;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has; what the client has sent follows.
    pub length: usize,
    /// The client; `None` if the proxy connects on its own behalf.
    pub client: Option<SocketAddr>,
}

/// Why bytes are no header that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// They do not begin with the signature.
    Missing,
    /// The version is another one, or the command is unknown.
    Version,
    /// The connection is not TCP over IPv4 or IPv6.
    NotTcp,
    /// The length does not fit the addresses, or is above [`MAX_HEADER`].
    Length,
    /// What follows the addresses is not a list of types, lengths and values.
    Additions,
    /// The client's address is none that a client can have.
    Address,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderError::Missing => "there is none",
            HeaderError::Version => "it is not of version 2",
            HeaderError::NotTcp => "it is not about a TCP connection",
            HeaderError::Length => "its length is wrong",
            HeaderError::Additions => "what follows the addresses is damaged",
            HeaderError::Address => "its address is none of a client",
        })
    }
}

impl Error for HeaderError {}

/// Reads the header at the beginning of these bytes; `None` if more of it has to come. Whatever
/// can be seen to be wrong is refused before the rest has come.
///
/// # Errors
/// No header that is taken begins so.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes.get(..common) != SIGNATURE.get(..common) {
        return Err(HeaderError::Missing);
    }
    let is_local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(HeaderError::Version),
    };
    let addresses = match bytes.get(13) {
        None => return Ok(None),
        // What a proxy says of itself is left unread.
        Some(_) if is_local => 0,
        Some(0x11) => 12,
        Some(0x21) => 36,
        Some(_) => return Err(HeaderError::NotTcp),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED) else {
        return Ok(None);
    };
    let follows = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + follows;
    if follows < addresses || length > MAX_HEADER {
        return Err(HeaderError::Length);
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let client = match is_local {
        true => None,
        false => {
            let (addresses, additions) = body.split_at(addresses);
            check_additions(additions)?;
            Some(source(addresses)?)
        }
    };
    Ok(Some(Header { length, client }))
}

/// Whether a line is one that a header makes when it is read as lines: that of version 1, or the
/// third one of [`SIGNATURE`].
pub fn is_in_line(line: &[u8]) -> bool {
    line == b"\0" || line.starts_with(b"PROXY ")
}

/// Whether these bytes begin with a header of either version.
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE) || bytes.starts_with(b"PROXY ")
}

/// Walks over the additions, each a type, two bytes of length, and so many bytes.
fn check_additions(mut rest: &[u8]) -> Result<(), HeaderError> {
    while let [_, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = behind.get(length..).ok_or(HeaderError::Additions)?;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(HeaderError::Additions),
    }
}

/// The client's address and port: source address, destination address, source port, destination
/// port.
fn source(addresses: &[u8]) -> Result<SocketAddr, HeaderError> {
    let (ip, port): (IpAddr, [u8; 2]) = match addresses {
        [a, b, c, d, _, _, _, _, high, low, _, _] => {
            (Ipv4Addr::new(*a, *b, *c, *d).into(), [*high, *low])
        }
        _ => {
            let (ip, rest) = addresses
                .split_first_chunk::<16>()
                .ok_or(HeaderError::Length)?;
            let &[high, low] = rest.get(16..18).ok_or(HeaderError::Length)? else {
                return Err(HeaderError::Length);
            };
            (Ipv6Addr::from(*ip).into(), [high, low])
        }
    };
    let ip = ip.to_canonical();
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Err(HeaderError::Address);
    }
    Ok(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with this command, family and body.
    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x1f, 0x90];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        let destination = Ipv6Addr::LOCALHOST;
        let ports = [0x30, 0x39, 0x1f, 0x90];
        [&source.octets()[..], &destination.octets(), &ports].concat()
    }

    fn client(bytes: &[u8]) -> Option<SocketAddr> {
        let header = parse(bytes).unwrap().unwrap();
        assert_eq!(header.length, bytes.len());
        header.client
    }

    fn at(address: &str) -> Option<SocketAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn the_clients_address_is_read_and_additions_are_passed_over() {
        assert_eq!(client(&header(0x21, 0x11, &V4)), at("192.0.2.7:12345"));
        let six = v6("2001:db8::7");
        assert_eq!(client(&header(0x21, 0x21, &six)), at("[2001:db8::7]:12345"));
        let mapped = v6("::ffff:192.0.2.7");
        assert_eq!(client(&header(0x21, 0x21, &mapped)), at("192.0.2.7:12345"));
        let additions = [4, 0, 0, 1, 0, 2, b'h', b'2', 0x20, 0, 5, 1, 0, 0, 0, 0];
        let more = [&V4[..], &additions].concat();
        assert_eq!(client(&header(0x21, 0x11, &more)), at("192.0.2.7:12345"));
        let filler = u16::try_from(MAX_HEADER - FIXED - V4.len() - 3).unwrap();
        let mut longest = [&V4[..], &[4], &filler.to_be_bytes()].concat();
        longest.resize(MAX_HEADER - FIXED, 0);
        assert_eq!(client(&header(0x21, 0x11, &longest)), at("192.0.2.7:12345"));
    }

    #[test]
    fn a_proxy_that_looks_after_the_server_has_no_client() {
        assert_eq!(client(&LOCAL), None);
        assert_eq!(client(&header(0x20, 0x11, &V4)), None);
        assert_eq!(client(&header(0x20, 0xff, b"anything")), None);
    }

    #[test]
    fn what_follows_a_header_is_left_for_the_client() {
        let mut bytes = header(0x21, 0x11, &V4);
        let length = bytes.len();
        bytes.extend_from_slice(b"{\"op\":\"ping\"}\n");
        assert_eq!(parse(&bytes).unwrap().unwrap().length, length);
    }

    #[test]
    fn what_is_wrong_is_said() {
        use HeaderError::{Additions, Address, Length, Missing, NotTcp, Version};
        let with = |additions: &[u8]| header(0x21, 0x11, &[&V4[..], additions].concat());
        let from = |ip: [u8; 4]| header(0x21, 0x11, &[&ip[..], &V4[4..]].concat());
        for (bytes, why) in [
            (b"{\"op\":\"ping\"}\n".to_vec(), Missing),
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(),
                Missing,
            ),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Missing),
            (header(0x11, 0x11, &V4), Version),
            (header(0x22, 0x11, &V4), Version),
            (header(0x21, 0x00, &[]), NotTcp),
            (header(0x21, 0x12, &V4), NotTcp),
            (header(0x21, 0x22, &v6("::5")), NotTcp),
            (header(0x21, 0x31, &[0; 216]), NotTcp),
            (header(0x21, 0x11, &V4[..11]), Length),
            (header(0x21, 0x21, &V4), Length),
            (header(0x21, 0x11, &[0; MAX_HEADER - FIXED + 1]), Length),
            (header(0x20, 0x00, &[0; MAX_HEADER - FIXED + 1]), Length),
            (with(&[4]), Additions),
            (with(&[4, 0]), Additions),
            (with(&[4, 0, 2, 0]), Additions),
            (with(&[4, 0xff, 0xff, 0]), Additions),
            (from([0, 0, 0, 0]), Address),
            (from([224, 0, 0, 1]), Address),
            (from([255, 255, 255, 255]), Address),
            (header(0x21, 0x21, &v6("::")), Address),
            (header(0x21, 0x21, &v6("ff02::1")), Address),
        ] {
            assert_eq!(parse(&bytes), Err(why), "{bytes:?}");
        }
        assert!(!HeaderError::Missing.to_string().is_empty());
    }

    #[test]
    fn a_header_among_lines_is_known() {
        let lines: Vec<_> = SIGNATURE.split(|byte| *byte == b'\n').collect();
        let lines = lines
            .iter()
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        assert!(lines.clone().any(is_in_line));
        assert!(is_in_line(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2"));
        assert!(!is_in_line(b"") && !is_in_line(b"proxy bob hi") && !is_in_line(b"quit"));
        assert!(begins(&LOCAL) && !begins(b"\r\n\r\n") && !begins(b"PRO"));
    }

    proptest! {
        #[test]
        fn pieces_and_damage_never_change_what_is_read(
            six in any::<bool>(),
            additions in proptest::collection::vec(any::<u8>(), 0..40),
            place in 0usize..120,
            value in any::<u8>(),
        ) {
            let addresses = if six { v6("2001:db8::7") } else { V4.to_vec() };
            let length = u16::try_from(additions.len()).unwrap().to_be_bytes();
            let body = [&addresses[..], &[0xee], &length, &additions].concat();
            let bytes = header(0x21, if six { 0x21 } else { 0x11 }, &body);
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
            prop_assert!(parse(&bytes).unwrap().is_some());
            let mut damaged = bytes.clone();
            if let Some(byte) = damaged.get_mut(place) {
                *byte = value;
            }
            if let Ok(Some(header)) = parse(&damaged) {
                prop_assert!(header.length <= damaged.len().min(MAX_HEADER));
            }
        }
    }
}
