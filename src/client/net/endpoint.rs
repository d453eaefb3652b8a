//! The way to the server: its address, and how to know that it is the right one.
//!
//! With TLS, which is the usual way, nothing is sent before the certificate has
//! been judged: by what the person named, by what was seen before, by the person,
//! or by the system's roots. A certificate that differs is refused, and no key
//! pressed in haste changes that.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use super::connection::{refusal_in, said};
use super::known_servers::KnownServers;
use crate::protocol::json;
use crate::protocol::json::ServerLine;
use crate::protocol::{Code, Refusal};
use crate::transport::address::Address;
use crate::transport::buffer::ReadBuffer;
use crate::transport::channel::Channel;
use crate::transport::connector::{Connector, NotTls, UnverifiedPeer};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::Socket;

/// How long one address may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long the TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Protection {
    /// TLS; the server's certificate is remembered at first contact, as SSH does
    #[cfg_attr(feature = "tls", default)]
    Pinned,
    /// TLS; the system's root certificates vouch for the server's name
    SystemRoots,
    /// None: the network sees who you are and whom you write to
    #[cfg_attr(not(feature = "tls"), default)]
    Off,
}

/// A way to a server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: Address,
    judge: TrustPolicy,
}

#[derive(Debug, Clone)]
enum TrustPolicy {
    Nobody,
    Pins(Connector, KnownServers),
    Roots(Connector),
}

