//! The server's address, and the check that it is the right server. What is said on the
//! connection is not known here.
//!
//! With TLS, the default, nothing is sent before the certificate is checked: against what
//! the person named, what was seen before, the person's answer, or the system's roots. To a server with
//! another one goes a `hello`, which says which certificate it should have and nothing of the person; if
//! the answer has announcements that lead from that one to the other, the other is taken. Otherwise it is
//! refused, and no question is asked that a hasty key could answer.
//! A server that was reached with TLS once is never spoken to without it.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use super::error::{EndpointError, Untrusted};
use super::known_servers::{KnownBy, KnownServers, Pin};
use super::local_server;
use super::verdict::{Case, Verdict};
use crate::command_line::server_name;
use crate::protocol::json;
use crate::protocol::json::ServerLine;
use crate::protocol::limits::MAX_SERVER_LINE;
use crate::protocol::reply::Greeting;
use crate::protocol::request::{Hello, Request};
use crate::protocol::{ByteArray, Code, Refusal, VERSION};
use crate::transport::address::{Address, Place};
use crate::transport::buffer::ReadBuffer;
use crate::transport::channel::Channel;
use crate::transport::connector::{Connector, NotTls, UnverifiedPeer};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::Socket;
use crate::transport::tls::{TlsError, follow};

/// How long one address may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long the server's machine may acknowledge nothing of what was written, before another connection is made: it may
/// lead to another server.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// How long the TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long a server has to say what leads to its certificate.
const ANNOUNCED_TIME: Duration = Duration::from_secs(5);

/// The id of the `hello` that asks for that.
const ASKED: u64 = 1;

/// What a person is told whose server has another certificate than before, and rightly.
pub(crate) const REPLACED: &str =
    "the server's certificate was replaced, as the one before it had announced";

/// What protects the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Protection {
    /// TLS; the server's certificate is remembered at first contact, as SSH does
    #[cfg_attr(feature = "tls", default)]
    Pinned,
    /// TLS; the system's root certificates vouch for the server's name
    SystemRoots,
    /// None: the network sees who you are and whom you write to. Refused for a server
    /// that was reached with TLS before
    #[cfg_attr(not(feature = "tls"), default)]
    Off,
}

/// A server's address with its trust policy.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: Address,
    place: Place,
    known: KnownServers,
    policy: TrustPolicy,
    /// Somebody else has made the address.
    by_link: bool,
}

