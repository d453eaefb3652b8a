//! The server's address, and the check that it is the right server. What is said on the
//! connection is not known here.
//!
//! With TLS, the default, nothing is sent before the certificate is checked: against what
//! the person named, what was seen before, the person's answer, or the system's roots. A
//! certificate that differs is refused, and no question is asked that a hasty key could answer.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use super::error::{EndpointError, Untrusted};
use super::known_servers::KnownServers;
use crate::protocol::json;
use crate::protocol::json::ServerLine;
use crate::protocol::{Code, Refusal};
use crate::transport::address::Address;
use crate::transport::buffer::ReadBuffer;
use crate::transport::channel::Channel;
use crate::transport::connector::{Connector, NotTls};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::Socket;
use crate::transport::tls::TlsError;

/// How long one address may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long the TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Protection {
    /// TLS; the server's certificate is remembered at first contact, as SSH does
    #[cfg_attr(feature = "tls", default)]
    Pinned,
    /// TLS; the system's root certificates vouch for the server's name
    SystemRoots,
    /// None: the network sees who you are and whom you write to
    #[cfg_attr(not(feature = "tls"), default)]
    Off,
}

/// A server's address with its trust policy.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: Address,
    policy: TrustPolicy,
}

/// Which certificates are trusted.
#[derive(Debug, Clone)]
enum TrustPolicy {
    /// Without TLS there is no certificate to check.
    NoTls,
    /// Certificates seen before, and the person at first contact.
    Pins(Connector, KnownServers),
    /// The system's root certificates.
    Roots(Connector),
}

/// Why an endpoint can't be made.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// A fingerprint was given for a connection that shows no certificate.
    FingerprintWithoutTls,
    /// TLS can't be used.
    Tls(TlsError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::FingerprintWithoutTls => f.write_str(
                "without TLS there is no certificate to compare a fingerprint with; leave out one \
                 of the two",
            ),
            SetupError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SetupError::FingerprintWithoutTls => None,
            // It is shown as it is, so what is below it is below this.
            SetupError::Tls(error) => error.source(),
        }
    }
}

/// A channel to a server whose certificate is trusted, before the first request.
pub(crate) struct OpenedChannel {
    /// Its bytes.
    pub channel: Channel,
    /// What was read during the handshake, for the channel's reader.
    pub raw: ReadBuffer,
    /// The certificate that the server has shown; none without TLS.
    pub certificate: Option<Fingerprint>,
}

impl Endpoint {
    /// To this address, with pins in the folder `data`.
    ///
    /// # Errors
    /// The program or the system lacks what the protection needs.
    pub(crate) fn new(
        address: Address,
        protection: Protection,
        data: &Path,
    ) -> Result<Self, SetupError> {
        let policy = match protection {
            Protection::Off if address.fingerprint.is_some() => {
                return Err(SetupError::FingerprintWithoutTls);
            }
            Protection::Off => TrustPolicy::NoTls,
            Protection::Pinned => TrustPolicy::Pins(
                Connector::pinning().map_err(SetupError::Tls)?,
                KnownServers::in_folder(data),
            ),
            Protection::SystemRoots => {
                TrustPolicy::Roots(Connector::system_roots().map_err(SetupError::Tls)?)
            }
        };
        Ok(Endpoint { address, policy })
    }

    /// `HOST:PORT`.
    pub(crate) fn place(&self) -> &str {
        &self.address.place
    }

    /// Connects. `first_contact` is asked whether an unknown certificate is the
    /// right one.
    ///
    /// # Errors
    /// The server can't be reached, or its certificate is not trusted.
    pub(crate) fn open(
        &self,
        first_contact: &mut dyn FnMut(&str) -> bool,
    ) -> Result<OpenedChannel, EndpointError> {
        let stream = self.connect()?;
        let connector = match &self.policy {
            TrustPolicy::NoTls => {
                let socket = Socket::new(stream).map_err(|error| self.unreachable(error))?;
                return Ok(OpenedChannel {
                    channel: Channel::new(socket),
                    raw: ReadBuffer::default(),
                    certificate: None,
                });
            }
            TrustPolicy::Pins(connector, _) | TrustPolicy::Roots(connector) => connector,
        };
        let peer = connector
            .connect(stream, self.address.host(), HANDSHAKE_TIME)
            .map_err(|error| self.no_handshake(error))?;
        self.check(peer.fingerprint(), first_contact)?;
        let certificate = Some(peer.fingerprint());
        let (channel, raw) = peer.trust();
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
            .map_err(|error| self.unreachable(error))?
        {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(last))
    }

    fn unreachable(&self, source: io::Error) -> EndpointError {
        EndpointError::Unreachable {
            place: self.place().to_owned(),
            source,
        }
    }

    fn untrusted(&self, why: Untrusted) -> EndpointError {
        EndpointError::Untrusted {
            place: self.place().to_owned(),
            why,
        }
    }

    fn no_handshake(&self, error: io::Error) -> EndpointError {
        if let Some(refusal) = plain_refusal(&error) {
            return EndpointError::TurnedAway(refusal);
        }
        match &self.policy {
            // TLS itself has judged: the server's own fault, or its certificate's.
            TrustPolicy::Roots(_) if error.kind() == io::ErrorKind::InvalidData => {
                self.untrusted(Untrusted::Roots(error))
            }
            _ => EndpointError::NoTls {
                place: self.place().to_owned(),
                source: error,
            },
        }
    }

    /// Checks a certificate against what the person named and what was seen before, and
    /// remembers it.
    fn check(
        &self,
        shown: Fingerprint,
        first_contact: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), EndpointError> {
        let named = self.address.fingerprint;
        if let Some(named) = named.filter(|named| *named != shown) {
            return Err(self.untrusted(Untrusted::NotTheNamed { named, shown }));
        }
        let TrustPolicy::Pins(_, known) = &self.policy else {
            return Ok(());
        };
        let pins = |source: io::Error| {
            let path = known.path().to_owned();
            self.untrusted(Untrusted::Pins { path, source })
        };
        match known.find(self.place()).map_err(pins)? {
            Some(before) if before == shown => return Ok(()),
            Some(before) if named.is_none() => {
                return Err(self.untrusted(Untrusted::Changed { before, shown }));
            }
            None if named.is_none() && !first_contact(&question(self.place(), shown)) => {
                return Err(self.untrusted(Untrusted::Unconfirmed(shown)));
            }
            Some(_) | None => {}
        }
        known.note(self.place(), shown).map_err(pins)
    }
}

/// The refusal of a server that refuses a connection before TLS begins.
fn plain_refusal(error: &io::Error) -> Option<Refusal> {
    let answer = error.get_ref()?.downcast_ref::<NotTls>()?;
    let line = answer.0.split(|byte| *byte == b'\n').next()?;
    match json::parse_server_line(line) {
        Ok(ServerLine::Answer(_, Err(refusal))) if refusal.code != Code::Unknown => Some(refusal),
        _ => None,
    }
}

fn question(place: &str, shown: Fingerprint) -> String {
    format!(
        "This is the first time here for the server {place}. Its certificate's fingerprint: {}. \
         Its operator can tell you whether that is right ('server fingerprint' prints it). Is it?",
        shown.groups()
    )
}