/// An open connection, to nobody but the right server.
pub struct OpenedChannel {
    /// Its bytes.
    pub channel: Channel,
    /// For its reader.
    pub raw: ReadBuffer,
    /// The certificate that the server has shown; none without TLS.
    pub certificate: Option<Fingerprint>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum EndpointError {
    /// Instead of TLS came a refusal in the open. Nothing proves who has sent it.
    TurnedAway(Refusal),
    /// There is nobody to be reached.
    Unreachable(String),
    /// There is, but nothing says that it is the right server. Nothing was sent.
    Untrusted(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::TurnedAway(refusal) => write!(f, "{}, without TLS", said(refusal)),
            EndpointError::Unreachable(why) | EndpointError::Untrusted(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// To this address, with pins in the folder `data`.
    ///
    /// # Errors
    /// A sentence: the program or the system lacks what the protection needs.
    pub fn new(address: Address, protection: Protection, data: &Path) -> Result<Self, String> {
        let judge = match protection {
            Protection::Off if address.fingerprint.is_some() => {
                return Err(
                    "without TLS there is no certificate to compare a fingerprint \
                            with; leave out one of the two"
                        .to_owned(),
                );
            }
            Protection::Off => TrustPolicy::Nobody,
            Protection::Pinned => TrustPolicy::Pins(
                Connector::pinning().map_err(|error| error.to_string())?,
                KnownServers::in_folder(data),
            ),
            Protection::SystemRoots => {
                TrustPolicy::Roots(Connector::system_roots().map_err(|error| error.to_string())?)
            }
        };
        Ok(Endpoint { address, judge })
    }

    /// `HOST:PORT`.
    pub fn place(&self) -> &str {
        &self.address.place
    }

    /// Connects. `first_contact` is asked whether an unknown certificate is the
    /// right one.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn open(
        &self,
        first_contact: &mut dyn FnMut(&str) -> bool,
    ) -> Result<OpenedChannel, EndpointError> {
        let stream = self.connect()?;
        let connector = match &self.judge {
            TrustPolicy::Nobody => {
                let socket = Socket::new(stream).map_err(|error| self.unreachable(&error))?;
                return Ok(OpenedChannel {
                    channel: Channel::new(socket),
                    raw: ReadBuffer::default(),
                    certificate: None,
                });
            }
            TrustPolicy::Pins(connector, _) | TrustPolicy::Roots(connector) => connector,
        };
        let stranger = connector
            .connect(stream, self.address.host(), HANDSHAKE_TIME)
            .map_err(|error| self.no_handshake(&error))?;
        self.judge(&stranger, first_contact)?;
        let certificate = Some(stranger.fingerprint());
        let (channel, raw) = stranger.trust();
        Ok(OpenedChannel {
            channel,
            raw,
            certificate,
        })
    }

    fn connect(&self) -> Result<TcpStream, EndpointError> {
        let place = self.place();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in place
            .to_socket_addrs()
            .map_err(|error| self.unreachable(&error))?
        {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(&last))
    }

    fn unreachable(&self, error: &io::Error) -> EndpointError {
        EndpointError::Unreachable(format!(
            "no connection to {} ({})",
            self.place(),
            reason(error)
        ))
    }

    fn no_handshake(&self, error: &io::Error) -> EndpointError {
        if let Some(refusal) = answered_in_the_open(error) {
            return EndpointError::TurnedAway(refusal);
        }
        let place = self.place();
        match &self.judge {
            // TLS itself has judged: the peer's own fault, or its certificate's.
            TrustPolicy::Roots(_) if error.kind() == io::ErrorKind::InvalidData => {
                EndpointError::Untrusted(format!(
                    "nothing was sent to {place}: the system's roots do not vouch for it ({error}); \
                     if its certificate is one that the server made itself, leave out --tls system-roots"
                ))
            }
            _ => EndpointError::Unreachable(format!(
                "{place} answers, but not with TLS as it should ({}). Only if you know it as a server without TLS, on \
                 this machine for instance, use --tls off",
                reason(error)
            )),
        }
    }

    fn judge(
        &self,
        stranger: &UnverifiedPeer,
        first_contact: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), EndpointError> {
        let (place, shown) = (self.place(), stranger.fingerprint());
        if let Some(named) = self.address.fingerprint
            && named != shown
        {
            return Err(EndpointError::Untrusted(format!(
                "nothing was sent to {place}: its certificate is not the one you named. \
                 UserRef: {}. Shown: {}. Prompt the operator what 'server fingerprint' prints there",
                named.groups(),
                shown.groups()
            )));
        }
        let TrustPolicy::Pins(_, known) = &self.judge else {
            return Ok(());
        };
        let file = |error: io::Error| {
            EndpointError::Untrusted(format!(
                "nothing was sent to {place}: {} can't be used ({error}); mend the file, or \
                 name the certificate with --fingerprint",
                known.path().display()
            ))
        };
        match known.find(place).map_err(file)? {
            Some(before) if before == shown => return Ok(()),
            Some(before) if self.address.fingerprint.is_none() => {
                return Err(EndpointError::Untrusted(format!(
                    "nothing was sent to {place}: it shows ANOTHER CERTIFICATE than before. \
                     Somebody may be between you and the server, or it was installed anew. \
                     Before: {}. Now: {}. Prompt the operator what 'server fingerprint' prints \
                     there, on another way than this one; if it is the new one, connect once \
                     with --fingerprint and those digits",
                    before.groups(),
                    shown.groups()
                )));
            }
            None if self.address.fingerprint.is_none()
                && !first_contact(&question(place, shown)) =>
            {
                return Err(EndpointError::Untrusted(format!(
                    "nothing was sent to {place}: its certificate is not known here. Its \
                     fingerprint: {}. If that is what 'server fingerprint' prints there, use \
                     --fingerprint, or say yes on a terminal",
                    shown.groups()
                )));
            }
            Some(_) | None => {}
        }
        known.note(place, shown).map_err(file)
    }
}

/// The refusal of a server that turns a connection away before TLS begins.
fn answered_in_the_open(error: &io::Error) -> Option<Refusal> {
    let answer = error.get_ref()?.downcast_ref::<NotTls>()?;
    let line = answer.0.split(|byte| *byte == b'\n').next()?;
    let refusal = refusal_in(line).or_else(|| match json::parse_server_line(line) {
        Ok(ServerLine::Answer(_, Err(refusal))) => Some(refusal),
        _ => None,
    });
    refusal.filter(|refusal| refusal.code != Code::Unknown)
}

fn question(place: &str, shown: Fingerprint) -> String {
    format!(
        "This is the first time here for the server {place}. Its certificate's fingerprint: {}. \
         Its operator can tell you whether that is right ('server fingerprint' prints it). Is it?",
        shown.groups()
    )
}

/// The error without its number, where the system's kind says enough.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        kind @ (io::ErrorKind::ConnectionRefused
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable) => kind.to_string(),
        _ => error.to_string(),
    }
}