/// Which certificates are trusted.
#[derive(Debug, Clone)]
enum TrustPolicy {
    /// Without TLS there is no certificate to check.
    NoTls,
    /// Certificates seen before, and the person at first contact.
    Pins(Connector),
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

/// What the person is asked about a certificate that was never seen.
pub(crate) struct FirstContact {
    /// The question.
    pub question: String,
    /// The certificate is that of a server on this machine, so yes is the safe answer.
    pub proven: bool,
}

/// A channel to a server whose certificate is trusted, before the first request.
pub(crate) struct OpenedChannel {
    /// Its bytes.
    pub channel: Channel,
    /// What was read during the handshake, for the channel's reader.
    pub raw: ReadBuffer,
    /// The certificate that the server has shown; none without TLS.
    pub certificate: Option<Fingerprint>,
    /// Another one was known, and has announced it: [`REPLACED`].
    pub is_replaced: bool,
    /// What is remembered of a server with that certificate.
    pub remembered: Option<Remembered>,
}

/// A server's pin, which the server's greeting may add to.
pub(crate) struct Remembered {
    known: KnownServers,
    place: Place,
    host_and_port: String,
    pin: Pin,
}

impl Remembered {
    /// Remembers which other certificate the server says that it may still show.
    ///
    /// # Errors
    /// It can't be written down.
    pub(crate) fn hear(&self, previous: Option<Fingerprint>) -> Result<(), EndpointError> {
        let certificate = self.pin.certificate;
        let previous = previous.filter(|previous| *previous != certificate);
        if previous == self.pin.also {
            return Ok(());
        }
        let noted = self.known.note_also(&self.place, certificate, previous);
        noted.map_err(|source| EndpointError::Untrusted {
            place: self.host_and_port.clone(),
            why: Untrusted::Pins {
                path: self.known.path().to_owned(),
                source,
            },
        })
    }
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
            Protection::Pinned => TrustPolicy::Pins(Connector::pinning().map_err(SetupError::Tls)?),
            Protection::SystemRoots => {
                TrustPolicy::Roots(Connector::system_roots().map_err(SetupError::Tls)?)
            }
        };
        Ok(Endpoint {
            place: address.place(),
            known: KnownServers::in_folder(data),
            address,
            policy,
            by_link: false,
        })
    }

    /// The same for an address in a link that somebody else has made: the certificate that it names does
    /// not replace one that was seen before, as one does that the person has typed.
    pub(crate) fn by_link(self) -> Self {
        Endpoint {
            by_link: true,
            ..self
        }
    }

    /// The address for somebody else's client, with the certificate that this one has seen; while that one
    /// takes the place of another, with the other, which leads to it. Where a certificate is checked
    /// against the system's roots, it changes, and is not named.
    pub(crate) fn public_address(&self, certificate: Option<Fingerprint>) -> Address {
        let also = match self.known.find(&self.place) {
            Ok(Some(KnownBy::Pin(pin))) => pin.also,
            _ => None,
        };
        let mut address = self.address.clone();
        address.fingerprint = match self.policy {
            TrustPolicy::Pins(_) => also.or(certificate),
            TrustPolicy::Roots(_) | TrustPolicy::NoTls => None,
        };
        address
    }

    /// The server, for what is remembered of it.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Connects. `first_contact` is asked whether an unknown certificate is the
    /// right one.
    ///
    /// # Errors
    /// The server can't be reached, its certificate is not trusted, or it is known to speak
    /// TLS and is to be spoken to without.
    pub(crate) fn open(
        &self,
        first_contact: &mut dyn FnMut(&FirstContact) -> bool,
    ) -> Result<OpenedChannel, EndpointError> {
        let opened = self.open_channel(first_contact)?;
        let limited = opened
            .channel
            .socket()
            .set_unacknowledged_limit(UNACKNOWLEDGED);
        limited.map_err(|error| self.unreachable(error))?;
        Ok(opened)
    }

    fn open_channel(
        &self,
        first_contact: &mut dyn FnMut(&FirstContact) -> bool,
    ) -> Result<OpenedChannel, EndpointError> {
        let known_by = self.known_by()?;
        let connector = match &self.policy {
            TrustPolicy::NoTls if known_by.is_some() => {
                let path = self.known.path().to_owned();
                return Err(self.untrusted(Untrusted::TlsOff { path }));
            }
            TrustPolicy::NoTls => {
                let socket =
                    Socket::new(self.connect()?).map_err(|error| self.unreachable(error))?;
                return Ok(OpenedChannel {
                    channel: Channel::new(socket),
                    raw: ReadBuffer::default(),
                    certificate: None,
                    is_replaced: false,
                    remembered: None,
                });
            }
            TrustPolicy::Pins(connector) | TrustPolicy::Roots(connector) => connector,
        };
        let mut peer = connector
            .connect(self.connect()?, &self.address.host(), HANDSHAKE_TIME)
            .map_err(|error| self.no_handshake(error, known_by.is_some()))?;
        let shown = peer.fingerprint();
        let (is_replaced, new) = self.check(&mut peer, known_by.as_ref(), first_contact)?;
        if let Some(new) = &new {
            let noted = self.known.note(&self.place, new);
            noted.map_err(|source| self.no_pins(source))?;
        }
        let (channel, raw) = peer.trust();
        Ok(OpenedChannel {
            channel,
            raw,
            certificate: Some(shown),
            is_replaced,
            remembered: self.remembered(new.or(known_by), shown),
        })
    }

    /// The pin of a server that shows it.
    fn remembered(&self, known_by: Option<KnownBy>, shown: Fingerprint) -> Option<Remembered> {
        match (&self.policy, known_by) {
            (TrustPolicy::Pins(_), Some(KnownBy::Pin(pin))) if pin.certificate == shown => {
                Some(Remembered {
                    known: self.known.clone(),
                    place: self.place.clone(),
                    host_and_port: self.address.host_and_port(),
                    pin,
                })
            }
            _ => None,
        }
    }

    fn connect(&self) -> Result<TcpStream, EndpointError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self
            .address
            .resolve()
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
            place: self.address.host_and_port(),
            source,
        }
    }

    fn untrusted(&self, why: Untrusted) -> EndpointError {
        EndpointError::Untrusted {
            place: self.address.host_and_port(),
            why,
        }
    }

    /// Judges a failed handshake. `known` says that there was one with this server before.
    fn no_handshake(&self, error: io::Error, known: bool) -> EndpointError {
        if let Some(refusal) = plain_refusal(&error) {
            return EndpointError::TurnedAway(refusal);
        }
        // Of this kind is what the other side has said, not that the connection broke.
        let spoke = error.kind() == io::ErrorKind::InvalidData;
        let is_tls = error.get_ref().is_some_and(|inner| !inner.is::<NotTls>());
        match &self.policy {
            // TLS itself has judged: the server's own fault, or its certificate's.
            TrustPolicy::Roots(_) if spoke && is_tls => self.untrusted(Untrusted::Roots(error)),
            _ if spoke && known => self.untrusted(Untrusted::TlsGone(error)),
            _ => EndpointError::NoTls {
                place: self.address.host_and_port(),
                source: error,
                known,
            },
        }
    }

    fn known_by(&self) -> Result<Option<KnownBy>, EndpointError> {
        self.known
            .find(&self.place)
            .map_err(|source| self.no_pins(source))
    }

    fn no_pins(&self, source: io::Error) -> EndpointError {
        let path = self.known.path().to_owned();
        self.untrusted(Untrusted::Pins { path, source })
    }

    /// Checks a server's certificate against what the person named, what was seen before, and what that
    /// has announced. Returns whether it was announced, and what is to be remembered.
    fn check(
        &self,
        peer: &mut UnverifiedPeer,
        known_by: Option<&KnownBy>,
        first_contact: &mut dyn FnMut(&FirstContact) -> bool,
    ) -> Result<(bool, Option<KnownBy>), EndpointError> {
        let shown = peer.fingerprint();
        let case = Case {
            shown,
            named: self.address.fingerprint,
            by_link: self.by_link,
            pinned: matches!(self.policy, TrustPolicy::Pins(_)),
            known: known_by,
            path: self.known.path(),
        };
        match case.judge() {
            Verdict::Trusted(new) => Ok((false, new)),
            Verdict::Ask => match first_contact(&self.question(shown)) {
                true => Ok((false, Some(KnownBy::Pin(Pin::new(shown))))),
                false => Err(self.untrusted(Untrusted::Unconfirmed(shown))),
            },
            Verdict::Prove { from, otherwise } => match announced(peer, &from) {
                Some((earlier, previous)) => Ok((true, case.proven(earlier, previous))),
                None => Err(self.untrusted(otherwise)),
            },
        }
    }

    fn question(&self, shown: Fingerprint) -> FirstContact {
        let local = match self.place.is_this_machine() {
            true => local_server::with_certificate(shown),
            false => None,
        };
        if let Some(folder) = local {
            return FirstContact {
                question: format!(
                    "This is the first time here for the server {}. It is the one of the folder {} on this \
                     machine, which has printed: certificate {}. There is nothing to compare. Connect?",
                    self.address.host_and_port(),
                    folder.display(),
                    shown.groups()
                ),
                proven: true,
            };
        }
        let question = format!(
            "This is the first time here for the server {}. Its certificate's fingerprint: {}. \
             Its operator can tell you whether that is right ('{} fingerprint' prints it). Is it?",
            self.address.host_and_port(),
            shown.groups(),
            server_name()
        );
        FirstContact {
            question,
            proven: false,
        }
    }
}

