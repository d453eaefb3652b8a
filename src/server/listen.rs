//! Where the server listens: addresses and host names, as the operator writes them, and the
//! sockets that they lead to.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

use crate::transport::socket;

/// `HOST:PORT`, whose host is an address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenOn(String);

impl FromStr for ListenOn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(ListenOn(text.to_owned()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("a port is missing, as in 127.0.0.1:8080 or chat.example:8080")?;
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if host.is_empty() || !host.chars().all(in_name) {
            return Err("the host is an address or a name; an IPv6 address stands in brackets");
        }
        match port.parse::<u16>() {
            Ok(_) => Ok(ListenOn(text.to_owned())),
            Err(_) => Err("the port is a number up to 65535"),
        }
    }
}

impl fmt::Display for ListenOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ListenOn {
    /// The addresses of it, at least one.
    ///
    /// # Errors
    /// There is no such name.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = self.0.to_socket_addrs()?.collect();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
            false => Ok(addresses),
        }
    }

    /// Listens on all addresses of it. Of a name with several, those may be missing that this
    /// machine does not have.
    ///
    /// # Errors
    /// There is no such name, or an address of it is taken or not permitted.
    pub(crate) fn listen(&self) -> io::Result<Vec<TcpListener>> {
        let mut listeners = Vec::new();
        let mut missing = None;
        for address in self.addresses()? {
            match socket::listen(address) {
                Ok(listener) => listeners.push(listener),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                    ) =>
                {
                    missing = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(listeners),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_taken_and_nothing_else() {
        for right in [
            "127.0.0.1:0",
            "[::1]:8080",
            "localhost:0",
            "chat.example:8080",
        ] {
            assert_eq!(right.parse::<ListenOn>().unwrap().to_string(), right);
        }
        for wrong in [
            "8080",
            "localhost",
            ":8080",
            "::1:8080",
            "a b:1",
            "host:99999",
            "host:",
        ] {
            assert!(wrong.parse::<ListenOn>().is_err(), "{wrong}");
        }
        let here: ListenOn = "localhost:0".parse().unwrap();
        assert!(!here.listen().unwrap().is_empty());
    }
}
