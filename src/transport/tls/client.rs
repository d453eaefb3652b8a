//! The client's side: shaking hands with a server, and what its certificate is
//! judged by.
//!
//! With pins, TLS itself proves only that the server has its certificate's key.
//! Whether that is the right certificate is for the caller to say, by its
//! fingerprint, and until then there is only a [`UnverifiedPeer`], which nothing can be
//! sent to.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{TlsError, TlsSession, certificate, provider};
use crate::transport::channel::{Channel, NotTls, Raw, ReadOutcome};
use crate::transport::fingerprint::Fingerprint;
use crate::transport::socket::Socket;

/// The longest refusal in the open that is read, in bytes.
const MAX_TEXT: usize = 4096;

/// How long its parts may take to arrive.
const TEXT_TIME: Duration = Duration::from_secs(1);

/// Connects to servers. Keeps the tickets that resume a session, so use the same
/// one to connect again.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

/// A server whose handshake is done, and which nobody has judged yet.
pub struct UnverifiedPeer {
    channel: Channel,
    raw: Raw,
    fingerprint: Fingerprint,
}

impl Connector {
    /// Takes any certificate, for a caller that compares fingerprints.
    ///
    /// # Errors
    /// Never in practice: the cipher suites are built in.
    pub fn pinning() -> Result<Self, TlsError> {
        let provider = provider();
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Connector {
            config: Arc::new(config),
        })
    }

    /// Takes certificates that the system's roots vouch for, for the server's name.
    ///
    /// # Errors
    /// The system has no roots.
    pub fn system_roots() -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(TlsError(
                "this system has no root certificates; install ca-certificates, or pin the \
                 server with --fingerprint"
                    .to_owned(),
            ));
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| TlsError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Connector {
            config: Arc::new(config),
        })
    }

    /// Shakes hands with `host` on a connected stream, within `limit` in all.
    ///
    /// # Errors
    /// The peer speaks no TLS, its certificate is refused, or it takes too long.
    pub fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        limit: Duration,
    ) -> io::Result<UnverifiedPeer> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "this is no host's name"))?;
        let connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let session = TlsSession::new(connection);
        let channel = Channel::new(Socket::new(stream)?);
        channel.begin_tls(session);
        let mut raw = Raw::default();
        shake_hands(&channel, &mut raw, limit).map_err(|error| match text_in(&channel) {
            Some(text) => io::Error::new(io::ErrorKind::InvalidData, NotTls(text)),
            None => error,
        })?;
        channel.socket().set_read_timeout(None)?;
        let shown = channel.session().and_then(TlsSession::certificate_shown);
        let fingerprint =
            shown.ok_or_else(|| io::Error::other("the server shows no certificate"))?;
        Ok(UnverifiedPeer {
            channel,
            raw,
            fingerprint,
        })
    }
}

fn shake_hands(channel: &Channel, raw: &mut Raw, limit: Duration) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    let mut begun = false;
    loop {
        if channel.has_pending() {
            channel.write_all(&[], limit)?;
        }
        if !channel.session().is_some_and(TlsSession::is_handshaking) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        channel.socket().set_read_timeout(Some(left))?;
        // Looked at and left there, for whoever wants to know what it says instead.
        let mut byte = [0];
        if !begun {
            match channel.socket().stream().peek(&mut byte) {
                Ok(1..) if is_text(byte[0]) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Whatever it is, reading tells.
                Ok(_) | Err(_) => {}
            }
        }
        begun = true;
        // No byte of the server's own can come before the handshake is done, so
        // none is asked for.
        match channel.read(raw, &mut []) {
            Ok(ReadOutcome::End) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection during the TLS handshake",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Tell the server why, as TLS wants it; we are leaving anyway.
                let _told = channel.write_all(&[], Duration::from_secs(1));
                return Err(error);
            }
        }
    }
}

/// The line that waits to be read from a server that did not begin with TLS: one
/// that turns a connection away does so before it knows what its client speaks.
fn text_in(channel: &Channel) -> Option<Vec<u8>> {
    let socket = channel.socket();
    socket.set_read_timeout(Some(TEXT_TIME)).ok()?;
    let mut text = vec![0; MAX_TEXT];
    let mut length = 0;
    while length < text.len() && !text[..length].contains(&b'\n') {
        match socket.read(&mut text[length..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => length += count,
        }
    }
    text.truncate(length);
    is_text(*text.first()?).then_some(text)
}

/// Whether a line of the console's or of JSON begins like this; no TLS record does.
fn is_text(first: u8) -> bool {
    matches!(first, b'-' | b'{')
}

impl TlsSession {
    fn certificate_shown(&self) -> Option<Fingerprint> {
        let connection = self.lock();
        let shown = connection.peer_certificates()?.first()?;
        Some(certificate::fingerprint(shown))
    }
}

impl UnverifiedPeer {
    /// Its certificate's.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// It is who it should be: the connection, and what was read of it already.
    pub fn trust(self) -> (Channel, Raw) {
        (self.channel, self.raw)
    }
}

/// Takes any certificate whose key has signed the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