/// Asks a server for announcements that lead from each of these certificates to the one that it shows. Returns
/// those on the way, and the one that it says that it may still show elsewhere; `None` if they don't lead
/// there.
fn announced(
    peer: &mut UnverifiedPeer,
    from: &[Fingerprint],
) -> Option<(Vec<Fingerprint>, Option<Fingerprint>)> {
    let (mut earlier, mut previous) = (Vec::new(), None);
    for trusted in from {
        let hello = Request::Hello(Hello {
            version: VERSION,
            certificate: Some(ByteArray(trusted.0)),
        });
        let mut line = Vec::new();
        json::write_request(&mut line, Some(ASKED), &hello)?;
        // Whatever is wrong with the answer, it proves nothing.
        let answer = peer.ask(&line, MAX_SERVER_LINE, ANNOUNCED_TIME).ok()?;
        let Ok(ServerLine::Answer(Some(ASKED), Ok(greeting))) = json::parse_server_line(&answer)
        else {
            return None;
        };
        let greeting: Greeting = serde_json::from_value(greeting).ok()?;
        earlier.extend(follow(*trusted, peer.fingerprint(), &greeting.successions).ok()?);
        previous = greeting.previous.map(|previous| Fingerprint(previous.0));
    }
    Some((earlier, previous))
}

