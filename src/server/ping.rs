//! `server ping`: asks the server at its own port whether it answers, for health checks.
//!
//! It speaks to the port as anybody does, in the open, so it also finds a server that runs and accepts
//! nothing. A server that insists on TLS answers with a refusal, which is an answer.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::config::Config;
use super::listen::ListenOn;
use crate::transport::proxy_header;

/// How long the server has for each step.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer has at most so many bytes.
const MAX_ANSWER: u64 = 4096;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum PingError {
    /// It is not known where to ask.
    NoAddress,
    /// Nobody answers there.
    Silent(ListenOn, io::Error),
    /// Somebody else answers there.
    Stranger(ListenOn),
}

impl fmt::Display for PingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PingError::NoAddress => f.write_str(
                "the server's port is not known; give the --listen that the server runs with",
            ),
            PingError::Silent(on, error) => write!(
                f,
                "no server answers at {on}: {error}; start it, or give the --listen that it runs with"
            ),
            PingError::Stranger(on) => write!(
                f,
                "what answers at {on} is no Secure Chat server; give the --listen that the server runs \
                 with"
            ),
        }
    }
}

impl Error for PingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PingError::Silent(_, error) => Some(error),
            PingError::NoAddress | PingError::Stranger(_) => None,
        }
    }
}

/// Asks the server at the first address that these settings listen on.
///
/// # Errors
/// No server answers.
pub(super) fn ping(config: &Config) -> Result<(), PingError> {
    let on = config.listen.first().ok_or(PingError::NoAddress)?;
    let silent = |error| PingError::Silent(on.clone(), error);
    let addresses = on.addresses().map_err(silent)?;
    let address = addresses.first().copied().map(reachable);
    let address = address.filter(|address| address.port() != 0);
    let answer = ask(address.ok_or(PingError::NoAddress)?, config).map_err(silent)?;
    match is_answer(&answer) {
        true => Ok(()),
        false => Err(PingError::Stranger(on.clone())),
    }
}

/// The machine itself, if the server listens on all of its addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn ask(address: SocketAddr, config: &Config) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if config.is_proxy(stream.local_addr()?.ip()) {
        stream.write_all(&proxy_header::LOCAL)?;
    }
    stream.write_all(b"{\"id\":1,\"op\":\"ping\"}\n")?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    match answer.is_empty() {
        true => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it closed the connection",
        )),
        false => Ok(answer),
    }
}

fn is_answer(line: &str) -> bool {
    let refused = line.starts_with("-ERR ");
    refused
        || serde_json::from_str::<serde_json::Value>(line)
            .is_ok_and(|answer| answer.get("ok").is_some() || answer.get("error").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_ours_is_told_from_others() {
        for ours in [
            "{\"id\":1,\"ok\":{}}\n",
            "{\"id\":1,\"error\":{\"code\":\"tls_required\",\"message\":\"x\"}}\n",
            "-ERR server_full x\r\n",
        ] {
            assert!(is_answer(ours), "{ours}");
        }
        for other in ["HTTP/1.1 400 Bad Request\r\n", "{}\n", "SSH-2.0-x\r\n"] {
            assert!(!is_answer(other), "{other}");
        }
        assert_eq!(
            reachable("0.0.0.0:1".parse().unwrap()),
            "127.0.0.1:1".parse().unwrap()
        );
        assert_eq!(
            reachable("[::]:1".parse().unwrap()),
            "[::1]:1".parse().unwrap()
        );
    }
}