/// The refusal of a server that refuses a connection before TLS begins.
fn plain_refusal(error: &io::Error) -> Option<Refusal> {
    let answer = error.get_ref()?.downcast_ref::<NotTls>()?;
    let line = answer.0.split(|byte| *byte == b'\n').next()?;
    match json::parse_server_line(line) {
        Ok(ServerLine::Answer(_, Err(refusal))) if refusal.code == Code::ServerFull => {
            Some(refusal)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pin() -> KnownBy {
        KnownBy::Pin(Pin::new(Fingerprint([1; 32])))
    }

    /// What comes of opening `spelling` without TLS, once `known` at `place` was noted.
    fn without_tls(place: &str, known: &KnownBy, spelling: &str) -> Result<(), EndpointError> {
        let home = tempfile::tempdir().unwrap();
        let place = place.parse::<Address>().unwrap().place();
        KnownServers::in_folder(home.path())
            .note(&place, known)
            .unwrap();
        let address = spelling.parse().unwrap();
        let endpoint = Endpoint::new(address, Protection::Off, home.path()).unwrap();
        endpoint.open(&mut |_| panic!("a question")).map(drop)
    }

    #[test]
    fn a_server_that_was_reached_with_tls_is_not_spoken_to_without() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for known in &[pin(), KnownBy::SystemRoots] {
            for host in ["127.0.0.1", "localhost", "LOCALHOST.", "127.1", "0"] {
                for spelling in [format!("{host}:{port}"), format!("chat://{host}:0{port}")] {
                    let opened = without_tls(&format!("127.0.0.1:{port}"), known, &spelling);
                    let refused = matches!(
                        opened,
                        Err(EndpointError::Untrusted {
                            why: Untrusted::TlsOff { .. },
                            ..
                        })
                    );
                    assert!(refused, "{spelling}: {opened:?}");
                }
            }
        }
        let error = listener.accept().expect_err("nobody connected");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // Another server is nobody's that was pinned.
        let opened = without_tls("127.0.0.1:9", &pin(), &format!("127.0.0.1:{port}"));
        assert!(opened.is_ok(), "{opened:?}");
    }
}
